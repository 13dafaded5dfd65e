"""What a tracker is told of a run: parameters, labels, figures of an epoch and of the test, and which files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sightline.configuration.recipes import flatten
from sightline.configuration.values import as_typed
from sightline.records import Evaluation, Run
from sightline.system.text import exact_percent

FINGERPRINT = "sightline.source_fingerprint"
TRAIN_LOSS = "train/loss"
_VALIDATION = "validation_"
# Small, and without an image in it: mistakes.png and report.html show some, splits.csv names all.
FILES = (
    "recipe.json",
    "resolution.json",
    "history.jsonl",
    "metrics.json",
    "curves.png",
    "confusion.png",
    "reliability.png",
    "bundle/card.md",
)


@dataclass(frozen=True)
class About:
    """What is known of a run before it learns.

    Attributes:
        name: of its folder.
        parameters: the keys of its recipe, as they are typed.
        labels: what else it goes by: source, fingerprint, versions, folder.
    """

    name: str
    parameters: Mapping[str, str]
    labels: Mapping[str, str]


class Store(Protocol):
    """A tracker, asked for one run; whatever goes wrong there is raised as it comes."""

    def check(self) -> None:
        """Refuse what cannot be tracked to, before an image is read."""

    def begin(self, identity: str | None, about: About) -> str:
        """Go on with a tracked run, or begin one; its identity."""

    def logged_epochs(self) -> set[int]:
        """The epochs that are there already."""

    def log(self, figures: Mapping[str, float], *, epoch: int) -> None:
        """Log figures of an epoch."""

    def finish(self, figures: Mapping[str, float], labels: Mapping[str, str], files: list[Path]) -> None:
        """Log the last figures and files."""

    def end(self, status: str) -> None:
        """Say how it ended: FINISHED, FAILED or KILLED."""


def about_run(folder: Path, recipe: Mapping[str, Any], *, source: str, backend: str, plan: Mapping[str, Any]) -> About:
    """What is known of a run before it learns.

    Args:
        folder: of the run.
        recipe: resolved, as plain types.
        source: name of the Dataset; never the address that it was opened by.
        backend: of Keras.
        plan: `fingerprint` and `versions`.
    """
    labels = {
        "sightline.source": source,
        FINGERPRINT: str(plan["fingerprint"]),
        "sightline.run_folder": str(folder.resolve()),
        "sightline.backend": backend,
        **{f"version.{name}": str(version) for name, version in plan["versions"].items()},
    }
    return About(folder.resolve().name, {name: as_typed(value) for name, value in flatten(recipe)}, labels)


def figures_of_epoch(row: Mapping[str, float]) -> dict[str, float]:
    """A line of the history under names that put training and validation side by side; numbers alone."""
    told = {}
    for name, value in row.items():
        judged = name.removeprefix(_VALIDATION)
        if name != "epoch" and math.isfinite(value):
            told[f"validation/{judged}" if judged != name else f"train/{name}"] = float(value)
    return told


def figures_of_test(evaluation: Evaluation | None) -> dict[str, float]:
    """Each figure on test images, with the bounds of its interval; numbers alone."""
    told: dict[str, float] = {}
    for name, figure in ({} if evaluation is None else evaluation.figures).items():
        lower, upper = figure.interval or (math.nan, math.nan)
        told |= {f"test/{name}": figure.value, f"test/{name}_lower": lower, f"test/{name}_upper": upper}
    return {name: float(value) for name, value in told.items() if math.isfinite(value)}


def labels_of_test(run: Run) -> dict[str, str]:
    """What the figures are of, in words."""
    labels = {"sightline.chosen_epoch": str(run.chosen_epoch), "sightline.num_parameters": str(run.num_parameters)}
    if run.evaluation is None:
        return labels | {"sightline.test": "there were no test images"}
    level = exact_percent(run.evaluation.interval_level)
    return labels | {
        "sightline.test": f"{run.evaluation}; _lower and _upper are bounds of {level} intervals",
        "sightline.intervals": run.evaluation.about_intervals,
    }


def small_files(folder: Path) -> list[Path]:
    """The files of a run that a tracker gets, those that are there."""
    return [folder / name for name in FILES if (folder / name).is_file()]
