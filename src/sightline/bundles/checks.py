"""What the JSON files of a bundle may hold: types, ranges and names, told in one error before anything is used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from sightline.errors import InvalidBundle
from sightline.records import ColorMode, InputSpec, ResizeRule
from sightline.system.stored import read_json
from sightline.tasks.single_label import SINGLE_LABEL
from sightline.tasks.table import TASKS
from sightline.tasks.task import Task

MOST_CLASSES, LONGEST_NAME = 100_000, 1_000
# Pixels a side of what a network is fed; recipes go to 1,024.
LARGEST_SIDE = 2_048
# A fitted temperature lies between 0.05 and 20.
TEMPERATURES = (1e-3, 1e3)
MOST_FILES = 1_000
# card.md is not parsed; these are, and none is large.
MOST_BYTES = {
    "manifest.json": 2**20,
    "signature.json": 2**12,
    "input.json": 2**16,
    "labels.json": 2**25,
    "calibration.json": 2**20,
}
_BACKGROUNDS = ("dark", "light", "mixed")
_SOURCE_TEXTS = ("name", "typed", "label_from", "fingerprint", "kept", "task")


def checked_json(path: Path) -> Any:
    """The content of one of the JSON files; an InvalidBundle where it is damaged, too large or too deep."""
    try:
        return read_json(path, **({"most_bytes": MOST_BYTES[path.name]} if path.name in MOST_BYTES else {}))
    except OSError as error:
        raise InvalidBundle(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise InvalidBundle(f"{path}: cannot be read ({error}).") from error


def _refuse(path: Path, problem: str) -> InvalidBundle:
    return InvalidBundle(f"{path}: {problem}. Make the bundle again, or ask who made it.")


def checked_input(path: Path) -> InputSpec:
    """What a network is fed, from input.json; an InvalidBundle where a value is of another kind or out of range."""
    content = checked_json(path)
    if not isinstance(content, dict):
        raise _refuse(path, f"must be an object; got {_kind(content)}")
    known = {
        "height": range(1, LARGEST_SIDE + 1),
        "width": range(1, LARGEST_SIDE + 1),
        "channels": (1, 3),
        "color_mode": get_args(ColorMode),
        "resize": get_args(ResizeRule),
        "background": _BACKGROUNDS,
        "interpolation": ("bilinear",),
    }
    for key, value in content.items():
        if key not in known:
            raise _refuse(path, f"{key!r} is not known here and may change what the network sees")
        if type(value) not in (int, str) or value not in known[key]:
            allowed = known[key]
            said = f"1 to {allowed[-1]:,}" if isinstance(allowed, range) else " or ".join(map(str, allowed))
            raise _refuse(path, f"{key} must be {said}; got {_shown(value)}")
    for key in ("height", "width", "color_mode"):
        if key not in content:
            raise _refuse(path, f"{key} is missing")
    channels = content.pop("channels", None)
    spec = InputSpec(**content)
    if channels not in (None, spec.channels):
        raise _refuse(path, f"channels is {channels}, but color_mode is {spec.color_mode}")
    return spec


def checked_class_names(path: Path) -> tuple[str, ...]:
    """The class names of labels.json: two or more texts, each once, that can be encoded."""
    content = checked_json(path)
    if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
        raise _refuse(path, f"must be a list of class names; got {_shown(content)}")
    if not 2 <= len(content) <= MOST_CLASSES:
        raise _refuse(path, f"must hold 2 to {MOST_CLASSES:,} class names; got {len(content):,}")
    if len(set(content)) < len(content):
        raise _refuse(path, "a class name is given twice")
    for name in content:
        if not 1 <= len(name) <= LONGEST_NAME or any("\ud800" <= letter <= "\udfff" for letter in name):
            raise _refuse(path, f"the class name {_shown(name)} is empty, too long or holds half a letter")
    return tuple(content)


def checked_calibration(path: Path) -> tuple[float, int]:
    """Temperature and number of calibration images, from calibration.json."""
    content = checked_json(path)
    low, high = TEMPERATURES
    told: dict[str, Any] = content if isinstance(content, dict) else {}
    temperature: Any = told.get("temperature")
    count: Any = told.get("num_images")
    if not _is_number(temperature) or not low <= temperature <= high:
        raise _refuse(path, f"temperature must be a number from {low:g} to {high:g}; got {_shown(temperature)}")
    if type(count) is not int or count < 0:
        raise _refuse(path, f"num_images must be a whole number of at least 0; got {_shown(count)}")
    return float(temperature), count


def checked_thresholds(path: Path, num_classes: int) -> tuple[float, ...]:
    """From which logit on each label is said, from calibration.json of a bundle for several labels an image."""
    content = checked_json(path)
    told: Any = content.get("label_thresholds") if isinstance(content, dict) else None
    if not isinstance(told, list) or len(told) != num_classes or not all(map(_is_number, told)):
        raise _refuse(path, f"label_thresholds must be {num_classes:,} numbers, one a label; got {_shown(told)}")
    return tuple(map(float, told))


def checked_metrics(path: Path) -> dict[str, Any]:
    """The figures of metrics.json, in which all that is read by another command is of its kind."""
    content = checked_json(path)
    if not isinstance(content, dict):
        raise _refuse(path, f"must be an object; got {_kind(content)}")
    for key in ("source", "test", "ensemble", "teacher"):
        if content.get(key) is not None and not isinstance(content[key], dict):
            raise _refuse(path, f"{key} must be an object; got {_kind(content[key])}")
    source = content.get("source") or {}
    for key in _SOURCE_TEXTS:
        if not isinstance(source.get(key, ""), str):
            raise _refuse(path, f"source.{key} must be text; got {_kind(source[key])}")
    accuracy = (content.get("test") or {}).get("accuracy", 0)
    if not _is_number(accuracy) or not 0 <= accuracy <= 1:
        raise _refuse(path, f"test.accuracy must be from 0 to 1; got {_shown(accuracy)}")
    for key in ("ensemble", "teacher"):
        if not isinstance((content.get(key) or {}).get("has_same_splits", True), bool):
            raise _refuse(path, f"{key}.has_same_splits must be true or false")
    return {**content, "source": source}


def check_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse a manifest of this format whose parts are of another kind than they have to be."""
    files = manifest.get("files")
    if not isinstance(files, dict) or len(files) > MOST_FILES:
        raise _refuse(path, f"files must be an object of at most {MOST_FILES:,} entries")
    capabilities = manifest.get("capabilities", [])
    if not isinstance(capabilities, list) or not all(isinstance(name, str) for name in capabilities):
        raise _refuse(path, f"capabilities must be a list of names; got {_shown(capabilities)}")
    outputs = manifest.get("outputs", {})
    if not isinstance(outputs, dict) or not all(map(_is_output, outputs.values())):
        raise _refuse(path, "outputs must give each output its dtype, shape and meaning")


def checked_task(path: Path, manifest: Mapping[str, Any]) -> Task:
    """What the logits of a bundle say, from its manifest; one class an image where that names nothing."""
    name = manifest.get("task", SINGLE_LABEL.name)
    if not isinstance(name, str) or name not in TASKS:
        raise InvalidBundle(
            f"{path}: answers of the task {_shown(name)}; this Sightline knows {', '.join(TASKS)}. "
            "Run: pip install --upgrade sightline."
        )
    return TASKS[name]


def _is_output(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("shape"), list):
        return False
    sides = all(type(side) in (int, str) for side in entry["shape"])
    return sides and all(isinstance(entry.get(key), str) for key in ("dtype", "meaning"))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", str: "text", type(None): "null"}.get(type(value), f"{value!r}"[:40])


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
