"""What a figure tends to over seeds: the mean of repeated trainings, with its interval."""

from __future__ import annotations

import math
import statistics

from numpy.typing import ArrayLike
from scipy.stats import t as student_t

from sightline.errors import InvalidValue
from sightline.metrics.classification import checked_array


def mean_interval(values: ArrayLike) -> tuple[float, float]:
    """The 95 % interval of the mean that repeated trainings tend to, by Student's t (Biometrika 6, 1908).

    Args:
        values: (num_values,) finite numbers, at least 2: one figure a seed.
    """
    array = checked_array(values, name="values", kinds="iuf", content="numbers")
    if array.ndim != 1 or len(array) < 2:
        raise InvalidValue(f"values must have shape (num_values,), at least 2 of them; got shape {array.shape}.")
    figures = [float(value) for value in array]
    if not all(map(math.isfinite, figures)):
        raise InvalidValue(f"values must be finite; got {figures}.")
    mean = statistics.mean(figures)
    quantile = float(student_t.ppf(0.975, len(figures) - 1))
    spread = quantile * statistics.stdev(figures) / math.sqrt(len(figures))
    return mean - spread, mean + spread
