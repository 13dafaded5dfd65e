"""Two samples and streams: equal to their definitions and to other programs, with false alarms as rare as they say."""

from __future__ import annotations

import itertools
import math
import time
from typing import Any

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.metrics import drift
from sightline.metrics.drift import (
    online_category_p_values,
    online_p_values,
    shares_p_value,
    simple_jumper,
    two_sample_distance,
    two_sample_p_value,
    visible_shift,
)
from sightline.metrics.significance import holm


def rare(rate: float, num_runs: int) -> float:
    """The rate, and three standard errors of as many runs."""
    return rate + 3 * math.sqrt(rate * (1 - rate) / num_runs)


# A stream


def test_each_value_is_compared_with_the_reference_and_all_that_came_before_it() -> None:
    random = np.random.default_rng(0)
    # Rounded, so that there are ties; more than one portion long.
    values, reference = random.normal(size=1200).round(1), random.normal(size=37).round(1)
    uniforms = random.random(1200)
    bag = reference.tolist()
    expected = []
    for value, u in zip(values.tolist(), uniforms.tolist(), strict=True):
        bag.append(value)
        lower, equal = sum(one < value for one in bag), sum(one == value for one in bag)
        expected.append((lower + u * equal) / len(bag))
    assert online_p_values(values, reference, uniforms).tolist() == pytest.approx(expected, rel=1e-15)


def test_a_category_is_as_low_as_it_is_rare_among_all_before_it() -> None:
    random = np.random.default_rng(11)
    categories, reference, uniforms = random.integers(0, 5, 300), random.integers(0, 3, 40), random.random(300)
    bag = reference.tolist()
    expected = []
    for category, u in zip(categories.tolist(), uniforms.tolist(), strict=True):
        bag.append(category)
        counts = [bag.count(one) for one in bag]
        own = bag.count(category)
        expected.append((sum(n < own for n in counts) + u * sum(n == own for n in counts)) / len(bag))
    assert online_category_p_values(categories, reference, uniforms).tolist() == pytest.approx(expected, rel=1e-15)
    with pytest.raises(InvalidValue, match="whole numbers of at least 0"):
        online_category_p_values([-1], [0], [0.5])


def test_categories_that_do_not_change_have_uniform_p_values_and_raise_no_alarm() -> None:
    random = np.random.default_rng(12)
    categories, reference = random.integers(0, 10, 3000), random.integers(0, 10, 300)
    p_values = online_category_p_values(categories, reference, random.random(3000))
    assert np.abs(np.sort(p_values) - np.arange(1, 3001) / 3000).max() < 1.95 / math.sqrt(3000)
    assert simple_jumper(p_values).max() < math.log(100)
    one_alone = online_category_p_values(np.zeros(300, int), reference, random.random(300))
    assert simple_jumper(one_alone).max() > math.log(100)


def test_a_stream_may_begin_without_a_reference() -> None:
    assert online_p_values([3.0, 1.0], [], [0.25, 0.5]).tolist() == [0.25, 0.25]
    assert online_p_values([], [1.0], []).tolist() == []


def test_p_values_of_a_stream_that_does_not_change_are_uniform_even_where_all_values_are_equal() -> None:
    random = np.random.default_rng(1)
    for values, reference in ((random.normal(size=4000), random.normal(size=200)), (np.ones(4000), np.ones(200))):
        p_values = online_p_values(values, reference, random.random(4000))
        # Kolmogorov's limit at 0.001: one of a thousand seeds would fail.
        steps = np.arange(1, 4001) / 4000
        assert np.abs(np.sort(p_values) - steps).max() < 1.95 / math.sqrt(4000)


def test_a_hundred_thousand_images_take_seconds() -> None:
    random = np.random.default_rng(2)
    began = time.perf_counter()
    online_p_values(random.normal(size=100_000), random.normal(size=3_000), random.random(100_000))
    assert time.perf_counter() - began < 20


@pytest.mark.parametrize("seed", range(3))
def test_the_gambler_is_that_of_crepes(seed: int) -> None:
    martingales = pytest.importorskip("crepes.martingales", reason="pip install '.[oracles]'")
    p_values = np.random.default_rng(seed).beta(1, 1 + 0.3 * seed, 2_000)
    for jump in (0.01, 0.1):
        expected = martingales.SimpleJumper(J=jump).apply(p_values)
        assert np.exp(simple_jumper(p_values, jump=jump)) == pytest.approx(expected, rel=1e-9)


def test_several_streams_at_once_are_each_by_itself() -> None:
    p_values = np.random.default_rng(3).random((300, 4))
    together = simple_jumper(p_values)
    assert all(together[:, one].tolist() == simple_jumper(p_values[:, one]).tolist() for one in range(4))


def test_a_capital_beyond_all_numbers_stays_a_number() -> None:
    logarithms = simple_jumper(np.full(5_000, 1e-6))
    assert np.isfinite(logarithms).all()
    assert logarithms[-1] > 1_000


def alarms(num_streams: int, num_images: int, num_rows: int, *, shift: float = 0.0, is_fixed: bool = False) -> Any:
    """After how many images each stream's capital has reached 100, 0 where it never does; values with no unit."""
    random = np.random.default_rng(4)
    p_values = np.empty((num_images, num_streams))
    for stream in range(num_streams):
        reference, values = random.normal(size=num_rows), random.normal(shift, size=num_images)
        uniforms = random.random(num_images)
        if is_fixed:
            lower = np.searchsorted(np.sort(reference), values)
            p_values[:, stream] = (lower + uniforms) / (num_rows + 1)
        else:
            p_values[:, stream] = online_p_values(values, reference, uniforms)
    reached = simple_jumper(p_values) >= math.log(100)
    return np.where(reached.any(axis=0), reached.argmax(axis=0) + 1, 0)


def test_of_a_thousand_clean_streams_of_2000_images_one_in_a_hundred_at_most_raises_an_alarm() -> None:
    # The bound is Ville's; three standard errors more, one seed in a thousand would fail if it were reached.
    assert (alarms(1000, 2000, 200) > 0).mean() <= rare(0.01, 1000)


def test_a_reference_that_stays_as_it_was_raises_false_alarms() -> None:
    # So the test above can fail.
    assert (alarms(300, 2000, 50, is_fixed=True) > 0).mean() > 2 * rare(0.01, 300)


def test_a_stream_that_is_half_a_standard_deviation_off_is_seen_within_500_images() -> None:
    found = alarms(200, 500, 1000, shift=0.5)
    assert (found > 0).mean() >= 0.95


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([np.nan], [1.0], [0.5]), "values must be finite"),
        (([1.0], ["a"], [0.5]), "reference must be an array of numbers"),
        (([1.0], [1.0], [1.5]), r"uniforms must be one number in \[0, 1\] for each of 1 values"),
        (([1.0, 2.0], [1.0], [0.5]), "for each of 2 values"),
    ],
)
def test_a_stream_of_something_else_is_refused(given: Any, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        online_p_values(*given)


def test_a_gambler_without_p_values_is_refused() -> None:
    for p_values in ([1.5], [np.nan], [[[0.5]]]):
        with pytest.raises(InvalidValue, match="p_values must have shape"):
            simple_jumper(p_values)
    with pytest.raises(InvalidValue, match="jump must be a number above 0 and below 1; got 1"):
        simple_jumper([0.5], jump=1)


# Two samples


@pytest.mark.parametrize(("num_first", "num_second"), [(1, 1), (1, 4), (2, 5), (4, 4), (3, 6), (6, 3)])
def test_the_chance_of_a_distance_is_counted_over_all_orders(num_first: int, num_second: int) -> None:
    def distance(chosen: set[int]) -> float:
        one = sorted(chosen)
        other = sorted(set(range(num_first + num_second)) - chosen)
        steps = range(num_first + num_second)
        return max(abs(sum(x <= s for x in one) / num_first - sum(x <= s for x in other) / num_second) for s in steps)

    orders = [set(chosen) for chosen in itertools.combinations(range(num_first + num_second), num_first)]
    distances = [distance(order) for order in orders]
    for order, own in zip(orders, distances, strict=True):
        rest = set(range(num_first + num_second)) - order
        assert two_sample_distance(sorted(order), sorted(rest)) == pytest.approx(own)
        p_value = two_sample_p_value(sorted(order), sorted(rest))
        assert p_value == pytest.approx(np.mean([one >= own - 1e-12 for one in distances]))


def test_two_samples_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats", reason="comes with training")
    random = np.random.default_rng(5)
    for num_first, num_second, shift in ((40, 17, 0), (100, 100, 0.3), (1, 50, 2), (300, 211, 0.2), (900, 60, 1)):
        one, other = random.normal(size=num_first), random.normal(shift, size=num_second)
        expected = stats.ks_2samp(one, other, method="exact")
        assert two_sample_distance(one, other) == pytest.approx(expected.statistic, rel=1e-12)
        assert two_sample_p_value(one, other) == pytest.approx(expected.pvalue, rel=1e-9)


def test_samples_too_large_to_count_have_the_p_value_of_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    stats = pytest.importorskip("scipy.stats", reason="comes with training")
    random = np.random.default_rng(6)
    one, other = random.normal(size=1500), random.normal(0.06, size=1200)
    distance, exact = two_sample_distance(one, other), two_sample_p_value(one, other)
    monkeypatch.setattr(drift, "_MOST_STEPS", 0)
    limit = two_sample_p_value(one, other)
    assert limit == pytest.approx(stats.kstwobign.sf(distance * math.sqrt(1500 * 1200 / 2700)), rel=1e-9)
    assert limit == pytest.approx(exact, rel=0.1)


def test_very_small_chances_keep_their_digits() -> None:
    # All of one sample below all of the other: 2 of as many orders as there are ways to choose.
    p_value = two_sample_p_value(np.arange(100), np.arange(200, 300))
    assert p_value == pytest.approx(2 / math.comb(200, 100), rel=1e-9)


def test_ties_are_on_the_safe_side() -> None:
    random = np.random.default_rng(7)
    p_values = [two_sample_p_value(random.integers(0, 3, 60), random.integers(0, 3, 40)) for _ in range(300)]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05
    assert two_sample_p_value([28, 28, 28], [28, 28]) == 1.0


def test_shares_that_are_alike_raise_alarms_as_rarely_as_they_say_even_where_most_categories_are_rare() -> None:
    random = np.random.default_rng(8)
    rarities = 1 / np.arange(1, 60)
    p_values = []
    for _ in range(400):
        one, other = (random.multinomial(size, rarities / rarities.sum()) for size in (80, 50))
        p_values.append(shares_p_value(one, other, seed=0, num_draws=199))
    assert np.mean(np.array(p_values) <= 0.05) <= rare(0.05, 400)


def test_shares_have_about_the_p_value_of_chi_square_where_categories_are_frequent() -> None:
    stats = pytest.importorskip("scipy.stats", reason="comes with training")
    one, other = np.array([300, 200, 100]), np.array([120, 110, 70])
    expected = stats.chi2_contingency([one, other]).pvalue
    assert shares_p_value(one, other, seed=1, num_draws=20_000) == pytest.approx(expected, rel=0.1)


def test_a_category_that_neither_has_changes_nothing() -> None:
    assert shares_p_value([5, 0, 9], [9, 0, 5], seed=2) == shares_p_value([5, 9], [9, 5], seed=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: two_sample_p_value([], [1.0]), "first must be finite numbers .* at least 1 image"),
        (lambda: two_sample_p_value([1.0], [np.inf]), "second must be finite numbers"),
        (lambda: shares_p_value([1, 2], [1], seed=0), "as many counts"),
        (lambda: shares_p_value([1, -2], [1, 2], seed=0), "as many counts of at least 0"),
        (lambda: shares_p_value([0, 0], [1, 2], seed=0), "both samples need at least 1 image"),
    ],
)
def test_samples_of_something_else_are_refused(call: Any, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        call()


@pytest.mark.parametrize(("num_first", "num_second", "level"), [(600, 60, 0.001), (100, 150, 0.005)])
def test_a_shift_that_would_be_visible_is_seen_in_nineteen_of_twenty_cases(
    num_first: int, num_second: int, level: float
) -> None:
    random, shift = np.random.default_rng(9), visible_shift(num_first, num_second, level)
    seen = [
        two_sample_p_value(random.normal(size=num_first), random.normal(shift, size=num_second)) <= level
        for _ in range(60)
    ]
    # If it were seen in 19 of 20, fewer than 52 of 60 would come once in two hundred seeds.
    assert sum(seen) >= 52
    blind = [
        two_sample_p_value(random.normal(size=num_first), random.normal(shift / 3, size=num_second)) <= level
        for _ in range(60)
    ]
    assert sum(blind) < 40


def test_of_one_image_no_shift_is_visible() -> None:
    assert visible_shift(3000, 1, 0.001) == math.inf


def test_several_properties_together_keep_the_rate_and_see_half_a_standard_deviation_in_500_images() -> None:
    random = np.random.default_rng(10)

    def is_alarm(shift: float, num_rows: int, num_images: int, level: float) -> bool:
        p_values = [
            two_sample_p_value(random.normal(size=num_rows), random.normal(shift * (one == 0), size=num_images))
            for one in range(5)
        ]
        return bool(holm(p_values).min() <= level)

    assert np.mean([is_alarm(0, 40, 20, 0.1) for _ in range(200)]) <= rare(0.1, 200)
    assert np.mean([is_alarm(0.5, 600, 500, 0.005) for _ in range(20)]) >= 0.95
