"""Images that lie encoded: how their bytes are fetched, decoded and known again, by any number of threads at once."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.data.decoding import containers
from sightline.data.decoding.containers import READING
from sightline.data.decoding.decoder import DecodedImage, decode_picture, open_image
from sightline.data.decoding.formats import format_of
from sightline.data.storage.archive_members import read_tar_member, read_zip_member
from sightline.errors import UnreadableImage
from sightline.records import ColorMode, Store
from sightline.system.stored import open_without_waiting, raise_if_exhausted
from sightline.system.workers import map_in_order

Identities = NDArray[np.bytes_]
"""(num_images,) of 32 hexadecimal digits each; b"" where nothing can be told."""

# Images hashed at once, so that a large array is not brought to size as a whole.
_PORTION = 256

# Sizes and colours stand at the beginning of these; the others are read whole.
_HEAD_FORMATS = {"JPEG", "PNG", "GIF", "BMP", "PPM"}
_HEAD_BYTES = 2**17
_GREY_MODES = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}


def status_of(path: Path | str) -> tuple[int, ...]:
    """Size, time of last change, time at which it came to be so, and number of a file; raises OSError."""
    # Name, size and time of last change can agree between two folders that hold other images, since archives bring all
    # three along. The time at which a file came to be as it is, and its number on the disk, cannot be brought along.
    found = os.stat(path)  # noqa: PTH116  # a Path object for each of many files would take longer than the call
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def file_identities(files: Store, rows: NDArray[np.int64], *, salt: str) -> Identities:
    """(num_rows,) what the images of some rows are known by; b"" for files that are gone or of another size.

    What else the thing that is kept of them depends on goes into the salt.
    """
    found = files.identities(rows)
    return np.array([b"" if parts is None else _digest(salt, parts) for parts in found], dtype="S32")


def content_identities(images: Any, *, salt: str = "") -> Identities:
    """What the images of an array are known by: (num_images, height, width, channels), or what gives such slices."""
    found = []
    for first in range(0, len(images), _PORTION):
        part = np.ascontiguousarray(images[first : first + _PORTION])
        found += [hashlib.blake2b(image.data, digest_size=16).hexdigest() for image in part]
    return np.array([_digest(salt, (images.shape[1:], name)) for name in found], dtype="S32")


def _digest(salt: str, parts: tuple[Any, ...]) -> str:
    text = repr((salt, parts)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).hexdigest()


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
            raise_if_exhausted(error)
            raise UnreadableImage(f"cannot be read: {error.strerror}.") from error

    def identities(self, rows: NDArray[np.int64]) -> Sequence[tuple[Any, ...] | None]:
        """By its path, size, times and number; None where it is gone or of another size."""
        place, found = os.path.realpath(self.place), list[tuple[Any, ...] | None]()
        for row in rows.tolist():
            path, status = os.path.join(place, self.names[row]), None  # noqa: PTH118  # as in status_of
            with contextlib.suppress(OSError, ValueError):
                status = status_of(path)
            found.append((path, *status) if status and status[0] == self.num_bytes[row] else None)
        return found

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
            raise_if_exhausted(error)
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


def decode_row(files: Store, row: int, *, color_mode: ColorMode, minimum_size: tuple[int, int]) -> DecodedImage:
    """Decode one row, wherever its bytes are.

    Args:
        files: where the images are.
        row: index into `files.names`.
        color_mode: "grey" or "rgb".
        minimum_size: (height, width) that a reduced JPEG does not fall below.

    Raises:
        UnreadableImage: with the reason alone; who prints it knows the name.
    """
    try:
        # It waits for its turn, so that large images do not lie in memory by the dozen; -1: there is no such file.
        with READING.hold(max(0, files.size(row))):
            return decode_picture(files.read(row), color_mode=color_mode, minimum_size=minimum_size)
    except UnreadableImage as error:
        raise UnreadableImage(str(error).removeprefix("image bytes: ")) from error


def image_sizes(files: Store, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """(num_rows, 3) int64, height, width and channels of images from their headers; zeros for what cannot be read."""
    return image_headers(files, rows)[0]


def image_headers(files: Store, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[str]]:
    """As `image_sizes`; and the formats by Pillow's names, "" for what cannot be read."""

    def told(row: int) -> tuple[tuple[int, int, int], str]:
        try:
            head = files.head(row, _HEAD_BYTES)
            return header_of(head, partial(files.read, row) if len(head) < files.size(row) else None), format_of(head)
        except UnreadableImage:
            return (0, 0, 0), ""

    found = list(map_in_order(told, rows.tolist()))
    return np.array([size for size, _ in found], dtype=np.int64).reshape(-1, 3), [name for _, name in found]


def header_of(data: bytes, read: Callable[[], bytes] | None = None) -> tuple[int, int, int]:
    """Size and channels of one image, from its header; a damaged rest goes unnoticed.

    Args:
        data: the bytes of a file, or the first 128 KiB of it.
        read: gives all of it, where `data` does not.
    """
    head = data[:_HEAD_BYTES]
    if format_of(head) in _HEAD_FORMATS and len(head) == _HEAD_BYTES:
        try:
            return _header(head)
        except UnreadableImage:
            pass  # a large profile or preview stands before the size
    return _header(data if read is None else read())


def _header(data: bytes) -> tuple[int, int, int]:
    opened, container, (width, height) = open_image(data)
    try:
        if opened is None:
            is_grey = data[1:2] in b"1245"
        else:
            is_grey = opened.mode in _GREY_MODES or (opened.mode == "P" and _has_grey_palette(opened))
    except Exception as error:  # as in the decoder
        raise UnreadableImage(f"damaged {container.format} (its palette).") from error
    shape = (width, height) if container.orientation >= 5 else (height, width)
    return (*shape, 1 if is_grey else 3)


def _has_grey_palette(opened: Image.Image) -> bool:
    if opened.palette is None:
        return False
    # Asked for its palette, Pillow would decode the whole image; so another one is given it.
    small = Image.new("P", (1, 1))
    rawmode, colours = opened.palette.getdata()
    small.putpalette(bytes(colours), rawmode)
    palette = np.array(small.getpalette("RGB") or [0], dtype=np.int64)
    return len(palette) % 3 == 0 and bool((np.diff(palette.reshape(-1, 3), axis=1) == 0).all())
