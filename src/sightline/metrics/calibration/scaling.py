"""A factor and a shift for the logits of each class, where classes differ in how far their confidences are off."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue
from sightline.metrics.calibration.temperature import fit_temperature
from sightline.metrics.classification import checked_labels, checked_table
from sightline.metrics.grouped import checked_groups
from sightline.metrics.intervals import USUAL_LEVEL, student_t_quantile

# Before any image was seen: the factor of a class is mostly within 0.25 of 1, its shift within 1 of 0.
FACTOR_DEVIATION, SHIFT_DEVIATION = 0.25, 1.0
# Of every class so many images, or groups of images, have to be there.
FEWEST_OF_A_CLASS = 30
# What is fitted has room for so many logits, a minute's work.
MOST_LOGITS = 10_000_000
_NUM_FOLDS = 5
# The curvature holds squares of logits beside the penalties: of larger ones, float64 would lose these.
LARGEST_LOGIT = 10_000
_Pair = tuple[NDArray[np.float64], NDArray[np.float64]]


def fit_scaling(logits: ArrayLike, labels: ArrayLike) -> _Pair:
    """The factor and the shift of each class that make softmax(factors * logits + shifts, at its temperature) fit best.

    Logits divided by their temperature T (see `fit_temperature`) are multiplied by a factor a class and shifted: what
    is minimised is the sum over images of -log softmax((factors * logits + shifts) / T)[label], plus
    ((factor - 1) / 0.25)^2 / 2 and (shift / T)^2 / 2 of each class. So a class of which little is known keeps its
    logits, and what all classes have in common is left to the temperature. Unlike a temperature, this may change which
    class is the most probable one.

    Args:
        logits: (num_images, num_classes) numbers, at most 10,000 in size; at least 1 image and 2 classes.
        labels: (num_images,) integers in [0, num_classes).

    Returns:
        Factors and shifts, each (num_classes,), of the logits as they are: factors * logits + shifts.

    Raises:
        InvalidValue: logits or labels have a wrong type, shape or range.

    Source:
        Guo et al., On Calibration of Modern Neural Networks, ICML (2017), where it is called vector scaling; the
        penalty is ours.

    Example:
        >>> factors, shifts = fit_scaling([[2.0, 0.0], [0.0, 2.0]] * 500, [1, 1, 0, 1] * 250)
        >>> bool(shifts[1] - shifts[0] > 0.5)
        True
    """
    table = checked_table(logits, name="logits")
    rows = checked_labels(labels, num_images=table.shape[0], num_classes=table.shape[1])
    if np.abs(table).max() > LARGEST_LOGIT:
        raise InvalidValue(f"logits must be at most {LARGEST_LOGIT:,} in size; got {np.abs(table).max():g}.")
    temperature = fit_temperature(table, rows)
    changes = _Penalised(table / temperature, rows).minimum()
    return 1 + changes[0], temperature * changes[1]


@dataclass(frozen=True, eq=False)
class ScalingChoice:
    """Whether classes get a factor and a shift of their own, and why.

    Attributes:
        why: in a sentence.
        num_images: that were asked.
        num_groups: of images that hang together; None where each stands alone.
        gain: by how much the cross-entropy of images that were not fitted to is lower than by a temperature alone, in
            nats; None where it was not tried.
        gain_interval: of the gain, at 95 %.
        factors: of the logits of each class; empty where it is not chosen.
        shifts: of the same.
    """

    why: str
    num_images: int
    num_groups: int | None = None
    gain: float | None = None
    gain_interval: tuple[float, float] | None = None
    factors: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    shifts: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @property
    def is_chosen(self) -> bool:
        """Whether there is anything to multiply logits by."""
        return len(self.factors) > 0


def choose_scaling(logits: ArrayLike, labels: ArrayLike, groups: ArrayLike | None = None) -> ScalingChoice:
    """Fit a factor and a shift of each class where that clearly lowers the cross-entropy of images not fitted to.

    Images, or groups of images, are divided into five parts; each part is judged by what the other four give, with a
    factor and a shift of each class and with the temperature alone. It is chosen where the interval of the mean
    difference at 95 %, Student's t over images or groups, lies above 0.

    Args:
        logits: (num_images, num_classes) numbers, finite; at least 1 image and 2 classes.
        labels: (num_images,) integers in [0, num_classes).
        groups: (num_images,) names or numbers, what hangs together; None: each image stands alone.

    Returns:
        The ScalingChoice; not chosen where a class has fewer than 30 images or groups.

    Raises:
        InvalidValue: logits, labels or groups have a wrong type, shape or range.

    Example:
        >>> choose_scaling([[2.0, 0.0]] * 40, [0] * 40).why
        'a class has 0 images, and 30 are needed'
    """
    table = checked_table(logits, name="logits")
    num_images, num_classes = table.shape
    rows = checked_labels(labels, num_images=num_images, num_classes=num_classes)
    numbers = checked_groups(groups, num_images)
    units = np.arange(num_images) if numbers is None else numbers
    num_groups = None if numbers is None else int(numbers.max()) + 1
    of_class = np.unique(np.stack([rows, units]), axis=1)[0]
    fewest = int(np.bincount(of_class, minlength=num_classes).min())
    if fewest < FEWEST_OF_A_CLASS:
        counted = "images" if numbers is None else "groups of images"
        why = f"a class has {fewest} {counted}, and {FEWEST_OF_A_CLASS} are needed"
        return ScalingChoice(why, num_images, num_groups)
    if table.size > MOST_LOGITS or np.abs(table).max() > LARGEST_LOGIT:
        why = (
            f"there are {table.size:,} logits up to {np.abs(table).max():g}, and it is not tried beyond "
            f"{MOST_LOGITS:,} or above {LARGEST_LOGIT:,}"
        )
        return ScalingChoice(why, num_images, num_groups)
    gain, interval = _mean_of_units(_gains(table, rows, units), units)
    if not interval[0] > 0:
        why = "it does not clearly lower the cross-entropy of images that it was not fitted to"
        return ScalingChoice(why, num_images, num_groups, gain, interval)
    why = "it lowers the cross-entropy of images that it was not fitted to"
    return ScalingChoice(why, num_images, num_groups, gain, interval, *fit_scaling(table, rows))


def _gains(table: NDArray[np.float64], rows: NDArray[np.int64], units: NDArray[np.int64]) -> NDArray[np.float64]:
    """(num_images,) by how much less surprising each label is, by what the other parts give."""
    num_units = int(units.max()) + 1
    parts = (np.random.default_rng(0).permutation(num_units) % _NUM_FOLDS)[units]
    gains = np.zeros(len(rows))
    for part in range(_NUM_FOLDS):
        judged = parts == part
        fitted_on = table[~judged], rows[~judged]
        temperature, (factors, shifts) = fit_temperature(*fitted_on), fit_scaling(*fitted_on)
        scaled = table[judged] * factors + shifts
        before, after = (_surprises(one / temperature, rows[judged]) for one in (table[judged], scaled))
        gains[judged] = before - after
    return gains


def _mean_of_units(values: NDArray[np.float64], units: NDArray[np.int64]) -> tuple[float, tuple[float, float]]:
    """The mean, and its interval by Student's t over groups."""
    mean, sizes = float(values.mean()), np.bincount(units)
    excess = np.bincount(units, weights=values) - mean * sizes
    deviation = np.sqrt((excess**2).sum() * len(sizes) / (len(sizes) - 1)) / len(values)
    half = student_t_quantile(USUAL_LEVEL, degrees=len(sizes) - 1) * float(deviation)
    return mean, (mean - half, mean + half)


def _surprises(scaled: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    gaps = scaled - scaled.max(axis=1, keepdims=True)
    surprises: NDArray[np.float64] = np.log(np.exp(gaps).sum(axis=1)) - gaps[np.arange(len(rows)), rows]
    return surprises


class _Penalised:
    """The penalised loss by what is added to the factors and shifts of the classes, a row each: convex and smooth."""

    def __init__(self, table: NDArray[np.float64], rows: NDArray[np.int64]) -> None:
        self.table, self.rows = table, rows
        self.weights = np.array([[FACTOR_DEVIATION**-2], [SHIFT_DEVIATION**-2]])

    def minimum(self) -> NDArray[np.float64]:
        """(2, num_classes), by Newton's method."""
        changes = np.zeros((2, self.table.shape[1]))
        loss, probabilities = self.loss(changes)
        for _ in range(100):
            slope = self.slope(changes, probabilities)
            step = -np.linalg.solve(self._curvature(probabilities), slope.ravel()).reshape(slope.shape)
            decrease, length = float((step * slope).sum()), 1.0
            if decrease > -1e-13 * max(1.0, loss):
                break
            while (found := self.loss(changes + length * step))[0] > loss + 1e-4 * length * decrease and length > 1e-9:
                length /= 2
            changes, (loss, probabilities) = changes + length * step, found
        return changes

    def loss(self, changes: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """With the probabilities that it comes from."""
        scaled = self.table * (1 + changes[0]) + changes[1]
        gaps = scaled - scaled.max(axis=1, keepdims=True)
        weights = np.exp(gaps)
        sums = weights.sum(axis=1, keepdims=True)
        surprises = np.log(sums[:, 0]) - gaps[np.arange(len(self.rows)), self.rows]
        return float(surprises.sum() + (self.weights * changes**2).sum() / 2), weights / sums

    def slope(self, changes: NDArray[np.float64], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """By factor and by shift of each class."""
        surplus = probabilities.copy()
        surplus[np.arange(len(self.rows)), self.rows] -= 1
        return np.stack([(self.table * surplus).sum(axis=0), surplus.sum(axis=0)]) + self.weights * changes

    def _curvature(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """(2 * num_classes, 2 * num_classes): the covariance of what factors and shifts are multiplied by."""
        moved = self.table * probabilities
        both = np.concatenate([moved, probabilities], axis=1)
        curvature: NDArray[np.float64] = -(both.T @ both)
        count = probabilities.shape[1]
        of_both, rows = moved.sum(axis=0), np.arange(count)
        curvature[rows, rows] += (self.table * moved).sum(axis=0) + self.weights[0]
        curvature[rows, rows + count] += of_both
        curvature[rows + count, rows] += of_both
        curvature[rows + count, rows + count] += probabilities.sum(axis=0) + self.weights[1]
        return curvature
