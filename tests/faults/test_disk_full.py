"""A disk that is full at one write after the other: nothing is half written, and nothing is mistaken for finished.

The disk is a real one, of a few megabytes in memory. Just before a file on it is opened to be written for the so many
times, another one takes all the room that is left, so that the system itself refuses the write.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.errors import CannotWrite, InvalidBundle

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
needs_mount = pytest.mark.skipif(
    not (sys.platform == "linux" and IS_ROOT and shutil.which("mount")), reason="needs Linux and the right to mount"
)
MOST_WRITES = 80


class SmallDisk:
    """A disk that can be told to be full at its so many-th write from now on."""

    def __init__(self, place: Path) -> None:
        self.place, self.left, self.is_filling, self.was_full = place, 0, False, False
        sys.addaudithook(self._hear)  # cannot be taken back, and does nothing any more once the disk is closed

    def _hear(self, event: str, told: tuple[object, ...]) -> None:
        if event != "open" or not self.left or self.is_filling or not isinstance(told[0], str | bytes):
            return
        flags = told[2] if isinstance(told[2], int) else 0
        if flags & (os.O_WRONLY | os.O_RDWR) and os.fsdecode(told[0]).startswith(f"{self.place}/"):
            self.left -= 1
            if not self.left:
                self._fill()

    def _fill(self) -> None:
        self.is_filling = self.was_full = True
        with (self.place / "filler").open("wb", buffering=0) as stream:
            for size in (2**20, 2**12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        stream.write(bytes(size))
        self.is_filling = False

    @contextlib.contextmanager
    def full_at(self, number: int) -> Iterator[None]:
        """Full at that write, and free again at the end."""
        self.left, self.was_full = number, False
        try:
            yield
        finally:
            self.left = 0
            (self.place / "filler").unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place], check=False).returncode:
        pytest.skip("this system lets nobody mount a disk")
    small = SmallDisk(place)
    try:
        yield small
    finally:
        small.left = 0
        subprocess.run(["umount", "-l", place], check=True)


def leftovers(place: Path) -> list[str]:
    return [str(path) for path in place.rglob("*") if path.name.endswith(".partial")]


def full_at_each_write(
    disk: SmallDisk, step: Callable[[], object], is_as_before: Callable[[], bool] = lambda: True
) -> Iterator[str]:
    """The refusal of each write of a step, one after the other, until it gets through."""
    for number in range(1, MOST_WRITES):
        told = ""
        with disk.full_at(number):
            try:
                step()
            except CannotWrite as error:
                told = str(error)
        assert disk.was_full or not told, f"write {number}: {told}"
        if not told:  # what had been written by then needed no more room
            return
        assert "the disk is full" in told
        assert ".partial" not in told
        assert is_as_before(), f"write {number}"
        assert not leftovers(disk.place)
        yield told
    pytest.fail(f"more than {MOST_WRITES} writes")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for row in range(6):
        place = tmp_path / "pictures" / "ab"[row % 2] / f"{row}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(row).integers(0, 256, (28, 28), dtype=np.uint8)).save(place)
    return tmp_path / "pictures"


@needs_mount
@pytest.mark.soak  # as with an evaluation and a signature
def test_a_table_a_page_and_an_export_are_whole_or_as_they_were(
    disk: SmallDisk, pictures: Path, tiny_run: sightline.Run, command, tmp_path: Path
) -> None:
    outputs = {
        "answers.csv": ("predict", tiny_run.path, pictures, "--overwrite", "--csv"),
        "similar.png": ("similar", tiny_run.path, pictures / "a" / "0.png", "--in", pictures, "--overwrite", "--out"),
        "model.onnx": ("export", tiny_run.path, "onnx", "--overwrite", "--out"),
    }
    for name, words in outputs.items():
        target = disk.place / name
        for before in (None, b"what was there"):
            refused = 0
            for number in range(1, MOST_WRITES):
                for path in disk.place.iterdir():
                    path.unlink()
                if before is not None:
                    target.write_bytes(before)
                with disk.full_at(number):
                    answer = command(*words, target)
                if not disk.was_full or answer.code == 0:  # what had been written by then needed no more room
                    break
                refused += 1
                assert answer.code == 2, (name, number, answer.err)
                assert "the disk is full" in answer.err
                # Answers that were written already are kept where the command says.
                assert not leftovers(disk.place) or "answers are kept in" in answer.err
                assert (target.read_bytes() if target.exists() else None) == before, (name, number)
            assert answer.code == 0, (name, answer.err)
            assert target.stat().st_size > 100
            assert refused


@needs_mount
def test_an_evaluation_is_whole_or_not_there(disk: SmallDisk, tiny_run: sightline.Run, small_npz: Path) -> None:
    source, out = sightline.load(small_npz), disk.place / "evaluation"
    for told in full_at_each_write(disk, lambda: sightline.evaluate(tiny_run, source, out=out)):
        assert str(out) in told
        assert not list(disk.place.iterdir())
    assert {"metrics.json", "confusion.png"} <= {path.name for path in out.iterdir()}


@needs_mount
def test_a_signature_is_whole_or_not_there(disk: SmallDisk, tiny_run: sightline.Run, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from sightline.system.signatures import new_key

    public = new_key(tmp_path / "mine")
    bundle = Path(shutil.copytree(tiny_run.path / "bundle", disk.place / "bundle"))
    for _ in full_at_each_write(disk, lambda: sightline.sign(bundle, tmp_path / "mine")):
        assert not (bundle / "signature.json").exists()
    with sightline.trusting(public):
        sightline.reopen(bundle)


def trained(disk: SmallDisk, source: Path, number: int) -> sightline.Run:
    recipe = sightline.recipe("fast", {"model.name": "mlp", "training.epochs": 1})
    return sightline.train(source, recipe=recipe, out=disk.place / f"{number:03d}", mode="quiet")


def check_left(disk: SmallDisk, number: int) -> None:
    """What a run left that ended at a full disk is no finished one, for whoever looks at it."""
    folder = disk.place / f"{number:03d}"
    assert not leftovers(disk.place)
    states = {Path(row["run"]).name: row["state"] for row in sightline.runs(disk.place)}
    assert states.get(folder.name) != "finished", number
    with pytest.raises(InvalidBundle, match=r"."):
        sightline.reopen(folder)


@needs_mount
def test_a_run_that_finds_the_disk_full_before_it_learns_leaves_its_folder_free(
    disk: SmallDisk, small_npz: Path
) -> None:
    from sightline.training.setup.preparation import prepare
    from sightline.training.setup.run_folder import run_folder

    for keys in ({}, {"ensemble.kind": "deep"}):
        data, out = prepare(small_npz, sightline.recipe("fast", keys)), disk.place / "run"

        def begin() -> None:
            with run_folder(out, data):  # noqa: B023  # called at once
                pass

        assert len(list(full_at_each_write(disk, begin, lambda: not out.exists()))) >= 4  # noqa: B023
        shutil.rmtree(out)


@needs_mount
@pytest.mark.slow
def test_a_run_whose_bundle_found_no_room_is_not_taken_for_a_finished_one(disk: SmallDisk, small_npz: Path) -> None:
    number = 12  # of the bundle's files the first ones
    with disk.full_at(number), pytest.raises(CannotWrite, match="the disk is full"):
        trained(disk, small_npz, number)
    check_left(disk, number)
    assert sightline.resume(disk.place / f"{number:03d}", mode="quiet").evaluation is not None


@needs_mount
@pytest.mark.slow
@pytest.mark.soak
def test_a_run_that_finds_the_disk_full_at_any_write_can_be_begun_anew_and_is_never_taken_for_finished(
    disk: SmallDisk, small_npz: Path
) -> None:
    for number in range(1, MOST_WRITES):
        told = ""
        with disk.full_at(number):
            try:
                trained(disk, small_npz, number)
            except CannotWrite as error:
                told = str(error)
        assert ("the disk is full" in told and ".partial" not in told) == disk.was_full, f"write {number}: {told}"
        if not disk.was_full:
            break
        check_left(disk, number)
        if number % 9 == 0:  # the same call goes on with it, or begins anew where nothing was kept
            trained(disk, small_npz, number)
            assert sightline.verify(disk.place / f"{number:03d}").holds
        shutil.rmtree(disk.place / f"{number:03d}", ignore_errors=True)
    assert number > 20
    assert sightline.verify(disk.place / f"{number:03d}").holds


@needs_mount
def test_a_disk_that_is_read_only_is_told_as_that(disk: SmallDisk, pictures: Path, command) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk.place], check=True)
    for words in (
        ("predict", "imagenet", pictures, "--csv", disk.place / "answers.csv"),
        ("audit", pictures, "--html", disk.place / "audit.html"),
        ("train", "mnist", "--out", disk.place / "run"),
    ):
        answer = command(*words, "--quiet")
        assert answer.code == 2, words
        assert "the disk is read-only. Choose another place" in answer.err, words


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of the size of a file")
def test_a_limit_of_the_size_of_files_is_told_and_leaves_nothing(pictures: Path, python, tmp_path: Path) -> None:
    program = """
import resource, sys
from sightline.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
sys.exit(main(["predict", "imagenet", "pictures", "--csv", "answers.csv"]))
"""
    answer = python(program)
    assert answer.code == 2, answer.err
    assert "answers.csv: the file would be larger than is allowed here" in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]
