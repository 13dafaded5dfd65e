"""What figures of promises are made of: sets, unsure answers and novel images, of rows that carry them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.records import Predictions


def set_sizes(rows: Predictions) -> NDArray[np.int64]:
    """(num_images,) how many classes are in each set."""
    return np.zeros(len(rows), np.int64) if rows.sets is None else rows.sets.members.sum(axis=1)


def group_means(values: NDArray[Any], groups: NDArray[np.str_] | None) -> NDArray[np.float64]:
    """Of each group, the mean of its images; the values themselves where each image stands alone."""
    if groups is None:
        return values.astype(np.float64)
    _, numbers = np.unique(groups, return_inverse=True)
    return np.bincount(numbers, weights=values) / np.bincount(numbers)


def is_covered(rows: Predictions) -> NDArray[np.bool_]:
    """(num_images,) whether the set of each holds the right class."""
    labels = np.asarray(rows.labels)
    return np.zeros(len(rows), bool) if rows.sets is None else rows.sets.members[np.arange(len(rows)), labels]


def is_unusual(rows: Predictions) -> NDArray[np.bool_]:
    """(num_images,) whether even the most probable class fits badly."""
    return np.zeros(len(rows), bool) if rows.sets is None else rows.sets.is_unusual


def is_answered(rows: Predictions) -> NDArray[np.bool_]:
    """(num_images,) whether the answer is not marked as unsure."""
    return np.ones(len(rows), bool) if rows.unsure is None else ~rows.unsure


def is_novel(rows: Predictions) -> NDArray[np.bool_]:
    """(num_images,) whether the image is marked as unlike what was learned."""
    return np.zeros(len(rows), bool) if rows.novelty is None else rows.novelty.is_novel


def share_held(rows: Predictions) -> NDArray[np.float64]:
    """(num_images,) which share of the labels of each image its set holds; all of those of one without a label."""
    given = np.asarray(rows.labels, bool)
    held = given & (given if rows.sets is None else rows.sets.members)
    return np.asarray(np.where(given.any(axis=1), held.sum(axis=1) / np.maximum(given.sum(axis=1), 1), 1.0))
