from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles.bundle import load_bundle, write_manifest
from sightline.data.splitting.splits import sample_fraction
from sightline.errors import InvalidBundle
from sightline.metrics.classification import softmax
from sightline.records import Predictions
from sightline.tasks.single_label import SINGLE_LABEL, SingleLabel
from sightline.tasks.table import TASKS

NAMES = ("cat", "dog", "owl")
LOGITS = np.array([[2.0, 0.0, 1.0], [0.0, 0.0, -9.0]], np.float32)


@dataclass(frozen=True)
class Independent(SingleLabel):
    """Each class is there or not, whatever the others are: all that is likely is named."""

    name: str = "independent"

    @property
    def unanswered(self) -> dict[str, Any]:
        return {"found": None, "confidence": None}

    def probabilities(self, logits, *, temperature=1.0):
        return 1 / (1 + np.exp(-np.asarray(logits, np.float64) / temperature))

    def is_right(self, logits, labels):
        return self.probabilities(logits)[np.arange(len(labels)), labels] > 0.5

    def surprises(self, logits, labels, *, temperature=1.0):
        signs = np.where(np.eye(logits.shape[1])[labels] > 0, 1, -1)
        return -np.log(self.probabilities(signs * logits, temperature=temperature)).sum(axis=1)

    def answers(self, logits, class_names, *, temperature, top):
        rows = self.probabilities(logits, temperature=temperature)
        found = [[name for name, share in zip(class_names, row, strict=True) if share > 0.5][:top] for row in rows]
        return [{"found": names, "confidence": float(row.max())} for names, row in zip(found, rows, strict=True)]

    def columns(self, top):
        return ["found"]

    def cells(self, answer, top):
        return [None if answer["found"] is None else "+".join(answer["found"])]

    def line(self, answer):
        return " and ".join(answer["found"]) or "nothing"


@pytest.fixture
def independent(run_copy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle whose manifest says that each class is there or not."""
    monkeypatch.setitem(TASKS, "independent", Independent())
    write_manifest(run_copy / "bundle", task=TASKS["independent"])
    return run_copy


@pytest.fixture
def digits(small_arrays: dict[str, np.ndarray], tmp_path: Path) -> Path:
    folder = tmp_path / "digits"
    folder.mkdir()
    for row in range(3):
        Image.fromarray(small_arrays["x_test"][row]).save(folder / f"{row}.png")
    (folder / "torn.png").touch()
    return folder


def test_another_task_answers_by_its_own_probabilities(
    independent: Path, tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray]
) -> None:
    images = small_arrays["x_test"][:5]
    found, usual = (sightline.predict(run, images, progress=False) for run in (independent, tiny_run))
    sigmoids = 1 / (1 + np.exp(-usual.logits.astype(np.float64) / usual.temperature))
    assert found.confidences.tolist() == sigmoids.max(axis=1).tolist() != usual.confidences.tolist()
    assert found.predicted == usual.predicted


def test_another_task_writes_its_own_answer(independent: Path, digits: Path, command: Any, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in command("predict", independent, digits, "--json").out.splitlines()]
    assert [set(row) - {"notice"} for row in rows] == [{"path", "found", "confidence", "error"}] * 4
    assert rows[3]["found"] is None
    said = command("predict", independent, digits, "--csv", tmp_path / "a.csv").out.splitlines()
    assert [line.rpartition(": ")[2] for line in said[:3]] == [" and ".join(row["found"]) for row in rows[:3]]
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as stream:
        assert [line["found"] for line in csv.DictReader(stream)] == ["+".join(row["found"] or []) for row in rows]


def test_another_task_says_itself_what_is_right(independent: Path, tiny_run: sightline.Run) -> None:
    found = sightline.evaluate(independent)
    arrays = np.load(independent / "predictions.npz")
    logits, labels = arrays["test_logits"].astype(np.float64), arrays["test_labels"]
    given = logits[np.arange(len(labels)), labels]
    assert found.num_correct == (given > 0).sum() != tiny_run.evaluation.num_correct
    assert found.accuracy == (given > 0).mean()
    scaled = logits / tiny_run.bundle.temperature
    surprise = np.log1p(np.exp(scaled)).sum(axis=1) - given / tiny_run.bundle.temperature
    assert found.cross_entropy == pytest.approx(surprise.mean())


def test_a_bundle_of_a_task_that_is_not_known_is_refused(independent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(TASKS, "independent")
    with pytest.raises(InvalidBundle, match="task 'independent'; this Sightline knows single-label, multi-label"):
        load_bundle(independent)


def test_one_class_an_image_is_the_task_of_a_bundle_that_says_nothing(tiny_run: sightline.Run) -> None:
    assert load_bundle(tiny_run.bundle.path).task == SINGLE_LABEL
    assert "task" not in tiny_run.bundle.manifest


def test_the_most_probable_class_is_the_answer_and_its_probability_how_sure_it_is() -> None:
    assert SINGLE_LABEL.named(SINGLE_LABEL.decided(LOGITS), NAMES) == ("cat", "cat")
    assert SINGLE_LABEL.is_right(LOGITS, np.array([0, 1])).tolist() == [True, False]
    assert SINGLE_LABEL.confidences(LOGITS, temperature=2).tolist() == softmax(LOGITS, temperature=2).max(1).tolist()


def test_an_answer_names_as_many_classes_as_are_asked_for() -> None:
    first, second = SINGLE_LABEL.answers(LOGITS, NAMES, temperature=1.0, top=2)
    assert [entry["label"] for entry in first["top"]] == ["cat", "owl"]
    assert (second["label"], second["confidence"]) == ("cat", pytest.approx(0.49997, abs=1e-5))
    assert SINGLE_LABEL.columns(2) == ["label", "confidence", "label_2", "confidence_2"]
    assert SINGLE_LABEL.cells(first, 2)[2] == "owl"
    assert SINGLE_LABEL.cells(SINGLE_LABEL.unanswered, 2) == [None] * 4
    assert SINGLE_LABEL.line(first) == "cat 0.665  | owl 0.245"
    assert SINGLE_LABEL.line(SINGLE_LABEL.answers(LOGITS, NAMES, temperature=1.0, top=1)[0]) == "cat 0.665"


def test_without_an_image_there_is_no_answer() -> None:
    assert SINGLE_LABEL.answers(LOGITS[:0], NAMES, temperature=1.0, top=3) == []


def test_labels_follow_their_classes_to_other_numbers() -> None:
    labels = np.array([0, 2, 2])
    assert SINGLE_LABEL.renumbered(labels, np.array([4, -1, 1]), num_classes=5).tolist() == [4, 1, 1]
    assert SINGLE_LABEL.counts(labels, num_classes=4).tolist() == [1, 0, 2, 0]
    assert SINGLE_LABEL.strata(labels).tolist() == [0, 2, 2]
    assert SINGLE_LABEL.is_of(labels, 2).tolist() == [False, True, True]


def test_targets_are_numbers_or_one_hot_rows() -> None:
    labels = np.array([1, 0])
    assert SINGLE_LABEL.targets(labels, num_classes=2, one_hot=False).tolist() == [1, 0]
    assert SINGLE_LABEL.targets(labels, num_classes=2, one_hot=True).tolist() == [[0, 1], [1, 0]]


def test_rows_are_sampled_by_what_the_task_keeps_in_proportion() -> None:
    @dataclass(frozen=True)
    class Parity(SingleLabel):
        def strata(self, labels):
            return labels % 2

    names, labels = tuple(map(str, range(100))), np.arange(100)
    images, given = np.zeros((100, 1, 1, 1), np.uint8), np.full(100, "")
    usual = sightline.Dataset("made", names, np.array(names), labels, images, given, "f")
    by_parity = sightline.Dataset("made", names, np.array(names), labels, images, given, "f", task=Parity())
    assert len(sample_fraction(usual, 0.1, seed=0)) == 100
    assert np.bincount(labels[sample_fraction(by_parity, 0.1, seed=0)] % 2).tolist() == [5, 5]


def test_confidences_are_made_once_in_portions_and_equal_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (200, 7)).astype(np.float32)
    expected = softmax(logits, temperature=1.3).max(axis=1)
    monkeypatch.setattr("sightline.metrics.conformal.MOST_SCORES", 70)
    rows = Predictions.of([*map(str, range(200))], logits, class_names=tuple("abcdefg"), temperature=1.3)
    assert (rows.confidences == expected).all()
    assert rows.confidences is rows.confidences
    with pytest.raises(ValueError, match="read-only"):
        rows.confidences[0] = 1
