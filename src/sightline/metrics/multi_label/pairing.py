"""Two answers to the same images with several labels: how far their micro F1 lies apart, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.metrics.grouped import quantile_of
from sightline.metrics.multi_label.counting import LabelRows

NUM_EXCHANGES = 10_000
_PORTION = 500


@dataclass(frozen=True)
class MicroDifference:
    """Micro F1 of two answers to the same images.

    Attributes:
        first: micro F1 of what is compared with; where no label was given or said, 1: nothing is missed.
        second: the same of what is compared.
        difference: of the second less that of the first.
        interval: of the difference.
        p_value: two-sided, by 10,000 exchanges of the answers to whole images, or groups.
        adjusted_p_value: by Holm, for all comparisons that are made; equal to `p_value` if there is one.
    """

    first: float
    second: float
    difference: float
    interval: tuple[float, float]
    p_value: float
    adjusted_p_value: float


def micro_difference(first: LabelRows, second: LabelRows, *, confidence: float = 0.95) -> MicroDifference:
    """The difference of the micro F1 of two answers to the same images, which have one `given` and the same groups.

    Were both equally good, the answers to each image, or each group, might as well have been exchanged: the p-value is
    the share of such exchanges after which they lie at least as far apart, 10,000 drawn from a fixed seed.

    Source:
        Yeh, More accurate tests for the statistical significance of result differences, COLING (2000).

    Example:
        >>> given = np.ones((40, 1), bool)
        >>> one, other = LabelRows(given, given), LabelRows(given, np.arange(40)[:, None] < 20)
        >>> found = micro_difference(one, other)
        >>> round(found.difference, 3), found.p_value < 0.001
        (-0.333, True)
    """
    numbers = first.numbers
    units = np.arange(len(first.given)) if numbers is None else numbers
    # (num_units, 2) hits and labels of each answer, twice and as given and said, so that their quotient is F1.
    sums: list[NDArray[np.float64]] = [
        np.stack([np.bincount(units, weights=part.sum(axis=1)).astype(np.float64) for part in rows.parts("f1")], axis=1)
        for rows in (first, second)
    ]
    shares = [_f1(part.sum(axis=0)) for part in sums]
    difference = shares[1] - shares[0]
    influences = np.zeros(len(sums[0]))
    for sign, part, share in zip((-1, 1), sums, shares, strict=True):
        influences += sign * (part[:, 0] - share * part[:, 1]) / max(part[:, 1].sum(), 1)
    num_units = len(influences)
    # As if one more had been right by one alone: where nothing differs, that is how little is known.
    variance = float((influences**2).sum()) * num_units / max(num_units - 1, 1) + num_units**-2
    half = quantile_of(numbers, confidence) * math.sqrt(variance)
    interval = (max(-1.0, difference - half), min(1.0, difference + half)) if math.isfinite(half) else (-1.0, 1.0)
    p_value = _exchanged(sums[0], sums[1], abs(difference))
    return MicroDifference(shares[0], shares[1], difference, interval, p_value, p_value)


def _f1(sums: NDArray[np.float64]) -> float:
    return float(sums[0] / sums[1]) if sums[1] else 1.0


def _exchanged(first: NDArray[np.float64], second: NDArray[np.float64], distance: float) -> float:
    """The share of exchanges that lie at least so far apart, the one that is there among them."""
    changes = second - first
    differs = changes.any(axis=1)
    if not differs.any() or not distance:
        return 1.0
    random, changes, before = np.random.default_rng(0), changes[differs], (first.sum(axis=0), second.sum(axis=0))
    num_as_far = 0
    for _ in range(NUM_EXCHANGES // _PORTION):
        moved = random.integers(0, 2, (_PORTION, len(changes))).astype(np.float64) @ changes
        one, other = before[0] + moved, before[1] - moved
        apart = other[:, 0] / np.maximum(other[:, 1], 1) - one[:, 0] / np.maximum(one[:, 1], 1)
        num_as_far += int((np.abs(apart) >= distance - 1e-12).sum())
    return (num_as_far + 1) / (NUM_EXCHANGES + 1)
