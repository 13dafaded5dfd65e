"""What is remembered of every decoded image so that copies can be found later: 1 KB each.

Taken in the thread that decodes anyway, since decoding twice costs more than all that follows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.data.decoding.transforms import check_image, picture_of

THUMBNAIL_SIDE: Final = 32
"""Pixels a side of a thumbnail; smaller images hold too little to be told apart."""

# Grey levels. JPEG leaves about one level of noise behind; with no more structure than that, two walls are alike.
LEAST_DETAIL: Final = 2.0
_FIELDS = ("pixels", "digests", "detail", "sides")


@dataclass(frozen=True, eq=False)
class Signatures:
    """What is remembered of many images, as plain arrays that can be saved.

    Attributes:
        pixels: (num_images, 32, 32) uint8, each grey image averaged over areas, stretched to a square.
        digests: (num_images,) 32 bytes each, SHA-256 of shape and pixels: equal for exact copies alone; empty where
            nothing was put.
        detail: (num_images,) float32, how much fine structure a thumbnail has, in grey levels (root mean square).
        sides: (num_images, 2) int32, height and width of the decoded image in pixels.
    """

    pixels: NDArray[np.uint8]
    digests: NDArray[np.bytes_]
    detail: NDArray[np.float32]
    sides: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.digests)

    @property
    def known(self) -> NDArray[np.bool_]:
        """(num_images,) False for images that could not be read."""
        return np.asarray(self.digests != b"")

    @property
    def can_tell(self) -> NDArray[np.bool_]:
        """(num_images,) True where near copies can be told: 32 pixels a side at least, and some structure."""
        return np.asarray(self.known & (self.sides.min(axis=1) >= THUMBNAIL_SIDE) & (self.detail >= LEAST_DETAIL))

    def put(self, row: int, image: NDArray[np.uint8], *, picture: Image.Image | None = None) -> None:
        """Remember an image, (height, width, 1 or 3) of any size; threads may do so at once for different rows.

        `picture` is what `picture_of` made of it, where that is at hand.
        """
        check_image(image)
        grey = (picture_of(image) if picture is None else picture).convert("L")
        self.pixels[row] = np.asarray(grey.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX))
        structure = fine_structure(self.pixels[row][None].astype(np.float32))
        self.detail[row] = round(float(np.sqrt((structure**2).mean())), 3)
        self.digests[row], self.sides[row] = content_digest(image), image.shape[:2]

    def take(self, rows: NDArray[np.int64]) -> Signatures:
        """The same for some of the rows."""
        return Signatures(self.pixels[rows], self.digests[rows], self.detail[rows], self.sides[rows])

    def to_arrays(self) -> dict[str, Any]:
        """Names and arrays, for `np.savez`."""
        return {f"signature_{name}": getattr(self, name) for name in _FIELDS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Signatures:
        """What `to_arrays` gave; KeyError or ValueError where it did not."""
        found = cls(*(arrays[f"signature_{name}"] for name in _FIELDS))
        if found.pixels.shape != (len(found), THUMBNAIL_SIDE, THUMBNAIL_SIDE) or found.sides.shape != (len(found), 2):
            raise ValueError(f"signatures of another shape: {found.pixels.shape}")
        return found


def empty_signatures(num_images: int) -> Signatures:
    """Room for the signatures of so many images, of which none is known yet."""
    return Signatures(
        np.zeros((num_images, THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8),
        np.zeros(num_images, "S32"),
        np.zeros(num_images, np.float32),
        np.zeros((num_images, 2), np.int32),
    )


def content_digest(image: NDArray[np.uint8]) -> bytes:
    """SHA-256 of the shape and the pixels of an image: equal for exact copies alone."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


def blurred(thumbnails: NDArray[np.float32], width: float = 1.5) -> NDArray[np.float32]:
    """(num_images, 32, 32) thumbnails smoothed by a Gaussian whose standard deviation is `width` pixels."""
    weights = _gaussian(width)
    return np.asarray(weights @ thumbnails @ weights.T)


def fine_structure(thumbnails: NDArray[np.float32]) -> NDArray[np.float32]:
    """What smoothing takes away of (num_images, 32, 32) thumbnails: edges and texture, without light and shade."""
    return np.asarray(thumbnails - blurred(thumbnails))


@lru_cache(maxsize=8)
def _gaussian(width: float) -> NDArray[np.float32]:
    steps = np.arange(THUMBNAIL_SIDE)
    weights = np.exp(-0.5 * ((steps[:, None] - steps) / width) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
