"""Where the bytes of an image are fetched from: a folder, a zip or a tar, by any number of threads at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sightline.data.decoding import containers
from sightline.data.storage.archive_members import read_tar_member, read_zip_member
from sightline.data.storage.identities import status_of
from sightline.errors import UnreadableImage
from sightline.records import Store
from sightline.system.stored import open_without_waiting


@dataclass(frozen=True, eq=False)
class FolderStore(Store):
    """Files: `names` are relative to `place`; absolute ones (from a table) stand for themselves."""

    place: Path

    def read(self, row: int) -> bytes:
        """The whole file; refused where it is gone or has another size than when the source was opened."""
        return containers.read_bytes(self._unchanged(row))

    def head(self, row: int, num_bytes: int) -> bytes:
        """The first bytes of the file alone."""
        try:
            with open(self._unchanged(row), "rb", opener=open_without_waiting) as stream:
                return stream.read(num_bytes)
        except OSError as error:
            raise UnreadableImage(f"cannot be read: {error.strerror}.") from error

    def identities(self, rows: NDArray[np.int64]) -> Sequence[tuple[Any, ...] | None]:
        """By its path, size, times and number; None where it is gone or of another size."""
        place = os.path.realpath(self.place)
        return [_of_file(os.path.join(place, self.names[row]), int(self.num_bytes[row])) for row in rows.tolist()]  # noqa: PTH118

    def places(self) -> Iterable[Path]:
        """The folders that the images are in; around them there may be a table, and whatever else lies beside it."""
        return [self.place / top for top in {name.partition("/")[0] for name in self.names if "/" in name} if top]

    def _unchanged(self, row: int) -> Path:
        path = self.place / self.names[row]
        try:
            num_bytes = path.stat().st_size
        except OSError as error:
            was_there = self.num_bytes[row] >= 0  # else a link that leads nowhere
            raise UnreadableImage("gone since the source was opened." if was_there else "no such file.") from error
        if num_bytes != self.num_bytes[row]:
            raise UnreadableImage(
                f"has changed since the source was opened ({self.num_bytes[row]:,} bytes then, {num_bytes:,} now). "
                "Open the source again."
            )
        return path


@dataclass(frozen=True, eq=False)
class ArchiveStore(Store):
    """Members of the archive `place`; `offsets` is (num_images,) int64, where each begins in it."""

    place: Path
    offsets: NDArray[np.int64]

    def read(self, row: int) -> bytes:
        """The member, unpacked; refused where the archive has changed or is damaged there."""
        try:
            return self._member(row)
        except OSError as error:
            raise UnreadableImage(f"the archive cannot be read: {error.strerror or error}.") from error

    def identities(self, rows: NDArray[np.int64]) -> Sequence[tuple[Any, ...] | None]:
        """By the archive and its place in it."""
        place = os.path.realpath(self.place)
        try:
            archive = (place, *status_of(place))
        except OSError:
            return [None] * len(rows)
        return [(archive, self.names[row], int(self.offsets[row]), int(self.num_bytes[row])) for row in rows.tolist()]

    def places(self) -> Iterable[Path]:
        """The archive."""
        return (self.place,)

    def take(self, rows: NDArray[np.int64]) -> Self:
        """The same for some of the rows."""
        return replace(super().take(rows), offsets=self.offsets[rows])

    def _member(self, row: int) -> bytes:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class ZipStore(ArchiveStore):
    """Members of a zip; each begins with a header."""

    def _member(self, row: int) -> bytes:
        offset, num_bytes = int(self.offsets[row]), int(self.num_bytes[row])
        return read_zip_member(self.place, self.names[row], offset=offset, num_bytes=num_bytes)


@dataclass(frozen=True, eq=False)
class TarStore(ArchiveStore):
    """Members of an uncompressed tar; each begins with its own bytes."""

    def _member(self, row: int) -> bytes:
        return read_tar_member(self.place, offset=int(self.offsets[row]), num_bytes=int(self.num_bytes[row]))


def _of_file(path: str, num_bytes: int) -> tuple[Any, ...] | None:
    try:
        status = status_of(path)
    except (OSError, ValueError):
        return None
    return (path, *status) if status[0] == num_bytes else None
