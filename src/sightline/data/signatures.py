"""What a file is, told from its first bytes and never from its name.

A photograph called `.txt` is opened and a web page called `.jpg` is refused by
what it is: people's folders hold both.
"""

from __future__ import annotations

from typing import Literal, get_args

from PIL import features

from sightline.errors import UnreadableImage

ImageFormat = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF"]

# AVIF alone depends on how Pillow was built. An MPO, as telephones write it, is a JPEG with more behind it.
IMAGE_FORMATS: tuple[ImageFormat, ...] = tuple(
    name for name in get_args(ImageFormat) if name != "AVIF" or features.check("avif")
)
"""The formats that are ever opened, by Pillow's names."""

IMAGE_SUFFIXES: frozenset[str] = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
"""Lower-case suffixes that make a file worth opening when a folder is listed."""

_MAGIC: tuple[tuple[bytes, ImageFormat], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II\x2a\x00", "TIFF"),
    (b"MM\x00\x2a", "TIFF"),
    (b"II\x2b\x00", "TIFF"),
    (b"MM\x00\x2b", "TIFF"),
)
_BITMAP_HEADER_BYTES = {12, 40, 52, 56, 64, 108, 124}
_SAVE_AS = "save it as JPEG or PNG"

# (offset, bytes, what it is, what to do)
_FOREIGN: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"%PDF-", "a PDF document", "export its pages as PNG"),
    (0, b"8BPS", "a Photoshop document", _SAVE_AS),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL image", _SAVE_AS),
    (0, b"\xff\x0a", "a JPEG XL image", _SAVE_AS),
    (0, b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image", _SAVE_AS),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image", _SAVE_AS),
    (0, b"\x00\x00\x01\x00", "a Windows icon", _SAVE_AS),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR image", _SAVE_AS),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw file", "develop it to JPEG"),
    (0, b"Pf\n", "a floating-point PFM image, which has no fixed range", "save it as 8-bit PNG"),
    (0, b"PF\n", "a floating-point PFM image, which has no fixed range", "save it as 8-bit PNG"),
    (128, b"DICM", "a DICOM file", "export it as 8-bit PNG"),
    (0, b"\x00\x05\x16\x07", "a macOS side file without pixels", "delete it"),
    (0, b"version https://git-lfs", "a Git LFS pointer without pixels", "run: git lfs pull"),
    (0, b"PK\x03\x04", "a zip archive", "unpack it"),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it"),
    (0, b"\x1a\x45\xdf\xa3", "a video", "save a frame of it as JPEG"),
)
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_TEXT_BYTES = frozenset(range(0x20, 0x7F)) | set(b"\t\n\r\f")


def recognise(data: bytes) -> ImageFormat:
    """The image format of a file, by its first bytes.

    Args:
        data: the file's bytes, or at least its first 1,024.

    Returns:
        One of `IMAGE_FORMATS`.

    Raises:
        UnreadableImage: it is no image, or of a format that is never opened; the
            message says what it looks like and how to convert it.

    Example:
        >>> recognise(b"GIF89a...")
        'GIF'
    """
    if not data:
        raise UnreadableImage("empty file (0 bytes).")
    known = _known_format(data)
    if known in IMAGE_FORMATS:
        return known
    if known is not None:
        raise UnreadableImage(f"this Pillow was built without {known}; {_SAVE_AS}.")
    for offset, magic, what, remedy in _FOREIGN:
        if data.startswith(magic, offset):
            raise UnreadableImage(f"{what}, not a supported image; {remedy}.")
    raise UnreadableImage(_description_of_unknown(data))


def _known_format(data: bytes) -> ImageFormat | None:
    for magic, known in _MAGIC:
        if data.startswith(magic):
            return known
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    # Two letters are no proof, a text may start with BM or P1; so one more field is looked at.
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BITMAP_HEADER_BYTES:
        return "BMP"
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return "PPM"
    return "AVIF" if _brands(data) & {b"avif", b"avis"} else None


def _brands(data: bytes) -> set[bytes]:
    """The four-letter brands of a file in the ISO box layout; empty for any other."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), 256, len(data))
    return {data[8:12]} | {data[start : start + 4] for start in range(16, end - 3, 4)}


def _description_of_unknown(data: bytes) -> str:
    if brands := _brands(data):
        what, remedy = (
            ("a HEIC image", _SAVE_AS) if brands & _HEIF_BRANDS else ("a video", "save a frame of it as JPEG")
        )
        return f"{what}, not a supported image; {remedy}."
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"<svg") or (start.startswith(b"<?xml") and b"<svg" in start):
        return "an SVG drawing, not a supported image; export it as PNG."
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        return "a web page, not an image; download the image itself."
    if not data[:1024].strip(b"\0"):
        return "only zero bytes where an image should start; copy it again from its source."
    if set(data[:1024]) <= _TEXT_BYTES:
        return "a text, not an image."
    return f"not a supported image ({', '.join(IMAGE_FORMATS)})."
