"""Intervals of figures of classes: of each by itself, and of means over them, in which rare classes weigh most.

A mean over classes is a share as an accuracy is, but its images do not count alike. Its interval is Wilson's, for the
number of images that would tell as much, all alike: value * (1 - value) over the variance of the figure; with Student's
t, as a variance in which few images of rare classes weigh most is not known well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.metrics.classification import balanced_accuracy, confusion_matrix, macro_f1
from sightline.metrics.grouped import accuracy_interval, checked_groups, design_effect, quantile_of
from sightline.metrics.intervals import USUAL_LEVEL, normal_quantile, student_t_quantile, wilson_bounds


@dataclass(frozen=True, eq=False)
class DecidedRows:
    """Images of which the class and the answer are known.

    Attributes:
        labels: (num_images,) int64 in [0, num_classes), the given classes; at least 1 image.
        predicted: (num_images,) int64 in [0, num_classes).
        num_classes: at least 1.
        groups: (num_images,) names or numbers, what hangs together; None: each image for itself.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    num_classes: int
    groups: NDArray[np.str_] | NDArray[np.int64] | None = None

    @property
    def confusion(self) -> NDArray[np.int64]:
        """(num_classes, num_classes) counts, row the given class."""
        return confusion_matrix(self.labels, self.predicted, num_classes=self.num_classes)


def balanced_accuracy_interval(rows: DecidedRows, *, confidence: float = USUAL_LEVEL) -> tuple[float, float]:
    """Interval in which the true balanced accuracy lies.

    Args:
        rows: the images, their classes and answers.
        confidence: in (0, 1).

    Returns:
        Lower and upper bound, each in [0, 1]; of a single group nothing is known but that.

    Raises:
        InvalidValue: labels, answers or groups are none, or the confidence is out of range.

    Source:
        Wilson's interval on an effective number of images, as in Korn and Graubard, Survey Methodology 24 (1998); the
        variance by influence functions, Hampel, JASA 69 (1974); its degrees of freedom, Satterthwaite, Biometrics
        Bulletin 2 (1946).

    Example:
        >>> rows = DecidedRows(np.array([0] * 90 + [1] * 10), np.array([0] * 95 + [1] * 5), 2)
        >>> lower, upper = balanced_accuracy_interval(rows)
        >>> round(lower, 2), round(upper, 2)
        (0.54, 0.89)
    """
    return _interval(rows, balanced_accuracy, _of_balanced_accuracy, confidence)


def macro_f1_interval(rows: DecidedRows, *, confidence: float = USUAL_LEVEL) -> tuple[float, float]:
    """Interval in which the true macro F1 lies, over the classes that occur.

    Args:
        rows: the images, their classes and answers.
        confidence: in (0, 1).

    Returns:
        Lower and upper bound, each in [0, 1]; of a single group nothing is known but that.

    Raises:
        InvalidValue: labels, answers or groups are none, or the confidence is out of range.

    Source:
        As `balanced_accuracy_interval`.

    Example:
        >>> rows = DecidedRows(np.array([0] * 90 + [1] * 10), np.array([0] * 95 + [1] * 5), 2)
        >>> lower, upper = macro_f1_interval(rows)
        >>> round(lower, 2), round(upper, 2)
        (0.62, 0.93)
    """
    return _interval(rows, macro_f1, _of_macro_f1, confidence)


def class_intervals(rows: DecidedRows, *, confidence: float = USUAL_LEVEL) -> Mapping[str, NDArray[np.float64]]:
    """Intervals of precision, recall and F1 of each class.

    Each is Wilson's of a share of images, groups counted: of those that were given the class as the answer, of those
    that are of it, and of those that are either. F1 is 2 s / (1 + s), where s is the share of these that are both.

    Args:
        rows: the images, their classes and answers.
        confidence: in (0, 1).

    Returns:
        "precision", "recall" and "f1", each (num_classes, 2) float64 in [0, 1]; NaN where the figure has no value.

    Raises:
        InvalidValue: labels, answers or groups are none, or the confidence is out of range.

    Source:
        Wilson, Probable Inference, JASA 22 (1927); F1 and the share: Hand, Christen, Kirielle, F*: An Interpretable
        Transformation of the F-measure, Machine Learning 110 (2021).

    Example:
        >>> found = class_intervals(DecidedRows(np.array([0, 0, 1]), np.array([0, 1, 1]), 2))
        >>> found["recall"].round(2).tolist()
        [[0.09, 0.91], [0.21, 1.0]]
    """
    numbers, confusion = checked_groups(rows.groups, len(rows.labels)), rows.confusion
    if numbers is not None:
        shares = _grouped_shares(rows, numbers, confidence)
    else:
        right, given, answered = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
        totals = {"precision": answered, "recall": given, "f1": given + answered - right}
        shares = {name: _shares(right, total, confidence) for name, total in totals.items()}
    # Without an image that is given it, a class has no F1, as answers alone make none.
    shares["f1"][~confusion.any(axis=1)] = np.nan
    return {**shares, "f1": 2 * shares["f1"] / (1 + shares["f1"])}


def _shares(right: NDArray[np.int64], total: NDArray[np.int64], confidence: float) -> NDArray[np.float64]:
    """(num_classes, 2) Wilson's interval of each share."""
    quantile = normal_quantile(confidence)
    pairs = zip(right.tolist(), total.tolist(), strict=True)
    return np.array([wilson_bounds(some / all_, all_, quantile) if all_ else (np.nan, np.nan) for some, all_ in pairs])


def _grouped_shares(rows: DecidedRows, numbers: NDArray[np.int64], confidence: float) -> dict[str, NDArray[np.float64]]:
    """The same of images in groups."""
    shares = {name: np.full((rows.num_classes, 2), np.nan) for name in ("precision", "recall", "f1")}
    given, answered = (_rows_of_each(values, rows.num_classes) for values in (rows.labels, rows.predicted))
    is_right = rows.labels == rows.predicted
    for label in range(rows.num_classes):
        either = np.union1d(given[label], answered[label])
        for name, chosen in (("precision", answered[label]), ("recall", given[label]), ("f1", either)):
            if len(chosen):
                shares[name][label] = accuracy_interval(is_right[chosen], numbers[chosen], confidence=confidence)
    return shares


def _rows_of_each(values: NDArray[np.int64], num_classes: int) -> list[NDArray[np.int64]]:
    """The rows of each class, in one sorting."""
    return np.split(np.argsort(values, kind="stable"), np.cumsum(np.bincount(values, minlength=num_classes))[:-1])


def _interval(
    rows: DecidedRows,
    figure: Callable[[NDArray[np.int64]], float],
    influences: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    confidence: float,
) -> tuple[float, float]:
    numbers, confusion = checked_groups(rows.groups, len(rows.labels)), rows.confusion
    if np.isinf(quantile_of(numbers, confidence)):
        return 0.0, 1.0
    value, likely = figure(confusion), _smoothed(confusion)
    parts = (likely * influences(likely) ** 2).sum(axis=1)
    sizes = confusion.sum(axis=1)
    # Without a mistake nothing is seen of the variance; were it that of one share in all classes, this is left of it.
    number, degrees = len(sizes[sizes > 0]) ** 2 / float((1 / sizes[sizes > 0]).sum()), int(sizes.sum())
    if 0 < value < 1 and parts.any():
        number = value * (1 - value) / float(parts.sum())
        degrees = int(parts.sum() ** 2 / (parts**2 / np.maximum(sizes - 1, 1)).sum())
    if numbers is not None:
        of_images = influences(confusion.astype(np.float64))[rows.labels, rows.predicted]
        num_right = int(np.trace(confusion))
        number /= design_effect(of_images, numbers, num_rarer=min(num_right, len(rows.labels) - num_right))
        degrees = min(degrees, int(numbers.max()))
    return wilson_bounds(value, number, student_t_quantile(confidence, degrees=max(degrees, 1)))


def _smoothed(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Where the answers of each class are likely to go, for one image of it less, as a variance is estimated.

    A class of a few images that are all right would seem to have no variance: two images more of each are added, right
    as often as all are.
    """
    sizes = confusion.sum(axis=1).astype(np.float64)
    num_classes, accuracy = len(confusion), float(np.trace(confusion) / sizes.sum())
    like_all = np.full((num_classes, num_classes), (1 - accuracy) / max(num_classes - 1, 1))
    np.fill_diagonal(like_all, accuracy)
    fewer = np.where(sizes > 1, sizes - 1, sizes)
    smoothed: NDArray[np.float64] = (confusion + 2 * like_all) * (fewer / (sizes + 2))[:, None]
    return smoothed


def _of_balanced_accuracy(confusion: NDArray[np.float64]) -> NDArray[np.float64]:
    """(num_classes, num_classes) what an image of each cell adds to the mean recall."""
    sizes = confusion.sum(axis=1)
    per_image = _reciprocal(sizes)
    recall = np.diag(confusion) * per_image
    influences: NDArray[np.float64] = (np.eye(len(confusion)) - recall[:, None]) * per_image[:, None]
    return influences / np.count_nonzero(sizes)


def _of_macro_f1(confusion: NDArray[np.float64]) -> NDArray[np.float64]:
    """(num_classes, num_classes) what an image of each cell adds to the mean F1: as given, and as answered."""
    given = confusion.sum(axis=1)
    per_image = np.where(given > 0, _reciprocal(given + confusion.sum(axis=0)), 0)
    loss = 2 * np.diag(confusion) * per_image**2
    influences: NDArray[np.float64] = 2 * np.diag(per_image) - loss[:, None] - loss[None, :]
    return influences / np.count_nonzero(given)


def _reciprocal(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(1, counts, out=np.zeros(len(counts)), where=counts > 0)
