"""`calibration.json`: what corrects the confidences of a bundle, by which images, and how far it may be off."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from sightline.metrics.calibration.scaling import ScalingChoice
from sightline.metrics.calibration.temperature import HIGHEST_TEMPERATURE, LOWEST_TEMPERATURE
from sightline.metrics.grouped import num_groups
from sightline.metrics.intervals import USUAL_LEVEL, normal_quantile
from sightline.records import Predictions
from sightline.system.text import counted
from sightline.tasks.multi_label import MultiLabel


@dataclass(frozen=True, eq=False)
class Calibration:
    """What was fitted so that confidences come true.

    Attributes:
        temperature: logits are divided by it.
        num_images: calibration images that it was fitted on; 0: it is 1, and nothing is known.
        num_groups: of these, what hangs together; None where each stands alone.
        log_deviation: the standard error of the temperature's logarithm; None without calibration images.
        scaling: whether the last layer gives each class a factor and a shift, chosen on validation images; where an
            image may have several labels, fitted on calibration images.
        label_thresholds: there, from which logit on each label is said; None of one class an image.
    """

    temperature: float
    num_images: int
    num_groups: int | None
    log_deviation: float | None
    scaling: ScalingChoice
    label_thresholds: tuple[float, ...] | None = None

    @property
    def function(self) -> str:
        """What makes confidences of logits."""
        return "softmax" if self.label_thresholds is None else "sigmoid"

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the temperature, at 95 %."""
        if self.log_deviation is None:
            return None
        # Nothing is farther off than one end of all temperatures from the other.
        most = math.log(HIGHEST_TEMPERATURE / LOWEST_TEMPERATURE)
        spread = math.exp(min(normal_quantile(USUAL_LEVEL) * self.log_deviation, most))
        return self.temperature / spread, self.temperature * spread


def calibration_of(rows: Predictions, scaling: ScalingChoice) -> Calibration:
    """What is kept of the calibration: `rows` are the calibration images, at the temperature fitted on them."""
    count = len(rows)
    thresholds = tuple(rows.task.limits(len(rows.class_names)).tolist()) if isinstance(rows.task, MultiLabel) else None
    if not count:
        return Calibration(rows.temperature, 0, None, None, scaling, thresholds)
    deviation = rows.task.temperature_deviation(
        rows.logits, np.asarray(rows.labels), temperature=rows.temperature, groups=rows.groups
    )
    return Calibration(rows.temperature, count, num_groups(rows.groups), deviation, scaling, thresholds)


def plain_calibration(found: Calibration) -> dict[str, Any]:
    """As `calibration.json` has it."""
    scaling, interval = found.scaling, found.interval
    of_labels = {} if found.label_thresholds is None else {"label_thresholds": list(found.label_thresholds)}
    return {
        **of_labels,
        "temperature": found.temperature,
        "num_images": found.num_images,
        "num_groups": found.num_groups,
        "log_temperature_deviation": found.log_deviation,
        "temperature_interval": None if interval is None else list(interval),
        "class_scaling": {
            "is_chosen": scaling.is_chosen,
            "why": scaling.why,
            "num_images": scaling.num_images,
            "num_groups": scaling.num_groups,
            "gain": scaling.gain,
            "gain_interval": None if scaling.gain_interval is None else list(scaling.gain_interval),
            "factors": scaling.factors.tolist(),
            "shifts": scaling.shifts.tolist(),
        },
    }


def calibration_section(found: Calibration) -> str:
    """What the card says of it."""
    if found.interval is None:
        said = f"There were no calibration images: confidences are the {found.function} of the logits as they are."
    else:
        lower, upper = found.interval
        images = f"{counted(found.num_images, 'calibration image')}"
        if found.num_groups is not None:
            images += f" in {counted(found.num_groups, 'group')}"
        said = (
            f"Confidences are the {found.function} of the logits divided by a temperature of {found.temperature:.3f}, "
            f"fitted on {images} (95 % interval {lower:.3f} to {upper:.3f})."
        )
    return f"\n## Calibration\n\n{said} {_of_classes(found.scaling)}{_of_thresholds(found)}\n"


def _of_thresholds(found: Calibration) -> str:
    if found.label_thresholds is None:
        return ""
    chances = 0.5 * (1 + np.tanh(np.array(found.label_thresholds) / found.temperature / 2))
    return (
        f" A label is said from a confidence of its own on, {chances.min():.2f} to {chances.max():.2f}: the one with "
        "the best F1 on validation images, or 0.5 where none is better beyond chance."
    )


def _of_classes(scaling: ScalingChoice) -> str:
    if not scaling.is_chosen:
        return f"Its classes have no factors and shifts of their own: {scaling.why}.{_gain(scaling)}"
    factors, shifts = (f"{values.min():.2f} to {values.max():.2f}" for values in (scaling.factors, scaling.shifts))
    return (
        f"In the last layer, the logits of each class have a factor ({factors}) and a shift ({shifts}) of their own: "
        f"{scaling.why}.{_gain(scaling)}"
    )


def _gain(scaling: ScalingChoice) -> str:
    if scaling.gain is None or scaling.gain_interval is None:
        return ""
    lower, upper = scaling.gain_interval
    images = counted(scaling.num_images, "validation image")
    if scaling.num_groups is not None:
        images += f" in {counted(scaling.num_groups, 'group')}"
    return f" On {images} it lowers it by {scaling.gain:.4f}, 95 % interval {lower:.4f} to {upper:.4f}."
