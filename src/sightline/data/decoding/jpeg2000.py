"""What a JPEG 2000 file tells before its decoder sees it, which answers with grey where tiles are missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sightline.errors import UnreadableImage

_START, _CODED, _CODED_ONE, _TILE_PART, _DATA = b"\xff\x4f\xff\x51", 0xFF52, 0xFF53, 0xFF90, 0xFF93
_MOST_PARTS = 100_000
# The decoder takes 1.2 kB for each precinct, and 2 bytes for each of its layers; files have tens of thousands at most.
_MOST_PRECINCTS, _MOST_PACKETS, _MOST_SEGMENTS = 300_000, 2_000_000, 10_000


@dataclass(frozen=True)
class Jpeg2000:
    """What the main header tells.

    Attributes:
        size: (width, height).
        tile: pixels of the largest tile.
        components: of a pixel.
        bits: of the first component.
        halvings: how often every tile was halved.
        missing: what is not there of the tiles, or None.
    """

    size: tuple[int, int]
    tile: int
    components: int
    bits: int
    halvings: int
    missing: str | None


def read_jpeg2000(data: bytes) -> Jpeg2000:
    """Go through the main header and from tile part to tile part."""
    start = data.find(_START)
    if start < 0 or len(data) < start + 45:
        raise UnreadableImage(f"truncated JPEG 2000 (it ends after {len(data):,} bytes).")

    def number(at: int, length: int) -> int:
        return int.from_bytes(data[at : at + length], "big")

    right, bottom, left, top, wide, high, tile_left, tile_top = (number(start + 8 + 4 * at, 4) for at in range(8))
    size = right - left, bottom - top
    if min(size) < 1 or not (wide and high) or tile_left > left or tile_top > top:
        raise UnreadableImage(f"damaged JPEG 2000 ({size[0]:,} x {size[1]:,} pixels).")
    tiles = -(-(right - tile_left) // wide) * -(-(bottom - tile_top) // high)
    shape = min(wide, size[0]), min(high, size[1]), number(start + 40, 2), tiles
    halvings, position = 0, start + 2
    for kind, segment, end in _segments(data, position, _TILE_PART):
        if kind == _CODED and len(segment) > 5:
            halvings = segment[5]
        _refuse_pieces(kind, segment, shape)
        position = end
    seen: set[int] = set()
    for _ in range(_MOST_PARTS):
        length = number(position + 6, 4) or len(data) - position  # 0: the last one, to the end
        if position + 12 > len(data) or number(position, 2) != _TILE_PART or position + length > len(data):
            break
        seen.add(number(position + 4, 2))
        for kind, segment, _ in _segments(data, position + 12, _DATA):  # a tile may be coded in a way of its own
            _refuse_pieces(kind, segment, shape)
        position += max(length, 12)
    is_cut = len(seen) < tiles or number(position, 2) == _TILE_PART
    missing = f"{len(data):,} bytes; {len(seen):,} of {tiles:,} tiles" if is_cut else None
    tile = min(wide, right - left) * min(high, bottom - top)
    return Jpeg2000(size, tile, number(start + 40, 2), number(start + 42, 1) % 128 + 1, halvings, missing)


def _segments(data: bytes, position: int, last: int) -> Iterator[tuple[int, bytes, int]]:
    """Mark, content and end of each part of a header."""
    for _ in range(_MOST_SEGMENTS):
        kind = int.from_bytes(data[position : position + 2], "big")
        if position + 4 > len(data) or kind == last:
            return
        end = position + 2 + max(2, int.from_bytes(data[position + 2 : position + 4], "big"))
        yield kind, data[position + 4 : end], end
        position = end
    raise UnreadableImage(f"damaged JPEG 2000 (a header of more than {_MOST_SEGMENTS:,} parts).")


def _refuse_pieces(kind: int, segment: bytes, shape: tuple[int, int, int, int]) -> None:
    """Refuse to cut tiles of (width, height, components, how many) into more pieces than any image has."""
    width, height, components, tiles = shape
    if kind == _CODED_ONE and len(segment) > 7 and segment[2 if components > 256 else 1] & 1:
        raise UnreadableImage("a JPEG 2000 with pieces of its own for one component. Save it as PNG.")
    if kind != _CODED or len(segment) < 10:
        return
    levels = min(32, segment[5])
    sides = segment[10:] if segment[0] & 1 else b""
    precincts = 0
    for level in range(levels + 1):
        packed = sides[level] if level < len(sides) else 0xFF
        across, down = packed & 15, packed >> 4
        left = levels - level
        precincts += -(-width >> left + across) * -(-height >> left + down)
    precincts *= components * tiles
    if precincts > _MOST_PRECINCTS or precincts * int.from_bytes(segment[2:4], "big") > _MOST_PACKETS:
        raise UnreadableImage(f"a JPEG 2000 cut into {precincts:,} pieces; save it as PNG.")
