"""Which images are answered, in which order: files, the lines of a table, the members of an archive."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sightline.bundles.answers.notes import file_stamp
from sightline.bundles.given_images import find_images
from sightline.data.sources.large.large_files import LargeFiles, files_in, in_folder, is_list, listed, single
from sightline.data.sources.large.parquet import cells_of
from sightline.data.sources.large.parquet_layout import PARQUET_SUFFIX, holds_images
from sightline.data.sources.large.shard_members import is_shard
from sightline.data.sources.large.shards import SHARD_SUFFIX, images_of
from sightline.data.sources.local.archives import ARCHIVE_SUFFIXES, members_of
from sightline.data.sources.local.tables import TABLE_SUFFIXES, Columns, paths_in_table
from sightline.data.sources.remote.objects import ObjectStore
from sightline.data.sources.remote.opening import images_at
from sightline.data.sources.remote.stores import address_of
from sightline.data.storage.blobs import BlobStore
from sightline.data.storage.stores import ArchiveStore, FolderStore
from sightline.records import Store
from sightline.system.progress import reporter
from sightline.system.text import counted

Stamp = list[int] | None
# Endings of large files that hold many images each, and what opens all images of some of them.
_READERS: dict[str, Callable[..., Store]] = {SHARD_SUFFIX: images_of, PARQUET_SUFFIX: cells_of}


@dataclass(frozen=True)
class Piece:
    """Images of one place: paths of files, or a Store; it can be pickled.

    Attributes:
        names: (num_images,) what their rows are called.
        store: where they lie; None where their names are paths.
    """

    names: Sequence[str]
    store: Store | None = None

    def __len__(self) -> int:
        return len(self.names)

    def part(self, first: int, last: int) -> Piece:
        """Some of them, one behind the other."""
        rows = np.arange(first, min(last, len(self)))
        return Piece(self.names[first:last], None if self.store is None else self.store.take(rows))

    def stamp(self, row: int) -> Stamp:
        """Size and time of the file that an image lies in."""
        if isinstance(self.store, FolderStore):
            return file_stamp(self.store.place / self.store.names[row])
        if isinstance(self.store, BlobStore | ObjectStore):
            return self.store.stamp(row)
        return file_stamp(self.store.place if isinstance(self.store, ArchiveStore) else self.names[row])


@dataclass(frozen=True)
class BulkImages:
    """All images of a command, in the order in which they are answered."""

    pieces: tuple[Piece, ...]

    def __len__(self) -> int:
        return sum(map(len, self.pieces))

    def names(self, first: int, last: int) -> Iterator[str]:
        """Of some rows."""
        for piece, begin, end in self._cut(first, last):
            yield from piece.names[begin:end]

    def stamps(self, first: int, last: int) -> Iterator[Stamp]:
        """Size and time of the files of some rows; that of an archive is looked up once."""
        for piece, begin, end in self._cut(first, last):
            if isinstance(piece.store, ArchiveStore):
                yield from [piece.stamp(begin)] * (end - begin)
            else:
                yield from map(piece.stamp, range(begin, end))

    def parts(self, first: int, *, size: int) -> Iterator[Piece]:
        """From one row on, in parts of at most so many that begin where they would begin without it."""
        for piece, begin, end in self._cut(first, len(self)):
            # The first of them may be shorter.
            cuts = [begin, *range((begin // size + 1) * size, end, size), end]
            yield from (piece.part(*cut) for cut in itertools.pairwise(cuts))

    def _cut(self, first: int, last: int) -> Iterator[tuple[Piece, int, int]]:
        begin = 0
        for piece in self.pieces:
            low, high = max(first - begin, 0), min(last - begin, len(piece))
            if low < high:
                yield piece, low, high
            begin += len(piece)


def bulk_images(names: Sequence[str | Path], *, columns: Columns | None = None) -> BulkImages:
    """What was named: files, folders to their bottom, tables of paths, archives.

    Raises:
        InvalidValue, InvalidSource: nothing was named, or one of them holds no image.
    """
    pieces: list[Piece] = []
    others: list[str | Path] = []
    for name in names:
        address = address_of(name)
        open_piece = functools.partial(_at, address, columns) if address else _opener(Path(name), columns)
        if open_piece is None:
            others.append(name)
            continue
        pieces += _files(others)
        others = []
        pieces.append(open_piece())
    if others or not pieces:
        pieces += [Piece(find_images(others))]
    return BulkImages(tuple(pieces))


def stands_for_many(name: str | Path) -> bool:
    """Whether a name is no path, but is opened all the same: an address of an object store, or a list in braces."""
    return bool(address_of(name)) or is_list(name, *_READERS)


def holds_large_files(folder: Path) -> bool:
    """Whether a folder is one of large files that hold many images each."""
    return any(files_in(folder, suffix) for suffix in _READERS)


def _files(names: Sequence[str | Path]) -> list[Piece]:
    return [Piece(find_images(names))] if names else []


def _opener(path: Path, columns: Columns | None) -> Callable[[], Piece] | None:
    if (files := _large_files(path, columns)) is not None:
        return files
    if path.is_dir() or not path.is_file():
        return None
    if path.name.lower().endswith(TABLE_SUFFIXES):
        return functools.partial(_of_table, path, columns)
    return functools.partial(_of_archive, path) if path.name.lower().endswith(ARCHIVE_SUFFIXES) else None


def _large_files(path: Path, columns: Columns | None) -> Callable[[], Piece] | None:
    """What opens large files that hold many images each: those of a list or of a folder, or a single one."""
    for suffix, read in _READERS.items():
        opened = functools.partial(_of_large_files, read, columns)
        if is_list(path, suffix):
            return functools.partial(opened, lambda: listed(str(path)))
        if path.is_dir() and files_in(path, suffix):
            return functools.partial(opened, functools.partial(in_folder, path, suffix))
        if path.name.lower().endswith(suffix) and path.is_file() and _is_one(path, suffix, columns):
            return functools.partial(opened, lambda: single(path))
    return None


def _is_one(path: Path, suffix: str, columns: Columns | None) -> bool:
    return is_shard(path) if suffix == SHARD_SUFFIX else holds_images(single(path), columns=columns)


def _of_large_files(read: Callable[..., Store], columns: Columns | None, find: Callable[[], LargeFiles]) -> Piece:
    return _of_store(read(find(), columns=columns))


def _at(address: str, columns: Columns | None) -> Piece:
    return _of_store(images_at(address, columns))


def _of_table(path: Path, columns: Columns | None) -> Piece:
    return _of_store(paths_in_table(path, columns=columns))


def _of_store(store: Store) -> Piece:
    return Piece(store.names, store)


def _of_archive(path: Path) -> Piece:
    store, left_out = members_of(path)
    if left_out:
        first, reason = left_out[0]
        reporter().say(
            f"note: {path}: {counted(len(left_out), 'member')} passed over, such as {first} ({reason.rstrip('.')})"
        )
    return Piece(store.names, store)
