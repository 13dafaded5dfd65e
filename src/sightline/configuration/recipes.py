"""Recipes by name, from a file or as they are typed; what their keys are stands in `sightline.configuration.schema`."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sightline.configuration.consistency import check_uses
from sightline.configuration.schema import Recipe
from sightline.configuration.values import as_typed, field_kinds
from sightline.errors import InvalidValue, UnknownName, closest, pick
from sightline.system.stored import read_json


@dataclasses.dataclass(frozen=True)
class NamedRecipe:
    """A recipe that goes by a name: when to use it, and what it sets."""

    summary: str
    settings: Mapping[str, Any]


RECIPES: dict[str, NamedRecipe] = {
    "fast": NamedRecipe(
        "small images, a minute on a laptop: one-cycle Muon, augmentation; settled on validation rows",
        {
            "model.name": "auto",
            "augmentation.policy": "auto",
            "optimizer.name": "muon",
            "data.validation_fraction": 0.05,
            "data.calibration_fraction": 0.05,
            "optimizer.learning_rate": 0.006,
            "optimizer.weight_decay": 0.05,
            "schedule.name": "one-cycle",
            "loss.name": "categorical_crossentropy",
            "loss.label_smoothing": 0.05,
            "training.epochs": "auto",
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
        >>> import sightline
        >>> sightline.recipe("fast", {"training.epochs": 3}).training.epochs
        3
    """
    if isinstance(name, Path) or str(name).endswith(".json"):
        start = read_recipe(Path(name))
    else:
        named = pick(RECIPES, name, kind="recipe")
        start = Recipe(name=str(name)).changed(named.settings)
    if isinstance(settings, str):
        raise InvalidValue(f"settings are a mapping or a list of key=value texts; got {settings!r}.")
    return parse_recipe(settings, start=start) if isinstance(settings, Mapping) else override(start, settings)


def keys() -> dict[str, dataclasses.Field[Any]]:
    """Every recipe key as it is typed, with its dataclass field, whose metadata hold range and meaning."""
    table: dict[str, dataclasses.Field[Any]] = {}
    for top in dataclasses.fields(Recipe):
        section = top.default_factory
        if isinstance(section, type):
            table |= {f"{top.name}.{inner.name}": inner for inner in dataclasses.fields(section)}
        else:
            table[top.name] = top
    return table


def parse_recipe(content: Mapping[str, Any], *, start: Recipe | None = None) -> Recipe:
    """A Recipe of a tree of plain values, nested as in JSON or flat with dotted keys; the rest is as in `start`."""
    values = _each_once(flatten(content))
    refuse_unknown(values)
    return (start or Recipe()).changed(values)


def override(recipe: Recipe, assignments: Iterable[str]) -> Recipe:
    """Apply `key=value` texts, as `--set` takes them; each is read by the type of its key.

    Raises:
        UnknownName: a key that does not exist.
        InvalidValue: no `=`, a value that cannot be read or is out of range, or a key with two values.
    """
    values = read_assignments(assignments)
    changed = recipe.changed(values)
    check_uses(changed, typed=values)
    return changed


def read_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Keys and values of `key=value` texts, whatever recipe they are for; raises as `override`, but for ranges."""
    texts = _each_once(map(_assigned, assignments))
    refuse_unknown(texts)
    return {key: _read_text(key, text) for key, text in texts.items()}


def _assigned(assignment: str) -> tuple[str, str]:
    key, equals, text = assignment.partition("=")
    if not equals:
        raise InvalidValue(f"--set takes key=value; got {assignment!r}. Write for instance training.epochs=3.")
    return key.strip(), text.strip()


def _each_once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Keys to values, none of them with two."""
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values and values[key] != value:
            raise InvalidValue(f"{key} is set twice, to {as_typed(values[key])} and to {as_typed(value)}. Set it once.")
        values[key] = value
    return values


def read_recipe(path: Path) -> Recipe:
    """Read a recipe from a JSON file."""
    try:
        content = read_json(path)
    except OSError as error:
        raise InvalidValue(f"{path}: cannot be read as a recipe ({error.strerror}).") from error
    except ValueError as error:
        raise InvalidValue(f"{path}: not a JSON file ({error}). A run's recipe.json is an example.") from error
    if not isinstance(content, dict):
        raise InvalidValue(f"{path}: a recipe is a JSON object; got {type(content).__name__}.")
    try:
        return parse_recipe(content)
    except (InvalidValue, UnknownName) as error:
        raise type(error)(f"{path}: {error}") from error


def flatten(content: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """The keys of a tree of recipe keys as they are typed, each with its value: ("training.epochs", 3)."""
    for key, value in content.items():
        if not isinstance(key, str):
            raise InvalidValue(f"recipe keys are strings; got {key!r}.")
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def refuse_unknown(names: Iterable[str]) -> None:
    """Raise UnknownName at the first of these that is no recipe key."""
    known = keys()
    for key in names:
        if key not in known:
            same_section = [name for name in known if name.split(".")[0] == key.split(".")[0]]
            raise UnknownName(f"no recipe key is called '{key}'. {closest(key, same_section or known)}")


def _read_text(key: str, text: str) -> Any:
    """Read text by the type of its key: bool("false") is True, so every type has a parser of its own.

    A key in seconds takes 90s, 5m and 1h, too.
    """
    section, _, name = key.rpartition(".")
    part: type = type(Recipe().value(section)) if section else Recipe
    kind = field_kinds(part)[name]
    if (
        "NoneType" in kind
        and text.lower() in ("null", "none")
        and text.lower() not in keys()[key].metadata.get("known", ())
    ):
        return None
    if "bool" in kind and text.lower() in ("true", "false"):
        return text.lower() == "true"
    duration = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh])", text) if key.endswith("_seconds") else None
    if duration:
        text = f"{float(duration[1]) * {'s': 1, 'm': 60, 'h': 3600}[duration[2]]:g}"
    for parser in (int, float):
        if parser.__name__ in kind or (parser is float and "int" in kind):
            with contextlib.suppress(ValueError):
                return parser(text)
    return text
