"""What a JPEG 2000 file tells before its decoder sees it, which answers with grey where tiles are missing."""

from __future__ import annotations

from dataclasses import dataclass

from sightline.errors import UnreadableImage

_START, _CODED, _TILE_PART = b"\xff\x4f\xff\x51", 0xFF52, 0xFF90
_MOST_PARTS = 100_000


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
    halvings, position = 0, start + 2
    while position + 4 <= len(data) and number(position, 2) != _TILE_PART:
        if number(position, 2) == _CODED:
            halvings = number(position + 9, 1)
        position += 2 + max(2, number(position + 2, 2))
    seen: set[int] = set()
    for _ in range(_MOST_PARTS):
        length = number(position + 6, 4) or len(data) - position  # 0: the last one, to the end
        if position + 12 > len(data) or number(position, 2) != _TILE_PART or position + length > len(data):
            break
        seen.add(number(position + 4, 2))
        position += max(length, 12)
    is_cut = len(seen) < tiles or number(position, 2) == _TILE_PART
    missing = f"{len(data):,} bytes; {len(seen):,} of {tiles:,} tiles" if is_cut else None
    tile = min(wide, right - left) * min(high, bottom - top)
    return Jpeg2000(size, tile, number(start + 40, 2), number(start + 42, 1) % 128 + 1, halvings, missing)
