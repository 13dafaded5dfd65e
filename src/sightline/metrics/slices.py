"""Parts of the judged images on which answers are wrong more often than on the rest, and whether that is chance."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue
from sightline.metrics.classification import checked_array, checked_count
from sightline.metrics.grouped import checked_groups, effective_number, quantile_of
from sightline.metrics.intervals import USUAL_LEVEL, checked_confidence, wilson_bounds
from sightline.metrics.significance import holm, square_and_add

FEWEST_IMAGES: Final = 30
"""Of a smaller part, and against a smaller rest, nothing is said."""
SIGNIFICANCE: Final = 0.05
"""Adjusted p-value from which a part is called worse: of sources alike everywhere, at most one in twenty has one."""


@dataclass(frozen=True)
class Slice:
    """How one part of the images stands against the rest.

    Attributes:
        name: "class cat", "brightness: lowest quarter".
        num_images: in it.
        num_wrong: of them.
        rest_images: all others.
        rest_wrong: of them.
        interval: of the difference of both shares, at the level that was asked for.
        p_value: of so many wrong ones or more, were they spread at random; one-sided.
        adjusted: the same where one looks at all these parts at once (Holm).
    """

    name: str
    num_images: int
    num_wrong: int
    rest_images: int
    rest_wrong: int
    interval: tuple[float, float]
    p_value: float
    adjusted: float

    @property
    def error(self) -> float:
        """Share of wrong answers in it."""
        return self.num_wrong / self.num_images

    @property
    def rest_error(self) -> float:
        """Share of wrong answers in the rest."""
        return self.rest_wrong / self.rest_images

    @property
    def excess(self) -> float:
        """How much larger the share is than that of the rest."""
        return self.error - self.rest_error

    @property
    def is_worse(self) -> bool:
        """Whether that is more than chance explains."""
        return self.adjusted <= SIGNIFICANCE

    def figures(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "name": self.name,
            "num_images": self.num_images,
            "num_wrong": self.num_wrong,
            "error": self.error,
            "rest_images": self.rest_images,
            "rest_error": self.rest_error,
            "excess": self.excess,
            "excess_interval": list(self.interval),
            "p_value": self.p_value,
            "adjusted_p_value": self.adjusted,
            "is_worse": self.is_worse,
        }


def judge_slices(
    wrong: ArrayLike,
    members: Mapping[str, ArrayLike],
    groups: ArrayLike | None = None,
    *,
    level: float = USUAL_LEVEL,
) -> tuple[Slice, ...]:
    """Each part of at least 30 images against all others, the surest to be worse first.

    Args:
        wrong: (num_images,) bool, which answers are wrong.
        members: name to (num_images,) bool, which images are in it; how they were chosen must not have asked which
            answers are wrong.
        groups: (num_images,) names of what hangs together, which counts as less; None: each image for itself. Of a
            single group no part can be told from the rest: its p-value is 1 and its interval everything.
        level: of the intervals, in (0, 1).

    Raises:
        InvalidValue: not bool, of unequal length, or a level that is none.

    Source:
        Fisher's exact test, one-sided; Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian
        Journal of Statistics 6 (1979); the interval is Newcombe's, Statistics in Medicine 17 (1998), method 10.

    Example:
        >>> wrong = np.arange(400) % 20 == 0
        >>> wrong[:40] = np.arange(40) % 2 == 0
        >>> (found,) = judge_slices(wrong, {"the first": np.arange(400) < 40})
        >>> found.num_wrong, found.is_worse
        (20, True)
    """
    array = _checked(wrong, "wrong")
    masks = {name: _checked(mask, f"members of {name!r}") for name, mask in members.items()}
    if uneven := [name for name, mask in masks.items() if mask.shape != array.shape]:
        raise InvalidValue(f"members of {uneven[0]!r} must have a row an image, {len(array):,}.")
    numbers = checked_groups(groups, len(array))
    quantile = quantile_of(numbers, checked_confidence(level, name="level"))
    effect = 1.0 if numbers is None else max(len(array) / effective_number(~array, numbers), 1.0)
    counts = {name: (int(mask.sum()), int(array[mask].sum())) for name, mask in masks.items()}
    kept = {name: count for name, count in counts.items() if FEWEST_IMAGES <= count[0] <= len(array) - FEWEST_IMAGES}
    if not kept:
        return ()
    total, all_wrong = len(array), int(array.sum())
    p_values = [_p_value(count, (total, all_wrong), effect) for count in kept.values()]
    found = [
        Slice(
            name, count, hits, total - count, all_wrong - hits,
            _difference((hits, count), (all_wrong - hits, total - count), effect, quantile), p_value, float(adjusted),
        )
        for (name, (count, hits)), p_value, adjusted in zip(kept.items(), p_values, holm(p_values), strict=True)
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda one: (one.adjusted, one.p_value, -one.excess)))


def fisher_greater(hits: int, count: int, all_hits: int, total: int) -> float:
    """How probable so many hits or more are among `count` of `total` images of which `all_hits` are hits.

    Args:
        hits: in the part.
        count: images of the part, at most `total`.
        all_hits: everywhere, at least `hits`.
        total: at least 1.

    Source:
        The upper tail of the hypergeometric distribution, which is Fisher's exact test (1935).

    Example:
        >>> round(fisher_greater(3, 4, 4, 8), 4)
        0.2429
    """
    total = checked_count(total, name="total", at_least=1)
    if not (0 <= count <= total and 0 <= all_hits <= total and 0 <= hits <= min(count, all_hits)):
        raise InvalidValue(f"hits must be at most {min(count, all_hits)} of {count} and {all_hits}; got {hits}.")
    if hits <= max(0, count + all_hits - total):
        return 1.0
    logs = _log_factorials(total)
    tail = np.arange(hits, min(count, all_hits) + 1)

    def chosen(whole: int, part: Any) -> Any:
        return logs[whole] - logs[part] - logs[whole - part]

    terms = chosen(all_hits, tail) + chosen(total - all_hits, count - tail) - chosen(total, count)
    return min(1.0, float(np.exp(terms).sum()))


@functools.lru_cache(maxsize=8)
def _log_factorials(largest: int) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, largest + 1)))])


def _p_value(part: tuple[int, int], whole: tuple[int, int], effect: float) -> float:
    """Of images that hang together, as many fewer are counted as they tell less, rounded to the safe side."""
    (count, hits), (total, all_hits) = part, whole
    if effect == 1:
        return fisher_greater(hits, count, all_hits, total)
    counted, everywhere = math.floor(hits / effect), max(math.floor(total / effect), 1)
    size = min(max(math.ceil(count / effect), counted), everywhere)
    # The rest has the share of wrong ones that it has, of fewer images.
    others = min(math.ceil((all_hits - hits) / effect), everywhere - size)
    return fisher_greater(counted, size, counted + others, everywhere)


def _difference(part: tuple[int, int], rest: tuple[int, int], effect: float, quantile: float) -> tuple[float, float]:
    if math.isinf(quantile):
        return -1.0, 1.0
    (one, one_bounds), (other, other_bounds) = (
        (hits / count, wilson_bounds(hits / count, count / effect, quantile)) for hits, count in (part, rest)
    )
    below = square_and_add(one - one_bounds[0], other_bounds[1] - other, 0.0)
    above = square_and_add(one_bounds[1] - one, other - other_bounds[0], 0.0)
    return max(-1.0, one - other - below), min(1.0, one - other + above)


def _checked(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    array = checked_array(values, name=name, kinds="b", content="True and False")
    if array.ndim != 1 or not len(array):
        raise InvalidValue(f"{name} must have shape (num_images,) with at least 1 image; got shape {array.shape}.")
    return np.asarray(array)
