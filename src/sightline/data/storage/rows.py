"""Rows of a store decoded, and what their headers tell, by any number of threads at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.data.decoding.costs import FILES
from sightline.data.decoding.decoder import Picture, decode_picture, read_header
from sightline.data.decoding.formats import format_of
from sightline.errors import UnreadableImage
from sightline.records import ColorMode, Store
from sightline.system.workers import map_in_order

# Sizes and colours stand at the beginning of these; the others are read whole.
_HEAD_FORMATS = {"JPEG", "PNG", "GIF", "BMP", "PPM"}
_HEAD_BYTES = 2**17
_GREY_MODES = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}


def decode_row(files: Store, row: int, *, color_mode: ColorMode, minimum_size: tuple[int, int]) -> NDArray[np.uint8]:
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
    """
    return picture_of_row(files, row, color_mode=color_mode, minimum_size=minimum_size).pixels


def picture_of_row(files: Store, row: int, *, color_mode: ColorMode, minimum_size: tuple[int, int]) -> Picture:
    """As `decode_row`, with what the file told beside its pixels."""
    try:
        # It waits for its turn, so that large images do not lie in memory by the dozen; -1: there is no such file.
        with FILES.hold(max(0, files.size(row))):
            return decode_picture(files.read(row), color_mode=color_mode, minimum_size=minimum_size)
    except UnreadableImage as error:
        raise UnreadableImage(str(error).removeprefix("image bytes: ")) from error


def image_sizes(files: Store, rows: NDArray[np.int64]) -> NDArray[np.int64]:
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
            head = files.head(row, _HEAD_BYTES)
            return header_of(head, partial(files.read, row) if len(head) < files.size(row) else None)
        except UnreadableImage:
            return 0, 0, 0

    return np.array(list(map_in_order(size_of, rows.tolist())), dtype=np.int64).reshape(-1, 3)


def header_of(data: bytes, read: Callable[[], bytes] | None = None) -> tuple[int, int, int]:
    """Size and channels of one image, from its header.

    A damaged rest goes unnoticed.

    Args:
        data: the bytes of a file, or the first 128 KiB of it.
        read: gives all of it, where `data` does not.
    """
    head = data[:_HEAD_BYTES]
    if format_of(head) in _HEAD_FORMATS and len(head) == _HEAD_BYTES:
        try:
            return _header(head)
        except UnreadableImage:
            pass  # a large profile or preview stands before the size
    return _header(data if read is None else read())


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
