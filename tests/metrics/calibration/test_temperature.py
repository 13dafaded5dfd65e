"""The temperature: its definition, cases by hand, invariances, refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.metrics.calibration.temperature import PRIOR_DEVIATION, fit_temperature, temperature_deviation
from sightline.metrics.classification import cross_entropy, softmax

NAN = math.nan


def _overconfident(num_images: int = 300, factor: float = 3.0, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    # Labels drawn from softmax(logits), which are then sharpened: the best temperature is near `factor`.
    random = np.random.default_rng(seed)
    logits = random.normal(scale=2, size=(num_images, 4))
    noise = random.gumbel(size=logits.shape)
    return logits * factor, (logits + noise).argmax(axis=1)


def _loss(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """The definition: what the images say, and how unusual a temperature is."""
    prior = (math.log(temperature) / PRIOR_DEVIATION) ** 2 / 2
    return len(labels) * cross_entropy(logits, labels, temperature=temperature) + prior


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("num_images", [1, 12, 300])
@pytest.mark.parametrize("scale", [0.05, 1.0, 8.0])
def test_no_temperature_of_a_fine_grid_has_a_lower_loss(seed: int, num_images: int, scale: float) -> None:
    logits, labels = _overconfident(num_images, seed=seed)
    logits = logits * scale
    fitted = fit_temperature(logits, labels)
    grid = np.exp(np.linspace(math.log(0.05), math.log(20), 300))
    losses = [_loss(logits, labels, temperature) for temperature in grid]
    assert _loss(logits, labels, fitted) <= min(losses) + 1e-9
    assert abs(math.log(fitted / grid[int(np.argmin(losses))])) < 0.02


def test_the_temperature_by_hand_of_three_right_in_four() -> None:
    # Alone, the images say softmax(gap / T) = 3/4, where gap / T = log 3; the prior is for 1, and four are few.
    told = fit_temperature([[6.0, 0.0]] * 4, [0, 0, 1, 0])
    assert 1 < told < 6 / math.log(3)
    # Where the slopes of both by log T add up to nothing.
    right = 1 / (1 + math.exp(-6 / told))
    assert 4 * (3 / 4 - right) * 6 / told + math.log(told) / PRIOR_DEVIATION**2 == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("num_images", [20, 40, 80, 160])
def test_a_set_that_is_all_right_by_luck_makes_no_wrong_answer_certain(num_images: int) -> None:
    # The gap between the two largest logits is 5, and 5 stays a confidence of 0.993 rather than 1.
    logits = np.zeros((num_images, 5)) + 5 * np.eye(5)[np.arange(num_images) % 5]
    told = fit_temperature(logits, np.arange(num_images) % 5)
    assert 0.6 < told < 1
    assert softmax(logits, temperature=told).max() < 0.9995


@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
def test_against_many_images_the_usual_counts_nothing(factor: float) -> None:
    logits, labels = _overconfident(5000, factor)
    grid = np.geomspace(0.8 * factor, 1.25 * factor, 401)
    most_likely = grid[np.argmin([cross_entropy(logits, labels, temperature=temperature) for temperature in grid])]
    assert fit_temperature(logits, labels) == pytest.approx(most_likely, rel=0.005)


def test_the_temperature_finds_the_factor_that_the_logits_were_sharpened_by() -> None:
    assert fit_temperature(*_overconfident(20_000)) == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize("factor", [0.1, 0.5, 4.0])
def test_the_temperature_grows_with_the_logits(factor: float) -> None:
    logits, labels = _overconfident(20_000, 1.0)
    assert fit_temperature(logits * factor, labels) == pytest.approx(factor * fit_temperature(logits, labels), rel=1e-2)


def test_the_temperature_ignores_what_is_added_to_a_row_and_the_order_of_rows_and_classes() -> None:
    logits, labels = _overconfident()
    fitted = fit_temperature(logits, labels)
    assert fit_temperature(logits + np.arange(300)[:, None], labels) == pytest.approx(fitted, rel=1e-9)
    assert fit_temperature(logits[::-1, ::-1], 3 - labels[::-1]) == pytest.approx(fitted, rel=1e-9)


def test_the_temperature_is_the_same_each_time() -> None:
    assert fit_temperature(*_overconfident()) == fit_temperature(*_overconfident())


@pytest.mark.parametrize("scale", [1.0, 40.0, 1e6, 1e308])
def test_perfectly_separated_logits_end_no_further_below_one_than_is_usual(scale: float) -> None:
    logits = np.eye(3)[[0, 1, 2, 0]] * scale
    assert 0.5 < fit_temperature(logits, [0, 1, 2, 0]) <= 1 + 1e-9


@pytest.mark.parametrize("scale", [1e3, 1e6, 1e308])
def test_logits_that_are_enormous_and_wrong_throughout_end_at_the_upper_bound(scale: float) -> None:
    logits = np.eye(3)[[0, 1, 2, 0]] * scale
    assert fit_temperature(logits, [1, 2, 0, 2]) == 20.0


def test_one_image_is_enough_for_an_answer_and_too_little_for_a_strong_one() -> None:
    assert 0.9 < fit_temperature([[2.0, 1.0]], [0]) < 1
    assert 1 < fit_temperature([[2.0, 1.0]], [1]) < 1.3


def test_many_images_may_still_end_at_a_bound() -> None:
    logits = np.eye(3)[np.arange(30_000) % 3]
    assert fit_temperature(logits * 0.02, np.arange(30_000) % 3) == 0.05
    assert fit_temperature(logits * 40, np.arange(1, 30_001) % 3) == 20.0


def test_logits_that_say_nothing_keep_the_temperature_of_one() -> None:
    assert fit_temperature(np.full((5, 3), 7.0), [0, 1, 2, 0, 1]) == 1.0


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_logits_of_any_size_give_a_temperature_within_the_bounds(scale: float) -> None:
    logits, labels = _overconfident()
    assert 0.05 <= fit_temperature(logits * scale, labels) <= 20


def test_one_enormous_error_among_ordinary_rows_is_survived() -> None:
    logits, labels = _overconfident()
    logits[0], labels[0] = [1e308, -1e308, 0, 0], 1
    assert fit_temperature(logits, labels) == 20.0


@pytest.mark.parametrize("logits", [[], [1.0, 2.0], [[1.0]], [[NAN, 1.0]], [["1", "2"]]])
def test_the_temperature_is_not_fitted_to_what_is_no_table(logits: Any) -> None:
    with pytest.raises(InvalidValue, match=r"^logits must"):
        fit_temperature(logits, [0])


@pytest.mark.parametrize("labels", [[], [0], [0, 2], [-1, 0], [0.0, 1.0], [True, False], [[0, 1]]])
def test_labels_that_do_not_fit_are_refused(labels: Any) -> None:
    with pytest.raises(InvalidValue, match=r"^labels must"):
        fit_temperature([[0.0, 1.0], [1.0, 0.0]], labels)


@pytest.mark.parametrize("group_size", [1, 10])
def test_the_temperature_is_as_far_off_as_its_deviation_says(group_size: int) -> None:
    # Of 200 draws, 95 of 100 within 1.96 deviations; from 179 to 199 in 999 of 1,000 cases.
    num_within = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        drawn = random.normal(scale=2, size=(400 // group_size, 4)), random.gumbel(size=(400 // group_size, 4))
        logits, noise = (values.repeat(group_size, axis=0) for values in drawn)
        labels, groups = (logits + noise).argmax(axis=1), np.arange(400) // group_size
        fitted = fit_temperature(1.3 * logits, labels)
        deviation = temperature_deviation(1.3 * logits, labels, temperature=fitted, groups=groups)
        num_within += abs(math.log(fitted / 1.3)) < 1.96 * deviation
    assert 179 <= num_within <= 199


def test_where_nothing_is_seen_the_deviation_is_that_of_the_prior() -> None:
    assert temperature_deviation([[0.0, 0.0]], [0], temperature=1.0) == pytest.approx(0.5)
    assert temperature_deviation([[9.0, 0.0]] * 4, [0] * 4, temperature=1.0) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("scale", [1e-30, 1e30, 1e300])
def test_the_deviation_is_a_number_whatever_the_logits_are(scale: float) -> None:
    logits, labels = _overconfident(50)
    told = temperature_deviation(logits * scale, labels, temperature=fit_temperature(logits * scale, labels))
    assert math.isfinite(told)
    assert told > 0
