"""What a bundle keeps of its calibration, and what its card says of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sightline.bundles.trust.calibration import calibration_of, calibration_section, plain_calibration
from sightline.metrics.calibration.scaling import ScalingChoice, choose_scaling
from sightline.metrics.calibration.temperature import temperature_deviation
from sightline.records import Predictions

REFUSED = ScalingChoice("a class has 3 images, and 30 are needed", 12)


def rows_of(num_images: int, *, group_size: int = 1) -> Predictions:
    random = np.random.default_rng(0)
    logits = random.normal(scale=2, size=(num_images, 3)).astype(np.float32)
    labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    ids = [str(row) for row in range(num_images)]
    groups = np.array([str(row // group_size) for row in range(num_images)]) if group_size > 1 else None
    return Predictions.of(ids, logits, class_names=("a", "b", "c"), temperature=1.2, labels=labels, groups=groups)


@pytest.mark.parametrize("group_size", [1, 5])
def test_the_temperature_is_kept_with_its_images_its_groups_and_how_far_it_may_be_off(group_size: int) -> None:
    rows = rows_of(300, group_size=group_size)
    told = json.loads(json.dumps(plain_calibration(calibration_of(rows, REFUSED))))
    deviation = temperature_deviation(rows.logits, rows.labels, temperature=1.2, groups=rows.groups)
    assert (told["temperature"], told["num_images"]) == (1.2, 300)
    assert told["num_groups"] == (None if group_size == 1 else 60)
    assert told["log_temperature_deviation"] == pytest.approx(deviation)
    lower, upper = told["temperature_interval"]
    assert lower * upper == pytest.approx(1.2**2)
    assert np.log(upper / 1.2) == pytest.approx(1.959964 * deviation, abs=1e-5)
    assert told["class_scaling"]["why"] == "a class has 3 images, and 30 are needed"
    assert (told["class_scaling"]["is_chosen"], told["class_scaling"]["factors"]) == (False, [])


def test_logits_far_apart_leave_an_interval_of_finite_numbers() -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(scale=1e6, size=(30, 3)).astype(np.float32)
    labels, ids = draw.integers(0, 3, 30), [str(row) for row in range(30)]
    rows = Predictions.of(ids, logits, class_names=("a", "b", "c"), temperature=20.0, labels=labels)
    found = calibration_of(rows, REFUSED)
    assert found.log_deviation is not None
    assert found.log_deviation > 400, "or the exponential does not overflow"
    assert plain_calibration(found)["temperature_interval"] == pytest.approx([20 / 400, 20 * 400])
    assert "95 % interval 0.050 to 8000.000" in calibration_section(found)


def test_without_calibration_images_nothing_is_known_of_the_temperature() -> None:
    rows = rows_of(3).take(np.empty(0, np.int64))
    found = calibration_of(rows, REFUSED)
    told = plain_calibration(found)
    assert (told["num_images"], told["log_temperature_deviation"], told["temperature_interval"]) == (0, None, None)
    assert "There were no calibration images: confidences are the softmax" in calibration_section(found)


def test_the_card_says_what_was_fitted_by_which_images_and_why() -> None:
    section = calibration_section(calibration_of(rows_of(300, group_size=5), REFUSED))
    assert section.startswith(
        "\n## Calibration\n\nConfidences are the softmax of the logits divided by a temperature of "
    )
    assert "fitted on 300 calibration images in 60 groups (95 % interval " in section
    assert "Its classes have no factors and shifts of their own: a class has 3 images, and 30 are needed." in section
    random = np.random.default_rng(1)
    logits = random.normal(scale=2, size=(500, 3))
    labels = (logits + np.array([0, 2, 0]) + random.gumbel(size=logits.shape)).argmax(axis=1)
    section = calibration_section(calibration_of(rows_of(300), choose_scaling(logits, labels)))
    assert "In the last layer, the logits of each class have a factor (" in section
    assert "cross-entropy of images that it was not fitted to. On 500 validation images it lowers it by 0." in section
