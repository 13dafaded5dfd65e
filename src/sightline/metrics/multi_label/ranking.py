"""Average precision: how well images that have a label come before those that have not, whatever the threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue
from sightline.metrics.grouped import checked_groups
from sightline.metrics.multi_label.counting import checked_flags, influence_interval


@dataclass(frozen=True, eq=False)
class AveragePrecisions:
    """Average precisions of the labels of some images.

    Attributes:
        values: (num_classes,) in [0, 1]; NaN of a label that no image has.
        influences: (num_images, num_classes) what each image adds to each; 0 where there is none.
        given: (num_images, num_classes) bool.
        groups: (num_images,) what hangs together; None: each image stands alone.
    """

    values: NDArray[np.float64]
    influences: NDArray[np.float64]
    given: NDArray[np.bool_]
    groups: NDArray[np.str_] | None = None

    @property
    def mean(self) -> float:
        """Over the labels that occur; NaN where none does."""
        occurs = ~np.isnan(self.values)
        return float(self.values[occurs].mean()) if occurs.any() else math.nan

    def mean_interval(self, *, confidence: float = 0.95) -> tuple[float, float]:
        """Of the mean; see `sightline.metrics.multi_label.counting.influence_interval`."""
        occurs = ~np.isnan(self.values)
        if not occurs.any():
            return math.nan, math.nan
        has = np.asarray(self.given.any(axis=1))
        return influence_interval(
            self.mean,
            self.influences[:, occurs].mean(axis=1),
            checked_groups(self.groups, len(self.given)),
            touched=(has, np.ones(len(has), bool)),
            counted=np.ones(len(has), bool),
            level=confidence,
        )


def average_precisions(
    logits: ArrayLike, given: ArrayLike, groups: NDArray[np.str_] | None = None
) -> AveragePrecisions:
    """The average precision of each label: of the images that have it, the mean share that have it of those before.

    Images of one logit stand side by side: none of them is before another.

    Args:
        logits: (num_images, num_classes) finite numbers, or probabilities.
        given: (num_images, num_classes) of 0 and 1.
        groups: (num_images,) what hangs together; None: each image stands alone.

    Source:
        Zhu, Recall, Precision and Average Precision, University of Waterloo (2004).

    Example:
        >>> average_precisions([[0.9], [0.8], [0.1]], [[1], [0], [1]]).values.round(4).tolist()
        [0.8333]
    """
    table, flags = np.asarray(logits, np.float64), checked_flags(given, name="labels")
    if table.shape != flags.shape:
        raise InvalidValue(f"logits and labels must be of one shape; got {table.shape} and {flags.shape}.")
    if not np.isfinite(table).all():
        raise InvalidValue("logits must be finite; got NaN or infinity.")
    found = [_one(column, is_of) for column, is_of in zip(table.T, flags.T, strict=True)]
    return AveragePrecisions(
        np.array([value for value, _ in found]), np.stack([each for _, each in found], axis=1), flags, groups
    )


def _one(scores: NDArray[np.float64], is_of: NDArray[np.bool_]) -> tuple[float, NDArray[np.float64]]:
    """The average precision of one label, and what each image adds to it."""
    count = int(is_of.sum())
    if not count:
        return math.nan, np.zeros(len(scores))
    order = np.argsort(-scores, kind="stable")
    ranked, sorted_scores = is_of[order].astype(np.float64), scores[order]
    # Of each image, the last one that is as high: what is equal is counted together.
    last = np.searchsorted(-sorted_scores, -sorted_scores, side="right") - 1
    hits, seen = np.cumsum(ranked)[last], (last + 1).astype(np.float64)
    precision = hits / seen
    value = float((ranked * precision).sum() / count)
    # By how much the value grows with the weight of an image: its own term, and what it changes of all that do not
    # stand before it.
    first = np.searchsorted(-sorted_scores, -sorted_scores, side="left")
    slopes = [np.cumsum((ranked * part)[::-1])[::-1][first] for part in (1 / seen, hits / seen**2)]
    influences = np.empty(len(scores))
    influences[order] = (ranked * precision + ranked * slopes[0] - slopes[1] - ranked * value) / count
    return value, influences
