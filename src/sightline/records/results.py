"""What comes of networks: Predictions, Evaluation, Bundle, Run."""

from __future__ import annotations

import functools
import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import InvalidValue
from sightline.metrics.calibration.reliability import Reliability
from sightline.metrics.slices import Slice
from sightline.records.data import InputSpec, Splits
from sightline.records.details import AnswerDetail, Novelty, PredictionSets, UnsureAnswers
from sightline.records.figure import Figure
from sightline.records.notebook import MOST_SHOWN, Box, boxes_html, image_tag
from sightline.system.text import counted, exact_percent
from sightline.tasks.single_label import SINGLE_LABEL
from sightline.tasks.task import Task

NO_NUMBER = "the network answers this image with something else than finite numbers"


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a bundle says of a list of images; an unreadable one is a row with an error.

    Attributes:
        class_names: (num_classes) names, in the order of the logits.
        row_ids: (num_images) strings: paths, or row ids of a Dataset.
        logits: (num_images, num_classes) float32; NaN in a row that has an error.
        temperature: positive; logits are divided by it before the softmax.
        labels: (num_images,) int64 into `class_names`, or None where unknown; where an image may have several,
            (num_images, num_classes) of 0 and 1.
        errors: (num_images) messages, None where the image was read.
        notices: (num_images) remarks on a row that was read ("looks inverted"), else None.
        disagreements: (num_images,) float32 in [0, 1], the share of an ensemble's members that name another
            class than it does; NaN in a row that has an error; None where one network answers.
        groups: (num_images,) strings, images of one hang together: of one object, or copies; None: each stands alone.
        details: what was asked for beside the class, by name; `sets`, `named_sets` and `unsure` read it.
        task: what the logits say and what a label is.
        shown: (num_shown, height, width, channels) uint8, the first images as the network was fed them, for notebooks;
            None where they were not kept.

    Example:
        >>> import numpy as np, sightline
        >>> logits = np.array([[2.0, 0.0], [0.0, 1.0]], np.float32)
        >>> answers = sightline.Predictions.of(["a.png", "b.png"], logits, class_names=("cat", "dog"))
        >>> answers.predicted, answers.confidences.round(2).tolist()
        (('cat', 'dog'), [0.88, 0.73])
    """

    class_names: tuple[str, ...]
    row_ids: tuple[str, ...]
    logits: NDArray[np.float32]
    temperature: float
    labels: NDArray[Any] | None
    errors: tuple[str | None, ...]
    notices: tuple[str | None, ...]
    disagreements: NDArray[np.float32] | None = None
    groups: NDArray[np.str_] | None = None
    details: Mapping[str, AnswerDetail] = field(default_factory=dict)
    task: Task = SINGLE_LABEL
    shown: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        """Make an error row of each whose answer is no number: it names no class, whoever made the bundle."""
        for name, detail in self.details.items():
            if len(detail) != len(self):
                raise InvalidValue(f"details must have a row an image, {len(self):,}; got {len(detail):,} of '{name}'.")
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

    @classmethod
    def of(  # noqa: PLR0913  # each is an attribute, and none is a group of others
        cls,
        row_ids: Sequence[str] | NDArray[np.str_],
        logits: NDArray[np.float32],
        *,
        class_names: tuple[str, ...],
        temperature: float = 1.0,
        labels: NDArray[Any] | None = None,
        errors: Iterable[str | None] = (),
        notices: Iterable[str | None] = (),
        disagreements: NDArray[np.float32] | None = None,
        groups: NDArray[np.str_] | None = None,
        details: Mapping[str, AnswerDetail] | None = None,
        task: Task = SINGLE_LABEL,
        shown: NDArray[np.uint8] | None = None,
    ) -> Predictions:
        """Predictions of which only what there is has to be named; see the attributes.

        Args:
            row_ids: a row each.
            logits: a row each.
            class_names: in the order of the logits.
            temperature: 1 leaves the logits as they are.
            labels: left out where they are not known.
            errors: left out where every image was read.
            notices: left out where there is none.
            disagreements: left out where one network answers.
            groups: left out where each image stands alone.
            details: left out where nothing was asked for beside the class.
            task: left out where an image has one class.
            shown: left out where nobody will look at the images.

        Returns:
            The Predictions.
        """
        nothing = (None,) * len(row_ids)
        return cls(
            class_names=class_names,
            row_ids=tuple(row_ids.tolist() if isinstance(row_ids, np.ndarray) else row_ids),
            logits=logits,
            temperature=temperature,
            labels=labels,
            errors=tuple(errors) or nothing,
            notices=tuple(notices) or nothing,
            disagreements=disagreements,
            groups=groups,
            details={} if details is None else details,
            task=task,
            shown=shown,
        )

    def __len__(self) -> int:
        return len(self.row_ids)

    def take(self, rows: NDArray[np.int64]) -> Predictions:
        """The same for some of the rows."""
        listed = rows.tolist()
        return replace(
            self,
            row_ids=tuple(self.row_ids[row] for row in listed),
            logits=self.logits[rows],
            labels=None if self.labels is None else self.labels[rows],
            errors=tuple(self.errors[row] for row in listed),
            notices=tuple(self.notices[row] for row in listed),
            disagreements=None if self.disagreements is None else self.disagreements[rows],
            groups=None if self.groups is None else self.groups[rows],
            details={name: detail.take(rows) for name, detail in self.details.items()},
            shown=None if self.shown is None or (rows >= len(self.shown)).any() else self.shown[rows],
        )

    @property
    def readable(self) -> NDArray[np.bool_]:
        """(num_images,) True where the image could be read."""
        return np.array([error is None for error in self.errors], dtype=bool)

    @property
    def predicted(self) -> tuple[str | None, ...]:
        """(num_images) name of the most probable class, None in a row that has an error."""
        names = np.full(len(self), None)
        names[self.readable] = self.task.named(self.task.decided(self.logits[self.readable]), self.class_names)
        return tuple(names.tolist())

    @functools.cached_property
    def confidences(self) -> NDArray[np.float64]:
        """(num_images,) calibrated probability of the predicted class, NaN in a row that has an error; read-only."""
        confidences = np.full(len(self), np.nan)
        readable = self.readable
        logits = self.logits if readable.all() else self.logits[readable]
        confidences[readable] = self.task.confidences(logits, temperature=self.temperature)
        # Each figure of calibration asks for them, and of many classes they take seconds.
        confidences.flags.writeable = False
        return confidences

    @property
    def sets(self) -> PredictionSets | None:
        """The classes that an image may be of; None where no coverage was asked for."""
        found = self.details.get("sets")
        return found if isinstance(found, PredictionSets) else None

    @property
    def unsure(self) -> NDArray[np.bool_] | None:
        """(num_images,) whether each answer is marked as unsure, as one that has an error is; see `predict`.

        None where no max_error was asked for.
        """
        found = self.details.get("abstention")
        return found.is_unsure if isinstance(found, UnsureAnswers) else None

    @property
    def novelty(self) -> Novelty | None:
        """Which images are unlike what was learned; None where that was not asked for."""
        found = self.details.get("novelty")
        return found if isinstance(found, Novelty) else None

    @functools.cached_property
    def named_sets(self) -> tuple[tuple[str, ...] | None, ...]:
        """(num_images) names of the classes in each set, the most probable first; None in a row that has an error.

        None for every row where no coverage was asked for.
        """
        if (sets := self.sets) is None:
            return (None,) * len(self)
        readable = enumerate(self.readable.tolist())
        return tuple(
            sets.named(row, self.logits[row], self.class_names) if is_read else None for row, is_read in readable
        )

    def __repr__(self) -> str:
        return f"Predictions({counted(len(self), 'image')}, {int((~self.readable).sum())} unreadable)"

    def _repr_html_(self) -> str:
        boxes = map(self._box, range(min(len(self), MOST_SHOWN)))
        return boxes_html(repr(self), boxes, num_more=len(self) - MOST_SHOWN)

    def _box(self, row: int) -> Box:
        """An image with what is said of it."""
        name, error = str(self.row_ids[row]), self.errors[row]
        if error is not None:
            return None, [name, error]
        given = () if self.labels is None else self.task.named(self.labels[[row]], self.class_names)
        cells = ((detail, detail.cells(row, self.logits[row], self.class_names)) for detail in self.details.values())
        words = [f"{self.predicted[row]} ({self.confidences[row]:.2f})", *(f"given {one}" for one in given), name]
        image = None if self.shown is None or row >= len(self.shown) else self.shown[row]
        return image, [*filter(None, [*words, *(detail.words(told) for detail, told in cells), self.notices[row]])]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The figures of one Predictions whose labels are known.

    Attributes:
        class_names: ordered names; rows and columns of the matrix follow it.
        num_images: readable images that were judged.
        num_correct: those whose most probable class was the given one; of several labels, whose labels are all right.
        num_unreadable: rows with an error; they are in no other figure.
        figures: name to Figure, each with its interval if one is known: all of `sightline.metrics.figures.FIGURES`,
            in its order, those of sets where a coverage was asked for. Those with an attribute of their own are below.
        confusion: (num_classes, num_classes) int64, row the given, column the predicted class; where an image may have
            several labels (num_classes, 2, 2), of each label by itself: row whether it was given, column whether said.
        precision: (num_classes,) in [0, 1]; NaN for a class that was never predicted.
        recall: (num_classes,) in [0, 1]; NaN for a class without images.
        f1: (num_classes,) in [0, 1]; NaN for a class without images.
        most_confused: (given, predicted, count), most frequent first.
        num_groups: of images that hang together; intervals count them. None where each image stands alone.
        interval_level: of all intervals: 0.95 are those that hold the truth in 95 of 100 such evaluations.
        class_intervals: of "precision", "recall" and "f1", (num_classes, 2) lower and upper bounds of each class; NaN
            where there is no figure.
        rough: why intervals may be too narrow, but those of shares of images; "" where they are not.
        reliability: confidences beside what came true, and beside what a perfectly calibrated model would show on as
            many images: `expected`, `expected_interval`, `p_value`, and all that `in_words`.
        rows: of what `sightline.evaluate` gave: which rows these are, and which were left out; see there.
        promises: what answers were asked to keep, by the name of the detail; of `sets`: `coverage`, `score`,
            `per_class`, the `num_images` and `num_groups` of the calibration images behind it, and all that `in_words`.
        slices: parts of the images against the rest, the surest to be worse first; None where that was not asked for.
        average_precision: (num_classes,) of each label, where an image may have several; NaN of one that no image has.
        draw: makes the pictures that a notebook shows, as PNG by what each shows; None where there are none.
        accuracy: num_correct / num_images.
        accuracy_interval: Wilson interval of the accuracy; of the effective number of images where they come in
            groups.
        balanced_accuracy: mean recall over the classes that occur.
        cross_entropy: mean, in nats, of the calibrated probabilities.
        brier_score: mean squared distance of the calibrated probabilities from what is true; summed over the classes,
            of two classes of one.
        macro_f1: mean F1 over the classes that occur.
        risk_coverage_area: mean share of wrong answers among the 1, 2, ... surest, in [0, 1].
        auroc: area under the ROC curve of a class against all others, the mean over those that occur.
        calibration_error: expected calibration error over 15 bins, in [0, 1].
        equal_mass_calibration_error: the same over bins of as many images each.
        debiased_calibration_error: root mean square over such bins, less what chance adds.

    Example:
        >>> import sightline
        >>> figures = sightline.evaluate("runs/mnist-fast-001")
        >>> figures.confusion.shape, int(figures.confusion.trace()) == figures.num_correct
        ((10, 10), True)
    """

    class_names: tuple[str, ...]
    num_images: int
    num_correct: int
    num_unreadable: int
    figures: Mapping[str, Figure]
    confusion: NDArray[np.int64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    most_confused: tuple[tuple[str, str, int], ...]
    num_groups: int | None = None
    interval_level: float = 0.95
    class_intervals: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    rough: str = ""
    reliability: Reliability | None = None
    rows: Mapping[str, Any] | None = None
    promises: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    slices: tuple[Slice, ...] | None = None
    draw: Callable[[], Mapping[str, bytes]] | None = None
    average_precision: NDArray[np.float64] | None = None

    @property
    def accuracy(self) -> float:
        """num_correct / num_images."""
        return self.figures["accuracy"].value

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """Lower and upper bound of the accuracy."""
        return self.figures["accuracy"].interval or (math.nan, math.nan)

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that occur."""
        return self.figures["balanced_accuracy"].value

    @property
    def cross_entropy(self) -> float:
        """Mean, in nats, of the calibrated probabilities."""
        return self.figures["cross_entropy"].value

    @property
    def brier_score(self) -> float:
        """Mean squared distance of the calibrated probabilities from what is true."""
        return self.figures["brier_score"].value

    @property
    def auroc(self) -> float:
        """Area under the ROC curve of a class against all others, the mean over those that occur."""
        return self.figures["auroc"].value

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes that occur."""
        return self.figures["macro_f1"].value

    @property
    def calibration_error(self) -> float:
        """Expected calibration error over 15 bins, in [0, 1]."""
        return self.figures["calibration_error"].value

    @property
    def equal_mass_calibration_error(self) -> float:
        """The same over bins of as many images each."""
        return self.figures["equal_mass_calibration_error"].value

    @property
    def debiased_calibration_error(self) -> float:
        """Root mean square over such bins, less what chance adds."""
        return self.figures["debiased_calibration_error"].value

    @property
    def risk_coverage_area(self) -> float:
        """Mean share of wrong answers among the 1, 2, ... surest."""
        return self.figures["risk_coverage_area"].value

    @property
    def has_several_labels(self) -> bool:
        """Whether an image may have several labels, or none."""
        return self.confusion.ndim == 3

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """(num_classes,) images that have each class, by the given labels."""
        return np.asarray((self.confusion[:, 1] if self.has_several_labels else self.confusion).sum(axis=1))

    @property
    def num_errors(self) -> int:
        """Images that were given a wrong class."""
        return self.num_images - self.num_correct

    def __str__(self) -> str:
        told = "" if self.rows is None or not self.rows["mixed"] else f", {self.rows['mixed']}"
        return f"{next(iter(self.figures.values()))} on {self.images}{told}"

    @property
    def images(self) -> str:
        """How many images were judged, and in how many groups: "500 images in 100 groups"."""
        images = f"{self.num_images:,} image{'s' * (self.num_images != 1)}"
        if self.num_groups is None:
            return images
        return f"{images} in {self.num_groups:,} group{'s' * (self.num_groups != 1)}"

    @property
    def about_intervals(self) -> str:
        """What stands in brackets behind the figures, in a line."""
        counted_groups = "" if self.num_groups is None else f", in which {counted(self.num_groups, 'group')} count"
        rough = f"; but those of shares of images they are rough: {self.rough}" if self.rough else ""
        return f"in brackets: {exact_percent(self.interval_level)} intervals{counted_groups}{rough}"

    def class_figure(self, name: str, label: int) -> Figure:
        """The "precision", "recall" or "f1" of a class, with its interval."""
        bounds = self.class_intervals[name][label].tolist() if name in self.class_intervals else [math.nan]
        value = float(getattr(self, name)[label])
        return Figure(name, value, None if math.isnan(bounds[0]) else (bounds[0], bounds[1]))

    @property
    def other_figures(self) -> str:
        """All figures but the first, which `str` tells, in a line."""
        return ", ".join(map(str, list(self.figures.values())[1:]))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{self.class_counts[label]:,}</td>"
            + "".join(f"<td>{self.class_figure(key, label).numbers}</td>" for key in ("precision", "recall", "f1"))
            + "</tr>"
            for label, name in enumerate(self.class_names)
        )
        head = "<tr><th>class</th><th>images</th><th>precision</th><th>recall</th><th>F1</th></tr>"
        drawn = (f"<div>{image_tag(png, alt=name)}</div>" for name, png in (self.draw() if self.draw else {}).items())
        told = f"<p>{self}</p><p>{self.other_figures}</p><p>{self.about_intervals}</p>"
        return f"{told}<table>{head}{rows}</table>{''.join(drawn)}"


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
        task: what its logits say.

    Example:
        >>> import sightline
        >>> sightline.reopen("imagenet")
        Bundle '...imagenet': 1000 classes, 224x224x3 uint8 in
    """

    path: Path
    class_names: tuple[str, ...]
    input: InputSpec
    temperature: float
    num_calibration_images: int
    metrics: Mapping[str, Any]
    manifest: Mapping[str, Any]
    task: Task = SINGLE_LABEL

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
            `disagreement`, by split the mean share of members that name another class than all together, and its
            `disagreement_interval`, None where
            the graph has one network; `out_of_bag` figures of bagging; of combined runs also `against_best`. None for
            a single network.
        teacher: of a student: `bundle`, its `test_accuracy`, `num_views`, `has_same_splits`, and its figures on the
            same `validation` rows, None where it may have learned from them. None where labels were learned.
        stages: of a training on a pretrained network: `name` ("head", "upper" or "all"), whether it `is_kept`, `why`,
            `seconds`, and cross-entropy `before` and `after`, with the `chance` of as large a gain if there were none,
            on `num_judged` rows; `judged_on` says which. Empty otherwise.
        processes: on how many processes a single network learned together.

    Example:
        >>> import sightline
        >>> run = sightline.reopen("runs/mnist-fast-001")
        >>> [epoch["epoch"] for epoch in run.history], run.stopped_early
        ([1, 2], False)
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
    stages: tuple[Mapping[str, Any], ...] = ()
    processes: int = 1

    def __repr__(self) -> str:
        figure = f"test {self.evaluation}" if self.evaluation else "no test rows"
        if self.ensemble is not None and self.ensemble["kind"] == "combined":
            num_heard = sum(member["vote"] > 0 for member in self.ensemble["members"])
            return f"Run '{self.path}': {figure}, {num_heard} run{'s' * (num_heard != 1)} combined"
        return f"Run '{self.path}': {figure}, {counted(len(self.history), 'epoch')} on {self.backend}"

    def _repr_html_(self) -> str:
        names = ("curves.png", "confusion.png", "reliability.png", "mistakes.png")
        paths = [self.path / name for name in names if (self.path / name).is_file()]
        pictures = "".join(image_tag(path.read_bytes(), alt=path.name) for path in paths)
        return f"<p>{html.escape(repr(self))}</p>{pictures}"
