"""PBM, PGM and PPM files, read by whole arrays: Pillow goes pixel by pixel where the largest value is not 255."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from sightline.errors import UnreadableImage

_HEADER = re.compile(rb"P([1-6])" + rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,10})" * 2)
_LARGEST = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,10})")
_COMMENT = re.compile(rb"#[^\r\n]*")
_PIECE_BYTES = 2**20
# A header is a line or three; every comment that a pattern passes over costs 200 bytes.
_MOST_HEADER = 2**16
# Of numbers written out: the longest has 5 digits. Going through them takes 40 ms a MiB.
_BYTES_A_NUMBER, _MOST_TEXT, _MOST_COMMENTS = 16, 64 * 2**20, 100_000
_NO_NUMBERS = re.compile(rb"[^0-9\s]|[0-9]{11}")


def netpbm_header(data: bytes) -> tuple[int, int, int, int]:
    """Width, height, largest value and where the pixels begin; the largest value of a bitmap is 1."""
    found = _HEADER.match(data, 0, _MOST_HEADER)
    if found is None:
        raise UnreadableImage("damaged PPM (its header is not three numbers).")
    width, height, largest, start = int(found[2]), int(found[3]), 1, found.end()
    if found[1] not in b"14":
        last = _LARGEST.match(data, start, _MOST_HEADER)
        if last is None:
            raise UnreadableImage("damaged PPM (its header is not three numbers).")
        largest, start = int(last[1]), last.end()
    if not (width and height and 1 <= largest <= 65_535):
        raise UnreadableImage(f"damaged PPM ({width:,} x {height:,} pixels up to {largest:,}).")
    return width, height, largest, start


def read_netpbm(data: bytes) -> NDArray[np.uint8]:
    """(height, width, 1 or 3) uint8, every value scaled so that the largest is 255."""
    width, height, largest, start = netpbm_header(data)
    channels = 3 if data[1:2] in b"36" else 1
    count = width * height * channels
    if data[1:2] == b"4":
        return 255 * (1 - _bits(data, start + 1, width, height))
    # What else is there is not looked at, however much it may be.
    text = data[start : start + _BYTES_A_NUMBER * count + _MOST_HEADER] if data[1:2] in b"123" else b""
    stored = _plain(text, count, has_bits=data[1:2] == b"1") if data[1:2] in b"123" else None
    if stored is None:
        kind = np.dtype(np.uint8 if largest < 256 else ">u2")
        _refuse_short(data, len(data) - start - 1, count * kind.itemsize)
        stored = np.frombuffer(data, kind, count, start + 1)
    # A bitmap's ones are black.
    scaled = (np.arange(largest + 1) * 255 + largest // 2) // largest
    table = (255 - scaled if data[1:2] == b"1" else scaled).astype(np.uint8)
    pixels = np.zeros(count, np.uint8)
    for begin in range(0, count, _PIECE_BYTES):  # NumPy makes 8 bytes of every value that it looks up
        piece = slice(begin, begin + _PIECE_BYTES)
        table.take(stored[piece], mode="clip", out=pixels[piece])
    return pixels.reshape(height, width, channels)


def _bits(data: bytes, start: int, width: int, height: int) -> NDArray[np.uint8]:
    row_bytes = (width + 7) // 8
    _refuse_short(data, len(data) - start, row_bytes * height)
    packed = np.frombuffer(data, np.uint8, row_bytes * height, start).reshape(height, row_bytes)
    return np.unpackbits(packed, axis=1, count=width)[..., np.newaxis]


def _plain(text: bytes, count: int, *, has_bits: bool) -> NDArray[np.uint16]:
    """Numbers written out; those of a bitmap need no blanks between them."""
    if len(text) > _MOST_TEXT:
        raise UnreadableImage(f"a PPM of {len(text):,} written-out bytes; at most {_MOST_TEXT:,} are read. Pack it.")
    if text.count(b"#") > _MOST_COMMENTS:
        raise UnreadableImage("damaged PPM (almost nothing but comments).")
    text = _COMMENT.sub(b"", text)
    if _NO_NUMBERS.search(text):
        raise UnreadableImage("damaged PPM (something else among its numbers).")
    if has_bits:
        digits = np.frombuffer(text, np.uint8)
        found = (digits[(digits == ord("0")) | (digits == ord("1"))] - ord("0")).astype(np.uint16)
        _refuse_short(text, len(found), count)
        return np.asarray(found[:count])
    numbers = np.empty(count, dtype=np.uint16)
    filled = position = 0
    while filled < count and position < len(text):
        end = min(position + _PIECE_BYTES, len(text))
        while end < len(text) and not text[end : end + 1].isspace():
            end += 1
        piece = text[position:end].decode("ascii")
        # Of blanks alone NumPy makes a number.
        part = np.fromstring(piece if not piece.isspace() else "", np.int64, sep=" ")[: count - filled]
        numbers[filled : filled + len(part)] = np.minimum(part, 65_535)
        filled, position = filled + len(part), end
    _refuse_short(text, filled, count)
    return numbers


def _refuse_short(data: bytes, there: int, needed: int) -> None:
    if there < needed:
        raise UnreadableImage(f"truncated PPM ({len(data):,} bytes; {max(0, there):,} of {needed:,} values are there).")
