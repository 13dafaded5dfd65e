from __future__ import annotations

import numpy as np
import pytest

import sightline
from sightline.quality.audit import audit
from sightline.quality.order import serial_correlation


def test_without_order_it_is_normal_as_its_standard_error_says() -> None:
    # Two-sided at 0.003 for the mean and the spread of 400 draws, one fixed seed.
    generator = np.random.default_rng(0)
    labels = np.arange(200) % 4
    errors = np.array([serial_correlation(generator.normal(size=200), labels)[1] for _ in range(400)])
    assert abs(errors.mean()) < 3 / np.sqrt(400)
    assert abs(errors.std() - 1) < 3 / np.sqrt(2 * 400)


def test_values_that_are_all_alike_are_not_in_order() -> None:
    assert serial_correlation(np.ones(100), np.zeros(100, np.int64)) == (0.0, 0.0)
    two = np.random.default_rng(1).integers(0, 2, 400).astype(float)
    assert abs(serial_correlation(two, np.zeros(400, np.int64))[1]) < 4


def test_series_are_told_by_their_correlation_and_a_shuffled_source_says_nothing() -> None:
    generator = np.random.default_rng(2)
    light = np.repeat(generator.uniform(40, 200, 40), 10)
    images = np.clip(light[:, None, None, None] + generator.normal(0, 25, (400, 16, 16, 1)), 0, 255).astype(np.uint8)
    labels = np.arange(400) % 2
    (told,) = [
        finding
        for finding in audit(sightline.load({"x_train": images, "y_train": labels}), mode="quiet").findings
        if finding.kind == "order"
    ]
    assert told.severity == "note"
    assert "brightness (correlation 0." in told.detail
    order = generator.permutation(400)
    shuffled = sightline.load({"x_train": images[order], "y_train": labels[order]})
    assert not [finding for finding in audit(shuffled, mode="quiet").findings if finding.kind == "order"]


@pytest.mark.parametrize("count", [0, 5, 19])
def test_small_classes_are_not_looked_at(count: int) -> None:
    assert serial_correlation(np.arange(float(count)), np.zeros(count, np.int64)) == (0.0, 0.0)
