"""Intervals and the paired test where images come in groups."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.metrics.grouped import (
    accuracy_interval,
    difference_interval,
    drawn_share,
    effective_number,
    group_weights,
    paired_p_value,
)
from sightline.metrics.intervals import student_t_quantile, wilson_interval
from sightline.metrics.significance import mcnemar_exact, paired_difference_interval

NUM_IMAGES = 500


def _repeated(generator: np.random.Generator, size: int, accuracy: float = 0.9) -> np.ndarray:
    """Images of which each group is right or wrong as a whole."""
    return np.repeat(generator.random(NUM_IMAGES // size) < accuracy, size)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_interval_holds_the_truth_in_95_of_100_draws_whatever_the_size_of_the_groups(size: int) -> None:
    generator, groups, num_draws = np.random.default_rng(0), np.arange(NUM_IMAGES) // size, 500
    hits = 0
    for _ in range(num_draws):
        lower, upper = accuracy_interval(_repeated(generator, size), groups)
        hits += lower <= 0.9 <= upper
    assert 0.93 <= hits / num_draws <= 0.97


def test_of_images_drawn_one_from_each_group_each_group_counts_once() -> None:
    groups = np.repeat(["a", "b", "c"], [6, 3, 1])
    hits = np.array([1, 1, 1, 0, 0, 0, 1, 1, 0, 1], bool)
    share, (lower, upper) = drawn_share(hits, groups)
    assert share == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)
    assert lower < share < upper
    assert group_weights(groups, 10).sum() == pytest.approx(3)
    # Of those that were answered: so many of the answered images of each group are expected in a draw.
    answered = np.array([1, 1, 0, 1, 0, 0, 1, 1, 0, 0], bool)
    assert drawn_share(hits, groups, of=answered)[0] == pytest.approx((2 / 6 + 2 / 3) / (3 / 6 + 2 / 3))
    assert np.isnan(drawn_share(hits, groups, of=np.zeros(10, bool))[0])
    assert drawn_share(hits, ["a"] * 10)[1] == (0, 1)
    alone, interval = drawn_share(hits)
    assert (alone, interval) == (0.6, accuracy_interval(hits))
    assert drawn_share(np.repeat(hits, 3), np.repeat(np.arange(10), 3))[0] == pytest.approx(0.6)


def test_the_interval_of_a_drawn_share_is_on_the_safe_side_where_groups_are_of_all_sizes_and_kinds() -> None:
    """Large groups are hard, small ones easy; of 400 draws of 60 groups, 95 % less three errors have to hold it."""
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        sizes = generator.choice([1, 4, 20], 60)
        rates = np.where(sizes == 20, 0.7, 0.95)
        groups = np.repeat(np.arange(60), sizes)
        chances = generator.beta(4 * rates, 4 * (1 - rates))
        _, (lower, upper) = drawn_share(generator.random(len(groups)) < np.repeat(chances, sizes), groups)
        held += lower <= (0.7 + 2 * 0.95) / 3 <= upper
    assert held / 400 > 0.95 - 3 * 0.011


@pytest.mark.parametrize("size", [1, 2, 5])
def test_two_equal_classifiers_are_told_apart_in_5_of_100_draws_whatever_the_size_of_the_groups(size: int) -> None:
    generator, groups, num_draws = np.random.default_rng(0), np.arange(NUM_IMAGES) // size, 500
    alarms = covered = 0
    for _ in range(num_draws):
        first, second = _repeated(generator, size), _repeated(generator, size)
        alarms += paired_p_value(first, second, groups) < 0.05
        lower, upper = difference_interval(first, second, groups)
        covered += lower <= 0 <= upper
    assert 0.02 <= alarms / num_draws <= 0.065
    assert 0.93 <= covered / num_draws <= 0.975


@pytest.mark.parametrize("groups", [None, list("abcdefgh"), list(range(8))])
def test_images_that_stand_alone_are_counted_as_ever(groups: Any) -> None:
    first, second = np.array([True] * 5 + [False] * 3), np.array([False] * 2 + [True] * 6)
    assert accuracy_interval(first, groups) == wilson_interval(5, 8)
    assert paired_p_value(first, second, groups) == mcnemar_exact(first, second)
    assert difference_interval(first, second, groups) == paired_difference_interval(first, second)


def test_images_that_are_right_and_wrong_together_count_as_one() -> None:
    right = np.array([True] * 8 + [False] * 2)
    numbers = np.repeat(np.arange(10), 5)
    # By hand: between is 25 * 10 * 0.16 * 10 / 9, which leaves 9 of 10 groups.
    assert effective_number(np.repeat(right, 5), numbers) == pytest.approx(9.0)


def test_groups_without_any_likeness_cost_no_image() -> None:
    assert effective_number(np.array([True, False] * 50), np.arange(100) // 2) == 100


def test_where_all_are_right_each_group_counts_as_one() -> None:
    lower, upper = accuracy_interval(np.ones(100, bool), np.arange(100) // 5)
    quantile = student_t_quantile(0.95, degrees=19)
    assert (lower, upper) == (pytest.approx(20 / (20 + quantile**2)), 1.0)


def test_one_group_says_nothing_of_others() -> None:
    assert accuracy_interval([True, False, True], ["a", "a", "a"]) == (0.0, 1.0)


def test_the_paired_p_value_is_the_share_of_all_turns_of_groups() -> None:
    generator = np.random.default_rng(3)
    for _ in range(20):
        first, second = generator.random(24) < 0.6, generator.random(24) < 0.8
        groups = generator.integers(0, 9, 24)
        excess = [int(second[groups == group].sum()) - int(first[groups == group].sum()) for group in range(9)]
        sums = [abs(sum(turn * one for turn, one in zip(turns, excess, strict=True))) for turns in
                itertools.product((-1, 1), repeat=9)]  # fmt: skip
        expected = np.mean([one >= abs(sum(excess)) for one in sums])
        assert paired_p_value(first, second, groups) == pytest.approx(expected, rel=1e-12)


def test_the_order_of_the_images_and_the_names_of_their_groups_change_nothing() -> None:
    generator = np.random.default_rng(4)
    first, second, groups = generator.random(60) < 0.7, generator.random(60) < 0.8, generator.integers(0, 20, 60)
    order, names = generator.permutation(60), np.array([f"g{group}" for group in groups])
    for measure in (paired_p_value, difference_interval):
        assert measure(first, second, groups) == pytest.approx(measure(first[order], second[order], names[order]))


@pytest.mark.parametrize("degrees", [1, 2, 3, 10, 99, 12345])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_the_quantile_of_students_t_is_that_of_scipy(degrees: int, confidence: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = stats.t.ppf((1 + confidence) / 2, degrees)
    assert student_t_quantile(confidence, degrees=degrees) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("groups", [[1, 2], [1.5, 2.5, 3.5], [[1], [2], [3]]])
def test_groups_that_are_not_one_for_each_image_are_refused(groups: Any) -> None:
    with pytest.raises(InvalidValue, match="groups"):
        accuracy_interval([True, False, True], groups)


def test_the_first_mistakes_tell_little_of_how_groups_hang_together() -> None:
    numbers = np.repeat(np.arange(5), 100)
    counts = []
    for num_wrong in range(4):
        right = np.ones(NUM_IMAGES, bool)
        right[np.arange(num_wrong) * 100] = False
        counts.append(effective_number(right, numbers))
    # By hand: of one image that is wrong, one part of two is seen (a design effect of about 1), the other is 100.
    assert counts == pytest.approx([5, 2 * 500 / 101, 3 * 500 / 102, 4 * 500 / 103], rel=0.02)


def test_the_interval_holds_near_accuracies_of_1_in_few_groups_that_are_partly_alike() -> None:
    generator, numbers = np.random.default_rng(1), np.repeat(np.arange(25), 20)
    hits = 0
    for _ in range(200):
        chances = generator.beta(0.97 * 7 / 3, 0.03 * 7 / 3, 25)
        lower, upper = accuracy_interval(generator.random(NUM_IMAGES) < chances[numbers], numbers)
        hits += lower <= 0.97 <= upper
    assert hits >= 190
