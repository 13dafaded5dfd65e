"""The discriminant: by its definition, with more features than images, and in its limits."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.system.backends import load_keras

load_keras()

from sightline.training.transfer.discriminant import Discriminant  # noqa: E402  # the backend is chosen first


def drawn(num_rows: int, width: int, num_classes: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(num_rows)
    labels = np.arange(num_rows) % num_classes
    scaled = generator.normal(size=(num_rows, width)) @ generator.normal(size=(width, width)) / width**0.5
    scaled[:, 0] += 2 * labels
    return scaled.astype(np.float32), labels, np.ones(num_rows, np.float32)


def slow_logits(scaled: np.ndarray, labels: np.ndarray, shrinkage: float, asked: np.ndarray) -> np.ndarray:
    """Minus half of the squared Mahalanobis distance to each mean, by the covariance written out."""
    means = np.array([scaled[labels == label].mean(axis=0) for label in np.unique(labels)])
    within = np.cov((scaled - means[labels]).T, bias=True)
    width = len(within)
    shrunken = (1 - shrinkage) * within + shrinkage * np.trace(within) / width * np.eye(width)
    apart = asked[:, None] - means
    return -0.5 * np.einsum("icd,de,ice->ic", apart, np.linalg.inv(shrunken), apart)


@pytest.mark.parametrize(("num_rows", "width"), [(60, 5), (12, 30)])
@pytest.mark.parametrize("shrinkage", [0.9, 0.3, 0.05])
def test_logits_are_those_of_the_definition_up_to_what_all_classes_share(
    num_rows: int, width: int, shrinkage: float
) -> None:
    scaled, labels, weights = drawn(num_rows, width)
    kernel, bias = Discriminant(scaled, labels, weights, 3).fit(shrinkage)
    asked = np.random.default_rng(1).normal(size=(7, width)).astype(np.float32)
    own, slow = asked @ kernel + bias, slow_logits(scaled.astype(np.float64), labels, shrinkage, asked)
    own, slow = own - own.mean(axis=1, keepdims=True), slow - slow.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(own, slow, rtol=2e-3, atol=2e-3 * np.abs(slow).max())


def test_weights_count_as_repeated_images_do() -> None:
    scaled, labels, _ = drawn(30, 4)
    counts = 1 + np.arange(30) % 4
    weighted = Discriminant(scaled, labels, counts.astype(np.float32), 3)
    rows = np.repeat(np.arange(30), counts)
    repeated = Discriminant(scaled[rows], labels[rows], np.ones(len(rows), np.float32), 3)
    for mine, its in zip(weighted.fit(0.3), repeated.fit(0.3), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(weighted.shares, repeated.shares)


def test_of_one_image_a_class_the_nearest_is_the_answer() -> None:
    scaled = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]], np.float32)
    kernel, bias = Discriminant(scaled, np.arange(3), np.ones(3, np.float32), 3).fit(0.7)
    asked = np.array([[1.0, 0.5], [3.0, 1.0], [0.5, 2.5]], np.float32)
    assert (asked @ kernel + bias).argmax(axis=1).tolist() == [0, 1, 2]


def test_features_that_never_change_do_no_harm() -> None:
    scaled, labels, weights = drawn(30, 4)
    scaled[:, 2] = 0
    kernel, bias = Discriminant(scaled, labels, weights, 3).fit(0.1)
    assert np.isfinite(kernel).all()
    assert np.isfinite(bias).all()
    assert np.abs(kernel[2]).max() == pytest.approx(0, abs=1e-6)
