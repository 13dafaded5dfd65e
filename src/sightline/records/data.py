"""What networks learn from and what they are fed: InputSpec, View, Store, Dataset, Splits."""

from __future__ import annotations

import abc
import html
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from sightline.records.notebook import pixels_tag
from sightline.system.text import printable
from sightline.tasks.single_label import SINGLE_LABEL
from sightline.tasks.task import Task

ColorMode = Literal["grey", "rgb"]
ResizeRule = Literal["fit", "fill", "stretch"]
SplitName = Literal["train", "validation", "calibration", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "calibration", "test")


@dataclass(frozen=True)
class InputSpec:
    """What a network is fed: the one description that training, prediction and export share.

    Attributes:
        height: pixels, at least 1.
        width: pixels, at least 1.
        color_mode: "grey" (one channel) or "rgb" (three).
        resize: "fit" keeps the whole image and pads, "fill" crops, "stretch" distorts.
        background: what surrounds the object in the training images: "dark",
            "light", or "mixed" where neither holds. Lets prediction notice an inverse.
        interpolation: how pixels are resampled; "bilinear" with an area filter.
    """

    height: int
    width: int
    color_mode: ColorMode
    resize: ResizeRule = "fit"
    background: Literal["dark", "light", "mixed"] = "mixed"
    interpolation: str = "bilinear"

    @property
    def channels(self) -> int:
        """1 for grey, 3 for rgb."""
        return 1 if self.color_mode == "grey" else 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return (self.height, self.width, self.channels)


@dataclass(frozen=True)
class View:
    """How images are looked at: as they are, or changed.

    Attributes:
        number: 0 for the images as they are; another number draws another random view.
        name: what it is called in the key of a table: whatever its numbers depend on.
        change: rows and their images, (num_rows, height, width, channels) uint8, to the images that are looked at; the
            same row and image give the same bytes, whatever stands beside them.
    """

    number: int = 0
    name: str = "as-is"
    change: Callable[[NDArray[np.int64], NDArray[np.uint8]], NDArray[np.uint8]] | None = None


@dataclass(frozen=True, eq=False)
class Store(abc.ABC):
    """Images that lie encoded somewhere, one a row, and nothing of them in memory; each kind of source reads its own.

    Attributes:
        names: (num_images,) paths inside the source, "/" between their parts; the name of a row in messages. A kind of
            many rows may hold them packed, with a `take` of their own.
        num_bytes: (num_images,) int64, size of each encoded image.
        arrivals: (num_images,) int64, grows with the order in which the images came: time of last change in
            nanoseconds for a folder, position in a table or an archive.
    """

    names: Sequence[str]
    num_bytes: NDArray[np.int64]
    arrivals: NDArray[np.int64]

    @abc.abstractmethod
    def read(self, row: int) -> bytes:
        """The whole encoded image; called by several threads at once.

        Raises:
            UnreadableImage: with the reason alone, since who prints it knows the name.
        """

    def size(self, row: int) -> int:
        """How many bytes `read` will hold, by which it waits for its turn."""
        return int(self.num_bytes[row])

    def head(self, row: int, num_bytes: int) -> bytes:  # noqa: ARG002  # for kinds that can read less than all
        """As `read`, where its first `num_bytes` are enough."""
        return self.read(row)

    def identities(self, rows: NDArray[np.int64]) -> Sequence[tuple[Any, ...] | None]:
        """By what each image is known again without being read; None: by nothing, and it is read each time."""
        return [None] * len(rows)

    def places(self) -> Iterable[Path]:
        """Files and folders that are read, which nothing is written into."""
        return ()

    def take(self, rows: NDArray[np.int64]) -> Self:
        """The same for some of the rows; a kind with columns of its own takes of them, too."""
        packed = getattr(self.names, "take", None)
        names = tuple(self.names[row] for row in rows.tolist()) if packed is None else packed(rows)
        return replace(self, names=names, num_bytes=self.num_bytes[rows], arrivals=self.arrivals[rows])

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A lazy table of labelled images: one row an image.

    Attributes:
        name: short name of the source, as it appears in the run's folder.
        class_names: ordered; a label is an index into it.
        row_ids: (num_images,) strings, unique: "train/00012".
        labels: (num_images,) int64 in [0, num_classes); where an image may have several, (num_images, num_classes)
            uint8 of 0 and 1.
        images: (num_images, height, width, channels) uint8, 0 to 255, or a Store
            that reads them.
        given_splits: (num_images,) strings, "train", "validation", "test" or ""
            where the source says nothing.
        fingerprint: SHA-256 over pixels or file names, sizes and times, labels and names.
        licence: of the data, for the card; "" if unknown.
        groups: (num_images,) strings; rows of one group never part. None: each row for itself.
        weights: (num_images,) float64, positive; None: all count the same.
        remarks: what was noticed while the source was opened, a sentence each.
        left_out: (file, reason) of what the source names and cannot be a row.
        changed_labels: (row id, class name) that a table gave in place of the source's; "" where it left the row out.
        typed: what was named to the command that opened it; "" where it was opened apart, in whatever way.
        task: what a label is.

    Example:
        >>> import sightline
        >>> sightline.load("mnist").labels[:5].tolist()
        [5, 0, 4, 1, 9]
    """

    name: str
    class_names: tuple[str, ...]
    row_ids: NDArray[np.str_]
    labels: NDArray[Any]
    images: NDArray[np.uint8] | Store
    given_splits: NDArray[np.str_]
    fingerprint: str
    licence: str = ""
    groups: NDArray[np.str_] | None = None
    weights: NDArray[np.float64] | None = None
    remarks: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    changed_labels: tuple[tuple[str, str], ...] = ()
    typed: str = ""
    task: Task = SINGLE_LABEL

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """How many class names there are."""
        return len(self.class_names)

    def take(self, rows: NDArray[np.int64], left_out: tuple[tuple[str, str], ...] = ()) -> Dataset:
        """The same source with some of its rows, and why the others were left out, if that is to be remembered."""
        images = self.images.take(rows) if isinstance(self.images, Store) else self.images[rows]
        return replace(
            self,
            row_ids=self.row_ids[rows],
            labels=self.labels[rows],
            images=images,
            given_splits=self.given_splits[rows],
            groups=None if self.groups is None else self.groups[rows],
            weights=None if self.weights is None else self.weights[rows],
            left_out=(*self.left_out, *left_out),
        )

    def counts(self, rows: NDArray[Any] | slice = slice(None)) -> NDArray[np.int64]:
        """(num_classes,) images of each class, of all rows or of some."""
        return self.task.counts(self.labels[rows], num_classes=self.num_classes)

    def named(self, rows: NDArray[Any] | slice = slice(None)) -> tuple[str, ...]:
        """The class of each image by its name, of all rows or of some."""
        return self.task.named(self.labels[rows], self.class_names)

    def rows_of(self, number: int) -> NDArray[np.int64]:
        """Rows of the images of the class of that number, ascending."""
        return np.flatnonzero(self.task.is_of(self.labels, number))

    def class_counts(self) -> dict[str, int]:
        """Images a class, in the order of `class_names`."""
        return dict(zip(self.class_names, self.counts().tolist(), strict=True))

    def __repr__(self) -> str:
        shape = "" if isinstance(self.images, Store) else f" of {'x'.join(map(str, self.images.shape[1:]))}"
        return (
            f"Dataset '{printable(self.name)}': {len(self):,} images{shape}, "
            f"{self.num_classes} classes ({', '.join(map(printable, self.class_names[:10]))}"
            f"{', ...' if self.num_classes > 10 else ''})"
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td style='text-align:right'>{count:,}</td>"
            f"<td>{self._thumbnails_html(label)}</td></tr>"
            for label, (name, count) in enumerate(list(self.class_counts().items())[:20])
        )
        head = "<tr><th>class</th><th>images</th><th></th></tr>"
        return f"<p>{html.escape(repr(self))}</p><table>{head}{rows}</table>"

    def _thumbnails_html(self, label: int) -> str:
        if isinstance(self.images, Store):
            return ""
        rows = self.rows_of(label)[:5].tolist()
        return " ".join(pixels_tag(self.images[row], alt=str(self.row_ids[row]), least_side=56) for row in rows)


@dataclass(frozen=True, eq=False)
class Splits:
    """Four disjoint sets of rows of one Dataset.

    Attributes:
        train: (num_train,) int64 row indices, ascending; the network learns from these.
        validation: rows that choose the epoch and the recipe.
        calibration: rows that fit the temperature; may be empty.
        test: rows looked at once, at the end.
        fingerprint: that of the Dataset the rows belong to.
        left_out: (row id, reason) of rows that are in none, since they would tie two together.
        groups: (num_images,) strings, the group of every row of the Dataset; None: each row for itself.
        remarks: what the user should know of how it was done, a sentence each.

    Example:
        >>> import sightline
        >>> splits = sightline.split(sightline.load("mnist"))
        >>> splits.test[:3].tolist(), len(splits.rows("calibration"))
        ([60000, 60001, 60002], 6000)
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    calibration: NDArray[np.int64]
    test: NDArray[np.int64]
    fingerprint: str
    left_out: tuple[tuple[str, str], ...] = ()
    groups: NDArray[np.str_] | None = None
    remarks: tuple[str, ...] = ()

    def rows(self, name: SplitName) -> NDArray[np.int64]:
        """Row indices of one split, by its name."""
        rows: NDArray[np.int64] = getattr(self, name)
        return rows

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {len(self.rows(name)):,}" for name in SPLIT_NAMES)
        return f"Splits({parts})"
