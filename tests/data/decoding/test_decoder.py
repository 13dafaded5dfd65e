import io
import os
import platform
import struct
import subprocess
import sys
import textwrap
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from sightline.data.decoding.containers import MAX_BYTES, MAX_PIXELS
from sightline.data.decoding.decoder import decode_image, decode_picture
from sightline.data.decoding.formats import IMAGE_FORMATS
from sightline.data.decoding.transforms import change_color, resize_image
from sightline.errors import InvalidValue, UnreadableImage
from sightline.records import InputSpec

SAVE_OPTIONS = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}, "JPEG": {"quality": 95}}
# Everything but HEIF, for which there is no permissive encoder.
WRITTEN = [name for name in IMAGE_FORMATS if name != "HEIF"]
LOSSLESS = [name for name in WRITTEN if name not in ("JPEG", "AVIF", "GIF")]


def read_image(source, spec):
    """As networks are fed it: the one decoder, then the one resize."""
    image = decode_image(source, color_mode=spec.color_mode, minimum_size=(spec.height, spec.width))
    return resize_image(image, spec)


def gradient(height=24, width=32):
    """A picture in which no turn or mirror looks like another."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 255 // height, columns * 255 // width, 255 - rows * 200 // height], axis=2).astype(np.uint8)


def encode(picture, image_format, **options):
    stream = io.BytesIO()
    picture.save(stream, image_format, **{**SAVE_OPTIONS.get(image_format, {}), **options})
    return stream.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width, height, num_bytes=99):
    body = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IDAT", zlib.compress(b"\0" * num_bytes)) + chunk(b"IEND", b"")


def only_pixel(picture, image_format="PNG", color_mode="rgb", **options):
    return decode_image(encode(picture, image_format, **options), color_mode=color_mode)[0, 0].tolist()


def refusal(source, **options):
    with pytest.raises(UnreadableImage) as caught:
        decode_image(source, **{"color_mode": "rgb", **options})
    return str(caught.value)


# Formats


@pytest.mark.parametrize("image_format", LOSSLESS)
def test_every_lossless_format_gives_back_its_pixels(image_format):
    decoded = decode_image(encode(Image.fromarray(gradient()), image_format), color_mode="rgb")
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, gradient())


@pytest.mark.parametrize("image_format", sorted(set(WRITTEN) - set(LOSSLESS)))
def test_every_lossy_format_gives_nearly_its_pixels(image_format):
    decoded = decode_image(encode(Image.fromarray(gradient()), image_format), color_mode="rgb")
    assert decoded.shape == gradient().shape
    assert np.abs(decoded.astype(int) - gradient()).mean() < 6


@pytest.mark.parametrize("image_format", WRITTEN)
def test_every_format_gives_one_channel_of_grey(image_format):
    grey = Image.fromarray(gradient()).convert("L")
    decoded = decode_image(encode(grey, image_format), color_mode="grey")
    assert decoded.shape == (24, 32, 1)
    assert np.abs(decoded[..., 0].astype(int) - np.asarray(grey)).mean() < 3


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("big_tiff", [False, True])
def test_tiff_is_read_in_each_compression(compression, big_tiff):
    data = encode(Image.fromarray(gradient()), "TIFF", compression=compression, big_tiff=big_tiff)
    np.testing.assert_array_equal(decode_image(data, color_mode="rgb"), gradient())


def test_the_suffix_decides_nothing(tmp_path):
    for name in ("photo.PNG", "photo.jpg", "photo.txt", "photo"):
        (tmp_path / name).write_bytes(encode(Image.fromarray(gradient()), "PNG"))
        np.testing.assert_array_equal(decode_image(tmp_path / name, color_mode="rgb"), gradient())
        np.testing.assert_array_equal(decode_image(str(tmp_path / name), color_mode="rgb"), gradient())


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_of_an_animation_the_first_frame_is_taken(image_format):
    if image_format not in IMAGE_FORMATS:
        pytest.skip(f"this Pillow has no {image_format}")
    first, second = Image.new("RGB", (8, 8), (250, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 250))
    decoded = decode_image(encode(first, image_format, save_all=True, append_images=[second]), color_mode="rgb")
    assert decoded[4, 4, 0] > 240
    assert decoded[4, 4, 2] < 10


def test_a_picture_of_two_views_is_read_as_its_first_jpeg():
    first, second = Image.new("RGB", (16, 16), (250, 0, 0)), Image.new("RGB", (16, 16), (0, 0, 250))
    decoded = decode_image(encode(first, "MPO", save_all=True, append_images=[second]), color_mode="rgb")
    assert decoded[4, 4, 0] > 240


def test_tiff_is_read_in_jpeg_and_fax_compression():
    picture = Image.fromarray(gradient())
    decoded = decode_image(encode(picture, "TIFF", compression="jpeg", quality=95), color_mode="rgb")
    assert np.abs(decoded.astype(int) - gradient()).mean() < 6
    fax = picture.convert("1")
    decoded = decode_image(encode(fax, "TIFF", compression="group4"), color_mode="grey")
    np.testing.assert_array_equal(decoded[..., 0], fax.convert("L"))


# Modes


def test_grey_of_colours_is_their_luma():
    assert only_pixel(Image.new("RGB", (1, 1), (255, 0, 0)), color_mode="grey") == [76]


def test_grey_becomes_three_equal_channels():
    assert only_pixel(Image.new("L", (1, 1), 77)) == [77, 77, 77]


def test_one_bit_is_black_and_white():
    picture = Image.fromarray(np.array([[True, False]]))
    assert decode_image(encode(picture, "PNG"), color_mode="grey").ravel().tolist() == [255, 0]


@pytest.mark.parametrize("color_mode", ["grey", "rgb"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_white_and_what_is_half_so_is_mixed(mode, color_mode):
    for alpha, expected in ((0, 255), (255, 0), (128, 127)):
        colour = (0, 0, 0, alpha) if mode == "RGBA" else (0, alpha)
        assert set(only_pixel(Image.new(mode, (1, 1), colour), color_mode=color_mode)) == {expected}


def test_alpha_lies_over_white_in_webp_too():
    assert only_pixel(Image.new("RGBA", (1, 1), (0, 0, 0, 0)), "WEBP") == [255, 255, 255]


def test_a_palette_gives_its_colours():
    picture = Image.new("P", (1, 1), 1)
    picture.putpalette([0, 0, 0, 200, 100, 50])
    assert only_pixel(picture) == [200, 100, 50]
    assert only_pixel(picture, color_mode="grey") == [124]


@pytest.mark.parametrize("transparency", [1, b"\xff\x00"])
@pytest.mark.parametrize("image_format", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(image_format, transparency):
    if image_format == "GIF" and isinstance(transparency, bytes):
        transparency = 1
    picture = Image.new("P", (2, 1), 0)
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putpixel((1, 0), 1)
    decoded = decode_image(encode(picture, image_format, transparency=transparency), color_mode="rgb")
    assert decoded[0].tolist() == [[10, 20, 30], [255, 255, 255]]


@pytest.mark.parametrize(("mode", "colour"), [("L", 9), ("RGB", (9, 8, 7)), ("1", 0)])
def test_a_transparent_colour_is_white(mode, colour):
    assert only_pixel(Image.new(mode, (1, 1), colour), transparency=colour) == [255, 255, 255]


def test_cmyk_of_tiff_and_of_an_adobe_jpeg_is_the_same_colour():
    picture = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert only_pixel(picture, "TIFF") == [255, 0, 0]
    assert np.abs(np.array(only_pixel(picture, "JPEG")) - [255, 0, 0]).max() <= 4
    assert abs(only_pixel(picture, "JPEG", color_mode="grey")[0] - 76) <= 4


def test_ycbcr_becomes_rgb():
    picture = Image.new("RGB", (8, 8), (200, 100, 50)).convert("YCbCr")
    assert np.abs(np.array(only_pixel(picture, "TIFF")) - [200, 100, 50]).max() <= 2


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "PPM"])
def test_16_bits_are_divided_by_257_and_rounded(image_format):
    levels = np.array([[0, 128, 129, 257, 32768, 65406, 65535]], dtype=np.uint16)
    decoded = decode_image(encode(Image.fromarray(levels), image_format), color_mode="grey")
    assert decoded.ravel().tolist() == [0, 0, 1, 1, 128, 254, 255]
    assert decoded.ravel().tolist() == [round(level / 257) for level in levels.ravel().tolist()]


def test_16_bits_in_the_other_byte_order_are_the_same():
    picture = Image.frombytes("I;16B", (2, 1), b"\x00\x00\x80\x00")
    assert decode_image(encode(picture, "TIFF"), color_mode="grey").ravel().tolist() == [0, 128]


def test_16_bits_where_zero_is_white_are_inverted():
    data = encode(Image.fromarray(np.array([[0, 65535]], dtype=np.uint16)), "TIFF")
    turned = data.replace(struct.pack("<HHIHH", 262, 3, 1, 1, 0), struct.pack("<HHIHH", 262, 3, 1, 0, 0))
    assert turned != data
    assert decode_image(turned, color_mode="grey").ravel().tolist() == [255, 0]


def test_a_transparent_level_of_16_bits_is_white():
    picture = Image.fromarray(np.array([[7, 0]], dtype=np.uint16))
    assert decode_image(encode(picture, "PNG", transparency=7), color_mode="grey").ravel().tolist() == [255, 0]


def test_16_bit_colour_keeps_the_upper_8_bits():
    pixels = struct.pack(">HHH", 0x1234, 0x80FF, 0xFFFF)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" + pixels)) + chunk(b"IEND", b"")
    assert decode_image(data, color_mode="rgb").ravel().tolist() == [0x12, 0x80, 0xFF]


@pytest.mark.parametrize(("mode", "word"), [("I", "32-bit signed"), ("F", "32-bit floating-point")])
def test_pixels_without_a_range_are_refused(mode, word):
    assert refusal(encode(Image.new(mode, (2, 2)), "TIFF")) == (
        f"image bytes: {word} pixels have no fixed range; choose the range that shows what matters, the same for all "
        "images, and save them with 8 bits."
    )


# Orientation


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_as_pillow_would(image_format, orientation):
    if image_format not in IMAGE_FORMATS:
        pytest.skip(f"this Pillow has no {image_format}")
    picture = Image.fromarray(gradient())
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(picture, image_format, exif=exif)
    picture.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(picture))
    decoded = decode_image(data, color_mode="rgb")
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected).max() <= (12 if image_format == "AVIF" else 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_is_its_upright_pixels_turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain = encode(Image.fromarray(gradient()), "JPEG")
    turned = encode(Image.fromarray(gradient()), "JPEG", exif=exif)
    picture = Image.fromarray(decode_image(plain, color_mode="rgb"))
    picture.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(decode_image(turned, color_mode="rgb"), ImageOps.exif_transpose(picture))


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0MM\0*\0\0\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"]
)
def test_a_damaged_exif_block_means_upright_and_no_warning(exif):
    data = encode(Image.fromarray(gradient()), "JPEG", exif=exif)
    assert decode_image(data, color_mode="rgb").shape == (24, 32, 3)


def test_metadata_of_any_size_or_content_does_not_reach_the_decoder():
    picture = Image.fromarray(gradient())
    bomb = chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(80_000_000), 1))
    png = encode(picture, "PNG")
    np.testing.assert_array_equal(decode_image(png[:33] + bomb + png[33:], color_mode="rgb"), gradient())
    jpeg = encode(picture, "JPEG")
    noisy = jpeg[:2] + b"\xff\xe2\x00\x08MPF\0xy" + b"\xff\xed\x00\x06abcd" + jpeg[2:]
    np.testing.assert_array_equal(decode_image(noisy, color_mode="rgb"), decode_image(jpeg, color_mode="rgb"))


# Scaled decoding


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_is_decoded_no_smaller_than_needed(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(gradient(600, 900)), "JPEG", exif=exif)
    tall = orientation == 6
    minimum = (400, 100) if tall else (100, 400)
    assert decode_image(data, color_mode="rgb", minimum_size=minimum).shape[:2] == ((450, 300) if tall else (300, 450))
    assert decode_image(data, color_mode="rgb").shape[:2] == ((900, 600) if tall else (600, 900))


@pytest.mark.parametrize("minimum", [(75, 113), (76, 112), (1, 1), (600, 900), (5000, 5000)])
def test_a_scaled_jpeg_looks_like_the_whole_one_reduced(minimum):
    data = encode(Image.fromarray(gradient(600, 900)), "JPEG")
    scaled = decode_image(data, color_mode="grey", minimum_size=minimum)
    assert scaled.shape[0] >= min(600, minimum[0])
    assert scaled.shape[1] >= min(900, minimum[1])
    whole = Image.fromarray(decode_image(data, color_mode="grey")[..., 0])
    reduced = np.asarray(whole.resize(scaled.shape[1::-1], Image.Resampling.BOX))
    assert np.abs(scaled[..., 0].astype(int) - reduced).mean() < 2


def test_a_minimum_size_that_a_file_does_not_have_changes_nothing():
    data = encode(Image.fromarray(gradient()), "JPEG")
    np.testing.assert_array_equal(
        decode_image(data, color_mode="grey", minimum_size=(99, 99)), decode_image(data, color_mode="grey")
    )


@pytest.mark.skipif("JPEG2000" not in IMAGE_FORMATS, reason="this Pillow was built without JPEG 2000")
@pytest.mark.parametrize(("minimum", "size"), [((75, 112), (75, 113)), ((76, 112), (150, 225)), ((600, 9), (600, 900))])
def test_a_jpeg_2000_is_decoded_no_smaller_than_needed(minimum, size):
    data = encode(Image.fromarray(gradient(600, 900)), "JPEG2000")
    decoded = decode_image(data, color_mode="rgb", minimum_size=minimum)
    assert decoded.shape[:2] == size
    reduced = np.asarray(Image.fromarray(gradient(600, 900)).resize(size[::-1], Image.Resampling.BOX))
    assert np.abs(decoded.astype(int) - reduced).mean() < 2


HEIC = bytes.fromhex(
    "0000001c6674797068656963000000006d696631686569636d6961660000017c6d657461000000000000002168646c72000000000000"
    "0000706963740000000000000000000000000000000022696c6f63000000004440000100010000000001a00001000000000000006500"
    "00002369696e6600000000000100000015696e6665020000000001000068766331000000000e7069746d000000000001000000fc6970"
    "7270000000dc6970636f00000075687663430103700000009000000000001ef000fcfdf8f800000f03600001001840010c01ffff0370"
    "0000030090000003000003001eba0240610001002942010103700000030090000003000003001ea020810596eaae9ae6e021a0c08000"
    "000c80000003008462000100064401c173c18900000013636f6c726e636c780001000d00068000000014697370650000000000000040"
    "0000004000000028636c617000000020000000010000001800000001ffffffe000000002ffffffd80000000200000010706978690000"
    "0000030808080000001869706d61000000000000000100010581020305840000006d6d646174000000612801af521a378f80e6fda3f9"
    "4776adf9d8c07895c761796fbad819a668dc0462c4ac0ebc75d81fede033596ad2a2c61dc9cd0c971b9b1ef09ae605315a34b0ef9b5c"
    "72b1d032e2990290bdaec403a5bf6adb522317f97bd099c5b1adf71a8278c0"
)


@pytest.mark.skipif("HEIF" not in IMAGE_FORMATS, reason="pi-heif is not installed")
def test_heic_is_read_where_pi_heif_is_installed():
    decoded = decode_image(HEIC, color_mode="rgb")
    assert decoded.shape == (24, 32, 3)
    assert np.abs(decoded.astype(int) - gradient()).mean() < 12


@pytest.mark.skipif("HEIF" in IMAGE_FORMATS, reason="pi-heif is installed")
def test_heic_is_refused_with_the_name_of_its_reader_and_its_licence():
    assert refusal(HEIC) == (
        "image bytes: a HEIC image, not a supported image; save it as JPEG or PNG, or install pi-heif, which Sightline "
        "then reads it with (pip install pi-heif; LGPL-3.0)."
    )


@pytest.mark.skipif("AVIF" not in IMAGE_FORMATS, reason="this Pillow was built without AVIF")
def test_an_avif_of_another_main_brand_is_read_with_all_that_is_known_of_it():
    data = bytearray(encode(Image.fromarray(gradient()), "AVIF"))
    data[8:12] = b"MA1B"
    seen = decode_picture(bytes(data), color_mode="rgb")
    assert (seen.format, seen.height, seen.width, seen.orientation) == ("AVIF", 24, 32, 1)
    assert seen.stored == data


# What decoding leaves for who needs it as a Pillow image

MODES = {
    "JPEG": "RGB L CMYK",
    "PNG": "RGB L P 1 RGBA LA I;16",
    "WEBP": "RGB RGBA",
    "GIF": "RGB L P 1",
    "BMP": "RGB L P 1",
    "TIFF": "RGB L P 1 RGBA LA CMYK I;16",
    "AVIF": "RGB RGBA",
    "PPM": "RGB L 1",
    "JPEG2000": "RGB L RGBA LA",
}


def same_pixels(decoded):
    assert decoded.picture is not None
    assert decoded.picture.mode == {1: "L", 3: "RGB"}[decoded.pixels.shape[2]]
    np.testing.assert_array_equal(np.asarray(decoded.picture).reshape(decoded.pixels.shape), decoded.pixels)


@pytest.mark.parametrize("color_mode", ["grey", "rgb"])
@pytest.mark.parametrize(("image_format", "mode"), [(name, mode) for name in WRITTEN for mode in MODES[name].split()])
def test_the_picture_beside_the_pixels_is_the_same_in_every_mode(image_format, mode, color_mode):
    picture = Image.fromarray(gradient(37, 53)).convert("L" if mode == "I;16" else mode)
    data = encode(picture.convert("I").convert("I;16") if mode == "I;16" else picture, image_format)
    same_pixels(decode_picture(data, color_mode=color_mode))


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True}])
def test_the_picture_beside_the_pixels_is_the_same_of_a_reduced_jpeg(options):
    data = encode(Image.fromarray(gradient(601, 907)), "JPEG", **options)
    decoded = decode_picture(data, color_mode="rgb", minimum_size=(64, 64))
    assert decoded.pixels.shape[0] < 601
    same_pixels(decoded)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_a_large_picture_is_the_same_as_its_pixels_or_not_there(mode):
    data = encode(Image.fromarray(gradient(1100, 1000)).convert(mode), "PNG", compress_level=1)
    decoded = decode_picture(data, color_mode="rgb")
    assert (decoded.picture is not None) == (mode == "RGB")
    if decoded.picture is not None:
        same_pixels(decoded)


def test_of_what_was_turned_or_reduced_or_lacks_its_end_no_picture_is_left():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_picture(encode(Image.fromarray(gradient()), "PNG", exif=exif), color_mode="rgb").picture is None
    unended = encode(Image.fromarray(gradient()), "JPEG")[:-2]
    assert decode_picture(unended, color_mode="rgb").picture is None
    giant = encode(Image.new("RGB", (4_001, 4_000), "red"), "PNG", compress_level=1)
    assert decode_picture(giant, color_mode="rgb", minimum_size=(64, 64)).picture is None


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc returns memory by this rule")
def test_memory_that_one_image_gives_back_is_there_for_the_next():
    # In a process of its own, whose C library nobody has given a large block back to yet.
    code = """
        import resource, sys, threading
        import numpy as np
        from sightline.data.decoding.decoder import reuse_freed_memory
        if sys.argv[1] == "reused":
            reuse_freed_memory()
        def work():
            for number in range(60):
                if number == 10:
                    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
                held = [np.ones(700_000, np.uint8) for _ in range(4)]
                del held
            print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 50)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    usual, reused = (
        int(subprocess.run([*command, how], capture_output=True, text=True, check=True).stdout)
        for how in ("usual", "reused")
    )
    assert reused < 20 < usual  # of 684 pages


# Refusals


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "TIFF", "PPM"])
def test_a_truncated_file_is_called_truncated(image_format):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), image_format)
    half = data[: len(data) // 2]
    message = refusal(half)
    assert message.startswith(f"image bytes: truncated {image_format} (")
    assert f"{len(half):,} bytes" in message


@pytest.mark.parametrize(("image_format", "shown"), [("WEBP", "WebP"), ("BMP", "BMP")])
def test_a_truncated_file_that_tells_its_length_is_measured(image_format, shown):
    data = encode(Image.fromarray(gradient()), image_format)
    assert refusal(data[:100]) == f"image bytes: truncated {shown} (100 of {len(data):,} bytes)."


def test_a_jpeg_cut_off_in_its_header_is_called_truncated():
    assert refusal(encode(Image.fromarray(gradient()), "JPEG")[:100]).startswith("image bytes: truncated JPEG (it ends")


def test_a_bomb_is_refused_by_its_header():
    data = png_header(60_000, 60_000)
    assert len(data) < 200
    assert refusal(data) == (
        f"image bytes: 60,000 x 60,000 pixels; at most {MAX_PIXELS:,} in all are decoded. Save it smaller."
    )


def test_a_size_between_the_limit_of_pillow_and_ours_gives_no_warning():
    assert "cannot hold its 90,009,000" in refusal(png_header(10_000, 9_000))


def test_a_tiff_between_the_limit_of_pillow_and_ours_gives_no_warning() -> None:
    data = encode(Image.new("1", (10_000, 10_000), 1), "TIFF", compression="group4")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_image(data, color_mode="grey", minimum_size=(28, 28)).max() == 255


def test_a_gif_with_a_huge_screen_or_a_huge_frame_is_refused():
    data = encode(Image.new("L", (4, 4)), "GIF")
    screen = data[:6] + struct.pack("<HH", 65_535, 65_535) + data[10:]
    assert "65,535 x 65,535 pixels" in refusal(screen)
    frame = data.index(b",\0\0\0\0\4\0\4\0")
    assert "30,000 x 5,000 pixels" in refusal(
        data[:frame] + b"," + struct.pack("<HHHH", 0, 0, 30_000, 5_000) + data[frame + 9 :]
    )


def test_a_webp_with_a_huge_canvas_is_refused_before_it_is_allocated():
    data = bytearray(encode(Image.new("RGBA", (4, 4)), "WEBP", exif=b"Exif\0\0MM\0*"))
    assert data[12:16] == b"VP8X"
    data[24:30] = b"\xff\xff\x00\xff\xff\x00"
    assert "65,536 x 65,536 pixels" in refusal(bytes(data))


def test_an_image_of_exactly_the_largest_size_is_not_refused_for_it():
    assert refusal(png_header(10_000, MAX_PIXELS // 10_000)).startswith("image bytes: truncated PNG")


def test_a_file_over_the_ceiling_is_not_read(tmp_path):
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # sparse: takes no room
    assert refusal(path) == f"{path}: {MAX_BYTES + 1:,} bytes; at most {MAX_BYTES:,} are read. Save it smaller."


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file (0 bytes)."),
        (b"just a few words\n", "a text, not an image."),
        (b"P1 is a word too", "damaged PPM (its header"),
        (b"BM is a word too, a longer one", "a text, not an image."),
        (bytes(500), "only zero bytes"),
        (b"\xff\xfe\x01garbage\x00\x99", "not a supported image ("),
        (b"\x00\x00\x00\x18ftypmp42\0\0\0\0isommp42", "a video"),
        (b"<?xml version='1.0'?><svg width='9'/>", "an SVG drawing, not a supported image; export it as PNG."),
        (b"\n<!DOCTYPE html><title>404</title>", "a web page, not an image; download the image itself."),
        (b"%PDF-1.7\n", "a PDF document, not a supported image; export its pages as PNG."),
        (b"8BPS\0\1", "a Photoshop document"),
        (b"\0\5\x16\7\0\2", "a macOS side file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"\xff\x0a\x00\x01", "a JPEG XL image"),
        (bytes(128) + b"DICM", "a DICOM file"),
    ],
)
def test_what_is_no_supported_image_is_called_by_its_name(tmp_path, content, reason):
    path = tmp_path / "cat.png"
    path.write_bytes(content)
    assert refusal(path).startswith(f"{path}: {reason}")
    assert refusal(content).startswith(f"image bytes: {reason}")


def test_a_missing_file_a_folder_and_an_impossible_name_are_refused(tmp_path):
    assert refusal(tmp_path / "no.png") == f"{tmp_path / 'no.png'}: no such file."
    assert refusal(tmp_path) == f"{tmp_path}: a folder, not an image file."
    assert "null byte" in refusal("a\0b.png")


def test_a_name_is_printed_without_what_a_terminal_would_obey(tmp_path):
    assert refusal(tmp_path / "a\x1b[2J\n\udcff.png").startswith(f"{tmp_path}/a\\x1b[2J\\n\\xff.png: ")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_and_a_device_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert refusal(tmp_path / "pipe.png").endswith("a pipe or device, not an image file.")
    assert refusal("/dev/zero") == "/dev/zero: a pipe or device, not an image file."


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path):
    path = tmp_path / "mine.png"
    path.write_bytes(encode(Image.fromarray(gradient()), "PNG"))
    path.chmod(0)
    assert refusal(path) == f"{path}: reading it is not permitted; change its permissions."


def test_links_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "a.png")
    assert refusal(tmp_path / "a.png").startswith(f"{tmp_path}/a.png: cannot be read: ")


def test_a_raw_file_is_not_taken_for_its_thumbnail():
    data = encode(Image.fromarray(gradient()), "TIFF", tiffinfo={50706: b"\1\4\0\0"})
    assert "a camera's raw file" in refusal(data)


def test_a_wrong_argument_is_no_unreadable_image():
    with pytest.raises(InvalidValue, match="colour mode"):
        decode_image(b"", color_mode="gray")
    with pytest.raises(InvalidValue, match="minimum_size"):
        decode_image(b"", color_mode="grey", minimum_size=(0, 5))
    with pytest.raises(InvalidValue, match="a path or bytes; got int"):
        decode_image(3, color_mode="grey")


# Damage


def mutations(data, count, generator):
    for number in range(count):
        mutated = bytearray(data)
        if number % 3 == 0:
            del mutated[generator.integers(1, len(mutated)) :]
        # Headers are short and hold everything dangerous: half of the flips go there.
        limit = len(mutated) if number % 2 else min(len(mutated), 120)
        for index in generator.integers(0, limit, generator.integers(1, 6)):
            mutated[index] ^= 1 << generator.integers(8)
        yield bytes(mutated)


def outcome(data):
    """The refusal, or None if there is an image."""
    try:
        decoded = decode_image(data, color_mode="rgb", minimum_size=(4, 4))
    except UnreadableImage as error:
        return str(error)
    assert (decoded.dtype, decoded.ndim) == (np.uint8, 3)
    return None


@pytest.mark.parametrize("image_format", WRITTEN)
def test_a_damaged_file_gives_an_array_or_a_clear_refusal_and_nothing_else(image_format):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x011A] = 6, "a text", 72.0
    options = {"exif": exif} if image_format in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF") else {}
    seeds = [encode(Image.fromarray(gradient(9, 12)), image_format, **options)]
    seeds.append(encode(Image.fromarray(gradient(9, 12)).convert("L"), image_format, **options))
    generator = np.random.default_rng(7)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        outcomes = [outcome(mutated) for seed in seeds for mutated in mutations(seed, 150, generator)]
    assert [str(warning.message) for warning in caught] == []
    for refused in (text for text in outcomes if text):
        assert refused.isprintable()
        assert " at 0x" not in refused


def test_many_threads_read_the_same_bytes(tmp_path):
    paths = []
    for number, image_format in enumerate(WRITTEN * 3):
        paths.append(tmp_path / f"{number}.bin")
        paths[-1].write_bytes(encode(Image.fromarray(gradient(40 + number, 50)), image_format))
    spec = InputSpec(16, 16, "rgb")
    alone = [read_image(path, spec) for path in paths]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda path: read_image(path, spec), paths * 5))
    for number, image in enumerate(together):
        np.testing.assert_array_equal(image, alone[number % len(paths)])


# Resize


def test_an_image_of_the_right_size_is_handed_on_itself():
    image = gradient(28, 28)
    assert resize_image(image, InputSpec(28, 28, "rgb")) is image


@pytest.mark.parametrize("rule", ["fit", "fill", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (7, 50), (50, 7), (3, 3), (400, 300), (1, 500)])
def test_every_rule_gives_the_size_of_the_network(rule, size):
    resized = resize_image(gradient(*size), InputSpec(20, 30, "rgb", resize=rule))
    assert resized.shape == (20, 30, 3)
    assert resized.dtype == np.uint8


@pytest.mark.parametrize(("background", "padding"), [("dark", 0), ("light", 255), ("mixed", 128)])
def test_fit_keeps_the_whole_image_and_pads_with_the_background(background, padding):
    wide = np.full((10, 20, 1), 77, dtype=np.uint8)
    resized = resize_image(wide, InputSpec(20, 20, "grey", resize="fit", background=background))
    assert (resized[5:15] == 77).all()
    assert (resized[:5] == padding).all()
    assert (resized[15:] == padding).all()


def test_fill_crops_the_middle():
    image = np.zeros((10, 20, 1), dtype=np.uint8)
    image[:, :5], image[:, 5:15] = 255, 77
    assert (resize_image(image, InputSpec(10, 10, "grey", resize="fill")) == 77).all()


def test_stretch_keeps_everything_and_forgets_the_proportions():
    image = np.zeros((10, 20, 1), dtype=np.uint8)
    image[:, 10:] = 200
    resized = resize_image(image, InputSpec(10, 10, "grey", resize="stretch"))
    assert (resized[:, :4] == 0).all()
    assert (resized[:, 6:] == 200).all()


@pytest.mark.parametrize("rule", ["fit", "fill", "stretch"])
def test_a_mirrored_image_resizes_to_the_mirrored_result(rule):
    image, spec = gradient(41, 60), InputSpec(16, 16, "rgb", resize=rule)
    mirrored = resize_image(np.ascontiguousarray(image[:, ::-1]), spec)
    assert np.abs(mirrored.astype(int) - resize_image(image, spec)[:, ::-1]).max() <= 1


def test_shrinking_averages_instead_of_picking_pixels():
    stripes = np.zeros((64, 64, 1), dtype=np.uint8)
    stripes[:, ::2] = 255
    resized = resize_image(stripes, InputSpec(8, 8, "grey"))
    assert np.abs(resized.astype(int) - 127).max() <= 5


def test_the_same_file_gives_the_same_bytes_again(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(Image.fromarray(gradient(300, 200)), "JPEG"))
    spec = InputSpec(32, 32, "rgb")
    assert read_image(path, spec).tobytes() == read_image(path, spec).tobytes()
    assert read_image(path, spec).tobytes() == read_image(path.read_bytes(), spec).tobytes()


def test_changing_colour_of_an_array_equals_decoding_in_it():
    data = encode(Image.fromarray(gradient()), "PNG")
    np.testing.assert_array_equal(change_color(gradient(), "grey"), decode_image(data, color_mode="grey"))
    assert change_color(gradient(), "rgb").shape == (24, 32, 3)
    assert change_color(gradient()[..., :1], "rgb").shape == (24, 32, 3)


@pytest.mark.parametrize(
    ("image", "spec", "message"),
    [
        (np.zeros((4, 4, 3)), InputSpec(2, 2, "rgb"), "array of uint8; got float64"),
        ([[1]], InputSpec(2, 2, "rgb"), "array of uint8; got list"),
        (np.zeros((4, 4), np.uint8), InputSpec(2, 2, "grey"), "shape"),
        (np.zeros((0, 4, 1), np.uint8), InputSpec(2, 2, "grey"), "shape"),
        (np.zeros((4, 4, 1), np.uint8), InputSpec(2, 2, "rgb"), "1 channels; the network takes 3"),
        (np.zeros((4, 4, 3), np.uint8), InputSpec(2, 2, "rgb", resize="crop"), "no resize rule is called 'crop'"),
        (np.zeros((4, 4, 3), np.uint8), InputSpec(2, 2, "rgb", interpolation="x"), "no interpolation is called 'x'"),
    ],
)
def test_what_cannot_be_resized_is_refused(image, spec, message):
    with pytest.raises(InvalidValue, match=message):
        resize_image(image, spec)


def test_nothing_global_is_changed():
    filters, limit = list(warnings.filters), Image.MAX_IMAGE_PIXELS
    decode_image(encode(Image.fromarray(gradient()), "PNG"), color_mode="rgb")
    refusal(png_header(60_000, 60_000))
    assert list(warnings.filters) == filters
    assert limit == Image.MAX_IMAGE_PIXELS


def test_a_path_object_and_its_text_are_named_alike():
    assert refusal(Path("gone.png")) == refusal("gone.png") == "gone.png: no such file."
