"""A head for images with several labels: logistic regression of each with a squared penalty, fitted to the end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.training.transfer.softmax import least_point


class SigmoidRegression:
    """The loss of all labels and its gradient, and the point that the last fit ended at: the next one starts there.

    Source:
        Logistic regression with a squared penalty, fitted by L-BFGS (Liu, Nocedal, 1989).
    """

    def __init__(
        self, scaled: NDArray[np.float32], labels: NDArray[np.uint8], weights: NDArray[np.float32], num_classes: int
    ) -> None:
        """`scaled`: (num_rows, num_features), standardised; `labels`: (num_rows, num_classes) of 0 and 1."""
        self.scaled, self.num_classes = scaled, num_classes
        self.weights = (weights / weights.sum())[:, None]
        self.wanted = labels.astype(np.float32)
        # A label begins as frequent as it is.
        shares = np.clip((self.wanted * self.weights).sum(axis=0), 1e-4, 1 - 1e-4)
        self.point = np.concatenate([np.zeros(scaled.shape[1] * num_classes), np.log(shares / (1 - shares))])

    def fit(self, penalty: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Kernel and bias for standardised features."""
        self.point = least_point(self.loss, self.point, penalty)
        whole = self.point.astype(np.float32).reshape(-1, self.num_classes)
        return whole[:-1], whole[-1]

    def loss(self, point: NDArray[np.float64], penalty: float) -> tuple[float, NDArray[np.float64]]:
        """The penalised cross-entropy, summed over labels, at a point, kernel and bias in one row, and its gradient."""
        whole = point.astype(np.float32).reshape(-1, self.num_classes)
        kernel, bias = whole[:-1], whole[-1]
        logits = self.scaled @ kernel + bias
        surprise = np.logaddexp(0, np.where(self.wanted != 0, -logits, logits))
        slope = (0.5 * (1 + np.tanh(logits / 2)) - self.wanted) * self.weights
        # The bias bears no penalty: it only says how frequent the labels are.
        gradient = np.concatenate([self.scaled.T @ slope + penalty * kernel, slope.sum(axis=0)[None]])
        loss = float((surprise * self.weights).sum() + penalty / 2 * (kernel**2).sum())
        return loss, gradient.astype(np.float64).ravel()
