"""The course of a search: trials in waves, told to the study in their order, then the choice and its judgement."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sightline.configuration.recipes import flatten
from sightline.configuration.schema import Recipe
from sightline.errors import InvalidValue, TrainingFailed
from sightline.evaluation.measuring.finished_runs import SEARCH_FIGURES, read_run
from sightline.evaluation.measuring.paired_tests import PairedTest, pair, paired_figures
from sightline.metrics.significance import holm
from sightline.system.files import write_atomically, write_json
from sightline.system.progress import Bar, clock, reporter
from sightline.system.stored import read_json
from sightline.system.text import counted
from sightline.system.workers import Map
from sightline.training.search.results import (
    FIRST,
    PAGE,
    STATES,
    Search,
    changes_in_words,
    finalists,
    judged_figures,
    name_of,
    page_of,
    ranked,
    remarks_on,
)
from sightline.training.search.search_folder import CHOICE, BudgetClock
from sightline.training.search.space import Space, point_of, recipe_with
from sightline.training.search.study import FEWEST_FOR_IMPORTANCES, SearchStudy
from sightline.training.search.trials import (
    TRIALS,
    AskedTrial,
    Outcome,
    TrialJob,
    finish_trial,
    outcome_of_lost_process,
    read_outcome,
    run_trial,
)

# What bundling and judging takes of each finalist: so many seconds, and a share of what the first trial took.
REST_SECONDS, REST_SHARE = 3.0, 0.15
NUM_FINALISTS = 3
# Of a budget, kept for the rest while the first trial runs.
FIRST_REST = 0.15
# A trial is begun where at least such a share of the first one's time is left: many are given up early.
WORTH_BEGINNING = 0.3
# Worse than anything: what diverged is told so that nothing like it is tried again.
DIVERGED = 1.0


@dataclass(frozen=True, eq=False)
class Plan:
    """What a search is asked for.

    Attributes:
        name: of the source, as it was typed or as it is called.
        recipe: as it was asked for.
        space: what may vary.
        sampler: one of `SAMPLERS`.
        jobs: trials at once.
        most_trials: at most so many in all, or None.
    """

    name: str
    recipe: Recipe
    space: Space
    sampler: str
    jobs: int
    most_trials: int | None


class Driver:
    """One process at a search; what it needs to go on with one that was killed lies in the folder."""

    def __init__(self, plan: Plan, job: TrialJob, budget: BudgetClock, each: Map) -> None:
        """`job` says how a trial is run, `each` where."""
        self.plan, self.job, self.budget, self.each = plan, job, budget, each
        self.study = SearchStudy(job.folder, plan.space, sampler=plan.sampler, seed=plan.recipe.seed)
        self.point = point_of(plan.recipe, plan.space)
        self.outcomes: dict[int, Outcome] = {}
        for number in self.study.told():
            kept = read_outcome(job, number)
            if kept is None:
                raise InvalidValue(
                    f"{job.outcome_of(number)}: is missing, and the journal knows of it. Name another folder."
                )
            self.outcomes[number] = kept
        self.changed: dict[int, Mapping[str, Any]] = {}
        budget.requeued = len(self.study.running())
        budget.note()

    def search(self, bar: Bar) -> None:
        """Run trials until the budget is spent; what was under way when another process ended comes first."""
        if (self.job.folder / CHOICE).exists():
            return  # test rows may have been looked at: nothing is tried after that
        while wave := list(self._wave()):
            before = self.budget.spent
            self._run(wave)
            bar.advance(self._advance(before, len(wave)), notes=self._best_in_words())

    def _advance(self, before: float, num_trials: int) -> int:
        return num_trials if self.budget.budget is None else round(self.budget.spent) - round(before)

    def _wave(self) -> Iterator[AskedTrial]:
        """The next trials: those under way, filled up to a whole wave, which is the same after a kill."""
        running = self.study.running()
        first = min([len(self.outcomes), *running])
        last = 0 if first == FIRST else math.ceil(first / self.plan.jobs) * self.plan.jobs
        if self.plan.most_trials is not None:
            last = min(last, self.plan.most_trials - 1)
        for number in range(first, last + 1):
            if number in self.outcomes:
                continue
            if number in running:
                values = self.study.asked(number, is_empty=number == FIRST and self.point is None)
            elif self._has_time():
                point = self.point if number == FIRST else None
                asked, values = self.study.ask(point=point, is_first=number == FIRST)
                if asked != number:
                    raise InvalidValue(
                        f"{self.job.folder}: the journal is not that of this search. Name another folder."
                    )
            else:
                return
            yield AskedTrial(number, self._recipe(number, values), self._earlier(first))

    def _recipe(self, number: int, values: Mapping[str, Any]) -> Recipe:
        recipe = self.plan.recipe if number == FIRST else recipe_with(self.plan.recipe, values)
        before, now = dict(flatten(self.plan.recipe.to_dict())), dict(flatten(recipe.to_dict()))
        self.changed[number] = {key: value for key, value in now.items() if value != before[key]}
        return recipe

    def _earlier(self, first: int) -> tuple[dict[str, Any], ...]:
        return tuple(
            {"number": one.number, "course": one.course, "rungs": dict(one.rungs)}
            for number, one in sorted(self.outcomes.items())
            if number < first
        )

    def _rest(self) -> float:
        """Seconds that are kept for bundling and judging the finalists."""
        if FIRST not in self.outcomes:
            return FIRST_REST * (self.budget.budget or 0.0)
        return NUM_FINALISTS * (REST_SECONDS + REST_SHARE * self.outcomes[FIRST].seconds)

    def _has_time(self) -> bool:
        if self.budget.left is None or FIRST not in self.outcomes:
            return True
        return self.budget.left - self._rest() > WORTH_BEGINNING * self.outcomes[FIRST].seconds

    def _run(self, wave: Sequence[AskedTrial]) -> None:
        left = self.budget.left
        deadline = None if left is None else time.time() + left - self._rest()
        epochs = self.outcomes[FIRST].epochs_at_most if FIRST in self.outcomes else None
        job = replace(self.job, deadline=deadline, epochs=epochs)
        found: dict[int, Outcome] = {}
        is_late = deadline is not None and deadline <= time.time()
        waiting = [one for one in wave if not self._is_dropped(one, found, is_late=is_late)]
        try:
            for outcome in self.each(functools.partial(run_trial, job), waiting):
                found[outcome.number] = outcome
        except BrokenProcessPool:
            found |= {one.number: outcome_of_lost_process(one) for one in waiting if one.number not in found}
        for number in sorted(found):
            self._note(found[number])

    def _is_dropped(self, asked: AskedTrial, found: dict[int, Outcome], *, is_late: bool) -> bool:
        """Whether a trial that was under way is not gone on with, for want of time."""
        if not is_late or read_outcome(self.job, asked.number) is not None:
            return False
        found[asked.number] = Outcome(asked.number, "stopped", "the time budget was spent")
        return True

    def _note(self, outcome: Outcome) -> None:
        """Keep what became of a trial, and tell it to the study."""
        number = outcome.number
        if outcome.trace:
            write_atomically(self._trace_of(number), outcome.trace)
        if outcome.is_fatal or (number == FIRST and outcome.state != "finished"):
            raise self._refusal(outcome)
        if not self.job.outcome_of(number).exists():  # nobody could write it where its process was lost
            write_json(self.job.outcome_of(number), asdict(outcome))
        has_diverged = outcome.state == "failed"
        course = (DIVERGED,) if has_diverged else outcome.course
        is_known = number != FIRST or self.point is not None
        value = outcome.cross_entropy if outcome.state == "finished" and is_known else None
        self.study.tell(number, value=value, course=course, is_pruned=outcome.state == "pruned" or has_diverged)
        self.outcomes[number] = outcome
        reporter().say(self._line(outcome))

    def _refusal(self, outcome: Outcome) -> Exception:
        if outcome.state == "stopped":
            return InvalidValue(
                f"the recipe as it was asked for does not learn to its end within {clock(self.budget.budget or 0.0)}. "
                "What it learned is kept: the same command with a longer time budget goes on with it. Or take fewer "
                "images (--set data.fraction=0.2), or fewer epochs."
            )
        where = f" (its traceback: {self._trace_of(outcome.number)})" if outcome.trace else ""
        return TrainingFailed(f"{name_of(outcome.number)}: {outcome.reason}{where}")

    def _trace_of(self, number: int) -> Path:
        return self.job.folder / TRIALS / f"{number:03d}-failed.txt"

    def _line(self, outcome: Outcome) -> str:
        tried = changes_in_words(self.changed.get(outcome.number, {})) or "the recipe as it was asked for"
        what = f"{name_of(outcome.number)}: {outcome.state}"
        if outcome.state == "finished":
            what += f", cross-entropy {outcome.cross_entropy:.4f}, accuracy {outcome.accuracy:.4f} on validation rows"
        elif outcome.reason:
            what += f", {outcome.reason}"
        return f"{what}; {counted(outcome.epochs, 'epoch')}, {outcome.seconds:.0f} s; {tried}"

    def _best_in_words(self) -> str:
        ranking = ranked(self.outcomes.values())
        if not ranking:
            return ""
        best = self.outcomes[ranking[0]]
        return f"best on validation rows: {name_of(best.number)}, cross-entropy {best.cross_entropy:.4f}"

    def judge(self) -> Search:
        """Fix the choice, judge it and those beside it on the test rows, and write what came of it."""
        path = self.job.folder / CHOICE
        if not path.exists():
            # Written before anybody looks at a test row, so that no end of this process can change it.
            write_json(path, {"ranking": ranked(self.outcomes.values())})
        ranking = [int(number) for number in read_json(path)["ranking"]]
        finals = finalists(ranking)
        reporter().say(
            f"chosen: {name_of(ranking[0])}; judging {counted(len(finals), 'trial')} on test rows: "
            f"{', '.join(map(name_of, finals))}"
        )
        asked = [AskedTrial(number, self._recipe(number, self.study.asked(number, is_empty=True))) for number in finals]
        judging = sum(self.each(functools.partial(finish_trial, self.job), asked))
        figures = self._figures(ranking, finals, judging)
        space = [(dimension.key, str(dimension)) for dimension in self.plan.space]
        write_atomically(self.job.folder / PAGE, page_of(figures, space))
        write_json(self.job.folder / SEARCH_FIGURES, figures)
        return Search(self.job.folder, read_json(self.job.folder / SEARCH_FIGURES))

    def _figures(self, ranking: Sequence[int], finals: Sequence[int], judging: float) -> dict[str, Any]:
        runs = {number: read_run(self.job.run_of(number)) for number in finals}
        tests = _tests(runs, ranking[0])
        trials = [self._trial(number) for number in sorted(self.outcomes)]
        best, first = self.outcomes[ranking[0]], self.outcomes[FIRST]
        outcomes = self.outcomes.values()
        spent = {state: sum(one.state == state for one in outcomes) for state in STATES}
        basis, worth = self._worth()
        importances = sorted(self.study.importances(worth).items(), key=lambda item: -item[1][0])
        return {
            "source": self.plan.name,
            "recipe": self.plan.recipe.to_dict(),
            "space": {dimension.key: dimension.to_dict() for dimension in self.plan.space},
            "sampler": self.plan.sampler,
            "pruner": self.job.pruner,
            "jobs": self.plan.jobs,
            "budget": {"seconds": self.budget.budget, "trials": self.plan.most_trials},
            "spent": {
                "seconds": round(self.budget.spent, 1),
                "core_seconds": round(judging + sum(one.core_seconds for one in outcomes), 1),
                **spent,
                "requeued": self.budget.requeued + sum(int(one["requeued"]) for one in self.budget.before),
                "processes": len(self.budget.before) + 1,
            },
            "trials": trials,
            "importances": [
                {"key": key, "share": share, "interval": [lower, upper]} for key, (share, lower, upper) in importances
            ],
            "importances_by": basis if importances else None,
            "chosen": ranking[0],
            "runner_up": ranking[1] if len(ranking) > 1 else None,
            "validation": {
                "num_images": best.num_validation,
                "cross_entropy": best.cross_entropy,
                "accuracy": best.accuracy,
                "first_cross_entropy": first.cross_entropy,
                "first_accuracy": first.accuracy,
            },
            **judged_figures(runs, ranking, tests),
            "tests": [paired_figures(test) for test in tests],
            "remarks": remarks_on(ranking, trials),
        }

    def _worth(self) -> tuple[str, dict[int, float]]:
        """What importances go by: cross-entropy of finished trials, or where these are few, early errors of all."""
        known = [one for one in self.outcomes.values() if one.number != FIRST or self.point is not None]
        finished = {one.number: one.cross_entropy for one in known if one.cross_entropy is not None}
        if len(finished) >= FEWEST_FOR_IMPORTANCES:
            return "cross-entropy", finished
        raced = [one for one in known if one.course and one.state in ("finished", "pruned")]
        epochs = min((len(one.course) for one in raced), default=0)
        return f"errors after {counted(epochs, 'epoch')}", {one.number: one.course[epochs - 1] for one in raced}

    def _trial(self, number: int) -> dict[str, Any]:
        told = asdict(self.outcomes[number])
        kept = ("number", "state", "reason", "cross_entropy", "accuracy", "epochs", "seconds", "core_seconds")
        if number not in self.changed:
            self._recipe(number, self.study.asked(number, is_empty=True))
        run = self.job.run_of(number).relative_to(self.job.folder)
        return {**{key: told[key] for key in kept}, "run": run.as_posix(), "changed": dict(self.changed[number])}


def _tests(runs: Mapping[int, Any], chosen: int) -> list[PairedTest]:
    """The chosen run against each of the others, on the test rows, adjusted together."""
    others = [number for number in runs if number != chosen]
    tests = [
        pair(
            runs[number],
            runs[chosen],
            names=(name_of(number), name_of(chosen)),
            split="test",
            num_tests=len(others),
        )
        for number in others
    ]
    adjusted = holm([test.p_value for test in tests]).tolist() if tests else []
    return [replace(test, adjusted_p_value=value) for test, value in zip(tests, adjusted, strict=True)]
