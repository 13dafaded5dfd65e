"""The one resize; arrays at once where they are small, as they are read where they are not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.data.decoding.colors import change_color, check_image, pixels_of
from sightline.errors import InvalidValue, pick
from sightline.records import InputSpec
from sightline.system.progress import reporter

_INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
}
# What surrounds a padded image is what surrounds the object in it. Where that is not known, middle grey: it is
# the nearest to zero once values are scaled, and makes the weakest edge against an unknown image.
_PADDING = {"dark": 0, "light": 255, "mixed": 128}

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


def resize_image(image: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    """An image brought to the network's size by the rule of its bundle.

    "fit" keeps the whole image and pads it in the middle, with black, white or, where
    the background of the training images is mixed, middle grey. "fill" covers the
    size and crops the middle. "stretch" ignores the proportions. Shrinking averages
    over all pixels (Pillow's filters widen with the scale), so nothing aliases.

    Args:
        image: (height, width, channels) uint8, channels as the specification says.
        spec: size, rule, background and interpolation.

    Returns:
        (spec.height, spec.width, spec.channels) uint8; `image` itself where it has
        that shape already. The same input gives the same bytes.

    Raises:
        InvalidValue: dtype or shape of the image, rule or interpolation are wrong.

    Example:
        >>> wide = np.zeros((2, 4, 1), dtype=np.uint8)
        >>> resize_image(wide, InputSpec(4, 4, "grey", background="light"))[:, 0, 0].tolist()
        [255, 0, 0, 255]
    """
    check_image(image)
    if image.shape[2] != spec.channels:
        raise InvalidValue(f"the image has {image.shape[2]} channels; the network takes {spec.channels}.")
    resample = pick(_INTERPOLATIONS, spec.interpolation, kind="interpolation")
    pick({"fit": 1, "fill": 1, "stretch": 1}, spec.resize, kind="resize rule")
    if image.shape == spec.shape:
        return image
    picture = Image.fromarray(image[:, :, 0] if spec.channels == 1 else image)
    if spec.resize == "fit":
        return _fitted(picture, spec, resample)
    box = _middle_box(picture.size, spec) if spec.resize == "fill" else None
    return pixels_of(picture.resize((spec.width, spec.height), resample, box=box))


def _fitted(picture: Image.Image, spec: InputSpec, resample: Image.Resampling) -> NDArray[np.uint8]:
    scale = min(spec.height / picture.height, spec.width / picture.width)
    height = min(spec.height, max(1, round(picture.height * scale)))
    width = min(spec.width, max(1, round(picture.width * scale)))
    padding = pick(_PADDING, spec.background, kind="background")
    canvas = np.full(spec.shape, padding, dtype=np.uint8)
    top, left = (spec.height - height) // 2, (spec.width - width) // 2
    canvas[top : top + height, left : left + width] = pixels_of(picture.resize((width, height), resample))
    return canvas


def _middle_box(size: tuple[int, int], spec: InputSpec) -> tuple[float, float, float, float]:
    """The largest part of the image, in its middle, that has the network's proportions."""
    width, height = size
    scale = min(width / spec.width, height / spec.height)
    half_width, half_height = min(width, spec.width * scale) / 2, min(height, spec.height * scale) / 2
    return (
        max(0.0, width / 2 - half_width),
        max(0.0, height / 2 - half_height),
        min(float(width), width / 2 + half_width),
        min(float(height), height / 2 + half_height),
    )
