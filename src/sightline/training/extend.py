"""`extend`: a finished run learns for some epochs more, and what comes of it is a run of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sightline.bundles.vetting.given_networks import given_to
from sightline.configuration.consistency import is_pretrained
from sightline.configuration.recipes import parse_recipe
from sightline.configuration.schema import Recipe
from sightline.data.sources.downloads import load_keras_for
from sightline.errors import InvalidValue
from sightline.evaluation.measuring.finished_runs import FinishedRun, read_run
from sightline.evaluation.measuring.judging import recorded_source
from sightline.records import Run
from sightline.system.backends import choose_backend
from sightline.system.files import check_free
from sightline.system.paths import places_of
from sightline.system.progress import Mode, reporting
from sightline.system.stored import read_plain
from sightline.training.setup.resolution import Settled, Step, take_steps
from sightline.training.setup.run_folder import GoingOn, may_go_on
from sightline.training.setup.unfinished import KeptRequest, read_interval
from sightline.training.train import Beginning, TrainingRequest, run_training


def extend(  # noqa: PLR0913  # each is an option of the command line, and none is a group of others
    run: str | Path | Run,
    *,
    epochs: int,
    source: Any = None,
    out: str | Path | None = None,
    backend: str | None = None,
    checkpoint_every: str | None = None,
    resume: bool = False,
    force: bool = False,
    mode: Mode | None = None,
) -> Run:
    """Let the network of a finished run learn for some epochs more, into a run of its own.

    It begins with the weights that the run ended with, on the same images, divided as they were, with the same recipe.
    Optimizer and schedule begin anew: a schedule that was planned for its epochs has ended with tiny steps. The
    history goes on behind that of the run, which stays as it is.

    Args:
        run: a finished run of one network that learned from nothing by labels, or its folder.
        epochs: how many more.
        source: where the images are, whatever `sightline.load` takes; left out, where the run found them.
        out: folder of the new run; `runs/<source>-<recipe>-001`, counted up, if left out.
        backend: "tensorflow", "jax" or "torch"; else KERAS_BACKEND, else the first installed.
        checkpoint_every: how often it is kept while it learns, as `train` takes it.
        resume: go on with an unfinished run, and refuse to begin a new one.
        force: go on, too, where another version of a package began.
        mode: "terminal", "plain" or "quiet" progress; by what stderr is if left out.

    Returns:
        The new Run.

    Raises:
        InvalidBundle: there is no finished run.
        InvalidValue: it is an ensemble, pretrained or a student, or `epochs` is no whole number of at least 1.
        InvalidSource: the data cannot be used.
        OutputExists: `out` is taken.
        TrainingFailed: as `train`.
        CannotWrite: the disk is full or read-only.

    Example:
        >>> import sightline
        >>> longer = sightline.extend("runs/mnist-fast-001", epochs=1, out="runs/longer")
        >>> [epoch["epoch"] for epoch in longer.history]
        [1, 2, 3]
    """
    if not (type(epochs) is int and epochs >= 1):
        raise InvalidValue(f"epochs must be a whole number of at least 1, how many more to learn; got {epochs!r}.")
    finished = read_run(run)
    recipe, before = _recipe_of(finished), len(finished.history)
    backend, place = choose_backend(backend), Path(out) if out is not None else None
    named = recorded_source(finished.bundle) if source is None else source
    going_on = GoingOn(must=resume, force=force)
    if place is not None and not may_go_on(place, recipe):
        going_on.check_begun(place)
        check_free(place, keep=[finished.path, *places_of(named)])
    why = f"so many more than the {before} of {finished.path}, with whose weights it begins"
    steps: list[Step] = [("training.epochs", epochs, why)]
    if recipe.data.labels_file is not None and (labels := finished.path / "labels.csv").exists():
        # Theirs may have been edited since, or be gone.
        steps.append(("data.labels_file", str(labels), f"the labels that {finished.path} learned from"))
    settled = take_steps(Settled(recipe.changed({"training.time_budget_seconds": None})), steps)
    with reporting(mode):
        load_keras_for(named, backend)
        options = {"epochs": epochs, "backend": backend, "checkpoint_every": checkpoint_every}
        request = TrainingRequest(
            named,
            settled.recipe,
            place,
            backend,
            interval=read_interval(checkpoint_every),
            going_on=going_on,
            again=KeptRequest("extend", recipe.to_dict(), options | {"run": str(finished.path.absolute())}),
            network=given_to(finished.path, recipe.model),
            beginning=Beginning(
                finished.bundle, finished.history, read_plain(finished.path / "splits.csv").decode("utf-8")
            ),
        )
        return run_training(request, settled.changes)


def _recipe_of(run: FinishedRun) -> Recipe:
    """The recipe of a run that can be gone on from; an InvalidValue where there is more to it than one fit."""
    told = run.metrics
    kind = "a student, whose teacher would have to answer again" if told["teacher"] is not None else ""
    kind = f"an ensemble ({told['ensemble']['kind']})" if told["ensemble"] is not None else kind
    recipe = Recipe() if kind else parse_recipe(run.recipe)
    if not kind and is_pretrained(recipe):
        kind = "a head on a pretrained backbone, which was fitted to its end"
    if kind:
        raise InvalidValue(
            f"{run.path}: is {kind}; only one network that learned from nothing by labels learns on. "
            "Train anew with more epochs."
        )
    return recipe
