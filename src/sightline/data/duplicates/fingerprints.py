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

from sightline.data.decoding.transforms import check_image

THUMBNAIL_SIDE: Final = 32
"""Pixels a side of a thumbnail; smaller images hold too little to be told apart."""

# Grey levels. JPEG leaves about one level of noise behind; with no more structure than that, two walls are alike.
LEAST_DETAIL: Final = 2.0
_FIELDS = ("pixels", "digests", "detail", "sides")


@dataclass(frozen=True, eq=False)
class Signature:
    """What is remembered of one image.

    Attributes:
        pixels: (32, 32) uint8, the grey image averaged over areas, stretched to a square.
        digest: SHA-256 of shape and pixels: equal for exact copies alone.
        detail: how much fine structure the thumbnail has, in grey levels (root mean square).
        sides: (height, width) of the decoded image.
    """

    pixels: NDArray[np.uint8]
    digest: bytes
    detail: float
    sides: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Signatures:
    """The signatures of many images, as plain arrays that can be saved.

    Attributes:
        pixels: (num_images, 32, 32) uint8.
        digests: (num_images,) 32 bytes each; empty where nothing was put.
        detail: (num_images,) float32, grey levels.
        sides: (num_images, 2) int32, height and width in pixels.
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

    def put(self, row: int, found: Signature) -> None:
        """Write one signature into its row; threads may do so at once for different rows."""
        self.pixels[row] = found.pixels
        self.digests[row] = found.digest
        self.detail[row] = found.detail
        self.sides[row] = found.sides

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
    """Room for the signatures of so many images.

    Args:
        num_images: 0 or more.

    Returns:
        Signatures of which none is known yet.

    Example:
        >>> empty_signatures(2).known.tolist()
        [False, False]
    """
    return Signatures(
        np.zeros((num_images, THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8),
        np.zeros(num_images, "S32"),
        np.zeros(num_images, np.float32),
        np.zeros((num_images, 2), np.int32),
    )


def signature(image: NDArray[np.uint8]) -> Signature:
    """What to remember of an image.

    Args:
        image: (height, width, 1 or 3) uint8, of any size.

    Returns:
        Its Signature; the same pixels give the same.

    Raises:
        InvalidValue: dtype or shape are wrong.

    Example:
        >>> found = signature(np.full((40, 60, 3), 7, np.uint8))
        >>> found.pixels.max(), found.detail, found.sides
        (np.uint8(7), 0.0, (40, 60))
    """
    check_image(image)
    height, width = image.shape[:2]
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).convert("L")
    pixels = np.asarray(picture.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX))
    detail = round(float(np.sqrt((fine_structure(pixels[None].astype(np.float32)) ** 2).mean())), 3)
    return Signature(pixels, content_digest(image), detail, (height, width))


def content_digest(image: NDArray[np.uint8]) -> bytes:
    """SHA-256 of the shape and the pixels of an image: equal for exact copies alone."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


def blurred(thumbnails: NDArray[np.float32], width: float = 1.5) -> NDArray[np.float32]:
    """Thumbnails smoothed by a Gaussian.

    Args:
        thumbnails: (num_images, 32, 32) float32.
        width: of the Gaussian, standard deviation in pixels.

    Returns:
        The same shape.
    """
    weights = _gaussian(width)
    return np.asarray(weights @ thumbnails @ weights.T)


def fine_structure(thumbnails: NDArray[np.float32]) -> NDArray[np.float32]:
    """What smoothing takes away: edges and texture, without light and shade.

    Args:
        thumbnails: (num_images, 32, 32) float32.

    Returns:
        The same shape, about 0 where the image is smooth.
    """
    return np.asarray(thumbnails - blurred(thumbnails))


@lru_cache(maxsize=8)
def _gaussian(width: float) -> NDArray[np.float32]:
    steps = np.arange(THUMBNAIL_SIDE)
    weights = np.exp(-0.5 * ((steps[:, None] - steps) / width) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
