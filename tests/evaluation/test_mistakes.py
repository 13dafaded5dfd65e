"""The wrong and the unsure answers of a run, by name."""

from __future__ import annotations

import csv
import dataclasses
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.errors import InvalidValue, OutputExists
from sightline.evaluation.measuring.finished_runs import read_run
from sightline.evaluation.mistakes import Mistake, Mistakes
from sightline.system.paths import why_not_on_windows


def test_exactly_the_wrong_answers_are_told_the_surest_first(tiny_run: sightline.Run) -> None:
    found = sightline.mistakes(tiny_run)
    kept = read_run(tiny_run).predictions["test"]
    wrong = {row_id for row_id, name in kept.given.items() if kept.predicted[row_id] != name}
    told = [row for row in found.rows if row.is_wrong]
    assert {row.row_id for row in told} == wrong
    assert wrong
    assert [row.confidence for row in told] == sorted((row.confidence for row in told), reverse=True)
    assert all((row.given, row.predicted) == (kept.given[row.row_id], kept.predicted[row.row_id]) for row in told)


def test_the_pictures_are_those_that_the_names_name(tiny_run: sightline.Run, small_npz: Path) -> None:
    found, dataset = sightline.mistakes(tiny_run), sightline.load(small_npz)
    place = {row_id: row for row, row_id in enumerate(dataset.row_ids.tolist())}
    for row, pixels in found.pictures(5):
        assert np.array_equal(pixels, dataset.images[place[row.row_id]])


def test_answers_are_unsure_as_predict_marks_them(tiny_run: sightline.Run, small_npz: Path) -> None:
    found = sightline.mistakes(tiny_run, max_error=0.5)
    dataset = sightline.load(small_npz)
    marked = sightline.predict(tiny_run, dataset, max_error=0.5)
    judged = set(read_run(tiny_run).predictions["test"].given)
    unsure = {name for name, is_one in zip(marked.row_ids, marked.unsure, strict=True) if is_one and name in judged}
    assert {row.row_id for row in found.rows if row.is_unsure} == unsure


def test_one_class_can_be_asked_for(tiny_run: sightline.Run) -> None:
    found = sightline.mistakes(tiny_run, class_name="3")
    assert found.rows
    assert all("3" in (row.given, row.predicted) for row in found.rows)
    kept = read_run(tiny_run).predictions["test"]
    concerned = [row_id for row_id, name in kept.given.items() if "3" in (name, kept.predicted[row_id])]
    assert found.num_images == len(concerned) < sightline.mistakes(tiny_run).num_images
    assert f"of {len(concerned)} test images given 3 or taken for it, {found.num_wrong} wrong" in str(found)


def test_without_its_images_a_run_names_its_mistakes_all_the_same(
    run_copy: Path, small_npz: Path, tmp_path: Path
) -> None:
    away = small_npz.rename(tmp_path / "away.npz")
    try:
        found = sightline.mistakes(run_copy)
    finally:
        away.rename(small_npz)
    assert found.num_wrong == sightline.mistakes(run_copy).num_wrong
    assert "not at hand" in found.about_images
    assert list(found.pictures(3)) == []
    with pytest.raises(InvalidValue, match="nothing to draw"):
        found.sheet()


def test_copies_lie_below_both_classes_and_nothing_is_overwritten(tiny_run: sightline.Run, tmp_path: Path) -> None:
    found = sightline.mistakes(tiny_run)
    assert found.copy_to(tmp_path / "copies") == len(found)
    first = found.rows[0]
    folder = tmp_path / "copies" / f"{first.given} as {first.predicted}"
    assert first.row_id.rpartition("/")[2] in {path.stem for path in folder.iterdir()}
    with pytest.raises(OutputExists):
        found.copy_to(tmp_path / "copies")


def test_copies_of_hostile_names_are_files_of_the_folder(tiny_run: sightline.Run, tmp_path: Path) -> None:
    found = sightline.mistakes(tiny_run)
    rows = tuple(
        dataclasses.replace(row, row_id=name, given="a/b", predicted="..")
        for row, name in zip(found.rows, ["../../x:y", "nul", "NUL", ".."], strict=False)
    )
    odd = dataclasses.replace(found, rows=rows, places=found.places[:4])
    assert odd.copy_to(tmp_path / "copies") == 4
    copies = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len({path.name.casefold() for path in copies}) == 4
    assert {path.parent.parent for path in copies} == {tmp_path / "copies"}


def copied(tmp_path: Path, pairs: list[tuple[str, str]], files: list[str]) -> dict[str, set[str]]:
    """Folders with their files, of a copy of a file of each name for each pair; each copy is the file it stands for."""
    images = tmp_path / "images"
    for number, file in enumerate(file for _ in pairs for file in files):
        (images / str(number % 2) / str(number)).mkdir(parents=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(images / str(number % 2) / str(number) / file)
    dataset = sightline.load(images, label_from="top")
    by_number = sorted(dataset.row_ids.tolist(), key=lambda row_id: int(row_id.split("/")[1]))
    row_of = {row_id: row for row, row_id in enumerate(dataset.row_ids.tolist())}
    rows = tuple(
        Mistake(row_id, *pairs[number // len(files)], 0.9, True, False) for number, row_id in enumerate(by_number)
    )
    places = np.array([row_of[row_id] for row_id in by_number])
    found = Mistakes(Path("run"), "test", rows, len(rows), "", "", dataset, places)
    assert found.copy_to(tmp_path / "copies") == len(rows)
    copies = [path for path in (tmp_path / "copies").rglob("*") if path.is_file()]
    red = sorted(np.asarray(Image.open(path))[0, 0, 0] for path in copies)
    assert red == list(range(len(rows))), "no copy is lost and none is there twice"
    return {folder.name: {path.name for path in folder.iterdir()} for folder in (tmp_path / "copies").iterdir()}


def test_no_copy_takes_the_name_of_another(tmp_path: Path) -> None:
    there = copied(tmp_path, [("p", "q")], ["a.png", "a.png", "0002 a.png", "A.png", "0002 A.png"])
    assert there == {"p as q": {"a.png", "0002 a.png", "0002 0002 a.png", "0003 A.png", "0003 0002 A.png"}}


def test_long_names_of_all_letters_are_cut_to_bytes_and_keep_their_endings(tmp_path: Path) -> None:
    long = "猫" * 70
    pairs = [(f"{long}{one}", f"{'狗' * 84}{one}") for one in "12"] + [
        ("b" * 95 + " x", "c."),
        ("a:b", "c"),
        ("a-b", "c"),
    ]
    there = copied(tmp_path, pairs, [f"{'é' * 110}.png", f"{'x' * 240}.png"])
    assert len(there) == 5, "pairs that are cut to one name have a folder each"
    for folder, names in there.items():
        assert " as " in folder
        for name in (folder, *names):
            assert len(name.encode()) <= 255
            assert why_not_on_windows(name) == ""
        assert all(name.endswith(".png") for name in names)
    assert sum("猫" in folder and "狗" in folder for folder in there) == 2


def test_the_command_writes_table_sheet_and_json(
    command: Callable[..., object], tiny_run: sightline.Run, tmp_path: Path
) -> None:
    answer = command("mistakes", tiny_run.path, "--most", 2, "--csv", "m.csv", "--sheet", "m.png")
    assert answer.code == 0  # type: ignore[attr-defined]
    assert "more: --most N" in answer.out  # type: ignore[attr-defined]
    lines = list(csv.DictReader(io.StringIO((tmp_path / "m.csv").read_text(encoding="utf-8"))))
    assert len(lines) == len(sightline.mistakes(tiny_run))
    assert (tmp_path / "m.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    "words", [("--split", "train"), ("--class", "cat"), ("--most", 0), ("--max-error", 2), ("--copy-to", ".")]
)
def test_what_cannot_be_is_refused(
    command: Callable[..., object], tiny_run: sightline.Run, words: tuple[object, ...], tmp_path: Path
) -> None:
    (tmp_path / "there").touch()
    answer = command("mistakes", tiny_run.path, *words)
    assert answer.code == 2  # type: ignore[attr-defined]


def test_a_bundle_without_its_run_is_refused(tiny_run: sightline.Run, tmp_path: Path) -> None:
    alone = shutil.copytree(tiny_run.bundle.path, tmp_path / "bundle")
    with pytest.raises(sightline.SightlineError, match="Name the run"):
        sightline.mistakes(alone)
