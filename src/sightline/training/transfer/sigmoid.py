"""A head for images with several labels: logistic regression of each with a squared penalty, fitted to the end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.training.transfer.descent import axes_of, least_point


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
        self.axes, self.eigenvalues = axes_of(scaled)
        self.turned = scaled @ self.axes
        # A label begins as frequent as it is.
        shares = np.clip((self.wanted * self.weights).sum(axis=0), 1e-4, 1 - 1e-4)
        self.point = np.concatenate([np.zeros((len(self.eigenvalues), num_classes)), [np.log(shares / (1 - shares))]])

    def fit(self, penalty: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Kernel and bias for standardised features."""
        self.point = least_point(lambda point: self.losses(point, penalty), self.point, self._curvature(penalty))
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

    def _curvature(self, penalty: float) -> NDArray[np.float64]:
        whole = self.point.astype(np.float32)
        chances = 0.5 * (1 + np.tanh((self.turned @ whole[:-1] + whole[-1]) / 2))
        spread = (chances * (1 - chances) * self.weights).sum(axis=0, dtype=np.float64)
        along = np.concatenate([self.eigenvalues, [1.0]])[:, None] * np.maximum(spread, 1e-6)
        along[:-1] += penalty
        return np.asarray(along)
