"""Work spread over the processors: by threads, since NumPy, Pillow and ONNX Runtime let go of Python's lock."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def num_workers(num_items: int) -> int:
    """How many threads are worth starting for so many pieces of work.

    Args:
        num_items: 0 or more.

    Returns:
        One a processor, and no more than there are pieces.

    Raises:
        Nothing.

    Example:
        >>> num_workers(0), num_workers(1)
        (0, 1)
    """
    return min(os.cpu_count() or 1, num_items)


def in_order(work: Callable[[Item], Result], items: Iterable[Item], *, workers: int) -> Iterator[Result]:
    """The results of some work, in the order of its items, worked off by several threads.

    At most two items a thread are under way, so that results do not pile up before a slow listener, and
    whoever stops listening, by an error or by Ctrl-C, waits for no more than those.

    Args:
        work: called in the threads, once an item.
        items: taken as they are needed.
        workers: how many threads; with one or none the caller's own does it.

    Yields:
        What `work` gives.

    Raises:
        Whatever `work` raises, at the place of its item.

    Example:
        >>> list(in_order(lambda number: number * number, range(5), workers=2))
        [0, 1, 4, 9, 16]
    """
    if workers <= 1:
        yield from map(work, items)
        return
    waiting: collections.deque[Future[Result]] = collections.deque()
    upcoming = iter(items)
    with ThreadPoolExecutor(max_workers=workers) as threads:
        try:
            waiting.extend(threads.submit(work, item) for _, item in zip(range(2 * workers), upcoming, strict=False))
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(threads.submit(work, item) for _, item in zip(range(1), upcoming, strict=False))
        finally:
            for future in waiting:
                future.cancel()
