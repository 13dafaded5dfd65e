"""Classes that only a run before knew, kept by the images that it was made with: opened again, each in its split."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from sightline.data.sources.downloads import load_keras_for
from sightline.data.sources.joining import joined
from sightline.errors import InvalidSource, SightlineError
from sightline.evaluation.measuring.finished_runs import FinishedRun, read_run
from sightline.evaluation.measuring.judging import open_recorded, recorded_source
from sightline.records import SPLIT_NAMES, Bundle, Dataset
from sightline.system.backends import choose_backend
from sightline.system.text import counted, printable
from sightline.tasks.table import refuse_several_labels

_HEADER = ("row_id", "split", "group")
_MOST_NAMED = 5


def with_kept_classes(dataset: Dataset, run: Path) -> tuple[Dataset, str]:
    """Images with those of a run of classes that they lack; and, as lines of a `splits.csv`, where the run had these.

    The lines are "" where the images have all classes of the run.

    Raises:
        InvalidBundle: there is no finished run.
        InvalidSource: the images of the run are gone, changed, or cannot stand beside the others.
    """
    why = "an image that shows such a class may show others, too. Leave it out."
    refuse_several_labels(dataset.task, "data.keep_classes", why)
    finished = read_run(run)
    names = [name for name in finished.bundle.class_names if name not in dataset.class_names]
    if not names:
        remark = f"all classes of {printable(str(run))} are among the images: none is kept by images of the run"
        return dataclasses.replace(dataset, remarks=(*dataset.remarks, remark)), ""
    shown = ", ".join(repr(name) for name in names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
    theirs = _kept_rows(finished, names, shown)
    together = joined(dataset, theirs, prefix=run.name)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    counts: Counter[str] = Counter()
    for old, new in zip(theirs.row_ids.tolist(), together.row_ids[len(dataset) :].tolist(), strict=True):
        counts[finished.splits[old]] += 1
        writer.writerow((new, finished.splits[old], f"{run.name}/{finished.groups[old]}"))
    told = ", ".join(f"{counts[name]:,} {name}" for name in SPLIT_NAMES if counts[name])
    remark = (
        f"kept {counted(len(names), 'class', 'classes')} of {printable(str(run))} that the images lack ({shown}), by "
        f"{len(theirs):,} images of the run in the splits that they had there: {told}."
    )
    return dataclasses.replace(together, remarks=(*together.remarks, remark)), stream.getvalue()


def joined_splits(listed: str | None, kept: str) -> str | None:
    """The lines of a `splits.csv`, if there is one, with those of kept images."""
    if not kept:
        return listed
    begun = ",".join(_HEADER) + "\n"
    if listed is None:
        return begun + kept
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_HEADER)
    for line in csv.DictReader(io.StringIO(listed)):
        writer.writerow([line.get(name) or "" for name in _HEADER])
    return stream.getvalue() + kept


def with_images_kept(bundle: Bundle, dataset: Dataset) -> Dataset:
    """The source that a bundle was trained on, with the images of another run by which it kept classes."""
    kept = bundle.metrics.get("source", {}).get("kept")
    if not kept:
        return dataset
    try:
        return with_kept_classes(dataset, Path(kept))[0]
    except SightlineError as error:
        raise InvalidSource(
            f"{bundle.path}: keeps classes by images of the run {printable(kept)}, which cannot be opened: {error} Put "
            "that run and its images back, or name the images."
        ) from error


def learned_source(bundle: Bundle, named: Any = None) -> Dataset:
    """All that a bundle was trained on, or where that lies now, with the labels that it learned from.

    Images of another run, by which it kept classes, are among it where nothing is named.

    Raises:
        InvalidValue: nothing is named, and what it was trained on is not known or not opened.
    """
    dataset = open_recorded(bundle, named)
    return with_images_kept(bundle, dataset) if named is None else dataset


def _kept_rows(finished: FinishedRun, names: list[str], shown: str) -> Dataset:
    bundle = finished.bundle
    begun = f"{printable(str(finished.path))}: to keep {shown}, the images of the run are needed"
    remedy = (
        "Nothing could judge a class without images, and a network forgets what it is not shown. Put them back where "
        "the run found them, or leave keep_classes out."
    )
    try:
        load_keras_for(recorded_source(bundle), choose_backend())
        source = learned_source(bundle)
    except SightlineError as error:
        raise InvalidSource(f"{begun}, and they cannot be opened: {error} {remedy}") from error
    if source.fingerprint != finished.source.get("fingerprint"):
        raise InvalidSource(f"{begun}, and they are not those any more that it learned from. {remedy}")
    named = np.array([name in names for name in source.named()])
    used = np.array([bool(finished.splits.get(row_id)) for row_id in source.row_ids.tolist()])
    rows = np.flatnonzero(named & used)
    if not len(rows):
        raise InvalidSource(f"{begun}, and none of its images is of these classes. {remedy}")
    taken = source.take(rows)
    numbers = {name: number for number, name in enumerate(names)}
    labels = np.array([numbers[name] for name in taken.named()], np.int64)
    return dataclasses.replace(taken, class_names=tuple(names), labels=labels)
