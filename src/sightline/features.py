"""What a pretrained network sees in images: numbers computed once with ONNX Runtime, kept in mapped tables.

A table appears under its name only when it is whole, and its name says what it was
made of: the pixels (files, size, rule, decoder), the network's bytes and the view.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.data.caches import make_room, reserve, usual_limit_gib
from sightline.errors import CannotWrite, OutputExists
from sightline.files import cache_folder, sha256_of, staged_folder
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
    session: Session, images: Any, key: str, *, outputs: Mapping[str, tuple[int, ...]], view: View | None = None
) -> dict[str, NDArray[Any]]:
    """What a network gives for every image, from the cache if it was computed before.

    Args:
        session: the network.
        images: (num_images, height, width, channels) uint8, or what gives such an array when it
            is sliced by rows.
        key: what the pixels depend on, as `sightline.data.pixels.cache_key` gives it.
        outputs: name to shape of one image's row, without the batch.
        view: how the images are looked at; as they are if left out.

    Returns:
        Name to (num_images, *shape) float16, mapped from the cache, or in memory where it cannot
        be written.

    Raises:
        Nothing of its own: a cache that cannot be written only costs time.

    Example:
        >>> import inspect
        >>> list(inspect.signature(feature_tables).parameters)
        ['session', 'images', 'key', 'outputs', 'view']
    """
    view = view or View()
    shapes = {name: (len(images), *shape) for name, shape in sorted(outputs.items())}
    folder = cache_folder() / "features" / _key(session.path, key, view, shapes)
    found = _open(folder, shapes)
    if found is not None:
        return found
    needed = sum(int(np.prod(shape)) for shape in shapes.values()) * np.dtype(STORED).itemsize
    limit = int(usual_limit_gib() * 2**30)
    if needed <= limit:
        try:
            make_room(folder.parent, limit - needed)
            return _write(folder, session, images, shapes, view)
        except CannotWrite as error:
            reporter().say(f"features are kept in memory and computed again next time: {error}")
    tables: dict[str, NDArray[Any]] = {name: np.empty(shape, STORED) for name, shape in shapes.items()}
    _fill(session, images, tables, view)
    return tables


def _key(network: Path, pixels_key: str, view: View, shapes: Mapping[str, tuple[int, ...]]) -> str:
    import onnxruntime

    parts = (TABLE_VERSION, sha256_of(network), pixels_key, view.name, shapes, onnxruntime.__version__)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _open(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[Any]] | None:
    """The tables if they are there and whole; what is damaged is as good as none."""
    tables: dict[str, NDArray[Any]] = {}
    try:
        for name, shape in shapes.items():
            table = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            if table.shape != shape or table.dtype != STORED:
                raise ValueError("wrong shape")
            tables[name] = table
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError):
        shutil.rmtree(folder, ignore_errors=True)
        return None
    with contextlib.suppress(OSError):
        os.utime(folder)  # the last use decides which tables go first
    return tables


def _write(
    folder: Path, session: Session, images: Any, shapes: Mapping[str, tuple[int, ...]], view: View
) -> dict[str, NDArray[Any]]:
    try:
        with staged_folder(folder) as staged:
            tables = {name: _reserved(staged / f"{name}.npy", shape) for name, shape in shapes.items()}
            _fill(session, images, tables, view)
            for table in tables.values():
                table.flush()  # type: ignore[attr-defined]  # a memmap, which is an ndarray to mypy
            tables.clear()
    except OutputExists:
        pass  # another run was faster; its numbers are the same
    except OSError as error:
        raise CannotWrite(f"{folder}: the table of features cannot be written ({error.strerror}).") from error
    found = _open(folder, shapes)
    if found is None:
        raise CannotWrite(f"{folder}: the table of features was removed while it was written.")
    return found


def _reserved(path: Path, shape: tuple[int, ...]) -> NDArray[Any]:
    """An empty table whose room is taken: writing to a mapped hole of a full disk would end the process."""
    table: NDArray[Any] = np.lib.format.open_memmap(path, mode="w+", dtype=STORED, shape=shape)
    with path.open("rb+") as stream:
        reserve(stream.fileno(), path.stat().st_size)
    return table


def _fill(session: Session, images: Any, tables: Mapping[str, NDArray[Any]], view: View) -> None:
    names = list(tables)

    def seen(first: int, part: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.stack([view.of(image, first + place) for place, image in enumerate(part)])

    what = "features" if view.number == 0 else f"features, view {view.number + 1}"
    with reporter().bar(what, total=len(images)) as bar:
        for first, outputs in session.portions(images, names, change=seen if view.number else None):
            for name, values in zip(names, outputs, strict=True):
                tables[name][first : first + len(values)] = values
            bar.advance(len(outputs[0]))
