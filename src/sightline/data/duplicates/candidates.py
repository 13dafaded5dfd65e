"""Which pairs of images are worth a close look: those whose quick words are alike under one of fourteen changes.

Fourteen products a pair are most of a search among many images, so a bound that holds for several changes at once is
computed first, two products for the eight ways to lay an image down and one for the six crops. What it rules out
no change can bring back: the pairs that are found are those of all products.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.data.duplicates.alignment import CROPPED, UPRIGHT, Array, descriptors

WORTH_A_LOOK: Final = 0.87
"""Product of two words beyond which a pair is looked at: 99 % of crops of 10 % pass, and of unrelated pairs of CIFAR-10
about 1 in 100,000."""
MOST_CANDIDATES: Final = 64
"""Candidates an image; one with more twins than that is found through them."""

# A product of 64 words by 112 is the largest that OpenBLAS leaves to the thread that asks for it. The work is already
# divided among threads; where other programs have the processors, a BLAS that divides it again waits for its own
# threads: 17 ms of processor for what takes 1 ms in one thread.
_ROWS, _COLUMNS, _BLOCKS = 64, 112, 16
_ONE_THREAD = 2**18
# Bounds are computed in single precision, and must not be undercut by its rounding, about 1e-6.
_ROUNDING = 1e-4
# The first that swaps rows and columns; the rest of each half mirrors the first of it.
_HALF = len(UPRIGHT) // 2

Hits = tuple[Array, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""(num_hits,) products, images of the part, other images, and numbers of the change."""


def candidates(thumbnails: Array, words: Array, part: slice) -> list[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """For each change, by its number, images of this part and the others that are worth a closer look.

    Args:
        thumbnails: (num_in_part, 32, 32) of the images of this part.
        words: (num_images, 35) of all images, as they are.
        part: which of all images these are.
    """
    # Turning one way and back is the same for both of a pair, so that each is looked at once; cropping is not.
    upright = np.stack([descriptors(thumbnails, change) for change in UPRIGHT])
    cropped = np.stack([descriptors(thumbnails, change) for change in CROPPED])
    found = [
        _hits(upright, words, _upright_may_pass(upright, words, part), part, first=0),
        _hits(cropped, words, _cropped_may_pass(cropped, words, part), part, first=len(UPRIGHT)),
    ]
    likeness, query, other, change = (np.concatenate(column) for column in zip(*found, strict=True))
    kept = _best(likeness, query, other)
    query, other, change = query[kept], other[kept], change[kept]
    return [(number, query[change == number], other[change == number]) for number in np.unique(change).tolist()]


def _upright_may_pass(asked: Array, words: Array, part: slice) -> NDArray[np.bool_]:
    """(num_in_part, num_images) False where no way to lay the one image down brings it near the other."""
    # Mirroring only changes signs in a word, so that the product of the absolute values is the most that any gives.
    least = np.full(asked.shape[1], WORTH_A_LOOK - _ROUNDING, np.float32)
    may_pass = _beyond(np.abs(asked[[0, _HALF]]), np.abs(words), least, begin=part.start)
    return np.asarray(may_pass & (np.arange(len(words)) > np.arange(part.start, part.stop)[:, None]))


def _cropped_may_pass(asked: Array, words: Array, part: slice) -> NDArray[np.bool_]:
    """(num_in_part, num_images) False where none of the crops of the one image is near the other."""
    # The words of the crops lie on a cap of the sphere: what is further from its middle than its radius and the
    # angle that is worth a look is too far from all of them.
    middle = asked.mean(axis=0, dtype=np.float64)
    lengths = np.linalg.norm(middle, axis=1)
    middle /= np.maximum(lengths, 1e-9)[:, None]
    cosines = np.einsum("cnd,nd->cn", asked.astype(np.float64), middle).min(axis=0)
    # A middle of zeros has no angle: then all are let through.
    radius = np.where(lengths > 1e-3, np.arccos(np.clip(cosines, -1, 1)), np.pi)
    least = np.cos(np.minimum(np.pi, radius + np.arccos(WORTH_A_LOOK))) - _ROUNDING
    may_pass = _beyond(middle.astype(np.float32)[None], words, least.astype(np.float32), begin=0)
    may_pass[np.arange(len(middle)), np.arange(part.start, part.stop)] = False
    return may_pass


def _beyond(asked: Array, words: Array, least: Array, *, begin: int) -> NDArray[np.bool_]:
    """(num_in_part, num_images) True where one of (num, num_in_part, 35) words gives more than `least` of its image.

    False for images before `begin`, which are not looked at.
    """
    found = np.zeros((asked.shape[1], len(words)), np.bool_)
    step = _COLUMNS * _BLOCKS
    for start in range(begin, len(words), step):
        some = words[start : start + step]
        whole = len(some) // _COLUMNS * _COLUMNS
        for first, block in ((0, some[:whole].reshape(-1, _COLUMNS, words.shape[1])), (whole, some[None, whole:])):
            columns = slice(start + first, start + first + block.shape[0] * block.shape[1])
            for row in range(0, len(found), _ROWS):
                rows = slice(row, row + _ROWS)
                products = (asked[:, None, rows] @ block.swapaxes(1, 2)).max(axis=0) > least[rows, None]
                found[rows, columns] = products.swapaxes(0, 1).reshape(products.shape[1], -1)
    return found


def _hits(asked: Array, words: Array, may_pass: NDArray[np.bool_], part: slice, *, first: int) -> Hits:
    """The products beyond the limit among those that the bounds leave; changes are numbered from `first`."""
    hits = [(np.zeros(0, np.float32), *[np.zeros(0, np.int64)] * 3)]
    step = _ONE_THREAD // (asked.shape[0] * asked.shape[2])
    # An image at a time: its few are gathered and multiplied at once, which costs less than gathering both of a pair.
    for query in range(asked.shape[1]):
        left = np.flatnonzero(may_pass[query])
        for start in range(0, len(left), step):
            some = left[start : start + step]
            products = asked[:, query] @ words[some].T
            change, which = np.nonzero(products > WORTH_A_LOOK)
            if len(which):
                queries = np.full(len(which), part.start + query, np.int64)
                hits.append((products[change, which], queries, some[which], change + first))
    likeness, queries, others, changes = (np.concatenate(column) for column in zip(*hits, strict=True))
    return likeness, queries, others, changes


def _best(likeness: Array, queries: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """The likeliest change of each pair, and the likeliest pairs of each image."""
    order = np.lexsort((-likeness, others, queries))
    same = (np.diff(queries[order], prepend=-1) == 0) & (np.diff(others[order], prepend=-1) == 0)
    order = order[~same]
    order = order[np.lexsort((-likeness[order], queries[order]))]
    ranks = np.arange(len(order)) - np.searchsorted(queries[order], queries[order])
    return np.asarray(order[ranks < MOST_CANDIDATES])
