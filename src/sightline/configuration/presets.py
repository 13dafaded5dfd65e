"""Recipes by name, and the function that gives one with settings of one's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sightline.configuration.parsing import override, parse_recipe, read_recipe
from sightline.configuration.schema import Recipe
from sightline.errors import InvalidValue, pick


@dataclasses.dataclass(frozen=True)
class NamedRecipe:
    """A recipe that goes by a name: when to use it, and what it sets."""

    summary: str
    settings: Mapping[str, Any]


RECIPES: dict[str, NamedRecipe] = {
    "fast": NamedRecipe(
        "small images, a minute or two on a laptop: one-cycle AdamW, augmentation; settled on validation rows",
        {
            "model.name": "auto",
            "augmentation.policy": "auto",
            "optimizer.name": "adamw",
            "data.validation_fraction": 0.05,
            "data.calibration_fraction": 0.05,
            "optimizer.learning_rate": 0.006,
            "optimizer.weight_decay": 0.05,
            "schedule.name": "one-cycle",
            "loss.name": "categorical_crossentropy",
            "loss.label_smoothing": 0.05,
            "training.epochs": 16,
        },
    ),
    "accurate": NamedRecipe(
        "small images, under ten minutes on a laptop: convnet, one-cycle, augmentation; settled on validation rows",
        {
            "model.name": "convnet",
            "augmentation.policy": "auto",
            "data.validation_fraction": 0.025,
            "data.calibration_fraction": 0.025,
            "optimizer.name": "adamw",
            "optimizer.learning_rate": 0.004,
            "optimizer.weight_decay": 0.05,
            "schedule.name": "one-cycle",
            "loss.name": "categorical_crossentropy",
            "loss.label_smoothing": 0.05,
            "training.epochs": 10,
            "training.batch_size": 64,
            "training.precision": "auto",
        },
    ),
    "photos": NamedRecipe(
        "folders of photographs from scratch: convnet at up to 64 pixels, as long as the number of images asks for",
        {
            "model.name": "auto",
            "augmentation.policy": "photos",
            "optimizer.name": "adamw",
            "optimizer.learning_rate": 0.002,
            "optimizer.weight_decay": 0.05,
            "schedule.name": "one-cycle",
            "training.epochs": "auto",
            "training.batch_size": "auto",
        },
    ),
    "transfer": NamedRecipe(
        "photographs: a head on a pretrained network, then its upper part fine-tuned; minutes on a laptop, no download",
        {
            "model.name": "efficientnet-lite0",
            "augmentation.policy": "photos",
            "optimizer.name": "adamw",
            "optimizer.learning_rate": 0.001,
            "optimizer.weight_decay": 0.01,
            "schedule.name": "one-cycle",
            "training.batch_size": 64,
            "training.finetune_epochs": "auto",
            "training.feature_variants": "auto",
        },
    ),
    "tutorial": NamedRecipe(
        "what the tutorial prints: LeNet-5 on pixels 0 to 255, Adam, 50 epochs, 20 % validation",
        {
            "model.name": "lenet5",
            "model.pixel_scaling": "none",
            "data.validation_fraction": 0.2,
            "data.calibration_fraction": 0.0,
            "optimizer.name": "adam",
            "optimizer.learning_rate": 0.001,
            "training.epochs": 50,
            "training.batch_size": 128,
        },
    ),
}


def recipe(name: str | Path = "fast", settings: Mapping[str, Any] | Iterable[str] = ()) -> Recipe:
    """A recipe by name or from a file, with some of its keys set.

    Args:
        name: one of `sightline.recipes()`, or the path of a JSON file.
        settings: keys to values, {"training.epochs": 3}, or texts, ["training.epochs=3"].

    Returns:
        The validated recipe, "auto" not yet resolved.

    Raises:
        UnknownName: no recipe or key is called that.
        InvalidValue: a value of the wrong type or out of range.

    Example:
        >>> recipe("fast", {"training.epochs": 3}).training.epochs
        3
    """
    if isinstance(name, Path) or str(name).endswith(".json"):
        start = read_recipe(Path(name))
    else:
        named = pick(RECIPES, name, kind="recipe")
        start = parse_recipe({"name": name, **named.settings})
    if isinstance(settings, str):
        raise InvalidValue(f"settings are a mapping or a list of key=value texts; got {settings!r}.")
    return parse_recipe(settings, start=start) if isinstance(settings, Mapping) else override(start, settings)
