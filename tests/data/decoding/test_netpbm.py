import tracemalloc

import numpy as np
import pytest

from sightline.data.decoding.containers import without_metadata
from sightline.data.decoding.netpbm import netpbm_header, read_netpbm
from sightline.errors import UnreadableImage


def written(values, largest, *, plain=False):
    """The definition, written slowly: each value over the largest, times 255, rounded half up."""
    return [[[(value * 255 + largest // 2) // largest for value in pixel] for pixel in row] for row in values]


@pytest.mark.parametrize("largest", [1, 2, 100, 254, 255, 256, 1023, 4095, 65_535])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("plain", [False, True])
def test_every_largest_value_is_scaled_to_255(largest, channels, plain):
    values = np.random.default_rng(largest).integers(0, largest + 1, (4, 5, channels))
    kind = {(1, True): 2, (3, True): 3, (1, False): 5, (3, False): 6}[channels, plain]
    body = values.astype(">u2" if largest > 255 else "u1").tobytes()
    if plain:
        body = b" ".join(b"%d" % value for value in values.ravel().tolist())
    data = b"P%d\n# a comment\n5 4 # another\n%d\n" % (kind, largest) + body
    assert read_netpbm(data).tolist() == written(values.tolist(), largest)


def test_ones_of_a_bitmap_are_black_written_out_or_packed():
    expected = [[[0], [255], [0]], [[255], [255], [0]]]
    assert read_netpbm(b"P1 3 2\n101\n0 0 1").tolist() == expected
    assert read_netpbm(b"P4 3 2\n\xa0\x20").tolist() == expected


def test_a_value_above_the_largest_counts_as_the_largest():
    assert read_netpbm(b"P5 2 1 100 \x64\xff").ravel().tolist() == [255, 255]


def test_comments_stand_among_numbers_that_are_written_out():
    assert read_netpbm(b"P2 2 1 9 0 # nine\n9").ravel().tolist() == [0, 255]


def test_the_header_ends_with_a_single_blank():
    assert netpbm_header(b"P5\t2\r\n#x\n1 255\n  ") == (2, 1, 255, 14)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"P5 2 1", "its header"),
        (b"P5 2 0 255 ", "2 x 0 pixels"),
        (b"P5 2 1 0 ab", "up to 0"),
        (b"P5 2 1 70000 abcd", "up to 70,000"),
        (b"P5 3 1 255 ab", r"truncated PPM \(13 bytes; 2 of 3"),
        (b"P6 1 1 256 abcd", "4 of 6"),
        (b"P4 9 2 abc", "3 of 4"),
        (b"P2 3 1 255 1 2", "2 of 3"),
        (b"P1 3 1 10", "2 of 3"),
        (b"P2 2 1 255 1 x", "something else"),
        (b"P2 1 1 255 99999999999999999999", "something else"),
        (b"P2 " + b"#\n" * 40_000 + b"1 1 9 1 ", "its header"),
        (b"P2 1 1 " + b"#\n" * 40_000 + b"9 1 ", "its header"),
        (b"P2 1 1 9 " + b" " * 70_000 + b"1", "0 of 1"),
        (b"P2 400 400 9 " + b"#\n" * 100_001, "nothing but comments"),
        (b"P2 9000 9000 9 " + bytes(64 * 2**20), "67,108,864 are read. Pack it"),
    ],
)
def test_what_is_damaged_is_refused(data, reason):
    with pytest.raises(UnreadableImage, match=reason):
        read_netpbm(data)


def test_the_usual_case_is_read_where_pillow_goes_pixel_by_pixel():
    image = np.arange(12_000_000, dtype=np.uint8) % 251
    pixels = read_netpbm(b"P5 4000 3000 254\n" + image.tobytes())
    assert pixels[7, 9, 0] == (int(image[7 * 4000 + 9]) * 255 + 127) // 254


def test_a_large_file_takes_little_more_than_its_pixels() -> None:
    data = b"P5 3000 2000 65535 " + bytes(12_000_000)
    tracemalloc.start()
    read_netpbm(data)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 3 * 6_000_000


def test_numbers_written_out_are_counted_in_what_decoding_takes() -> None:
    assert without_metadata(b"P2 1 1 9 " + b"1 " * 50, "PPM").held_bytes == 4 * 109
    assert without_metadata(b"P5 1 1 255 z", "PPM").held_bytes == 0
