"""Softmax regression, by its definition."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.system.backends import load_keras

load_keras()

from sightline.training.transfer.softmax import SoftmaxRegression  # noqa: E402  # the backend is chosen first


def scaled_clouds(num_images: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = np.arange(num_images) % 3
    features = generator.normal(size=(num_images, 12))
    features[np.arange(num_images), labels] += 2.0
    return ((features - features.mean(axis=0)) / features.std(axis=0)).astype(np.float32), labels


def fitter(num_images: int) -> SoftmaxRegression:
    scaled, labels = scaled_clouds(num_images)
    return SoftmaxRegression(scaled, labels, np.ones(num_images, np.float32), 3)


def slow_loss(whole: np.ndarray, num_images: int, penalty: float) -> float:
    """The definition, image by image."""
    total = 0.0
    for features, label in zip(*scaled_clouds(num_images), strict=True):
        logits = features @ whole[:-1] + whole[-1]
        total -= logits[label] - np.log(np.exp(logits).sum())
    return total / num_images + penalty / 2 * (whole[:-1] ** 2).sum()


def test_loss_and_gradient_are_those_of_the_definition() -> None:
    point = np.random.default_rng(1).normal(size=39) * 0.3
    loss, gradient = fitter(30).loss(point, 0.1)
    assert loss == pytest.approx(slow_loss(point.reshape(-1, 3), 30, 0.1), rel=1e-5)
    for index in (0, 7, 20, 36, 38):
        step = np.zeros(39)
        step[index] = 1e-4
        up, down = (slow_loss((point + sign * step).reshape(-1, 3), 30, 0.1) for sign in (1, -1))
        assert gradient[index] == pytest.approx((up - down) / 2e-4, abs=1e-4)


def test_no_other_weights_have_a_lower_loss() -> None:
    kernel, bias = fitter(60).fit(0.05)
    best = np.vstack([kernel, bias])
    least = slow_loss(best, 60, 0.05)
    generator = np.random.default_rng(2)
    for _ in range(20):
        assert slow_loss(best + generator.normal(size=best.shape) * 0.05, 60, 0.05) > least


def test_weights_count_as_repeated_images_do() -> None:
    scaled, labels = scaled_clouds(30)
    counts = 1 + np.arange(30) % 3
    weighted = SoftmaxRegression(scaled, labels, counts.astype(np.float32), 3)
    copies = np.repeat(np.arange(30), counts)
    repeated = SoftmaxRegression(scaled[copies], labels[copies], np.ones(len(copies), np.float32), 3)
    point = np.random.default_rng(0).normal(size=39)
    assert weighted.loss(point, 0.1)[0] == pytest.approx(repeated.loss(point, 0.1)[0], rel=1e-5)
