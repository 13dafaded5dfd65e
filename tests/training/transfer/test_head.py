"""The head on a frozen backbone: softmax regression, by its definition and in its limits."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.system.backends import load_keras

load_keras()

from sightline.training.transfer.head import (  # noqa: E402  # the backend is chosen first
    SAFE_PENALTY,
    Rows,
    _Fitter,
    calibrated_cross_entropy,
    fit_head,
)


def clouds(num_images: int, *, num_features: int = 12, apart: float = 2.0, seed: int = 0) -> Rows:
    generator = np.random.default_rng(seed)
    labels = np.arange(num_images) % 3
    features = generator.normal(size=(num_images, num_features))
    features[np.arange(num_images), labels] += apart
    return Rows((features * 5 + 40).astype(np.float32), labels)


def slow_loss(whole: np.ndarray, rows: Rows, penalty: float) -> float:
    """The definition, image by image."""
    scaled = (rows.features - rows.features.mean(axis=0)) / (rows.features.std(axis=0) + 1e-3)
    total = 0.0
    for features, label in zip(scaled, rows.labels, strict=True):
        logits = features @ whole[:-1] + whole[-1]
        total -= logits[label] - np.log(np.exp(logits).sum())
    return total / len(rows) + penalty / 2 * (whole[:-1] ** 2).sum()


def fitter(rows: Rows) -> _Fitter:
    scaled = (rows.features - rows.features.mean(axis=0)) / (rows.features.std(axis=0) + 1e-3)
    return _Fitter(scaled.astype(np.float32), rows, 3)


def test_loss_and_gradient_are_those_of_the_definition() -> None:
    rows = clouds(30)
    point = np.random.default_rng(1).normal(size=39) * 0.3
    loss, gradient = fitter(rows)._loss(point, 0.1)
    assert loss == pytest.approx(slow_loss(point.reshape(-1, 3), rows, 0.1), rel=1e-5)
    for index in (0, 7, 20, 36, 38):
        step = np.zeros(39)
        step[index] = 1e-4
        up, down = (slow_loss((point + sign * step).reshape(-1, 3), rows, 0.1) for sign in (1, -1))
        assert gradient[index] == pytest.approx((up - down) / 2e-4, abs=1e-4)


def test_no_other_weights_have_a_lower_loss() -> None:
    rows = clouds(60)
    fitted = fitter(rows)
    kernel, bias = fitted.fit(0.05)
    best = np.vstack([kernel, bias])
    least = slow_loss(best, rows, 0.05)
    generator = np.random.default_rng(2)
    for _ in range(20):
        assert slow_loss(best + generator.normal(size=best.shape) * 0.05, rows, 0.05) > least


def test_the_folded_head_takes_features_as_they_come() -> None:
    train, validation = clouds(300, apart=4.0), clouds(90, apart=4.0, seed=1)
    head = fit_head(train, validation, num_classes=3)
    assert (head.logits(validation.features).argmax(axis=1) == validation.labels).mean() > 0.95
    # Other units of measurement change nothing.
    shifted = fit_head(
        Rows(train.features * 3 + 7, train.labels), Rows(validation.features * 3 + 7, validation.labels), num_classes=3
    )
    assert np.allclose(
        head.logits(validation.features), shifted.logits(validation.features * 3 + 7), atol=0.02, rtol=0.02
    )


def test_validation_chooses_a_stronger_penalty_for_fewer_images() -> None:
    validation = clouds(600, num_features=100, apart=1.5, seed=1)
    few = fit_head(clouds(30, num_features=100, apart=1.5), validation, num_classes=3)
    many = fit_head(clouds(3000, num_features=100, apart=1.5, seed=3), validation, num_classes=3)
    assert few.penalty > many.penalty
    assert not few.is_safe


@pytest.mark.parametrize(("num_train", "num_validation"), [(12, 60), (60, 6), (60, None)])
def test_with_few_images_the_safe_penalty_is_taken(num_train: int, num_validation: int | None) -> None:
    validation = None if num_validation is None else clouds(num_validation, seed=1)
    head = fit_head(clouds(num_train), validation, num_classes=3)
    assert (head.is_safe, head.penalty) == (True, SAFE_PENALTY)
    assert np.isfinite(head.kernel).all()


@pytest.mark.parametrize(("num_train", "is_safe"), [(12, True), (15, False)])
def test_views_of_an_image_are_no_further_images(num_train: int, is_safe: bool) -> None:
    rows, validation = clouds(num_train), clouds(60, seed=1)
    views = np.concatenate([rows.features + np.float32(0.1) * view for view in range(4)])
    head = fit_head(Rows(views, np.tile(rows.labels, 4), num_views=4), validation, num_classes=3)
    assert head.is_safe == is_safe


def test_weights_count_as_repeated_images_do() -> None:
    rows = clouds(30)
    counts = 1 + np.arange(30) % 3
    weighted = _Fitter(rows.features / 50, Rows(rows.features, rows.labels, counts.astype(np.float32)), 3)
    copies = np.repeat(np.arange(30), counts)
    repeated = _Fitter(rows.features[copies] / 50, Rows(rows.features[copies], rows.labels[copies]), 3)
    point = np.random.default_rng(0).normal(size=39)
    assert weighted._loss(point, 0.1)[0] == pytest.approx(repeated._loss(point, 0.1)[0], rel=1e-5)


def test_the_judge_forgives_a_wrong_temperature_and_nothing_else() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 200)
    logits = generator.normal(size=(200, 3)) + 2 * np.eye(3)[labels]
    assert calibrated_cross_entropy(logits * 4, labels) == pytest.approx(
        calibrated_cross_entropy(logits, labels), abs=1e-3
    )
    assert np.isnan(calibrated_cross_entropy(np.zeros((0, 3)), np.zeros(0, np.int64)))
