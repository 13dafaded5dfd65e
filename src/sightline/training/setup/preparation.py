"""From what the user named to rows that can be trained on: opened, sized, decoded, divided, accounted for."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.identity import Identity, content_digests, identity_of, merged_identities
from sightline.bundles.vetting.given_networks import GivenNetwork, check_given
from sightline.bundles.vetting.weights_files import check_weights, starts_from
from sightline.configuration.consistency import recipe_of_each
from sightline.configuration.networks import check_image_size
from sightline.configuration.schema import Recipe, strengths_of
from sightline.data.duplicates.search import Copies, remembered_copies
from sightline.data.inputs.input_spec import input_spec
from sightline.data.inputs.pixels import Pixels, read_pixels
from sightline.data.sources.catalog import SOURCES
from sightline.data.sources.loading import open_as_recipe_says
from sightline.data.splitting.splits import kinds_of_errors, read_splits_csv, refuse_unreadable, sample_fraction, split
from sightline.errors import InvalidSource, InvalidValue, OneClassOnly
from sightline.evaluation.measuring.kept_classes import joined_splits, with_kept_classes
from sightline.quality.audit import cheap_findings
from sightline.quality.findings import Finding
from sightline.quality.labels.label_table import read_labels, relabelled
from sightline.records import SPLIT_NAMES, Dataset, InputSpec, Splits, Store
from sightline.system.progress import reporter
from sightline.system.stored import read_plain
from sightline.system.text import places_by_name, printable
from sightline.training.setup.mirrors import seen_mirrors
from sightline.training.setup.resolution import Settled, SettledKey, say_unmirrored, settle, warn_of_labels


@dataclasses.dataclass(frozen=True, eq=False)
class DistillationTargets:
    """What a teacher says of the train rows, together with their labels.

    Attributes:
        images: (num_views * num_train, height, width, channels) uint8, view after view, or what gives such an array
            when it is sliced by rows.
        soft_labels: (num_views * num_train, num_classes) float32, of each of these images the mean of its label and the
            teacher's probabilities.
        teacher: who it was and how good, as metrics.json has it.
    """

    images: Any
    soft_labels: NDArray[np.float32]
    teacher: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """All that training needs to know of the data.

    Attributes:
        dataset: the rows that are used, and those left out with their reasons.
        pixels: their images at network size, in the same order.
        splits: rows of `dataset`.
        spec: what the network is fed.
        recipe: without "auto".
        distillation: of a student; None where labels are learned.
        identity: by what the bundle will know its images; None: by nothing.
        changes: what was settled of the recipe that was asked for.
        findings: what was noticed about the source; None where nobody looked.
        network: that is to learn, where it was given.
    """

    dataset: Dataset
    pixels: Pixels
    splits: Splits
    spec: InputSpec
    recipe: Recipe
    distillation: DistillationTargets | None = None
    identity: Identity | None = None
    changes: tuple[SettledKey, ...] = ()
    findings: tuple[Finding, ...] | None = None
    network: GivenNetwork | None = None

    def excluded_csv(self) -> str:
        """Every file that is in no split, with its reason."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("file", "reason"))
        writer.writerows((*self.dataset.left_out, *self.splits.left_out))
        return stream.getvalue()


def prepare(
    source: Any,
    asked: Recipe | Settled,
    *,
    spec: InputSpec | None = None,
    splits: str | None = None,
    network: GivenNetwork | None = None,
) -> Prepared:
    """Open a source and bring it to the point where a network can be fitted.

    Args:
        source: whatever `sightline.load` takes.
        asked: a recipe that may say "auto", or one that was settled in part.
        spec: what the network is fed, where that is settled; by the recipe and the images if left out.
        splits: the content of a `splits.csv`, where that is settled; by what the recipe says if left out.
        network: that is to learn, where it is given.
    """
    # Read first: what cannot be read is refused before anything is decoded.
    begun = settle(asked)
    stated = begun.recipe
    exclusions, listed = read_exclusions(stated.data.exclude_file), read_splits_file(stated.data.splits_file)
    labels = read_label_table(stated.data.labels_file)
    dataset = as_asked(relabelled(_opened(source, stated), labels), stated, exclusions)
    dataset, listed = _with_kept(dataset, stated, listed)
    settled = settle(begun, dataset=dataset)
    recipe = settled.recipe
    warn_of_labels(recipe.augmentation, dataset, asked=stated.augmentation)
    if spec is None:
        spec = input_spec(dataset, np.flatnonzero(dataset.given_splits != "test"), recipe.data)
    for name, own in recipe_of_each(recipe).items():
        check_image_size(name, spec.height, spec.width)
        check_weights(own.model.name, own.model.weights)
        check_given(name, own.model.weights, network)
    if network is not None:
        check_fits(network, dataset, spec)
    pixels = read_pixels(dataset, spec, limit_gib=recipe.data.cache_limit_gib)
    dataset, pixels = _without_unreadable(dataset, pixels, recipe.data.unreadable_limit)
    copies = None
    if recipe.data.group_near_duplicates and pixels.signatures is not None:
        copies = remembered_copies(pixels.signatures)
    divided = divide(dataset, recipe, copies, listed if splits is None else splits)
    settled = unless_mirrored(settled, dataset.take(divided.train), pixels.take(divided.train))
    findings = cheap_findings(dataset, signatures=pixels.signatures)
    for finding in findings:
        if finding.severity != "note":
            first = f" ({finding.paths[0]})" if finding.paths else ""
            reporter().say(f"{finding.severity}: {finding.detail}{first}")
    for remark in (*dataset.remarks, *divided.remarks):
        reporter().say(f"note: {remark}")
    settled = settle(settled, num_train=len(divided.train))
    return Prepared(
        dataset,
        pixels,
        divided,
        spec,
        settled.recipe,
        changes=settled.changes,
        findings=findings,
        network=network,
    )


def _opened(source: Any, recipe: Recipe) -> Dataset:
    """A source as a recipe says; of one class alone where a run brings the others."""
    try:
        return open_as_recipe_says(source, recipe.data)
    except OneClassOnly as error:
        if not recipe.data.keep_classes:
            raise
        opened: Dataset = error.dataset
        return opened


def _with_kept(dataset: Dataset, recipe: Recipe, listed: str | None) -> tuple[Dataset, str | None]:
    """The images with those by which a recipe keeps classes of a run, and the lines of a `splits.csv` with theirs."""
    if not recipe.data.keep_classes:
        return dataset, listed
    folder = starts_from(recipe.model.weights)
    if folder is None or folder == Path(recipe.model.weights):
        raise InvalidValue(
            f"data.keep_classes goes by the images of a run, and model.weights={recipe.model.weights} is none. Begin "
            "with the folder of a run: --from RUN."
        )
    together, kept = with_kept_classes(dataset, Path(recipe.model.weights))
    return together, joined_splits(listed, kept)


def check_fits(network: GivenNetwork, dataset: Dataset, spec: InputSpec) -> None:
    """Refuse a network that was given for images of another shape, or for another number of classes."""
    if network.shape != spec.shape:
        takes, fed = ("x".join(map(str, shape)) for shape in (network.shape, spec.shape))
        raise InvalidValue(f"model: takes images of {takes}, and '{dataset.name}' is fed as {fed}.")
    if network.num_classes != dataset.num_classes:
        raise InvalidValue(
            f"model: gives {network.num_classes:,} numbers, and '{dataset.name}' has {dataset.num_classes:,} classes. "
            f"End it in keras.layers.Dense({dataset.num_classes})."
        )


def as_asked(dataset: Dataset, asked: Recipe, exclusions: Mapping[str, str]) -> Dataset:
    """The rows that a recipe takes of a source, in the groups that it says."""
    dataset = _without(_grouped(dataset, asked.data.group_by), exclusions)
    if asked.data.fraction < 1:
        dataset = dataset.take(sample_fraction(dataset, asked.data.fraction, seed=asked.seed))
    return dataset


def has_doubtful_flips(recipe: Recipe, dataset: Dataset) -> bool:
    """Whether images are mirrored of which nobody has looked whether one class is the mirror image of another."""
    return dataset.name not in SOURCES and "flip" in strengths_of(recipe.augmentation)


def unless_mirrored(settled: Settled, train: Dataset, pixels: Pixels) -> Settled:
    """The recipe without the flips of its policy where train images of one class are mirror images of another's.

    Flips that were asked for stay, and are warned of.
    """
    if not has_doubtful_flips(settled.recipe, train):
        return settled
    pair = seen_mirrors(pixels, train.task.strata(train.labels), "horizontal")
    if pair is None:
        return settled
    first, second = (printable(train.class_names[label]) for label in pair)
    reason = f"'{train.name}', where images of '{first}' look like mirrored images of '{second}'"
    if settled.recipe.augmentation.flip is not None:
        reporter().say(f"warning: augmentation may change the label: flips on {reason}. Set augmentation.flip=none.")
        return settled
    say_unmirrored(reason)
    return settle(settled, unmirrored=reason)


def opening_lines(data: Prepared, backend: str) -> str:
    """What a run begins to print: rows of each split, what the network is fed, which it is."""
    rows = {name: len(data.splits.rows(name)) for name in SPLIT_NAMES}
    counts = ", ".join(f"{name} {num_rows:,}" for name, num_rows in rows.items() if num_rows)
    height, width, channels = data.spec.shape
    return (
        f"{data.dataset.name}: {counts}\n"
        f"{height}x{width}x{channels} by '{data.spec.resize}'; "
        f"{data.recipe.model.name}, recipe {data.recipe.name}, {backend}"
    )


def identified(data: Prepared, *others: Identity | None) -> Prepared:
    """The data with what a bundle will know them by, and those that others learned from whom it learned from."""
    if not data.recipe.data.identity:
        return data
    own = identity_of(data.dataset, data.splits, content_digests(data.dataset, data.pixels, data.spec))
    return dataclasses.replace(data, identity=merged_identities([own, *others]))


def divide(dataset: Dataset, recipe: Recipe, copies: Copies | None, splits_text: str | None) -> Splits:
    """The splits that a recipe asks for, or those of a `splits.csv`."""
    if splits_text is None:
        return split(dataset, recipe.data, seed=recipe.seed, copies=copies)
    return read_splits_csv(splits_text, dataset, recipe.data, seed=recipe.seed, copies=copies)


def _grouped(dataset: Dataset, pattern: str | None) -> Dataset:
    if pattern is None:
        return dataset
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InvalidValue(f"data.group_by must be a regular expression; got {pattern!r} ({error}).") from error
    if compiled.groups < 1:
        raise InvalidValue(
            f"data.group_by needs a bracket around what names the group; got {pattern!r}. For instance: '(.*)_[0-9]+'."
        )
    if not isinstance(dataset.images, Store):
        raise InvalidValue(f"data.group_by goes by paths, and '{dataset.name}' holds arrays. Leave it out.")
    found = [compiled.search(name) for name in dataset.row_ids.tolist()]
    if not any(found):
        raise InvalidValue(
            f"data.group_by={pattern!r} fits none of {len(found):,} paths, such as {dataset.row_ids[0]!r}."
        )
    keys = [match[1] if match else row for match, row in zip(found, dataset.row_ids.tolist(), strict=True)]
    return dataclasses.replace(dataset, groups=np.array(keys))


def read_splits_file(path: str | None) -> str | None:
    """The text of the `splits.csv` that a recipe names, if it names one."""
    return None if path is None else _read_text(path, "data.splits_file")


def read_label_table(path: str | None) -> dict[str, str]:
    """File to label of the table of labels that a recipe names; empty if it names none."""
    return {} if path is None else read_labels(_read_text(path, "data.labels_file"), name=path)


def read_exclusions(path: str | None) -> dict[str, str]:
    """File to reason of the exclude file that a recipe names; empty if it names none."""
    if path is None:
        return {}
    table = csv.DictReader(io.StringIO(_read_text(path, "data.exclude_file")))
    try:
        columns, lines = table.fieldnames or (), list(table)
    except csv.Error as error:
        raise InvalidValue(f"data.exclude_file {path}: is not a readable table ({error}).") from error
    if "file" not in columns:
        raise InvalidValue(f"data.exclude_file {path}: has no column 'file'; found {', '.join(columns) or 'nothing'}.")
    return {line["file"]: line.get("reason") or "listed in the exclude file" for line in lines}


def _without(dataset: Dataset, exclusions: Mapping[str, str]) -> Dataset:
    if not exclusions:
        return dataset
    row_ids, gone_before = dataset.row_ids.tolist(), [file for file, _ in dataset.left_out]
    places = places_by_name(row_ids)
    unknown = sorted(set(exclusions) - set(places) - set(places_by_name(gone_before)))
    if unknown:
        reporter().say(f"note: {len(unknown)} excluded files are not in '{dataset.name}', such as {unknown[0]}")
    reasons = {places[file]: reason for file, reason in exclusions.items() if file in places}
    kept = np.array([row for row in range(len(dataset)) if row not in reasons], dtype=np.int64)
    if not len(kept):
        raise InvalidSource(f"{dataset.name}: the exclude file leaves no image.")
    gone = tuple((row_ids[row], reasons[row]) for row in sorted(reasons))
    return dataset.take(kept, left_out=gone)


def _without_unreadable(dataset: Dataset, pixels: Pixels, limit: float) -> tuple[Dataset, Pixels]:
    """Leave out, count and name what could not be read; stop where that is too much to be an accident."""
    if not pixels.errors:
        return dataset, pixels
    refuse_unreadable(dataset, pixels.errors, limit)
    gone = tuple((str(dataset.row_ids[row]), reason) for row, reason in pixels.errors.items())
    reporter().say(
        f"{len(gone):,} of {len(dataset):,} files could not be read and are left out "
        f"({kinds_of_errors(pixels.errors)}); the first: {': '.join(gone[0])}"
    )
    kept = np.array([row for row in range(len(dataset)) if row not in pixels.errors], dtype=np.int64)
    return dataset.take(kept, left_out=gone), pixels.take(kept)


def _read_text(path: str, key: str) -> str:
    try:
        return read_plain(Path(path)).decode("utf-8-sig")
    except OSError as error:
        raise InvalidValue(f"{key}: {path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise InvalidValue(f"{key}: {path} cannot be read (it is not a UTF-8 text). Save it as UTF-8.") from error
