"""How far a figure can be trusted: intervals of one accuracy, of a mean over seeds, of a difference."""

from __future__ import annotations

import functools
import math
import numbers
import statistics

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue
from sightline.metrics.classification import checked_array, checked_count


def wilson_interval(num_correct: int, num_images: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Interval in which the true accuracy lies, given how many images were right.

    Unlike the textbook normal interval it stays inside [0, 1] and keeps its
    coverage near 0 and 1, where good classifiers live.

    Args:
        num_correct: from 0 to `num_images`.
        num_images: at least 1.
        confidence: in (0, 1).

    Returns:
        Lower and upper bound, each in [0, 1].

    Raises:
        InvalidValue: a count or the confidence is out of range.

    Source:
        Wilson, Probable Inference, JASA 22 (1927).

    Example:
        >>> lower, upper = wilson_interval(9982, 10000)
        >>> round(lower, 4), round(upper, 4)
        (0.9972, 0.9989)
    """
    num_images = checked_count(num_images, name="num_images", at_least=1)
    num_correct = checked_count(num_correct, name="num_correct", at_least=0)
    if num_correct > num_images:
        raise InvalidValue(f"num_correct must be from 0 to num_images, {num_images}; got {num_correct}.")
    return wilson_bounds(num_correct / num_images, num_images, normal_quantile(confidence))


def wilson_bounds(accuracy: float, num_images: float, quantile: float) -> tuple[float, float]:
    """Wilson's interval for a number of images that need not be whole, so many standard errors wide."""
    widening = quantile**2 / num_images
    centre = accuracy + widening / 2
    spread = math.sqrt(accuracy * (1 - accuracy) * widening + widening**2 / 4)
    # At the ends the bound is known exactly; rounding would leave 1e-17 or pass 1.
    lower = 0.0 if accuracy == 0 else (centre - spread) / (1 + widening)
    upper = 1.0 if accuracy == 1 else (centre + spread) / (1 + widening)
    return lower, upper


def normal_quantile(confidence: float) -> float:
    """How many standard errors of a normal distribution lie on either side of the middle."""
    return -statistics.NormalDist().inv_cdf((1 - checked_confidence(confidence)) / 2)


def mean_interval(values: ArrayLike, *, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the mean that repeated trainings tend to, from a few seeds, by Student's t.

    Args:
        values: (num_values,) numbers, finite, at least 2: one figure a seed.
        confidence: in (0, 1).

    Returns:
        Lower and upper bound, in the unit of the values; the mean lies in the middle.

    Raises:
        InvalidValue: fewer than 2 values, one that is not finite, or a confidence out of range.

    Source:
        Student, The Probable Error of a Mean, Biometrika 6 (1908).

    Example:
        >>> lower, upper = mean_interval([0.97, 0.98, 0.99])
        >>> round(lower, 4), round(upper, 4)
        (0.9552, 1.0048)
    """
    array = checked_array(values, name="values", kinds="iuf", content="numbers")
    if array.ndim != 1 or len(array) < 2:
        raise InvalidValue(
            f"values must have shape (num_values,) with at least 2 values, as one says nothing "
            f"about the spread; got shape {array.shape}."
        )
    if not np.isfinite(array).all():
        raise InvalidValue(f"values must be finite; got {array[~np.isfinite(array)][0]}.")
    figures = [float(value) for value in array]
    quantile = student_t_quantile(confidence, degrees=len(figures) - 1)
    mean = statistics.mean(figures)
    spread = quantile * statistics.stdev(figures) / math.sqrt(len(figures))
    return mean - spread, mean + spread


def mcnemar_exact(first_correct: ArrayLike, second_correct: ArrayLike) -> float:
    """How surprising the difference of two classifiers would be if they were equally good.

    Only the images that one of them got right and the other wrong say anything.

    Args:
        first_correct: (num_images,) bool, at least 1: which images the first got right.
        second_correct: (num_images,) bool, the same images in the same order.

    Returns:
        Two-sided p-value in [0, 1]; 1 if they are right on the same images. Below 1e-308 it is 0.

    Raises:
        InvalidValue: not bool, not of one dimension, of unequal length, or empty.

    Source:
        McNemar, Note on the Sampling Error of the Difference Between Correlated Proportions,
        Psychometrika 12 (1947), with the exact binomial distribution.

    Example:
        >>> mcnemar_exact([True] * 5 + [False], [False] * 5 + [True])
        0.21875
    """
    first, second = checked_pair(first_correct, second_correct)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant, fewer = only_first + only_second, min(only_first, only_second)
    if only_first == only_second:
        return 1.0
    # The tail from its largest term downwards, in whole numbers: exact until 64 bits no longer notice.
    term = tail = math.comb(discordant, fewer)
    for successes in range(fewer, 0, -1):
        term = term * successes // (discordant - successes + 1)
        tail += term
        if term.bit_length() + 64 < tail.bit_length():
            break
    return min(1.0, tail / (1 << (discordant - 1)))


def paired_difference_interval(
    first_correct: ArrayLike, second_correct: ArrayLike, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the second classifier's accuracy minus the first's, on the same images.

    It has a width even where the two never differ, since a few images that agree do not prove equality.

    Args:
        first_correct: (num_images,) bool, at least 1: which images the first got right.
        second_correct: (num_images,) bool, the same images in the same order.
        confidence: in (0, 1).

    Returns:
        Lower and upper bound, each in [-1, 1]; above 0 the second is better.

    Raises:
        InvalidValue: not bool, of unequal length, empty, or the confidence is out of range.

    Source:
        Newcombe, Improved Confidence Intervals for the Difference Between Binomial Proportions
        Based on Paired Data, Statistics in Medicine 17, 2635-2650 (1998), method 10.

    Example:
        >>> first = [True] * 80 + [False] * 20
        >>> second = [True] * 90 + [False] * 10
        >>> lower, upper = paired_difference_interval(first, second)
        >>> round(lower, 4), round(upper, 4)
        (0.0385, 0.1702)
    """
    first, second = checked_pair(first_correct, second_correct)
    num_images, num_first, num_second = len(first), int(first.sum()), int(second.sum())
    first_lower, first_upper = wilson_interval(num_first, num_images, confidence=confidence)
    second_lower, second_upper = wilson_interval(num_second, num_images, confidence=confidence)
    first_accuracy, second_accuracy = num_first / num_images, num_second / num_images
    correlation = _paired_correlation(first, second)
    below = square_and_add(second_accuracy - second_lower, first_upper - first_accuracy, correlation)
    above = square_and_add(second_upper - second_accuracy, first_accuracy - first_lower, correlation)
    difference = (num_second - num_first) / num_images
    return max(-1.0, difference - below), min(1.0, difference + above)


def square_and_add(one: float, other: float, correlation: float) -> float:
    """How far a bound of a difference lies from it, given how far those of the two lie from them."""
    # Rounding could leave a square of -1e-20 where both are equal and fully correlated.
    return math.sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2))


def _paired_correlation(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    covariance = float(both * neither - only_first * only_second)
    if covariance > 0:
        # Method 10 shrinks a positive correlation only, by half an image in every cell.
        covariance = max(0.0, covariance - len(first) / 2)
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    return covariance / math.sqrt(margins) if margins else 0.0


@functools.lru_cache(maxsize=64)
def student_t_quantile(confidence: float, *, degrees: int) -> float:
    """The t at which a fraction `confidence` lies between -t and t, by bisection."""
    checked_confidence(confidence)
    upper = 1.0
    while _outside(upper, degrees) > 1 - confidence:
        upper *= 2
    lower = 0.0
    while lower < (middle := (lower + upper) / 2) < upper:
        lower, upper = (middle, upper) if _outside(middle, degrees) > 1 - confidence else (lower, middle)
    return upper


def _outside(t: float, degrees: int) -> float:
    """Probability that Student's t lies outside [-t, t].

    It is the regularised incomplete beta function I_x(degrees / 2, 1/2) at
    x = degrees / (degrees + t^2), Abramowitz and Stegun 26.7.1 and 26.5.27.
    """
    near, far = degrees / (degrees + t * t), t * t / (degrees + t * t)
    if far <= 0 or near <= 0:
        return 1.0 if far <= 0 else 0.0
    half = degrees / 2
    scale = math.lgamma(half + 0.5) - math.lgamma(half) - math.lgamma(0.5)
    # log1p keeps the digits that log(near) loses when near is almost 1.
    front = math.exp(scale - half * math.log1p(t * t / degrees) + 0.5 * math.log(far))
    if near < (half + 1) / (half + 2.5):
        return front * _beta_fraction(half, 0.5, near) / half
    return 1 - front * _beta_fraction(0.5, half, far) / 0.5


def _beta_fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function, Abramowitz and Stegun 26.5.8, by Lentz's method."""
    upper, lower = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = lower
    for step in range(1, 500):
        even = step * (b - step) * x / ((a + 2 * step - 1) * (a + 2 * step))
        odd = -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1))
        before = value
        for coefficient in (even, odd):
            lower, upper = 1 / (1 + coefficient * lower), 1 + coefficient / upper
            value *= lower * upper
        if abs(value - before) <= 1e-16 * abs(value):
            break
    return value


def checked_confidence(confidence: float) -> float:
    """The same, in (0, 1), or InvalidValue."""
    real = isinstance(confidence, numbers.Real) and not isinstance(confidence, bool)
    if not (real and 0 < confidence < 1):
        raise InvalidValue(f"confidence must be a number in (0, 1), such as 0.95; got {confidence!r}.")
    return float(confidence)


def checked_pair(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Both as arrays of booleans on the same images, or InvalidValue."""
    pair = []
    for name, values in (("first_correct", first), ("second_correct", second)):
        array = checked_array(values, name=name, kinds="b", content="True and False")
        if array.ndim != 1 or len(array) < 1:
            raise InvalidValue(f"{name} must have shape (num_images,) with at least 1 image; got shape {array.shape}.")
        pair.append(array)
    if len(pair[0]) != len(pair[1]):
        raise InvalidValue(
            f"first_correct and second_correct must be about the same images; "
            f"got {len(pair[0])} and {len(pair[1])} of them."
        )
    return pair[0], pair[1]
