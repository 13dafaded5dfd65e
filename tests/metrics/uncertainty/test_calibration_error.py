"""The interval of a calibration error."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.metrics.calibration.reliability import Reliability, debiased_error, equal_mass_error
from sightline.metrics.uncertainty.calibration_error import calibration_error_interval


def drawn(generator: np.random.Generator, num_images: int, too_sure: float) -> tuple[np.ndarray, np.ndarray]:
    sure = 0.5 + generator.beta(3, 1, num_images) / 2
    return sure, generator.random(num_images) < sure - too_sure


# Of 100 draws, fewer hits than this are had with the least that is promised, 0.93, in 5 of 1,000 cases.
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(("too_sure", "num_images"), [(0.0, 1000), (0.02, 400), (0.02, 2000)])
def test_the_true_error_lies_in_at_least_93_of_100_intervals(
    power: Literal[1, 2], too_sure: float, num_images: int
) -> None:
    generator, hits = np.random.default_rng(0), 0
    for _ in range(100):
        lower, upper = calibration_error_interval(*drawn(generator, num_images, too_sure), power=power)
        hits += lower <= too_sure <= upper
    assert hits / 100 >= 0.86


def of_equal_width(sure: np.ndarray, right: np.ndarray, groups: np.ndarray | None = None) -> tuple[float, float]:
    found = Reliability(sure, right, groups)
    return calibration_error_interval(sure, right, groups, reliability=found)


# Of 60 draws, fewer hits than 50 are had with the least that is promised, 0.93, in 4 of 1,000 cases.
@pytest.mark.parametrize(("too_sure", "num_images"), [(0.0, 500), (0.02, 1000)])
def test_the_true_error_over_bins_of_equal_width_lies_in_at_least_93_of_100(too_sure: float, num_images: int) -> None:
    generator, hits = np.random.default_rng(0), 0
    for _ in range(60):
        lower, upper = of_equal_width(*drawn(generator, num_images, too_sure))
        hits += lower <= too_sure <= upper
    assert hits >= 50


@pytest.mark.parametrize("num_groups", [None, 20, 60])
def test_no_error_lies_in_the_interval_exactly_where_chance_explains_what_is_seen(num_groups: int | None) -> None:
    generator, explained = np.random.default_rng(0), 0
    for number in range(60):
        sure, right = drawn(generator, num_groups or 300, 0.1 * (number % 3) / 2)
        groups = None
        if num_groups is not None:
            sure, right, groups = (np.repeat(part, 8) for part in (sure, right, np.arange(num_groups)))
        found = Reliability(sure, right, groups)
        lower, upper = calibration_error_interval(sure, right, groups, reliability=found)
        is_chance = "no more than chance explains" in found.in_words
        assert (lower == 0) == is_chance
        # Up to the draw that counts for itself.
        assert is_chance == (found.p_value > 0.0255) or abs(found.p_value - 0.0255) < 0.002
        assert lower <= found.error
        assert lower <= upper
        explained += is_chance
    assert 10 <= explained <= 55


def test_images_that_hang_together_count_by_groups_in_bins_of_equal_width_too() -> None:
    generator, hits = np.random.default_rng(0), 0
    for _ in range(60):
        sure, right = (np.repeat(part, 10) for part in drawn(generator, 100, 0.05))
        lower, upper = of_equal_width(sure, right, np.arange(1000) // 10)
        hits += lower <= 0.05 <= upper
    assert hits >= 51


def test_an_error_in_few_bins_lies_in_its_interval() -> None:
    generator, hits = np.random.default_rng(0), 0
    for _ in range(100):
        sure, _ = drawn(generator, 1500, 0)
        is_low = sure < np.quantile(sure, 0.1)
        right = generator.random(1500) < sure - 0.2 * is_low
        lower, upper = calibration_error_interval(sure, right)
        hits += lower <= 0.02 <= upper
    assert hits / 100 >= 0.86


def test_the_debiased_error_lies_in_its_interval_and_chance_alone_leaves_0_in_it() -> None:
    generator = np.random.default_rng(1)
    for too_sure in (0.0, 0.05, 0.3):
        sure, right = drawn(generator, 1000, too_sure)
        lower, upper = calibration_error_interval(sure, right, power=2)
        assert lower <= debiased_error(sure, right) <= upper
        assert (lower == 0) == (too_sure == 0)
        lower, upper = calibration_error_interval(sure, right)
        assert lower < equal_mass_error(sure, right)


def test_images_that_hang_together_count_by_groups() -> None:
    generator, hits, ignored = np.random.default_rng(0), 0, 0
    for _ in range(100):
        sure, right = (np.repeat(part, 10) for part in drawn(generator, 100, 0.05))
        lower, upper = calibration_error_interval(sure, right, np.arange(1000) // 10)
        hits += lower <= 0.05 <= upper
        lower, upper = calibration_error_interval(sure, right)
        ignored += lower <= 0.05 <= upper
    assert hits >= 88
    assert ignored <= 75
    assert calibration_error_interval(sure, right, np.zeros(1000, int)) == (0.0, 1.0)


def test_where_nothing_varies_the_bounds_are_the_error_and_no_number_fails() -> None:
    assert calibration_error_interval([1.0] * 20, [True] * 20) == pytest.approx((0, 0), abs=1e-6)
    assert calibration_error_interval([1.0] * 20, [False] * 20) == pytest.approx((1, 1), abs=1e-3)
    lower, upper = calibration_error_interval([0.7], [True])
    assert 0 <= lower <= upper <= 1


@pytest.mark.parametrize("groups", [None, np.repeat(["a", "b", "c", "d", "e", "f"], 7)[:38]])
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("confidence", [1.0, 1 - 1e-15, 1 - 1e-9])
def test_answers_that_are_all_right_and_as_sure_as_can_be_show_no_error(
    confidence: float, power: Literal[1, 2], groups: Any
) -> None:
    sure, right = [confidence] * 38, [True] * 38
    lower, upper = calibration_error_interval(sure, right, groups, power=power)
    assert 0 <= lower <= upper < 1e-3
    if power == 1:
        found = Reliability(sure, right, groups)
        lower, upper = calibration_error_interval(sure, right, groups, reliability=found)
        assert 0 <= lower <= upper < 1e-3


def test_the_order_of_the_images_does_not_matter() -> None:
    sure, right = drawn(np.random.default_rng(1), 300, 0.05)
    order = np.random.default_rng(2).permutation(300)
    assert calibration_error_interval(sure, right) == pytest.approx(
        calibration_error_interval(sure[order], right[order])
    )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"power": 3}, "power must be 1 or 2; got 3"),
        ({"confidence": 1}, "confidence must be a number"),
        ({"groups": [1]}, "groups must"),
    ],
)
def test_what_is_none_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        calibration_error_interval([0.5, 0.6], [True, False], **asked)
