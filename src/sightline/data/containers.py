"""A file's bytes, how the camera was held, and the same bytes without metadata.

Pillow reads metadata nobody here needs, and reports what it dislikes in it with
`warnings.warn`, which cannot be silenced in one thread alone; a compressed comment
can also expand without end. So metadata never reaches it: the orientation is read
here and everything that is not pixels is taken out before decoding.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sightline.data.signatures import ImageFormat
from sightline.data.tiff import exif_orientation, strip_tiff
from sightline.errors import UnreadableImage

# An uncompressed 8-bit colour image of the largest number of pixels still fits.
MAX_BYTES = 256 * 2**20
"""Largest file that is read, in bytes."""

_PNG_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
# An item of an AVIF file that announces Exif: version 2 has 2 bytes for the item's number, version 3 has 4.
_AVIF_EXIF_ITEM = re.compile(rb"(infe(?:\x02.{7}|\x03.{9}))Exif", re.DOTALL)


def read_bytes(path: Path) -> bytes:
    """A file's content, read once, so that it cannot change between two looks.

    Args:
        path: a regular file. Pipes and devices are refused without being opened:
            opening one can block for ever.

    Returns:
        At least one byte, at most `MAX_BYTES`.

    Raises:
        UnreadableImage: missing, a folder, not a regular file, not permitted, empty
            or larger than `MAX_BYTES`. The message does not repeat the path.

    Example:
        >>> read_bytes(Path("no such file.png"))
        Traceback (most recent call last):
        sightline.errors.UnreadableImage: no such file.
    """
    try:
        _refuse_irregular(path.stat())
        with open(path, "rb", opener=_open_without_waiting) as file:
            return _read_bounded(file)
    except FileNotFoundError as error:
        raise UnreadableImage("no such file.") from error
    except PermissionError as error:
        raise UnreadableImage("reading it is not permitted; change its permissions.") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise UnreadableImage(f"cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def _open_without_waiting(path: str, flags: int) -> int:
    # Between the look and the opening a pipe may have taken the file's place.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _refuse_irregular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableImage("a folder, not an image file.")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImage("a pipe or device, not an image file.")


def _read_bounded(file: BinaryIO) -> bytes:
    status = os.fstat(file.fileno())
    _refuse_irregular(status)
    # One byte more than it had a moment ago: a file that grows is noticed, and no more memory is taken than needed.
    data = file.read(status.st_size + 1) if status.st_size <= MAX_BYTES else b""
    if len(data) > status.st_size:
        data += file.read(MAX_BYTES + 1 - len(data))
    if len(data) > MAX_BYTES or status.st_size > MAX_BYTES:
        size = max(len(data), status.st_size)
        raise UnreadableImage(f"{size:,} bytes; at most {MAX_BYTES:,} are read. Save it smaller.")
    if not data:
        raise UnreadableImage("empty file (0 bytes).")
    return data


@dataclass(frozen=True)
class Container:
    """An image file stripped to its pixels.

    Attributes:
        format: one of `IMAGE_FORMATS`.
        data: bytes to decode, without metadata.
        orientation: 1 to 8 as Exif counts them; 1 is upright.
        canvas: (width, height) where the decoder would allocate it before it can
            be asked, else None.
        missing: how the file ends too early ("2,113 of 48,000 bytes"), or None.
    """

    format: ImageFormat
    data: bytes
    orientation: int = 1
    canvas: tuple[int, int] | None = None
    missing: str | None = None


def strip(data: bytes, image_format: ImageFormat) -> Container:
    """Separate the pixels of an image file from its metadata.

    ICC profiles are dropped too: pixel values are taken as they are stored.

    Args:
        data: the whole file.
        image_format: as `recognise` told it.

    Returns:
        The same image without metadata, and its orientation from EXIF (XMP is not read).

    Raises:
        UnreadableImage: the layout is damaged beyond decoding.
        IndexError: a GIF's layout is damaged beyond decoding.

    Example:
        >>> strip(bytes.fromhex("ffd8 fffe0006 41424344 ffda0002 00"), "JPEG").data.hex()
        'ffd8ffda000200'
    """
    strippers = {"JPEG": _strip_jpeg, "PNG": _strip_png, "TIFF": _strip_tiff, "WEBP": _read_webp, "AVIF": _strip_avif}
    if image_format in strippers:
        return strippers[image_format](data)
    canvas = _gif_canvas(data) if image_format == "GIF" else None
    return Container(image_format, data, canvas=canvas, missing=_missing(data, image_format))


def _strip_tiff(data: bytes) -> Container:
    stripped, orientation = strip_tiff(data)
    return Container("TIFF", stripped, orientation)


def _strip_avif(data: bytes) -> Container:
    # The EXIF item stays where it is and is no longer announced. Rotation is a property of its own in this format.
    return Container("AVIF", _AVIF_EXIF_ITEM.sub(rb"\1none", data))


def _missing(data: bytes, image_format: ImageFormat) -> str | None:
    """How much of a file is there, for the two formats that say how long they are."""
    declared = 0
    if image_format == "WEBP":
        declared = 8 + int.from_bytes(data[4:8], "little")
    elif image_format == "BMP":
        declared = int.from_bytes(data[2:6], "little")
    return f"{len(data):,} of {declared:,} bytes" if len(data) < declared else None


def _ends_after(data: bytes) -> str:
    return f"it ends after {len(data):,} bytes"


def _strip_jpeg(data: bytes) -> Container:
    kept: list[bytes | memoryview] = [data[:2]]
    orientation, position = 1, 2
    while position + 4 <= len(data):
        marker = data[position + 1]
        if data[position] != 0xFF or marker in (0x00, 0xFF):  # junk and fill bytes are allowed
            position += 1
            continue
        if marker == 0xDA:  # from the first scan on, everything is pixels
            kept.append(memoryview(data)[position:])
            # Copying megabytes costs a tenth of decoding them, so a file without metadata is taken as it is.
            is_whole = sum(map(len, kept)) == len(data)
            return Container("JPEG", data if is_whole else b"".join(kept), orientation)
        if marker == 0x01 or 0xD0 <= marker <= 0xD9:  # markers without a length
            position += 2
            continue
        end = position + 2 + max(2, int.from_bytes(data[position + 2 : position + 4], "big"))
        if marker == 0xE1 and data[position + 4 : position + 10] == b"Exif\0\0":
            orientation = exif_orientation(data[position + 10 : end])
        if marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE):  # 0: JFIF, 14: Adobe's colours
            kept.append(data[position:end])
        position = end
    return Container("JPEG", b"".join(kept), orientation, missing=_ends_after(data))


def _strip_png(data: bytes) -> Container:
    kept, orientation, position = [data[:8]], 1, 8
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        if kind == b"eXIf":
            orientation = exif_orientation(data[position + 8 : end].removeprefix(b"Exif\0\0"))
        if kind in _PNG_CHUNKS:
            kept.append(data[position:end])
        position = end
        if kind == b"IEND" or end > len(data):
            break
    missing = _ends_after(data) if position > len(data) or kept[-1][4:8] != b"IEND" else None
    return Container("PNG", b"".join(kept), orientation, missing=missing)


def _read_webp(data: bytes) -> Container:
    orientation, position = 1, 12
    while position + 8 <= len(data):
        end = position + 8 + int.from_bytes(data[position + 4 : position + 8], "little")
        if data[position : position + 4] == b"EXIF":
            orientation = exif_orientation(data[position + 8 : end].removeprefix(b"Exif\0\0"))
        position = end + end % 2
    return Container("WEBP", data, orientation, canvas=_webp_canvas(data), missing=_missing(data, "WEBP"))


def _webp_canvas(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None  # VP8 alone cannot be larger than 16,383 a side and is checked once it is open


def _gif_canvas(data: bytes) -> tuple[int, int]:
    """Size of the screen or of the first frame, whichever reaches further."""
    width, height = (int.from_bytes(data[start : start + 2], "little") for start in (6, 8))
    position = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while position < len(data) and data[position] != 0x3B:
        if data[position] == 0x2C:
            left, top, wide, high = (
                int.from_bytes(data[position + at : position + at + 2], "little") for at in (1, 3, 5, 7)
            )
            return max(width, left + wide), max(height, top + high)
        if data[position] == 0x21:
            position += 2
            while data[position]:  # sub-blocks: a length, that many bytes, until a length of zero
                position += 1 + data[position]
        position += 1
    return width, height
