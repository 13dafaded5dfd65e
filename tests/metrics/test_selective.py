"""Thresholds of certainty: their tests by definition and exactly, and how often a threshold that is too low passes.

How often is simulated on made populations whose risk is known at every threshold, 2,000 calibrations each. What is
allowed is the stated share and three standard errors: a right procedure that uses all of it fails in one of 700 runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.metrics import selective
from sightline.metrics.selective import (
    Certified,
    certainties_of,
    certified,
    error_p_value,
    fewest_answered,
    most_wrong,
    risk_coverage,
    steps_of,
)
from sightline.metrics.significance import binomial_cdf

# The chance that an image is answered wrongly, by how certain it is: uniform in (0, 1).
POPULATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "the surer, the better": lambda sure: 0.225 * (1 - sure) ** 3.5,
    "everywhere worse than allowed": lambda sure: np.full_like(sure, 0.015),
    "everywhere just what is allowed": lambda sure: np.full_like(sure, 0.01),
    "the surest twentieth is bad": lambda sure: np.where(sure > 0.95, 0.05, 0.9 * (1 - sure) ** 8),
}
RATE, ALLOWED = 0.01, 0.1


def draw(population: str, num_images: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    sure = random.random(num_images)
    return sure, random.random(num_images) >= POPULATIONS[population](sure)


def true_risks(population: str) -> np.ndarray:
    """By thousandths of the images, what share of the surest is wrong."""
    chances = POPULATIONS[population](1 - (np.arange(50_000) + 0.5) / 50_000)
    return (np.cumsum(chances) / np.arange(1, 50_001))[49::50]


def simulate(population: str, num_images: int, *, draws: int = 20) -> tuple[float, float, float]:
    """How often a threshold passes that is too low, what share is answered, and what one walk from the top answers."""
    random, risks = np.random.default_rng(7), true_risks(population)
    too_low, shares, of_one_walk = [], [], []
    for _ in range(draws):
        steps = steps_of(*draw(population, num_images, random))
        for _ in range(100):
            sure, right = draw(population, num_images, random)
            found = certified(steps, sure, right, max_error=RATE, certainty=1 - ALLOWED)
            share = 0.0 if found is None else 1 - max(found.threshold, 0.0)
            too_low.append(share > 0 and risks[round(1_000 * share) - 1] >= RATE - 1e-12)
            shares.append(share)
            of_one_walk.append(walked(steps.thresholds, sure, right))
    return float(np.mean(too_low)), float(np.mean(shares)), float(np.mean(of_one_walk))


def walked(thresholds: np.ndarray, sure: np.ndarray, right: np.ndarray) -> float:
    """The share that the same tests answer from the strictest threshold on."""
    answered, wrong = selective._counts(sure, right, thresholds)
    allowed = np.array([most_wrong(count, RATE, 1 - ALLOWED) for count in answered.tolist()])
    failed = np.flatnonzero((wrong > allowed) & (allowed >= 0))
    passed = np.flatnonzero((wrong <= allowed)[: failed[0] if len(failed) else None])
    return 1 - max(float(thresholds[passed[-1]]), 0.0) if len(passed) else 0.0


@pytest.mark.parametrize("population", POPULATIONS)
def test_a_threshold_that_is_too_low_passes_no_more_often_than_stated(population: str) -> None:
    has_bad_top = population == "the surest twentieth is bad"
    too_low, share, of_one_walk = simulate(population, 5_000 if has_bad_top else 2_000)
    assert too_low <= ALLOWED + 3 * math.sqrt(ALLOWED * (1 - ALLOWED) / 2_000)
    # Beginning where it is promising costs nothing where a walk from the strictest threshold does well.
    assert share >= 0.9 * of_one_walk - 0.002
    if has_bad_top:
        assert of_one_walk < 0.01
        assert share > 0.4


def test_the_simulation_sees_a_threshold_chosen_by_the_images_that_vouch_for_it(monkeypatch: Any) -> None:
    """The lowest threshold whose calibration error is low enough is too low in about half of all calibrations."""

    def naive(steps: Any, sure: np.ndarray, right: np.ndarray, **_: Any) -> Certified | None:
        answered, wrong = selective._counts(sure, right, steps.thresholds)
        low = np.flatnonzero(wrong <= RATE * answered)
        return Certified(float(steps.thresholds[low[-1]]), 1, 0) if len(low) else None

    monkeypatch.setitem(globals(), "certified", naive)
    assert simulate("the surer, the better", 2_000, draws=2)[0] > 0.4


# One test


def test_p_values_are_those_of_scipy_to_the_twelfth_digit() -> None:
    stats = pytest.importorskip("scipy.stats", reason="pip install '.[oracles]'")
    for num_images in (1, 7, 299, 1_000, 10_000):
        for rate in (1e-5, 0.001, 0.01, 0.1, 0.5, 0.9):
            counts = np.arange(num_images + 1)
            assert np.abs(binomial_cdf(num_images, rate) - stats.binom.cdf(counts, num_images, rate)).max() < 1e-12
    assert error_p_value(3, 700, 0.01) == pytest.approx(float(stats.binom.cdf(3, 700, 0.01)), abs=1e-12)


def test_p_values_are_those_of_mapie_where_its_counts_are_exact() -> None:
    methods = pytest.importorskip("mapie.risk_control.methods", reason="pip install '.[oracles]'")
    for num_images, num_wrong in ((256, 0), (512, 2), (1_024, 4), (2_048, 11)):  # shares that a float holds
        share = np.array([num_wrong / num_images])
        ((found,),) = methods.compute_hoeffding_bentkus_p_value(share, num_images, 0.01, binary=True)
        assert found == pytest.approx(error_p_value(num_wrong, num_images, 0.01), abs=1e-9)


@pytest.mark.parametrize(("max_error", "certainty"), [(0.01, 0.95), (0.05, 0.9), (0.3, 0.99), (0.5, 0.5), (0.001, 0.8)])
def test_how_many_may_be_wrong_is_counted_in_whole_numbers(max_error: float, certainty: float) -> None:
    rate, allowed = Fraction(str(max_error)), 1 - Fraction(str(certainty))
    for num_answered in (0, 1, 2, 3, 29, 59, 90, 299, 300):
        tail, passing = Fraction(0), -1
        for wrong in range(num_answered + 1):
            tail += math.comb(num_answered, wrong) * rate**wrong * (1 - rate) ** (num_answered - wrong)
            passing = wrong if tail <= allowed else passing
        assert most_wrong(num_answered, max_error, certainty) == passing


def test_shares_and_certainties_beyond_all_use_end_quickly_and_in_little_memory() -> None:
    assert fewest_answered(1e-9) == pytest.approx(2_995_732_273, rel=1e-6)
    assert most_wrong(10**9, 0.5, 0.95) == pytest.approx(5 * 10**8 - 1.645 * 15_811, abs=30)
    assert fewest_answered(0.999999, 0.5) == 1
    assert most_wrong(3_000, 0.01, 1e-300) <= 3_000
    assert fewest_answered(0.01, 0.9999999999999) == 2_979
    with pytest.raises(InvalidValue, match="max_error must be at least 1e-09"):
        fewest_answered(1e-12)


def test_what_just_passes_passes_though_a_float_says_otherwise() -> None:
    # 0.9 ** 3 is 0.729, what is allowed here; in floats it is 0.7290000000000001.
    assert most_wrong(3, 0.1, 0.271) == 0
    assert most_wrong(3, 0.1, 0.2710000000001) == -1


def test_how_many_must_be_answered_by_hand() -> None:
    assert [fewest_answered(0.01, num_wrong=wrong) for wrong in range(3)] == [299, 473, 628]
    assert fewest_answered(0.05) == math.ceil(math.log(0.05) / math.log(0.95)) == 59
    assert fewest_answered(0.01, 0.9) == 230
    assert fewest_answered(0.5, 0.75) == 2


# The walk


def test_no_calibration_image_has_a_part_in_the_thresholds_nor_in_where_the_walk_begins() -> None:
    random = np.random.default_rng(0)
    steps = steps_of(*draw("the surer, the better", 1_000, random))
    first = selective._first_promising(steps, 1_000, 0.01, 0.95)
    answers = [certified(steps, *draw("the surer, the better", 1_000, random), max_error=0.01) for _ in range(20)]
    assert {found.threshold for found in answers if found} <= set(steps.thresholds[first:].tolist())


def test_a_step_too_small_to_prove_anything_neither_passes_nor_ends_the_walk() -> None:
    steps = steps_of(np.arange(1_000.0), np.ones(1_000, bool))
    sure = np.arange(1_000.0)
    right = np.ones(1_000, bool)
    right[-1] = False  # the surest is wrong: of 473 and more answers, one may be
    found = certified(steps, sure, right, max_error=0.01)
    assert found == Certified(-np.inf, 1_000, 1)
    assert certified(steps, sure[:298], right[:298], max_error=0.01) is None
    assert certified(steps, sure[:299], right[:299], max_error=0.01) == Certified(-np.inf, 299, 0)


def test_the_walk_ends_at_the_first_step_that_fails() -> None:
    steps = steps_of(np.arange(2_000.0), np.arange(2_000) >= 1_000)
    sure, right = np.arange(2_000.0), np.ones(2_000, bool)
    right[900:940] = False  # and below them all right again, so that all together would pass 0.03
    found = certified(steps, sure, right, max_error=0.03)
    assert found is not None
    assert 900 < found.threshold < 1_000
    assert error_p_value(40, 2_000, 0.03) < 0.05


def test_images_that_are_equally_certain_are_answered_together() -> None:
    steps = steps_of(np.repeat([3.0, 2.0, 1.0], 200), np.repeat([True, True, False], 200))
    assert steps.thresholds.tolist() == [3.0, 2.0, 1.0, -np.inf]
    assert steps.num_answered.tolist() == [200, 400, 600, 600]
    assert steps.num_wrong.tolist() == [0, 0, 200, 200]
    assert certified(steps, np.repeat([3.0, 2.0, 1.0], 200), np.repeat([True, True, False], 200), max_error=0.01) == (
        Certified(2.0, 400, 0)
    )


def test_the_certainty_is_the_log_odds_of_the_answer_and_portions_change_nothing(monkeypatch: Any) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (50, 7)).astype(np.float32)
    weights = np.exp(logits.astype(np.float64))
    best = weights.max(axis=1)
    whole = certainties_of(logits)
    assert np.allclose(whole, np.log(best / (weights.sum(axis=1) - best)), rtol=0, atol=1e-12)
    assert (certainties_of(logits[3:4]) == whole[3]).all()
    monkeypatch.setattr("sightline.metrics.conformal.MOST_SCORES", 21)
    assert (certainties_of(logits) == whole).all()


# The curve


def test_the_risk_of_the_surest_is_counted_and_ties_are_their_mean() -> None:
    random = np.random.default_rng(0)
    sure, right = draw("the surer, the better", 200, random)
    curve = risk_coverage(sure, right)
    order = np.argsort(-sure)
    assert np.allclose(curve, [(~right[order[:count]]).mean() for count in range(1, 201)])
    assert curve[-1] == pytest.approx(float((~right).mean()))
    tied = risk_coverage([2.0, 1.0, 1.0], [True, False, True])
    assert tied == pytest.approx([0, (0 + 1 / 2) / 2, 1 / 3])


# Refusals


@pytest.mark.parametrize("wrong", [0, 1, -0.1, 1.5, math.nan, "0.01", True, None])
def test_a_share_that_is_none_is_refused(wrong: Any) -> None:
    steps = steps_of([1.0], [True])
    with pytest.raises(InvalidValue, match="max_error must be a number above 0 and below 1"):
        certified(steps, [1.0], [True], max_error=wrong)
    with pytest.raises(InvalidValue, match="certainty must be a number above 0 and below 1"):
        certified(steps, [1.0], [True], max_error=0.1, certainty=wrong)


@pytest.mark.parametrize(
    ("sure", "right"),
    [([], []), ([1.0, math.nan], [True, True]), ([1.0], [True, False]), ([[1.0]], [[True]]), ([1.0], [1])],
)
def test_what_is_no_certainty_and_no_answer_is_refused(sure: Any, right: Any) -> None:
    for function in (steps_of, risk_coverage):
        with pytest.raises(InvalidValue, match=r"certainties must be one finite|is_right must be an array"):
            function(sure, right)
    with pytest.raises(InvalidValue, match=r"from 0 to num_answered, 3; got 4\."):
        error_p_value(4, 3, 0.1)
