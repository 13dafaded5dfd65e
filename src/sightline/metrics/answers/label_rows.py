"""What the figures of images with several labels are made of: given and said labels, rankings, each label by itself."""

from __future__ import annotations

import weakref

import numpy as np
from numpy.typing import NDArray

from sightline.metrics.multi_label import counting
from sightline.metrics.multi_label.ranking import AveragePrecisions, average_precisions
from sightline.records import Predictions
from sightline.tasks.table import has_several_labels


def label_rows(rows: Predictions) -> counting.LabelRows:
    """Given and said labels of rows that are all readable and labelled."""
    said = np.asarray(rows.task.decided(rows.logits), bool)
    return counting.LabelRows(np.asarray(rows.labels, bool), said, rows.groups)


# The mean and its interval, and those of each label, are of one ranking.
_AVERAGE_PRECISIONS: weakref.WeakKeyDictionary[Predictions, AveragePrecisions] = weakref.WeakKeyDictionary()


def average_precisions_of(rows: Predictions) -> AveragePrecisions:
    """Of each label, of rows that are all readable and labelled."""
    if (known := _AVERAGE_PRECISIONS.get(rows)) is not None:
        return known
    return _AVERAGE_PRECISIONS.setdefault(rows, average_precisions(rows.logits, np.asarray(rows.labels), rows.groups))


def label_confidences(rows: Predictions) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.str_]]:
    """How sure each label of each image is, whether it is there, and what hangs together: the labels of an image do."""
    shares = rows.task.probabilities(rows.logits, temperature=rows.temperature)
    own = np.arange(len(rows)).astype(str) if rows.groups is None else rows.groups
    return shares.reshape(-1), np.asarray(rows.labels, bool).reshape(-1), np.repeat(own, shares.shape[1])


def judged_confidences(
    rows: Predictions,
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.str_] | None]:
    """How sure each answer is, whether it came true, and what hangs together; of several labels, each by itself."""
    if has_several_labels(rows.task):
        return label_confidences(rows)
    return rows.confidences, rows.task.is_right(rows.logits, np.asarray(rows.labels)), rows.groups
