"""The area under the ROC curve and its interval."""

from __future__ import annotations

import statistics
import tracemalloc
from typing import Any

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.metrics.uncertainty.ranking import Ranking


def drawn(generator: np.random.Generator, num_images: int, share: float, gap: float) -> tuple[np.ndarray, np.ndarray]:
    is_of = generator.random(num_images) < share
    return generator.normal(0, 1, num_images) + gap * is_of, is_of


def test_the_area_is_the_share_of_pairs_in_the_right_order() -> None:
    scores, is_of = drawn(np.random.default_rng(0), 60, 0.3, 1)
    scores = scores.round(1)
    pairs = [(a > b) + (a == b) / 2 for a in scores[is_of] for b in scores[~is_of]]
    assert Ranking([(scores, is_of)]).value == pytest.approx(np.mean(pairs), rel=1e-12)


def test_the_area_of_several_classes_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(4), 300).round(2) + 1e-3
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = generator.integers(0, 4, 300)
    found = Ranking((probabilities[:, number], labels == number) for number in range(4))
    assert found.value == pytest.approx(metrics.roc_auc_score(labels, probabilities, multi_class="ovr"), rel=1e-12)
    two = probabilities[:, 0] / probabilities[:, :2].sum(axis=1)
    alone = Ranking([(two, labels == 0)])
    assert alone.value == pytest.approx(metrics.roc_auc_score(labels == 0, two), rel=1e-12)


def test_classes_that_no_image_or_every_image_is_of_are_left_out() -> None:
    scores, is_of = drawn(np.random.default_rng(0), 60, 0.3, 1)
    nobody, everybody = (scores, np.zeros(60, bool)), (scores, np.ones(60, bool))
    assert Ranking([nobody, (scores, is_of), everybody]).value == Ranking([(scores, is_of)]).value
    none = Ranking([nobody])
    assert np.isnan(none.value)
    assert np.isnan(none.interval()).all()


# Of 300 draws, a coverage of 0.95 is outside of these bounds in less than 1 of 1,000 cases.
@pytest.mark.parametrize(("num_images", "share", "gap"), [(400, 0.5, 2), (400, 0.1, 2), (400, 0.5, 3.3), (200, 0.3, 1)])
def test_the_true_area_lies_in_95_of_100_intervals(num_images: int, share: float, gap: float) -> None:
    generator, hits = np.random.default_rng(0), 0
    truth = statistics.NormalDist().cdf(gap / 2**0.5)
    for _ in range(300):
        found = Ranking([drawn(generator, num_images, share, gap)])
        lower, upper = found.interval()
        assert lower <= found.value <= upper
        hits += lower <= truth <= upper
    assert 0.9 <= hits / 300 <= 0.99


def test_the_standard_error_is_that_of_delong() -> None:
    scores, is_of = drawn(np.random.default_rng(0), 4000, 0.3, 1)
    found = Ranking([(scores, is_of)])
    above = (scores[is_of][:, None] > scores[~is_of]).astype(float)
    variance = above.mean(axis=1).var(ddof=1) / is_of.sum() + above.mean(axis=0).var(ddof=1) / (~is_of).sum()
    lower, upper = found.interval()
    assert upper - lower == pytest.approx(2 * 1.96 * variance**0.5, rel=0.01)


def test_images_that_hang_together_count_by_groups() -> None:
    generator, truth = np.random.default_rng(0), statistics.NormalDist().cdf(1 / 2**0.5)
    hits = ignored = 0
    for _ in range(200):
        scores, is_of = drawn(generator, 50, 0.5, 1)
        found = Ranking([(np.repeat(scores, 8), np.repeat(is_of, 8))])
        lower, upper = found.interval(np.arange(400) // 8)
        hits += lower <= truth <= upper
        lower, upper = found.interval()
        ignored += lower <= truth <= upper
    assert hits / 200 >= 0.9
    assert ignored / 200 <= 0.7
    assert found.interval(np.zeros(400, int)) == (0.0, 1.0)


def test_many_classes_take_the_memory_of_one() -> None:
    scores, is_of = drawn(np.random.default_rng(0), 20_000, 0.5, 1)
    tracemalloc.start()
    Ranking((scores, is_of) for _ in range(50))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * scores.nbytes


def test_a_perfect_order_leaves_open_what_the_rarer_side_leaves_open() -> None:
    scores, is_of = np.arange(100.0), np.arange(100) >= 90
    lower, upper = Ranking([(scores, is_of)]).interval()
    assert upper == 1
    assert lower == pytest.approx(10 / (10 + 1.96**2), abs=1e-3)


@pytest.mark.parametrize(
    "classes", [[], [([0.1], [0])], [([0.1, 0.2], [True])], [([np.nan], [True])], [(["a"], [True])], [([], [])]]
)
def test_what_is_no_ranking_is_refused(classes: Any) -> None:
    with pytest.raises(InvalidValue):
        Ranking(classes)
