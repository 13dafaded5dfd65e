"""Two runs whose images may have several labels, on the same rows: label by label, and all labels at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.evaluation.measuring.finished_runs import FinishedRun
from sightline.metrics.grouped import paired_p_value
from sightline.metrics.multi_label.counting import LabelRows, micro
from sightline.metrics.multi_label.pairing import MicroDifference, micro_difference


@dataclass(frozen=True)
class LabelTest:
    """One label of two runs on the rows that they share.

    Attributes:
        label: its name.
        num_given: images that have it.
        num_only_first: images on which the first alone says it rightly, or rightly says nothing of it.
        num_only_second: the same of the second.
        first_f1: F1 of the label by the first; None where no image has it.
        second_f1: the same by the second.
        p_value: McNemar, exact, two-sided; of images in groups, of the turns of whole groups.
        adjusted_p_value: by Holm, for all labels of all tests of the comparison.
    """

    label: str
    num_given: int
    num_only_first: int
    num_only_second: int
    first_f1: float | None
    second_f1: float | None
    p_value: float
    adjusted_p_value: float


@dataclass(frozen=True, eq=False)
class SharedLabels:
    """What is given and said of the same images, of the labels that both runs know.

    Attributes:
        names: of these labels.
        given: by each run, (num_images, num_labels) bool.
        said: by each run, the same.
    """

    names: tuple[str, ...]
    given: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    said: tuple[NDArray[np.bool_], NDArray[np.bool_]]

    def take(self, rows: NDArray[np.bool_]) -> SharedLabels:
        """Some images."""
        return SharedLabels(
            self.names,
            (self.given[0][rows], self.given[1][rows]),
            (self.said[0][rows], self.said[1][rows]),
        )


def shared_labels(first: FinishedRun, second: FinishedRun, *, split: str, row_ids: Sequence[str]) -> SharedLabels:
    """Of some rows that both runs were judged on; labels are matched by name."""
    names = tuple(name for name in first.class_names if name in set(second.class_names))
    given, said = zip(*(_flags(run, split, row_ids, names) for run in (first, second)), strict=True)
    return SharedLabels(names, given, said)


def _flags(
    run: FinishedRun, split: str, row_ids: Sequence[str], names: Sequence[str]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    answers, place = run.predictions[split], {name: column for column, name in enumerate(run.class_names)}
    row_of = {row_id: row for row, row_id in enumerate(answers.given)}
    rows, columns = [row_of[row_id] for row_id in row_ids], [place[name] for name in names]
    chosen = np.ix_(rows, columns)
    said = run.bundle.task.decided(answers.logits)
    return np.asarray(answers.labels[chosen], bool), np.asarray(said[chosen], bool)


def tests_of_labels(
    shared: SharedLabels, groups: NDArray[Any], *, interval_level: float
) -> tuple[MicroDifference, tuple[LabelTest, ...]]:
    """The difference of micro F1, and a test of each label; of images that both runs gave the same labels."""
    given, named = shared.given[0], groups.astype(str)
    rows = [LabelRows(given, said, named) for said in shared.said]
    whole = micro_difference(rows[0], rows[1], confidence=interval_level)
    found = []
    for column, name in enumerate(shared.names):
        right = [said[:, column] == given[:, column] for said in shared.said]
        p_value = paired_p_value(right[0], right[1], groups)
        own = [micro(LabelRows(given[:, [column]], said[:, [column]]), "f1") for said in shared.said]
        scores = own if given[:, column].any() else [None, None]
        found.append(
            LabelTest(
                name,
                int(given[:, column].sum()),
                int((right[0] & ~right[1]).sum()),
                int((right[1] & ~right[0]).sum()),
                scores[0],
                scores[1],
                p_value,
                p_value,
            )
        )
    return whole, tuple(found)
