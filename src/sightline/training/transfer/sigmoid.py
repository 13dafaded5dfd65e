"""A head for images with several labels: logistic regression of each with a squared penalty, fitted to the end."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

_MOST_ITERATIONS = 100
# Steps that the next one is made of.
_MEMORY = 8
# Nats, of a loss of about one: of what promises less, no step is made.
_LEAST_GAIN = 1e-6
# Of the largest: what is below is what rounding makes of rows that are no further rows.
_LEAST_EIGENVALUE = 1e-10

Step = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


class SigmoidRegression:
    """Logistic regressions of all labels at once; each fit starts where the last one ended.

    Features are turned to the axes along which they vary, of which there are no more than rows, and each axis is
    measured by how curved the loss is along it.

    Source:
        Logistic regression with a squared penalty, fitted by L-BFGS (Liu, Nocedal, 1989).
    """

    def __init__(
        self, scaled: NDArray[np.float32], labels: NDArray[np.uint8], weights: NDArray[np.float32], num_classes: int
    ) -> None:
        """`scaled`: (num_rows, num_features), standardised; `labels`: (num_rows, num_classes) of 0 and 1."""
        self.weights = (weights / weights.sum())[:, None]
        self.wanted = labels.astype(np.float32)
        self.axes, self.eigenvalues = _axes(scaled)
        self.turned = scaled @ self.axes
        # A label begins as frequent as it is.
        shares = np.clip((self.wanted * self.weights).sum(axis=0), 1e-4, 1 - 1e-4)
        self.point = np.concatenate([np.zeros((len(self.eigenvalues), num_classes)), [np.log(shares / (1 - shares))]])

    def fit(self, penalty: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Kernel and bias for standardised features."""
        self.point = self._least(penalty)
        whole = self.point.astype(np.float32)
        return self.axes @ whole[:-1], whole[-1]

    def losses(self, point: NDArray[np.float64], penalty: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(num_classes,) penalised cross-entropies at (num_axes + 1, num_classes), the bias last, and gradients."""
        whole = point.astype(np.float32)
        logits = self.turned @ whole[:-1] + whole[-1]
        # One exponential gives both, and none overflows.
        small = np.exp(-np.abs(logits))
        surprise = np.log1p(small) + np.maximum(np.where(self.wanted != 0, -logits, logits), 0)
        slope = (np.where(logits >= 0, 1, small) / (1 + small) - self.wanted) * self.weights
        gradient = np.concatenate([self.turned.T @ slope, slope.sum(axis=0)[None]]).astype(np.float64)
        # The bias bears no penalty: it only says how frequent the labels are.
        gradient[:-1] += penalty * point[:-1]
        losses = (surprise * self.weights).sum(axis=0, dtype=np.float64)
        return losses + penalty / 2 * (point[:-1] ** 2).sum(axis=0), gradient

    def _least(self, penalty: float) -> NDArray[np.float64]:
        """L-BFGS of each label by itself from the last point on, begun with the curvature along each axis."""
        # In NumPy alone: SciPy brings a second pool of threads, and two pools that wait for each other on a busy
        # machine took a hundred times the processor time of the work itself.
        point, steps = self.point, deque[Step](maxlen=_MEMORY)
        curvature = self._curvature(penalty)
        losses, gradient = self.losses(point, penalty)
        for _ in range(_MOST_ITERATIONS):
            direction = -_product(gradient, steps, curvature)
            promised = -(direction * gradient).sum(axis=0)
            is_open = promised > _LEAST_GAIN * np.maximum(losses, 1)
            if not is_open.any():
                break
            lengths = np.where(is_open, 1.0, 0.0)
            while True:
                following = point + lengths * direction
                then, slope = self.losses(following, penalty)
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

    def _curvature(self, penalty: float) -> NDArray[np.float64]:
        whole = self.point.astype(np.float32)
        chances = 0.5 * (1 + np.tanh((self.turned @ whole[:-1] + whole[-1]) / 2))
        spread = (chances * (1 - chances) * self.weights).sum(axis=0, dtype=np.float64)
        along = np.concatenate([self.eigenvalues, [1.0]])[:, None] * np.maximum(spread, 1e-6)
        along[:-1] += penalty
        return np.asarray(along)


def _axes(scaled: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
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
