"""The frozen records that cross layers: Dataset, Splits, Predictions, Evaluation, Bundle, Run.

They hold values and print themselves; they decide nothing. The seventh noun,
Recipe, lives in `sightline.configuration.parsing` beside its parser.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sightline.system.text import printable

ColorMode = Literal["grey", "rgb"]
ResizeRule = Literal["fit", "fill", "stretch"]
SplitName = Literal["train", "validation", "calibration", "test"]
NO_NUMBER = "the network answers this image with something else than finite numbers"
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
class ImageFiles:
    """Images that lie in files: where their bytes are, and nothing of them in memory.

    Attributes:
        place: the folder, or the archive, that `names` are relative to.
        kind: "folder", "zip" or "tar".
        names: (num_images,) paths inside the place, "/" between their parts; absolute
            ones (from a table) stand for themselves.
        num_bytes: (num_images,) int64, size of each file.
        arrivals: (num_images,) int64, grows with the order in which the files came: time
            of last change in nanoseconds for a folder, position in a table or an archive.
        offsets: (num_images,) int64, where the bytes begin in a tar, and the header before them
            in a zip; empty for a folder.
    """

    place: Path
    kind: Literal["folder", "zip", "tar"]
    names: tuple[str, ...]
    num_bytes: NDArray[np.int64]
    arrivals: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: NDArray[np.int64]) -> ImageFiles:
        """The same for some of the rows."""
        names = tuple(self.names[row] for row in rows)
        offsets = self.offsets[rows] if len(self.offsets) else self.offsets
        return ImageFiles(self.place, self.kind, names, self.num_bytes[rows], self.arrivals[rows], offsets)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A lazy table of labelled images: one row an image.

    Attributes:
        name: short name of the source, as it appears in the run's folder.
        class_names: ordered; a label is an index into it.
        row_ids: (num_images,) strings, unique: "train/00012".
        labels: (num_images,) int64 in [0, num_classes).
        images: (num_images, height, width, channels) uint8, 0 to 255, or ImageFiles:
            where the files are.
        given_splits: (num_images,) strings, "train", "validation", "test" or ""
            where the source says nothing.
        fingerprint: SHA-256 over pixels or file names, sizes and times, labels and names.
        licence: of the data, for the card; "" if unknown.
        groups: (num_images,) strings; rows of one group never part. None: each row for itself.
        weights: (num_images,) float64, positive; None: all count the same.
        remarks: what was noticed while the source was opened, a sentence each.
        left_out: (file, reason) of what the source names and cannot be a row.
        typed: what was named to the command that opened it; "" where it was opened apart, in whatever way.

    Example:
        >>> import sightline
        >>> sightline.load("mnist").labels[:5].tolist()
        [5, 0, 4, 1, 9]
    """

    name: str
    class_names: tuple[str, ...]
    row_ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    images: NDArray[np.uint8] | ImageFiles
    given_splits: NDArray[np.str_]
    fingerprint: str
    licence: str = ""
    groups: NDArray[np.str_] | None = None
    weights: NDArray[np.float64] | None = None
    remarks: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    typed: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """How many class names there are."""
        return len(self.class_names)

    def take(self, rows: NDArray[np.int64], left_out: tuple[tuple[str, str], ...] = ()) -> Dataset:
        """The same source with some of its rows, and why the others were left out, if that is to be remembered."""
        images = self.images.take(rows) if isinstance(self.images, ImageFiles) else self.images[rows]
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

    def class_counts(self) -> dict[str, int]:
        """Images a class, in the order of `class_names`."""
        counts = np.bincount(self.labels, minlength=self.num_classes)
        return dict(zip(self.class_names, counts.tolist(), strict=True))

    def __repr__(self) -> str:
        shape = "" if isinstance(self.images, ImageFiles) else f" of {'x'.join(map(str, self.images.shape[1:]))}"
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
        from PIL import Image

        if isinstance(self.images, ImageFiles):
            return ""
        tags = []
        for row in np.flatnonzero(self.labels == label)[:5]:
            pixels = self.images[row]
            stream = io.BytesIO()
            Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(stream, "PNG")
            tags.append(image_tag(stream.getvalue(), height=40))
        return " ".join(tags)


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


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a bundle says of a list of images; an unreadable one is a row with an error.

    Attributes:
        class_names: (num_classes) names, in the order of the logits.
        row_ids: (num_images) strings: paths, or row ids of a Dataset.
        logits: (num_images, num_classes) float32; NaN in a row that has an error.
        temperature: positive; logits are divided by it before the softmax.
        labels: (num_images,) int64 into `class_names`, or None where unknown.
        errors: (num_images) messages, None where the image was read.
        notices: (num_images) remarks on a row that was read ("looks inverted"), else None.
        disagreements: (num_images,) float32 in [0, 1], the share of an ensemble's members that name another
            class than it does; NaN in a row that has an error; None where one network answers.
        groups: (num_images,) strings, images of one hang together: of one object, or copies; None: each stands alone.
    """

    class_names: tuple[str, ...]
    row_ids: tuple[str, ...]
    logits: NDArray[np.float32]
    temperature: float
    labels: NDArray[np.int64] | None
    errors: tuple[str | None, ...]
    notices: tuple[str | None, ...]
    disagreements: NDArray[np.float32] | None = None
    groups: NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        """Make an error row of each whose answer is no number: it names no class, whoever made the bundle."""
        is_sound = np.asarray(np.isfinite(self.logits).all(axis=1))
        if self.disagreements is not None:
            is_sound = np.logical_and(is_sound, np.isfinite(self.disagreements))
        if is_sound.all():
            return
        errors = tuple(
            error if sound or error is not None else NO_NUMBER
            for error, sound in zip(self.errors, is_sound.tolist(), strict=True)
        )
        object.__setattr__(self, "errors", errors)
        object.__setattr__(self, "logits", np.where(is_sound[:, None], self.logits, np.float32(np.nan)))

    def __len__(self) -> int:
        return len(self.row_ids)

    @property
    def readable(self) -> NDArray[np.bool_]:
        """(num_images,) True where the image could be read."""
        return np.array([error is None for error in self.errors], dtype=bool)

    @property
    def predicted(self) -> tuple[str | None, ...]:
        """(num_images) name of the most probable class, None in a row that has an error."""
        best = np.where(self.readable, np.nan_to_num(self.logits).argmax(axis=1), -1)
        return tuple(self.class_names[label] if label >= 0 else None for label in best.tolist())

    @property
    def confidences(self) -> NDArray[np.float64]:
        """(num_images,) calibrated probability of the predicted class, NaN in a row that has an error."""
        scaled = self.logits.astype(np.float64) / self.temperature
        confidences: NDArray[np.float64] = 1 / np.exp(scaled - scaled.max(axis=1, keepdims=True)).sum(axis=1)
        return confidences

    def __repr__(self) -> str:
        unreadable = len(self) - int(self.readable.sum())
        return f"Predictions({len(self):,} images, {unreadable} unreadable)"


def image_tag(png: bytes, *, height: int) -> str:
    """An HTML image tag that carries its PNG inside, for notebooks; `height` in pixels."""
    return f"<img height='{height}' src='data:image/png;base64,{base64.b64encode(png).decode()}'>"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The figures of one Predictions whose labels are known.

    Attributes:
        class_names: ordered names; rows and columns of the matrix follow it.
        num_images: readable images that were judged.
        num_correct: those whose most probable class was the given one.
        num_unreadable: rows with an error; they are in no other figure.
        accuracy: num_correct / num_images.
        accuracy_interval: Wilson interval of the accuracy at 95 %; of the effective number of images where they
            come in groups.
        balanced_accuracy: mean recall over the classes that occur.
        cross_entropy: mean, in nats, of the calibrated probabilities.
        calibration_error: expected calibration error over 15 bins, in [0, 1].
        confusion: (num_classes, num_classes) int64, row the given, column the predicted class.
        precision: (num_classes,) in [0, 1]; NaN for a class that was never predicted.
        recall: (num_classes,) in [0, 1]; NaN for a class without images.
        f1: (num_classes,) in [0, 1]; NaN for a class without images.
        macro_f1: mean F1 over the classes that occur.
        most_confused: (given, predicted, count), most frequent first.
        num_groups: of images that hang together; the interval counts them. None where each image stands alone.
        rows: of what `sightline.evaluate` gave: which rows these are, and which were left out; see there.
    """

    class_names: tuple[str, ...]
    num_images: int
    num_correct: int
    num_unreadable: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    balanced_accuracy: float
    cross_entropy: float
    calibration_error: float
    confusion: NDArray[np.int64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    macro_f1: float
    most_confused: tuple[tuple[str, str, int], ...]
    num_groups: int | None = None
    rows: Mapping[str, Any] | None = None

    @property
    def num_errors(self) -> int:
        """Images that were given a wrong class."""
        return self.num_images - self.num_correct

    def __str__(self) -> str:
        lower, upper = self.accuracy_interval
        told = "" if self.rows is None or not self.rows["mixed"] else f", {self.rows['mixed']}"
        return f"accuracy {self.accuracy:.4f} [{lower:.4f}, {upper:.4f}] on {self.images}{told}"

    @property
    def images(self) -> str:
        """How many images were judged, and in how many groups: "500 images in 100 groups"."""
        images = f"{self.num_images:,} image{'s' * (self.num_images != 1)}"
        if self.num_groups is None:
            return images
        return f"{images} in {self.num_groups:,} group{'s' * (self.num_groups != 1)}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{int(self.confusion[label].sum()):,}</td>"
            f"<td>{self.precision[label]:.4f}</td><td>{self.recall[label]:.4f}</td>"
            f"<td>{self.f1[label]:.4f}</td></tr>"
            for label, name in enumerate(self.class_names)
        )
        head = "<tr><th>class</th><th>images</th><th>precision</th><th>recall</th><th>F1</th></tr>"
        return f"<p>{self}</p><table>{head}{rows}</table>"


@dataclass(frozen=True, eq=False)
class Bundle:
    """One directory that predicts, opened and verified.

    Attributes:
        path: the directory.
        class_names: ordered as the logits are.
        input: what the network is fed.
        temperature: fitted on the calibration rows; 1 where there were none.
        num_calibration_images: how many rows stand behind the temperature.
        metrics: the test figures as JSON has them.
        manifest: format version, package versions, hashes.
    """

    path: Path
    class_names: tuple[str, ...]
    input: InputSpec
    temperature: float
    num_calibration_images: int
    metrics: Mapping[str, Any]
    manifest: Mapping[str, Any]

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What it can do beyond predicting, as its manifest says: "parity"."""
        return tuple(self.manifest.get("capabilities", ()))

    def __repr__(self) -> str:
        height, width, channels = self.input.shape
        return f"Bundle '{self.path}': {len(self.class_names)} classes, {height}x{width}x{channels} uint8 in"


@dataclass(frozen=True, eq=False)
class Run:
    """What one training leaves behind.

    Attributes:
        path: the run's folder.
        recipe: the whole configuration, as plain JSON types.
        splits: which rows were used for what.
        history: one mapping an epoch: epoch, loss, accuracy, validation_loss,
            validation_accuracy, learning_rate, seconds.
        chosen_epoch: 1-based; the epoch whose weights were kept. Of an ensemble the mean of its members', each of
            which has one of its own in `ensemble`.
        stopped_early: True if fewer epochs were trained than the recipe allows.
        validation: figures on validation rows, None if there are none.
        evaluation: figures on test rows, looked at once; None if there are none.
        bundle: the deployed part.
        backend: "tensorflow", "jax" or "torch".
        num_parameters: weights of the network, trained or not.
        seconds: wall time of import, data, fit, evaluate, export and total.
        images_per_second: training images a second, over all epochs, without compilation and validation.
        ensemble: of an ensemble: `kind`; `members`, each with `network`, `seed`, `vote` and its own figures;
            `disagreement`, by split the mean share of members that name another class than all together, None where
            the graph has one network; `out_of_bag` figures of bagging; of combined runs also `against_best`. None for
            a single network.
        teacher: of a student: `bundle`, its `test_accuracy`, `num_views`, `has_same_splits`, and its figures on the
            same `validation` rows, None where it may have learned from them. None where labels were learned.
    """

    path: Path
    recipe: Mapping[str, Any]
    splits: Splits
    history: tuple[Mapping[str, float], ...]
    chosen_epoch: int
    stopped_early: bool
    validation: Evaluation | None
    evaluation: Evaluation | None
    bundle: Bundle
    backend: str
    num_parameters: int
    seconds: Mapping[str, float] = field(default_factory=dict)
    images_per_second: float = 0.0
    ensemble: Mapping[str, Any] | None = None
    teacher: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        figure = f"test {self.evaluation}" if self.evaluation else "no test rows"
        if self.ensemble is not None and self.ensemble["kind"] == "combined":
            num_heard = sum(member["vote"] > 0 for member in self.ensemble["members"])
            return f"Run '{self.path}': {figure}, {num_heard} run{'s' * (num_heard != 1)} combined"
        return f"Run '{self.path}': {figure}, {len(self.history)} epochs on {self.backend}"

    def _repr_html_(self) -> str:
        pictures = "".join(
            image_tag((self.path / name).read_bytes(), height=320)
            for name in ("curves.png", "confusion.png", "mistakes.png")
            if (self.path / name).is_file()
        )
        return f"<p>{html.escape(repr(self))}</p>{pictures}"
