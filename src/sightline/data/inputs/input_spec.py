"""What the network will be fed: size, colour and background, settled from the images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.configuration.schema import DataRecipe
from sightline.data.inputs.backgrounds import background_of, background_of_dataset
from sightline.data.storage.rows import decode_row, image_sizes
from sightline.errors import InvalidSource, UnreadableImage
from sightline.records import Dataset, InputSpec, Store

# Photographs are brought to this side where the recipe says "auto".
USUAL_SIDE = 64
NUM_SAMPLED = 64


def natural_shape(dataset: Dataset) -> tuple[int, int, int]:
    """The size and colour that a recipe's "auto" stands for.

    Args:
        dataset: arrays, which have one shape; or files, of which up to 64 are looked at.

    Returns:
        (height, width, channels). For files a square: the median longer side, 64 at
        most; one channel only if every looked-at file is grey.

    Raises:
        InvalidSource: none of the looked-at files is an image.

    Example:
        >>> import sightline
        >>> natural_shape(sightline.load("mnist"))
        (28, 28, 1)
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
    """What the network will be fed, with the background of the images.

    Args:
        dataset: where the images are.
        rows: rows that may decide on the background; never test rows that the source gives.
        data: resolved: a number for the size, "grey" or "rgb" for the colour.

    Returns:
        The specification that goes into the bundle.

    Example:
        >>> import sightline
        >>> from sightline.configuration.schema import DataRecipe
        >>> spec = input_spec(sightline.load("mnist"), np.arange(100), DataRecipe(image_size=28, color_mode="grey"))
        >>> spec.shape, spec.background
        ((28, 28, 1), 'dark')
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
            image = decode_row(files, row, color_mode="grey", minimum_size=(USUAL_SIDE, USUAL_SIDE))
        except UnreadableImage:
            continue
        found.append(background_of(image))
    for background in ("dark", "light"):
        if found and found.count(background) >= 0.95 * len(found):
            return background
    return "mixed"
