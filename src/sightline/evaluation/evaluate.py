"""Predictions to Evaluation: the figures, accuracy with its interval."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from sightline.bundles.bundle import load_bundle
from sightline.bundles.prediction import match_labels, predict_dataset
from sightline.data.inputs.pixels import Pixels, read_pixels
from sightline.data.sources.loading import open_again
from sightline.errors import InvalidValue
from sightline.evaluation.judging import choose_rows, in_words, recorded_source
from sightline.metrics.calibration import expected_calibration_error
from sightline.metrics.classification import (
    balanced_accuracy,
    confusion_matrix,
    cross_entropy,
    macro_f1,
    most_confused,
    precision_recall_f1,
    softmax,
)
from sightline.metrics.grouped import accuracy_interval, num_groups
from sightline.records import Bundle, Evaluation, Predictions, Run
from sightline.reporting.charts.canvas import check_drawable
from sightline.reporting.charts.confusion import confusion_png
from sightline.reporting.sheets.sheets import mistakes_sheet
from sightline.system.files import check_free, write_atomically, write_json
from sightline.system.outputs import places_of
from sightline.system.progress import reporter

# Of a member of an ensemble no more is told.
BRIEF = ("num_images", "num_correct", "accuracy", "accuracy_interval")


def score(predictions: Predictions) -> Evaluation:
    """All figures of predictions whose labels are known.

    Args:
        predictions: with labels; rows with an error are counted and left out.

    Returns:
        The Evaluation.

    Raises:
        InvalidValue: no labels, or no readable image.

    Example:
        >>> import numpy as np
        >>> logits = np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]], np.float32)
        >>> rows = Predictions(("a", "b"), ("1", "2", "3"), logits, 1.0, np.array([0, 1, 1]), (None,) * 3, (None,) * 3)
        >>> score(rows).num_correct
        2
    """
    readable = predictions.readable
    if predictions.labels is None or not readable.any():
        raise InvalidValue("an evaluation needs at least one readable image whose label is known; got none.")
    logits, labels = predictions.logits[readable], predictions.labels[readable]
    confusion = confusion_matrix(labels, logits.argmax(axis=1), num_classes=len(predictions.class_names))
    num_correct, num_images = int(np.trace(confusion)), len(labels)
    groups = None if predictions.groups is None else predictions.groups[readable]
    precision, recall, f1 = precision_recall_f1(confusion)
    probabilities = softmax(logits, temperature=predictions.temperature)
    return Evaluation(
        class_names=predictions.class_names,
        num_images=num_images,
        num_correct=num_correct,
        num_unreadable=int((~readable).sum()),
        accuracy=num_correct / num_images,
        accuracy_interval=accuracy_interval(logits.argmax(axis=1) == labels, groups),
        balanced_accuracy=balanced_accuracy(confusion),
        cross_entropy=cross_entropy(logits, labels, temperature=predictions.temperature),
        calibration_error=expected_calibration_error(probabilities, labels),
        confusion=confusion,
        precision=precision,
        recall=recall,
        f1=f1,
        macro_f1=macro_f1(confusion),
        most_confused=most_confused(confusion, predictions.class_names),
        num_groups=num_groups(groups),
    )


def evaluate(
    bundle: str | Path | Bundle | Run,
    source: Any = None,
    *,
    split: str | None = None,
    out: str | Path | None = None,
) -> Evaluation:
    """Measure a bundle on a labelled source, classes matched by name.

    Args:
        bundle: a bundle or a run, or its folder.
        source: whatever `sightline.load` takes; left out, the source the run was trained on, if the bundle lies in
            its run.
        split: "train", "validation", "calibration", "test" or "all". Left out: what the bundle did not learn from:
            the run's test rows, found by their content wherever they lie, and images that it does not know; of a
            source that gives test rows of its own, among those.
        out: a folder for metrics.json, confusion.png and mistakes.png; must be free, and outside the source.

    Returns:
        The figures; `rows` says which were judged and left out, and how they were told apart.

    Raises:
        InvalidBundle: the bundle cannot be used.
        InvalidValue: a class the bundle does not know, or a split without rows.
        UnknownName, InvalidSource: the source cannot be opened, or the bundle learned from all of it.
        OutputExists: `out` is taken.
        MissingPackage: `out` is given and matplotlib is not installed.

    Example:
        >>> evaluate("nowhere", "mnist")
        Traceback (most recent call last):
        sightline.errors.InvalidBundle: nowhere: no such folder. Name a run or a bundle, ...
    """
    opened = load_bundle(bundle.bundle if isinstance(bundle, Run) else bundle)
    named = recorded_source(opened) if source is None else source
    folder = Path(out) if out is not None else None
    if folder is not None:
        check_free(folder, keep=places_of(named))
        check_drawable()
    dataset = open_again(named, opened.metrics.get("source", {}))
    if not set(opened.class_names).intersection(dataset.class_names):
        match_labels(opened.class_names, dataset, np.arange(len(dataset)))  # refuses before anything is decoded
    choice = choose_rows(opened, dataset, split)
    rows = choice.rows
    reporter().say(f"{dataset.name}: {in_words(choice.told)}")
    predictions = predict_dataset(opened, dataset, rows, pixels=choice.pixels)
    predictions = dataclasses.replace(predictions, groups=choice.groups)
    for row_id, error in zip(predictions.row_ids, predictions.errors, strict=True):
        if error is not None:
            reporter().say(f"{row_id}: {error}")
    evaluation = dataclasses.replace(score(predictions), rows={**choice.told, "in_words": in_words(choice.told)})
    if folder is not None:
        write_json(folder / "metrics.json", figures(evaluation))
        draw(folder, evaluation, predictions, read_pixels(dataset.take(rows), opened.input))
    return evaluation


def draw(folder: Path, evaluation: Evaluation, predictions: Predictions, images: Pixels) -> None:
    """Write `confusion.png` and `mistakes.png` into a folder.

    Args:
        folder: made if it is missing.
        evaluation: of these predictions.
        predictions: with labels.
        images: a row a prediction; only those that are drawn are read.

    Raises:
        MissingPackage: matplotlib is not installed.
        CannotWrite: the disk is full or read-only.

    Example:
        >>> import inspect
        >>> list(inspect.signature(draw).parameters)
        ['folder', 'evaluation', 'predictions', 'images']
    """
    write_atomically(folder / "confusion.png", confusion_png(evaluation))
    readable = np.flatnonzero(predictions.readable)
    labels = np.asarray(predictions.labels)[readable]
    logits = predictions.logits[readable]
    sheet = mistakes_sheet(
        images.take(readable),  # type: ignore[arg-type]  # a lazy sequence: only what is drawn is read
        labels,
        predicted=logits.argmax(axis=1),
        confidences=softmax(logits, temperature=predictions.temperature).max(axis=1),
        class_names=predictions.class_names,
    )
    write_atomically(folder / "mistakes.png", sheet)


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """The figures as plain JSON types, the short form first.

    Args:
        evaluation: from `score`.

    Returns:
        num_images, num_correct, accuracy, accuracy_interval, cross_entropy and all the rest.

    Raises:
        Nothing.

    Example:
        >>> import numpy as np
        >>> logits = np.array([[2.0, 0.0], [0.0, 2.0]], np.float32)
        >>> rows = Predictions(("a", "b"), ("1", "2"), logits, 1.0, np.array([0, 1]), (None,) * 2, (None,) * 2)
        >>> figures(score(rows))["accuracy"]
        1.0
    """
    per_class = [
        {
            "class_name": name,
            "num_images": int(evaluation.confusion[label].sum()),
            "precision": float(evaluation.precision[label]),
            "recall": float(evaluation.recall[label]),
            "f1": float(evaluation.f1[label]),
        }
        for label, name in enumerate(evaluation.class_names)
    ]
    return {
        "num_images": evaluation.num_images,
        "num_correct": evaluation.num_correct,
        "num_unreadable": evaluation.num_unreadable,
        "num_groups": evaluation.num_groups,
        **({} if evaluation.rows is None else {"rows": dict(evaluation.rows)}),
        "accuracy": evaluation.accuracy,
        "accuracy_interval": list(evaluation.accuracy_interval),
        "cross_entropy": evaluation.cross_entropy,
        "balanced_accuracy": evaluation.balanced_accuracy,
        "macro_f1": evaluation.macro_f1,
        "calibration_error": evaluation.calibration_error,
        "classes": per_class,
        "most_confused": [
            {"given": given, "predicted": predicted, "num_images": count}
            for given, predicted, count in evaluation.most_confused
        ],
        "confusion": evaluation.confusion.tolist(),
    }


def brief_figures(predictions: Predictions) -> dict[str, Any] | None:
    """What is told of a member of an ensemble: counts, and accuracy with its interval.

    Args:
        predictions: with labels.

    Returns:
        num_images, num_correct, accuracy, accuracy_interval; None of no rows.

    Raises:
        InvalidValue: no labels, or no readable image.

    Example:
        >>> import numpy as np
        >>> logits = np.array([[2.0, 0.0], [0.0, 2.0]], np.float32)
        >>> rows = Predictions(("a", "b"), ("1", "2"), logits, 1.0, np.array([0, 0]), (None,) * 2, (None,) * 2)
        >>> brief_figures(rows)["num_correct"]
        1
    """
    if not len(predictions):
        return None
    alone = figures(score(predictions))
    return {key: alone[key] for key in BRIEF}
