"""Where the bytes of an image are fetched from: a folder, a zip or a tar, by any number of threads at once."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.data.decoding import containers
from sightline.data.decoding.costs import FILES
from sightline.data.decoding.decoder import Picture, decode_picture, read_header
from sightline.data.decoding.formats import format_of
from sightline.data.storage.archive_members import read_tar_member, read_zip_member
from sightline.errors import UnreadableImage
from sightline.records import ColorMode, ImageFiles
from sightline.system.text import printable
from sightline.system.workers import map_in_order

# Sizes and colours stand at the beginning of these; the others are read whole.
_HEAD_FORMATS = {"JPEG", "PNG", "GIF", "BMP", "PPM"}
_HEAD_BYTES = 2**17
_GREY_MODES = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}


def read_bytes(files: ImageFiles, row: int) -> Path | bytes:
    """What `decode_image` takes for one row: the path of a file, or the bytes of an archive's member.

    Args:
        files: where the images are.
        row: index into `files.names`.

    Returns:
        A path in a folder; the bytes of a member of an archive.

    Raises:
        UnreadableImage: the file is gone or has another size than when the source was opened, or
            the archive has changed or is damaged there. The message starts with `display_name`.

    Example:
        >>> none = np.array([5], dtype=np.int64)
        >>> read_bytes(ImageFiles(Path("nowhere"), "folder", ("a.png",), none, none, none[:0]), 0)
        Traceback (most recent call last):
        sightline.errors.UnreadableImage: nowhere/a.png: gone since the source was opened.
    """
    try:
        return _checked_path(files, row) if files.kind == "folder" else _member(files, row)
    except UnreadableImage as error:
        raise UnreadableImage(f"{display_name(files, row)}: {error}") from error


def display_name(files: ImageFiles, row: int) -> str:
    """A row's file as messages show it."""
    return printable(str(files.place / files.names[row]))


def decode_row(
    files: ImageFiles, row: int, *, color_mode: ColorMode, minimum_size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Decode one row, wherever its bytes are.

    Args:
        files: where the images are.
        row: index into `files.names`.
        color_mode: "grey" or "rgb".
        minimum_size: (height, width) that a reduced JPEG does not fall below.

    Returns:
        (height, width, channels) uint8.

    Raises:
        UnreadableImage: with the reason alone; who prints it knows the name.

    Example:
        >>> none = np.array([5], dtype=np.int64)
        >>> gone = ImageFiles(Path("nowhere"), "folder", ("a.png",), none, none, none[:0])
        >>> decode_row(gone, 0, color_mode="rgb", minimum_size=(8, 8))
        Traceback (most recent call last):
        sightline.errors.UnreadableImage: gone since the source was opened.
    """
    return picture_of_row(files, row, color_mode=color_mode, minimum_size=minimum_size).pixels


def picture_of_row(files: ImageFiles, row: int, *, color_mode: ColorMode, minimum_size: tuple[int, int]) -> Picture:
    """As `decode_row`, with what the file told beside its pixels."""
    try:
        # A file waits for its turn where it is read; a member of an archive is read here.
        with contextlib.nullcontext() if files.kind == "folder" else FILES.hold(int(files.num_bytes[row])):
            return decode_picture(read_bytes(files, row), color_mode=color_mode, minimum_size=minimum_size)
    except UnreadableImage as error:
        reason = str(error).removeprefix("image bytes: ").removeprefix(f"{display_name(files, row)}: ")
        raise UnreadableImage(reason) from error


def image_sizes(files: ImageFiles, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sizes and channels of some images, from their headers; no pixel is decoded.

    Args:
        files: where the images are.
        rows: (num_rows,) row indices.

    Returns:
        (num_rows, 3) int64: height, width and channels as `header_of` gives them; zeros for
        what cannot be read.
    """

    def size_of(row: int) -> tuple[int, int, int]:
        try:
            return header_of(read_bytes(files, row))
        except UnreadableImage:
            return 0, 0, 0

    return np.array(list(map_in_order(size_of, rows.tolist())), dtype=np.int64).reshape(-1, 3)


def header_of(source: Path | bytes) -> tuple[int, int, int]:
    """Size and channels of one image, from its header.

    A damaged rest goes unnoticed.

    Args:
        source: a path, or the bytes of a file.
    """
    head = source[:_HEAD_BYTES] if isinstance(source, bytes) else _head(source)
    if format_of(head) in _HEAD_FORMATS and len(head) == _HEAD_BYTES:
        try:
            return _header(head)
        except UnreadableImage:
            pass  # a large profile or preview stands before the size
    return _header(source if isinstance(source, bytes) else containers.read_bytes(source))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_HEAD_BYTES)
    except OSError as error:
        raise UnreadableImage(f"cannot be read: {error.strerror}.") from error


def _header(data: bytes) -> tuple[int, int, int]:
    opened, container, (width, height) = read_header(data)
    try:
        is_grey = _is_grey(opened, data)
    except Exception as error:  # as in the decoder
        raise UnreadableImage(f"damaged {container.format} (its palette).") from error
    shape = (width, height) if container.orientation >= 5 else (height, width)
    return (*shape, 1 if is_grey else 3)


def _is_grey(opened: Image.Image | None, data: bytes) -> bool:
    if opened is None:
        return data[1:2] in b"1245"
    return opened.mode in _GREY_MODES or (opened.mode == "P" and _has_grey_palette(opened))


def _has_grey_palette(opened: Image.Image) -> bool:
    if opened.palette is None:
        return False
    # Asked for its palette, Pillow would decode the whole image; so another one is given it.
    small = Image.new("P", (1, 1))
    rawmode, colours = opened.palette.getdata()
    small.putpalette(bytes(colours), rawmode)
    palette = np.array(small.getpalette("RGB") or [0], dtype=np.int64)
    return len(palette) % 3 == 0 and bool((np.diff(palette.reshape(-1, 3), axis=1) == 0).all())


def _checked_path(files: ImageFiles, row: int) -> Path:
    path = files.place / files.names[row]
    try:
        num_bytes = path.stat().st_size
    except OSError as error:
        was_there = files.num_bytes[row] >= 0  # else a link that leads nowhere
        raise UnreadableImage("gone since the source was opened." if was_there else "no such file.") from error
    if num_bytes != files.num_bytes[row]:
        raise UnreadableImage(
            f"has changed since the source was opened ({files.num_bytes[row]:,} bytes then, {num_bytes:,} now). "
            "Open the source again."
        )
    return path


def _member(files: ImageFiles, row: int) -> bytes:
    offset, num_bytes = int(files.offsets[row]), int(files.num_bytes[row])
    try:
        if files.kind == "zip":
            return read_zip_member(files.place, files.names[row], offset=offset, num_bytes=num_bytes)
        return read_tar_member(files.place, offset=offset, num_bytes=num_bytes)
    except OSError as error:
        raise UnreadableImage(f"the archive cannot be read: {error.strerror or error}.") from error
