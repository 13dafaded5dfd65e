"""From a fitted network to a bundle that was compared with it before it was kept."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from sightline.bundles.parity import check_difference
from sightline.bundles.sessions import Session
from sightline.errors import CannotWrite, OutputExists
from sightline.system.caches import discard, find_entry, new_entry
from sightline.system.files import sha256_of, write_atomically
from sightline.system.progress import reporter
from sightline.system.stored import read_plain
from sightline.tasks.single_label import SINGLE_LABEL
from sightline.tasks.task import Task
from sightline.training.packaging.onnx_export import export_onnx


def contract_of(network: keras.Model) -> keras.Model:
    """The network with the outputs that a bundle promises, by their names; one that has named outputs already is kept.

    Returns:
        uint8 `images` to a dictionary of float32 `features` (batch, width) and `logits` (batch, num_classes).
    """
    if isinstance(network.output, dict):
        return network
    # Outputs in a dictionary keep their names in ONNX; a bare tensor becomes "Identity:0".
    outputs = {"features": _flat(network.get_layer("logits").input), "logits": network.outputs[0]}
    return keras.Model(network.input, outputs, name=network.name)


def member_width(network: keras.Model) -> int:
    """How many of the features are those of one network: of an ensemble, of its first member."""
    features = contract_of(network).output["features"]
    members = [layer for layer in network.layers if layer.name.startswith("member_")]
    return int((members[0].output["features"] if members else features).shape[-1])


def save_network(network: keras.Model, folder: Path) -> Session:
    """Write `model.keras` and `model.onnx` with the tensor contract of a bundle."""
    contract = contract_of(network)
    contract.save(folder / "model.keras")
    export_onnx(folder / "model.keras", folder / "model.onnx")
    return Session(folder / "model.onnx", num_classes=int(contract.output["logits"].shape[-1]))


def logits_layer(network: keras.Model) -> keras.layers.Dense | None:
    """The dense layer whose sums are the logits; None of a network that ends otherwise, as an ensemble does."""
    output = network.output["logits"] if isinstance(network.output, dict) else network.outputs[0]
    for layer in network.layers:
        is_plain = isinstance(layer, keras.layers.Dense) and layer.activation is keras.activations.linear
        if is_plain and layer.use_bias and layer.output is output:
            return layer
    return None


def scale_classes(layer: keras.layers.Dense, factors: NDArray[np.float64], shifts: NDArray[np.float64]) -> None:
    """Make a layer give factors * logits + shifts instead of logits."""
    kernel, bias = layer.get_weights()
    layer.set_weights([(kernel * factors).astype(np.float32), (bias * factors + shifts).astype(np.float32)])


def _flat(tensor: Any) -> Any:
    # A rounding to float32 is all that a network in mixed precision needs here; the others are handed on as they are.
    return tensor if tensor.dtype == "float32" else keras.ops.cast(tensor, "float32")


def save_outputs(model: keras.Model, *, name: str) -> Session:
    """A network with outputs of any names in ONNX Runtime, exported once and kept in the cache for the next time."""
    digest = hashlib.sha256(json.dumps([keras.__version__, model.get_config()], sort_keys=True, default=str).encode())
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    key = digest.hexdigest()[:32]
    place = _kept(key)
    if place is None:
        # Another run may be faster; its file is the same.
        with (
            contextlib.suppress(OutputExists, CannotWrite),
            new_entry("backbones", key, holds=name, num_bytes=0) as new,
        ):
            _keep(model, new)
        place = _kept(key)
    if place is None:
        reporter().say("the backbone is not kept and exported again next time, since the cache does not take it")
        place = Path(tempfile.mkdtemp(prefix="sightline-"))
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        _keep(model, place)
    return Session(place / "model.onnx", num_classes=0)


def _keep(model: keras.Model, folder: Path) -> None:
    model.save(folder / "model.keras")
    export_onnx(folder / "model.keras", folder / "model.onnx")
    (folder / "model.keras").unlink()
    write_atomically(folder / "sha256", sha256_of(folder / "model.onnx"))


def _kept(key: str) -> Path | None:
    """A network of the cache that is, to the byte, what was written: a damaged one may still load."""
    place = find_entry("backbones", key)
    if place is not None:
        with contextlib.suppress(OSError):
            if sha256_of(place / "model.onnx") == read_plain(place / "sha256").decode("ascii", "replace"):
                return place
        discard(place)
    return None


def largest_probability_difference(
    keras_path: Path, images: NDArray[np.uint8], onnx_logits: NDArray[np.float32], task: Task = SINGLE_LABEL
) -> float:
    """How far the two files of a bundle differ on images; refuses the bundle if it is too far.

    Both are computed on the processor, in full precision, wherever the network learned.
    """
    if not len(images):
        return 0.0
    # A GPU multiplies float32 in TF32, which has a thousandth of its digits; the two files are compared to all of them.
    with keras.device("cpu:0"):
        model: Any = keras.saving.load_model(keras_path, compile=False, safe_mode=True)
        logits = np.asarray(model.predict(images, batch_size=500, verbose=0)["logits"])
    return check_difference(logits, onnx_logits, task)
