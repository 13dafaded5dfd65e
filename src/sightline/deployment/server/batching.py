"""Images of several requests through the network at once: what waits is taken, and nobody is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.sessions import Session
from sightline.system.workers import available_processors

Answered = Mapping[str, NDArray[np.float32]]

# Larger batches make nothing faster on a processor, and whoever comes next waits longer.
SIZES = (16, 8, 4, 2)
# Of networks that take longer an image, batches gain nothing, and trying them would.
_MOST_SECONDS_TO_TRY = 0.05
# An image that takes less is answered in the event loop: handing it to a thread and back takes longer.
_MOST_SECONDS_AT_ONCE = 0.0005


@dataclass(frozen=True)
class Batching:
    """How a network answers several requests.

    Attributes:
        sizes: of batches, from the largest, in which no image's answer depends on the others; 1 is always one.
        threads: how many requests are answered at a time, each in a thread; 1 where a network that is spread over all
            processors answers otherwise than in one thread.
        is_quick: whether it runs in the event loop, in one thread; what is slower runs beside it.
    """

    sizes: tuple[int, ...] = (1,)
    threads: int = 1
    is_quick: bool = False


@dataclass(frozen=True, eq=False)
class _Job:
    images: NDArray[np.uint8]
    outputs: tuple[str, ...]
    answer: asyncio.Future[Answered]


class Batcher:
    """Runs a network on whatever waits; an image's answer is the same beside any others.

    Args:
        session: the network.
        seen: is told the size of each batch.

    Attributes:
        batching: how; `tried_batching` finds out what a network allows.
    """

    def __init__(self, session: Session, *, seen: Callable[[int], None] = lambda _: None) -> None:
        self._session, self._seen = session, seen
        self.batching = Batching()
        self._soon: deque[_Job] = deque()
        self._waiting: deque[_Job] = deque()
        self._change = threading.Condition()
        self._is_retired = False
        self._num_threads = self._num_busy = 0

    def submit(self, images: NDArray[np.uint8], outputs: tuple[str, ...]) -> asyncio.Future[Answered]:
        """Have a network's outputs computed; whoever cancels it before its turn costs nothing.

        Args:
            images: (num_images, height, width, channels).
            outputs: their names.
        """
        loop = asyncio.get_running_loop()
        job = _Job(images, outputs, loop.create_future())
        if self.batching.is_quick and len(images) <= SIZES[0]:
            self._soon.append(job)
            if len(self._soon) == 1:
                # Behind whatever else is ready now, which may bring more images.
                loop.call_soon(self._answer_soon)
            return job.answer
        with self._change:
            self._waiting.append(job)
            if len(self._waiting) > self._num_threads - self._num_busy and self._num_threads < self.batching.threads:
                self._num_threads += 1
                self._num_busy += 1
                threading.Thread(target=self._work, name="sightline-batches", daemon=True).start()
            self._change.notify()
        return job.answer

    def retire(self) -> None:
        """Keep no thread where nothing waits: another network answers now, but for who came just before that."""
        with self._change:
            self._is_retired = True
            self._change.notify_all()

    def _answer_soon(self) -> None:
        _settle_all(self._answers(self._taken(self._soon), spread=False))
        if self._soon:
            # Others have their turn between two batches.
            asyncio.get_running_loop().call_soon(self._answer_soon)

    def _work(self) -> None:
        while (jobs := self._next()) is not None:
            if jobs:
                told = self._answers(jobs, spread=self._is_alone())
                with contextlib.suppress(RuntimeError):  # whoever asked is gone, with its event loop
                    jobs[0].answer.get_loop().call_soon_threadsafe(_settle_all, told)

    def _is_alone(self) -> bool:
        """Whether a request has all processors to itself: of several, each has one, and none waits for another."""
        return self.batching.threads == 1 or (self._num_busy == 1 and not self._waiting)

    def _next(self) -> list[_Job] | None:
        """What waits and can be run together, without what was cancelled; None at the end."""
        with self._change:
            self._num_busy -= 1
            while not self._waiting and not self._is_retired:
                self._change.wait()
            if not self._waiting:
                self._num_threads -= 1
                return None
            self._num_busy += 1
            return self._taken(self._waiting)

    def _taken(self, waiting: deque[_Job]) -> list[_Job]:
        jobs: list[_Job] = []
        count = 0
        while waiting and (not jobs or self._fits(waiting[0], jobs, count)):
            job = waiting.popleft()
            if not job.answer.done():
                jobs.append(job)
                count += len(job.images)
        return jobs

    def _fits(self, job: _Job, jobs: list[_Job], count: int) -> bool:
        return job.outputs == jobs[0].outputs and count + len(job.images) <= self.batching.sizes[0]

    def _answers(self, jobs: list[_Job], *, spread: bool) -> list[tuple[_Job, Answered | BaseException]]:
        """What comes of each job; a network that breaks is told to whoever waits, and the next are answered."""
        try:
            return [*zip(jobs, self._computed(jobs, spread=spread), strict=True)] if jobs else []
        except BaseException as error:  # noqa: BLE001  # as said
            return [(job, error) for job in jobs]

    def _computed(self, jobs: list[_Job], *, spread: bool) -> list[Answered]:
        images = jobs[0].images if len(jobs) == 1 else np.concatenate([job.images for job in jobs])
        found: list[Answered] = []
        first = 0
        for size in _sizes(len(images), self.batching.sizes):
            self._seen(size)
            found.append(self._session.at_once(images[first : first + size], jobs[0].outputs, spread=spread))
            first += size
        if len(jobs) == len(found) == 1:
            return found
        whole = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
        ends = np.cumsum([len(job.images) for job in jobs]).tolist()
        return [
            {name: part[end - len(job.images) : end] for name, part in whole.items()}
            for job, end in zip(jobs, ends, strict=True)
        ]


def _settle_all(told: Sequence[tuple[_Job, Answered | BaseException]]) -> None:
    for job, result in told:
        if job.answer.done():  # whoever asked left
            continue
        if isinstance(result, BaseException):
            job.answer.set_exception(result)
        else:
            job.answer.set_result(result)


def _sizes(count: int, allowed: tuple[int, ...]) -> Iterator[int]:
    """So many images in batches of these sizes, the largest first."""
    for size in allowed:
        yield from [size] * (count // size)
        count %= size


def tried_batching(session: Session, outputs: tuple[str, ...], images: NDArray[np.uint8]) -> Batching:
    """In which batches each image is answered bit for bit as alone, and whether it is quick.

    Sums of floating-point numbers depend on their order, and a library may take another one for another size or in
    another number of threads: each is tried with the network itself.

    Args:
        session: the network.
        outputs: their names.
        images: (16, height, width, channels).
    """
    session.at_once(images[:1], outputs)
    began = time.perf_counter()
    alone = [session.at_once(images[:1], outputs)]
    if time.perf_counter() - began > _MOST_SECONDS_TO_TRY:
        return Batching()
    alone += [session.at_once(images[row : row + 1], outputs) for row in range(1, len(images))]
    together = {size: session.at_once(images[:size], outputs) for size in SIZES}
    sizes = (*(size for size in SIZES if _is_alike(together[size], alone)), 1)
    seconds, is_same = _in_one_thread(session, outputs, images, alone, sizes[0])
    return Batching(
        sizes, threads=available_processors() if is_same else 1, is_quick=is_same and seconds < _MOST_SECONDS_AT_ONCE
    )


def _in_one_thread(
    session: Session, outputs: tuple[str, ...], images: NDArray[np.uint8], alone: Sequence[Answered], size: int
) -> tuple[float, bool]:
    """Seconds an image takes there, and whether all are answered as by many threads, in batches, too."""
    session.at_once(images[:1], outputs, spread=False)
    began = time.perf_counter()
    found = [session.at_once(images[row : row + 1], outputs, spread=False) for row in range(len(images))]
    seconds = (time.perf_counter() - began) / len(images)
    is_same = all(_is_alike(one, [other]) for one, other in zip(found, alone, strict=True))
    return seconds, is_same and _is_alike(session.at_once(images[:size], outputs, spread=False), alone)


def _is_alike(found: Answered, alone: Sequence[Answered]) -> bool:
    return all(
        part[row].tobytes() == alone[row][name][0].tobytes() for name, part in found.items() for row in range(len(part))
    )
