"""Recipe: the whole configuration of a run, parsed, overridden and validated.

Keys are written `section.field` on the command line, in JSON and in error
messages alike; what they are stands in `sightline.configuration.schema`.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from sightline.configuration.consistency import (
    SECONDS_FOR_THE_REST,
    check_ensemble,
    check_mixing,
    check_uses,
    check_views,
    reset_unused_keys,
)
from sightline.configuration.schema import Recipe
from sightline.errors import InvalidValue, UnknownName, closest
from sightline.system.stored import read_json


def keys() -> dict[str, dataclasses.Field[Any]]:
    """Every recipe key as it is typed, with its field.

    Returns:
        "training.epochs" to its dataclass field, whose metadata holds range and meaning.

    Example:
        >>> keys()["training.epochs"].default
        6
    """
    table: dict[str, dataclasses.Field[Any]] = {}
    for top in dataclasses.fields(Recipe):
        section = _section_type(top.name)
        if section is None:
            table[top.name] = top
        else:
            table.update({f"{top.name}.{inner.name}": inner for inner in dataclasses.fields(section)})
    return table


def parse_recipe(content: Mapping[str, Any], *, start: Recipe | None = None) -> Recipe:
    """Build a Recipe from a tree of plain values, refusing what it does not know.

    Args:
        content: nested as in JSON, or flat with dotted keys, or both.
        start: values for the keys that `content` leaves out; the defaults if None.

    Returns:
        The validated recipe.

    Raises:
        UnknownName: a key that does not exist, with the nearest that does.
        InvalidValue: a value of the wrong type or out of range.

    Example:
        >>> parse_recipe({"optimizer.name": "sgd"}).optimizer.name
        'sgd'
    """
    return _build(dict(flatten(content)), start or Recipe(), _check_typed)


def override(recipe: Recipe, assignments: Iterable[str]) -> Recipe:
    """Apply `key=value` texts, as `--set` takes them.

    Args:
        recipe: what to start from.
        assignments: "training.epochs=3"; values are read by the type of their key.

    Returns:
        A new recipe.

    Raises:
        UnknownName: a key that does not exist.
        InvalidValue: no `=`, or a value that cannot be read or is out of range.

    Example:
        >>> override(Recipe(), ["training.epochs=3", "seed=7"]).seed
        7
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise InvalidValue(f"--set takes key=value; got {assignment!r}. Write for instance training.epochs=3.")
        values[key.strip()] = text.strip()
    return _build(values, recipe, _check_text)


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
    return parse_recipe(content)


def _section_type(name: str) -> type | None:
    kind = get_type_hints(Recipe)[name]
    return kind if dataclasses.is_dataclass(kind) and isinstance(kind, type) else None


def flatten(content: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """A tree of recipe keys as it is typed, key by key.

    Args:
        content: nested as in JSON.
        prefix: put before every key.

    Yields:
        ("training.epochs", 3).

    Raises:
        InvalidValue: a key is not a string.

    Example:
        >>> list(flatten({"seed": 1, "training": {"epochs": 3}}))
        [('seed', 1), ('training.epochs', 3)]
    """
    for key, value in content.items():
        if not isinstance(key, str):
            raise InvalidValue(f"recipe keys are strings; got {key!r}.")
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _build(values: Mapping[str, Any], start: Recipe, check: Callable[[str, Any], Any]) -> Recipe:
    known = keys()
    changes: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        if key not in known:
            same_section = [name for name in known if name.split(".")[0] == key.split(".")[0]]
            raise UnknownName(f"no recipe key is called '{key}'. {closest(key, same_section or known)}")
        section, _, name = key.rpartition(".")
        changes.setdefault(section, {})[name] = check(key, value)
    top = changes.pop("", {})
    sections = {name: dataclasses.replace(getattr(start, name), **changed) for name, changed in changes.items()}
    recipe = dataclasses.replace(start, **top, **sections)
    _check_together(recipe)
    check_uses(values, recipe, is_typed=check is _check_text)
    return reset_unused_keys(values, recipe)


def _field_kind(key: str) -> set[str]:
    """Names of the plain types a key takes: {"int", "NoneType"}."""
    section, _, name = key.rpartition(".")
    hint = get_type_hints(_section_type(section) if section else Recipe)[name]
    members = getattr(hint, "__args__", (hint,))
    return {member.__name__ for member in members}


def _check_text(key: str, text: str) -> Any:
    """Read text by the type of its key: bool("false") is True, so every type has a parser of its own.

    A key in seconds takes 90s, 5m and 1h, too.
    """
    kind = _field_kind(key)
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
            try:
                return _check_typed(key, parser(text))
            except ValueError as error:
                if isinstance(error, InvalidValue):
                    raise
    return _check_typed(key, text)


def _check_typed(key: str, value: Any) -> Any:
    kind, metadata = _field_kind(key), keys()[key].metadata
    if value is None and "NoneType" in kind:
        return None
    if isinstance(value, str) and "str" in kind:
        return _check_word(key, value, metadata)
    if "bool" in kind and isinstance(value, bool):
        return value
    if kind & {"int", "float"} and not isinstance(value, bool) and isinstance(value, int | float):
        whole = "float" not in kind
        # Compared before anything is converted: Python's whole numbers may be larger than any float.
        if _in_range(value, metadata) and abs(value) < math.inf and (not whole or value == int(value)):
            return int(value) if whole else float(value)
    raise InvalidValue(f"{key} must be {_expected(kind, metadata)}; got {value!r}.{_also(metadata)}")


def _check_word(key: str, value: str, metadata: Mapping[str, Any]) -> str:
    if "known" in metadata and value not in metadata["known"]:
        noun = key.removesuffix(".name").rpartition(".")[2].replace("_", " ")
        raise UnknownName(f"{key}: no {noun} is called {value!r}. {closest(value, metadata['known'])}")
    if "word" in metadata and value != metadata["word"]:
        raise InvalidValue(f"{key} must be {_expected({'int'}, metadata)}; got {value!r}.{_also(metadata)}")
    return value


def _in_range(value: float, metadata: Mapping[str, Any]) -> bool:
    low: float = metadata.get("low", -math.inf)
    high: float = metadata.get("high", math.inf)
    return (low < value if metadata.get("above") else low <= value) and value <= high


def _expected(kind: set[str], metadata: Mapping[str, Any]) -> str:
    if "bool" in kind:
        return "true or false"
    if not kind & {"int", "float"}:
        return f"one of {', '.join(sorted(metadata['known']))}" if "known" in metadata else "a text"
    noun = "a number" if "float" in kind else "a whole number"
    relation = "above" if metadata.get("above") else "of at least"
    high = metadata.get("high", math.inf)
    limit = f" and at most {high:g}" if high < 65_536 else ""
    return f"{noun} {relation} {metadata['low']:g}{limit}"


def _also(metadata: Mapping[str, Any]) -> str:
    return f" '{metadata['word']}' is allowed, too." if "word" in metadata else ""


def _check_together(recipe: Recipe) -> None:
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
    check_mixing(recipe)
    check_views(recipe)
    check_ensemble(recipe)
