"""The interval of a calibration error."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.metrics.calibration.reliability import debiased_error, equal_mass_error
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
