"""The data that Sightline itself carries: MNIST, whole and unmodified.

It is read from the package folder, which may be read-only, and needs no network.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.errors import InvalidSource
from sightline.system.workers import map_in_order

_Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

MNIST_FOLDER = Path(__file__).parent / "mnist"

# Of the raw IDX files, as LeCun and Cortes published them.
MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}

_REMEDY = "Run: pip install --force-reinstall --no-deps sightline"


def read_mnist(folder: Path = MNIST_FOLDER) -> tuple[_Images, Labels, _Images, Labels]:
    """All 70,000 images of MNIST, in the order they were published in.

    The MD5 of each file is checked at each call, so what is returned is the
    original or nothing. The arrays are read-only views of the bytes read.

    Returns:
        Train images, uint8 (60000, 28, 28, 1), bright digits on 0; train labels,
        int64 (60000,), 0 to 9; test images and test labels, 10,000 likewise.

    Source:
        LeCun, Cortes, Burges, The MNIST database of handwritten digits (1998),
        licensed under CC BY-SA 3.0.
    """
    # zlib and hashlib release the interpreter lock: two files at a time halve the wait.
    raw = list(map_in_order(lambda name: _read_checked(folder, name), MNIST_MD5, workers=2))
    return _images(raw[0]), _labels(raw[1]), _images(raw[2]), _labels(raw[3])


def _read_checked(folder: Path, name: str) -> bytes:
    path = folder / f"{name}.gz"
    try:
        raw = gzip.decompress(path.read_bytes())
    except FileNotFoundError as error:
        raise InvalidSource(f"{path} is missing; this copy of Sightline is incomplete. {_REMEDY}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidSource(f"{path} cannot be read: {error}. {_REMEDY}") from error
    found = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    if found != MNIST_MD5[name]:
        raise InvalidSource(f"{path} was altered: its MD5 is {found}, expected {MNIST_MD5[name]}. {_REMEDY}")
    return raw


def _images(raw: bytes) -> _Images:
    _, num_images, height, width = struct.unpack(">4I", raw[:16])
    return np.frombuffer(raw, dtype=np.uint8, offset=16).reshape(num_images, height, width, 1)


def _labels(raw: bytes) -> Labels:
    return np.frombuffer(raw, dtype=np.uint8, offset=8).astype(np.int64)
