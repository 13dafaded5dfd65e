"""Parts of the rows that are judged by what was learned from the others; what hangs together stays in one of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue
from sightline.metrics.classification import checked_count, checked_labels


def grouped_folds(
    labels: ArrayLike, groups: ArrayLike | None = None, *, num_classes: int, num_folds: int = 5, seed: int = 0
) -> NDArray[np.int64]:
    """A fold for each row, so that no group is in two and each class is spread evenly over them.

    Args:
        labels: (num_images,) whole numbers in [0, num_classes).
        groups: (num_images,) names or numbers of what hangs together; None: each image for itself.
        num_classes: at least 1.
        num_folds: at least 2.
        seed: of the order in which groups of a size are dealt out.

    Returns:
        (num_images,) int64 in [0, num_folds).

    Raises:
        InvalidValue: labels that are none, other numbers of rows, or fewer than two folds.

    Source:
        Groups are dealt out from the largest to the smallest, each to the fold with the fewest images of its class, as
        `StratifiedGroupKFold` of scikit-learn does.

    Example:
        >>> grouped_folds([0, 0, 1, 1], num_classes=2, num_folds=2).tolist()
        [1, 0, 0, 1]
    """
    numbers = checked_labels(labels, num_images=None, num_classes=num_classes)
    num_folds = checked_count(num_folds, name="num_folds", at_least=2)
    _, first, group = np.unique(
        np.arange(len(numbers)) if groups is None else np.asarray(groups), return_index=True, return_inverse=True
    )
    if len(group) != len(numbers):
        raise InvalidValue(f"groups must have a row an image, {len(numbers):,}; got {len(group):,}.")
    sizes = np.bincount(group, minlength=len(first))
    order = np.random.default_rng(seed).permutation(len(first))
    order = order[np.argsort(-sizes[order], kind="stable")]
    counts = np.zeros((num_classes, num_folds), np.int64)
    totals, chosen = np.zeros(num_folds, np.int64), np.zeros(len(first), np.int64)
    for one, size, label in zip(order.tolist(), sizes[order].tolist(), numbers[first[order]].tolist(), strict=True):
        fold = int(np.lexsort((totals, counts[label]))[0])
        chosen[one] = fold
        counts[label, fold] += size
        totals[fold] += size
    return np.asarray(chosen[group], np.int64)
