"""How well each given label fits the answers for its image, and how good an order by that is at finding wrong ones."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue
from sightline.metrics.classification import checked_array, checked_labels, checked_table, surprises

METHODS: Final = ("self_confidence", "normalized_margin")


def label_quality(
    labels: ArrayLike, probabilities: ArrayLike, *, method: str = "self_confidence"
) -> NDArray[np.float64]:
    """How well each label fits: the probability of the given class, or how far it lies above the best other.

    Args:
        labels: (num_images,) whole numbers in [0, num_classes).
        probabilities: (num_images, num_classes) of answers that did not learn from the image.
        method: "self_confidence", or "normalized_margin", which takes any scores, too.

    Returns:
        (num_images,) float64, the lowest for the most doubtful label; of probabilities in [0, 1].

    Raises:
        InvalidValue: no table of numbers, labels that are none, or another method.

    Source:
        Northcutt, Jiang, Chuang, Confident Learning, JAIR 70 (2021); the names are cleanlab's.

    Example:
        >>> label_quality([0, 1], [[0.75, 0.25], [0.5, 0.5]]).tolist()
        [0.75, 0.5]
        >>> label_quality([0, 1], [[0.75, 0.25], [0.5, 0.5]], method="normalized_margin").tolist()
        [0.75, 0.5]
    """
    if method not in METHODS:
        raise InvalidValue(f"method must be {' or '.join(METHODS)}; got {method!r}.")
    table = checked_table(probabilities, name="probabilities")
    given = checked_labels(labels, num_images=len(table), num_classes=table.shape[1])
    rows = np.arange(len(given))
    own = table[rows, given]
    if method == "self_confidence":
        return own
    others = table.copy()
    others[rows, given] = -np.inf
    return np.asarray((own - others.max(axis=1) + 1) / 2)


def label_doubts(labels: ArrayLike, by_likelihood: ArrayLike, by_regression: ArrayLike) -> NDArray[np.float64]:
    """How doubtful each label is by two classifiers: the mean of its places in their orders.

    Neither needs to be calibrated, and where one of them errs the other often does not.

    Args:
        labels: (num_images,) whole numbers in [0, num_classes).
        by_likelihood: (num_images, num_classes) log-odds.
        by_regression: (num_images, num_classes) scores; of both the highest is the answer.

    Returns:
        (num_images,) float64 in [0, 1]: 1 is the most doubtful by both.

    Raises:
        InvalidValue: no tables of numbers, of unequal width, or labels that are none.

    Example:
        >>> answers = [[4.0, 0.0], [0.0, 2.0], [3.0, 0.0]]
        >>> label_doubts([0, 0, 0], answers, answers).tolist()
        [0.0, 1.0, 0.5]
    """
    # Surprise orders as self-confidence does, without ties where that is rounded to 0 or 1.
    first = surprises(by_likelihood, labels)
    second = -label_quality(labels, by_regression, method="normalized_margin")
    if np.shape(by_likelihood) != np.shape(by_regression):
        raise InvalidValue(
            f"both tables must have a column a class; got shapes {np.shape(by_likelihood)} and "
            f"{np.shape(by_regression)}."
        )
    return (_places(first) + _places(second)) / (2 * max(len(first) - 1, 1))


def _places(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The place of each value in ascending order, from 0; equal ones share the mean of theirs."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts + 1) / 2)[group], np.float64)


def found_by(doubts: ArrayLike, is_wrong: ArrayLike) -> NDArray[np.int64]:
    """How many wrong labels are among the 1, 2, ... most doubtful.

    Over the number looked at it is the precision there, over all that are wrong the recall.

    Args:
        doubts: (num_images,) numbers, the highest the most doubtful; of equal ones the earlier is looked at first.
        is_wrong: (num_images,) bool.

    Returns:
        (num_images,) int64.

    Raises:
        InvalidValue: of unequal length, no numbers, or no booleans.

    Example:
        >>> found_by([0.9, 0.1, 0.8], [True, True, False]).tolist()
        [1, 1, 2]
    """
    values = checked_array(doubts, name="doubts", kinds="iuf", content="numbers")
    wrong = checked_array(is_wrong, name="is_wrong", kinds="b", content="True and False")
    if values.ndim != 1 or values.shape != wrong.shape:
        raise InvalidValue(f"is_wrong must have a row an image, {values.shape}; got {wrong.shape}.")
    return np.cumsum(wrong[np.argsort(-values.astype(np.float64), kind="stable")])
