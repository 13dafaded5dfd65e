"""A head by softmax regression with a squared penalty, fitted to the end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.training.transfer.descent import axes_of, least_point


class SoftmaxRegression:
    """The loss and its gradient, and the point that the last fit ended at: the next one starts there.

    Features are turned to the axes along which they vary, as `SigmoidRegression` has them.

    Source:
        Softmax regression with a squared penalty, fitted by L-BFGS (Liu, Nocedal, 1989).
    """

    def __init__(
        self, scaled: NDArray[np.float32], labels: NDArray[np.int64], weights: NDArray[np.float32], num_classes: int
    ) -> None:
        """`scaled`: (num_rows, num_features), standardised; `weights`: (num_rows,), positive."""
        self.weights = (weights / weights.sum())[:, None]
        self.wanted = np.eye(num_classes, dtype=np.float32)[labels]
        self.axes, self.eigenvalues = axes_of(scaled)
        self.turned = scaled @ self.axes
        # From strong to weak penalties each solution lies near the one before, so that a fit takes few iterations.
        self.point = np.zeros((len(self.eigenvalues) + 1, num_classes))

    def fit(self, penalty: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Kernel and bias for standardised features."""
        shape, curvature = self.point.shape, self._curvature(penalty)

        def losses_at(column: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            loss, gradient = self.loss(column.reshape(shape), penalty)
            return np.array([loss]), gradient.reshape(-1, 1)

        found = least_point(losses_at, self.point.reshape(-1, 1), curvature.reshape(-1, 1))
        self.point = found.reshape(shape)
        whole = self.point.astype(np.float32)
        return self.axes @ whole[:-1], whole[-1]

    def loss(self, point: NDArray[np.float64], penalty: float) -> tuple[float, NDArray[np.float64]]:
        """The penalised cross-entropy at (num_axes + 1, num_classes), the bias last, and its gradient."""
        likelihood, shares = self._answers(point)
        slope = (shares - self.wanted) * self.weights
        gradient = np.concatenate([self.turned.T @ slope, slope.sum(axis=0)[None]]).astype(np.float64)
        # The bias bears no penalty: it only says how frequent the classes are.
        gradient[:-1] += penalty * point[:-1]
        surprise = -(likelihood * self.weights).sum(dtype=np.float64)
        return float(surprise + penalty / 2 * (point[:-1] ** 2).sum()), gradient

    def _answers(self, point: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(num_rows, 1) log-likelihoods of the labels, and (num_rows, num_classes) probabilities."""
        whole = point.astype(np.float32)
        logits = self.turned @ whole[:-1] + whole[-1]
        logits -= logits.max(axis=1, keepdims=True)
        exponentials = np.exp(logits)
        sums = exponentials.sum(axis=1, keepdims=True)
        return (logits * self.wanted).sum(axis=1, keepdims=True) - np.log(sums), exponentials / sums

    def _curvature(self, penalty: float) -> NDArray[np.float64]:
        _, shares = self._answers(self.point)
        spread = (shares * (1 - shares) * self.weights).sum(axis=0, dtype=np.float64)
        along = np.concatenate([self.eigenvalues, [1.0]])[:, None] * np.maximum(spread, 1e-6)
        along[:-1] += penalty
        return np.asarray(along)
