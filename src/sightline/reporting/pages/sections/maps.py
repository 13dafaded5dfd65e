"""Maps of a report: which places of its surest wrong answers speak for the class that was named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.reporting.pages.miniatures import Miniature, miniature_of
from sightline.reporting.pages.report_content import text_of
from sightline.reporting.sheets.overlays import overlay

STEPS: Final = 1000
"""Kept maps hold whole numbers, so many for the value at which colours are strongest."""
_MOST_CELLS: Final = 32
_SIDE: Final = 96


def kept_map(spread: NDArray[np.float64], scale: float) -> list[list[int]]:
    """A map (height, width) on an image as it is kept: up to 32 by 32 cells, in parts of the one scale of all maps."""
    size = tuple(min(side, _MOST_CELLS) for side in spread.shape)
    cells = _resized(spread, size)
    return [[int(value) for value in line] for line in np.rint(cells / scale * STEPS).tolist()]


def drawn_map(image: NDArray[np.uint8], values: Any) -> Miniature:
    """An image (height, width, channels) in grey with what was kept of its map over it.

    Raises:
        ValueError, TypeError: what was kept is no table of numbers.
    """
    cells = np.asarray(values, np.float64) / STEPS
    if cells.ndim != 2 or not cells.size or max(cells.shape) > _MOST_CELLS or not np.isfinite(cells).all():
        raise ValueError("a map is no table of numbers")
    return miniature_of(overlay(image, _resized(cells, image.shape[:2]), scale=1), side=_SIDE)


def _resized(values: NDArray[np.float64], size: tuple[int, ...]) -> NDArray[np.float64]:
    picture = Image.fromarray(values.astype(np.float32))
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR), np.float64)


def about_maps(told: Mapping[str, Any]) -> str:
    """What the colours say, as HTML."""
    words = str(told["about"])
    said = f"{words[:1].upper()}{words[1:]}."
    return (
        "<p>Last, the image in grey with a map: orange where it speaks for the class that was named, blue where it "
        f"speaks against it, grey where it says nothing; one scale for all. {text_of(said)}</p>"
    )
