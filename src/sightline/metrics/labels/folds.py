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
        Groups are dealt out from the largest to the smallest, each to the fold that has the smallest share of the
        images of its classes: the idea of `StratifiedGroupKFold` of scikit-learn.

    Example:
        >>> grouped_folds([0, 0, 1, 1], num_classes=2, num_folds=2).tolist()
        [1, 0, 0, 1]
    """
    numbers = checked_labels(labels, num_images=None, num_classes=num_classes)
    num_folds = checked_count(num_folds, name="num_folds", at_least=2)
    names = np.arange(len(numbers)) if groups is None else np.asarray(groups)
    if len(names) != len(numbers):
        raise InvalidValue(f"groups must have a row an image, {len(numbers):,}; got {len(names):,}.")
    _, group = np.unique(names, return_inverse=True)
    sizes = np.bincount(group)
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    rows_of = np.split(np.argsort(group, kind="stable"), np.cumsum(sizes)[:-1])
    # A group may hold several classes (copies of one image that were labelled otherwise); each counts by its share.
    shares = 1 / np.maximum(np.bincount(numbers, minlength=num_classes), 1)
    counts = np.zeros((num_classes, num_folds), np.int64)
    totals, chosen = np.zeros(num_folds, np.int64), np.zeros(len(sizes), np.int64)
    for one in order.tolist():
        held = np.sort(numbers[rows_of[one]])
        load = (counts[held] * shares[held, None]).sum(axis=0)
        fold = int(np.lexsort((totals, load))[0])
        chosen[one] = fold
        counts[:, fold] += np.bincount(held, minlength=num_classes)
        totals[fold] += len(held)
    return np.asarray(chosen[group], np.int64)
