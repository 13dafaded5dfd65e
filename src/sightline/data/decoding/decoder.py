"""The one decoder and the one resize: training, prediction and serving see the same pixels of the same file.

Many threads decode at once, so nothing global is changed, not Pillow's limits, not
the filters of `warnings`, but whom libtiff tells of errors. A file is handed to the one Pillow reader of its own
format; `Image.open` would also guess, and warns of a large image before its size
can be looked at. What decoding will take is known before, and bounded for all
threads together.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import importlib
import io
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from sightline.data.decoding.containers import (
    DECODING,
    MAX_BYTES,
    READING,
    Container,
    bytes_to_decode,
    png_has_all_rows,
    read_bytes,
    refuse_too_large,
    without_metadata,
)
from sightline.data.decoding.formats import HEIF_READER, ImageFormat, format_of
from sightline.data.decoding.netpbm import read_netpbm
from sightline.data.decoding.tiff import exif_orientation
from sightline.data.decoding.transforms import (
    PILLOW_MODES,
    Levels,
    in_color_mode,
    levels_of,
    pixels_of,
)
from sightline.errors import InvalidValue, UnreadableImage, pick
from sightline.records import ColorMode
from sightline.system.text import printable


class _Tiff(TiffImageFile):
    """Makes the image itself: Pillow would look at its size again, and warn of what is within the bound here."""

    def load_prepare(self) -> None:
        if self._im is None:
            self.im = Image.new(self.mode, getattr(self, "_tile_size", self.size)).im
        super().load_prepare()


_READERS: dict[ImageFormat, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "TIFF": _Tiff,
    "AVIF": AvifImageFile,
    "JPEG2000": Jpeg2KImageFile,
}
# Larger ones are reduced by whole numbers before anything else is made of them, as a JPEG is in its decoder.
_REDUCED_ABOVE = 16_000_000
_TRIMMED_ABOVE = 64 * 2**20
# More than a small photograph takes in all on its way, and little beside a network.
_REUSED_BYTES = 8 * 2**20
# So many pixels are changed in colour at once.
_BAND_PIXELS = 2**20
# What follows a JPEG that lacks its end: once nothing, once other bits, enough for several blocks, with every mark that
# a decoder may wait for.
_END = b"\xff\xd9"
_BITS = b"\xa5" * 16 + bytes((7 * number * number + 13 * number) % 251 for number in range(1_000))
_OTHER_BITS = b"".join(_BITS + bytes([0xFF, 0xD0 + number]) + b"\x5a" * 16 + _BITS for number in (*range(8), *range(8)))

# What libtiff calls with a module, a message and what goes into that; and how often it did in a thread.
_TiffHandler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
_told = threading.local()


@dataclasses.dataclass(frozen=True, eq=False)
class DecodedImage:
    """One image file as it was read.

    Attributes:
        pixels: (height, width, channels) uint8, upright; a large image may be reduced.
        format: by Pillow's names.
        height: of the upright image, as stored.
        width: likewise.
        orientation: 1 to 8 as Exif counts them, before it was turned.
        bits: of one sample as stored; 16 where the pixels were brought to 8.
        stored: the file.
        picture: the pixels as a Pillow image of mode L or RGB, where decoding left one: copying them back costs an
            eighth of decoding. None where they were turned or reduced.
    """

    pixels: NDArray[np.uint8]
    format: ImageFormat
    height: int
    width: int
    orientation: int
    bits: int
    stored: bytes = b""
    picture: Image.Image | None = None


def decode_image(
    source: Path | str | bytes, *, color_mode: ColorMode, minimum_size: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """The pixels of `decode_picture` alone: (height, width, channels) uint8."""
    return decode_picture(source, color_mode=color_mode, minimum_size=minimum_size).pixels


def decode_picture(
    source: Path | str | bytes, *, color_mode: ColorMode, minimum_size: tuple[int, int] | None = None
) -> DecodedImage:
    """One image file, its pixels upright and in the colour mode asked for, with what it told beside them.

    The format is told from the content, never from the name. Of an animation or of
    several pages the first is taken; EXIF orientation is applied; ICC profiles are
    ignored; what is transparent lies over white; 16-bit grey is divided by 257 and
    rounded (of 16-bit colour, Pillow keeps the upper 8 bits); CMYK, YCbCr, palette
    and 1-bit images are converted as Pillow does. Grey of a colour JPEG is its own
    luma. Signed, 32-bit and floating-point pixels have no fixed range and are refused,
    and so are bands of which nobody says what they are.

    Args:
        source: a path, or the bytes of a file.
        color_mode: "grey" or "rgb".
        minimum_size: (height, width) that the upright result needs at least. Lets a
            JPEG be decoded at 1/2, 1/4 or 1/8 of its size, and others above 16 megapixels
            be reduced by averaging, never below this one.

    Raises:
        UnreadableImage: missing, no image, of another format, damaged, truncated, larger than
            `MAX_BYTES` or `MAX_PIXELS`, or too costly to decode; the message starts with the path.
        InvalidValue: the colour mode, the minimum size or the kind of source is wrong.

    Example:
        >>> decode_picture(b"P5 2 1 255 Az", color_mode="grey").pixels.tolist()
        [[[65], [122]]]
    """
    pick(PILLOW_MODES, color_mode, kind="colour mode")
    if minimum_size is not None and not min(minimum_size) >= 1:
        raise InvalidValue(f"minimum_size must be (height, width) of at least 1; got {minimum_size!r}.")
    if not isinstance(source, (Path, str, bytes)):
        raise InvalidValue(f"an image must be a path or bytes; got {type(source).__name__}.")
    name = "image bytes" if isinstance(source, bytes) else printable(str(source))
    try:
        with _content(source) as data, _stripped(data) as container:
            lacks_end = container.jpeg is not None and not container.jpeg.has_end
            decode = _decode_without_end if lacks_end else _decode_stripped
            return dataclasses.replace(decode(container, color_mode, minimum_size), stored=data)
    except UnreadableImage as error:
        raise UnreadableImage(f"{name}: {error}") from error


def reuse_freed_memory() -> None:
    """Before many images: let the C library keep the megabytes that one gives back for the next, where it is glibc.

    glibc returns memory to the system once twice the largest block lies free that the program ever gave back, and the
    system hands it out anew page by page, filled with zeros: that was a quarter of what a small photograph took. So a
    larger block is given back here; nobody writes to it. By this much more may lie free for each thread.
    """
    np.empty(_REUSED_BYTES, np.uint8)


def open_image(data: bytes) -> tuple[ImageFile.ImageFile | None, Container, tuple[int, int]]:
    """The opened file, not yet decoded (None for a PPM), its container, and (width, height) as stored.

    Raises:
        UnreadableImage: as `decode_picture`, without a name; what follows the header is not looked at.
    """
    with _stripped(data) as container:
        return _opened(container)


@contextlib.contextmanager
def _content(source: Path | str | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        if len(source) > MAX_BYTES:
            raise UnreadableImage(f"{len(source):,} bytes; at most {MAX_BYTES:,} are read. Save it smaller.")
        yield source
        return
    num_bytes = 0
    with contextlib.suppress(OSError, ValueError):
        num_bytes = Path(source).stat().st_size
    with READING.hold(num_bytes):
        yield read_bytes(Path(source))


@contextlib.contextmanager
def _stripped(data: bytes) -> Iterator[Container]:
    """The container of a file; whatever a damaged one raises until the block ends becomes a reason."""
    image_format = format_of(data)
    container = Container(image_format, data)
    try:
        container = without_metadata(data, image_format)
        yield container
    except UnreadableImage:
        raise
    except Exception as error:  # damaged files bring Pillow to raise nearly every type there is
        raise UnreadableImage(_reason(error, container, len(data))) from error


def _decode_without_end(
    container: Container, color_mode: ColorMode, minimum_size: tuple[int, int] | None
) -> DecodedImage:
    """A JPEG without its last mark is whole if what follows it changes nothing."""
    data = container.data.rstrip(b"\xff")  # half of the mark may be there
    ended, other = (dataclasses.replace(container, data=data + rest) for rest in (_END, _OTHER_BITS + _END))
    picture = dataclasses.replace(_decode_stripped(ended, color_mode, minimum_size), picture=None)
    # Reduced to an eighth, the last bits may not show; so it is looked at in full, if it is no giant.
    least = None if picture.width * picture.height <= _REDUCED_ABOVE else minimum_size
    # In colour, whatever was asked for: grey is luma alone, and a network of grey images reads what all others read.
    whole, changed = (_decode_stripped(one, "rgb", least).pixels for one in (ended, other))
    if not np.array_equal(whole, changed):
        raise UnreadableImage(f"truncated JPEG (it ends after {len(container.data):,} bytes).")
    return picture


def _decode_stripped(container: Container, color_mode: ColorMode, minimum_size: tuple[int, int] | None) -> DecodedImage:
    if container.missing or (container.jpeg is not None and container.jpeg.lacks_scans):
        raise UnreadableImage(f"truncated {_shown(container)} ({container.missing or 'scans are missing'}).")
    opened, container, stored = _opened(container)
    orientation = _orientation(opened, container)
    wanted = minimum_size and (minimum_size if orientation >= 5 else minimum_size[::-1])  # width and height, as stored
    size, container = _ask_for_less(opened, container, color_mode, wanted)
    factor = 1 if container.format == "JPEG" or wanted is None else _factor(size, wanted)
    result = -(-size[0] // factor), -(-size[1] // factor)
    num_bytes = bytes_to_decode(container, size, result, len(PILLOW_MODES[color_mode]))
    with DECODING.hold(num_bytes):
        image = Image.fromarray(_without_last(read_netpbm(container.data))) if opened is None else opened
        try:
            _load(image, container)
            levels = Levels() if opened is None else levels_of(opened)
            pixels, picture = _in_bands(image, color_mode, levels, factor)
            pixels = _upright(pixels, orientation)
        finally:
            _let_go(image, num_bytes)
    height, width = stored if orientation >= 5 else stored[::-1]
    decoded = DecodedImage(pixels, container.format, height, width, orientation, container.bits)
    return decoded if orientation > 1 else dataclasses.replace(decoded, picture=picture)


def _opened(container: Container) -> tuple[ImageFile.ImageFile | None, Container, tuple[int, int]]:
    if container.format == "PPM" and container.size is not None:
        return None, container, container.size
    reader: Any = _READERS.get(container.format) or importlib.import_module(HEIF_READER).HeifImageFile
    opened: ImageFile.ImageFile = reader(io.BytesIO(container.data))
    refuse_too_large(container, opened.size)
    return opened, container, opened.size


def _load(image: Image.Image, container: Container) -> None:
    if container.format == "TIFF":
        _heed_libtiff()
        _told.by_libtiff = 0
    image.load()
    if container.format == "TIFF" and _told.by_libtiff:
        raise UnreadableImage("damaged TIFF (what its strips or tiles hold cannot be decoded as a whole).")
    if container.format == "PNG" and not _has_last_row(image) and not png_has_all_rows(container.data):
        raise UnreadableImage("truncated PNG (rows are missing).")


def _let_go(image: Image.Image, num_bytes: int) -> None:
    """Free an image's memory now: while an error is told, its traceback would hold on to it."""
    image.close()
    for decoder in ("_decoder", "_heif_file"):
        vars(image).pop(decoder, None)
    if num_bytes > _TRIMMED_ABOVE:
        # The C library keeps what a thread gives back for that thread, and with many of them that adds up.
        with contextlib.suppress(OSError, AttributeError, TypeError):
            ctypes.CDLL(None).malloc_trim(0)


def _ask_for_less(
    opened: Any, container: Container, color_mode: ColorMode, wanted: tuple[int, int] | None
) -> tuple[tuple[int, int], Container]:
    """Have a decoder leave out rows and columns where it can; the size that it will give, and at what cost."""
    if isinstance(opened, JpegImageFile):
        opened.draft(PILLOW_MODES[color_mode], wanted or opened.size)
    size: Any = container.size if opened is None else opened.size
    if not container.halvings or wanted is None:
        return size, container
    halvings, most = 0, min(size[0] // wanted[0], size[1] // wanted[1])
    while halvings < container.halvings and most >= 2 ** (halvings + 1):
        halvings += 1
    opened.reduce = halvings
    size = size[0] + 2**halvings // 2 >> halvings, size[1] + 2**halvings // 2 >> halvings
    return size, dataclasses.replace(container, held_bytes=container.held_bytes >> (2 * halvings))


def _factor(size: tuple[int, int], wanted: tuple[int, int]) -> int:
    """By how much a large image is reduced on the way, never below what is wanted."""
    factor, most = 1, min(size[0] // wanted[0], size[1] // wanted[1])
    while size[0] * size[1] > _REDUCED_ABOVE * factor**2 and 2 * factor <= most:
        factor *= 2
    return factor


def _in_bands(
    image: Image.Image, color_mode: ColorMode, levels: Levels, factor: int
) -> tuple[NDArray[np.uint8], Image.Image | None]:
    """Changed in colour and reduced, some rows at a time: whole copies of a large image would take too much.

    And the same as a Pillow image, where that is at hand.
    """
    width, height = image.size
    if factor == 1 and width * height <= _BAND_PIXELS:
        picture = in_color_mode(image, color_mode, levels)
        return pixels_of(picture), _outliving(picture)
    rows = max(1, _BAND_PIXELS // width // factor) * factor
    shape = -(-height // factor), -(-width // factor), len(PILLOW_MODES[color_mode])
    pixels = np.zeros(shape, dtype=np.uint8)
    for top in range(0, height, rows):
        band = in_color_mode(image.crop((0, top, width, min(height, top + rows))), color_mode, levels)
        part = pixels_of(band.reduce(factor) if factor > 1 else band)
        pixels[top // factor : top // factor + len(part)] = part
    is_same = factor == 1 and image.mode == PILLOW_MODES[color_mode] and not image.has_transparency_data
    return pixels, _outliving(image) if is_same else None


def _outliving(image: Image.Image) -> Image.Image:
    """An image with the same memory, which stays when the opened file is closed."""
    return image._new(image.im)  # as Pillow's own methods do


def _without_last(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def _has_last_row(image: Image.Image) -> bool:
    """Whether the last row that was written holds anything; what is missing is left at zero."""
    is_before_last = image.info.get("interlace") and image.height % 2 and image.height > 1
    last = image.height - (2 if is_before_last else 1)
    return bool(np.asarray(image.crop((0, last, image.width, last + 1))).any())


@_TiffHandler  # type: ignore[untyped-decorator]  # what ctypes makes has no annotations
def _note_tiff_error(_module: bytes, _message: bytes, _arguments: int) -> None:
    # Whoever else in this process reads a TIFF with Pillow, in a thread of its own, is heard here, too.
    _told.by_libtiff = getattr(_told, "by_libtiff", 0) + 1


@cache
def _heed_libtiff() -> None:
    # It prints what it dislikes, in the midst of a progress bar, and of faxes and of colours that several pixels share
    # Pillow gives what came before. A Pillow that has it built in does not let go of these names.
    with contextlib.suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(importlib.import_module("PIL._imaging").__file__)
        library.TIFFSetErrorHandler(_note_tiff_error)
        library.TIFFSetWarningHandler(None)


def _orientation(opened: ImageFile.ImageFile | None, container: Container) -> int:
    if container.format != "AVIF" or opened is None:
        return container.orientation
    # Pillow hands an AVIF file's own rotation and mirror on as Exif.
    return exif_orientation(opened.info.get("exif", b"").removeprefix(b"Exif\0\0"))


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(pixels[::rows, ::columns])


def _shown(container: Container) -> str:
    return {"WEBP": "WebP", "JPEG2000": "JPEG 2000", "HEIF": "HEIC"}.get(container.format, container.format)


def _reason(error: Exception, container: Container, num_bytes: int) -> str:
    kind, detail = _shown(container), str(error)
    if container.missing or "truncated" in detail.lower() or isinstance(error, EOFError):
        return f"truncated {kind} ({container.missing or f'{num_bytes:,} bytes; the image needs more'})."
    if isinstance(error, MemoryError):
        return f"{kind} for which the memory does not suffice; save it smaller."
    # What Pillow raises on purpose is worth repeating, unless it holds an object's address or raw bytes.
    is_meant = isinstance(error, (OSError, SyntaxError))
    is_readable = is_meant and 5 < len(detail) <= 80 and detail.isprintable() and not set(detail) & set("<>\\")
    return f"damaged {kind} ({detail})." if is_readable else f"damaged {kind}."
