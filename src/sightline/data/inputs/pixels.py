"""Every image of a source at network size: decoded once by threads, kept in a mapped cache.

Later epochs and later runs read the cache at the speed of memory. An image is known
again by its file, not by the source that names it: what one command decoded serves
all others, and one file more costs one image.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from sightline.data.decoding.decoder import reuse_freed_memory
from sightline.data.decoding.transforms import picture_of, resize_image, resized
from sightline.data.duplicates.fingerprints import THUMBNAIL_SIDE, Signatures, empty_signatures
from sightline.data.storage.kept_rows import Column, Shelf, kept_rows
from sightline.data.storage.stores import Identities, content_identities, decode_row, file_identities
from sightline.errors import UnreadableImage
from sightline.records import Dataset, InputSpec, Store
from sightline.system.caches import limit_bytes
from sightline.system.progress import reporter
from sightline.system.workers import map_in_order

# Raised when the decoder or the resize gives other bytes for the same file.
DECODER_VERSION = 2
# Of the search for copies; each is a column beside the images.
_SIGNATURES = empty_signatures(0).to_arrays()


@dataclasses.dataclass(frozen=True, eq=False)
class Pixels:
    """Images at network size, row by row, wherever they lie.

    Attributes:
        stored: (num_stored, height, width, channels) uint8, in memory or mapped from the cache.
        rows: (num_images,) int64, which stored image each row is.
        errors: row to the reason why it could not be read; such rows are zeros.
        signatures: of the images as decoded, for finding duplicates; None for arrays.
        known_by: (num_images,) what images of files are known by in the cache; None for arrays.
    """

    stored: NDArray[np.uint8]
    rows: NDArray[np.int64]
    errors: Mapping[int, str]
    signatures: Signatures | None = None
    known_by: Identities | None = None

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
        new_row = {int(row): new for new, row in enumerate(rows)}
        errors = {new_row[row]: reason for row, reason in self.errors.items() if row in new_row}
        signatures = self.signatures.take(rows) if self.signatures is not None else None
        known_by = self.known_by[rows] if self.known_by is not None else None
        return Pixels(self.stored, self.rows[rows], errors, signatures, known_by)

    @property
    def identities(self) -> Identities:
        """(num_images,) what each image is known by in the cache; those of arrays by their content."""
        return content_identities(self) if self.known_by is None else self.known_by


def read_pixels(dataset: Dataset, spec: InputSpec, *, limit_gib: float | None = None) -> Pixels:
    """All images of a dataset at network size, those that cannot be read among `errors`.

    Args:
        dataset: arrays, which are handed on or resized in memory, or files, which
            are decoded once and cached.
        spec: size, colour mode and resize rule.
        limit_gib: bound of the whole cache; else the variable SIGHTLINE_CACHE_GIB, else 20.

    Raises:
        CannotWrite: the cache cannot be written and the images do not fit in memory either.
    """
    rows = np.arange(len(dataset))
    if not isinstance(dataset.images, Store):
        return Pixels(resized(dataset.images, spec), rows, {})
    key = _key(spec)
    known_by = file_identities(dataset.images, rows, salt=key)
    errors: dict[int, str] = {}
    fill = functools.partial(_fill, dataset.images, spec, (known_by, key), errors)
    size = "x".join(map(str, spec.shape))
    columns = tuple(Column(name, values.shape[1:], values.dtype) for name, values in _SIGNATURES.items())
    shelf = Shelf("pixels", key, (Column("images", spec.shape, np.uint8), *columns), f"{dataset.name} at {size}")
    found = kept_rows(shelf, known_by, fill, limit=limit_bytes(limit_gib))
    signatures = Signatures.from_arrays({name: found[name][:] for name in _SIGNATURES})
    return Pixels(found["images"], rows, dict(sorted(errors.items())), signatures, known_by)  # type: ignore[arg-type]  # sliced like an array


def raw_images(dataset: Dataset, rows: NDArray[np.int64]) -> tuple[list[NDArray[np.uint8]], dict[int, str]]:
    """Some images as they are, to be looked at.

    Returns:
        The readable images, each (height, width, channels) uint8 of its own size (large JPEGs
        reduced), and row to reason for the others.
    """
    if not isinstance(dataset.images, Store):
        return [dataset.images[row] for row in rows], {}
    images, errors = [], {}
    for row in rows.tolist():
        try:
            images.append(decode_row(dataset.images, row, color_mode="rgb", minimum_size=(256, 256)).pixels)
        except UnreadableImage as error:
            errors[row] = str(error)
    return images, errors


def _key(spec: InputSpec) -> str:
    """What pixels at network size depend on beside the file: size, rule and decoder."""
    parts = {**dataclasses.asdict(spec), "decoder": DECODER_VERSION, "pillow": PIL.__version__}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _fill(
    files: Store,
    spec: InputSpec,
    known: tuple[Identities, str],
    errors: dict[int, str],
    rows: NDArray[np.int64],
    arrays: Mapping[str, Any],
) -> NDArray[np.bool_]:
    """Decode some rows into the arrays; whether each may be kept: it was read, and nobody changed it meanwhile."""
    part, signatures = files.take(rows), Signatures.from_arrays(arrays)
    found = _decode_all(part, spec, arrays["images"], signatures)
    errors |= {int(rows[row]): reason for row, reason in found.items()}
    known_by, key = known
    may_be_kept: NDArray[np.bool_] = file_identities(part, np.arange(len(rows)), salt=key) == known_by[rows]
    # What cannot be read today may be read tomorrow, by another decoder for instance.
    may_be_kept[list(found)] = False
    return may_be_kept


def decoding_size(spec: InputSpec) -> tuple[int, int]:
    """(height, width) that a reduced JPEG does not fall below, the same wherever an image is decoded for a network.

    A thumbnail for finding copies needs twice its own size, however small the network's; and what is answered has to
    be decoded as what was learned.
    """
    return max(spec.height, 2 * THUMBNAIL_SIDE), max(spec.width, 2 * THUMBNAIL_SIDE)


def _decode_all(files: Store, spec: InputSpec, stored: NDArray[np.uint8], signatures: Signatures) -> dict[int, str]:
    """Decode every file into its row; threads, since Pillow lets go of Python's lock while it works."""
    errors: dict[int, str] = {}
    least = decoding_size(spec)

    def decode(row: int) -> None:
        try:
            decoded = decode_row(files, row, color_mode=spec.color_mode, minimum_size=least)
        except UnreadableImage as error:
            errors[row] = str(error)
            return
        image = decoded.pixels
        # Made once for both, where decoding left none.
        picture = picture_of(image) if decoded.picture is None else decoded.picture
        signatures.put(row, image, picture=picture)
        stored[row] = resize_image(image, spec, picture=picture)

    reuse_freed_memory()
    with reporter().bar("decoding", total=len(files)) as bar:
        for _ in map_in_order(decode, range(len(files))):
            bar.advance(1)
    return dict(sorted(errors.items()))
