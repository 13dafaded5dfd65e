"""Every image of a source at network size: decoded once by threads, kept in a mapped cache.

Later epochs and later runs read the cache at the speed of memory. A cache folder
appears under its name only when it is whole, so that a kill in the middle or two
runs at once leave nothing half-written behind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from sightline.data.caches import LIMIT_VARIABLE, make_room, reserve, usual_limit_gib
from sightline.data.images import resize_image
from sightline.data.resizing import resized
from sightline.data.stores import decode_row
from sightline.data.thumbnails import SIDE, Signatures, empty_signatures, signature
from sightline.errors import CannotWrite, UnreadableImage
from sightline.files import cache_folder, staged_folder, write_atomically
from sightline.progress import reporter
from sightline.records import Dataset, ImageFiles, InputSpec
from sightline.workers import available_processors

# Raised when the decoder or the resize gives other bytes for the same file.
DECODER_VERSION = 1
CHUNK = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Pixels:
    """Images at network size, row by row, wherever they lie.

    Attributes:
        stored: (num_stored, height, width, channels) uint8, in memory or mapped from the cache.
        rows: (num_images,) int64, which stored image each row is.
        errors: row to the reason why it could not be read; such rows are zeros.
        signatures: of the images as decoded, for finding duplicates; None for arrays.
    """

    stored: NDArray[np.uint8]
    rows: NDArray[np.int64]
    errors: Mapping[int, str]
    signatures: Signatures | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        """One image, or those of some rows: (len(index), height, width, channels), copied into memory."""
        wanted = self.rows[index]
        if wanted.ndim == 0:
            return self.stored[wanted]
        if len(wanted) and wanted[-1] - wanted[0] == len(wanted) - 1 and (np.diff(wanted) == 1).all():
            return self.stored[wanted[0] : wanted[-1] + 1]
        return self.stored[wanted]

    @property
    def shape(self) -> tuple[int, ...]:
        """(num_images, height, width, channels)."""
        return (len(self.rows), *self.stored.shape[1:])

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """Of every image."""
        return self.stored.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, in memory or not."""
        return int(np.prod(self.shape))

    def take(self, rows: NDArray[np.int64]) -> Pixels:
        """The same for some of the rows; nothing is copied."""
        place = {int(row): new for new, row in enumerate(rows)}
        errors = {place[row]: reason for row, reason in self.errors.items() if row in place}
        signatures = self.signatures.take(rows) if self.signatures is not None else None
        return Pixels(self.stored, self.rows[rows], errors, signatures)


def read_pixels(dataset: Dataset, spec: InputSpec, *, limit_gib: float | None = None) -> Pixels:
    """All images of a dataset at network size.

    Args:
        dataset: arrays, which are handed on or resized in memory, or files, which
            are decoded once and cached.
        spec: size, colour mode and resize rule.
        limit_gib: bound of the whole cache; else the variable SIGHTLINE_CACHE_GIB, else 20.

    Returns:
        A row an image, those that cannot be read among `errors`.

    Raises:
        CannotWrite: the cache cannot be written and the images do not fit in memory either.

    Example:
        >>> import sightline
        >>> read_pixels(sightline.load("mnist"), InputSpec(28, 28, "grey")).shape
        (70000, 28, 28, 1)
    """
    rows = np.arange(len(dataset))
    if not isinstance(dataset.images, ImageFiles):
        return Pixels(resized(dataset.images, spec), rows, {})
    folder = cache_folder() / "pixels" / cache_key(dataset, spec)
    limit = int((limit_gib if limit_gib is not None else usual_limit_gib()) * 2**30)
    needed = len(dataset) * int(np.prod(spec.shape))
    found = _open(folder, dataset, spec)
    if found is not None:
        return found
    if needed <= limit:
        try:
            make_room(folder.parent, limit - needed)
            return _write(folder, dataset, dataset.images, spec)
        except CannotWrite as error:
            reason = str(error)
    else:
        reason = f"the images need {needed / 2**30:.1f} GiB and the cache is bounded to {limit / 2**30:.1f} GiB"
    return _in_memory(dataset, dataset.images, spec, reason=reason)


def raw_images(dataset: Dataset, rows: NDArray[np.int64]) -> tuple[list[NDArray[np.uint8]], dict[int, str]]:
    """Some images as they are, to be looked at.

    Args:
        dataset: arrays or files.
        rows: row indices, not many.

    Returns:
        The readable images, each (height, width, channels) uint8 of its own size (large JPEGs
        reduced), and row to reason for the others.

    Raises:
        Nothing.

    Example:
        >>> import sightline
        >>> images, errors = raw_images(sightline.load("mnist"), np.arange(2))
        >>> images[0].shape, errors
        ((28, 28, 1), {})
    """
    if not isinstance(dataset.images, ImageFiles):
        return [dataset.images[row] for row in rows], {}
    images, errors = [], {}
    for row in rows.tolist():
        try:
            images.append(decode_row(dataset.images, row, color_mode="rgb", minimum_size=(256, 256)))
        except UnreadableImage as error:
            errors[row] = str(error)
    return images, errors


def cache_key(dataset: Dataset, spec: InputSpec) -> str:
    """What pixels at network size depend on: the files, which and in what order, size, rule and decoder.

    Args:
        dataset: the rows.
        spec: size, colour mode and resize rule.

    Returns:
        32 hexadecimal digits.

    Raises:
        Nothing.

    Example:
        >>> import sightline
        >>> len(cache_key(sightline.load("mnist"), InputSpec(28, 28, "grey")))
        32
    """
    parts = {**dataclasses.asdict(spec), "decoder": DECODER_VERSION, "pillow": PIL.__version__}
    digest = hashlib.sha256(json.dumps([dataset.fingerprint, parts], sort_keys=True).encode())
    digest.update("\n".join(dataset.row_ids.tolist()).encode(errors="surrogatepass"))
    return digest.hexdigest()[:32]


def _open(folder: Path, dataset: Dataset, spec: InputSpec) -> Pixels | None:
    """The cache if it is there and whole; one that is damaged is as good as none."""
    try:
        # Opened here, since NumPy leaves a damaged archive open.
        with (folder / "rows.npz").open("rb") as stream, np.load(stream, allow_pickle=False) as saved:
            errors = dict(zip(saved["error_rows"].tolist(), saved["error_reasons"].tolist(), strict=True))
            signatures = Signatures.from_arrays(saved)
        shape = (len(dataset), *spec.shape)
        if (folder / "images.bin").stat().st_size != int(np.prod(shape)):
            raise ValueError("wrong size")
        stored = np.memmap(folder / "images.bin", dtype=np.uint8, mode="r", shape=shape)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        shutil.rmtree(folder, ignore_errors=True)
        return None
    with contextlib.suppress(OSError):
        os.utime(folder)  # the last use decides which cache goes first
    return Pixels(stored, np.arange(len(dataset)), errors, signatures)


def _write(folder: Path, dataset: Dataset, files: ImageFiles, spec: InputSpec) -> Pixels:
    from sightline.errors import OutputExists

    try:
        with staged_folder(folder) as staged:
            shape = (len(dataset), *spec.shape)
            with (staged / "images.bin").open("wb") as stream:
                # Reserving first finds out about a full disk before an hour of decoding, not after it.
                reserve(stream.fileno(), int(np.prod(shape)))
            stored = np.memmap(staged / "images.bin", dtype=np.uint8, mode="r+", shape=shape)
            errors, signatures = _decode_all(files, spec, stored)
            stored.flush()
            del stored
            with (staged / "rows.npz").open("wb") as stream:
                np.savez(
                    stream,
                    error_rows=np.array(list(errors), dtype=np.int64),
                    error_reasons=np.array(list(errors.values()), dtype=str),
                    **signatures.to_arrays(),
                )
            write_atomically(staged / "about.json", json.dumps({"source": dataset.name, "images": len(dataset)}))
    except OutputExists:
        pass  # another run was faster; its bytes are the same
    except OSError as error:
        raise CannotWrite(f"{folder}: the image cache cannot be written ({error.strerror}).") from error
    found = _open(folder, dataset, spec)
    if found is None:
        raise CannotWrite(f"{folder}: the image cache was removed while it was written.")
    return found


def _in_memory(dataset: Dataset, files: ImageFiles, spec: InputSpec, *, reason: str) -> Pixels:
    try:
        stored = np.zeros((len(dataset), *spec.shape), dtype=np.uint8)
    except MemoryError as error:
        raise CannotWrite(
            f"{reason}, and they do not fit in memory. Set {LIMIT_VARIABLE} higher, SIGHTLINE_CACHE to a larger disk, "
            "or data.image_size smaller."
        ) from error
    reporter().say(f"images are kept in memory and decoded again next time: {reason}")
    errors, signatures = _decode_all(files, spec, stored)
    return Pixels(stored, np.arange(len(dataset)), errors, signatures)


def _decode_all(files: ImageFiles, spec: InputSpec, stored: NDArray[np.uint8]) -> tuple[dict[int, str], Signatures]:
    """Decode every file into its row; threads, since Pillow lets go of Python's lock while it works."""
    errors: dict[int, str] = {}
    signatures = empty_signatures(len(files))
    # A thumbnail for finding copies needs twice its own size, however small the network's.
    least = (max(spec.height, 2 * SIDE), max(spec.width, 2 * SIDE))

    def decode(row: int) -> None:
        try:
            image = decode_row(files, row, color_mode=spec.color_mode, minimum_size=least)
        except UnreadableImage as error:
            errors[row] = str(error)
            return
        signatures.put(row, signature(image))
        stored[row] = resize_image(image, spec)

    with ThreadPoolExecutor(available_processors()) as threads, reporter().bar("decoding", total=len(files)) as bar:
        for first in range(0, len(files), CHUNK):
            part = range(first, min(first + CHUNK, len(files)))
            for _ in threads.map(decode, part):
                bar.advance(1)
    return dict(sorted(errors.items())), signatures
