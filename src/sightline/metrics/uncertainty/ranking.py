"""How well probabilities put the images of a class before all others: the area under the ROC curve, its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue
from sightline.metrics.classification import checked_array
from sightline.metrics.grouped import checked_groups, design_effect, quantile_of
from sightline.metrics.intervals import USUAL_LEVEL, wilson_bounds


class Ranking:
    """The area under the ROC curve of one class against all others, as a mean over several classes.

    It is the chance that of two images, one of the class and one not, the first has the higher probability; ties count
    half. A class that no image is of, or all are, has none and is left out.

    Attributes:
        value: in [0, 1], 0.5 where probabilities say nothing; NaN where no class has one.

    Source:
        Hanley and McNeil, The Meaning and Use of the Area under a ROC Curve, Radiology 143 (1982); its variance:
        DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988), for groups Obuchowski, Biometrics 53 (1997).

    Example:
        >>> found = Ranking([([0.1, 0.4, 0.35, 0.8] * 25, [False, False, True, True] * 25)])
        >>> found.value, [round(bound, 2) for bound in found.interval()]
        (0.75, [0.64, 0.84])
    """

    def __init__(self, classes: Iterable[tuple[ArrayLike, ArrayLike]]) -> None:
        """Rank the images of each class.

        Args:
            classes: of each, (num_images,) probabilities, and (num_images,) bool, which images are of it.

        Raises:
            InvalidValue: no class, or arrays of other types, lengths or shapes.
        """
        areas, smallest, influences, num_misplaced = [], [], np.empty(0), 0
        for probabilities, is_of_class in classes:
            scores, is_of = _checked(probabilities, is_of_class)
            counts = int(is_of.sum()), int((~is_of).sum())
            # One sum for all: of a thousand classes, the influences of each would take more than their probabilities.
            influences = influences if len(influences) else np.zeros(len(is_of))
            if min(counts) == 0:
                continue
            places = _places(scores, is_of)
            area = float(places[is_of].mean())
            areas.append(area)
            smallest.append(min(counts))
            num_misplaced = max(num_misplaced, min(int((places[part] < 1).sum()) for part in (is_of, ~is_of)))
            for part, count in zip((is_of, ~is_of), counts, strict=True):
                influences[part] += (places[part] - area) / math.sqrt(count * max(count - 1, 1))
        if not len(influences):
            raise InvalidValue("classes must name at least one; got none.")
        self.value = float(np.mean(areas)) if areas else math.nan
        self._influences = influences / max(len(areas), 1)
        self._least = len(areas) ** 2 / sum(1 / count for count in smallest) if areas else 0.0
        self._num_misplaced = num_misplaced

    def interval(self, groups: ArrayLike | None = None, *, confidence: float = USUAL_LEVEL) -> tuple[float, float]:
        """Interval in which the true area lies: Wilson's, for the number of images that would tell as much of a share.

        Args:
            groups: (num_images,) names or numbers, what hangs together; None: each image for itself.
            confidence: in (0, 1).

        Returns:
            Lower and upper bound, each in [0, 1]; NaN where there is no area.
        """
        numbers = checked_groups(groups, len(self._influences))
        quantile = quantile_of(numbers, confidence)
        if math.isnan(self.value):
            return math.nan, math.nan
        if math.isinf(quantile):
            return 0.0, 1.0
        variance = float((self._influences**2).sum())
        # Drawn towards the least that there can be, one image of the rarer side a pair: see `design_effect`.
        seen = variance / (self.value * (1 - self.value)) if 0 < self.value < 1 else 0.0
        number = (self._num_misplaced + 1) / (self._num_misplaced * seen + 1 / self._least)
        if numbers is not None:
            number /= design_effect(self._influences, numbers, num_rarer=self._num_misplaced)
        return wilson_bounds(self.value, number, quantile)


def _places(scores: NDArray[np.float64], is_of: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(num_images,) of each image of the class the share of others below it, of each other that of the class above."""
    inside, outside = np.sort(scores[is_of]), np.sort(scores[~is_of])
    places = np.empty(len(scores))
    for part, ranked, turned in ((is_of, outside, False), (~is_of, inside, True)):
        below = np.searchsorted(ranked, scores[part], "left") + np.searchsorted(ranked, scores[part], "right")
        share = below / (2 * len(ranked))
        places[part] = 1 - share if turned else share
    return places


def _checked(probabilities: ArrayLike, is_of_class: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    scores = checked_array(probabilities, name="probabilities", kinds="iuf", content="numbers")
    is_of = checked_array(is_of_class, name="is_of_class", kinds="b", content="True and False")
    if scores.ndim != 1 or len(scores) < 1 or scores.shape != is_of.shape or not np.isfinite(scores).all():
        raise InvalidValue(
            "probabilities and is_of_class must have shape (num_images,), of the same images and finite; got shapes "
            f"{scores.shape} and {is_of.shape}."
        )
    return scores.astype(np.float64), is_of
