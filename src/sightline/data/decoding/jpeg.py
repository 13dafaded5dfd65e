"""What a JPEG file tells before its decoder sees it: which way is up, how large it is, how much work, where it ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from sightline.data.decoding.tiff import exif_orientation
from sightline.errors import UnreadableImage

# Photographs have a few dozen, 300 with the largest profile; a decoder goes through millions without complaint.
MOST_SEGMENTS = 10_000
# A decoder visits every 8 x 8 block of a component in each scan, at about 12 ns for an empty one. Ordinary
# progressive files visit each block about six times: 100 megapixels come to 30 million.
MOST_VISITS = 150_000_000
# Arithmetic code takes about five times as long a block.
_ARITHMETIC_VISITS = 5
# Tables are read at 0.2 s a MiB; of those that one scan needs, there are 2 kB.
_MOST_TABLE_BYTES, _TABLES = 4 * 2**20, {0xDB, 0xC4, 0xCC}
_MARKER = re.compile(rb"\xff[\x01-\xfe]")
# Within a scan, 0xFF00 is the value 0xFF, and D0 to D7 only restart the code.
_END_OF_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
# Frames in Huffman code, which has no code of less than a bit: of all others a block may take next to nothing.
_LEAST_BITS = {0xC0: 2, 0xC1: 2, 0xC2: 1}
_SCAN, _EXIF, _COMMENT, _END = 0xDA, 0xE1, 0xFE, b"\xff\xd9"


@dataclass
class Jpeg:
    """What the segments of a file tell.

    Attributes:
        data: the file without its metadata.
        orientation: 1 to 8 as Exif counts them.
        size: (width, height) as coded, or None where there is no frame.
        held_bytes: that the decoder keeps until the last scan; 0 where it works row by row.
        start: where in `data` the first scan begins, or 0 where there is none.
        has_end: False where the mark is missing that ends every file.
        lacks_scans: True where it is, and bits are still to come.
        is_arithmetic: True where its bits are packed in the slower of two ways.
        blocks: of each component.
        is_progressive: several scans, each with some bits of the coefficients.
        block_bits: that are the fewest of a block, where its first coefficient is coded.
        least_bytes: that the shortest codes of its blocks take, from the first scan on; 0 where nothing is known of it.
    """

    data: bytes
    orientation: int = 1
    size: tuple[int, int] | None = None
    held_bytes: int = 0
    start: int = 0
    has_end: bool = True
    lacks_scans: bool = False
    is_arithmetic: bool = False
    blocks: dict[int, int] = field(default_factory=dict)
    is_progressive: bool = False
    block_bits: int = 0
    least_bytes: int = 0


def read_jpeg(data: bytes) -> Jpeg:
    """Go through the segments of a file, and refuse one that would keep a decoder busy without end."""
    found, kept, is_upright = Jpeg(data), [memoryview(data)[:2]], False
    for marker, begin, end in _segments(data):
        body = data[begin + 4 : min(end, begin + 70_000)]
        if marker == _EXIF and body.startswith(b"Exif\0\0") and not is_upright:
            found.orientation, is_upright = exif_orientation(body[6:]), True
        if marker in _FRAMES:
            _read_frame(found, marker, body)
        if marker == _SCAN:
            found.start = sum(map(len, kept))
            kept.append(memoryview(data)[begin:])
            _read_scans(found, data, begin, body)
            break
        if marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == _COMMENT):  # 0: JFIF, 14: Adobe's colours
            kept.append(memoryview(data)[begin:end])
    # Copying megabytes costs a tenth of decoding them, so a file without metadata is taken as it is.
    if sum(map(len, kept)) < len(data):
        found.data = b"".join(kept)
    return found


def _segments(
    data: bytes, position: int = 2, expression: re.Pattern[bytes] = _MARKER
) -> Iterator[tuple[int, int, int]]:
    """Marker, beginning and end of each segment, junk between them passed over."""
    count = table_bytes = 0
    while (found := expression.search(data, position)) is not None:
        count += 1
        if count > MOST_SEGMENTS:
            raise UnreadableImage(f"damaged JPEG (more than {MOST_SEGMENTS:,} segments).")
        begin, marker = found.start(), data[found.start() + 1]
        position = begin + 2
        if marker == 0x01 or 0xD0 <= marker <= 0xD9:  # markers without a length
            if expression is _END_OF_SCAN and marker == _END[1]:
                return
            continue
        if begin + 4 > len(data):
            return
        position += max(2, int.from_bytes(data[begin + 2 : begin + 4], "big"))
        table_bytes += position - begin if marker in _TABLES else 0
        if table_bytes > _MOST_TABLE_BYTES:
            raise UnreadableImage(f"damaged JPEG (more than {_MOST_TABLE_BYTES:,} bytes of tables).")
        yield marker, begin, position


def _read_frame(found: Jpeg, marker: int, body: bytes) -> None:
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        return
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    components = [(body[at], body[at + 1] >> 4, body[at + 1] & 15) for at in range(6, 6 + 3 * body[5], 3)]
    most_wide, most_high = max(c[1] for c in components or [(0, 1, 1)]), max(c[2] for c in components or [(0, 1, 1)])
    if not (most_wide and most_high):
        return
    found.size, found.is_progressive = (width, height), marker in _PROGRESSIVE
    found.is_arithmetic, found.block_bits = marker >= 0xC9, _LEAST_BITS.get(marker, 0)
    for number, wide, high in components:
        across = -(-width * wide // (8 * most_wide))
        down = -(-height * high // (8 * most_high))
        found.blocks[number] = across * down


def _read_scans(found: Jpeg, data: bytes, begin: int, body: bytes) -> None:
    found.has_end = data.rfind(_END, begin) >= 0
    is_whole_at_once = not found.is_progressive and body[:1] == bytes([len(found.blocks)])
    visits = coded = sum(found.blocks.values())
    if not is_whole_at_once:
        # Every coefficient of every block, 2 bytes each, is kept until the last scan has been read.
        found.held_bytes = 128 * visits
        precision: dict[tuple[int, int], int] = {}
        visits = coded = 0
        for marker, start, end in _segments(data, begin, _END_OF_SCAN):
            if marker == _SCAN:
                scan = data[start + 4 : min(end, start + 20)]
                visited = _read_scan(found, scan, precision)
                visits += visited
                # One code may end the higher coefficients of 32,767 blocks; the first of each block has its own.
                coded += visited if not found.is_progressive or _first_of(scan) == 0 else 0
        found.lacks_scans = not found.has_end and (len(precision) < 64 * len(found.blocks) or any(precision.values()))
    # A code for the first coefficient, and where all come at once one that ends the others.
    found.least_bytes = coded * found.block_bits // 8
    visits *= _ARITHMETIC_VISITS if found.is_arithmetic else 1
    if visits > MOST_VISITS:
        raise UnreadableImage(f"damaged JPEG (its scans visit {visits:,} blocks; at most {MOST_VISITS:,} are read).")


def _read_scan(found: Jpeg, body: bytes, precision: dict[tuple[int, int], int]) -> int:
    """How many blocks a scan visits; notes how many bits of which coefficients it leaves to later ones."""
    count = body[0] if body else 0
    if len(body) < 4 + 2 * count:
        return 0
    numbers = body[1 : 1 + 2 * count : 2]
    first, last, low = _first_of(body), body[2 + 2 * count], body[3 + 2 * count] & 15
    for number in numbers:
        precision.update({(number, index): low for index in range(first, min(last, 63) + 1)})
    return sum(found.blocks.get(number, 0) for number in numbers)


def _first_of(scan: bytes) -> int:
    """The first of the coefficients that a scan holds, 0 to 63; -1 where its header is cut off."""
    at = 1 + 2 * scan[0] if scan else 0
    return scan[at] if at < len(scan) else -1
