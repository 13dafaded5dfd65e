"""Where an image may have several labels: from which logit on each is said, how sure that is, and what sets are by."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from sightline.bundles.trust.label_sets import certify_labels, label_sets_section, write_label_sets
from sightline.metrics.calibration.scaling import ScalingChoice
from sightline.metrics.multi_label.scaling import fit_label_scaling
from sightline.metrics.multi_label.thresholds import choose_thresholds
from sightline.records import Predictions
from sightline.system.text import counted
from sightline.tasks.multi_label import MULTI_LABEL, MultiLabel
from sightline.training.packaging.contract import logits_layer, scale_classes


@dataclass(frozen=True, eq=False)
class LabelCalibration:
    """What was fitted for labels, each by itself.

    Attributes:
        task: with the thresholds, for logits as the bundle gives them.
        scaling: factors and shifts of the labels, in the last layer where there are any.
        offsets: (num_classes,) the logit, as the bundle gives it, at which the margin of each label is 0: what it was
            before factors and shifts that calibration images gave, so that sets may rest on these.
        factors: (num_classes,) by which margins are multiplied in logits as the bundle gives them.
    """

    task: MultiLabel
    scaling: ScalingChoice
    offsets: NDArray[np.float64]
    factors: NDArray[np.float64]


def calibrate_labels(network: keras.Model, validation: Predictions, calibration: Predictions) -> LabelCalibration:
    """Choose thresholds on validation rows, and give the last layer factors and shifts by calibration rows.

    Neither moves the order of the images of a label, so that thresholds are the same places before and behind them.
    """
    num_classes, num_groups = len(validation.class_names), None
    factors, shifts, layer = np.ones(num_classes), np.zeros(num_classes), logits_layer(network)
    if calibration.groups is not None:
        num_groups = len(np.unique(calibration.groups))
    if layer is None or not len(calibration):
        why = (
            "there are no calibration images" if layer is not None else "its logits are not the sums of one last layer"
        )
        scaling = ScalingChoice(why, len(calibration), num_groups)
    else:
        factors, shifts = fit_label_scaling(calibration.logits, np.asarray(calibration.labels))
        scale_classes(layer, factors, shifts)
        why = f"fitted on {counted(len(calibration), 'calibration image')}"
        scaling = ScalingChoice(why, len(calibration), num_groups, factors=factors, shifts=shifts)
    before, are_chosen = np.zeros(num_classes), np.zeros(num_classes, bool)
    if len(validation):
        even = -shifts / factors
        found = choose_thresholds(validation.logits, np.asarray(validation.labels), validation.groups, usual=even)
        before, are_chosen = found.values, found.are_chosen
    # The best places are of validation rows alone, so that sets may rest on them; which of them are chosen is not.
    offsets = factors * before + shifts
    thresholds = np.where(are_chosen, offsets, 0.0)
    task = dataclasses.replace(MULTI_LABEL, thresholds=tuple(thresholds.tolist()))
    return LabelCalibration(task, scaling, offsets, factors)


def write_label_promises(
    staged: Path, found: LabelCalibration, calibration: Predictions, *, seed: int, made_of: Mapping[str, Any]
) -> str:
    """Keep what sets of labels are made by, where there are rows for it; what the card says of it."""
    certificate = certify_labels(calibration, found.offsets, found.factors, seed=seed)
    num_bytes = 0 if certificate is None else write_label_sets(staged, certificate)
    return label_sets_section(certificate, num_bytes, metrics=made_of)
