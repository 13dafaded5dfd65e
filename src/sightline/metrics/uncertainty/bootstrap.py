"""The interval of a mean whose values are skewed, such as a loss: bootstrap, bias-corrected and accelerated."""

from __future__ import annotations

import statistics

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue
from sightline.metrics.classification import checked_array
from sightline.metrics.grouped import checked_groups, quantile_of
from sightline.metrics.intervals import USUAL_LEVEL, checked_confidence

NUM_RESAMPLES = 2000
# Of many units fewer resamples are drawn, so that no more units than this are, but never less than a quarter of them.
MOST_DRAWN = 2**23
# So many units are drawn at once, 8 bytes each.
_PORTION = 2**20
_NORMAL = statistics.NormalDist()
_SMALLEST_SHARE = 1e-12


def mean_interval(
    values: ArrayLike, groups: ArrayLike | None = None, *, confidence: float = USUAL_LEVEL
) -> tuple[float, float]:
    """Interval in which the true mean lies, by the BCa bootstrap: images are drawn anew, or whole groups of them.

    It is as skewed as the values are, where the textbook interval is not. Of few groups it is widened by Student's t,
    as a bootstrap is too narrow there. The draws are the same each time, and with them the interval of the same values.

    Args:
        values: (num_images,) finite numbers, at least 1.
        groups: (num_images,) names or numbers; None: each image for itself.
        confidence: in (0, 1).

    Returns:
        Lower and upper bound; of a single image or group minus and plus infinity, as nothing is known.

    Raises:
        InvalidValue: no finite numbers, groups of another length, or the confidence is out of range.

    Source:
        Efron, Better Bootstrap Confidence Intervals, JASA 82 (1987); for groups the expanded percentiles of Hesterberg,
        What Teachers Should Know about the Bootstrap, The American Statistician 69 (2015).

    Example:
        >>> lower, upper = mean_interval([0.0] * 90 + [2.0] * 10)
        >>> round(lower, 1), round(upper, 1)
        (0.1, 0.3)
    """
    array = checked_array(values, name="values", kinds="iuf", content="numbers").astype(np.float64)
    if array.ndim != 1 or len(array) < 1 or not np.isfinite(array).all():
        raise InvalidValue(f"values must be finite numbers of shape (num_images,), at least 1; got {array!r:.80}.")
    numbers = checked_groups(groups, len(array))
    checked_confidence(confidence)
    if numbers is None:
        return _bca(array, np.ones(len(array)), confidence)
    count = int(numbers.max()) + 1
    if count == 1:
        return -np.inf, np.inf
    quantile = quantile_of(numbers, confidence) * (count / (count - 1)) ** 0.5
    sums = np.bincount(numbers, weights=array).astype(np.float64)
    sizes = np.bincount(numbers).astype(np.float64)
    return _bca(sums, sizes, 2 * _NORMAL.cdf(quantile) - 1)


def _bca(sums: NDArray[np.float64], sizes: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Of the quotient of two sums over units that are drawn together."""
    if len(sums) == 1:
        return -np.inf, np.inf
    # The draws name places: with the values in their order, that of the images and the names of groups change nothing.
    order = np.lexsort((sums, sizes))
    sums, sizes = sums[order], sizes[order]
    value = float(sums.sum() / sizes.sum())
    drawn = _resampled(sums, sizes)
    below = float((drawn < value).sum() + (drawn <= value).sum()) / (2 * len(drawn))
    least = 0.5 / len(drawn)
    bias = _NORMAL.inv_cdf(min(max(below, least), 1 - least))
    without = (sums.sum() - sums) / (sizes.sum() - sizes)
    gaps = without.mean() - without
    spread = float((gaps**2).sum()) ** 1.5
    skew = float((gaps**3).sum()) / (6 * spread) if spread else 0.0
    bounds = []
    for share in ((1 - confidence) / 2, (1 + confidence) / 2):
        # Of two or three groups, Student's t is so wide that it is all of the normal distribution to the last digit.
        shifted = bias + _NORMAL.inv_cdf(min(max(share, _SMALLEST_SHARE), 1 - _SMALLEST_SHARE))
        bounds.append(_NORMAL.cdf(bias + shifted / (1 - skew * shifted)))
    lower, upper = np.quantile(drawn, bounds).tolist()
    # Of equal values a sum may differ in its last digit.
    return min(lower, value), max(upper, value)


def _resampled(sums: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(num_resamples,) the quotient in each."""
    random, count = np.random.default_rng(0), len(sums)
    num_resamples = min(NUM_RESAMPLES, max(NUM_RESAMPLES // 4, MOST_DRAWN // count))
    drawn, portion = np.empty(num_resamples), max(1, _PORTION // count)
    are_alike = bool((sizes == sizes[0]).all())
    for first in range(0, num_resamples, portion):
        chosen = random.integers(0, count, size=(min(portion, num_resamples - first), count))
        whole = sizes[0] * count if are_alike else sizes[chosen].sum(axis=1)
        drawn[first : first + len(chosen)] = sums[chosen].sum(axis=1) / whole
    return drawn
