"""Intervals of means whose values are skewed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.metrics.uncertainty.bootstrap import MOST_DRAWN, NUM_RESAMPLES, mean_interval


@pytest.mark.parametrize(("num_images", "confidence"), [(50, 0.95), (200, 0.9), (1000, 0.99)])
def test_the_interval_is_the_bca_interval_of_scipy(num_images: int, confidence: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.sort(np.random.default_rng(3).exponential(1, num_images))
    found = stats.bootstrap(
        (values,),
        np.mean,
        method="BCa",
        n_resamples=NUM_RESAMPLES,
        confidence_level=confidence,
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert mean_interval(values, confidence=confidence) == pytest.approx((found.low, found.high), rel=1e-12)


def test_of_groups_the_interval_is_that_of_scipy_with_wider_percentiles() -> None:
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(4)
    groups = np.repeat(np.arange(40), generator.integers(1, 9, 40))
    values = generator.exponential(1, len(groups)) + generator.exponential(1, 40)[groups]
    sums, sizes = np.bincount(groups, weights=values), np.bincount(groups).astype(float)
    order = np.lexsort((sums, sizes))
    sums, sizes = sums[order], sizes[order]
    expanded = 2 * stats.norm.cdf(stats.t.ppf(0.975, 39) * np.sqrt(40 / 39)) - 1
    found = stats.bootstrap(
        (sums, sizes),
        lambda s, n, axis=-1: s.sum(axis) / n.sum(axis),
        method="BCa",
        paired=True,
        n_resamples=NUM_RESAMPLES,
        confidence_level=expanded,
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert mean_interval(values, groups) == pytest.approx((found.low, found.high), rel=1e-9)


def test_a_mean_lies_in_its_interval_in_95_of_100_draws_of_skewed_values() -> None:
    # False alarm, were the coverage 0.95: below 1e-4 on either side.
    generator, hits = np.random.default_rng(0), 0
    for _ in range(400):
        lower, upper = mean_interval(generator.exponential(1, 200))
        hits += lower <= 1 <= upper
    assert 0.905 <= hits / 400 <= 0.985


def test_groups_whose_values_are_alike_count_as_one_each() -> None:
    generator = np.random.default_rng(0)
    hits = ignored = 0
    for _ in range(200):
        values = np.repeat(generator.exponential(1, 30), 10)
        lower, upper = mean_interval(values, np.arange(300) // 10)
        hits += lower <= 1 <= upper
        lower, upper = mean_interval(values)
        ignored += lower <= 1 <= upper
    assert hits / 200 >= 0.88
    assert ignored / 200 <= 0.6


def test_the_same_values_have_the_same_interval_whatever_is_drawn_elsewhere() -> None:
    values = np.random.default_rng(1).random(100)
    first = mean_interval(values)
    np.random.default_rng(0).random(7)
    assert mean_interval(values) == first
    assert mean_interval(values, list(range(100))) == first


def test_the_order_of_the_images_and_the_names_of_groups_change_nothing() -> None:
    generator = np.random.default_rng(2)
    values, groups, order = generator.exponential(1, 300), np.arange(300) // 5, generator.permutation(300)
    assert mean_interval(values[order]) == pytest.approx(mean_interval(values), rel=1e-12)
    renamed = (7 * groups + 3) % 61
    assert mean_interval(values[order], renamed[order]) == pytest.approx(mean_interval(values, groups), rel=1e-9)


def test_of_many_images_fewer_are_drawn_and_no_more_is_held_than_a_portion() -> None:
    import tracemalloc

    values = np.random.default_rng(1).random(20_000)
    assert NUM_RESAMPLES * len(values) > MOST_DRAWN
    tracemalloc.start()
    lower, upper = mean_interval(values)
    assert tracemalloc.get_traced_memory()[1] < 40e6
    tracemalloc.stop()
    error = values.std() / len(values) ** 0.5
    assert (upper - lower) / (2 * 1.96 * error) == pytest.approx(1, abs=0.1)


def test_values_that_are_all_equal_leave_no_width_and_one_image_all() -> None:
    assert mean_interval([0.1] * 7) == pytest.approx((0.1, 0.1))
    assert mean_interval([0.1]) == mean_interval([0.1, 0.2, 0.3], ["a"] * 3) == (-np.inf, np.inf)


@pytest.mark.parametrize("values", [[], [np.nan], [np.inf], [[1.0]], ["1"], [None]])
def test_what_are_no_finite_numbers_is_refused(values: Any) -> None:
    with pytest.raises(InvalidValue, match="values must be"):
        mean_interval(values)


@pytest.mark.parametrize("confidence", [0, 1, np.nan, "0.9", True])
def test_a_level_that_is_none_is_refused(confidence: Any) -> None:
    for groups in (None, [1, 1, 2]):
        with pytest.raises(InvalidValue, match=r"confidence must be a number in \(0, 1\)"):
            mean_interval([1.0, 2.0, 3.0], groups, confidence=confidence)


@pytest.mark.parametrize("num_groups", [2, 3, 4])
def test_of_very_few_groups_it_is_as_wide_as_the_groups_are_apart(num_groups: int) -> None:
    groups = np.repeat(np.arange(num_groups), 5)
    for confidence in (0.9, 0.95, 0.9999):
        lower, upper = mean_interval(groups.astype(float), groups, confidence=confidence)
        assert 0 <= lower < (num_groups - 1) / 2 < upper <= num_groups - 1
    assert mean_interval(groups.astype(float), groups, confidence=0.9999) == (0, num_groups - 1)
