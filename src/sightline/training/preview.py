"""`show`: look at the pictures before training on them, as they are or as the network will see them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.configuration.consistency import is_pretrained
from sightline.configuration.schema import Recipe, strengths_of
from sightline.data.inputs.input_spec import input_spec
from sightline.data.inputs.pixels import raw_images, read_pixels
from sightline.data.sources.loading import open_as_recipe_says
from sightline.errors import InvalidSource, InvalidValue
from sightline.quality.labels.label_table import relabelled
from sightline.records import Dataset, InputSpec
from sightline.reporting.sheets.sheets import augmented_sheet, example_sheet
from sightline.system.backends import usual_keras
from sightline.system.files import write_atomically
from sightline.system.paths import check_output, places_of
from sightline.system.progress import reporter
from sightline.system.text import counted
from sightline.tasks.table import has_several_labels
from sightline.training.setup.mirrors import mirror_sample
from sightline.training.setup.preparation import (
    as_asked,
    divide,
    has_doubtful_flips,
    read_exclusions,
    read_label_table,
    read_splits_file,
    unless_mirrored,
)
from sightline.training.setup.resolution import opened_and_chosen, settle, warn_of_labels

MOST_IMAGES = 400
VARIANTS = 7
# Where nobody says how many: some of each class, on a sheet that can be taken in at a glance.
_OF_EACH_CLASS, _FEWEST_USUAL, _MOST_USUAL = 3, 24, 120


@dataclass(frozen=True)
class ImageSheet:
    """A sheet of images; a notebook shows it, `path` is the file if one was written.

    Attributes:
        png: the picture.
        labels: class names of the images, in order.
        description: what a terminal prints.
        path: the file, or None.
    """

    png: bytes
    labels: tuple[str, ...]
    description: str
    path: Path | None

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        return self.description


def show(
    source: Any,
    *,
    count: int | None = None,
    augmented: bool = False,
    recipe: str | Path | Recipe | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
) -> ImageSheet:
    """Draw a few training images of each class with their labels.

    Of each class they are taken at even distances, from its first image on, and stand together; where there are more
    classes than images, these are of classes at even distances.

    Args:
        source: whatever `sightline.load` takes.
        count: how many in all, 1 to 400; left out, three of each class, at least 24 and at most 120 in all.
        augmented: set beside each image seven variants, as the network will see them in training.
        recipe: whose augmentation is shown; as for `train` if left out.
        out: a PNG to write.
        overwrite: whether a file at `out` that Sightline did not write may be replaced.

    Returns:
        The ImageSheet.

    Raises:
        UnknownName, InvalidSource: the source or recipe cannot be used.
        InvalidValue: `count` is out of range, the recipe changes no image, or `out` lies in the source or a bundle.
        OutputExists: `out` is a file that Sightline did not write.
        MissingPackage: `augmented` needs Keras and it is not installed.
        CannotWrite: `out` cannot be written.

    Example:
        >>> import sightline
        >>> sightline.show("mnist", count=10).labels
        ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    """
    if count is not None and not (isinstance(count, int) and not isinstance(count, bool) and 1 <= count <= MOST_IMAGES):
        raise InvalidValue(f"count must be a whole number from 1 to {MOST_IMAGES}; got {count!r}.")
    path = Path(out) if out is not None else None
    check_output("out", path, keep=places_of(source), overwrite=overwrite)
    source, asked = (source, recipe) if isinstance(recipe, Recipe) else opened_and_chosen(source, recipe)
    dataset = open_as_recipe_says(source, asked.data)
    for remark in dataset.remarks:
        reporter().say(f"note: {remark}")
    rows = _some_of_each_class(dataset, count)
    images, errors = raw_images(dataset, rows)
    rows = np.array([row for row in rows.tolist() if row not in errors], dtype=np.int64)
    for row, reason in errors.items():
        reporter().say(f"{dataset.row_ids[row]}: {reason}")
    if not len(rows):
        raise InvalidSource(
            f"{dataset.name}: none of the {counted(len(errors), 'file')} looked at is an image. Run `sightline audit`."
        )
    labels, names, class_names = dataset.labels[rows], dataset.named(rows), dataset.class_names
    if has_several_labels(dataset.task):
        # All labels of an image together, in words, as if they were a class.
        told, labels = np.unique(names, return_inverse=True)
        class_names = tuple(told.tolist())
    title = f"{dataset.name}: {counted(len(rows), 'training image')}, {_how_many_of_each(dataset, rows)}"
    if augmented:
        with usual_keras():
            png = _augmented(dataset, rows, asked, title)
    else:
        png = example_sheet(images, labels, class_names=class_names, title=title)
    if path is not None:
        write_atomically(path, png)
    return ImageSheet(png, names, _describe(dataset, rows), path)


def _some_of_each_class(dataset: Dataset, count: int | None) -> NDArray[np.int64]:
    """Rows of training images, class by class; of each class at even distances, from the first on."""
    candidates = np.flatnonzero((dataset.given_splits == "train") | (dataset.given_splits == ""))
    # Of several labels, an image counts for the rarest.
    labels = dataset.task.strata(dataset.labels[candidates])
    classes, totals = np.unique(labels, return_counts=True)
    if count is None:
        count = min(max(_OF_EACH_CLASS * len(classes), _FEWEST_USUAL), _MOST_USUAL)
    if count < len(classes):
        kept = np.round(np.linspace(0, len(classes) - 1, count)).astype(np.int64)
        classes, totals = classes[kept], totals[kept]
    chosen = []
    for label, share in zip(classes.tolist(), _shared_out(count, totals), strict=True):
        own = candidates[labels == label]
        chosen.append(own[np.arange(share) * len(own) // max(share, 1)])
    return np.concatenate(chosen).astype(np.int64)


def _shared_out(count: int, totals: NDArray[np.int64]) -> list[int]:
    """How many of each class, as even as can be where some have fewer than their share."""
    shares = np.zeros_like(totals)
    for _ in range(min(count, int(totals.sum()))):
        # The first of those that have least so far, and have one left.
        shares[np.argmin(np.where(shares < totals, shares, np.iinfo(np.int64).max))] += 1
    return [int(share) for share in shares]


def _how_many_of_each(dataset: Dataset, rows: NDArray[np.int64]) -> str:
    shown = dataset.counts(rows)
    least, most = int(shown.min()), int(shown.max())
    if least == 0:
        return f"of {int((shown > 0).sum()):,} of {counted(dataset.num_classes, 'class', 'classes')}"
    return f"{least} of each class" if least == most else f"{least} to {most} of each class"


def _as_training(dataset: Dataset, asked: Recipe) -> tuple[Recipe, InputSpec]:
    """The recipe without "auto", and what the network is fed, settled as training settles them.

    Nobody has looked for copies yet, which may move an image to another split; all else is as it will be.
    """
    dataset = relabelled(dataset, read_label_table(asked.data.labels_file))
    dataset = as_asked(dataset, asked, read_exclusions(asked.data.exclude_file))
    try:
        rows = divide(dataset, asked, None, read_splits_file(asked.data.splits_file)).train
    except InvalidSource:  # too few to be trained on, which is no reason not to look at them
        rows = np.flatnonzero(np.isin(dataset.given_splits, ("train", "")))
    settled = settle(asked, dataset=dataset, num_train=max(len(rows), 1))
    recipe = settled.recipe
    warn_of_labels(recipe.augmentation, dataset, asked=asked.augmentation)
    spec = input_spec(dataset, np.flatnonzero(dataset.given_splits != "test"), recipe.data)
    if not has_doubtful_flips(recipe, dataset):
        return recipe, spec
    sample = dataset.take(rows[mirror_sample(dataset.task.strata(dataset.labels[rows]))])
    pixels = read_pixels(sample, spec)
    readable = np.array([row for row in range(len(sample)) if row not in pixels.errors], dtype=np.int64)
    return unless_mirrored(settled, sample.take(readable), pixels.take(readable)).recipe, spec


def _augmented(dataset: Dataset, rows: NDArray[np.int64], asked: Recipe, title: str) -> bytes:
    from sightline.training.augmentation.mixing import mixing_of
    from sightline.training.augmentation.pipeline import build_augmentation

    resolved, spec = _as_training(dataset, asked)
    dataset = dataset.take(rows)
    augmentation = build_augmentation(resolved.augmentation, spec, seed=resolved.seed)
    mixing = mixing_of(resolved, spec.shape)
    if augmentation is None and mixing is None:
        raise InvalidValue(
            f"the recipe '{resolved.name}' changes no image: augmentation.policy is 'none'. "
            f"Try --set {'training.feature_variants=2' if is_pretrained(resolved) else 'augmentation.policy=digits'}."
        )
    originals = read_pixels(dataset, spec)[:]
    drawn = [_variant(originals, augmentation, mixing, number) for number in range(VARIANTS)]
    # (variants, images, ...) becomes, for each image, its variants
    variants = np.stack(drawn, axis=1).astype(np.uint8)
    captions = dataset.named()
    own = [part for part in strengths_of(resolved.augmentation) if getattr(resolved.augmentation, part) is not None]
    told = ", ".join([f"policy {resolved.augmentation.policy}", *own, *["mixed with one another"] * bool(mixing)])
    return augmented_sheet(originals, list(variants), captions=captions, title=f"{title}, augmented ({told})")


def _variant(originals: NDArray[np.uint8], augmentation: Any, mixing: Any, number: int) -> NDArray[Any]:
    """All images once more as training would see them, each mixed with another of the sheet if the recipe mixes."""
    from sightline.training.augmentation.mixing import MixImages
    from sightline.training.augmentation.pipeline import draw

    changed = originals if augmentation is None else draw(augmentation, originals)
    if mixing is None:
        return changed
    rows = np.arange(len(originals)) + number * len(originals)
    mixed: NDArray[Any] = np.rint(np.asarray(MixImages()(changed, mixing.plan(rows), training=True)))
    return mixed


def _describe(dataset: Dataset, rows: NDArray[np.int64]) -> str:
    names = dataset.named(rows)
    counts = Counter(dataset.class_counts())
    smallest, largest = min(counts.items(), key=lambda item: item[1]), max(counts.items(), key=lambda item: item[1])
    sizes = f"classes from {smallest[1]:,} images ('{smallest[0]}') to {largest[1]:,} ('{largest[0]}')"
    if smallest[1] == largest[1]:
        sizes = f"{smallest[1]:,} images in each class"
    shown = f"{counted(len(names), 'training image')}, {_how_many_of_each(dataset, rows)}: {' '.join(names)}"
    return f"{dataset!r}\n{shown}\n{sizes}"
