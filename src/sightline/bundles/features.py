"""What a pretrained network sees in images: numbers computed once with ONNX Runtime, kept in mapped tables.

They are kept image by image: one file more costs one image. What is known again is
the file, with size, rule and decoder of its pixels, the network's bytes and the view.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.sessions import Session
from sightline.data.inputs.pixels import Pixels
from sightline.data.storage.kept_rows import Column, KeptRows, Shelf, kept_rows
from sightline.data.storage.stores import Identities, content_identities
from sightline.records import View
from sightline.system.files import sha256_of
from sightline.system.progress import reporter

# Raised when the views or the way they are computed change.
TABLE_VERSION = 1
# float16 keeps a feature to 3 digits, far below what telling classes apart needs, in half the bytes.
STORED = np.float16
_LARGEST = float(np.finfo(STORED).max)


def feature_tables(
    session: Session, images: Any, *, outputs: Mapping[str, tuple[int, ...]], view: View | None = None
) -> dict[str, KeptRows]:
    """What a network gives for every image, from the cache if it was computed before.

    Args:
        session: the network.
        images: Pixels; or (num_images, height, width, channels) uint8, which are known again by their content.
        outputs: name to shape of one image's row, without the batch.
        view: how the images are looked at; as they are if left out.

    Returns:
        Name to (num_images, *shape) float16, mapped from the cache, or in memory where it cannot be written.
    """
    view = view or View()
    columns = tuple(Column(name, tuple(shape), STORED) for name, shape in sorted(outputs.items()))
    shelf = Shelf("features", _key(session, view), columns, _described(len(images), view))
    return kept_rows(shelf, _identities(images, view), functools.partial(_fill, session, images, view))


def _described(num_images: int, view: View) -> str:
    return f"features of {num_images:,} image{'s' if num_images != 1 else ''}" + (
        f", view {view.number + 1}" if view.number else ""
    )


def _key(session: Session, view: View) -> str:
    import onnxruntime

    parts = (TABLE_VERSION, sha256_of(session.path), view.name, sorted(session.output_shapes().items()))
    return hashlib.sha256(repr((*parts, onnxruntime.__version__)).encode()).hexdigest()[:16]


def _identities(images: Any, view: View) -> Identities:
    known_by: Identities = images.identities if isinstance(images, Pixels) else content_identities(images)
    if view.number == 0:
        return known_by
    # A random view is drawn by the row.
    names = known_by.tolist()
    salted = [
        name and hashlib.blake2b(b"%d %s" % (row, name), digest_size=16).hexdigest().encode()
        for row, name in enumerate(names)
    ]
    return np.array(salted, dtype="S32")


def _fill(
    session: Session, images: Any, view: View, rows: NDArray[np.int64], tables: Mapping[str, Any]
) -> NDArray[np.bool_]:
    names = list(tables)

    def seen(first: int, part: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return part if view.change is None else view.change(rows[first : first + len(part)], part)

    wanted = images if len(rows) == len(images) else _Chosen(images, rows)
    what = "features" if view.number == 0 else f"features, view {view.number + 1}"
    with reporter().bar(what, total=len(rows)) as bar:
        for first, outputs in session.portions(wanted, names, change=seen):
            for name, values in zip(names, outputs, strict=True):
                # As the largest that is held, not as infinity, which would spoil every sum of it.
                tables[name][first : first + len(values)] = np.clip(values, -_LARGEST, _LARGEST)
            bar.advance(len(outputs[0]))
    return np.ones(len(rows), bool)


class _Chosen:
    """Some rows of images, read as they are sliced."""

    def __init__(self, images: Any, rows: NDArray[np.int64]) -> None:
        self.images, self.rows, self.shape = images, rows, (len(rows), *images.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: slice) -> NDArray[np.uint8]:
        chosen: NDArray[np.uint8] = self.images[self.rows[index]]
        return chosen
