from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.errors import InvalidValue
from sightline.metrics.slices import FEWEST_IMAGES, SIGNIFICANCE, fisher_greater, judge_slices


def test_the_tail_is_its_definition_in_whole_numbers() -> None:
    for total, all_hits, count in ((8, 4, 4), (30, 7, 11), (50, 20, 3)):
        for hits in range(min(count, all_hits) + 1):
            ways = sum(
                math.comb(all_hits, one) * math.comb(total - all_hits, count - one)
                for one in range(hits, min(count, all_hits) + 1)
                if count - one <= total - all_hits
            )
            assert fisher_greater(hits, count, all_hits, total) == pytest.approx(
                ways / math.comb(total, count), rel=1e-10
            )


def test_it_is_the_test_of_another_implementation() -> None:
    stats = pytest.importorskip("scipy.stats")
    for hits, count, all_hits, total in ((12, 200, 48, 2000), (90, 300, 400, 10_000), (0, 40, 7, 900)):
        table = [[hits, count - hits], [all_hits - hits, total - count - all_hits + hits]]
        expected = stats.fisher_exact(table, alternative="greater").pvalue
        assert fisher_greater(hits, count, all_hits, total) == pytest.approx(expected, rel=1e-8)


def random_members(generator: np.random.Generator, num_images: int, num_slices: int) -> dict[str, NDArray[np.bool_]]:
    shares = generator.uniform(0.05, 0.5, num_slices)
    return {str(number): generator.random(num_images) < share for number, share in enumerate(shares)}


def test_of_sets_that_are_alike_everywhere_at_most_one_in_twenty_has_a_worse_part() -> None:
    # 1,000 sets of 1,000 images and 40 parts; at most 5 % is promised, 1.64 standard errors more would be 6.1 %.
    generator = np.random.default_rng(0)
    members = random_members(generator, 1000, 40)
    alarms = 0
    for _ in range(1000):
        found = judge_slices(generator.random(1000) < 0.08, members)
        alarms += found[0].is_worse
    assert alarms / 1000 <= SIGNIFICANCE


def test_a_tenth_with_three_times_the_error_is_found() -> None:
    # 200 sets of 2,000 images, 5 % wrong elsewhere, 40 other parts beside it; at least 90 % is promised.
    generator = np.random.default_rng(1)
    members = random_members(generator, 2000, 40) | {"planted": np.arange(2000) < 200}
    hits = 0
    for _ in range(200):
        wrong = generator.random(2000) < np.where(members["planted"], 0.15, 0.05)
        first = judge_slices(wrong, members)[0]
        hits += first.is_worse and first.name == "planted"
    assert hits / 200 >= 0.9


def test_images_that_hang_together_raise_no_more_alarms() -> None:
    # 300 sets of 50 groups of 20 images that are right or wrong together; parts are made of whole groups.
    generator = np.random.default_rng(2)
    groups = np.repeat(np.arange(50), 20)
    alarms = counted_one_by_one = 0
    for _ in range(300):
        members = {str(number): (generator.random(50) < 0.3)[groups] for number in range(10)}
        wrong = (generator.random(50) < 0.15)[groups]
        alarms += judge_slices(wrong, members, groups)[0].is_worse
        counted_one_by_one += judge_slices(wrong, members)[0].is_worse
    assert alarms / 300 <= SIGNIFICANCE
    assert counted_one_by_one / 300 > 0.5, "or there would be nothing to guard against"


def test_each_part_stands_with_its_counts_its_effect_and_its_interval() -> None:
    wrong = np.zeros(500, bool)
    wrong[:100:2] = True
    wrong[200:500:10] = True
    first, second = judge_slices(wrong, {"late": np.arange(500) >= 400, "early": np.arange(500) < 100})
    assert (first.name, first.num_images, first.num_wrong, first.rest_images, first.rest_wrong) == (
        "early",
        100,
        50,
        400,
        30,
    )
    assert first.excess == pytest.approx(0.5 - 0.075)
    assert first.interval[0] < first.excess < first.interval[1]
    assert first.interval[0] > 0.3
    assert not second.is_worse
    assert first.figures()["adjusted_p_value"] == pytest.approx(2 * first.p_value)


def test_the_interval_of_the_difference_holds_the_truth_as_often_as_it_says() -> None:
    # 400 draws at 0.95: below 0.92 once in 300.
    generator = np.random.default_rng(3)
    part = np.arange(600) < 150
    held = 0
    for _ in range(400):
        (found,) = judge_slices(generator.random(600) < np.where(part, 0.2, 0.1), {"part": part})
        held += found.interval[0] <= 0.1 <= found.interval[1]
    assert 0.92 <= held / 400 <= 0.99


@pytest.mark.parametrize("wrong", [np.arange(100) < 50, np.zeros(100, bool), np.ones(100, bool)])
def test_where_all_images_hang_together_no_part_can_be_told_from_the_rest(wrong: NDArray[np.bool_]) -> None:
    (found,) = judge_slices(wrong, {"half": np.arange(100) < 50}, ["same"] * 100)
    assert (found.p_value, found.adjusted, found.interval, found.is_worse) == (1, 1, (-1, 1), False)


@pytest.mark.parametrize("sizes", [(50, 50), (99, 1), (1, 98, 1), (30, 70), (97, 1, 1, 1)])
def test_a_few_groups_of_any_size_are_judged(sizes: tuple[int, ...]) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    for wrong in (groups == 0, groups != 0, np.arange(100) % 2 == 0, np.arange(100) < 50):
        for found in judge_slices(wrong, {"half": np.arange(100) < 50, "first": groups == 0}, groups):
            assert 0 < found.p_value <= 1
            assert -1 <= found.interval[0] <= found.excess <= found.interval[1] <= 1


def test_the_interval_of_few_groups_is_as_wide_as_their_few_degrees_of_freedom() -> None:
    # 400 draws of 10 groups of 60 at 0.95: below 0.92 once in 300; with the normal quantile it is 0.91.
    generator, groups = np.random.default_rng(4), np.repeat(np.arange(10), 60)
    part, held = np.arange(600) % 2 == 0, 0
    for _ in range(400):
        chances = generator.beta(2, 6, 10)[groups]
        (found,) = judge_slices(generator.random(600) < chances, {"part": part}, groups)
        held += found.interval[0] <= 0 <= found.interval[1]
    assert held / 400 >= 0.92


def test_small_parts_and_small_rests_are_not_judged() -> None:
    wrong = np.arange(100) % 3 == 0
    few = np.arange(100) < FEWEST_IMAGES - 1
    assert judge_slices(wrong, {"few": few, "nearly all": ~few, "all": np.ones(100, bool)}) == ()


@pytest.mark.parametrize(
    ("wrong", "members", "message"),
    [
        ([1, 0], {"a": [True, False]}, "wrong must be an array of True and False"),
        ([True, False], {"a": [True]}, "members of 'a' must have a row an image, 2"),
        ([], {}, "at least 1 image"),
    ],
)
def test_other_values_are_refused(wrong, members, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        judge_slices(wrong, members)


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(InvalidValue, match="hits must be at most 3"):
        fisher_greater(4, 3, 10, 20)
