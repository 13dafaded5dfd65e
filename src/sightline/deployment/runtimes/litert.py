"""The format `litert`: the network as LiteRT (TensorFlow Lite) has it, for phones and small boards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.deployment.conversion.description import ExportedModel, read_beside, write_beside
from sightline.deployment.runtimes.keras_conversion import convert_keras
from sightline.errors import InvalidBundle, require
from sightline.records import Bundle
from sightline.system.backends import held_stderr

IMPORTS = """\
from ai_edge_litert.interpreter import Interpreter
"""
EXAMPLE = """\
with open("DESCRIPTION", encoding="utf-8") as file:
    about = json.load(file)
names, calibration = about["labels"], about["calibration"]
network = Interpreter("FILE").get_signature_runner()
logits = next(iter(network(images=images).values()))[0]
"""
_PORTION = 32


def convert(bundle: Bundle, target: Path) -> None:
    """Write it by Keras on TensorFlow; the description lies beside."""
    convert_keras(bundle, target, "litert")
    write_beside(bundle, target)


def open_exported(path: Path, *, precision: str = "float32") -> ExportedModel:
    """The file in LiteRT's own interpreter, with one thread as in the program of the README."""
    return ExportedModel(read_beside(path), answers_of(path), precision=precision)


def answers_of(path: Path) -> Callable[[Any], NDArray[np.float32]]:
    """What gives the logits of a file that may have no description yet."""
    interpreters: Any = require("ai_edge_litert.interpreter", purpose="LiteRT", install="sightline[litert]")
    try:
        with held_stderr():
            network = interpreters.Interpreter(str(path)).get_signature_runner()
            # It tells what computes when it does so first.
            network(**{name: np.zeros(one["shape"], one["dtype"]) for name, one in network.get_input_details().items()})
    except (ValueError, RuntimeError) as error:
        raise InvalidBundle(f"{path}: LiteRT does not open it ({str(error).splitlines()[0]}).") from error

    def logits(images: Any) -> NDArray[np.float32]:
        parts = [
            np.array(next(iter(network(images=np.ascontiguousarray(images[first : first + _PORTION])).values())))
            for first in range(0, len(images), _PORTION)
        ]
        return np.concatenate(parts)

    return logits
