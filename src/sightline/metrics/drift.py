"""Whether new images are like those of a reference: two samples side by side, or a stream image by image.

Nothing is assumed of how a property is spread. What is asked of the images is that they can be exchanged for one
another if nothing has changed: that each of them says something of its own.
"""

from __future__ import annotations

import math
import statistics

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue
from sightline.metrics.classification import checked_array

# Of so many steps at most is an exact p-value the sum; beyond, both samples are large enough for the limit.
_MOST_STEPS = 5_000_000
# Counts of random divisions that are held at once.
_MOST_COUNTS = 2**20
# New values of a stream are compared with one another in portions of this size.
_PORTION = 512


def online_p_values(values: ArrayLike, reference: ArrayLike, uniforms: ArrayLike) -> NDArray[np.float64]:
    """How low each value of a stream is among the reference and all that came before it.

    Each value joins the bag: while nothing changes, the p-values are independent and uniform, whatever the values are.
    Against a reference that stays as it was they are not, and an alarm by them is false far more often than it says.

    Args:
        values: (num_images,) finite, in the order of the stream.
        reference: (num_rows,) finite; none is allowed.
        uniforms: (num_images,) in [0, 1], drawn for each image: what settles ties.

    Returns:
        (num_images,) float64 in [0, 1]; near 0 where a value is low, near 1 where it is high.

    Raises:
        InvalidValue: what is no finite number, or not one random number for each value.

    Source:
        Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World (2005), chapter 2 (smoothed, online).

    Example:
        >>> online_p_values([5.0, 0.0, 5.0], [1.0, 2.0, 3.0], [0.5, 0.5, 0.5]).round(3).tolist()
        [0.875, 0.1, 0.833]
    """
    found, bag = _finite(values, "values"), np.sort(_finite(reference, "reference"))
    drawn = _finite(uniforms, "uniforms")
    if drawn.shape != found.shape or not ((drawn >= 0) & (drawn <= 1)).all():
        raise InvalidValue(f"uniforms must be one number in [0, 1] for each of {len(found):,} values.")
    p_values = np.empty(len(found))
    for first in range(0, len(found), _PORTION):
        part = found[first : first + _PORTION]
        # Of its own portion, only what came before a value is in its bag; a value is its own equal.
        is_before = np.tri(len(part), dtype=bool)
        lower = np.searchsorted(bag, part, side="left") + (is_before & (part < part[:, None])).sum(axis=1)
        equal = np.searchsorted(bag, part, side="right") - np.searchsorted(bag, part, side="left")
        equal += (is_before & (part == part[:, None])).sum(axis=1)
        sizes = len(bag) + np.arange(1, len(part) + 1)
        p_values[first : first + len(part)] = (lower + drawn[first : first + len(part)] * equal) / sizes
        bag = np.sort(np.concatenate([bag, part]), kind="stable")
    return p_values


def online_category_p_values(categories: ArrayLike, reference: ArrayLike, uniforms: ArrayLike) -> NDArray[np.float64]:
    """As `online_p_values`, of categories: how rare each is among the reference and all that came before it.

    Args:
        categories: (num_images,) whole numbers from 0, in the order of the stream.
        reference: (num_rows,) whole numbers from 0.
        uniforms: (num_images,) in [0, 1], drawn for each image.

    Returns:
        (num_images,) float64 in [0, 1]; near 0 where a category is rare, near 1 where it is frequent.

    Raises:
        InvalidValue: what is no category, or not one random number for each.

    Source:
        As `online_p_values`, with the number of images of the own category as the value.

    Example:
        >>> online_category_p_values([1, 0], [0, 0, 0], [0.5, 0.5]).tolist()
        [0.125, 0.6]
    """
    found, known = (
        checked_array(one, name="categories", kinds="iu", content="whole numbers") for one in (categories, reference)
    )
    drawn = _finite(uniforms, "uniforms")
    if drawn.shape != found.shape or min(found.min(initial=0), known.min(initial=0)) < 0:
        raise InvalidValue("categories must be whole numbers of at least 0, with one number of uniforms for each.")
    most = int(max(found.max(initial=0), known.max(initial=0)))
    counts = np.bincount(known.astype(np.int64), minlength=most + 1)
    p_values = np.empty(len(found))
    for row, category in enumerate(found.tolist()):
        counts[category] += 1
        own = counts[category]
        lower, equal = counts[counts < own].sum(), counts[counts == own].sum()
        p_values[row] = (lower + drawn[row] * equal) / (len(known) + row + 1)
    return p_values


def simple_jumper(p_values: ArrayLike, *, jump: float = 0.01) -> NDArray[np.float64]:
    """The capital, as a logarithm, of a gambler who bets against p-values being uniform and begins with 1.

    He bets on low values, on high ones, on either by half, and not at all, and shares a part of each stake among all
    after each image. By Ville's inequality the capital ever reaches 100 in one stream of a hundred at most, if nothing
    changes.

    Args:
        p_values: (num_images,) or (num_images, num_streams) in [0, 1], of `online_p_values`.
        jump: in (0, 1), the share.

    Returns:
        The shape of `p_values`: the natural logarithm of the capital after each image.

    Raises:
        InvalidValue: no p-values, or the share is out of range.

    Source:
        Vovk, Nouretdinov, Gammerman, Testing Exchangeability On-line, ICML (2003); Vovk, Gammerman, Shafer, Algorithmic
        Learning in a Random World, second edition (2022), algorithm 8.1.

    Example:
        >>> np.exp(simple_jumper([0.5, 0.0, 0.0])).round(4).tolist()
        [1.0, 1.0, 1.1238]
    """
    found = np.asarray(checked_array(p_values, name="p_values", kinds="iuf", content="numbers"), np.float64)
    if found.ndim not in (1, 2) or not ((found >= 0) & (found <= 1)).all():
        raise InvalidValue("p_values must have shape (num_images,) or (num_images, num_streams), each in [0, 1].")
    if not 0 < jump < 1:
        raise InvalidValue(f"jump must be a number above 0 and below 1; got {jump!r}.")
    bets = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    shares = np.full((*found.shape[1:], len(bets)), 1 / len(bets))
    growth = np.empty(found.shape)
    for row, value in enumerate(found):
        shares = shares * (1 + bets * (np.asarray(value)[..., None] - 0.5))
        whole = shares.sum(axis=-1, keepdims=True)
        growth[row] = whole[..., 0]
        # Kept as shares of one: the capital itself may pass what a float64 holds.
        shares = (1 - jump) * shares / whole + jump / len(bets)
    return np.asarray(np.cumsum(np.log(growth), axis=0))


def two_sample_distance(first: ArrayLike, second: ArrayLike) -> float:
    """The largest difference of the cumulative shares of two samples of a number: 0 for equal, 1 for separate ones.

    Args:
        first: (num_first,) finite, at least 1.
        second: (num_second,) finite, at least 1.

    Raises:
        InvalidValue: a sample is empty or not of finite numbers.

    Example:
        >>> two_sample_distance([1, 2, 3], [4, 5, 6]), two_sample_distance([1, 2], [1, 2, 1, 2])
        (1.0, 0.0)
    """
    one, other = _samples(first, second)
    return _apart(one, other) / (len(one) * len(other))


def two_sample_p_value(first: ArrayLike, second: ArrayLike) -> float:
    """How surprising the distance of two samples of a number were if both were drawn alike.

    Args:
        first: (num_first,) finite, at least 1.
        second: (num_second,) finite, at least 1.

    Returns:
        Two-sided, in [0, 1]: exact without ties, with ties on the safe side; of samples whose sizes make that too
        long, that of the limit.

    Raises:
        InvalidValue: a sample is empty or not of finite numbers.

    Source:
        Kolmogorov and Smirnov, with the exact distribution of Hodges, The Significance Probability of the Smirnov
        Two-Sample Test, Arkiv for Matematik 3 (1958).

    Example:
        >>> round(two_sample_p_value([1, 2, 3], [4, 5, 6]), 4)
        0.1
    """
    one, other = _samples(first, second)
    num_one, num_other, largest = len(one), len(other), _apart(one, other)
    if largest == 0:
        return 1.0
    if (num_one + num_other) * min(num_one, num_other) > _MOST_STEPS:
        return _kolmogorov(largest / math.sqrt(num_one * num_other * (num_one + num_other)))
    return _smirnov(min(num_one, num_other), max(num_one, num_other), largest)


def _samples(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    one, other = (np.sort(_finite(values, name, at_least=1)) for values, name in ((first, "first"), (second, "second")))
    return one, other


def _apart(one: NDArray[np.float64], other: NDArray[np.float64]) -> int:
    """The largest |i / n - j / m| of two ascending samples, times n and m: counted in whole numbers."""
    both = np.concatenate([one, other])
    below_one, below_other = (np.searchsorted(sample, both, side="right") for sample in (one, other))
    return int(np.abs(below_one * len(other) - below_other * len(one)).max())


def _smirnov(few: int, many: int, largest: int) -> float:
    """The chance that a random order of `few` and `many` ever has |i / few - j / many| * few * many >= largest."""
    total, start, outside = few + many, 0, 0.0
    inside = np.ones(1)  # the chance of each `taken` of the few after a step, of orders that were never so far apart
    for step in range(1, total + 1):
        taken = np.arange(start, start + len(inside))
        moved = np.zeros(len(inside) + 1)
        moved[1:] = inside * (few - taken)
        moved[:-1] += inside * (many - (step - 1 - taken))
        moved /= total - step + 1
        low = max((step * few - largest) // total + 1 - start, 0)
        high = max(min((step * few + largest - 1) // total, few) - start + 1, low)
        # Only sums of what leaves: small chances keep their digits.
        outside += float(moved[:low].sum() + moved[high:].sum())
        inside, start = moved[low:high], start + low
    return min(1.0, outside)


def _kolmogorov(scaled: float) -> float:
    """The chance that the limit of a scaled distance is at least so large."""
    if scaled < 0.2:  # there the series takes long, and the chance differs from 1 by less than 1e-12
        return 1.0
    terms = [(-1) ** (number - 1) * math.exp(-2 * (number * scaled) ** 2) for number in range(1, 101)]
    return min(1.0, max(0.0, 2 * math.fsum(terms)))


def shares_p_value(first: ArrayLike, second: ArrayLike, *, seed: int, num_draws: int = 4_999) -> float:
    """How surprising it were that two samples have such different shares of some categories if both were drawn alike.

    The chi-square statistic of the two, among those of random divisions of both together: rare categories, for which
    the chi-square distribution would be wrong, do no harm. The same numbers and seed give the same value.

    Args:
        first: (num_categories,) counts, in all at least 1.
        second: (num_categories,) counts, in all at least 1.
        seed: of the divisions.
        num_draws: how many of them, at least 1.

    Returns:
        In [1 / (num_draws + 1), 1].

    Raises:
        InvalidValue: what is no count, or a sample is empty.

    Source:
        Phipson and Smyth, Permutation P-values Should Never Be Zero, Statistical Applications in Genetics and
        Molecular Biology 9 (2010).

    Example:
        >>> shares_p_value([50, 50], [10, 90], seed=0), shares_p_value([50, 50], [50, 50], seed=0)
        (0.0002, 1.0)
    """
    one, other = (
        checked_array(counts, name="counts", kinds="iu", content="whole numbers") for counts in (first, second)
    )
    if one.ndim != 1 or one.shape != other.shape or min(one.min(initial=0), other.min(initial=0)) < 0:
        raise InvalidValue("first and second must be as many counts of at least 0, one a category.")
    if not one.sum() or not other.sum():
        raise InvalidValue("both samples need at least 1 image.")
    both = (one + other)[(one + other) > 0].astype(np.int64)
    # Given all together, the statistic grows with this and with nothing else.
    expected = both * (int(other.sum()) / int(both.sum()))
    seen = float(((other[(one + other) > 0] - expected) ** 2 / both).sum())
    random, as_far, portion = np.random.default_rng(seed), 0, max(_MOST_COUNTS // len(both), 1)
    for done in range(0, num_draws, portion):
        size = min(portion, num_draws - done)
        drawn = random.multivariate_hypergeometric(both, int(other.sum()), size=size)
        # What is equal but for rounding is equal.
        as_far += int((((drawn - expected) ** 2 / both).sum(axis=1) >= seen * (1 - 1e-9) - 1e-12).sum())
    return (1 + as_far) / (num_draws + 1)


def visible_shift(num_first: int, num_second: int, level: float) -> float:
    """The shift, in standard deviations, that `two_sample_p_value` finds in 19 of 20 cases or more; infinity for none.

    Of normal samples, by the limit; in simulations of 50 images and more it was found in at least that many.

    Args:
        num_first: images of one sample, at least 1.
        num_second: images of the other, at least 1.
        level: below which a p-value counts, in (0, 1).

    Example:
        >>> round(visible_shift(3000, 500, 0.001), 2)
        0.34
    """
    effective = math.sqrt(num_first * num_second / (num_first + num_second))
    # The distance that the test needs, and what chance may take from it where half of each sample lies below.
    needed = math.sqrt(math.log(2 / level) / 2) / effective
    seen = needed + 0.5 * statistics.NormalDist().inv_cdf(0.95) / effective
    return math.inf if seen >= 1 else 2 * statistics.NormalDist().inv_cdf((1 + seen) / 2)


def _finite(values: ArrayLike, name: str, *, at_least: int = 0) -> NDArray[np.float64]:
    array = np.asarray(checked_array(values, name=name, kinds="iuf", content="numbers"), np.float64)
    if array.ndim != 1 or len(array) < at_least or not np.isfinite(array).all():
        shape = f"(num_images,) with at least {at_least} image" if at_least else "(num_images,)"
        raise InvalidValue(f"{name} must be finite numbers of shape {shape}; got shape {array.shape}.")
    return array
