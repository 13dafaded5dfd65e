"""A finished bundle as a teacher: what its student is made of, and on which rows. Imports no Keras."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sightline.bundles.identity import NEW, Identity, content_digests, read_identity
from sightline.bundles.prediction import match_labels
from sightline.configuration.consistency import is_pretrained
from sightline.configuration.names import FOCAL_LOSSES
from sightline.configuration.networks import MODELS
from sightline.configuration.schema import Recipe
from sightline.data.inputs.pixels import read_pixels
from sightline.data.sources.catalog import SOURCES
from sightline.data.sources.loading import open_as_recipe_says
from sightline.data.splitting.splits import splits_table
from sightline.errors import InvalidSource, InvalidValue, pick
from sightline.evaluation.measuring.finished_runs import has_known_train_rows, read_splits
from sightline.evaluation.measuring.judging import folder_around, recorded_source, with_learned_labels
from sightline.records import SPLIT_NAMES, Bundle, Dataset, InputSpec, Store
from sightline.system.progress import reporter
from sightline.system.stored import read_plain
from sightline.tasks.multi_label import MULTI_LABEL
from sightline.tasks.single_label import SINGLE_LABEL
from sightline.training.setup.resolution import Settled, Step, take_steps

# By the task of the teacher, the loss that takes its answers.
ANSWERED_BY = {SINGLE_LABEL.name: "categorical_crossentropy", MULTI_LABEL.name: "binary_crossentropy"}
# Where more of a source than this is new to a teacher, it is another source than the teacher's.
MOST_NEW = 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class Teacher:
    """A bundle, and what its student learns from.

    Attributes:
        bundle: opened.
        source: as it was named, now or when the bundle was made.
        dataset: the source's rows, with the classes of the bundle in its order.
        splits: how these rows were divided for the bundle's own training, as `splits.csv` says it; None where that is
            not known, or none of them was in it.
        is_known: whether nothing that the teacher learned from can be among what its student is judged on.
    """

    bundle: Bundle
    source: Any
    dataset: Dataset
    splits: str | None
    is_known: bool


def student_recipe(asked: Recipe, into: str, bundle: Bundle) -> Settled:
    """What a student is trained by: what was asked for, fed as its teacher is, with a loss that takes soft answers."""
    pick(MODELS, into, kind="model")
    if is_pretrained(asked) and into != asked.model.name:
        raise InvalidValue(
            f"recipe {asked.name} is made for {asked.model.name}, which starts from pretrained weights, and a student "
            "learns from nothing. Name another one: --recipe fast, or photos."
        )
    settled = take_steps(Settled(asked), [("model.name", into, "the network that was asked for as the student")])
    recipe = settled.recipe
    _check_student(recipe, bundle)
    loss = ANSWERED_BY[bundle.task.name]
    if recipe.loss.name != loss or recipe.loss.label_smoothing:
        reporter().say(f"note: loss is {loss} without label smoothing: what the teacher answers is soft already")
    return take_steps(settled, _as_the_teacher(recipe, bundle))


def _as_the_teacher(recipe: Recipe, bundle: Bundle) -> Iterator[Step]:
    spec, learned = bundle.input, bundle.metrics.get("source", {})
    fed, opened = "what its teacher is fed", "how the source of its teacher is opened"
    yield "data.image_size", max(spec.height, spec.width), fed
    yield "data.color_mode", spec.color_mode, fed
    yield "data.resize", spec.resize, fed
    if recipe.data.label_from == "first":
        yield "data.label_from", learned.get("label_from", "first"), opened
    if recipe.data.columns is None:
        yield "data.columns", learned.get("columns") or None, opened
    yield "data.task", bundle.task.name, "what its teacher answers"
    yield "loss.name", ANSWERED_BY[bundle.task.name], "what its teacher answers is soft"
    yield "loss.label_smoothing", 0.0, "what its teacher answers is soft already"


def _takes(name: str, spec: InputSpec) -> bool:
    entry = MODELS[name]
    smallest = 1 if entry.backbone is None else entry.smallest
    return smallest <= min(spec.height, spec.width) and max(spec.height, spec.width) <= entry.largest


def _check_student(recipe: Recipe, bundle: Bundle) -> None:
    into, spec, data = recipe.model.name, bundle.input, recipe.data
    if is_pretrained(recipe):
        scratch = ", ".join(name for name, entry in MODELS.items() if entry.backbone is None)
        raise InvalidValue(
            f"--into {into}: it starts from pretrained weights and learns a head from labels, not from answers. "
            f"Name one that learns from nothing: {scratch}."
        )
    if not _takes(into, spec):
        fitting = [
            name if entry.backbone is None else f"{name} with --set model.weights=random"
            for name, entry in MODELS.items()
            if _takes(name, spec)
        ]
        raise InvalidValue(
            f"--into {into}: it does not take what its teacher is fed, images of {spec.height}x{spec.width}. "
            f"Name one that does: {', '.join(fitting[:3])}."
        )
    if recipe.ensemble.kind != "none":
        raise InvalidValue(
            f"ensemble.kind={recipe.ensemble.kind}: a student is one network. Leave it out, or `train` the ensemble."
        )
    mixing = [f"augmentation.{key}" for key in ("mixup_alpha", "cutmix_alpha") if getattr(recipe.augmentation, key)]
    if mixing:
        raise InvalidValue(
            f"{' and '.join(mixing)}: the teacher is asked about each view before the training, and did not see what "
            "would be mixed during it. Leave the mixing out."
        )
    if recipe.loss.name in FOCAL_LOSSES:
        raise InvalidValue(
            f"loss.name={recipe.loss.name}: it is made for given labels, and a student learns answers. Leave it out."
        )
    fed = {"image_size": max(spec.height, spec.width), "color_mode": spec.color_mode, "resize": spec.resize}
    for key, value in fed.items():
        # "fit" is the default and cannot be told from what was typed.
        if getattr(data, key) not in ("auto", "fit", value):
            raise InvalidValue(
                f"data.{key}={getattr(data, key)}: a student is fed what its teacher is fed, {value}. Leave it out."
            )


def source_of_teacher(bundle: Bundle, source: Any) -> Any:
    """What a student learns from, as it was named now or when its teacher was trained; InvalidValue if it never was."""
    if source is not None:
        return source
    return recorded_source(bundle)


def open_teacher(bundle: Bundle, source: Any, settled: Settled) -> tuple[Teacher, Settled]:
    """Find what a student learns from, divided as it was for its teacher.

    Args:
        bundle: opened.
        source: whatever `sightline.load` takes; None for what the bundle says it was trained on.
        settled: from `student_recipe`.

    Returns:
        The teacher, and the settled recipe with the splits of its run where they are known.
    """
    recipe = settled.recipe
    origin = bundle.metrics.get("source", {})
    if source is None and origin.get("kept"):
        raise InvalidValue(
            f"{bundle.path}: keeps classes by images of another run. Name the images that a student is to learn from."
        )
    named = source_of_teacher(bundle, source)
    dataset = open_as_recipe_says(named, recipe.data)
    dataset = with_learned_labels(bundle, dataset) if source is None else dataset
    labels = match_labels(bundle.class_names, dataset, np.arange(len(dataset)))
    is_same = origin.get("fingerprint") == dataset.fingerprint
    dataset = dataclasses.replace(dataset, class_names=bundle.class_names, labels=labels)
    table = folder_around(bundle) / "splits.csv"
    # Of files that were changed since, each is known by its name; of arrays, by its number alone.
    is_listed = is_same or (source is None and isinstance(dataset.images, Store))
    if not (table.exists() and is_listed):
        identity = read_identity(bundle)
        if identity is None:
            _say_unknown(bundle, dataset, is_same=is_same)
            return Teacher(bundle, named, dataset, None, is_known=False), settled
        dataset, splits = _by_content(bundle, dataset, identity)
        if splits is not None:
            _refuse_splits(recipe, "what the bundle knows of these images")
        return Teacher(
            bundle, named, dataset, splits, is_known=identity.is_whole or has_known_train_rows(bundle)
        ), settled
    if not is_same:
        reporter().say(f"note: '{dataset.name}' has changed since the teacher learned from it")
    _refuse_splits(recipe, str(table))
    dataset = _listed(dataset, table)
    divided = take_steps(settled, [("data.splits_file", str(table), "divided as for its teacher")])
    splits = read_plain(table).decode("utf-8")
    return Teacher(bundle, named, dataset, splits, is_known=has_known_train_rows(bundle)), divided


def _refuse_splits(recipe: Recipe, by: str) -> None:
    if recipe.data.splits_file is not None:
        raise InvalidValue(
            f"data.splits_file={recipe.data.splits_file}: a student is divided as its teacher was, by {by}. "
            "Leave it out."
        )


def _by_content(bundle: Bundle, dataset: Dataset, identity: Identity) -> tuple[Dataset, str | None]:
    """The rows for a student, and how those were divided that its teacher was made with.

    Of a source that is the teacher's, new rows stay out: nobody knows whether they are copies of what it tests. Of
    another one, it is the few that the teacher knows.
    """
    digests = content_digests(dataset, read_pixels(dataset, bundle.input), bundle.input)
    states, _ = identity.find(digests, dataset.named())
    is_new = states == NEW
    if is_new.all():
        reporter().say(f"note: none of the images of '{dataset.name}' is one that the teacher was made with")
        return dataset, None
    if is_new.mean() > MOST_NEW:
        known = len(dataset) - int(is_new.sum())
        reporter().say(
            f"note: {known:,} images of '{dataset.name}' are ones that the teacher was made with; they stay out"
        )
        return dataset.take(np.flatnonzero(is_new)), None
    divided = np.flatnonzero(np.isin(states, SPLIT_NAMES))
    reporter().say(f"note: {len(divided):,} images of '{dataset.name}' are divided as they were for the teacher")
    if others := len(dataset) - len(divided):
        reporter().say(f"note: {others:,} other images were in no split of the teacher, and stay out here")
    row_ids = dataset.row_ids[divided].tolist()
    return dataset.take(divided), splits_table(zip(row_ids, states[divided].tolist(), row_ids, strict=True))


def _listed(dataset: Dataset, table: Path) -> Dataset:
    """The rows that the teacher's run lists: of others nobody knows whether they are copies of what it tests."""
    listed = {line["row_id"] for line in read_splits(table)}
    rows = np.array([row for row, row_id in enumerate(dataset.row_ids.tolist()) if row_id in listed], dtype=np.int64)
    if not len(rows):
        raise InvalidSource(f"{dataset.name}: none of its images is in {table}. Name the source that run learned from.")
    if len(rows) == len(dataset):
        return dataset
    others = len(dataset) - len(rows)
    reporter().say(f"note: {others:,} images of '{dataset.name}' were in no split of the teacher, and stay out here")
    return dataset.take(rows)


def _say_unknown(bundle: Bundle, dataset: Dataset, *, is_same: bool) -> None:
    # A name always means the same images, and its test split is nobody's to learn from.
    given = (dataset.given_splits == "test").any()
    if is_same and given and dataset.name in SOURCES:
        return
    why = (
        f"{bundle.path} lies apart from its run, so which images its teacher learned from is not known"
        if is_same
        else f"'{dataset.name}' is not what the teacher learned from, or has changed since"
    )
    if given:
        reporter().say(f"note: {why}; the source's own test images are kept apart")
        return
    reporter().say(
        f"warning: {why}: the test images drawn now may be among those, and the figures too good. Name the folder of "
        "the teacher's run, or a source with a test split of its own."
    )
