"""What answers are worth whatever their temperature, and from when on one is called better than another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.tasks.table import task_of

# One-sided: what is no better is taken for better in one case of twenty.
LEVEL = 0.05


def best_temperature(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """The temperature that suits some rows best, of logits that may be as sure of themselves as a discriminant's.

    Twice: what is usual of a network's logits holds back the first time, and is where the second begins.
    """
    task = task_of(labels)
    first = task.fit_temperature(logits, labels)
    return first * task.fit_temperature(np.asarray(logits, np.float64) / first, labels)


def calibrated_surprises(logits: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    """(num_images,) nats: the surprises at the labels, at the temperature that suits the rows best.

    So neither of two is preferred for its temperature, which calibration sets anew. Of logits that are no numbers: NaN.
    """
    if not len(labels) or not np.isfinite(logits).all():
        return np.full(len(labels), np.nan)
    return task_of(labels).surprises(logits, labels, temperature=best_temperature(logits, labels))


def calibrated_cross_entropy(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """The mean of `calibrated_surprises`, which fine-tuning has to lower; NaN without rows, or numbers."""
    return float(calibrated_surprises(logits, labels).mean()) if len(labels) else float("nan")
