"""What a file is, told from its first bytes and never from its name.

A photograph called `.txt` is opened and a web page called `.jpg` is refused by
what it is: people's folders hold both.
"""

from __future__ import annotations

import importlib.util
from typing import Literal, NamedTuple, get_args

from PIL import features

from sightline.errors import UnreadableImage

ImageFormat = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "HEIF"]

HEIF_READER = "pi_heif"
# Two depend on how Pillow was built, and HEIF on a package that its user chose to install (decision 27). An MPO, as
# telephones write it, is a JPEG with more behind it.
_BUILT_IN = {"AVIF": features.check("avif"), "JPEG2000": features.check("jpg_2000")}
IMAGE_FORMATS: tuple[ImageFormat, ...] = tuple(
    name
    for name in get_args(ImageFormat)
    if _BUILT_IN.get(name, True) and (name != "HEIF" or importlib.util.find_spec(HEIF_READER))
)
"""The formats that are ever opened, by Pillow's names."""

SUFFIXES: dict[str, frozenset[str]] = {
    "JPEG": frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"}),
    "PNG": frozenset({".png", ".apng"}),
    "WEBP": frozenset({".webp"}),
    "GIF": frozenset({".gif"}),
    "BMP": frozenset({".bmp", ".dib"}),
    "TIFF": frozenset({".tif", ".tiff"}),
    "PPM": frozenset({".ppm", ".pgm", ".pbm", ".pnm"}),
    "AVIF": frozenset({".avif"}),
    "JPEG2000": frozenset({".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"}),
    "HEIF": frozenset({".heic", ".heif", ".hif"}),
}
"""How files of each format are called, in lower case."""

# Images that are never read: camera raw, other programs' own formats, medicine, drawings. Called so, a file counts as
# an image that cannot be read, even where its first bytes tell nothing.
_NEVER_READ = (
    ".arw .cr2 .cr3 .crw .dng .erf .iiq .kdc .mrw .nef .nrw .orf .pef .raf .rw2 .sr2 .srf .srw .x3f .3fr .jxl .dcm "
    ".dicom .psd .psb .xcf .exr .hdr .tga .jxr .hdp .wdp .svg .pfm .qoi .nii"
)
IMAGE_SUFFIXES: frozenset[str] = frozenset().union(*SUFFIXES.values()) | frozenset(_NEVER_READ.split())
"""Lower-case suffixes that make a file an image, readable or not, when a folder is listed."""

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

_DEVELOP = "develop it to JPEG"
_WINDOW = "export it as 8-bit PNG, with the window that shows what matters"


class _Look(NamedTuple):
    """How files of a kind begin that is never opened."""

    offset: int
    magic: bytes
    what: str
    remedy: str


_UNREAD_IMAGES = (
    _Look(0, b"8BPS", "a Photoshop document", _SAVE_AS),
    _Look(0, b"gimp xcf ", "a GIMP document", _SAVE_AS),
    _Look(0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL image", _SAVE_AS),
    _Look(0, b"\xff\x0a", "a JPEG XL image", _SAVE_AS),
    _Look(0, b"II\xbc\x01", "a JPEG XR image", _SAVE_AS),
    _Look(0, b"\x00\x00\x01\x00", "a Windows icon", _SAVE_AS),
    _Look(0, b"\x76\x2f\x31\x01", "an OpenEXR image, which has no fixed range", "save it as 8-bit PNG"),
    _Look(0, b"#?RADIANCE", "a Radiance image, which has no fixed range", "save it as 8-bit PNG"),
    _Look(0, b"Pf\n", "a floating-point PFM image, which has no fixed range", "save it as 8-bit PNG"),
    _Look(0, b"PF\n", "a floating-point PFM image, which has no fixed range", "save it as 8-bit PNG"),
    _Look(0, b"qoif", "a QOI image", _SAVE_AS),
    _Look(0, b"FUJIFILMCCD-RAW", "a camera's raw file", _DEVELOP),
    _Look(0, b"II\x55\x00", "a camera's raw file", _DEVELOP),  # Panasonic
    _Look(0, b"IIRO", "a camera's raw file", _DEVELOP),  # Olympus, as the next two
    _Look(0, b"IIRS", "a camera's raw file", _DEVELOP),
    _Look(0, b"MMOR", "a camera's raw file", _DEVELOP),
    _Look(0, b"FOVb", "a camera's raw file", _DEVELOP),  # Sigma
    _Look(0, b"\x00MRM", "a camera's raw file", _DEVELOP),  # Minolta
    _Look(6, b"HEAPCCDR", "a camera's raw file", _DEVELOP),  # Canon's first
    _Look(4, b"ftypcrx ", "a camera's raw file", _DEVELOP),  # Canon's latest
    _Look(128, b"DICM", "a DICOM file", _WINDOW),
)
_VIDEO = _Look(0, b"\x1a\x45\xdf\xa3", "a video", "save a frame of it as JPEG")
_NO_IMAGES = (
    _Look(0, b"%PDF-", "a PDF document", "export its pages as PNG"),
    _Look(0, b"\x00\x05\x16\x07", "a macOS side file without pixels", "delete it"),
    _Look(0, b"version https://git-lfs", "a Git LFS pointer without pixels", "run: git lfs pull"),
    _Look(0, b"PK\x03\x04", "a zip archive", "unpack it"),
    _Look(0, b"\x1f\x8b", "a gzip archive", "unpack it"),
    _VIDEO,
)
_HEIF = _Look(
    0,
    b"",
    "a HEIC image",
    f"{_SAVE_AS}, or install pi-heif, which Sightline then reads it with (pip install pi-heif; LGPL-3.0)",
)
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1"}
_TEXT_BYTES = frozenset(range(0x20, 0x7F)) | set(b"\t\n\r\f")


def format_of(data: bytes) -> ImageFormat:
    """The image format of a file, by its first bytes.

    Args:
        data: the file's bytes, or at least its first 1,024.
    """
    if not data:
        raise UnreadableImage("empty file (0 bytes).")
    known = _known_format(data)
    if known in IMAGE_FORMATS:
        return known
    if look := _unread_image(data, known):
        raise UnreadableImage(f"{look.what}, not a supported image; {look.remedy}.")
    raise UnreadableImage(_description_of_unknown(data))


def why_no_image(head: bytes) -> str:
    """What a file is that does not begin as an image does; "" for every image, be it one that cannot be read here."""
    known = _known_format(head)
    return "" if known or _unread_image(head, known) else _description_of_unknown(head)


def _unread_image(data: bytes, known: ImageFormat | None) -> _Look | None:
    """What an image is that cannot be read here."""
    if known == "HEIF":
        return _HEIF
    if known is not None:
        return _Look(0, b"", f"a {known} image, without which this Pillow was built", _SAVE_AS)
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"<svg") or (start.startswith(b"<?xml") and b"<svg" in start):
        return _Look(0, b"", "an SVG drawing", "export it as PNG")
    return next((look for look in _UNREAD_IMAGES if data.startswith(look.magic, look.offset)), None)


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
    if data.startswith((b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")):
        return "JPEG2000"
    brands = _brands(data)
    # Both are boxes of one layout, and `mif1` stands in either; so AVIF is asked for first.
    return "AVIF" if brands & {b"avif", b"avis"} else "HEIF" if brands & _HEIF_BRANDS else None


def _brands(data: bytes) -> set[bytes]:
    """The four-letter brands of a file in the ISO box layout; empty for any other."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), 256, len(data))
    return {data[8:12]} | {data[start : start + 4] for start in range(16, end - 3, 4)}


def _description_of_unknown(data: bytes) -> str:
    if not data:
        return "empty file (0 bytes)."
    look = _VIDEO if _brands(data) else next((no for no in _NO_IMAGES if data.startswith(no.magic, no.offset)), None)
    if look is not None:
        return f"{look.what}, not a supported image; {look.remedy}."
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        return "a web page, not an image; download the image itself."
    if not data[:1024].strip(b"\0"):
        return "only zero bytes where an image should start; copy it again from its source."
    if set(data[:1024]) <= _TEXT_BYTES:
        return "a text, not an image."
    return f"not a supported image ({', '.join(IMAGE_FORMATS)})."
