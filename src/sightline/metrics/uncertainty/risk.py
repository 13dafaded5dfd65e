"""The interval of the area under the risk-coverage curve: how sure it is that the surest answers are the right ones."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.metrics.grouped import checked_groups, design_effect, quantile_of
from sightline.metrics.intervals import USUAL_LEVEL, student_t_quantile, wilson_bounds
from sightline.metrics.selective import checked_answers, risk_coverage

# Degrees of freedom of a wrong image, settled by simulation: influences have long tails, so that their squares vary
# more than those of normal values, of which each would be one.
_DEGREES: Final = 0.3


def risk_coverage_area_interval(
    certainties: ArrayLike, is_right: ArrayLike, groups: ArrayLike | None = None, *, confidence: float = USUAL_LEVEL
) -> tuple[float, float]:
    """Interval in which the true area under the risk-coverage curve lies.

    It is Wilson's with Student's t, for the number of images that would tell as much of a share. What is seen of the
    variance is drawn towards that of a share of wrong answers, as if one wrong image more had shown that: without a
    mistake nothing is known of where mistakes would lie, and of one that is no surer than others the area is the share.

    Args:
        certainties: (num_images,) finite, higher being surer; at least 1.
        is_right: (num_images,) bool.
        groups: (num_images,) names or numbers, what hangs together; None: each image for itself.
        confidence: in (0, 1).

    Returns:
        Lower and upper bound, each in [0, 1]; of a single group nothing is known but that.

    Raises:
        InvalidValue: not one finite number, one bool and one group for each image, or the confidence is out of range.

    Source:
        Wilson's interval on an effective number of images, as in Korn and Graubard, Survey Methodology 24 (1998); the
        variance by influence functions, Hampel, JASA 69 (1974); Satterthwaite, Biometrics Bulletin 2 (1946).

    Example:
        >>> sure, is_right = np.arange(400), np.arange(400) >= 20
        >>> lower, upper = risk_coverage_area_interval(sure, is_right)
        >>> round(lower, 4), round(upper, 4)
        (0.0005, 0.0038)
    """
    sure, right = checked_answers(certainties, is_right)
    numbers, num_images = checked_groups(groups, len(sure)), len(sure)
    quantile = quantile_of(numbers, confidence)
    if math.isinf(quantile):
        return 0.0, 1.0
    area, influences = float(risk_coverage(sure, right).mean()), _influences(sure, right)
    num_rarer = min(int(right.sum()), int((~right).sum()))
    seen = float((influences**2).sum()) / num_images**2 / (area * (1 - area)) if 0 < area < 1 else 0.0
    number = (num_rarer + 1) / (num_rarer * seen + 1 / num_images)
    if num_rarer and seen:
        # Satterthwaite's: of the variance, what is seen is as sure as few wrong images make it, the rest is assumed.
        degrees = _DEGREES * num_rarer * (1 + 1 / (num_images * num_rarer * seen)) ** 2
        quantile = max(quantile, student_t_quantile(confidence, degrees=max(2, math.floor(degrees))))
    if numbers is not None:
        number /= design_effect(influences, numbers, num_rarer=num_rarer)
    return wilson_bounds(area, number, quantile)


def _influences(sure: NDArray[np.float64], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(num_images,) what each image adds to the area, their sum 0.

    A wrong one adds to the risk of all shares from its own rank on. Any image that is answered makes the share of the
    wrong ones that are as sure or less smaller, by what these weigh at their ranks.
    """
    ranks = np.arange(1, len(sure) + 1)
    _, blocks, sizes = np.unique(-sure, return_inverse=True, return_counts=True)
    starts, num_wrong = np.cumsum(sizes) - sizes, np.bincount(blocks, weights=~right)
    from_rank_on = np.cumsum((1 / ranks)[::-1])[::-1]
    # Of images that are equally sure, the mean over all their orders.
    added = np.add.reduceat(from_rank_on, starts) / sizes
    weighed = np.cumsum((num_wrong * np.add.reduceat(1 / ranks, starts) / sizes)[::-1])[::-1]
    influences = np.where(right, 0.0, added[blocks]) - weighed[blocks]
    result: NDArray[np.float64] = influences - influences.mean()
    return result
