"""Power laws through errors: planted ones are found, and bounds hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.metrics.uncertainty.power_law import SLOPES, power_law_errors, projected_errors

COUNTS = np.array([50.0, 100, 200, 400, 800])


@pytest.mark.parametrize("floor", [0.0, 0.05])
@pytest.mark.parametrize("slope", [0.3, 0.5, 1.0])
def test_a_planted_power_law_is_found(floor, slope):
    truth = floor + 2 * np.append(COUNTS, [1600, 4000]) ** -slope
    found = power_law_errors(COUNTS, truth[None, :5], at=np.array([1600.0, 4000.0]))
    np.testing.assert_allclose(found[0], truth[5:], atol=2e-3)


def test_the_fit_is_the_best_of_a_slow_search():
    generator = np.random.default_rng(0)
    errors = np.clip(0.1 + COUNTS**-0.5 + generator.normal(0, 0.02, 5), 0, 1)
    found = power_law_errors(COUNTS, errors[None], at=COUNTS)[0]
    best = min(
        float(((floor + height * (COUNTS / 800) ** -slope - errors) ** 2).sum())
        for slope in SLOPES.tolist()
        for floor in np.linspace(0, 0.3, 61)
        for height in np.linspace(0, 0.4, 81)
    )
    assert float(((found - errors) ** 2).sum()) <= best + 1e-9


def test_errors_that_rise_or_stay_are_taken_for_level():
    for errors in ([0.1, 0.12, 0.11, 0.14, 0.13], [0.2] * 5):
        found = power_law_errors(COUNTS, np.array([errors]), at=np.array([8000.0]))
        assert found[0, 0] == pytest.approx(np.mean(errors))


def test_bounds_hold_the_truth_about_as_often_as_they_say():
    slope, held, at = 0.5, 0, np.array([2000.0])
    for seed in range(60):
        generator = np.random.default_rng(seed)
        truth = 0.02 + 2 * COUNTS**-slope
        # What all draws have in common, by the same images, and what each has for itself.
        common = generator.normal(0, 0.01)
        errors = truth + common + generator.normal(0, 0.02, (10, 1)) + generator.normal(0, 0.01, (10, 5))
        _, lower, upper = projected_errors(COUNTS, np.clip(errors, 0, 1), at=at, shared=0.25)
        held += bool(lower[0] <= 0.02 + 2 * at[0] ** -slope <= upper[0])
    assert held >= 52


def test_the_bounds_hold_the_middle_and_lie_in_range():
    errors = np.random.default_rng(1).uniform(0, 0.05, (10, 5))
    middle, lower, upper = projected_errors(COUNTS, errors, at=np.array([800.0, 80_000.0]), shared=0.25)
    assert (lower <= middle).all()
    assert (middle <= upper).all()
    assert lower.min() >= 0
