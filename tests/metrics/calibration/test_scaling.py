"""A factor and a shift a class: the minimum, when they are chosen, groups, refusals."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.metrics.calibration.scaling import FEWEST_OF_A_CLASS, choose_scaling, fit_scaling
from sightline.metrics.calibration.temperature import fit_temperature
from sightline.metrics.classification import cross_entropy

FACTORS, SHIFTS = np.array([1.0, 1.0, 0.7, 1.3]), np.array([0.0, 1.0, -1.0, 0.0])


def answers(
    num_images: int, seed: int, *, factors: np.ndarray | float = 1.0, shifts: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose classes are off by these factors and shifts, and labels."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=2, size=(num_images, 4))
    labels = (factors * logits + shifts + random.gumbel(size=logits.shape)).argmax(axis=1)
    return logits, labels


def loss(logits: np.ndarray, labels: np.ndarray, changes: np.ndarray) -> float:
    """The definition, by what is added to factors and to shifts in units of the temperature."""
    temperature = fit_temperature(logits, labels)
    scaled = logits / temperature * (1 + changes[0]) + changes[1]
    return len(labels) * cross_entropy(scaled, labels) + float(
        (changes[0] ** 2).sum() * 8 + (changes[1] ** 2).sum() / 2
    )


@pytest.mark.parametrize(("num_images", "scale"), [(1, 1.0), (12, 1.0), (300, 0.1), (300, 1.0), (300, 20.0)])
def test_the_fit_is_the_minimum_that_scipy_finds(num_images: int, scale: float) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    logits, labels = answers(num_images, 1, factors=FACTORS, shifts=SHIFTS)
    logits = logits * scale
    factors, shifts = fit_scaling(logits, labels)
    found = loss(logits, labels, np.stack([factors - 1, shifts / fit_temperature(logits, labels)]))
    best = optimize.minimize(
        lambda changes: loss(logits, labels, changes.reshape(2, 4)), np.zeros(8), options={"gtol": 1e-9}
    )
    assert found <= best.fun + 1e-9 * max(1, num_images)
    assert found == pytest.approx(best.fun, abs=1e-6)


def test_the_temperature_is_the_minimum_that_scipy_finds() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    logits, labels = answers(300, 2)

    def of_logarithm(value: float) -> float:
        return len(labels) * cross_entropy(2 * logits, labels, temperature=math.exp(value)) + (value / 0.5) ** 2 / 2

    best = optimize.minimize_scalar(of_logarithm, bounds=(-3, 3), method="bounded", options={"xatol": 1e-12})
    assert of_logarithm(math.log(fit_temperature(2 * logits, labels))) <= best.fun + 1e-9


def test_many_images_give_the_factors_and_shifts_that_logits_lack() -> None:
    logits, labels = answers(40_000, 3, factors=FACTORS, shifts=SHIFTS)
    factors, shifts = fit_scaling(logits, labels)
    # What all have in common is the temperature's, and a shift of all is none.
    assert factors / factors[0] == pytest.approx(FACTORS, abs=0.06)
    assert (shifts - shifts[0]) / factors[0] == pytest.approx(SHIFTS, abs=0.06)


def test_of_few_images_little_is_believed() -> None:
    factors, shifts = fit_scaling([[3.0, 0.0, 0.0]], [0])
    assert factors == pytest.approx(np.ones(3), abs=0.05)
    assert np.abs(shifts).max() < 0.1


def test_the_fit_follows_the_order_of_classes_and_ignores_that_of_images() -> None:
    logits, labels = answers(200, 4, shifts=SHIFTS)
    fitted = fit_scaling(logits, labels)
    turned = fit_scaling(logits[::-1, ::-1], 3 - labels[::-1])
    for one, other in zip(fitted, turned, strict=True):
        assert one == pytest.approx(other[::-1], abs=1e-6)


def test_it_is_chosen_where_classes_differ_and_then_helps_other_images() -> None:
    logits, labels = answers(1000, 5, factors=FACTORS, shifts=SHIFTS)
    choice = choose_scaling(logits, labels)
    assert choice.is_chosen
    assert choice.gain_interval is not None
    assert choice.gain_interval[0] > 0
    others, given = answers(4000, 6, factors=FACTORS, shifts=SHIFTS)
    before = cross_entropy(others, given, temperature=fit_temperature(logits, labels))
    scaled = others * choice.factors + choice.shifts
    after = cross_entropy(scaled, given, temperature=fit_temperature(logits, labels))
    assert after < before - choice.gain_interval[0] / 2
    assert [one.tolist() for one in fit_scaling(logits, labels)] == [choice.factors.tolist(), choice.shifts.tolist()]


def test_it_is_hardly_ever_chosen_where_classes_do_not_differ() -> None:
    # The bound is passed by chance in at most 2.5 of 100; of 40 draws, more than 4 in one of 300.
    chosen = [choose_scaling(*answers(200, seed)) for seed in range(40)]
    assert sum(choice.is_chosen for choice in chosen) <= 4
    refused = next(choice for choice in chosen if not choice.is_chosen)
    assert refused.gain is not None
    assert refused.why == "it does not clearly lower the cross-entropy of images that it was not fitted to"


def test_groups_that_are_wrong_together_do_not_choose_it() -> None:
    # 160 groups of 10 that have one logit and one error each: alone, they would seem 1,600 images.
    alarms = {"counted": 0, "not counted": 0}
    for seed in range(10):
        logits, labels = answers(160, 1000 + seed)
        groups = np.arange(160).repeat(10)
        given = logits.repeat(10, axis=0), labels.repeat(10)
        alarms["counted"] += choose_scaling(*given, groups).is_chosen
        alarms["not counted"] += choose_scaling(*given).is_chosen
    assert alarms["counted"] <= 2
    assert alarms["not counted"] >= 5


def test_a_class_of_too_few_images_or_groups_is_counted_and_refused() -> None:
    logits, labels = answers(400, 7)
    few = np.flatnonzero(labels == 2)[: FEWEST_OF_A_CLASS - 1]
    rows = np.sort(np.concatenate([np.flatnonzero(labels != 2), few]))
    choice = choose_scaling(logits[rows], labels[rows])
    assert (choice.is_chosen, choice.gain) == (False, None)
    assert choice.why == "a class has 29 images, and 30 are needed"
    grouped = choose_scaling(logits, labels, np.arange(400) // 40)
    assert grouped.why == "a class has 10 groups of images, and 30 are needed"
    assert (grouped.num_images, grouped.num_groups) == (400, 10)


def test_what_would_take_too_long_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.metrics.calibration.scaling.MOST_LOGITS", 500)
    choice = choose_scaling(*answers(300, 8))
    assert not choice.is_chosen
    assert re.match(
        r"there are 1,200 logits up to \d\.\d+, and it is not tried beyond 500 or above 10,000$", choice.why
    )


def test_logits_of_any_size_that_float32_holds_are_survived() -> None:
    logits, labels = answers(300, 10)
    for size in (1e-30, 1e30, 1e38):
        assert not choose_scaling(logits * size, labels).is_chosen


def test_the_choice_is_the_same_each_time() -> None:
    one, other = (choose_scaling(*answers(300, 9, shifts=SHIFTS)) for _ in range(2))
    assert (one.gain, one.gain_interval) == (other.gain, other.gain_interval)


@pytest.mark.parametrize("logits", [[], [1.0, 2.0], [[1.0]], [[math.nan, 1.0]], [["1", "2"]], [[1e5, 0.0]]])
def test_what_is_no_table_of_logits_is_refused(logits: Any) -> None:
    with pytest.raises(InvalidValue, match=r"^logits must"):
        fit_scaling(logits, [0])


@pytest.mark.parametrize("labels", [[], [0], [0, 2], [-1, 0], [0.0, 1.0]])
def test_labels_that_do_not_fit_are_refused(labels: Any) -> None:
    for function in (fit_scaling, choose_scaling):
        with pytest.raises(InvalidValue, match=r"^labels must"):
            function([[0.0, 1.0], [1.0, 0.0]], labels)
