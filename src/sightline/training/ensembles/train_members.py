"""Ensembles: members trained one by one, several at once or elsewhere, then joined into one network."""

from __future__ import annotations

import builtins
import functools
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from sightline.configuration.names import SOUPS
from sightline.errors import TrainingFailed
from sightline.evaluation.measuring.scoring import figures, score
from sightline.records import Evaluation, Predictions
from sightline.system.backends import without_retracing_notes
from sightline.system.files import write_atomically
from sightline.system.progress import reporter
from sightline.system.workers import Map
from sightline.training.ensembles.boosting import boost
from sightline.training.ensembles.graph import ensemble_network
from sightline.training.ensembles.member_recipes import starts_from_first
from sightline.training.ensembles.members import (
    Job,
    Member,
    Outcome,
    load_member,
    read_member,
    train_answers,
    train_member_or_report,
    with_data,
)
from sightline.training.ensembles.weight_averaging import weight_average
from sightline.training.loop.batches import rows_for_fit
from sightline.training.loop.fit import Fitted
from sightline.training.setup.preparation import Prepared

LOST = (
    "its process ended: from outside, for instance for want of memory, or since it could not begin. A script that "
    'trains several members at once needs the usual `if __name__ == "__main__":`.'
)


ELSEWHERE = "it was trained on another machine, and its folder is not seen here. Name an out that all machines share."


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Members, and what became of them.

    Attributes:
        network: uint8 images to what a bundle promises.
        fitted: the mean course of the members, epoch by epoch.
        members: those that are finished, in order.
        votes: (num_members,) float64, what each counts; of a soup 1 for who is in it.
        out_of_bag: of bagging: figures on train rows, each judged by the members that did not see it.
    """

    network: keras.Model
    fitted: Fitted
    members: tuple[Member, ...]
    votes: NDArray[np.float64]
    out_of_bag: Evaluation | None = None


def train_ensemble(job: Job, data: Prepared, *, map: Map = builtins.map) -> Ensemble:  # noqa: A002  # what is passed is a map
    """Train the members of an ensemble that are not there yet, and join all of them.

    Args:
        job: what a member is trained from, in whatever process.
        data: the same, prepared here.
        map: how members are trained: Python's own in sequence, an executor's several at once, or that of a cluster. It
            is called with a function that can be pickled and the numbers of members; results come in any order. Only
            a boosted ensemble does without.

    Source:
        Breiman (1996); Zhu et al., SAMME (2009); Lakshminarayanan et al., arXiv 1612.01474; Wortsman et al.,
        arXiv 2203.05482.
    """
    recipe = data.recipe.ensemble
    with with_data(job, data), without_retracing_notes():
        if recipe.kind == "boosting":
            members, votes = boost(job, data)
        else:
            members, votes = _train_missing(job, data, map), np.ones(recipe.members)
        return _joined(job, data, members, votes)


def _joined(job: Job, data: Prepared, members: tuple[Member, ...], votes: NDArray[np.float64]) -> Ensemble:
    recipe = data.recipe.ensemble
    networks = [load_member(job, member.number) for member in members]
    course = _mean_course(members)
    if recipe.kind in SOUPS:
        train, validation = rows_for_fit(data, data.splits.train), rows_for_fit(data, data.splits.validation)
        average, chosen = weight_average(networks, train, validation, greedy=recipe.kind == "greedy-soup")
        reporter().say(f"soup of {int(chosen.sum())} of {len(chosen)} members")
        network = average if recipe.test_views == "none" else _with_views(average, data)
        return Ensemble(network, course, members, chosen.astype(float))
    network = ensemble_network(networks, votes, views=recipe.test_views, task=data.dataset.task)
    out_of_bag = _out_of_bag(job, data) if recipe.kind == "bagging" else None
    return Ensemble(network, course, members, votes, out_of_bag)


def _with_views(network: keras.Model, data: Prepared) -> keras.Model:
    return ensemble_network([network], [1], views=data.recipe.ensemble.test_views, task=data.dataset.task)


def outcome_of_lost_process(number: int) -> Outcome:
    """What became of a member whose process ended without a word."""
    return Outcome(number, LOST)


def ensemble_summary(ensemble: Ensemble, kind: str) -> dict[str, Any]:
    """An ensemble as metrics.json has it, before its members were judged."""
    members = [
        {
            "number": member.number,
            "network": member.network,
            "seed": member.seed,
            "vote": float(vote),
            "epochs": len(member.history),
            "chosen_epoch": member.chosen_epoch,
            "seconds": round(member.seconds, 3),
        }
        for member, vote in zip(ensemble.members, ensemble.votes, strict=True)
    ]
    out_of_bag = None if ensemble.out_of_bag is None else figures(ensemble.out_of_bag)
    return {"kind": kind, "members": members, "out_of_bag": out_of_bag}


def _train_missing(job: Job, data: Prepared, each: Map) -> tuple[Member, ...]:
    numbers = range(1, data.recipe.ensemble.members + 1)
    missing = [number for number in numbers if read_member(job, number) is None]
    if len(missing) < len(numbers):
        reporter().say(f"{len(numbers) - len(missing)} of {len(numbers)} members are finished already")
    failed: list[Outcome] = []
    # Who starts from the first member has to wait for it.
    waves = [
        [number for number in missing if starts_from_first(data.recipe, number) is later] for later in (False, True)
    ]
    for wave in waves:
        if failed:
            break
        try:
            for told in each(functools.partial(train_member_or_report, job), wave):
                is_lost = told.error is None and read_member(job, told.number) is None
                outcome = Outcome(told.number, ELSEWHERE) if is_lost else told
                _say_outcome(job, outcome, len(numbers))
                if outcome.error is not None:
                    failed.append(outcome)
        except BrokenProcessPool:
            known = {outcome.number for outcome in failed}
            failed.extend(
                outcome_of_lost_process(number)
                for number in wave
                if number not in known and read_member(job, number) is None
            )
    if failed:
        raise TrainingFailed(_failure(job, failed, len(numbers)))
    found = [read_member(job, number) for number in numbers]
    return tuple(member for member in found if member is not None)


def _say_outcome(job: Job, outcome: Outcome, num_members: int) -> None:
    trace = _trace(job, outcome.number)
    trace.unlink(missing_ok=True)
    if outcome.trace:
        write_atomically(trace, outcome.trace)
    member = read_member(job, outcome.number) if outcome.error is None else None
    if member is None:
        reporter().say(f"member {outcome.number}/{num_members}: failed: {outcome.error}")
        return
    row = member.history[member.chosen_epoch - 1]
    judged = f"validation accuracy {row['validation_accuracy']:.4f}, " if "validation_accuracy" in row else ""
    reporter().say(f"member {member.number}/{num_members}: {member.network}, {judged}{member.seconds:.0f} s")


def _trace(job: Job, number: int) -> Path:
    return job.folder / "members" / f"{number:02d}-failed.txt"


def _failure(job: Job, failed: list[Outcome], num_members: int) -> str:
    first = failed[0]
    where = f" (its traceback: {_trace(job, first.number)})" if first.trace else ""
    return (
        f"{len(failed)} of {num_members} members failed. Member {first.number}: {first.error}{where} Those that are "
        f"finished are kept in {job.folder / 'members'}; the same command trains only the missing ones."
    )


def _mean_course(members: tuple[Member, ...]) -> Fitted:
    """The members' histories averaged epoch by epoch, over those that got so far."""
    history = []
    for epoch in range(max(len(member.history) for member in members)):
        rows = [member.history[epoch] for member in members if epoch < len(member.history)]
        shared = [key for key in rows[0] if all(key in row for row in rows)]
        history.append({key: float(np.mean([row[key] for row in rows])) for key in shared} | {"epoch": epoch + 1})
    seconds = sum(member.seconds for member in members)
    speed = sum(member.images_per_second * member.seconds for member in members) / max(seconds, 1e-9)
    stopped_early = any(member.stopped_early for member in members)
    # Each has an epoch of its own; in the mean course the mean of these is the nearest to what was kept.
    chosen = round(float(np.mean([member.chosen_epoch for member in members])))
    return Fitted(tuple(history), chosen, stopped_early, seconds, speed)


def _out_of_bag(job: Job, data: Prepared) -> Evaluation | None:
    """Figures on train rows, each judged only by members that did not learn from it."""
    heard: dict[int, list[NDArray[np.float32]]] = {}
    for number in range(1, data.recipe.ensemble.members + 1):
        for row, logits in zip(*train_answers(job, number), strict=True):
            heard.setdefault(int(row), []).append(logits)
    if not heard:
        return None
    rows = np.array(sorted(heard))
    task = data.dataset.task
    together = [task.together(np.stack(heard[row])[None], np.ones(len(heard[row])))[0] for row in rows.tolist()]
    return score(
        Predictions.of(
            data.dataset.row_ids[rows],
            np.stack(together).astype(np.float32),
            class_names=data.dataset.class_names,
            labels=data.dataset.labels[rows],
            groups=None if data.splits.groups is None else data.splits.groups[rows],
            task=data.dataset.task,
        )
    )
