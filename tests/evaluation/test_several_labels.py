"""Runs whose images may have several labels: which labels are wrong, and whether one run is better than another."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

import sightline
from sightline.errors import InvalidValue
from sightline.evaluation.measuring.finished_runs import read_run
from sightline.evaluation.measuring.paired_tests import pair, paired_figures

LABELS = ("left", "right", "top")


def given_and_said(run: sightline.Run) -> tuple[np.ndarray, np.ndarray]:
    arrays = np.load(run.path / "predictions.npz")
    return arrays["test_labels"] != 0, arrays["test_logits"] >= run.bundle.task.limits(3)


def test_exactly_the_wrong_labels_are_told_the_surest_first(labels_run: sightline.Run) -> None:
    found = sightline.mistakes(labels_run)
    given, said = given_and_said(labels_run)
    row_ids = np.load(labels_run.path / "predictions.npz")["test_row_ids"].tolist()
    wanted = {(row_ids[row], LABELS[label], bool(given[row, label])) for row, label in np.argwhere(given != said)}
    assert {(row.row_id, row.label, row.is_missed) for row in found.rows} == wanted
    assert found.num_wrong == len(wanted) > 5
    sureness = [row.confidence for row in found.rows]
    assert sureness == sorted(sureness, reverse=True)
    assert all((row.label in row.given.split("; ")) is row.is_missed for row in found.rows)
    assert all((row.label in row.predicted.split("; ")) is not row.is_missed for row in found.rows)
    missed = sum(row.is_missed for row in found.rows)
    assert f"{missed} labels missed, {len(found) - missed} said wrongly" in str(found)


def test_one_label_can_be_asked_for(labels_run: sightline.Run) -> None:
    found, (given, said) = sightline.mistakes(labels_run, class_name="top"), given_and_said(labels_run)
    assert {row.label for row in found.rows} == {"top"}
    assert len(found) == (given != said)[:, 2].sum()
    assert found.num_images == (given | said)[:, 2].sum()
    assert f"of {found.num_images} test images that top was given or said of" in str(found)


def test_table_sheet_and_copies_tell_each_wrong_label(labels_run: sightline.Run, command: Any, tmp_path: Path) -> None:
    answer = command("mistakes", labels_run.path, "--csv", "m.csv", "--sheet", "m.png", "--copy-to", "c", "--most", 1)
    assert answer.code == 0, answer.err
    found = sightline.mistakes(labels_run)
    with (tmp_path / "m.csv").open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [(line["row_id"], line["label"], line["mistake"]) for line in lines] == [
        (row.row_id, row.label, row.what) for row in found.rows
    ]
    assert (tmp_path / "m.png").read_bytes() == found.sheet()
    folders = {f"{row.label} {row.what}" for row in found.rows}
    assert {path.name for path in (tmp_path / "c").iterdir()} == folders
    assert len(list((tmp_path / "c").rglob("*.png"))) == len(found)
    first = " ".join(answer.out.splitlines()[2].split())
    row = found.rows[0]
    assert first == f"{row.row_id} {row.label} {row.what} {row.confidence:.4f} {row.given} {row.predicted}"


def test_json_says_which_label_and_one_class_an_image_has_no_such_keys(
    labels_run: sightline.Run, tiny_run: sightline.Run, command: Any
) -> None:
    rows = json.loads(command("mistakes", labels_run.path, "--json").out)["rows"]
    assert rows[0]["label"] in LABELS
    assert rows[0]["is_missed"] in {True, False}
    assert "label" not in json.loads(command("mistakes", tiny_run.path, "--json").out)["rows"][0]


def test_unsure_answers_are_refused_with_the_reason(labels_run: sightline.Run) -> None:
    with pytest.raises(InvalidValue, match="max_error is for one class an image, and here an image has several labels"):
        sightline.mistakes(labels_run, max_error=0.1)


def test_a_comparison_tells_exact_match_micro_f1_and_each_label(
    labels_run: sightline.Run, longer_labels_run: sightline.Run
) -> None:
    told = sightline.compare([labels_run, longer_labels_run])
    (test,) = told.tests
    parts = [given_and_said(run) for run in (labels_run, longer_labels_run)]
    right = [(given == said).all(axis=1) for given, said in parts]
    assert test.num_images == len(right[0])
    assert (test.num_only_first, test.num_only_second) == (
        (right[0] & ~right[1]).sum(),
        (right[1] & ~right[0]).sum(),
    )
    assert test.micro_f1 is not None
    assert (test.micro_f1.first, test.micro_f1.second) == pytest.approx(
        tuple(f1_score(given, said, average="micro") for given, said in parts)
    )
    assert [one.label for one in test.labels] == list(LABELS)
    for column, one in enumerate(test.labels):
        assert (one.first_f1, one.second_f1) == pytest.approx(
            tuple(f1_score(given[:, column], said[:, column]) for given, said in parts)
        )
        assert one.adjusted_p_value >= one.p_value
    text = str(told)
    assert "test micro F1" in text
    assert "validation micro F1" in text
    assert "test exact match" in text
    assert "\nexact match: " in text
    assert "\nmicro F1: A 0." in text
    figures = paired_figures(test)
    assert figures["labels"][2]["label"] == "top"
    assert figures["micro_f1"]["p_value"] == test.micro_f1.p_value


def test_what_one_label_is_worse_by_is_found_in_that_label_alone(labels_run: sightline.Run) -> None:
    first = read_run(labels_run)
    answers = first.predictions["test"]
    logits = answers.logits.copy()
    logits[:, 0] = np.where(answers.labels[:, 0] != 0, -5, 5)
    worse = dataclasses.replace(
        first, predictions={**first.predictions, "test": dataclasses.replace(answers, logits=logits)}
    )
    test = pair(first, worse, names=("A", "B"), split="test")
    assert [one.p_value < 1e-6 for one in test.labels] == [True, False, False]
    assert test.micro_f1 is not None
    assert test.micro_f1.interval[1] < 0


def test_labels_are_matched_by_name_whatever_their_order(labels_run: sightline.Run) -> None:
    first = read_run(labels_run)
    turned = dataclasses.replace(
        first,
        class_names=first.class_names[::-1],
        predictions={
            split: dataclasses.replace(answers, labels=answers.labels[:, ::-1], logits=answers.logits[:, ::-1])
            for split, answers in first.predictions.items()
        },
        # Thresholds lie in the order of the classes, too.
        bundle=dataclasses.replace(
            first.bundle,
            task=dataclasses.replace(first.bundle.task, thresholds=first.bundle.task.thresholds[::-1]),
        ),
    )
    test = pair(first, turned, names=("A", "B"), split="test")
    assert (test.num_only_first, test.num_only_second) == (0, 0)
    assert test.micro_f1 is not None
    assert test.micro_f1.difference == 0


def test_a_run_of_one_class_an_image_is_no_match(labels_run: sightline.Run, tiny_run: sightline.Run) -> None:
    with pytest.raises(InvalidValue, match=r"B \(.*\) has one class an image, and in A \(.*\) an image may have sev"):
        sightline.compare([labels_run, tiny_run])


def test_without_its_images_wrong_labels_are_named_all_the_same(
    labels_run: sightline.Run, labels_table: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(labels_run.path, tmp_path / "run"))
    away = labels_table.parent.rename(labels_table.parent.with_name("away"))
    try:
        found = sightline.mistakes(copy)
    finally:
        away.rename(labels_table.parent)
    assert "not at hand" in found.about_images
    assert len(found) == len(sightline.mistakes(labels_run))


def test_parts_are_told_by_each_label_and_by_how_many_there_are(labels_run: sightline.Run, labels_table: Path) -> None:
    found = sightline.evaluate(labels_run, labels_table, split="all", slices=True)
    data = sightline.load(labels_table, task="multi-label")
    given = np.asarray(data.labels) != 0
    parts = {one.name: one for one in found.slices or ()}
    assert parts["label top"].num_images == given[:, 2].sum()
    assert parts["number of labels 0"].num_images == (~given.any(axis=1)).sum()
    said = sightline.predict(labels_run, data, progress=False)
    wrong = ((said.task.decided(said.logits) != 0) != given).any(axis=1)
    assert parts["label top"].num_wrong == wrong[given[:, 2]].sum()
    assert {"brightness: lowest quarter", "contrast: highest quarter"} <= set(parts)


def test_spoiled_images_are_told_by_micro_f1(
    labels_run: sightline.Run, labels_table: Path, command: Any, tmp_path: Path
) -> None:
    words = ("--corruptions", "contrast", "--severities", "1,5", "--csv", "s.csv", "--out", "s.png")
    answer = command("stress", labels_run.path, *words)
    assert answer.code == 0, answer.err
    found = sightline.stress(labels_run, corruptions=["contrast"], severities=[1, 5])
    assert found.clean.score == pytest.approx(labels_run.evaluation.figures["micro_f1"].value)
    assert found.clean.interval == pytest.approx(labels_run.evaluation.figures["micro_f1"].interval)
    assert found.levels[1].score < found.levels[0].score
    assert found.clean.accuracy == labels_run.evaluation.accuracy
    assert str(found).startswith(f"mean micro F1 {found.mean.score:.4f} [")
    assert found.figures()["levels"][0]["micro_f1"] == found.levels[0].micro_f1
    assert (tmp_path / "s.csv").read_text(encoding="utf-8").startswith("corruption,severity,num_images,num_correct,mic")


@pytest.mark.parametrize("method", ["activations", "occlusion"])
def test_a_map_is_of_the_surest_label_that_is_said_or_of_the_one_that_is_named(
    labels_run: sightline.Run, labels_table: Path, method: str
) -> None:
    files = sorted(labels_table.parent.glob("00*.png"))
    found = sightline.explain(labels_run, files, method=method)
    logits, said = found.predictions.logits, found.predictions.task.decided(found.predictions.logits) != 0
    for row, label in enumerate(found.maps.labels.tolist()):
        among = np.flatnonzero(said[row]) if said[row].any() else np.arange(3)
        assert label == among[np.argmax(logits[row, among])]
        about = found.maps.constants[row]
        # Maps of activations sum up to the logit of the label alone; those of occlusion tell it as it is.
        whole = about + found.maps.maps[row].sum() if method == "activations" else about
        assert whole == pytest.approx(logits[row, label], abs=1e-3)
    named = sightline.explain(labels_run, files, method=method, class_name="top")
    assert set(named.maps.labels.tolist()) == {2}
    top = named.maps.maps[said[:, 2]].mean(axis=0)
    assert top[:2].mean() > top[4:].mean(), "the bright edge is at the top"


def test_a_page_of_maps_tells_all_labels_that_are_said(
    labels_run: sightline.Run, labels_table: Path, tmp_path: Path
) -> None:
    found = sightline.explain(labels_run, labels_table.parent / "000.png", out=tmp_path / "maps.html")
    page = (tmp_path / "maps.html").read_text(encoding="utf-8")
    (said,) = found.predictions.predicted
    assert all(name in page for name in said.split("; "))
    assert "the surest that is said" in page
    assert "above the mean" not in page
