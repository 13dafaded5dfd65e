"""Whatever a file holds, and whatever an array holds, as 8-bit grey or RGB."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from sightline.errors import InvalidValue, UnreadableImage, pick
from sightline.records import ColorMode

PILLOW_MODES: dict[str, str] = {"grey": "L", "rgb": "RGB"}


def change_color(image: NDArray[np.uint8], color_mode: ColorMode) -> NDArray[np.uint8]:
    """An array image in another colour mode, by the same weights as a decoded file.

    Args:
        image: (height, width, 1 or 3) uint8.
        color_mode: "grey" (luma of ITU-R BT.601) or "rgb" (three equal channels).

    Returns:
        (height, width, channels) uint8; `image` itself where nothing is to be done.

    Raises:
        InvalidValue: dtype or shape of the image or the colour mode are wrong.

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
    """Refuse what is not one image.

    Args:
        image: should be (height, width, 1 or 3) uint8, not empty.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise InvalidValue(f"an image must be an array of uint8; got {getattr(image, 'dtype', type(image).__name__)}.")
    if image.ndim != 3 or image.shape[2] not in (1, 3) or image.size == 0:
        raise InvalidValue(f"an image must have the shape (height, width, 1 or 3); got {image.shape}.")


def pixels_of(picture: Image.Image) -> NDArray[np.uint8]:
    """The pixels of a Pillow image of 8 bits.

    Args:
        picture: of mode L or RGB.

    Returns:
        (height, width, 1 or 3) uint8, writable.

    Example:
        >>> pixels_of(Image.new("L", (3, 2))).shape
        (2, 3, 1)
    """
    pixels: NDArray[np.uint8] = np.array(picture, dtype=np.uint8)
    return pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels


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
    """A loaded image as 8-bit grey or RGB, from whatever mode it is stored in.

    Args:
        image: as one of Pillow's readers gives it, or some rows of it.
        color_mode: "grey" or "rgb".
        levels: of 16-bit grey.

    Returns:
        A Pillow image of mode L or RGB; what was transparent is white.

    Raises:
        UnreadableImage: pixels of 32-bit integers or floating point.

    Example:
        >>> in_color_mode(Image.new("RGB", (1, 1), "red"), "grey", Levels()).getpixel((0, 0))
        76
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
