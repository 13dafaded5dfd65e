"""What answers are worth whatever their temperature, and whether one is better than another beyond chance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import require
from sightline.metrics.calibration.temperature import fit_temperature

# One-sided: what is no better is taken for better in one case of twenty.
LEVEL = 0.05


def best_temperature(logits: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """The temperature that suits some rows best, of logits that may be as sure of themselves as a discriminant's.

    Twice: what is usual of a network's logits holds back the first time, and is where the second begins.
    """
    first = fit_temperature(logits, labels)
    return first * fit_temperature(np.asarray(logits, np.float64) / first, labels)


def surprises(logits: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(num_images,) nats: minus the logarithm of the label's probability, at the temperature that suits the rows best.

    So neither of two is preferred for its temperature, which calibration sets anew. Of logits that are no numbers: NaN.
    """
    if not len(labels) or not np.isfinite(logits).all():
        return np.full(len(labels), np.nan)
    scaled = np.asarray(logits, np.float64) / best_temperature(logits, labels)
    scaled -= scaled.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(labels)), labels], np.float64)


def calibrated_cross_entropy(logits: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """The mean of `surprises`, which fine-tuning has to lower; NaN without rows, or of logits that are no numbers."""
    return float(surprises(logits, labels).mean()) if len(labels) else float("nan")


def chance_of_gain(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """How likely a gain as large would be if there were none: the one-sided p-value of a paired t-test.

    Args:
        before: (num_images,) surprises.
        after: (num_images,) surprises of the same images.

    Returns:
        In [0, 1]; 1 where fewer than two images were judged, or nothing changed.
    """
    gains = np.asarray(before, np.float64) - np.asarray(after, np.float64)
    if len(gains) < 2 or not np.isfinite(gains).all():
        return 1.0
    error = float(gains.std(ddof=1)) / math.sqrt(len(gains))
    if error == 0:
        return 0.0 if gains[0] > 0 else 1.0
    special = require("scipy.special", purpose="comparing what was fitted", install="scipy")
    return float(special.stdtr(len(gains) - 1, -float(gains.mean()) / error))
