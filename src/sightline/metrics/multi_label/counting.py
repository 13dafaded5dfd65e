"""What was found and missed of each label, and the figures that are shares of such counts, with their intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue
from sightline.metrics.grouped import checked_groups, quantile_of
from sightline.metrics.intervals import wilson_bounds

Kind = Literal["precision", "recall", "f1"]
KINDS: tuple[Kind, ...] = ("precision", "recall", "f1")


def checked_flags(values: ArrayLike, *, name: str) -> NDArray[np.bool_]:
    """(num_images, num_classes) bool of zeros and ones; an InvalidValue of all else."""
    table = np.asarray(values)
    if table.ndim != 2 or not len(table) or not table.shape[1] or table.dtype.kind not in "biu":
        raise InvalidValue(f"{name} must be (num_images, num_classes) of 0 and 1; got {table.dtype} {table.shape}.")
    if table.dtype != np.bool_ and not ((table == 0) | (table == 1)).all():
        raise InvalidValue(f"{name} must be 0 or 1; got {table.min()} to {table.max()}.")
    return np.asarray(table, bool)


def confusions(given: ArrayLike, said: ArrayLike) -> NDArray[np.int64]:
    """(num_classes, 2, 2) counts of each label by itself: row whether it was given, column whether it was said.

    Example:
        >>> confusions([[1, 0], [1, 1]], [[1, 1], [0, 1]]).tolist()
        [[[0, 0], [1, 1]], [[0, 1], [0, 1]]]
    """
    truth, answer = checked_flags(given, name="labels"), checked_flags(said, name="answers")
    if truth.shape != answer.shape:
        raise InvalidValue(f"labels and answers must be of one shape; got {truth.shape} and {answer.shape}.")
    cells = [[(~truth & ~answer), (~truth & answer)], [(truth & ~answer), (truth & answer)]]
    counts = np.array([[cell.sum(axis=0) for cell in row] for row in cells], np.int64)
    return np.moveaxis(counts, 2, 0)


def label_figures(counts: NDArray[np.int64]) -> dict[Kind, NDArray[np.float64]]:
    """(num_classes,) precision, recall and F1 of each label, from its `confusions`.

    NaN where there is nothing to count: precision of a label that was never said, recall and F1 of one that no image
    has.

    Example:
        >>> found = label_figures(confusions([[1, 0], [1, 1]], [[1, 1], [0, 1]]))
        >>> {kind: values.round(3).tolist() for kind, values in found.items()}
        {'precision': [1.0, 0.5], 'recall': [0.5, 1.0], 'f1': [0.667, 0.667]}
    """
    hits, missed, wrong = (counts[:, row, column].astype(np.float64) for row, column in ((1, 1), (1, 0), (0, 1)))
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = hits / (hits + wrong), hits / (hits + missed)
        f1 = np.where(hits + missed > 0, 2 * hits / (2 * hits + missed + wrong), np.nan)
    return {"precision": precision, "recall": recall, "f1": f1}


@dataclass(frozen=True, eq=False)
class LabelRows:
    """Answers beside what is true, of images some of which may hang together.

    Attributes:
        given: (num_images, num_classes) of 0 and 1.
        said: the same shape.
        groups: (num_images,) what hangs together; None: each image stands alone.
    """

    given: NDArray[np.bool_]
    said: NDArray[np.bool_]
    groups: NDArray[np.str_] | None = None

    @property
    def numbers(self) -> NDArray[np.int64] | None:
        """(num_images,) those of the groups, from 0; None where each image stands alone."""
        return checked_groups(self.groups, len(self.given))

    def parts(self, kind: Kind) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(num_images, num_classes) what each image adds above and below the line of the share."""
        hits = (self.given & self.said).astype(np.float64)
        if kind == "precision":
            return hits, self.said.astype(np.float64)
        if kind == "recall":
            return hits, self.given.astype(np.float64)
        return 2 * hits, self.given.astype(np.float64) + self.said


def micro(rows: LabelRows, kind: Kind) -> float:
    """The share over all labels of all images at once; NaN where there is nothing to count.

    Example:
        >>> rows = LabelRows(np.array([[True, False], [True, True]]), np.array([[True, True], [False, True]]))
        >>> round(micro(rows, "f1"), 3)
        0.667
    """
    above, below = (part.sum() for part in rows.parts(kind))
    return float(above / below) if below else math.nan


def macro(rows: LabelRows, kind: Kind) -> float:
    """The mean over the labels that occur; one that was never said counts 0.

    Example:
        >>> rows = LabelRows(np.array([[True, False], [True, True]]), np.array([[True, False], [False, False]]))
        >>> round(macro(rows, "f1"), 3)
        0.333
    """
    occurs = rows.given.any(axis=0)
    above, below = (part.sum(axis=0)[occurs] for part in rows.parts(kind))
    return float(np.mean(above / np.maximum(below, 1))) if occurs.any() else math.nan


def micro_interval(rows: LabelRows, kind: Kind, *, confidence: float = 0.95) -> tuple[float, float]:
    """Of `micro`; see `influence_interval`."""
    above, below = (part.sum(axis=1) for part in rows.parts(kind))
    return _share_interval(above, below, rows.numbers, confidence)


def macro_interval(rows: LabelRows, kind: Kind, *, confidence: float = 0.95) -> tuple[float, float]:
    """Of `macro`; see `influence_interval`."""
    occurs = rows.given.any(axis=0)
    above, below = (part[:, occurs] for part in rows.parts(kind))
    sums = np.maximum(below.sum(axis=0), 1)
    shares = above.sum(axis=0) / sums
    influences = ((above - shares * below) / sums).mean(axis=1)
    touched = np.asarray((above > 0).any(axis=1)), np.asarray((above < below).any(axis=1))
    counted = np.asarray(below.any(axis=1))
    return influence_interval(
        float(shares.mean()), influences, rows.numbers, touched=touched, counted=counted, level=confidence
    )


def label_intervals(rows: LabelRows, kind: Kind, *, confidence: float = 0.95) -> NDArray[np.float64]:
    """(num_classes, 2) bounds of the share of each label; NaN where there is nothing to count."""
    above, below = rows.parts(kind)
    occurs, numbers = np.asarray(rows.given.any(axis=0)), rows.numbers
    found = np.full((above.shape[1], 2), np.nan)
    for label in range(above.shape[1]):
        if below[:, label].any() and (kind != "f1" or occurs[label]):
            found[label] = _share_interval(above[:, label], below[:, label], numbers, confidence)
    return found


def _share_interval(
    above: NDArray[np.float64], below: NDArray[np.float64], numbers: NDArray[np.int64] | None, level: float
) -> tuple[float, float]:
    whole = below.sum()
    if not whole:
        return math.nan, math.nan
    share = float(above.sum() / whole)
    return influence_interval(
        share,
        (above - share * below) / whole,
        numbers,
        touched=(above > 0, above < below),
        counted=below > 0,
        level=level,
    )


def influence_interval(
    value: float,
    influences: NDArray[np.float64],
    numbers: NDArray[np.int64] | None,
    *,
    touched: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    counted: NDArray[np.bool_],
    level: float,
) -> tuple[float, float]:
    """Wilson's interval on the number of images that would tell as much of a share as these do.

    How much a figure varies is seen by what each image, or each group of images, adds to it. Where mistakes are few,
    that is seen badly: it is drawn towards what as many shares of 0 and 1 as there are groups would vary by, as if one
    group more had shown that, so that of no mistake the interval is that of a share without a mistake.

    Args:
        value: in [0, 1].
        influences: (num_images,) what each adds to the value, their sum 0.
        numbers: (num_images,) those of the groups, from 0; None: each image stands alone.
        touched: (num_images,) twice: whether an image speaks for the figure, and whether it speaks against it.
        counted: (num_images,) whether the figure counts an image at all.
        level: of the interval, in (0, 1).

    Source:
        Hampel, The Influence Curve, JASA 69 (1974); Korn and Graubard, Survey Methodology 24 (1998).
    """
    units = np.arange(len(influences)) if numbers is None else numbers
    num_units = len(np.unique(units[counted]))
    num_rarer = min(len(np.unique(units[part & counted])) for part in touched)
    quantile = quantile_of(None if numbers is None else np.unique(units[counted], return_inverse=True)[1], level)
    if num_units == 0 or math.isinf(quantile):
        return 0.0, 1.0
    worst = value * (1 - value) / num_units
    sums = np.bincount(units, weights=influences)
    seen = float((sums**2).sum()) * num_units / max(num_units - 1, 1)
    variance = (num_rarer * seen + worst) / (num_rarer + 1)
    # A figure that is 0 or 1 shows no variance at all, but for what rounding makes of it.
    is_whole = min(value, 1 - value) < 1e-12
    effective = float(num_units) if is_whole or variance <= 0 else value * (1 - value) / variance
    return wilson_bounds(value, effective, quantile)
