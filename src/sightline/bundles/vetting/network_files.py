"""Networks in Keras' format, opened: the one place where Keras reads one that somebody may have sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sightline.bundles.vetting.archives import check_network_archive
from sightline.errors import InvalidBundle
from sightline.system.text import printable


def check_network(path: Path) -> None:
    """Refuse a `.keras` file that is more than a network: looked at by its bytes, nothing of it is run or unpacked.

    Refused are members that Keras does not write, compressed, linked or named twice; a description that names other
    layers than Sightline's, or sizes that its weights do not have; weights that are more than plain arrays of numbers,
    or lie elsewhere.

    Raises:
        InvalidBundle: the file, and what is wrong with it.
    """
    try:
        check_network_archive(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidBundle(
            f"{path}: not a network that Sightline opens: {reason}. Make the bundle again, or ask who made it."
        ) from error


def open_network(path: Path) -> Any:
    """The network of a `.keras` file, which was looked at first, without what it was compiled with."""
    import keras

    check_network(path)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InvalidBundle(f"{path}: Keras cannot open it ({printable(reason)[:200]}).") from error
