"""What answers are worth: whatever their temperature, and beyond chance."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.system.backends import load_keras

load_keras()

from sightline.training.transfer.judging import (  # noqa: E402  # the backend is chosen first
    best_temperature,
    calibrated_cross_entropy,
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
