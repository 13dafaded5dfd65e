"""`train`: split, fit, calibrate, evaluate, save. The test rows are looked at once, at the end."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.backends import choose_backend, load_keras
from sightline.bundle import load_bundle, write_description, write_manifest
from sightline.config import Recipe
from sightline.data.batches import input_spec, network_images
from sightline.data.sources import load
from sightline.data.splits import split, splits_csv
from sightline.errors import InvalidValue
from sightline.evaluation import draw, figures, score
from sightline.files import check_free, make_run_folder, staged_folder, write_atomically, write_json
from sightline.metrics.calibration import fit_temperature
from sightline.progress import Mode, reporter, reporting
from sightline.records import SPLIT_NAMES, Dataset, Evaluation, InputSpec, Predictions, Run, SplitName, Splits
from sightline.reporting.charts import curves_png
from sightline.training.recipes import recipe as named_recipe, resolve

JUDGED: tuple[SplitName, ...] = ("validation", "calibration", "test")


@dataclass
class _Clock:
    """Wall time of the parts of a run."""

    started: float = field(default_factory=time.perf_counter)
    seconds: dict[str, float] = field(default_factory=dict)

    def lap(self, name: str, since: float) -> float:
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - since
        return now


def train(
    source: Any,
    *,
    recipe: str | Path | Recipe = "fast",
    out: str | Path | None = None,
    backend: str | None = None,
    log_every: int | None = None,
    mode: Mode | None = None,
) -> Run:
    """Train a classifier and leave a run: measured, drawn, saved as a bundle.

    Args:
        source: whatever `sightline.load` takes.
        recipe: a name, a JSON file, or a Recipe from `sightline.recipe`.
        out: folder of the run; `runs/<source>-<recipe>-001`, counted up, if left out.
        backend: "tensorflow", "jax" or "torch"; else KERAS_BACKEND, else the first installed.
        log_every: print loss and accuracy every so many steps.
        mode: "terminal", "plain" or "quiet" progress; by what stderr is if left out.

    Returns:
        The Run; `run.evaluation` holds the test figures, `run.bundle` what predicts.

    Raises:
        UnknownName: no source, recipe, model or backend is called that.
        InvalidValue: a value of the wrong type or out of range.
        InvalidSource: the data cannot be used.
        OutputExists: `out` is taken.
        MissingPackage: no Keras backend is installed.
        TrainingFailed: the loss diverged, or the exported network disagrees with the trained one.
        CannotWrite: the disk is full or read-only.

    Example:
        >>> train("mnits")
        Traceback (most recent call last):
        sightline.errors.UnknownName: no source is called 'mnits', ...
    """
    asked = recipe if isinstance(recipe, Recipe) else named_recipe(recipe)
    backend = choose_backend(backend)
    place = Path(out) if out is not None else None
    if place is not None:
        check_free(place)
    if log_every is not None and not (isinstance(log_every, int) and log_every >= 1):
        raise InvalidValue(f"log_every must be a whole number of at least 1; got {log_every!r}.")
    with reporting(mode):
        return _train(source, asked, place, backend, log_every)


def _train(source: Any, asked: Recipe, out: Path | None, backend: str, log_every: int | None) -> Run:
    clock = _Clock()
    lap = clock.started
    dataset = load(source)
    resolved = resolve(asked, dataset)
    splits = split(dataset, resolved.data, seed=resolved.seed)
    spec = input_spec(
        dataset,
        splits.train,
        size=int(resolved.data.image_size),
        color_mode=resolved.data.color_mode,
        resize=resolved.data.resize,
    )
    pixels = {name: network_images(dataset, splits.rows(name), spec) for name in SPLIT_NAMES}
    lap = clock.lap("data", lap)
    reporter().say(_opening(dataset, splits, resolved, backend))
    load_keras(backend)
    lap = clock.lap("import", lap)
    folder = make_run_folder(out, stem=f"{dataset.name}-{resolved.name}")
    write_json(folder / "recipe.json", resolved.to_dict())
    write_atomically(folder / "splits.csv", splits_csv(dataset, splits))
    write_atomically(folder / "excluded.csv", "file,reason\n")
    clock.lap("data", lap)
    job = _Job(dataset, splits, spec, resolved, pixels, folder, str(source) if isinstance(source, str | Path) else "")
    return job.run(backend, log_every, clock)


@dataclass(frozen=True, eq=False)
class _Job:
    """One training under way: the data as the network is fed it, and where its results go."""

    dataset: Dataset
    splits: Splits
    spec: InputSpec
    recipe: Recipe
    pixels: dict[SplitName, NDArray[np.uint8]]
    folder: Path
    typed_source: str

    def run(self, backend: str, log_every: int | None, clock: _Clock) -> Run:
        import keras

        from sightline.networks.build import build_network
        from sightline.training.fit import Watch

        lap = time.perf_counter()
        keras.utils.set_random_seed(self.recipe.seed)
        network = build_network(self.spec.shape, self.dataset.num_classes, self.recipe.model)
        fitted = self._fit(network, Watch(self.folder / "history.jsonl", log_every))
        write_atomically(self.folder / "curves.png", curves_png(fitted.history, chosen_epoch=fitted.chosen_epoch))
        lap = clock.lap("fit", lap)
        predictions, evaluations = self._bundle(network, clock)
        if "test" in evaluations:
            draw(self.folder, evaluations["test"], predictions["test"], self.pixels["test"])
        clock.seconds["total"] = time.perf_counter() - clock.started
        run = Run(
            path=self.folder,
            recipe=self.recipe.to_dict(),
            splits=self.splits,
            history=fitted.history,
            chosen_epoch=fitted.chosen_epoch,
            stopped_early=fitted.stopped_early,
            validation=evaluations.get("validation"),
            evaluation=evaluations.get("test"),
            bundle=load_bundle(self.folder / "bundle"),
            backend=backend,
            num_parameters=int(network.count_params()),
            seconds=clock.seconds,
            images_per_second=fitted.images_per_second,
        )
        write_json(self.folder / "metrics.json", run_figures(run))
        return run

    def _labelled(self, name: SplitName) -> Any:
        from sightline.training.fit import LabelledImages

        return LabelledImages(self.pixels[name], self.dataset.labels[self.splits.rows(name)])

    def _fit(self, network: Any, watch: Any) -> Any:
        from sightline.training.augmentation import build_augmentation
        from sightline.training.fit import fit

        return fit(
            network,
            self._labelled("train"),
            validation=self._labelled("validation") if len(self.splits.validation) else None,
            recipe=self.recipe,
            augmentation=build_augmentation(self.recipe.augmentation, self.spec, seed=self.recipe.seed),
            watch=watch,
        )

    def _bundle(self, network: Any, clock: _Clock) -> tuple[dict[SplitName, Predictions], dict[SplitName, Evaluation]]:
        """Save, calibrate, evaluate, compare, seal; the folder appears only when all of it went well."""
        from sightline.training.card import card
        from sightline.training.saving import compare, save_network

        lap = time.perf_counter()
        with staged_folder(self.folder / "bundle") as staged:
            logits_of = save_network(network, staged)
            lap = clock.lap("export", lap)
            predictions = self._predict(logits_of)
            evaluations = {name: score(rows) for name, rows in predictions.items() if len(rows)}
            self._write_predictions(predictions)
            lap = clock.lap("evaluate", lap)
            # Without test rows the comparison takes what was trained on: it judges the files, not the network.
            compared: SplitName = "test" if len(self.splits.test) else "train"
            images = self.pixels[compared][:10_000]
            onnx_logits = predictions["test"].logits[:10_000] if compared == "test" else logits_of(images)
            difference = compare(staged / "model.keras", images, onnx_logits)
            temperature = predictions["validation"].temperature
            write_description(
                staged,
                spec=self.spec,
                class_names=self.dataset.class_names,
                temperature=temperature,
                num_calibration_images=len(self.splits.calibration),
            )
            write_json(staged / "metrics.json", self._bundle_metrics(evaluations.get("test"), difference))
            text = card(
                self.dataset,
                self.recipe,
                self.spec,
                evaluation=evaluations.get("test"),
                num_train=len(self.splits.train),
            )
            write_atomically(staged / "card.md", text)
            write_manifest(staged)
        clock.lap("export", lap)
        return predictions, evaluations

    def _predict(self, logits_of: Any) -> dict[SplitName, Predictions]:
        """Predictions of the deployed graph for every judged split, at the temperature of the calibration rows."""
        logits = {name: logits_of(self.pixels[name]) for name in JUDGED}
        temperature = 1.0
        if len(self.splits.calibration):
            temperature = fit_temperature(logits["calibration"], self.dataset.labels[self.splits.calibration])
        predictions: dict[SplitName, Predictions] = {}
        for name in JUDGED:
            rows = self.splits.rows(name)
            nothing = (None,) * len(rows)
            predictions[name] = Predictions(
                self.dataset.class_names,
                tuple(self.dataset.row_ids[rows].tolist()),
                logits[name],
                temperature,
                self.dataset.labels[rows],
                nothing,
                nothing,
            )
        return predictions

    def _write_predictions(self, predictions: dict[SplitName, Predictions]) -> None:
        arrays: dict[str, Any] = {"class_names": np.array(self.dataset.class_names)}
        for name, rows in predictions.items():
            arrays[f"{name}_row_ids"] = np.array(rows.row_ids, dtype=str)
            arrays[f"{name}_labels"] = rows.labels
            arrays[f"{name}_logits"] = rows.logits
        stream = io.BytesIO()
        np.savez_compressed(stream, **arrays)
        write_atomically(self.folder / "predictions.npz", stream.getvalue())

    def _bundle_metrics(self, evaluation: Evaluation | None, difference: float) -> dict[str, Any]:
        return {
            "source": {
                "name": self.dataset.name,
                "typed": self.typed_source,
                "fingerprint": self.dataset.fingerprint,
            },
            "test": figures(evaluation) if evaluation else None,
            "largest_probability_difference": difference,
        }


def run_figures(run: Run) -> dict[str, Any]:
    """A run as `sightline train --json` prints it and metrics.json keeps it.

    Args:
        run: a finished run.

    Returns:
        run, bundle, recipe, backend, epochs, chosen_epoch, stopped_early, num_parameters,
        validation, test, seconds, images_per_second.

    Raises:
        Nothing.

    Example:
        >>> import inspect
        >>> list(inspect.signature(run_figures).parameters)
        ['run']
    """
    return {
        "run": str(run.path),
        "bundle": str(run.bundle.path),
        "recipe": dict(run.recipe),
        "backend": run.backend,
        "epochs": len(run.history),
        "chosen_epoch": run.chosen_epoch,
        "stopped_early": run.stopped_early,
        "num_parameters": run.num_parameters,
        "validation": figures(run.validation) if run.validation else None,
        "test": figures(run.evaluation) if run.evaluation else None,
        "seconds": {name: round(value, 3) for name, value in run.seconds.items()},
        "images_per_second": round(run.images_per_second, 1),
    }


def _opening(dataset: Dataset, splits: Splits, recipe: Recipe, backend: str) -> str:
    counts = ", ".join(f"{name} {len(splits.rows(name)):,}" for name in SPLIT_NAMES if len(splits.rows(name)))
    return f"{dataset.name}: {counts}; {recipe.model.name}, recipe {recipe.name}, {backend}"
