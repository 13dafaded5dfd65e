"""The format `tensorflow`: a SavedModel, which TensorFlow and TensorFlow Serving run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.deployment.conversion.description import ExportedModel, read_beside, write_beside
from sightline.deployment.runtimes.keras_conversion import convert_keras
from sightline.errors import InvalidBundle, require
from sightline.records import Bundle

IMPORTS = """\
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import tensorflow
"""
EXAMPLE = """\
with open("DESCRIPTION", encoding="utf-8") as file:
    about = json.load(file)
names, calibration = about["labels"], about["calibration"]
network = tensorflow.saved_model.load("FILE").signatures["serving_default"]
logits = next(iter(network(tensorflow.constant(images)).values())).numpy()[0]
"""
_PORTION = 64


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """While it is imported: TensorFlow tells of processors and libraries else."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    yield


def convert(bundle: Bundle, target: Path) -> None:
    """Write the folder by Keras on TensorFlow; the description lies beside."""
    convert_keras(bundle, target, "tensorflow")
    write_beside(bundle, target)


def open_exported(path: Path) -> ExportedModel:
    """The folder in TensorFlow, without Keras."""
    with quietly():
        runtime: Any = require("tensorflow", purpose="the format tensorflow", install="sightline[tensorflow]")
    try:
        with runtime.device("/CPU:0"):  # others compute in shorter numbers by themselves
            loaded = runtime.saved_model.load(str(path))
        network = loaded.signatures["serving_default"]
    except (OSError, KeyError, ValueError) as error:
        raise InvalidBundle(f"{path}: TensorFlow does not open it ({str(error).splitlines()[0]}).") from error

    def logits(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        keep = loaded  # what a signature belongs to is lost with it
        with runtime.device("/CPU:0"):
            parts = [
                next(iter(network(runtime.constant(np.asarray(images[first : first + _PORTION]))).values())).numpy()
                for first in range(0, len(images), _PORTION)
            ]
        del keep
        return np.concatenate(parts)

    return ExportedModel(read_beside(path), logits)
