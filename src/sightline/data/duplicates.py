"""Copies of one image among many: the same pixels, or the same picture after a slight change.

Measured on planted copies by `benchmarks/near_duplicates.py`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.data.copies import COPY_KINDS, LARGEST_CLUSTER, Copies, clusters
from sightline.data.likeness import CROPPED, UPRIGHT, Array, Change, closeness, descriptors, laid, smoothed
from sightline.data.thumbnails import Signature, Signatures, empty_signatures, signature
from sightline.errors import InvalidValue
from sightline.progress import reporter
from sightline.workers import in_order, num_workers

__all__ = [
    "COPY_KINDS",
    "LARGEST_CLUSTER",
    "NEAR",
    "Copies",
    "Signature",
    "Signatures",
    "clusters",
    "empty_signatures",
    "exact_duplicates",
    "find_copies",
    "near_duplicates",
    "signature",
]

NEAR: Final = 0.06
"""Distance up to which two images are copies. Of 2,062 photographs of hands before walls no two are that near."""
# At 0.87, 99 % of crops of 10 % pass and about 1 in 100,000 of unrelated pairs of CIFAR-10.
_WORTH_A_LOOK = 0.87
# Candidates an image, at each of the blocks' looks; an image with more twins than that is found through them.
_MOST_CANDIDATES = 64
_ROWS, _COLUMNS, _PAIRS = 256, 1024, 256
# A white and a black figure of one shape before one wall are two pictures, not one brightened.
_MOST_CONTRAST = np.log(2.2)
_NO_CROP = 0.015
_NO_BRIGHTENING = (6.0, 0.06)  # grey levels of the mean, share of the contrast


def exact_duplicates(signatures: Signatures) -> tuple[NDArray[np.int64], ...]:
    """Groups of images with the same decoded pixels and shape.

    Args:
        signatures: of the images; unknown ones are in no group.

    Returns:
        Ascending rows of each group of two or more, in the order of their first rows.

    Raises:
        Nothing.

    Example:
        >>> images = empty_signatures(3)
        >>> for row in (0, 2):
        ...     images.put(row, signature(np.zeros((8, 8, 1), np.uint8)))
        >>> [group.tolist() for group in exact_duplicates(images)]
        [[0, 2]]
    """
    rows = np.flatnonzero(signatures.known)
    order = rows[np.argsort(signatures.digests[rows], kind="stable")]
    digests = signatures.digests[order]
    groups = np.split(order, np.flatnonzero(digests[1:] != digests[:-1]) + 1)
    return tuple(sorted((group for group in groups if len(group) > 1), key=lambda group: int(group[0])))


def find_copies(signatures: Signatures, *, threshold: float = NEAR) -> Copies:
    """Exact and near copies at once.

    Args:
        signatures: of all images.
        threshold: as for `near_duplicates`.

    Returns:
        All pairs, which do not depend on the order of the images.

    Raises:
        InvalidValue: the threshold is out of range.

    Example:
        >>> generator = np.random.default_rng(0)
        >>> image = generator.integers(0, 256, (48, 48, 1), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
        >>> images = empty_signatures(3)
        >>> for row, copy in enumerate((image, image[:, ::-1], image // 2)):
        ...     images.put(row, signature(copy))
        >>> find_copies(images)
        Copies(1 brightened, 2 flipped among 3 images, 0 compared only exactly)
    """
    near = near_duplicates(signatures, threshold=threshold)
    exact = [(int(group[0]), int(row)) for group in exact_duplicates(signatures) for row in group[1:]]
    rows = np.concatenate([np.array(exact, np.int64).reshape(-1, 2), near.rows])
    distances = np.concatenate([np.zeros(len(exact), np.float32), near.distances])
    kinds = np.concatenate([np.full(len(exact), "exact", near.kinds.dtype), near.kinds])
    order = np.lexsort((rows[:, 1], rows[:, 0]))
    return Copies(rows[order], distances[order], kinds[order], signatures.can_tell)


def near_duplicates(signatures: Signatures, *, threshold: float = NEAR) -> Copies:
    """Pairs that show the same picture, resized, recompressed, brightened, flipped, turned or slightly cropped.

    Each pair is judged by itself, so that other images change nothing about it. Only
    where an image has more than 64 lookalikes are the nearest alone looked at.
    Memory is bounded: no table of all pairs is ever built.

    Args:
        signatures: of all images. Of exact copies only the first takes part.
        threshold: largest distance, above 0 and at most 0.5.

    Returns:
        The pairs, without the exact ones.

    Raises:
        InvalidValue: the threshold is out of range.

    Example:
        >>> near_duplicates(empty_signatures(2))
        Copies(none among 2 images, 2 compared only exactly)
    """
    if not 0 < threshold <= 0.5:
        raise InvalidValue(f"threshold must be above 0 and at most 0.5; got {threshold!r}.")
    told = np.flatnonzero(signatures.can_tell)
    # In the order of their digests, so that a pair is measured in one direction wherever its rows lie.
    _, first = np.unique(signatures.digests[told], return_index=True)
    told = told[first]
    words = np.concatenate(
        [descriptors(_floats(signatures.pixels[told[part]])) for part in _parts(len(told), 4096)]
        or [np.zeros((0, 35), np.float32)]
    )
    best: dict[tuple[int, int], tuple[float, str]] = {}
    parts = _parts(len(told), _ROWS)

    def pairs_of(part: slice) -> list[tuple[int, int, float, str]]:
        return _pairs_of(signatures, told, words, part, threshold)

    with reporter().bar("looking for copies", total=len(told)) as bar:
        for part, pairs in zip(parts, in_order(pairs_of, parts, workers=num_workers(len(parts))), strict=True):
            for low, high, distance, kind in pairs:
                if (low, high) not in best or distance < best[low, high][0]:
                    best[low, high] = (distance, kind)
            bar.advance(part.stop - part.start)
    rows = np.array(sorted(best), np.int64).reshape(-1, 2)
    found = [best[low, high] for low, high in rows.tolist()]
    distances = np.array([distance for distance, _ in found], np.float32)
    return Copies(rows, distances, np.array([kind for _, kind in found], "<U12"), signatures.can_tell)


def _parts(count: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def _floats(pixels: NDArray[np.uint8]) -> Array:
    return pixels.astype(np.float32)


def _pairs_of(
    signatures: Signatures, told: NDArray[np.int64], words: Array, part: slice, threshold: float
) -> list[tuple[int, int, float, str]]:
    """(low row, high row, distance, kind) of the copies that some images have."""
    found = []
    for change, queries, others in _candidates(_floats(signatures.pixels[told[part]]), words, part):
        asked, which = np.unique(queries, return_inverse=True)
        asked_smoothed = smoothed(np.ascontiguousarray(laid(_floats(signatures.pixels[told[asked]]), change)))
        # Pairs with the same other image stand together, so that it is smoothed once.
        order = np.argsort(others, kind="stable")
        for some in _parts(len(order), _PAIRS):
            pairs = order[some]
            other, place = np.unique(others[pairs], return_inverse=True)
            ones = asked_smoothed.take(which[pairs])
            twos = smoothed(_floats(signatures.pixels[told[other]])).take(place)
            starts = np.tile(np.array([change.start], np.float32), (len(pairs), 1))
            distances, crops = closeness(ones, twos, starts)
            rows = (told[queries[pairs]], told[others[pairs]])
            found += _copies_among(signatures, rows, change, (distances, crops), threshold)
    return found


def _copies_among(
    signatures: Signatures,
    rows: tuple[NDArray[np.int64], NDArray[np.int64]],
    change: Change,
    look: tuple[Array, Array],
    threshold: float,
) -> list[tuple[int, int, float, str]]:
    """Those of the pairs that a close look, distances and crops, shows to be copies."""
    (one, other), (distances, crops) = rows, look
    near = np.flatnonzero(distances <= threshold)
    deviations = [_floats(signatures.pixels[side[near]]).std(axis=(1, 2)) + 1 for side in (one, other)]
    near = near[np.abs(np.log(deviations[0] / deviations[1])) < _MOST_CONTRAST]
    found = []
    for place in near.tolist():
        row, copy = int(one[place]), int(other[place])
        kind = _kind(signatures, row, copy, change, crops[place])
        found.append((min(row, copy), max(row, copy), max(0.0, float(distances[place])), kind))
    return found


def _candidates(
    thumbnails: Array, words: Array, part: slice
) -> list[tuple[Change, NDArray[np.int64], NDArray[np.int64]]]:
    """For each change, images of this part and the others that are worth a closer look."""
    changes = (*UPRIGHT, *CROPPED)
    likenesses, queries, others, which = [np.zeros(0, np.float32)], [], [], []
    for group, start in ((UPRIGHT, part.start), (CROPPED, 0)):
        # Turning one way and back is the same for both of a pair, so that each is looked at once; cropping is not.
        asked = np.concatenate([descriptors(thumbnails, change) for change in group])
        for first in range(start, len(words), _COLUMNS):
            products = asked @ words[first : first + _COLUMNS].T
            hits = np.flatnonzero(products.ravel() > _WORTH_A_LOOK)
            lines, columns = np.divmod(hits, products.shape[1])
            change, query = np.divmod(lines, len(thumbnails))
            query, other = query + part.start, columns + first
            kept = (query < other) if group is UPRIGHT else (query != other)
            likenesses.append(products.ravel()[hits[kept]])
            queries.append(query[kept])
            others.append(other[kept])
            which.append(change[kept] + (0 if group is UPRIGHT else len(UPRIGHT)))
    kept = _best(np.concatenate(likenesses), np.concatenate(queries), np.concatenate(others))
    query, other, chosen = (np.concatenate(arrays)[kept] for arrays in (queries, others, which))
    return [(changes[number], query[chosen == number], other[chosen == number]) for number in np.unique(chosen)]


def _best(likeness: Array, queries: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """The likeliest change of each pair, and the likeliest pairs of each image."""
    order = np.lexsort((-likeness, others, queries))
    same = (np.diff(queries[order], prepend=-1) == 0) & (np.diff(others[order], prepend=-1) == 0)
    order = order[~same]
    order = order[np.lexsort((-likeness[order], queries[order]))]
    ranks = np.arange(len(order)) - np.searchsorted(queries[order], queries[order])
    return np.asarray(order[ranks < _MOST_CANDIDATES])


def _kind(signatures: Signatures, row: int, copy: int, change: Change, crop: Array) -> str:
    """The change that stands out, a turn before a crop before another brightness before another size."""
    if change.name:
        return change.name
    margins = np.abs([1 - crop[0] - crop[1], 1 - crop[0] + crop[1], 1 - crop[2] - crop[3], 1 - crop[2] + crop[3]])
    if margins.max() / 2 > _NO_CROP:
        return "cropped"
    one, other = _floats(signatures.pixels[row]), _floats(signatures.pixels[copy])
    contrast = abs(np.log((one.std() + 1) / (other.std() + 1)))
    if abs(one.mean() - other.mean()) > _NO_BRIGHTENING[0] or contrast > _NO_BRIGHTENING[1]:
        return "brightened"
    return "recompressed" if (signatures.sides[row] == signatures.sides[copy]).all() else "resized"
