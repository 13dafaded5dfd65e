"""What a key of a recipe may hold: its type, its range and its words, asked of every value however it was given."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, ClassVar, get_type_hints

from sightline.errors import InvalidValue, UnknownName, closest


def as_typed(value: Any) -> str:
    """A value of a recipe key as its user would type it, and as JSON has it: "true", "null", "0.1", "sgd"."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


class Section:
    """A part of a recipe, whose fields are checked as soon as it is made: by its constructor, `replace` or parsing."""

    section: ClassVar[str]

    def __init_subclass__(cls, section: str) -> None:
        """Keep the name that keys begin with, as they are typed."""
        cls.section = section

    def __post_init__(self) -> None:
        """Refuse what a field does not take, and keep numbers in the field's own type."""
        self.check_fields()

    def check_fields(self) -> None:
        """Check field by field; 3.0 becomes 3 where that is meant."""
        own: Any = type(self)
        for entry in dataclasses.fields(own):
            kind, value, part = field_kinds(own)[entry.name], getattr(self, entry.name), entry.default_factory
            if kind:
                value = _checked(f"{self.section}.{entry.name}".lstrip("."), value, kind, entry.metadata)
                object.__setattr__(self, entry.name, value)
            elif isinstance(part, type) and not isinstance(value, part):
                raise InvalidValue(f"{entry.name} must be a {part.__name__}; got {value!r}.")


@functools.cache
def field_kinds(part: type) -> dict[str, frozenset[str]]:
    """Names of the plain types that each field takes, {"int", "NoneType"}; none for a field that is a section."""
    return {
        name: frozenset(
            member.__name__ for member in getattr(hint, "__args__", (hint,)) if not dataclasses.is_dataclass(member)
        )
        for name, hint in get_type_hints(part).items()
    }


def _checked(key: str, value: Any, kind: frozenset[str], metadata: Mapping[str, Any]) -> Any:
    if value is None and "NoneType" in kind:
        return None
    if isinstance(value, str) and "str" in kind:
        return _check_word(key, value, metadata)
    if "bool" in kind and isinstance(value, bool):
        return value
    if kind & {"int", "float"} and not isinstance(value, bool) and isinstance(value, int | float):
        whole, low = "float" not in kind, metadata.get("low", -math.inf)
        # Compared before anything is converted: Python's whole numbers may be larger than any float.
        is_within = (low < value if metadata.get("above") else low <= value) and value <= metadata.get("high", math.inf)
        if is_within and abs(value) < math.inf and (not whole or value == int(value)):
            return int(value) if whole else float(value)
    raise InvalidValue(f"{key} must be {_expected(kind, metadata)}; got {value!r}.{_also(metadata)}")


def _check_word(key: str, value: str, metadata: Mapping[str, Any]) -> str:
    if "known" in metadata and value not in metadata["known"]:
        noun = key.removesuffix(".name").rpartition(".")[2].replace("_", " ")
        raise UnknownName(f"{key}: no {noun} is called {value!r}. {closest(value, metadata['known'])}")
    if "word" in metadata and value != metadata["word"]:
        raise InvalidValue(f"{key} must be {_expected(frozenset({'int'}), metadata)}; got {value!r}.{_also(metadata)}")
    return value


def _expected(kind: frozenset[str], metadata: Mapping[str, Any]) -> str:
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
