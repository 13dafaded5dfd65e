from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.errors import InvalidValue
from sightline.metrics.grouped import paired_p_value
from sightline.metrics.significance import (
    benjamini_hochberg,
    chance_of_gain,
    holm,
    mcnemar_exact,
    number_to_tell,
    paired_difference_interval,
)

# The quantile of 95 %.
Z95 = 1.959963984540054


def _by_definition(p_values: list[float]) -> list[float]:
    """The smallest level at which Holm's steps, done one by one, would reject each hypothesis."""
    ranked = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    for rank, index in enumerate(ranked):
        # A hypothesis falls only after all before it: the level must do for each of them.
        needed = [(len(p_values) - before) * p_values[ranked[before]] for before in range(rank + 1)]
        adjusted[index] = min(1.0, max(needed))
    return adjusted


def test_holm_is_the_level_at_which_step_after_step_rejects() -> None:
    random = np.random.default_rng(0)
    for num_tests in range(1, 9):
        p_values = (random.random(num_tests) ** 3).tolist()
        assert holm(p_values).tolist() == pytest.approx(_by_definition(p_values), rel=1e-15)


def test_holm_by_hand() -> None:
    # 0.01 counts four times, 0.015 three times, 0.03 twice, 0.2 once.
    assert holm([0.2, 0.01, 0.03, 0.015]).tolist() == pytest.approx([0.2, 0.04, 0.06, 0.045])
    assert holm([0.04, 0.04]).tolist() == [0.08, 0.08]
    assert holm([0.6, 0.7, 0.9]).tolist() == [1.0, 1.0, 1.0]


def test_one_test_alone_is_not_adjusted() -> None:
    assert holm([0.03]).tolist() == [0.03]
    assert holm([0]).tolist() == [0.0]


def test_the_order_of_the_tests_does_not_matter_and_no_value_becomes_smaller() -> None:
    random = np.random.default_rng(1)
    p_values = random.random(7) ** 4
    order = random.permutation(7)
    assert holm(p_values[order]).tolist() == holm(p_values)[order].tolist()
    assert (holm(p_values) >= p_values).all()


@pytest.mark.parametrize(
    ("p_values", "message"),
    [
        ([], "at least 1 test"),
        ([[0.1, 0.2]], "at least 1 test"),
        ([0.1, 1.1], r"p_values must be in \[0, 1\]; got 1.1"),
        ([-0.1], r"p_values must be in \[0, 1\]; got -0.1"),
        ([0.1, float("nan")], r"p_values must be in \[0, 1\]; got nan"),
        (["0.1"], "p_values must be an array of numbers"),
    ],
)
def test_what_is_no_p_value_is_refused(p_values: object, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        holm(p_values)  # type: ignore[arg-type]


Flags = NDArray[np.bool_]


def _flags(both: int, only_first: int, only_second: int, neither: int) -> tuple[Flags, Flags]:
    counts = [both, only_first, only_second, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


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


def test_benjamini_and_hochberg_by_hand() -> None:
    # Sorted 0.01, 0.015, 0.03, 0.2: times 4, 2, 4/3, 1; none above what follows it.
    assert benjamini_hochberg([0.2, 0.01, 0.03, 0.015]).tolist() == pytest.approx([0.2, 0.03, 0.04, 0.03])
    assert benjamini_hochberg([0.04, 0.04]).tolist() == [0.04, 0.04]
    assert benjamini_hochberg([0.03]).tolist() == [0.03]


def test_benjamini_and_hochberg_reject_as_their_steps_do() -> None:
    random = np.random.default_rng(2)
    for num_tests in range(1, 30):
        p_values, level = random.random(num_tests) ** 3, 0.2
        ranked = np.sort(p_values)
        below = np.flatnonzero(ranked <= level * np.arange(1, num_tests + 1) / num_tests)
        num_called = 0 if not len(below) else below[-1] + 1
        assert (benjamini_hochberg(p_values) <= level).sum() == num_called


def test_benjamini_and_hochberg_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats", reason="comes with training")
    p_values = np.random.default_rng(3).random(50) ** 4
    assert benjamini_hochberg(p_values) == pytest.approx(stats.false_discovery_control(p_values), rel=1e-12)
    with pytest.raises(InvalidValue, match=r"p_values must be in \[0, 1\]"):
        benjamini_hochberg([np.nan])


def power_of(num_images: int, share_differing: float, difference: float) -> float:
    """How often the exact test of so many images is below 0.05: over all numbers that may differ, binomially."""
    stats = pytest.importorskip("scipy.stats")
    numbers = np.arange(1, num_images + 1)
    limits = stats.binom.ppf(0.025, numbers, 0.5)
    limits = np.where(2 * stats.binom.cdf(limits, numbers, 0.5) < 0.05, limits, limits - 1)
    favour = (share_differing + difference) / 2 / share_differing
    told = stats.binom.cdf(limits, numbers, favour) + stats.binom.sf(numbers - limits - 1, numbers, favour)
    return float((stats.binom.pmf(numbers, num_images, share_differing) * told).sum())


@pytest.mark.parametrize(("only_first", "only_second"), [(10, 20), (1, 11), (35, 65), (75, 125), (20, 60), (7, 14)])
def test_as_many_images_as_would_tell_tell_in_four_of_five_cases(only_first: int, only_second: int) -> None:
    excesses = np.array([-1] * only_first + [1] * only_second + [0] * (1000 - only_first - only_second))
    found = number_to_tell(excesses)
    assert found is not None
    shares = (only_first + only_second) / 1000, (only_second - only_first) / 1000
    # A tenth fewer tell less often, a tenth more more often.
    assert power_of(int(0.9 * found), *shares) < 0.8 < power_of(int(1.1 * found) + 1, *shares)
    assert number_to_tell(-excesses) == found


def test_as_many_groups_as_would_tell_tell_in_four_of_five_cases() -> None:
    # 400 draws: a power of 0.8 is outside of these bounds in 1 of 1,000 cases.
    generator, kinds = np.random.default_rng(0), np.array([-3, -1, 0, 1, 2, 4])
    chances = np.array([0.05, 0.1, 0.55, 0.15, 0.1, 0.05])
    found = number_to_tell(np.repeat(kinds, (1000 * chances).astype(int)))
    told = 0
    for _ in range(400):
        excesses = generator.choice(kinds, size=found, p=chances)
        groups = np.repeat(np.arange(found), 4)
        second = np.concatenate([np.arange(4) < max(0, excess) for excess in excesses])
        first = np.concatenate([np.arange(4) < max(0, -excess) for excess in excesses])
        told += paired_p_value(first, second, groups) < 0.05
    assert 0.73 <= told / 400 <= 0.865


@pytest.mark.parametrize("excesses", [[0] * 50, [1, -1] * 30, [1] * 9 + [0] * 91, [5]])
def test_where_nothing_or_too_little_differs_no_number_is_named(excesses: list[int]) -> None:
    assert number_to_tell(excesses) is None


def test_a_stricter_test_takes_more_images() -> None:
    excesses = [1] * 20 + [-1] * 10 + [0] * 70
    assert number_to_tell(excesses, significance=0.01) > 1.3 * number_to_tell(excesses)
    with pytest.raises(InvalidValue, match="significance must be a number"):
        number_to_tell(excesses, significance=0)
    with pytest.raises(InvalidValue, match="whole numbers"):
        number_to_tell([0.5])


def test_of_twenty_that_gain_nothing_one_is_taken_for_better() -> None:
    generator = np.random.default_rng(0)
    chances = [chance_of_gain(generator.exponential(size=50), generator.exponential(size=50)) for _ in range(2000)]
    assert np.mean(np.array(chances) < 0.05) == pytest.approx(0.05, abs=0.015)


def test_the_same_gain_on_every_image_is_no_chance_and_a_loss_is_no_gain() -> None:
    before = np.linspace(0.1, 1, 10)
    assert chance_of_gain(before, before - 0.05) < 1e-6
    assert chance_of_gain(before, before + 0.05) > 0.999
    # By hand: gains of 0.2, 0.1, 0.3 have mean 0.2 and error 0.0577; t = 3.464 with two degrees of freedom.
    assert chance_of_gain(np.array([0.5, 0.4, 0.6]), np.full(3, 0.3)) == pytest.approx(0.0371, abs=5e-4)
    assert chance_of_gain(before, before) == 1
    assert chance_of_gain(before[:1], before[:1] - 0.05) == 1
    assert chance_of_gain(before, np.full(10, np.nan)) == 1
