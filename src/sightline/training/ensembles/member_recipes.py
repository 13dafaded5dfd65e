"""How the members of an ensemble differ, in seed, network, epochs, rows; and whether there is room for them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.configuration.consistency import epochs_key, is_pretrained, networks_of, num_epochs
from sightline.configuration.names import SOUPS
from sightline.configuration.schema import Recipe
from sightline.errors import InvalidValue
from sightline.system.workers import free_bytes
from sightline.training.ensembles.graph import check_joined
from sightline.training.loop.network import new_network
from sightline.training.setup.preparation import Prepared

# Of a process that trains one member beside others, without its images.
PROCESS_BYTES = 2**30

# Members of a soup that start from the first one learn on for a quarter of its epochs, from a third of its rate: far
# enough to differ, near enough to be averaged. Set beforehand, not searched for.
SOUP_EPOCHS, SOUP_RATE = 0.25, 0.3


def member_data(data: Prepared, number: int, weights: NDArray[np.float64] | None) -> Prepared:
    """What one member, counted from 1, learns from, and its recipe.

    Args:
        data: of the run.
        number: of the member.
        weights: (num_train,) what each train row counts; rows of 0 are left out. None: all as they are.
    """
    own = dataclasses.replace(data, recipe=member_recipe(data.recipe, number))
    if weights is None:
        return own
    rows = data.splits.train
    counts = np.ones(len(data.dataset)) if data.dataset.weights is None else data.dataset.weights.copy()
    counts[rows] *= np.where(weights > 0, weights, 1.0)
    return dataclasses.replace(
        own,
        dataset=dataclasses.replace(data.dataset, weights=counts),
        splits=dataclasses.replace(data.splits, train=rows[weights > 0]),
    )


def member_recipe(recipe: Recipe, number: int) -> Recipe:
    """The recipe by which one member of an ensemble learns."""
    names = networks_of(recipe)
    own: dict[str, Any] = {
        "seed": (recipe.seed + number - 1) % 2**31,  # a recipe takes none larger
        "model.name": names[(number - 1) % len(names)],
        "ensemble.kind": "none",
        "ensemble.test_views": "none",
    }
    if recipe.ensemble.kind == "boosting" and num_epochs(recipe):
        # Kept weak on purpose: all members together cost what one network costs.
        own[epochs_key(recipe)] = max(1, round(num_epochs(recipe) / recipe.ensemble.members))
    elif starts_from_first(recipe, number):
        own["training.epochs"] = max(1, round(num_epochs(recipe) * SOUP_EPOCHS))
        own["optimizer.learning_rate"] = recipe.optimizer.learning_rate * SOUP_RATE
        own |= {"schedule.name": "cosine", "schedule.warmup_fraction": 0.0}
    return recipe.changed(own)


def check_differ(data: Prepared) -> None:
    """Refuse members that would all be the same: heads on frozen features, which are fitted without chance."""
    recipe = data.recipe
    if recipe.ensemble.kind in ("bagging", "boosting") or not is_pretrained(recipe):
        return
    # Without validation rows to judge it by, there is no fine-tuning.
    is_tuned = bool(recipe.training.finetune_epochs) and len(data.splits.validation) > 0
    if not is_tuned and len(set(networks_of(recipe))) < recipe.ensemble.members:
        raise InvalidValue(
            f"members of ensemble.kind={recipe.ensemble.kind} would be the same: a head on frozen features comes out "
            "alike for every seed. Let them be fine-tuned (training.finetune_epochs above 0, and validation rows), or "
            "take ensemble.kind=bagging."
        )


def starts_from_first(recipe: Recipe, number: int) -> bool:
    """Whether a member learns on from the weights of the first: in a soup, unless pretrained weights are the start."""
    return recipe.ensemble.kind in SOUPS and number > 1 and not is_pretrained(recipe)


def num_weights(data: Prepared) -> int:
    """The weights of all members together."""
    sizes: dict[str, int] = {}
    total = 0
    for number in range(1, data.recipe.ensemble.members + 1):
        own = member_data(data, number, None)
        name = own.recipe.model.name
        if name not in sizes:
            sizes[name] = int(new_network(own).count_params())
        total += sizes[name]
    return total


def check_possible(data: Prepared, *, jobs: int) -> None:
    """Refuse a soup that nothing can judge, equal members, and more than memory allows, before any is trained."""
    if data.recipe.ensemble.kind in SOUPS and not len(data.splits.validation):
        raise InvalidValue(
            f"ensemble.kind={data.recipe.ensemble.kind} judges weights on validation rows, and '{data.dataset.name}' "
            "has none. Set data.validation_fraction higher, or take ensemble.kind=deep."
        )
    check_differ(data)
    total, free = num_weights(data), free_bytes()
    if free is None:
        return
    check_joined(total, free, said=f"ensemble.members={data.recipe.ensemble.members} networks of {total:,} weights")
    gib = 2**30
    apart = jobs * (PROCESS_BYTES + data.pixels.nbytes)
    if jobs > 1 and apart > free:
        raise InvalidValue(
            f"--jobs {jobs} processes need about {apart / gib:.1f} GiB of memory, and {free / gib:.1f} GiB are free. "
            "Train fewer members at once."
        )
