"""A map drawn over its image: orange where it speaks for the class, blue where it speaks against it, grey where 0."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Told apart by who sees no red or no green, too, and on light and dark ground.
FOR: Final = (240, 120, 0)
AGAINST: Final = (30, 110, 220)
SIDE: Final = 224
"""Longest side of a drawn image in pixels, about."""
_STRONGEST = 0.85


def drawn_size(image: NDArray[np.uint8], *, side: int = SIDE) -> tuple[int, int]:
    """(height, width) in which an image is drawn: a small one in whole squares, a large one reduced."""
    height, width = image.shape[:2]
    longest = max(height, width)
    if longest <= side:
        return height * (side // longest), width * (side // longest)
    return max(1, round(height * side / longest)), max(1, round(width * side / longest))


def drawn(image: NDArray[np.uint8], *, side: int = SIDE) -> NDArray[np.uint8]:
    """An image (height, width, channels) at the size in which it is drawn."""
    height, width = drawn_size(image, side=side)
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    is_small = max(image.shape[:2]) <= side
    picture = picture.resize((width, height), Image.Resampling.NEAREST if is_small else Image.Resampling.LANCZOS)
    pixels: NDArray[np.uint8] = np.asarray(picture, np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def overlay(image: NDArray[np.uint8], values: NDArray[np.float64], *, scale: float) -> NDArray[np.uint8]:
    """An image in grey with a map over it in colours.

    Args:
        image: (height, width, channels), as it is drawn.
        values: (height, width), the map, one value a pixel.
        scale: the value, whatever its sign, at which colours are strongest: the same for all images that are looked at
            together.

    Returns:
        (height, width, 3) uint8.
    """
    grey = image.astype(np.float64).mean(axis=2, keepdims=True)
    strength = np.clip(np.abs(values) / scale, 0, 1)[:, :, None] * _STRONGEST
    colors = np.where(values[:, :, None] > 0, np.array(FOR, np.float64), np.array(AGAINST, np.float64))
    return np.asarray(np.rint(grey * (1 - strength) + colors * strength), np.uint8)
