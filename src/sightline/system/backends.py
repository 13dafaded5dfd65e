"""Which Keras backend trains: decided before Keras is imported, since Keras asks once."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from sightline.errors import InvalidValue, MissingPackage, pick, require
from sightline.system.interruption import noting_interrupts
from sightline.system.text import printable

BACKENDS: dict[str, str] = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}


def installed_backends() -> tuple[str, ...]:
    """Backends whose package is installed, the preferred one first: some of "tensorflow", "jax", "torch"."""
    return tuple(name for name, package in BACKENDS.items() if importlib.util.find_spec(package) is not None)


def choose_backend(requested: str | None = None) -> str:
    """Decide on "tensorflow", "jax" or "torch" without importing anything.

    Args:
        requested: what the user typed; else the KERAS_BACKEND variable; else what is
            loaded already; else the first installed of TensorFlow, JAX, PyTorch.

    Raises:
        UnknownName: no backend is called that.
        MissingPackage: that backend, or any, is not installed.
        InvalidValue: Keras was already loaded with another one.
    """
    loaded = _loaded_backend()
    name = requested or os.environ.get("KERAS_BACKEND") or loaded
    installed = installed_backends()
    if name is None:
        if not installed:
            raise MissingPackage(
                "training needs a Keras backend and none is installed. Run: pip install 'sightline[tensorflow]'"
            )
        return installed[0]
    pick(BACKENDS, name, kind="backend")
    if name not in installed:
        raise MissingPackage(f"the backend '{name}' is not installed. Run: pip install 'sightline[{name}]'")
    if loaded is not None and loaded != name:
        raise InvalidValue(
            f"the backend '{name}' was asked for, but Keras is already loaded with '{loaded}' in this process. "
            f"Set KERAS_BACKEND={name} before the first import, or start a new process."
        )
    return name


def load_keras(requested: str | None = None) -> ModuleType:
    """Import Keras on the backend that `choose_backend` says.

    Raises:
        UnknownName, MissingPackage, InvalidValue: as `choose_backend`; or Keras refuses its `keras.json`.
    """
    name = choose_backend(requested)
    os.environ["KERAS_BACKEND"] = name
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow switches oneDNN's kernels on by itself only where the processor has AVX-512 (decision 13).
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    # Half an import cannot be imported again: Ctrl-C waits for its end.
    with _without_greeting() as stderr, noting_interrupts(stderr), _naming_keras_json():
        return require("keras", purpose="training", install=f"sightline[{name}]")


@contextlib.contextmanager
def _naming_keras_json() -> Iterator[None]:
    """Keras reads the settings of all its projects while it is imported, and some values end that."""
    try:
        yield
    except (ValueError, AttributeError, TypeError) as error:
        home = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")  # noqa: PTH118  # as it is typed
        raise InvalidValue(
            f"Keras cannot be imported ({printable(str(error))}). It reads {home}/keras.json, which may be "
            "another project's: correct it, move it away, or set KERAS_HOME to another folder."
        ) from error


# What a training imports at its end, by the backend that it began with; and whatever the backend.
_EXPORTERS = {
    "tensorflow": ("tf2onnx", "onnx"),
    "jax": ("tensorflow", "tf2onnx", "onnx"),
    "torch": ("onnxscript", "onnx"),
}
_ALWAYS = ("onnxruntime", "matplotlib")


def check_packages(backend: str) -> None:
    """Refuse a training that would miss a package at its end, before it begins; nothing is imported.

    Raises:
        MissingPackage: the message names the package and the command that brings it.
    """
    needed = ["keras", *_EXPORTERS[backend], *_ALWAYS]
    missing = [package for package in needed if importlib.util.find_spec(package) is None]
    if missing:
        named = "package " + missing[0] if len(missing) == 1 else "packages " + ", ".join(missing)
        raise MissingPackage(
            f"training with the backend '{backend}' needs the {named}, not installed here. "
            f"Run: pip install 'sightline[{backend}]'"
        )


# As Keras comes. A keras.json of another project, an environment variable or a caller may say otherwise.
_USUAL: dict[str, Any] = {
    "floatx": "float32",
    "dtype_policy": "float32",
    "epsilon": 1e-7,
    "image_data_format": "channels_last",
    "max_epochs": None,
    "max_steps_per_epoch": None,
}


@contextlib.contextmanager
def usual_keras() -> Iterator[None]:
    """While it is open, Keras is loaded and set as it comes, whatever `keras.json` or a caller set."""
    config = load_keras().config
    before = {name: getattr(config, name)() for name in _USUAL}
    try:
        _configure(config, _USUAL)
        yield
    finally:
        _configure(config, before)


def _configure(config: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        getattr(config, f"set_{name}")(value)


def without_retracing_notes() -> contextlib.AbstractContextManager[None]:
    """While it is open, TensorFlow does not call it an oversight that several networks are compiled in one process."""
    return without_warnings("tensorflow")


@contextlib.contextmanager
def without_warnings(name: str) -> Iterator[None]:
    """While it is open, the logger of a library tells errors alone."""
    logger = logging.getLogger(name)
    usual = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(usual)


@contextlib.contextmanager
def _without_greeting() -> Iterator[int]:
    """Hold back what TensorFlow's C++ writes while it loads: its first lines come before any log level is read.

    Yields the descriptor of stderr itself.
    """
    if "keras" in sys.modules:
        yield 2
        return
    with held_stderr() as stderr:
        yield stderr


@contextlib.contextmanager
def held_stderr() -> Iterator[int]:
    """Hold back what a library writes to stderr in C++, and show it if the block fails; yields stderr itself."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held, contextlib.ExitStack() as undo:
        saved = os.dup(2)
        undo.callback(os.close, saved)
        undo.callback(os.dup2, saved, 2)
        os.dup2(held.fileno(), 2)
        try:
            yield saved
        except Exception:
            held.seek(0)
            os.write(saved, held.read())
            raise


def _loaded_backend() -> str | None:
    config = sys.modules.get("keras.config") or sys.modules.get("keras.src.backend.config")
    return str(config.backend()) if config is not None and hasattr(config, "backend") else None
