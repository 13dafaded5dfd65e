"""A finished run, read back from its folder: recipe, figures, history and what it said of each judged row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.bundle import MANIFEST, load_bundle, readable
from sightline.errors import InvalidBundle, InvalidValue
from sightline.evaluation.measuring.scoring import figures, score
from sightline.metrics.figures import FIGURES, figure_in, told_in
from sightline.metrics.history import checked_epochs
from sightline.metrics.intervals import USUAL_LEVEL
from sightline.records import SPLIT_NAMES, Bundle, Evaluation, Predictions, Run, SplitName, Splits
from sightline.system.stored import MOST_ARRAY_BYTES, parse_json, read_arrays, read_json, read_plain
from sightline.system.text import as_argument
from sightline.system.workers import free_bytes
from sightline.tasks.table import has_several_labels
from sightline.tasks.task import Task

# In a folder of its own within an unfinished run: how it was asked for, so that it can be gone on with.
REQUEST = "request.json"
# Of a search, two folders above each of its trials: the journal from its start on, its figures when it has ended.
SEARCH_JOURNAL, SEARCH_FIGURES = "journal.log", "search.json"
JUDGED_SPLITS: tuple[SplitName, ...] = ("validation", "calibration", "test")
# metrics.json is written last: with it a run is finished.
FILES = ("recipe.json", "splits.csv", "history.jsonl", "predictions.npz", "metrics.json")
# Of the figures, those that every run has; one that was added later is missing in older runs.
SINCE_THE_FIRST_RUN = ("accuracy", "accuracy_interval", "cross_entropy", "calibration_error")
DRAWN = ("epoch", "loss", "accuracy", "validation_loss", "validation_accuracy", "learning_rate", "seconds")
NEEDED = ("backend", "chosen_epoch", "epochs", "num_parameters", "seconds", "validation", "test")


def unfinished_search_of(run: Path) -> Path | None:
    """The search that a run is a trial of, while it has not ended: until it has chosen no test image is looked at."""
    search = run.absolute().parent.parent
    is_under_way = (search / SEARCH_JOURNAL).is_file() and not (search / SEARCH_FIGURES).exists()
    return search if is_under_way else None


@dataclass(frozen=True, eq=False)
class SplitPredictions:
    """What a network said of the rows of one split.

    Attributes:
        given: row id to the name of its class.
        predicted: row id to the name of the most probable class; of several labels, of those that are said.
        labels: (num_rows,) into the classes of the run, or (num_rows, num_classes) of 0 and 1.
        logits: (num_rows, num_classes) float32, rows in the order of `given`.
    """

    given: Mapping[str, str]
    predicted: Mapping[str, str]
    labels: NDArray[Any]
    logits: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run as its folder keeps it.

    Attributes:
        path: the folder.
        recipe: the whole configuration, as plain JSON types.
        metrics: as `sightline train --json` prints it.
        history: one mapping an epoch.
        splits: row id to the split that it was in.
        groups: row id to the group that was kept together with it.
        source: name and fingerprint of the data, and what was typed for it.
        class_names: ordered as the logits are.
        predictions: split to what was said of its rows; validation, calibration and test.
        bundle: opened and verified.
    """

    path: Path
    recipe: Mapping[str, Any]
    metrics: Mapping[str, Any]
    history: tuple[Mapping[str, float], ...]
    splits: Mapping[str, str]
    groups: Mapping[str, str]
    source: Mapping[str, Any]
    class_names: tuple[str, ...]
    predictions: Mapping[str, SplitPredictions]
    bundle: Bundle


def has_known_train_rows(bundle: Bundle) -> bool:
    """Whether all that a bundle learned from, by labels or by a teacher's answers, is in the splits of its run.

    False where it, or a run that it was combined from, was distilled from a bundle whose rows are not known.
    """
    told = (bundle.metrics.get("teacher") or {}, bundle.metrics.get("ensemble") or {})
    return all(part.get("has_same_splits", True) for part in told)


def distinct_places(runs: Any, *, command: str, most: int) -> list[Path]:
    """The folders of runs, in the order given, none named twice; nothing is opened. `command` takes `most` of them.

    Raises:
        InvalidValue: fewer than two, more than `most`, or one that is given twice.
    """
    listed = [runs] if isinstance(runs, str | Path | Run) else list(runs)
    if not 2 <= len(listed) <= most:
        how_many = "two runs or more" if len(listed) < 2 else f"at most {most} runs"
        raise InvalidValue(f"{command} takes {how_many}; got {len(listed)}. Name the folders of finished runs.")
    places = [run.path if isinstance(run, Run) else Path(run) for run in listed]
    seen: set[Path] = set()
    for place in places:
        if place.resolve() in seen:
            raise InvalidValue(f"{place} is given twice. Name another run.")
        seen.add(place.resolve())
    return places


def read_run(run: str | Path | Run, *, metrics: Any = None) -> FinishedRun:
    """Read a finished run, everything but the network; its bundle is verified as `predict` does it.

    `metrics` is what `metrics.json` will hold, of a run that lacks nothing else.

    Raises:
        InvalidBundle: there is no run, it did not finish, it is a bundle without its run, or
            a file of it cannot be read.
    """
    folder = run.path if isinstance(run, Run) else Path(run)
    with readable(folder):
        _check_finished(folder, FILES if metrics is None else FILES[:-1])
    # Of a record it is open, and one that was made a moment ago nobody has signed yet.
    bundle = run.bundle if isinstance(run, Run) else load_bundle(folder / "bundle")
    try:
        metrics = _metrics(read_json(folder / FILES[-1]) if metrics is None else metrics)
        history = _history(folder / "history.jsonl")
        checked_epochs(history, metrics["chosen_epoch"])
        table = read_splits(folder / "splits.csv")
        class_names, predictions = _read_predictions(folder / "predictions.npz", bundle.task)
        return FinishedRun(
            path=folder,
            recipe=_recipe(read_json(folder / "recipe.json")),
            metrics=metrics,
            history=history,
            splits={line["row_id"]: line["split"] for line in table},
            groups={line["row_id"]: line.get("group") or line["row_id"] for line in table},
            source=bundle.metrics.get("source", {}),
            class_names=class_names,
            predictions=predictions,
            bundle=bundle,
        )
    except (OSError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise InvalidBundle(
            f"{folder}: a file of this run is not what was saved ({error}). Copy the run again, or train again."
        ) from error


def reopen(path: str | Path) -> Run | Bundle:
    """Open what was trained before: a finished run, with its figures and splits, or a bundle.

    Whoever predicts one image after another opens once and hands the record on: its network then stays loaded as
    long as the record is in use.

    Args:
        path: folder of a run or of a bundle; "imagenet", the network that comes with the package.

    Returns:
        A Run as `sightline.train` gives it, its figures computed anew from the answers that it kept; or a Bundle. The
        rows in `splits` of such a Run are places in its `splits.csv`, which are rows of its source where none was
        left out.

    Raises:
        InvalidBundle: there is neither, the run did not finish, or a file is not what was saved.

    Example:
        >>> import sightline
        >>> bundle = sightline.reopen("imagenet")
        >>> len(bundle.class_names)
        1000
    """
    folder = Path(path)
    with readable(folder):
        is_run = (folder / "recipe.json").exists()
    return as_run(read_run(folder)) if is_run else load_bundle(path)


def metrics_at(finished: FinishedRun, level: float) -> Mapping[str, Any]:
    """The metrics of a run with all intervals at a level: as they were told, or from its answers where it differs."""
    metrics = dict(finished.metrics)
    for split in ("validation", "test"):
        told = metrics[split]
        if told is not None and told.get("interval_level", USUAL_LEVEL) != level:
            anew = kept_evaluation(finished, split, level)
            metrics[split] = told if anew is None else figures(anew)
    return metrics


def as_run(finished: FinishedRun) -> Run:
    """The Run that `train` gave, its figures computed anew from the answers that it kept."""
    metrics, placed = finished.metrics, np.array(list(finished.splits.values()))
    train, validation, calibration, test = (np.flatnonzero(placed == split) for split in SPLIT_NAMES)
    return Run(
        path=finished.path,
        recipe=finished.recipe,
        splits=Splits(
            train=train,
            validation=validation,
            calibration=calibration,
            test=test,
            fingerprint=finished.source.get("fingerprint", ""),
            groups=_groups(finished, finished.splits),
        ),
        history=finished.history,
        chosen_epoch=metrics["chosen_epoch"],
        stopped_early=metrics["stopped_early"],
        validation=kept_evaluation(finished, "validation"),
        evaluation=kept_evaluation(finished, "test"),
        bundle=finished.bundle,
        backend=metrics["backend"],
        num_parameters=metrics["num_parameters"],
        seconds=metrics["seconds"],
        images_per_second=metrics["images_per_second"],
        ensemble=metrics["ensemble"],
        teacher=metrics["teacher"],
        stages=tuple(metrics["stages"]),
        processes=metrics["processes"],
    )


def kept_predictions(finished: FinishedRun, split: SplitName) -> Predictions | None:
    """What a run kept of the answers to the readable rows of a split, with their labels; None where it kept none."""
    answers = finished.predictions[split]
    if not answers.given:
        return None
    return Predictions.of(
        list(answers.given),
        answers.logits,
        class_names=finished.class_names,
        temperature=finished.bundle.temperature,
        labels=answers.labels,
        groups=_groups(finished, answers.given),
        task=finished.bundle.task,
    )


def kept_evaluation(finished: FinishedRun, split: SplitName, level: float = USUAL_LEVEL) -> Evaluation | None:
    """The figures of a split's kept answers, as they were computed at the end of the run, intervals at a level."""
    told, rows = finished.metrics[split], kept_predictions(finished, split)
    if told is None or rows is None:
        return None
    # What details are needed for cannot be measured again: no file of a run holds them.
    kept = {name: figure for name in FIGURES if FIGURES[name].needs and (figure := figure_in(told, name))}
    if told.get("interval_level", USUAL_LEVEL) != level:
        kept = {name: replace(figure, interval=None) for name, figure in kept.items()}
    return replace(
        score(rows, interval_level=level, kept=kept),
        num_unreadable=told.get("num_unreadable", 0),
        promises=told.get("promises", {}),
    )


def _groups(finished: FinishedRun, row_ids: Iterable[str]) -> NDArray[np.str_] | None:
    """The group of each row; None where each stands alone."""
    names = list(row_ids)
    groups = [finished.groups.get(name, name) for name in names]
    return None if groups == names else np.array(groups)


def _check_finished(folder: Path, files: Iterable[str]) -> None:
    if not folder.is_dir():
        raise InvalidBundle(f"{folder}: no such folder. Name a run, for instance runs/mnist-fast-001.")
    if (folder / "recipe.json").exists():
        # What is there and is no file is refused when it is read.
        missing = [name for name in files if not (folder / name).exists()]
        if missing:
            left = next(folder.glob(f"*/{REQUEST}"), None)
            how = "Train again." if left is None else f"Go on with it: sightline resume {as_argument(folder)}"
            raise InvalidBundle(f"{folder}: this run has no {missing[0]}; its training did not finish. {how}")
        return
    if (folder / MANIFEST).is_file():
        around = folder.resolve().parent
        its_run = f"its run, {around}" if (around / "predictions.npz").is_file() else "the run that it came from"
        raise InvalidBundle(f"{folder}: a bundle holds no predictions to compare. Name {its_run}.")
    raise InvalidBundle(f"{folder}: not a run: it has no recipe.json. Name a run, for instance runs/mnist-fast-001.")


def _recipe(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or not isinstance(content.get("data", {}), dict):
        raise TypeError("recipe.json is no recipe")
    return content


def _history(path: Path) -> tuple[dict[str, float], ...]:
    lines = read_plain(path).decode("utf-8").splitlines()
    history = tuple(dict(parse_json(line, allow_nan=True)) for line in lines)
    for record in history:
        # Nothing trained a combined run: a step of its selection has no training figures.
        _check_numbers(*(record[key] for key in DRAWN if record.get(key) is not None), name=path.name)
    return history


def read_splits(path: Path) -> list[dict[str, str]]:
    """The lines of a run's `splits.csv`, each with a row id and a split; an InvalidBundle where it is damaged."""
    try:
        text = read_plain(path).decode("utf-8")
        table: list[dict[str, str]] = list(csv.DictReader(io.StringIO(text, newline="")))
        for line in table:
            if not isinstance(line.get("row_id"), str) or line.get("split") not in (*SPLIT_NAMES, ""):
                raise ValueError(f"{path.name}: a line without a row id or with an unknown split")
    except (OSError, csv.Error, ValueError) as error:
        raise InvalidBundle(
            f"{path.parent}: a file of this run is not what was saved ({error}). Copy the run again, or train again."
        ) from error
    return table


def _metrics(content: Any) -> dict[str, Any]:
    """What `compare` shows of metrics.json; a KeyError, TypeError or ValueError where it is not what was written."""
    if not isinstance(content, dict):
        raise TypeError("metrics.json is no object")
    metrics = {key: content[key] for key in NEEDED}
    since: dict[str, Any] = {
        "stopped_early": False,
        "images_per_second": 0.0,
        "ensemble": None,
        "teacher": None,
        "stages": [],
        "processes": 1,
    }
    metrics |= {key: content.get(key, usual) for key, usual in since.items()}
    _check_numbers(metrics["images_per_second"])
    if not all(metrics[key] is None or isinstance(metrics[key], dict) for key in ("ensemble", "teacher")):
        raise TypeError("metrics.json: ensemble and teacher are no objects")
    if not isinstance(metrics["stages"], list) or not all(isinstance(stage, dict) for stage in metrics["stages"]):
        raise TypeError("metrics.json: stages are no list of objects")
    if metrics["ensemble"] is not None:
        _check_numbers(*(member["vote"] for member in metrics["ensemble"]["members"]))
        if not isinstance(metrics["ensemble"]["kind"], str):
            raise TypeError("metrics.json: kind of an ensemble is no text")
    if not isinstance(metrics["backend"], str):
        raise TypeError("metrics.json: backend is no text")
    numbers = [metrics[key] for key in ("chosen_epoch", "epochs", "num_parameters", "processes")]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("metrics.json: epochs and parameters are no whole numbers")
    _check_numbers(metrics["seconds"]["total"])
    for split in ("validation", "test"):
        if metrics[split] is not None:
            _check_figures(metrics[split])
    return metrics


def _check_figures(told: Mapping[str, Any]) -> None:
    if any(told[key] is None for key in SINCE_THE_FIRST_RUN):
        raise ValueError("metrics.json: a figure is no number (None)")
    found = [figure_in(told, name) for name in told_in("comparison", FIGURES)]
    for figure in found:
        if figure is not None:
            _check_numbers(figure.value, *(figure.interval or ()))


def _check_numbers(*values: Any, name: str = "metrics.json") -> None:
    if not all(type(value) in (int, float) for value in values):
        raise ValueError(f"{name}: a figure is no number ({ascii(values)[:80]})")


def _read_predictions(path: Path, task: Task) -> tuple[tuple[str, ...], dict[str, SplitPredictions]]:
    """What was said of each judged row; one without finite numbers counts as an image that could not be read."""
    parts = ("row_ids", "labels", "logits")
    wanted = ["class_names", *(f"{split}_{part}" for split in JUDGED_SPLITS for part in parts)]
    free = free_bytes()
    # While an array is read, it is held twice.
    most_bytes = MOST_ARRAY_BYTES if free is None else min(MOST_ARRAY_BYTES, free // 2)
    arrays = read_arrays(path, names=wanted, most_bytes=most_bytes)
    names = tuple(arrays["class_names"].tolist())
    if arrays["class_names"].dtype.kind != "U" or len(set(names)) != len(names):
        raise ValueError(f"{path.name}: class_names holds something else than different names")
    predictions: dict[str, SplitPredictions] = {}
    for split in JUDGED_SPLITS:
        row_ids, labels, logits = (arrays[f"{split}_{part}"] for part in parts)
        if (
            logits.dtype != np.float32
            or labels.dtype.kind not in "iu"
            # Without rows, the array of their names has no length either.
            or (row_ids.dtype.kind != "U" and len(row_ids))
            or logits.shape != (len(row_ids), len(names))
            or labels.shape != (logits.shape if has_several_labels(task) else row_ids.shape)
            or len(set(row_ids.tolist())) < len(row_ids)
            or not ((labels >= 0) & (labels < (2 if has_several_labels(task) else len(names)))).all()
        ):
            raise ValueError(f"{path.name}: rows, labels and logits of {split} do not belong together")
        is_sound = np.isfinite(logits).all(axis=1)
        row_ids, labels, logits = row_ids[is_sound].tolist(), labels[is_sound], logits[is_sound]
        predictions[split] = SplitPredictions(
            given=dict(zip(row_ids, task.named(labels, names), strict=True)),
            predicted=dict(zip(row_ids, task.named(task.decided(logits), names), strict=True)),
            labels=labels,
            logits=logits,
        )
    return names, predictions
