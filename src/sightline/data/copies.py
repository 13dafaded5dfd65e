"""Which images are copies of which, and what hangs together by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.errors import InvalidValue

COPY_KINDS: Final = ("exact", "recompressed", "resized", "brightened", "cropped", "flipped", "turned")
LARGEST_CLUSTER: Final = 50
"""Near copies that a cluster holds at most: a chain of similar images must not swallow a class."""


@dataclass(frozen=True, eq=False)
class Copies:
    """Which rows are copies of which.

    Attributes:
        rows: (num_pairs, 2) int64, the lower row first, ascending. Exact copies are each paired
            with the first of them; near copies are looked for among those firsts alone.
        distances: (num_pairs,) float32, 0 for exact copies, at most the threshold.
        kinds: (num_pairs,) strings of `COPY_KINDS`, the change that stands out.
        can_tell: (num_images,) False where an image is too small or too uniform for near
            copies to be told from lookalikes; such rows are only compared exactly.
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.float32]
    kinds: NDArray[np.str_]
    can_tell: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        found = ", ".join(f"{np.sum(self.kinds == kind):,} {kind}" for kind in COPY_KINDS if kind in self.kinds)
        untold = int((~self.can_tell).sum())
        return f"Copies({found or 'none'} among {len(self.can_tell):,} images, {untold:,} compared only exactly)"


def clusters(
    num_images: int, copies: Copies, *, largest: int = LARGEST_CLUSTER
) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """Rows that hang together by copies, chains included, unless the chain grows too long.

    Args:
        num_images: rows in all.
        copies: pairs of them.
        largest: images a cluster may hold; a larger one falls apart into its exact copies.

    Returns:
        (num_images,) int64: the lowest row of each row's cluster, its own where it has no copy.
        And the sizes of the clusters that fell apart.

    Raises:
        InvalidValue: `largest` is below 2.

    Example:
        >>> pairs = np.array([[0, 1], [1, 2], [3, 4]])
        >>> kinds = np.array(["exact", "resized", "flipped"])
        >>> copies = Copies(pairs, np.zeros(3, np.float32), kinds, np.ones(5, bool))
        >>> [part if isinstance(part, tuple) else part.tolist() for part in clusters(5, copies, largest=2)]
        [[0, 0, 2, 3, 3], (3,)]
    """
    if not largest >= 2:
        raise InvalidValue(f"largest must be at least 2; got {largest!r}.")
    whole = joined(num_images, copies.rows)
    sizes = np.bincount(whole, minlength=num_images)
    exact = joined(num_images, copies.rows[copies.kinds == "exact"])
    return np.where(sizes[whole] > largest, exact, whole), tuple(sorted(sizes[sizes > largest].tolist(), reverse=True))


def joined(num_images: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows that hang together by pairs, chains included.

    Args:
        num_images: rows in all.
        pairs: (num_pairs, 2) rows.

    Returns:
        (num_images,) int64, the lowest row that each row hangs together with.

    Raises:
        Nothing.

    Example:
        >>> joined(4, np.array([[1, 2], [2, 3]])).tolist()
        [0, 1, 1, 1]
    """
    lowest = list(range(num_images))

    def root(row: int) -> int:
        while lowest[row] != row:
            lowest[row] = lowest[lowest[row]]
            row = lowest[row]
        return row

    for first, second in pairs.tolist():
        one, other = sorted((root(first), root(second)))
        lowest[other] = one
    return np.array([root(row) for row in range(num_images)], np.int64)
