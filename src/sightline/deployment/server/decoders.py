"""Strangers' files opened in processes of their own, so many at a time as the machine has processors."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.prediction import Answerer, Reading
from sightline.data.decoding.isolation import Watchdog
from sightline.system.workers import available_processors

Result = TypeVar("Result")


class Decoders:
    """Some processes that decode, each with a bound on time and memory; a file that breaks one costs its own answer.

    Args:
        count: how many; 0 for one a processor.
        timeout_seconds: for one file.
    """

    def __init__(self, count: int, *, timeout_seconds: float) -> None:
        count = count or available_processors()
        self._watchdogs = [Watchdog(timeout_seconds=timeout_seconds) for _ in range(count)]
        self._free: queue.SimpleQueue[Watchdog] = queue.SimpleQueue()
        for watchdog in self._watchdogs:
            self._free.put(watchdog)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="sightline-decoder")

    async def read(self, answerer: Answerer, content: bytes) -> Reading:
        """One file as a network is fed it, or why it cannot be read; cancelled before its turn, it costs nothing."""
        return await self.call(lambda: self._read(answerer, content))

    async def pixels(self, content: bytes, *, minimum_size: tuple[int, int]) -> NDArray[np.uint8]:
        """One file as (height, width, 3) uint8; an UnreadableImage says why it is none. A large one may be reduced."""
        return await self.call(lambda: self._decode(content, minimum_size))

    async def call(self, work: Callable[[], Result]) -> Result:
        """Something that takes a processor for a while, in its turn."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def begin(self, answerer: Answerer) -> None:
        """Start the processes, which takes some tenths of a second, before anybody waits for them."""
        nothing = b"P5 1 1 255 \0"
        await asyncio.gather(*(self.read(answerer, nothing) for _ in self._watchdogs))

    def close(self) -> None:
        """End them."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for watchdog in self._watchdogs:
            with contextlib.suppress(OSError):
                watchdog.close()

    def _decode(self, content: bytes, minimum_size: tuple[int, int]) -> NDArray[np.uint8]:
        watchdog = self._free.get()
        try:
            return watchdog.decode(content, color_mode="rgb", minimum_size=minimum_size)
        finally:
            self._free.put(watchdog)

    def _read(self, answerer: Answerer, content: bytes) -> Reading:
        watchdog = self._free.get()
        try:
            return dataclasses.replace(answerer, watchdog=watchdog).read_file(content)
        finally:
            self._free.put(watchdog)
