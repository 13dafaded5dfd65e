"""Intervals and the exact test, against slow computations of their own, tables and papers."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.errors import InvalidValue
from sightline.metrics.intervals import mcnemar_exact, mean_interval, paired_difference_interval, wilson_interval

NAN = math.nan
Z95 = 1.959963984540054
Flags = NDArray[np.bool_]


def _root(function: Callable[[float], float], lower: float, upper: float) -> float:
    for _ in range(200):
        middle = (lower + upper) / 2
        lower, upper = (middle, upper) if (function(middle) > 0) == (function(lower) > 0) else (lower, middle)
    return middle


def _flags(both: int, only_first: int, only_second: int, neither: int) -> tuple[Flags, Flags]:
    counts = [both, only_first, only_second, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


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
        lambda: mean_interval([1.0, 2.0], confidence=confidence),
        lambda: paired_difference_interval([True], [True], confidence=confidence),
    ]
    for call in calls:
        with pytest.raises(InvalidValue, match=r"^confidence must be a number in \(0, 1\), such as 0.95; got"):
            call()


def _quantile(confidence: float, degrees: int) -> float:
    # Values whose mean is 0 and whose standard error is 1, so that the upper bound is the quantile itself.
    num_values = degrees + 1
    values = np.zeros(num_values)
    values[0], values[1] = 1.0, -1.0
    return mean_interval(values * math.sqrt(num_values * degrees / 2), confidence=confidence)[1]


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
def test_mean_interval_uses_the_quantiles_of_students_table(
    degrees: int, at_90: float, at_95: float, at_99: float
) -> None:
    quantiles = [_quantile(confidence, degrees) for confidence in (0.90, 0.95, 0.99)]
    assert quantiles == [pytest.approx(at, abs=6e-4) for at in (at_90, at_95, at_99)]


@pytest.mark.parametrize("confidence", [1e-9, 0.01, 0.5, 0.95, 0.999, 1 - 1e-10])
def test_mean_interval_agrees_with_the_closed_forms_of_two_three_and_five_values(confidence: float) -> None:
    outside = 1 - confidence
    assert _quantile(confidence, 1) == pytest.approx(1 / math.tan(math.pi * outside / 2), rel=1e-9, abs=1e-14)
    two = confidence * math.sqrt(2 / (outside * (1 + confidence)))
    assert _quantile(confidence, 2) == pytest.approx(two, rel=1e-7)
    root = math.sqrt(outside * (1 + confidence))
    four = 2 * math.sqrt(max(0.0, math.cos(math.acos(root) / 3) / root - 1))
    assert _quantile(confidence, 4) == pytest.approx(four, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("degrees", [3, 7, 25])
def test_the_density_of_t_between_the_bounds_integrates_to_the_confidence(degrees: int) -> None:
    quantile = _quantile(0.95, degrees)
    places = np.linspace(-quantile, quantile, 2001)
    factor = math.gamma((degrees + 1) / 2) / (math.sqrt(degrees * math.pi) * math.gamma(degrees / 2))
    density = factor * (1 + places**2 / degrees) ** (-(degrees + 1) / 2)
    weights = np.array([1.0] + [4.0, 2.0] * 999 + [4.0, 1.0])
    assert (density * weights).sum() * (places[1] - places[0]) / 3 == pytest.approx(0.95, abs=1e-11)


def test_mean_interval_of_very_many_values_is_the_normal_one() -> None:
    assert _quantile(0.95, 100_000) == pytest.approx(Z95 * (1 + (Z95**2 + 1) / 400_000), rel=1e-9)


def test_mean_interval_by_hand_of_one_two_and_three() -> None:
    # Mean 2, standard error 1 / sqrt(3), t(2) = 4.302653.
    spread = 4.302653 / math.sqrt(3)
    assert mean_interval([1, 2, 3]) == pytest.approx((2 - spread, 2 + spread))


def test_mean_interval_moves_and_stretches_with_its_values() -> None:
    values = np.array([0.91, 0.94, 0.93, 0.97])
    lower, upper = mean_interval(values)
    assert mean_interval(values * 10 + 3) == pytest.approx((lower * 10 + 3, upper * 10 + 3))
    assert mean_interval(values[::-1]) == (lower, upper)


def test_mean_interval_of_equal_values_has_no_width() -> None:
    assert mean_interval([0.1] * 3) == (0.1, 0.1)


@pytest.mark.parametrize(
    "values",
    [[], [1.0], 1.0, [[1.0, 2.0]], [1.0, NAN], [1.0, math.inf], ["1", "2"], [True, False], [None, 1.0], [[1], [2, 3]]],
)
def test_mean_interval_refuses_what_has_no_spread(values: Any) -> None:
    with pytest.raises(InvalidValue, match=r"^values must"):
        mean_interval(values)


def _exact_p_value(only_first: int, only_second: int) -> Fraction:
    discordant = only_first + only_second
    likelihoods = [Fraction(math.comb(discordant, k), 2**discordant) for k in range(discordant + 1)]
    return sum((each for each in likelihoods if each <= likelihoods[only_first]), Fraction(0))


def test_mcnemar_is_the_sum_of_all_outcomes_that_are_no_likelier() -> None:
    for only_first in range(15):
        for only_second in range(15):
            p_value = mcnemar_exact(*_flags(3, only_first, only_second, 2))
            assert p_value == pytest.approx(float(_exact_p_value(only_first, only_second)), rel=1e-15)


@pytest.mark.parametrize(("only_first", "only_second"), [(1000, 1100), (1500, 1501), (2500, 800), (20, 600)])
def test_mcnemar_keeps_its_digits_at_thousands_of_discordant_pairs(only_first: int, only_second: int) -> None:
    discordant, fewer = only_first + only_second, min(only_first, only_second)
    exactly = Fraction(sum(math.comb(discordant, k) for k in range(fewer + 1)), 2 ** (discordant - 1))
    assert mcnemar_exact(*_flags(0, only_first, only_second, 0)) == pytest.approx(float(exactly), rel=1e-14)


def test_mcnemar_by_hand_of_one_against_nine() -> None:
    # (1 + 10) ways in the lower tail, as many in the upper, of 2^10.
    assert mcnemar_exact(*_flags(50, 1, 9, 4)) == 22 / 1024


def test_mcnemar_sees_only_the_images_on_which_the_two_differ() -> None:
    first, second = _flags(0, 12, 4, 0)
    more_first, more_second = _flags(700, 12, 4, 30)
    order = np.random.default_rng(1).permutation(len(more_first))
    assert mcnemar_exact(more_first[order], more_second[order]) == mcnemar_exact(first, second)
    assert mcnemar_exact(second, first) == mcnemar_exact(first, second)


def test_mcnemar_is_one_where_nothing_speaks_for_either() -> None:
    assert mcnemar_exact([True, False], [True, False]) == 1.0
    assert mcnemar_exact(*_flags(1, 4000, 4000, 1)) == 1.0


def test_mcnemar_of_a_hopeless_case_is_zero_and_no_error() -> None:
    assert mcnemar_exact(*_flags(0, 5000, 0, 0)) == 0.0


def _newcombe(both: int, only_first: int, only_second: int, neither: int) -> tuple[float, float]:
    # Method 10 as the paper prints it, with the difference first minus second.
    e, f, g, h = both, only_first, only_second, neither
    n = e + f + g + h
    p1, p2 = (e + f) / n, (e + g) / n
    roots = []
    for p in (p1, p2):
        spread = Z95 * math.sqrt(Z95**2 + 4 * n * p * (1 - p))
        roots.append(
            ((2 * n * p + Z95**2 - spread) / (2 * (n + Z95**2)), (2 * n * p + Z95**2 + spread) / (2 * (n + Z95**2)))
        )
    (l1, u1), (l2, u2) = roots
    numerator = float(e * h - f * g)
    if numerator > n / 2:
        numerator = numerator - n / 2
    elif numerator >= 0:
        numerator = 0.0
    denominator = math.sqrt((e + f) * (g + h) * (e + g) * (f + h))
    phi = numerator / denominator if denominator else 0.0
    down = math.sqrt((p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2)
    up = math.sqrt((p2 - l2) ** 2 - 2 * phi * (p2 - l2) * (u1 - p1) + (u1 - p1) ** 2)
    return p1 - p2 - down, p1 - p2 + up


def _difference(both: int, only_first: int, only_second: int, neither: int) -> tuple[float, float]:
    # First minus second, as papers have it: the second is given first.
    first, second = _flags(both, only_first, only_second, neither)
    return paired_difference_interval(second, first)


@cache
def _tables(num_images: int) -> tuple[tuple[tuple[int, int, int, int], tuple[float, float]], ...]:
    counts = range(num_images + 1)
    tables = [
        (a, b, c, num_images - a - b - c) for a in counts for b in counts for c in counts if a + b + c <= num_images
    ]
    return tuple((table, _difference(*table)) for table in tables)


def test_the_paired_interval_is_newcombes_method_ten_on_every_small_table() -> None:
    for table, interval in _tables(9):
        assert interval == pytest.approx(_newcombe(*table), abs=1e-9)


@pytest.mark.parametrize(
    ("table", "lower", "upper"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), 2635-2650, table III.
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((20, 12, 2, 16), 0.0562, 0.3292),
        ((18, 12, 2, 18), 0.0562, 0.3290),
        ((36, 14, 0, 0), 0.1528, 0.4167),
        ((35, 14, 0, 1), 0.1461, 0.4175),
        ((18, 14, 0, 18), 0.1441, 0.3963),
        ((2, 97, 1, 0), 0.8721, 0.9854),
        ((1, 97, 1, 1), 0.8736, 0.9850),
        ((0, 30, 0, 0), 0.8395, 1.0),
        ((54, 0, 0, 0), -0.0664, 0.0664),
        ((30, 0, 0, 24), -0.0358, 0.0358),
        # Fagerland, Lydersen and Laake, Statistical Analysis of Contingency Tables (2017), chapter 8.
        ((1, 1, 7, 12), -0.5069, -0.0256),
        ((59, 6, 16, 80), -0.1186, -0.0046),
    ],
)
def test_the_paired_interval_gives_published_figures(
    table: tuple[int, int, int, int], lower: float, upper: float
) -> None:
    # Printed to four decimals; of (1, 97, 1, 1) the last one is rounded down from 0.87367.
    assert _difference(*table) == pytest.approx((lower, upper), abs=1e-4)


def test_the_paired_interval_by_hand_of_two_opposed_images() -> None:
    # Accuracies 1/2 and 1/2, phi = -1: the two Wilson arms of z / (2 sqrt(2 + z^2)) add up.
    arm = Z95 / (2 * math.sqrt(2 + Z95**2))
    assert paired_difference_interval([True, False], [False, True]) == pytest.approx((-2 * arm, 2 * arm))


def test_the_paired_interval_changes_sign_when_the_two_are_exchanged() -> None:
    first, second = _flags(40, 12, 5, 3)
    lower, upper = paired_difference_interval(first, second, confidence=0.8)
    assert paired_difference_interval(second, first, confidence=0.8) == pytest.approx((-upper, -lower))


def test_the_paired_interval_holds_the_difference_and_stays_within_minus_one_and_one() -> None:
    for (both, only_first, only_second, neither), (lower, upper) in _tables(9):
        assert -1 <= lower <= (only_first - only_second) / (both + only_first + only_second + neither) <= upper <= 1
        assert lower < upper


def test_the_paired_interval_of_two_that_never_differ_still_has_a_width() -> None:
    lower, upper = paired_difference_interval([True] * 20, [True] * 20)
    assert lower == pytest.approx(-upper)
    assert 0.1 < upper < 0.3


@pytest.mark.parametrize(
    "chances", [(0.8, 0.1, 0.05, 0.05), (0.6, 0.2, 0.1, 0.1), (0.3, 0.2, 0.2, 0.3), (0.9, 0.04, 0.04, 0.02)]
)
def test_the_paired_interval_covers_the_truth_about_as_often_as_it_says(chances: tuple[float, ...]) -> None:
    truth = chances[1] - chances[2]
    covered = 0.0
    for table, (lower, upper) in _tables(15):
        if lower <= truth <= upper:
            ways = math.factorial(15) / math.prod(math.factorial(count) for count in table)
            covered += ways * math.prod(chance**count for chance, count in zip(chances, table, strict=True))
    assert 0.93 < covered <= 1


@pytest.mark.parametrize("compare", [mcnemar_exact, paired_difference_interval])
@pytest.mark.parametrize(
    "wrong", [[], [1, 0], [1.0, 0.0], ["yes", "no"], [[True, False]], True, np.array([True, False], dtype=object)]
)
def test_what_is_no_row_of_true_and_false_is_refused_by_name(compare: Callable[..., object], wrong: Any) -> None:
    with pytest.raises(InvalidValue, match=r"^first_correct must"):
        compare(wrong, [True, False])
    with pytest.raises(InvalidValue, match=r"^second_correct must"):
        compare([True, False], wrong)


@pytest.mark.parametrize("compare", [mcnemar_exact, paired_difference_interval])
def test_rows_of_unequal_length_are_refused(compare: Callable[..., object]) -> None:
    with pytest.raises(InvalidValue, match=r"about the same images; got 2 and 3 of them"):
        compare([True, False], [True, False, True])
