"""Large files that hold many images each, read by ranges wherever they lie, and the images of tar shards in them."""

from __future__ import annotations

import abc
import os
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from sightline.data.decoding.containers import read_bytes
from sightline.data.storage.stores import status_of
from sightline.errors import UnreadableImage
from sightline.records import Store
from sightline.system.stored import open_without_waiting, raise_if_exhausted

# What images, build systems and mounts say that keep no times: seconds since 1970, of 1980 or before.
_NO_TIME_NS = 315_619_200 * 10**9
CHANGED = "has changed since the source was opened. Open the source again"


@dataclass(frozen=True)
class Blob(abc.ABC):
    """One large file.

    Attributes:
        name: path inside the source, "/" between its parts.
        num_bytes: its size when the source was opened.
    """

    name: str
    num_bytes: int

    @abc.abstractmethod
    def read(self, offset: int, num_bytes: int) -> bytes:
        """A range of it, shorter where it ends before; by several threads at once. UnreadableImage where it changed."""

    @abc.abstractmethod
    def open(self) -> BinaryIO:
        """All of it, from its beginning; an OSError where that cannot be."""

    @abc.abstractmethod
    def version(self) -> tuple[Any, ...] | None:
        """By what it is known again, and another one once it is written again; None where it is gone or changed."""

    @abc.abstractmethod
    def beside(self, path: str) -> bytes:
        """All of a file that is named relative to it, as by a table."""

    @property
    @abc.abstractmethod
    def stamp(self) -> int:
        """Another number once it was written again; 0 where nothing but its content tells."""

    def place(self) -> Path | None:
        """Where it lies on this machine."""
        return None


@dataclass(frozen=True)
class FileBlob(Blob):
    """A file at `path`, as it was when its `status` was asked (`status_of`)."""

    path: str
    status: tuple[int, ...]

    @classmethod
    def at(cls, path: str | Path, name: str) -> FileBlob:
        """The file that lies there now; raises OSError."""
        status = status_of(path)
        return cls(name, status[0], os.path.abspath(path), status)  # noqa: PTH100  # links stay as they are typed

    def read(self, offset: int, num_bytes: int) -> bytes:
        """Refused where size or time are no longer those of then."""
        try:
            with open(self.path, "rb", opener=open_without_waiting) as stream:
                found = os.fstat(stream.fileno())
                if (found.st_size, found.st_mtime_ns) != self.status[:2]:
                    raise UnreadableImage(f"{self.name} {CHANGED}.")
                stream.seek(offset)
                return stream.read(num_bytes)
        except FileNotFoundError as error:
            raise UnreadableImage(f"{self.name} is gone since the source was opened.") from error
        except OSError as error:
            raise_if_exhausted(error)
            raise UnreadableImage(f"{self.name} cannot be read: {error.strerror or error}.") from error

    def open(self) -> BinaryIO:
        """As a file."""
        return open(self.path, "rb", opener=open_without_waiting)  # whoever asks closes it

    def version(self) -> tuple[Any, ...] | None:
        """Path, size, times and number."""
        try:
            found = status_of(self.path)
        except (OSError, ValueError):
            return None
        return (os.path.realpath(self.path), *found) if found[:2] == self.status[:2] else None

    def beside(self, path: str) -> bytes:
        """From the folder that it lies in."""
        return read_bytes(Path(self.path).parent / path)

    @property
    def stamp(self) -> int:
        """The time of its last change, where times mean something."""
        return self.status[1] if self.status[1] > _NO_TIME_NS else 0

    def place(self) -> Path:
        """The file."""
        return Path(self.path)


@dataclass(frozen=True, eq=False)
class BlobStore(Store):
    """Images that lie several in a blob.

    Attributes:
        blobs: the files.
        blob_of: (num_images,) int32, in which of them each image lies.
        stamps_of_blobs: for each of them, what goes into a fingerprint and tells that it was written again.
    """

    blobs: tuple[Blob, ...]
    blob_of: NDArray[np.int32]
    stamps_of_blobs: tuple[int, ...]

    def identities(self, rows: NDArray[np.int64]) -> Sequence[tuple[Any, ...] | None]:
        """By the version of its blob and its place in that."""
        versions = {number: self.blobs[number].version() for number in np.unique(self.blob_of[rows]).tolist()}
        found = list[tuple[Any, ...] | None]()
        for row in rows.tolist():
            version = versions[int(self.blob_of[row])]
            found.append(None if version is None else (version, self.names[row], *self._place_in_blob(row)))
        return found

    def stamp(self, row: int) -> list[int]:
        """Size of its blob and what tells that it was written again."""
        number = int(self.blob_of[row])
        return [self.blobs[number].num_bytes, self.stamps_of_blobs[number]]

    def places(self) -> Iterable[Path]:
        """Those files of its images that lie on this machine."""
        used = (self.blobs[number].place() for number in np.unique(self.blob_of).tolist())
        return [place for place in used if place is not None]

    def take(self, rows: NDArray[np.int64]) -> Self:
        """The same for some of the rows."""
        return replace(super().take(rows), blob_of=self.blob_of[rows])

    @abc.abstractmethod
    def _place_in_blob(self, row: int) -> tuple[int, ...]:
        """Where in its blob an image lies."""


@dataclass(frozen=True, eq=False)
class ShardStore(BlobStore):
    """Members of uncompressed tars; `offsets` is (num_images,) int64, where the bytes of each begin in its tar.

    `faults` has a reason for names that stand for what cannot be read at all, such as a shard that is no tar.
    """

    offsets: NDArray[np.int64]
    faults: Mapping[str, str] = field(default_factory=dict)

    def read(self, row: int) -> bytes:
        """The member; refused where the shard has changed or was cut off there."""
        return self.head(row, int(self.num_bytes[row]))

    def head(self, row: int, num_bytes: int) -> bytes:
        """The first bytes of the member, behind the header that says that it still is what lay there."""
        name = self.names[row]
        if name in self.faults:
            raise UnreadableImage(self.faults[name])
        blob: Blob = self.blobs[self.blob_of[row]]
        whole = int(self.num_bytes[row])
        wanted = min(whole, num_bytes)
        found = blob.read(int(self.offsets[row]) - tarfile.BLOCKSIZE, tarfile.BLOCKSIZE + wanted)
        _check_header(found[: tarfile.BLOCKSIZE], whole, blob.name)
        data = found[tarfile.BLOCKSIZE :]
        if len(data) < wanted:
            raise UnreadableImage(f"{blob.name} was cut off: it ends after {len(data):,} of {whole:,} bytes of it.")
        return data

    def take(self, rows: NDArray[np.int64]) -> Self:
        """The same for some of the rows."""
        return replace(super().take(rows), offsets=self.offsets[rows])

    def _place_in_blob(self, row: int) -> tuple[int, ...]:
        return int(self.offsets[row]), int(self.num_bytes[row])


def _check_header(header: bytes, num_bytes: int, name: str) -> None:
    try:
        size = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").size
    except tarfile.HeaderError as error:
        raise UnreadableImage(f"{name} {CHANGED}.") from error
    if size not in (0, num_bytes):  # 0 where an extended header says it
        raise UnreadableImage(f"{name} {CHANGED}.")
