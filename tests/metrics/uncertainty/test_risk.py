"""The interval of the area under the risk-coverage curve."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.metrics.selective import risk_coverage
from sightline.metrics.uncertainty.risk import _influences, risk_coverage_area_interval

# How often an answer of this place among the surest, 0 to 1, is wrong; and the area that follows.
RISKS = {
    "the surer, the better": lambda place: 0.3 * place**5,
    "as sure, as bad": lambda place: 0.1 + 0 * place,
    "the surest are bad": lambda place: np.where(place < 0.05, 0.3, 0.02),
}


def draw(kind: str, num_images: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    place = random.random(num_images)
    return -place, random.random(num_images) >= RISKS[kind](place)


def true_area(kind: str) -> float:
    place = (np.arange(200_000) + 0.5) / 200_000
    return float((np.cumsum(RISKS[kind](place)) / np.arange(1, 200_001)).mean())


# Of 300 draws, a coverage of 0.95 is outside of these bounds in less than 1 of 1,000 cases.
@pytest.mark.parametrize("kind", RISKS)
@pytest.mark.parametrize("num_images", [400, 2_000])
def test_the_true_area_lies_in_95_of_100_intervals(kind: str, num_images: int) -> None:
    random, hits, truth = np.random.default_rng(0), 0, true_area(kind)
    for _ in range(300):
        lower, upper = risk_coverage_area_interval(*draw(kind, num_images, random))
        hits += lower <= truth <= upper
    assert 0.9 <= hits / 300 <= 0.99


# Of 600 draws with few mistakes, where the interval held the truth in 0.84 to 0.92 by the normal quantile: with 0.95,
# fewer than 0.922 are drawn once in 1,000 cases.
@pytest.mark.parametrize(("accuracy", "gap", "num_images"), [(0.95, 2, 400), (0.95, 0, 100), (0.97, 2, 1_000)])
def test_of_few_mistakes_the_true_area_lies_in_the_interval_as_often(
    accuracy: float, gap: float, num_images: int
) -> None:
    def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
        is_right = random.random(count) < accuracy
        return random.normal(size=count) + gap * is_right, is_right

    random, hits = np.random.default_rng(0), 0
    truth = float(risk_coverage(*drawn(1_000_000)).mean())
    for _ in range(600):
        lower, upper = risk_coverage_area_interval(*drawn(num_images))
        hits += lower <= truth <= upper
    assert hits / 600 >= 0.922


# As accuracy, of which 0.91 are asked for at 20 groups. Ignoring groups holds the truth in far fewer cases.
@pytest.mark.parametrize(("num_groups", "least"), [(20, 0.87), (50, 0.89)])
def test_images_that_are_wrong_together_count_as_one(num_groups: int, least: float) -> None:
    random, hits, ignoring, truth = np.random.default_rng(0), 0, 0, true_area("as sure, as bad")
    groups = np.repeat(np.arange(num_groups), 20)
    for _ in range(300):
        place, right = draw("as sure, as bad", num_groups, random)
        sure, right = np.repeat(place, 20) + 1e-6 * random.random(20 * num_groups), np.repeat(right, 20)
        lower, upper = risk_coverage_area_interval(sure, right, groups)
        hits += lower <= truth <= upper
        lower, upper = risk_coverage_area_interval(sure, right)
        ignoring += lower <= truth <= upper
    assert hits / 300 >= least
    assert ignoring / 300 < 0.7


def test_an_influence_is_what_one_image_more_adds() -> None:
    random = np.random.default_rng(0)
    sure, right = draw("the surer, the better", 2_000, random)
    sure = sure.round(2)  # ties
    area, influences = risk_coverage(sure, right).mean(), _influences(sure, right)
    assert influences.sum() == pytest.approx(0, abs=1e-9)
    for row in (*np.flatnonzero(~right)[:5].tolist(), *np.flatnonzero(right)[:5].tolist()):
        more = risk_coverage(np.append(sure, sure[row]), np.append(right, right[row])).mean()
        assert 2_000 * (more - area) == pytest.approx(influences[row], abs=0.02)


def test_neither_the_order_of_images_nor_the_names_of_groups_change_it() -> None:
    random = np.random.default_rng(0)
    sure, right = draw("the surer, the better", 400, random)
    groups, order = np.repeat(np.arange(80), 5), random.permutation(400)
    found = risk_coverage_area_interval(sure, right, groups)
    turned = risk_coverage_area_interval(sure[order], right[order], (79 - groups[order]).astype(str))
    assert turned == pytest.approx(found, rel=1e-12)


def test_without_a_mistake_it_is_that_of_a_share() -> None:
    lower, upper = risk_coverage_area_interval(np.arange(400), np.ones(400, bool))
    assert lower == 0
    assert upper == pytest.approx(3.8414588 / (400 + 3.8414588))
    assert risk_coverage_area_interval([1.0, 2.0], [True, False], ["a", "a"]) == (0.0, 1.0)


def test_what_are_no_answers_is_refused() -> None:
    for arguments in (([], []), ([np.nan], [True]), ([1.0, 2.0], [True, False], ["a"])):
        with pytest.raises(InvalidValue):
            risk_coverage_area_interval(*arguments)
