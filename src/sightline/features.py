"""What a pretrained network sees in images: numbers computed once with ONNX Runtime, kept in mapped tables.

They are kept image by image: one file more costs one image. What is known again is
the file, with size, rule and decoder of its pixels, the network's bytes and the view.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.data.identities import Identities, content_identities
from sightline.data.kept import Column, KeptRows, Shelf, kept_rows
from sightline.data.pixels import Pixels
from sightline.files import sha256_of
from sightline.progress import reporter
from sightline.sessions import Session

# Raised when the views or the way they are computed change.
TABLE_VERSION = 1
# float16 keeps a feature to 3 digits, far below what telling classes apart needs, in half the bytes.
STORED = np.float16


@dataclass(frozen=True)
class View:
    """How images are looked at: as they are, or by a random mirror, turn and crop of each.

    Attributes:
        number: 0 for the images as they are; another number draws another random view.
        flip: may be mirrored left to right.
        turn_degrees: turned by up to this much either way.
        crop_fraction: up to this share of a side is cut off.
    """

    number: int = 0
    flip: bool = True
    turn_degrees: float = 10.0
    crop_fraction: float = 0.2

    @property
    def name(self) -> str:
        """What it is called in the key of a table."""
        if self.number == 0:
            return "as-is"
        return f"{self.number}-{int(self.flip)}-{self.turn_degrees:g}-{self.crop_fraction:g}"

    def of(self, image: NDArray[np.uint8], row: int) -> NDArray[np.uint8]:
        """One image, (height, width, channels) uint8, seen this way; the same row gives the same bytes."""
        if self.number == 0:
            return image
        draw = np.random.default_rng((self.number, row))
        height, width = image.shape[:2]
        picture = Image.fromarray(image if image.shape[2] == 3 else image[:, :, 0])
        if self.flip and draw.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        turn = draw.uniform(-self.turn_degrees, self.turn_degrees)
        # What a turn leaves empty gets the grey of the corners' mean: an edge of black would be news to the network.
        corners = np.stack([image[0, 0], image[0, -1], image[-1, 0], image[-1, -1]]).mean(axis=0).astype(int)
        fill = tuple(corners.tolist()) if image.shape[2] == 3 else int(corners[0])
        picture = picture.rotate(turn, Image.Resampling.BILINEAR, fillcolor=fill)
        side = 1 - draw.uniform(0, self.crop_fraction)
        left, top = draw.uniform(0, 1 - side) * width, draw.uniform(0, 1 - side) * height
        box = (left, top, left + side * width, top + side * height)
        seen = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, box=box))
        return seen.reshape(image.shape)


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
        return np.stack([view.of(image, int(rows[first + place])) for place, image in enumerate(part)])

    wanted = images if len(rows) == len(images) else _Chosen(images, rows)
    what = "features" if view.number == 0 else f"features, view {view.number + 1}"
    with reporter().bar(what, total=len(rows)) as bar:
        for first, outputs in session.portions(wanted, names, change=seen if view.number else None):
            for name, values in zip(names, outputs, strict=True):
                tables[name][first : first + len(values)] = values
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
