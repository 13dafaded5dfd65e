"""Run a bundle on images with ONNX Runtime: no Keras, one decoder, an error row for what cannot be read."""

from __future__ import annotations

import contextlib
import functools
import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.bundle import load_bundle
from sightline.bundles.given_images import GivenImage, find_images, given_images, paths_of
from sightline.bundles.sessions import Session, session_of
from sightline.bundles.trust.abstention import USUAL_CERTAINTY
from sightline.bundles.trust.details import Asked, DetailMaker, detail_makers
from sightline.bundles.trust.sets import USUAL_SCORE
from sightline.data.decoding.decoder import reuse_freed_memory
from sightline.data.decoding.transforms import change_color
from sightline.data.inputs.pixels import Pixels, decoding_size, read_pixels
from sightline.data.inputs.properties import MEASURED, OUTPUT, measured_rows
from sightline.data.inputs.reading import Reader, Reading
from sightline.data.storage.stores import decode_row
from sightline.errors import InvalidValue, UnreadableImage
from sightline.records import MOST_SHOWN, Bundle, Dataset, Predictions, Run, Store
from sightline.system.progress import reporter, reporting
from sightline.system.text import listed
from sightline.system.workers import Item, map_in_order
from sightline.tasks.table import has_several_labels

CHUNK = 64
# Outputs of a network that a prediction is made of; only an ensemble has the second.
ANSWERS = ("logits", "disagreement")

# Of details by their names.
Makers = Mapping[str, DetailMaker]
NO_MAKERS: Makers = MappingProxyType({})
# Of each bundle in use the promises that were told last: whoever asks image by image reads them once.
_TOLD: weakref.WeakKeyDictionary[Bundle, Makers] = weakref.WeakKeyDictionary()


def predict(  # noqa: PLR0913  # each is an option of the command line, and none is a group of others
    bundle: str | Path | Bundle | Run,
    images: Any,
    *,
    invert: bool = False,
    coverage: float | None = None,
    per_class: bool = False,
    score: str = USUAL_SCORE,
    max_error: float | None = None,
    novelty: float | None = None,
    certainty: float = USUAL_CERTAINTY,
    nearest: int | None = None,
    features: bool = False,
    progress: bool = True,
) -> Predictions:
    """What a bundle says of images. An unreadable file is a row with an error.

    Args:
        bundle: a bundle or a run, or its folder.
        images: a path, folders being searched through, the bytes of a file, an open file, a Pillow image, or
            pixels as a uint8 array (height, width) or (height, width, 1 or 3), of any size; several of them as a
            list, a generator or an array (num_images, height, width, 1 or 3); or a Dataset.
        invert: turn light into dark first, for pictures that are the inverse of the training images.
        coverage: answer with sets of classes, too (`sets`, `named_sets`), which hold the right one for this share of
            images like the calibration images: 0.95 for 95 %. It is a promise about many images, not about one.
        per_class: keep that promise for the images of each class by themselves.
        score: by what classes are put into a set: "lac" makes the smallest sets; "aps" larger ones, which grow where
            an image is hard; "raps" those without their long tails.
        max_error: mark answers as unsure (`unsure`), so that at most this share of the others is wrong on images like
            the calibration images: 0.01 for 1 %. The answers themselves stay.
        novelty: mark images unlike those it learned (`novelty`), and of images like the calibration images at most this
            share: 0.05 for 5 %. Images of classes that look like learned ones are often not marked.
        certainty: with which max_error and novelty are kept, as calibration images are but a sample: in 95 of 100
            trainings for 0.95.
        nearest: name so many training images, up to 5, that the network sees most alike (`details["neighbours"]`).
        features: hand on what the network sees before it decides, too (`details["features"].values`).
        progress: False prints nothing.

    Returns:
        One row an image, in the order given, folders sorted by name.

    Raises:
        InvalidBundle: the bundle cannot be used, or was made without calibration images and cannot promise anything,
            or without names of training images.
        InvalidValue: no image was given, an array is not uint8, or its shape may be read in two ways; a coverage, a
            max_error or a novelty that is none, or needs more calibration images than there are.

    Example:
        >>> from PIL import Image
        >>> import sightline
        >>> answers = sightline.predict("imagenet", Image.new("RGB", (224, 224), "white"), progress=False)
        >>> answers.predicted  # a class there is always; of a white wall, one it is hardly sure of
        ('nematode',)
        >>> bool(answers.confidences[0] < 0.1)
        True
    """
    opened = load_bundle(bundle.bundle if isinstance(bundle, Run) else bundle)
    asked = Asked(coverage, per_class, score, max_error, certainty, novelty, nearest, features)
    makers = detail_makers(opened, asked)
    with reporting(None if progress else "quiet"):
        if progress and _TOLD.get(opened) is not makers:
            _TOLD[opened] = makers
            say_promises(makers)
        return predict_with(opened, images, makers, invert=invert)


def say_promises(makers: Makers) -> None:
    """Tell what is promised of answers, before they come."""
    for maker in makers.values():
        if maker.in_words:
            reporter().say(maker.in_words)


def predict_with(bundle: Bundle, images: Any, makers: Makers, *, invert: bool = False) -> Predictions:
    """As `predict`, with details made by these.

    Args:
        bundle: an opened bundle.
        images: as `predict` takes them.
        makers: by the names of what they make.
        invert: turn light into dark first.
    """
    if isinstance(images, Dataset):
        return _predict_whole(bundle, images, invert=invert, makers=makers)
    if (names := paths_of(images)) is None:
        return _join(bundle, list(_predict_given(bundle, images, invert=invert, makers=makers)))
    paths = find_images(names)
    with reporter().bar("predicting", total=len(paths)) as bar:
        portions = []
        for portion in predict_files(bundle, paths, invert=invert, makers=makers):
            portions.append(portion)
            bar.advance(len(portion))
    return _join(bundle, portions)


def _predict_whole(bundle: Bundle, dataset: Dataset, *, invert: bool, makers: Makers) -> Predictions:
    """Predictions for all of a Dataset; with its labels where the bundle knows its classes."""
    rows = np.arange(len(dataset))
    present = (name for name, count in dataset.class_counts().items() if count)
    unknown = [name for name in present if name not in bundle.class_names]
    if unknown:
        names = listed(unknown, most=5)
        reporter().say(f"note: the bundle does not know the classes {names}; the predictions carry no labels")
    if not invert:
        return predict_dataset(bundle, dataset, rows, with_labels=not unknown, makers=makers)
    found = _join(bundle, list(_predict_inverted(bundle, dataset, makers)))
    return replace(found, labels=None if unknown else match_labels(bundle.class_names, dataset, rows))


def _predict_inverted(bundle: Bundle, dataset: Dataset, makers: Makers) -> Iterator[Predictions]:
    """From the images themselves: what the cache holds has a border, which must not be inverted."""
    answerer = Answerer(bundle, session_of(bundle), invert=True, makers=makers)
    names = dataset.row_ids.tolist()
    yield from answerer.portions(range(len(names)), names.__getitem__, lambda row: answerer.read_row(dataset, row))


def outputs_of(makers: Makers) -> tuple[str, ...]:
    """The outputs of a graph that answers with these details are made of."""
    return (*ANSWERS, *dict.fromkeys(name for maker in makers.values() for name in maker.outputs))


def predict_dataset(
    bundle: Bundle,
    dataset: Dataset,
    rows: NDArray[np.int64],
    *,
    with_labels: bool = True,
    pixels: Pixels | None = None,
    makers: Makers = NO_MAKERS,
) -> Predictions:
    """Predictions for rows of a Dataset, with their labels matched to the bundle's classes by name.

    Args:
        bundle: an opened bundle.
        dataset: where the images are.
        rows: (num_images,) row indices.
        with_labels: False leaves the labels out, whatever the classes are called.
        pixels: of these rows, where they were read already.
        makers: of what was asked for beside the class.

    Raises:
        InvalidValue: the rows hold a class that the bundle does not know; its name is in the message.
    """
    if with_labels and has_several_labels(dataset.task) != has_several_labels(bundle.task):
        raise InvalidValue(
            f"the source '{dataset.name}' is labelled as {dataset.task.name}, and {bundle.path} answers as "
            f"{bundle.task.name}. Open it as the bundle does: load(..., task='{bundle.task.name}')."
        )
    labels = match_labels(bundle.class_names, dataset, rows) if with_labels else None
    chosen = dataset.take(rows)
    if pixels is None:
        pixels = read_pixels(chosen, bundle.input)
    found = session_of(bundle).collect(pixels, outputs_of(makers), with_progress=True)
    if OUTPUT in outputs_of(makers):
        found[OUTPUT] = measured_rows(chosen, pixels, bundle.input)
    for part in found.values():
        part[list(pixels.errors)] = np.nan
    errors = tuple(pixels.errors.get(row) for row in range(len(rows)))
    return Predictions.of(
        chosen.row_ids,
        found["logits"],
        class_names=bundle.class_names,
        temperature=bundle.temperature,
        labels=labels,
        errors=errors,
        disagreements=found.get("disagreement"),
        details={name: maker.make(found, pixels) for name, maker in makers.items()},
        task=bundle.task,
        shown=np.array(pixels[:MOST_SHOWN]),
    )


def match_labels(class_names: tuple[str, ...], dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels of some rows of a dataset as indices into other class names, matched by name.

    Returns:
        (num_rows,) int64 indices into `class_names`.

    Raises:
        InvalidValue: a class of these rows is not among `class_names`.
    """
    label_of = {name: label for label, name in enumerate(class_names)}
    numbers = np.array([label_of.get(name, -1) for name in dataset.class_names], dtype=np.int64)
    is_unknown = (dataset.counts(rows) > 0) & (numbers < 0)
    if is_unknown.any():
        unknown = [dataset.class_names[number] for number in np.flatnonzero(is_unknown)]
        raise InvalidValue(
            f"the source '{dataset.name}' has classes the bundle does not know: {listed(unknown, most=5)}. "
            f"The bundle knows: {listed(class_names, most=20)}. Call them as it does, or leave them out."
        )
    return dataset.task.renumbered(dataset.labels[rows], numbers, num_classes=len(class_names))


def predict_files(
    bundle: Bundle,
    paths: Iterable[str],
    *,
    invert: bool = False,
    makers: Makers = NO_MAKERS,
) -> Iterator[Predictions]:
    """Predictions in portions, as they come: what a long list of files is read with.

    Args:
        bundle: an opened bundle.
        paths: image files.
        invert: turn light into dark first.
        makers: of what was asked for beside the class.

    Yields:
        Predictions of up to 64 files each, in order.

    Raises:
        InvalidBundle: ONNX Runtime refuses the network.
    """
    answerer = Answerer(bundle, session_of(bundle), invert, makers)
    yield from answerer.portions(paths, str, answerer.read_file)


def predict_stored(
    bundle: Bundle, store: Store, rows: Iterable[int], *, invert: bool = False, makers: Makers = NO_MAKERS
) -> Iterator[Predictions]:
    """As `predict_files`, of images that lie somewhere encoded, by the names that they have there."""
    answerer = Answerer(bundle, session_of(bundle), invert, makers=makers)
    yield from answerer.portions(rows, store.names.__getitem__, lambda row: answerer.read_stored(store, row))


def _predict_given(bundle: Bundle, images: Any, *, invert: bool, makers: Makers) -> Iterator[Predictions]:
    answerer = Answerer(bundle, session_of(bundle), invert=invert, makers=makers)
    yield from answerer.portions(_expanded(given_images(images)), lambda image: image.name, answerer.read_given)


def _expanded(images: Iterable[GivenImage]) -> Iterator[GivenImage]:
    for image in images:
        if isinstance(image.content, str):
            yield from (GivenImage(path, path) for path in find_images([image.content]))
        else:
            yield image


@dataclass(frozen=True, eq=False)
class Answerer:
    """A bundle at work: readings of images in, Predictions out."""

    bundle: Bundle
    session: Session
    invert: bool
    makers: Makers = field(default_factory=dict)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Of the graph, what its answers are made of."""
        return outputs_of(self.makers)

    @functools.cached_property
    def reader(self) -> Reader:
        """How its images are read."""
        return Reader(self.bundle.input, self.invert, with_properties=OUTPUT in self.outputs)

    def read_file(self, file: str | bytes) -> Reading:
        """An image file, or its bytes."""
        return self.reader.file(file if isinstance(file, bytes) else Path(file))

    def read_row(self, dataset: Dataset, row: int) -> Reading:
        """An image of a Dataset."""
        if isinstance(dataset.images, Store):
            return self.read_stored(dataset.images, row)
        return self.reader.decoded(change_color(dataset.images[row], self.bundle.input.color_mode))

    def read_stored(self, store: Store, row: int) -> Reading:
        """An image that lies somewhere encoded."""
        spec = self.bundle.input
        try:
            picture = decode_row(store, row, color_mode=spec.color_mode, minimum_size=decoding_size(spec))
        except UnreadableImage as error:
            return Reading(None, error=str(error))
        return self.reader.decoded(picture.pixels, picture)

    def read_given(self, image: GivenImage) -> Reading:
        """An image as a caller hands it over."""
        content = image.content
        if isinstance(content, str | bytes):
            return self.read_file(content)
        if isinstance(content, UnreadableImage):
            return Reading(None, error=str(content))
        return self.reader.decoded(change_color(content, self.bundle.input.color_mode))

    def portions(
        self, images: Iterable[Item], name: Callable[[Item], str], read: Callable[[Item], Reading]
    ) -> Iterator[Predictions]:
        """Predictions of up to `CHUNK` images each, in order; several threads read ahead."""
        reuse_freed_memory()
        readings = map_in_order(lambda image: (name(image), read(image)), images)
        with contextlib.closing(readings):  # whoever stops listening waits for what is under way alone
            num_shown = MOST_SHOWN  # of the first portion; of the others no image is held
            while part := list(itertools.islice(readings, CHUNK)):
                yield self.answer([name for name, _ in part], [reading for _, reading in part], num_shown=num_shown)
                num_shown = 0

    def answer(self, names: list[str], readings: list[Reading], *, num_shown: int = 0) -> Predictions:
        """Run the network on what was read; `num_shown` as `tell` takes it."""
        fed = [reading.pixels for reading in readings if reading.pixels is not None]
        pixels = np.stack(fed) if fed else np.zeros((0, *self.bundle.input.shape), np.uint8)
        return self.tell(names, readings, self.session.collect(pixels, self.outputs), num_shown=num_shown)

    def tell(
        self,
        names: list[str],
        readings: list[Reading],
        answered: Mapping[str, NDArray[np.float32]],
        *,
        num_shown: int = 0,
    ) -> Predictions:
        """What a network answered, with its details.

        Args:
            names: of the images.
            readings: of each image.
            answered: by the names of `outputs`, a row for each image that could be read.
            num_shown: how many images at the front the Predictions keep for notebooks.
        """
        pixels = np.zeros((len(names), *self.bundle.input.shape), np.uint8)
        readable = []
        for row, reading in enumerate(readings):
            if reading.pixels is not None:
                pixels[row] = reading.pixels
                readable.append(row)
        found = {}
        for name, part in answered.items():
            found[name] = np.full((len(names), *part.shape[1:]), np.nan, dtype=np.float32)
            found[name][readable] = part
        if OUTPUT in self.outputs:
            nothing = np.full(len(MEASURED), np.nan, np.float32)
            found[OUTPUT] = np.stack([nothing if reading.seen is None else reading.seen for reading in readings])
        return Predictions.of(
            names,
            found["logits"],
            class_names=self.bundle.class_names,
            temperature=self.bundle.temperature,
            errors=[reading.error for reading in readings],
            notices=[reading.notice for reading in readings],
            disagreements=found.get("disagreement"),
            details={name: maker.make(found, pixels) for name, maker in self.makers.items()},
            task=self.bundle.task,
            shown=pixels[:num_shown].copy() if num_shown else None,
        )


def _join(bundle: Bundle, portions: list[Predictions]) -> Predictions:
    if not portions:
        raise InvalidValue("no image was given, so there is nothing to predict.")
    disagreements: list[Any] = [portion.disagreements for portion in portions]
    details = {
        name: type(detail).joined([portion.details[name] for portion in portions])
        for name, detail in portions[0].details.items()
    }
    return Predictions.of(
        [row_id for portion in portions for row_id in portion.row_ids],
        np.concatenate([portion.logits for portion in portions]),
        class_names=bundle.class_names,
        temperature=bundle.temperature,
        errors=[error for portion in portions for error in portion.errors],
        notices=[notice for portion in portions for notice in portion.notices],
        disagreements=None if disagreements[0] is None else np.concatenate(disagreements),
        details=details,
        task=bundle.task,
        shown=portions[0].shown,
    )
