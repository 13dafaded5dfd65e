"""A file's bytes without metadata, how the camera was held, and what decoding will take.

Pillow reads metadata nobody here needs, and reports what it dislikes in it with
`warnings.warn`, which cannot be silenced in one thread alone; a compressed comment
can also expand without end. So metadata never reaches it: the orientation is read
here and everything that is not pixels is taken out before decoding. What it costs is
known before a decoder is called, too: a file of 46 bytes can ask for 80 megapixels.
"""

from __future__ import annotations

import os
import re
import stat
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from sightline.data.decoding.formats import ImageFormat
from sightline.data.decoding.jpeg import Jpeg, read_jpeg
from sightline.data.decoding.jpeg2000 import read_jpeg2000
from sightline.data.decoding.netpbm import netpbm_header
from sightline.data.decoding.tiff import exif_orientation, strip_tiff
from sightline.errors import UnreadableImage
from sightline.system.stored import open_without_waiting, raise_if_exhausted

# Ordinary files have at most one for every 4,096 bytes; decoders go through millions without complaint.
_MOST_PARTS = 100_000
# What deflate expands a byte to at most, and then some.
_MOST_EXPANSION = 1040
# Pillow unpacks run-length bitmaps pixel by pixel, and they are drawings.
_MOST_RUN_PIXELS, _MOST_RUN_BYTES = 16_000_000, 8 * 2**20
# As many as a JPEG's decoder knows: to an eighth.
_MOST_HALVINGS = 3
# An uncompressed 8-bit colour image of the largest number of pixels still fits.
MAX_BYTES = 256 * 2**20
"""Largest file that is read, in bytes."""

# Left, top, and steps across and down of the seven passes of an interlaced PNG.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_UNPACKED_AT_ONCE = 2**16
_PNG_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
# The largest photographs of telephones, and above all medium-format cameras but one.
MAX_PIXELS: Final = 108_000_000
"""Largest image that is decoded, width times height; of a JPEG, once it is reduced."""

# Pillow keeps a pointer and a little more for every row.
_MOST_SIDE = 500_000
# Bytes a pixel while a format is decoded, measured with Pillow 13.0: where it decodes into a buffer of the library's
# own, that buffer is copied, and copied again.
_BYTES_A_PIXEL = {"WEBP": 18, "AVIF": 12, "HEIF": 12, "PPM": 7, "BMP": 5}
_USUAL_BYTES = 4
# An item of an AVIF file that announces Exif: version 2 has 2 bytes for the item's number, version 3 has 4.
_AVIF_EXIF_ITEM = re.compile(rb"(infe(?:\x02.{7}|\x03.{9}))Exif", re.DOTALL)


def read_bytes(path: Path) -> bytes:
    """A file's content, at most `MAX_BYTES`, read once, so that it cannot change between two looks.

    Whatever is no regular file is refused without being opened: opening a pipe can block for ever.
    """
    try:
        _refuse_irregular(path.stat())
        with open(path, "rb", opener=open_without_waiting) as file:
            return _read_bounded(file)
    except FileNotFoundError as error:
        raise UnreadableImage("no such file.") from error
    except PermissionError as error:
        raise UnreadableImage("reading it is not permitted; change its permissions.") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        if isinstance(error, OSError):
            raise_if_exhausted(error)
        raise UnreadableImage(f"cannot be read: {getattr(error, 'strerror', None) or error}.") from error


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
        size: (width, height) where it stands in the file, as the decoder will allocate it, else None.
        missing: how the file ends too early ("2,113 of 48,000 bytes"), or None.
        held_bytes: what the decoder needs beside the pixels.
        bits: of one sample as stored; 16 where the pixels come from more than 8.
        halvings: how often the decoder can give half of the width and height instead.
        jpeg: what stands in a JPEG file's segments, else None.
    """

    format: ImageFormat
    data: bytes
    orientation: int = 1
    size: tuple[int, int] | None = None
    missing: str | None = None
    held_bytes: int = 0
    bits: int = 8
    halvings: int = 0
    jpeg: Jpeg | None = None


def without_metadata(data: bytes, image_format: ImageFormat) -> Container:
    """Separate the pixels of an image file from its metadata, and tell what decoding them will take.

    ICC profiles are dropped too: pixel values are taken as they are stored. XMP is not read.
    """
    readers = {
        "JPEG": _strip_jpeg,
        "PNG": _strip_png,
        "TIFF": _strip_tiff,
        "WEBP": _read_webp,
        "AVIF": _strip_avif,
        "GIF": _strip_gif,
        "BMP": _read_bmp,
        "PPM": _read_ppm,
        "JPEG2000": _read_jpeg2000,
    }
    container = readers[image_format](data) if image_format in readers else Container(image_format, data)
    if container.size is not None:
        refuse_too_large(container, container.size)
    return container


def _strip_tiff(data: bytes) -> Container:
    found = strip_tiff(data)
    return Container(
        "TIFF", found.data, found.orientation, found.size, held_bytes=found.held_bytes, bits=min(16, found.bits)
    )


def _strip_avif(data: bytes) -> Container:
    # The EXIF item stays where it is and is no longer announced. Rotation is a property of its own in this format.
    return Container("AVIF", _AVIF_EXIF_ITEM.sub(rb"\1none", data))


def _read_ppm(data: bytes) -> Container:
    width, height, largest, _ = netpbm_header(data)
    # Numbers written out are copied and looked at as a whole, however few of them are wanted.
    held_bytes = 4 * len(data) if data[1:2] in b"123" else 0
    return Container("PPM", data, size=(width, height), held_bytes=held_bytes, bits=16 if largest > 255 else 8)


def _read_bmp(data: bytes) -> Container:
    declared = int.from_bytes(data[2:6], "little")
    missing = f"{len(data):,} of {declared:,} bytes" if len(data) < declared else None
    if int.from_bytes(data[14:18], "little") < 40:
        width, height = (int.from_bytes(data[at : at + 2], "little") for at in (18, 20))
        return Container("BMP", data, size=(width, height), missing=missing)
    width, height = (abs(int.from_bytes(data[at : at + 4], "little", signed=True)) for at in (18, 22))
    bits, compression = int.from_bytes(data[28:30], "little"), int.from_bytes(data[30:34], "little")
    if compression in (1, 2) and (width * height > _MOST_RUN_PIXELS or len(data) > _MOST_RUN_BYTES):
        raise UnreadableImage(f"a run-length BMP of {width:,} x {height:,} pixels; save it as PNG.")
    if missing is None and compression in (0, 3) and (needed := (width * bits + 31) // 32 * 4 * height) > len(data):
        missing = f"{len(data):,} of {needed:,} bytes"
    return Container("BMP", data, size=(width, height), missing=missing)


def _ends_after(data: bytes) -> str:
    return f"it ends after {len(data):,} bytes"


def _strip_jpeg(data: bytes) -> Container:
    found = read_jpeg(data)
    missing = None if found.start else _ends_after(data)
    if missing is None and (stored := len(found.data) - found.start) < found.least_bytes:
        missing = f"{stored:,} bytes, which cannot hold its {sum(found.blocks.values()):,} blocks"
    return Container("JPEG", found.data, found.orientation, found.size, missing, found.held_bytes, jpeg=found)


def _refuse_crowd(count: int, name: str) -> None:
    if count > _MOST_PARTS:
        raise UnreadableImage(f"damaged {name} (more than {_MOST_PARTS:,} parts).")


def _strip_png(data: bytes) -> Container:
    kept, orientation, position, count, stored = [memoryview(data)[:8]], 0, 8, 0, 0
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        if kind == b"eXIf" and not orientation:
            orientation = exif_orientation(data[position + 8 : min(end, position + 70_000)].removeprefix(b"Exif\0\0"))
        if kind in _PNG_CHUNKS:
            kept.append(memoryview(data)[position:end])
            stored += len(kept[-1]) - 12 if kind == b"IDAT" else 0
        position, count = end, count + 1
        _refuse_crowd(count, "PNG")
        if kind == b"IEND" or end > len(data):
            break
    missing = _ends_after(data) if position > len(data) or bytes(kept[-1][4:8]) != b"IEND" else None
    needed = png_bytes(data)
    if missing is None and _MOST_EXPANSION * (stored + 64) < needed:
        missing = f"{stored:,} bytes, which cannot hold its {needed:,}"
    size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    is_whole = sum(map(len, kept)) == len(data)
    stripped = data if is_whole else b"".join(kept)
    return Container("PNG", stripped, orientation or 1, size, missing, bits=max(8, data[24]))


def png_bytes(data: bytes) -> int:
    """How many bytes the rows of a PNG file unpack to, its filters included."""
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    bits = data[24] * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(data[25], 4)
    total = 0
    for left, top, step_across, step_down in _PASSES if data[28] else ((0, 0, 1, 1),):
        across, down = -(-(width - left) // step_across), -(-(height - top) // step_down)
        total += down * (1 + (across * bits + 7) // 8) if across > 0 and down > 0 else 0
    return total


def png_has_all_rows(data: bytes) -> bool:
    """Whether the rows of a stripped PNG file unpack to as many bytes as they need."""
    needed, found, position, unpacker = png_bytes(data), 0, 8, zlib.decompressobj()
    while position + 12 <= len(data) and found < needed and not unpacker.eof:
        length = int.from_bytes(data[position : position + 4], "big")
        is_data = data[position + 4 : position + 8] == b"IDAT"
        for start in range(position + 8, position + 8 + length, _UNPACKED_AT_ONCE) if is_data else ():
            piece = data[start : min(start + _UNPACKED_AT_ONCE, position + 8 + length)]
            while piece and found < needed:
                found += len(unpacker.decompress(piece, 2**20))
                piece = unpacker.unconsumed_tail
        position += 12 + length
    return found + len(unpacker.flush()) >= needed


def _read_webp(data: bytes) -> Container:
    orientation, position, count = 0, 12, 0
    while position + 8 <= len(data):
        end = position + 8 + int.from_bytes(data[position + 4 : position + 8], "little")
        if data[position : position + 4] == b"EXIF" and not orientation:
            orientation = exif_orientation(data[position + 8 : min(end, position + 70_000)].removeprefix(b"Exif\0\0"))
        position, count = end + end % 2, count + 1
        _refuse_crowd(count, "WebP")
    declared = 8 + int.from_bytes(data[4:8], "little")
    missing = f"{len(data):,} of {declared:,} bytes" if len(data) < declared else None
    return Container("WEBP", data, orientation or 1, _webp_canvas(data), missing)


def _webp_canvas(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


def _strip_gif(data: bytes) -> Container:
    """The first frame with its palettes and transparency; size of screen or frame, whichever reaches further."""
    width, height = (int.from_bytes(data[start : start + 2], "little") for start in (6, 8))
    position = start = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    control, count = b"", 0
    while position < len(data) and data[position] != 0x3B:
        if data[position] == 0x2C:
            left, top, wide, high = (
                int.from_bytes(data[position + at : position + at + 2], "little") for at in (1, 3, 5, 7)
            )
            size = max(width, left + wide), max(height, top + high)
            is_whole = position == start + len(control)
            return Container("GIF", data if is_whole else data[:start] + control + data[position:], size=size)
        if data[position] == 0x21:
            begin, is_control = position, data[position + 1 : position + 3] == b"\xf9\x04"
            position, count = position + 2, count + 1
            _refuse_crowd(count, "GIF")
            while data[position]:  # sub-blocks: a length, that many bytes, until a length of zero
                position, count = position + 1 + data[position], count + 1
                _refuse_crowd(count, "GIF")
            control = data[begin : position + 1] if is_control else control
        position += 1
    return Container("GIF", data, size=(width, height))


def _read_jpeg2000(data: bytes) -> Container:
    found = read_jpeg2000(data)
    # Of one tile, every sample is held as a number of 4 bytes while it is transformed, and copied.
    return Container(
        "JPEG2000",
        data,
        size=found.size,
        missing=found.missing,
        held_bytes=8 * found.tile * found.components,
        bits=max(8, found.bits),
        halvings=min(found.halvings, _MOST_HALVINGS),
    )


class Budget:
    """Bytes that all threads of the process may take together; who finds too few left waits."""

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        self._taken, self._changed = 0, threading.Condition()

    @contextmanager
    def hold(self, num_bytes: int) -> Iterator[None]:
        """Take some of it, all of it at most, until the block ends."""
        # More than there is would be waited for without end; who asks for it waits until it is alone.
        taken = min(num_bytes, self.num_bytes)
        with self._changed:
            self._changed.wait_for(lambda: self._taken + taken <= self.num_bytes)
            self._taken += taken
        try:
            yield
        finally:
            with self._changed:
                self._taken -= taken
                self._changed.notify_all()


# With what Python, NumPy and ONNX Runtime take, a process stays below 1 GiB, whatever files it is given.
DECODING: Final = Budget(736 * 2**20)
READING: Final = Budget(128 * 2**20)


def refuse_too_large(container: Container, size: tuple[int, int]) -> None:
    """Refuse an image for its size alone, as its header states it."""
    width, height = size
    # A JPEG can be decoded at an eighth of its width and height.
    most = MAX_PIXELS * (64 if container.format == "JPEG" else 1)
    if width * height > most or max(width, height) > _MOST_SIDE:
        raise UnreadableImage(
            f"{width:,} x {height:,} pixels; at most {MAX_PIXELS:,} in all are decoded. Save it smaller."
        )


def bytes_to_decode(container: Container, size: tuple[int, int], wanted: tuple[int, int], channels: int) -> int:
    """What decoding takes at its peak."""
    if size[0] * size[1] > MAX_PIXELS:
        raise UnreadableImage(
            f"{size[0]:,} x {size[1]:,} pixels; at most {MAX_PIXELS:,} in all are decoded. Save it smaller."
        )
    pixels = size[0] * size[1]
    num_bytes = pixels * _BYTES_A_PIXEL.get(container.format, _USUAL_BYTES) + container.held_bytes
    # The resized image, and what Pillow keeps for every row.
    num_bytes += wanted[0] * wanted[1] * channels + 24 * size[1]
    if num_bytes > DECODING.num_bytes:
        raise UnreadableImage(
            f"{size[0]:,} x {size[1]:,} pixels that take {num_bytes / 2**20:,.0f} MiB to decode; at most "
            f"{DECODING.num_bytes / 2**20:,.0f} MiB are taken. Save it smaller, or as JPEG or PNG."
        )
    return num_bytes
