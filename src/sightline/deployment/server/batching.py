"""Images of several requests through the network at once: what waits is taken, and nobody is waited for."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.sessions import Session

Answered = Mapping[str, NDArray[np.float32]]

# Larger batches make nothing faster on a processor, and whoever comes next waits longer.
SIZES = (16, 8, 4, 2)
# Of networks that take longer an image, batches gain nothing, and trying them would.
_MOST_SECONDS_TO_TRY = 0.05


@dataclass(frozen=True, eq=False)
class _Job:
    images: NDArray[np.uint8]
    outputs: tuple[str, ...]
    answer: Future[Answered] = field(default_factory=Future)


class Batcher:
    """One thread that runs a network on whatever waits; an image's answer is the same beside any others.

    Args:
        session: the network.
        seen: is told the size of each batch.

    Attributes:
        sizes: of batches, from the largest; those of which `alike_sizes` knows that no answer depends on the others.
    """

    def __init__(self, session: Session, *, seen: Callable[[int], None] = lambda _: None) -> None:
        self._session, self._seen = session, seen
        self.sizes: tuple[int, ...] = (1,)
        self._waiting: deque[_Job] = deque()
        self._change = threading.Condition()
        self._is_retired = False
        self._is_working = False

    def submit(self, images: NDArray[np.uint8], outputs: tuple[str, ...]) -> Future[Answered]:
        """Have a network's outputs computed; whoever cancels it before its turn costs nothing.

        Args:
            images: (num_images, height, width, channels).
            outputs: their names.
        """
        job = _Job(images, outputs)
        with self._change:
            self._waiting.append(job)
            if not self._is_working:
                self._is_working = True
                threading.Thread(target=self._work, name="sightline-batches", daemon=True).start()
            self._change.notify()
        return job.answer

    def retire(self) -> None:
        """Keep no thread where nothing waits: another network answers now, but for who came just before that."""
        with self._change:
            self._is_retired = True
            self._change.notify()

    def _work(self) -> None:
        while (jobs := self._next()) is not None:
            if not jobs:
                continue
            try:
                self._answer(jobs)
            except BaseException as error:  # noqa: BLE001  # whoever waits is told, and the thread goes on
                for job in jobs:
                    if not job.answer.done():
                        job.answer.set_exception(error)

    def _next(self) -> list[_Job] | None:
        """What waits and can be run together, without what was cancelled; None at the end."""
        with self._change:
            while not self._waiting and not self._is_retired:
                self._change.wait()
            if not self._waiting:
                self._is_working = False
                return None
            jobs: list[_Job] = []
            count = 0
            while self._waiting and (not jobs or self._fits(self._waiting[0], jobs, count)):
                job = self._waiting.popleft()
                if job.answer.set_running_or_notify_cancel():
                    jobs.append(job)
                    count += len(job.images)
            return jobs

    def _fits(self, job: _Job, jobs: list[_Job], count: int) -> bool:
        return job.outputs == jobs[0].outputs and count + len(job.images) <= self.sizes[0]

    def _answer(self, jobs: list[_Job]) -> None:
        images = jobs[0].images if len(jobs) == 1 else np.concatenate([job.images for job in jobs])
        found, first = [], 0
        for size in _sizes(len(images), self.sizes):
            self._seen(size)
            found.append(self._session.at_once(images[first : first + size], jobs[0].outputs))
            first += size
        whole = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
        first = 0
        for job in jobs:
            last = first + len(job.images)
            job.answer.set_result({name: part[first:last] for name, part in whole.items()})
            first = last


def _sizes(count: int, allowed: tuple[int, ...]) -> Iterator[int]:
    """So many images in batches of these sizes, the largest first."""
    for size in allowed:
        yield from [size] * (count // size)
        count %= size


def alike_sizes(session: Session, outputs: tuple[str, ...], images: NDArray[np.uint8]) -> tuple[int, ...]:
    """Sizes of batches in which each image is answered bit for bit as alone, from the largest; 1 is always one.

    Sums of floating-point numbers depend on their order, and a library may take another one for another size: each
    size is tried with the network itself.

    Args:
        session: the network.
        outputs: their names.
        images: (16, height, width, channels).
    """
    session.at_once(images[:1], outputs)
    began = time.perf_counter()
    alone = [session.at_once(images[:1], outputs)]
    if time.perf_counter() - began > _MOST_SECONDS_TO_TRY:
        return (1,)
    alone += [session.at_once(images[row : row + 1], outputs) for row in range(1, len(images))]
    together = {size: session.at_once(images[:size], outputs) for size in SIZES}
    alike = [size for size, found in together.items() if _is_alike(found, alone)]
    return (*alike, 1)


def _is_alike(found: Answered, alone: Sequence[Answered]) -> bool:
    return all(
        part[row].tobytes() == alone[row][name][0].tobytes() for name, part in found.items() for row in range(len(part))
    )
