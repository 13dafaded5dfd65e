"""Write a saved Keras network as ONNX. Runs as a module of its own where the training backend cannot.

JAX's own road to ONNX gives graphs that ONNX Runtime refuses at a max-pooling, so
a network trained on JAX is loaded and exported by TensorFlow in another process.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np

from sightline.backends import load_keras, usual_keras
from sightline.errors import MissingPackage, TrainingFailed, require

# How TensorFlow's exporter ends names that it made up: "new_shape__50", "Conv__40:0".
_COUNTED = re.compile(r"__\d+(?=$|:)")


def export_onnx(keras_path: Path, onnx_path: Path) -> None:
    """Export a `model.keras` to ONNX with the tensor contract of a bundle.

    Args:
        keras_path: a saved network from `images` to a dictionary with `logits`.
        onnx_path: what to write.

    Raises:
        MissingPackage: the exporter of this backend is not installed.
        TrainingFailed: the export went wrong; the reason is in the message.

    Example:
        >>> import inspect
        >>> list(inspect.signature(export_onnx).parameters)
        ['keras_path', 'onnx_path']
    """
    keras = load_keras()
    backend = keras.config.backend()
    if backend == "jax":
        _export_in_subprocess(keras_path, onnx_path)
        return
    exporter = "tf2onnx" if backend == "tensorflow" else "onnxscript"
    require(exporter, purpose="writing model.onnx", install=f"sightline[{backend}]")
    model = keras.saving.load_model(keras_path, compile=False, safe_mode=True)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        # Deprecations inside the exporters; the graph they write is compared with the network afterwards.
        warnings.simplefilter("ignore")
        # Keras exports only what has been called once.
        model(np.zeros((1, *model.inputs[0].shape[1:]), dtype=np.uint8))
        model.export(str(onnx_path), format="onnx", verbose=False)
    if backend == "torch":
        _name_outputs(onnx_path, sorted(model.output))
    _settle_names(onnx_path)


def _name_outputs(path: Path, names: list[str]) -> None:
    """Give the outputs the names of the contract: PyTorch's exporter numbers them instead."""
    onnx = require("onnx", purpose="writing model.onnx", install="onnx")
    model = onnx.load(str(path))
    renamed = {output.name: name for output, name in zip(model.graph.output, names, strict=True)}
    if all(old == new for old, new in renamed.items()):
        return
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for output in model.graph.output:
        output.name = renamed[output.name]
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _settle_names(path: Path) -> None:
    """Make the names in a graph depend on the graph alone: exporters count on through all that a process exports."""
    onnx = require("onnx", purpose="writing model.onnx", install="onnx")
    model = onnx.load(str(path))
    taken: dict[str, str] = {}

    def settled(name: str) -> str:
        if _COUNTED.search(name):
            return taken.setdefault(name, _COUNTED.sub(f"__{len(taken)}", name))
        return name

    for node in model.graph.node:
        node.name = settled(node.name)
        node.input[:] = [settled(name) for name in node.input]
        node.output[:] = [settled(name) for name in node.output]
    for tensor in (*model.graph.initializer, *model.graph.value_info):
        tensor.name = settled(tensor.name)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for side in value.type.tensor_type.shape.dim:
            if side.HasField("dim_param"):
                side.dim_param = settled(side.dim_param)
    model.graph.doc_string = model.doc_string = ""
    ordered = sorted(model.graph.initializer, key=lambda tensor: str(tensor.name))
    del model.graph.initializer[:]
    model.graph.initializer.extend(ordered)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _export_in_subprocess(keras_path: Path, onnx_path: Path) -> None:
    for package in ("tensorflow", "tf2onnx"):
        if importlib.util.find_spec(package) is None:
            raise MissingPackage(
                f"writing model.onnx of a JAX run needs the package '{package}'. Run: pip install 'sightline[jax]'"
            )
    done = subprocess.run(
        # -P: a keras.py in the current folder is none of ours.
        [sys.executable, "-P", "-m", "sightline.training.onnx_export", str(keras_path), str(onnx_path)],
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 or not onnx_path.is_file():
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise TrainingFailed(f"model.onnx could not be written by TensorFlow for this JAX run: {reason}")


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the current folder, where `-m` was typed without `-P`
    with usual_keras():
        export_onnx(Path(sys.argv[1]), Path(sys.argv[2]))
