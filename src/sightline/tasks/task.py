"""What has to be said of labels and logits before anything can be trained, judged or printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# An answer as JSON has it: the part of a row of `predict --json` that says what is in the image.
Answer = Mapping[str, Any]


class Task(Protocol):
    """The questions whose answers depend on what a label is; whoever has to ask one asks the task of its data.

    Logits are finite, (num_images, num_classes), and temperatures positive; labels have one row an image.
    """

    @property
    def name(self) -> str:
        """As manifests say it."""

    @property
    def keras_metrics(self) -> tuple[str, ...]:
        """What Keras counts in each epoch, by its own names."""

    @property
    def meaning(self) -> str:
        """What the logits of a bundle are, in the words of its manifest."""

    @property
    def unanswered(self) -> Answer:
        """An answer for an image that could not be read: the same keys, with nothing in them."""

    def counts(self, labels: NDArray[Any], *, num_classes: int) -> NDArray[np.int64]:
        """Images of each class."""

    def is_of(self, labels: NDArray[Any], number: int) -> NDArray[np.bool_]:
        """(num_images,) whether each image is of the class of that number."""

    def strata(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """(num_images,) numbers; images of one number are kept in proportion when a Dataset is divided."""

    def all_strata(self, labels: NDArray[Any]) -> list[tuple[int, ...]]:
        """Of each image all such numbers that it counts for, each of which is kept in proportion by itself."""

    def renumbered(self, labels: NDArray[Any], numbers: NDArray[np.int64], *, num_classes: int) -> NDArray[Any]:
        """Labels of the same images where class i is called `numbers[i]`; -1 for one that none of them has."""

    def targets(self, labels: NDArray[Any], *, num_classes: int, one_hot: bool) -> NDArray[Any]:
        """Labels as a loss takes them: a float32 row for each image where it wants one-hot ones."""

    def probabilities(self, logits: NDArray[Any], *, temperature: float = 1.0) -> NDArray[np.float64]:
        """(num_images, num_classes) in [0, 1]."""

    def decided(self, logits: NDArray[Any]) -> NDArray[Any]:
        """What is said to be in each image, in the form of labels."""

    def named(self, labels: NDArray[Any], class_names: Sequence[str]) -> tuple[str, ...]:
        """Labels in words, one text an image."""

    def confidences(self, logits: NDArray[Any], *, temperature: float = 1.0) -> NDArray[np.float64]:
        """(num_images,) in [0, 1]: how sure `decided` is."""

    def is_right(self, logits: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
        """(num_images,) whether `decided` is what the labels say."""

    def surprises(self, logits: NDArray[Any], labels: NDArray[Any], *, temperature: float = 1.0) -> NDArray[np.float64]:
        """(num_images,) surprise at the labels of each, in nats; their mean is the cross-entropy."""

    def brier_scores(
        self, logits: NDArray[Any], labels: NDArray[Any], *, temperature: float = 1.0
    ) -> NDArray[np.float64]:
        """(num_images,) squared distance of the probabilities from what is true; their mean is the Brier score."""

    def fit_temperature(self, logits: NDArray[Any], labels: NDArray[Any]) -> float:
        """By which logits are divided, so that probabilities become how often they come true."""

    def temperature_deviation(
        self, logits: NDArray[Any], labels: NDArray[Any], *, temperature: float, groups: NDArray[np.str_] | None
    ) -> float:
        """How far a fitted temperature may be off: the standard error of its logarithm."""

    def together(self, member_logits: NDArray[Any], votes: NDArray[Any]) -> NDArray[np.float64]:
        """(num_images, num_classes) what several networks say: those of (num_images, num_members, num_classes)."""

    def selected(self, member_logits: NDArray[Any], labels: NDArray[Any], *, most: int) -> NDArray[np.int64]:
        """The members that forward selection takes one behind the other, `most` steps of it."""

    def answers(
        self, logits: NDArray[Any], class_names: Sequence[str], *, temperature: float, top: int
    ) -> list[Answer]:
        """One an image, with at most `top` classes in it."""

    def columns(self, top: int) -> list[str]:
        """What the cells of an answer with so many classes are called in a table."""

    def cells(self, answer: Answer, top: int) -> list[str | float | None]:
        """An answer as cells of a table, one a column."""

    def line(self, answer: Answer) -> str:
        """An answer as a person reads it on a terminal."""
