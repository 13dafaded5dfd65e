"""Arrays of images brought to network size: at once where they are small, as they are read where they are not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.data.decoding.colors import change_color
from sightline.data.decoding.decoder import resize_image
from sightline.records import InputSpec
from sightline.system.progress import reporter

# Arrays that would grow beyond this are resized when they are read: 60,000 small images at 224 px are 9 GB.
MOST_RESIZED_BYTES = 512 * 2**20


class ResizedOnReading:
    """An array of images that is brought to size row by row as it is sliced."""

    def __init__(self, images: NDArray[np.uint8], spec: InputSpec) -> None:
        """`images` (num_images, height, width, channels) uint8; `spec` is what slices of this look like."""
        self.images, self.spec = images, spec
        self.shape, self.dtype = (len(images), *spec.shape), images.dtype

    def __getitem__(self, index: int | slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        chosen = self.images[index]
        if chosen.ndim == 3:
            return resize_image(change_color(chosen, self.spec.color_mode), self.spec)
        part = np.empty((len(chosen), *self.spec.shape), dtype=np.uint8)
        for row, image in enumerate(chosen):
            part[row] = resize_image(change_color(image, self.spec.color_mode), self.spec)
        return part


def resized(images: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    """An array of images at network size.

    Args:
        images: (num_images, height, width, channels) uint8.
        spec: size, colour mode and resize rule.

    Returns:
        (num_images, *spec.shape) uint8: `images` itself where nothing is to be done; where the
        result would be large, something that resizes what is sliced from it.

    Raises:
        Nothing.

    Example:
        >>> resized(np.zeros((2, 4, 4, 1), np.uint8), InputSpec(8, 8, "grey")).shape
        (2, 8, 8, 1)
    """
    if images.shape[1:] == spec.shape:
        return images
    if len(images) * int(np.prod(spec.shape)) > MOST_RESIZED_BYTES:
        return ResizedOnReading(images, spec)  # type: ignore[return-value]  # it is sliced like an array
    whole = np.empty((len(images), *spec.shape), dtype=np.uint8)
    with reporter().bar("resizing", total=len(images)) as bar:
        for row, image in enumerate(images):
            whole[row] = resize_image(change_color(image, spec.color_mode), spec)
            if row % 1000 == 999:
                bar.advance(1000)
    return whole
