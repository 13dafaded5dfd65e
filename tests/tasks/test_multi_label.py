from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.tasks.multi_label import MULTI_LABEL
from sightline.tasks.table import TASKS, refuse_several_labels, task_of

NAMES = ("cat", "dog", "owl")
LOGITS = np.array([[2.0, 0.0, -1.0], [-3.0, -2.0, -1.0]], np.float32)
LABELS = np.array([[1, 1, 0], [0, 0, 0]], np.uint8)


def test_a_label_is_said_from_its_threshold_on() -> None:
    assert MULTI_LABEL.decided(LOGITS).tolist() == LABELS.tolist()
    assert MULTI_LABEL.is_right(LOGITS, LABELS).all()
    moved = dataclasses.replace(MULTI_LABEL, thresholds=(2.5, 0.0, -1.0))
    assert moved.decided(LOGITS).tolist() == [[0, 1, 1], [0, 0, 1]]


def test_labels_in_words() -> None:
    assert MULTI_LABEL.named(LABELS, NAMES) == ("cat; dog", "(no label)")
    assert MULTI_LABEL.counts(LABELS, num_classes=3).tolist() == [1, 1, 0]
    assert MULTI_LABEL.is_of(LABELS, 1).tolist() == [True, False]


def test_an_answer_has_all_labels_that_are_said_and_as_many_probable_ones_as_are_asked_for() -> None:
    first, second = MULTI_LABEL.answers(LOGITS, NAMES, temperature=1.0, top=1)
    assert [entry["label"] for entry in first["labels"]] == ["cat", "dog"]
    assert first["labels"][1]["confidence"] == 0.5
    assert [entry["label"] for entry in first["top"]] == ["cat"]
    assert second["labels"] == []
    assert MULTI_LABEL.line(first) == "cat 0.881, dog 0.500"
    assert MULTI_LABEL.line(second) == "(no label)  | most probable: owl 0.269"
    assert MULTI_LABEL.cells(first, 1) == ["cat;dog", "0.880797;0.5"]
    assert MULTI_LABEL.cells(second, 1) == ["", ""]
    assert MULTI_LABEL.cells(MULTI_LABEL.unanswered, 3) == ["", ""]


def test_a_name_that_holds_what_parts_names_stands_in_a_list() -> None:
    (answer,) = MULTI_LABEL.answers(LOGITS[:1], ("a;b", "dog", "owl"), temperature=1.0, top=1)
    assert MULTI_LABEL.cells(answer, 1)[0] == '["a;b", "dog"]'


def test_the_stratum_of_an_image_is_its_rarest_label() -> None:
    labels = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 0], [1, 1, 1]], np.uint8)
    # Of labels that are equally rare the first.
    assert MULTI_LABEL.strata(labels).tolist() == [1, 0, 2, 3, 1]
    assert MULTI_LABEL.all_strata(labels)[2:4] == [(0, 2), (3,)]


def test_columns_are_matched_by_what_they_are_called() -> None:
    found = MULTI_LABEL.renumbered(LABELS, np.array([3, -1, 0]), num_classes=4)
    assert found.tolist() == [[0, 0, 0, 1], [0, 0, 0, 0]]


def test_probabilities_are_finite_whatever_the_logits_are() -> None:
    wild = np.array([[1e4, -1e4, 0.0]], np.float32)
    assert MULTI_LABEL.probabilities(wild).tolist() == [[1.0, 0.0, 0.5]]
    assert np.isfinite(MULTI_LABEL.surprises(wild, np.array([[0, 1, 1]]))).all()
    assert MULTI_LABEL.brier_scores(wild, np.array([[1, 0, 1]])).tolist() == [pytest.approx(0.25 / 3)]
    assert 0 <= MULTI_LABEL.confidences(wild)[0] <= 1


def test_a_temperature_is_that_of_all_labels() -> None:
    generator = np.random.default_rng(0)
    true = generator.normal(0, 2, (2000, 3))
    labels = (generator.random(true.shape) < 1 / (1 + np.exp(-true))).astype(np.uint8)
    assert MULTI_LABEL.fit_temperature(3 * true, labels) == pytest.approx(3, rel=0.06)
    alone, grouped = (
        MULTI_LABEL.temperature_deviation(true, labels, temperature=1.0, groups=groups)
        for groups in (None, np.repeat(np.arange(200), 10).astype(str))
    )
    assert 0.5 < grouped / alone < 2


def test_labels_tell_by_their_shape_what_they_are_and_a_refusal_says_why() -> None:
    assert task_of(LABELS) is TASKS["multi-label"]
    assert task_of(np.array([1])) is TASKS["single-label"]
    refuse_several_labels(TASKS["single-label"], "sort", "no reason")
    with pytest.raises(InvalidValue, match="sort is for one class an image, and here an image has several labels: why"):
        refuse_several_labels(MULTI_LABEL, "sort", "why")
