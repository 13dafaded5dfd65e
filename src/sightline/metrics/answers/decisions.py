"""What figures of answers are made of: which are right, what was said and what was given, and in what order."""

from __future__ import annotations

import weakref
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sightline.metrics.answers.label_rows import label_rows
from sightline.metrics.classification import confusion_matrix, macro_f1
from sightline.metrics.multi_label import counting
from sightline.metrics.uncertainty.macro import DecidedRows, class_intervals, macro_f1_interval
from sightline.metrics.uncertainty.ranking import Ranking
from sightline.records import Predictions
from sightline.tasks.table import has_several_labels


def is_right(rows: Predictions) -> NDArray[np.bool_]:
    """Whether each answer is the given one; of rows that are all readable and labelled."""
    return rows.task.is_right(rows.logits, np.asarray(rows.labels))


def confusion_of(rows: Predictions) -> NDArray[np.int64]:
    """(num_classes, num_classes) counts of rows that are all readable and labelled; row the given class.

    Where an image may have several labels (num_classes, 2, 2), see `sightline.metrics.multi_label.counting`.
    """
    if has_several_labels(rows.task):
        found = label_rows(rows)
        return counting.confusions(found.given, found.said)
    decided = rows.task.decided(rows.logits)
    return confusion_matrix(np.asarray(rows.labels), decided, num_classes=len(rows.class_names))


def class_intervals_of(rows: Predictions, level: float) -> Mapping[str, NDArray[np.float64]]:
    """See `sightline.metrics.uncertainty.macro.class_intervals`; of rows that are all readable and labelled."""
    if has_several_labels(rows.task):
        found = label_rows(rows)
        return {kind: counting.label_intervals(found, kind, confidence=level) for kind in counting.KINDS}
    return class_intervals(decided_rows(rows), confidence=level)


def decided_rows(rows: Predictions) -> DecidedRows:
    """Given and said classes of rows that are all readable and labelled."""
    decided = rows.task.decided(rows.logits)
    return DecidedRows(np.asarray(rows.labels), decided, len(rows.class_names), rows.groups)


# The value and the interval are of one ranking, which takes long of many classes.
_RANKINGS: weakref.WeakKeyDictionary[Predictions, Ranking] = weakref.WeakKeyDictionary()


def ranking_of(rows: Predictions) -> Ranking:
    """Of each class against all others; of two classes of the second, as of the first it is the same."""
    if (known := _RANKINGS.get(rows)) is not None:
        return known
    probabilities = rows.task.probabilities(rows.logits, temperature=rows.temperature)
    labels, num_classes = np.asarray(rows.labels), len(rows.class_names)
    classes = [1] if num_classes == 2 and not has_several_labels(rows.task) else range(num_classes)
    found = Ranking((probabilities[:, number], rows.task.is_of(labels, number)) for number in classes)
    return _RANKINGS.setdefault(rows, found)


def macro_f1_of(rows: Predictions) -> float:
    """The mean F1 over the classes that occur, of rows that are all readable and labelled."""
    if has_several_labels(rows.task):
        return counting.macro(label_rows(rows), "f1")
    return macro_f1(confusion_of(rows))


def macro_f1_interval_of(rows: Predictions, level: float) -> tuple[float, float]:
    """The interval of `macro_f1_of`."""
    if has_several_labels(rows.task):
        return counting.macro_interval(label_rows(rows), "f1", confidence=level)
    return macro_f1_interval(decided_rows(rows), confidence=level)
