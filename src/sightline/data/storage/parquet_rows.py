"""Images in the rows of Parquet files: a row group is read in order and in portions, whatever its size."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from sightline.data.decoding.containers import MAX_BYTES
from sightline.data.storage.blobs import CHANGED, Blob, BlobStore
from sightline.errors import UnreadableImage, require

# Of one row group, as many portions as hold about so much are kept: rows are asked for in order, or nearly so.
_PORTION_BYTES: Final = 4 * 2**20
_MOST_PORTIONS: Final = 12
# Several threads and a few places at once; what is longest unused goes.
_MOST_GROUPS: Final = 4
_BUFFER_BYTES: Final = 2**20


def parquet_reader() -> Any:
    """The module that reads Parquet, imported where it is needed."""
    return require("pyarrow.parquet", purpose="reading Parquet files", install="sightline[parquet]")


def read_footer(blob: Blob) -> Any:
    """The metadata of a Parquet file: its columns and row groups; what pyarrow raises where it is none."""
    with blob.open() as stream:
        return parquet_reader().read_metadata(stream)


@dataclass(frozen=True, eq=False)
class ParquetStore(BlobStore):
    """Cells of a column of images: `bytes`, or a `path` relative to the file where there are none.

    Attributes:
        columns: names of the columns of bytes and of paths inside a row, "image.bytes" and "image.path"; "": none.
        group_of: (num_images,) int32, the row group of each.
        row_in_group: (num_images,) int32.
    """

    columns: tuple[str, str]
    group_of: NDArray[np.int32]
    row_in_group: NDArray[np.int32]

    def read(self, row: int) -> bytes:
        """The bytes of the cell, or of the file that it names."""
        blob: Blob = self.blobs[self.blob_of[row]]
        content, path = _GROUPS.cell(blob, self.columns, int(self.group_of[row]), int(self.row_in_group[row]))
        if content is None and path:
            return blob.beside(path)
        if content is None:
            raise UnreadableImage("the cell is empty: it has neither bytes nor a path.")
        if len(content) > MAX_BYTES:
            raise UnreadableImage(f"{len(content):,} bytes; at most {MAX_BYTES:,} are read. Save it smaller.")
        return content

    def take(self, rows: NDArray[np.int64]) -> Self:
        """The same for some of the rows."""
        return replace(super().take(rows), group_of=self.group_of[rows], row_in_group=self.row_in_group[rows])

    def _place_in_blob(self, row: int) -> tuple[int, ...]:
        return int(self.group_of[row]), int(self.row_in_group[row])


_Cell = tuple[bytes | None, str | None]


class _Group:
    """One row group, read from its beginning on; the last portions are kept."""

    def __init__(self, blob: Blob, columns: tuple[str, str], group: int) -> None:
        self.blob, self.columns, self.group = blob, columns, group
        self.gate = threading.Lock()
        self.portions: OrderedDict[int, list[_Cell]] = OrderedDict()
        self.upcoming: Iterator[list[_Cell]] = iter(())
        self.next, self.step = 0, 1
        self.stack, self.is_left = contextlib.ExitStack(), False

    def cell(self, at: int) -> _Cell:
        """One row; portions between the last and this one are passed over."""
        with self.gate:
            try:
                return self._cell(at)
            finally:
                if self.is_left:  # let go of while this thread waited for its turn
                    self._let_go()

    def close(self) -> None:
        """Let go of the file."""
        with self.gate:
            self.is_left = True
            self._let_go()

    def _let_go(self) -> None:
        self.upcoming = iter(())
        self.stack.close()
        self.portions.clear()

    def _cell(self, at: int) -> _Cell:
        if not self.portions or self._is_behind(at):
            self._begin()
        number = at // self.step
        while number not in self.portions:
            try:
                self.portions[self.next] = next(self.upcoming)
            except StopIteration:
                raise UnreadableImage(f"{self.blob.name} {CHANGED}.") from None
            self.next += 1
            if len(self.portions) > _MOST_PORTIONS:
                self.portions.popitem(last=False)
        return self.portions[number][at % self.step]

    def _is_behind(self, at: int) -> bool:
        number = at // self.step
        return number not in self.portions and number < self.next

    def _begin(self) -> None:
        self.stack.close()
        if self.blob.version() is None:
            raise UnreadableImage(f"{self.blob.name} {CHANGED}.")
        stream = self.stack.enter_context(self.blob.open())
        # Not buffered ahead: a row group may be larger than the memory.
        file = parquet_reader().ParquetFile(stream, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        if self.group >= file.metadata.num_row_groups:
            raise UnreadableImage(f"{self.blob.name} {CHANGED}.")
        told = file.metadata.row_group(self.group)
        self.step = max(1, min(told.num_rows, _PORTION_BYTES * told.num_rows // max(told.total_byte_size, 1)))
        self.portions.clear()
        self.upcoming, self.next = self._read(file), 0

    def _read(self, file: Any) -> Iterator[list[_Cell]]:
        wanted = [name for name in self.columns if name]
        batches = file.iter_batches(self.step, row_groups=[self.group], columns=wanted, use_threads=False)
        for batch in batches:
            found = [column_of(batch, name).to_pylist() if name else [None] * len(batch) for name in self.columns]
            yield list(zip(*found, strict=True))


def column_of(batch: Any, name: str) -> Any:
    """A column of a batch or table, that of a struct by a dot."""
    if name in batch.schema.names:
        return batch.column(name)
    top, _, inner = name.rpartition(".")
    compute = require("pyarrow.compute", purpose="reading Parquet files", install="sightline[parquet]")
    return compute.struct_field(batch.column(top), inner)


class _Groups:
    """The row groups that were asked for last, by all threads of this process."""

    def __init__(self) -> None:
        self.gate = threading.Lock()
        self.opened: OrderedDict[tuple[Any, ...], _Group] = OrderedDict()

    def cell(self, blob: Blob, columns: tuple[str, str], group: int, at: int) -> _Cell:
        key = (blob, columns, group)
        with self.gate:
            opened = self.opened.pop(key, None) or _Group(blob, columns, group)
            self.opened[key] = opened
            leaving = [self.opened.popitem(last=False)[1] for _ in range(len(self.opened) - _MOST_GROUPS)]
        for one in leaving:
            one.close()
        try:
            return opened.cell(at)
        except UnreadableImage:
            self._forget(key)
            raise
        except Exception as error:  # a damaged file brings pyarrow to raise kinds of OSError, ValueError and its own
            self._forget(key)
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UnreadableImage(f"row group {group} of {blob.name} cannot be read ({reason}).") from error

    def _forget(self, key: tuple[Any, ...]) -> None:
        with self.gate:
            opened = self.opened.pop(key, None)
        if opened is not None:
            opened.close()


_GROUPS = _Groups()
