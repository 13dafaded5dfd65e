import io

import numpy as np
import pytest
from PIL import Image

from sightline.data.decoding.decoder import decode_image
from sightline.data.decoding.jpeg import MOST_SEGMENTS, read_jpeg
from sightline.errors import UnreadableImage


def picture(height=40, width=56):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def jpeg(image=None, **options):
    stream = io.BytesIO()
    (image or picture()).save(stream, "JPEG", **{"quality": 90, **options})
    return stream.getvalue()


KINDS = [{}, {"progressive": True}, {"restart_marker_blocks": 2}, {"restart_marker_rows": 1}, {"subsampling": "4:4:4"}]


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("lacking", [1, 2])
def test_a_file_that_lacks_only_its_end_mark_is_read_whole(options, lacking):
    whole = jpeg(**options)
    assert whole.endswith(b"\xff\xd9")
    expected = decode_image(whole, color_mode="rgb")
    np.testing.assert_array_equal(decode_image(whole[:-lacking], color_mode="rgb"), expected)


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("lacking", [6, 20, 100, 500, 1500])
def test_a_file_that_lacks_pixels_is_truncated_with_or_without_a_restart_before_the_cut(options, lacking):
    for least in (None, (1, 1)):
        with pytest.raises(UnreadableImage, match=r"truncated JPEG \("):
            decode_image(jpeg(**options)[:-lacking], color_mode="rgb", minimum_size=least)


def test_whether_a_file_is_cut_off_does_not_depend_on_the_colours_that_are_asked_for():
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    whole = jpeg(Image.fromarray(noise), subsampling="4:2:0")
    # The last bits are those of colour, of which grey has none.
    for lacking in range(3, 60):
        for color_mode in ("grey", "rgb"):
            with pytest.raises(UnreadableImage, match=r"truncated JPEG \("):
                decode_image(whole[:-lacking], color_mode=color_mode)


def test_a_file_that_is_cut_at_each_of_its_restarts_is_truncated():
    whole = jpeg(restart_marker_blocks=2)
    cuts = [at for at in range(len(whole) - 2) if whole[at] == 0xFF and 0xD0 <= whole[at + 1] <= 0xD7]
    assert len(cuts) > 4
    for cut in cuts:
        with pytest.raises(UnreadableImage, match="truncated"):
            decode_image(whole[:cut], color_mode="rgb")


def test_a_progressive_file_that_ends_between_two_scans_is_truncated():
    whole = jpeg(progressive=True)
    scans = [at for at in range(len(whole)) if whole[at : at + 2] == b"\xff\xda"]
    for cut in scans[1:]:
        with pytest.raises(UnreadableImage, match="truncated JPEG"):
            decode_image(whole[:cut], color_mode="rgb")


def test_an_end_mark_before_the_pixels_is_none():
    whole = jpeg()
    thumbnail = b"\xff\xe1\x00\x06\xff\xd9xx"
    with pytest.raises(UnreadableImage, match="truncated"):
        decode_image(whole[:2] + thumbnail + whole[2:-300], color_mode="rgb")


def test_what_is_held_until_the_last_scan_is_two_bytes_a_coefficient():
    assert read_jpeg(jpeg()).held_bytes == 0
    found = read_jpeg(jpeg(subsampling="4:4:4", progressive=True))
    assert (found.size, found.held_bytes) == ((56, 40), 3 * 40 * 56 * 2)


def test_the_first_exif_block_counts_and_no_other_is_opened():
    def block(orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        content = exif.tobytes()
        return b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content

    whole = jpeg()
    assert read_jpeg(whole[:2] + block(6) + block(3) + whole[2:]).orientation == 6


@pytest.mark.parametrize("flood", [b"\xff\xdb\x00\x02", b"\xff\xd0", b"\xff\xfe\x00\x02", b"\xff\xe1\x00\x08Exif\0\0"])
def test_a_flood_of_segments_is_refused(flood):
    whole = jpeg()
    with pytest.raises(UnreadableImage, match=f"more than {MOST_SEGMENTS:,} segments"):
        read_jpeg(whole[:2] + flood * (MOST_SEGMENTS + 1) + whole[2:])


@pytest.mark.parametrize("junk", [b"\xff" * 5_000_000, b"\xff\x00" * 2_500_000, b"\xff\0" + b"x" * 5_000_000])
def test_junk_between_segments_is_passed_over_at_once(junk):
    whole = jpeg()
    np.testing.assert_array_equal(
        decode_image(whole[:2] + junk + whole[2:], color_mode="rgb"), decode_image(whole, color_mode="rgb")
    )


def empty_scans(count, side=8936):
    """A progressive file of one grey, every further scan of which visits every block and holds nothing."""
    blocks = (-(-side // 8)) ** 2

    def packed(bits):
        bits += "1" * (-len(bits) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")

    size = side.to_bytes(2, "big")
    head = b"\xff\xd8\xff\xdb\x00\x43\x00" + bytes([1] * 64) + b"\xff\xc2\x00\x0b\x08" + size + size + b"\1\1\x11\0"
    head += b"\xff\xc4\x00\x14\0" + bytes([1] + [0] * 15) + b"\0"
    scan = b"\xff\xda\x00\x08\1\1\0\1\1\0"
    return head + b"\xff\xda\x00\x08\1\1\0\0\0\0" + packed("0" * blocks) + scan * count + b"\xff\xd9"


def test_scans_without_end_are_refused_before_they_are_decoded():
    with pytest.raises(UnreadableImage, match=r"its scans visit [0-9,]+ blocks"):
        read_jpeg(empty_scans(200))


def test_a_photograph_of_108_megapixels_is_read_at_an_eighth():
    image = Image.new("L", (12_000, 9_000), 90)
    pixels = decode_image(jpeg(image, quality=50), color_mode="grey", minimum_size=(64, 64))
    assert (pixels.shape, int(pixels[500, 500, 0])) == ((1125, 1500, 1), 90)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (9, 7), (1200, 800)])
def test_an_image_of_one_colour_takes_no_fewer_bytes_than_its_blocks_need(mode, progressive, size):
    image = Image.new(mode, size)  # black, so that every difference is none and every block ends at once
    found = read_jpeg(jpeg(image, optimize=True, progressive=progressive, subsampling=0))
    stored = len(found.data) - found.start
    assert found.least_bytes <= stored
    assert progressive or stored < found.least_bytes + 100
    assert decode_image(found.data, color_mode="grey").shape == (*size[::-1], 1)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_file_whose_bytes_cannot_hold_its_blocks_is_truncated_whatever_it_ends_with(progressive):
    whole = jpeg(Image.new("L", (16, 16), 90), progressive=progressive)
    at = whole.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    for side in (b"\x20\x00", b"\x2f\x00"):
        with pytest.raises(
            UnreadableImage, match=r"truncated JPEG \([0-9]+ bytes, which cannot hold its [0-9,]+ blocks"
        ):
            decode_image(whole[: at + 5] + side * 2 + whole[at + 9 :], color_mode="grey", minimum_size=(28, 28))


def test_tables_without_end_are_refused_before_they_are_read():
    whole, table = jpeg(), b"\xff\xdb\xfe\xfc" + (b"\0" + bytes(range(1, 65))) * 1004 + bytes(0)
    table = table[:2] + (len(table) - 2).to_bytes(2, "big") + table[4:]
    assert read_jpeg(whole[:2] + table * 60 + whole[2:]).size is not None
    with pytest.raises(UnreadableImage, match="bytes of tables"):
        read_jpeg(whole[:2] + table * 70 + whole[2:])


def test_a_giant_in_arithmetic_code_is_refused_where_one_in_plain_code_is_not():
    whole = jpeg()
    at = whole.index(b"\xff\xc0")
    giant = whole[: at + 5] + b"\xff\xdc\xff\xdc" + whole[at + 9 :]
    assert read_jpeg(giant).size == (65_500, 65_500)
    with pytest.raises(UnreadableImage, match="blocks"):
        read_jpeg(giant.replace(b"\xff\xc0", b"\xff\xc9", 1))
