"""What the network will be fed: size, colour and what surrounds the object, settled from the images."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sightline.configuration.schema import DataRecipe
from sightline.data.storage.stores import decode_row, image_sizes
from sightline.errors import InvalidSource, InvalidValue, UnreadableImage
from sightline.records import Dataset, InputSpec, Store

Background = Literal["dark", "light", "mixed"]

# Three quarters of the border must agree, since an object may touch it. Paper in a dim room is still near 110;
# between the two limits nothing is claimed.
_DARK, _LIGHT = 80, 110
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
# Share of the images whose borders must agree, so that a whole source has that background; else it is mixed.
_ENOUGH = 0.95
_MAX_SAMPLE = 2000
_MIN_CONTRAST = 40

# Photographs are brought to this side where the recipe says "auto".
USUAL_SIDE = 64
NUM_SAMPLED = 64


def background_of(image: NDArray[np.uint8]) -> Background:
    """Whether the border of one image, uint8, decoded and not yet padded, is dark, light or neither.

    "dark" if three quarters of its pixels are at most 80, "light" if three quarters are at least 110, else "mixed".
    """
    if image.ndim != 3:
        raise InvalidValue(f"an image must have the shape (height, width, channels); got {image.shape}.")
    is_dark, is_light = _dark_and_light(image[np.newaxis])
    return "dark" if is_dark[0] else "light" if is_light[0] else "mixed"


def background_of_dataset(images: NDArray[np.uint8]) -> Background:
    """What the network will learn as the background of its training images.

    Args:
        images: (num_images, height, width, channels) uint8, not padded. At most
            2,000 of them, evenly spaced, are looked at.
    """
    if images.ndim != 4:
        raise InvalidValue(f"images must have the shape (num_images, height, width, channels); got {images.shape}.")
    if len(images) == 0:
        return "mixed"
    rows = np.linspace(0, len(images) - 1, min(len(images), _MAX_SAMPLE)).astype(np.int64)
    is_dark, is_light = _dark_and_light(images[rows])
    if is_dark.mean() >= _ENOUGH:
        return "dark"
    return "light" if is_light.mean() >= _ENOUGH else "mixed"


def looks_inverted(image: NDArray[np.uint8], spec: InputSpec) -> bool:
    """True if an image is clearly the inverse of what the network learned from.

    A dark digit on white paper, shown to a network that learned light digits on
    black, is the usual case: the border is of the other kind, and what differs most from it
    does so in the other direction. Where the training images had no common background,
    nothing can be said.

    Args:
        image: (height, width, channels) uint8, decoded and not yet padded or resized.
        spec: what the network is fed; its `background` is compared.
    """
    opposite = {"dark": "light", "light": "dark"}.get(spec.background)
    if opposite is None or background_of(image) != opposite:
        return False
    border = float(np.median(_border_levels(image[np.newaxis])))
    # Every 4th pixel of a large photograph says the same in a sixteenth of the time.
    step = max(1, min(image.shape[:2]) // 256)
    lowest, highest = np.percentile(_levels(image[::step, ::step]), [0.5, 99.5])
    below, above = border - lowest, highest - border
    return bool(below >= max(_MIN_CONTRAST, above) if opposite == "light" else above >= max(_MIN_CONTRAST, below))


def _dark_and_light(images: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    border = _border_levels(images)
    lower, upper = np.percentile(border, [25, 75], axis=1)
    return upper <= _DARK, lower >= _LIGHT


def _border_levels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(num_images, num_border_pixels), a ring about 1/30 of the shorter side wide."""
    height, width = images.shape[1:3]
    ring = max(1, min(height, width) // 30)
    sides = slice(ring, max(height - ring, ring))
    # Four strips: a mask of the whole image takes longer than decoding it.
    strips = (
        images[:, :ring],
        images[:, max(height - ring, ring) :],
        images[:, sides, :ring],
        images[:, sides, max(width - ring, ring) :],
    )
    return np.concatenate([_levels(strip.reshape(len(images), -1, images.shape[-1])) for strip in strips], axis=1)


def _levels(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Brightness, 0 to 255, of pixels whose last axis is the channel."""
    if pixels.shape[-1] == 3:
        # Rounded, so that grey stored as three equal channels is exactly that grey.
        levels: NDArray[np.float32] = np.rint(pixels.astype(np.float32) @ _LUMA)
        return levels
    return pixels[..., 0].astype(np.float32)


def natural_shape(dataset: Dataset) -> tuple[int, int, int]:
    """The (height, width, channels) that a recipe's "auto" stands for.

    Of arrays their own; of files, of which up to 64 are looked at, a square: the median longer side, 64 at
    most; one channel only if every looked-at file is grey.

    Raises:
        InvalidSource: none of the looked-at files is an image.
    """
    if not isinstance(dataset.images, Store):
        height, width, channels = dataset.images.shape[1:]
        return height, width, channels
    sizes = image_sizes(dataset.images, _sample(np.arange(len(dataset)), NUM_SAMPLED))
    readable = sizes[sizes[:, 0] > 0]
    if not len(readable):
        raise InvalidSource(
            f"{dataset.name}: none of {len(sizes)} files looked at can be read; the first: "
            f"{dataset.row_ids[0]}: {_why_unreadable(dataset.images)} Run `sightline audit`."
        )
    side = min(int(np.median(readable[:, :2].max(axis=1))), USUAL_SIDE)
    return side, side, 1 if (readable[:, 2] == 1).all() else 3


def input_spec(dataset: Dataset, rows: NDArray[np.int64], data: DataRecipe) -> InputSpec:
    """What the network will be fed, with the background of the images: the specification that goes into the bundle.

    Args:
        dataset: where the images are.
        rows: rows that may decide on the background; never test rows that the source gives.
        data: resolved: a number for the size, "grey" or "rgb" for the colour.
    """
    height = width = int(data.image_size)
    if isinstance(dataset.images, Store):
        background = _background_of_files(dataset.images, _sample(rows, NUM_SAMPLED))
    else:
        if max(dataset.images.shape[1:3]) == height:
            height, width = dataset.images.shape[1:3]
        background = background_of_dataset(dataset.images[_sample(rows, 2000)])
    return InputSpec(height, width, data.color_mode, data.resize, background)  # type: ignore[arg-type]  # checked names


def _why_unreadable(files: Store) -> str:
    try:
        decode_row(files, 0, color_mode="grey", minimum_size=(USUAL_SIDE, USUAL_SIDE))
    except UnreadableImage as error:
        return str(error)
    return "its header is damaged."


def _sample(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.int64)]


def _background_of_files(files: Store, rows: NDArray[np.int64]) -> Any:
    """The background that at least 95 % of the readable files share, else "mixed"."""
    found = []
    for row in rows.tolist():
        try:
            image = decode_row(files, row, color_mode="grey", minimum_size=(USUAL_SIDE, USUAL_SIDE)).pixels
        except UnreadableImage:
            continue
        found.append(background_of(image))
    for background in ("dark", "light"):
        if found and found.count(background) >= 0.95 * len(found):
            return background
    return "mixed"
