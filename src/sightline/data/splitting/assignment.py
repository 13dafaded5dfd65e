"""Which split each group of images belongs to, decided one image after the other in the order of their arrival.

What an image gets depends on itself and on those that came before it, never on those that come later. So a
source may grow without any image of it changing sides: a test row that became a train row would make the figures of
an earlier run untrue. The usual way, to cluster all images and deal out the clusters, cannot promise that: a new image
may be a copy of two that were unrelated so far, and then one of the two clusters has to move. Here the new image goes.

So groups are components of a graph that grows row by row (union-find). A new row looks at those of its pixels, of
its explicit group and of its near copies that have a split already. If all of them are in one, it follows them; if
they are in two, it is left out; if there are none, a seeded hash of its name picks the split. The hash asks nobody
else, so that a file that is removed moves few others; but it gives binomial sizes, and of classes of 20 images one in
five would be without a validation image. So it is overruled where a class would stray from its fractions (`_chosen`).
Why it was chosen: docs/decisions/0011-files-are-split-in-the-order-of-their-arrival.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.data.duplicates.search import Copies, connected_components
from sightline.records import SPLIT_NAMES, Dataset, Store

LEFT_OUT: Final = -1
# Where the hash is overruled, a row hangs on those that came before it, and may move when one of them is removed.
# Chance moves a split of 400 images by about 5 %: in larger ones the hash is hardly ever overruled.
SLACK: Final = 0.05
"""Share by which a class may miss its fraction of a split, beyond one image, before the hash is overruled."""
_TRAIN: Final = SPLIT_NAMES.index("train")
# What is held back comes first, so that another validation fraction leaves the test rows where they are.
_ORDER = tuple(SPLIT_NAMES.index(name) for name in ("test", "validation", "calibration", "train"))


@dataclass(frozen=True, eq=False)
class Assignment:
    """Where every row went.

    Attributes:
        splits: (num_images,) int64, index into `SPLIT_NAMES`, or `LEFT_OUT`.
        groups: (num_images,) strings, the key of each row's group: an explicit group's
            name, or the row id of the member that came first.
        left_out: (row id, reason) of the rows that would have tied two splits together.
        num_crossing: rows with a copy in another split, where the source or a file of splits says so.
    """

    splits: NDArray[np.int64]
    groups: NDArray[np.str_]
    left_out: tuple[tuple[str, str], ...]
    num_crossing: int


def assign(
    dataset: Dataset,
    shares: Sequence[float],
    *,
    seed: int,
    copies: Copies | None = None,
    kept: Mapping[int, tuple[int, str]] | None = None,
) -> Assignment:
    """Put every row into a split, no group in two of them.

    Rows go in the order of arrival, those of an earlier run first. A row that is
    free joins the group of its copies and of its explicit group. One that would
    tie two splits together is left out. A row without ties starts a group.

    Args:
        dataset: with the groups and the splits that the source gives.
        shares: of the free rows, for each of `SPLIT_NAMES`, 1 in all; 0 for a split that the source gives.
        seed: the same seed gives the same splits.
        copies: which rows are copies of which; None where nobody looked.
        kept: row to split and group key of an earlier run, which stay as they are.
    """
    assigner = _SplitAssigner(dataset, shares, seed, copies)
    kept = kept or {}
    # Rows of an earlier run have their split already, however late they arrived: they are what the others go by.
    order = _arrival_order(dataset).tolist()
    for row in [row for row in order if row in kept]:
        assigner.keep(row, *kept[row])
    for row in order:
        if row not in kept:
            assigner.assign(row)
    return assigner.closed()


def position(seed: int, key: str) -> float:
    """Where in [0, 1) the hash of a key falls, the same on every machine."""
    # Python's own `hash` differs from process to process; bytes of a file name that are not UTF-8 are surrogates.
    # No file name has a zero byte in it: seed 1 of "2.png" is not seed 12 of ".png".
    digest = hashlib.blake2b(f"{seed}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


class _SplitAssigner:
    """Who came before, in which group and split; grows row by row."""

    def __init__(self, dataset: Dataset, shares: Sequence[float], seed: int, copies: Copies | None) -> None:
        self.dataset, self.shares, self.seed = dataset, shares, seed
        self.row_ids: list[str] = dataset.row_ids.tolist()
        # Where an image has several labels, each is kept in proportion by itself.
        self.strata = dataset.task.all_strata(dataset.labels)
        self.given: list[str] = dataset.given_splits.tolist()
        self.names: list[str] = [""] * len(dataset) if dataset.groups is None else dataset.groups.tolist()
        # Rows with the same pixels are one node; near copies are pairs of nodes, so that it does not matter
        # which of several exact copies the pair was found with.
        self.nodes, self.neighbours = _graph(len(dataset), copies)
        self.splits = [LEFT_OUT] * len(dataset)
        # A forest of groups: each row points at another of its group, the first of them at itself.
        self.parents = list(range(len(dataset)))
        self.ages = [0] * len(dataset)
        self.keys = list(self.row_ids)
        # By what later rows find earlier ones: ("pixels", node), ("group", name) or ("kept", key of an earlier run).
        self.members: dict[tuple[str, str | int], list[int]] = {}
        distinct = {stratum for strata in self.strata for stratum in strata}
        self.counts: dict[int, list[int]] = {stratum: [0] * len(SPLIT_NAMES) for stratum in distinct}
        self.totals = [0] * len(SPLIT_NAMES)
        self.left_out: list[tuple[str, str]] = []
        self.num_placed = self.num_crossing = 0

    def keep(self, row: int, split: int, key: str) -> None:
        """Enter a row of an earlier run where it was."""
        # Its group is in the file of splits, too: the copy that once held two rows together may be gone by now.
        self._enter(row, split, [*self._ties(row), *self.members.get(("kept", key), ())], key)
        self._list("kept", key, row)

    def assign(self, row: int) -> None:
        """Find the split of a row, or leave it out."""
        allowed, known = self._allowed(row), self._ties(row)
        # Where the source itself gives splits, it has the last word: a copy on the other side is counted, not followed.
        ties = [other for other in known if self.splits[other] in allowed]
        self.num_crossing += len(ties) < len(known)
        found = sorted({self.splits[other] for other in ties})
        if len(found) > 1:
            first, second = (next(other for other in ties if self.splits[other] == split) for split in found[:2])
            # It is not entered: what is in no split ties nothing that comes after it.
            self.left_out.append((self.row_ids[row], self._reason(first, second)))
            return
        # By the group's name where it has one, so that it goes there whichever of its rows comes first.
        key = self.names[row] or self.row_ids[row]
        if found:
            split = found[0]
        else:
            split = allowed[0] if len(allowed) == 1 else self._chosen(self.strata[row], position(self.seed, key))
        self._enter(row, split, known, key)

    def closed(self) -> Assignment:
        """What came of it."""
        keys = [self.keys[self._root(row)] for row in range(len(self.row_ids))]
        return Assignment(
            np.array(self.splits, np.int64),
            np.array(keys, dtype=str),
            tuple(self.left_out),
            self.num_crossing,
        )

    def _allowed(self, row: int) -> tuple[int, ...]:
        """The splits that the source lets a row go to."""
        given = self.given[row]
        if given in SPLIT_NAMES and given != "train":
            return (SPLIT_NAMES.index(given),)
        # A source that gives train and test gives nothing to choose the epoch by: its train rows are divided further,
        # among the splits that it does not give itself.
        if given == "train":
            return tuple(split for split, share in enumerate(self.shares) if share > 0)
        return tuple(range(len(SPLIT_NAMES)))

    def _ties(self, row: int) -> list[int]:
        """Rows placed before that a row belongs with: of its pixels, its explicit group, and its near copies."""
        ties = [*self.members.get(("pixels", self.nodes[row]), ())]
        if self.names[row]:
            ties += self.members.get(("group", self.names[row]), ())
        for node in self.neighbours.get(self.nodes[row], ()):
            ties += self.members.get(("pixels", node), ())
        return ties

    def _enter(self, row: int, split: int, ties: Sequence[int], key: str) -> None:
        self.splits[row], self.keys[row] = split, key
        self.num_placed += 1
        self.ages[row] = self.num_placed
        for other in ties:
            # Two groups in two splits stay two, even where the source has put copies on both sides.
            if self.splits[other] == split:
                self._join(row, other)
        self._list("pixels", self.nodes[row], row)
        if self.names[row]:
            self._list("group", self.names[row], row)
        # Rows that the source has put where they are say nothing about whether the others have their fractions.
        if self.shares[split] > 0 and self.given[row] in ("", "train"):
            for stratum in self.strata[row]:
                self.counts[stratum][split] += 1
            self.totals[split] += 1

    def _list(self, kind: str, name: str | int, row: int) -> None:
        """Let later rows find this one; a list of all rows would be walked again and again."""
        # One is enough: rows under one name in one split are one group by the time the next one asks.
        listed = self.members.setdefault((kind, name), [])
        if self.splits[row] not in [self.splits[other] for other in listed]:
            listed.append(row)

    def _join(self, row: int, other: int) -> None:
        """Make one group of two; the one that came first gives it its key."""
        # The oldest, not the larger: a group must not change its name because a file was added.
        one, two = sorted((self._root(row), self._root(other)), key=lambda root: self.ages[root])
        self.parents[two] = one

    def _root(self, row: int) -> int:
        while self.parents[row] != row:
            self.parents[row] = self.parents[self.parents[row]]  # path halving: each walk shortens the way of the next
            row = self.parents[row]
        return row

    def _chosen(self, strata: Sequence[int], hashed: float) -> int:
        """The split of a new group: the one its hash says, unless a class of it would stray from its fractions.

        Source:
            Of several labels, the rarest decides first: Sechidis, Tsoumakas, Vlahavas, On the Stratification of
            Multi-Label Data, ECML PKDD (2011). What is rare is told by the images that came before.
        """
        of_each = [self.counts[stratum] for stratum in sorted(strata, key=lambda one: (sum(self.counts[one]), one))]
        counts = of_each[0]
        # A class that has nothing in train cannot be learned: its first image goes there, and so its only one.
        if not any(counts) and self.shares[_TRAIN] > 0:
            return _TRAIN
        # Of many small classes each may lag by less than an image, and all together by a whole split.
        for entered in (*of_each, self.totals):
            wanting = self._wanting(entered)
            if wanting is not None:
                return wanting
        # [0, 1) is cut into one stretch a split; what rounding leaves over at the end is train, the last in _ORDER.
        edge = 0.0
        for split in _ORDER:
            edge += self.shares[split]
            if hashed < edge:
                break
        num_images = sum(counts) + 1
        wanted = [share * num_images for share in self.shares]
        if counts[split] + 1 <= wanted[split] + 1 + SLACK * wanted[split]:
            return split
        # Full: the one that wants most takes it. What is wanted exceeds what there is by this one image, so some split
        # wants more than nothing, and it is none that gets no share.
        return max(_ORDER, key=lambda other: wanted[other] - counts[other])

    def _wanting(self, counts: Sequence[int]) -> int | None:
        """The split that lags behind its share by more than is allowed, the furthest if several do."""
        num_images = sum(counts) + 1  # with the row that is to be put somewhere
        furthest, found = 1.0, None
        for split in _ORDER:
            wanted = self.shares[split] * num_images
            # In units of what is allowed: an image, and 5 % of what there should be.
            lag = (wanted - counts[split]) / (1 + SLACK * wanted)
            if lag >= furthest:
                furthest, found = lag + 1e-9, split  # of equal lags the first in _ORDER, whatever rounding does
        return found

    def _reason(self, first: int, second: int) -> str:
        parts = [f"{self.row_ids[other]} ({SPLIT_NAMES[self.splits[other]]})" for other in (first, second)]
        return f"belongs with {parts[0]} and with {parts[1]}, and would tie the two splits together."


def _graph(num_images: int, copies: Copies | None) -> tuple[list[int], dict[int, list[int]]]:
    """For each row the first of its exact copies, and for each of those its near copies."""
    neighbours: dict[int, list[int]] = {}
    if copies is None:
        return list(range(num_images)), neighbours
    is_exact = copies.kinds == "exact"
    nodes = connected_components(num_images, copies.rows[is_exact]).tolist()
    for low, high in copies.rows[~is_exact].tolist():
        neighbours.setdefault(nodes[low], []).append(nodes[high])
        neighbours.setdefault(nodes[high], []).append(nodes[low])
    return nodes, neighbours


def _arrival_order(dataset: Dataset) -> NDArray[np.int64]:
    """Files by their arrival, then by row id; arrays as they lie."""
    if isinstance(dataset.images, Store):
        # The last key counts first. Files unpacked at once have one time: their names make the order a fixed one.
        return np.asarray(np.lexsort((dataset.row_ids, dataset.images.arrivals)), np.int64)
    return np.arange(len(dataset))
