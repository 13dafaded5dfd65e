"""The one decoder and the one resize: training, prediction and serving see the same pixels of the same file.

Many threads decode at once, so nothing global is changed: not Pillow's limits, not
the filters of `warnings`. A file is handed to the one Pillow reader of its own
format; `Image.open` would also guess, and warns of a large image before its size
can be looked at.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from sightline.data.colors import PILLOW_MODES, change_color, check_image, in_color_mode, pixels_of
from sightline.data.containers import MAX_BYTES, Container, read_bytes, strip
from sightline.data.signatures import IMAGE_FORMATS, IMAGE_SUFFIXES, ImageFormat, recognise
from sightline.errors import InvalidValue, UnreadableImage, pick
from sightline.records import ColorMode, InputSpec

__all__ = [
    "IMAGE_FORMATS",
    "IMAGE_SUFFIXES",
    "MAX_BYTES",
    "MAX_PIXELS",
    "change_color",
    "decode_image",
    "read_image",
    "resize_image",
]

# Above every full-frame camera (61 million) and below the 89 million from which Pillow itself warns. A decoded
# image takes 4 bytes a pixel, so a thread needs at most 320 MB for it, and a few times that in passing.
MAX_PIXELS: Final = 80_000_000
"""Largest image that is decoded, width times height; checked in the header, before any pixel."""

_READERS: dict[ImageFormat, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
    "PPM": PpmImageFile,
    "AVIF": AvifImageFile,
}
_INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
}
# What surrounds a padded image is what surrounds the object in it. Where that is not known, middle grey: it is
# the nearest to zero once values are scaled, and makes the weakest edge against an unknown image.
_PADDING = {"dark": 0, "light": 255, "mixed": 128}
_ORIENTATION = 0x0112


def decode_image(
    source: Path | str | bytes, *, color_mode: ColorMode, minimum_size: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """Pixels of one image file, upright, in the colour mode asked for.

    The format is told from the content, never from the name. Of an animation or of
    several pages the first is taken; EXIF orientation is applied; ICC profiles are
    ignored; what is transparent lies over white; 16-bit grey is divided by 257 and
    rounded (of 16-bit colour, Pillow keeps the upper 8 bits); CMYK, YCbCr, palette
    and 1-bit images are converted as Pillow does. Grey of a colour JPEG is its own
    luma. 32-bit integer and floating-point pixels have no fixed range and are refused.

    Args:
        source: a path, or the bytes of a file.
        color_mode: "grey" or "rgb".
        minimum_size: (height, width) that the upright result needs at least. Lets a
            JPEG be decoded at 1/2, 1/4 or 1/8 of its size, never below this one.

    Returns:
        (height, width, channels) uint8, 0 to 255, with 1 channel for grey and 3 for rgb.

    Raises:
        UnreadableImage: missing, no image, of another format, damaged, truncated, or
            larger than `MAX_BYTES` or `MAX_PIXELS`; the message starts with the path.
        InvalidValue: the colour mode, the minimum size or the kind of source is wrong.

    Example:
        >>> decode_image(b"P5 2 1 255 Az", color_mode="grey").tolist()
        [[[65], [122]]]
    """
    pick(PILLOW_MODES, color_mode, kind="colour mode")
    if minimum_size is not None and not min(minimum_size) >= 1:
        raise InvalidValue(f"minimum_size must be (height, width) of at least 1; got {minimum_size!r}.")
    if not isinstance(source, (Path, str, bytes)):
        raise InvalidValue(f"an image must be a path or bytes; got {type(source).__name__}.")
    name = "image bytes" if isinstance(source, bytes) else _printable(str(source))
    try:
        if isinstance(source, bytes) and len(source) > MAX_BYTES:
            raise UnreadableImage(f"{len(source):,} bytes; at most {MAX_BYTES:,} are read. Save it smaller.")
        data = source if isinstance(source, bytes) else read_bytes(Path(source))
        return _decode(data, recognise(data), color_mode, minimum_size)
    except UnreadableImage as error:
        raise UnreadableImage(f"{name}: {error}") from error


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


def read_image(source: Path | str | bytes, spec: InputSpec, *, invert: bool = False) -> NDArray[np.uint8]:
    """A file as a network takes it: decoded, turned upright, inverted on demand, resized.

    Args:
        source: a path, or the bytes of a file.
        spec: what the network is fed.
        invert: True swaps dark and light before padding, so that padding still
            matches the training images.

    Returns:
        (spec.height, spec.width, spec.channels) uint8.

    Raises:
        UnreadableImage: as `decode_image`.
        InvalidValue: the specification or the kind of source is wrong.

    Example:
        >>> read_image(b"P5 2 1 255 Az", InputSpec(1, 2, "grey"), invert=True).tolist()
        [[[190], [133]]]
    """
    image = decode_image(source, color_mode=spec.color_mode, minimum_size=(spec.height, spec.width))
    return resize_image(255 - image if invert else image, spec)


def _printable(text: str) -> str:
    """A path that can be printed: names hold line breaks, terminal codes and bytes that are not UTF-8."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def _decode(
    data: bytes, image_format: ImageFormat, color_mode: ColorMode, minimum_size: tuple[int, int] | None
) -> NDArray[np.uint8]:
    container = Container(image_format, data)
    try:
        container = strip(data, image_format)
        _check_pixels(container.canvas)
        opened = _READERS[image_format](io.BytesIO(container.data))
        _check_pixels(opened.size)
        orientation = _orientation(opened, container)
        if isinstance(opened, JpegImageFile):
            height, width = minimum_size or opened.size[::-1]
            opened.draft(PILLOW_MODES[color_mode], (height, width) if orientation >= 5 else (width, height))
        opened.load()
        pixels = pixels_of(in_color_mode(opened, color_mode))
    except UnreadableImage:
        raise
    except Exception as error:  # damaged files bring Pillow to raise nearly every type there is
        raise UnreadableImage(_reason(error, container, len(data))) from error
    return _upright(pixels, orientation)


def _check_pixels(size: tuple[int, int] | None) -> None:
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise UnreadableImage(
            f"{size[0]:,} x {size[1]:,} pixels; at most {MAX_PIXELS:,} in all are decoded. Save it smaller."
        )


def _orientation(opened: ImageFile.ImageFile, container: Container) -> int:
    if container.format != "AVIF":
        return container.orientation
    # Pillow hands an AVIF file's own rotation and mirror on as EXIF; without `xmp` it looks nowhere else.
    opened.info.pop("xmp", None)
    return int(opened.getexif().get(_ORIENTATION, 1))


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(pixels[::rows, ::columns])


def _reason(error: Exception, container: Container, num_bytes: int) -> str:
    kind = "WebP" if container.format == "WEBP" else container.format
    detail = str(error)
    if container.missing or "truncated" in detail.lower() or isinstance(error, EOFError):
        return f"truncated {kind} ({container.missing or f'{num_bytes:,} bytes; the image needs more'})."
    if isinstance(error, MemoryError):
        return f"{kind} for which the memory does not suffice; save it smaller."
    # What Pillow raises on purpose is worth repeating, unless it holds an object's address or raw bytes.
    is_meant = isinstance(error, (OSError, SyntaxError))
    is_readable = is_meant and 5 < len(detail) <= 80 and detail.isprintable() and not set(detail) & set("<>\\")
    return f"damaged {kind} ({detail})." if is_readable else f"damaged {kind}."


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
