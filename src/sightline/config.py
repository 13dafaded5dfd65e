"""Recipe: the whole configuration of a run, parsed, overridden and validated.

A Recipe is a tree of frozen dataclasses of plain types. Every default stands in
this file. Keys are written `section.field` on the command line, in JSON and in
error messages alike.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from sightline import catalog
from sightline.errors import InvalidValue, UnknownName, closest


def _number(default: float | None, low: float, high: float = math.inf, *, above: bool = False, doc: str) -> Any:
    metadata = {"low": low, "high": high, "above": above, "doc": doc}
    return field(default=default, metadata=metadata)


def _name(default: str | None, known: Mapping[str, object], doc: str) -> Any:
    return field(default=default, metadata={"known": known, "doc": doc})


def _flag(*, default: bool, doc: str) -> Any:
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True)
class DataRecipe:
    """How rows are divided and what size and colour the network is fed."""

    validation_fraction: float = _number(0.1, 0, 0.9, doc="of the train rows, kept to choose by")
    calibration_fraction: float = _number(0.1, 0, 0.9, doc="of the train rows, kept to calibrate confidences")
    test_fraction: float = _number(0.2, 0, 0.9, doc="of all rows, where the source has no test split of its own")
    image_size: int | str = field(
        default="auto",
        metadata={"low": 4, "high": 1024, "word": "auto", "doc": "pixels a side, or what the source has"},
    )
    color_mode: str = _name("auto", catalog.COLOR_MODES, "channels the network sees")
    resize: str = _name("fit", catalog.RESIZE_RULES, "how an image of another shape is brought to size")


@dataclass(frozen=True)
class ModelRecipe:
    """Which network."""

    name: str = _name(
        "auto", {"auto": None, **catalog.MODELS}, "see `sightline models`; auto: by the size and colour of the images"
    )
    activation: str = _name("relu", catalog.ACTIVATIONS, "after each hidden layer")
    dropout: float = _number(0.0, 0, 0.95, doc="share of units switched off before the last layer while training")
    pixel_scaling: str = _name("unit", catalog.PIXEL_SCALINGS, "done inside the network")


@dataclass(frozen=True)
class AugmentationRecipe:
    """Random changes of the training images; a part left at null takes the policy's strength."""

    policy: str = _name(
        "none", {"auto": None, **catalog.AUGMENTATION_POLICIES}, "a named set of parts; auto: by what the images show"
    )
    rotation_degrees: float | None = _number(None, 0, 180, doc="turned by up to this much either way")
    translation_fraction: float | None = _number(None, 0, 0.5, doc="moved by up to this share of the side")
    zoom_fraction: float | None = _number(None, 0, 0.9, doc="enlarged or reduced by up to this share")
    shear_degrees: float | None = _number(None, 0, 45, doc="slanted by up to this much either way")
    flip: str | None = _name(None, catalog.FLIPS, "mirrored at random")
    brightness: float | None = _number(None, 0, 1, doc="lightened or darkened by up to this share of full scale")
    contrast: float | None = _number(None, 0, 1, doc="contrast raised or lowered by up to this share")


@dataclass(frozen=True)
class OptimizerRecipe:
    """Keras' optimizer of that name; meanings are Keras' own."""

    name: str = _name("adamw", catalog.OPTIMIZERS, "the rule that turns gradients into steps")
    learning_rate: float = _number(0.004, 0, 10, above=True, doc="the largest rate of the schedule")
    weight_decay: float = _number(0.0, 0, 1, doc="decoupled: weights shrink by rate times this at each step")
    momentum: float = _number(0.9, 0, 0.9999, doc="for sgd and rmsprop; ignored by the others")
    nesterov: bool = _flag(default=False, doc="for sgd: look ahead along the momentum")


@dataclass(frozen=True)
class ScheduleRecipe:
    """How the learning rate changes over the run."""

    name: str = _name("constant", catalog.SCHEDULES, "its course")
    warmup_fraction: float = _number(0.3, 0, 0.9, doc="share of all steps until the largest rate is reached")


@dataclass(frozen=True)
class LossRecipe:
    """What is made small."""

    name: str = _name("sparse_categorical_crossentropy", catalog.LOSSES, "Keras' name")
    label_smoothing: float = _number(0.0, 0, 0.5, doc="share of certainty given to the other classes")


@dataclass(frozen=True)
class TrainingRecipe:
    """How long and in what portions."""

    epochs: int = _number(6, 1, 100_000, doc="passes over the train rows, at most")
    batch_size: int = _number(128, 1, 65_536, doc="images a step")
    early_stopping_patience: int | None = _number(
        None,
        1,
        100_000,
        doc="epochs without a better validation loss before stopping and going back to the best; null: off",
    )


@dataclass(frozen=True)
class Recipe:
    """The whole configuration of a run.

    Example:
        >>> from sightline.config import parse_recipe
        >>> parse_recipe({"training": {"epochs": 3}}).training.epochs
        3
    """

    name: str = "custom"
    seed: int = _number(0, 0, 2**31 - 1, doc="the same seed on the same machine gives the same network")
    data: DataRecipe = field(default_factory=DataRecipe)
    model: ModelRecipe = field(default_factory=ModelRecipe)
    augmentation: AugmentationRecipe = field(default_factory=AugmentationRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    schedule: ScheduleRecipe = field(default_factory=ScheduleRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)

    def to_dict(self) -> dict[str, Any]:
        """The tree as plain JSON types."""
        return dataclasses.asdict(self)


def keys() -> dict[str, dataclasses.Field[Any]]:
    """Every recipe key as it is typed, with its field.

    Returns:
        "training.epochs" to its dataclass field, whose metadata holds range and meaning.

    Raises:
        Nothing.

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
    return _build(dict(_flatten(content)), start or Recipe(), _check_typed)


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
    """Read a recipe from a JSON file.

    Args:
        path: a file as `recipe.json` of a run is.

    Returns:
        The validated recipe.

    Raises:
        InvalidValue: the file cannot be read or is not a JSON object, or holds a bad value.
        UnknownName: it holds a key that does not exist.

    Example:
        >>> read_recipe(Path("no.json"))
        Traceback (most recent call last):
        sightline.errors.InvalidValue: no.json: cannot be read as a recipe (No such file or directory).
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
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


def _flatten(content: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in content.items():
        if not isinstance(key, str):
            raise InvalidValue(f"recipe keys are strings; got {key!r}.")
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
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
    return recipe


def _field_kind(key: str) -> set[str]:
    """Names of the plain types a key takes: {"int", "NoneType"}."""
    section, _, name = key.rpartition(".")
    hint = get_type_hints(_section_type(section) if section else Recipe)[name]
    members = getattr(hint, "__args__", (hint,))
    return {member.__name__ for member in members}


def _check_text(key: str, text: str) -> Any:
    """Read text by the type of its key: bool("false") is True, so every type has a parser of its own."""
    kind = _field_kind(key)
    if (
        "NoneType" in kind
        and text.lower() in ("null", "none")
        and text.lower() not in keys()[key].metadata.get("known", ())
    ):
        return None
    if "bool" in kind and text.lower() in ("true", "false"):
        return text.lower() == "true"
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
        if (not whole or value == int(value) if math.isfinite(value) else False) and _in_range(value, metadata):
            return int(value) if whole else float(value)
    raise InvalidValue(f"{key} must be {_expected(kind, metadata)}; got {value!r}.")


def _check_word(key: str, value: str, metadata: Mapping[str, Any]) -> str:
    if "known" in metadata and value not in metadata["known"]:
        noun = key.removesuffix(".name").rpartition(".")[2].replace("_", " ")
        raise UnknownName(f"{key}: no {noun} is called {value!r}. {closest(value, metadata['known'])}")
    if "word" in metadata and value != metadata["word"]:
        raise InvalidValue(f"{key} must be {_expected({'int'}, metadata)}; got {value!r}.")
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
    word = f" or '{metadata['word']}'" if "word" in metadata else ""
    return f"{noun} {relation} {metadata['low']:g}{limit}{word}"


def _check_together(recipe: Recipe) -> None:
    """Refuse what is valid field by field and contradicts itself as a whole."""
    data = recipe.data
    if not data.validation_fraction + data.calibration_fraction < 0.95:
        raise InvalidValue(
            "data.validation_fraction and data.calibration_fraction together must leave at least 5 % to train on; "
            f"got {data.validation_fraction:g} and {data.calibration_fraction:g}."
        )
    if recipe.training.early_stopping_patience is not None and data.validation_fraction == 0:
        raise InvalidValue(
            "training.early_stopping_patience needs validation rows; got data.validation_fraction=0. "
            "Set it above 0, or the patience to null."
        )
    if recipe.loss.label_smoothing > 0 and recipe.loss.name == "sparse_categorical_crossentropy":
        raise InvalidValue(
            f"loss.label_smoothing={recipe.loss.label_smoothing:g} needs labels it can soften. "
            "Set loss.name=categorical_crossentropy."
        )
