"""What a quantised network may lose: judged by its answers to labelled images, as its probabilities are others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.deployment.conversion.description import ExportedModel
from sightline.deployment.conversion.rows import ComparedRows
from sightline.errors import ExportRefused
from sightline.evaluation.measuring.paired_tests import PairedTest, paired_test
from sightline.metrics.calibration.reliability import equal_mass_error
from sightline.metrics.grouped import difference_interval
from sightline.records import Bundle

# From so many images on, a network that loses next to nothing can be told from one that loses a point.
ENOUGH = 1_000
MOST_LOSS = 0.01
# Both bounds of an interval of 90 % are bounds of 95 %.
_LEVEL = 0.9
CONFIDENT, LEAST_CONFIDENT_AGREEMENT = 0.9, 0.99
MOST_WORSE_CALIBRATED = 0.01
# On fewer images, chance alone moves the error of calibration by more than that.
_ENOUGH_TO_CALIBRATE = 300


def paired(bundle: Bundle, rows: ComparedRows, expected: NDArray[np.float32], found: NDArray[np.float32]) -> PairedTest:
    """Bundle against export on labelled rows, given the logits of both."""
    first, second = (bundle.task.is_right(logits, rows.known_labels) for logits in (expected, found))
    return paired_test(first, second, names=("bundle", "export"), groups=rows.groups)


def largest_loss(
    bundle: Bundle, rows: ComparedRows, expected: NDArray[np.float32], found: NDArray[np.float32]
) -> float:
    """The accuracy that the export may have lost: the upper bound, at 95 %."""
    first, second = (bundle.task.is_right(logits, rows.known_labels) for logits in (expected, found))
    return -difference_interval(first, second, rows.groups, confidence=_LEVEL)[0]


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
    test = paired(bundle, rows, expected, found)
    loss = largest_loss(bundle, rows, expected, found)
    sure = bundle.task.confidences(expected, temperature=bundle.temperature) >= CONFIDENT
    agrees = np.asarray(bundle.task.decided(expected) == bundle.task.decided(found))
    agreement = float(agrees[sure].mean()) if sure.any() else None
    errors = {
        "bundle": _calibration_error(bundle, rows, expected, bundle.temperature),
        "export": _calibration_error(bundle, rows, found, model.temperature),
    }
    faults = []
    if test.is_distinguishable and test.difference < 0:
        faults.append(f"it loses answers ({test})")
    elif loss > MOST_LOSS and len(agrees) >= ENOUGH:
        faults.append(f"it may lose {100 * loss:.3g} points of accuracy, and {100 * MOST_LOSS:g} are allowed")
    if agreement is not None and agreement < LEAST_CONFIDENT_AGREEMENT:
        faults.append(
            f"of the {int(sure.sum()):,} answers of which the bundle is at least {CONFIDENT:.0%} sure, it gives "
            f"{agreement:.1%}, and {LEAST_CONFIDENT_AGREEMENT:.0%} are needed"
        )
    if len(agrees) >= _ENOUGH_TO_CALIBRATE and errors["export"] > errors["bundle"] + MOST_WORSE_CALIBRATED:
        faults.append(f"its confidences are off by {errors['export']:.3f}, the bundle's by {errors['bundle']:.3f}")
    if faults:
        raise ExportRefused(
            f"{name} does not answer as well as its bundle: {'; '.join(faults)}. Compared on {rows.words}. It was not "
            "kept. Keep the same format in floating point."
        )
    return {
        "temperature": model.temperature,
        "num_confident": int(sure.sum()),
        "confident_agreement": agreement,
        "calibration_error": errors,
        "could_hide": _could_hide(loss, len(agrees)),
    }


def _calibration_error(bundle: Bundle, rows: ComparedRows, logits: NDArray[np.float32], temperature: float) -> float:
    confidences = bundle.task.confidences(logits, temperature=temperature)
    return equal_mass_error(confidences, bundle.task.is_right(logits, rows.known_labels))


def _could_hide(loss: float, num_images: int) -> str:
    """What no test on so many images would have seen, in words."""
    if loss <= MOST_LOSS:
        return f"at most {100 * loss:.3g} points of accuracy are lost (95 % sure)"
    return (
        f"{num_images:,} images are too few to tell: up to {100 * loss:.3g} points of accuracy may be lost (95 % sure);"
        f" {ENOUGH:,} would tell"
    )


def without_promises(calibration: Mapping[str, Any], temperature: float, rows: ComparedRows) -> dict[str, Any]:
    """What a quantised export says in place of its bundle: a temperature of its own, and nothing that was certified."""
    own = {**calibration, "temperature": temperature, "num_images": len(rows.row_ids), "thresholds": {}}
    for name in ("log_temperature_deviation", "temperature_interval", "num_groups"):
        own.pop(name, None)
    return {"calibration": own, "promises": {"sets": {}, "unsure": {}, "novel": {}}}
