"""The directory that TIFF files and EXIF blocks share: which way is up, and a TIFF without its metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PIL import TiffTags

from sightline.errors import UnreadableImage

_ORIENTATION = 0x0112
_DNG_VERSION = 0xC612
_MAX_ENTRIES = 65_535  # what a classic TIFF can hold; BigTIFF would allow numbers that only an attack has
# What TIFF itself and its fax, JPEG and LERC compressions need to give pixels, and nothing else.
_PIXEL_TAGS = {256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332, 338}
_PIXEL_TAGS |= {339, 347, *range(512, 522), 529, 530, 531, 532, 50674}
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}


@dataclass(frozen=True)
class _Entry:
    raw: bytes
    tag: int
    kind: int
    count: int
    value: bytes  # the value itself where it fits, else where it lies


@dataclass(frozen=True)
class _Directory:
    order: Literal["little", "big"]
    start: int  # position of the number of entries
    word: int  # bytes of a count or an offset: 4, or 8 in BigTIFF
    count: int
    entries: tuple[_Entry, ...]  # those that are really there


def exif_orientation(block: bytes) -> int:
    """How the camera was held, from an EXIF block.

    Args:
        block: the block without the leading "Exif" of JPEG files.

    Returns:
        1 to 8 as Exif counts them. 1, upright, wherever the block is damaged or
        silent, as viewers do.

    Raises:
        Nothing.

    Example:
        >>> exif_orientation(bytes.fromhex("4d4d002a00000008 0001 0112 0003 00000001 0006 0000"))
        6
    """
    if block[:4] not in (b"II\x2a\x00", b"MM\x00\x2a"):
        return 1
    return _orientation_of(_first_directory(block))


def strip_tiff(data: bytes) -> tuple[bytes, int]:
    """Take everything that is not pixels out of a TIFF file's first directory.

    Args:
        data: a file that starts as TIFF or BigTIFF.

    Returns:
        The file with its first image alone, and its orientation, 1 to 8.

    Raises:
        UnreadableImage: the directory is cut off or damaged, or it is a camera's raw file,
            of which the first image is a mere thumbnail.

    Example:
        >>> strip_tiff(b"II*" + bytes(5))
        Traceback (most recent call last):
        sightline.errors.UnreadableImage: damaged TIFF (its directory of images is empty or cut off).
    """
    directory = _first_directory(data)
    if any(entry.tag == _DNG_VERSION for entry in directory.entries) or data[8:10] == b"CR":
        raise UnreadableImage("a camera's raw file, not a supported image; develop it to JPEG.")
    if not directory.entries or len(directory.entries) < directory.count:
        raise UnreadableImage("damaged TIFF (its directory of images is empty or cut off).")
    kept: dict[int, _Entry] = {}
    for entry in directory.entries:
        if entry.tag in _PIXEL_TAGS and entry.kind in _VALUE_BYTES:
            _check(entry, directory, len(data))
            kept.setdefault(entry.tag, entry)
    # The shorter directory is written over the longer one, so no offset in the file changes. The zeros after it
    # say that there is no second image; the file is longer by as much, for a directory that ended with it.
    count = len(kept).to_bytes(8 if directory.word == 8 else 2, directory.order)
    shorter = count + b"".join(entry.raw for entry in kept.values()) + bytes(directory.word)
    stripped = bytearray(data + bytes(directory.word))
    stripped[directory.start : directory.start + len(shorter)] = shorter
    return bytes(stripped), _orientation_of(directory)


def _first_directory(block: bytes) -> _Directory:
    order: Literal["little", "big"] = "little" if block[:2] == b"II" else "big"

    def number(start: int, length: int) -> int:
        return int.from_bytes(block[start : start + length], order)

    word = 8 if number(2, 2) == 43 else 4
    start = number(word, word)
    count = number(start, 8 if word == 8 else 2)
    first, width = start + (8 if word == 8 else 2), 4 + 2 * word
    end = min(first + min(count, _MAX_ENTRIES) * width, len(block) - width + 1)
    entries = tuple(
        _Entry(
            raw=block[at : at + width],
            tag=number(at, 2),
            kind=number(at + 2, 2),
            count=number(at + 4, word),
            value=block[at + 4 + word : at + width],
        )
        for at in range(first, end, width)
    )
    return _Directory(order, start, word, count, entries)


def _orientation_of(directory: _Directory) -> int:
    for entry in directory.entries:
        if entry.tag == _ORIENTATION and entry.kind in (3, 4):
            value = int.from_bytes(entry.value[: _VALUE_BYTES[entry.kind]], directory.order)
            return value if 1 <= value <= 8 else 1
    return 1


def _check(entry: _Entry, directory: _Directory, num_bytes: int) -> None:
    is_bytes = entry.kind in (1, 2, 7)  # however many there are, they are one value
    if entry.count != 1 and not is_bytes and TiffTags.lookup(entry.tag).length == 1:
        raise UnreadableImage(f"damaged TIFF (tag {entry.tag} has {entry.count:,} values instead of 1).")
    size = entry.count * _VALUE_BYTES[entry.kind]
    if size > directory.word and int.from_bytes(entry.value, directory.order) + size > num_bytes:
        raise UnreadableImage(f"truncated TIFF ({num_bytes:,} bytes; its tag {entry.tag} lies beyond them).")
