"""Two sources as one: the rows of both, their classes in one order."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sightline.data.sources.assembly import natural_order, unique_names
from sightline.errors import InvalidSource
from sightline.records import Dataset, Store


@dataclasses.dataclass(frozen=True, eq=False)
class JoinedStore(Store):
    """Images of several stores: `part_of` and `row_in_part`, (num_images,) int64, say which and where."""

    parts: tuple[Store, ...]
    part_of: NDArray[np.int64]
    row_in_part: NDArray[np.int64]

    def read(self, row: int) -> bytes:
        """What the store of the row reads."""
        part: Store = self.parts[self.part_of[row]]
        return part.read(int(self.row_in_part[row]))

    def head(self, row: int, num_bytes: int) -> bytes:
        """The first bytes alone, where its store can."""
        part: Store = self.parts[self.part_of[row]]
        return part.head(int(self.row_in_part[row]), num_bytes)

    def identities(self, rows: NDArray[np.int64]) -> Sequence[tuple[Any, ...] | None]:
        """By what the store of each row knows it."""
        found: list[tuple[Any, ...] | None] = [None] * len(rows)
        for number, part in enumerate(self.parts):
            of_part = np.flatnonzero(self.part_of[rows] == number)
            known = part.identities(self.row_in_part[rows[of_part]])
            for at, identity in zip(of_part.tolist(), known, strict=True):
                found[at] = identity
        return found

    def places(self) -> Iterable[Path]:
        """Those of all parts."""
        return [place for part in self.parts for place in part.places()]

    def take(self, rows: NDArray[np.int64]) -> Self:
        """The same for some of the rows."""
        return dataclasses.replace(super().take(rows), part_of=self.part_of[rows], row_in_part=self.row_in_part[rows])


def joined(first: Dataset, second: Dataset, *, prefix: str) -> Dataset:
    """The rows of one source, and behind them those of another, whose row ids get a prefix; classes of both by name.

    Raises:
        InvalidSource: one holds files and the other arrays, or arrays of another shape.
    """
    if first.task.name != second.task.name:
        raise InvalidSource(
            f"'{first.name}' is labelled as {first.task.name} and '{second.name}' as {second.task.name}, which cannot "
            "be joined. Open both in one way (data.task)."
        )
    names = tuple(sorted({*first.class_names, *second.class_names}, key=natural_order))
    numbers = [np.array([names.index(name) for name in one.class_names], np.int64) for one in (first, second)]
    row_ids = unique_names([*first.row_ids.tolist(), *(f"{prefix}/{row_id}" for row_id in second.row_ids.tolist())])
    images = _images(first, second)
    seal = repr((first.fingerprint, second.fingerprint, names, second.row_ids.tolist()))
    return Dataset(
        name=first.name,
        class_names=names,
        row_ids=np.array(row_ids),
        labels=np.concatenate(
            [
                first.task.renumbered(one.labels, number, num_classes=len(names))
                for number, one in zip(numbers, (first, second), strict=True)
            ]
        ),
        images=images,
        given_splits=np.concatenate([first.given_splits, np.full(len(second), "")]),
        fingerprint=hashlib.sha256(seal.encode("utf-8", "surrogatepass")).hexdigest(),
        licence=first.licence if first.licence == second.licence else "",
        groups=_column(first.groups, np.array(row_ids[: len(first)]), second.groups, np.array(row_ids[len(first) :])),
        weights=_column(first.weights, np.ones(len(first)), second.weights, np.ones(len(second))),
        remarks=first.remarks,
        left_out=first.left_out,
        changed_labels=first.changed_labels,
        typed=first.typed,
        task=first.task,
    )


def _column(first: Any, usual_first: Any, second: Any, usual_second: Any) -> Any:
    if first is None and second is None:
        return None
    return np.concatenate([usual_first if first is None else first, usual_second if second is None else second])


def _images(first: Dataset, second: Dataset) -> NDArray[np.uint8] | Store:
    one, other = first.images, second.images
    if isinstance(one, Store) and isinstance(other, Store):
        return JoinedStore(
            names=(*one.names, *other.names),
            num_bytes=np.concatenate([one.num_bytes, other.num_bytes]),
            # Those of a run were there before.
            arrivals=np.concatenate([one.arrivals, other.arrivals]),
            parts=(one, other),
            part_of=np.repeat(np.arange(2), [len(one), len(other)]),
            row_in_part=np.concatenate([np.arange(len(one)), np.arange(len(other))]),
        )
    if isinstance(one, Store) or isinstance(other, Store):
        held = ["files" if isinstance(images, Store) else "arrays" for images in (one, other)]
        raise InvalidSource(
            f"'{first.name}' holds {held[0]} and '{second.name}' {held[1]}, which cannot be joined. Save the arrays as "
            "files, a folder a class, and train again."
        )
    if one.shape[1:] != other.shape[1:]:
        shapes = ["x".join(map(str, images.shape[1:])) for images in (one, other)]
        raise InvalidSource(
            f"'{first.name}' holds images of {shapes[0]} and '{second.name}' of {shapes[1]}, which cannot be joined. "
            "Bring them to one size, or save them as files."
        )
    return np.concatenate([one, other])
