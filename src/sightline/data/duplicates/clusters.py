"""Which images are copies of which, and what hangs together by it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

COPY_KINDS: Final = ("exact", "recompressed", "resized", "brightened", "cropped", "flipped", "turned")
LONGEST_CHAIN: Final = 50
"""Pictures that a chain of near copies may hold: what is longer is no burst, and must not swallow a class."""
ALWAYS_ALLOWED: Final = 10
"""Pictures that it may hold however small the source."""
MOST_IN_CHAINS: Final = 0.1
"""Share of the images in too long chains, beyond which near copies are told nowhere in a source."""
DOUBTED_FROM: Final = 0.05
"""Share of the images with near copies, beyond which it is asked whether likeness tells anything."""
MOST_FURTHER: Final = 3
"""Pairs between a distance and its double, for each within it, up to which these are copies."""


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
        lookalikes: (num_lookalikes,) float32, distances of further pairs, up to twice the threshold.
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.float32]
    kinds: NDArray[np.str_]
    can_tell: NDArray[np.bool_]
    lookalikes: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def take(self, pairs: NDArray[np.bool_]) -> Copies:
        """Some of the pairs."""
        return replace(self, rows=self.rows[pairs], distances=self.distances[pairs], kinds=self.kinds[pairs])

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        found = ", ".join(f"{np.sum(self.kinds == kind):,} {kind}" for kind in COPY_KINDS if kind in self.kinds)
        untold = int((~self.can_tell).sum())
        return f"Copies({found or 'none'} among {len(self.can_tell):,} images, {untold:,} compared only exactly)"


def outstanding(copies: Copies) -> tuple[Copies, int]:
    """The copies that stand out from what merely looks alike, and how many images do not.

    Under one fixed camera, on forms, x-rays of one part of the body or digits, every
    image looks like many others, and likeness tells nothing about copies. Three signs
    give that away. Copies are near and all else is far; so where most pairs of those
    that are near lie close to the limit, the limit is drawn nearer, down to none. A
    chain of more than 50 images, or of more than a third of a source, is no burst of
    copies. And where a tenth of the images are in such chains, the rest of what was
    found is their fringe. What is left without near copies by this keeps its exact ones.

    Args:
        copies: all that were found.

    Returns:
        Those to be heeded, and the number of images of which only the exact copies can be told.

    Example:
        >>> pairs = np.stack([np.arange(59), np.arange(1, 60)], axis=1)
        >>> chain = Copies(pairs, np.full(59, 0.01, np.float32), np.array(["resized"] * 59), np.ones(90, bool))
        >>> outstanding(chain)
        (Copies(none among 90 images, 0 compared only exactly), 60)
    """
    num_images, is_exact = len(copies.can_tell), copies.kinds == "exact"
    near = ~is_exact & (copies.distances <= _reach(copies))
    # Exact copies are one picture: a hundred of them do not make a chain.
    pictures = connected_components(num_images, copies.rows[is_exact])
    chains = connected_components(num_images, pictures[copies.rows[near]])[pictures]
    sizes = np.bincount(chains[np.unique(pictures)], minlength=num_images)
    is_long = sizes > min(LONGEST_CHAIN, max(ALWAYS_ALLOWED, num_images // 3))
    if is_long[chains].sum() > MOST_IN_CHAINS * num_images:
        near[:] = False
    near &= ~is_long[chains[copies.rows[:, 0]]]
    untold = np.setdiff1d(copies.rows[~is_exact], copies.rows[near])
    return copies.take(is_exact | near), len(untold)


def _reach(copies: Copies) -> float:
    """The distance up to which copies are more than the nearest of many lookalikes; 0 where there is none.

    Of points that fill a space of k dimensions, 2^k times as many lie within twice a distance: of lookalikes
    several times as many as within it, of copies hardly more.
    """
    found = copies.distances[copies.kinds != "exact"]
    furthest = float(found.max(initial=0))
    num_tied = len(np.unique(copies.rows[copies.kinds != "exact"]))
    if num_tied <= DOUBTED_FROM * len(copies.can_tell):
        return furthest  # too few to do harm, or to tell the one from the other by counting
    every = np.sort(np.concatenate([found, copies.lookalikes]))
    for distance in np.linspace(furthest, 0, 12, endpoint=False):
        within, further = np.searchsorted(every, (distance, 2 * distance), side="right")
        if further - within <= MOST_FURTHER * within:
            return float(distance)
    return 0.0


def connected_components(num_images: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows that hang together by pairs, chains included.

    Args:
        num_images: rows in all.
        pairs: (num_pairs, 2) rows.

    Returns:
        (num_images,) int64, the lowest row that each row hangs together with.

    Example:
        >>> connected_components(4, np.array([[1, 2], [2, 3]])).tolist()
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
