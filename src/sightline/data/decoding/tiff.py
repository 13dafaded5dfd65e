"""The directory that TIFF files and EXIF blocks share: which way is up, which camera, a TIFF without metadata."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import TiffTags

from sightline.errors import UnreadableImage

_MODEL = 0x0110
# The block stands near the start of a JPEG; a TIFF is such a block as a whole. Other formats are rare from cameras.
_SEARCHED_BYTES = 65_536
_TEXT, _LONGEST_TEXT = 2, 64
# When a picture was taken, when it was scanned, and when its file was changed.
_EXIF_DIRECTORY, _TAKEN, _CHANGED = 0x8769, (0x9003, 0x9004), 0x0132
_DATE = re.compile(r"(1[89]\d\d|2\d\d\d)[:/.-](\d\d)[:/.-](\d\d)(?!\d)")

_ORIENTATION = 0x0112
_DNG_VERSION = 0xC612
_SENSOR = {32803, 34892}  # photometric interpretations: the mosaic of a sensor, and its linear values
_MAX_ENTRIES = 65_535  # what a classic TIFF can hold; BigTIFF would allow numbers that only an attack has
# What TIFF itself and its fax, JPEG and LERC compressions need to give pixels, and nothing else.
_PIXEL_TAGS = {256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332, 338}
_PIXEL_TAGS |= {339, 347, *range(512, 522), 529, 530, 531, 532, 50674}
_WHOLE = {1, 3, 4, 13, 16}
_USUAL_PIECE = 16 * 2**20
_MOST_PIECES = 200_000
_MOST_VALUES = 3 * 65_536  # a palette of 16 bits
_JPEG, _MOST_PADDING = 7, 64
_PIECES = {273, 279, 324, 325}
# By compression, what a byte can expand to: LZW, deflate twice, packed bits. The others know no bound.
_RATIOS = {5: 3000, 8: 1040, 32946: 1040, 32773: 64}
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
    """How the camera was held, from an EXIF block without the leading "Exif" of JPEG files.

    Returns:
        1 to 8 as Exif counts them; 1, upright, wherever the block is damaged or says nothing.
    """
    if block[:4] not in (b"II\x2a\x00", b"MM\x00\x2a"):
        return 1
    return _orientation_of(_first_directory(block))


@dataclass(frozen=True)
class Tiff:
    """A TIFF file's first image, and what its tags tell of it.

    Attributes:
        data: the file with that image alone.
        orientation: 1 to 8.
        size: (width, height).
        bits: of one sample.
        held_bytes: of the tile or strip that is decoded at once.
    """

    data: bytes
    orientation: int
    size: tuple[int, int]
    bits: int
    held_bytes: int


def strip_tiff(data: bytes) -> Tiff:
    """Take all but pixels out of a TIFF file's first directory, and refuse what misleads or lacks a part.

    Pillow takes whatever stands first: the thumbnail of a camera's raw file, a fourth band for
    transparency, signed numbers for unsigned ones; and it answers where the last strip is cut off.
    """
    directory = _first_directory(data)
    if not directory.entries or len(directory.entries) < directory.count:
        raise UnreadableImage("damaged TIFF (its directory of images is empty or cut off).")
    _refuse_raw(directory, data)
    kept: dict[int, _Entry] = {}
    for entry in directory.entries:
        if entry.tag in _PIXEL_TAGS and entry.kind in _VALUE_BYTES:
            _check(entry, directory, len(data))
            kept.setdefault(entry.tag, entry)
    tags = _Tags(kept, directory, data)
    _refuse_kind(tags)
    held_bytes = _check_pieces(tags)
    # The shorter directory is written over the longer one, so no offset in the file changes. The zeros after it
    # say that there is no second image; the file is longer by as much, for a directory that ended with it.
    count = len(kept).to_bytes(8 if directory.word == 8 else 2, directory.order)
    shorter = count + b"".join(entry.raw for entry in kept.values()) + bytes(directory.word)
    stripped = bytearray(data + bytes(directory.word))
    stripped[directory.start : directory.start + len(shorter)] = shorter
    size = tags.one(256, 0), tags.one(257, 0)
    return Tiff(bytes(stripped), _orientation_of(directory), size, tags.one(258, 1), held_bytes)


@dataclass(frozen=True)
class _Tags:
    """The values of a directory's tags."""

    entries: dict[int, _Entry]
    directory: _Directory
    data: bytes

    def all(self, tag: int) -> tuple[int, ...]:
        """Whole numbers; none where the tag is missing or holds something else."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in _WHOLE:
            return ()
        size = _VALUE_BYTES[entry.kind]
        start = int.from_bytes(entry.value, self.directory.order)
        inside = size * entry.count <= self.directory.word
        raw = entry.value if inside else self.data[start : start + size * entry.count]
        kind = np.dtype(f"{'<' if self.directory.order == 'little' else '>'}u{size}")
        return tuple(np.frombuffer(raw, kind, entry.count).tolist())

    def one(self, tag: int, usual: int) -> int:
        """The first value, or the one that counts where the tag is missing."""
        return next(iter(self.all(tag)), usual)


def _refuse_raw(directory: _Directory, data: bytes) -> None:
    first = {
        entry.tag: int.from_bytes(entry.value[: _VALUE_BYTES.get(entry.kind, 1)], directory.order)
        for entry in reversed(directory.entries)
    }
    # A raw file's first image is a reduced copy, with the picture itself in a sub-directory.
    is_copy = first.get(254, 0) & 1 and 330 in first
    if _DNG_VERSION in first or data[8:10] == b"CR" or is_copy or first.get(262) in _SENSOR:
        raise UnreadableImage("a camera's raw file, not a supported image; develop it to JPEG.")


def _refuse_kind(tags: _Tags) -> None:
    """Refuse pixels that 8 bits of grey or colour do not hold, with what to do."""
    bits, samples = tags.one(258, 1), tags.one(277, 1)
    kind = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}.get(tags.one(339, 1))
    if kind is None and bits == 32:
        kind = "unsigned"
    if kind is not None:
        raise UnreadableImage(
            f"{bits}-bit {kind} pixels have no fixed range; choose the range that shows what matters, the same for all "
            "images, and save them with 8 bits."
        )
    usual = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}.get(tags.one(262, 1), samples)
    is_alpha = samples == usual + 1 and tags.all(338)[:1] in ((1,), (2,))
    if samples > usual and not is_alpha:
        raise UnreadableImage(
            f"{samples} bands, of which the file does not say what the last {'is' if samples == usual + 1 else 'are'}; "
            f"save the {usual} that matter."
        )


def _check_pieces(tags: _Tags) -> int:
    """Refuse strips or tiles that are not all there, or far larger than the image; the bytes of one."""
    width, height, bits = tags.one(256, 0), tags.one(257, 0), tags.one(258, 1)
    samples = tags.one(277, 1)
    planes, together = (samples, 1) if tags.one(284, 1) == 2 else (1, samples)
    wide, high = tags.one(322, width), tags.one(323, min(tags.one(278, height), height))
    if not (width and height and wide and high and bits and samples):
        raise UnreadableImage(f"damaged TIFF ({width:,} x {height:,} pixels).")
    row_bytes, image_bytes = (wide * bits * together + 7) // 8, planes * height * ((width * bits * together + 7) // 8)
    is_tiled = 322 in tags.entries
    if row_bytes * high > max(4 * image_bytes, _USUAL_PIECE):
        raise UnreadableImage(
            f"damaged TIFF (a {'tile' if is_tiled else 'strip'} of {wide:,} x {high:,} pixels in an image of "
            f"{width:,} x {height:,})."
        )
    down, across = -(-height // high), -(-width // wide)
    if across * down * planes > _MOST_PIECES:
        raise UnreadableImage(f"{across * down * planes:,} strips or tiles; at most {_MOST_PIECES:,} are read.")
    starts, sizes = tags.all(324 if is_tiled else 273), tags.all(325 if is_tiled else 279)
    if len(starts) < across * down * planes:
        raise UnreadableImage(f"truncated TIFF ({len(starts):,} of {across * down * planes:,} strips or tiles).")
    if tags.one(259, 1) == 1 and tags.one(262, 1) != 6:  # colours of which several pixels share one may take less
        # What it needs is known, whatever it says; the last strip is as high as what is left.
        last = row_bytes * (high if is_tiled else height - (down - 1) * high)
        sizes = tuple(last if piece % down == down - 1 else row_bytes * high for piece in range(len(starts)))
    _check_lengths(tags, starts, sizes, image_bytes)
    # Of colours that several pixels share, Pillow has libtiff make four bytes a pixel besides.
    decoded = row_bytes + (4 * wide if tags.one(262, 1) == 6 else 0)
    return decoded * high + max(sizes, default=0)


def _check_lengths(tags: _Tags, starts: tuple[int, ...], sizes: tuple[int, ...], image_bytes: int) -> None:
    ends = [start + size for start, size in zip(starts, sizes, strict=False)]
    if ends and max(ends) > len(tags.data):
        raise UnreadableImage(f"truncated TIFF ({len(tags.data):,} bytes; its pixels end after {max(ends):,}).")
    # libtiff makes up what a JPEG in a strip or tile lacks.
    if tags.one(259, 1) == _JPEG and not all(
        tags.data[max(start, end - _MOST_PADDING) : end].rstrip(b"\0").endswith(b"\xff\xd9")
        for start, end in zip(starts, ends, strict=False)
    ):
        raise UnreadableImage("truncated TIFF (the JPEG data of a strip or tile lacks its end).")
    ratio = _RATIOS.get(tags.one(259, 1))
    if ratio is not None and sizes and ratio * (sum(sizes) + 64 * len(sizes)) < image_bytes:
        raise UnreadableImage(f"truncated TIFF ({sum(sizes):,} bytes, which cannot hold its {image_bytes:,}).")


def _first_directory(block: bytes) -> _Directory:
    order: Literal["little", "big"] = "little" if block[:2] == b"II" else "big"

    def number(start: int, length: int) -> int:
        return int.from_bytes(block[start : start + length], order)

    word = 8 if number(2, 2) == 43 else 4
    return _directory_at(block, number(word, word), order, word)


def _directory_at(block: bytes, start: int, order: Literal["little", "big"], word: int = 4) -> _Directory:
    def number(start: int, length: int) -> int:
        return int.from_bytes(block[start : start + length], order)

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
    if entry.count > _MOST_VALUES and not is_bytes and entry.tag not in _PIECES:
        raise UnreadableImage(f"damaged TIFF (tag {entry.tag} has {entry.count:,} values).")
    size = entry.count * _VALUE_BYTES[entry.kind]
    if size > directory.word and int.from_bytes(entry.value, directory.order) + size > num_bytes:
        raise UnreadableImage(f"truncated TIFF ({num_bytes:,} bytes; its tag {entry.tag} lies beyond them).")


def camera_model(data: bytes) -> str:
    """The camera's model as a whole image file names it, at most 64 letters; "" where it says none."""
    block = _exif_block(data)
    return "" if not block else _text_of(_first_directory(block), _MODEL, block)


def date_taken(data: bytes) -> tuple[int, int, int] | None:
    """Year, month and day on which a picture was taken, as a whole image file tells it; None where it tells none.

    What was taken counts before what was made of it later. 1800 to 2999 are years; all else is a damaged clock.
    """
    block = _exif_block(data)
    if not block:
        return None
    first = _first_directory(block)
    start = next((entry.value for entry in first.entries if entry.tag == _EXIF_DIRECTORY), b"")
    taken = _directory_at(block, int.from_bytes(start, first.order), first.order) if start and first.word == 4 else None
    texts = [_text_of(taken, tag, block) for tag in _TAKEN] if taken is not None else []
    for text in (*texts, _text_of(first, _CHANGED, block)):
        if found := _DATE.match(text):
            year, month, day = (int(part) for part in found.groups())
            if 1 <= month <= 12 and 1 <= day <= 31:
                return year, month, day
    return None


def _exif_block(data: bytes) -> bytes:
    found = data.find(b"Exif\0\0", 0, _SEARCHED_BYTES)
    block = data[found + 6 : found + 6 + _SEARCHED_BYTES] if found >= 0 else data
    return block if block[:4] in (b"II\x2a\x00", b"MM\x00\x2a") else b""


def _text_of(directory: _Directory, tag: int, block: bytes) -> str:
    entry = next((entry for entry in directory.entries if entry.tag == tag and entry.kind == _TEXT), None)
    if entry is None:
        return ""
    start = int.from_bytes(entry.value, directory.order)
    text = entry.value if entry.count <= directory.word else block[start : start + _LONGEST_TEXT]
    return " ".join(text[: min(entry.count, _LONGEST_TEXT)].split(b"\0")[0].decode("ascii", "replace").split())
