"""Which train rows stand for what was learned: a few of each class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.records import Dataset, InputSpec

# The first so many are what new images are compared with one by one.
NUM_REFERENCES = 1_000
# The mean of fewer images is nearly one of them.
FEWEST_OF_A_MEAN = 5
# So many are looked at, or fewer where images are large: a second or half a minute, for LeNet and for Lite0 at 224 px.
_MOST_ROWS, _MOST_PIXELS = 2_000, 50_000_000


def reference_rows(
    dataset: Dataset, train: NDArray[np.int64], spec: InputSpec, *, seed: int, may_travel: bool = True
) -> NDArray[np.int64]:
    """From 1,000 to 2,000 of the train rows, drawn by the seed, or all: one of each class, then a second, and so on.

    Where images must not travel, as many more as it takes to have a mean of several of each class.
    """
    most = int(np.clip(_MOST_PIXELS // (spec.height * spec.width), NUM_REFERENCES, _MOST_ROWS))
    if not may_travel:
        most = max(most, FEWEST_OF_A_MEAN * len(dataset.class_names))
    drawn = np.random.default_rng(seed).permutation(train)
    labels = dataset.task.strata(dataset.labels[drawn])
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order])
    turns = np.empty(len(drawn), np.int64)
    turns[order] = np.arange(len(drawn)) - starts
    return drawn[np.argsort(turns, kind="stable")][:most]
