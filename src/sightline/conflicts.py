"""Keys of a recipe that only matter together with another: set alone they would be ignored without a word."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sightline.architectures import MODELS
from sightline.errors import InvalidValue
from sightline.schema import Recipe

# What comes after the last epoch: calibrating, evaluating, drawing, exporting and comparing.
SECONDS_FOR_THE_REST = 15.0


@dataclass(frozen=True)
class _Use:
    """When a key matters.

    Attributes:
        holds: whether it does in a recipe.
        when: the same in words, as its user would type it.
    """

    holds: Callable[[Recipe], bool]
    when: str


def is_pretrained(recipe: Recipe) -> bool:
    """Whether a recipe starts from pretrained weights.

    Args:
        recipe: "auto" stands for a network that does not.

    Returns:
        True if its network has a backbone whose weights are not random.

    Raises:
        Nothing.

    Example:
        >>> is_pretrained(Recipe())
        False
    """
    entry = MODELS.get(recipe.model.name)
    return entry is not None and entry.backbone is not None and recipe.model.weights != "random"


_PRETRAINED = _Use(is_pretrained, "for a pretrained network (see `sightline models`)")
USES: dict[str, _Use] = {
    "schedule.warmup_fraction": _Use(
        lambda recipe: recipe.schedule.name in ("cosine", "one-cycle"), "with schedule.name=cosine or one-cycle"
    ),
    "schedule.decay_factor": _Use(
        lambda recipe: recipe.schedule.name in ("step", "exponential"), "with schedule.name=step or exponential"
    ),
    "schedule.num_drops": _Use(lambda recipe: recipe.schedule.name == "step", "with schedule.name=step"),
    "optimizer.momentum": _Use(
        lambda recipe: recipe.optimizer.name in ("sgd", "rmsprop"), "with optimizer.name=sgd or rmsprop"
    ),
    "optimizer.nesterov": _Use(lambda recipe: recipe.optimizer.name == "sgd", "with optimizer.name=sgd"),
    "loss.focal_gamma": _Use(
        lambda recipe: recipe.loss.name == "categorical_focal_crossentropy",
        "with loss.name=categorical_focal_crossentropy",
    ),
    "training.finetune_epochs": _PRETRAINED,
    "training.feature_variants": _PRETRAINED,
    "training.finetune_part": _Use(
        lambda recipe: is_pretrained(recipe) and recipe.training.finetune_epochs != 0,
        "for a pretrained network with training.finetune_epochs",
    ),
    "training.epochs": _Use(
        lambda recipe: not is_pretrained(recipe),
        "for a network that learns from scratch; a pretrained one has training.finetune_epochs",
    ),
}


def check_uses(given: Iterable[str], recipe: Recipe) -> None:
    """Refuse a key that its user set and that the rest of the recipe has no use for.

    Args:
        given: the keys that were set; others, and those at their default, are let pass.
        recipe: what came of them.

    Returns:
        Nothing.

    Raises:
        InvalidValue: a key without use; the message says with what it would matter.

    Example:
        >>> check_uses(["optimizer.momentum"], Recipe())
    """
    for key in given:
        if key not in USES or USES[key].holds(recipe):
            continue
        section, _, name = key.partition(".")
        value, default = (getattr(getattr(whole, section), name) for whole in (recipe, Recipe()))
        if value != default:
            shown = str(value).lower() if isinstance(value, bool) else value
            raise InvalidValue(
                f"{key}={shown} would change nothing: it matters only {USES[key].when}. {_now(key, recipe)}"
            )


def without_useless(given: Iterable[str], recipe: Recipe) -> Recipe:
    """Set back to its default what a recipe was started with and no longer has a use for.

    `--set schedule.name=constant` on a recipe with a warm-up of its own leaves a recipe that
    can be written, and read again without a refusal.

    Args:
        given: the keys that were set; they stay as they are.
        recipe: what came of them.

    Returns:
        The recipe.

    Raises:
        Nothing.

    Example:
        >>> from sightline.schema import ScheduleRecipe
        >>> without_useless([], Recipe(schedule=ScheduleRecipe(warmup_fraction=0.1))).schedule.warmup_fraction
        0.3
    """
    for key in USES.keys() - set(given):
        if not USES[key].holds(recipe):
            section, _, name = key.partition(".")
            default = getattr(getattr(Recipe(), section), name)
            changed = dataclasses.replace(getattr(recipe, section), **{name: default})
            recipe = dataclasses.replace(recipe, **{section: changed})
    return recipe


def _now(key: str, recipe: Recipe) -> str:
    """What the recipe has instead, and the two ways out."""
    switch = "model" if key.startswith("training.") else key.partition(".")[0]
    return f"Here {switch}.name is '{getattr(recipe, switch).name}'. Change that, or leave {key} out."
