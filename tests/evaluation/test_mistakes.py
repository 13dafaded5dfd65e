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

import sightline
from sightline.errors import InvalidValue, OutputExists
from sightline.evaluation.measuring.finished_runs import read_run


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
