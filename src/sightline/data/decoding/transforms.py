"""From any pixels to those that a network takes: 8-bit grey or RGB, and the one resize."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from sightline.errors import InvalidValue, UnreadableImage, pick
from sightline.records import ColorMode, InputSpec
from sightline.system.progress import reporter

PILLOW_MODES: dict[str, str] = {"grey": "L", "rgb": "RGB"}

_INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
}
# What surrounds a padded image is what surrounds the object in it. Where that is not known, middle grey: it is
# the nearest to zero once values are scaled, and makes the weakest edge against an unknown image.
PADDING = {"dark": 0, "light": 255, "mixed": 128}
# Arrays that would grow beyond this are resized when they are read: 60,000 small images at 224 px are 9 GB.
MOST_RESIZED_BYTES = 512 * 2**20


def change_color(image: NDArray[np.uint8], color_mode: ColorMode) -> NDArray[np.uint8]:
    """An array image in another colour mode, by the same weights as a decoded file.

    Args:
        image: (height, width, 1 or 3) uint8.
        color_mode: "grey" (luma of ITU-R BT.601) or "rgb" (three equal channels).

    Returns:
        (height, width, channels) uint8; `image` itself where nothing is to be done.

    Example:
        >>> change_color(np.array([[[255, 0, 0]]], dtype=np.uint8), "grey").tolist()
        [[[76]]]
    """
    check_image(image)
    if image.shape[2] == (1 if pick(PILLOW_MODES, color_mode, kind="colour mode") == "L" else 3):
        return image
    if color_mode == "rgb":
        return np.repeat(image, 3, axis=2)
    return pixels_of(Image.fromarray(image).convert("L"))


def check_image(image: NDArray[np.uint8]) -> None:
    """Refuse what is not one image: (height, width, 1 or 3) uint8, not empty."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise InvalidValue(f"an image must be an array of uint8; got {getattr(image, 'dtype', type(image).__name__)}.")
    if image.ndim != 3 or image.shape[2] not in (1, 3) or image.size == 0:
        raise InvalidValue(f"an image must have the shape (height, width, 1 or 3); got {image.shape}.")


def pixels_of(picture: Image.Image) -> NDArray[np.uint8]:
    """The pixels of a Pillow image of mode L or RGB: (height, width, 1 or 3) uint8, writable."""
    pixels: NDArray[np.uint8] = np.array(picture, dtype=np.uint8)
    return pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels


def picture_of(pixels: NDArray[np.uint8]) -> Image.Image:
    """A Pillow image of mode L or RGB with the pixels of a (height, width, 1 or 3) array, copied."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


@dataclass(frozen=True)
class Levels:
    """What 16-bit grey means: its white, whether it counts from white, and the level that is transparent."""

    largest: int = 65_535
    is_white_zero: bool = False
    transparent: int | None = None


def levels_of(opened: ImageFile.ImageFile) -> Levels:
    """What an opened file says of its 16-bit grey."""
    transparent = opened.info.get("transparency")
    largest, is_white_zero = 65_535, False
    if isinstance(opened, TiffImageFile):
        largest = 4_095 if opened.tag_v2.get(258) == (12,) else largest
        is_white_zero = opened.tag_v2.get(262) == 0  # which Pillow leaves alone beyond 8 bits
    return Levels(largest, is_white_zero, transparent if isinstance(transparent, int) else None)


def in_color_mode(image: Image.Image, color_mode: ColorMode, levels: Levels) -> Image.Image:
    """A loaded image, or some rows of it, in mode L or RGB from whatever mode it is stored in; transparent is white.

    Raises:
        UnreadableImage: pixels of 32-bit integers or floating point.
    """
    mode = PILLOW_MODES[color_mode]
    if image.mode.startswith("I;16"):
        return _from_16_bits(image, levels).convert(mode)
    if image.mode in ("I", "F"):
        kind = "32-bit integer" if image.mode == "I" else "floating-point"
        raise UnreadableImage(f"{kind} pixels have no fixed range; save it with 8 or 16 bits.")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured).convert(mode)
    if image.mode == mode:
        return image
    # A palette or CMYK becomes RGB first, so that grey is the grey of the colours one sees.
    return image.convert("RGB").convert(mode) if image.mode not in ("1", "L") else image.convert(mode)


def _from_16_bits(image: Image.Image, levels: Levels) -> Image.Image:
    stored = np.asarray(image).astype(np.uint32)
    if levels.is_white_zero:
        stored = levels.largest - stored
    if levels.transparent is not None:
        stored[stored == levels.transparent] = levels.largest
    return Image.fromarray(((stored * 255 + levels.largest // 2) // levels.largest).astype(np.uint8))


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


def resize_image(image: NDArray[np.uint8], spec: InputSpec, *, picture: Image.Image | None = None) -> NDArray[np.uint8]:
    """An image brought to the network's size by the rule of its bundle.

    "fit" keeps the whole image and pads it in the middle, with black, white or, where
    the background of the training images is mixed, middle grey. "fill" covers the
    size and crops the middle. "stretch" ignores the proportions. Shrinking averages
    over all pixels (Pillow's filters widen with the scale), so nothing aliases.

    Args:
        image: (height, width, channels) uint8, channels as the specification says.
        spec: size, rule, background and interpolation.
        picture: what `picture_of` made of the image, where that is at hand.

    Returns:
        (spec.height, spec.width, spec.channels) uint8; `image` itself where it has
        that shape already. The same input gives the same bytes.

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
    picture = picture_of(image) if picture is None else picture
    if spec.resize == "fit":
        return _fitted(picture, spec, resample)
    box = _middle_box(picture.size, spec) if spec.resize == "fill" else None
    return pixels_of(picture.resize((spec.width, spec.height), resample, box=box))


def _fitted(picture: Image.Image, spec: InputSpec, resample: Image.Resampling) -> NDArray[np.uint8]:
    rows, columns = fitted_part((picture.height, picture.width), spec)
    padding = pick(PADDING, spec.background, kind="background")
    canvas = np.full(spec.shape, padding, dtype=np.uint8)
    size = columns.stop - columns.start, rows.stop - rows.start
    canvas[rows, columns] = pixels_of(picture.resize(size, resample))
    return canvas


def fitted_part(size: tuple[int, int], spec: InputSpec) -> tuple[slice, slice]:
    """Which rows and columns of what the network is fed an image of that (height, width) fills by the rule "fit"."""
    scale = min(spec.height / size[0], spec.width / size[1])
    height = min(spec.height, max(1, round(size[0] * scale)))
    width = min(spec.width, max(1, round(size[1] * scale)))
    top, left = (spec.height - height) // 2, (spec.width - width) // 2
    return slice(top, top + height), slice(left, left + width)


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
