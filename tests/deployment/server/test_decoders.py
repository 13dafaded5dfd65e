from __future__ import annotations

import asyncio
import io
import os
import signal
import struct
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightline.data.inputs import isolation
from sightline.data.inputs.reading import Reader, Reading
from sightline.deployment.server.decoders import Decoders, Job, Watchdog
from sightline.records import InputSpec


def encoded(image: Image.Image, image_format: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format)
    return stream.getvalue()


PHOTO = encoded(Image.effect_noise((60, 40), 50).convert("RGB"), "JPEG")
# 300 ms of work that no bound forbids, in 60 kB.
SLOW = encoded(Image.new("L", (8_000, 8_000)))
READER = Reader(InputSpec(8, 8, "rgb", background="dark"), invert=True, with_properties=True)
GREY = Reader(InputSpec(28, 28, "grey"))


def asked(watchdog: Watchdog, *contents: bytes, reader: Reader = GREY) -> list[Job]:
    jobs = [Job(reader, content, asyncio.get_running_loop().create_future()) for content in contents]
    watchdog.ask(jobs)
    return jobs


async def read(watchdog: Watchdog, *contents: bytes, reader: Reader = GREY) -> list[Reading]:
    return await asyncio.gather(*(job.answer for job in asked(watchdog, *contents, reader=reader)))


def with_one(work: Callable[[Watchdog], Coroutine[Any, Any, None]], **options: Any) -> Watchdog:
    """Do something with a child, and end it."""
    watchdog = Watchdog(**options)

    async def run() -> None:
        try:
            await work(watchdog)
        finally:
            await watchdog.close()

    asyncio.run(run())
    return watchdog


def pid_of(watchdog: Watchdog) -> int:
    assert watchdog._child is not None
    return int(watchdog._child.transport.get_pid())


def test_a_child_reads_as_its_parent_does() -> None:
    async def work(watchdog: Watchdog) -> None:
        for reader in (READER, GREY):
            contents = [PHOTO, PHOTO[:300], encoded(Image.effect_noise((70, 30), 90)), b"no image"]
            for got, content in zip(await read(watchdog, *contents, reader=reader), contents, strict=True):
                wanted = reader.file(content)
                assert (got.error, got.notice) == (wanted.error, wanted.notice)
                assert (got.pixels is None) == (wanted.pixels is None)
                if wanted.pixels is not None:
                    np.testing.assert_array_equal(got.pixels, wanted.pixels)
                np.testing.assert_array_equal(got.seen, wanted.seen)

    with_one(work)


def test_one_process_reads_all_of_them_and_ends_with_its_owner() -> None:
    pids = []

    async def work(watchdog: Watchdog) -> None:
        for content in (PHOTO, b"no image", PHOTO):
            await read(watchdog, content)
            pids.append(pid_of(watchdog))

    with_one(work)
    assert len(set(pids)) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_a_file_that_takes_too_long_costs_its_own_answer_alone() -> None:
    async def work(watchdog: Watchdog) -> None:
        await read(watchdog, PHOTO)
        watchdog.timeout_seconds = 0.1
        first, slow, last = await read(watchdog, PHOTO, SLOW, PHOTO)
        assert first.error is None
        assert slow.error == "image bytes: decoding it took more than 0.1 s and was ended."
        assert last.error is None, "another child read what stood behind it"
        assert last.pixels is not None

    with_one(work, timeout_seconds=5)


def test_a_file_is_not_told_together_with_a_slow_one_behind_it() -> None:
    async def work(watchdog: Watchdog) -> None:
        await read(watchdog, PHOTO)
        first, slow = asked(watchdog, encoded(Image.new("L", (2_000, 2_000))), SLOW)
        await first.answer
        assert not slow.answer.done()
        assert (await slow.answer).error is None

    with_one(work)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not bound memory")
def test_a_file_that_takes_too_much_is_refused_and_the_next_one_is_read() -> None:
    async def work(watchdog: Watchdog) -> None:
        slow, photo = await read(watchdog, SLOW, PHOTO)
        assert "memory does not suffice" in str(slow.error) or "ended without an answer" in str(slow.error)
        assert photo.error is None

    with_one(work, memory_mib=40)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system ends processes otherwise")
def test_a_child_that_was_ended_from_outside_costs_one_image() -> None:
    async def work(watchdog: Watchdog) -> None:
        await read(watchdog, PHOTO)
        jobs = asked(watchdog, SLOW, PHOTO)
        os.kill(pid_of(watchdog), signal.SIGKILL)
        assert (await jobs[0].answer).error == "image bytes: its decoder ended without an answer."
        assert (await jobs[1].answer).error is None

    with_one(work)


def test_whoever_leaves_while_a_file_is_read_disturbs_nobody() -> None:
    freed = []

    async def work(watchdog: Watchdog) -> None:
        await read(watchdog, PHOTO)
        jobs = asked(watchdog, SLOW, PHOTO)
        jobs[0].answer.cancel()
        assert (await jobs[1].answer).error is None
        assert len(freed) == 2

    with_one(work, freed=freed.append)


def test_a_process_that_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(watchdog: Watchdog) -> None:
        for words in (("/nowhere/python", "{}"), (sys.executable, "-c", "raise SystemExit({} * 0)")):
            monkeypatch.setattr(isolation, "_CHILD", words)
            (reading,) = await read(watchdog, PHOTO)
            assert reading.error == "image bytes: no process can be started to decode it in."

    with_one(work)


def framed(told: bytes, length: int | None = None, more: int = 0) -> bytes:
    return struct.pack("<II", len(told) if length is None else length, more) + told


@pytest.mark.parametrize(
    "sent",
    [
        framed(b"{}"),
        framed(b"[]"),
        framed(b'{"error": null, "notice": null, "seen": null}'),
        framed(b'{"error": null, "notice": null, "seen": "many"}'),
        framed(b"no JSON"),
        framed(b"", length=2**31),
        framed(b"{}", more=2**31),
    ],
)
def test_what_is_no_answer_is_none(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a child that a file took over."""
    words = (
        "import sys, time; o = sys.stdout.buffer; i = sys.stdin.buffer\n"
        f"o.write({framed(b'{}')!r}); o.flush()\n"
        f"i.read(1); o.write({sent!r}); o.flush(); time.sleep(9)"
    )

    async def work(watchdog: Watchdog) -> None:
        monkeypatch.setattr(isolation, "_CHILD", (sys.executable, "-c", words.replace("{", "{{").replace("}", "}}")))
        (reading,) = await read(watchdog, PHOTO)
        assert reading.error == "image bytes: its decoder ended without an answer."

    with_one(work)


@pytest.mark.parametrize("size", [1, 70_000])
def test_files_that_wait_for_a_process_that_broke_are_read_by_another(size: int) -> None:
    """Small ones that went there together, and large ones that did not; and nothing breaks in the event loop."""
    broken: list[dict[str, Any]] = []

    async def ask() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: broken.append(told))
        decoders = Decoders(1, timeout_seconds=30)
        try:
            await decoders.read(GREY, PHOTO)
            decoders._watchdogs[0].timeout_seconds = 0.2
            # What follows the picture is none of it.
            contents = [SLOW, *[PHOTO + bytes(size)] * 3]
            readings = await asyncio.gather(*(decoders.read(GREY, content) for content in contents))
            assert [reading.pixels is None for reading in readings] == [True, False, False, False]
            assert (await decoders.read(GREY, PHOTO)).pixels is not None
        finally:
            await decoders.close()

    asyncio.run(ask())
    assert not broken


def test_a_module_of_the_current_folder_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "struct.py").write_text("raise SystemExit('run')")
    monkeypatch.chdir(tmp_path)

    async def work(watchdog: Watchdog) -> None:
        assert (await read(watchdog, PHOTO))[0].error is None

    with_one(work)
