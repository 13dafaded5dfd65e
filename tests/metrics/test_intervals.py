"""Intervals, against slow computations of their own, tables and papers."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.metrics.intervals import student_t_quantile, wilson_interval
from sightline.metrics.significance import paired_difference_interval

NAN = math.nan
Z95 = 1.959963984540054


def _root(function: Callable[[float], float], lower: float, upper: float) -> float:
    for _ in range(200):
        middle = (lower + upper) / 2
        lower, upper = (middle, upper) if (function(middle) > 0) == (function(lower) > 0) else (lower, middle)
    return middle


@pytest.mark.parametrize(("num_correct", "num_images"), [(1, 7), (5, 10), (93, 100), (9982, 10000)])
def test_wilson_bounds_are_the_accuracies_that_lie_one_quantile_of_their_own_spread_away(
    num_correct: int, num_images: int
) -> None:
    accuracy = num_correct / num_images

    def excess(true: float) -> float:
        return abs(accuracy - true) - Z95 * math.sqrt(true * (1 - true) / num_images)

    lower, upper = wilson_interval(num_correct, num_images)
    assert lower == pytest.approx(_root(excess, 1e-12, accuracy), rel=1e-9)
    assert upper == pytest.approx(_root(excess, accuracy, 1 - 1e-12), rel=1e-9)


def test_wilson_by_hand_for_one_image() -> None:
    # p = 1, n = 1: the lower bound is 1 / (1 + z^2).
    assert wilson_interval(1, 1) == pytest.approx((1 / (1 + Z95**2), 1.0), rel=1e-12)


def test_wilson_of_81_in_263_is_that_of_newcombe() -> None:
    # Newcombe, Two-sided confidence intervals for the single proportion, Statistics in Medicine 17 (1998), table I.
    lower, upper = wilson_interval(81, 263)
    assert (round(lower, 4), round(upper, 4)) == (0.2553, 0.3662)


@pytest.mark.parametrize("num_images", [1, 2, 13, 10**6])
def test_wilson_of_all_right_ends_at_one_and_of_none_right_starts_at_zero(num_images: int) -> None:
    assert wilson_interval(0, num_images)[0] == 0.0
    assert wilson_interval(num_images, num_images)[1] == 1.0


def test_wilson_of_the_errors_mirrors_wilson_of_the_right_ones() -> None:
    for num_correct in range(31):
        lower, upper = wilson_interval(num_correct, 30, confidence=0.9)
        mirrored = wilson_interval(30 - num_correct, 30, confidence=0.9)
        assert (1 - upper, 1 - lower) == pytest.approx(mirrored, abs=1e-15)
        assert 0 <= lower <= num_correct / 30 <= upper <= 1


def test_wilson_narrows_with_images_and_widens_with_confidence() -> None:
    def width(num_images: int, confidence: float) -> float:
        lower, upper = wilson_interval(num_images // 2, num_images, confidence=confidence)
        return upper - lower

    assert all(width(small, 0.95) > width(large, 0.95) for small, large in pairwise([2, 10, 100, 1000]))
    assert all(width(50, low) < width(50, high) for low, high in pairwise([1e-300, 0.1, 0.5, 0.9, 0.99, 1 - 2**-53]))


def test_wilson_covers_the_truth_about_as_often_as_it_says() -> None:
    num_images = 50
    intervals = [wilson_interval(num_correct, num_images) for num_correct in range(num_images + 1)]
    ways = [math.comb(num_images, num_correct) for num_correct in range(num_images + 1)]

    def coverage(true: float) -> float:
        return math.fsum(
            ways[k] * true**k * (1 - true) ** (num_images - k)
            for k, (lower, upper) in enumerate(intervals)
            if lower <= true <= upper
        )

    coverages = [coverage(true / 1000) for true in range(20, 981)]
    assert abs(np.mean(coverages) - 0.95) < 0.005
    assert min(coverages) > 0.88


@pytest.mark.parametrize("figure", [3.0, -1, True, "3", None, NAN])
def test_wilson_refuses_what_is_no_count(figure: Any) -> None:
    with pytest.raises(InvalidValue, match=r"^num_images must be a whole number of at least 1; got"):
        wilson_interval(0, figure)
    with pytest.raises(InvalidValue, match=r"^num_correct must be a whole number of at least 0; got"):
        wilson_interval(figure, 5)


def test_wilson_refuses_no_images_and_more_right_than_there_are() -> None:
    with pytest.raises(InvalidValue, match=r"^num_images must be a whole number of at least 1; got 0"):
        wilson_interval(0, 0)
    with pytest.raises(InvalidValue, match=r"^num_correct must be from 0 to num_images, 10; got 11"):
        wilson_interval(11, 10)


@pytest.mark.parametrize("confidence", [0, 1, 95, -0.5, NAN, "0.95", None, True])
def test_every_interval_refuses_a_confidence_outside_zero_and_one(confidence: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: wilson_interval(5, 10, confidence=confidence),
        lambda: student_t_quantile(confidence, degrees=1),
        lambda: paired_difference_interval([True], [True], confidence=confidence),
    ]
    for call in calls:
        with pytest.raises(InvalidValue, match=r"^confidence must be a number in \(0, 1\), such as 0.95; got"):
            call()


@pytest.mark.parametrize(
    ("degrees", "at_90", "at_95", "at_99"),
    [
        (1, 6.314, 12.706, 63.657),
        (2, 2.920, 4.303, 9.925),
        (3, 2.353, 3.182, 5.841),
        (4, 2.132, 2.776, 4.604),
        (9, 1.833, 2.262, 3.250),
        (30, 1.697, 2.042, 2.750),
        (120, 1.658, 1.980, 2.617),
    ],
)
def test_the_quantiles_of_t_are_those_of_students_table(degrees: int, at_90: float, at_95: float, at_99: float) -> None:
    quantiles = [student_t_quantile(confidence, degrees=degrees) for confidence in (0.90, 0.95, 0.99)]
    assert quantiles == [pytest.approx(at, abs=6e-4) for at in (at_90, at_95, at_99)]


@pytest.mark.parametrize("confidence", [1e-9, 0.01, 0.5, 0.95, 0.999, 1 - 1e-10])
def test_the_quantiles_of_t_agree_with_their_closed_forms_for_one_two_and_four_degrees(confidence: float) -> None:
    outside = 1 - confidence
    assert student_t_quantile(confidence, degrees=1) == pytest.approx(
        1 / math.tan(math.pi * outside / 2), rel=1e-9, abs=1e-14
    )
    two = confidence * math.sqrt(2 / (outside * (1 + confidence)))
    assert student_t_quantile(confidence, degrees=2) == pytest.approx(two, rel=1e-7)
    root = math.sqrt(outside * (1 + confidence))
    four = 2 * math.sqrt(max(0.0, math.cos(math.acos(root) / 3) / root - 1))
    assert student_t_quantile(confidence, degrees=4) == pytest.approx(four, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("degrees", [3, 7, 25])
def test_the_density_of_t_between_the_bounds_integrates_to_the_confidence(degrees: int) -> None:
    quantile = student_t_quantile(0.95, degrees=degrees)
    places = np.linspace(-quantile, quantile, 2001)
    factor = math.gamma((degrees + 1) / 2) / (math.sqrt(degrees * math.pi) * math.gamma(degrees / 2))
    density = factor * (1 + places**2 / degrees) ** (-(degrees + 1) / 2)
    weights = np.array([1.0] + [4.0, 2.0] * 999 + [4.0, 1.0])
    assert (density * weights).sum() * (places[1] - places[0]) / 3 == pytest.approx(0.95, abs=1e-11)


def test_the_quantile_of_t_with_very_many_degrees_is_the_normal_one() -> None:
    assert student_t_quantile(0.95, degrees=100_000) == pytest.approx(Z95 * (1 + (Z95**2 + 1) / 400_000), rel=1e-9)
