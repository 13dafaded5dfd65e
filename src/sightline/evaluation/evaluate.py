"""`evaluate`: a bundle on labelled images, its figures and its pictures."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.bundle import load_bundle
from sightline.bundles.prediction import match_labels, predict_dataset
from sightline.bundles.trust.abstention import USUAL_CERTAINTY
from sightline.bundles.trust.details import Asked, detail_makers, with_promises
from sightline.bundles.trust.sets import USUAL_SCORE
from sightline.data.inputs.pixels import Pixels, read_pixels
from sightline.data.sources.loading import open_again
from sightline.errors import MissingPackage
from sightline.evaluation.measuring.judging import choose_rows, in_words, recorded_source
from sightline.evaluation.measuring.kept_classes import learned_source
from sightline.evaluation.measuring.scoring import figures, score as measured
from sightline.evaluation.slicing.finding import find_slices
from sightline.metrics.answers.decisions import is_right
from sightline.metrics.intervals import USUAL_LEVEL, checked_confidence
from sightline.metrics.selective import certainties_of, risk_coverage
from sightline.records import Bundle, Dataset, Evaluation, InputSpec, Predictions, Run
from sightline.reporting.charts.canvas import check_drawable
from sightline.reporting.charts.confusion import confusion_png
from sightline.reporting.charts.reliability import reliability_png
from sightline.reporting.charts.risk_coverage import risk_coverage_png
from sightline.reporting.sheets.sheets import mistakes_sheet
from sightline.system.files import check_free, staged_files, write_atomically, write_json
from sightline.system.paths import places_of
from sightline.system.progress import reporter
from sightline.system.text import printable
from sightline.tasks.table import has_several_labels


def evaluate(  # noqa: PLR0913  # each is an option of the command line, and none is a group of others
    bundle: str | Path | Bundle | Run,
    source: Any = None,
    *,
    split: str | None = None,
    out: str | Path | None = None,
    coverage: float | None = None,
    per_class: bool = False,
    score: str = USUAL_SCORE,
    max_error: float | None = None,
    novelty: float | None = None,
    certainty: float = USUAL_CERTAINTY,
    slices: bool = False,
    slice_table: str | Path | None = None,
    interval_level: float = USUAL_LEVEL,
) -> Evaluation:
    """Measure a bundle on a labelled source, classes matched by name.

    Args:
        bundle: a bundle or a run, or its folder.
        source: whatever `sightline.load` takes; left out, the source the run was trained on, if the bundle lies in
            its run.
        split: "train", "validation", "calibration", "test" or "all". Left out: what the bundle did not learn from:
            the run's test rows, found by their content wherever they lie, and images that it does not know; of a
            source that gives test rows of its own, among those.
        out: a folder for metrics.json, confusion.png, reliability.png, risk_coverage.png and mistakes.png; must be
            free, and outside the source.
        coverage: as `sightline.predict` takes it: how often sets of that coverage hold the right class, and how large
            they are, is measured, too.
        per_class: as `sightline.predict` takes it.
        score: as `sightline.predict` takes it.
        max_error: as `sightline.predict` takes it: what share is answered then, and how often rightly, is measured.
        novelty: as `sightline.predict` takes it: which share of these images is marked, all of them false alarms where
            they are like the calibration images, is measured, too.
        certainty: as `sightline.predict` takes it.
        slices: whether parts of the images are judged, too, by class (or label, of which each of an image counts, an
            answer being wrong where one of its labels is), group, size, brightness, sharpness, file kind and
            clusters that were found on validation rows: which are wrong more often than the rest, by more than chance.
        slice_table: a CSV with a column `file`, whose other columns make parts, too.
        interval_level: of all intervals: at 0.95 they hold the truth in 95 of 100 such evaluations.

    Returns:
        The figures; `rows` says which were judged and left out, and how they were told apart, `promises` what
        sets and answers were to keep, `slices` which parts of the images are worse.

    Raises:
        InvalidBundle: the bundle cannot be used, or was made without calibration images and cannot promise anything.
        InvalidValue: a class the bundle does not know, or a split without rows; a coverage, a max_error or a level
            that is none; a promise that needs more calibration images than there are.
        UnknownName, InvalidSource: the source cannot be opened, or the bundle learned from all of it.
        OutputExists: `out` is taken.
        MissingPackage: `out` is given and matplotlib is not installed.

    Example:
        >>> import sightline
        >>> figures = sightline.evaluate("runs/mnist-fast-001")
        >>> figures
        accuracy 0... [0..., 0...] on ... images
        >>> figures.rows["in_words"]
        'judged on ... test; left out ... train, ... validation, ... calibration (told apart by splits.csv)'
        >>> print(sightline.evaluate("runs/mnist-fast-001", coverage=0.9).figures["coverage"])
        coverage ... [..., ...]
    """
    checked_confidence(interval_level, name="interval_level")
    opened = load_bundle(bundle.bundle if isinstance(bundle, Run) else bundle)
    makers = detail_makers(opened, Asked(coverage, per_class, score, max_error, certainty, novelty))
    named = recorded_source(opened) if source is None else source
    folder = Path(out) if out is not None else None
    if folder is not None:
        check_free(folder, keep=places_of(named))
        check_drawable()
    dataset = learned_source(opened) if source is None else open_again(named, opened.metrics.get("source", {}))
    if not set(opened.class_names).intersection(dataset.class_names):
        match_labels(opened.class_names, dataset, np.arange(len(dataset)))  # refuses before anything is decoded
    choice = choose_rows(opened, dataset, split)
    rows = choice.rows
    reporter().say(f"{dataset.name}: {in_words(choice.told)}")
    if makers and (count := choice.told["judged"].get("calibration")):
        choice.told["notes"].append(
            f"{count:,} of these images are those that the promise rests on: on them any network keeps it"
        )
    if makers and (count := sum(choice.told["judged"].get(name, 0) for name in ("train", "validation"))):
        choice.told["notes"].append(
            f"{count:,} of these images are those that the network learned from or was chosen by: what is measured of "
            "a promise on them flatters"
        )
    predictions = predict_dataset(opened, dataset, rows, pixels=choice.pixels, makers=makers)
    predictions = dataclasses.replace(predictions, groups=choice.groups)
    for row_id, error in zip(predictions.row_ids, predictions.errors, strict=True):
        if error is not None:
            reporter().say(f"{printable(row_id)}: {error}")
    evaluation = dataclasses.replace(
        with_promises(measured(predictions, interval_level=interval_level), makers),
        rows={**choice.told, "in_words": in_words(choice.told)},
        slices=find_slices(opened, dataset, choice, predictions, table=slice_table, level=interval_level)
        if slices or slice_table is not None
        else None,
    )
    images = functools.partial(_fed, dataset, rows, opened.input)
    if folder is not None:
        with staged_files(folder) as staged:
            write_json(staged / "metrics.json", figures(evaluation))
            write_figures(staged, evaluation, predictions, images())
            _write_risk_coverage(staged, evaluation, predictions)
    return dataclasses.replace(evaluation, draw=functools.partial(_pictures, evaluation, predictions, images))


def _fed(dataset: Dataset, rows: NDArray[np.int64], spec: InputSpec) -> Pixels:
    return read_pixels(dataset.take(rows), spec)


def _pictures(evaluation: Evaluation, predictions: Predictions, images: Callable[[], Pixels]) -> Mapping[str, bytes]:
    """What a notebook shows; of charts nothing where they cannot be drawn."""
    found = {}
    if not evaluation.has_several_labels:
        with contextlib.suppress(MissingPackage):
            found["confusion matrix"] = confusion_png(evaluation)
    return {**found, "the surest wrong answers": _mistakes_png(predictions, images())}


def _write_risk_coverage(folder: Path, evaluation: Evaluation, predictions: Predictions) -> None:
    """Where an image may have several labels, it is not told how certain the answer as a whole is."""
    if not evaluation.has_several_labels:
        write_atomically(folder / "risk_coverage.png", _risk_coverage_png(evaluation, predictions))


def _risk_coverage_png(evaluation: Evaluation, predictions: Predictions) -> bytes:
    """The curve of all readable answers; where a max_error was asked for, with what was promised and measured."""
    rows = predictions.take(np.flatnonzero(predictions.readable))
    risks = risk_coverage(certainties_of(rows.logits), is_right(rows))
    if "abstention" not in evaluation.promises:
        return risk_coverage_png(risks)
    answered, wrong = (evaluation.figures[name].value for name in ("answered", "answered_error"))
    return risk_coverage_png(
        risks, max_error=evaluation.promises["abstention"]["max_error"], measured=(answered, wrong)
    )


def write_figures(folder: Path, evaluation: Evaluation, predictions: Predictions, images: Pixels) -> None:
    """Write `confusion.png`, `reliability.png` and `mistakes.png` into a folder, made if it is missing.

    Where an image may have several labels, none is taken for another, and there is no confusion.png. `images` have a
    row a prediction; only those that are drawn are read.

    Raises:
        MissingPackage: matplotlib is not installed.
        CannotWrite: the disk is full or read-only.
    """
    if not evaluation.has_several_labels:
        write_atomically(folder / "confusion.png", confusion_png(evaluation))
    write_atomically(folder / "reliability.png", reliability_png(evaluation))
    write_atomically(folder / "mistakes.png", _mistakes_png(predictions, images))


def _mistakes_png(predictions: Predictions, images: Pixels) -> bytes:
    readable = np.flatnonzero(predictions.readable)
    given, predicted = np.asarray(predictions.labels)[readable], predictions.task.decided(predictions.logits[readable])
    class_names = predictions.class_names
    if has_several_labels(predictions.task):
        # All labels of an image together, in words, as if they were a class.
        words = [name for labels in (given, predicted) for name in predictions.task.named(labels, class_names)]
        names, codes = np.unique(words, return_inverse=True)
        given, predicted, class_names = codes[: len(readable)], codes[len(readable) :], tuple(names.tolist())
    return mistakes_sheet(
        images.take(readable),  # type: ignore[arg-type]  # a lazy sequence: only what is drawn is read
        given,
        predicted=predicted,
        confidences=predictions.confidences[readable],
        class_names=class_names,
    )
