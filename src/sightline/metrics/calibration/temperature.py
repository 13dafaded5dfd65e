"""The one number by which logits are divided, so that a confidence of 0.9 is right nine times in ten."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.metrics.classification import LARGEST_GAP, checked_labels, checked_table
from sightline.metrics.grouped import checked_groups

LOWEST_TEMPERATURE = 0.05
HIGHEST_TEMPERATURE = 20.0
# Of log T before any image was seen: in two of three cases T is between 0.6 and 1.65.
PRIOR_DEVIATION = 0.5
# From where the search starts; a valley of the loss is wider than a factor of two in the temperature.
STARTS = 10


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The most probable temperature for the softmax of these logits, given what images say and what is usual.

    Above 1 the network was too sure of itself, below 1 not sure enough. The order of the classes,
    and with it the accuracy, stays as it is. Fit it on images the network has not learned from.

    The temperature T makes the sum over images of -log softmax(logits / T)[label], plus
    (log T / 0.5)^2 / 2, as small as it can be: maximum a posteriori, where log T is normal around 0
    with a standard deviation of 0.5. Without this prior a few images that all happen to be right,
    as 80 of an accuracy of 99 % are in 45 draws of 100, say that no confidence is high enough: T falls to
    its bound, and whatever is wrong later is wrong with certainty. The prior counts once, however many
    images there are, and vanishes against many.

    Args:
        logits: (num_images, num_classes) numbers, finite; at least 1 image and 2 classes.
        labels: (num_images,) integers in [0, num_classes).

    Returns:
        A number in [0.05, 20]; a bound where the best lies at or beyond it, and 1 where the logits of
        each row are equal, so that no temperature matters.

    Raises:
        InvalidValue: logits or labels have a wrong type, shape or range.

    Source:
        Guo et al., On Calibration of Modern Neural Networks, ICML (2017); the prior is ours.

    Example:
        >>> round(fit_temperature([[4.0, 0.0]] * 4000, [0, 0, 0, 1] * 1000), 2)
        3.62
        >>> round(fit_temperature([[4.0, 0.0]] * 80, [0] * 80), 2)
        0.7
    """
    table = checked_table(logits, name="logits")
    rows = checked_labels(labels, num_images=table.shape[0], num_classes=table.shape[1])
    # Halves, as the gap between the two largest float64 is infinite; half the gaps, twice the sharpness.
    gaps = table / 2 - table.max(axis=1, keepdims=True) / 2
    if not gaps.any():
        return 1.0
    # From the hottest: where every loss is infinite, the first is taken.
    starts = 2 / np.geomspace(HIGHEST_TEMPERATURE, LOWEST_TEMPERATURE, STARTS)
    best = int(np.argmin([_loss(gaps, rows, start) for start in starts]))
    if best == 0 and _slope(gaps, rows, starts[0])[0] >= 0:
        return HIGHEST_TEMPERATURE
    if best == STARTS - 1 and _slope(gaps, rows, starts[-1])[0] <= 0:
        return LOWEST_TEMPERATURE
    bracket = float(starts[max(best - 1, 0)]), float(starts[min(best + 1, STARTS - 1)])
    return 2 / _root_of_slope(gaps, rows, start=float(starts[best]), bracket=bracket)


def temperature_deviation(
    logits: ArrayLike, labels: ArrayLike, *, temperature: float, groups: ArrayLike | None = None
) -> float:
    """How far a fitted temperature may be off: the standard error of its logarithm.

    The curvature of the loss says how much images tell of it, their slopes how much they differ; of images in groups,
    the slopes of each group are added first. With the prior this is 0.5 where nothing was seen.

    Args:
        logits: as `fit_temperature` was given them.
        labels: the same.
        temperature: what it found.
        groups: (num_images,) names or numbers, what hangs together; None: each image stands alone.

    Returns:
        A positive number: in 95 of 100 cases the temperature is right to a factor of exp(1.96 times it).

    Raises:
        InvalidValue: logits, labels or groups have a wrong type, shape or range.

    Source:
        Huber, The Behavior of Maximum Likelihood Estimates under Nonstandard Conditions, Berkeley Symposium (1967).

    Example:
        >>> logits, labels = [[4.0, 0.0]] * 4000, [0, 0, 0, 1] * 1000
        >>> round(temperature_deviation(logits, labels, temperature=3.62), 3)
        0.033
    """
    table = checked_table(logits, name="logits")
    rows = checked_labels(labels, num_images=table.shape[0], num_classes=table.shape[1])
    numbers = checked_groups(groups, len(rows))
    gaps = np.maximum(table - table.max(axis=1, keepdims=True), -(LARGEST_GAP**0.25)) / temperature
    probabilities = np.exp(gaps) / np.exp(gaps).sum(axis=1, keepdims=True)
    expected = (probabilities * gaps).sum(axis=1, keepdims=True)
    information = float((probabilities * (gaps - expected) ** 2).sum())
    slopes = expected[:, 0] - gaps[np.arange(len(rows)), rows]
    if numbers is not None:
        slopes = np.bincount(numbers, weights=slopes)
    seen = float((slopes**2).sum()) * len(slopes) / max(len(slopes) - 1, 1)
    return math.sqrt(seen + PRIOR_DEVIATION**-2) / (information + PRIOR_DEVIATION**-2)


def _loss(gaps: NDArray[np.float64], rows: NDArray[np.int64], sharpness: float) -> float:
    """The mean cross-entropy at a sharpness of 2 / T, as the gaps are halves, and the prior's share of one image."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = gaps * sharpness
        losses = np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(rows)), rows]
        cross_entropy = float((losses / len(rows)).sum())
    return cross_entropy + (math.log(sharpness / 2) / PRIOR_DEVIATION) ** 2 / (2 * len(rows))


def _slope(gaps: NDArray[np.float64], rows: NDArray[np.int64], sharpness: float) -> tuple[float, float]:
    """First and second derivative of the loss by the sharpness."""
    with np.errstate(over="ignore"):
        weights = np.exp(gaps * sharpness)
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    expected = (probabilities * gaps).sum(axis=1, keepdims=True)
    # A mean of quotients: the sum of many huge gaps would overflow.
    slope = ((expected[:, 0] - gaps[np.arange(len(rows)), rows]) / len(rows)).sum()
    with np.errstate(over="ignore", invalid="ignore"):
        curvature = (probabilities * (gaps - expected) ** 2).sum(axis=1).mean()
    log_sharpness, weight = math.log(sharpness / 2), 1 / (len(rows) * PRIOR_DEVIATION**2)
    slope += weight * log_sharpness / sharpness
    curvature += weight * (1 - log_sharpness) / sharpness**2
    return float(slope), float(curvature)


def _root_of_slope(
    gaps: NDArray[np.float64], rows: NDArray[np.int64], *, start: float, bracket: tuple[float, float]
) -> float:
    """Newton's method that falls back to halving in the logarithm whenever it would leave the bracket."""
    (lower, upper), sharpness = bracket, start
    for _ in range(200):
        slope, curvature = _slope(gaps, rows, sharpness)
        lower, upper = (sharpness, upper) if slope < 0 else (lower, sharpness)
        following = sharpness - slope / curvature if curvature > 0 else math.nan
        if not lower <= following <= upper:
            following = math.sqrt(lower * upper)
        if abs(following - sharpness) <= 1e-12 * sharpness:
            return following
        sharpness = following
    return sharpness
