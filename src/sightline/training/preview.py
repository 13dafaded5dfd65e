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
    count: int = 25,
    augmented: bool = False,
    recipe: str | Path | Recipe | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
) -> ImageSheet:
    """Draw the first training images with their labels.

    Args:
        source: whatever `sightline.load` takes.
        count: how many, 1 to 400.
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
        >>> sightline.show("mnist", count=5).labels
        ('5', '0', '4', '1', '9')
    """
    if not (isinstance(count, int) and not isinstance(count, bool) and 1 <= count <= MOST_IMAGES):
        raise InvalidValue(f"count must be a whole number from 1 to {MOST_IMAGES}; got {count!r}.")
    path = Path(out) if out is not None else None
    check_output("out", path, keep=places_of(source), overwrite=overwrite)
    source, asked = (source, recipe) if isinstance(recipe, Recipe) else opened_and_chosen(source, recipe)
    dataset = open_as_recipe_says(source, asked.data)
    for remark in dataset.remarks:
        reporter().say(f"note: {remark}")
    candidates = np.flatnonzero((dataset.given_splits == "train") | (dataset.given_splits == ""))
    rows = candidates[:count]
    images, errors = raw_images(dataset, rows)
    rows = np.array([row for row in rows.tolist() if row not in errors], dtype=np.int64)
    for row, reason in errors.items():
        reporter().say(f"{dataset.row_ids[row]}: {reason}")
    if not len(rows):
        raise InvalidSource(f"{dataset.name}: none of the first {count} files is an image. Run `sightline audit`.")
    labels = dataset.labels[rows]
    names = dataset.named(rows)
    title = f"{dataset.name}: the first {len(rows)} training images"
    if augmented:
        with usual_keras():
            png = _augmented(dataset, rows, asked, title)
    else:
        png = example_sheet(images, labels, class_names=dataset.class_names, title=title)
    if path is not None:
        write_atomically(path, png)
    return ImageSheet(png, names, _describe(dataset, names), path)


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


def _describe(dataset: Dataset, names: tuple[str, ...]) -> str:
    counts = Counter(dataset.class_counts())
    smallest, largest = min(counts.items(), key=lambda item: item[1]), max(counts.items(), key=lambda item: item[1])
    sizes = f"classes from {smallest[1]:,} images ('{smallest[0]}') to {largest[1]:,} ('{largest[0]}')"
    if smallest[1] == largest[1]:
        sizes = f"{smallest[1]:,} images in each class"
    return f"{dataset!r}\nthe first {len(names)} training images: {' '.join(names)}\n{sizes}"
