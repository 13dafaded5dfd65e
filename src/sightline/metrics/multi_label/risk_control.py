"""Sets of labels that miss no larger share of what is in an image, on average, than was promised."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue
from sightline.metrics.conformal import exact_level, fewest_rows
from sightline.metrics.multi_label.counting import checked_flags

# Sums of thirds and sevenths are exact to less than this.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Misses:
    """What calibration images say of missed labels, as far as a promise needs it.

    Attributes:
        margins: (num_given,) float64, ascending: how far above its threshold each given label of each image lies.
        shares: (num_given,) float64: one over the number of labels of its image.
        num_rows: images, those without a label, of which none can be missed, among them.
    """

    margins: NDArray[np.float64]
    shares: NDArray[np.float64]
    num_rows: int


def misses_of(margins: ArrayLike, given: ArrayLike) -> Misses:
    """What is kept of calibration images.

    Args:
        margins: (num_images, num_classes) finite: how far above its threshold each label lies.
        given: (num_images, num_classes) of 0 and 1.
    """
    table, flags = np.asarray(margins, np.float64), checked_flags(given, name="labels")
    images, labels = np.nonzero(flags)
    found, shares = table[images, labels], 1 / flags.sum(axis=1)[images]
    order = np.argsort(found, kind="stable")
    return Misses(found[order], shares[order], len(table))


def least_margin(misses: Misses, coverage: float) -> float:
    """The margin from which on labels are in a set, so that it holds `coverage` of the labels of an image on average.

    Of an image, the share of its labels that its set lacks is its loss, 0 where it has no label; it falls as the
    margin falls. With n calibration images whose mean loss is R, the largest margin is taken for which
    (n R + 1) / (n + 1) is at most 1 - coverage: then the loss of a new image like these, expected over the draw of
    both, is at most 1 - coverage.

    Args:
        misses: see `misses_of`.
        coverage: in (0, 1): 0.9 lets a tenth be missed.

    Returns:
        A number, infinity where nothing has to be in a set, as all images but few have no label.

    Raises:
        InvalidValue: the coverage is out of range, or there are too few images for it.

    Source:
        Angelopoulos, Bates, Fisch, Lei, Schuster, Conformal Risk Control, ICLR (2024).

    Example:
        >>> found = misses_of([[1.0, -2.0], [3.0, 0.5]] * 10, [[1, 1], [1, 0]] * 10)
        >>> least_margin(found, 0.7), least_margin(found, 0.9)
        (1.0, -2.0)
    """
    level, least = exact_level(coverage), fewest_rows(coverage)
    if misses.num_rows < least:
        raise InvalidValue(
            f"a coverage of {float(level)} needs at least {least:,} calibration images; there are {misses.num_rows:,}."
        )
    allowed = float((1 - level) * (misses.num_rows + 1) - 1)
    # What is lost if all below a margin is missed, from the lowest margin up: the first of equal ones counts.
    lost = np.concatenate([[0.0], np.cumsum(misses.shares)])
    margins = np.append(misses.margins, math.inf)
    lost = lost[np.searchsorted(margins, margins, side="left")]
    return float(margins[np.flatnonzero(lost <= allowed + _ROUNDING)[-1]])
