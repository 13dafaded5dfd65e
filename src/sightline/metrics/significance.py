"""What several tests at once do to their p-values."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue
from sightline.metrics.classification import checked_array


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust the p-values of several tests, so that the chance of any false alarm keeps its bound.

    Of twenty tests at 0.05 about one raises a false alarm. Whoever calls the
    adjusted ones below 0.05 significant raises any at all in one family of
    tests out of twenty, however the tests depend on one another.

    Args:
        p_values: (num_tests,) in [0, 1], at least 1.

    Returns:
        float64 (num_tests,) in [0, 1], in the order given: none is smaller than
        it was, and their ranks are kept. The smallest of m counts m times, the
        next m - 1 times, and none less than the one before it.

    Raises:
        InvalidValue: no value, one outside [0, 1], or not of one dimension.

    Source:
        Holm, A Simple Sequentially Rejective Multiple Test Procedure,
        Scandinavian Journal of Statistics 6 (1979).

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
        [0.03, 0.06, 0.06]
    """
    array = checked_array(p_values, name="p_values", kinds="iuf", content="numbers")
    if array.ndim != 1 or len(array) < 1:
        raise InvalidValue(f"p_values must have shape (num_tests,) with at least 1 test; got shape {array.shape}.")
    wrong = array[~((array >= 0) & (array <= 1))]
    if len(wrong):
        raise InvalidValue(f"p_values must be in [0, 1]; got {wrong[0]}.")
    order = np.argsort(array, kind="stable")
    counts = np.arange(len(array), 0, -1)
    adjusted = np.empty(len(array), dtype=np.float64)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(counts * array[order]))
    return adjusted
