from __future__ import annotations

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.metrics.labels.quality import METHODS, found_by, label_doubts, label_quality


@pytest.mark.parametrize("method", METHODS)
def test_it_is_the_score_of_another_implementation_to_the_last_digits(method: str) -> None:
    rank = pytest.importorskip("cleanlab.rank", reason="needs the extra oracles")
    generator = np.random.default_rng(0)
    for num_classes in (2, 3, 10, 100):
        probabilities = generator.dirichlet(np.full(num_classes, 0.3), size=500)
        labels = generator.integers(0, num_classes, 500)
        # Theirs refuses a class that no image is of.
        labels[:num_classes] = np.arange(num_classes)
        theirs = rank.get_label_quality_scores(labels, probabilities, method=method)
        assert np.abs(label_quality(labels, probabilities, method=method) - theirs).max() <= 1e-12


def test_both_are_what_they_are_by_hand() -> None:
    table = [[0.2, 0.3, 0.5], [0.2, 0.3, 0.5]]
    assert label_quality([2, 0], table).tolist() == [0.5, 0.2]
    assert label_quality([2, 0], table, method="normalized_margin") == pytest.approx([0.6, 0.35])


def test_doubts_do_not_change_with_the_scale_of_either_classifier() -> None:
    generator = np.random.default_rng(2)
    likelihood, regression = generator.normal(size=(2, 200, 4))
    labels = generator.integers(0, 4, 200)
    doubts = label_doubts(labels, likelihood, regression)
    assert label_doubts(labels, likelihood, 7 * regression + 3) == pytest.approx(doubts)
    assert doubts.min() >= 0
    assert doubts.max() <= 1


def test_the_label_that_both_speak_against_is_the_most_doubtful() -> None:
    likelihood = np.array([[9.0, 0.0], [0.0, 9.0], [5.0, 0.0], [0.0, 1.0]])
    assert int(label_doubts([0, 0, 0, 0], likelihood, likelihood).argmax()) == 1


def test_tables_of_unequal_width_are_refused() -> None:
    with pytest.raises(InvalidValue, match=r"got shapes \(2, 2\) and \(2, 3\)"):
        label_doubts([0, 1], [[1.0, 2], [2, 3]], [[1.0, 2, 3], [1, 2, 3]])


def test_what_a_list_finds_is_counted_from_its_top() -> None:
    doubts, wrong = np.array([0.1, 0.9, 0.5, 0.7]), np.array([True, True, False, False])
    assert found_by(doubts, wrong).tolist() == [1, 1, 1, 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: label_quality([0], [[0.5, 0.5]], method="entropy"), "method must be self_confidence or"),
        (lambda: label_quality([2], [[0.5, 0.5]]), "labels must be from 0 to 1"),
        (lambda: label_quality([0], [[np.nan, 0.5]]), "probabilities must be finite"),
        (lambda: found_by([0.1, 0.2], [True]), "a row an image"),
        (lambda: found_by([0.1], [1]), "is_wrong must be an array of True and False"),
    ],
)
def test_other_values_are_refused(call, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        call()
