"""One look at every image: numbers and signatures are kept, pixels are not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from sightline.data.decoding.decoder import DecodedImage, reuse_freed_memory
from sightline.data.decoding.tiff import camera_model
from sightline.data.duplicates.fingerprints import Signatures, empty_signatures
from sightline.data.storage.stores import decode_row
from sightline.errors import NotReached, UnreadableImage
from sightline.quality.measures import MEASURES, appearance
from sightline.records import Dataset, Store
from sightline.system.progress import reporter, reporting
from sightline.system.workers import Map, map_in_order, node_name

# A large JPEG is decoded at 1/2, 1/4 or 1/8 of its size, never below this: plenty for whatever is asked here.
LOOKED_AT = (256, 256)
CHUNK = 256
_SAMPLED_SIDE = 256
# One pixel in a thousand may differ: dust, a hot pixel.
_IGNORED_FRACTION = 0.0005


@dataclass(frozen=True, eq=False)
class Survey:
    """What is known of each row after one pass.

    Attributes:
        errors: row to the reason why it cannot be read; the other fields hold nothing there.
        formats: (num_images,) by Pillow's names, "" for arrays.
        suffixes: (num_images,) lower-case with the dot, "" for arrays.
        num_bytes: (num_images,) int64, size of the file, 0 for arrays.
        heights: (num_images,) int64, pixels of the upright image as stored in the file.
        widths: (num_images,) int64.
        orientations: (num_images,) int64, 1 to 8 as Exif counts them; 1 is upright.
        peaks: row to the lightest of 256 levels, of images that are stored with 16 bits.
        brightness: (num_images,) float64, mean over all pixels and channels, 0 to 255.
        spread: (num_images,) int64, levels between the darkest and the lightest of 99.9 % of
            the pixels, in the channel where they differ most.
        cameras: (num_images,) models by EXIF, "" where the file is silent.
        appearance: (num_images, 5) float32, as `sightline.quality.appearance.MEASURES`.
        signatures: for finding copies.
    """

    errors: dict[int, str]
    formats: list[str]
    suffixes: list[str]
    num_bytes: NDArray[np.int64]
    heights: NDArray[np.int64]
    widths: NDArray[np.int64]
    orientations: NDArray[np.int64]
    peaks: dict[int, int]
    brightness: NDArray[np.float64]
    spread: NDArray[np.int64]
    cameras: list[str]
    appearance: NDArray[np.float32]
    signatures: Signatures

    def __len__(self) -> int:
        return len(self.brightness)

    @property
    def readable(self) -> NDArray[np.bool_]:
        """(num_images,) True where the image could be read."""
        mask = np.ones(len(self), dtype=bool)
        mask[list(self.errors)] = False
        return mask


def survey(dataset: Dataset, *, each: Map | None = None) -> Survey:
    """Look at every image once, with as many threads as there are cores; a few hundred bytes an image are kept.

    Files are looked at by `each`, a map of 256 at a time, where one is given; it may be a cluster's.
    """
    blank = _blank(len(dataset))
    if isinstance(dataset.images, Store) and each is not None:
        _have_looked_at(dataset.images, blank, each)
    elif isinstance(dataset.images, Store):
        _look_at_files(dataset.images, blank)
    else:
        _look_at_arrays(dataset.images, blank)
    return blank


def _blank(num_images: int) -> Survey:
    def zeros() -> NDArray[np.int64]:
        return np.zeros(num_images, dtype=np.int64)

    return Survey(
        errors={},
        formats=[""] * num_images,
        suffixes=[""] * num_images,
        num_bytes=zeros(),
        heights=zeros(),
        widths=zeros(),
        orientations=zeros() + 1,
        peaks={},
        brightness=np.zeros(num_images),
        spread=zeros(),
        cameras=[""] * num_images,
        appearance=np.zeros((num_images, len(MEASURES)), np.float32),
        signatures=empty_signatures(num_images),
    )


def _have_looked_at(files: Store, into: Survey, each: Map) -> None:
    """As `_look_at_files`, wherever `each` does it."""
    starts = range(0, len(files), CHUNK)
    parts = (files.take(np.arange(first, min(first + CHUNK, len(files)))) for first in starts)
    with reporter().bar("auditing", total=len(files)) as bar:
        for first, (part, node) in zip(starts, each(_survey_of, parts), strict=True):
            rows = slice(first, first + len(part))
            for field in dataclasses.fields(Survey):
                found, whole = getattr(part, field.name), getattr(into, field.name)
                if isinstance(whole, dict):
                    whole |= {first + row: value for row, value in found.items()}
                elif isinstance(whole, Signatures):
                    for name in (column.name for column in dataclasses.fields(Signatures)):
                        getattr(whole, name)[rows] = getattr(found, name)
                else:
                    whole[rows] = found
            _look_again(files, [first + row for row in part.errors], into, node)
            bar.advance(len(part))


def _survey_of(files: Store) -> tuple[Survey, str]:
    """What is known of some files, and on which machine it was found out."""
    found = _blank(len(files))
    with reporting("quiet"):
        _look_at_files(files, found)
    return found, node_name()


def _look_again(files: Store, rows: Sequence[int], into: Survey, node: str) -> None:
    """What cannot be read there may be readable here: then that machine lacks it."""
    here = _blank(len(into))
    for row in rows:
        try:
            _look_at_file(files, row, here)
        except UnreadableImage:
            continue
        raise NotReached(
            f"{node} cannot read what this machine reads: {files.names[row]}: {into.errors[row]} Bring the images "
            "under the same path on each node."
        )


def _look_at_files(files: Store, into: Survey) -> None:
    def look(row: int) -> None:
        try:
            _look_at_file(files, row, into)
        except UnreadableImage as error:
            into.errors[row] = str(error)

    reuse_freed_memory()
    _with_threads(look, len(files))
    ordered = dict(sorted(into.errors.items()))
    into.errors.clear()
    into.errors.update(ordered)


def _with_threads(look: Callable[[int], None], num_images: int) -> None:
    with reporter().bar("auditing", total=num_images) as bar:
        for _ in map_in_order(look, range(num_images)):
            bar.advance(1)


def _look_at_file(files: Store, row: int, into: Survey) -> None:
    picture = decode_row(files, row, color_mode="rgb", minimum_size=LOOKED_AT)
    into.formats[row], into.orientations[row] = picture.format, picture.orientation
    if picture.bits > 8:
        into.peaks[row] = int(picture.pixels.max())
    into.suffixes[row] = PurePosixPath(files.names[row]).suffix.lower()
    into.num_bytes[row] = len(picture.stored)
    into.heights[row], into.widths[row] = picture.height, picture.width
    into.cameras[row] = camera_model(picture.stored)
    _measure(picture, row, into)


def _measure(decoded: DecodedImage, row: int, into: Survey) -> None:
    image = decoded.pixels
    step = max(1, int(np.ceil(max(image.shape[:2]) / _SAMPLED_SIDE)))
    sample = image[::step, ::step]
    into.brightness[row] = sample.mean()
    into.spread[row] = spreads(sample[np.newaxis])[0]
    into.appearance[row] = appearance(sample)
    into.signatures.put(row, image, picture=decoded.picture)


def _look_at_arrays(images: NDArray[np.uint8], into: Survey) -> None:
    into.heights[:], into.widths[:] = images.shape[1:3]
    with reporter().bar("auditing", total=len(images)) as bar:
        for first in range(0, len(images), CHUNK):
            rows = slice(first, first + CHUNK)
            portion = images[rows]
            into.brightness[rows] = portion.mean(axis=(1, 2, 3))
            into.spread[rows] = spreads(portion)
            for row, image in enumerate(portion, start=first):
                into.appearance[row] = appearance(image)
                into.signatures.put(row, image)
            bar.advance(len(portion))


def spreads(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How far apart the pixels of each image are, dust aside.

    Args:
        images: (num_images, height, width, channels) uint8.

    Returns:
        (num_images,) int64, 0 to 255: levels between the darkest and the lightest of the middle
        99.9 % of the pixels, in the channel where they differ most. 0 is a single colour.
    """
    channels = np.moveaxis(images, 3, 1).reshape(len(images), images.shape[3], -1)
    # "stable" is a radix sort for bytes, ten times as fast as the usual one.
    flat = np.sort(channels, axis=2, kind="stable")
    cut = int(_IGNORED_FRACTION * flat.shape[2])
    apart = flat[:, :, flat.shape[2] - 1 - cut].astype(np.int64) - flat[:, :, cut]
    return np.asarray(apart.max(axis=1), dtype=np.int64)
