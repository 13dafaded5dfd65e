"""A factor and a shift for the logits of each label, by which its confidences come true."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.metrics.calibration.scaling import FACTOR_DEVIATION, SHIFT_DEVIATION
from sightline.metrics.calibration.temperature import fit_temperature
from sightline.metrics.multi_label.counting import checked_flags

# The order of the images of a label stays what it is.
LEAST_FACTOR = 0.05


def flat_pairs(logits: ArrayLike, given: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Each label of each image as an image of two classes: logits (num_images * num_classes, 2), and 0 or 1."""
    flat = np.asarray(logits, np.float64).reshape(-1)
    return np.stack([np.zeros(len(flat)), flat], axis=1), np.asarray(given, np.int64).reshape(-1)


def fit_label_scaling(logits: ArrayLike, given: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The most probable factor and shift of each label, given what images say and what is usual.

    What all labels have in common is a temperature; of each label by itself the factor is mostly within 0.25 of it,
    the shift within 1 of 0 (`sightline.metrics.calibration.scaling`), so that a label of which little is known keeps
    what is common.

    Args:
        logits: (num_images, num_classes) finite numbers.
        given: (num_images, num_classes) of 0 and 1.

    Returns:
        Factors, at least 0.05, and shifts, each (num_classes,): sigmoid(factors * logits + shifts) come true.

    Source:
        Platt, Probabilistic Outputs for Support Vector Machines (1999); the prior is ours.

    Example:
        >>> factors, shifts = fit_label_scaling([[4.0], [-4.0]] * 500, [[1], [0], [1], [1]] * 250)
        >>> scaled = factors * [[4.0], [-4.0]] + shifts
        >>> (1 / (1 + np.exp(-scaled))).round(1).ravel().tolist()
        [1.0, 0.5]
    """
    flags = checked_flags(given, name="labels")
    temperature = fit_temperature(*flat_pairs(logits, flags))
    table = np.asarray(logits, np.float64) / temperature
    changes = np.stack([_minimum(column, is_of) for column, is_of in zip(table.T, flags.T, strict=True)], axis=1)
    return np.maximum((1 + changes[0]) / temperature, LEAST_FACTOR), changes[1]


def _minimum(scores: NDArray[np.float64], is_of: NDArray[np.bool_]) -> NDArray[np.float64]:
    """What is added to factor and shift, by Newton's method: the loss with its penalty is convex and smooth."""
    columns, weights = np.stack([scores, np.ones(len(scores))]), np.array([FACTOR_DEVIATION**-2, SHIFT_DEVIATION**-2])
    found = np.zeros(2)

    def loss(at: NDArray[np.float64]) -> float:
        scaled = scores + at @ columns
        return float(np.logaddexp(0, np.where(is_of, -scaled, scaled)).sum() + (weights * at**2).sum() / 2)

    now = loss(found)
    for _ in range(50):
        chances = 0.5 * (1 + np.tanh((scores + found @ columns) / 2))
        slope = columns @ (chances - is_of) + weights * found
        step = -np.linalg.solve((columns * (chances * (1 - chances))) @ columns.T + np.diag(weights), slope)
        decrease, length = float(step @ slope), 1.0
        if decrease > -1e-12 * max(1.0, now):
            break
        while (then := loss(found + length * step)) > now + 1e-4 * length * decrease and length > 1e-9:
            length /= 2
        found, now = found + length * step, then
    return found
