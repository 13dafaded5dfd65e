"""One class an image: a label is its number, and probabilities share out 1 among the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.metrics.calibration.temperature import fit_temperature, temperature_deviation
from sightline.metrics.classification import brier_scores, softmax, surprises
from sightline.metrics.conformal import portions
from sightline.metrics.ensembles import ensemble_logits, selection_course
from sightline.system.text import printable
from sightline.tasks.task import Answer, Task


@dataclass(frozen=True)
class SingleLabel:
    """Labels are (num_images,) int64 in [0, num_classes); the most probable class is the answer."""

    name: str = "single-label"
    keras_metrics: tuple[str, ...] = ("accuracy",)
    meaning: str = (
        "one a class, in the order of labels.json; divided by the temperature, their softmax are the confidences"
    )

    @property
    def unanswered(self) -> Answer:
        """No label, no confidence, no class."""
        return {"label": None, "confidence": None, "top": []}

    def counts(self, labels: NDArray[Any], *, num_classes: int) -> NDArray[np.int64]:
        """Images of each class."""
        return np.bincount(labels, minlength=num_classes)

    def is_of(self, labels: NDArray[Any], number: int) -> NDArray[np.bool_]:
        """Whether the label is that number."""
        return np.asarray(labels == number)

    def strata(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """Every class for itself."""
        return np.asarray(labels, np.int64)

    def all_strata(self, labels: NDArray[Any]) -> list[tuple[int, ...]]:
        """Its class alone."""
        # One tuple a class, however many images it has.
        known: dict[int, tuple[int, ...]] = {}
        return [known.setdefault(label, (label,)) for label in labels.tolist()]

    def renumbered(
        self,
        labels: NDArray[Any],
        numbers: NDArray[np.int64],
        *,
        num_classes: int,  # noqa: ARG002  # for labels that have a column a class
    ) -> NDArray[Any]:
        """A number for a number."""
        return np.asarray(numbers[labels], np.int64)

    def targets(self, labels: NDArray[Any], *, num_classes: int, one_hot: bool) -> NDArray[Any]:
        """int32 (num_images,), or one row of zeros and a one for each."""
        return np.eye(num_classes, dtype=np.float32)[labels] if one_hot else labels.astype(np.int32)

    def probabilities(self, logits: NDArray[Any], *, temperature: float = 1.0) -> NDArray[np.float64]:
        """Softmax; each row sums to 1."""
        if not len(logits):
            return np.empty(logits.shape)
        return softmax(logits, temperature=temperature)

    def decided(self, logits: NDArray[Any]) -> NDArray[Any]:
        """Of classes that are equally probable, the first."""
        return np.asarray(logits.argmax(axis=1), np.int64)

    def named(self, labels: NDArray[Any], class_names: Sequence[str]) -> tuple[str, ...]:
        """The name of the class."""
        return tuple(class_names[label] for label in labels.tolist())

    def confidences(self, logits: NDArray[Any], *, temperature: float = 1.0) -> NDArray[np.float64]:
        """The probability of the most probable class."""
        found = np.empty(len(logits))
        for part in portions(*logits.shape):
            found[part] = self.probabilities(logits[part], temperature=temperature).max(axis=1)
        return found

    def is_right(self, logits: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether the most probable class is the given one."""
        return np.asarray(self.decided(logits) == labels)

    def surprises(self, logits: NDArray[Any], labels: NDArray[Any], *, temperature: float = 1.0) -> NDArray[np.float64]:
        """Of the softmax, finite whatever the logits are."""
        return surprises(logits, labels, temperature=temperature)

    def brier_scores(
        self, logits: NDArray[Any], labels: NDArray[Any], *, temperature: float = 1.0
    ) -> NDArray[np.float64]:
        """Of the softmax, summed over the classes; of two classes of one of them."""
        return brier_scores(logits, labels, temperature=temperature)

    def fit_temperature(self, logits: NDArray[Any], labels: NDArray[Any]) -> float:
        """See `sightline.metrics.calibration.temperature.fit_temperature`."""
        return fit_temperature(logits, labels)

    def temperature_deviation(
        self, logits: NDArray[Any], labels: NDArray[Any], *, temperature: float, groups: NDArray[np.str_] | None
    ) -> float:
        """See `sightline.metrics.calibration.temperature.temperature_deviation`."""
        return temperature_deviation(logits, labels, temperature=temperature, groups=groups)

    def together(self, member_logits: NDArray[Any], votes: NDArray[Any]) -> NDArray[np.float64]:
        """See `sightline.metrics.ensembles.ensemble_logits`."""
        return ensemble_logits(member_logits, votes)

    def selected(self, member_logits: NDArray[Any], labels: NDArray[Any], *, most: int) -> NDArray[np.int64]:
        """See `sightline.metrics.ensembles.selection_course`."""
        return selection_course(member_logits, labels, most=most)[0]

    def answers(
        self, logits: NDArray[Any], class_names: Sequence[str], *, temperature: float, top: int
    ) -> list[Answer]:
        """`label` and `confidence` of the first, and the first `top` of them again under `top`."""
        found: list[Answer] = []
        for row in self.probabilities(logits, temperature=temperature):
            best = np.argsort(-row, kind="stable")[:top]
            ranked = [{"label": class_names[label], "confidence": round(float(row[label]), 6)} for label in best]
            found.append({**ranked[0], "top": ranked})
        return found

    def columns(self, top: int) -> list[str]:
        """label, confidence, label_2, confidence_2, ..."""
        return [f"{what}{ending}" for ending in _endings(top) for what in ("label", "confidence")]

    def cells(self, answer: Answer, top: int) -> list[str | float | None]:
        """Empty ones where there are fewer classes than columns."""
        ranked = [entry[what] for entry in answer["top"] for what in ("label", "confidence")]
        return [*ranked, *[None] * (2 * top - len(ranked))]

    def line(self, answer: Answer) -> str:
        """As in "cat 0.900  | dog 0.080"."""
        first, *others = (f"{printable(entry['label'])} {entry['confidence']:.3f}" for entry in answer["top"])
        return f"{first}  | {'  '.join(others)}" if others else first


def _endings(top: int) -> list[str]:
    return ["", *(f"_{rank}" for rank in range(2, top + 1))]


SINGLE_LABEL: Task = SingleLabel()
