"""Boosting: networks kept weak on purpose, one after the other, by what each train row counts (SAMME)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.errors import SightlineError, TrainingFailed
from sightline.metrics.ensembles import samme_vote, samme_weights
from sightline.system.progress import reporter
from sightline.training.ensembles.members import Job, Member, read_member, train_answers, train_member
from sightline.training.setup.preparation import Prepared


def boost(job: Job, data: Prepared) -> tuple[tuple[Member, ...], NDArray[np.float64]]:
    """Train members that each look harder at what the ones before got wrong.

    Returns:
        The members, fewer than asked for where one is perfect or only guesses, and (num_members,) their votes.

    Source:
        Zhu, Zou, Rosset, Hastie, Multi-class AdaBoost, Statistics and Its Interface 2 (2009), SAMME. There a member
        gives its whole vote to one class; in the ensemble it shares it out by its probabilities, so that the
        ensemble has a confidence.
    """
    rows, num_classes = data.splits.train, data.dataset.num_classes
    labels = data.dataset.labels[rows]
    # What the source itself says that a row counts goes on top, here as in the loss of a member.
    given = np.ones(len(rows)) if data.dataset.weights is None else data.dataset.weights[rows]
    weights = np.ones(len(rows))
    members: list[Member] = []
    votes: list[float] = []
    for number in range(1, data.recipe.ensemble.members + 1):
        if read_member(job, number) is None:
            _train(job, number, weights)
        member = read_member(job, number)
        if member is None:
            raise TrainingFailed(f"{job.folder_of(number)}: the member that was just trained is not there.")
        is_wrong = ~data.dataset.task.is_right(train_answers(job, number)[1], labels)
        error = float(np.average(is_wrong, weights=given * weights))
        reporter().say(f"member {number}: wrong on {error:.2%} of the train rows as they are weighted")
        # From here on a vote would be 0 or less.
        if error >= 1 - 1 / num_classes:
            if not members:
                raise TrainingFailed(
                    f"the first member is no better than guessing: wrong on {error:.1%} of the train rows. Boosting "
                    "gives each member training.epochs / ensemble.members epochs: set more epochs, or fewer members."
                )
            reporter().say(f"boosting ends: member {number} only guesses, and is left out")
            break
        members.append(member)
        votes.append(samme_vote(error, num_classes=num_classes, num_images=len(rows)))
        if not is_wrong.any():
            reporter().say(
                f"boosting ends: member {number} makes no error on train rows, and nothing is left to look harder at. "
                "Fewer epochs or a smaller network keep members weak enough."
            )
            break
        weights = samme_weights(weights, is_wrong, votes[-1])
    return tuple(members), np.array(votes)


def _train(job: Job, number: int, weights: NDArray[np.float64]) -> None:
    try:
        train_member(job, number, weights=weights)
    except SightlineError as error:
        kept = f" Those before it are kept in {job.folder_of(number).parent}; the same command goes on with this one."
        raise TrainingFailed(f"Member {number} failed: {error}{kept if number > 1 else ''}") from error
