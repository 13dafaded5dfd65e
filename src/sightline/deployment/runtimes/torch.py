"""The format `torch`: an ExportedProgram, which PyTorch runs without Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.deployment.conversion.description import ExportedModel, read_beside, write_beside
from sightline.deployment.runtimes.keras_conversion import convert_keras
from sightline.errors import InvalidBundle, require
from sightline.records import Bundle

IMPORTS = """\
import torch
"""
EXAMPLE = """\
with open("DESCRIPTION", encoding="utf-8") as file:
    about = json.load(file)
names, calibration = about["labels"], about["calibration"]
network = torch.export.load("FILE").module()
with torch.inference_mode():
    logits = network(torch.from_numpy(images.copy()))["logits"][0].numpy()
"""
_PORTION = 64


def convert(bundle: Bundle, target: Path) -> None:
    """Write it by Keras on PyTorch; the description lies beside."""
    convert_keras(bundle, target, "torch")
    write_beside(bundle, target)


def open_exported(path: Path) -> ExportedModel:
    """The file in PyTorch."""
    runtime: Any = require("torch", purpose="the format torch", install="sightline[torch]")
    try:
        network = runtime.export.load(path).module()
    except Exception as error:  # what a damaged file brings it to raise is of many kinds
        raise InvalidBundle(f"{path}: PyTorch does not open it ({(str(error).splitlines() or [''])[0]}).") from error

    def logits(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        parts = []
        with runtime.inference_mode():
            for first in range(0, len(images), _PORTION):
                portion = np.array(images[first : first + _PORTION])
                parts.append(network(runtime.from_numpy(portion))["logits"].numpy())
        return np.concatenate(parts)

    return ExportedModel(read_beside(path), logits)
