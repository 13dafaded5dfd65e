"""Several networks as one: what they say together, how far they agree, and how each gets its vote."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue
from sightline.metrics.classification import checked_labels

# A row's weight never falls below this share of the mean: from 0 it could not grow again.
LEAST_WEIGHT = 1e-9
# A smaller gain in cross-entropy is rounding: the same member twice says what it says once.
LEAST_GAIN = 1e-12


def checked_votes(votes: ArrayLike, num_members: int) -> NDArray[np.float64]:
    """Votes that sum to 1.

    Args:
        votes: (num_members,), none negative and not all zero.
        num_members: at least 1.

    Returns:
        The same as shares of their sum, float64.

    Raises:
        InvalidValue: of another number, negative, not finite, all zero, or so far apart that one comes to nothing.

    Example:
        >>> checked_votes([1, 3], 2).tolist()
        [0.25, 0.75]
    """
    shares = np.asarray(votes, dtype=np.float64)
    if shares.shape != (num_members,):
        raise InvalidValue(f"there must be one weight a member, {num_members}; got {shares.size}.")
    shown = ", ".join(f"{share:g}" for share in shares[:10])
    if not (np.isfinite(shares).all() and (shares >= 0).all() and shares.any()):
        raise InvalidValue(f"the weights of members must be 0 or more, and not all 0; got {shown}.")
    # First by the largest: a sum of large weights would be infinite.
    scaled: NDArray[np.float64] = shares / shares.max()
    scaled /= scaled.sum()
    if (scaled[shares > 0] == 0).any():
        raise InvalidValue(f"the weights of members are too far apart, and the smallest comes to 0; got {shown}.")
    return scaled


def ensemble_logits(member_logits: ArrayLike, votes: ArrayLike) -> NDArray[np.float64]:
    """What several networks say together: the logarithm of the weighted mean of their probabilities.

    Args:
        member_logits: (num_images, num_members, num_classes).
        votes: (num_members,), as `checked_votes` takes them.

    Returns:
        (num_images, num_classes) float64; its softmax is that mean.

    Raises:
        InvalidValue: votes that cannot be used.

    Source:
        Lakshminarayanan, Pritzel, Blundell, Deep ensembles, arXiv 1612.01474.

    Example:
        >>> ensemble_logits([[[0.0, 0.0], [0.0, 0.0]]], [1, 1]).round(3).tolist()
        [[-0.693, -0.693]]
    """
    logits = np.asarray(member_logits, dtype=np.float64)
    shares = checked_votes(votes, logits.shape[1])
    heard = logits[:, shares > 0]
    gaps = heard - heard.max(axis=2, keepdims=True)
    logs = gaps - np.log(np.exp(gaps).sum(axis=2, keepdims=True)) + np.log(shares[shares > 0])[:, None]
    top = logs.max(axis=1, keepdims=True)
    together: NDArray[np.float64] = np.log(np.exp(logs - top).sum(axis=1)) + top[:, 0]
    return together


def bootstrap_counts(
    labels: NDArray[np.int64], groups: NDArray[np.str_] | None, *, seed: tuple[int, ...]
) -> NDArray[np.int64]:
    """How often each row is drawn, when as many are drawn with replacement as there are; groups are drawn whole.

    Args:
        labels: (num_images,) int64. A class that the draw lacks is put in with one of its rows, and that row's group.
        groups: (num_images,) strings, or None where each row stands for itself.
        seed: whole numbers of 0 or more; the same give the same draw.

    Returns:
        (num_images,) int64, every class among them; a row of 0 is out of the bag, and so is its whole group.

    Source:
        Breiman, Bagging predictors, Machine Learning 24 (1996).

    Example:
        >>> int(bootstrap_counts(np.array([0, 1, 0, 1]), None, seed=(0,)).sum())
        4
    """
    members = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    num_groups = int(members.max()) + 1 if len(members) else 0
    draw = np.random.default_rng(seed)
    drawn = np.bincount(draw.integers(0, max(num_groups, 1), num_groups), minlength=num_groups)
    for label in np.unique(labels):
        own = members[labels == label]
        if not drawn[own].any():
            drawn[draw.choice(own)] += 1
    return drawn[members].astype(np.int64)


def samme_vote(error: float, *, num_classes: int, num_images: int) -> float:
    """The vote of a member of a boosted ensemble.

    Args:
        error: weighted share of the train rows that it gets wrong, in [0, 1].
        num_classes: at least 2.
        num_images: train rows. A member without errors would have an infinite vote; it is counted
            as if it had half an image wrong.

    Returns:
        Positive if it is better than guessing; finite.

    Source:
        Zhu, Zou, Rosset, Hastie, Multi-class AdaBoost, Statistics and Its Interface 2 (2009), SAMME.

    Example:
        >>> samme_vote(0.5, num_classes=2, num_images=100)
        0.0
    """
    least = 0.5 / num_images
    bounded = min(max(error, least), 1 - least)
    return math.log((1 - bounded) / bounded) + math.log(num_classes - 1)


def samme_weights(weights: NDArray[np.float64], is_wrong: NDArray[np.bool_], vote: float) -> NDArray[np.float64]:
    """What each row counts for the next member: more where this one was wrong.

    Args:
        weights: (num_images,), positive.
        is_wrong: (num_images,).
        vote: of the member, from `samme_vote`.

    Returns:
        (num_images,) float64 with mean 1.

    Source:
        As `samme_vote`.

    Example:
        >>> samme_weights(np.ones(4), np.array([True, False, False, False]), np.log(3.0)).round(3).tolist()
        [2.0, 0.667, 0.667, 0.667]
    """
    # In logarithms: votes of many members would overflow.
    logs = np.log(weights) + vote * is_wrong
    grown = np.exp(logs - logs.max())
    scaled: NDArray[np.float64] = np.maximum(grown / grown.mean(), LEAST_WEIGHT)
    return scaled


def selection_course(
    member_logits: ArrayLike, labels: ArrayLike, *, most: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Votes for members by forward selection: always the one that lowers the cross-entropy of the ensemble most.

    A member may be chosen again, which gives it more weight; selection ends where nothing lowers the cross-entropy.

    Args:
        member_logits: (num_images, num_members, num_classes).
        labels: (num_images,) int64.
        most: how many are chosen at most, at least 1.

    Returns:
        The chosen member of each step, (num_steps,) int64; and the cross-entropy of the ensemble after it, in
        nats, (num_steps,) float64, falling.

    Raises:
        InvalidValue: labels that do not belong to the logits.

    Source:
        Caruana, Niculescu-Mizil, Crew, Ksikes, Ensemble selection from libraries of models, ICML 2004.

    Example:
        >>> order, losses = selection_course([[[2.0, 0.0], [0.0, 2.0]]], [0], most=3)
        >>> order.tolist(), losses.round(3).tolist()
        ([0], [0.127])
    """
    logits = np.asarray(member_logits, dtype=np.float64)
    given = checked_labels(labels, num_images=len(logits), num_classes=logits.shape[2])
    # Of what a member says only the probability of the given class counts: (num_images, num_members), logarithms.
    top = logits.max(axis=2)
    logs = logits[np.arange(len(given)), :, given] - top - np.log(np.exp(logits - top[:, :, None]).sum(axis=2))
    order: list[int] = []
    losses: list[float] = []
    total = np.full((len(given), 1), -np.inf)
    while len(order) < most:
        grown = np.logaddexp(total, logs)
        tried = np.log(len(order) + 1) - grown.mean(axis=0)
        best = int(np.argmin(tried))
        if not tried[best] < (losses[-1] - LEAST_GAIN if losses else np.inf):
            break
        order.append(best)
        losses.append(float(tried[best]))
        total = grown[:, best : best + 1]
    return np.array(order, np.int64), np.array(losses)
