"""Images in object stores: an object each, or ranges of large objects, which are read ahead where they are in order."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Final, Self, cast

import numpy as np
from numpy.typing import NDArray

from sightline.data.decoding.containers import MAX_BYTES
from sightline.data.sources.remote.stores import RemoteEntry, address_of, fetch, info_of, stamp_of
from sightline.data.storage.blobs import Blob
from sightline.data.storage.packed_names import PackedNames
from sightline.errors import UnreadableImage
from sightline.records import Store

_BLOCK_BYTES: Final = 4 * 2**20
_MOST_BLOCKS: Final = 16


@dataclass(frozen=True)
class RemoteBlob(Blob):
    """A large object, as its store listed it."""

    entry: RemoteEntry

    def read(self, offset: int, num_bytes: int) -> bytes:
        """From blocks of 4 MiB where those before were asked for, too: images of a shard are read in their order."""
        end = min(offset + num_bytes, self.num_bytes)
        parts = []
        for block in range(offset // _BLOCK_BYTES, -(-end // _BLOCK_BYTES)):
            begin = block * _BLOCK_BYTES
            low, high = max(offset, begin), min(end, begin + _BLOCK_BYTES)
            parts.append(_AHEAD.read(self.entry, block, low, high))
        return b"".join(parts)

    def open(self) -> BinaryIO:
        """Read by ranges, a block ahead."""
        return cast(BinaryIO, io.BufferedReader(_Stream(self.entry), _BLOCK_BYTES // 4))

    def version(self) -> tuple[Any, ...]:
        """Its address, size and ETag; the store itself refuses what was written again."""
        return (self.entry.address, self.num_bytes, self.entry.etag)

    @property
    def stamp(self) -> int:
        """By its ETag."""
        return stamp_of(self.entry.etag)

    def beside(self, path: str) -> bytes:
        """An object that is named relative to it."""
        address = f"{self.entry.address.rpartition('/')[0]}/{path}"
        if address_of(path) or ".." in path.split("/"):
            raise UnreadableImage("is named by an address of its own or leads out of its folder, and is not followed.")
        entry = info_of(address)
        if entry is None:
            raise UnreadableImage("no such object.")
        return _whole(entry)


class _Ahead:
    """The blocks that were fetched last, by all threads of this process."""

    def __init__(self) -> None:
        self.gate = threading.Lock()
        self.blocks: OrderedDict[tuple[RemoteEntry, int], bytes] = OrderedDict()
        self.gates: dict[str, threading.Lock] = {}
        self.last: dict[str, int] = {}

    def read(self, entry: RemoteEntry, block: int, low: int, high: int) -> bytes:
        with self.gate:
            if len(self.gates) > 1000:
                self.gates, self.last = {}, {}
            of_entry = self.gates.setdefault(entry.address, threading.Lock())
        with of_entry:
            with self.gate:
                content = self.blocks.get((entry, block))
                is_next = block in (0, self.last.get(entry.address, -2), self.last.get(entry.address, -2) + 1)
                self.last[entry.address] = block
            if content is None and not is_next:
                return fetch(entry, low, high)
            if content is None:
                content = fetch(entry, block * _BLOCK_BYTES, (block + 1) * _BLOCK_BYTES)
                with self.gate:
                    self.blocks[(entry, block)] = content
                    while len(self.blocks) > _MOST_BLOCKS:
                        self.blocks.popitem(last=False)
        begin = block * _BLOCK_BYTES
        return content[low - begin : high - begin]


_AHEAD = _Ahead()


class _Stream(io.RawIOBase):
    """An object as a file that is read in any order."""

    def __init__(self, entry: RemoteEntry) -> None:
        self._entry, self._at = entry, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """To a place in it."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._entry.num_bytes}[whence]
        return self._at

    def tell(self) -> int:
        """The place."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """As much as the buffer takes."""
        data = fetch(self._entry, self._at, self._at + len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


@dataclass(frozen=True, eq=False)
class ObjectStore(Store):
    """An object each: `names` below the address `base`, with `etags` as their store listed them.

    A name of size -1 was not there when it was looked for.
    """

    base: str
    etags: PackedNames

    def read(self, row: int) -> bytes:
        """The whole object; refused where it was written again."""
        return _whole(self._entry(row))

    def head(self, row: int, num_bytes: int) -> bytes:
        """Its first bytes alone."""
        return fetch(self._entry(row), 0, num_bytes)

    def identities(self, rows: NDArray[np.int64]) -> Sequence[tuple[Any, ...] | None]:
        """By address, size and ETag."""
        found = list[tuple[Any, ...] | None]()
        for row in rows.tolist():
            etag = self.etags[row]
            found.append((self.base, self.names[row], int(self.num_bytes[row]), etag) if etag else None)
        return found

    def stamp(self, row: int) -> list[int] | None:
        """Size and what tells that it was written again."""
        size = int(self.num_bytes[row])
        return [size, stamp_of(self.etags[row])] if size >= 0 else None

    def take(self, rows: NDArray[np.int64]) -> Self:
        """The same for some of the rows."""
        return replace(super().take(rows), etags=self.etags.take(rows))

    def _entry(self, row: int) -> RemoteEntry:
        if self.num_bytes[row] < 0:
            raise UnreadableImage("no such object.")
        return RemoteEntry(f"{self.base}{self.names[row]}", int(self.num_bytes[row]), self.etags[row])


def _whole(entry: RemoteEntry) -> bytes:
    if entry.num_bytes > MAX_BYTES:
        raise UnreadableImage(f"{entry.num_bytes:,} bytes; at most {MAX_BYTES:,} are read. Save it smaller.")
    return fetch(entry, 0, entry.num_bytes)
