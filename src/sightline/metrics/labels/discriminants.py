"""Linear classifiers on features: a discriminant of any shrinkage, and answers out of folds that are asked often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue
from sightline.metrics.classification import checked_labels, checked_table

# Settled on other data than is reported, between 0.01 and 0.5, and 0.001 and 3; what lies beside them does as well.
SHRINKAGE: Final = 0.3
"""Share of the covariance within classes that is replaced by a multiple of the identity."""
PENALTY: Final = 0.3
"""What is added to the diagonal of the scatter for the ridge, in parts of its mean."""


class OutOfFold:
    """Features in folds, asked again and again with other labels: what labels do not change is computed once.

    Args:
        features: (num_images, num_features) finite numbers.
        folds: (num_images,) whole numbers from 0, the fold of each row; at least two.
        after_fold: called whenever a fold is done, here and in each `answers`.

    Source:
        Linear discriminant analysis with a shrunken covariance: Friedman, Regularized Discriminant Analysis, JASA 84
        (1989); ridge regression on indicators of the classes: Hastie, Tibshirani, Friedman, The Elements of
        Statistical Learning (2009), chapter 4.

    Example:
        >>> features = np.array([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [1.0, 0.1]])
        >>> by_likelihood, by_regression = OutOfFold(features, [0, 1, 0, 1]).answers([0, 0, 1, 1], num_classes=2)
        >>> by_likelihood.shape, by_regression.argmax(axis=1).tolist()
        ((4, 2), [0, 0, 1, 1])
    """

    def __init__(
        self, features: ArrayLike, folds: ArrayLike, *, after_fold: Callable[[], object] = lambda: None
    ) -> None:
        self._after_fold = after_fold
        table = _near_one(checked_table(features, name="features", columns="features"))
        self._num_features = int(table.shape[1])
        # Thousands of numbers a row: float32 halves what it takes. Without their means, which no answer depends on, as
        # squares of numbers far from 0 would have no digits left for how they vary.
        self._features = _spanned(table - table.mean(axis=0)).astype(np.float32)
        numbers = np.asarray(folds)
        self._folds = checked_labels(numbers, num_images=len(table), num_classes=int(numbers.max(initial=0)) + 1)
        parts = np.unique(self._folds)
        if len(parts) < 2:
            raise InvalidValue(f"folds must be at least 2; got {len(parts)}.")
        products = {}
        for fold in parts.tolist():
            products[fold] = self._product(self._folds == fold)
            after_fold()
        whole = np.sum(list(products.values()), axis=0)
        self._products = {fold: whole - product for fold, product in products.items()}
        self._ridges: dict[int, NDArray[np.float64]] = {}

    def _product(self, rows: NDArray[np.bool_]) -> NDArray[np.float64]:
        part = self._features[rows]
        return np.asarray(part.T @ part, np.float64)

    def answers(self, labels: ArrayLike, *, num_classes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What each of the two says of every row, by the other folds alone.

        Args:
            labels: (num_images,) whole numbers in [0, num_classes), each class in at least two folds.
            num_classes: at least 2.

        Returns:
            Log-odds by the discriminant, where all classes are taken to be as frequent, and the indicators by the
            ridge; both (num_images, num_classes) float64.

        Raises:
            InvalidValue: a class is in one fold alone.
        """
        given = checked_labels(labels, num_images=len(self._features), num_classes=num_classes)
        by_likelihood = np.empty((len(given), num_classes))
        by_regression = np.empty_like(by_likelihood)
        for fold in self._products:
            inside = self._folds == fold
            by_likelihood[inside], by_regression[inside] = self._answered(fold, inside, given, num_classes)
            self._after_fold()
        return by_likelihood, by_regression

    def _answered(
        self, fold: int, inside: NDArray[np.bool_], given: NDArray[np.int64], num_classes: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        learned = given[~inside]
        counts = np.bincount(learned, minlength=num_classes)
        if not counts.all():
            raise InvalidValue(f"each class must be in two folds at least; class {int(counts.argmin())} is not.")
        indicators = np.zeros((len(learned), num_classes), np.float32)
        indicators[np.arange(len(learned)), learned] = 1
        sums = np.asarray(self._features[~inside].T @ indicators, np.float64)
        middle = sums.sum(axis=1) / len(learned)
        asked = self._features[inside] - middle.astype(np.float32)
        means = sums / counts
        within = (self._products[fold] - (means * counts) @ means.T) / max(len(learned) - num_classes, 1)
        level = self._mean_of_diagonal(within)
        within *= 1 - SHRINKAGE
        within[np.diag_indices(len(within))] += SHRINKAGE * level
        from_middle = means - middle[:, None]
        directions = np.linalg.solve(within, from_middle)
        offsets = (from_middle * directions).sum(axis=0) / 2
        slopes = self._ridge(fold, middle, len(learned)) @ (sums - np.outer(middle, counts))
        return asked @ directions - offsets, asked @ slopes + counts / len(learned)

    def _ridge(self, fold: int, middle: NDArray[np.float64], count: int) -> NDArray[np.float64]:
        """The inverse that labels do not change."""
        if fold not in self._ridges:
            scatter = self._products[fold] - count * np.outer(middle, middle)
            scatter[np.diag_indices(len(scatter))] += PENALTY * self._mean_of_diagonal(scatter)
            self._ridges[fold] = np.linalg.inv(scatter)
        return self._ridges[fold]

    def _mean_of_diagonal(self, matrix: NDArray[np.float64]) -> float:
        # Above 0 even where all features are alike, so that there is an inverse.
        return max(float(np.trace(matrix)) / self._num_features, 1e-12)


def _near_one(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same by a power of two, on which no answer depends: squares of huge numbers overflow, of tiny ones vanish."""
    _, exponent = np.frexp(np.abs(table).max())
    return np.asarray(np.ldexp(table, -exponent))


def _spanned(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same rows in as many directions as they span: of few images, many features are but a turn of fewer."""
    if table.shape[0] >= table.shape[1]:
        return table
    return np.asarray(np.linalg.qr(table.T)[1].T)


class Discriminant:
    """Linear discriminants of some images: their means and the scatter within classes, for any shrinkage.

    Args:
        features: (num_images, num_features) finite numbers.
        labels: (num_images,) whole numbers in [0, num_classes); each class has an image.
        num_classes: at least 2; all are taken to be as frequent.
        weights: (num_images,) what each image counts, positive; all the same if left out.

    Attributes:
        shares: (num_classes,) how frequent they are, by weight.

    Source:
        Linear discriminant analysis with a covariance that is shrunken towards a multiple of the identity: Friedman,
        Regularized Discriminant Analysis, JASA 84 (1989).

    Example:
        >>> features = np.array([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [1.0, 0.1]])
        >>> kernel, bias = Discriminant(features, np.array([0, 0, 1, 1]), num_classes=2).fit(0.3)
        >>> (features @ kernel + bias).argmax(axis=1).tolist()
        [0, 0, 1, 1]
    """

    def __init__(
        self,
        features: NDArray[Any],
        labels: NDArray[np.int64],
        *,
        num_classes: int,
        weights: NDArray[np.float32] | None = None,
    ) -> None:
        weights = np.ones(len(labels), np.float32) if weights is None else weights
        counts = np.bincount(labels, weights, minlength=num_classes)
        self.shares = counts / counts.sum()
        # Thousands of numbers a row: float32 halves what it takes, and of numbers far from 0 no digits would be left.
        center = features.mean(axis=0, dtype=np.float64)
        table = (features - center).astype(np.float32)
        counted = np.zeros((len(labels), num_classes), np.float32)
        counted[np.arange(len(labels)), labels] = weights
        means = (counted.T @ table) / counts[:, None].astype(np.float32)
        middle = (self.shares[:, None] * means).sum(axis=0)
        self._middle, self._from_middle = center + middle, (means - middle).T.astype(np.float64)
        apart = (table - means[labels]) * np.sqrt(weights / weights.sum())[:, None].astype(np.float32)
        # Few images span few directions: by the identity of Woodbury, only these have to be solved for.
        self._apart = apart.astype(np.float64) if len(apart) < apart.shape[1] else None
        self._scatter = np.asarray(apart.T @ apart if self._apart is None else apart @ apart.T, np.float64)
        self._seen = self._from_middle if self._apart is None else self._apart @ self._from_middle
        self._level = float(np.trace(self._scatter)) / apart.shape[1]

    def fit(self, shrinkage: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Kernel (num_features, num_classes) and bias (num_classes,): features @ kernel + bias are log-odds.

        Args:
            shrinkage: in (0, 1], the share of the scatter that is replaced by the same variance in all directions.
        """
        # Where there is one image a class, none differs from its mean: the nearest mean is the answer.
        floor = shrinkage * self._level if self._level > 0 else 1.0
        solved = (1 - shrinkage) * self._scatter
        solved[np.diag_indices(len(solved))] += floor
        kernel = np.linalg.solve(solved, self._seen)
        if self._apart is not None:
            kernel = (self._from_middle - (1 - shrinkage) * (self._apart.T @ kernel)) / floor
        return kernel, -self._middle @ kernel - (self._from_middle * kernel).sum(axis=0) / 2
