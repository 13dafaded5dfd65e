"""What a person sees while work goes on: a bar on a terminal, plain lines in a pipe, nothing when quiet.

All of it goes to stderr; stdout belongs to results.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, Literal

from sightline.system.interruption import raise_if_interrupted
from sightline.system.text import printable_lines

Mode = Literal["terminal", "plain", "quiet"]
PLAIN_SECONDS = 10.0


def _print(text: str, stream: IO[str] | None) -> None:
    """Print to what may be closed, as in a service, or lack a letter, as where a script has replaced it."""
    if stream is None:
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    shown = text.encode(encoding, "backslashreplace").decode(encoding)
    print(shown, file=stream, flush=True)  # stderr is where progress goes


class Bar:
    """Counts finished units of one piece of work and knows the rate and the remaining time."""

    def __init__(self, description: str, *, total: int, unit: str, stream: IO[str] | None) -> None:
        """Start counting at zero; `stream` None prints nothing."""
        self.description, self.total, self.unit, self.stream = description, total, unit, stream
        self.done = 0
        self.notes = ""
        self._started = self._printed = time.monotonic()

    def advance(self, count: int, *, description: str | None = None, notes: str | None = None) -> None:
        """Count `count` more units as done; change the words before or below the bar if given."""
        self.show(count, description=description, notes=notes)
        raise_if_interrupted()

    def show(self, count: int, *, description: str | None = None, notes: str | None = None) -> None:
        """The same, which does not end where somebody asked to stop: for work that others do."""
        self.done += count
        self.description = description if description is not None else self.description
        self.notes = notes if notes is not None else self.notes
        self._draw()

    def rate(self) -> float:
        """Units a second since the start."""
        return self.done / max(time.monotonic() - self._started, 1e-9)

    def remaining_seconds(self) -> float:
        """Seconds to the end if the rate stays."""
        return (self.total - self.done) / max(self.rate(), 1e-9)

    def line(self) -> str:
        """The state in one line."""
        return (
            f"{self.description}: {self.done:,} of {self.total:,} {self.unit}, {self.rate():,.0f}/s, "
            f"{clock(self.remaining_seconds())} remaining {self.notes}".rstrip()
        )

    def _draw(self) -> None:
        now = time.monotonic()
        if self.stream is not None and now - self._printed >= PLAIN_SECONDS and self.done < self.total:
            self._printed = now
            _print(self.line(), self.stream)


class Stopwatch:
    """Wall time of the parts of a piece of work, in seconds."""

    def __init__(self) -> None:
        """Start now."""
        self._started = self._lap_started = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @property
    def started(self) -> float:
        """When it began, on the clock of `time.perf_counter`."""
        return self._started

    def lap(self, name: str) -> None:
        """Count what passed since the last lap as part of `name`."""
        raise_if_interrupted()
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._lap_started
        self._lap_started = now

    def total(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._started


@dataclasses.dataclass(frozen=True)
class Reporter:
    """Where messages and bars go: to stderr, as `mode` says. One at a time is current: `reporter()`."""

    mode: Mode

    def say(self, text: str) -> None:
        """Print one line to stderr unless quiet."""
        if self.mode != "quiet":
            _print(printable_lines(text), sys.stderr)

    @contextlib.contextmanager
    def bar(self, description: str, *, total: int, unit: str = "images", lines: bool = True) -> Iterator[Bar]:
        """A bar for work of `total` units; with `lines` False a pipe sees nothing of it."""
        if self.mode == "terminal" and not _bar_is_shown.get():
            with _terminal_bar(description, total, unit) as bar:
                yield bar
        else:
            # Work inside work that has a bar on the terminal already counts in silence.
            stream = sys.stderr if self.mode == "plain" and lines else None
            yield Bar(description, total=total, unit=unit, stream=stream)


class _DistantBar(Bar):
    def __init__(self, description: str, *, total: int, unit: str, tell: Callable[[tuple[Any, ...]], None]) -> None:
        super().__init__(description, total=total, unit=unit, stream=None)
        self._tell = tell

    def advance(self, count: int, *, description: str | None = None, notes: str | None = None) -> None:
        self.done += count
        self._tell(("advance", count, description, notes))


@dataclasses.dataclass(frozen=True)
class DistantReporter(Reporter):
    """Hands all that it is told on to another process, where `retelling` shows it; `mode` is that of the one there."""

    tell: Callable[[tuple[Any, ...]], None]

    def say(self, text: str) -> None:
        """Hand one line on."""
        self.tell(("say", text))

    @contextlib.contextmanager
    def bar(self, description: str, *, total: int, unit: str = "images", lines: bool = True) -> Iterator[Bar]:
        """A bar that is drawn there."""
        self.tell(("bar", description, total, unit, lines))
        try:
            yield _DistantBar(description, total=total, unit=unit, tell=self.tell)
        finally:
            self.tell(("end of bar",))


@contextlib.contextmanager
def retelling() -> Iterator[Callable[[tuple[Any, ...]], None]]:
    """While it is open, what a `DistantReporter` handed on is shown here; a bar whose end was never told ends with it.

    Yields:
        What takes each of the things that were handed on.
    """
    with contextlib.ExitStack() as shown:
        bars: list[Bar] = []

        def hear(told: tuple[Any, ...]) -> None:
            kind, *rest = told
            if kind == "say":
                reporter().say(*rest)
            elif kind == "bar":
                shown.close()  # of one who ended before it could tell of its end
                bars.clear()
                description, total, unit, lines = rest
                bars.append(shown.enter_context(reporter().bar(description, total=total, unit=unit, lines=lines)))
            elif kind == "advance" and bars:
                count, words, notes = rest
                bars[-1].show(count, description=words, notes=notes)
            elif kind == "end of bar":
                shown.close()
                bars.clear()

        yield hear


_bar_is_shown: contextvars.ContextVar[bool] = contextvars.ContextVar("bar_is_shown", default=False)


@contextlib.contextmanager
def _terminal_bar(description: str, total: int, unit: str) -> Iterator[Bar]:
    from rich.console import Console, RenderableType
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> str:  # noqa: ARG002  # the bar knows its own rate
            return f"{bar.rate():,.0f} {unit}/s"

    class BarWithNotes(Progress):
        def get_renderables(self) -> Iterable[RenderableType]:
            yield from super().get_renderables()
            if bar.notes:
                yield Text(bar.notes, no_wrap=True, overflow="ellipsis")

    console, one_line = Console(stderr=True), Column(no_wrap=True)
    # What stands beside the bar takes 60 columns while training; a terminal of 80 goes without the counts.
    counts = (MofNCompleteColumn(table_column=one_line),) if console.width >= 94 else ()
    columns = (
        TextColumn("{task.description}", table_column=one_line),
        BarColumn(bar_width=min(max(console.width - 64, 4), 24)),
        *counts,
        Rate(table_column=one_line),
        TimeRemainingColumn(table_column=one_line),
    )

    class TerminalBar(Bar):
        def _draw(self) -> None:
            progress.update(task, completed=self.done, description=self.description)

    # Made before the first drawing, which asks it for its rate.
    bar = TerminalBar(description, total=total, unit=unit, stream=None)
    # Not redirecting keeps stdout for results; transient leaves the summary alone on the screen.
    progress = BarWithNotes(*columns, console=console, transient=True, redirect_stdout=False)

    with progress:
        task = progress.add_task(description, total=total)
        token = _bar_is_shown.set(True)
        try:
            yield bar
        finally:
            _bar_is_shown.reset(token)


_current: contextvars.ContextVar[Reporter | None] = contextvars.ContextVar("reporter", default=None)


def reporter() -> Reporter:
    """The current reporter; without one, a terminal gets bars and a pipe gets lines."""
    return _current.get() or Reporter("terminal" if sys.stderr.isatty() else "plain")


@contextlib.contextmanager
def reporting(mode: Mode | Reporter | None) -> Iterator[Reporter]:
    """Make a mode, or a reporter, current for a block; None keeps what is current."""
    chosen = mode if isinstance(mode, Reporter) else Reporter(mode) if mode else reporter()
    token = _current.set(chosen)
    try:
        yield chosen
    finally:
        _current.reset(token)


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds: "0:07", "12:30", "1:02:03"."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
