"""Train each concept on and off, at small scale and with several seeds, and write the figures of docs/concepts.md.

Every network learns from rows of the official train split. Rates and strengths are chosen, and early stopping goes
by, 2,000 other rows of it; accuracies are counted on 5,000 more. The official test split is not touched.

Usage: python benchmarks/concepts.py [--only activations,losses] [--seeds 4] [--rows 3072] [--epochs 8]
       [--out runs/concepts] [--source mnist] [--publish] [--list]

A line of JSON a trained network lies in OUT/networks.jsonl: started again, the script goes on where it stopped.
OUT gets concepts.json and a picture an experiment; --publish also puts them into docs/ and rewrites the tables of
docs/concepts.md and docs/concepts.zh.md between their marks.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import math
import os
import platform
import statistics
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from concepts_pages import ROOT, publish, write_results
from concepts_plots import draw
from concepts_table import BASE, EXPERIMENTS, Entry, Experiment
from numpy.typing import NDArray

import sightline
from sightline.config import parse_recipe
from sightline.records import Dataset, InputSpec
from sightline.schema import Recipe

NUM_JUDGED, NUM_VALIDATION, SMALL_ROWS = 5_000, 2_000, 1_024
SMALL_EPOCHS_FACTOR = 4  # fewer images, seen more often
CHOOSING_SEED = 100  # rates and strengths are not chosen on the seeds that are reported


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
        if self.memory_path.exists():
            lines = self.memory_path.read_text(encoding="utf-8").splitlines()
            self.memory = {row["key"]: row for row in map(json.loads, lines)}
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

        from sightline.errors import TrainingFailed
        from sightline.training.augmentation import build_augmentation
        from sightline.training.feed import LabelledImages
        from sightline.training.fit import fit
        from sightline.training.watching import Watch

        recipe = parse_recipe({**job.settings, "training.epochs": job.epochs, "seed": job.seed})
        keras.backend.clear_session()
        keras.utils.set_random_seed(job.seed)
        shape: tuple[int, int, int] = self.images.shape[1:]
        network = build(shape, self.data.num_classes, recipe, job.dense)
        rows = np.random.default_rng(job.seed).choice(self.pool, job.rows, replace=False)
        spec = InputSpec(shape[0], shape[1], "grey", background="dark")
        history: tuple[dict[str, float], ...] = ()
        try:
            fitted = fit(
                network,
                LabelledImages(self.images[rows], self.data.labels[rows]),
                validation=LabelledImages(self.images[self.validation], self.data.labels[self.validation]),
                recipe=recipe,
                augmentation=build_augmentation(recipe.augmentation, spec, seed=job.seed),
                watch=Watch(),
            )
            history = fitted.history
        except TrainingFailed:
            fitted = None
        curves = {name: [round(row[name], 5) for row in history] for name in ("loss", "validation_loss")}
        judged = self._judge(network) if fitted else {"accuracy": 1 / self.data.num_classes, "failed": 1}
        chosen = {"chosen_epoch": fitted.chosen_epoch} if fitted else {}
        steps = math.ceil(job.rows / int(recipe.training.batch_size)) // recipe.optimizer.accumulation_steps
        return {
            **judged,
            **chosen,
            "curves": curves,
            "epochs": len(history),
            "parameters": int(network.count_params()),
            "steps": steps * job.epochs,
        }

    def _judge(self, network: Any) -> dict[str, float]:
        """Accuracy and its like on the rows that nothing was chosen by."""
        from sightline.metrics.calibration import expected_calibration_error, fit_temperature
        from sightline.metrics.scores import cross_entropy, softmax

        validation, logits = (logits_of(network, self.images[rows]) for rows in (self.validation, self.judged))
        labels = self.data.labels[self.judged]
        if not (np.isfinite(logits).all() and np.isfinite(validation).all()):
            return {"accuracy": 1 / self.data.num_classes, "failed": 1}
        temperature = fit_temperature(validation, self.data.labels[self.validation])
        return {
            "accuracy": float((logits.argmax(axis=1) == labels).mean()),
            "validation_accuracy": float((validation.argmax(axis=1) == self.data.labels[self.validation]).mean()),
            "cross_entropy": cross_entropy(logits, labels),
            "calibration_error": expected_calibration_error(softmax(logits), labels),
            "calibrated_error": expected_calibration_error(softmax(logits, temperature=temperature), labels),
            "failed": 0,
        }


def logits_of(network: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Answers without `predict`, whose compilation would cost more than these few images."""
    starts = range(0, len(images), 500)
    return np.concatenate([np.asarray(network(images[at : at + 500], training=False)) for at in starts])


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

    from sightline.networks.build import build_network

    if not dense:
        return build_network(shape, num_classes, recipe.model)
    images = keras.Input(shape, dtype="uint8")
    tensor = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
    for units in dense:
        tensor = keras.layers.Dense(units, activation=recipe.model.activation)(tensor)
    return keras.Model(images, keras.layers.Dense(num_classes)(tensor))


def job_of(entry: Entry, experiment: Experiment, sizes: Sizes, seed: int) -> Job:
    """The entry at these sizes."""
    rows, epochs = sizes.rows, sizes.epochs
    if experiment.is_small:
        rows, epochs = min(SMALL_ROWS, rows), epochs * SMALL_EPOCHS_FACTOR
    return Job({**BASE, **entry.settings}, entry.dense, rows, epochs, seed, sizes.source)


def chosen(entry: Entry, experiment: Experiment, trainer: Trainer) -> Entry:
    """The entry with the value of its grid that did best on validation rows, with a seed of its own."""
    if entry.choose is None:
        return entry
    key, values = entry.choose
    tried = [dataclasses.replace(entry, settings={**entry.settings, key: value}, choose=None) for value in values]
    return max(
        tried,
        key=lambda one: trainer.result(job_of(one, experiment, trainer.sizes, CHOOSING_SEED)).get(
            "validation_accuracy", 0.0
        ),
    )


def measure(name: str, trainer: Trainer) -> tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]:
    """One experiment: a plain row an entry for the tables, and the trained networks for the picture."""
    experiment = EXPERIMENTS[name]
    rows, courses = [], []
    for entry in experiment.entries:
        if not entry.is_known():
            print(f"  {entry.label}: left out, this version has no key {', '.join(sorted(entry.settings))}")
            continue
        final = chosen(entry, experiment, trainer)
        results = [
            trainer.result(job_of(final, experiment, trainer.sizes, seed)) for seed in range(trainer.sizes.seeds)
        ]
        rows.append(row_of(entry, final, results))
        courses.append(results)
        mean = statistics.mean(rows[-1]["accuracy"])
        print(f"  {entry.label:<26} {mean:.4f}  {sum(row['seconds'] for row in results):6.1f} s", flush=True)
    return rows, courses


def row_of(entry: Entry, final: Entry, results: list[dict[str, Any]]) -> dict[str, Any]:
    """What is kept of an entry in concepts.json: one value a seed."""
    row: dict[str, Any] = {"label": entry.label, "settings": dict(final.settings)}
    if entry.choose:
        row["chosen"] = {entry.choose[0]: final.settings[entry.choose[0]], "of": list(entry.choose[1])}
    for figure in ("accuracy", "cross_entropy", "calibration_error", "calibrated_error"):
        if all(figure in result for result in results):
            row[figure] = [round(result[figure], 5) for result in results]
    for figure in ("parameters", "steps", "failed", "epochs"):
        row[figure] = [result[figure] for result in results]
    return row


def machine() -> str:
    """Versions and hardware, so that a figure can be judged later."""
    names = ("keras", "tensorflow-cpu", "tensorflow", "numpy", "sightline")
    found = {name: version for name in names if (version := version_of(name))}
    return (
        f"{platform.machine()} with {os.cpu_count()} processors, Python {platform.python_version()}, "
        f"{', '.join(f'{name} {version}' for name, version in found.items())}"
    )


def version_of(name: str) -> str:
    """Of an installed package, or nothing."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def main() -> None:
    """Train what is missing, then write pictures and tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(EXPERIMENTS), help="experiments, with commas between them")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--rows", type=int, default=3072)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("runs/concepts"))
    parser.add_argument("--source", default="mnist", choices=("mnist", "fashion-mnist"))
    parser.add_argument("--publish", action="store_true", help="also write docs/")
    parser.add_argument("--list", action="store_true", help="print the experiments and stop")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := [name for name in names if name not in EXPERIMENTS]:
        parser.error(f"no experiment is called {', '.join(unknown)}. Known: {', '.join(EXPERIMENTS)}.")
    if arguments.list:
        for name in names:
            print(f"{name:<16} {', '.join(entry.label for entry in EXPERIMENTS[name].entries)}")
        return
    sizes = Sizes(arguments.source, arguments.rows, arguments.epochs, arguments.seeds)
    measure_all(names, sizes, arguments.out)
    if arguments.publish:
        publish(arguments.out, ROOT / "docs")


def measure_all(names: list[str], sizes: Sizes, out: Path) -> None:
    """Each experiment in turn; results are written after each."""
    from sightline.backends import load_keras
    from sightline.progress import reporting

    load_keras("tensorflow")
    # Each network is compiled anew, which TensorFlow warns of.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    print(machine(), flush=True)
    trainer = Trainer(sizes, out)
    for name in names:
        started = time.perf_counter()
        print(name, flush=True)
        with reporting("quiet"):
            rows, courses = measure(name, trainer)
        write_results(out, name, rows, sizes=dataclasses.asdict(sizes), machine=machine())
        (out / f"concepts-{name}.png").write_bytes(draw(EXPERIMENTS[name], rows, courses))
        print(f"  {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
