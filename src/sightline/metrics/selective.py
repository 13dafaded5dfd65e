"""Selective answers: the least certainty at which the answers are wrong no more often than was asked for.

Whoever takes the lowest threshold at which few enough calibration images are wrong has chosen it by the images that
were to vouch for it, and is above what was asked for in half of all cases. So the thresholds, their order and where
to begin come from other images, the validation ones. On the calibration images they are tested one after the other,
each exactly, until the first fails: then all tests together keep their certainty.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue
from sightline.metrics.classification import checked_array, checked_count, checked_table
from sightline.metrics.conformal import exact_level, log_odds_of_best, portions
from sightline.metrics.significance import beta_binomial_cdf, binomial_cdf, binomial_window

# As many as the validation images are divided by; one more answers every image.
MOST_THRESHOLDS = 100
# The walk begins with the strictest threshold that is this share as promising as the most promising one.
_PROMISING = 0.9
# What is offered instead of a share that cannot be kept.
_ROUND = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
# Nearer to what is allowed than this a float is not trusted to say on which side it lies.
_TOO_NEAR = 1e-9
# So many answers are decided in whole numbers where that is needed, and with a certainty that is worth it; beyond, what
# lies too near does not pass.
_MOST_EXACT, _SURE_TO_PASS = 100_000, 0.999
# Less needs a thousand million images.
LEAST_MAX_ERROR = 1e-9


@dataclass(frozen=True, eq=False)
class Steps:
    """Thresholds of certainty, the strictest first, and what images that do not certify say of each.

    Attributes:
        thresholds: (num_steps,) float64, falling; an image is answered where it is at least so certain.
        num_answered: (num_steps,) int64, how many of the images each would answer.
        num_wrong: (num_steps,) int64, how many of those wrongly.
    """

    thresholds: NDArray[np.float64]
    num_answered: NDArray[np.int64]
    num_wrong: NDArray[np.int64]


@dataclass(frozen=True)
class Certified:
    """A threshold that was certified, and what it was certified by.

    Attributes:
        threshold: of certainty; -inf answers every image.
        num_answered: calibration images that it answers.
        num_wrong: those of them that it answers wrongly.
    """

    threshold: float
    num_answered: int
    num_wrong: int


def certainties_of(logits: ArrayLike) -> NDArray[np.float64]:
    """How certain each answer is: the log-odds of the most probable class, in float64, where the surest do not tie.

    Args:
        logits: (num_images, num_classes) numbers, finite; at least 1 image and 2 classes.

    Returns:
        (num_images,) float64; 0 where the class is as probable as all others together.

    Raises:
        InvalidValue: logits that are no finite table.

    Example:
        >>> certainties_of([[np.log(0.9), np.log(0.1)]]).round(4).tolist()
        [2.1972]
    """
    table = checked_table(logits, name="logits")
    found = [log_odds_of_best(table[part]) for part in portions(*table.shape)]
    return np.concatenate(found)


def steps_of(certainties: ArrayLike, is_right: ArrayLike) -> Steps:
    """Thresholds that each answer a hundredth of the images more, and one that answers every image.

    Args:
        certainties: (num_images,) finite, of validation images, higher being surer; at least 1.
        is_right: (num_images,) bool, whether the answers are right.

    Returns:
        At most 101 steps, strictly falling, the last -inf.

    Raises:
        InvalidValue: they are not one finite number and one bool for each image.

    Example:
        >>> steps = steps_of([3.0, 1.0, 2.0], [True, False, True])
        >>> steps.thresholds.tolist(), steps.num_wrong.tolist()
        ([3.0, 2.0, 1.0, -inf], [0, 0, 1, 1])
    """
    sure, right = checked_answers(certainties, is_right)
    falling = -np.sort(-sure)
    shares = np.arange(1, MOST_THRESHOLDS + 1)
    ranks = np.unique(-(-shares * len(sure) // MOST_THRESHOLDS))
    thresholds = np.append(np.unique(falling[ranks - 1])[::-1], -np.inf)
    return Steps(thresholds, *_counts(sure, right, thresholds))


def certified(
    steps: Steps, certainties: ArrayLike, is_right: ArrayLike, *, max_error: float, certainty: float = 0.95
) -> Certified | None:
    """The most permissive threshold of which calibration images show that few enough of its answers are wrong.

    Of thresholds that are too permissive, one is taken with a probability of at most 1 - `certainty`, whatever the
    network is and however its mistakes lie: the steps are tested one after the other, in an order that no calibration
    image had a part in, each by the exact binomial test, and the first that fails ends it. A step whose answers are
    so few that they prove nothing even without a mistake neither passes nor fails.

    Where the surest answers are the bad ones, testing from the strictest step down would end at once. So the steps
    before the first promising one are left out, promising by what validation images say of it.

    Args:
        steps: from validation images.
        certainties: (num_images,) finite, of calibration images.
        is_right: (num_images,) bool.
        max_error: the share of the answers that may be wrong, in (0, 1).
        certainty: that it is not exceeded, in (0, 1).

    Returns:
        The threshold with its counts, or None where none passes.

    Raises:
        InvalidValue: not one finite number and one bool for each image, or a share out of range.

    Source:
        Angelopoulos, Bates, Candes, Jordan, Lei, Learn then Test, Annals of Applied Statistics 19 (2025), section 3,
        with fixed sequence testing.

    Example:
        >>> steps = steps_of(np.arange(400.0), np.ones(400, bool))
        >>> certified(steps, np.arange(300.0), np.ones(300, bool), max_error=0.01)
        Certified(threshold=-inf, num_answered=300, num_wrong=0)
    """
    sure, right = checked_answers(certainties, is_right)
    answered, wrong = (counts.tolist() for counts in _counts(sure, right, steps.thresholds))
    found = None
    for step in range(_first_promising(steps, len(sure), max_error, certainty), len(steps.thresholds)):
        allowed = most_wrong(answered[step], max_error, certainty)
        if wrong[step] <= allowed:
            found = Certified(float(steps.thresholds[step]), answered[step], wrong[step])
        elif allowed >= 0:
            break
    return found


@lru_cache(maxsize=64)
def _first_promising(steps: Steps, num_images: int, max_error: float, certainty: float) -> int:
    """The strictest step that so many calibration images are likely to pass, by what is seen on validation images."""
    num_seen = int(steps.num_answered[-1])
    chances = np.zeros(len(steps.thresholds))
    for step, (answered, wrong) in enumerate(zip(steps.num_answered.tolist(), steps.num_wrong.tolist(), strict=True)):
        expected = answered * num_images // num_seen
        if (allowed := most_wrong(expected, max_error, certainty)) >= 0:
            # By a rate that is as uncertain as Jeffreys' prior and the validation images leave it.
            chances[step] = beta_binomial_cdf(expected, wrong + 0.5, answered - wrong + 0.5)[allowed]
    return int(np.argmax(chances >= _PROMISING * chances.max()))


def error_p_value(num_wrong: int, num_answered: int, max_error: float) -> float:
    """How probable so few wrong answers, or fewer, would be if `max_error` of all such answers were wrong.

    Args:
        num_wrong: from 0 to `num_answered`.
        num_answered: at least 0.
        max_error: in (0, 1).

    Returns:
        The binomial distribution function, in (0, 1].

    Raises:
        InvalidValue: a count or the share is out of range.

    Example:
        >>> round(error_p_value(0, 299, 0.01), 4), round(error_p_value(1, 473, 0.01), 4)
        (0.0495, 0.0498)
    """
    rate = float(exact_level(max_error, name="max_error", like=0.01))
    answered = checked_count(num_answered, name="num_answered", at_least=0)
    wrong = checked_count(num_wrong, name="num_wrong", at_least=0)
    if wrong > answered:
        raise InvalidValue(f"num_wrong must be from 0 to num_answered, {answered}; got {wrong}.")
    return float(binomial_cdf(answered, rate)[wrong])


@lru_cache(maxsize=2**14)
def most_wrong(num_answered: int, max_error: float | Fraction, certainty: float | Fraction) -> int:
    """How many of so many answers may be wrong at most for the test to pass; -1 where it does not even with none.

    Example:
        >>> [most_wrong(answered, 0.01, 0.95) for answered in (298, 299, 472, 473)]
        [-1, 0, 0, 1]
    """
    rate, allowed = exact_level(max_error, name="max_error", like=0.01), 1 - exact_level(certainty, name="certainty")
    if float(rate) < LEAST_MAX_ERROR:
        raise InvalidValue(f"max_error must be at least {LEAST_MAX_ERROR:g}; got {max_error!r}.")
    first, p_values = binomial_window(num_answered, float(rate))
    near, beyond = np.searchsorted(p_values, float(allowed) * np.array([1 - _TOO_NEAR, 1 + _TOO_NEAR])).tolist()
    if num_answered <= _MOST_EXACT and allowed < _SURE_TO_PASS:
        while near < beyond and _exact_p_value(first + near, num_answered, rate) <= allowed:
            near += 1
    return int(first + near - 1)


def _exact_p_value(num_wrong: int, num_answered: int, rate: Fraction) -> Fraction:
    hit, miss = rate.numerator, rate.denominator - rate.numerator
    ways, total = 1, 0
    for hits in range(num_wrong + 1):
        total += ways * hit**hits * miss ** (num_answered - hits)
        ways = ways * (num_answered - hits) // (hits + 1)
    return Fraction(total, rate.denominator**num_answered)


def fewest_answered(max_error: float | Fraction, certainty: float | Fraction = 0.95, *, num_wrong: int = 0) -> int:
    """How many calibration images must be answered at least, so many of them wrongly, for a threshold to pass.

    Args:
        max_error: in (0, 1).
        certainty: in (0, 1).
        num_wrong: at least 0.

    Raises:
        InvalidValue: a share or the count is out of range.

    Example:
        >>> [fewest_answered(0.01, num_wrong=wrong) for wrong in (0, 1, 2)]
        [299, 473, 628]
    """
    fails = checked_count(num_wrong, name="num_wrong", at_least=0)
    passes = fails + 1
    while most_wrong(passes, max_error, certainty) < num_wrong:
        fails, passes = passes, 2 * passes
    while passes - fails > 1:
        middle = (fails + passes) // 2
        fails, passes = (fails, middle) if most_wrong(middle, max_error, certainty) >= num_wrong else (middle, passes)
    return passes


def risk_coverage(certainties: ArrayLike, is_right: ArrayLike) -> NDArray[np.float64]:
    """What share of the answers is wrong, where the surest ones alone are given: the risk-coverage curve.

    Of images that are equally certain, any is as good as the other, and the mean over all their orders is taken.

    Args:
        certainties: (num_images,) finite; at least 1.
        is_right: (num_images,) bool.

    Returns:
        float64 (num_images,): the risk of the 1, 2, ... surest. Its mean is the area under the curve.

    Raises:
        InvalidValue: not one finite number and one bool for each image.

    Source:
        El-Yaniv and Wiener, On the Foundations of Noise-free Selective Classification, JMLR 11 (2010); Geifman,
        Uziel, El-Yaniv, Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers, ICLR (2019), for the area.

    Example:
        >>> risk_coverage([3.0, 1.0, 2.0], [True, False, True]).round(2).tolist()
        [0.0, 0.0, 0.33]
    """
    sure, right = checked_answers(certainties, is_right)
    answered, wrong = _counts(sure, right, np.unique(sure)[::-1])
    counts = np.arange(1, len(sure) + 1)
    return np.asarray(np.interp(counts, np.append(0, answered), np.append(0, wrong)) / counts)


def lowest_max_error(
    steps: Steps, certainties: ArrayLike, is_right: ArrayLike, *, above: float, certainty: float = 0.95
) -> float | None:
    """The lowest round share above another that can be kept; None where there is none up to a half.

    It is found by the calibration images, and so what is kept with that certainty where it is asked for at once, and
    with a little less where one share after the other is tried.
    """
    for share in (float(f"{digits}e{power}") for power in range(-5, 0) for digits in _ROUND):
        if above < share <= 0.5 and certified(steps, certainties, is_right, max_error=share, certainty=certainty):
            return share
    return None


def _counts(
    certainties: NDArray[np.float64], is_right: NDArray[np.bool_], thresholds: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many images each threshold answers, and how many of those wrongly."""
    order = np.argsort(certainties, kind="stable")
    wrong_below = np.append(0, np.cumsum(~is_right[order]))
    below = np.searchsorted(certainties[order], thresholds, side="left")
    return len(order) - below, wrong_below[-1] - wrong_below[below]


def checked_answers(certainties: ArrayLike, is_right: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Both as arrays of the same images, or InvalidValue."""
    sure: NDArray[Any] = checked_array(certainties, name="certainties", kinds="iuf", content="numbers")
    right: NDArray[Any] = checked_array(is_right, name="is_right", kinds="b", content="True and False")
    if sure.ndim != 1 or not len(sure) or right.shape != sure.shape or not np.isfinite(sure).all():
        raise InvalidValue(
            "certainties must be one finite number, and is_right one bool, for each of at least 1 image; got shapes "
            f"{sure.shape} and {right.shape}{'' if np.isfinite(sure).all() else ', and NaN or infinity among them'}."
        )
    return sure.astype(np.float64), right
