"""From a fitted network to a bundle that was compared with it before it was kept."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from sightline.errors import TrainingFailed
from sightline.metrics.scores import softmax
from sightline.sessions import Session
from sightline.training.onnx_export import export_onnx

# The largest difference in a probability between Keras and ONNX Runtime that is put down to rounding.
LARGEST_DIFFERENCE = 1e-4


def save_network(network: keras.Model, folder: Path) -> Session:
    """Write `model.keras` and `model.onnx` with the tensor contract of a bundle.

    Args:
        network: uint8 images to logits.
        folder: an existing folder.

    Returns:
        `model.onnx`, opened: what will be deployed.

    Raises:
        MissingPackage: the ONNX exporter is not installed.
        TrainingFailed: the export went wrong.

    Example:
        >>> import inspect
        >>> list(inspect.signature(save_network).parameters)
        ['network', 'folder']
    """
    # Outputs in a dictionary keep their names in ONNX; a bare tensor becomes "Identity:0".
    contract = keras.Model(network.input, {"logits": network.outputs[0]}, name=network.name)
    contract.save(folder / "model.keras")
    export_onnx(folder / "model.keras", folder / "model.onnx")
    return Session(folder / "model.onnx", num_classes=int(network.output_shape[-1]))


def compare(keras_path: Path, images: NDArray[np.uint8], onnx_logits: NDArray[np.float32]) -> float:
    """How far the two files of a bundle differ on images; refuses the bundle if it is too far.

    Args:
        keras_path: `model.keras`, read back from the disk as its owner will read it.
        images: (num_images, height, width, channels) uint8.
        onnx_logits: (num_images, num_classes), what `model.onnx` gave for them.

    Returns:
        The largest difference in any probability.

    Raises:
        TrainingFailed: it is more than 1e-4, or not a number.

    Example:
        >>> import inspect
        >>> list(inspect.signature(compare).parameters)
        ['keras_path', 'images', 'onnx_logits']
    """
    if not len(images):
        return 0.0
    model: Any = keras.saving.load_model(keras_path, compile=False, safe_mode=True)
    logits = np.asarray(model.predict(images, batch_size=500, verbose=0)["logits"])
    return check_difference(logits, onnx_logits)


def check_difference(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """The largest difference in a probability of two sets of logits, refused above 1e-4.

    Args:
        first: (num_images, num_classes).
        second: the same shape.

    Returns:
        The difference, in [0, 1e-4].

    Raises:
        TrainingFailed: it is more, or not a number.

    Example:
        >>> logits = np.array([[1.0, 2.0]], np.float32)
        >>> check_difference(logits, logits)
        0.0
    """
    finite = bool(np.isfinite(first).all() and np.isfinite(second).all())
    difference = float(np.abs(softmax(first) - softmax(second)).max()) if finite else math.nan
    if not difference <= LARGEST_DIFFERENCE:
        raise TrainingFailed(
            f"model.onnx and model.keras differ by {difference:g} in a probability; {LARGEST_DIFFERENCE:g} is allowed. "
            "The bundle was refused. Other versions of the exporter may help: see `sightline doctor`."
        )
    return difference
