"""Several labels an image, or none: labels are a row of zeros and ones, and each has a probability of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.metrics.calibration.temperature import fit_temperature, temperature_deviation
from sightline.metrics.multi_label.scaling import flat_pairs
from sightline.metrics.multi_label.voting import label_ensemble_logits, label_selection_course
from sightline.system.text import printable
from sightline.tasks.task import Answer, Task

NO_LABEL = "(no label)"
"""What stands for an image without a label where its labels are told in words."""


@dataclass(frozen=True)
class MultiLabel:
    """Labels are (num_images, num_classes) uint8 of 0 and 1; those whose logit reaches its threshold are the answer.

    Attributes:
        thresholds: a logit a class, from which on it is said; none: 0 for each, an even chance.
    """

    thresholds: tuple[float, ...] = ()
    name: str = "multi-label"
    keras_metrics: tuple[str, ...] = ("accuracy",)
    meaning: str = (
        "one a label, in the order of labels.json; divided by the temperature, the sigmoid of each is its confidence; "
        "said from its threshold on (label_thresholds in calibration.json)"
    )

    @property
    def unanswered(self) -> Answer:
        """No labels."""
        return {"labels": [], "top": []}

    def counts(self, labels: NDArray[Any], *, num_classes: int) -> NDArray[np.int64]:
        """Images that have each label; one image counts for several."""
        return np.asarray(labels.reshape(-1, num_classes).sum(axis=0, dtype=np.int64))

    def is_of(self, labels: NDArray[Any], number: int) -> NDArray[np.bool_]:
        """Whether the image has the label of that number."""
        return np.asarray(labels[:, number] != 0)

    def strata(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """Of each image the rarest of its labels; those without one are a stratum of their own, the last."""
        num_classes = labels.shape[1]
        counts = self.counts(labels, num_classes=num_classes)
        rank = np.empty(num_classes, np.int64)
        rank[np.argsort(counts, kind="stable")] = np.arange(num_classes)
        rarest = np.where(labels != 0, rank, num_classes).argmin(axis=1)
        return np.asarray(np.where((labels != 0).any(axis=1), rarest, num_classes), np.int64)

    def all_strata(self, labels: NDArray[Any]) -> list[tuple[int, ...]]:
        """Every label of each; the number of classes for an image without one."""
        nothing = (labels.shape[1],)
        return [tuple(np.flatnonzero(row).tolist()) or nothing for row in labels]

    def renumbered(self, labels: NDArray[Any], numbers: NDArray[np.int64], *, num_classes: int) -> NDArray[Any]:
        """A column for a column; what is called -1 is left out."""
        known = np.flatnonzero(numbers >= 0)
        found = np.zeros((len(labels), num_classes), np.uint8)
        found[:, numbers[known]] = labels[:, known]
        return found

    def targets(self, labels: NDArray[Any], *, num_classes: int, one_hot: bool) -> NDArray[Any]:  # noqa: ARG002  # they have one form
        """As they are, as float32."""
        return labels.astype(np.float32)

    def probabilities(self, logits: NDArray[Any], *, temperature: float = 1.0) -> NDArray[np.float64]:
        """Sigmoid; each label by itself."""
        # By tanh: no exponential overflows.
        return np.asarray(0.5 * (1 + np.tanh(np.asarray(logits, np.float64) / temperature / 2)))

    def decided(self, logits: NDArray[Any]) -> NDArray[Any]:
        """Labels whose logit is at least its threshold; maybe none."""
        return np.asarray(logits >= self.limits(logits.shape[-1]), np.uint8)

    def limits(self, num_classes: int) -> NDArray[np.float64]:
        """(num_classes,) the logit from which on each label is said."""
        return np.array(self.thresholds) if self.thresholds else np.zeros(num_classes)

    def named(self, labels: NDArray[Any], class_names: Sequence[str]) -> tuple[str, ...]:
        """As in "cat; dog", or "(no label)"."""
        told = ("; ".join(class_names[label] for label in np.flatnonzero(row).tolist()) for row in labels)
        return tuple(text or NO_LABEL for text in told)

    def confidences(self, logits: NDArray[Any], *, temperature: float = 1.0) -> NDArray[np.float64]:
        """The probability that all labels are right, said or not, if none depended on another."""
        said = self.decided(logits) != 0
        shares = self.probabilities(logits, temperature=temperature)
        with np.errstate(divide="ignore"):
            return np.asarray(np.exp(np.log(np.where(said, shares, 1 - shares)).sum(axis=1)))

    def is_right(self, logits: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether exactly the given labels are said."""
        return np.asarray((self.decided(logits) == labels).all(axis=1))

    def surprises(self, logits: NDArray[Any], labels: NDArray[Any], *, temperature: float = 1.0) -> NDArray[np.float64]:
        """The mean over the labels of each, as Keras' binary cross-entropy is."""
        scaled = np.asarray(logits, np.float64) / temperature
        return np.asarray(np.logaddexp(0, np.where(labels != 0, -scaled, scaled)).mean(axis=1))

    def brier_scores(
        self, logits: NDArray[Any], labels: NDArray[Any], *, temperature: float = 1.0
    ) -> NDArray[np.float64]:
        """The mean over the labels of each."""
        return np.asarray(((self.probabilities(logits, temperature=temperature) - labels) ** 2).mean(axis=1))

    def fit_temperature(self, logits: NDArray[Any], labels: NDArray[Any]) -> float:
        """One for all labels; see `sightline.metrics.calibration.temperature.fit_temperature`."""
        return fit_temperature(*flat_pairs(logits, labels))

    def temperature_deviation(
        self, logits: NDArray[Any], labels: NDArray[Any], *, temperature: float, groups: NDArray[np.str_] | None
    ) -> float:
        """As of one class an image; the labels of an image hang together."""
        own = np.arange(len(logits)).astype(str) if groups is None else groups
        pairs, flags = flat_pairs(logits, labels)
        return temperature_deviation(pairs, flags, temperature=temperature, groups=np.repeat(own, logits.shape[1]))

    def together(self, member_logits: NDArray[Any], votes: NDArray[Any]) -> NDArray[np.float64]:
        """See `sightline.metrics.multi_label.voting.label_ensemble_logits`."""
        return label_ensemble_logits(member_logits, votes)

    def selected(self, member_logits: NDArray[Any], labels: NDArray[Any], *, most: int) -> NDArray[np.int64]:
        """See `sightline.metrics.multi_label.voting.label_selection_course`."""
        return label_selection_course(member_logits, labels, most=most)[0]

    def answers(
        self, logits: NDArray[Any], class_names: Sequence[str], *, temperature: float, top: int
    ) -> list[Answer]:
        """`labels`, those that are said, and under `top` the most probable ones, said or not; the surest first."""
        found: list[Answer] = []
        for said, row in zip(self.decided(logits), self.probabilities(logits, temperature=temperature), strict=True):
            order = np.argsort(-row, kind="stable").tolist()
            ranked = [{"label": class_names[label], "confidence": round(float(row[label]), 6)} for label in order]
            labels = [entry for entry, label in zip(ranked, order, strict=True) if said[label]]
            found.append({"labels": labels, "top": ranked[:top]})
        return found

    def columns(self, top: int) -> list[str]:  # noqa: ARG002  # however many are said, they stand in one cell
        """labels, confidences."""
        return ["labels", "confidences"]

    def cells(self, answer: Answer, top: int) -> list[str | float | None]:  # noqa: ARG002  # see above
        """Those that are said as tables of labels have them, "cat;dog"; a list where a name holds what parts them."""
        names = [entry["label"] for entry in answer["labels"]]
        is_plain = not any(";" in name or name[:1] in "[({" for name in names)
        told = ";".join(names) if is_plain else json.dumps(names, ensure_ascii=False)
        return [told, ";".join(str(entry["confidence"]) for entry in answer["labels"])]

    def line(self, answer: Answer) -> str:
        """As in "cat 0.900, dog 0.800", or what is most probable where nothing is said."""
        said = ", ".join(f"{printable(entry['label'])} {entry['confidence']:.3f}" for entry in answer["labels"])
        if said or not answer["top"]:
            return said or NO_LABEL
        first = answer["top"][0]
        return f"{NO_LABEL}  | most probable: {printable(first['label'])} {first['confidence']:.3f}"


MULTI_LABEL = MultiLabel()
_IS_TASK: Task = MULTI_LABEL
