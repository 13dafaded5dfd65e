"""A head for a frozen backbone: one dense layer on its features, chosen among several ways to fit it, in seconds."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.metrics.labels.discriminants import Discriminant
from sightline.metrics.labels.folds import grouped_folds
from sightline.metrics.significance import chance_of_gain
from sightline.tasks.table import task_of
from sightline.training.transfer.judging import (
    LEVEL,
    best_temperature,
    calibrated_cross_entropy,
    calibrated_surprises,
)
from sightline.training.transfer.sigmoid import SigmoidRegression
from sightline.training.transfer.softmax import SoftmaxRegression

# Shares of the scatter that are replaced by the same variance everywhere; from strong to weak.
SHRINKAGES = (0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05)
# Taken where a class has a single image, so that nothing can be left out to choose by.
SAFE_SHRINKAGE = 0.7
# Strengths of the squared penalty of a softmax regression that validation chooses among, from strong to weak.
PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
# The same of logistic regressions, one a label: each has fewer images that have it.
PENALTIES_OF_LABELS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
SAFE_PENALTY = 0.03
NUM_FOLDS = 5
# With fewer images a class the discriminant was the better head on all that was looked at (decision 65).
FEWEST_OF_SOFTMAX, FEWEST_TO_CHOOSE = 200, 100
# From so many validation rows on they judge alone: folds of eight times as many train rows would take a minute.
ENOUGH_TO_JUDGE = 1000


@dataclass(frozen=True, eq=False)
class Rows:
    """Features with their labels.

    Attributes:
        features: (num_rows, num_features) of any float type; view after view where there are several of each image.
        labels: (num_rows,) int64; where an image may have several, (num_rows, num_classes) of 0 and 1.
        weights: (num_rows,) float32 what each counts, or None.
        num_views: how many of the rows are views of one and the same image.
        groups: (num_images,) names of what must not be parted, or None.
    """

    features: NDArray[Any]
    labels: NDArray[Any]
    weights: NDArray[np.float32] | None = None
    num_views: int = 1
    groups: NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_images(self) -> int:
        """Views of an image are no further images."""
        return len(self) // self.num_views

    def take(self, images: NDArray[np.bool_]) -> Rows:
        """All views of some images."""
        rows = np.tile(images, self.num_views)
        weights = None if self.weights is None else self.weights[rows]
        return Rows(self.features[rows], self.labels[rows], weights, self.num_views)


@dataclass(frozen=True, eq=False)
class Layer:
    """What turns features into logits: features @ kernel + bias.

    Attributes:
        kernel: (num_features, num_classes) float32.
        bias: (num_classes,) float32.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]

    def logits(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """(num_images, num_classes) float32 for (num_images, num_features)."""
        answer: NDArray[np.float32] = np.asarray(features, np.float32) @ self.kernel + self.bias
        return answer

    def at(self, temperature: float, more: NDArray[np.float64] | float = 0.0) -> Layer:
        """The same at a temperature, with more (num_classes,) added to its logits."""
        return Layer(
            np.asarray(self.kernel / temperature, np.float32), np.asarray(self.bias / temperature + more, np.float32)
        )


@dataclass(frozen=True, eq=False)
class Head(Layer):
    """A layer with how it came about.

    Attributes:
        how: by what it was fitted and chosen, in words.
        surprises: (num_judged,) of the rows that chose it, none of which it was fitted on, at their best temperature;
            none if there were too few.
        judged_on: which these were.
        num_wrong: of them it has wrong.
        is_safe: True where nothing was chosen and what is safe was taken.
    """

    how: str
    surprises: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    judged_on: str = ""
    num_wrong: int = 0
    is_safe: bool = True

    @property
    def judged(self) -> float:
        """The mean of the surprises; NaN if there were too few rows."""
        return float(self.surprises.mean()) if len(self.surprises) else float("nan")


def fit_head(train: Rows, validation: Rows | None, *, num_classes: int) -> Head:
    """The head that answers best on rows that it was not fitted on.

    A discriminant, whose shrinkage is chosen on train rows, each answered by what was learned from the other folds;
    where validation is large it chooses instead. With two hundred images of each class, softmax regression and the mean
    of both are looked at, too, and taken only if they are better beyond chance. All are linear: their temperature and
    the scale of the features are folded into one dense layer.

    Where an image may have several labels, the head is logistic regression of each.

    Args:
        train: what is learned from; every class needs a row.
        validation: what chooses the penalty of softmax regression, or None.
        num_classes: at least 2.
    """
    fitting = _Fitting(train, num_classes)
    is_large = validation is not None and len(validation) >= ENOUGH_TO_JUDGE
    judges = _Judges(train, validation if is_large else None, num_classes)
    if train.labels.ndim == 2:
        return _fit_several(fitting, judges)
    if not judges.can_judge:
        layer = fitting.discriminant(SAFE_SHRINKAGE)
        how = f"discriminant of shrinkage {SAFE_SHRINKAGE:g}, the safe one: there are too few images to choose by"
        return Head(layer.kernel, layer.bias, how)
    chosen = _chosen_discriminant(fitting, judges)
    fewest = int(np.bincount(train.labels, minlength=num_classes).min()) // train.num_views
    if validation is not None and len(validation) >= FEWEST_TO_CHOOSE and fewest >= FEWEST_OF_SOFTMAX:
        chosen = _better(chosen, _softmax(fitting, validation, judges), judges.labels)
    return Head(
        chosen.layer.kernel,
        chosen.layer.bias,
        f"{chosen.how}, chosen on {judges.by}",
        surprises=calibrated_surprises(chosen.answers, judges.labels),
        judged_on=judges.by,
        num_wrong=int((chosen.answers.argmax(axis=1) != judges.labels).sum()),
        is_safe=False,
    )


def _fit_several(fitting: _Fitting, judges: _Judges) -> Head:
    """Logistic regression of each label, of the penalty that the judging rows like best, at its best temperature."""
    if not judges.can_judge:
        layer = fitting.regression(SAFE_PENALTY)
        how = f"logistic regressions of penalty {SAFE_PENALTY:g}, the safe one: there are too few images to choose by"
        return Head(layer.kernel, layer.bias, how)
    answers = judges.answers(fitting, lambda part: [part.regression(penalty) for penalty in PENALTIES_OF_LABELS])
    best = int(np.argmin([calibrated_cross_entropy(logits, judges.labels) for logits in answers]))
    layer = fitting.regression(PENALTIES_OF_LABELS[best]).at(best_temperature(answers[best], judges.labels))
    return Head(
        layer.kernel,
        layer.bias,
        f"logistic regressions of penalty {PENALTIES_OF_LABELS[best]:g}, chosen on {judges.by}",
        surprises=calibrated_surprises(answers[best], judges.labels),
        judged_on=judges.by,
        num_wrong=int((~task_of(judges.labels).is_right(answers[best], judges.labels)).sum()),
        is_safe=False,
    )


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A head, and what it (or what was fitted in its way without them) says of the rows that judge."""

    layer: Layer
    how: str
    answers: NDArray[np.float32]


def _chosen_discriminant(fitting: _Fitting, judges: _Judges) -> _Candidate:
    """Of the shrinkage that the judging rows like best, at its best temperature, as frequent as the classes are."""
    answers = judges.answers(fitting, lambda part: [part.discriminant(shrinkage) for shrinkage in SHRINKAGES])
    best = int(np.argmin([calibrated_cross_entropy(logits, judges.labels) for logits in answers]))
    temperature = best_temperature(answers[best], judges.labels)
    layer = fitting.discriminant(SHRINKAGES[best]).at(temperature, np.log(fitting.shares))
    told = np.asarray(answers[best] / temperature + np.log(fitting.shares), np.float32)
    return _Candidate(layer, f"discriminant of shrinkage {SHRINKAGES[best]:g}", told)


def _softmax(fitting: _Fitting, validation: Rows, judges: _Judges) -> _Candidate:
    """Softmax regression of the penalty that validation rows like best, at its best temperature."""
    course: list[tuple[float, float, Layer]] = []
    for penalty in PENALTIES:
        layer = fitting.regression(penalty)
        judged = calibrated_cross_entropy(layer.logits(validation.features), validation.labels)
        course.append((judged, penalty, layer))
        # The course over penalties has one valley: past it by two, the rest is not worth its time.
        if len(course) > 2 and course[-3][0] < min(course[-2][0], course[-1][0]):
            break
    _, penalty, layer = min(course, key=lambda one: one[0])
    if judges.validation is None:
        answers = judges.answers(fitting, lambda part: [part.regression(penalty)])[0]
    else:
        answers = layer.logits(validation.features)
    temperature = best_temperature(answers, judges.labels)
    told = np.asarray(answers / temperature, np.float32)
    return _Candidate(layer.at(temperature), f"softmax regression of penalty {penalty:g}", told)


def _better(usual: _Candidate, other: _Candidate, labels: NDArray[np.int64]) -> _Candidate:
    """The usual one, unless the mean of both or the other is better beyond chance."""
    layer = Layer(_mean(usual.layer.kernel, other.layer.kernel), _mean(usual.layer.bias, other.layer.bias))
    mean = _Candidate(layer, f"mean of a {usual.how} and a {other.how}", _mean(usual.answers, other.answers))
    before, found = calibrated_surprises(usual.answers, labels), [(math.inf, usual)]
    for candidate in (mean, other):
        after = calibrated_surprises(candidate.answers, labels)
        # Two are looked at, each at half of the level.
        if chance_of_gain(before, after) < LEVEL / 2:
            found.append((float(after.mean()), candidate))
    return min(found, key=lambda one: one[0])[1]


def _mean(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((one + other) / 2, np.float32)


class _Fitting:
    """Heads of some rows, for features as they come: their mean and scale are folded into kernel and bias."""

    def __init__(self, rows: Rows, num_classes: int) -> None:
        self.mean = rows.features.mean(axis=0, dtype=np.float64).astype(np.float32)
        # A feature that never changes stays 0.
        self.deviation = rows.features.astype(np.float32).std(axis=0) + 1e-3
        scaled = (rows.features.astype(np.float32) - self.mean) / self.deviation
        weights = np.ones(len(rows), np.float32) if rows.weights is None else rows.weights
        self.parts = (scaled, rows.labels, weights, num_classes)

    @property
    def shares(self) -> NDArray[np.float64]:
        """(num_classes,) how frequent each class is."""
        _, labels, weights, num_classes = self.parts
        return np.asarray(np.bincount(labels, weights, minlength=num_classes) / weights.sum())

    @functools.cached_property
    def _discriminant(self) -> Discriminant:
        scaled, labels, weights, num_classes = self.parts
        return Discriminant(scaled, labels, num_classes=num_classes, weights=weights)

    @functools.cached_property
    def _regression(self) -> SoftmaxRegression | SigmoidRegression:
        return (SigmoidRegression if self.parts[1].ndim == 2 else SoftmaxRegression)(*self.parts)

    def discriminant(self, shrinkage: float) -> Layer:
        """As it comes: all classes taken to be as frequent, and far too sure of itself."""
        return self._folded(*self._discriminant.fit(shrinkage))

    def regression(self, penalty: float) -> Layer:
        """From where the last one ended."""
        return self._folded(*self._regression.fit(penalty))

    def _folded(self, kernel: NDArray[Any], bias: NDArray[Any]) -> Layer:
        # (x - mean) / deviation @ kernel + bias as one product with x: the head needs no layer that standardises.
        folded = np.asarray(kernel / self.deviation[:, None], np.float32)
        return Layer(folded, np.asarray(bias - self.mean @ folded, np.float32))


def folds_of(
    labels: NDArray[Any], groups: NDArray[np.str_] | None, *, num_classes: int, num_folds: int
) -> NDArray[np.int64]:
    """(num_images,) the fold of each; of several labels, the rarest has its share of each."""
    if labels.ndim == 1:
        return grouped_folds(labels, groups, num_classes=num_classes, num_folds=num_folds)
    strata = task_of(labels).strata(labels)
    return grouped_folds(strata, groups, num_classes=num_classes + 1, num_folds=num_folds)


def is_taught(labels: NDArray[Any], num_classes: int) -> bool:
    """Whether every class has an image."""
    return bool((task_of(labels).counts(labels, num_classes=num_classes) > 0).all())


class _Judges:
    """Rows that no head was fitted on that answers them: those of validation, or train rows fold by fold."""

    def __init__(self, train: Rows, validation: Rows | None, num_classes: int) -> None:
        """Folds where `validation` is None."""
        self.train, self.validation, self.num_classes = train, validation, num_classes
        images = train.labels[: train.num_images]
        self.labels = images if validation is None else validation.labels
        self.by = f"{NUM_FOLDS} folds of train images" if validation is None else "validation"
        self.folds = folds_of(images, train.groups, num_folds=NUM_FOLDS, num_classes=num_classes)

    @property
    def can_judge(self) -> bool:
        """Whether no fold holds all images of a class."""
        if self.validation is not None:
            return True
        images = self.train.labels[: self.train.num_images]
        if images.ndim == 2:
            return all(is_taught(images[self.folds != fold], self.num_classes) for fold in range(NUM_FOLDS))
        return all(len(np.unique(self.folds[images == label])) > 1 for label in range(self.num_classes))

    def answers(self, whole: _Fitting, layers: Callable[[_Fitting], list[Layer]]) -> list[NDArray[np.float32]]:
        """(num_judged, num_classes) logits by each layer that a fitting gives."""
        if self.validation is not None:
            return [layer.logits(self.validation.features) for layer in layers(whole)]
        asked, found = self.train.features[: self.train.num_images], []
        for fold in range(NUM_FOLDS):
            others = _Fitting(self.train.take(self.folds != fold), self.num_classes)
            found.append([layer.logits(asked[self.folds == fold]) for layer in layers(others)])
        position = np.argsort(np.concatenate([np.flatnonzero(self.folds == fold) for fold in range(NUM_FOLDS)]))
        return [np.concatenate(parts)[position] for parts in zip(*found, strict=True)]
