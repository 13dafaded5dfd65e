"""How far an accuracy can be trusted: its interval, and the quantiles that intervals are made with."""

from __future__ import annotations

import functools
import math
import numbers
import statistics

from sightline.errors import InvalidValue
from sightline.metrics.classification import checked_count

# Of every interval, where no other level is asked for.
USUAL_LEVEL = 0.95


def wilson_interval(num_correct: int, num_images: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Interval in which the true accuracy lies, given how many images were right.

    Unlike the textbook normal interval it stays inside [0, 1] and keeps its
    coverage near 0 and 1, where good classifiers live.

    Args:
        num_correct: from 0 to `num_images`.
        num_images: at least 1.
        confidence: in (0, 1).

    Returns:
        Lower and upper bound, each in [0, 1].

    Raises:
        InvalidValue: a count or the confidence is out of range.

    Source:
        Wilson, Probable Inference, JASA 22 (1927).

    Example:
        >>> lower, upper = wilson_interval(9982, 10000)
        >>> round(lower, 4), round(upper, 4)
        (0.9972, 0.9989)
    """
    num_images = checked_count(num_images, name="num_images", at_least=1)
    num_correct = checked_count(num_correct, name="num_correct", at_least=0)
    if num_correct > num_images:
        raise InvalidValue(f"num_correct must be from 0 to num_images, {num_images}; got {num_correct}.")
    return wilson_bounds(num_correct / num_images, num_images, normal_quantile(confidence))


def wilson_bounds(accuracy: float, num_images: float, quantile: float) -> tuple[float, float]:
    """Wilson's interval for a number of images that need not be whole, so many standard errors wide."""
    widening = quantile**2 / num_images
    centre = accuracy + widening / 2
    spread = math.sqrt(accuracy * (1 - accuracy) * widening + widening**2 / 4)
    # At the ends the bound is known exactly; rounding would leave 1e-17 or pass 1.
    lower = 0.0 if accuracy == 0 else (centre - spread) / (1 + widening)
    upper = 1.0 if accuracy == 1 else (centre + spread) / (1 + widening)
    return lower, upper


def normal_quantile(confidence: float) -> float:
    """How many standard errors of a normal distribution lie on either side of the middle."""
    return -statistics.NormalDist().inv_cdf((1 - checked_confidence(confidence)) / 2)


@functools.lru_cache(maxsize=64)
def student_t_quantile(confidence: float, *, degrees: int) -> float:
    """The t at which a fraction `confidence` lies between -t and t, by bisection.

    SciPy has it too, but comes with training alone, and runs are compared without it.
    """
    checked_confidence(confidence)
    upper = 1.0
    while student_t_outside(upper, degrees) > 1 - confidence:
        upper *= 2
    lower = 0.0
    while lower < (middle := (lower + upper) / 2) < upper:
        lower, upper = (middle, upper) if student_t_outside(middle, degrees) > 1 - confidence else (lower, middle)
    return upper


def student_t_outside(t: float, degrees: int) -> float:
    """Probability that Student's t lies outside [-t, t].

    It is the regularised incomplete beta function I_x(degrees / 2, 1/2) at
    x = degrees / (degrees + t^2), Abramowitz and Stegun 26.7.1 and 26.5.27.
    """
    near, far = degrees / (degrees + t * t), t * t / (degrees + t * t)
    if far <= 0 or near <= 0:
        return 1.0 if far <= 0 else 0.0
    half = degrees / 2
    scale = math.lgamma(half + 0.5) - math.lgamma(half) - math.lgamma(0.5)
    # log1p keeps the digits that log(near) loses when near is almost 1.
    front = math.exp(scale - half * math.log1p(t * t / degrees) + 0.5 * math.log(far))
    if near < (half + 1) / (half + 2.5):
        return front * _beta_fraction(half, 0.5, near) / half
    return 1 - front * _beta_fraction(0.5, half, far) / 0.5


def _beta_fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function, Abramowitz and Stegun 26.5.8, by Lentz's method."""
    upper, lower = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = lower
    for step in range(1, 500):
        even = step * (b - step) * x / ((a + 2 * step - 1) * (a + 2 * step))
        odd = -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1))
        before = value
        for coefficient in (even, odd):
            lower, upper = 1 / (1 + coefficient * lower), 1 + coefficient / upper
            value *= lower * upper
        if abs(value - before) <= 1e-16 * abs(value):
            break
    return value


def checked_confidence(confidence: float, *, name: str = "confidence") -> float:
    """The same, in (0, 1), or InvalidValue."""
    real = isinstance(confidence, numbers.Real) and not isinstance(confidence, bool)
    if not (real and 0 < confidence < 1):
        raise InvalidValue(f"{name} must be a number in (0, 1), such as 0.95; got {confidence!r}.")
    return float(confidence)
