"""The encoded images that a page is compared on, and what our own decoder makes of them."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.data.decoding.decoder import decode_picture, open_image
from sightline.data.decoding.transforms import change_color, resize_image
from sightline.deployment.conversion.rows import ComparedRows
from sightline.records import InputSpec, Store

# What a browser decodes to the same bytes as Sightline, in 8 bits and usual colours.
_EXACT_FORMATS = {"PNG", "JPEG", "GIF", "BMP", "WEBP"}
_UNUSUAL_COLORS = {"CMYK"}
# Of all else: decoders round otherwise, and a fault in what the page does is larger.
_MOST_OF_OTHERS = 16


class KnownPixels(NamedTuple):
    """What our own decoder and resize make of a file, and by how many levels a browser may differ."""

    pixels: NDArray[np.uint8]
    format: str
    tolerance: int


def file_of(rows: ComparedRows, row: int) -> bytes:
    """The encoded image of a row; what never was a file becomes a PNG."""
    if isinstance(rows.originals, Store):
        return rows.originals.read(row)
    images = rows.images if rows.originals is None else rows.originals
    image = np.asarray(images[row : row + 1])[0]
    stream = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(stream, "PNG")
    return stream.getvalue()


def known_pixels(data: bytes, spec: InputSpec) -> KnownPixels:
    """As a browser can do it: decoded whole, and the grey of a JPEG made of its colours."""
    is_jpeg = data[:2] == b"\xff\xd8"
    decoded = decode_picture(data, color_mode="rgb" if is_jpeg else spec.color_mode)
    opened, _, _ = open_image(data)
    is_usual = decoded.bits == 8 and (opened is None or opened.mode not in _UNUSUAL_COLORS)
    pixels = resize_image(change_color(decoded.pixels, spec.color_mode), spec)
    return KnownPixels(pixels, decoded.format, 0 if is_usual and decoded.format in _EXACT_FORMATS else _MOST_OF_OTHERS)
