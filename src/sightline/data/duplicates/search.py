"""Copies of one image among many: the same pixels, or the same picture after a slight change.

Measured on planted copies by `benchmarks/near_duplicates.py`. It takes longer than reading the images: what was
found is kept in the cache.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sightline.data.duplicates.alignment import (
    CROPPED,
    UPRIGHT,
    Array,
    descriptors,
    distance_after_alignment,
    smoothed,
    transposed,
)
from sightline.data.duplicates.candidates import candidates
from sightline.data.duplicates.fingerprints import Signatures
from sightline.errors import CannotWrite, InvalidValue, OutputExists
from sightline.system.caches import discard, find_entry, new_entry
from sightline.system.progress import reporter
from sightline.system.stored import read_arrays
from sightline.system.workers import Map, map_in_order, num_workers

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

# Raised when the search finds other pairs for the same signatures.
SEARCH_VERSION = 2
NEAR: Final = 0.06
"""Distance up to which two images are copies. Of 2,062 photographs of hands before walls no two are that near."""
# Images that are asked of all others at once, the bytes of the table that says which of these are left, and pairs that
# are looked at closely at once.
_ROWS, _TABLE_BYTES, _PAIRS = 256, 2**24, 128
# A white and a black figure of one shape before one wall are two pictures, not one brightened.
_MOST_CONTRAST = np.log(2.2)
_CHANGES = (*UPRIGHT, *CROPPED)
_NO_CROP = 0.015
_NO_BRIGHTENING = (6.0, 0.06)  # grey levels of the mean, share of the contrast


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
    """(num_images,) int64, the lowest row that each row hangs together with by (num_pairs, 2) pairs, chains included.

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


def remembered_copies(signatures: Signatures) -> Copies:
    """What `find_copies` gives, from the cache if it was asked before; without one it only takes longer."""
    digest = hashlib.sha256(repr((SEARCH_VERSION, NEAR, len(signatures))).encode())
    for name, column in sorted(signatures.to_arrays().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(column).tobytes())
    key, name = digest.hexdigest()[:32], "copies.npz"
    place = find_entry("copies", key)
    if place is not None:
        with contextlib.suppress(OSError, ValueError):
            fields = [field.name for field in dataclasses.fields(Copies)]
            return Copies(**read_arrays(place / name, names=fields))
        discard(place)
    copies = find_copies(signatures)
    stream = io.BytesIO()
    np.savez_compressed(stream, **dataclasses.asdict(copies))
    content, holds = stream.getvalue(), f"copies among {len(signatures):,} images"
    with (
        contextlib.suppress(CannotWrite, OutputExists, OSError),
        new_entry("copies", key, holds=holds, num_bytes=len(content)) as staged,
    ):
        (staged / name).write_bytes(content)
    return copies


def find_copies(signatures: Signatures, *, threshold: float = NEAR, each: Map | None = None) -> Copies:
    """Exact and near copies at once: all pairs, which do not depend on the order of the images.

    Args:
        signatures: of all images.
        threshold: distance of near copies, above 0 and at most 0.5; 0 is the same picture, about 1 an unlike one.
        each: a map that looks closely, a few hundred images at a time; threads here if left out.

    Example:
        >>> from sightline.data.duplicates.fingerprints import empty_signatures
        >>> generator = np.random.default_rng(0)
        >>> image = generator.integers(0, 256, (48, 48, 1), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
        >>> images = empty_signatures(3)
        >>> for row, copy in enumerate((image, image[:, ::-1], image // 2)):
        ...     images.put(row, copy)
        >>> find_copies(images)
        Copies(1 brightened, 2 flipped among 3 images, 0 compared only exactly)
    """
    near = near_duplicates(signatures, threshold=threshold, each=each)
    exact = [(int(group[0]), int(row)) for group in exact_duplicates(signatures) for row in group[1:]]
    rows = np.concatenate([np.array(exact, np.int64).reshape(-1, 2), near.rows])
    distances = np.concatenate([np.zeros(len(exact), np.float32), near.distances])
    kinds = np.concatenate([np.full(len(exact), "exact", near.kinds.dtype), near.kinds])
    order = np.lexsort((rows[:, 1], rows[:, 0]))
    return Copies(rows[order], distances[order], kinds[order], signatures.can_tell, near.lookalikes)


def exact_duplicates(signatures: Signatures) -> tuple[NDArray[np.int64], ...]:
    """Groups of images with the same decoded pixels and shape, those that could not be read in none.

    Returns:
        Ascending rows of each group of two or more, in the order of their first rows.
    """
    rows = np.flatnonzero(signatures.known)
    order = rows[np.argsort(signatures.digests[rows], kind="stable")]
    digests = signatures.digests[order]
    groups = np.split(order, np.flatnonzero(digests[1:] != digests[:-1]) + 1)
    return tuple(sorted((group for group in groups if len(group) > 1), key=lambda group: int(group[0])))


def near_duplicates(signatures: Signatures, *, threshold: float = NEAR, each: Map | None = None) -> Copies:
    """Pairs that show the same picture, resized, recompressed, brightened, flipped, turned or slightly cropped.

    Each pair is judged by itself, so that other images change nothing about it: whether
    likeness means anything among them is for `sightline.data.duplicates.search.outstanding` to say. Only
    where an image has more than 64 lookalikes are the nearest alone looked at.
    Memory is bounded: no table of all pairs is ever built.

    Returns:
        The pairs, without the exact ones.
    """
    if not 0 < threshold <= 0.5:
        raise InvalidValue(f"threshold must be above 0 and at most 0.5; got {threshold!r}.")
    told = _told(signatures)
    parts = _parts(len(told.rows), max(16, min(_ROWS, _TABLE_BYTES // max(1, len(told.rows)))))

    looks, looks_of = [], functools.partial(_looks_of, told, furthest=2 * threshold)
    with reporter().bar("looking for copies", total=len(told.rows)) as bar:
        given = (
            map_in_order(looks_of, parts, workers=num_workers(len(parts))) if each is None else each(looks_of, parts)
        )
        for part, found in zip(parts, given, strict=True):
            looks.append(found)
            bar.advance(part.stop - part.start)
    pairs = _closest(looks)
    near = pairs.distances <= threshold
    copies = pairs.take(near)
    rows, distances = np.sort(told.rows[copies.ends], axis=1), np.maximum(copies.distances, 0)
    order = np.lexsort((rows[:, 1], rows[:, 0]))
    kinds = np.array(_kinds(told, copies), "<U12")
    return Copies(rows[order], distances[order], kinds[order], signatures.can_tell, pairs.distances[~near])


@dataclass(frozen=True, eq=False)
class _Told:
    """The images that take part: their rows, thumbnails, sides, quick words, and mean and contrast of their light."""

    rows: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    sides: NDArray[np.int32]
    words: Array
    means: Array
    contrasts: Array


def _told(signatures: Signatures) -> _Told:
    rows = np.flatnonzero(signatures.can_tell)
    # In the order of their digests, so that a pair is measured in one direction wherever its rows lie.
    _, first = np.unique(signatures.digests[rows], return_index=True)
    taken = signatures.take(rows[first])
    words, means, contrasts = [np.zeros((0, 35), np.float32)], [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
    for part in _parts(len(taken), 4096):
        thumbnails = taken.pixels[part].astype(np.float32)
        words.append(descriptors(thumbnails))
        means.append(thumbnails.mean(axis=(1, 2)))
        contrasts.append(np.log(thumbnails.std(axis=(1, 2)) + 1))
    columns = (np.concatenate(column) for column in (words, means, contrasts))
    return _Told(rows[first], taken.pixels, taken.sides, *columns)


@dataclass(frozen=True, eq=False)
class _Looks:
    """What close looks gave: at which two of the told images, by which change, how far apart, how laid over."""

    ends: NDArray[np.int64]
    changes: NDArray[np.int64]
    distances: Array
    crops: Array

    def take(self, which: NDArray[Any]) -> _Looks:
        return _Looks(self.ends[which], self.changes[which], self.distances[which], self.crops[which])


def _looks_of(told: _Told, part: slice, *, furthest: float) -> _Looks:
    """The pairs of some images with others that are no further apart than this."""
    looks = []
    for change, queries, others in candidates(told.pixels[part].astype(np.float32), told.words, part):
        asked, which = np.unique(queries, return_inverse=True)
        thumbnails = transposed(told.pixels[asked].astype(np.float32), _CHANGES[change])
        asked_smoothed = smoothed(np.ascontiguousarray(thumbnails))
        # Pairs with the same other image stand together, so that it is smoothed once.
        order = np.argsort(others, kind="stable")
        for some in _parts(len(order), _PAIRS):
            pairs = order[some]
            other, inverse = np.unique(others[pairs], return_inverse=True)
            ones = asked_smoothed.take(which[pairs])
            twos = smoothed(told.pixels[other].astype(np.float32)).take(inverse)
            starts = np.tile(np.array([_CHANGES[change].start], np.float32), (len(pairs), 1))
            distances, crops = distance_after_alignment(ones, twos, starts)
            ends = np.stack([queries[pairs], others[pairs]], axis=1)
            contrasts = told.contrasts[ends]
            near = (distances <= furthest) & (np.abs(contrasts[:, 0] - contrasts[:, 1]) < _MOST_CONTRAST)
            looks.append(_Looks(ends, np.full(len(pairs), change), distances, crops).take(near))
    return _stacked(looks)


def _closest(looks: Sequence[_Looks]) -> _Looks:
    """Each pair once, by the look that found it closest."""
    every = _stacked(looks)
    pairs = np.sort(every.ends, axis=1)
    order = np.lexsort((every.distances, pairs[:, 1], pairs[:, 0]))
    is_first = (np.diff(pairs[order], axis=0, prepend=-1) != 0).any(axis=1)
    return every.take(order[is_first])


def _stacked(looks: Sequence[_Looks]) -> _Looks:
    nothing = _Looks(
        np.zeros((0, 2), np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros((0, 4), np.float32)
    )
    every = [nothing, *looks]
    columns = ([getattr(some, name) for some in every] for name in ("ends", "changes", "distances", "crops"))
    return _Looks(*(np.concatenate(column) for column in columns))


def _kinds(told: _Told, copies: _Looks) -> list[str]:
    """The change that stands out, a turn before a crop before another brightness before another size."""
    one, other = copies.ends.T
    scale_across, shift_across, scale_down, shift_down = copies.crops.T
    across = np.maximum(np.abs(1 - scale_across - shift_across), np.abs(1 - scale_across + shift_across))
    down = np.maximum(np.abs(1 - scale_down - shift_down), np.abs(1 - scale_down + shift_down))
    is_lighter = np.abs(told.means[one] - told.means[other]) > _NO_BRIGHTENING[0]
    is_stronger = np.abs(told.contrasts[one] - told.contrasts[other]) > _NO_BRIGHTENING[1]
    conditions = [
        np.maximum(across, down) / 2 > _NO_CROP,
        is_lighter | is_stronger,
        (told.sides[one] != told.sides[other]).any(axis=1),
    ]
    kinds = np.select(conditions, ["cropped", "brightened", "resized"], "recompressed").tolist()
    return [_CHANGES[change].name or kind for change, kind in zip(copies.changes.tolist(), kinds, strict=True)]


def _parts(count: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]
