"""How the members of an ensemble differ: in seed, network, epochs, and what each train row counts."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from sightline.configuration.consistency import is_pretrained, networks_of
from sightline.configuration.names import SOUPS
from sightline.configuration.schema import EnsembleRecipe, Recipe, ScheduleRecipe
from sightline.errors import InvalidValue
from sightline.training.setup.preparation import Prepared

# Members of a soup that start from the first one learn on for a quarter of its epochs, from a third of its rate.
SOUP_EPOCHS, SOUP_RATE = 0.25, 0.3


def member_data(data: Prepared, number: int, weights: NDArray[np.float64] | None) -> Prepared:
    """What one member learns from, and its recipe.

    Args:
        data: of the run.
        number: from 1.
        weights: (num_train,) what each train row counts; rows of 0 are left out. None: all as they are.

    Returns:
        The same images, with the member's own recipe, train rows and weights.

    Raises:
        Nothing.

    Example:
        >>> import inspect
        >>> list(inspect.signature(member_data).parameters)
        ['data', 'number', 'weights']
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
    """The recipe by which one member of an ensemble learns.

    Args:
        recipe: of the run, resolved.
        number: from 1.

    Returns:
        A recipe for a single network: with a seed and a network of its own, and the epochs that its kind gives it.

    Raises:
        Nothing.

    Example:
        >>> from sightline.configuration.parsing import parse_recipe
        >>> recipe = parse_recipe({"ensemble.kind": "boosting", "ensemble.members": 4, "training.epochs": 20})
        >>> member_recipe(recipe, 2).training.epochs, member_recipe(recipe, 2).seed
        (5, 1)
    """
    names = networks_of(recipe)
    training, optimizer, schedule = recipe.training, recipe.optimizer, recipe.schedule
    if recipe.ensemble.kind == "boosting":
        # Kept weak on purpose: all members together cost what one network costs.
        members = recipe.ensemble.members
        training = dataclasses.replace(
            training,
            epochs=max(1, round(int(training.epochs) / members)),
            finetune_epochs=round(int(training.finetune_epochs) / members),
        )
    elif starts_from_first(recipe, number):
        training = dataclasses.replace(training, epochs=max(1, round(int(training.epochs) * SOUP_EPOCHS)))
        optimizer = dataclasses.replace(optimizer, learning_rate=optimizer.learning_rate * SOUP_RATE)
        schedule = ScheduleRecipe(name="cosine", warmup_fraction=0.0)
    return dataclasses.replace(
        recipe,
        seed=(recipe.seed + number - 1) % 2**31,
        model=dataclasses.replace(recipe.model, name=names[(number - 1) % len(names)]),
        training=training,
        optimizer=optimizer,
        schedule=schedule,
        ensemble=EnsembleRecipe(),
    )


def check_differ(data: Prepared) -> None:
    """Refuse members that would all be the same: heads on frozen features, which are fitted without chance.

    Args:
        data: of the run.

    Raises:
        InvalidValue: neither rows nor networks nor fine-tuning make them differ.

    Example:
        >>> import inspect
        >>> list(inspect.signature(check_differ).parameters)
        ['data']
    """
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
    """Whether a member learns on from the weights of the first: in a soup, unless pretrained weights are the start.

    Args:
        recipe: of the run.
        number: of the member, from 1.

    Returns:
        True for all but the first of a soup that starts from nothing.

    Raises:
        Nothing.

    Example:
        >>> starts_from_first(Recipe(), 2)
        False
    """
    return recipe.ensemble.kind in SOUPS and number > 1 and not is_pretrained(recipe)
