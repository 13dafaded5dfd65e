import io
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from sightline.data.decoding.decoder import decode_image
from sightline.errors import UnreadableImage

SHORT, LONG = 3, 4


def made(pixels, **tags):
    """An uncompressed TIFF of one strip, with every tag under control; the strip stands before the directory."""
    height, width, samples = pixels.shape
    usual = {256: width, 257: height, 258: (8 * pixels.itemsize,) * samples, 259: 1, 262: 2 if samples > 2 else 1}
    usual |= {273: 8, 277: samples, 278: height, 279: pixels.nbytes} | {int(key[1:]): tags[key] for key in tags}
    lists, at = b"", 8 + pixels.nbytes
    entries = []
    for tag, value in sorted(usual.items()):
        values = value if isinstance(value, tuple) else (value,)
        raw = struct.pack(f"<{len(values)}I", *values)
        if len(raw) > 4:
            place, lists = at + len(lists), lists + raw
            raw = struct.pack("<I", place)
        entries.append(struct.pack("<HHI", tag, LONG, len(values)) + raw)
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", at + len(lists)) + pixels.tobytes() + lists + directory


def refusal(data):
    with pytest.raises(UnreadableImage) as caught:
        decode_image(data, color_mode="rgb")
    return str(caught.value)


def colours(samples=3, kind=np.uint8):
    return np.random.default_rng(0).integers(0, 200, (5, 7, samples)).astype(kind)


def test_a_made_file_is_read():
    np.testing.assert_array_equal(decode_image(made(colours()), color_mode="rgb"), colours())


@pytest.mark.parametrize("options", [{}, {"big_tiff": True}, {"compression": "tiff_lzw"}, {"compression": "packbits"}])
@pytest.mark.parametrize("lacking", range(1, 9))
def test_a_file_that_lacks_its_last_bytes_is_truncated(options, lacking):
    stream = io.BytesIO()
    Image.fromarray(colours()).save(stream, "TIFF", **options)
    whole = stream.getvalue()
    decode_image(whole, color_mode="rgb")
    assert "truncated TIFF" in refusal(whole[:-lacking])


@pytest.mark.parametrize(("kind", "form", "word"), [("i1", 2, "8-bit signed"), ("<i2", 2, "16-bit signed")])
def test_signed_pixels_are_called_what_they_are(kind, form, word):
    assert f"{word} pixels have no fixed range; choose the range" in refusal(made(colours(1, kind), t339=form))


def test_floating_and_32_bit_pixels_are_called_what_they_are():
    assert "32-bit floating-point" in refusal(made(colours(1, "<f4"), t339=3))
    assert "32-bit unsigned" in refusal(made(colours(1, "<u4")))


@pytest.mark.parametrize("tags", [{}, {"t338": 0}])
@pytest.mark.parametrize("samples", [4, 5])
def test_a_band_of_which_nobody_says_what_it_is_is_not_taken_for_transparency(samples, tags):
    message = refusal(made(colours(samples), **tags))
    assert f"{samples} bands, of which the file does not say what the last" in message
    assert message.endswith("save the 3 that matter.")


@pytest.mark.parametrize("alpha", [1, 2])
def test_a_band_that_is_called_transparency_is_laid_over_white(alpha):
    pixels = colours(4)
    pixels[..., 3] = 0
    pixels[..., :3] = 0
    assert (decode_image(made(pixels, t338=alpha), color_mode="rgb") == 255).mean() in (0.0, 1.0)
    pixels[..., 3] = 255
    assert (decode_image(made(pixels, t338=alpha), color_mode="rgb") == 0).all()


def test_a_thumbnail_before_the_picture_of_a_raw_file_is_not_taken_for_it():
    assert "a camera's raw file" in refusal(made(colours(), t254=1, t330=9999))
    assert "a camera's raw file" in refusal(made(colours(1), t262=32803))
    decode_image(made(colours(), t254=0, t330=9999), color_mode="rgb")


def test_a_tile_far_larger_than_the_image_is_refused():
    assert "a tile of 40,000 x 40,000 pixels in an image of 7 x 5" in refusal(
        made(colours(1), t322=40_000, t323=40_000, t324=8, t325=35)
    )


def test_a_strip_higher_than_the_image_is_as_high_as_the_image():
    np.testing.assert_array_equal(decode_image(made(colours(), t278=2**32 - 1), color_mode="rgb"), colours())


def test_strips_that_cannot_hold_the_image_are_refused():
    assert "cannot hold its" in refusal(made(colours(1), t259=8, t256=9_000, t257=9_000, t278=9_000))


def test_too_few_strips_are_called_truncated():
    assert "truncated TIFF (1 of 5 strips or tiles)" in refusal(made(colours(1), t278=1))


def test_more_strips_than_anybody_writes_are_refused():
    assert "400,000 strips or tiles" in refusal(made(colours(1), t257=400_000, t278=1))


def test_libtiff_does_not_print_what_it_dislikes(capfd):
    broken = bytearray(made(colours(1), t259=5))
    broken[8:43] = bytes(range(200, 235))
    assert "TIFF" in refusal(bytes(broken))
    assert capfd.readouterr().err == ""


def compressed(mode, compression):
    """A file of several strips or one, with where its last strip lies and how long that is."""
    noise = np.random.default_rng(0).integers(0, 60, (200, 300, 3))
    slope = (np.add.outer(np.arange(200), np.arange(300)) % 128)[..., None]
    stream = io.BytesIO()
    Image.fromarray((slope + noise).astype(np.uint8)).convert(mode).save(stream, "TIFF", compression=compression)
    with Image.open(stream) as image:
        return stream.getvalue(), image.tag_v2[273][-1], image.tag_v2[279][-1]


# Pillow answers all of these: libtiff goes on after an error in colours that pixels share and in faxes.
@pytest.mark.parametrize(
    ("mode", "compression"),
    [(mode, how) for mode in ("RGB", "YCbCr") for how in ("tiff_lzw", "tiff_adobe_deflate")]
    + [("1", "group3"), ("1", "group4"), ("1", "tiff_ccitt")],
)
def test_a_strip_that_is_damaged_in_its_midst_is_no_answer(mode, compression, capfd):
    whole, start, length = compressed(mode, compression)
    decode_image(whole, color_mode="rgb")
    broken = bytearray(whole)
    for place in range(start + length // 3, start + length - 2, 97):
        broken[place] ^= 0x5A
    assert "TIFF" in refusal(bytes(broken))
    assert capfd.readouterr().err == ""
    decode_image(whole, color_mode="rgb")  # what was noted of one file is not held against the next


def test_only_the_file_that_is_damaged_is_refused_where_several_threads_decode():
    whole, start, length = compressed("YCbCr", "tiff_lzw")
    broken = whole[:start] + b"\x5a" * length + whole[start + length :]

    def outcome(data):
        try:
            return decode_image(data, color_mode="rgb").shape
        except UnreadableImage:
            return None

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(outcome, [whole, broken] * 40)) == [(200, 300, 3), None] * 40


def test_who_else_reads_a_damaged_tiff_with_pillow_is_not_told_of_us(monkeypatch):
    whole, start, length = compressed("RGB", "tiff_adobe_deflate")
    decode_image(whole, color_mode="rgb")
    broken, lost = whole[:start] + b"\x5a" * length + whole[start + length :], []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)

    def load():
        with Image.open(io.BytesIO(broken)) as image, pytest.raises(OSError, match="decoder error"):
            image.load()

    with ThreadPoolExecutor(1) as pool:  # a thread in which nothing was decoded by us
        pool.submit(load).result()
    assert lost == []


@pytest.mark.parametrize("mode", ["L", "RGB", "YCbCr"])
def test_jpeg_data_in_a_strip_that_lacks_its_end_is_truncated(mode):
    whole, start, length = compressed(mode, "jpeg")
    padded = whole[: start + length - 2] + bytes(2) + whole[start + length :]
    assert "lacks its end" in refusal(padded)
