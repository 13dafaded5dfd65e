"""From Predictions to figures, and figures as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import InvalidValue
from sightline.metrics.answers.decisions import class_intervals_of, confusion_of, is_right
from sightline.metrics.answers.label_rows import average_precisions_of
from sightline.metrics.calibration.reliability import Reliability
from sightline.metrics.classification import most_confused, precision_recall_f1
from sightline.metrics.figures import (
    FIGURES,
    MeasuredFigures,
    plain,
    reliability_of,
)
from sightline.metrics.grouped import num_groups
from sightline.metrics.intervals import USUAL_LEVEL, checked_confidence
from sightline.metrics.multi_label.counting import label_figures
from sightline.records import Evaluation, Figure, Predictions, Run
from sightline.system.text import counted
from sightline.tasks.table import has_several_labels


def score(
    predictions: Predictions,
    *,
    interval_level: float = USUAL_LEVEL,
    kept: Mapping[str, Figure] = MappingProxyType({}),
) -> Evaluation:
    """All figures of predictions whose labels are known; rows with an error are counted and left out.

    A figure and its interval are computed when they are first asked for; those in `kept` are taken as they are.

    Raises:
        InvalidValue: no labels, no readable image, or a level outside (0, 1).

    Example:
        >>> import numpy as np
        >>> logits = np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]], np.float32)
        >>> rows = Predictions.of("123", logits, class_names=("a", "b"), labels=np.array([0, 1, 1]))
        >>> score(rows).num_correct
        2
    """
    level = checked_confidence(interval_level, name="interval_level")
    readable = predictions.readable
    if predictions.labels is None or not readable.any():
        raise InvalidValue("an evaluation needs at least one readable image whose label is known; got none.")
    rows = predictions.take(np.flatnonzero(readable))
    confusion, right = confusion_of(rows), is_right(rows)
    several = has_several_labels(rows.task)
    precision, recall, f1 = label_figures(confusion).values() if several else precision_recall_f1(confusion)
    return Evaluation(
        class_names=rows.class_names,
        num_images=len(rows),
        num_correct=int(right.sum()),
        num_unreadable=int((~readable).sum()),
        figures=MeasuredFigures(rows, level, kept),
        confusion=confusion,
        precision=precision,
        recall=recall,
        f1=f1,
        most_confused=() if several else most_confused(confusion, rows.class_names),
        num_groups=num_groups(rows.groups),
        interval_level=level,
        class_intervals=class_intervals_of(rows, level),
        rough=_why_rough(right, rows.groups),
        reliability=reliability_of(rows, level),
        average_precision=average_precisions_of(rows).values if several else None,
    )


# With less than this, how much figures vary from draw to draw is not seen well.
_FEWEST_IMAGES, _FEWEST_WRONG, _FEWEST_GROUPS = 100, 10, 20


def _why_rough(right: NDArray[np.bool_], groups: NDArray[np.str_] | None) -> str:
    """What there is too little of, in words; "" where there is enough."""
    wrong = counted(int((~right).sum()), "wrong answer")
    if groups is not None and (count := num_groups(groups)) is not None:
        if count < _FEWEST_GROUPS:
            return f"{counted(count, 'group')}, fewer than {_FEWEST_GROUPS}"
        if (num_wrong := len(np.unique(groups[~right]))) < _FEWEST_WRONG:
            return f"{wrong} in {counted(num_wrong, 'group')}, fewer than {_FEWEST_WRONG}"
    if len(right) < _FEWEST_IMAGES:
        return f"{counted(len(right), 'image')}, fewer than {_FEWEST_IMAGES}"
    return f"{wrong}, fewer than {_FEWEST_WRONG}" if int((~right).sum()) < _FEWEST_WRONG else ""


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """The figures as plain JSON types: num_images, num_correct, accuracy, accuracy_interval and all the rest."""
    ranked = evaluation.average_precision
    per_class = [
        {
            "class_name": name,
            "num_images": int(evaluation.class_counts[label]),
            **plain({key: evaluation.class_figure(key, label) for key in ("precision", "recall", "f1")}),
            **({} if ranked is None else {"average_precision": float(ranked[label])}),
        }
        for label, name in enumerate(evaluation.class_names)
    ]
    return {
        "num_images": evaluation.num_images,
        "num_correct": evaluation.num_correct,
        "num_unreadable": evaluation.num_unreadable,
        "num_groups": evaluation.num_groups,
        "interval_level": evaluation.interval_level,
        "rough": evaluation.rough or None,
        **({} if evaluation.rows is None else {"rows": dict(evaluation.rows)}),
        **plain(evaluation.figures),
        **({} if evaluation.reliability is None else {"reliability": _plain_reliability(evaluation.reliability)}),
        **({"promises": dict(evaluation.promises)} if evaluation.promises else {}),
        **({} if evaluation.slices is None else {"slices": [one.figures() for one in evaluation.slices]}),
        "classes": per_class,
        "most_confused": [
            {"given": given, "predicted": predicted, "num_images": count}
            for given, predicted, count in evaluation.most_confused
        ],
        "confusion": evaluation.confusion.tolist(),
    }


def _plain_reliability(found: Reliability) -> dict[str, Any]:
    """As plain JSON types; the bins that hold images, from low confidences to high."""
    edges = np.linspace(0, 1, len(found.counts) + 1)
    return {
        "expected": found.expected,
        "expected_interval": list(found.expected_interval),
        "p_value": found.p_value,
        "bins": [
            {
                "from": float(edges[number]),
                "to": float(edges[number + 1]),
                "num_images": int(found.counts[number]),
                "confidence": float(found.confidences[number]),
                "accuracy": float(found.accuracies[number]),
                "expected_accuracy_interval": found.band[:, number].tolist(),
            }
            for number in np.flatnonzero(found.counts).tolist()
        ],
        "in_words": found.in_words,
    }


def brief_figures(predictions: Predictions) -> dict[str, Any] | None:
    """What is told of a member of an ensemble: images, correct ones, accuracy and its interval; None of no rows."""
    rows = predictions.take(np.flatnonzero(predictions.readable))
    if not len(rows):
        return None
    right = int(is_right(rows).sum())
    counts = {"num_images": len(rows), "num_correct": right, "num_groups": num_groups(rows.groups)}
    return {**counts, **plain({"accuracy": FIGURES["accuracy"].measure(rows)})}


def run_figures(run: Run) -> dict[str, Any]:
    """A run as `sightline train --json` prints it and metrics.json keeps it."""
    return {
        "run": str(run.path),
        "bundle": str(run.bundle.path),
        "recipe": dict(run.recipe),
        "backend": run.backend,
        "processes": run.processes,
        "epochs": len(run.history),
        "chosen_epoch": run.chosen_epoch,
        "stopped_early": run.stopped_early,
        "num_parameters": run.num_parameters,
        "validation": figures(run.validation) if run.validation else None,
        "test": figures(run.evaluation) if run.evaluation else None,
        "seconds": {name: round(value, 3) for name, value in run.seconds.items()},
        "images_per_second": round(run.images_per_second, 1),
        "stages": [dict(stage) for stage in run.stages],
        "ensemble": None if run.ensemble is None else dict(run.ensemble),
        "teacher": None if run.teacher is None else dict(run.teacher),
    }
