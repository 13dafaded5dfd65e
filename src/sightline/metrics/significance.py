"""Whether two differ by more than chance, by how much, and what several tests at once do."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue
from sightline.metrics.classification import checked_array
from sightline.metrics.intervals import checked_confidence, student_t_outside, wilson_interval


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust the p-values of several tests, so that the chance of any false alarm keeps its bound.

    Of twenty tests at 0.05 about one raises a false alarm. Whoever calls the
    adjusted ones below 0.05 significant raises any at all in one family of
    tests out of twenty, however the tests depend on one another.

    Args:
        p_values: (num_tests,) in [0, 1], at least 1.

    Returns:
        float64 (num_tests,) in [0, 1], in the order given: none is smaller than
        it was, and their ranks are kept. The smallest of m counts m times, the
        next m - 1 times, and none less than the one before it.

    Raises:
        InvalidValue: no value, one outside [0, 1], or not of one dimension.

    Source:
        Holm, A Simple Sequentially Rejective Multiple Test Procedure,
        Scandinavian Journal of Statistics 6 (1979).

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
        [0.03, 0.06, 0.06]
    """
    array = _checked_p_values(p_values)
    order = np.argsort(array, kind="stable")
    counts = np.arange(len(array), 0, -1)
    adjusted = np.empty(len(array), dtype=np.float64)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(counts * array[order]))
    return adjusted


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust the p-values of many tests, so that of those called significant only a share is expected to be wrong.

    Where none of them has anything to find, any false alarm is as rare as the level. That holds of independent tests,
    and of images that are compared with the same reference.

    Args:
        p_values: (num_tests,) in [0, 1], at least 1.

    Returns:
        float64 (num_tests,) in [0, 1], in the order given, their ranks kept: the lowest level at which each is called.

    Raises:
        InvalidValue: no value, one outside [0, 1], or not of one dimension.

    Source:
        Benjamini and Hochberg, Controlling the False Discovery Rate, Journal of the Royal Statistical Society B 57
        (1995); Bates, Candes, Lei, Romano, Sesia, Testing for Outliers with Conformal p-values, Annals of Statistics
        51 (2023), for images compared with one reference.

    Example:
        >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(2).tolist()
        [0.03, 0.04, 0.04]
    """
    array = _checked_p_values(p_values)
    order = np.argsort(array, kind="stable")[::-1]
    ranks = np.arange(len(array), 0, -1)
    adjusted = np.empty(len(array), dtype=np.float64)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(len(array) * array[order] / ranks))
    return adjusted


def _checked_p_values(p_values: ArrayLike) -> NDArray[np.float64]:
    array = checked_array(p_values, name="p_values", kinds="iuf", content="numbers")
    if array.ndim != 1 or len(array) < 1:
        raise InvalidValue(f"p_values must have shape (num_tests,) with at least 1 test; got shape {array.shape}.")
    wrong = array[~((array >= 0) & (array <= 1))]
    if len(wrong):
        raise InvalidValue(f"p_values must be in [0, 1]; got {wrong[0]}.")
    return array


def mcnemar_exact(first_correct: ArrayLike, second_correct: ArrayLike) -> float:
    """How surprising the difference of two classifiers would be if they were equally good.

    Only the images that one of them got right and the other wrong say anything.

    Args:
        first_correct: (num_images,) bool, at least 1: which images the first got right.
        second_correct: (num_images,) bool, the same images in the same order.

    Returns:
        Two-sided p-value in [0, 1]; 1 if they are right on the same images. Below 1e-308 it is 0.

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


def chance_of_gain(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """How likely a gain as large would be if there were none: the one-sided p-value of a paired t-test.

    Args:
        before: (num_images,) surprises.
        after: (num_images,) surprises of the same images.

    Returns:
        In [0, 1]; 1 where fewer than two images were judged, or nothing changed.
    """
    gains = np.asarray(before, np.float64) - np.asarray(after, np.float64)
    if len(gains) < 2 or not np.isfinite(gains).all():
        return 1.0
    error = float(gains.std(ddof=1)) / math.sqrt(len(gains))
    if error == 0:
        return 0.0 if gains[0] > 0 else 1.0
    t = float(gains.mean()) / error
    half = student_t_outside(abs(t), len(gains) - 1) / 2
    return half if t > 0 else 1 - half


def binomial_cdf(num_trials: int, rate: float) -> NDArray[np.float64]:
    """How probable at most 0, 1, 2, ... hits in so many trials are, each a hit with the same probability.

    Args:
        num_trials: at least 0.
        rate: in (0, 1).

    Returns:
        float64 (num_trials + 1,), ascending to 1; exact to about 1e-13.

    Example:
        >>> binomial_cdf(2, 0.5).tolist()
        [0.25, 0.75, 1.0]
    """
    first, window = binomial_window(num_trials, rate)
    return _whole(num_trials, first, window)


def binomial_window(num_trials: int, rate: float) -> tuple[int, NDArray[np.float64]]:
    """That part of `binomial_cdf` which is neither 0 nor 1, and the number of hits that it begins with.

    Of thousands of millions of trials it is all that fits into memory.
    """
    odds, mean = rate / (1 - rate), num_trials * rate
    return _cumulated(num_trials, (mean, mean * (1 - rate)), lambda hits: (num_trials - hits + 1) / hits * odds)


def beta_binomial_cdf(num_trials: int, alpha: float, beta: float) -> NDArray[np.float64]:
    """The same where the probability of a hit is itself drawn once for all trials, from Beta(alpha, beta).

    Args:
        num_trials: at least 0.
        alpha: above 0.
        beta: above 0.

    Returns:
        float64 (num_trials + 1,), ascending to 1.

    Example:
        >>> beta_binomial_cdf(3, 1, 1).tolist()
        [0.25, 0.5, 0.75, 1.0]
    """
    total, rate = alpha + beta, alpha / (alpha + beta)
    mean = num_trials * rate
    first, window = _cumulated(
        num_trials,
        (mean, mean * (1 - rate) * (total + num_trials) / (total + 1)),
        lambda hits: (num_trials - hits + 1) / hits * ((hits - 1 + alpha) / (num_trials - hits + beta)),
    )
    return _whole(num_trials, first, window)


def _cumulated(
    num_trials: int, moments: tuple[float, float], ratio: Callable[[NDArray[np.int64]], NDArray[np.float64]]
) -> tuple[int, NDArray[np.float64]]:
    """The distribution of a count of this mean and variance, by how much more probable a number is than the last.

    It is weighed from the most probable number outwards: the logarithm of a factorial would cost five digits. What
    lies 40 standard deviations off has no digit in a float64.
    """
    mean, variance = moments
    reach = 40 * math.sqrt(variance) + 60
    first, last = max(0, int(mean - reach)), min(num_trials, int(mean + reach) + 1)
    ratios = ratio(np.arange(first + 1, last + 1))
    top = int(np.concatenate([[0.0], np.cumsum(np.log(ratios))]).argmax())
    below, above = np.cumprod(1 / ratios[:top][::-1])[::-1], np.cumprod(ratios[top:])
    sums = np.cumsum(np.concatenate([below, [1.0], above]))
    return first, sums / sums[-1]


def _whole(num_trials: int, first: int, window: NDArray[np.float64]) -> NDArray[np.float64]:
    chances = np.ones(num_trials + 1)
    chances[:first] = 0
    chances[first : first + len(window)] = window
    return chances


# With fewer that differ, how often they do is hardly known, and all the less how many would tell.
FEWEST_DISCORDANT = 10
POWER = 0.8


def number_to_tell(excesses: ArrayLike, *, significance: float = 0.05) -> int | None:
    """How many images, or groups of images, would tell two classifiers apart in four of five cases.

    It takes the difference that is seen for the true one. Images that both get right, or both wrong, say nothing; of
    the others the number needed grows with the square of how evenly they are shared out.

    Args:
        excesses: (num_units,) whole numbers: of each image, 1 where the second classifier alone is right, -1 where the
            first alone is, else 0; of each group, their sum.
        significance: in (0, 1), the p-value below which a difference is told.

    Returns:
        A number of images or groups; None where both are right as often, or fewer than 10 units differ.

    Raises:
        InvalidValue: no whole numbers, or a significance out of range.

    Source:
        Connor, Sample Size for Testing Differences in Proportions for the Paired-Sample Design, Biometrics 43 (1987),
        with a step of the exact test more, as in Fleiss, Levin, Paik, Statistical Methods for Rates and Proportions
        (2003), chapter 4.

    Example:
        >>> number_to_tell([1] * 8 + [-1] * 4 + [0] * 388)
        2453
    """
    array = checked_array(excesses, name="excesses", kinds="iu", content="whole numbers")
    if array.ndim != 1 or len(array) < 1:
        raise InvalidValue(f"excesses must have shape (num_units,) with at least 1 unit; got shape {array.shape}.")
    checked_confidence(significance, name="significance")
    units = array.astype(np.int64)
    differing = units[units != 0]
    mean, mean_square = abs(float(units.mean())), float((units**2).mean())
    if mean == 0 or len(differing) < FEWEST_DISCORDANT:
        return None
    normal = statistics.NormalDist()
    under_chance = -normal.inv_cdf(significance / 2) * math.sqrt(mean_square)
    under_this = normal.inv_cdf(POWER) * math.sqrt(max(0.0, mean_square - mean**2))
    step = int(np.gcd.reduce(np.abs(differing)))
    return math.ceil((under_chance + under_this) ** 2 / mean**2 + step / mean)


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
