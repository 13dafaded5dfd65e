"""Which training images a network sees most alike: their names in `neighbours.npz`, if asked for thumbnails beside.

The graph tells which of them are nearest; here is what they are called. Of data that must not travel, nothing is kept.
"""

from __future__ import annotations

import io
import json
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.errors import InvalidBundle, InvalidValue
from sightline.metrics.novelty import NEIGHBOURS
from sightline.records import Bundle, Neighbours
from sightline.system.files import write_arrays
from sightline.system.stored import read_arrays
from sightline.system.text import shorten

FILE, THUMBNAILS = "neighbours.npz", "thumbnails.npz"
ROWS, DISTANCES = "nearest", "nearest_distances"
# Of an image's longer side.
THUMBNAIL_PIXELS = 96
_QUALITY = 70
MOST_NAMED = 1_000
_MOST_BYTES, _MOST_THUMBNAIL_BYTES = 4 * 2**20, 64 * 2**20
# A longer one, six bytes a letter that is not English, is shortened: so many of them always fit.
_MOST_NAME_BYTES = 4_000


@dataclass(frozen=True, eq=False)
class NamedImages:
    """Training images that may be named as nearest.

    Attributes:
        names: (num_images,) str, by which the source calls them.
        labels: (num_images,) int32, their classes.
    """

    names: NDArray[np.str_]
    labels: NDArray[np.int32]


def write_neighbours(folder: Path, names: Sequence[str], labels: NDArray[np.int64]) -> int:
    """Write `neighbours.npz` into a bundle in the making; how many bytes it has.

    Args:
        folder: of the bundle.
        names: in the order of the graph's bank.
        labels: of them.
    """
    # As JSON, a name that is no text of UTF-8 is text, and a long one costs the others nothing.
    named = [shorten(str(name), lambda text: len(json.dumps(text)) <= _MOST_NAME_BYTES) for name in names]
    told = np.frombuffer(json.dumps(named).encode(), np.uint8)
    return write_arrays(folder / FILE, names=told, labels=np.asarray(labels, np.int32))


def write_thumbnails(folder: Path, images: NDArray[np.uint8]) -> int:
    """Write `thumbnails.npz`, a WebP an image; how many bytes it has.

    Args:
        folder: of the bundle.
        images: (num_images, height, width, channels) in the order of the names, as the network is fed them.
    """
    pictures = [_thumbnail(image) for image in images]
    return write_arrays(
        folder / THUMBNAILS,
        pictures=np.frombuffer(b"".join(pictures), np.uint8),
        sizes=np.array([len(picture) for picture in pictures], np.int64),
    )


def _thumbnail(image: NDArray[np.uint8]) -> bytes:
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    picture.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=_QUALITY)
    return stream.getvalue()


def read_neighbours(bundle: Bundle) -> NamedImages:
    """The images that a bundle can name; an InvalidBundle of one that was made without, or where it is damaged."""
    path = bundle.path / FILE
    outputs = bundle.manifest.get("outputs", {})
    if bundle.manifest.get("kind") == "embedded":
        raise InvalidBundle(
            "imagenet: cannot name the nearest training images: none of them came with it. Train a bundle on images of "
            "yours, or ask without nearest."
        )
    if bundle.manifest.get("kind") == "adopted":
        raise InvalidBundle(
            f"{bundle.path}: cannot name the nearest training images: it was adopted, and none of them came with it. "
            "Train a bundle on images of yours, or ask without nearest."
        )
    if "neighbours" not in bundle.capabilities or ROWS not in outputs or DISTANCES not in outputs:
        raise InvalidBundle(
            f"{bundle.path}: cannot name the nearest training images: it was made with --neighbours none, "
            "with too few of them, or by an earlier Sightline. Train again with --neighbours names and more images, or "
            "ask without nearest."
        )
    try:
        return _checked(
            read_arrays(path, names=("names", "labels"), most_bytes=_MOST_BYTES), num_classes=len(bundle.class_names)
        )
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InvalidBundle(f"{path}: cannot be read ({error}). Copy the whole bundle again.") from error


def _checked(arrays: dict[str, NDArray[Any]], *, num_classes: int) -> NamedImages:
    told, labels = arrays["names"], arrays["labels"]
    if told.dtype != np.uint8 or told.ndim != 1:
        raise ValueError("its names are not text")
    names = json.loads(told.tobytes().decode("ascii"))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("its names are no list of text")
    if labels.dtype != np.int32 or labels.shape != (len(names),) or not 0 < len(names) <= MOST_NAMED:
        raise ValueError("its labels are not one a name, or there are none or too many")
    if not ((labels >= 0) & (labels < num_classes)).all():
        raise ValueError("its labels are not those of classes")
    return NamedImages(np.array(names, dtype=object), labels)


def read_thumbnails(bundle: Bundle) -> tuple[bytes, ...] | None:
    """A WebP of each of the named images, in their order; None where they did not travel."""
    if "thumbnails" not in bundle.capabilities:
        return None
    path = bundle.path / THUMBNAILS
    try:
        arrays = read_arrays(path, names=("pictures", "sizes"), most_bytes=_MOST_THUMBNAIL_BYTES)
        pictures, sizes = arrays["pictures"], arrays["sizes"]
        if pictures.dtype != np.uint8 or pictures.ndim != 1 or sizes.dtype != np.int64 or sizes.ndim != 1:
            raise ValueError("its pictures are not bytes with their sizes")
        if len(sizes) > MOST_NAMED or (sizes < 0).any() or sizes.sum() != len(pictures):
            raise ValueError("its sizes are not those of its pictures")
    except (OSError, ValueError, TypeError) as error:
        raise InvalidBundle(f"{path}: cannot be read ({error}). Copy the whole bundle again.") from error
    ends = np.cumsum(sizes).tolist()
    return tuple(pictures[start:end].tobytes() for start, end in zip([0, *ends], ends, strict=False))


def neighbours_section(num_images: int, num_bytes: int = 0, thumbnail_bytes: int | None = None) -> str:
    """What the card says of it: what of the data travels."""
    if not num_images:
        said = (
            "None: no training image is named, and neither a picture of a single one nor what the network sees of it "
            "is kept to compare others with."
        )
    else:
        said = (
            f"`predict --nearest 3` names the training images that the network sees most alike, of {num_images:,} "
            f"whose names are in the bundle (`{FILE}`, {num_bytes:,} bytes), with where it sees them in its graph. "
            "`--neighbours none` keeps neither."
        )
    if thumbnail_bytes is not None:
        said += (
            f" `{THUMBNAILS}` ({thumbnail_bytes:,} bytes) holds a picture of each, {THUMBNAIL_PIXELS} pixels wide or "
            "high at most: who gets the bundle can see them."
        )
    return f"\n## The nearest training images\n\n{said}\n"


@dataclass(frozen=True, eq=False)
class NeighboursMaker:
    """Names the nearest training images; a `DetailMaker`.

    Attributes:
        promise: as JSON tells it: nearest, num_images.
        in_words: the same for a person.
        named: what may be named.
        class_names: of the bundle.
        path: of the bundle.
    """

    outputs = (ROWS, DISTANCES)

    promise: dict[str, Any]
    in_words: str
    named: NamedImages
    class_names: tuple[str, ...]
    path: Path

    def make(self, found: Mapping[str, NDArray[np.float32]], images: Any) -> Neighbours:  # noqa: ARG002  # a seam
        """The nearest first; none for a row that could not be read."""
        count = self.promise["nearest"]
        rows, distances = found[ROWS][:, :count], found[DISTANCES][:, :count]
        if rows.shape != distances.shape or rows.shape[1:] != (count,):
            raise InvalidBundle(f"{self.path}: model.onnx gives '{ROWS}' of shape {rows.shape}. Copy it again.")
        places = np.nan_to_num(rows).astype(np.int64)
        if not ((places >= 0) & (places < len(self.named.names))).all():
            raise InvalidBundle(f"{self.path}: model.onnx names images that {FILE} does not know. Copy it again.")
        classes = np.array(self.class_names, dtype=object)[self.named.labels[places]]
        is_told = np.isfinite(rows)
        names = np.where(is_told, self.named.names[places], "")
        return Neighbours(names, np.where(is_told, classes, ""), distances)


def neighbours_maker(bundle: Bundle, count: int | None) -> NeighboursMaker | None:
    """What names so many, before anything is decoded; None where none are asked for."""
    if count is None:
        return None
    if isinstance(count, bool) or not isinstance(count, numbers.Integral) or not 1 <= count <= NEIGHBOURS:
        raise InvalidValue(f"nearest must be a whole number from 1 to {NEIGHBOURS}; got {count!r}.")
    named = read_neighbours(bundle)
    shown = min(int(count), len(named.names))
    words = f"nearest are told of {len(named.names):,} training images: like for the network, whatever they show"
    promise = {"nearest": shown, "num_images": len(named.names)}
    return NeighboursMaker(promise, words, named, bundle.class_names, bundle.path)
