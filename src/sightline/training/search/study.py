"""Optuna's part of a search: which recipe to try next, when to give one up, and what mattered. Imports no Keras."""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sightline.errors import InvalidValue, MissingPackage, require
from sightline.evaluation.measuring.finished_runs import SEARCH_JOURNAL
from sightline.system.paths import absolute_path
from sightline.training.search.space import Dimension, Space

EXTRA = "sightline[search]"
NAME = "sightline"
SAMPLERS: dict[str, str] = {
    "tpe": "by a model of where good and bad trials lie (Optuna's TPE, all keys together)",
    "random": "by chance alone: the control that a cleverer one has to beat",
}
PRUNERS: dict[str, str] = {
    "halving": "the better half goes on after a quarter and after half of the epochs (successive halving)",
    "hyperband": "several such races that begin at different lengths (Hyperband)",
    "none": "every trial learns to its end",
}
# So many trials are drawn by chance before a model says where to look.
STARTUP_TRIALS = 8
# With fewer finished trials importances are chance; so many draws tell how sure they are.
FEWEST_FOR_IMPORTANCES, NUM_DRAWS = 10, 100
TOP_SHARE = 0.25


def check_optuna() -> None:
    """Refuse a search whose package is missing; nothing is imported."""
    if importlib.util.find_spec("optuna") is None:
        raise MissingPackage(f"search needs the package 'optuna', which is not installed. Run: pip install '{EXTRA}'")


@contextlib.contextmanager
def _silently() -> Iterator[Any]:
    """Optuna, without what it says of its own experiments and of each trial."""
    optuna = require("optuna", purpose="search", install=EXTRA)
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield optuna
    finally:
        optuna.logging.set_verbosity(before)


class SearchStudy:
    """The trials of a search in Optuna's journal, which is text and outlives a kill.

    Suggestions depend on the seed, the number of the trial and what was told of those before it, so that a search that
    was killed suggests what it would have suggested.
    """

    def __init__(self, folder: Path, space: Space, *, sampler: str, seed: int) -> None:
        """Open the journal of a folder that nobody else is at, or begin it."""
        self.space, self.sampler, self.seed = space, sampler, seed
        # By a relative path Optuna waits for ever on a lock that a killed process left.
        path = absolute_path(folder / SEARCH_JOURNAL)
        _mend(path)
        with _silently() as optuna:
            try:
                storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
                self.study = optuna.create_study(
                    study_name=NAME, storage=storage, direction="minimize", load_if_exists=True
                )
                self.study.get_trials()
            except (ValueError, KeyError, TypeError, AssertionError) as error:
                raise InvalidValue(
                    f"{path}: cannot be read as the journal of a search ({error}). Name another folder."
                ) from error

    def running(self) -> list[int]:
        """Numbers of the trials that were asked for and not told of: of a search that was killed, those under way."""
        with _silently() as optuna:
            return [one.number for one in self._trials() if one.state == optuna.trial.TrialState.RUNNING]

    def told(self) -> list[int]:
        """Numbers of the trials that ended in some way."""
        with _silently():
            return [one.number for one in self._trials() if one.state.is_finished()]

    def ask(self, *, point: Mapping[str, Any] | None = None, is_first: bool = False) -> tuple[int, dict[str, Any]]:
        """The next trial: its number and what it tries; the first tries `point`, or nothing where that is None."""
        with _silently() as optuna:
            trials = self._trials()
            number = sum(one.state != optuna.trial.TrialState.WAITING for one in trials)
            if is_first and point is not None and not trials:
                self.study.enqueue_trial(dict(point))
            self.study.sampler = self._sampler(optuna, number)
            trial = self.study.ask()
            if not is_first or point is not None:
                self._suggest(trial)
            return trial.number, dict(trial.params)

    def asked(self, number: int, *, is_empty: bool = False) -> dict[str, Any]:
        """What a trial that is under way tries; of one that was asked for by half, the rest is suggested."""
        with _silently() as optuna:
            self.study.sampler = self._sampler(optuna, number)
            trial = optuna.trial.Trial(self.study, self._trials()[number]._trial_id)
            if not is_empty and len(trial.params) < len(self.space):
                self._suggest(trial)
            return dict(trial.params)

    def tell(self, number: int, *, value: float | None, course: Sequence[float], is_pruned: bool = False) -> None:
        """What became of a trial: its value, or that it was given up, or neither where nothing can be learned of it."""
        with _silently() as optuna:
            trial = optuna.trial.Trial(self.study, self._trials()[number]._trial_id)
            for step, error in enumerate(course, start=1):
                trial.report(error, step)
            states = optuna.trial.TrialState
            state = states.COMPLETE if value is not None else states.PRUNED if is_pruned else states.FAIL
            self.study.tell(number, value, state=state)

    def importances(self, worth: Mapping[int, float]) -> dict[str, tuple[float, float, float]]:
        """Of each key its part in being among the best quarter of trials, with an interval; none of too few trials.

        `worth` is of each trial that counts a number, the less the better. The interval holds what 90 of 100 draws of
        as many of these trials say.

        Source:
            Watanabe, Bansal, Hutter, PED-ANOVA, arXiv 2304.10255; Efron's percentile bootstrap.
        """
        with _silently() as optuna:
            if len(worth) < FEWEST_FOR_IMPORTANCES or len(self.space) < 2:
                return {}
            finished = [
                optuna.trial.create_trial(value=worth[one.number], params=one.params, distributions=one.distributions)
                for one in self._trials()
                if one.number in worth
            ]
            shares = _shares(optuna, finished)
            generator = np.random.default_rng(self.seed)
            draws = [
                _shares(optuna, [finished[index] for index in generator.integers(len(finished), size=len(finished))])
                for _ in range(NUM_DRAWS)
            ]
        table = {key: np.array([drawn.get(key, 0.0) for drawn in draws]) for key in shares}
        return {
            key: (share, *(float(bound) for bound in np.quantile(table[key], [0.05, 0.95])))  # type: ignore[misc]
            for key, share in shares.items()
        }

    def _trials(self) -> list[Any]:
        trials: list[Any] = self.study.get_trials(deepcopy=False)
        return trials

    def _sampler(self, optuna: Any, number: int) -> Any:
        seed = int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0])
        if self.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=STARTUP_TRIALS)

    def _suggest(self, trial: Any) -> None:
        """What a trial tries, key by key; each is in the journal at once, so that a kill may leave some of them."""
        known = dict(trial.params)
        for dimension in self.space:
            if dimension.key not in known:
                _suggest(trial, dimension)
            elif dimension.key not in trial.relative_params:
                # What is drawn key by key is drawn once more, so that the keys behind it are what they would have been.
                frozen = self._trials()[trial.number]
                self.study.sampler.sample_independent(
                    self.study, frozen, dimension.key, trial.distributions[dimension.key]
                )


def _suggest(trial: Any, dimension: Dimension) -> None:
    if dimension.values:
        trial.suggest_categorical(dimension.key, list(dimension.values))
    elif dimension.is_whole:
        trial.suggest_int(dimension.key, int(dimension.low), int(dimension.high), log=dimension.is_log)
    else:
        trial.suggest_float(dimension.key, dimension.low, dimension.high, log=dimension.is_log)


def _shares(optuna: Any, finished: Sequence[Any]) -> dict[str, float]:
    study = optuna.create_study(direction="minimize")
    study.add_trials(finished)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=TOP_SHARE)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: float(share) for key, share in found.items()}


def _mend(path: Path) -> None:
    """Take away what a kill leaves: a line that was written by half, and locks; nobody else is at this folder."""
    for lock in path.parent.glob(f"{path.name}.lock*"):
        lock.unlink(missing_ok=True)
    if path.is_file():
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            with path.open("r+b") as stream:
                stream.truncate(content.rfind(b"\n") + 1)


class Race:
    """Whether a trial goes on, by how those before it did after as many epochs: Optuna's pruner, asked in any process.

    A trial that other processes work at meanwhile says nothing, so that what is given up does not depend on the clock.
    """

    def __init__(self, pruner: str, *, epochs: int, number: int, earlier: Sequence[Mapping[str, Any]]) -> None:
        """`epochs` are those of the first trial; `earlier` of each trial its `number`, `course` and `rungs`."""
        with _silently() as optuna:
            self.study = optuna.create_study(
                study_name=NAME, direction="minimize", pruner=_pruner(optuna, pruner, epochs)
            )
            by_number = {one["number"]: one for one in earlier}
            for before in range(number):
                one = by_number.get(before, {"course": (), "rungs": {}})
                self.study.add_trial(
                    optuna.trial.create_trial(
                        state=optuna.trial.TrialState.FAIL,
                        intermediate_values=dict(enumerate(one["course"], start=1)),
                        system_attrs=dict(one["rungs"]),
                    )
                )
            self.trial = self.study.ask()

    def is_lost(self, step: int, error: float) -> bool:
        """Whether a trial with this share of wrong answers after so many epochs is given up."""
        with _silently():
            self.trial.report(error, step)
            return bool(self.trial.should_prune())

    def rungs(self) -> dict[str, float]:
        """What this trial leaves for those after it."""
        with _silently():
            return {key: float(value) for key, value in self.study.trials[-1].system_attrs.items()}


def _pruner(optuna: Any, name: str, epochs: int) -> Any:
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=max(1, epochs // 9), max_resource=max(epochs, 1), reduction_factor=3
        )
    if name == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=max(1, round(epochs / 4)), reduction_factor=2)
    return optuna.pruners.NopPruner()
