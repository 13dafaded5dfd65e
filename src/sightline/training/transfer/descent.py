"""The least point of smooth losses, along the axes that features vary along, in NumPy alone.

SciPy brings a second pool of threads, and two pools that wait for each other on a busy machine took a hundred times the
processor time of the work itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_MOST_ITERATIONS = 100
# Steps that the next one is made of.
_MEMORY = 8
# Nats, of a loss of about one: of what promises less, no step is made.
_LEAST_GAIN = 1e-7
# Of the largest: what is below is what rounding makes of rows that are no further rows.
_LEAST_EIGENVALUE = 1e-10

Array = NDArray[np.float64]
Losses = Callable[[Array], tuple[Array, Array]]
Step = tuple[Array, Array, Array]


def least_point(losses_at: Losses, start: Array, curvature: Array) -> Array:
    """Where each of several losses is least, each of a column of its own, begun at a point.

    Args:
        losses_at: (num_values, num_losses) to (num_losses,) losses and gradients of the shape of the point.
        start: (num_values, num_losses).
        curvature: of that shape, positive: how curved each loss is along each value, roughly.

    Source:
        L-BFGS: Liu, Nocedal, 1989; each step is halved until the loss falls by enough (Armijo, 1966).
    """
    point, steps = start, deque[Step](maxlen=_MEMORY)
    losses, gradient = losses_at(point)
    for _ in range(_MOST_ITERATIONS):
        direction = -_product(gradient, steps, curvature)
        promised = -(direction * gradient).sum(axis=0)
        is_open = promised > _LEAST_GAIN * np.maximum(losses, 1)
        if not is_open.any():
            break
        lengths = np.where(is_open, 1.0, 0.0)
        while True:
            following = point + lengths * direction
            then, slope = losses_at(following)
            is_short = is_open & ~(then <= losses - 1e-4 * lengths * promised) & (lengths > 0)
            if not is_short.any():
                break
            lengths[is_short] = np.where(lengths[is_short] > 1e-4, lengths[is_short] / 2, 0)
        if not lengths.any():
            break
        change, turn = following - point, slope - gradient
        steps.append((change, turn, (change * turn).sum(axis=0)))
        point, losses, gradient = following, then, slope
    return point


def axes_of(scaled: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """(num_features, num_axes) orthonormal, along which rows vary, and the mean square along each."""
    num_rows, num_features = scaled.shape
    if num_rows >= num_features:
        eigenvalues, axes = np.linalg.eigh(scaled.T @ scaled / np.float32(num_rows))
        return np.asarray(axes, np.float32), np.maximum(np.asarray(eigenvalues, np.float64), 0)
    # The best kernel is a sum of rows: along axes beyond them it would stay 0.
    rows = scaled.astype(np.float64)
    eigenvalues, sums = np.linalg.eigh(rows @ rows.T / num_rows)
    there = eigenvalues > _LEAST_EIGENVALUE * max(float(eigenvalues[-1]), 1e-30)
    axes = rows.T @ (sums[:, there] / np.sqrt(num_rows * eigenvalues[there]))
    return np.asarray(axes, np.float32), eigenvalues[there]


def _product(gradient: NDArray[np.float64], steps: deque[Step], curvature: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gradients by the inverse of the curvature as the last steps have shown it; of any label."""
    found, shares = gradient.copy(), []
    inverses = [np.where(bend > 0, 1 / np.where(bend > 0, bend, 1), 0) for _, _, bend in steps]
    for (change, turn, _), inverse in zip(reversed(steps), reversed(inverses), strict=True):
        shares.append((change * found).sum(axis=0) * inverse)
        found -= shares[-1] * turn
    found /= curvature
    for (change, turn, _), inverse, share in zip(steps, inverses, reversed(shares), strict=True):
        found += (share - (turn * found).sum(axis=0) * inverse) * change
    return found
