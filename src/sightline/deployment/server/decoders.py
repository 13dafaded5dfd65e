"""Strangers' files read in processes of their own, so many at a time as the machine has processors.

A process is ended where it takes too long. Its answers come by the event loop: a thread that waits for each of them
costs more than most pictures do. Where several small files wait, they are handed over together, as to wake a process
costs more than to read them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sightline.data.inputs import isolation
from sightline.data.inputs.reading import Reader, Reading
from sightline.system.workers import available_processors

Result = TypeVar("Result")

# Larger files take long enough for the way there and back not to matter, and others are not to wait for them.
_MOST_TOGETHER = 8
_MOST_BYTES_TOGETHER = 64 * 1024
_START_SECONDS = 60.0
_END_SECONDS = 5.0
_NO_PROCESS = "no process can be started to decode it in."
_NO_ANSWER = "its decoder ended without an answer."


@dataclass(frozen=True, eq=False)
class Job:
    """One file to read.

    Attributes:
        reader: how.
        content: its bytes.
        answer: what comes of it; whoever cancels it before its turn costs nothing.
    """

    reader: Reader
    content: bytes = field(repr=False)
    answer: asyncio.Future[Reading]


class Watchdog:
    """A child process that reads one file after the other, and is made anew when it had to be ended.

    All of it happens in one event loop.

    Args:
        timeout_seconds: longest time for one image.
        memory_mib: most that the child may take beside its libraries, where the system can bound it.
        freed: is told each time when it has nothing to do any more.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float = 10.0,
        memory_mib: int = 1024,
        freed: Callable[[Watchdog], None] = lambda _: None,
    ) -> None:
        self.timeout_seconds, self.memory_mib, self._freed = timeout_seconds, memory_mib, freed
        self._child: _Child | None = None
        self._ending: list[_Child] = []
        self._jobs: deque[Job] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._start: asyncio.Task[None] | None = None

    def ask(self, jobs: Sequence[Job]) -> None:
        """Have files read, at least one; it must not be asked while it works."""
        self._jobs.extend(jobs)
        self._go_on()

    async def close(self) -> None:
        """End the child, if there is one."""
        for job in self._jobs:
            job.answer.cancel()
        self._jobs.clear()
        self._end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await asyncio.gather(*(child.is_over.wait() for child in self._ending))

    def _go_on(self) -> None:
        """Ask a child that is ready; of another one the start is under way, or begins."""
        if self._child is None:
            self._child = _Child(self._told, self._lost)
            self._set_timer(_START_SECONDS, _NO_PROCESS)
            self._start = asyncio.create_task(self._begin(self._child))
        elif self._child.is_ready:
            self._set_timer()
            self._child.ask(self._jobs)

    async def _begin(self, child: _Child) -> None:
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        words = isolation.command(self.memory_mib)
        loop = asyncio.get_running_loop()
        try:
            await loop.subprocess_exec(lambda: child, *words, stdin=pipe, stdout=pipe, stderr=nothing)
        except OSError:
            self._lost(child)

    def _told(self, child: _Child, about: dict[str, Any], content: bytes) -> None:
        if child is not self._child:
            return
        if not child.is_ready:  # importing NumPy and Pillow is not the file's fault
            child.is_ready = True
            self._go_on()
            return
        try:
            reading = isolation.reading_of(about, content, self._jobs[0].reader.spec)
        except (LookupError, TypeError, ValueError):
            self._failed(_NO_ANSWER)
            return
        self._answer(reading)
        if self._jobs:
            self._set_timer()
        else:
            self._stop_timer()
            self._freed(self)

    def _lost(self, child: _Child) -> None:
        if child is self._child:
            self._failed(_NO_ANSWER if child.is_ready else _NO_PROCESS)

    def _failed(self, words: str) -> None:
        """The file that it had is answered with these words; what waits behind it goes to another child."""
        self._end()
        if not self._jobs:  # it ended while nothing was asked
            return
        self._answer(Reading(None, error=f"image bytes: {words}"))
        if self._jobs:
            self._go_on()
        else:
            self._freed(self)

    def _answer(self, reading: Reading) -> None:
        job = self._jobs.popleft()
        if not job.answer.done():
            job.answer.set_result(reading)

    def _end(self) -> None:
        self._stop_timer()
        child, self._child = self._child, None
        if child is None:
            return
        self._ending = [one for one in self._ending if not one.is_over.is_set()] + [child]
        if self._start is not None:
            self._start.cancel()
        child.kill()

    def _set_timer(self, seconds: float | None = None, words: str = "") -> None:
        self._stop_timer()
        seconds = self.timeout_seconds if seconds is None else seconds
        words = words or f"decoding it took more than {seconds:g} s and was ended."
        self._timer = asyncio.get_running_loop().call_later(seconds, self._failed, words)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class _Child(asyncio.SubprocessProtocol):
    """A process at the other end of two pipes."""

    def __init__(self, told: Callable[[_Child, dict[str, Any], bytes], None], lost: Callable[[_Child], None]) -> None:
        self._told, self._lost = told, lost
        self._held = bytearray()
        self.transport: Any = None
        self.is_ready = False
        self.is_over = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It runs."""
        self.transport = transport

    def ask(self, jobs: Sequence[Job]) -> None:
        """Write what is asked, all at once."""
        parts = [isolation.question(job.reader, job.content) for job in jobs]
        self.transport.get_pipe_transport(0).write(parts[0] if len(parts) == 1 else b"".join(parts))

    def pipe_data_received(self, _: int, data: bytes) -> None:
        """A part of an answer, or several; what is none is as good as its end."""
        self._held += data
        try:
            for about, content in isolation.answers(self._held):
                self._told(self, about, content)
        except ValueError:
            self._lost(self)

    def pipe_connection_lost(self, *_: object) -> None:
        """It ended, or closed its end."""
        self._lost(self)

    def process_exited(self) -> None:
        """It ended."""
        self.is_over.set()
        self.transport.close()
        self._lost(self)

    def kill(self) -> None:
        """End it."""
        if self.transport is None:
            self.is_over.set()
            return
        with contextlib.suppress(ProcessLookupError):
            self.transport.kill()


class Decoders:
    """Some processes that read files, bounded in time and memory; a file that breaks one costs its own answer.

    Args:
        count: how many; 0 for one a processor.
        timeout_seconds: for one file.
    """

    def __init__(self, count: int, *, timeout_seconds: float) -> None:
        count = count or available_processors()
        self._watchdogs = [Watchdog(timeout_seconds=timeout_seconds, freed=self._freed) for _ in range(count)]
        self._free = [*self._watchdogs]
        self._is_due = False
        self._waiting: deque[Job] = deque()
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="sightline-work")

    def read(self, reader: Reader, content: bytes) -> asyncio.Future[Reading]:
        """One file as a network is fed it, or why it cannot be read; cancelled before its turn, it costs nothing."""
        loop = asyncio.get_running_loop()
        job = Job(reader, content, loop.create_future())
        self._waiting.append(job)
        if self._free and not self._is_due:
            # Behind whatever else is ready now, which may bring more files.
            self._is_due = True
            loop.call_soon(self._hand_out)
        return job.answer

    async def call(self, work: Callable[[], Result]) -> Result:
        """Something that takes a processor for a while, in its turn."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def begin(self, reader: Reader) -> None:
        """Start the processes, which takes some tenths of a second, before anybody waits for them."""
        nothing = b"P5 1 1 255 \0"
        await asyncio.gather(*(self.read(reader, nothing) for _ in self._watchdogs))

    async def close(self) -> None:
        """End them."""
        for job in self._waiting:
            job.answer.cancel()
        await asyncio.gather(*(watchdog.close() for watchdog in self._watchdogs))
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)

    def _freed(self, watchdog: Watchdog) -> None:
        self._free.append(watchdog)
        self._hand_out()

    def _hand_out(self) -> None:
        self._is_due = False
        while self._free and (jobs := self._next()):
            self._free.pop().ask(jobs)

    def _next(self) -> list[Job]:
        """What one process is given next: a file, or several small ones, where more wait than there are processes."""
        jobs: list[Job] = []
        most, size = min(_MOST_TOGETHER, -(-len(self._waiting) // len(self._free))), 0
        while self._waiting and len(jobs) < most:
            size += len(self._waiting[0].content)
            if jobs and size > _MOST_BYTES_TOGETHER:
                break
            job = self._waiting.popleft()
            if not job.answer.done():
                jobs.append(job)
        return jobs
