"""Whether a confidence of 0.9 is right nine times in ten: calibration errors, and what chance alone would show.

An error that is measured is never 0: on few images even confidences that come true exactly as often as they say look
wrong. So beside it stands what they would show, by labels drawn from the confidences themselves.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue
from sightline.metrics.classification import checked_array, checked_count
from sightline.metrics.grouped import checked_groups
from sightline.metrics.intervals import USUAL_LEVEL, checked_confidence

NUM_BINS = 15
# A p-value is then a whole number of thousandths.
NUM_DRAWS = 999
# So many labels are drawn at once, a few megabytes.
_MOST_DRAWN = 2**20


def equal_width_error(confidences: ArrayLike, correct: ArrayLike, *, num_bins: int = NUM_BINS) -> float:
    """The expected calibration error: mean distance between how sure answers are and how often they are right.

    0.02 reads: a confidence is off by two percentage points on average. It is biased upwards on few images, and depends
    on the number of bins; compare only equals, and read it beside what `Reliability` expects of chance.

    Args:
        confidences: (num_images,) in [0, 1], at least 1: how sure each answer is.
        correct: (num_images,) bool, which answers are right.
        num_bins: at least 1; bins of equal width, each open below and closed above.

    Returns:
        A number in [0, 1].

    Raises:
        InvalidValue: confidences, answers or num_bins are none, out of range or of unequal length.

    Source:
        Guo et al., On Calibration of Modern Neural Networks, ICML (2017).

    Example:
        >>> equal_width_error([0.75] * 4, [True, True, False, False])
        0.25
    """
    sure, right = checked_answers(confidences, correct)
    return _binned_error(sure, right, bins_of_equal_width(sure, num_bins))


def equal_mass_error(confidences: ArrayLike, correct: ArrayLike, *, num_bins: int = NUM_BINS) -> float:
    """The same distance over bins of as many images each, so that a sure network is not judged by one bin alone.

    Args:
        confidences: (num_images,) in [0, 1], at least 1: how sure each answer is.
        correct: (num_images,) bool, which answers are right.
        num_bins: at least 1; images of one confidence share a bin, so that there may be fewer.

    Returns:
        A number in [0, 1]; less biased than that of bins of equal width, but not without bias.

    Raises:
        InvalidValue: confidences, answers or num_bins are none, out of range or of unequal length.

    Source:
        Nguyen and O'Connor, Posterior Calibration and Exploratory Analysis for NLP Models, EMNLP (2015).

    Example:
        >>> round(equal_mass_error([0.5, 0.6, 0.9, 0.9], [True, True, True, False], num_bins=2), 4)
        0.425
    """
    sure, right = checked_answers(confidences, correct)
    return _binned_error(sure, right, bins_of_equal_mass(sure, num_bins))


def debiased_error(
    confidences: ArrayLike, correct: ArrayLike, groups: ArrayLike | None = None, *, num_bins: int = NUM_BINS
) -> float:
    """The root mean square distance over bins of equal mass, less what chance adds to it; 0 where chance adds all.

    The square of a bin's mean surplus (right or not, less confidence) is what is true plus its variance. The product of
    two images' surpluses has no such part: averaged over all pairs of a bin, it is the square without bias. Of images
    in groups the pairs are of different groups. Where a bin has one confidence, this is the estimate of Broecker,
    of Ferro and Fricker, and of Kumar et al.: the square less accuracy * (1 - accuracy) / (number - 1).

    Args:
        confidences: (num_images,) in [0, 1], at least 1: how sure each answer is.
        correct: (num_images,) bool, which answers are right.
        groups: (num_images,) names or numbers, what hangs together; None: each image stands alone.
        num_bins: at least 1; images of one confidence share a bin.

    Returns:
        A number in [0, 1]; NaN where no bin holds two images of different groups.

    Raises:
        InvalidValue: confidences, answers, groups or num_bins are none, out of range or of unequal length.

    Source:
        Kumar, Liang, Ma, Verified Uncertainty Calibration, NeurIPS (2019); Ferro and Fricker, QJRMS 138 (2012);
        Lee et al., T-Cal, JMLR 24 (2023), for the pairs.

    Example:
        >>> debiased_error([0.75] * 4, [True, True, False, False])
        0.0
        >>> round(debiased_error([0.75] * 400, [True, True, False, False] * 100), 4)
        0.2487
    """
    sure, right = checked_answers(confidences, correct)
    numbers = checked_groups(groups, len(sure))
    bins = bins_of_equal_mass(sure, num_bins)
    # A cell is what one group has in one bin; an image that stands alone is a group.
    cells = np.arange(len(sure)) if numbers is None else bins * (int(numbers.max()) + 1) + numbers
    sums, sizes = _square_sums(bins, cells, right - sure), _square_sums(bins, cells, np.ones(len(sure)))
    has_pairs = sizes > 0.5
    if not has_pairs.any():
        return math.nan
    squares, weights = sums[has_pairs] / sizes[has_pairs], np.bincount(bins)[has_pairs]
    return math.sqrt(max(0.0, float((squares * weights).sum() / weights.sum())))


class Reliability:
    """How sure answers are beside how often they are right, by bins, and what chance alone would show.

    "Perfect" are confidences that come true exactly as often as they say. What they would show is found by consistency
    resampling, when it is first asked for: 999 times, each answer is drawn to be right with the probability that its
    confidence says. Images of one group are drawn to be right together as much as these are, a correlation that is
    drawn towards 1 as if one wrong image more had shown that. The draws depend on the figures alone, so that the same
    figures have the same p-value.

    Attributes:
        counts: (num_bins,) int64, images whose confidence lies in each of the bins of equal width.
        confidences: (num_bins,) their mean confidence; NaN where a bin is empty.
        accuracies: (num_bins,) the share of them that is right; NaN where a bin is empty.
        error: the expected calibration error of these bins.
        num_groups: of images that hang together; None where each stands alone.
        level: how often bounds hold what perfect confidences would show.

    Source:
        Broecker and Smith, Increasing the Reliability of Reliability Diagrams, Weather and Forecasting 22 (2007);
        Vaicenavicius et al., Evaluating Model Calibration in Classification, AISTATS (2019), for the test.

    Example:
        >>> found = Reliability([0.9] * 100, [True] * 70 + [False] * 30)
        >>> round(found.error, 2), found.expected < 0.04, found.p_value
        (0.2, True, 0.001)
    """

    def __init__(
        self,
        confidences: ArrayLike,
        correct: ArrayLike,
        groups: ArrayLike | None = None,
        *,
        level: float = USUAL_LEVEL,
    ) -> None:
        """Count answers by their confidence.

        Args:
            confidences: (num_images,) in [0, 1], at least 1: how sure each answer is.
            correct: (num_images,) bool, which answers are right.
            groups: (num_images,) names or numbers, what hangs together; None: each image stands alone.
            level: in (0, 1).

        Raises:
            InvalidValue: confidences, answers, groups or level are none, out of range or of unequal length.
        """
        sure, right = checked_answers(confidences, correct)
        self.level = checked_confidence(level)
        numbers = checked_groups(groups, len(sure))
        self.num_groups = None if numbers is None else int(numbers.max()) + 1
        # By confidence, so that the order of the images changes no draw, and the images of a bin are neighbours.
        order = np.argsort(sure, kind="stable") if numbers is None else np.lexsort((numbers, sure))
        self._sure, self._right = sure[order], right[order]
        self._numbers = None if numbers is None else numbers[order]
        self._bins = bins_of_equal_width(self._sure, NUM_BINS)
        self._sums_sure, self._sums_right = (
            np.bincount(self._bins, weights=values, minlength=NUM_BINS) for values in (self._sure, self._right)
        )
        self.counts: NDArray[np.int64] = np.bincount(self._bins, minlength=NUM_BINS)
        self.confidences, self.accuracies = self._means(self._sums_sure), self._means(self._sums_right)
        self.error = float(np.abs(self._sums_right - self._sums_sure).sum() / len(sure))

    @property
    def band(self) -> NDArray[np.float64]:
        """(2, num_bins) between which the share that is right would lie were confidences perfect; NaN where empty."""
        return self._means(np.quantile(self._drawn, self._tails, axis=0))

    @property
    def expected(self) -> float:
        """The expected calibration error that perfect confidences would show on these images, on average."""
        return float(self._errors.mean())

    @property
    def expected_interval(self) -> tuple[float, float]:
        """Between which bounds perfect confidences would show it."""
        lower, upper = np.quantile(self._errors, self._tails).tolist()
        return lower, upper

    @property
    def p_value(self) -> float:
        """How often perfect confidences would show an error at least as large."""
        # What is equal may differ by a rounding.
        return (1 + int((self._errors >= self.error - 1e-12).sum())) / (1 + NUM_DRAWS)

    @property
    def chance(self) -> NDArray[np.float64]:
        """(num_draws, num_bins) by what share of all images more are right in each bin than confidences say, drawn."""
        drawn: NDArray[np.float64] = (self._drawn - self._sums_sure) / len(self._sure)
        return drawn

    @property
    def in_words(self) -> str:
        """What to make of the error, in a sentence."""
        num_images = int(self.counts.sum())
        images = f"{num_images:,} image{'s' * (num_images != 1)}"
        if self.num_groups is not None:
            images += f" in {self.num_groups:,} group{'s' * (self.num_groups != 1)}"
        lower, upper = self.expected_interval
        text = (
            f"a perfectly calibrated model would show a calibration error of {self.expected:.4f} "
            f"[{lower:.4f}, {upper:.4f}] on {images}; {self.error:.4f} is "
        )
        if self.error <= upper:
            return f"{text}no more than chance explains (p = {self.p_value:.3f})"
        said, came = float(self._sure.mean()), float(self._right.mean())
        if abs(said - came) < self.error / 2:
            where = "too high in some places and too low in others"
        else:
            direction = "high" if said > came else "low"
            where = f"too {direction}, {said:.4f} on average where {came:.4f} of the answers are right"
        return f"{text}more than chance explains (p = {self.p_value:.3f}): confidences are {where}"

    @property
    def _tails(self) -> list[float]:
        return [(1 - self.level) / 2, (1 + self.level) / 2]

    def _means(self, sums: NDArray[Any]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            means: NDArray[np.float64] = sums / self.counts
        return means

    @functools.cached_property
    def _errors(self) -> NDArray[np.float64]:
        """(num_draws,) what perfect confidences show."""
        errors: NDArray[np.float64] = np.abs(self._drawn - self._sums_sure).sum(axis=1) / len(self._sure)
        return errors

    @functools.cached_property
    def _drawn(self) -> NDArray[np.float64]:
        """(num_draws, num_bins) answers of each bin that are right by chance, counted."""
        random = np.random.default_rng([int(number) for number in (*self.counts, *self._sums_right)])
        together = _together(self._sure, self._right, self._numbers)
        # 24 bits: a confidence within a ten-millionth of 1 is always right here.
        narrow, found = self._sure.astype(np.float32), np.zeros((NUM_DRAWS, NUM_BINS))
        occupied, starts = np.unique(self._bins, return_index=True)
        portion = max(1, _MOST_DRAWN // len(narrow))
        for first in range(0, NUM_DRAWS, portion):
            shape = (min(portion, NUM_DRAWS - first), len(narrow))
            chances = random.random(shape, dtype=np.float32)
            if self._numbers is not None:
                # Two images that both take their group's number instead of their own are right or wrong together.
                of_groups = random.random((shape[0], int(self._numbers.max()) + 1), dtype=np.float32)
                takes_it = random.random(shape, dtype=np.float32) < math.sqrt(together)
                chances = np.where(takes_it, of_groups[:, self._numbers], chances)
            right = chances < narrow
            found[first : first + shape[0], occupied] = np.add.reduceat(right, starts, axis=1, dtype=np.int64)
        return found


def _together(sure: NDArray[np.float64], right: NDArray[np.bool_], numbers: NDArray[np.int64] | None) -> float:
    """How much images of one group are right or wrong together, as a correlation in [0, 1]; 0 without groups."""
    if numbers is None:
        return 0.0
    # Not less their mean: of perfect confidences it is 0, and of few groups it would take what they have in common.
    seen, most = (_pairs_in_groups(values, numbers) for values in (right - sure, np.sqrt(sure * (1 - sure))))
    if most <= 0:
        return 1.0
    num_rarer = min(int(right.sum()), int((~right).sum()))
    return min(1.0, max(0.0, (num_rarer * seen / most + 1) / (num_rarer + 1)))


def _pairs_in_groups(values: NDArray[np.float64], numbers: NDArray[np.int64]) -> float:
    """The sum of products over all pairs of images of one group."""
    return float((np.bincount(numbers, weights=values) ** 2).sum() - (values**2).sum())


def _square_sums(bins: NDArray[np.int64], cells: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each bin, the sum of products over all pairs of images whose cells differ."""
    _, firsts, inverse = np.unique(cells, return_index=True, return_inverse=True)
    within = np.bincount(bins[firsts], weights=np.bincount(inverse, weights=values) ** 2)
    return np.asarray(np.bincount(bins, weights=values) ** 2 - within, np.float64)


def bins_of_equal_width(sure: NDArray[np.float64], num_bins: int = NUM_BINS) -> NDArray[np.int64]:
    """(num_images,) number of each image's bin, from 0; bins between others may be empty."""
    num_bins = checked_count(num_bins, name="num_bins", at_least=1)
    # The inner edges as quotients, so that a confidence of exactly 2/5 falls below the edge 6/15.
    return np.searchsorted(np.arange(1, num_bins) / num_bins, sure, side="left")


def bins_of_equal_mass(sure: NDArray[np.float64], num_bins: int = NUM_BINS) -> NDArray[np.int64]:
    """(num_images,) number of each image's bin, from 0; of equal confidences one."""
    num_bins = checked_count(num_bins, name="num_bins", at_least=1)
    firsts = np.sort(sure)[np.arange(1, num_bins) * len(sure) // num_bins]
    # What is equal stays together, whatever the order of the images.
    _, bins = np.unique(np.searchsorted(firsts, sure, side="right"), return_inverse=True)
    return bins.astype(np.int64)


def _binned_error(sure: NDArray[np.float64], right: NDArray[np.bool_], bins: NDArray[np.int64]) -> float:
    return float(np.abs(np.bincount(bins, weights=right - sure)).sum() / len(sure))


def checked_answers(confidences: ArrayLike, correct: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Both, of the same images, or InvalidValue."""
    sure = checked_array(confidences, name="confidences", kinds="iuf", content="numbers in [0, 1]")
    right = checked_array(correct, name="correct", kinds="b", content="True and False")
    if sure.ndim != 1 or len(sure) < 1 or right.shape != sure.shape:
        raise InvalidValue(
            "confidences and correct must have shape (num_images,), of the same images and of at least 1; got shapes "
            f"{sure.shape} and {right.shape}."
        )
    wrong = np.flatnonzero(~((sure >= 0) & (sure <= 1)))
    if len(wrong):
        raise InvalidValue(f"confidences must lie in [0, 1]; got {sure[wrong[0]]} in row {wrong[0]}.")
    return sure.astype(np.float64), right
