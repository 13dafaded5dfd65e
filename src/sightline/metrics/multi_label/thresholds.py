"""From which logit on a label is said: chosen on rows that nothing else is asked of, where there are enough of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.metrics.grouped import checked_groups
from sightline.metrics.multi_label.counting import checked_flags

# With fewer images that have a label, or lack it, the best threshold of this draw says little of the next.
FEWEST_OF_A_LABEL = 10
_NUM_DRAWS = 25


@dataclass(frozen=True, eq=False)
class Thresholds:
    """From which logits on labels are said.

    Attributes:
        values: (num_classes,) float64, the best of each; 0 where there are too few images to tell.
        are_chosen: (num_classes,) bool, which of them are better than the usual ones beyond chance.
        num_images: that chose.
    """

    values: NDArray[np.float64]
    are_chosen: NDArray[np.bool_]
    num_images: int


def choose_thresholds(
    logits: ArrayLike,
    given: ArrayLike,
    groups: NDArray[np.str_] | None = None,
    *,
    usual: NDArray[np.float64] | float = 0.0,
) -> Thresholds:
    """Of each label the threshold with the best F1, the median of those of 25 draws of the images.

    One draw alone would follow what chance put near the best place. It is chosen where the best of a draw is better
    than the usual one on the images that this draw left out, beyond chance; and where at least 10
    images (or groups of images) have the label, and lack it.

    Args:
        logits: (num_images, num_classes) finite numbers.
        given: (num_images, num_classes) of 0 and 1.
        groups: (num_images,) what is drawn together; None: each image by itself.
        usual: (num_classes,) or one for all, what stays where nothing is chosen: an even chance.

    Source:
        Lipton, Elkan, Naryanaswamy, Optimal Thresholding of Classifiers to Maximize F1, ECML (2014); the draws are
        those of Breiman, Bagging Predictors (1996).

    Example:
        >>> logits = np.repeat([[-3.0], [-1.0], [1.0]], 20, axis=0)
        >>> choose_thresholds(logits, np.repeat([[0], [1], [1]], 20, axis=0)).values.tolist()
        [-2.0]
    """
    table, flags = np.asarray(logits, np.float64), checked_flags(given, name="labels")
    numbers = checked_groups(groups, len(table))
    units = np.arange(len(table)) if numbers is None else numbers
    count = int(units.max()) + 1
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=_NUM_DRAWS)[:, units]
    values, are_chosen = np.zeros(table.shape[1]), np.zeros(table.shape[1], bool)
    before = np.broadcast_to(usual, values.shape)
    for label, is_of in enumerate(flags.T):
        if min(len(np.unique(units[part])) for part in (is_of, ~is_of)) < FEWEST_OF_A_LABEL:
            continue
        scores = table[:, label]
        best = np.array([_best(scores, is_of, weights) for weights in draws])
        values[label] = float(np.median(best))
        gains = np.array(
            [
                _f1(scores[left] >= threshold, is_of[left]) - _f1(scores[left] >= before[label], is_of[left])
                for threshold, left in zip(best, draws == 0, strict=True)
            ]
        )
        # A draw leaves out 37 % of the images: of all, one standard deviation is 1.65 standard errors, a level of 5 %.
        are_chosen[label] = gains.mean() > gains.std()
    return Thresholds(values, are_chosen, len(table))


def _f1(said: NDArray[np.bool_], is_of: NDArray[np.bool_]) -> float:
    return float(2 * (said & is_of).sum() / max(said.sum() + is_of.sum(), 1))


def _best(scores: NDArray[np.float64], is_of: NDArray[np.bool_], weights: NDArray[np.int64]) -> float:
    """Half way between the last logit that is above the best threshold and the first below it."""
    order = np.argsort(-scores, kind="stable")
    ranked, drawn = scores[order], weights[order]
    hits, said = np.cumsum(drawn * is_of[order]), np.cumsum(drawn)
    f1 = 2 * hits / np.maximum(said + hits[-1], 1)
    # Between equal logits there is no threshold.
    f1[:-1][ranked[:-1] == ranked[1:]] = -1
    best = int(f1.argmax())
    following = ranked[best + 1] if best + 1 < len(ranked) else ranked[best]
    return float((ranked[best] + following) / 2)
