"""Rows of numbers that were made once for each image and are kept: only those of images that are new are made.

They lie in entries of the cache, mapped, a file for each column. An entry is whole when it appears and never changes;
each chunk is held against its checksum when it is first read, and made again where it is not what was written.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sightline.data.storage.stores import Identities
from sightline.errors import CannotWrite, InvalidSource, OutputExists
from sightline.system.caches import LIMIT_VARIABLE, cache_root, discard, find_entry, new_entry, note_use
from sightline.system.progress import reporter
from sightline.system.stored import read_arrays

# Large enough for a checksum at the speed of memory, small enough for a single image not to cost a whole file.
_CHUNK_BYTES: Final = 2**20
# A folder that grows by an image a day would be spread over as many entries.
MOST_ENTRIES: Final = 16

Fill = Callable[[NDArray[np.int64], Mapping[str, Any]], NDArray[np.bool_]]
"""Makes some rows: given which, and an array for each column, it fills these and says which rows may be kept."""

FillAll = Callable[[Mapping[str, Any]], NDArray[np.bool_]]


@dataclass(frozen=True)
class Column:
    """One number or array of numbers an image."""

    name: str
    shape: tuple[int, ...]
    dtype: DTypeLike

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    @property
    def step(self) -> int:
        """Rows of a chunk."""
        return max(1, _CHUNK_BYTES // max(self.row_bytes, 1))


@dataclass(frozen=True)
class Shelf:
    """What is kept side by side: of one kind, depending on one key, with the same columns."""

    kind: str
    key: str
    columns: tuple[Column, ...]
    holds: str


class KeptColumn:
    """One column of an entry; or one that is held in memory, whose chunks have nothing to be held against."""

    def __init__(
        self, values: NDArray[Any], sums: NDArray[np.uint32] | None = None, *, step: int = 1, place: Path | None = None
    ) -> None:
        self.values, self.sums, self.step, self.place = values, sums, step, place
        self.is_checked = sums is None
        self._checked = np.zeros(0 if sums is None else len(sums), bool)

    def damaged(self, rows: NDArray[np.int64]) -> list[int]:
        """Chunks of these rows, looked at for the first time, that are not what was written."""
        if self.sums is None:
            return []
        chunks = np.unique(rows // self.step)
        new = chunks[~self._checked[chunks]].tolist()
        found = [chunk for chunk in new if _checksum(self.values, chunk, self.step) != self.sums[chunk]]
        self._checked[new] = True
        return found


KeptColumns = dict[str, KeptColumn]


class KeptRows:
    """A row an image, wherever each of them lies, as one array that is sliced like any other."""

    def __init__(self, parts: list[KeptColumn], part_of: NDArray[np.int64], row_of: NDArray[np.int64]) -> None:
        """`part_of` and `row_of`: (num_rows,), in which part a row lies, and where in it."""
        self.parts, self.part_of, self.row_of = parts, part_of, row_of
        shape, self.dtype = parts[0].values.shape[1:], parts[0].values.dtype
        self.shape = (len(row_of), *shape)
        self.make_again: Callable[[NDArray[np.int64]], NDArray[Any]] | None = None
        self._gate = threading.Lock()

    def __len__(self) -> int:
        return len(self.row_of)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, in memory or not."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:  # noqa: FBT001  # as NumPy calls it
        # Otherwise NumPy would take it for a list and fetch row by row.
        return np.array(self[:], dtype=dtype, copy=copy or None)

    def __getitem__(self, index: int | slice | NDArray[np.int64]) -> NDArray[Any]:
        if isinstance(index, int | np.integer):
            one: NDArray[Any] = self._of_part(int(self.part_of[index]), np.array([self.row_of[index]]))[0]
            return one
        rows = self.row_of[index]
        if len(self.parts) == 1:
            return self._of_part(0, rows)
        parts = self.part_of[index]
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for number in np.unique(parts).tolist():
            here = parts == number
            found[here] = self._of_part(number, rows[here])
        return found

    def _of_part(self, number: int, rows: NDArray[np.int64]) -> NDArray[Any]:
        part = self.parts[number]
        if not part.is_checked:
            with self._gate:
                if damaged := part.damaged(rows):
                    self._repair(number, part, damaged)
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
            return part.values[rows[0] : rows[-1] + 1]  # not copied
        return part.values[rows]

    def _repair(self, number: int, part: KeptColumn, damaged: list[int]) -> None:
        """Make the rows of damaged chunks again; they are written to memory alone, and the entry goes."""
        own = np.flatnonzero((self.part_of == number) & np.isin(self.row_of // part.step, damaged))
        reporter().say(f"{part.place}: damaged since it was written; what {len(own):,} images gave is made again")
        if self.make_again is not None:
            part.values[self.row_of[own]] = self.make_again(own)
        if part.place is not None:
            discard(part.place)


def kept_rows(shelf: Shelf, identities: Identities, fill: Fill, *, limit: int | None = None) -> dict[str, KeptRows]:
    """A row for each identity: from the cache, or made and kept.

    Args:
        shelf: where to look.
        identities: (num_rows,); b"" for what cannot be known again.
        fill: called for rows that are missing.
        limit: bound of the whole cache in bytes; the usual one if left out.

    Returns:
        Name of a column to its rows, in the order of the identities; in memory where they cannot be kept.

    Raises:
        CannotWrite: neither the cache nor memory can hold them.
    """
    try:
        return _collected(shelf, identities, fill, keep=functools.partial(_written, limit=limit))
    except OutputExists:
        # Another run was faster: what it kept is found now, and the rest is what it could not make either.
        return _collected(shelf, identities, fill, keep=_held)


def _collected(
    shelf: Shelf, identities: Identities, fill: Fill, *, keep: Callable[..., KeptColumns]
) -> dict[str, KeptRows]:
    parts, part_of, row_of = _found(shelf, identities)
    missing = part_of < 0
    for rows, how in ((missing & (identities != b""), keep), (missing & (identities == b""), _held)):
        if rows.any():
            part_of[rows], row_of[rows] = len(parts), np.arange(rows.sum())
            parts.append(how(shelf, identities[rows], functools.partial(fill, np.flatnonzero(rows))))
    if not parts:
        parts.append(_held(shelf, identities, lambda _: np.zeros(0, bool)))
    kept = {column.name: KeptRows([part[column.name] for part in parts], part_of, row_of) for column in shelf.columns}
    for name, rows_kept in kept.items():
        rows_kept.make_again = functools.partial(_made_again, shelf, fill, name)
    return kept


def _made_again(shelf: Shelf, fill: Fill, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
    arrays = _in_memory(shelf, len(rows))
    if not fill(rows, arrays).all():
        raise InvalidSource("the cache is damaged, and images that it held cannot be read. Run the command again.")
    return arrays[name]


def _found(shelf: Shelf, identities: Identities) -> tuple[list[KeptColumns], NDArray[np.int64], NDArray[np.int64]]:
    """What is kept already: its parts, and for each identity the part (-1: none) and the row in it."""
    part_of, row_of = np.full(len(identities), -1), np.zeros(len(identities), np.int64)
    parts: list[KeptColumns] = []
    used: list[tuple[Path, Identities]] = []
    for place in _places(shelf):
        index = _read_index(place)
        if index is None:
            discard(place)
            continue
        rows = _places_in(identities, index["identities"])
        new = (rows >= 0) & (part_of < 0)
        if new.any() and (opened := _opened(shelf, place, index)) is not None:
            part_of[new], row_of[new] = len(parts), rows[new]
            used.append((place, index["identities"]))
            parts.append(opened)
            note_use(place)
    if len(parts) > MOST_ENTRIES:
        largest = int(np.bincount(part_of[part_of >= 0]).argmax())
        for number, (place, known) in enumerate(used):
            # What others have in it stays; all the rest is made once more, into one entry.
            if number != largest and np.isin(known, identities).all():
                discard(place)
        return [parts[largest]], np.where(part_of == largest, 0, -1), row_of
    return parts, part_of, row_of


def _places(shelf: Shelf) -> list[Path]:
    with contextlib.suppress(OSError, CannotWrite):
        folder = cache_root() / shelf.kind
        names = sorted(path.name for path in folder.glob(f"{shelf.key}-*"))
        found = [folder / name for name in names]
        return [place for place in found if not folder.is_symlink() and not place.is_symlink()]
    return []


def _places_in(wanted: Identities, known: Identities) -> NDArray[np.int64]:
    """(num_wanted,) where each identity stands among the known ones, -1 where it does not."""
    if not len(known):
        return np.full(len(wanted), -1)
    order = np.argsort(known, kind="stable")
    at = np.minimum(np.searchsorted(known, wanted, sorter=order), len(known) - 1)
    return np.where((known[order[at]] == wanted) & (wanted != b""), order[at], -1)


def _read_index(place: Path) -> dict[str, NDArray[Any]] | None:
    """Identities and checksums of an entry, or None where they are damaged."""
    try:
        index = read_arrays(place / "index.npz")
    except (OSError, ValueError):
        return None
    identities = index.get("identities")
    return index if identities is not None and identities.dtype.kind == "S" and identities.ndim == 1 else None


def _opened(shelf: Shelf, place: Path, index: Mapping[str, NDArray[Any]]) -> KeptColumns | None:
    num_rows = len(index["identities"])
    parts: KeptColumns = {}
    try:
        for column in shelf.columns:
            path, sums = place / f"{column.name}.bin", index[f"sums_{column.name}"]
            if path.stat().st_size != num_rows * column.row_bytes or len(sums) != -(-num_rows // column.step):
                raise ValueError("wrong size")
            # Copied where it is written to: what is made again is seen by this process alone.
            values = np.memmap(path, dtype=column.dtype, mode="c", shape=(num_rows, *column.shape))
            parts[column.name] = KeptColumn(values, sums, step=column.step, place=place)
    except (OSError, ValueError, KeyError, TypeError):
        discard(place)
        return None
    return parts


class _NothingToKeepError(Exception):
    """No row may be kept; carries what was made."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.arrays = {name: np.array(values) for name, values in arrays.items()}


def _written(shelf: Shelf, identities: Identities, fill: FillAll, *, limit: int | None) -> KeptColumns:
    """Missing rows, made and kept; in memory where the cache cannot hold them, which is said."""
    digest = hashlib.blake2b(identities.tobytes(), digest_size=8).hexdigest()
    key = f"{shelf.key}-{digest}"
    num_bytes = len(identities) * sum(column.row_bytes for column in shelf.columns)
    try:
        with new_entry(shelf.kind, key, holds=shelf.holds, num_bytes=num_bytes, limit=limit) as staged:
            _write(shelf, identities, fill, staged)
        place = find_entry(shelf.kind, key)
        index = None if place is None else _read_index(place)
        opened = None if place is None or index is None else _opened(shelf, place, index)
        if opened is not None:
            return opened
        reason = "it was removed while it was written"
    except _NothingToKeepError as made:
        return {name: KeptColumn(values) for name, values in made.arrays.items()}
    except CannotWrite as error:
        reason = str(error).rstrip(".")
    except OSError as error:
        reason = f"it cannot be written: {error.strerror or error}"
    reporter().say(
        f"{shelf.holds}: kept in memory and made again next time, since the cache does not take it ({reason})"
    )
    return _held(shelf, identities, fill)


def _write(shelf: Shelf, identities: Identities, fill: FillAll, folder: Path) -> None:
    arrays = {column.name: _reserved(folder, column, len(identities)) for column in shelf.columns}
    may_be_kept = fill(arrays)
    if not may_be_kept.any():
        raise _NothingToKeepError(arrays)
    sums = {}
    for column in shelf.columns:
        chunks = range(-(-len(identities) // column.step))
        found = [_checksum(arrays[column.name], chunk, column.step) for chunk in chunks]
        sums[f"sums_{column.name}"] = np.array(found, np.uint32)
    for values in arrays.values():
        values.flush()
    with (folder / "index.npz").open("wb") as stream:
        content: dict[str, Any] = {"identities": np.where(may_be_kept, identities, b""), **sums}
        np.savez(stream, **content)


def _held(shelf: Shelf, identities: Identities, fill: FillAll) -> KeptColumns:
    """Rows made and held in memory."""
    arrays = _in_memory(shelf, len(identities))
    fill(arrays)
    return {name: KeptColumn(values) for name, values in arrays.items()}


def _reserved(folder: Path, column: Column, num_rows: int) -> Any:
    """An empty column whose room is taken: writing to a mapped hole of a full disk would end the process."""
    path, num_bytes = folder / f"{column.name}.bin", num_rows * column.row_bytes
    with path.open("wb") as stream:
        if num_bytes and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, num_bytes)
        else:
            stream.truncate(num_bytes)
    return np.memmap(path, dtype=column.dtype, mode="r+", shape=(num_rows, *column.shape))


def _in_memory(shelf: Shelf, num_rows: int) -> dict[str, NDArray[Any]]:
    try:
        return {column.name: np.zeros((num_rows, *column.shape), column.dtype) for column in shelf.columns}
    except MemoryError as error:
        raise CannotWrite(
            f"{shelf.holds}: fits neither in the cache nor in memory. Set {LIMIT_VARIABLE} higher, SIGHTLINE_CACHE "
            "to a larger disk, or data.image_size smaller."
        ) from error


def _checksum(values: NDArray[Any], chunk: int, step: int) -> int:
    return zlib.crc32(np.ascontiguousarray(values[chunk * step : (chunk + 1) * step]).view(np.uint8).data)
