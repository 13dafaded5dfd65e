"""What the machine refuses is told as that: no sound image is called damaged, no result is made up."""

from __future__ import annotations

import dataclasses
import errno
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

PREFACE = """
import os, resource, sys, sightline
from sightline.errors import SightlineError
from sightline.cli.main import main
bundle = sightline.reopen("imagenet")
sightline.predict(bundle, "pictures/a/0.png", progress=False)
sightline.load("pictures")

def tried(step):
    try:
        return step()
    except SightlineError as error:
        return f"{type(error).__name__}: {error}"
"""
NO_FILES = """
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
held = []
try:
    while True:
        held.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
print(tried(lambda: sightline.predict(bundle, "pictures/a/0.png", progress=False)))
print(tried(lambda: sightline.predict(bundle, "pictures", progress=False)))
print(tried(lambda: sightline.load("pictures")))
os.close(held.pop())
os.close(held.pop())
os.close(held.pop())
print(sightline.predict(bundle, "pictures", progress=False).errors)
"""
# Every clock of the process goes backwards by an hour at each look.
BACKWARDS = """
import itertools, time
for name in ("time", "monotonic", "perf_counter"):
    count = itertools.count(10**9, -3600)
    setattr(time, name, lambda count=count: float(next(count)))
sys.exit(main(["predict", "imagenet", "pictures", "--csv", "answers.csv"]) or main(["audit", "pictures"]) > 1)
"""
# Of four pictures.
ALL_LEARNED = {"data.validation_fraction": 0, "data.calibration_fraction": 0, "data.test_fraction": 0}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for row in range(4):
        place = tmp_path / "pictures" / "ab"[row % 2] / f"{row // 2}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(row).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(place)
    return tmp_path / "pictures"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of open files for a process")
def test_where_no_file_can_be_opened_any_more_no_image_is_called_unreadable(pictures: Path, python) -> None:
    answer = python(PREFACE + NO_FILES)
    assert answer.code == 0, answer.err
    told = answer.out.splitlines()
    assert told[3] == "(None, None, None, None)"
    assert set(told[:3]) == {
        "OutOfResources: too many files are open at once. Allow this process more, for instance with: ulimit -n 4096"
    }


def test_a_clock_that_goes_backwards_changes_no_answer(pictures: Path, python, tmp_path: Path) -> None:
    answer = python(PREFACE + BACKWARDS)
    assert answer.code == 0, answer.err
    assert len((tmp_path / "answers.csv").read_text(encoding="utf-8").splitlines()) == 5


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are text there")
@pytest.mark.parametrize("locale", [{"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {}])
def test_in_the_plainest_locale_names_of_any_bytes_are_read_answered_and_written(
    locale: dict[str, str], pictures: Path, python, tmp_path: Path
) -> None:
    (pictures / "a" / "0.png").rename(os.fsdecode(os.fsencode(pictures / "a") + b"/\xc3\xa9\xff.png"))
    (pictures / "b").rename(os.fsdecode(os.fsencode(pictures) + b"/\xe4"))
    program = """
import sys
from sightline.cli.main import main
sys.exit(main(["predict", "imagenet", "pictures", "--csv", "answers.csv"]) or main(["audit", "pictures"]) > 1)
"""
    answer = python(program, env={**os.environ, "LC_ALL": "C", **locale})
    assert answer.code == 0, answer.err
    assert "Traceback" not in answer.err
    table = (tmp_path / "answers.csv").read_bytes()
    assert table.count(b"\n") == 5
    assert "é".encode() in table or b"\\xe9" in table or b"\\xc3\\xa9" in table


def test_a_file_that_vanishes_or_changes_while_it_is_read_is_a_row_that_says_so(pictures: Path) -> None:
    import sightline

    source = sightline.load(pictures)
    (pictures / "a" / "0.png").unlink()
    (pictures / "b" / "0.png").write_bytes(b"something else")
    found = sightline.predict("imagenet", source, progress=False)
    told = dict(zip(found.row_ids, found.errors, strict=True))
    assert "gone since the source was opened" in told["a/0.png"]
    assert "has changed since the source was opened" in told["b/0.png"]
    assert told["a/1.png"] is told["b/1.png"] is None


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EDQUOT, "your disk quota is used up. Free some space"),
        (errno.EROFS, "the disk is read-only. Choose another place"),
        (errno.EIO, "the disk does not answer. Choose another place"),
    ],
)
def test_what_a_disk_refuses_is_told_and_leaves_nothing(
    number: int, words: str, pictures: Path, command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sightline
    from sightline.errors import CannotWrite
    from sightline.training.setup.preparation import prepare
    from sightline.training.setup.run_folder import run_folder

    data = prepare(pictures, sightline.recipe("fast", ALL_LEARNED))

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    first = pictures / "a" / "0.png"
    answer = command("similar", "imagenet", first, "--in", pictures, "--out", "similar.png", "--quiet")
    assert answer.code == 2
    assert f"similar.png: {words}" in answer.err
    with pytest.raises(CannotWrite, match=words), run_folder(tmp_path / "run", data):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_a_thread_that_dies_while_it_decodes_ends_what_waits_for_it_and_the_next_try_is_whole(pictures: Path) -> None:
    import sightline
    from sightline.data.inputs.pixels import read_pixels
    from sightline.records import InputSpec

    source = sightline.load(pictures)
    store: Any = source.images

    class Dies(type(store)):  # type: ignore[misc]  # its kind is known only here
        def read(self, row: int) -> bytes:
            if row == 2:
                raise RuntimeError("out of a library")
            content: bytes = store.read(row)
            return content

    dying = object.__new__(Dies)
    dying.__dict__.update(vars(store))
    spec = InputSpec(28, 28, "rgb")
    threads = threading.active_count()
    with pytest.raises(RuntimeError, match="out of a library"):
        read_pixels(dataclasses.replace(source, images=dying), spec)
    assert threading.active_count() == threads
    assert read_pixels(source, spec).take(np.arange(4))[:].shape[0] == 4


def test_a_file_that_changes_before_a_training_reads_it_is_left_out_with_the_reason(pictures: Path) -> None:
    import sightline
    from sightline.training.setup.preparation import prepare

    source = sightline.load(pictures)
    (pictures / "b" / "1.png").write_bytes((pictures / "a" / "1.png").read_bytes() + b"more")
    data = prepare(source, sightline.recipe("fast", {**ALL_LEARNED, "data.unreadable_limit": 0.5}))
    assert len(data.dataset) == 3
    assert 'b/1.png,"has changed since the source was opened (' in data.excluded_csv()
