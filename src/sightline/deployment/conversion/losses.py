"""What a quantised network may lose: judged by its answers to labelled images, as its probabilities are others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sightline.deployment.conversion.description import ExportedModel
from sightline.deployment.conversion.rows import ComparedRows
from sightline.errors import ExportRefused
from sightline.evaluation.measuring.paired_tests import PairedTest, paired_test
from sightline.metrics.calibration.reliability import equal_mass_error
from sightline.metrics.grouped import difference_interval
from sightline.records import Bundle
from sightline.tasks.table import has_several_labels
from sightline.tasks.task import Task

# From so many images on, a network that loses next to nothing can be told from one that loses a point.
ENOUGH = 1_000
MOST_LOSS = 0.01
# Both bounds of an interval of 90 % are bounds of 95 %.
_LEVEL = 0.9
CONFIDENT, LEAST_CONFIDENT_AGREEMENT = 0.9, 0.99
MOST_WORSE_CALIBRATED = 0.01
# On fewer images, chance alone moves the error of calibration by more than that.
_ENOUGH_TO_CALIBRATE = 300


class Rights(NamedTuple):
    """Which answers of bundle and export are wholly right, (num_images,) bool each, and what that share is called."""

    bundle: NDArray[np.bool_]
    export: NDArray[np.bool_]
    called: str


def rights(
    bundle: Bundle,
    model: ExportedModel,
    rows: ComparedRows,
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
) -> Rights:
    """On labelled rows, given the logits of both; each is judged by its own thresholds, where it has some."""
    called = "exact match" if has_several_labels(bundle.task) else "accuracy"
    labels = rows.known_labels
    return Rights(bundle.task.is_right(expected, labels), model.task.is_right(found, labels), called)


def paired(right: Rights, rows: ComparedRows) -> PairedTest:
    """Bundle against export."""
    return paired_test(right.bundle, right.export, names=("bundle", "export"), groups=rows.groups)


def largest_loss(right: Rights, rows: ComparedRows) -> float:
    """The accuracy that the export may have lost: the upper bound, at 95 %."""
    return -difference_interval(right.bundle, right.export, rows.groups, confidence=_LEVEL)[0]


def check_loss(
    bundle: Bundle,
    model: ExportedModel,
    rows: ComparedRows,
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
    *,
    name: str,
) -> dict[str, Any]:
    """The figures by which a quantised network is kept; ExportRefused where it loses answers or confidence."""
    right = rights(bundle, model, rows, expected, found)
    test, loss, num_images = paired(right, rows), largest_loss(right, rows), len(expected)
    num_sure, agreement = _agreement(bundle, model, expected, found)
    errors = {
        "bundle": _calibration_error(bundle.task, rows, expected, bundle.temperature),
        "export": _calibration_error(model.task, rows, found, model.temperature),
    }
    faults = []
    if test.is_distinguishable and test.difference < 0:
        faults.append(f"it loses answers ({test})")
    elif loss > MOST_LOSS and num_images >= ENOUGH:
        faults.append(f"it may lose {100 * loss:.3g} points of {right.called}, and {100 * MOST_LOSS:g} are allowed")
    if agreement is not None and agreement < LEAST_CONFIDENT_AGREEMENT:
        faults.append(
            f"of the {num_sure:,} answers of which the bundle is at least {CONFIDENT:.0%} sure, it gives "
            f"{agreement:.1%}, and {LEAST_CONFIDENT_AGREEMENT:.0%} are needed"
        )
    if num_images >= _ENOUGH_TO_CALIBRATE and errors["export"] > errors["bundle"] + MOST_WORSE_CALIBRATED:
        faults.append(f"its confidences are off by {errors['export']:.3f}, the bundle's by {errors['bundle']:.3f}")
    if faults:
        raise ExportRefused(
            f"{name} does not answer as well as its bundle: {'; '.join(faults)}. Compared on {rows.words}. It was not "
            "kept. Keep the same format in floating point."
        )
    return {
        "temperature": model.temperature,
        "num_confident": num_sure,
        "confident_agreement": agreement,
        "calibration_error": errors,
        "could_hide": _could_hide(loss, num_images, right.called),
    }


def _agreement(
    bundle: Bundle, model: ExportedModel, expected: NDArray[np.float32], found: NDArray[np.float32]
) -> tuple[int, float | None]:
    """How many answers the bundle is sure of, and the share of them that the export gives, too; None where none is.

    Of several labels an answer is a yes to one of them: a no, of which there are many more, would hide it.
    """
    said = bundle.task.decided(expected)
    agrees = np.asarray(said == model.task.decided(found))
    if has_several_labels(bundle.task):
        shares = bundle.task.probabilities(expected, temperature=bundle.temperature)
        sure = (said != 0) & (shares >= CONFIDENT)
    else:
        sure = bundle.task.confidences(expected, temperature=bundle.temperature) >= CONFIDENT
    return int(sure.sum()), float(agrees[sure].mean()) if sure.any() else None


def _calibration_error(task: Task, rows: ComparedRows, logits: NDArray[np.float32], temperature: float) -> float:
    """Of each label by itself, where an image may have several."""
    if has_several_labels(task):
        shares = task.probabilities(logits, temperature=temperature)
        return equal_mass_error(shares.reshape(-1), (rows.known_labels != 0).reshape(-1))
    return equal_mass_error(task.confidences(logits, temperature=temperature), task.is_right(logits, rows.known_labels))


def _could_hide(loss: float, num_images: int, called: str) -> str:
    """What no test on so many images would have seen, in words."""
    if loss <= MOST_LOSS:
        return f"at most {100 * loss:.3g} points of {called} are lost (95 % sure)"
    return (
        f"{num_images:,} images are too few to tell: up to {100 * loss:.3g} points of {called} may be lost (95 % sure);"
        f" {ENOUGH:,} would tell"
    )


def without_promises(calibration: Mapping[str, Any], temperature: float, rows: ComparedRows) -> dict[str, Any]:
    """What a quantised export says in place of its bundle: a temperature of its own, and nothing that was certified."""
    before = float(calibration["temperature"])
    own = {**calibration, "temperature": temperature, "num_images": len(rows.row_ids), "thresholds": {}}
    for name in ("log_temperature_deviation", "temperature_interval", "num_groups"):
        own.pop(name, None)
    if "label_thresholds" in own:  # at the same confidences
        own["label_thresholds"] = [limit * temperature / before for limit in own["label_thresholds"]]
    return {"calibration": own, "promises": {"sets": {}, "unsure": {}, "novel": {}}}
