"""`train`: split, fit, calibrate, evaluate, save. The test rows are looked at once, at the end."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.backends import choose_backend, load_keras, load_keras_for
from sightline.bundle import load_bundle
from sightline.conflicts import is_pretrained
from sightline.data.sources import is_files
from sightline.data.splits import splits_csv
from sightline.errors import InvalidValue
from sightline.evaluation import draw, figures
from sightline.files import check_free, make_run_folder, write_atomically, write_json
from sightline.progress import Mode, Stopwatch, reporter, reporting
from sightline.records import SPLIT_NAMES
from sightline.reporting.charts import curves_png
from sightline.results import Run
from sightline.schema import Recipe
from sightline.training.preparation import Prepared, prepare
from sightline.training.recipes import chosen_recipe, say_default
from sightline.training.scalars import check_tensorboard, make_log_folder

if TYPE_CHECKING:
    from sightline.training.watching import Watch


def train(  # noqa: PLR0913  # each is an option of the command line, and none is a group of others
    source: Any,
    *,
    recipe: str | Path | Recipe | None = None,
    out: str | Path | None = None,
    backend: str | None = None,
    log_every: int | None = None,
    tensorboard: str | Path | None = None,
    mode: Mode | None = None,
) -> Run:
    """Train a classifier and leave a run: measured, drawn, saved as a bundle.

    Args:
        source: whatever `sightline.load` takes.
        recipe: a name, a JSON file, or a Recipe from `sightline.recipe`; left out: "transfer" for
            photographs, "photos" for smaller files, "fast" for names and arrays.
        out: folder of the run; `runs/<source>-<recipe>-001`, counted up, if left out.
        backend: "tensorflow", "jax" or "torch"; else KERAS_BACKEND, else the first installed.
        log_every: print loss and accuracy every so many steps.
        tensorboard: folder that gets the figures of each epoch for TensorBoard, below the run's name.
        mode: "terminal", "plain" or "quiet" progress; by what stderr is if left out.

    Returns:
        The Run; `run.evaluation` holds the test figures, `run.bundle` what predicts.

    Raises:
        UnknownName: no source, recipe, model or backend is called that.
        InvalidValue: a value of the wrong type or out of range.
        InvalidSource: the data cannot be used.
        OutputExists: `out` is taken.
        MissingPackage: no Keras backend is installed, or no TensorBoard to log to.
        TrainingFailed: the loss diverged, or the exported network disagrees with the trained one.
        CannotWrite: the disk is full or read-only.

    Example:
        >>> train("mnits")
        Traceback (most recent call last):
        sightline.errors.UnknownName: no source is called 'mnits', ...
    """
    asked = recipe if isinstance(recipe, Recipe) else chosen_recipe(source, recipe)
    backend = choose_backend(backend)
    place = Path(out) if out is not None else None
    if place is not None:
        check_free(place)
    if log_every is not None and not (type(log_every) is int and log_every >= 1):
        raise InvalidValue(f"log_every must be a whole number of at least 1; got {log_every!r}.")
    logs = Path(tensorboard) if tensorboard is not None else None
    if logs is not None:
        check_tensorboard(logs)
    with reporting(mode):
        if recipe is None and is_files(source):
            say_default(asked.name)
        return _train(source, asked, place, backend, log_every=log_every, logs=logs)


def _train(
    source: Any, asked: Recipe, out: Path | None, backend: str, *, log_every: int | None, logs: Path | None
) -> Run:
    watch = Stopwatch()
    load_keras_for(source, backend)
    watch.lap("import")
    data = prepare(source, asked)
    watch.lap("data")
    reporter().say(_opening(data, backend))
    load_keras(backend)
    from sightline.training.learner import new_network

    # Weights that cannot be used are refused before there is a folder.
    network = new_network(data)
    watch.lap("import")
    folder = make_run_folder(out, stem=f"{data.dataset.name}-{data.recipe.name}")
    write_json(folder / "recipe.json", data.recipe.to_dict())
    write_atomically(folder / "splits.csv", splits_csv(data.dataset, data.splits))
    write_atomically(folder / "excluded.csv", data.excluded_csv())
    watch.lap("data")
    typed = str(source) if isinstance(source, str | Path) else ""
    from sightline.training.watching import Watch

    budget = data.recipe.training.time_budget_seconds
    seen = Watch(
        history_path=folder / "history.jsonl",
        log_every=log_every,
        curves_path=folder / "curves.png",
        deadline=None if budget is None else watch.started + budget,
        rescue_path=folder / "last-good.keras",
        tensorboard=None if logs is None else make_log_folder(logs, folder.resolve().name),
    )
    run = _fit_and_judge(network, data, folder, typed, seen=seen, watch=watch)
    write_json(folder / "metrics.json", run_figures(run))
    return run


def _fit_and_judge(network: Any, data: Prepared, folder: Path, typed: str, *, seen: Watch, watch: Stopwatch) -> Run:
    import keras

    from sightline.networks.build import build_network
    from sightline.training.bundling import make_bundle
    from sightline.training.learner import computing_in

    with computing_in(data.recipe.training.precision):
        fitted = _fit(network, data, seen)
    if data.recipe.training.precision != "float32":
        mixed, network = network, build_network(data.spec.shape, data.dataset.num_classes, data.recipe.model)
        network.set_weights(mixed.get_weights())
    write_atomically(folder / "curves.png", curves_png(fitted.history, chosen_epoch=fitted.chosen_epoch))
    watch.lap("fit")
    judged = make_bundle(network, data, folder, typed, watch=watch)
    if "test" in judged.evaluations:
        draw(folder, judged.evaluations["test"], judged.predictions["test"], data.pixels.take(data.splits.test))
    watch.lap("evaluate")
    return Run(
        path=folder,
        recipe=data.recipe.to_dict(),
        splits=data.splits,
        history=fitted.history,
        chosen_epoch=fitted.chosen_epoch,
        stopped_early=fitted.stopped_early,
        validation=judged.evaluations.get("validation"),
        evaluation=judged.evaluations.get("test"),
        bundle=load_bundle(folder / "bundle"),
        backend=keras.config.backend(),
        num_parameters=int(network.count_params()),
        seconds={**watch.seconds, "total": watch.total()},
        images_per_second=fitted.images_per_second,
    )


def _fit(network: Any, data: Prepared, watch: Any) -> Any:
    from sightline.training.augmentation import build_augmentation
    from sightline.training.fit import fit
    from sightline.training.learner import labelled

    if is_pretrained(data.recipe):
        from sightline.training.transfer import fit_transfer

        return fit_transfer(network, data, watch)

    recipe, train = data.recipe, labelled(data, data.splits.train)
    augmentation = build_augmentation(recipe.augmentation, data.spec, seed=recipe.seed)
    if watch.deadline is not None:
        from sightline.training.budget import epochs_within

        num_judged = len(data.dataset) - len(train)
        epochs = epochs_within(
            watch.deadline, network, train, num_judged=num_judged, recipe=recipe, augmentation=augmentation
        )
        recipe = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, epochs=epochs))
    validation = labelled(data, data.splits.validation) if len(data.splits.validation) else None
    return fit(network, train, validation=validation, recipe=recipe, augmentation=augmentation, watch=watch)


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


def _opening(data: Prepared, backend: str) -> str:
    rows = {name: len(data.splits.rows(name)) for name in SPLIT_NAMES}
    counts = ", ".join(f"{name} {num_rows:,}" for name, num_rows in rows.items() if num_rows)
    height, width, channels = data.spec.shape
    return (
        f"{data.dataset.name}: {counts}\n"
        f"{height}x{width}x{channels} by '{data.spec.resize}'; "
        f"{data.recipe.model.name}, recipe {data.recipe.name}, {backend}"
    )
