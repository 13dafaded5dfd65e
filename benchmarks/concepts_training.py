"""One network of `concepts.py`: trained by Sightline's own steps, judged, and remembered."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from concepts_together import Learned, fit_together, seen_from_all_sides
from numpy.typing import NDArray

import sightline
from sightline.configuration.recipes import parse_recipe
from sightline.configuration.schema import Recipe
from sightline.records import Dataset, InputSpec

NUM_JUDGED, NUM_VALIDATION = 5_000, 2_000


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How large everything is; part of what a trained network is remembered by."""

    source: str
    rows: int
    epochs: int
    seeds: int


@dataclasses.dataclass(frozen=True)
class Job:
    """One network to train: plain values, which also are the key that its result is remembered by."""

    settings: Mapping[str, Any]
    dense: tuple[int, ...]
    rows: int
    epochs: int
    seed: int
    source: str

    def key(self) -> str:
        """The same text for the same training, whichever experiment asks for it."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


class Trainer:
    """Trains jobs, or reads what earlier starts of the script have left."""

    def __init__(self, sizes: Sizes, out: Path) -> None:
        """`out` is made where it is missing."""
        out.mkdir(parents=True, exist_ok=True)
        self.memory_path, self.sizes = out / "networks.jsonl", sizes
        self.memory: dict[str, dict[str, Any]] = {}
        for line in whole_lines(self.memory_path):
            row = json.loads(line)
            self.memory[row["key"]] = row
        self.data = sightline.load(sizes.source)
        self.images: NDArray[np.uint8] = np.asarray(self.data.images)
        self.pool, self.validation, self.judged = divide(self.data)

    def result(self, job: Job) -> dict[str, Any]:
        """Figures and curves of one job."""
        if job.key() not in self.memory:
            started = time.perf_counter()
            row = {"key": job.key(), **self._train(job)}
            row["seconds"] = round(time.perf_counter() - started, 2)
            with self.memory_path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
            self.memory[job.key()] = row
        return self.memory[job.key()]

    def _train(self, job: Job) -> dict[str, Any]:
        import keras

        recipe = parse_recipe({**job.settings, "training.epochs": job.epochs, "seed": job.seed})
        keras.backend.clear_session()
        keras.utils.set_random_seed(job.seed)
        rows = np.random.default_rng(job.seed).choice(self.pool, job.rows, replace=False)
        if recipe.ensemble.kind == "none":
            learned = self._alone(recipe, rows, job.dense)
        else:
            learned = fit_together(job.source, recipe, rows, self.validation)
        judged = (
            {"accuracy": 1 / self.data.num_classes, "failed": 1} if learned.failed else self._judge(learned.network)
        )
        chosen = {} if learned.failed else {"chosen_epoch": learned.chosen_epoch}
        history = learned.history
        steps = math.ceil(job.rows / int(recipe.training.batch_size)) // recipe.optimizer.accumulation_steps
        return {
            **judged,
            **chosen,
            "curves": {name: [round(row[name], 5) for row in history] for name in ("loss", "validation_loss")},
            "epochs": len(history),
            "parameters": int(learned.network.count_params()),
            "steps": steps * job.epochs,
            "seen": learned.seen or job.rows * len(history),
            "passes": learned.passes,
        }

    def _alone(self, recipe: Recipe, rows: NDArray[np.int64], dense: tuple[int, ...]) -> Learned:
        """A single network, which may look at several views of an image that it judges."""
        from sightline.errors import TrainingFailed
        from sightline.training.augmentation.pipeline import build_augmentation
        from sightline.training.loop.batches import LabelledImages
        from sightline.training.loop.fit import fit
        from sightline.training.loop.recording import FitOutputs

        shape: tuple[int, int, int] = self.images.shape[1:]
        network = build(shape, self.data.num_classes, recipe, dense)
        spec = InputSpec(shape[0], shape[1], "grey", background="dark")
        try:
            fitted = fit(
                network,
                LabelledImages(self.images[rows], self.data.labels[rows]),
                validation=LabelledImages(self.images[self.validation], self.data.labels[self.validation]),
                recipe=recipe,
                augmentation=build_augmentation(recipe.augmentation, spec, seed=recipe.seed),
                outputs=FitOutputs(),
            )
        except TrainingFailed:
            return Learned(network, failed=True)
        network, passes = seen_from_all_sides(network, recipe.ensemble.test_views)
        return Learned(network, fitted.history, fitted.chosen_epoch, passes=passes)

    def _judge(self, network: Any) -> dict[str, float]:
        """Accuracy and its like on the rows that nothing was chosen by."""
        from sightline.metrics.calibration.reliability import equal_width_error
        from sightline.metrics.calibration.temperature import fit_temperature
        from sightline.metrics.classification import cross_entropy, softmax

        validation, logits = (logits_of(network, self.images[rows]) for rows in (self.validation, self.judged))
        labels = self.data.labels[self.judged]
        if not (np.isfinite(logits).all() and np.isfinite(validation).all()):
            return {"accuracy": 1 / self.data.num_classes, "failed": 1}
        temperature = fit_temperature(validation, self.data.labels[self.validation])
        is_right = logits.argmax(axis=1) == labels
        return {
            "accuracy": float(is_right.mean()),
            "validation_accuracy": float((validation.argmax(axis=1) == self.data.labels[self.validation]).mean()),
            "cross_entropy": cross_entropy(logits, labels),
            "calibration_error": equal_width_error(softmax(logits).max(axis=1), is_right),
            "calibrated_error": equal_width_error(softmax(logits, temperature=temperature).max(axis=1), is_right),
            "failed": 0,
        }


def whole_lines(path: Path) -> list[str]:
    """The lines of a file of results; one that an interruption has torn is taken out of the file."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    kept = text[: text.rfind("\n") + 1]
    if kept != text:
        path.write_text(kept, encoding="utf-8")
    return kept.splitlines()


def logits_of(network: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Answers without `predict`, whose compilation would cost more than these few images."""
    starts = range(0, len(images), 500)
    answers = (network(images[at : at + 500], training=False) for at in starts)
    return np.concatenate([np.asarray(answer["logits"] if isinstance(answer, dict) else answer) for answer in answers])


def divide(data: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows to learn from, to choose by and to judge on, all of the official train split and always the same."""
    official = sightline.split(data)
    rows = np.setdiff1d(np.arange(len(data)), official.test)
    rows = np.random.default_rng(1998).permutation(rows)
    return (
        rows[NUM_JUDGED + NUM_VALIDATION :],
        rows[NUM_JUDGED : NUM_JUDGED + NUM_VALIDATION],
        np.sort(rows[:NUM_JUDGED]),
    )


def build(shape: tuple[int, int, int], num_classes: int, recipe: Recipe, dense: tuple[int, ...]) -> Any:
    """The network that the recipe names, or a dense one with hidden layers of these many units."""
    import keras

    from sightline.networks.building import build_network

    if not dense:
        return build_network(shape, num_classes, recipe.model)
    images = keras.Input(shape, dtype="uint8")
    tensor = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
    for units in dense:
        tensor = keras.layers.Dense(units, activation=recipe.model.activation)(tensor)
    return keras.Model(images, keras.layers.Dense(num_classes)(tensor))
