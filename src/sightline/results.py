"""The frozen records of what came out: Evaluation, Bundle, Run."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.records import InputSpec, Splits, image_tag


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
