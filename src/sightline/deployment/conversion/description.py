"""What an exported file says of itself, so that it can be used without its bundle, and a file that was read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline._version import __version__
from sightline.bundles.bundle import MANIFEST
from sightline.bundles.checks import checked_json
from sightline.records import Bundle
from sightline.system.files import sha256_of
from sightline.tasks.table import TASKS


def describe(bundle: Bundle) -> dict[str, Any]:
    """What travels with every export, as plain JSON values: whoever has the file needs nothing else to use it."""
    files = bundle.manifest["files"]
    return {
        "labels": list(bundle.class_names),
        "input": checked_json(bundle.path / "input.json"),
        "calibration": checked_json(bundle.path / "calibration.json"),
        "task": bundle.task.name,
        "version": __version__,
        "bundle": {
            "created": bundle.manifest.get("created"),
            "manifest_sha256": sha256_of(bundle.path / MANIFEST),
            "model_sha256": files["model.onnx"]["sha256"],
        },
    }


@dataclass(frozen=True)
class ExportedModel:
    """An exported file, opened by its own runtime; nothing of the bundle is known here.

    Attributes:
        description: what the file says of itself, as `describe` made it.
        logits: uint8 (num_images, height, width, channels) to (num_images, num_classes) float32.
    """

    description: Mapping[str, Any]
    logits: Callable[[NDArray[np.uint8]], NDArray[np.float32]]

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated by what the file says, of the shape of the logits; NaN in a row that is no number."""
        found = np.full(logits.shape, np.nan)
        sound = np.isfinite(logits).all(axis=1)
        task, temperature = TASKS[self.description["task"]], self.description["calibration"]["temperature"]
        found[sound] = task.probabilities(logits[sound], temperature=temperature)
        return found
