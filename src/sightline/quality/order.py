"""Whether images that follow one another are alike: pictures that came in bursts are fewer than their number says."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.quality.findings import Finding
from sightline.records import Dataset

FEWEST: Final = 20
"""Smaller classes are not looked at."""
# In standard errors, so that by chance it is said once in 500 million sources; and a correlation that matters.
_SURE, _WORTH = 6.0, 0.25


def order_findings(
    dataset: Dataset, measured: dict[str, NDArray[np.floating]], looked: NDArray[np.bool_]
) -> list[Finding]:
    """A note where neighbours in the order of the source are alike in one of the measures, class by class.

    Args:
        dataset: the rows, in its order.
        measured: what it is called to (num_images,) numbers.
        looked: (num_images,) False for what cannot be read.
    """
    told = []
    for words, values in measured.items():
        correlation, errors = serial_correlation(values[looked], dataset.labels[looked])
        if errors > _SURE and correlation >= _WORTH:
            told.append((correlation, words))
    if not told:
        return []
    correlation, words = max(told)
    detail = (
        f"within a class, images that follow one another are alike in {words} (correlation {correlation:.2f}): they "
        "may come in series, of one object or one day"
    )
    return [Finding("order", "note", (), detail)]


def serial_correlation(values: NDArray[np.floating], labels: NDArray[np.int64]) -> tuple[float, float]:
    """How alike neighbours of one class are, and how many standard errors that is above chance.

    Source:
        Bartels, The Rank Version of von Neumann's Ratio Test for Randomness, JASA 77 (1982), summed over classes.
    """
    excess, variance, count = 0.0, 0.0, 0
    for label in np.unique(labels).tolist():
        own = values[labels == label]
        if len(own) < FEWEST:
            continue
        ranks = _ranks(own)
        around = float(np.square(ranks - ranks.mean()).sum())
        if not around:
            continue
        excess += len(own) * (2 - float(np.square(np.diff(ranks)).sum()) / around)
        variance += len(own) ** 2 * 4 / len(own)
        count += len(own)
    if not count:
        return 0.0, 0.0
    return excess / count / 2, excess / math.sqrt(variance)


def _ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """From the lowest to the highest; equal ones share the mean, or their order alone would make them alike."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[group], np.float64)
