"""Which of several finished runs are heard in a combination, and how much. Imports no Keras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import InvalidValue
from sightline.evaluation.measuring.finished_runs import FinishedRun
from sightline.evaluation.measuring.scoring import brief_figures
from sightline.records import Predictions
from sightline.tasks.table import TASKS
from sightline.training.combination.shared_rows import SharedRows, predictions_of


@dataclass(frozen=True, eq=False)
class Selection:
    """Which runs are heard, and how it came to that.

    Attributes:
        votes: (num_runs,) float64.
        history: a line a step.
        best: the run that does best alone on the validation rows.
        made: how, in words.
        is_selected: whether it was chosen, and not given.
    """

    votes: NDArray[np.float64]
    history: tuple[dict[str, Any], ...]
    best: int
    made: str
    is_selected: bool


def choose(
    runs: Sequence[FinishedRun],
    rows: SharedRows,
    class_names: tuple[str, ...],
    *,
    votes: Sequence[float] | None,
    most: int,
) -> Selection:
    """Choose which of several runs are heard, by what they said of the shared validation rows.

    Args:
        runs: two or more.
        rows: that they share.
        class_names: in the order of the combination.
        votes: (num_runs,) given ones, so that nothing is chosen; or None.
        most: steps of the selection.
    """
    validation = [predictions_of(run, rows, "validation", class_names) for run in runs]
    num_rows = len(validation[0])
    if not num_rows and (votes is None or not rows.rows("test")):
        listed = ", ".join(str(run.path) for run in runs)
        raise InvalidValue(
            f"{listed} share no validation row: there is none that all of them kept to choose by, and what one of "
            f"them learned from is not used. Train again with --splits {runs[0].path / 'splits.csv'}."
        )
    said, labels = np.stack([one.logits for one in validation], axis=1), np.asarray(validation[0].labels)
    task = validation[0].task
    if votes is None:
        order = task.selected(said, labels, most=most)
        counts = [np.bincount(order[: step + 1], minlength=len(runs)).astype(float) for step in range(len(order))]
        steps = f"{len(order)} step{'s' * (len(order) != 1)}"
        made = f"chosen in {steps} on {num_rows:,} validation images that none of them learned from"
        history = [
            _step(step + 1, said, validation[0], taken) | {"run": str(runs[order[step]].path)}
            for step, taken in enumerate(counts)
        ]
    else:
        counts, made = [np.asarray(votes, np.float64)], "with weights that were given"
        history = [_step(1, said, validation[0], counts[0])]
    best = int(task.selected(said, labels, most=1)[0]) if num_rows else int(np.argmax(counts[-1]))
    return Selection(counts[-1], tuple(history), best, made, votes is None)


def _step(number: int, said: NDArray[np.float32], rows: Predictions, votes: NDArray[np.float64]) -> dict[str, Any]:
    """A line of the history; nothing learned, so that there is no loss on train rows."""
    line: dict[str, Any] = {"epoch": number, "loss": None, "accuracy": None}
    if len(rows):
        together, labels = rows.task.together(said, votes), np.asarray(rows.labels)
        line["validation_loss"] = float(rows.task.surprises(together, labels).mean())
        # Of several labels at an even chance: the whole has no thresholds yet.
        line["validation_accuracy"] = float(np.mean(TASKS[rows.task.name].is_right(together, labels)))
    return line


def members_of(
    runs: Sequence[FinishedRun], rows: SharedRows, class_names: tuple[str, ...], choice: Selection
) -> list[dict[str, Any]]:
    """The runs as members, with what they said of the shared rows when they were trained."""
    return [
        {
            "number": number,
            "run": str(run.path),
            "network": _network(run),
            "vote": vote,
            **{name: brief_figures(predictions_of(run, rows, name, class_names)) for name in ("validation", "test")},
        }
        for number, (run, vote) in enumerate(zip(runs, choice.votes.tolist(), strict=True), start=1)
    ]


def _network(run: FinishedRun) -> str:
    kind = (run.metrics["ensemble"] or {"kind": "none"})["kind"]
    name = str(run.recipe.get("model", {}).get("name", "several networks"))
    return name if kind == "none" else f"{name} ({kind})"
