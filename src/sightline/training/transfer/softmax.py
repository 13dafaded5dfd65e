"""A head by softmax regression with a squared penalty, fitted to the end."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sightline.errors import require

_MOST_ITERATIONS = 100
Loss = Callable[[NDArray[np.float64], float], tuple[float, NDArray[np.float64]]]


def least_point(loss: Loss, start: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
    """Where a loss with its gradient is least, begun at a point."""
    optimize = require("scipy.optimize", purpose="fitting a head", install="scipy")
    found = optimize.minimize(
        loss, start, args=(penalty,), jac=True, method="L-BFGS-B", options={"maxiter": _MOST_ITERATIONS}
    )
    return np.asarray(found.x)


class SoftmaxRegression:
    """The loss and its gradient, and the point that the last fit ended at: the next one starts there.

    Source:
        Softmax regression with a squared penalty, fitted by L-BFGS (Liu, Nocedal, 1989).
    """

    def __init__(
        self, scaled: NDArray[np.float32], labels: NDArray[np.int64], weights: NDArray[np.float32], num_classes: int
    ) -> None:
        """`scaled`: (num_rows, num_features), standardised; `weights`: (num_rows,), positive."""
        self.scaled, self.num_classes = scaled, num_classes
        self.weights = (weights / weights.sum())[:, None]
        self.wanted = np.eye(num_classes, dtype=np.float32)[labels]
        # From strong to weak penalties each solution lies near the one before, so that a fit takes few iterations.
        self.point = np.zeros((scaled.shape[1] + 1) * num_classes)

    def fit(self, penalty: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Kernel and bias for standardised features."""
        self.point = least_point(self.loss, self.point, penalty)
        whole = self.point.astype(np.float32).reshape(-1, self.num_classes)
        return whole[:-1], whole[-1]

    def loss(self, point: NDArray[np.float64], penalty: float) -> tuple[float, NDArray[np.float64]]:
        """The penalised cross-entropy at a point, kernel and bias in one row, and its gradient."""
        whole = point.astype(np.float32).reshape(-1, self.num_classes)
        kernel, bias = whole[:-1], whole[-1]
        logits = self.scaled @ kernel + bias
        logits -= logits.max(axis=1, keepdims=True)
        exponentials = np.exp(logits)
        sums = exponentials.sum(axis=1, keepdims=True)
        likelihood = (logits * self.wanted).sum(axis=1, keepdims=True) - np.log(sums)
        slope = (exponentials / sums - self.wanted) * self.weights
        # The bias bears no penalty: it only says how frequent the classes are.
        gradient = np.concatenate([self.scaled.T @ slope + penalty * kernel, slope.sum(axis=0)[None]])
        loss = float(-(likelihood * self.weights).sum() + penalty / 2 * (kernel**2).sum())
        return loss, gradient.astype(np.float64).ravel()
