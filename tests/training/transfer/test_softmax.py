"""Softmax regression, by its definition."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

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
    found = fitter(30)
    point = np.random.default_rng(1).normal(size=(13, 3)) * 0.3
    loss, gradient = found.loss(point, 0.1)

    def defined(at: np.ndarray) -> float:
        return slow_loss(np.vstack([found.axes @ at[:-1], at[-1]]), 30, 0.1)

    assert loss == pytest.approx(defined(point), rel=1e-5)
    for index in ((0, 0), (2, 1), (6, 2), (12, 0), (12, 2)):
        step = np.zeros((13, 3))
        step[index] = 1e-4
        assert gradient[index] == pytest.approx((defined(point + step) - defined(point - step)) / 2e-4, abs=1e-4)


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
    for one, other in zip(weighted.fit(0.1), repeated.fit(0.1), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)


@pytest.mark.parametrize(("num_rows", "num_features"), [(60, 200), (400, 30)])
def test_each_fit_is_that_of_scikit_learn_whatever_was_fitted_before(num_rows: int, num_features: int) -> None:
    random = np.random.default_rng(num_rows)
    labels, weights = random.integers(0, 4, num_rows), random.uniform(0.5, 2, num_rows).astype(np.float32)
    rows = np.eye(4)[labels] @ random.normal(0, 1, (4, num_features)) + random.normal(0, 1, (num_rows, num_features))
    rows = (rows * np.geomspace(1, 0.05, num_features)).astype(np.float32)
    found = SoftmaxRegression(rows, labels, weights, 4)
    for penalty in (0.3, 0.01, 0.0003):
        kernel, bias = found.fit(penalty)
        # Its loss is a sum with the penalty of 1 / C; ours a mean.
        usual = LogisticRegression(C=1 / (penalty * weights.sum()), tol=1e-8, max_iter=5000)
        usual.fit(rows, labels, sample_weight=weights)
        wanted, told = usual.decision_function(rows), rows @ kernel + bias
        # Weak penalties leave logits of rows that are right anyway free to grow: the loss hardly tells.
        share = 0.02 if penalty > 0.001 else 0.1
        assert np.abs(told - told.mean(axis=1, keepdims=True) - wanted).max() < share * np.abs(wanted).max()
        least = found.loss(np.vstack([found.axes.T @ usual.coef_.T, usual.intercept_]), penalty)[0]
        assert found.loss(found.point, penalty)[0] < least + 2e-6
