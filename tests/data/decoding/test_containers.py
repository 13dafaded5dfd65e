import io
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

from sightline.data.decoding import decoder
from sightline.data.decoding.containers import DECODING, Budget, png_bytes, png_has_all_rows
from sightline.data.decoding.decoder import decode_image
from sightline.data.decoding.formats import IMAGE_FORMATS
from sightline.errors import UnreadableImage


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, rows, *, depth=8, color=0, interlaced=False):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def encoded(image, image_format, **options):
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def refusal(data):
    with pytest.raises(UnreadableImage) as caught:
        decode_image(data, color_mode="rgb", minimum_size=(64, 64))
    return str(caught.value)


def test_a_tall_png_of_a_few_bytes_is_refused():
    assert "1 x 80,000,000 pixels" in refusal(png(1, 80_000_000, bytes(10)))


def test_a_png_that_cannot_hold_its_rows_is_refused_before_they_are_allocated():
    assert "cannot hold its 90,019,001" in refusal(png(9_000, 10_001, bytes(9_001)))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("missing", [1, 9, 40, 80])
def test_a_png_of_which_rows_are_missing_is_truncated(interlaced, missing):
    rows = bytes(png_bytes(png(8, 9, b"", interlaced=interlaced)))
    assert not decode_image(png(8, 9, rows, interlaced=interlaced), color_mode="grey").any()
    assert "truncated PNG" in refusal(png(8, 9, rows[:-missing], interlaced=interlaced))


@pytest.mark.parametrize("size", [(8, 9), (9, 8), (1, 1), (5, 2), (3, 3), (7, 7)])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_a_black_interlaced_or_plain_png_has_all_rows(size, mode):
    data = encoded(Image.new(mode, size), "PNG")
    assert png_has_all_rows(data)
    assert decode_image(data, color_mode="grey").shape == (size[1], size[0], 1)
    unpacked = zlib.decompress(data[data.index(b"IDAT") + 4 : -16])
    assert png_bytes(data) == len(unpacked)


def test_a_webp_of_46_bytes_that_asks_for_gigabytes_is_refused():
    width = 8_940
    bits = (width - 1) | (width - 1) << 14 | 1 << 28
    body = b"WEBPVP8L" + struct.pack("<I", 10) + b"\x2f" + struct.pack("<I", bits) + bytes(5)
    data = b"RIFF" + struct.pack("<I", len(body)) + body
    assert "8,940 x 8,940 pixels that take 1," in refusal(data)


@pytest.mark.parametrize(
    "data",
    [
        b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0) + b"\x21\xfe" + b"\x01a" * 200_000 + b"\0;",
        b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", b"") * 200_000,
        b"RIFF" + struct.pack("<I", 1_600_022) + b"WEBPVP8X\x0a\0\0\0" + bytes(10) + b"abcd\0\0\0\0" * 200_000,
    ],
    ids=["blocks of a comment", "chunks of a PNG", "chunks of a WebP"],
)
def test_a_flood_of_parts_is_refused(data):
    assert "more than 100,000 parts" in refusal(data)


def test_a_bitmap_of_runs_that_asks_for_much_is_refused():
    header = struct.pack("<IiiHHIIiiII", 40, 8_000, 8_000, 1, 8, 1, 0, 0, 0, 0, 0)
    assert "a run-length BMP" in refusal(b"BM" + struct.pack("<IHHI", 60, 0, 0, 54) + header + bytes(20))


@pytest.mark.skipif("JPEG2000" not in IMAGE_FORMATS, reason="this Pillow was built without JPEG 2000")
def test_a_jpeg_2000_that_asks_for_much_is_refused_by_its_tile():
    data = bytearray(encoded(Image.new("RGB", (64, 64)), "JPEG2000", no_jp2=True))
    data[8:16] = data[24:32] = struct.pack(">II", 9_000, 9_000)
    with pytest.raises(UnreadableImage, match="9,000 x 9,000 pixels that take 2,"):
        decode_image(bytes(data), color_mode="rgb")


def jpeg2000_header(
    *, layers: int = 1, precincts: bytes = b"", side: int = 4_000, of_tile: bytes = b"", between: bytes = b""
) -> bytes:
    """A grey JPEG 2000 of one tile with nothing in it."""

    def part(mark: int, content: bytes) -> bytes:
        return bytes([0xFF, mark]) + struct.pack(">H", len(content) + 2) + content

    size = struct.pack(">HIIIIIIIIHBBB", 0, side, side, 0, 0, side, side, 0, 0, 1, 7, 1, 1)
    coded = bytes([bool(precincts), 0]) + struct.pack(">H", layers) + b"\0\5\4\4\0\1" + precincts
    quantized = part(0x5C, b"\x40" + b"\x40" * 16)
    tile = struct.pack(">HIBB", 0, 14 + len(of_tile) + 100, 0, 1)
    head = b"\xff\x4f" + part(0x51, size) + part(0x52, coded) + quantized + between
    return head + part(0x90, tile) + of_tile + b"\xff\x93" + bytes(100) + b"\xff\xd9"


@pytest.mark.skipif("JPEG2000" not in IMAGE_FORMATS, reason="this Pillow was built without JPEG 2000")
def test_a_jpeg_2000_of_more_pieces_than_any_image_has_is_refused() -> None:
    for precincts, layers in ((b"\x11" * 6, 1), (b"\x88" * 6, 65_535)):
        assert "pieces; save it" in refusal(jpeg2000_header(precincts=precincts, layers=layers))
    assert "pieces of its own" in refusal(jpeg2000_header(between=b"\xff\x53\0\x0f\0\1\5\4\4\0\1" + b"\x11" * 6))
    own = b"\xff\x52\0\x12\1\0\0\1\0\5\4\4\0\1" + b"\x11" * 6
    assert "pieces; save it" in refusal(jpeg2000_header(of_tile=own))
    assert "more than 10,000 parts" in refusal(jpeg2000_header(between=b"\xff\x64\0\2" * 10_001))
    sound = jpeg2000_header(precincts=b"\x88" * 6, layers=12)
    assert decode_image(sound, color_mode="grey", minimum_size=(9, 9)).shape[2] == 1


@pytest.mark.skipif("JPEG2000" not in IMAGE_FORMATS, reason="this Pillow was built without JPEG 2000")
@pytest.mark.parametrize("no_jp2", [False, True])
@pytest.mark.parametrize("tile", [(64, 64), (32, 24)])
def test_a_jpeg_2000_that_lacks_tiles_is_truncated(no_jp2, tile):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), "JPEG2000", no_jp2=no_jp2, tile_size=tile, num_resolutions=2)
    np.testing.assert_array_equal(decode_image(data, color_mode="grey")[..., 0], noise)
    for cut in (20, 100, len(data) // 2, len(data) - 150):
        assert "truncated JPEG 2000" in refusal(data[:-cut])


def test_who_finds_too_few_bytes_left_waits():
    budget, entered, together = Budget(100), threading.Semaphore(0), []
    inside = 0
    gate = threading.Lock()

    def work(num_bytes):
        nonlocal inside
        with budget.hold(num_bytes):
            with gate:
                inside += min(num_bytes, 100)
                together.append(inside)
            entered.release()
            threading.Event().wait(0.002)
            with gate:
                inside -= min(num_bytes, 100)

    threads = [threading.Thread(target=work, args=(num_bytes,)) for num_bytes in [60, 50, 40, 1_000, 10, 100] * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(together) == 18
    assert max(together) <= 100


def test_what_a_refused_file_held_is_given_back():
    for _ in range(3):
        refusal(png(8, 9, bytes(9)))
    with DECODING.hold(DECODING.num_bytes):
        pass


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16"])
def test_a_large_image_is_changed_in_colour_as_a_small_one(mode, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (90, 70, 4), dtype=np.uint8)
    picture = Image.fromarray(noise[..., 0].astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(noise)
    data = encoded(picture if mode == "I;16" else picture.convert(mode), "PNG")
    at_once = {colour: decode_image(data, color_mode=colour) for colour in ("grey", "rgb")}
    monkeypatch.setattr(decoder, "_BAND_PIXELS", 500)
    for colour, expected in at_once.items():
        np.testing.assert_array_equal(decode_image(data, color_mode=colour), expected)


def test_a_large_image_is_reduced_by_averaging_never_below_what_is_wanted(monkeypatch):
    monkeypatch.setattr(decoder, "_REDUCED_ABOVE", 200)
    noise = np.random.default_rng(0).integers(0, 256, (48, 80, 1), dtype=np.uint8)
    data = encoded(Image.fromarray(noise[..., 0]), "PNG")
    reduced = decode_image(data, color_mode="grey", minimum_size=(12, 12))
    assert reduced.shape == (12, 20, 1)
    expected = noise.reshape(12, 4, 20, 4).mean(axis=(1, 3))
    assert np.abs(reduced[..., 0] - expected).max() <= 1
    assert decode_image(data, color_mode="grey", minimum_size=(20, 20)).shape == (24, 40, 1)
    assert decode_image(data, color_mode="grey", minimum_size=(48, 2)).shape == (48, 80, 1)
    assert decode_image(data, color_mode="grey").shape == (48, 80, 1)
