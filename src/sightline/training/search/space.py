"""What a search may vary: recipe keys with their ranges or values, all of them checked before anything is trained."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sightline.configuration.consistency import KEY_CONDITIONS, is_pretrained
from sightline.configuration.recipes import keys, read_assignments
from sightline.configuration.schema import Recipe, checked_value
from sightline.configuration.values import as_typed, field_kinds
from sightline.errors import InvalidValue, UnknownName, closest
from sightline.system.stored import read_json
from sightline.system.text import counted

# What would divide or choose the images otherwise, make figures of other things comparable, or hunt for lucky seeds.
_VARIED_DATA = ("data.image_size", "data.color_mode", "data.resize")
_NEVER = ("name", "seed", "training.time_budget_seconds", "model.weights")
_RANGE = re.compile(r"(?P<low>[^:]+?)\.\.(?P<high>[^:]+)(?P<log>:log)?")
# So many points of a space are tried for what contradicts itself.
_TRIED = 200
_MOST_KEYS, _MOST_VALUES = 30, 100


@dataclasses.dataclass(frozen=True)
class Dimension:
    """One recipe key, and what it may be.

    Attributes:
        key: as it is typed.
        low: the lowest number, of a range.
        high: the highest.
        is_log: whether each doubling of a range is as likely as another.
        is_whole: whether only whole numbers are meant.
        values: what it may be one by one; empty for a range.
    """

    key: str
    low: float = 0.0
    high: float = 0.0
    is_log: bool = False
    is_whole: bool = False
    values: tuple[Any, ...] = ()

    def holds(self, value: Any) -> bool:
        """Whether a value of the key lies in it."""
        if self.values:
            return any(type(value) is type(one) and value == one for one in self.values)
        return type(value) in (int, float) and self.low <= value <= self.high

    def drawn(self, generator: np.random.Generator) -> Any:
        """A value by chance."""
        if self.values:
            return self.values[int(generator.integers(len(self.values)))]
        if self.is_log:
            value = math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
        else:
            value = generator.uniform(self.low, self.high)
        value = min(max(value, self.low), self.high)
        return round(value) if self.is_whole else value

    def __str__(self) -> str:
        if self.values:
            return ", ".join(map(as_typed, self.values))
        return f"{self.low:g} to {self.high:g}{', by its logarithm' if self.is_log else ''}"

    def to_dict(self) -> Any:
        """As a file of a space has it."""
        if self.values:
            return list(self.values)
        return {"low": self.low, "high": self.high, "log": self.is_log}


Space = tuple[Dimension, ...]


def stated_space(base: Recipe, file: str | Path | Mapping[str, Any] | None, varied: Sequence[str]) -> Space:
    """The space that a search goes through: what a file and `--vary` say; without either, the usual of the recipe.

    Args:
        base: the recipe that is varied.
        file: a JSON object of keys, each a list of values or {"low": ..., "high": ..., "log": ...}; or its content.
        varied: texts such as "optimizer.learning_rate=1e-4..1e-2:log" or "training.batch_size=32,64"; of a key that the
            file names, too, they hold.
    """
    if file is None and not varied:
        space = usual_space(base)
    else:
        stated = {} if file is None else _read_file(file)
        for text in varied:
            if not isinstance(text, str):
                raise InvalidValue(f"vary takes texts such as optimizer.learning_rate=1e-4..1e-2:log; got {text!r}.")
            dimension = _read_text(text)
            stated[dimension.key] = dimension
        space = tuple(sorted(stated.values(), key=lambda one: one.key))
    space = tuple(map(_checked, space))
    _check_together(space, base)
    return space


def usual_space(base: Recipe) -> Space:
    """What is worth varying of a recipe: its rate, how it is held back from learning by heart, and its portions."""
    rate, decay = base.optimizer.learning_rate, base.optimizer.weight_decay
    found = [Dimension("optimizer.learning_rate", rate / 8, min(rate * 4, 10.0), is_log=True)]
    if decay > 0:
        found.append(Dimension("optimizer.weight_decay", decay / 20, min(decay * 10, 1.0), is_log=True))
    if base.loss.name == "categorical_crossentropy":
        found.append(Dimension("loss.label_smoothing", 0.0, 0.15))
    if is_pretrained(base):
        if base.training.finetune_epochs != 0:
            own = base.training.finetune_epochs
            found.append(Dimension("training.finetune_epochs", values=_distinct(own, 4, 12)))
            found.append(Dimension("optimizer.lowest_rate_share", 0.1, 1.0, is_log=True))
        if base.augmentation.policy != "none":
            found.append(Dimension("training.feature_variants", values=_distinct(base.training.feature_variants, 2, 4)))
        return tuple(sorted(found, key=lambda one: one.key))
    found.append(Dimension("model.dropout", 0.0, 0.5))
    batch = base.training.batch_size
    sizes = (16, 64) if isinstance(batch, str) else (max(int(batch) // 2, 1), int(batch) * 2)
    found.append(Dimension("training.batch_size", values=_distinct(batch, *sizes)))
    if base.schedule.name in ("cosine", "one-cycle"):
        found.append(Dimension("schedule.warmup_fraction", 0.05, 0.5))
    if base.augmentation.policy != "none":
        # null: as strong as the policy has it.
        found.append(Dimension("augmentation.rotation_degrees", values=_distinct(None, 0.0, 5.0, 20.0)))
        found.append(Dimension("augmentation.translation_fraction", values=_distinct(None, 0.0, 0.05, 0.15)))
    return tuple(sorted(found, key=lambda one: one.key))


def _distinct(own: Any, *others: Any) -> tuple[Any, ...]:
    return (own, *(other for other in others if other != own))


def recipe_with(base: Recipe, values: Mapping[str, Any]) -> Recipe:
    """A recipe with other values of some keys, of which those are left out that have no use beside the others."""
    taken = {key: value for key, value in values.items() if key not in KEY_CONDITIONS}
    waiting = {key: value for key, value in values.items() if key in KEY_CONDITIONS}
    recipe = base.changed(taken)
    # What another key decides about waits for it: 0 epochs of fine-tuning leave no part to fine-tune.
    while found := [key for key in waiting if KEY_CONDITIONS[key].holds(recipe)]:
        free = [key for key in found if not waiting.keys() & set(KEY_CONDITIONS[key].decided_by)]
        key = (free or found)[0]
        taken[key] = waiting.pop(key)
        recipe = base.changed(taken)
    return recipe


def point_of(recipe: Recipe, space: Space) -> dict[str, Any] | None:
    """What a recipe has of the keys of a space; None where it lies outside."""
    values = {dimension.key: recipe.value(dimension.key) for dimension in space}
    is_inside = all(dimension.holds(values[dimension.key]) for dimension in space)
    return values if is_inside and recipe_with(recipe, values) == recipe else None


def _read_file(file: str | Path | Mapping[str, Any]) -> dict[str, Dimension]:
    if isinstance(file, Mapping):
        named, content = "space", file
    else:
        named = str(file)
        try:
            content = read_json(Path(file))
        except OSError as error:
            raise InvalidValue(f"{named}: cannot be read as a space ({error.strerror}).") from error
        except ValueError as error:
            raise InvalidValue(f"{named}: not a JSON file ({error}).") from error
    if not isinstance(content, Mapping) or not content:
        raise InvalidValue(
            f"{named}: a space is a JSON object of recipe keys, each a list of values or an object with low, high and "
            f'log, such as {{"optimizer.learning_rate": {{"low": 1e-4, "high": 1e-2, "log": true}}}}; got {content!r}.'
        )
    try:
        return {key: _read_entry(key, entry) for key, entry in content.items()}
    except (InvalidValue, UnknownName) as error:
        raise type(error)(f"{named}: {error}") from error


def _read_entry(key: Any, entry: Any) -> Dimension:
    _check_key(key)
    if isinstance(entry, str):
        return _read_text(f"{key}={entry}")
    if isinstance(entry, list | tuple):
        return Dimension(key, values=tuple(entry))
    if not isinstance(entry, Mapping) or not {"low", "high"} <= entry.keys() <= {"low", "high", "log"}:
        raise InvalidValue(f"{key} takes a list of values, or an object with low, high and log; got {entry!r}.")
    is_log = entry.get("log", False)
    if not isinstance(is_log, bool):
        raise InvalidValue(f"{key}: log must be true or false; got {is_log!r}.")
    return _range(key, entry["low"], entry["high"], is_log=is_log)


def _read_text(text: str) -> Dimension:
    key, equals, stated = (part.strip() for part in text.partition("="))
    if not equals or not stated:
        raise InvalidValue(
            f"--vary takes a key with a range or values, such as optimizer.learning_rate=1e-4..1e-2:log or "
            f"training.batch_size=32,64,128; got {text!r}."
        )
    _check_key(key)
    if ".." not in stated:
        values = tuple(read_assignments([f"{key}={part.strip()}"])[key] for part in stated.split(","))
        return Dimension(key, values=values)
    match = _RANGE.fullmatch(stated)
    try:
        if match is None:
            raise ValueError(stated)
        low, high = float(match["low"]), float(match["high"])
    except ValueError:
        raise InvalidValue(f"--vary {key}: a range is LOW..HIGH or LOW..HIGH:log; got {stated!r}.") from None
    return _range(key, low, high, is_log=match["log"] is not None)


def _range(key: str, low: Any, high: Any, *, is_log: bool) -> Dimension:
    section, _, name = key.rpartition(".")
    part: type = type(Recipe().value(section))
    kind = field_kinds(part)[name]
    if not kind & {"int", "float"}:
        raise InvalidValue(f"{key} takes no numbers: name its values one by one, {key}=this,that.")
    if any(isinstance(bound, bool) or not isinstance(bound, int | float) for bound in (low, high)):
        raise InvalidValue(f"{key}: the bounds of a range are numbers; got {low!r} and {high!r}.")
    if not (-math.inf < low < high < math.inf):
        raise InvalidValue(f"{key}: a range goes from a lower to a higher number; got {low:g} and {high:g}.")
    if is_log and not low > 0:
        raise InvalidValue(f"{key}: a range by its logarithm begins above 0; got {low:g}.")
    is_whole = "float" not in kind
    if is_whole and not (low == int(low) and high == int(high)):
        raise InvalidValue(f"{key} takes whole numbers; got {low:g} and {high:g}.")
    if is_whole:
        return Dimension(key, int(low), int(high), is_log=is_log, is_whole=True)
    return Dimension(key, float(low), float(high), is_log=is_log)


def _check_key(key: Any) -> None:
    known = keys()
    if not isinstance(key, str) or key not in known:
        section = str(key).split(".")[0]
        same_section = [name for name in known if name.split(".")[0] == section]
        raise UnknownName(f"no recipe key is called {str(key)!r}. {closest(str(key), same_section or known)}")
    is_of_images = key.startswith("data.") and key not in _VARIED_DATA
    if key in _NEVER or is_of_images or key.startswith("ensemble."):
        raise InvalidValue(
            f"{key} cannot be varied: all trials learn from the same images, divided in the same way, by the same "
            "seed, and are one network each. Set it for all of them with --set."
        )


def _check_together(space: Space, base: Recipe) -> None:
    """Refuse points that contradict themselves, and keys that make no difference at any."""
    if not 1 <= len(space) <= _MOST_KEYS:
        raise InvalidValue(f"a space has 1 to {_MOST_KEYS} keys; got {len(space)}.")
    generator = np.random.default_rng(0)
    matters = set()
    for values in (*_edges(space), *({one.key: one.drawn(generator) for one in space} for _ in range(_TRIED))):
        try:
            recipe = recipe_with(base, values)
        except (InvalidValue, UnknownName) as error:
            told = ", ".join(f"{key}={as_typed(value)}" for key, value in values.items())
            raise type(error)(f"the space holds a recipe that cannot be: {error} ({told})") from error
        matters |= {key for key in values if key not in KEY_CONDITIONS or KEY_CONDITIONS[key].holds(recipe)}
    for dimension in space:
        if dimension.key not in matters:
            when = KEY_CONDITIONS[dimension.key].when
            raise InvalidValue(f"{dimension.key} would change nothing: it matters only {when}. Leave it out.")


def _checked(dimension: Dimension) -> Dimension:
    """A key with values of its own type; what it does not take, whatever the others are, is refused."""
    key, values = dimension.key, dimension.values
    own = []
    for value in values or (dimension.low, dimension.high):
        if value is not None and not isinstance(value, str | int | float):
            raise InvalidValue(f"{key}: values are numbers, words, true, false and null; got {value!r}.")
        own.append(checked_value(key, value))
    if not values and dimension.high > dimension.low:
        return dimension
    if len(set(map(as_typed, own))) != len(values) or not 2 <= len(values) <= _MOST_VALUES:
        told = ", ".join(map(as_typed, values)) or "none"
        raise InvalidValue(f"{key}: name 2 to {_MOST_VALUES} different values, or a range; got {told}.")
    return dataclasses.replace(dimension, values=tuple(own))


def _edges(space: Space) -> Iterable[dict[str, Any]]:
    """The recipe itself with each end of each range, and each value, by itself."""
    for dimension in space:
        for value in dimension.values or (dimension.low, dimension.high):
            yield {dimension.key: value}


def space_in_words(space: Space) -> str:
    """A line a key."""
    lines = [f"  {dimension.key}: {dimension}" for dimension in space]
    return "\n".join([f"{counted(len(space), 'key')} may vary:", *lines])
