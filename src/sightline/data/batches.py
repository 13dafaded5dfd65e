"""Rows of a Dataset as the uint8 pixels a network is fed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.data.backgrounds import background_of_dataset
from sightline.data.images import resize_image
from sightline.progress import reporter
from sightline.records import ColorMode, Dataset, InputSpec


def input_spec(
    dataset: Dataset, train_rows: NDArray[np.int64], *, size: int, color_mode: str, resize: str
) -> InputSpec:
    """What the network will be fed, with the background of the training images.

    Args:
        dataset: where the images are.
        train_rows: rows that decide on the background.
        size: pixels; images of that longer side and the source's own shape stay as they are.
        color_mode: "grey" or "rgb".
        resize: "fit", "fill" or "stretch".

    Returns:
        The specification that goes into the bundle.

    Raises:
        Nothing.

    Example:
        >>> import sightline
        >>> mnist = sightline.load("mnist")
        >>> input_spec(mnist, np.arange(100), size=28, color_mode="grey", resize="fit").background
        'dark'
    """
    height, width = dataset.images.shape[1:3]
    if size != max(height, width):
        height = width = size
    sample = train_rows[np.linspace(0, len(train_rows) - 1, min(len(train_rows), 2000)).astype(np.int64)]
    background = background_of_dataset(dataset.images[sample])
    return InputSpec(height, width, color_mode, resize, background)  # type: ignore[arg-type]  # checked by the recipe


def network_images(dataset: Dataset, rows: NDArray[np.int64], spec: InputSpec) -> NDArray[np.uint8]:
    """Images at network size; those that have it already are handed on untouched.

    Args:
        dataset: where the images are.
        rows: (num_images,) row indices.
        spec: size, colour mode and resize rule.

    Returns:
        (num_images, height, width, channels) uint8.

    Raises:
        Nothing.

    Example:
        >>> import sightline
        >>> spec = InputSpec(32, 32, "rgb")
        >>> network_images(sightline.load("mnist"), np.arange(2), spec).shape
        (2, 32, 32, 3)
    """
    if dataset.images.shape[1:] == spec.shape:
        return dataset.images[rows]
    resized = np.empty((len(rows), *spec.shape), dtype=np.uint8)
    with reporter().bar("resizing", total=len(rows)) as bar:
        for first in range(0, len(rows), 1000):
            for place, row in enumerate(rows[first : first + 1000], start=first):
                resized[place] = resize_image(change_color(dataset.images[row], spec.color_mode), spec)
            bar.advance(min(1000, len(rows) - first))
    return resized


def change_color(image: NDArray[np.uint8], color_mode: ColorMode) -> NDArray[np.uint8]:
    """An image in another colour mode; one that has it already is handed on untouched.

    Args:
        image: (height, width, 1 or 3) uint8.
        color_mode: "grey" (ITU-R 601 luma, as the decoder makes it) or "rgb".

    Returns:
        (height, width, 1) or (height, width, 3) uint8.

    Raises:
        Nothing.

    Example:
        >>> change_color(np.zeros((2, 2, 1), np.uint8), "rgb").shape
        (2, 2, 3)
    """
    if color_mode == "rgb":
        return image if image.shape[2] == 3 else np.repeat(image, 3, axis=2)
    if image.shape[2] == 1:
        return image
    return np.asarray(Image.fromarray(image).convert("L"))[:, :, None]
