"""A head for numbers that are no pictures: what a transfer puts on the features of a frozen network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.training.transfer.head import Head, Rows, fit_head

# Standardised numbers beyond it are no different from it: none is infinite in a product.
_LARGEST = 1e6


@dataclass(frozen=True, eq=False)
class NumbersHead:
    """A head, and what brings the columns that it was fitted on to one scale.

    Attributes:
        head: of standardised columns.
        largest: (num_features,) float64, the greatest size of each column; 1 where all are 0.
        mean: (num_features,) float64, of what is left after that.
        deviation: the same; 1 where nothing varies.
    """

    head: Head
    largest: NDArray[np.float64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @property
    def how(self) -> str:
        """By what it was fitted and chosen, in words."""
        return self.head.how

    def logits(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        """(num_rows, num_classes) for (num_rows, num_features); each row as if it stood alone."""
        # In float64, where a product of many rows and that of one differ less than anyone asks for.
        scaled: NDArray[np.float64] = _scaled(table, self.largest, self.mean, self.deviation)
        return scaled @ self.head.kernel.astype(np.float64) + self.head.bias.astype(np.float64)


def fit_numbers(
    table: NDArray[np.float64], labels: NDArray[np.int64], groups: NDArray[np.str_] | None, *, num_classes: int
) -> NumbersHead:
    """The head that answers best on rows that it was not fitted on; every class has a row."""
    size = np.abs(table).max(axis=0)
    largest = np.where(size > 0, size, 1.0)
    # Divided first: the squares of numbers near the largest there are would be infinite.
    parts = table / largest
    mean, deviation = parts.mean(axis=0), parts.std(axis=0)
    deviation = np.where(deviation > 1e-12, deviation, 1.0)
    scaled = _scaled(table, largest, mean, deviation)
    head = fit_head(Rows(scaled.astype(np.float32), labels, groups=groups), None, num_classes=num_classes)
    return NumbersHead(head, largest, mean, deviation)


def _scaled(
    table: NDArray[np.float64], largest: NDArray[np.float64], mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        parts = table / largest
    return np.clip((parts - mean) / deviation, -_LARGEST, _LARGEST)
