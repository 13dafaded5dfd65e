"""Intervals and the paired test where images come in groups: what hangs together counts less than what stands alone.

Pictures of one object, patient or series are right or wrong together. Counted one by one, they make a figure look
surer than it is; here the groups are counted. Where every image is a group of its own, the figures are those of
`sightline.metrics.intervals`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue
from sightline.metrics.classification import checked_array
from sightline.metrics.intervals import checked_confidence, normal_quantile, student_t_quantile, wilson_bounds
from sightline.metrics.significance import checked_pair, mcnemar_exact, paired_difference_interval, square_and_add


def accuracy_interval(
    correct: ArrayLike, groups: ArrayLike | None = None, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval in which the true accuracy lies, given which images were right and which of them hang together.

    The interval is Wilson's on the effective number of images, with Student's t on one degree of freedom less than
    there are groups. Images of one group that are all right or all wrong together count as one.

    Args:
        correct: (num_images,) bool, at least 1.
        groups: (num_images,) names or numbers; None: each image for itself.
        confidence: in (0, 1).

    Returns:
        Lower and upper bound, each in [0, 1]; of a single group nothing is known but that: 0 and 1.

    Raises:
        InvalidValue: not bool, not of one dimension, of unequal length, empty, or the confidence is out of range.

    Source:
        Korn and Graubard, Confidence Intervals for Proportions with Small Expected Number of Positive Counts
        Estimated from Survey Data, Survey Methodology 24 (1998); Kish, Survey Sampling (1965), for the design effect.

    Example:
        >>> lower, upper = accuracy_interval([True] * 90 + [False] * 10, [number // 5 for number in range(100)])
        >>> round(lower, 2), round(upper, 2)
        (0.68, 0.97)
    """
    right, _ = checked_pair(correct, correct)
    numbers = checked_groups(groups, len(right))
    if numbers is None:
        return wilson_bounds(float(right.mean()), len(right), normal_quantile(confidence))
    quantile = quantile_of(numbers, confidence)
    if math.isinf(quantile):
        return 0.0, 1.0
    return wilson_bounds(float(right.mean()), effective_number(right, numbers), quantile)


def drawn_share(
    hits: ArrayLike, groups: ArrayLike | None = None, *, of: ArrayLike | None = None, confidence: float = 0.95
) -> tuple[float, tuple[float, float]]:
    """The share of hits among images drawn one from each group, as promises are about, and its interval.

    Each group counts once, large or small. The interval is Wilson's on the number of groups: on the safe side, as the
    mean of a group varies less than one image of it.

    Args:
        hits: (num_images,) bool, at least 1.
        groups: (num_images,) names or numbers; None: each image for itself.
        of: (num_images,) bool, the images of which the share is; None: all.
        confidence: in (0, 1).

    Returns:
        The share, and lower and upper bound, each in [0, 1]; all NaN of no image, 0 and 1 of a single group.

    Raises:
        InvalidValue: not bool, not of one dimension, of unequal length, empty, or the confidence is out of range.

    Example:
        >>> drawn_share([True, True, True, False], ["a", "a", "a", "b"])[0]
        0.5
    """
    array, part = checked_pair(hits, np.ones(np.shape(hits), bool) if of is None else of)
    numbers = checked_groups(groups, len(array))
    if not part.any():
        return math.nan, (math.nan, math.nan)
    if numbers is None:
        chosen = array[part]
        return float(chosen.mean()), accuracy_interval(chosen, confidence=confidence)
    weights = group_weights(groups, len(array))[part]
    share = min(float(weights @ array[part] / weights.sum()), 1.0)
    quantile = quantile_of(numbers, confidence)
    if math.isinf(quantile):
        return share, (0.0, 1.0)
    return share, wilson_bounds(share, float(weights.sum()), quantile)


def group_weights(groups: ArrayLike | None, num_images: int) -> NDArray[np.float64]:
    """(num_images,) one over the size of the group of each image, so that each group counts once."""
    numbers = checked_groups(groups, num_images)
    return np.ones(num_images) if numbers is None else 1 / np.bincount(numbers)[numbers]


def quantile_of(numbers: NDArray[np.int64] | None, confidence: float) -> float:
    """How many standard errors lie on either side: Student's t on one degree less than groups, infinity of one."""
    if numbers is None:
        return normal_quantile(confidence)
    count = int(numbers.max()) + 1
    return student_t_quantile(checked_confidence(confidence), degrees=count - 1) if count > 1 else math.inf


def effective_number(correct: NDArray[np.bool_], numbers: NDArray[np.int64]) -> float:
    """How many images that stand alone would tell as much of an accuracy; `numbers` are those of the groups, from 0."""
    num_rarer = min(int(correct.sum()), len(correct) - int(correct.sum()))
    return len(correct) / design_effect(correct - correct.mean(), numbers, num_rarer=num_rarer)


def design_effect(influences: NDArray[np.float64], numbers: NDArray[np.int64], *, num_rarer: int) -> float:
    """How many times as large the variance of a figure is as it would be if each image stood alone; at least 1.

    How much the images of a group hang together is seen by the rarer answer, right or wrong, alone. So the design
    effect is drawn towards its worst, each group one image, as if one image more had shown that; where what is seen
    is worse, it holds. Of no mistake only the worst is left, and the first ones do not make it vanish at once.

    Args:
        influences: (num_images,) what each image adds to the figure, their sum 0: of a mean, its value less the mean.
        numbers: (num_images,) those of the groups, from 0; a single one shows nothing, and is the worst.
        num_rarer: images of the rarer answer.
    """
    sizes = np.bincount(numbers).astype(np.float64)
    worst = float((sizes**2).sum()) / len(influences)
    alone = float((influences**2).sum())
    if num_rarer == 0 or alone == 0 or len(sizes) < 2:
        return worst
    excess = np.bincount(numbers, weights=influences)
    seen = float((excess**2).sum()) * len(sizes) / (len(sizes) - 1) / alone
    drawn = (num_rarer * seen + worst) / (num_rarer + 1)
    # Groups that differ less than chance lets them are no better than none.
    return max(1.0, seen, drawn)


def paired_p_value(first_correct: ArrayLike, second_correct: ArrayLike, groups: ArrayLike | None = None) -> float:
    """How surprising the difference of two classifiers would be if they were equally good, groups taken as a whole.

    Were they equally good, each group's difference might as well have been the other way round: the p-value is the
    share of all such turns whose difference is at least as large, counted exactly. Without groups this is McNemar's.

    Args:
        first_correct: (num_images,) bool, at least 1: which images the first got right.
        second_correct: (num_images,) bool, the same images in the same order.
        groups: (num_images,) names or numbers; None: each image for itself.

    Returns:
        Two-sided p-value in [0, 1]; 1 if no group differs.

    Raises:
        InvalidValue: not bool, not of one dimension, of unequal length, or empty.

    Source:
        Fisher, The Design of Experiments (1935), section 21, for the turns of signs.

    Example:
        >>> paired_p_value([True] * 6, [False] * 6), paired_p_value([True] * 6, [False] * 6, [1, 1, 2, 2, 3, 3])
        (0.03125, 0.25)
    """
    first, second = checked_pair(first_correct, second_correct)
    numbers = checked_groups(groups, len(first))
    if numbers is None:
        return mcnemar_exact(first, second)
    excess = np.bincount(numbers, weights=second.astype(np.float64) - first).round().astype(np.int64)
    sizes, counts = np.unique(np.abs(excess[excess != 0]), return_counts=True)
    # Turning one group of size s moves the sum by 2s: so `chances[k]` is that of a sum of 2k less than the largest.
    chances = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        spaced = np.zeros(size * count + 1)
        spaced[::size] = _binomial(count)
        chances = np.convolve(chances, spaced)
    largest = int((sizes * counts).sum())
    sums = largest - 2 * np.arange(len(chances))
    return min(1.0, float(chances[np.abs(sums) >= abs(int(excess.sum()))].sum()))


def difference_interval(
    first_correct: ArrayLike, second_correct: ArrayLike, groups: ArrayLike | None = None, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the second classifier's accuracy minus the first's, on the same images, groups counted.

    Args:
        first_correct: (num_images,) bool, at least 1: which images the first got right.
        second_correct: (num_images,) bool, the same images in the same order.
        groups: (num_images,) names or numbers; None: each image for itself.
        confidence: in (0, 1).

    Returns:
        Lower and upper bound, each in [-1, 1]; above 0 the second is better.

    Raises:
        InvalidValue: not bool, of unequal length, empty, or the confidence is out of range.

    Source:
        Newcombe's method 10, as `paired_difference_interval`, on the bounds of `accuracy_interval`, with the
        correlation of the groups in place of that of the images.

    Example:
        >>> lower, upper = difference_interval([True, False] * 50, [True] * 100, [number // 4 for number in range(100)])
        >>> bool(0 < lower < 0.5 < upper)
        True
    """
    first, second = checked_pair(first_correct, second_correct)
    numbers = checked_groups(groups, len(first))
    if numbers is None:
        return paired_difference_interval(first, second, confidence=confidence)
    first_lower, first_upper = accuracy_interval(first, numbers, confidence=confidence)
    second_lower, second_upper = accuracy_interval(second, numbers, confidence=confidence)
    first_accuracy, second_accuracy = float(first.mean()), float(second.mean())
    correlation = _correlation(first, second, numbers)
    below = square_and_add(second_accuracy - second_lower, first_upper - first_accuracy, correlation)
    above = square_and_add(second_upper - second_accuracy, first_accuracy - first_lower, correlation)
    difference = second_accuracy - first_accuracy
    return max(-1.0, difference - below), min(1.0, difference + above)


def num_groups(groups: ArrayLike | None) -> int | None:
    """How many groups there are; None where each image is one of its own."""
    if groups is None:
        return None
    array = np.asarray(groups)
    count = len(np.unique(array))
    return None if count == array.size else count


def checked_groups(groups: ArrayLike | None, num_images: int) -> NDArray[np.int64] | None:
    """Groups as numbers from 0; None where each image is one of its own, which is the same as none."""
    if groups is None:
        return None
    array: NDArray[Any] = checked_array(groups, name="groups", kinds="iuU", content="names or whole numbers")
    if array.shape != (num_images,):
        raise InvalidValue(f"groups must name one for each of {num_images:,} images; got shape {array.shape}.")
    _, numbers = np.unique(array, return_inverse=True)
    return numbers.astype(np.int64) if len(numbers) and numbers.max() + 1 < num_images else None


def _correlation(first: NDArray[np.bool_], second: NDArray[np.bool_], numbers: NDArray[np.int64]) -> float:
    """Of what each group has more right than its size lets expect; 0 where one of the two has no spread."""
    sizes = np.bincount(numbers)
    excesses = [np.bincount(numbers, weights=one.astype(np.float64)) - one.mean() * sizes for one in (first, second)]
    spread = math.sqrt(float((excesses[0] ** 2).sum() * (excesses[1] ** 2).sum()))
    return float((excesses[0] * excesses[1]).sum()) / spread if spread else 0.0


def _binomial(count: int) -> NDArray[np.float64]:
    """(count + 1,) chances that so many of fair coins fall one way."""
    ways = [1]
    for fallen in range(count):
        ways.append(ways[-1] * (count - fallen) // (fallen + 1))
    # Whole numbers of any length are divided exactly, where floats would overflow.
    return np.array([one / (1 << count) for one in ways])
