"""How unlike what was learned an image is, by where its features lie, and the limit that few known ones pass.

Only directions of features count: how long they are says how strong a picture is, not what is on it. Two scores are
told: how far the nearest learned images are, and how far the nearest class is, measured by how far images lie from
their own. Classes that look alike lie in one place for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from sightline.errors import InvalidValue
from sightline.metrics.conformal import exact_level
from sightline.metrics.selective import LEAST_MAX_ERROR, fewest_answered, most_wrong

# The score of the nearest images is the distance to the one of this rank: a single odd one is not enough.
NEIGHBOURS = 5

Floats = NDArray[np.float32] | NDArray[np.float64]


def unit_length(features: Floats) -> NDArray[np.float64]:
    """(num_images, width) of length 1 each; what is 0 stays 0.

    Example:
        >>> unit_length(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6, 0.8], [0.0, 0.0]]
    """
    wide = np.asarray(features, np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12))


def principal_directions(features: Floats, most: int) -> NDArray[np.float64] | None:
    """(width, at most `most` - 1) directions that hold most of features, by which they become narrower; or None.

    None where they are no wider than `most`. Never more directions than there are images: the others are arbitrary.
    """
    num_images, width = features.shape
    if width <= most:
        return None
    points = unit_length(features)
    _, directions = np.linalg.eigh(points.T @ points)
    count = min(most - 1, num_images)
    return np.asarray(directions[:, : -count - 1 : -1])


def placed(features: Floats, directions: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Features as points on a sphere: of length 1; along directions, if there are any, with what is left as the last.

    What is left counts: an image of another kind lies where no learned one does.

    Args:
        features: (num_images, width).
        directions: (width, num_directions), each of length 1 and at right angles to the others.

    Returns:
        (num_images, width) float64, or (num_images, num_directions + 1).

    Example:
        >>> placed(np.array([[0.6, 0.0, 0.8]]), np.eye(3)[:, :1]).round(3).tolist()
        [[0.6, 0.8]]
    """
    points = unit_length(features)
    if directions is None:
        return points
    along = points @ directions
    rest = np.sqrt(np.maximum(1 - (along**2).sum(axis=1, keepdims=True), 0))
    return np.concatenate([along, rest], axis=1)


@dataclass(frozen=True, eq=False)
class ClassDistances:
    """Where classes lie, on a scale on which images lie about as far from their class in every direction.

    Attributes:
        centre: (width,) the mean of all.
        scale: (width, width); a point less the centre, times it, is where Euclid's distance is Mahalanobis'.
        class_means: (num_classes, width) on that scale.
    """

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    class_means: NDArray[np.float64]


def fit_class_distances(points: NDArray[np.float64], labels: NDArray[np.int64]) -> ClassDistances:
    """Means of classes and one covariance for all, shrunk towards a sphere by as much as few images ask for.

    Args:
        points: (num_images, width), as `placed` gives them; at least one.
        labels: (num_images,), any whole numbers.

    Source:
        Mueller, Hein, Mahalanobis++: improving OOD detection via feature normalization, ICML (2025); Ledoit, Wolf, A
        well-conditioned estimator for large-dimensional covariance matrices, J. Multivariate Analysis 88 (2004).

    Example:
        >>> points = placed(np.random.default_rng(0).normal(size=(60, 4)))
        >>> fit_class_distances(points, np.arange(60) % 3).class_means.shape
        (3, 4)
    """
    classes, label_of = np.unique(labels, return_inverse=True)
    means = np.stack([points[label_of == number].mean(axis=0) for number in range(len(classes))])
    covariance = shrunk_covariance(points - means[label_of])
    centre = points.mean(axis=0)
    # Of the inverse of the covariance, scale @ scale.T.
    scale = np.linalg.inv(np.linalg.cholesky(covariance)).T
    return ClassDistances(centre, scale, (means - centre) @ scale)


def shrunk_covariance(residuals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ledoit's and Wolf's covariance of points around 0: that of the rows, mixed with a sphere of the same size.

    Args:
        residuals: (num_rows, width), at least one row.

    Returns:
        (width, width), positive definite, even where all rows are equal.
    """
    num_rows, width = residuals.shape
    found = residuals.T @ residuals / num_rows
    size = max(float(np.trace(found)) / width, 1e-12)
    sphere = size * np.eye(width)
    spread = float(((found - sphere) ** 2).sum())
    noise = float(((residuals**2).sum(axis=1) ** 2).sum() / num_rows - (found**2).sum()) / num_rows
    # Less than a hundredth would tell apart what float32 cannot.
    share = 1.0 if spread <= 0 else min(max(noise / spread, 0.01), 1.0)
    return np.asarray((1 - share) * found + share * sphere)


def class_scores(points: NDArray[np.float64], fitted: ClassDistances) -> NDArray[np.float64]:
    """(num_images,) squared distance to the nearest class; higher is more novel."""
    scaled = (points - fitted.centre) @ fitted.scale
    return np.asarray(squared_distances(scaled, fitted.class_means).min(axis=1))


def squared_distances(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """(num_points, num_others), Euclid's, none below 0."""
    products = (points**2).sum(axis=1)[:, None] - 2 * points @ others.T + (others**2).sum(axis=1)
    return np.asarray(np.maximum(products, 0))


def neighbour_scores(points: NDArray[np.float64], bank: NDArray[np.float64]) -> NDArray[np.float64]:
    """(num_images,) distance to the `NEIGHBOURS`-th nearest of a bank, or to its farthest; higher is more novel.

    Source:
        Sun, Ming, Zhu, Li, Out-of-distribution detection with deep nearest neighbors, ICML (2022).

    Example:
        >>> neighbour_scores(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])).round(4).tolist()
        [1.4142]
    """
    rank = min(NEIGHBOURS, len(bank)) - 1
    return np.sqrt(np.partition(squared_distances(points, bank), rank, axis=1)[:, rank])


def separation(known: Floats, novel: Floats) -> float:
    """How often a novel image scores higher than a known one, ties counted half: the area under the ROC curve.

    Example:
        >>> separation(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
        0.875
    """
    ordered = np.sort(known)
    below = np.searchsorted(ordered, novel, side="left") + np.searchsorted(ordered, novel, side="right")
    return float(below.mean() / (2 * len(known)))


def most_above(num_rows: int, rate: float | Fraction, certainty: float | Fraction) -> int | None:
    """How many calibration scores may lie above a limit that at most this share of new images exceeds.

    For this certainty. With `a` of n above it, the share of new images above it is Beta(a + 1, n - a) distributed over
    calibrations, so that it is at most `rate` with the probability that of n images more than `a` are above a limit
    of exactly that rate. Counted in whole numbers.

    Returns:
        From 0 to `num_rows` - 1; None where even 0 is too many.

    Raises:
        InvalidValue: a rate or a certainty that is not in (0, 1), or a rate below 1e-9.

    Source:
        Wilks, Determination of sample sizes for setting tolerance limits, Ann. Math. Statist. 12 (1941).

    Example:
        >>> [most_above(n, 0.05, 0.95) for n in (58, 59, 100, 200, 500, 1_000)]
        [None, 0, 1, 4, 16, 38]
    """
    found = min(most_wrong(num_rows, *_checked(rate, certainty)), num_rows - 1)
    return None if found < 0 else found


def fewest_known(rate: float | Fraction, certainty: float | Fraction) -> int:
    """How many calibration images a false-alarm rate needs at least, for this certainty.

    Example:
        >>> fewest_known(0.05, 0.95), fewest_known(0.01, 0.95)
        (59, 299)
    """
    return fewest_answered(*_checked(rate, certainty))


def _checked(rate: float | Fraction, certainty: float | Fraction) -> tuple[Fraction, Fraction]:
    share = exact_level(rate, name="novelty", like=0.05)
    if share < LEAST_MAX_ERROR:
        raise InvalidValue(f"novelty must be at least {LEAST_MAX_ERROR:g}; got {rate!r}.")
    return share, exact_level(certainty, name="certainty")


def novelty_limit(scores: Floats, *, rate: float | Fraction, certainty: float | Fraction) -> float:
    """The score above which an image is called novel: at most `rate` of images like the calibration images are.

    Args:
        scores: (num_rows,) of calibration images, one of each group, that nothing was fitted or chosen by.
        rate: of false alarms, in (0, 1).
        certainty: with which that is said, in (0, 1): over many calibrations so many keep the rate.

    Raises:
        InvalidValue: out of range, or too few scores; the message names how many are needed.

    Example:
        >>> novelty_limit(np.arange(100.0), rate=0.05, certainty=0.95)
        98.0
    """
    above = most_above(len(scores), rate, certainty)
    if above is None:
        least = fewest_known(rate, certainty)
        raise InvalidValue(
            f"a false-alarm rate of {float(rate):g} said with certainty {float(certainty):g} needs at least {least:,} "
            f"calibration images; there {'is' if len(scores) == 1 else 'are'} {len(scores):,}."
        )
    return float(np.sort(scores)[len(scores) - 1 - above])
