"""`train`: split, fit, calibrate, evaluate, save. The test rows are looked at once, at the end."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sightline.bundles.card import Origin, trained
from sightline.bundles.identity import read_identity
from sightline.bundles.vetting.given_networks import GivenNetwork
from sightline.configuration.consistency import epochs_key, is_pretrained
from sightline.configuration.schema import Recipe
from sightline.data.sources.downloads import load_keras_for
from sightline.data.sources.loading import holds_files
from sightline.errors import InvalidValue
from sightline.evaluation.measuring.finished_runs import as_run
from sightline.evaluation.measuring.scoring import run_figures
from sightline.integrations.tracking.tracker import Tracker
from sightline.records import Bundle, Run
from sightline.reporting.charts.curves import curves_png
from sightline.system.backends import check_packages, choose_backend, load_keras, usual_keras
from sightline.system.files import check_free, write_atomically
from sightline.system.interruption import heeding_interrupts
from sightline.system.paths import check_place, places_of
from sightline.system.progress import Mode, Stopwatch, reporter, reporting
from sightline.system.stored import read_json
from sightline.system.text import counted
from sightline.training.distillation.teacher import Teacher
from sightline.training.end_of_run import finish, judge
from sightline.training.loop.recording import Onlooker, check_tensorboard, log_folder
from sightline.training.setup.preparation import Prepared, identified, opening_lines, prepare
from sightline.training.setup.processes import check_batch, check_jobs, check_processes, members_map
from sightline.training.setup.resolution import (
    Settled,
    SettledKey,
    announce_changes,
    announce_recipe,
    settle,
    take_steps,
)
from sightline.training.setup.run_folder import AS_IT_COMES, GoingOn, may_go_on, run_folder, write_resolution
from sightline.training.setup.starting import begun, identity_of_start, network_of
from sightline.training.setup.tracked import tracked, tracker_of
from sightline.training.setup.unfinished import (
    CHECKPOINTS,
    FIGURES,
    Interval,
    KeptRequest,
    check_is_no_trial,
    folder_of_parts,
    keep_request,
    read_interval,
    read_judged,
    telling_how_to_go_on,
)


def train(  # noqa: PLR0913  # each is an option of the command line, and none is a group of others
    source: Any,
    *,
    model: Any = None,
    recipe: str | Path | Recipe | None = None,
    start: str | Path | Run | None = None,
    keep_classes: bool = False,
    out: str | Path | None = None,
    backend: str | None = None,
    log_every: int | None = None,
    tensorboard: str | Path | None = None,
    track: str | None = None,
    jobs: int = 1,
    processes: int = 1,
    on: str | None = None,
    checkpoint_every: str | None = None,
    resume: bool = False,
    force: bool = False,
    mode: Mode | None = None,
) -> Run:
    """Train a classifier and leave a run: measured, drawn, saved as a bundle.

    A run of the same recipe, data and versions that was left unfinished, interrupted or killed, is gone on with: in
    `out`, or where no folder is named, under the name that this run would get. A network goes on from its last
    checkpoint, an ensemble with the member that was learning; on TensorFlow and the same processors the weights are
    those of a run that never stopped, byte for byte.

    Args:
        source: whatever `sightline.load` takes.
        model: a network of Keras of your own, which begins with the weights that it has: one input of
            `(height, width, 1 or 3)`, square, which is fed 0 to 255, and a `Dense` layer of one logit a class at its
            end; a softmax there is left out. It stays as it is, compiled or not: the recipe says how it is trained.
        recipe: a name, a JSON file, or a Recipe from `sightline.recipe`; left out: "transfer" for
            photographs, "photos" for smaller files, "fast" for names and arrays.
        start: a finished run of one network, whose weights it begins with; the classes of the head are matched by
            name, and others begin anew. Network and size of images are those of the run, and without a recipe all
            else is as it was asked for, too. None of the images that judge the training may be among those that the
            run learned from: divide as it did where they are.
        keep_classes: whether classes that the run `start` knew and that the images lack are kept, by the images that
            it was made with, each in the split that it had there; else these classes are left out. The source of that
            run has to be where it was, unchanged.
        out: folder of the run; `runs/<source>-<recipe>-001`, counted up, if left out.
        backend: "tensorflow", "jax" or "torch"; else KERAS_BACKEND, else the first installed.
        log_every: print loss and accuracy every so many steps.
        tensorboard: folder that gets the figures of each epoch for TensorBoard, below the run's name.
        track: where the run is told of as it learns: "mlflow:FOLDER", "mlflow:https://SERVER", or "wandb:PROJECT" with
            its entity before a slash: the recipe's keys, each epoch, the test figures with their intervals, and the
            small files of the run without an image in them. Epochs of an ensemble are told at the end. A tracker that
            fails while a network learns is told of once, and the run goes on.
        jobs: members of an ensemble that are trained at once, each in a process of its own with its share of the
            processors, which changes their weights in the last digit; a script that asks for it needs the usual
            `if __name__ == "__main__":`.
        processes: on how many processes one network learns together, each with its part of every batch, on the backend
            "jax" and `on` Ray; batches have to divide by them. The weights are those of one process but for the last
            digits, and the same each time. They are compared after every epoch and with every checkpoint.
        on: where members of an ensemble are trained, or `processes` learn: "ray" or "ray://HOST", as `predict_into`
            takes it; `jobs` is how many members a node trains at once. Images and `out` lie under the same paths there.
            Only this call goes on there after an interruption; `resume` goes on here, with as many processes.
        checkpoint_every: how often a network is kept while it learns, such as "500steps", "30s", "5m" or "1h"; left
            out, each minute, and at most so often that it takes one part in a hundred of the time.
        resume: go on with an unfinished run, and refuse to begin a new one.
        force: go on, too, where another version of Sightline, Keras, its backend or NumPy began; the weights are then
            those of neither.
        mode: "terminal", "plain" or "quiet" progress; by what stderr is if left out.

    Returns:
        The Run; `run.evaluation` holds the test figures, `run.bundle` what predicts.

    Raises:
        UnknownName: no source, recipe, model or backend is called that.
        InvalidValue: a value of the wrong type or out of range.
        InvalidSource: the data cannot be used.
        OutputExists: `out` is taken.
        MissingPackage: no Keras backend is installed, something that the end of a run needs, no TensorBoard, or what
            `track` is told by.
        TrainingFailed: the loss diverged, the exported network disagrees with the trained one, or members of an
            ensemble failed; those that are finished are kept, and the same call trains only the missing ones.
        ProcessesDiffer: one of the processes that learn together has other weights than the first.
        CannotWrite: the disk is full or read-only, or what `track` names cannot be told of anything.
        NotReached: no cluster answers there, or a process was lost there again and again.

    Example:
        >>> import numpy as np, sightline
        >>> few = sightline.load("mnist").take(np.arange(600))
        >>> sightline.train(few, recipe=sightline.recipe("fast", {"model.name": "mlp", "training.epochs": 2}))
        Run 'runs/mnist-fast-001': test accuracy 0... [0..., 0...] on 120 images, 2 epochs on ...

        A network of your own, which begins with its weights:

        >>> import keras
        >>> from keras import layers
        >>> steps = [layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(32, "relu"), layers.Dense(10)]
        >>> own = keras.Sequential([keras.Input((28, 28, 1)), *steps])
        >>> run = sightline.train(few, model=own, recipe=sightline.recipe("fast", {"training.epochs": 2}))
        >>> run.path.name, run.recipe["model"]["name"], run.num_parameters
        ('mnist-fast-002', 'custom', 25450)
    """
    keep = places_of(source)
    with reporting(mode):
        network = None if model is None else network_of(model, start, backend)
        source, settled = begun(source, recipe, start, network, keep_classes=keep_classes)
    asked = settled.recipe
    backend = choose_backend(backend)
    place = Path(out) if out is not None else None
    check_processes(processes, asked, backend, on=on, jobs=jobs)
    if processes == 1:
        check_jobs(jobs, asked, on=on)
    going_on = GoingOn(must=resume, force=force, processes=processes)
    interval = read_interval(checkpoint_every)
    if place is not None:
        check_is_no_trial(place)
    if place is not None and not may_go_on(place, asked):
        going_on.check_begun(place)
        check_free(place, keep=keep)
    if log_every is not None and not (type(log_every) is int and log_every >= 1):
        raise InvalidValue(f"log_every must be a whole number of at least 1; got {log_every!r}.")
    logs = Path(tensorboard) if tensorboard is not None else None
    if logs is not None:
        check_place("tensorboard", logs, keep=keep)
        check_tensorboard(logs)
    tracker = tracker_of(track, keep)
    with reporting(mode):
        if recipe is None and start is None and holds_files(source):
            announce_recipe(asked.name, is_given=network is not None)
        options = {
            "backend": backend,
            "log_every": log_every,
            "tensorboard": None if logs is None else str(logs.absolute()),
            "track": None if tracker is None else str(tracker.address),
            "jobs": jobs,
            "checkpoint_every": checkpoint_every,
            **({"processes": processes} if processes > 1 else {}),
        }
        request = TrainingRequest(source, asked, place, backend, log_every, logs, jobs, network=network, on=on)
        return run_training(
            dataclasses.replace(
                request,
                interval=interval,
                going_on=going_on,
                again=KeptRequest("train", asked.to_dict(), options),
                tracker=tracker,
                processes=processes,
            ),
            settled.changes,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Beginning:
    """A finished run that a training begins with: its bundle, its history, and its `splits.csv`."""

    bundle: Bundle
    history: tuple[Mapping[str, float], ...]
    splits: str


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingRequest:
    """What was asked for; a `teacher` is what `sightline.training.distillation.teacher.open_teacher` gives.

    `again` is how it can be asked for again, `onlooker` who ends it when the network has learned.
    """

    source: Any
    recipe: Recipe
    out: Path | None
    backend: str
    log_every: int | None = None
    logs: Path | None = None
    jobs: int = 1
    teacher: Teacher | None = None
    interval: Interval | None = None
    going_on: GoingOn = AS_IT_COMES
    again: KeptRequest | None = None
    beginning: Beginning | None = None
    network: GivenNetwork | None = None
    tracker: Tracker | None = None
    on: str | None = None
    onlooker: Onlooker | None = None
    processes: int = 1


def run_training(request: TrainingRequest, changes: tuple[SettledKey, ...] = ()) -> Run:
    """Train what was asked for and leave a run; `changes` is what was settled of its recipe before."""
    check_packages(request.backend)
    begun = settle(Settled(request.recipe, changes), backend=request.backend)
    request = dataclasses.replace(request, recipe=begun.recipe)
    source, backend = request.source, request.backend
    stopwatch = Stopwatch()
    load_keras_for(source, backend)
    stopwatch.lap("import")
    before = request.teacher or request.beginning
    spec, splits = (None, None) if before is None else (before.bundle.input, before.splits)
    data = prepare(source, begun, spec=spec, splits=splits, network=request.network)
    if begun.recipe.training.time_budget_seconds is not None and spec is None and is_pretrained(data.recipe):
        load_keras(backend)
        from sightline.training.enlarging import enlarged

        data = enlarged(data)
    if request.onlooker is not None:
        request.onlooker.prepared(data)
    stopwatch.lap("data")
    reporter().say(opening_lines(data, backend))
    announce_changes(data.changes)
    load_keras(backend)
    with heeding_interrupts(), usual_keras():
        return _carry_out(request, data, stopwatch)


def _carry_out(request: TrainingRequest, data: Prepared, stopwatch: Stopwatch) -> Run:
    network = _begin(data, request)
    stopwatch.lap("import")
    if request.teacher is not None:
        from sightline.training.distillation.soft_labels import distillation_targets

        data = dataclasses.replace(data, distillation=distillation_targets(data, request.teacher))
        data = identified(data, read_identity(request.teacher.bundle))
    else:
        data = identified(data, *identity_of_start(data))
    named = request.source if request.teacher is None else request.teacher.source
    typed = str(named) if isinstance(named, str | Path) else getattr(named, "typed", "")
    with (
        run_folder(request.out, data, request.going_on) as folder,
        telling_how_to_go_on(folder),
        tracked(request.tracker, data, folder, request.backend),
    ):
        if request.again is not None:
            keep_request(folder, request.again, source=typed)
        stopwatch.lap("data")
        parts = folder_of_parts(folder, is_ensemble=request.recipe.ensemble.kind != "none")
        judged = read_judged(folder, parts)
        if judged is not None:
            reporter().say(f"its bundle is whole: nothing is learned again, only what was left is written to {folder}")
            noted = read_json(parts / FIGURES) | {"run": str(folder), "bundle": str(folder / "bundle")}
            return finish(dataclasses.replace(as_run(judged), splits=data.splits), noted, data, request.tracker)
        learned = _learn(network, data, folder, request, stopwatch)
        if request.onlooker is not None:
            request.onlooker.learned(learned.network, data, learned.fitted)
        curves = curves_png(learned.fitted.history, chosen_epoch=learned.fitted.chosen_epoch)
        write_atomically(folder / "curves.png", curves)
        stopwatch.lap("fit")
        origin, processes = _origin(data, request, typed), request.processes
        run = judge(learned, data, parts / FIGURES, origin, stopwatch=stopwatch, processes=processes)
        return finish(run, run_figures(run), data, request.tracker)


def _begin(data: Prepared, request: TrainingRequest) -> Any:
    """The network that is to learn, None for an ensemble; what cannot be is refused before there is a folder."""
    if data.recipe.ensemble.kind == "none":
        check_batch(request.processes, int(data.recipe.training.batch_size))
        from sightline.training.loop.network import new_network

        network = new_network(data)
        if request.beginning is not None:
            from sightline.bundles.vetting.network_files import open_network

            network.set_weights(open_network(request.beginning.bundle.path / "model.keras").get_weights())
        return network
    from sightline.training.ensembles.member_recipes import check_possible

    check_possible(data, jobs=1 if request.on is not None else request.jobs)
    return None


@dataclasses.dataclass(frozen=True, eq=False)
class _TrainedNetwork:
    """A network ready to be bundled, how it came about, and what is to be told of its members."""

    network: Any
    fitted: Any
    ensemble: dict[str, Any] | None = None


def _learn(
    network: Any, data: Prepared, folder: Path, request: TrainingRequest, stopwatch: Stopwatch
) -> _TrainedNetwork:
    recipe, logs = data.recipe, request.logs
    if recipe.ensemble.kind != "none":
        from sightline.training.ensembles.members import Job
        from sightline.training.ensembles.train_members import ensemble_summary, outcome_of_lost_process, train_ensemble

        job = Job(request.source, request.recipe, folder, data.dataset.fingerprint, request.log_every, logs)
        job = dataclasses.replace(job, interval=request.interval)
        with members_map(request.jobs, request.on, request.backend, lost=outcome_of_lost_process) as each:
            ensemble = train_ensemble(job, data, map=each or map)
        lines = "".join(json.dumps(row) + "\n" for row in ensemble.fitted.history)
        write_atomically(folder / "history.jsonl", lines)
        return _TrainedNetwork(ensemble.network, ensemble.fitted, ensemble_summary(ensemble, recipe.ensemble.kind))
    from sightline.training.ensembles.graph import ensemble_network
    from sightline.training.fit_network import fit_network
    from sightline.training.loop.fit import behind
    from sightline.training.loop.recording import rewrite_history
    from sightline.training.packaging.contract import contract_of

    outputs = _outputs(data, folder, request, stopwatch)
    if outputs.before:
        rewrite_history(outputs, outputs.before)
    fitted_network, fitted = fit_network(network, data, outputs)
    fitted = behind(outputs.before, fitted)
    if fitted.planned_epochs is not None:
        budget = f"training.time_budget_seconds={recipe.training.time_budget_seconds:g}"
        why = f"as many as fit into {budget} at the speed that was measured here"
        planned = take_steps(Settled(recipe, data.changes), [(epochs_key(recipe), fitted.planned_epochs, why)])
        write_resolution(folder, planned.changes)
    if (views := recipe.ensemble.test_views) != "none":
        fitted_network = ensemble_network([contract_of(fitted_network)], [1], views=views, task=data.dataset.task)
    return _TrainedNetwork(fitted_network, fitted)


def _outputs(data: Prepared, folder: Path, request: TrainingRequest, stopwatch: Stopwatch) -> Any:
    """Where the fit of a network is written, and what it goes on from: the end, where several processes fit it."""
    from sightline.training.loop.checkpoints import Checkpoints
    from sightline.training.loop.recording import FitOutputs

    budget, noted = data.recipe.training.time_budget_seconds, folder / CHECKPOINTS / "tensorboard.json"
    log = None if request.logs is None else log_folder(request.logs, folder.resolve().name, noted)
    is_fitted = request.processes > 1 and _fit_together(folder, request, log)
    return FitOutputs(
        history_path=folder / "history.jsonl",
        log_every=request.log_every,
        curves_path=folder / "curves.png",
        deadline=None if budget is None else stopwatch.started + budget,
        rescue_path=folder / "last-good.keras",
        tensorboard=log,
        tracker=request.tracker,
        before=() if request.beginning is None else request.beginning.history,
        # What an onlooker ends behind its fit is gone on with there, if at all.
        checkpoints=Checkpoints(
            folder / CHECKPOINTS, request.interval, keeps_end=request.onlooker is not None, expects_end=is_fitted
        ),
        watch=request.onlooker,
    )


def _fit_together(folder: Path, request: TrainingRequest, log: Path | None) -> bool:
    """Have the processes that were asked for fit the network, unless they have; its end is the last checkpoint then."""
    from sightline.training.fit_on_processes import SharedFit, fit_on_processes
    from sightline.training.loop.checkpoints import Checkpoints

    found = Checkpoints(folder / CHECKPOINTS, request.interval).found
    if found is not None and found.is_finished:
        return False
    shared = SharedFit(
        source=request.source,
        recipe=request.recipe,
        folder=folder.absolute(),
        log_every=request.log_every,
        tensorboard=None if log is None else log.absolute(),
        interval=request.interval,
        mode=reporter().mode,
        is_tracked=request.tracker is not None,
    )
    fit_on_processes(shared, request.on or "ray", count=request.processes, tracker=request.tracker)
    return True


def _origin(data: Prepared, request: TrainingRequest, typed: str) -> Origin:
    teacher = None if data.distillation is None else data.distillation.teacher
    origin = trained(data.dataset, data.recipe, num_train=len(data.splits.train), typed=typed, teacher=teacher)
    if request.processes > 1:
        made = f"{origin.made}, on {request.processes} processes that learned together"
        origin = dataclasses.replace(origin, made=made)
    if request.beginning is None:
        return origin
    run, before = request.beginning.bundle.path.parent, counted(len(request.beginning.history), "epoch")
    return dataclasses.replace(origin, made=f"{origin.made}. It began with the weights of '{run}', after {before}")
