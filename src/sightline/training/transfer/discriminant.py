"""A head by where classes lie: their means, in units of how images of one class differ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Eigenvalues below this share of the largest are rounding: their directions are those in which nothing was seen.
_ROUNDING = 1e-6


class Discriminant:
    """Means and the scatter within classes, of which heads of any shrinkage follow without another look at images.

    Source:
        Linear discriminant analysis with a covariance that is shrunken towards a multiple of the identity: Friedman,
        Regularized Discriminant Analysis, JASA 84 (1989).
    """

    def __init__(
        self, scaled: NDArray[np.float32], labels: NDArray[np.int64], weights: NDArray[np.float32], num_classes: int
    ) -> None:
        """`scaled`: (num_rows, num_features), standardised; `weights`: (num_rows,), positive; every class has a row."""
        counts = np.bincount(labels, weights, minlength=num_classes)
        wanted = np.zeros((len(labels), num_classes), np.float32)
        wanted[np.arange(len(labels)), labels] = weights
        means = (wanted.T @ scaled) / counts[:, None].astype(np.float32)
        self.shares = counts / counts.sum()
        self.middle = (self.shares[:, None] * means).sum(axis=0)
        self.from_middle = (means - self.middle).T.astype(np.float64)
        apart = (scaled - means[labels]) * np.sqrt(weights / weights.mean())[:, None]
        self.variances, self.directions = _principal(apart)
        self.usual = float(self.variances.sum()) / scaled.shape[1]
        self.inside = self.directions.T @ self.from_middle

    def fit(self, shrinkage: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Kernel and bias for standardised features, all classes taken to be as frequent.

        Args:
            shrinkage: in (0, 1], the share of the scatter that is replaced by the same variance in all directions.
        """
        # Where there is one image a class, none differs from its mean: the nearest mean is the answer.
        floor = shrinkage * self.usual if self.usual > 0 else 1.0
        kernel = self.directions @ (self.inside / ((1 - shrinkage) * self.variances + floor)[:, None])
        # In directions that no image takes, all that is known of the scatter is its floor.
        kernel += (self.from_middle - self.directions @ self.inside) / floor
        bias = -self.middle @ kernel - (self.from_middle * kernel).sum(axis=0) / 2
        return kernel.astype(np.float32), bias.astype(np.float32)


def _principal(table: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variances, and the directions in which they lie: by the smaller of both products of the table with itself."""
    num_rows, width = table.shape
    if num_rows >= width:
        values, vectors = np.linalg.eigh(np.asarray(table.T @ table, np.float64))
        return np.maximum(values, 0) / num_rows, vectors
    values, vectors = np.linalg.eigh(np.asarray(table @ table.T, np.float64))
    is_seen = values > max(values.max(initial=0.0), 0.0) * _ROUNDING
    values, vectors = values[is_seen], vectors[:, is_seen]
    return values / num_rows, (table.T @ vectors) / np.sqrt(values)
