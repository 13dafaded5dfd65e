"""Small pictures of a source's rows, as data that a page carries inside itself."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.data.inputs.pixels import raw_images
from sightline.records import Dataset

SIDE: Final = 128
"""Longest side of a miniature in pixels."""
_SMALL_SIDE, _QUALITY = 64, 70


@dataclass(frozen=True)
class Miniature:
    """One small picture.

    Attributes:
        address: a `data:` address that holds the picture itself.
        is_small: True where the image has so few pixels that they are best seen as squares.
    """

    address: str
    is_small: bool


def miniature(dataset: Dataset, row: int, *, side: int = SIDE) -> Miniature | None:
    """A row of a source as a small picture; None where it cannot be read any more."""
    images, _ = raw_images(dataset, np.array([row]))
    return miniature_of(images[0], side=side) if images else None


def miniature_of(pixels: NDArray[np.uint8], *, side: int = SIDE) -> Miniature:
    """Pixels (height, width, channels) as a small picture: WebP, and of up to 64 pixels a side PNG, as they are."""
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    is_small = max(picture.size) <= _SMALL_SIDE
    picture.thumbnail((side, side))
    stream = io.BytesIO()
    if is_small:
        picture.save(stream, "PNG")
    else:
        picture.save(stream, "WEBP", quality=_QUALITY)
    kind = "png" if is_small else "webp"
    return Miniature(f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}", is_small)
