"""How images look beside the others of their source: blurred, dark, over-exposed, nearly empty, grey, of odd size.

What is usual differs from source to source: digits are mostly black, x-rays grey. Nothing here is a limit by itself
alone; what is told of an image stands far from the median of all, and is never a reason to leave it out.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.quality.findings import Finding
from sightline.records import Dataset
from sightline.system.text import counted

FEWEST: Final = 20
"""Of fewer images nobody can say what is usual."""
# Robust standard deviations from the median; the deviation is at least that behind it, since where nearly all
# images are alike in something a hair's breadth would be far.
_FAR = 4.0
_LEAST = {"fineness": 0.08, "lightest": 8.0, "white": 0.05}
_DARK, _WHITE, _EMPTY, _GREY, _COLOURED = 64, 0.5, 0.02, 1.5, 4.0
# Doublings of the number of pixels, and of width to height.
_AREA, _SHAPE = 2.0, 1.0


def appearance_findings(
    dataset: Dataset, measured: NDArray[np.float32], looked: NDArray[np.bool_], sizes: NDArray[np.int64]
) -> list[Finding]:
    """Images that look unlike the rest of their source, a note for each way.

    Args:
        dataset: the rows.
        measured: (num_images, 5) as `sightline.quality.measures.appearance`.
        looked: (num_images,) False for what cannot be read, has a single colour or was told to be of an odd size.
        sizes: (num_images, 2) height and width.
    """
    rows = np.flatnonzero(looked)
    if len(rows) < FEWEST:
        return []
    fine, lightest, white, structure, colour = measured[rows].T
    is_dark = (lightest < _DARK) & _is_below(lightest, "lightest")
    is_light = (white > _WHITE) & _is_above(white, "white")
    is_empty = (structure < _EMPTY) & (4 * structure < np.median(structure)) & ~is_dark & ~is_light
    is_blurred = _is_below(fine, "fineness") & ~is_dark & ~is_light & ~is_empty
    is_grey = colour < _GREY
    # Grey is odd where nearly all are coloured; and of a dark picture nobody can say.
    is_grey &= bool((colour > _COLOURED).mean() >= 0.9) & ~is_dark & ~is_light
    found = (
        ("blurry", is_blurred, "hardly any fine detail for what is on them, beside the others of this source"),
        (
            "dark",
            is_dark,
            f"hardly a pixel above {_DARK} of 255 levels; half of the source reaches {np.median(lightest):.0f}",
        ),
        (
            "over-exposed",
            is_light,
            f"more than half of the pixels white; the median of the source is {np.median(white):.0%}",
        ),
        ("nearly-empty", is_empty, f"less than {_EMPTY:.0%} of the pixels stand out from the rest"),
        ("grey-among-colour", is_grey, "hardly any colour, where nearly all others have it"),
        ("odd-size", _is_odd(sizes[rows]), "far from the usual number of pixels, or from the usual shape"),
    )
    return [
        Finding(
            kind, "note", tuple(dataset.row_ids[rows[mask]].tolist()), f"{counted(int(mask.sum()), 'image')}: {words}"
        )
        for kind, mask, words in found
        if mask.any()
    ]


def _is_below(values: NDArray[np.float32], name: str) -> NDArray[np.bool_]:
    return np.asarray(values < np.median(values) - _FAR * _spread(values, _LEAST[name]))


def _is_above(values: NDArray[np.float32], name: str) -> NDArray[np.bool_]:
    return np.asarray(values > np.median(values) + _FAR * _spread(values, _LEAST[name]))


def _spread(values: NDArray[np.floating], least: float) -> float:
    """The standard deviation by the median distance from the median, which a few odd images do not move."""
    return max(1.4826 * float(np.median(np.abs(values - np.median(values)))), least)


def _is_odd(sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    height, width = np.maximum(sizes, 1).T.astype(np.float64)
    area, shape = np.log2(height * width), np.log2(width / height)
    odd = [
        np.abs(values - np.median(values)) > max(far, _FAR * _spread(values, 0.0))
        for values, far in ((area, _AREA), (shape, _SHAPE))
    ]
    return np.asarray(odd[0] | odd[1])
