"""`search`: recipes tried within a budget, chosen on validation rows, and the choice judged once on test rows."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sightline.configuration.schema import Recipe
from sightline.data.sources.downloads import load_keras_for
from sightline.data.sources.loading import holds_files, open_as_recipe_says
from sightline.errors import InvalidValue, TrainingFailed, pick
from sightline.evaluation.measuring.finished_runs import SEARCH_FIGURES
from sightline.integrations.ray.cluster import check_on
from sightline.integrations.ray.workers import cluster_map
from sightline.records import Dataset
from sightline.system.backends import check_packages, choose_backend, load_keras
from sightline.system.interruption import heeding_interrupts
from sightline.system.paths import absolute_path, places_of
from sightline.system.progress import Mode, reporter, reporting
from sightline.system.stored import read_json
from sightline.system.workers import Map, available_processors, process_map
from sightline.training.search.driver import Driver, Plan
from sightline.training.search.results import Search
from sightline.training.search.search_folder import BudgetClock, search_folder
from sightline.training.search.space import Space, space_in_words, stated_space
from sightline.training.search.study import PRUNERS, SAMPLERS, check_optuna
from sightline.training.search.trials import TRIALS, TrialJob, outcome_of_lost_process
from sightline.training.setup.resolution import announce_recipe
from sightline.training.setup.starting import begun

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smh]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def search(  # noqa: PLR0913  # each is an option of the command line, and none is a group of others
    source: Any,
    *,
    time_budget: str | float | None = None,
    trials: int | None = None,
    recipe: str | Path | Recipe | None = None,
    space: str | Path | Mapping[str, Any] | None = None,
    vary: Sequence[str] = (),
    sampler: str = "tpe",
    pruner: str = "halving",
    out: str | Path | None = None,
    backend: str | None = None,
    jobs: int = 1,
    map: Map | None = None,  # noqa: A002  # what is passed is a map
    on: str | None = None,
    mode: Mode | None = None,
) -> Search:
    """Try recipes within a budget, choose one by validation rows, and judge the choice once, on test rows.

    The recipe as it was asked for is trial 0 and always learns to its end. Each further trial is an ordinary run in
    `OUT/trials/007` that varies it, and that is given up where others do better after as many epochs. The trial with
    the lowest cross-entropy of its validation rows is chosen; only then are test rows looked at, by it, by the
    runner-up and by trial 0, whose differences are tested in pairs: that no difference is shown is a result. A search
    that was killed goes on by the same call: no trial that ended is run again, one under way goes on from its last
    checkpoint, and what is suggested is what would have been suggested.

    Args:
        source: whatever `sightline.load` takes; it needs validation and test rows.
        time_budget: of all of it, such as "90s", "30m" or "1h", or a number of seconds; the time that judging takes
            is kept, and a trial that would not end in time is stopped.
        trials: at most so many, the recipe as it was asked for among them. One of the two has to be given.
        recipe: what is varied, as `train` takes it.
        space: a JSON file, or its content: recipe keys, each with a list of values or `{"low": ..., "high": ...,
            "log": true}`. Left out, with `vary`: what is usually worth varying of the recipe.
        vary: texts such as "optimizer.learning_rate=1e-4..1e-2:log" or "training.batch_size=32,64".
        sampler: "tpe" looks where trials were good, "random" is the control.
        pruner: "halving" or "hyperband" give trials up by epochs, "none" none.
        out: folder of the search; `runs/<source>-search-001`, counted up, if left out.
        backend: "tensorflow", "jax" or "torch"; else KERAS_BACKEND, else the first installed.
        jobs: trials at once, each in a process of its own with its share of the processors; a script that asks for it
            needs the usual `if __name__ == "__main__":`.
        map: how trials are run, as Python's own `map` of one function and items that can be pickled, in any order: that
            of a cluster, which reaches the folder by the same path. Then `jobs` says how many are handed over at once.
        on: where trials are run: "ray" or "ray://HOST", as `predict_into` takes it; `jobs` of them at once, over all
            nodes. Images and `out` lie under the same paths there.
        mode: "terminal", "plain" or "quiet" progress; by what stderr is if left out.

    Returns:
        The Search; `search.run` is the run of the chosen trial, `search.recipe` what it changed.

    Raises:
        UnknownName: no source, recipe, key, sampler, pruner or backend is called that.
        InvalidValue: neither a budget nor a number of trials, a space that cannot be, an ensemble, no validation or
            test rows, or a budget in which the recipe as it was asked for does not learn to its end.
        InvalidSource: the data cannot be used.
        OutputExists: `out` holds something else, told what.
        MissingPackage: Optuna is not installed, or no Keras backend.
        TrainingFailed: the recipe as it was asked for cannot be trained.
        CannotWrite: the disk is full or read-only.
        NotReached: no cluster answers there, or a trial lost its process there again and again.

    Source:
        Bergstra et al., Algorithms for Hyper-Parameter Optimization (2011), as Optuna has it; Li et al., A System for
        Massively Parallel Hyperparameter Tuning, arXiv 1810.05934; Li et al., Hyperband, arXiv 1603.06560.

    Example:
        >>> import numpy as np, sightline
        >>> few = sightline.load("mnist").take(np.arange(0, 70000, 200))
        >>> small = sightline.recipe("fast", {"model.name": "mlp", "training.epochs": 2})
        >>> found = sightline.search(few, trials=2, recipe=small, vary=["optimizer.learning_rate=1e-3..1e-2:log"])
        >>> len(found.figures["trials"]), found.run.parent.name, sorted(found.figures["test"])[0]
        (2, 'trials', 'accuracy')
    """
    budget = read_budget(time_budget)
    _check_asked(budget, trials, vary)
    pick(SAMPLERS, sampler, kind="sampler")
    pick(PRUNERS, pruner, kind="pruner")
    check_on(on)
    if on is not None and map is not None:
        raise InvalidValue("map and on both say who does the work. Pass one of them.")
    _check_jobs(jobs, is_here=map is None and on is None)
    check_optuna()
    with reporting(mode):
        opened, settled = begun(source, recipe, None, None)
        base = settled.recipe
        stated = _checked_space(base, space, vary)
        backend = choose_backend(backend)
        check_packages(backend)
        if recipe is None and holds_files(opened):
            announce_recipe(base.name)
        with heeding_interrupts():
            dataset = _dataset(source, opened, base, backend)
            plan = Plan(dataset.name, base, stated, sampler, jobs, trials)
            told = _plan_told(plan, dataset, pruner=pruner, backend=backend)
            with search_folder(None if out is None else Path(out), told, keep=places_of(source)) as folder:
                if (folder / SEARCH_FIGURES).exists():
                    return _finished(folder, budget, trials)
                job = TrialJob(dataset, absolute_path(folder), backend, pruner)
                with _telling_how_to_go_on(folder), _mapped(map, jobs, backend, on) as each:
                    found = _carried_out(plan, job, BudgetClock(folder, budget), each)
                return dataclasses.replace(found, path=folder)


def _dataset(source: Any, opened: Any, base: Recipe, backend: str) -> Dataset:
    """The source opened once, for all trials."""
    load_keras_for(opened, backend)
    dataset = open_as_recipe_says(opened, base.data)
    return dataclasses.replace(dataset, typed=str(source)) if isinstance(source, str | Path) else dataset


def _carried_out(plan: Plan, job: TrialJob, clock: BudgetClock, each: Map) -> Search:
    driver = Driver(plan, job, clock, each)
    total = driver.plan.most_trials if clock.budget is None else max(round(clock.budget), 1)
    reporter().say(space_in_words(driver.plan.space))
    try:
        unit = "trials" if clock.budget is None else "s"
        with reporter().bar("searching", total=total or 1, unit=unit, lines=False) as bar:
            driver.search(bar)
        return driver.judge()
    finally:
        clock.note(is_over=True)


def read_budget(typed: str | float | None) -> float | None:
    """Seconds of what `--time-budget` says: 90, 90s, 30m or 1h; None where it says nothing."""
    if typed is None:
        return None
    seconds = math.nan
    if isinstance(typed, str) and (match := _DURATION.fullmatch(typed.strip())):
        seconds = float(match[1]) * _SECONDS[match[2]]
    elif isinstance(typed, int | float) and not isinstance(typed, bool):
        seconds = float(typed)
    if not 1 <= seconds <= 1e7:
        raise InvalidValue(
            "time_budget takes a time of at least a second, such as 90s, 30m or 1h, or a number of seconds; got "
            f"{typed!r}."
        )
    return seconds


def _check_asked(budget: float | None, trials: int | None, vary: Sequence[str]) -> None:
    if budget is None and trials is None:
        raise InvalidValue("a search ends with its budget: give time_budget, such as 1h, or a number of trials.")
    if trials is not None and not (type(trials) is int and 1 <= trials <= 10_000):
        raise InvalidValue(f"trials must be a whole number from 1 to 10,000; got {trials!r}.")
    if isinstance(vary, str):
        raise InvalidValue(f"vary is a list of texts; got {vary!r}.")


def _check_jobs(jobs: int, *, is_here: bool) -> None:
    if not (type(jobs) is int and 1 <= jobs <= 1000):
        raise InvalidValue(f"jobs must be a whole number of at least 1; got {jobs!r}.")
    if is_here and jobs > available_processors():
        raise InvalidValue(
            f"jobs={jobs} processes are more than there are processors to use, {available_processors()}. "
            "Set as many or fewer."
        )


def _checked_space(base: Recipe, space: Any, vary: Sequence[str]) -> Space:
    if base.ensemble.kind != "none":
        raise InvalidValue(
            f"a search is for one network; got ensemble.kind={base.ensemble.kind}. Search without it, and train the "
            "ensemble by the recipe that is found."
        )
    if base.training.time_budget_seconds is not None:
        raise InvalidValue(
            "training.time_budget_seconds bounds each trial by itself, so that trials would not be alike. Leave it "
            "out: time_budget is for the whole search."
        )
    return stated_space(base, space, vary)


def _plan_told(plan: Plan, dataset: Dataset, *, pruner: str, backend: str) -> dict[str, Any]:
    """What makes a search this one and no other; how long it may take is not among it."""
    return {
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "recipe": plan.recipe.to_dict(),
        "space": {dimension.key: str(dimension) for dimension in plan.space},
        "sampler": plan.sampler,
        "pruner": pruner,
        "backend": backend,
        "jobs": plan.jobs,
    }


def _finished(folder: Path, budget: float | None, trials: int | None) -> Search:
    """A search that is finished already: its test rows were looked at, so that it is not gone on with."""
    found = Search(folder, read_json(folder / SEARCH_FIGURES))
    reporter().say(f"note: {folder} holds this search, finished; nothing is tried again")
    before = found.figures["budget"]
    if (budget or 0) > (before["seconds"] or math.inf) or (trials or 0) > (before["trials"] or math.inf):
        reporter().say(
            "note: its test rows were looked at, so that a longer search begins anew. Name another folder for it."
        )
    return found


@contextlib.contextmanager
def _mapped(given: Map | None, jobs: int, backend: str, on: str | None) -> Iterator[Map]:
    if given is not None:
        yield given
        return
    with cluster_map(on, at_once=jobs, start=functools.partial(load_keras, backend)) as there:
        if there is not None:
            yield there
            return
    with process_map(jobs, functools.partial(load_keras, backend), lost=outcome_of_lost_process) as each:
        yield each


@contextlib.contextmanager
def _telling_how_to_go_on(folder: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.args = (f"interrupted, and kept as it is in {folder}. To go on, give the same command again.",)
        raise
    except (InvalidValue, TrainingFailed):
        if not any((folder / TRIALS).glob("*/checkpoints/*")) and not any((folder / TRIALS).glob("*.json")):
            shutil.rmtree(folder, ignore_errors=True)  # refused before anything was learned
        raise
