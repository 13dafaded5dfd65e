"""Recipe: the whole configuration of a run, parsed, overridden and validated.

Keys are written `section.field` on the command line, in JSON and in error
messages alike; what they are stands in `sightline.configuration.schema`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sightline.configuration.consistency import check_uses
from sightline.configuration.schema import Recipe
from sightline.configuration.values import Section, as_typed, field_kinds
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
        InvalidValue: a value of the wrong type or out of range, or a key with two values.

    Example:
        >>> parse_recipe({"optimizer.name": "sgd"}).optimizer.name
        'sgd'
    """
    return _build(_each_once(flatten(content)), start or Recipe())


def override(recipe: Recipe, assignments: Iterable[str]) -> Recipe:
    """Apply `key=value` texts, as `--set` takes them.

    Args:
        recipe: what to start from.
        assignments: "training.epochs=3"; values are read by the type of their key.

    Returns:
        A new recipe.

    Raises:
        UnknownName: a key that does not exist.
        InvalidValue: no `=`, a value that cannot be read or is out of range, or a key with two values.

    Example:
        >>> override(Recipe(), ["training.epochs=3", "seed=7"]).seed
        7
    """
    return _build(_each_once(map(_assigned, assignments)), recipe, is_typed=True)


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
    return parse_recipe(content)


def _section_type(name: str) -> type | None:
    return next((kind for kind in Section.__subclasses__() if kind.section == name), None)


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


def _build(values: Mapping[str, Any], start: Recipe, *, is_typed: bool = False) -> Recipe:
    known = keys()
    for key in values:
        if key not in known:
            same_section = [name for name in known if name.split(".")[0] == key.split(".")[0]]
            raise UnknownName(f"no recipe key is called '{key}'. {closest(key, same_section or known)}")
    if not is_typed:
        return start.changed(values)
    recipe = start.changed({key: _read_text(key, text) for key, text in values.items()})
    check_uses(recipe, typed=values)
    return recipe


def _read_text(key: str, text: str) -> Any:
    """Read text by the type of its key: bool("false") is True, so every type has a parser of its own.

    A key in seconds takes 90s, 5m and 1h, too.
    """
    section, _, name = key.rpartition(".")
    kind = field_kinds(_section_type(section) or Recipe)[name]
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
