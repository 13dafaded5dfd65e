"""Sound image files of every format, damaged ones, and small ones that ask for gigabytes or minutes.

`attack_images.py` tries the decoder on them.
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from sightline.data.decoding.formats import IMAGE_FORMATS

Bomb = tuple[str, Callable[[], bytes]]


def encoded(image: Image.Image, image_format: str, **options: Any) -> bytes:
    """An image as the bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def sound_files() -> dict[str, bytes]:
    """Small files of every format, in the kinds that decoders treat differently."""
    noise = np.random.default_rng(0).integers(0, 256, (45, 61, 4), dtype=np.uint8)
    noise[:, :30] = np.linspace(0, 255, 45)[:, None, None]
    colour, grey = Image.fromarray(noise[..., :3]), Image.fromarray(noise[..., 0])
    alpha, deep = Image.fromarray(noise), Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a text"
    made: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("JPEG", colour, {"exif": exif}),
        ("JPEG", colour, {"progressive": True, "quality": 90}),
        ("JPEG", grey, {"restart_marker_blocks": 2}),
        ("JPEG", colour.convert("CMYK"), {}),
        ("MPO", colour, {"save_all": True, "append_images": [grey]}),
        *(("PNG", image, {}) for image in (colour, grey, alpha, deep, colour.convert("P"), grey.convert("1"))),
        ("PNG", colour, {"save_all": True, "append_images": [colour], "exif": exif}),
        ("WEBP", colour, {"exif": exif}),
        ("WEBP", alpha, {"lossless": True}),
        ("WEBP", colour, {"save_all": True, "append_images": [grey.convert("RGB")]}),
        ("GIF", colour.convert("P"), {"save_all": True, "append_images": [grey], "comment": b"hello" * 99}),
        ("BMP", colour, {}),
        ("BMP", grey.convert("1"), {}),
        *(
            ("TIFF", colour, {"compression": name})
            for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
        ),
        ("TIFF", grey.convert("1"), {"compression": "group4"}),
        ("TIFF", deep, {"exif": exif}),
        ("TIFF", alpha, {"big_tiff": True}),
        ("PPM", colour, {}),
        ("PPM", grey.convert("1"), {}),
        ("AVIF", colour, {"exif": exif}),
        ("AVIF", alpha, {"save_all": True, "append_images": [alpha]}),
        ("JPEG2000", colour, {}),
        ("JPEG2000", deep, {"no_jp2": True, "tile_size": (32, 32)}),
    ]
    files = {}
    for number, (image_format, image, options) in enumerate(made):
        if image_format in IMAGE_FORMATS or image_format == "MPO":
            files[f"{image_format} {number}"] = encoded(image, image_format, **options)
    files["PPM plain"] = b"P3 # plain\n3 2 9\n" + b"1 2 3 4 5 6 7 8 9 " * 2
    files["PPM of 254"] = b"P6 4 4 254 " + bytes(48)
    files["BMP of runs"] = bitmap_of_runs(8, 2, b"\x08\x01\0\0" * 2)
    return files


def bitmap_of_runs(width: int, height: int, runs: bytes) -> bytes:
    """A run-length bitmap of 8 bits."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 0, 0, 0, 2, 0)
    return b"BM" + struct.pack("<IHHI", 62 + len(runs), 0, 0, 62) + header + bytes(8) + runs


def mutant(data: bytes, generator: np.random.Generator) -> bytes:
    """A file with a few flipped bits, extreme numbers, missing, repeated or moved parts."""
    changed = bytearray(data)
    for _ in range(generator.integers(1, 5)):
        # Headers are short and hold everything dangerous: half of the changes go there.
        limit = len(changed) if generator.integers(2) else min(len(changed), 160)
        if limit < 9:
            break
        at, length = int(generator.integers(0, limit - 8)), int(generator.integers(1, 64))
        kind = generator.integers(6)
        if kind < 2:
            changed[at] ^= 1 << int(generator.integers(8))
        elif kind == 2:
            width = int(generator.choice([1, 2, 4, 8]))
            changed[at : at + width] = generator.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * width
        elif kind == 3:
            del changed[at : at + length]
        elif kind == 4:
            changed[at:at] = changed[at : at + length] * int(generator.integers(1, 50))
        else:
            del changed[len(changed) - length :]
    return bytes(changed)


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, *, depth: int = 8, color: int = 0, interlaced: bool = False, share: float = 1
) -> bytes:
    """A black PNG of any size, with a share of its rows."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    packer, left = zlib.compressobj(9), int((1 + width * depth * channels // 8) * height * share)
    parts = []
    while left > 0:
        parts.append(packer.compress(bytes(min(left, 2**22))))
        left -= 2**22
    body = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced))
    palette = chunk(b"PLTE", bytes(range(3))) if color == 3 else b""
    return (
        b"\x89PNG\r\n\x1a\n" + body + palette + chunk(b"IDAT", b"".join(parts) + packer.flush()) + chunk(b"IEND", b"")
    )


def tiff(width: int, height: int, *, pixel: tuple[int, int], tile: tuple[int, int] | None, code: int) -> bytes:
    """A compressed TIFF of any size with almost nothing in it: one strip, or one tile of any size."""
    bits, samples = pixel
    data = zlib.compress(bytes(1 << 20), 9) if code == 8 else b"\x80\x0b\x60\x50" * 300
    entries = {256: width, 257: height, 258: bits, 259: code, 262: 2 if samples == 3 else 1, 277: samples}
    place = {322: tile[0], 323: tile[1], 324: 0, 325: len(data)} if tile else {273: 0, 278: height, 279: len(data)}
    entries |= place
    start = 8 + 2 + 12 * len(entries) + 4
    entries[324 if tile else 273] = start
    listed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + listed + bytes(4) + data


def jpeg_scans(count: int, side: int) -> bytes:
    """A progressive JPEG of one grey with so many scans, which visit every block and hold nothing."""
    blocks = (-(-side // 8)) ** 2

    def packed(bits: str) -> bytes:
        bits += "1" * (-len(bits) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")

    size = struct.pack(">HH", side, side)
    head = b"\xff\xd8\xff\xdb\x00\x43\x00" + bytes([1] * 64) + b"\xff\xc2\x00\x0b\x08" + size + b"\1\1\x11\0"
    head += b"\xff\xc4\x00\x14\0" + bytes([1] + [0] * 15) + b"\0"
    head += b"\xff\xc4\x00\x15\x10" + bytes([1, 1] + [0] * 14) + b"\xe0\x00"
    runs, left = "", blocks
    while left >= 16_384:
        run = min(left, 32_767)
        runs, left = runs + "0" + format(run - 16_384, "014b"), left - run
    scan = packed(runs + "10" * left)
    scans = b"".join(b"\xff\xda\x00\x08\1\1\0" + bytes([1 + n % 63, 1 + n % 63, 0]) + scan for n in range(count))
    return head + b"\xff\xda\x00\x08\1\1\0\0\0\0" + packed("0" * blocks) + scans + b"\xff\xd9"


def floods(count: int) -> Iterator[tuple[str, bytes]]:
    """Parts without end."""
    jpeg, frame = encoded(Image.new("RGB", (64, 64), "red"), "JPEG"), struct.pack("<HHHHB", 0, 0, 9, 9, 0)
    for part in (b"\xff\xdb\x00\x02", b"\xff\xd0", b"\xff\xfe\x00\x02", b"\xff", b"\xff\x00", b"\xff\xc4\x00\x02"):
        yield f"JPEG of {part.hex()}", jpeg[:2] + part * count + jpeg[2:]
    scan = jpeg.index(b"\xff\xda") + 14
    for part in (b"\xff\xd0", b"\xff\xdb\x00\x02", b"\xff\xda\x00\x02"):
        yield f"JPEG with {part.hex()} in its scan", jpeg[:scan] + part * count + jpeg[scan:]
    yield (
        "GIF of comments",
        b"GIF89a\x09\0\x09\0\0\0\0" + b"\x21\xfe" + b"\x01a" * count + b"\0\x2c" + frame + b"\x02\x02\x4c\x01\0;",
    )
    yield (
        "GIF of extensions",
        b"GIF89a\x09\0\x09\0\0\0\0" + b"\x21\xff\0" * count + b"\x2c" + frame + b"\x02\x02\x4c\x01\0;",
    )
    yield "GIF of blocks", b"GIF89a\x09\0\x09\0\0\0\0\x2c" + frame + b"\x02" + b"\x01\x4c" * count + b"\0;"
    whole = png(9, 9)
    for kind in (b"IDAT", b"tEXt", b"PLTE"):
        yield f"PNG of {kind.decode()}", whole[:33] + chunk(kind, b"") * count + whole[33:]
    for kind in (b"abcd", b"EXIF", b"ANMF"):
        body = b"WEBPVP8X\x0a\0\0\0\x0a\0\0\0" + bytes(6) + (kind + bytes(4)) * count
        yield f"WebP of {kind.decode()}", b"RIFF" + struct.pack("<I", len(body)) + body
    avif = encoded(Image.new("RGB", (9, 9)), "AVIF")
    for kind in (b"free", b"ispe", b"meta"):
        yield f"AVIF of {kind.decode()}", avif[:32] + (struct.pack(">I", 8) + kind) * count + avif[32:]
    yield "PPM of comments", b"P5" + b"#\n" * count + b" 1 1 255 z"
    yield "PPM of blanks", b"P5" + b" " * count + b"1 1 255 z"
    yield "plain PPM", b"P2 3000 3000 9 " + b"1 " * count
    tile_part = b"\xff\x90\0\x0a\0\0\0\0\0\x0c\0\1"
    tiles = encoded(Image.new("L", (9, 9)), "JPEG2000", no_jp2=True)[:-2]
    yield "JPEG 2000 of tile parts", tiles + tile_part * count
    for part in (b"\0\0", b"\1\1", b"\0\2\0\0"):
        yield f"BMP of runs {part.hex()}", bitmap_of_runs(3_000, 3_000, part * count)


def bombs(most: int) -> list[Bomb]:
    """Names, and what makes a small file that asks for much; of all kinds in equal parts."""
    many, few = dict(floods(3_000_000)), dict(floods(9_000))
    listed: list[Bomb] = [*_tall_and_wide(), *_strips_and_tiles(), *_of_one_colour()]
    listed += [
        (f"JPEG {side} x {side} of {count} scans", partial(jpeg_scans, count, side))
        for count, side in ((1000, 8_936), (110, 8_936), (9_000, 900), (60, 12_000), (2, 40_000))
    ]
    listed += [(name, partial(bytes, data)) for name, data in many.items()]
    listed += [(f"{name}, few", partial(bytes, data)) for name, data in few.items()]
    return [listed[place] for place in np.unique(np.linspace(0, len(listed) - 1, min(most, len(listed))).astype(int))]


def _tall_and_wide() -> Iterator[Bomb]:
    sides = ((1, 80_000_000), (80_000_000, 1), (1, 500_000), (9_000, 9_000), (10_000, 10_800), (2**31 - 1, 3))
    kinds = ((8, 0), (8, 2), (8, 6), (16, 0), (16, 6), (1, 0), (8, 3))
    for (width, height), (depth, color), interlaced in itertools.product(sides, kinds, (False, True)):
        share = 1.0 if width * height < 2e8 and depth * color < 64 else 0.00001
        name = f"PNG {width} x {height}, {depth} bits, kind {color}{', interlaced' if interlaced else ''}"
        yield name, partial(png, width, height, depth=depth, color=color, interlaced=interlaced, share=share)


def _strips_and_tiles() -> Iterator[Bomb]:
    sides = ((100, 100), (9_000, 9_000), (10_000, 10_800), (1, 500_000))
    for (width, height), (bits, samples), code in itertools.product(
        sides, ((8, 1), (8, 3), (16, 1), (1, 1)), (8, 5, 32_773)
    ):
        for tile in (None, (40_000, 40_000), (width + 15 & ~15, height + 15 & ~15), (16, 16)):
            name = f"TIFF {width} x {height}, {samples} of {bits} bits, tile {tile}, compression {code}"
            yield name, partial(tiff, width, height, pixel=(bits, samples), tile=tile, code=code)


def _of_one_colour() -> Iterator[Bomb]:
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("WEBP", "RGBA", {"lossless": True, "method": 0, "quality": 0}),
        ("WEBP", "RGB", {"method": 0}),
        ("AVIF", "RGBA", {"quality": 1, "speed": 10}),
        ("AVIF", "L", {"quality": 1, "speed": 10}),
        ("GIF", "P", {}),
        ("JPEG2000", "L", {}),
        ("JPEG2000", "RGB", {"tile_size": (512, 512)}),
        ("JPEG", "RGB", {"progressive": True}),
        ("JPEG", "CMYK", {}),
        ("BMP", "L", {}),
    ]
    for side, (image_format, mode, options) in itertools.product((4_000, 6_000, 8_900), kinds):
        yield f"{image_format} {side} x {side}, {mode}", partial(_plain, side, image_format, mode, options)


def _plain(side: int, image_format: str, mode: str, options: dict[str, Any]) -> bytes:
    return encoded(Image.new(mode, (side, side)), image_format, **options)
