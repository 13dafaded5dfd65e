"""The format `coreml`: a package of Core ML, for macOS and iOS. It is written anywhere, and run here on a Mac alone."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.deployment.conversion.description import ExportedModel, describe
from sightline.deployment.runtimes.keras_conversion import convert_keras
from sightline.deployment.runtimes.onnx import PREFIX
from sightline.errors import InvalidBundle, require
from sightline.records import Bundle
from sightline.system.backends import without_warnings

IMPORTS = """\
import coremltools
"""
# Other units than processors compute in float16 by themselves.
EXAMPLE = """\
network = coremltools.models.MLModel("FILE", compute_units=coremltools.ComputeUnit.CPU_ONLY)
names = json.loads(network.user_defined_metadata["sightline.labels"])
calibration = json.loads(network.user_defined_metadata["sightline.calibration"])
logits = network.predict({"images": canvas})["logits"][0]
"""
TAKES = (
    "It takes one image of {width} x {height} pixels as `images` (in Swift a `CVPixelBuffer`), and gives `logits`; "
    "scaling is inside.\nA Mac, an iPhone or an iPad runs it, and nothing else."
)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """While it is imported: it warns of each library that is younger than itself, and of those that are missing."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with without_warnings("coremltools"):
        yield


def convert(bundle: Bundle, target: Path) -> dict[str, Any]:
    """Write it by coremltools from Keras' network on TensorFlow, with the description in its metadata."""
    told = {f"{PREFIX}{key}": json.dumps(value, ensure_ascii=False) for key, value in describe(bundle).items()}
    convert_keras(bundle, target, "coreml", told=told)
    return {"asked_precision": "float32"}


def open_exported(path: Path) -> ExportedModel:
    """The package in Core ML, on the processor; on a Mac alone."""
    from PIL import Image

    with quietly():
        runtime: Any = require("coremltools", purpose="the format coreml", install="sightline[coreml]")
    try:
        network = runtime.models.MLModel(str(path), compute_units=runtime.ComputeUnit.CPU_ONLY)
    except Exception as error:  # what a damaged package brings it to raise is of many kinds
        raise InvalidBundle(f"{path}: Core ML does not open it ({(str(error).splitlines() or [''])[0]}).") from error
    texts = {key: text for key, text in network.user_defined_metadata.items() if key.startswith(PREFIX)}

    def logits(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        pictures = (Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image) for image in images)
        return np.concatenate([network.predict({"images": picture})["logits"] for picture in pictures])

    return ExportedModel({key.removeprefix(PREFIX): json.loads(text) for key, text in texts.items()}, logits)
