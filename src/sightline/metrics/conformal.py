"""Split conformal prediction: sets of classes that hold the right one as often as was asked for, on images like those.

A score says how badly a class fits an image. Of calibration images the class is known, and with it the score of the
right class. A class is in the set of a new image where it fits no worse than all but the worst of those: that holds
for the right class with the probability asked for, whatever the network is, if the images are alike.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue, pick
from sightline.metrics.classification import LARGEST_GAP, checked_array, checked_labels, checked_table
from sightline.metrics.grouped import checked_groups
from sightline.metrics.significance import beta_binomial_cdf

# Of RAPS: each class beyond the second most probable costs so much. Fixed, as what is tuned has to be tuned elsewhere
# than on the rows that certify it.
FREE_CLASSES, PENALTY = 2, 0.05
# So many are computed at once, in float64.
MOST_SCORES = 2**20


def label_scores(logits: ArrayLike, kind: str = "lac", uniforms: ArrayLike | None = None) -> NDArray[np.float64]:
    """How badly each class fits each image, higher being worse; of one image, the most probable class has the lowest.

    "lac": minus the log-odds of the class, the smallest sets on average. "aps": the probability of all more probable
    classes and a random part of its own, less one; sets grow where an image is hard. "raps": the same, and a penalty
    for each class beyond the second, against long tails.

    All are computed in float64, so that a sure network has no ties: in float32, 0.29 of the probabilities of a good
    one are exactly 1. That of APS is minus the probability of what is less probable, which keeps its digits near 0.

    Args:
        logits: (num_images, num_classes) numbers, finite; at least 1 image and 2 classes.
        kind: "lac", "aps" or "raps".
        uniforms: (num_images,) in [0, 1], drawn for each image; "lac" needs none.

    Returns:
        (num_images, num_classes) float64.

    Raises:
        InvalidValue: logits that are no finite table, an unknown kind, or not one number in [0, 1] an image.

    Source:
        Sadinle, Lei, Wasserman, Least Ambiguous Set-Valued Classifiers, JASA 114 (2019); Romano, Sesia, Candes,
        Classification with Valid and Adaptive Coverage, NeurIPS (2020); Angelopoulos, Bates, Malik, Jordan,
        Uncertainty Sets for Image Classifiers using Conformal Prediction, ICLR (2021).

    Example:
        >>> label_scores([[np.log(0.9), np.log(0.1)]]).round(4).tolist()
        [[-2.1972, 2.1972]]
        >>> label_scores([[np.log(0.9), np.log(0.1)]], "aps", [0.5]).round(4).tolist()
        [[-0.55, -0.05]]
    """
    score = pick(SCORES, kind, kind="score")
    table = checked_table(logits, name="logits")
    drawn = np.zeros(len(table))
    if kind in RANDOMISED:
        drawn = checked_array([] if uniforms is None else uniforms, name="uniforms", kinds="iuf", content="numbers")
        if drawn.shape != (len(table),) or not ((drawn >= 0) & (drawn <= 1)).all():
            raise InvalidValue(f"uniforms must be one number in [0, 1] for each of {len(table):,} images.")
    return score(_gaps(table), drawn.astype(np.float64))


def log_odds_of_best(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much more the most probable class weighs than all others together, as a logarithm.

    It is what `label_scores` gives that class by "lac", with the other sign, without the scores of all others.

    Args:
        table: (num_images, num_classes) finite logits, at least 2 classes.

    Returns:
        (num_images,) float64, below 0 where the others weigh more.
    """
    gaps = _gaps(table)
    gaps[np.arange(len(gaps)), gaps.argmax(axis=1)] = -np.inf
    return -_log_weights(gaps)


def _gaps(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each logit lies below the largest of its row."""
    with np.errstate(over="ignore"):
        gaps: NDArray[np.float64] = np.maximum(table - table.max(axis=1, keepdims=True), -LARGEST_GAP)
    return gaps


def _log_weights(others: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logarithm of what all of a row weigh together, where the best of them has -inf."""
    second = others.max(axis=1)
    # Summed from the second on: beside the best they would vanish.
    summed: NDArray[np.float64] = second + np.log(np.exp(others - second[:, None]).sum(axis=1))
    return summed


def portions(num_images: int, num_classes: int) -> Iterator[slice]:
    """Rows whose scores are computed together, so that many images and classes need no more memory than a few."""
    step = max(MOST_SCORES // max(num_classes, 1), 1)
    yield from (slice(first, first + step) for first in range(0, num_images, step))


def _negative_log_odds(gaps: NDArray[np.float64], _: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logarithm of what all other classes weigh, less that of the class itself."""
    rows, best = np.arange(len(gaps)), gaps.argmax(axis=1)
    others = gaps.copy()
    others[rows, best] = -np.inf
    rest = _log_weights(others)
    weights = np.exp(others)
    scores: NDArray[np.float64] = np.log1p(weights.sum(axis=1, keepdims=True) - weights) - gaps
    scores[rows, best] = rest
    return scores


def _less_probable(gaps: NDArray[np.float64], uniforms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minus the probability of all less probable classes and the rest of its own, so that it rises with the rank."""
    return _by_rank(gaps, uniforms, penalty=0.0)


def _penalised(gaps: NDArray[np.float64], uniforms: NDArray[np.float64]) -> NDArray[np.float64]:
    return _by_rank(gaps, uniforms, penalty=PENALTY)


def _by_rank(gaps: NDArray[np.float64], uniforms: NDArray[np.float64], *, penalty: float) -> NDArray[np.float64]:
    weights: NDArray[np.float64] = np.exp(gaps)
    order = np.argsort(-gaps, axis=1, kind="stable")
    sorted_ = np.take_along_axis(weights / weights.sum(axis=1, keepdims=True), order, axis=1)
    # Summed from the least probable on: small numbers keep their digits.
    tails = np.cumsum(sorted_[:, ::-1], axis=1)[:, ::-1]
    ranked = uniforms[:, None] * sorted_ - tails
    ranked += penalty * np.maximum(np.arange(1, gaps.shape[1] + 1) - FREE_CLASSES, 0)
    scores: NDArray[np.float64] = np.empty_like(ranked)
    np.put_along_axis(scores, order, ranked, axis=1)
    return scores


# In the order in which they are offered; the first is the usual one.
SCORES: dict[str, Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]] = {
    "lac": _negative_log_odds,
    "aps": _less_probable,
    "raps": _penalised,
}
RANDOMISED = ("aps", "raps")


def exact_level(coverage: float | Fraction, *, name: str = "coverage", like: float = 0.95) -> Fraction:
    """The level as it was typed: 0.95 is 19/20, which as a float it is not.

    Raises:
        InvalidValue: it is no number in (0, 1); NaN and text are none.

    Example:
        >>> exact_level(0.95)
        Fraction(19, 20)
    """
    is_real = isinstance(coverage, numbers.Real) and not isinstance(coverage, bool)
    if not (is_real and 0 < coverage < 1):
        raise InvalidValue(f"{name} must be a number above 0 and below 1, such as {like}; got {coverage!r}.")
    return coverage if isinstance(coverage, Fraction) else Fraction(str(coverage))


def rank_of(num_rows: int, coverage: float) -> int:
    """Which of the ascending calibration scores a class may reach: the ceil((n + 1) * coverage)-th, in rationals.

    Above `num_rows` there is no such score: see `fewest_rows`.

    Source:
        Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World (2005), chapter 2.

    Example:
        >>> rank_of(19, 0.95), rank_of(99, 0.9), rank_of(18, 0.95)
        (19, 90, 19)
    """
    return math.ceil((num_rows + 1) * exact_level(coverage))


def fewest_rows(coverage: float) -> int:
    """How many calibration rows a coverage needs at least: ceil(1 / (1 - coverage)) - 1.

    Example:
        >>> [fewest_rows(coverage) for coverage in (0.9, 0.95, 0.99, 0.995)]
        [9, 19, 99, 199]
    """
    return math.ceil(1 / (1 - exact_level(coverage))) - 1


def coverage_law(num_rows: int, coverage: float, num_images: int) -> NDArray[np.float64]:
    """How probable it is that sets hold the right class of at most 0, 1, 2, ... of so many other images.

    Both draws are in it, that of the calibration rows and that of the images: their law is beta-binomial. Where the
    most probable class is put into sets that would be empty, more are held.

    Args:
        num_rows: of the calibration, enough for the coverage.
        coverage: in (0, 1).
        num_images: at least 0, like the calibration rows.

    Returns:
        float64 (num_images + 1,), ascending to 1.

    Source:
        Vovk, Conditional Validity of Inductive Conformal Predictors, ACML (2012).

    Example:
        >>> coverage_law(19, 0.95, 1).round(2).tolist()
        [0.05, 1.0]
    """
    rank = rank_of(num_rows, coverage)
    return beta_binomial_cdf(num_images, rank, num_rows + 1 - rank)


def score_limits(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    *,
    coverage: float,
    class_names: Sequence[str],
    per_class: bool = False,
) -> NDArray[np.float64]:
    """The score that each class may reach to be in a set of that coverage, found on calibration rows.

    Of new images like these, the set of all classes whose score is at most their limit holds the right one with
    at least the probability `coverage`; per class, images of each class for themselves. Over many calibrations of n
    rows the coverage that is reached is Beta(k, n + 1 - k) with k of `rank_of`, if scores have no ties.

    Args:
        scores: (num_rows,) of the right classes, finite.
        labels: (num_rows,) the right classes.
        coverage: in (0, 1).
        class_names: of all classes.
        per_class: keep the promise for each class by itself; else for all images together.

    Returns:
        (num_classes,) float64.

    Raises:
        InvalidValue: a score is no number, the coverage is out of range, or there are too few rows for it, in all
            or of a class; the message names how many are needed.

    Example:
        >>> limits = score_limits(np.arange(19.0), np.zeros(19, int), coverage=0.9, class_names=("cat", "dog"))
        >>> limits.tolist()
        [17.0, 17.0]
    """
    least, number = fewest_rows(coverage), exact_level(coverage)
    if not np.isfinite(scores).all():
        raise InvalidValue("calibration scores must be finite; got NaN or infinity.")
    if not per_class:
        if len(scores) < least:
            raise InvalidValue(_too_few(number, least, len(scores)))
        limit = np.sort(scores)[rank_of(len(scores), coverage) - 1]
        return np.full(len(class_names), limit)
    rows = checked_labels(labels, num_images=len(scores), num_classes=len(class_names))
    counts = np.bincount(rows, minlength=len(class_names))
    if counts.min() < least:
        short = int(counts.argmin())
        raise InvalidValue(_too_few(number, least, int(counts[short]), of=f" of class '{class_names[short]}'"))
    return np.array(
        [np.sort(scores[rows == label])[rank_of(int(count), coverage) - 1] for label, count in enumerate(counts)]
    )


def _too_few(coverage: Fraction, least: int, num_rows: int, *, of: str = "") -> str:
    needed = f"a coverage of {float(coverage)} needs at least {least:,} calibration images{of}"
    highest = math.floor(1000 * num_rows / (num_rows + 1)) / 1000
    enough = f", enough for {highest:g}" if num_rows else ""
    return f"{needed}; there {'is' if num_rows == 1 else 'are'} {num_rows:,}{enough}."


def p_values(
    table: ArrayLike, scores: NDArray[np.float64], *, labels: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """How common scores at least as bad are: (1 + number of them among the calibration rows) / (rows + 1).

    A class is in the set of a coverage where its p-value is above 1 - coverage. What has to be exact compares
    `num_as_bad` with (rows + 1) * (1 - coverage) instead, in whole numbers.

    Args:
        table: (num_images, num_classes), or (num_images,) where one number is asked for an image.
        scores: (num_rows,) of the right classes of calibration rows.
        labels: (num_rows,) the right classes, to compare each column with the rows of its own class alone.

    Returns:
        The shape of `table`, each in (0, 1].

    Source:
        Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World (2005), chapter 2.

    Example:
        >>> p_values([-1.0, 3.0, 9.0], np.arange(9.0)).tolist()
        [1.0, 0.7, 0.1]
    """
    counts = num_as_bad(table, scores, labels=labels)
    rows = len(scores) if labels is None else np.bincount(labels, minlength=counts.shape[1])
    return np.asarray(counts / (rows + 1))


def num_as_bad(
    table: ArrayLike, scores: NDArray[np.float64], *, labels: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """The numerator of `p_values`: 1 and the number of calibration rows whose score is at least as bad.

    Example:
        >>> num_as_bad([-1.0, 3.0, 9.0], np.arange(9.0)).tolist()
        [10, 7, 1]
    """
    values = np.asarray(table, np.float64)
    if labels is None:
        return np.asarray(1 + len(scores) - np.searchsorted(np.sort(scores), values, side="left"))
    columns = [num_as_bad(column, scores[labels == label]) for label, column in enumerate(values.T)]
    return np.stack(columns, axis=1)


def one_of_each_group(groups: ArrayLike | None, num_images: int, *, seed: int) -> NDArray[np.int64] | None:
    """A row of each group, drawn by the seed, ascending; None where each image stands alone.

    Images of one group are right or wrong together. Counted one by one, 15 groups of 20 reach 0.88 where 0.90 was
    promised, and less than 0.85 in a quarter of cases; one of each keeps what is promised of images of new groups.

    Source:
        Dunn, Wasserman, Ramdas, Distribution-Free Prediction Sets for Two-Layer Hierarchical Models, JASA (2022).

    Example:
        >>> one_of_each_group(["a", "a", "b"], 3, seed=0).tolist()
        [0, 2]
    """
    group_of = checked_groups(groups, num_images)
    if group_of is None:
        return None
    order = np.random.default_rng(seed).permutation(num_images)
    _, first = np.unique(group_of[order], return_index=True)
    return np.sort(order[first])
