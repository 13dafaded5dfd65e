"""Images unlike the others of their class, by what a frozen network sees."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

# Of the class, so that a handful of strangers who are alike are not near enough to one another.
NEAREST_SHARE, FEWEST_NEAREST = 0.05, 3
FAR: Final = 4.0
"""Standard deviations above the median of the class, as the far side of its distances has them: they are skewed."""
_LEAST = 0.01
# Rows times rows that are compared at once.
_PORTION = 512


def class_outliers(
    features: NDArray[np.float32], labels: NDArray[np.int64], groups: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Rows whose nearest images of their own class are unusually far, the farthest first.

    Args:
        features: (num_images, num_features).
        labels: (num_images,) numbers of classes.
        groups: (num_images,) what hangs together; an image is compared with other groups alone.
    """
    lengths = np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    far = np.zeros(len(labels))
    for label in np.unique(labels).tolist():
        rows = np.flatnonzero(labels == label)
        distances = _distances(features[rows] / lengths[rows], groups[rows])
        middle, upper = np.quantile(distances, (0.5, 0.9)).tolist()
        # 9 of 10 of a normal distribution lie below 1.28 of its standard deviations.
        far[rows] = (distances - middle) / max((upper - middle) / 1.2816, _LEAST)
    order = np.argsort(-far, kind="stable")
    return order[: int((far > FAR).sum())]


def _distances(directions: NDArray[np.float32], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """(num_images,) mean of one less the cosine with the nearest of other groups."""
    found = np.zeros(len(groups))
    for first in range(0, len(groups), _PORTION):
        part = slice(first, first + _PORTION)
        closeness = directions[part] @ directions.T
        closeness[groups[part, None] == groups] = -1
        count = min(max(FEWEST_NEAREST, round(NEAREST_SHARE * len(groups))), len(groups))
        found[part] = 1 - np.partition(closeness, -count, axis=1)[:, -count:].mean(axis=1)
    return found
