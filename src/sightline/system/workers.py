"""Work spread over the processors: by threads, since NumPy, Pillow and ONNX Runtime let go of Python's lock.

Training does not, and takes a process for each of its pieces.
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
import itertools
import math
import multiprocessing
import multiprocessing.context
import os
import platform
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from sightline.system.interruption import leave_to_parent

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")
# Python's own `map` of one iterable, an executor's or a cluster's.
Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


# Where Linux says how much of the processors a container may use, and what a process of `process_map` was promised.
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
SHARE = "SIGHTLINE_PROCESSORS"
# What a process that works for another one calls the machine that it is on.
NODE = "SIGHTLINE_NODE"


def available_processors() -> int:
    """How many processors this process may use, at least 1: not all that the machine has, where it was given fewer.

    Counted are those that it may run on, the quota of its container, and its share beside other processes of Sightline.
    """
    counts = [os.cpu_count() or 1]
    if sys.platform != "win32" and hasattr(os, "sched_getaffinity"):
        counts.append(len(os.sched_getaffinity(0)))
    with contextlib.suppress(OSError, ValueError):
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        counts.append(math.ceil(int(quota) / int(period)))  # "max" is no number: there is no quota
    with contextlib.suppress(KeyError, ValueError):
        counts.append(int(os.environ[SHARE]))
    return max(1, min(counts))


def node_name() -> str:
    """What this machine is called where several do the work."""
    return os.environ.get(NODE) or platform.node() or "this machine"


def num_workers(num_items: int) -> int:
    """How many threads are worth starting for so many pieces of work: one a processor, and no more than pieces."""
    return min(available_processors(), num_items)


def map_in_order(
    work: Callable[[Item], Outcome],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    stop: Callable[[], None] | None = None,
) -> Generator[Outcome, None, None]:
    """The results of some work, in the order of its items, worked off by several threads.

    At most two items a thread are under way, so that results do not pile up before a slow listener, and
    whoever stops listening, by an error or by Ctrl-C, waits for no more than those.

    Args:
        work: called in the threads, once an item.
        items: taken as they are needed.
        workers: how many threads, one a processor if left out; with one or none the caller's own does it.
        stop: called where nobody listens any more, to end what is under way; with it the work is never done in the
            caller's own thread, so that Ctrl-C is heard while it lasts.

    Yields:
        What `work` gives.

    Raises:
        Whatever `work` raises, at the place of its item.

    Example:
        >>> list(map_in_order(lambda number: number * number, range(5), workers=2))
        [0, 1, 4, 9, 16]
    """
    workers = available_processors() if workers is None else workers
    if workers <= 1 and stop is None:
        yield from map(work, items)
        return
    workers = max(workers, 1)
    waiting: collections.deque[Future[Outcome]] = collections.deque()
    with ThreadPoolExecutor(max_workers=workers) as threads:
        # A thread begins with no context of its own: without the caller's it would not know that it is to be quiet.
        # A copy for each item, since a context can be entered by one thread at a time.
        upcoming = (threads.submit(contextvars.copy_context().run, work, item) for item in items)
        try:
            waiting.extend(itertools.islice(upcoming, 2 * workers))
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(itertools.islice(upcoming, 1))
        except BaseException:
            if stop is not None:
                stop()
            raise
        finally:
            for future in waiting:
                future.cancel()


@contextlib.contextmanager
def process_map(count: int, start: Callable[[], Any], *, lost: Callable[[Any], Any] | None = None) -> Iterator[Map]:
    """A map whose work is done by several processes, each bounded to its share of the processors.

    Args:
        count: how many processes; 1 for Python's own `map`, here.
        start: called in each new process before its first piece of work; can be pickled.
        lost: what stands for the result of an item whose process was ended from outside; a new process goes on with
            the next item. None to give up all of them.

    Yields:
        A function of a function and items, both of which can be pickled; results come as they are finished.

    Raises:
        BrokenProcessPool: no process could begin, or one was ended from outside without `lost`; raised by the map.

    Example:
        >>> with process_map(1, dict) as each:
        ...     list(each(abs, [-1, 2]))
        [1, 2]
    """
    if count == 1:
        yield map
        return
    slots = _Slots(max(1, available_processors() // count), start, lost)
    with ThreadPoolExecutor(count) as threads:

        def each(work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
            futures = [threads.submit(contextvars.copy_context().run, slots.result, work, item) for item in items]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:
                for future in futures:
                    future.cancel()

        try:
            yield each
        except BaseException:
            # What is under way takes minutes, and nobody waits for it any more.
            threads.shutdown(wait=False, cancel_futures=True)
            slots.close()
            for process in slots.context.begun:
                process.terminate()
            raise
        finally:
            slots.close()
            for pool in slots.pools:
                pool.shutdown()


class _Context(multiprocessing.context.SpawnContext):
    """Fresh processes that are remembered: the caller may have children of its own, which are none of our business."""

    def __init__(self) -> None:
        self.begun: list[Any] = []

    def Process(self, *arguments: Any, **options: Any) -> Any:  # type: ignore[override]  # noqa: N802  # its name there
        process = multiprocessing.context.SpawnProcess(*arguments, **options)
        self.begun.append(process)
        return process


class _Slots:
    """A process for each thread that asks, so that one that is ended takes no other along."""

    def __init__(self, share: int, start: Callable[[], Any], lost: Callable[[Any], Any] | None) -> None:
        self.begin, self.lost = (share, start), lost
        # A forked TensorFlow hangs; a fresh process reads its number of threads when it starts.
        self.context = _Context()
        self.own = threading.local()
        self.gate, self.pools, self.is_closed = threading.Lock(), list[ProcessPoolExecutor](), False
        self.any_has_begun = False

    def result(self, work: Callable[[Any], Any], item: Any) -> Any:
        """What work gives, done in the process of this thread, which is begun where there is none."""
        try:
            has_begun, future = self._submitted(work, item)
            has_begun.result()
            self.any_has_begun = True
            return future.result()
        except BrokenProcessPool:
            self.own.pool = None
            # Where none could begin, the next would not either.
            if self.lost is None or not self.any_has_begun:
                raise
            return self.lost(item)

    def _submitted(self, work: Callable[[Any], Any], item: Any) -> tuple[Future[Any], Future[Any]]:
        """A sign that the process has begun, and what work will give."""
        with self.gate:
            if self.is_closed:
                raise BrokenProcessPool("Nobody waits for this any more.")
            if getattr(self.own, "pool", None) is None:
                self.own.pool = ProcessPoolExecutor(1, mp_context=self.context, initializer=_begin, initargs=self.begin)
                self.pools.append(self.own.pool)
            return self.own.pool.submit(os.getpid), self.own.pool.submit(work, item)

    def close(self) -> None:
        """No process begins after this."""
        with self.gate:
            self.is_closed = True


def _begin(num_threads: int, start: Callable[[], Any]) -> None:
    leave_to_parent()
    # Where the first is ended without a word, nobody would end this one.
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    for name in (SHARE, "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = str(num_threads)
    start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def free_bytes() -> int | None:
    """Bytes that a program may still take, swap left aside, within what a container allows; None where nobody says."""
    found = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with contextlib.suppress(OSError, ValueError, KeyError):
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
        # Copies of files count as used, and are let go of when memory is wanted.
        stated = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
        found.append(limit - used + int(stated["inactive_file"]) + int(stated["active_file"]))
    return min(found) if found else None
