"""What answers are worth: whatever their temperature, and beyond chance."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.system.backends import load_keras

load_keras()

from sightline.training.transfer.judging import (  # noqa: E402  # the backend is chosen first
    best_temperature,
    calibrated_cross_entropy,
    chance_of_gain,
)


def answered(num_images: int = 200, right: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, num_images)
    return generator.normal(size=(num_images, 3)) + right * np.eye(3)[labels], labels


def test_the_judge_forgives_a_wrong_temperature_and_nothing_else() -> None:
    logits, labels = answered()
    for times in (0.2, 4, 60):
        own = calibrated_cross_entropy(logits * times, labels)
        assert own == pytest.approx(calibrated_cross_entropy(logits, labels), abs=2e-3)
    assert best_temperature(logits * 60, labels) / best_temperature(logits, labels) == pytest.approx(60, rel=0.1)
    worse, _ = answered(right=1.0)
    assert calibrated_cross_entropy(worse, labels) > calibrated_cross_entropy(logits, labels) + 0.1
    assert np.isnan(calibrated_cross_entropy(np.zeros((0, 3)), np.zeros(0, np.int64)))
    assert np.isnan(calibrated_cross_entropy(np.full((4, 3), np.nan), np.zeros(4, np.int64)))


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
