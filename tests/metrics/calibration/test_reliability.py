"""Calibration errors: their definitions and cases by hand; what chance would show: its law, groups, refusals."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.metrics.calibration.reliability import (
    Reliability,
    debiased_error,
    equal_mass_error,
    equal_width_error,
)
from sightline.metrics.calibration.temperature import fit_temperature
from sightline.metrics.classification import softmax

NAN = math.nan


def answers(num_images: int, seed: int, *, too_sure: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Confidences of a good network, and answers that are right as often as they say less `too_sure`."""
    random = np.random.default_rng(seed)
    confidences = np.clip(1 - random.beta(0.5, 4, num_images), 0.1, 1.0)
    return confidences, random.random(num_images) < confidences - too_sure


def error_slowly(confidences: np.ndarray, correct: np.ndarray, bins: list[np.ndarray]) -> float:
    error = 0.0
    for rows in bins:
        if rows.any():
            error += rows.sum() / len(confidences) * abs(correct[rows].mean() - confidences[rows].mean())
    return error


def bins_of_equal_width(confidences: np.ndarray, num_bins: int) -> list[np.ndarray]:
    edges = [number / num_bins for number in range(num_bins + 1)]
    return [(low < confidences) & (confidences <= high) for low, high in itertools.pairwise(edges)]


@pytest.mark.parametrize("num_bins", [1, 2, 10, 15, 100])
def test_the_error_over_bins_of_equal_width_is_the_weighted_gap_of_its_bins(num_bins: int) -> None:
    confidences, correct = answers(300, 1)
    expected = error_slowly(confidences, correct, bins_of_equal_width(confidences, num_bins))
    assert equal_width_error(confidences, correct, num_bins=num_bins) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("num_bins", [1, 7, 15])
@pytest.mark.parametrize("num_images", [15, 300, 311])
def test_the_error_over_bins_of_equal_mass_is_the_weighted_gap_of_quantiles(num_bins: int, num_images: int) -> None:
    confidences, correct = answers(num_images, 2)
    order, bins = np.argsort(confidences), []
    for number in range(num_bins):
        rows = np.zeros(num_images, bool)
        rows[order[number * num_images // num_bins : (number + 1) * num_images // num_bins]] = True
        bins.append(rows)
    expected = error_slowly(confidences, correct, bins)
    assert equal_mass_error(confidences, correct, num_bins=num_bins) == pytest.approx(expected, abs=1e-12)


def test_the_calibration_error_by_hand_of_two_bins() -> None:
    # Two images at 0.9 of which one is right, two at 0.6 of which both are: (2 * 0.4 + 2 * 0.4) / 4.
    assert equal_width_error([0.9, 0.9, 0.6, 0.6], [True, False, True, True]) == pytest.approx(0.4)
    assert equal_mass_error([0.9, 0.9, 0.6, 0.6], [True, False, True, True], num_bins=2) == pytest.approx(0.4)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    # With 5 bins 0.6 closes the third; were it in the fourth with 0.7, the gaps would cancel to 0.15.
    assert equal_width_error([0.6, 0.7], [False, True], num_bins=5) == pytest.approx((0.6 + 0.3) / 2)


def test_images_of_one_confidence_share_a_bin_of_equal_mass_whatever_their_order() -> None:
    confidences = np.array([0.5] + [1.0] * 9)
    correct = np.array([True] * 6 + [False] * 4)
    for order in (np.arange(10), np.arange(10)[::-1], np.random.default_rng(0).permutation(10)):
        told = equal_mass_error(confidences[order], correct[order], num_bins=5)
        assert told == pytest.approx((0.5 + 9 * 4 / 9) / 10)


def test_the_certain_and_right_have_no_error_and_the_certain_and_wrong_the_largest() -> None:
    for error in (equal_width_error, equal_mass_error, debiased_error):
        assert error([1.0] * 3, [True] * 3) == 0.0
        assert error([1.0] * 3, [False] * 3) == 1.0


def test_the_fitted_temperature_lowers_every_error() -> None:
    random = np.random.default_rng(1)
    logits = random.normal(scale=2, size=(2000, 4))
    labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    sharp = 3 * logits
    before, after = softmax(sharp), softmax(sharp, temperature=fit_temperature(sharp, labels))
    for error in (equal_width_error, equal_mass_error, debiased_error):
        told = [error(table.max(axis=1), sharp.argmax(axis=1) == labels) for table in (before, after)]
        assert told[1] < told[0] / 3


def debiased_slowly(confidences: np.ndarray, correct: np.ndarray, groups: list[Any], bins: list[np.ndarray]) -> float:
    """The definition: over all pairs of images of a bin that are of different groups."""
    total, weight = 0.0, 0
    for rows in bins:
        products = [
            (correct[one] - confidences[one]) * (correct[other] - confidences[other])
            for one in np.flatnonzero(rows)
            for other in np.flatnonzero(rows)
            if groups[one] != groups[other]
        ]
        if products:
            total, weight = total + rows.sum() * sum(products) / len(products), weight + int(rows.sum())
    return math.sqrt(max(0.0, total / weight))


@pytest.mark.parametrize("group_size", [1, 4])
@pytest.mark.parametrize("too_sure", [0.0, 0.2])
def test_the_debiased_error_is_that_of_all_pairs_of_different_groups(group_size: int, too_sure: float) -> None:
    confidences, correct = answers(120, 3, too_sure=too_sure)
    groups = (np.random.default_rng(0).permutation(120) // group_size).tolist()
    ranks = np.argsort(np.argsort(confidences))
    bins = [ranks * 5 // 120 == number for number in range(5)]
    expected = debiased_slowly(confidences, correct, groups, bins)
    assert debiased_error(confidences, correct, groups, num_bins=5) == pytest.approx(expected, abs=1e-12)


def test_the_debiased_error_is_that_of_kumar_where_each_bin_has_one_confidence() -> None:
    random = np.random.default_rng(4)
    confidences = np.repeat([0.3, 0.55, 0.8, 0.95], 50)
    correct = random.random(200) < confidences - 0.15
    square = 0.0
    for confidence in np.unique(confidences):
        right = correct[confidences == confidence].mean()
        square += 50 / 200 * ((right - confidence) ** 2 - right * (1 - right) / 49)
    assert debiased_error(confidences, correct, num_bins=4) == pytest.approx(math.sqrt(square), abs=1e-12)


def test_the_debiased_square_of_perfect_confidences_is_zero_on_average_and_the_plain_one_is_not() -> None:
    # Of 400 sets of 300 images. The root is cut at 0, so that half of them are 0.
    told = [debiased_error(*answers(300, seed)) for seed in range(400)]
    assert 0.4 < np.mean(np.array(told) == 0) < 0.65
    assert min(equal_mass_error(*answers(300, seed)) for seed in range(400)) > 0.005


def test_what_has_no_two_images_to_compare_has_no_debiased_error() -> None:
    assert math.isnan(debiased_error([0.5], [True]))
    assert math.isnan(debiased_error([0.5, 0.6], [True, False], ["a", "a"], num_bins=1))


def test_the_p_values_of_perfect_confidences_are_uniform() -> None:
    # 1,000 calibrated models. Kolmogorov and Smirnov's statistic is beyond 1.95 / sqrt(1000) once in a thousand.
    p_values = np.sort([Reliability(*answers(120, seed)).p_value for seed in range(1000)])
    steps = np.arange(1001) / 1000
    distance = max(np.abs(p_values - steps[1:]).max(), np.abs(p_values - steps[:-1]).max())
    assert distance < 1.95 / math.sqrt(1000)
    # Such a test sees the error of a network that is too sure by three points.
    too_sure = [Reliability(*answers(500, seed, too_sure=0.03)).p_value for seed in range(100)]
    assert np.mean(np.array(too_sure) <= 0.05) > 0.4


def test_perfect_confidences_are_expected_to_show_what_they_show_on_average() -> None:
    found = [Reliability(*answers(300, seed)) for seed in range(200)]
    errors, expected = np.array([one.error for one in found]), np.array([one.expected for one in found])
    assert errors.mean() == pytest.approx(expected.mean(), abs=4 * errors.std() / math.sqrt(200))
    is_within = [one.expected_interval[0] <= one.error <= one.expected_interval[1] for one in found]
    # Binomial of 200 at 0.95: from 178 to 199 in 999 of 1,000 cases.
    assert 178 <= sum(is_within) <= 199
    in_band = [
        (one.band[0] <= one.accuracies)[one.counts > 0] & (one.accuracies <= one.band[1])[one.counts > 0]
        for one in found
    ]
    assert np.concatenate(in_band).mean() > 0.95


def test_groups_that_are_right_or_wrong_together_are_not_taken_for_a_wrong_calibration() -> None:
    # 60 groups of 10, each image right by the number of its group: alone, seven in ten would seem wrong.
    alarms = {"counted": 0, "not counted": 0}
    for seed in range(100):
        random = np.random.default_rng(seed)
        groups = np.repeat(np.arange(60), 10)
        confidences = np.repeat(np.clip(1 - random.beta(0.5, 4, 60), 0.1, 1), 10)
        correct = random.random(60)[groups] < confidences
        alarms["counted"] += Reliability(confidences, correct, groups).p_value <= 0.05
        alarms["not counted"] += Reliability(confidences, correct).p_value <= 0.05
    assert alarms["counted"] <= 14
    assert alarms["not counted"] >= 50


def test_groups_of_images_that_have_nothing_in_common_cost_little() -> None:
    confidences, correct = answers(600, 5, too_sure=0.06)
    assert Reliability(confidences, correct, np.arange(600) // 5).p_value <= 0.01


def test_the_draws_depend_on_the_figures_alone() -> None:
    confidences, correct = answers(300, 6)
    groups = np.arange(300) // 3
    order = np.random.default_rng(0).permutation(300)
    for given in (None, groups):
        turned = None if given is None else given[order]
        one, other = Reliability(confidences, correct, given), Reliability(confidences[order], correct[order], turned)
        assert (one.p_value, one.expected, one.expected_interval) == (
            other.p_value,
            other.expected,
            other.expected_interval,
        )
        assert one.p_value == Reliability(confidences, correct, given).p_value


def test_the_bins_hold_what_the_error_is_made_of() -> None:
    confidences, correct = answers(300, 7)
    found = Reliability(confidences, correct)
    assert found.counts.sum() == 300
    gaps = np.nan_to_num(np.abs(found.accuracies - found.confidences))
    assert (gaps * found.counts).sum() / 300 == pytest.approx(equal_width_error(confidences, correct), abs=1e-12)
    assert np.isnan(found.band[:, found.counts == 0]).all()
    assert found.error == pytest.approx(equal_width_error(confidences, correct), abs=1e-12)


def test_the_words_say_whether_chance_explains_the_error_and_in_which_direction_it_lies() -> None:
    fine = Reliability([0.75] * 400, [True, True, True, False] * 100)
    assert "on 400 images; 0.0000 is no more than chance explains (p = 1.000)" in fine.in_words
    high = Reliability([0.75] * 400, [True, False] * 200).in_words
    assert high.endswith(
        "(p = 0.001): confidences are too high, 0.7500 on average where 0.5000 of the answers are right"
    )
    assert "confidences are too low, " in Reliability([0.75] * 400, [True] * 400).in_words
    mixed = Reliability([0.75] * 400 + [0.55] * 400, [True, False] * 200 + [True, True, True, False] * 100)
    assert mixed.in_words.endswith("confidences are too high in some places and too low in others")
    assert "on 400 images in 100 groups; " in Reliability([0.75] * 400, [True] * 400, np.arange(400) // 4).in_words
    assert "on 1 image; " in Reliability([0.75], [True]).in_words


def test_certain_answers_have_nothing_that_chance_could_change() -> None:
    assert Reliability([1.0] * 5, [True] * 5).p_value == 1.0
    assert Reliability([1.0] * 5, [True] * 4 + [False]).p_value == 0.001
    assert Reliability([1.0] * 4, [True] * 4, [1, 1, 2, 2]).p_value == 1.0


@pytest.mark.parametrize(
    "confidences", [[], [[0.5]], [0.5, 0.6], [1.5], [-1e-9], [NAN], [math.inf], ["1"], np.array([0.5], dtype=object)]
)
def test_what_are_no_confidences_of_these_answers_is_refused(confidences: Any) -> None:
    for error in (equal_width_error, equal_mass_error, debiased_error, Reliability):
        with pytest.raises(InvalidValue, match=r"^confidences "):
            error(confidences, [True])


@pytest.mark.parametrize("correct", [[], [1], [[True]], ["True"], [True, False]])
def test_what_are_no_answers_is_refused(correct: Any) -> None:
    with pytest.raises(InvalidValue, match=r"correct must"):
        Reliability([0.5], correct)


@pytest.mark.parametrize("num_bins", [0, -1, 15.0, True, "15", NAN])
def test_a_number_of_bins_that_is_none_is_refused(num_bins: Any) -> None:
    for error in (equal_width_error, equal_mass_error, debiased_error):
        with pytest.raises(InvalidValue, match=r"^num_bins must be a whole number of at least 1; got"):
            error([0.5], [True], num_bins=num_bins)


@pytest.mark.parametrize("level", [0, 1, NAN, "0.95", True])
def test_a_level_that_is_none_is_refused(level: Any) -> None:
    with pytest.raises(InvalidValue, match="must be a number in"):
        Reliability([0.5], [True], level=level)


def test_groups_that_are_not_of_these_images_are_refused() -> None:
    for error in (debiased_error, Reliability):
        with pytest.raises(InvalidValue, match="groups must name one for each of 2 images"):
            error([0.5, 0.6], [True, False], [1])
