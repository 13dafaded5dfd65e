"""A folder is sorted, planned, gone on with and taken back, by the function and by the command."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.deployment.sorting import steps as steps_module
from sightline.errors import InvalidValue, OutputExists


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def mixed(photos: Path) -> Path:
    """The photographs of three classes in one folder, with what goes along, a damaged one and a link."""
    folder = photos.parent / "mixed"
    folder.mkdir()
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        path.replace(folder / f"{number:02d}.png")
    (folder / "00.xmp").write_text("settings")
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


@pytest.mark.parametrize("by", ["copy", "move"])
def test_each_file_is_in_the_folder_of_its_class_and_comes_back(make_bundle, mixed: Path, by: str) -> None:
    before = tree(mixed)
    found = sightline.sort(make_bundle(), mixed, mixed.parent / "sorted", by=by, progress=False)
    assert found.counts == {"cat": 4, "dog": 4, "owl": 4, "_unreadable": 1}
    assert (found.num_files, found.num_unreadable, list(found.left)) == (14, 1, [])
    there = {name: content for name, content in tree(mixed.parent / "sorted").items() if not name.startswith(".")}
    assert sorted(there)[:5] == ["_unreadable/bad.png", "cat/00.png", "cat/00.xmp", "cat/01.png", "cat/02.png"]
    assert {name.rpartition("/")[2]: content for name, content in there.items()} == before
    assert tree(mixed) == ({} if by == "move" else before)
    back = sightline.undo_sort(mixed.parent / "sorted", progress=False)
    assert (back.num_files, list(back.left)) == (14, [])
    assert tree(mixed) == before
    assert not (mixed.parent / "sorted").exists()


def test_doubtful_answers_have_a_folder_of_their_own(make_bundle, mixed: Path) -> None:
    found = sightline.sort(make_bundle(), mixed, mixed.parent / "sorted", min_confidence=1.0, progress=False)
    assert found.counts == {"_unsure": 12, "_unreadable": 1}


def test_a_plan_touches_nothing_and_can_be_drawn(make_bundle, mixed: Path, tmp_path: Path) -> None:
    (mixed / "link.png").symlink_to(mixed / "00.png")
    before = tree(tmp_path)
    found = sightline.sort(make_bundle("b"), mixed, tmp_path / "sorted", dry_run=True, progress=False)
    assert {name for name in tree(tmp_path) if not name.startswith(("b/", "cache/"))} == {
        name for name in before if not name.startswith(("b/", "cache/"))
    }
    assert not (tmp_path / "sorted").exists()
    found.write_page(tmp_path / "plan.html")
    page = (tmp_path / "plan.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 12
    assert "1 file would stay where it is" in page
    assert "link.png" in page


def test_a_second_sorting_goes_into_the_same_folders_and_is_taken_back_first(make_bundle, mixed: Path) -> None:
    bundle, into = make_bundle(), mixed.parent / "sorted"
    sightline.sort(bundle, mixed, into, progress=False)
    once = {name for name in tree(into) if not name.startswith(".")}
    again = sightline.sort(bundle, mixed, into, progress=False)
    assert again.num_files == 14
    assert "cat/0002 00.png" in tree(into)
    assert "cat/0002 00.xmp" in tree(into)
    sightline.undo_sort(into, progress=False)
    assert {name for name in tree(into) if not name.startswith(".")} == once
    sightline.undo_sort(into, progress=False)
    with pytest.raises(InvalidValue, match="there is no sorting to take back"):
        sightline.undo_sort(into, progress=False)


def test_a_stopped_sorting_is_gone_on_with_and_another_one_refused(
    make_bundle, mixed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, into = make_bundle(), mixed.parent / "sorted"
    put, calls = steps_module.put_if_free, []

    def stopping(place: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 4:
            raise KeyboardInterrupt
        put(place, target)

    monkeypatch.setattr(steps_module, "put_if_free", stopping)
    with pytest.raises(KeyboardInterrupt):
        sightline.sort(bundle, mixed, into, progress=False)
    monkeypatch.undo()
    with pytest.raises(OutputExists, match="another sorting was stopped here"):
        sightline.sort(bundle, mixed, into, by="move", progress=False)
    found = sightline.sort(bundle, mixed, into)
    assert "going on with" in capsys.readouterr().err
    assert (found.num_files, found.num_unreadable) == (14, 1)
    sightline.undo_sort(into, progress=False)
    assert not into.exists()


def test_two_do_not_sort_into_one_folder(make_bundle, mixed: Path) -> None:
    into = mixed.parent / "sorted"
    into.mkdir()
    from sightline.system.files import held

    with held(into), pytest.raises(OutputExists, match="another command is sorting into it"):
        sightline.sort(make_bundle(), mixed, into, progress=False)


def test_what_cannot_be_asked_is_refused_before_anything_is_done(make_bundle, mixed: Path, tmp_path: Path) -> None:
    bundle, before = make_bundle(), tree(tmp_path)
    for into, options, message in (
        (mixed / "in", {}, "it lies in"),
        (mixed.parent, {}, "it lies in"),
        (mixed, {}, "it lies in"),
        (bundle / "x", {}, "belongs to the bundle"),
        (tmp_path / "new", {"by": "teleport"}, "no way of sorting is called 'teleport'"),
        (tmp_path / "new", {"min_confidence": 1.5}, "min_confidence must be"),
        (tmp_path / "new", {"max_set_size": 1}, "Name a coverage"),
        (tmp_path / "new", {"pattern": "../{name}"}, "stay in the folder"),
    ):
        with pytest.raises((InvalidValue, OutputExists, sightline.SightlineError), match=message):
            sightline.sort(bundle, mixed, into, progress=False, **options)
    with pytest.raises(InvalidValue, match="there is no such folder"):
        sightline.sort(bundle, tmp_path / "gone", tmp_path / "new", progress=False)
    assert tree(tmp_path) == before


def test_the_command_sorts_plans_and_takes_back(make_bundle, mixed: Path, command) -> None:
    bundle = make_bundle()
    planned = command("sort", bundle, mixed, "--into", "sorted", "--dry-run")
    assert planned.code == 1, "one cannot be read"
    assert "nothing was touched" in planned.out
    assert (mixed.parent / "sort-plan.html").exists()
    done = command("sort", bundle, mixed, "--into", "sorted", "--by", "hardlink", "--json")
    told = json.loads(done.out)
    assert (done.code, told["did"], told["num_files"], told["counts"]["cat"]) == (1, "sorted", 14, 4)
    assert (mixed.parent / "sorted" / "cat" / "00.png").samefile(mixed / "00.png")
    assert command("sort", "--undo", "sorted", "--quiet").code == 0
    assert "name a bundle, a folder and --into DIR" in command("sort", bundle, mixed).err
    assert "stands alone" in command("sort", bundle, mixed, "--undo", "sorted").err


def test_names_of_all_kinds_keep_their_bytes(make_bundle, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in (b"\xff.png", "猫.png".encode(), b"-rf.png", b"a\nb.png", b"x" * 251 + b".png"):
        Image.new("RGB", (9, 9), (200, 60, 20)).save(folder / os.fsdecode(name), "PNG")
    before = tree(folder)
    found = sightline.sort(make_bundle(), folder, tmp_path / "sorted", by="move", progress=False)
    assert (found.counts, found.num_files) == ({"cat": 5}, 5)
    sightline.undo_sort(tmp_path / "sorted", progress=False)
    assert tree(folder) == before


def test_what_could_not_be_taken_back_hides_no_sorting_before_it(make_bundle, mixed: Path) -> None:
    bundle, into = make_bundle(), mixed.parent / "sorted"
    sightline.sort(bundle, mixed, into, progress=False)
    sightline.sort(bundle, mixed, into, progress=False)
    (into / "cat" / "0002 00.png").write_bytes(b"edited")
    assert list(sightline.undo_sort(into, progress=False).left) == [("cat/0002 00.png", "it was changed since")]
    assert sightline.undo_sort(into, progress=False).num_files == 14
    assert {name for name in tree(into) if ".sightline" not in name} == {"cat/0002 00.png"}


def test_what_is_in_the_way_may_be_cleared_and_the_rest_taken_back(make_bundle, mixed: Path, capsys) -> None:
    into, before = mixed.parent / "sorted", tree(mixed)
    sightline.sort(make_bundle(), mixed, into, by="move", progress=False)
    (mixed / "00.png").write_bytes(b"mine")
    found = sightline.undo_sort(into)
    assert list(found.left) == [("cat/00.png", "something lies where it was")]
    assert "clear what is in the way" in capsys.readouterr().err
    (mixed / "00.png").unlink()
    assert sightline.undo_sort(into, progress=False).num_files == 1
    assert tree(mixed) == before
    assert not into.exists()


def test_a_name_that_begins_as_a_drive_comes_back(make_bundle, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    Image.new("RGB", (9, 9), (200, 60, 20)).save(folder / "7:30 walk.png")
    sightline.sort(make_bundle(), folder, tmp_path / "sorted", by="move", progress=False)
    assert sightline.undo_sort(tmp_path / "sorted", progress=False).num_files == 1
    assert [path.name for path in folder.iterdir()] == ["7:30 walk.png"]


def test_nothing_to_sort_leaves_no_folder(make_bundle, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidValue, match="no image in this folder"):
        sightline.sort(make_bundle(), tmp_path / "empty", tmp_path / "sorted", progress=False)
    assert not (tmp_path / "sorted").exists()


def pictures_in(*folders: Path) -> set[bytes]:
    """What is held under any name but those of our own notes."""
    found = [tree(folder) for folder in folders if folder.exists()]
    return {
        value for part in found for name, value in part.items() if ".sightline" not in name and ".sort." not in name
    }


class Killer:
    """Repeats a command until it ends by itself, and kills it amid its steps as long as there are kills left."""

    def __init__(self, kills: int, taken: float) -> None:
        self.left, self.taken, self.draw = kills, taken, random.Random(kills)

    def until_done(self, words: list[str], has_begun: Callable[[], bool], check: Callable[[], None]) -> None:
        while True:
            process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            while self.left > 0 and process.poll() is None and not has_begun():
                time.sleep(0.002)
            try:
                told = process.communicate(timeout=self.draw.uniform(0, self.taken) if self.left > 0 else None)[1]
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                self.left -= 1
                check()
                continue
            # Killed behind its last step, it finds that there is nothing left to do.
            assert process.returncode == 0 or re.search("no sorting to take back|no image in this folder", told), told
            return


@pytest.mark.soak  # stops after any call of the system are in sorting/test_steps.py
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
@pytest.mark.parametrize("by", ["move", "copy"])
def test_killed_amid_its_steps_there_and_back_nothing_is_lost(make_bundle, tmp_path: Path, by: str) -> None:
    bundle, folder, into = make_bundle(), tmp_path / "many", tmp_path / "sorted"
    folder.mkdir()
    for number in range(400):
        color = ((200, 60, 20), (30, 210, 60))[number % 2]
        Image.new("RGB", (9, 9), (color[0], color[1] + number // 20, color[2] + number % 20)).save(
            folder / f"{number:03d}.png"
        )
        (folder / f"{number:03d}.xmp").write_text(f"settings {number}")
    before = tree(folder)
    contents = set(before.values())
    assert len(contents) == 800
    program = [sys.executable, "-m", "sightline", "sort"]
    there = [*program, str(bundle), str(folder), "--into", str(into), "--by", by, "--quiet"]
    back = [*program, "--undo", str(into), "--quiet"]
    killer = Killer(25, 0.2)

    def nothing_is_lost() -> None:
        assert pictures_in(folder, into) == contents

    while killer.left > 0:
        killer.until_done(there, (into / "cat").exists, nothing_is_lost)
        assert len(tree(folder)) == (0 if by == "move" else 800)
        assert len([name for name in tree(into) if ".sightline" not in name]) == len(before)
        killer.until_done(back, lambda: len(tree(into)) <= len(before), nothing_is_lost)
        assert tree(folder) == before
    assert not into.exists() or not list(into.iterdir())


def test_an_image_with_several_labels_goes_to_the_folder_of_each_under_one_name(
    labels_run: sightline.Run, labels_table: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    for number in range(30):
        # Two of each name, in two folders.
        for folder, of in (("one", number), ("other", number + 30)):
            (photos / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(labels_table.parent / f"{of:03d}.png", photos / folder / f"{number:03d}.png")
    (photos / "one" / "000.xmp").write_text("settings")
    found = sightline.sort(labels_run, photos, tmp_path / "sorted", by="hardlink", progress=False)
    said = sightline.predict(labels_run, photos, progress=False)
    decided = said.task.decided(said.logits) != 0
    counts = dict(zip(said.class_names, decided.sum(axis=0).tolist(), strict=True))
    assert found.counts == counts | {"_no_label": int((~decided.any(axis=1)).sum())}
    assert found.counts["_no_label"] > 0
    for special in tmp_path.glob("sorted/_*"):
        shutil.move(special, tmp_path / special.name)
    again = sightline.load(tmp_path / "sorted", task="multi-label")
    told = sorted(row for row in map(tuple, decided.tolist()) if any(row))
    assert sorted(map(tuple, (np.asarray(again.labels) != 0).tolist())) == told, "each image is one image again"
    with_settings = [path.parent.name for path in (tmp_path / "sorted").rglob("*.xmp")]
    assert sorted(with_settings) == sorted(
        name
        for name, has in zip(said.class_names, decided[said.row_ids.index(str(photos / "one/000.png"))], strict=True)
        if has
    )


def test_a_label_that_is_not_sure_enough_has_no_file_and_an_image_without_a_sure_one_is_unsure(
    labels_run: sightline.Run, labels_table: Path, tmp_path: Path
) -> None:
    found = sightline.sort(
        labels_run, labels_table.parent, tmp_path / "sorted", min_confidence=0.9, dry_run=True, progress=False
    )
    said = sightline.predict(labels_run, labels_table.parent, progress=False)
    decided = said.task.decided(said.logits) != 0
    sure = decided & (said.task.probabilities(said.logits, temperature=said.temperature).round(6) >= 0.9)
    assert found.counts["top"] == sure[:, 2].sum()
    assert found.counts["_unsure"] == (decided.any(axis=1) & ~sure.any(axis=1)).sum() > 0
    found.write_page(tmp_path / "plan.html")
    assert "_unsure" in (tmp_path / "plan.html").read_text(encoding="utf-8")


def test_a_sorting_of_several_labels_is_taken_back_whole(
    labels_run: sightline.Run, labels_table: Path, tmp_path: Path
) -> None:
    for number in range(10):
        (tmp_path / "photos").mkdir(exist_ok=True)
        shutil.copy(labels_table.parent / f"{number:03d}.png", tmp_path / "photos")
    done = sightline.sort(labels_run, tmp_path / "photos", tmp_path / "sorted", progress=False)
    assert done.num_files > 10
    assert sightline.undo_sort(tmp_path / "sorted", progress=False).num_files == done.num_files
    assert not (tmp_path / "sorted").exists()
    assert len(list((tmp_path / "photos").iterdir())) == 10


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ({"by": "move"}, "a file that is moved lies in one"),
        ({"pattern": "{class} {name}"}, "has one name in all of the"),
    ],
)
def test_what_several_folders_cannot_have_is_refused_before_anything_is_touched(
    labels_run: sightline.Run, labels_table: Path, tmp_path: Path, option: dict[str, str], why: str
) -> None:
    with pytest.raises(InvalidValue, match=why):
        sightline.sort(labels_run, labels_table.parent, tmp_path / "sorted", progress=False, **option)
    assert not (tmp_path / "sorted").exists()
