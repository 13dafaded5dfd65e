"""What is measured of each image while it is looked at, to be compared with the others of its source."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

MEASURES: Final = ("fineness", "lightest", "white", "structure", "colour")
"""The columns of what is measured of each image, as `appearance` has them."""
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def appearance(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What is measured of an image.

    Args:
        image: (height, width, 1 or 3) uint8.

    Returns:
        (5,) float32, as `MEASURES`: the logarithm of how much finer detail there is than detail of twice its size,
        which blurring lowers whatever is on the picture; the grey level that 1 % of the pixels exceed, 0 to 255; the
        share of pixels that are white; the share that differs from the median by more than 16 levels; the mean
        difference of the highest and the lowest channel, 0 of an image with one.
    """
    is_colour = image.shape[2] == 3
    grey = np.asarray(image @ _LUMA if is_colour else image[:, :, 0], np.float32)
    shares = np.bincount(grey.astype(np.uint8).ravel(), minlength=256).cumsum() / grey.size
    lightest, median = np.searchsorted(shares, (0.99, 0.5)).tolist()
    colour = float((image.max(axis=2).astype(np.int16) - image.min(axis=2)).mean()) if is_colour else 0.0
    structure = float((np.abs(grey - median) > 16).mean())
    return np.array([_fineness(grey, is_colour=is_colour), lightest, 1 - shares[249], structure, colour], np.float32)


def _fineness(grey: NDArray[np.float32], *, is_colour: bool) -> float:
    height, width = grey.shape[0] // 2, grey.shape[1] // 2
    if min(height, width) < 3:
        return 0.0
    half = grey[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean(axis=(1, 3))
    # Whole levels are noise of their own, all that is left of the detail of what is blurred most; of three channels it
    # is less, of four pixels a quarter.
    rounding = (float(np.square(_LUMA).sum()) if is_colour else 1.0) / 12
    # A quarter of a level: an image without any detail is as fine as coarse.
    return float(np.log((_curvature(grey, rounding) + 0.25) / (_curvature(half, rounding / 4) + 0.25)))


def _curvature(grey: NDArray[np.float32], noise: float) -> float:
    """Root mean square of second differences, along rows and columns, less what noise of that variance has."""
    across = grey[:, :-2] - 2 * grey[:, 1:-1] + grey[:, 2:]
    down = grey[:-2] - 2 * grey[1:-1] + grey[2:]
    return float(np.sqrt(max((np.square(across).mean() + np.square(down).mean()) / 2 - 6 * noise, 0)))
