"""What more images would bring: a power law through the errors of fewer, and how far it can be trusted."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SLOPES: Final = np.linspace(0.05, 2.0, 40)
"""Exponents that are tried; errors of classifiers fall off with 0.1 to 1."""
FEWEST_SIZES: Final = 4
"""Numbers of images through which a law is laid, with its floor, height and exponent."""
_NUM_RESAMPLES = 400


def power_law_errors(counts: Array, errors: Array, *, at: Array, weights: Array | None = None) -> Array:
    """Errors at other numbers of images, by a + b * n ** -c with a and b of at least 0, fitted by least squares.

    Args:
        counts: (num_sizes,) numbers of images, at least two, growing.
        errors: (num_curves, num_sizes) shares of wrong answers.
        at: (num_wanted,) numbers of images.
        weights: (num_sizes,) what each size counts; all the same if left out.

    Returns:
        (num_curves, num_wanted) shares, in [0, 1].

    Source:
        Hestness et al., Deep Learning Scaling is Predictable, Empirically, arXiv 1712.00409; Viering and Loog, The
        Shape of Learning Curves: a Review, IEEE TPAMI 45 (2023), for where it is not.

    Example:
        >>> counts = np.array([10.0, 20, 40, 80])
        >>> power_law_errors(counts, 0.1 + 0.9 / counts[None], at=np.array([160.0])).round(4).tolist()
        [[0.1056]]
    """
    scale = counts[-1]
    weight = np.ones(len(counts)) if weights is None else weights / weights.sum()
    best = np.full(len(errors), np.inf)
    found = np.zeros((len(errors), len(at)))
    for slope in SLOPES.tolist():
        falling, wanted = (counts / scale) ** -slope, (at / scale) ** -slope
        floor, height = _line(falling, errors, weight)
        misfit = (weight * (floor[:, None] + height[:, None] * falling - errors) ** 2).sum(axis=1)
        is_better = misfit < best
        best[is_better] = misfit[is_better]
        found[is_better] = (floor[:, None] + height[:, None] * wanted)[is_better]
    return np.clip(found, 0, 1)


def _line(falling: Array, errors: Array, weight: Array) -> tuple[Array, Array]:
    """Floor and height of the best line over what falls off, neither below 0."""
    weight = weight / weight.sum()
    middle = (weight * falling).sum()
    levels = (errors * weight).sum(axis=1)
    spread = (weight * (falling - middle) ** 2).sum()
    height = ((errors - levels[:, None]) * weight * (falling - middle)).sum(axis=1) / max(spread, 1e-12)
    floor = levels - height * middle
    # The best within both bounds lies on one of them wherever the free one does not keep to both.
    through_zero = (errors * weight * falling).sum(axis=1) / (weight * falling**2).sum()
    height, floor = np.where(floor < 0, through_zero, height), np.maximum(floor, 0)
    return np.where(height < 0, levels, floor), np.maximum(height, 0)


def projected_errors(
    counts: Array, errors: Array, *, at: Array, shared: float, seed: int = 0
) -> tuple[Array, Array, Array]:
    """Errors at other numbers of images by the mean of several curves, with bounds that hold the truth in 95 of 100.

    Args:
        counts: (num_sizes,) numbers of images, growing.
        errors: (num_curves, num_sizes), a curve a draw of images; at least two.
        at: (num_wanted,) numbers of images.
        shared: images that are judged over images that are learned from, in each draw. Draws from the same images
            have most of them in common, and differ less than draws from the world.
        seed: of the resampling of curves.

    Returns:
        (num_wanted,) each: errors, lower and upper bounds, in [0, 1].

    Source:
        Nadeau and Bengio, Inference for the Generalization Error, Machine Learning 52 (2003), for what draws share.
    """
    num_curves, num_sizes = errors.shape
    picked = np.random.default_rng(seed).integers(num_curves, size=(_NUM_RESAMPLES, num_curves))
    resampled = errors[picked].mean(axis=1)
    # How certain a size is; no size is so certain that the others count for nothing.
    variances = errors.var(axis=0, ddof=1)
    weights = 1 / (variances + variances.mean() + 1e-6)
    middles, lowers, uppers = [], [], []
    # Few images do not follow the law that many follow, and a law through all of them promises too much: from each
    # size on, a law of its own, and the bounds hold what all of these say.
    for first in range(max(1, num_sizes - FEWEST_SIZES + 1)):
        some = slice(first, None)
        middle = power_law_errors(counts[some], errors[:, some].mean(axis=0)[None], at=at, weights=weights[some])[0]
        found = power_law_errors(counts[some], resampled[:, some], at=at, weights=weights[some])
        widened = np.sqrt(1 + shared * num_curves) * (found - middle)
        lower, upper = np.quantile(widened, [0.025, 0.975], axis=0)
        middles.append(middle)
        lowers.append(middle + np.minimum(lower, 0))
        uppers.append(middle + np.maximum(upper, 0))
    bounds = np.min(lowers, axis=0), np.max(uppers, axis=0)
    return np.mean(middles, axis=0), np.clip(bounds[0], 0, 1), np.clip(bounds[1], 0, 1)
