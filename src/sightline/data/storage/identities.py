"""By what an image is known again without being read: its file's place, size, times and number on the disk.

Names, sizes and times of last change can agree between two folders that hold other images, since archives bring all
three along. The time at which a file came to be as it is, and its number on the disk, cannot be brought along.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.records import Store

Identities = NDArray[np.bytes_]
"""(num_images,) of 32 hexadecimal digits each; b"" where nothing can be told."""

# Images hashed at once, so that a large array is not brought to size as a whole.
_PORTION = 256


def status_of(path: Path | str) -> tuple[int, ...]:
    """Size, time of last change, time at which it came to be so, and number of a file; raises OSError."""
    found = os.stat(path)  # noqa: PTH116  # a Path object for each of many files would take longer than the call
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def file_identities(files: Store, rows: NDArray[np.int64], *, salt: str) -> Identities:
    """What the images of some rows are known by.

    Args:
        files: where the images are.
        rows: (num_rows,) row indices.
        salt: what else what is kept of them depends on.

    Returns:
        (num_rows,) identities; b"" for files that are gone or not of the size that they had.
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
