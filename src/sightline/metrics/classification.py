"""Probabilities from logits, and the figures that are counted from right and wrong answers."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue

# A larger gap between two logits counts as this one: 1e18 images of it still have a finite mean.
LARGEST_GAP = 1e290


def softmax(logits: ArrayLike, *, temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities that a network's logits stand for; each row sums to 1.

    Args:
        logits: (num_images, num_classes) numbers, finite; at least 1 image and 2 classes.
        temperature: positive, finite; above 1 the probabilities become more cautious.

    Returns:
        (num_images, num_classes) float64, each in [0, 1].

    Raises:
        InvalidValue: the logits are no finite table, or the temperature is out of range.

    Source:
        Bridle, Training Stochastic Model Recognition Algorithms as Networks, NIPS 2 (1990).

    Example:
        >>> softmax([[0.0, np.log(3.0)]]).round(4).tolist()
        [[0.25, 0.75]]
    """
    weights = np.exp(_scaled_gaps(checked_table(logits, name="logits"), temperature))
    probabilities: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return probabilities


def cross_entropy(logits: ArrayLike, labels: ArrayLike, *, temperature: float = 1.0) -> float:
    """Mean surprise at the true labels, in nats: 0 is perfect, log(num_classes) is ignorance.

    Taken from log-probabilities, so that a confident error costs much but never infinity.

    Args:
        logits: (num_images, num_classes) numbers, finite; at least 1 image and 2 classes.
        labels: (num_images,) integers in [0, num_classes).
        temperature: positive, finite; logits are divided by it.

    Returns:
        The mean over the images, at least 0, finite.

    Raises:
        InvalidValue: logits, labels or temperature have a wrong type, shape or range.

    Source:
        Good, Rational Decisions, Journal of the Royal Statistical Society B 14 (1952).

    Example:
        >>> round(cross_entropy([[0.0, 0.0], [0.0, 0.0]], [0, 1]), 4)
        0.6931
    """
    return float(surprises(logits, labels, temperature=temperature).mean())


def surprises(logits: ArrayLike, labels: ArrayLike, *, temperature: float = 1.0) -> NDArray[np.float64]:
    """Surprise at the true label of each image, in nats: what `cross_entropy` is the mean of, and takes.

    Example:
        >>> surprises([[0.0, 0.0], [9.0, 0.0]], [0, 1]).round(4).tolist()
        [0.6931, 9.0001]
    """
    table = checked_table(logits, name="logits")
    rows = checked_labels(labels, num_images=table.shape[0], num_classes=table.shape[1])
    gaps = _scaled_gaps(table, temperature)
    losses: NDArray[np.float64] = np.log(np.exp(gaps).sum(axis=1)) - gaps[np.arange(len(rows)), rows]
    return losses


def brier_scores(logits: ArrayLike, labels: ArrayLike, *, temperature: float = 1.0) -> NDArray[np.float64]:
    """Squared distance of each image's probabilities from certainty of the true label; the Brier score is their mean.

    Summed over the classes, in [0, 2]; of two classes, whose parts are equal, one part alone, in [0, 1].

    Args:
        logits: (num_images, num_classes) numbers, finite; at least 1 image and 2 classes.
        labels: (num_images,) integers in [0, num_classes).
        temperature: positive, finite; logits are divided by it.

    Returns:
        (num_images,) float64; 0 is perfect.

    Raises:
        InvalidValue: logits, labels or temperature have a wrong type, shape or range.

    Source:
        Brier, Verification of Forecasts Expressed in Terms of Probability, Monthly Weather Review 78 (1950).

    Example:
        >>> brier_scores([[0.0, np.log(3.0)]], [1]).round(4).tolist()
        [0.0625]
    """
    probabilities = softmax(logits, temperature=temperature)
    rows = checked_labels(labels, num_images=probabilities.shape[0], num_classes=probabilities.shape[1])
    probabilities[np.arange(len(rows)), rows] -= 1
    squares: NDArray[np.float64] = np.einsum("ij,ij->i", probabilities, probabilities)
    return squares / 2 if probabilities.shape[1] == 2 else squares


def confusion_matrix(labels: ArrayLike, predicted: ArrayLike, *, num_classes: int) -> NDArray[np.int64]:
    """How often each class was taken for each: the diagonal is right, the rest is wrong.

    Args:
        labels: (num_images,) integers in [0, num_classes): the given classes.
        predicted: (num_images,) integers in [0, num_classes): the predicted classes.
        num_classes: at least 1.

    Returns:
        (num_classes, num_classes) int64; row the given class, column the predicted one.

    Raises:
        InvalidValue: there is no image, the lengths differ, or a label is out of range.

    Source:
        Kohavi and Provost, Glossary of Terms, Machine Learning 30 (1998).

    Example:
        >>> confusion_matrix([0, 0, 1], [0, 1, 1], num_classes=2).tolist()
        [[1, 1], [0, 1]]
    """
    num_classes = checked_count(num_classes, name="num_classes", at_least=1)
    given = checked_labels(labels, num_images=None, num_classes=num_classes)
    found = checked_labels(predicted, num_images=len(given), num_classes=num_classes, name="predicted")
    counts = np.bincount(given * num_classes + found, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def precision_recall_f1(
    confusion: ArrayLike,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """For each class: how far its predictions can be trusted, how much of it is found, and both in one.

    Args:
        confusion: (num_classes, num_classes) integers of at least 0, not all 0; rows given.

    Returns:
        Three (num_classes,) float64 in [0, 1]. Precision is NaN for a class that was never predicted;
        recall and F1 are NaN for a class without images. A class with images that was never
        predicted has F1 0.

    Raises:
        InvalidValue: the matrix is not square, not of counts, or holds no image.

    Source:
        van Rijsbergen, Information Retrieval, 2nd edition (1979), chapter 7.

    Example:
        >>> precision, recall, f1 = precision_recall_f1([[1, 1], [0, 2]])
        >>> precision.round(2).tolist(), recall.tolist(), f1.round(2).tolist()
        ([1.0, 0.67], [0.5, 1.0], [0.67, 0.8])
    """
    counts = _checked_confusion(confusion).astype(np.float64)
    right, given, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    undefined = np.full(len(counts), np.nan)
    precision = np.divide(right, predicted, out=undefined.copy(), where=predicted > 0)
    recall = np.divide(right, given, out=undefined.copy(), where=given > 0)
    f1 = np.divide(2 * right, given + predicted, out=undefined, where=given > 0)
    return precision, recall, f1


def balanced_accuracy(confusion: ArrayLike) -> float:
    """Mean recall over the classes that occur: accuracy as if every class were equally frequent.

    Args:
        confusion: (num_classes, num_classes) integers of at least 0, not all 0; rows given.

    Returns:
        A number in [0, 1].

    Raises:
        InvalidValue: the matrix is not square, not of counts, or holds no image.

    Source:
        Brodersen et al., The Balanced Accuracy and Its Posterior Distribution, ICPR (2010).

    Example:
        >>> balanced_accuracy([[90, 0], [5, 5]])
        0.75
    """
    _, recall, _ = precision_recall_f1(confusion)
    return float(np.nanmean(recall))


def macro_f1(confusion: ArrayLike) -> float:
    """Mean F1 over the classes that occur; a rare class counts as much as a frequent one.

    Args:
        confusion: (num_classes, num_classes) integers of at least 0, not all 0; rows given.

    Returns:
        A number in [0, 1].

    Raises:
        InvalidValue: the matrix is not square, not of counts, or holds no image.

    Source:
        Opitz and Burst, Macro F1 and Macro F1, arXiv:1911.03347 (2019), the mean of F1 values.

    Example:
        >>> round(macro_f1([[1, 1], [0, 2]]), 4)
        0.7333
    """
    _, _, f1 = precision_recall_f1(confusion)
    return float(np.nanmean(f1))


def most_confused(
    confusion: ArrayLike, class_names: Sequence[str], *, count: int = 10
) -> tuple[tuple[str, str, int], ...]:
    """Which class is taken for which, the most frequent mistake first.

    Args:
        confusion: (num_classes, num_classes) integers of at least 0, not all 0; rows given.
        class_names: num_classes strings, in the order of the matrix.
        count: at least 1; how many pairs to name at most.

    Returns:
        (given, predicted, number of images); equal numbers in the order of the classes, none of 0.

    Raises:
        InvalidValue: the matrix is not of counts, or there is not one name a class.

    Source:
        The off-diagonal of `confusion_matrix`, sorted.

    Example:
        >>> most_confused([[8, 2], [0, 9]], ["cat", "dog"])
        (('cat', 'dog', 2),)
    """
    counts = _checked_confusion(confusion).copy()
    count = checked_count(count, name="count", at_least=1)
    if isinstance(class_names, str) or len(class_names) != len(counts):
        raise InvalidValue(f"class_names must be {len(counts)} names, one a row of confusion; got {class_names!r}.")
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:count]
    pairs = ((int(cell) // len(counts), int(cell) % len(counts)) for cell in order if counts.flat[cell])
    return tuple((class_names[given], class_names[found], int(counts[given, found])) for given, found in pairs)


def checked_array(values: ArrayLike, *, name: str, kinds: str, content: str) -> NDArray[Any]:
    """An array, its `dtype.kind` among `kinds`, or a refusal that names the argument and asks for `content`."""
    try:
        array: NDArray[Any] = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise InvalidValue(f"{name} must be an array of {content}; got rows of unequal length ({error}).") from error
    if array.size and array.dtype.kind not in kinds:
        raise InvalidValue(f"{name} must be an array of {content}; got dtype {array.dtype}, shape {array.shape}.")
    return array


def checked_table(values: ArrayLike, *, name: str, columns: str = "classes") -> NDArray[np.float64]:
    """A finite float64 table of at least (1, 2), images by classes, or a refusal that names the argument."""
    array = checked_array(values, name=name, kinds="iuf", content="numbers")
    if array.ndim != 2 or array.shape[0] < 1 or array.shape[1] < 2:
        shape = f"(num_images, num_{columns}) with at least 1 image and 2 {columns}"
        raise InvalidValue(f"{name} must have shape {shape}; got shape {array.shape}.")
    with np.errstate(over="ignore"):
        table = array.astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(wrong):
        raise InvalidValue(
            f"{name} must be finite; got NaN or infinity in {len(wrong)} of {len(table)} rows, first in row "
            f"{wrong[0]}. Leave out the rows of unreadable images."
        )
    return table


def checked_labels(
    labels: ArrayLike, *, num_images: int | None, num_classes: int, name: str = "labels"
) -> NDArray[np.int64]:
    """Labels (num_images,) int64 in [0, num_classes), or a refusal; without `num_images`, any number of at least 1."""
    array = checked_array(labels, name=name, kinds="iu", content="integers")
    if array.ndim != 1 or len(array) < 1 or num_images not in (None, len(array)):
        shape = "(num_images,) with at least 1 image" if num_images is None else f"({num_images},), one label an image"
        raise InvalidValue(f"{name} must have shape {shape}; got shape {array.shape}.")
    wrong = np.flatnonzero(~((array >= 0) & (array < num_classes)))
    if len(wrong):
        raise InvalidValue(f"{name} must be from 0 to {num_classes - 1}; got {array[wrong[0]]} in row {wrong[0]}.")
    return array.astype(np.int64)


def checked_count(value: int, *, name: str, at_least: int) -> int:
    """A whole number of at least `at_least`, as an int, or a refusal that names the argument.

    Raises:
        InvalidValue: it is no int or NumPy integer, a bool, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < at_least:
        raise InvalidValue(f"{name} must be a whole number of at least {at_least}; got {value!r}.")
    return int(value)


def _checked_confusion(confusion: ArrayLike) -> NDArray[np.int64]:
    array = checked_array(confusion, name="confusion", kinds="iu", content="integers, images counted")
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.size < 1:
        raise InvalidValue(f"confusion must have shape (num_classes, num_classes); got shape {array.shape}.")
    counts = array.astype(np.int64)
    if not (counts >= 0).all():
        raise InvalidValue(f"confusion must hold counts of at least 0; got {counts.min()}.")
    if not counts.any():
        raise InvalidValue("confusion must count at least 1 image; got only zeros.")
    return counts


def _scaled_gaps(table: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    # How far each logit lies below the largest of its row, over the temperature: never above 0.
    real = isinstance(temperature, numbers.Real) and not isinstance(temperature, bool)
    if not (real and 0 < temperature < math.inf):
        raise InvalidValue(f"temperature must be a positive, finite number; got {temperature!r}.")
    with np.errstate(over="ignore"):
        gaps = (table - table.max(axis=1, keepdims=True)) / float(temperature)
    clipped: NDArray[np.float64] = np.maximum(gaps, -LARGEST_GAP)
    return clipped
