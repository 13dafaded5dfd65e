"""The report of a run, from what its folder keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.errors import InvalidBundle, InvalidValue, OutputExists
from sightline.evaluation.measuring.finished_runs import read_run
from sightline.evaluation.report import gathered, threshold_steps


def test_training_leaves_the_report_that_the_command_writes(tiny_run: sightline.Run, tmp_path: Path) -> None:
    again = sightline.report(tiny_run, out=tmp_path / "again.html")
    assert again.read_bytes() == (tiny_run.path / "report.html").read_bytes()


def test_steps_count_the_answers_that_are_at_least_so_sure(tiny_run: sightline.Run) -> None:
    finished = read_run(tiny_run)
    steps = threshold_steps(finished, "test")
    assert tiny_run.evaluation is not None
    assert (steps[0].num_answered, steps[0].num_wrong) == (
        tiny_run.evaluation.num_images,
        tiny_run.evaluation.num_errors,
    )
    answers = sightline.predict(tiny_run, sightline.load(finished.source["typed"]))
    kept = finished.predictions["test"].given
    rows = np.array([name in kept for name in answers.row_ids])
    for step in steps[1:]:
        # A confidence that lies at a level may be rounded to its other side.
        near = np.abs(answers.confidences[rows] - step.least_confidence) < 1e-6
        assert abs(int((answers.confidences[rows] >= step.least_confidence).sum()) - step.num_answered) <= near.sum()


def test_classes_are_counted_in_each_split(tiny_run: sightline.Run) -> None:
    content = gathered(read_run(tiny_run))
    for split, total in content.split_totals.items():
        assert sum(found.get(split, 0) for found in content.counts.values()) == total
    assert content.missing == []


def test_a_run_without_its_images_has_a_report_that_says_so(run_copy: Path, small_npz: Path, tmp_path: Path) -> None:
    away = small_npz.rename(tmp_path / "away.npz")
    try:
        page = sightline.report(run_copy).read_text(encoding="utf-8")
    finally:
        away.rename(small_npz)
    assert "not at hand" in page
    assert "<img" not in page


def test_a_page_of_others_is_not_overwritten(
    command: Callable[..., object], tiny_run: sightline.Run, tmp_path: Path
) -> None:
    (tmp_path / "mine.html").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputExists):
        sightline.report(tiny_run, out=tmp_path / "mine.html")
    answer = command("report", tiny_run.path, "--out", "mine.html")
    assert answer.code == 2  # type: ignore[attr-defined]
    assert (tmp_path / "mine.html").read_text(encoding="utf-8") == "mine"


def test_nothing_is_written_among_the_images_that_a_table_names(
    command: Callable[..., object], tiny_run: sightline.Run, tmp_path: Path
) -> None:
    rows = ["path,label"]
    for number in range(4):
        path = tmp_path / "photos" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (28, 28), number).save(path)
        rows.append(f"photos/{number}.png,{number % 2}")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    for out in (tmp_path / "photos" / "page.html", tmp_path / "photos" / "0.png"):
        with pytest.raises(InvalidValue, match="which is never changed"):
            sightline.report(tiny_run, tmp_path / "table.csv", out=out, overwrite=True)
    (tmp_path / "mine.html").write_text("mine", encoding="utf-8")
    answer = command("report", tiny_run.path, "--out", "mine.html")
    assert "--out mine.html exists" in answer.err  # type: ignore[attr-defined]
    assert "add --overwrite" in answer.err  # type: ignore[attr-defined]


def test_every_wrong_and_unsure_answer_is_reported_once(tiny_run: sightline.Run) -> None:
    content, found = gathered(read_run(tiny_run)), sightline.mistakes(tiny_run)
    assert [row.row_id for row in found.rows] == [answer.row_id for answer in (*content.wrong, *content.unsure)]
    assert [row.is_unsure for row in found.rows] == [answer.is_unsure for answer in (*content.wrong, *content.unsure)]
    assert content.about_unsure == found.about_unsure
    first = content.wrong[0]
    assert first.picture is not None
    assert len(first.nearest_pictures) == len(first.nearest) == 3
    assert None not in first.nearest_pictures


def test_what_training_noticed_is_kept_and_told(run_copy: Path) -> None:
    content = gathered(read_run(run_copy))
    assert content.findings is not None
    noticed = {"kind": "few-images", "severity": "warning", "paths": ["<b>.png"], "detail": "9 images"}
    (run_copy / "findings.json").write_text(json.dumps([noticed]), encoding="utf-8")
    (told,) = gathered(read_run(run_copy)).findings or ()
    assert (told.severity, told.detail) == ("warning", "<b>.png: 9 images")
    assert "&lt;b&gt;.png: 9 images" in sightline.report(run_copy).read_text(encoding="utf-8")
    (run_copy / "findings.json").unlink()
    assert gathered(read_run(run_copy)).findings is None
    (run_copy / "findings.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(InvalidBundle, match=r"findings\.json"):
        sightline.report(run_copy)


def test_labels_are_those_that_the_run_learned_from(run_copy: Path) -> None:
    finished = read_run(run_copy)
    before = gathered(finished).counts
    row_id = next(name for name, split in finished.splits.items() if split == "train")
    (given,) = sightline.load(finished.source["typed"]).named(np.array([list(finished.splits).index(row_id)]))
    other = "0" if given != "0" else "1"
    (run_copy / "labels.csv").write_text(f"file,label\n{row_id},{other}\nfile that went,{other}\n", encoding="utf-8")
    after = gathered(finished).counts
    assert after[given]["train"] == before[given]["train"] - 1
    assert after[other]["train"] == before[other]["train"] + 1
    (run_copy / "labels.csv").write_text("file\n", encoding="utf-8")
    with pytest.raises(InvalidBundle, match=r"labels\.csv: cannot be read .*no column 'label'"):
        gathered(finished)
