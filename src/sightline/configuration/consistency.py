"""Keys of a recipe that only matter, or only work, together with another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sightline.configuration.names import AUGMENTATION_PARTS, FOCAL_LOSSES, ONE_HOT_LOSSES, SOUPS
from sightline.configuration.networks import MODELS, OWN, backbone_of
from sightline.configuration.values import as_typed
from sightline.errors import InvalidValue, pick

if TYPE_CHECKING:  # a recipe asks these checks when it is made
    from sightline.configuration.schema import Recipe

# What comes after the last epoch: calibrating, evaluating, drawing, exporting and comparing.
SECONDS_FOR_THE_REST = 15.0


@dataclass(frozen=True)
class _Use:
    """When a key matters.

    Attributes:
        holds: whether it does in a recipe.
        when: the same in words, as its user would type it.
        decided_by: the keys that it depends on.
        instead: what its user may have meant, "{value}" standing for what was set.
        has_shorthand: whether an option of `train` sets it, so that who types its default means it, too.
    """

    holds: Callable[[Recipe], bool]
    when: str
    decided_by: tuple[str, ...]
    instead: str = ""
    has_shorthand: bool = False


def _has_backbone(recipe: Recipe) -> bool:
    entry = MODELS.get(networks_of(recipe)[0])
    return entry is not None and entry.backbone is not None


def is_pretrained(recipe: Recipe) -> bool:
    """Whether a recipe starts from pretrained weights; of several networks the first decides; "auto" has none."""
    return _has_backbone(recipe) and recipe.model.weights != "random"


_NAME = ("model.name",)
_WEIGHTS = ("model.name", "model.weights")
_PRETRAINED = _Use(is_pretrained, "for a pretrained network (see `sightline models`)", _WEIGHTS)
_BUILT_HERE = _Use(
    lambda recipe: not _has_backbone(recipe) and recipe.model.name != OWN,
    "for a network without a backbone of its own (see `sightline models`)",
    ("model.name",),
)
KEY_CONDITIONS: dict[str, _Use] = {
    "model.name": _Use(
        lambda recipe: recipe.model.name in ("auto", networks_of(recipe)[0]),
        "without ensemble.networks",
        ("ensemble.networks",),
    ),
    "model.activation": _BUILT_HERE,
    "model.pixel_scaling": _BUILT_HERE,
    "model.dropout": _Use(
        lambda recipe: recipe.model.name != OWN, "for a network that Sightline builds (see `sightline models`)", _NAME
    ),
    "data.keep_classes": _Use(
        lambda recipe: recipe.model.weights not in ("imagenet", "random"),
        "where a training begins with a run (--from RUN)",
        ("model.weights",),
    ),
    "augmentation.randaugment_operations": _Use(
        lambda recipe: bool(recipe.augmentation.randaugment_magnitude),
        "with augmentation.randaugment_magnitude above 0",
        ("augmentation.randaugment_magnitude",),
    ),
    "schedule.warmup_fraction": _Use(
        lambda recipe: recipe.schedule.name in ("cosine", "one-cycle"),
        "with schedule.name=cosine or one-cycle",
        ("schedule.name",),
    ),
    "schedule.decay_factor": _Use(
        lambda recipe: recipe.schedule.name in ("step", "exponential"),
        "with schedule.name=step or exponential",
        ("schedule.name",),
    ),
    "schedule.num_drops": _Use(
        lambda recipe: recipe.schedule.name == "step", "with schedule.name=step", ("schedule.name",)
    ),
    "optimizer.momentum": _Use(
        lambda recipe: recipe.optimizer.name in ("sgd", "rmsprop", "muon"),
        "with optimizer.name=sgd, rmsprop or muon",
        ("optimizer.name",),
    ),
    "optimizer.nesterov": _Use(
        lambda recipe: recipe.optimizer.name == "sgd", "with optimizer.name=sgd", ("optimizer.name",)
    ),
    "loss.focal_gamma": _Use(
        lambda recipe: recipe.loss.name in FOCAL_LOSSES,
        "with loss.name=categorical_focal_crossentropy or binary_focal_crossentropy",
        ("loss.name",),
    ),
    "ensemble.members": _Use(
        lambda recipe: recipe.ensemble.kind != "none",
        "with ensemble.kind other than none",
        ("ensemble.kind",),
        has_shorthand=True,
    ),
    "ensemble.networks": _Use(
        lambda recipe: recipe.ensemble.kind == "deep", "with ensemble.kind=deep", ("ensemble.kind",)
    ),
    "training.finetune_epochs": _PRETRAINED,
    "training.feature_variants": _PRETRAINED,
    "training.finetune_part": _Use(
        lambda recipe: is_pretrained(recipe) and recipe.training.finetune_epochs != 0,
        "for a pretrained network with training.finetune_epochs above 0",
        (*_WEIGHTS, "training.finetune_epochs"),
    ),
    "optimizer.lowest_rate_share": _Use(
        lambda recipe: is_pretrained(recipe) and recipe.training.finetune_epochs != 0,
        "for a pretrained network with training.finetune_epochs above 0",
        (*_WEIGHTS, "training.finetune_epochs"),
    ),
    "training.epochs": _Use(
        lambda recipe: not is_pretrained(recipe),
        "for a network that learns from scratch",
        _WEIGHTS,
        "To fine-tune for as many epochs, --set training.finetune_epochs={value}; to learn from scratch, "
        "--recipe photos; or leave it out, and the length is chosen by the number of images.",
        has_shorthand=True,
    ),
}


def check_uses(recipe: Recipe, *, typed: Iterable[str] = ()) -> None:
    """Refuse a key that was set and that the rest of the recipe has no use for.

    Of what was made in Python or read from JSON, a key at its default cannot be told from one that was left out and
    does no harm; of the keys that were typed, one with an option of its own is refused at its default, too.
    """
    meant = set(typed)
    for key, use in KEY_CONDITIONS.items():
        if use.holds(recipe):
            continue
        value = recipe.value(key)
        if value == default_of(key, recipe) and not (key in meant and use.has_shorthand):
            continue
        now = " and ".join(f"{other} is {as_typed(recipe.value(other))}" for other in use.decided_by)
        instead = use.instead or f"Change that, or leave {key} out."
        raise InvalidValue(
            f"{key}={as_typed(value)} would change nothing: it matters only {use.when}. Here {now}. "
            f"{instead.format(value=value)}"
        )


def default_of(key: str, recipe: Recipe) -> Any:
    """What a key of a section is where nobody sets it."""
    section, _, name = key.partition(".")
    # From the class: a whole Recipe of defaults would ask for this while it is checked.
    return next(entry.default for entry in dataclasses.fields(getattr(recipe, section)) if entry.name == name)


def check_together(recipe: Recipe) -> None:
    """Refuse what is valid field by field and contradicts itself as a whole."""
    data = recipe.data
    if not data.validation_fraction + data.calibration_fraction < 0.95:
        raise InvalidValue(
            "data.validation_fraction and data.calibration_fraction together must leave at least 5 % to train on; "
            f"got {data.validation_fraction:g} and {data.calibration_fraction:g}."
        )
    budget = recipe.training.time_budget_seconds
    if budget is not None and budget <= SECONDS_FOR_THE_REST:
        raise InvalidValue(
            f"training.time_budget_seconds={budget:g} leaves no time to learn: calibrating, evaluating and exporting "
            f"take about {SECONDS_FOR_THE_REST:g} s after the last epoch. Give a minute or more: 1m."
        )
    if recipe.training.early_stopping_patience is not None and data.validation_fraction == 0:
        raise InvalidValue(
            "training.early_stopping_patience needs validation rows; got data.validation_fraction=0. "
            "Set it above 0, or the patience to null."
        )
    if recipe.training.early_stopping_min_change > 0 and recipe.training.early_stopping_patience is None:
        raise InvalidValue(
            "training.early_stopping_min_change means nothing without training.early_stopping_patience. "
            "Set both or neither."
        )
    if recipe.loss.label_smoothing > 0 and recipe.loss.name == "sparse_categorical_crossentropy":
        raise InvalidValue(
            f"loss.label_smoothing={recipe.loss.label_smoothing:g} needs labels it can soften. "
            "Set loss.name=categorical_crossentropy, or loss.label_smoothing=0."
        )
    if recipe.model.name == OWN and recipe.training.precision not in ("auto", "float32"):
        raise InvalidValue(
            f"training.precision={recipe.training.precision} is for networks that Sightline builds; one that is given "
            "computes as it was built, in float32. Leave it out."
        )
    check_mixing(recipe)
    check_views(recipe)
    check_ensemble(recipe)


def check_mixing(recipe: Recipe) -> None:
    """MixUp and CutMix mix images of a batch and their labels: refuse what has no such batch or no such labels."""
    keys_on = [f"augmentation.{key}" for key in ("mixup_alpha", "cutmix_alpha") if getattr(recipe.augmentation, key)]
    if not keys_on:
        return
    asked = " and ".join(keys_on)
    if recipe.loss.name not in ONE_HOT_LOSSES:
        raise InvalidValue(
            f"{asked}: mixed images have mixed labels, and loss.name={recipe.loss.name} takes whole ones only. "
            "Set loss.name=categorical_crossentropy, or leave the mixing out."
        )
    if recipe.training.batch_size == 1:
        raise InvalidValue(f"{asked}: images are mixed within a batch; got training.batch_size=1. Set it to 2 or more.")
    if not is_pretrained(recipe):
        return
    if recipe.training.finetune_epochs == 0:
        raise InvalidValue(
            f"{asked}: images are mixed while a network learns from images, and training.finetune_epochs=0 fits a "
            "head on features only. Set training.finetune_epochs=auto and training.finetune_part=all, or leave the "
            "mixing out."
        )
    if recipe.training.finetune_part == "upper" and any(backbone_of(name).cut for name in networks_of(recipe)):
        raise InvalidValue(
            f"{asked}: training.finetune_part=upper learns from stored activations, which are not mixed. "
            "Set training.finetune_part=all, or leave the mixing out."
        )


def learns_from_features(recipe: Recipe) -> bool:
    """Whether all that a recipe learns from is stored: features and activations of a few views of each image."""
    if not is_pretrained(recipe):
        return False
    is_stored = recipe.training.finetune_part == "upper" and bool(backbone_of(networks_of(recipe)[0]).cut)
    return recipe.training.finetune_epochs == 0 or is_stored


def check_views(recipe: Recipe) -> None:
    """Refuse augmentation that was asked for part by part where each image is looked at once, as it is."""
    parts = {name: getattr(recipe.augmentation, name) for name in AUGMENTATION_PARTS}
    asked = [name for name, strength in parts.items() if strength not in (None, 0, "none")]
    if asked and recipe.training.feature_variants == 1 and learns_from_features(recipe):
        raise InvalidValue(
            f"augmentation.{asked[0]}={parts[asked[0]]} would change nothing: {recipe.model.name} learns from one view "
            "of each image, the image as it is. Set training.feature_variants=auto, or 2 or more, or leave it out."
        )


def networks_of(recipe: Recipe) -> tuple[str, ...]:
    """The names of models that members of an ensemble have in turn, as written; one where all have the same."""
    named = recipe.model.name if recipe.ensemble.networks is None else recipe.ensemble.networks
    return tuple(name.strip() for name in named.split(","))


def recipe_of_each(recipe: Recipe) -> dict[str, Recipe]:
    """Each network's name once, with the recipe as if it were the only one."""
    alone = {"ensemble.kind": "none", "ensemble.test_views": "none"}
    return {name: recipe.changed({**alone, "model.name": name}) for name in networks_of(recipe)}


def epochs_key(recipe: Recipe) -> str:
    """The key that says in how many epochs a network learns from images: a pretrained one is fine-tuned."""
    return "training.finetune_epochs" if is_pretrained(recipe) else "training.epochs"


def num_epochs(recipe: Recipe) -> int:
    """In how many epochs a network learns from images, once that is settled."""
    return int(recipe.value(epochs_key(recipe)))


def check_ensemble(recipe: Recipe) -> None:
    """Refuse networks that do not exist or do not go together, and a time budget for several networks."""
    if recipe.ensemble.kind == "none":
        return
    if recipe.training.time_budget_seconds is not None:
        raise InvalidValue(
            f"training.time_budget_seconds is for one network; got ensemble.kind={recipe.ensemble.kind}. "
            "Leave it out, and set training.epochs."
        )
    if recipe.ensemble.kind in SOUPS and recipe.data.validation_fraction == 0 and recipe.data.splits_file is None:
        raise InvalidValue(
            f"ensemble.kind={recipe.ensemble.kind} judges weights on validation rows; got data.validation_fraction=0. "
            "Leave it out, or take ensemble.kind=deep."
        )
    if recipe.ensemble.networks is None:
        return
    names, members = networks_of(recipe), recipe.ensemble.members
    if not all(names):
        raise InvalidValue(
            f"ensemble.networks must be names of models, such as 'lenet5,convnet'; got {recipe.ensemble.networks!r}."
        )
    for name in names:
        pick(MODELS, name, kind="model")
    if len(names) > members:
        raise InvalidValue(
            f"ensemble.networks={recipe.ensemble.networks} names {len(names)} networks, and ensemble.members={members} "
            f"trains only the first {members} of them. Set ensemble.members={len(names)}, or name fewer."
        )
    if recipe.model.weights != "random" and len({MODELS[name].backbone is None for name in names}) > 1:
        raise InvalidValue(
            f"ensemble.networks={recipe.ensemble.networks}: some start from pretrained weights and some from nothing, "
            "and the two learn by different keys. Name networks of one kind, or train them apart and "
            "`sightline combine` them."
        )
