"""Several networks, or several views, that answer as one: what `concepts.py` trains for its ensembles."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sightline.configuration.recipes import parse_recipe
from sightline.configuration.schema import Recipe

if TYPE_CHECKING:
    from sightline.training.ensembles.members import Job
    from sightline.training.ensembles.train_members import Ensemble
    from sightline.training.setup.preparation import Prepared

# Members of neighbouring seeds would start from the same weights.
SEEDS_APART = 100


@dataclasses.dataclass(frozen=True)
class Learned:
    """What came of a training.

    Attributes:
        network: as it answers.
        history: one mapping an epoch; of several networks their mean.
        chosen_epoch: 1-based; the epoch whose weights were kept.
        failed: the loss was no longer a number.
        seen: images that all networks learned from, each as often as it was seen; 0: as the history says.
        passes: how often a network is asked for one image.
    """

    network: Any
    history: tuple[Mapping[str, float], ...] = ()
    chosen_epoch: int = 0
    failed: bool = False
    seen: int = 0
    passes: int = 1


def seen_from_all_sides(network: Any, views: str) -> tuple[Any, int]:
    """The network as it answers for several views of an image, and for how many."""
    from sightline.training.ensembles.graph import VIEWS, ensemble_network
    from sightline.training.packaging.contract import contract_of

    if views == "none":
        return network, 1
    return ensemble_network([contract_of(network)], [1], views=views), len(VIEWS[views])


@functools.cache
def _prepared(source: str) -> Prepared:
    from sightline.training.setup.preparation import prepare

    return prepare(source, parse_recipe({"model.name": "lenet5"}))


def fit_together(source: str, recipe: Recipe, rows: NDArray[np.int64], validation: NDArray[np.int64]) -> Learned:
    """The ensemble that a recipe names, of these train rows, by Sightline's own training.

    Every member learns for the epochs of the recipe; boosting divides them, and members of a soup that start from
    the first one learn on for a quarter of them.
    """
    from sightline.training.ensembles.members import Job
    from sightline.training.ensembles.train_members import train_ensemble
    from sightline.training.setup.resolution import settle

    data = _prepared(source)
    own = settle(recipe.changed({"seed": recipe.seed * SEEDS_APART}), dataset=data.dataset).recipe
    splits = dataclasses.replace(
        data.splits,
        train=np.sort(rows),
        validation=np.sort(validation),
        calibration=np.empty(0, np.int64),
        test=np.empty(0, np.int64),
    )
    data = dataclasses.replace(data, splits=splits, recipe=own)
    with tempfile.TemporaryDirectory() as folder:
        job = Job(source, own, Path(folder), data.dataset.fingerprint)
        ensemble = train_ensemble(job, data)
        seen = images_seen(job, ensemble, len(rows))
    passes = len(ensemble.members) if "member_logits" in ensemble.network.output else 1
    return Learned(ensemble.network, ensemble.fitted.history, ensemble.fitted.chosen_epoch, seen=seen, passes=passes)


def images_seen(job: Job, ensemble: Ensemble, num_rows: int) -> int:
    """Of all members; one of bagging never sees the rows that it did not draw."""
    from sightline.training.ensembles.members import train_answers

    is_bagging = job.recipe.ensemble.kind == "bagging"
    drawn = [num_rows - (len(train_answers(job, one.number)[0]) if is_bagging else 0) for one in ensemble.members]
    return sum(rows * len(one.history) for rows, one in zip(drawn, ensemble.members, strict=True))
