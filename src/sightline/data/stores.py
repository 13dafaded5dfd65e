"""Where the bytes of an image are fetched from: a folder, a zip or a tar, by any number of threads at once."""

from __future__ import annotations

import struct
import threading
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.data.containers import MAX_BYTES
from sightline.data.images import decode_image
from sightline.data.layout import printable
from sightline.errors import UnreadableImage
from sightline.records import ColorMode, ImageFiles

_opened = threading.local()


def read_bytes(files: ImageFiles, row: int) -> Path | bytes:
    """What `decode_image` takes for one row: the path of a file, or bytes out of an archive.

    Args:
        files: where the images are.
        row: index into `files.names`.

    Returns:
        A path in a folder; the bytes of a member of an archive.

    Raises:
        UnreadableImage: the file is gone or has another size than when the source was opened,
            or the archive is damaged there.

    Example:
        >>> none = np.array([5], dtype=np.int64)
        >>> read_bytes(ImageFiles(Path("nowhere"), "folder", ("a.png",), none, none, none), 0)
        Traceback (most recent call last):
        sightline.errors.UnreadableImage: a.png: is gone since the source was opened.
    """
    name = display_name(files, row)
    if files.kind == "folder":
        path = files.place / files.names[row]
        try:
            size = path.stat().st_size
        except OSError as error:
            raise UnreadableImage(f"{name}: is gone since the source was opened.") from error
        if size != files.num_bytes[row]:
            raise UnreadableImage(f"{name}: has changed since the source was opened. Start again.")
        return path
    if files.num_bytes[row] > MAX_BYTES:
        raise UnreadableImage(
            f"{name}: {files.num_bytes[row]:,} bytes; images of more than {MAX_BYTES:,} are not opened."
        )
    try:
        return _from_zip(files, row) if files.kind == "zip" else _from_tar(files, row)
    except (
        OSError,
        zipfile.BadZipFile,
        zlib.error,
        RuntimeError,
        NotImplementedError,
        EOFError,
        struct.error,
    ) as error:
        raise UnreadableImage(f"{name}: cannot be read from {files.place.name} ({error}).") from error


def decode_row(
    files: ImageFiles, row: int, *, color_mode: ColorMode, minimum_size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Decode one row, wherever its bytes are.

    Args:
        files: where the images are.
        row: index into `files.names`.
        color_mode: "grey" or "rgb".
        minimum_size: (height, width) that a reduced JPEG does not fall below.

    Returns:
        (height, width, channels) uint8.

    Raises:
        UnreadableImage: with the reason alone; who prints it knows the name.

    Example:
        >>> none = np.array([5], dtype=np.int64)
        >>> gone = ImageFiles(Path("nowhere"), "folder", ("a.png",), none, none, none)
        >>> decode_row(gone, 0, color_mode="rgb", minimum_size=(8, 8))
        Traceback (most recent call last):
        sightline.errors.UnreadableImage: is gone since the source was opened.
    """
    try:
        return decode_image(read_bytes(files, row), color_mode=color_mode, minimum_size=minimum_size)
    except UnreadableImage as error:
        reason = str(error)
        for name in (display_name(files, row), printable(str(files.place / files.names[row])), "image bytes"):
            reason = reason.removeprefix(f"{name}: ")
        raise UnreadableImage(reason) from error


def display_name(files: ImageFiles, row: int) -> str:
    """A row's name as messages and tables show it.

    Args:
        files: where the images are.
        row: index into `files.names`.

    Returns:
        The path inside the source, printable.

    Raises:
        Nothing.

    Example:
        >>> none = np.array([5], dtype=np.int64)
        >>> display_name(ImageFiles(Path("nowhere"), "folder", ("a.png",), none, none, none), 0)
        'a.png'
    """
    return printable(files.names[row])


def image_sizes(files: ImageFiles, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Size and channels of some images, looked at and not kept.

    Args:
        files: where the images are.
        rows: row indices, not many: each is decoded, large JPEGs at an eighth.

    Returns:
        (num_rows, 3) int64: height, width, and 1 where all pixels are grey, else 3. Zeros for
        what cannot be read. Large JPEGs count as what they are reduced to, 512 at least.

    Raises:
        Nothing.

    Example:
        >>> none = np.array([5], dtype=np.int64)
        >>> image_sizes(ImageFiles(Path("nowhere"), "folder", ("a.png",), none, none, none), np.array([0])).tolist()
        [[0, 0, 0]]
    """
    sizes = np.zeros((len(rows), 3), dtype=np.int64)
    for place, row in enumerate(rows.tolist()):
        try:
            image = decode_row(files, row, color_mode="rgb", minimum_size=(512, 512))
        except UnreadableImage:
            continue
        grey = bool((image[..., 0] == image[..., 1]).all() and (image[..., 1] == image[..., 2]).all())
        sizes[place] = (*image.shape[:2], 1 if grey else 3)
    return sizes


def _from_zip(files: ImageFiles, row: int) -> bytes:
    # A ZipFile shares one file position: each thread opens its own.
    archives: dict[tuple[str, int], zipfile.ZipFile] = _opened.__dict__.setdefault("zips", {})
    key = (str(files.place), files.place.stat().st_mtime_ns)
    if key not in archives:
        for old in archives.values():
            old.close()
        archives.clear()
        archives[key] = zipfile.ZipFile(files.place)
    with archives[key].open(files.names[row]) as member:
        data = member.read(MAX_BYTES + 1)
    if len(data) != files.num_bytes[row]:
        raise zipfile.BadZipFile("it expands to another size than the archive says")
    return data


def _from_tar(files: ImageFiles, row: int) -> bytes:
    with files.place.open("rb") as stream:
        stream.seek(int(files.offsets[row]))
        data = stream.read(int(files.num_bytes[row]))
    if len(data) != files.num_bytes[row]:
        raise EOFError("the archive ends before the file does")
    return data
