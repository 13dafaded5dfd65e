"""Whatever a file holds, and whatever an array holds, as 8-bit grey or RGB."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.PpmImagePlugin import PpmImageFile
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

    Raises:
        InvalidValue: it is not.

    Example:
        >>> check_image(np.zeros((28, 28), dtype=np.uint8))
        Traceback (most recent call last):
        sightline.errors.InvalidValue: an image must have the shape (height, width, 1 or 3); got (28, 28).
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

    Raises:
        Nothing.

    Example:
        >>> pixels_of(Image.new("L", (3, 2))).shape
        (2, 3, 1)
    """
    pixels: NDArray[np.uint8] = np.array(picture, dtype=np.uint8)
    return pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels


def in_color_mode(opened: ImageFile.ImageFile, color_mode: ColorMode) -> Image.Image:
    """An opened image as 8-bit grey or RGB, from whatever mode it is stored in.

    Args:
        opened: as one of Pillow's readers gives it.
        color_mode: "grey" or "rgb".

    Returns:
        A Pillow image of mode L or RGB; what was transparent is white.

    Raises:
        UnreadableImage: pixels of 32-bit integers or floating point.

    Example:
        >>> import io
        >>> in_color_mode(PpmImageFile(io.BytesIO(b"P6 1 1 255 zzz")), "grey").mode
        'L'
    """
    mode = PILLOW_MODES[color_mode]
    if opened.mode.startswith("I;16") or (opened.mode == "I" and isinstance(opened, PpmImageFile)):
        return _from_16_bits(opened).convert(mode)
    if opened.mode in ("I", "F"):
        kind = "32-bit integer" if opened.mode == "I" else "floating-point"
        raise UnreadableImage(f"{kind} pixels have no fixed range; save it with 8 or 16 bits.")
    if opened.has_transparency_data:
        coloured = opened.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured).convert(mode)
    if opened.mode == mode:
        return opened
    # A palette or CMYK becomes RGB first, so that grey is the grey of the colours one sees.
    return opened.convert("RGB").convert(mode) if opened.mode not in ("1", "L") else opened.convert(mode)


def _from_16_bits(opened: ImageFile.ImageFile) -> Image.Image:
    levels = np.asarray(opened).astype(np.uint32)
    largest = 65_535
    if isinstance(opened, TiffImageFile):
        largest = 4_095 if opened.tag_v2.get(258) == (12,) else largest
        if opened.tag_v2.get(262) == 0:  # "white is zero", which Pillow leaves alone beyond 8 bits
            levels = largest - levels
    if isinstance(opened.info.get("transparency"), int):
        levels[levels == opened.info["transparency"]] = largest
    return Image.fromarray(((levels * 255 + largest // 2) // largest).astype(np.uint8))
