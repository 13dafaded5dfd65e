"""A history as arrays: taken apart, smoothed, and where its axis begins."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sightline.errors import InvalidValue

# With fewer epochs a smooth line would mostly show the smoothing.
FEWEST_EPOCHS_TO_SMOOTH = 8


def checked_epochs(history: Sequence[Mapping[str, float]], chosen_epoch: int) -> NDArray[np.int64]:
    """The epoch numbers of a history that can be drawn.

    Args:
        history: one mapping an epoch, with `epoch`, `loss` and `accuracy`.
        chosen_epoch: one of its epochs.

    Returns:
        int64 (num_epochs,), counting up from 1 or later.

    Raises:
        InvalidValue: no epoch, epochs that do not count up, a missing key, or
            a chosen epoch that is not among them.

    Example:
        >>> checked_epochs([{"epoch": 1, "loss": 0.3, "accuracy": 0.9}], 1).tolist()
        [1]
    """
    if not len(history):
        raise InvalidValue("history must hold at least one epoch; got none.")
    for row, record in enumerate(history):
        missing = [key for key in ("epoch", "loss", "accuracy") if key not in record]
        if missing:
            raise InvalidValue(f"history[{row}] must have the key '{missing[0]}'; got {', '.join(record) or 'none'}.")
    epochs = [record["epoch"] for record in history]
    if epochs[0] < 1 or any(later <= earlier for earlier, later in itertools.pairwise(epochs)):
        raise InvalidValue(f"the epochs of a history must count up from 1; got {epochs[:10]}.")
    if chosen_epoch not in epochs:
        raise InvalidValue(f"chosen_epoch must be one of the history's {len(epochs):,} epochs; got {chosen_epoch!r}.")
    return np.array(epochs, dtype=np.int64)


def column(history: Sequence[Mapping[str, float]], key: str) -> NDArray[np.float64]:
    """One figure of a history.

    Args:
        history: one mapping an epoch.
        key: of the figure.

    Returns:
        float64 (num_epochs,); NaN where the figure is missing or not finite.

    Example:
        >>> column([{"loss": 0.5}, {}], "loss").tolist()
        [0.5, nan]
    """
    values = np.array([record.get(key, math.nan) for record in history], dtype=np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def smooth(values: NDArray[np.float64], span: float) -> NDArray[np.float64]:
    """Average each value with its neighbours, each step away counting less.

    An exponential moving average that looks both ways, so that it does not lag.
    The span grows over the first epochs, where a curve is steep and an average
    over many of them would draw a course that training never took.

    Args:
        values: float64 (num_epochs,); NaN where nothing was measured.
        span: epochs that count, at least 1; a value `distance` steps away has
            the weight factor^distance with factor = 1 - 2 / (span + 1).

    Returns:
        float64 (num_epochs,); NaN where `values` is. In epoch i, counted from
        1, the span is i / 4 where that is less, and 1 at least.

    Raises:
        InvalidValue: the span is below 1.

    Example:
        >>> smooth(np.array([0.0] * 20 + [1.0] + [0.0] * 20), 3)[19:22].round(2).tolist()
        [0.17, 0.33, 0.17]
    """
    if not span >= 1:
        raise InvalidValue(f"span must be at least 1; got {span!r}.")
    known = np.isfinite(values)
    steps = np.arange(len(values))
    averaged = np.full(len(values), np.nan)
    for row in np.flatnonzero(known):
        factor = 1 - 2 / (min(span, max(1.0, (row + 1) / 4)) + 1)
        weights = factor ** np.abs(steps - row) * known
        averaged[row] = weights @ np.where(known, values, 0.0) / weights.sum()
    return averaged


def smoothing_span(num_epochs: int) -> int:
    """Over how many epochs a history is smoothed: a twelfth of it, and three at least.

    Args:
        num_epochs: at least 1.

    Returns:
        Epochs, at least 3.

    Example:
        >>> smoothing_span(10), smoothing_span(60), smoothing_span(500)
        (3, 5, 42)
    """
    return max(3, round(num_epochs / 12))


def settled_accuracy(curves: Sequence[NDArray[np.float64]]) -> float:
    """Where an accuracy axis begins, so that what matters fills it.

    Args:
        curves: float64 (num_epochs,) each, in [0, 1]; NaN where nothing was measured.

    Returns:
        A lower end in [0, 1], below every value of the last three quarters of
        the epochs; 0 if nothing was measured.

    Example:
        >>> settled_accuracy([np.array([0.5, 0.98, 0.985, 0.988, 0.99, 0.991, 0.991, 0.992])]) > 0.9
        True
    """
    num_epochs = len(curves[0])
    first = num_epochs // 4 if num_epochs >= FEWEST_EPOCHS_TO_SMOOTH else min(1, num_epochs - 1)
    settled = np.concatenate([curve[first:] for curve in curves])
    settled = settled[np.isfinite(settled)]
    if not settled.size:
        return 0.0
    lowest, highest = float(settled.min()), float(settled.max())
    room = max(0.25 * (highest - lowest), 0.1 * (1 - highest), 0.002)
    return max(0.0, lowest - room)
