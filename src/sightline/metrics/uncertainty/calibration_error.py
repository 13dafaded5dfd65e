"""The interval of a calibration error: all errors under which what was seen would be no surprise.

What is seen is never 0, even of confidences that come true as often as they say, and a bootstrap of it never covers 0.
So errors are tried: chance is added to each, and those remain under which as much as was seen is neither too much nor
too little. An error of 0 remains wherever chance alone explains what was seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue
from sightline.metrics.calibration.reliability import (
    Reliability,
    bins_of_equal_mass,
    bins_of_equal_width,
    checked_answers,
)
from sightline.metrics.grouped import checked_groups, design_effect, quantile_of
from sightline.metrics.intervals import USUAL_LEVEL, normal_quantile

NUM_DRAWS = 1000
# A bound is found to a part of a million of where it could be.
_HALVINGS = 20
# Its square is still a number.
_TINY = 1e-150
# A surplus of so many standard deviations is taken for real, where the error is thought to lie in few bins.
_CLEAR = 2.0

_Error = Callable[[NDArray[np.float64]], NDArray[np.float64]]
# What chance adds to an error of a size, (num_draws, num_bins).
_Noise = Callable[[float], NDArray[np.float64]]


def calibration_error_interval(
    confidences: ArrayLike,
    correct: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    power: Literal[1, 2] = 1,
    confidence: float = USUAL_LEVEL,
    reliability: Reliability | None = None,
) -> tuple[float, float]:
    """Interval in which the true distance between confidences and how often they come true lies.

    It is made over bins of equal mass, or over those of equal width of a `Reliability`. Then its draws say what chance
    adds to an error of 0, so that 0 lies in the interval exactly where they explain what was seen, groups counted.

    How an error is spread over the bins is not known, and where it lies in few of them, chance adds more to it. So the
    lower bound is that of an error in the bins where it is clear, the upper one that of an error that is spread as it
    was seen, or over all bins.

    Args:
        confidences: (num_images,) in [0, 1], at least 1: how sure each answer is.
        correct: (num_images,) bool, which answers are right.
        groups: (num_images,) names or numbers, what hangs together; None: each image stands alone.
        power: 1 for the mean distance, of `equal_mass_error`; 2 for its root mean square, of `debiased_error`.
        confidence: in (0, 1).
        reliability: of the same answers and groups, for the interval of its `error`, of `equal_width_error`.

    Returns:
        Lower and upper bound, each in [0, 1]; of a single group nothing is known but that.

    Raises:
        InvalidValue: confidences, answers or groups are none, or of unequal length; power or confidence out of range.

    Source:
        Neyman, Philosophical Transactions of the Royal Society A 236 (1937), for bounds by tests; why no bootstrap:
        Sun et al., Confidence Intervals for the l2 Expected Calibration Error, arXiv:2408.08998 (2024).

    Example:
        >>> lower, upper = calibration_error_interval([0.9] * 100, [True] * 70 + [False] * 30)
        >>> round(lower, 1), round(upper, 1)
        (0.1, 0.3)
    """
    sure, right = checked_answers(confidences, correct)
    if power not in (1, 2):
        raise InvalidValue(f"power must be 1 or 2; got {power!r}.")
    numbers = checked_groups(groups, len(sure))
    widening = quantile_of(numbers, confidence) / normal_quantile(confidence)
    if np.isinf(widening):
        return 0.0, 1.0
    bins = bins_of_equal_mass(sure) if reliability is None else _numbered(bins_of_equal_width(sure))
    weights = np.bincount(bins) / len(sure)
    surplus = np.bincount(bins, weights=right - sure) / len(sure)
    spread = _spread(sure, right, bins, numbers) * widening**2
    deviations = np.sqrt(np.maximum(np.diag(spread), 1e-300))
    noise = np.random.default_rng(0).standard_normal((NUM_DRAWS, len(weights))) @ _root(spread)

    def error(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.abs(sums) @ np.ones(len(weights)) if power == 1 else np.sqrt(sums**2 @ (1 / weights))

    size = np.abs(surplus) / deviations
    clear = np.where((size >= _CLEAR) | (size == size.max()), np.abs(surplus) + _TINY, 0)
    seen = float(error(surplus[None])[0])

    def usual(_: float) -> NDArray[np.float64]:
        return noise

    below: _Noise = usual
    if reliability is not None:
        below = _growing(reliability.chance[:, reliability.counts > 0], deviations, seen)
    lower = _bound(below, clear, error, seen=seen, share=(1 + confidence) / 2)
    spreads = (np.abs(surplus) + _TINY, np.abs(surplus) + deviations)
    upper = max(_bound(usual, shape, error, seen=seen, share=(1 - confidence) / 2) for shape in spreads)
    return lower, min(upper, 1.0)


def _numbered(bins: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same without the numbers of empty bins."""
    return np.unique(bins, return_inverse=True)[1].astype(np.int64)


def _growing(chance: NDArray[np.float64], deviations: NDArray[np.float64], seen: float) -> _Noise:
    """What perfect confidences show, growing with the size of the error to as much as is seen to vary."""
    perfect = chance.std(axis=0)
    ratio = np.where(perfect > 0, np.maximum(deviations / np.maximum(perfect, 1e-300), 1), 1)

    def noise(size: float) -> NDArray[np.float64]:
        # Nothing is seen where all answers are right and as sure as can be.
        return chance * (1 + (ratio - 1) * (min(size / seen, 1) if seen else 1))

    return noise


def _bound(noise: _Noise, shape: NDArray[np.float64], error: _Error, *, seen: float, share: float) -> float:
    """The size of an error of this shape under which less than what was seen would be seen in this share of cases."""
    unit = shape / float(error(shape[None])[0])
    most = noise(np.inf)

    def shown(size: float) -> float:
        return float(np.quantile(error(noise(size) + size * unit), share))

    # What is equal may differ by a rounding.
    if shown(0.0) >= seen - 1e-12:
        return 0.0
    lower, upper = 0.0, seen + float(error(np.abs(most).max(axis=0)[None])[0])
    for _ in range(_HALVINGS):
        middle = (lower + upper) / 2
        lower, upper = (middle, upper) if shown(middle) < seen else (lower, middle)
    return upper


def _spread(
    sure: NDArray[np.float64],
    right: NDArray[np.bool_],
    bins: NDArray[np.int64],
    numbers: NDArray[np.int64] | None,
) -> NDArray[np.float64]:
    """(num_bins, num_bins) covariance of the surplus of the bins; in none less than perfect confidences would have."""
    sizes, surplus = np.bincount(bins), right - sure
    left = surplus - (np.bincount(bins, weights=surplus) / sizes)[bins]
    perfect = np.bincount(bins, weights=sure * (1 - sure)).astype(np.float64)
    if numbers is None:
        seen = np.diag(np.bincount(bins, weights=left**2) * sizes / np.maximum(sizes - 1, 1))
    else:
        count, num_bins = int(numbers.max()) + 1, len(sizes)
        sums = np.bincount(numbers * num_bins + bins, weights=left, minlength=count * num_bins).reshape(count, -1)
        seen = sums.T @ sums * count / (count - 1)
        num_rarer = min(int(right.sum()), int((~right).sum()))
        perfect = perfect * design_effect(left, numbers, num_rarer=num_rarer)
    lacking = np.maximum(perfect - np.diag(seen), 0)
    result: NDArray[np.float64] = (seen + np.diag(lacking)) / len(sure) ** 2
    return result


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """A matrix whose square, by its transpose, is the covariance."""
    values, vectors = np.linalg.eigh(covariance)
    result: NDArray[np.float64] = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    return result
