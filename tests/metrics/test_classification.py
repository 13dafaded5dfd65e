"""Probabilities and counted figures: their definitions, cases by hand, invariances, refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.metrics.classification import (
    balanced_accuracy,
    confusion_matrix,
    cross_entropy,
    macro_f1,
    most_confused,
    precision_recall_f1,
    softmax,
)

NAN = math.nan


def _random_logits(num_images: int = 40, num_classes: int = 5, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=3, size=(num_images, num_classes))


def test_softmax_is_the_quotient_of_exponentials() -> None:
    logits = _random_logits()
    for row, probabilities in zip(logits, softmax(logits, temperature=1.7), strict=True):
        total = math.fsum(math.exp(logit / 1.7) for logit in row)
        np.testing.assert_allclose(probabilities, [math.exp(logit / 1.7) / total for logit in row], rtol=1e-13)


def test_softmax_of_logs_of_one_two_and_five_is_eighths() -> None:
    np.testing.assert_allclose(softmax(np.log([[1.0, 2.0, 5.0]])), [[1 / 8, 2 / 8, 5 / 8]], rtol=1e-15)


def test_softmax_ignores_what_is_added_to_a_whole_row() -> None:
    logits = _random_logits()
    np.testing.assert_allclose(softmax(logits + 1000), softmax(logits), rtol=1e-10)


def test_softmax_follows_the_order_of_the_classes() -> None:
    logits = _random_logits()
    np.testing.assert_allclose(softmax(logits[:, ::-1]), softmax(logits)[:, ::-1], rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint64"])
def test_softmax_gives_float64_whatever_it_is_given(dtype: str) -> None:
    probabilities = softmax(np.array([[0, 3], [9, 1]], dtype=dtype))
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_softmax_leaves_its_argument_as_it_was() -> None:
    logits = _random_logits()
    before = logits.copy()
    softmax(logits)
    np.testing.assert_array_equal(logits, before)


@pytest.mark.parametrize("temperature", [5e-324, 1e-9, 1.0, 1e300])
def test_the_largest_finite_logits_overflow_neither_softmax_nor_cross_entropy(temperature: float) -> None:
    largest = np.finfo(np.float64).max
    logits = np.array([[largest, -largest], [0.0, 0.0], [-largest, -largest]])
    assert np.isfinite(softmax(logits, temperature=temperature)).all()
    assert math.isfinite(cross_entropy(logits, [1, 0, 1], temperature=temperature))


def test_cross_entropy_is_the_mean_of_minus_log_of_the_probability_of_the_label() -> None:
    logits = _random_logits()
    labels = np.arange(40) % 5
    slowly = [-math.log(softmax(logits, temperature=0.8)[row, label]) for row, label in enumerate(labels)]
    assert cross_entropy(logits, labels, temperature=0.8) == pytest.approx(math.fsum(slowly) / 40, rel=1e-13)


def test_cross_entropy_of_one_right_quarter_and_one_right_half_is_log_eight_over_two() -> None:
    logits = np.log([[1.0, 3.0], [1.0, 1.0]])
    assert cross_entropy(logits, [0, 1]) == pytest.approx(math.log(8) / 2, rel=1e-15)


def test_cross_entropy_of_a_confident_error_is_the_gap_itself() -> None:
    assert cross_entropy([[5000.0, 0.0]], [1]) == 5000.0


def test_cross_entropy_ignores_the_order_of_the_images() -> None:
    logits, labels = _random_logits(), np.arange(40) % 5
    order = np.random.default_rng(2).permutation(40)
    assert cross_entropy(logits[order], labels[order]) == pytest.approx(cross_entropy(logits, labels), rel=1e-14)


def test_confusion_matrix_counts_every_pair() -> None:
    random = np.random.default_rng(3)
    labels, predicted = random.integers(0, 4, 100), random.integers(0, 4, 100)
    pairs = list(zip(labels.tolist(), predicted.tolist(), strict=True))
    slowly = [[pairs.count((given, found)) for found in range(4)] for given in range(4)]
    matrix = confusion_matrix(labels, predicted, num_classes=4)
    assert matrix.tolist() == slowly
    assert matrix.dtype == np.int64


def test_confusion_matrix_has_the_given_class_in_its_rows() -> None:
    assert confusion_matrix([0, 0, 2], [0, 1, 2], num_classes=3).tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_confusion_matrix_turns_over_when_given_and_predicted_are_exchanged() -> None:
    random = np.random.default_rng(4)
    labels, predicted = random.integers(0, 4, (2, 100)).astype(np.uint8)
    matrix = confusion_matrix(labels, predicted, num_classes=4)
    np.testing.assert_array_equal(confusion_matrix(predicted, labels, num_classes=4), matrix.T)


def test_confusion_matrix_of_uint8_labels_and_many_classes_does_not_wrap_round() -> None:
    labels = np.array([255, 200], dtype=np.uint8)
    matrix = confusion_matrix(labels, labels, num_classes=300)
    assert matrix[255, 255] == matrix[200, 200] == 1
    assert matrix.sum() == 2


def test_precision_recall_and_f1_are_the_quotients_of_their_definitions() -> None:
    matrix = np.random.default_rng(5).integers(1, 20, (4, 4))
    precision, recall, f1 = precision_recall_f1(matrix)
    for label in range(4):
        right = matrix[label, label]
        assert precision[label] == pytest.approx(right / sum(matrix[given, label] for given in range(4)))
        assert recall[label] == pytest.approx(right / sum(matrix[label, found] for found in range(4)))
        harmonic = 2 / (1 / precision[label] + 1 / recall[label])
        assert f1[label] == pytest.approx(harmonic)


def test_precision_recall_and_f1_by_hand_where_some_are_undefined() -> None:
    # Class 1 has 2 images and is never predicted; class 2 has none and is predicted once; class 3 neither.
    matrix = [[6, 0, 1, 0], [2, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    precision, recall, f1 = precision_recall_f1(matrix)
    np.testing.assert_allclose(precision, [6 / 8, NAN, 0, NAN])
    np.testing.assert_allclose(recall, [6 / 7, 0, NAN, NAN])
    np.testing.assert_allclose(f1, [12 / 15, 0, NAN, NAN])
    assert balanced_accuracy(matrix) == pytest.approx((6 / 7 + 0) / 2)
    assert macro_f1(matrix) == pytest.approx((12 / 15 + 0) / 2)


def test_f1_stays_when_given_and_predicted_are_exchanged() -> None:
    matrix = np.random.default_rng(6).integers(1, 20, (4, 4))
    precision, recall, f1 = precision_recall_f1(matrix)
    turned_precision, turned_recall, turned_f1 = precision_recall_f1(matrix.T)
    np.testing.assert_allclose(turned_precision, recall)
    np.testing.assert_allclose(turned_recall, precision)
    np.testing.assert_allclose(turned_f1, f1)


def test_balanced_accuracy_and_macro_f1_are_means_over_the_classes_that_occur() -> None:
    matrix = np.random.default_rng(7).integers(0, 20, (5, 5))
    matrix[3] = 0
    _, recall, f1 = precision_recall_f1(matrix)
    occurring = [0, 1, 2, 4]
    assert balanced_accuracy(matrix) == pytest.approx(sum(recall[occurring]) / 4)
    assert macro_f1(matrix) == pytest.approx(sum(f1[occurring]) / 4)


def test_balanced_accuracy_stays_when_a_class_gets_ten_times_the_images() -> None:
    matrix = np.array([[7, 3], [1, 9]])
    assert balanced_accuracy(matrix * [[10], [1]]) == pytest.approx(balanced_accuracy(matrix)) == pytest.approx(0.8)


def test_macro_f1_ignores_the_order_of_the_classes() -> None:
    matrix = np.random.default_rng(8).integers(0, 20, (5, 5))
    assert macro_f1(matrix[::-1, ::-1]) == pytest.approx(macro_f1(matrix))


@pytest.mark.parametrize("figure", [balanced_accuracy, macro_f1])
def test_a_flawless_matrix_has_one_everywhere(figure: Callable[[Any], float]) -> None:
    assert figure([[3, 0], [0, 8]]) == 1.0


def test_most_confused_lists_every_mistake_in_order() -> None:
    matrix = np.random.default_rng(9).integers(0, 6, (6, 6))
    names = list("abcdef")
    slowly = [(-matrix[i, j], i, j) for i in range(6) for j in range(6) if i != j and matrix[i, j]]
    expected = tuple((names[i], names[j], -negative) for negative, i, j in sorted(slowly))
    assert most_confused(matrix, names, count=100) == expected
    assert most_confused(matrix, names) == expected[:10]


def test_most_confused_by_hand_with_a_tie() -> None:
    matrix = [[9, 1, 2], [2, 9, 0], [0, 0, 9]]
    assert most_confused(matrix, ["ant", "bee", "cat"], count=2) == (("ant", "cat", 2), ("bee", "ant", 2))


def test_most_confused_ignores_what_was_right_and_leaves_the_matrix_alone() -> None:
    matrix = np.array([[0, 4], [1, 0]])
    richer = matrix + np.diag([50, 60])
    assert most_confused(richer, ["a", "b"]) == most_confused(matrix, ["a", "b"]) == (("a", "b", 4), ("b", "a", 1))
    assert richer.tolist() == [[50, 4], [1, 60]]
    assert most_confused(np.diag([5, 5]), ["a", "b"]) == ()


@pytest.mark.parametrize(
    "logits",
    [
        [],
        [1.0, 2.0],
        [[1.0], [2.0]],
        np.zeros((0, 3)),
        np.zeros((2, 3, 1)),
        [[1.0, 2.0], [3.0]],
        [[NAN, 1.0]],
        [[math.inf, 1.0]],
        [["1", "2"]],
        [[True, False]],
        [[1j, 2.0]],
        np.array([[1.0, 2.0]], dtype=object),
        [[None, 1.0]],
    ],
)
def test_what_is_no_finite_table_is_refused_as_logits(logits: Any) -> None:
    with pytest.raises(InvalidValue, match=r"^logits must"):
        softmax(logits)
    with pytest.raises(InvalidValue, match=r"^logits must"):
        cross_entropy(logits, [0])


def test_the_refusal_of_nan_logits_says_where_and_what_to_do() -> None:
    with pytest.raises(InvalidValue, match=r"in 1 of 2 rows, first in row 1. Leave out the rows of unreadable images"):
        softmax([[0.0, 1.0], [NAN, NAN]])


@pytest.mark.parametrize("temperature", [0, -1.0, NAN, math.inf, "2", None, True])
def test_a_temperature_that_is_not_positive_is_refused(temperature: Any) -> None:
    with pytest.raises(InvalidValue, match=r"^temperature must be a positive, finite number; got"):
        softmax([[0.0, 1.0]], temperature=temperature)
    with pytest.raises(InvalidValue, match=r"^temperature must"):
        cross_entropy([[0.0, 1.0]], [0], temperature=temperature)


@pytest.mark.parametrize(
    "labels",
    [
        [],
        [0],
        [0, 1, 0],
        [[0, 1]],
        [0, 2],
        [-1, 0],
        [0.0, 1.0],
        [True, False],
        ["0", "1"],
        np.array([0, 1], dtype=object),
        [0, 2**64],
        np.array([0, 2**64 - 1], dtype=np.uint64),
        3,
    ],
)
def test_labels_that_do_not_fit_are_refused_by_name(labels: Any) -> None:
    with pytest.raises(InvalidValue, match=r"^labels must"):
        cross_entropy([[0.0, 1.0], [1.0, 0.0]], labels)
    with pytest.raises(InvalidValue, match=r"^predicted must"):
        confusion_matrix([0, 1], labels, num_classes=2)


@pytest.mark.parametrize("num_classes", [0, -1, 2.0, True, "2", None, NAN])
def test_a_number_of_classes_that_is_none_is_refused(num_classes: Any) -> None:
    with pytest.raises(InvalidValue, match=r"^num_classes must be a whole number of at least 1; got"):
        confusion_matrix([0], [0], num_classes=num_classes)


@pytest.mark.parametrize(
    "confusion",
    [[], [[]], [1, 2], [[1, 2]], [[1, -1], [0, 1]], [[0.5, 0.5], [0.0, 1.0]], [[0, 0], [0, 0]], [["1"]], [[True]]],
)
def test_what_is_no_matrix_of_counts_is_refused(confusion: Any) -> None:
    figures: list[Callable[[Any], object]] = [precision_recall_f1, balanced_accuracy, macro_f1]
    for figure in figures:
        with pytest.raises(InvalidValue, match=r"^confusion must"):
            figure(confusion)
    with pytest.raises(InvalidValue, match=r"^confusion must"):
        most_confused(confusion, ["a", "b"])


def test_most_confused_refuses_names_that_do_not_fit_and_a_count_of_none() -> None:
    matrix: Any = [[1, 2], [0, 1]]
    with pytest.raises(InvalidValue, match=r"^class_names must be 2 names"):
        most_confused(matrix, ["a"])
    with pytest.raises(InvalidValue, match=r"^class_names must be 2 names"):
        most_confused(matrix, "ab")
    with pytest.raises(InvalidValue, match=r"^count must be a whole number of at least 1; got 0"):
        most_confused(matrix, ["a", "b"], count=0)
