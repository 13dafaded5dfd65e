"""The folder of a search: a new one, or that of the same search, left unfinished; and how long it took so far."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sightline.configuration.recipes import flatten
from sightline.configuration.values import as_typed
from sightline.errors import InvalidValue, OutputExists
from sightline.evaluation.measuring.finished_runs import SEARCH_FIGURES, SEARCH_JOURNAL
from sightline.system.files import check_free, held, write_json, writing_to
from sightline.system.paths import check_place
from sightline.system.progress import reporter
from sightline.system.stored import read_json
from sightline.training.search.trials import TRIALS
from sightline.training.setup.run_folder import earlier_runs, make_run_folder
from sightline.training.setup.unfinished import in_words

PLAN, LOCK, SESSIONS, CHOICE = "plan.json", "search.lock", "sessions.json", "choice.json"
_NOTHING = object()


@contextlib.contextmanager
def search_folder(out: Path | None, plan: Mapping[str, Any], *, keep: list[Path]) -> Iterator[Path]:
    """The folder of a search, with its plan in it, held while it is open; a finished one is handed back, too.

    Args:
        out: what the user asked for, or None for `runs/<source>-search-001`, counted up.
        plan: plain values that make it this search and no other.
        keep: what is read for it; nothing is written there.
    """
    folder = _begun(out, plan) if out is None else _named(out, plan, keep)
    lock = folder / LOCK
    with writing_to(lock):
        lock.touch()
    try:
        with held(lock):
            if not (folder / PLAN).exists():
                write_json(folder / PLAN, plan)
            yield folder
    except BlockingIOError:
        raise OutputExists(f"{folder}: another command is searching there. Name another folder, or wait.") from None


def _begun(out: None, plan: Mapping[str, Any]) -> Path:
    stem = f"{plan['name']}-search"
    for _, place in sorted(earlier_runs(stem).items(), reverse=True):
        if not (place / SEARCH_FIGURES).exists() and not _differences(place, plan):
            _say_going_on(place)
            return place
    return make_run_folder(out, stem=stem)


def _named(out: Path, plan: Mapping[str, Any], keep: list[Path]) -> Path:
    check_place("out", out, keep=keep)
    if not (out / PLAN).exists() and not _is_only_claimed(out):
        check_free(out, keep=keep)
    if (out / PLAN).exists():
        if found := _differences(out, plan):
            raise OutputExists(
                f"{out}: holds a search that is not this one: {in_words(found)}. Name another folder, or delete this "
                "one."
            )
        if not (out / SEARCH_FIGURES).exists():
            _say_going_on(out)
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
    return out


def _is_only_claimed(out: Path) -> bool:
    """Whether a search ended before it had written its plan."""
    with writing_to(out):
        return out.is_dir() and [path.name for path in out.iterdir()] == [LOCK]


def _say_going_on(place: Path) -> None:
    if (place / SEARCH_JOURNAL).exists():
        reporter().say(f"going on with the search that was left unfinished in {place}")


def _differences(place: Path, plan: Mapping[str, Any]) -> list[str]:
    """What is no longer as a search was begun, in words."""
    try:
        before = read_json(place / PLAN)
        old, new = dict(flatten(before)), dict(flatten(plan))
    except (OSError, ValueError, TypeError, AttributeError, InvalidValue):
        return ["what it was begun from cannot be read any more"]
    found = []
    for key in sorted(old.keys() | new.keys()):
        was, is_now = old.get(key, _NOTHING), new.get(key, _NOTHING)
        if was != is_now:
            told = ["not there" if value is _NOTHING else as_typed(value) for value in (was, is_now)]
            name = key.removeprefix("recipe.").replace("fingerprint", "the state of the images")
            found.append(f"{name} was {told[0]} and is {told[1]}")
    return found


class BudgetClock:
    """What a search may take and took so far, over all of the processes that were at it."""

    def __init__(self, folder: Path, budget: float | None) -> None:
        """Count the time of a process that was killed up to the last file that it wrote.

        `requeued` is how many trials were under way when this process came.
        """
        self.folder, self.budget, self.requeued = folder, budget, 0
        self._path, self._started = folder / SESSIONS, time.time()
        self.before: list[dict[str, float]] = []
        if self._path.exists():
            try:
                self.before = [
                    {name: float(one[name]) for name in ("started", "seconds", "requeued")}
                    for one in _ended(read_json(self._path), folder)
                ]
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise InvalidValue(
                    f"{self._path}: cannot be read ({error}). Name another folder to search anew."
                ) from error
        self.note()

    def note(self, *, is_over: bool = False) -> None:
        """Keep what was spent; of a process under way, when it began."""
        seconds = time.time() - self._started if is_over else None
        now = {"started": self._started, "seconds": seconds, "requeued": self.requeued}
        write_json(self._path, [*self.before, now])

    @property
    def spent(self) -> float:
        """Seconds of all processes so far."""
        return sum(one["seconds"] for one in self.before) + time.time() - self._started

    @property
    def left(self) -> float | None:
        """Seconds that are left, or None where nobody bounds them."""
        return None if self.budget is None else self.budget - self.spent


def _ended(sessions: list[dict[str, Any]], folder: Path) -> Iterator[dict[str, Any]]:
    for one in sessions:
        if one["seconds"] is None:
            one = one | {"seconds": max(_last_written(folder) - one["started"], 0.0)}  # noqa: PLW2901
        yield one


def _last_written(folder: Path) -> float:
    """When a file of a search was changed last; of runs, what they write while they learn."""
    newest = 0.0
    for place in (folder, *folder.glob(f"{TRIALS}/*"), *folder.glob(f"{TRIALS}/*/checkpoints")):
        with contextlib.suppress(OSError):
            names = [place / name for name in os.listdir(place)] if place.is_dir() else [place]  # noqa: PTH208
            newest = max([newest, *(path.stat().st_mtime for path in names if path.is_file())])
    return newest
