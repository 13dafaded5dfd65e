"""What an exported file says of itself, so that it can be used without its bundle, and a file that was read back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline._version import __version__
from sightline.bundles.bundle import MANIFEST
from sightline.bundles.checks import checked_json
from sightline.bundles.trust.abstention import USUAL_CERTAINTY, unsure_maker
from sightline.bundles.trust.label_sets import label_set_maker
from sightline.bundles.trust.novelty import novelty_maker
from sightline.bundles.trust.sets import set_maker
from sightline.errors import InvalidBundle, InvalidValue
from sightline.records import Bundle
from sightline.system.files import sha256_of, write_json
from sightline.system.stored import read_json
from sightline.tasks.multi_label import MultiLabel
from sightline.tasks.table import TASKS, has_several_labels
from sightline.tasks.task import Task

# What is promised is kept for these; for others there is the bundle.
_COVERAGES, _MAX_ERRORS, _FALSE_ALARMS = (0.8, 0.9, 0.95, 0.99), (0.01, 0.02, 0.05, 0.1), (0.01, 0.05, 0.1)


def describe(bundle: Bundle) -> dict[str, Any]:
    """What travels with every export, as plain JSON values: whoever has the file needs nothing else to use it."""
    files = bundle.manifest["files"]
    return {
        "labels": list(bundle.class_names),
        "input": checked_json(bundle.path / "input.json"),
        "calibration": checked_json(bundle.path / "calibration.json"),
        "promises": promises_of(bundle),
        "task": bundle.task.name,
        "version": __version__,
        "bundle": {
            "created": bundle.manifest.get("created"),
            "manifest_sha256": sha256_of(bundle.path / MANIFEST),
            "model_sha256": files["model.onnx"]["sha256"],
        },
    }


def promises_of(bundle: Bundle) -> dict[str, dict[str, Any]]:
    """The thresholds of sets, unsure answers and novelty for usual levels, those that the bundle can keep.

    Returns:
        sets: coverage to the least log-odds of a class in the set, where an image may have several labels to the least
        logit of each, a list; unsure: largest error to the least log-odds of an answer that is not unsure, None where
        none is; novel: share of false alarms to the largest usual novelty.
    """

    def kept(capability: str, levels: tuple[float, ...], limit: Callable[[float], float]) -> dict[str, float | None]:
        found: dict[str, float | None] = {}
        for level in levels if capability in bundle.capabilities else ():
            try:
                found[str(level)] = None if np.isinf(value := limit(level)) else float(value)
            except InvalidValue:  # too few images, or wrong too often
                continue
        return found

    def least_of_set(coverage: float) -> float:
        maker = set_maker(bundle, coverage)
        return -float(maker.limits[0]) if maker is not None else np.inf

    def least_sure(error: float) -> float:
        maker = unsure_maker(bundle, error, certainty=USUAL_CERTAINTY)
        return maker.threshold if maker is not None else np.inf

    def most_novel(rate: float) -> float:
        maker = novelty_maker(bundle, rate, certainty=USUAL_CERTAINTY)
        return maker.limit if maker is not None else np.inf

    if has_several_labels(bundle.task):  # nothing else is promised of them
        return {"sets": _least_logits(bundle), "unsure": {}, "novel": {}}
    return {
        "sets": kept("sets", _COVERAGES, least_of_set),
        "unsure": kept("abstention", _MAX_ERRORS, least_sure),
        "novel": kept("novelty", _FALSE_ALARMS, most_novel),
    }


def _least_logits(bundle: Bundle) -> dict[str, list[float] | None]:
    """Coverage to the least logit of each label in the set, as the network gives it; None where all of them are."""
    found: dict[str, list[float] | None] = {}
    for coverage in _COVERAGES if "sets" in bundle.capabilities else ():
        try:
            maker = label_set_maker(bundle, coverage)
        except InvalidValue:  # too few images
            continue
        if maker is not None:
            least = maker.least_logits()
            found[str(coverage)] = least.tolist() if np.isfinite(least).all() else None
    return found


def description_beside(path: Path) -> Path:
    """Where an exported file that holds no text has its description: under its name, with the ending `.json`."""
    # Of a folder, what stands behind a point is part of its name.
    return path.with_name(f"{path.name}.json") if path.is_dir() else path.with_suffix(".json")


def write_beside(bundle: Bundle, target: Path, told: Mapping[str, Any] | None = None) -> None:
    """Write the description of a bundle, or what is told in its place, beside an exported file."""
    write_json(description_beside(target), describe(bundle) if told is None else told)


def read_beside(path: Path) -> dict[str, Any]:
    """The description beside an exported file; an InvalidBundle where there is none."""
    place = description_beside(path)
    try:
        told = read_json(place)
    except (OSError, ValueError) as error:
        raise InvalidBundle(f"{place}: cannot be read ({error}). Copy the whole export again.") from error
    if not isinstance(told, dict):
        raise InvalidBundle(f"{place}: says nothing of {path.name}. Copy the whole export again.")
    return told


@dataclass(frozen=True)
class ExportedModel:
    """An exported file, opened by its own runtime; nothing of the bundle is known here.

    Attributes:
        description: what the file says of itself, as `describe` made it.
        logits: uint8 (num_images, height, width, channels) to (num_images, num_classes) float32.
        novelty: the same to (num_images,) float32; None where the file does not hold it.
        precision: in which its runtime says that it computes.
        close: ends what runs it, where that is a program of its own.
    """

    description: Mapping[str, Any]
    logits: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    novelty: Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None = None
    precision: str = "float32"
    close: Callable[[], object] = lambda: None

    @property
    def temperature(self) -> float:
        """By which its logits are divided."""
        return float(self.description["calibration"]["temperature"])

    @property
    def task(self) -> Task:
        """What its logits say, by the file alone: of several labels, from which logit on each is said, too."""
        task = TASKS[self.description["task"]]
        if isinstance(task, MultiLabel):
            return dataclasses.replace(task, thresholds=tuple(self.description["calibration"]["label_thresholds"]))
        return task

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated by what the file says, of the shape of the logits; NaN in a row that is no number."""
        found = np.full(logits.shape, np.nan)
        sound = np.isfinite(logits).all(axis=1)
        found[sound] = self.task.probabilities(logits[sound], temperature=self.temperature)
        return found
