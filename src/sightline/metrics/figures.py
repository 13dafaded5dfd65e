"""The figures of an evaluation: a new metric is one more entry of `FIGURES`, and all that tells figures tells it.

The card of a bundle, what `train` and `evaluate` print, their JSON, `compare` and notebooks walk over the table.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sightline.metrics.answers.decisions import (
    confusion_of,
    decided_rows,
    is_right,
    macro_f1_interval_of,
    macro_f1_of,
    ranking_of,
)
from sightline.metrics.answers.details import (
    group_means,
    is_answered,
    is_covered,
    is_novel,
    is_unusual,
    set_sizes,
    share_held,
)
from sightline.metrics.answers.label_rows import average_precisions_of, judged_confidences, label_rows
from sightline.metrics.calibration.reliability import (
    Reliability,
    debiased_error,
    equal_mass_error,
    equal_width_error,
)
from sightline.metrics.classification import balanced_accuracy
from sightline.metrics.grouped import accuracy_interval, drawn_share, group_weights
from sightline.metrics.intervals import USUAL_LEVEL
from sightline.metrics.multi_label import counting
from sightline.metrics.selective import certainties_of, risk_coverage
from sightline.metrics.uncertainty.bootstrap import mean_interval
from sightline.metrics.uncertainty.calibration_error import calibration_error_interval
from sightline.metrics.uncertainty.macro import (
    balanced_accuracy_interval,
)
from sightline.metrics.uncertainty.risk import risk_coverage_area_interval
from sightline.records import Figure, Predictions
from sightline.tasks.table import has_several_labels

# Where room is short, so that a figure may be left out; `evaluate`, JSON and notebooks tell every one.
Report = Literal["card", "training", "comparison"]


@dataclass(frozen=True)
class Metric:
    """How a figure is made and told.

    Attributes:
        words: what it is called in a line: "macro F1".
        value: of predictions whose rows are all readable and labelled; NaN where there is none.
        is_higher_better: the direction in which a better network lies.
        digits: behind the point.
        interval: of the same predictions and at a level, 0.95 say, its lower and upper bound; None where none is known.
        interval_method: whose interval it is, for the card: "Wilson".
        full_words: what it is called on the card, where that is longer.
        left_out_of: the reports that pass it over.
        needs: the detail that Predictions must have, by its name.
        labels: whether it is of images that have one class each, that may have several labels, or of any.
        words_of_labels: what it is called where an image may have several labels, if that is something else.
    """

    words: str
    value: Callable[[Predictions], float]
    is_higher_better: bool
    digits: int = 4
    interval: Callable[[Predictions, float], tuple[float, float]] | None = None
    interval_method: str = ""
    full_words: str = ""
    left_out_of: tuple[Report, ...] = ()
    needs: str = ""
    labels: Literal["one", "several", "any"] = "one"
    words_of_labels: str = ""

    def is_known(self, rows: Predictions) -> bool:
        """Whether these predictions have what the figure is made of."""
        is_of = self.labels in ("any", "several" if has_several_labels(rows.task) else "one")
        return is_of and (not self.needs or self.needs in rows.details)

    def measure(self, rows: Predictions, level: float = USUAL_LEVEL) -> Figure:
        """The figure of these rows, all of them readable and labelled, with its interval at a level."""
        if self.words_of_labels and has_several_labels(rows.task):
            return replace(self, words=self.words_of_labels, words_of_labels="").measure(rows, level)
        value = float(self.value(rows))
        if self.interval is None or math.isnan(value):
            return self.figure(value)
        lower, upper = self.interval(rows, level)
        # Of one image nothing may be known: no bound.
        is_known = math.isfinite(lower) and math.isfinite(upper)
        # A calibration error is biased upwards: what is seen may lie above all that is likely.
        return self.figure(value, (min(lower, value), max(upper, value)) if is_known else None)

    def figure(self, value: float, interval: tuple[float, float] | None = None) -> Figure:
        """A figure of this metric from numbers that are known."""
        return Figure(self.words, value, interval, self.digits)


def _mean(
    words: str,
    values: Callable[[Predictions], NDArray[np.float64]],
    *,
    left_out_of: tuple[Report, ...],
) -> Metric:
    """A loss: the mean of what each image costs."""
    return Metric(
        words,
        lambda rows: float(values(rows).mean()),
        is_higher_better=False,
        interval=lambda rows, level: mean_interval(values(rows), rows.groups, confidence=level),
        interval_method="BCa bootstrap",
        left_out_of=left_out_of,
        labels="any",
    )


def _surprises(rows: Predictions) -> NDArray[np.float64]:
    return rows.task.surprises(rows.logits, np.asarray(rows.labels), temperature=rows.temperature)


def _brier_scores(rows: Predictions) -> NDArray[np.float64]:
    return rows.task.brier_scores(rows.logits, np.asarray(rows.labels), temperature=rows.temperature)


# The draws of what chance would show take long of many images, and are those of the interval, too.
_RELIABILITIES: weakref.WeakKeyDictionary[Predictions, Reliability] = weakref.WeakKeyDictionary()


def reliability_of(rows: Predictions, level: float = USUAL_LEVEL) -> Reliability:
    """Confidences beside what came true, of rows that are all readable and labelled."""
    known = _RELIABILITIES.get(rows)
    if known is None or known.level != level:
        known = _RELIABILITIES[rows] = Reliability(*judged_confidences(rows), level=level)
    return known


def _equal_width_interval(rows: Predictions, level: float) -> tuple[float, float]:
    return calibration_error_interval(
        *judged_confidences(rows), confidence=level, reliability=reliability_of(rows, level)
    )


def _calibration_interval(power: Literal[1, 2]) -> Callable[[Predictions, float], tuple[float, float]]:
    return lambda rows, level: calibration_error_interval(
        rows.confidences, is_right(rows), rows.groups, power=power, confidence=level
    )


def _all(rows: Predictions) -> NDArray[np.bool_]:
    return np.ones(len(rows), bool)


def _share(
    words: str,
    counted: Callable[[Predictions], NDArray[np.bool_]],
    *,
    is_higher_better: bool,
    needs: str,
    of: Callable[[Predictions], NDArray[np.bool_]] = _all,
) -> Metric:
    """A share of the images, or `of` some, drawn one from each group as promises are about; told where asked for."""
    return Metric(
        words,
        lambda rows: drawn_share(counted(rows), rows.groups, of=of(rows))[0],
        is_higher_better=is_higher_better,
        interval=lambda rows, level: drawn_share(counted(rows), rows.groups, of=of(rows), confidence=level)[1],
        interval_method="Wilson",
        left_out_of=ASKED_FOR,
        needs=needs,
    )


def _of_labels(words: str, kind: counting.Kind, *, is_micro: bool, left_out_of: tuple[Report, ...] = ()) -> Metric:
    """A share over labels, where an image may have several: of all at once, or the mean of each."""
    value, interval = (
        (counting.micro, counting.micro_interval) if is_micro else (counting.macro, counting.macro_interval)
    )
    return Metric(
        words,
        lambda rows: value(label_rows(rows), kind),
        is_higher_better=True,
        interval=lambda rows, level: interval(label_rows(rows), kind, confidence=level),
        interval_method="Wilson",
        left_out_of=left_out_of,
        labels="several",
    )


# What is told where somebody asked for it, and nowhere else.
ASKED_FOR: tuple[Report, ...] = ("card", "training", "comparison")

# In the order in which they are told; the first stands for all where there is room for one.
FIGURES: dict[str, Metric] = {
    "micro_f1": _of_labels("micro F1", "f1", is_micro=True),
    "accuracy": Metric(
        "accuracy",
        lambda rows: float(is_right(rows).mean()),
        is_higher_better=True,
        interval=lambda rows, level: accuracy_interval(is_right(rows), rows.groups, confidence=level),
        interval_method="Wilson",
        labels="any",
        words_of_labels="exact match",
    ),
    "cross_entropy": _mean("cross-entropy", _surprises, left_out_of=("training",)),
    "brier_score": _mean("Brier score", _brier_scores, left_out_of=("card", "training", "comparison")),
    "balanced_accuracy": Metric(
        "balanced accuracy",
        lambda rows: balanced_accuracy(confusion_of(rows)),
        is_higher_better=True,
        interval=lambda rows, level: balanced_accuracy_interval(decided_rows(rows), confidence=level),
        interval_method="Wilson",
        left_out_of=("card", "comparison"),
    ),
    "macro_f1": Metric(
        "macro F1",
        macro_f1_of,
        is_higher_better=True,
        interval=macro_f1_interval_of,
        interval_method="Wilson",
        left_out_of=("card", "comparison"),
        labels="any",
    ),
    "micro_precision": _of_labels(
        "micro precision", "precision", is_micro=True, left_out_of=("training", "comparison")
    ),
    "micro_recall": _of_labels("micro recall", "recall", is_micro=True, left_out_of=("training", "comparison")),
    "macro_precision": _of_labels("macro precision", "precision", is_micro=False, left_out_of=ASKED_FOR),
    "macro_recall": _of_labels("macro recall", "recall", is_micro=False, left_out_of=ASKED_FOR),
    "mean_average_precision": Metric(
        "mean average precision",
        lambda rows: average_precisions_of(rows).mean,
        is_higher_better=True,
        interval=lambda rows, level: average_precisions_of(rows).mean_interval(confidence=level),
        interval_method="Wilson",
        labels="several",
    ),
    "auroc": Metric(
        "AUROC",
        lambda rows: ranking_of(rows).value,
        is_higher_better=True,
        interval=lambda rows, level: ranking_of(rows).interval(rows.groups, confidence=level),
        interval_method="Wilson",
        left_out_of=("card", "training", "comparison"),
        labels="any",
    ),
    "calibration_error": Metric(
        "calibration error",
        lambda rows: equal_width_error(*judged_confidences(rows)[:2]),
        is_higher_better=False,
        interval=_equal_width_interval,
        interval_method="by tests",
        full_words="expected calibration error",
        left_out_of=("training",),
        labels="any",
    ),
    "equal_mass_calibration_error": Metric(
        "equal-mass calibration error",
        lambda rows: equal_mass_error(rows.confidences, is_right(rows)),
        is_higher_better=False,
        interval=_calibration_interval(1),
        interval_method="by tests",
        left_out_of=("card", "training", "comparison"),
    ),
    "debiased_calibration_error": Metric(
        "debiased calibration error",
        lambda rows: debiased_error(rows.confidences, is_right(rows), rows.groups),
        is_higher_better=False,
        interval=_calibration_interval(2),
        interval_method="by tests",
        left_out_of=("card", "training", "comparison"),
    ),
    "coverage": _share("coverage", is_covered, is_higher_better=True, needs="sets"),
    "mean_set_size": Metric(
        "mean set size",
        lambda rows: float(np.average(set_sizes(rows), weights=group_weights(rows.groups, len(rows)))),
        is_higher_better=False,
        interval=lambda rows, level: mean_interval(group_means(set_sizes(rows), rows.groups), confidence=level),
        interval_method="BCa bootstrap",
        left_out_of=ASKED_FOR,
        needs="sets",
        labels="any",
    ),
    "share_held": Metric(
        "share of labels held",
        lambda rows: float(np.average(share_held(rows), weights=group_weights(rows.groups, len(rows)))),
        is_higher_better=True,
        interval=lambda rows, level: mean_interval(group_means(share_held(rows), rows.groups), confidence=level),
        interval_method="BCa bootstrap",
        left_out_of=ASKED_FOR,
        needs="sets",
        labels="several",
    ),
    "singletons": _share("sets of one class", lambda rows: set_sizes(rows) == 1, is_higher_better=True, needs="sets"),
    "unusual": _share("unusual", is_unusual, is_higher_better=False, needs="sets"),
    "answered": _share("answered", is_answered, is_higher_better=True, needs="abstention"),
    "answered_accuracy": _share(
        "accuracy of the answered", is_right, is_higher_better=True, needs="abstention", of=is_answered
    ),
    "answered_error": _share(
        "error of those",
        lambda rows: ~is_right(rows),
        is_higher_better=False,
        needs="abstention",
        of=is_answered,
    ),
    "risk_coverage_area": Metric(
        "area under the risk-coverage curve",
        lambda rows: float(risk_coverage(certainties_of(rows.logits), is_right(rows)).mean()),
        is_higher_better=False,
        digits=5,
        interval=lambda rows, level: risk_coverage_area_interval(
            certainties_of(rows.logits), is_right(rows), rows.groups, confidence=level
        ),
        interval_method="Wilson",
        left_out_of=ASKED_FOR,
    ),
    "novel": _share("called novel", is_novel, is_higher_better=False, needs="novelty"),
}


class MeasuredFigures(Mapping[str, Figure]):
    """The figures of rows that are all readable and labelled, by name; each is measured when it is first asked for.

    So whoever tells one of them does not pay for the intervals of all. `kept` are figures that were measured once and
    need what is not at hand any more.
    """

    def __init__(self, rows: Predictions, level: float, kept: Mapping[str, Figure]) -> None:
        self._rows, self._level = rows, level
        self._names = tuple(name for name, metric in FIGURES.items() if name in kept or metric.is_known(rows))
        self._measured = dict(kept)

    def __getitem__(self, name: str) -> Figure:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._measured:
            self._measured[name] = FIGURES[name].measure(self._rows, self._level)
        return self._measured[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return repr(dict(self))


def told_in(report: Report, names: Iterable[str]) -> list[str]:
    """Those of the named figures that a report tells, in their order."""
    return [name for name in names if report not in FIGURES[name].left_out_of]


def plain(figures: Mapping[str, Figure]) -> dict[str, Any]:
    """Figures as plain JSON types: under its name the value, and behind it the bounds of its interval, if it has one.

    Example:
        >>> plain({"accuracy": FIGURES["accuracy"].figure(0.9, (0.8, 0.95))})
        {'accuracy': 0.9, 'accuracy_interval': [0.8, 0.95]}
    """
    told: dict[str, Any] = {}
    for name, figure in figures.items():
        told[name] = figure.value
        if figure.interval is not None:
            told[f"{name}_interval"] = list(figure.interval)
    return told


def figure_in(told: Mapping[str, Any], name: str) -> Figure | None:
    """A figure read back from what `plain` made; None where it has no value, or the file is older than the metric.

    A TypeError or ValueError where an interval is no pair.

    Example:
        >>> str(figure_in({"accuracy": 0.9, "accuracy_interval": [0.8, 0.95]}, "accuracy"))
        'accuracy 0.9000 [0.8000, 0.9500]'
    """
    if told.get(name) is None:
        return None
    metric, bounds = FIGURES[name], told.get(f"{name}_interval")
    # Of several labels there is micro F1, too.
    known = replace(metric, words=metric.words_of_labels) if metric.words_of_labels and "micro_f1" in told else metric
    if bounds is None:
        return known.figure(told[name])
    lower, upper = bounds
    return known.figure(told[name], (lower, upper))
