"""Write a saved Keras network as ONNX. Runs as a module of its own where the training backend cannot.

JAX's own road to ONNX gives graphs that ONNX Runtime refuses at a max-pooling, so
a network trained on JAX is loaded and exported by TensorFlow in another process.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import io
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from sightline.errors import MissingPackage, TrainingFailed, require
from sightline.system.backends import load_keras, usual_keras

# Of an attribute, as ONNX numbers them: a graph, several graphs.
_GRAPHS = (5, 10)


def export_onnx(keras_path: Path, onnx_path: Path) -> None:
    """Export a `model.keras`, from `images` to named outputs, to ONNX with the tensor contract of a bundle."""
    keras = load_keras()
    backend = keras.config.backend()
    if backend == "jax":
        _export_in_subprocess(keras_path, onnx_path)
        return
    exporter = "tf2onnx" if backend == "tensorflow" else "onnxscript"
    require(exporter, purpose="writing model.onnx", install=f"sightline[{backend}]")
    model = keras.saving.load_model(keras_path, compile=False, safe_mode=True)
    _settle_layers(keras, model)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        # Deprecations inside the exporters; the graph they write is compared with the network afterwards.
        warnings.simplefilter("ignore")
        # Keras exports only what has been called once.
        model(np.zeros((1, *model.inputs[0].shape[1:]), dtype=np.uint8))
        model.export(str(onnx_path), format="onnx", verbose=False)
    if backend == "torch":
        _name_outputs(onnx_path, sorted(model.output))
    _settle_names(onnx_path)


def _settle_layers(keras: Any, model: Any) -> None:
    """Let layers compute the same in a way that TensorFlow's exporter knows."""

    def gelu(values: Any) -> Any:
        # TensorFlow computes it by the complement of the error function, which ONNX does not have.
        return 0.5 * values * (1 + keras.ops.erf(values / math.sqrt(2)))

    for layer in model.layers:
        if hasattr(layer, "layers"):
            _settle_layers(keras, layer)
        elif isinstance(layer, keras.layers.Normalization) and layer.input_mean is not None:
            # Means and variances that a network came with: tensors would become inputs of the graph.
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)
        elif getattr(layer, "activation", None) is keras.activations.gelu:
            layer.activation = gelu
        elif (
            isinstance(layer, keras.layers.Conv2D) and 1 < layer.groups == layer.filters and layer.kernel.shape[2] == 1
        ):
            # TensorFlow computes it by a compiled function, which the exporter does not look into.
            layer.convolution_op = functools.partial(_depthwise, keras, layer)


def _depthwise(keras: Any, layer: Any, inputs: Any, kernel: Any) -> Any:
    """A convolution in as many groups as channels."""
    return keras.ops.depthwise_conv(
        inputs,
        keras.ops.transpose(kernel, (0, 1, 3, 2)),
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
        data_format=layer.data_format,
    )


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
    """Make order and names in a graph depend on what it computes alone.

    Exporters count on through all that a process exports, and of several equal constants they keep any one.
    """
    onnx = require("onnx", purpose="writing model.onnx", install="onnx")
    model = onnx.load(str(path))
    graph = model.graph
    if any(attribute.type in _GRAPHS for node in graph.node for attribute in node.attribute):
        return  # what lies within refers to names without
    names = {value.name: value.name for value in (*graph.input, *graph.output)}
    ordered = _in_order_of_content(graph)
    for number, node in enumerate(ordered):
        node.name = f"{node.op_type}_{number}"
        for index, name in enumerate([*node.input, *node.output]):
            names.setdefault(name, f"{node.name}:{index}" if name else "")
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    _replace(graph.node, ordered)
    for tensors in (graph.initializer, graph.value_info):
        for tensor in tensors:
            tensor.name = names.get(tensor.name, tensor.name)
        _replace(tensors, sorted(tensors, key=lambda tensor: str(tensor.name)))
    sides = [
        side for value in (*graph.input, *graph.output, *graph.value_info) for side in value.type.tensor_type.shape.dim
    ]
    unknown: dict[str, str] = {}
    for side in sides:
        if side.dim_param:
            side.dim_param = unknown.setdefault(side.dim_param, f"side_{len(unknown)}")
    graph.doc_string = model.doc_string = ""
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _in_order_of_content(graph: Any) -> list[Any]:
    """The nodes of a graph, each after what it takes, those that could come at once by what they compute."""
    digests = {"": "", **{value.name: value.name for value in graph.input}}
    for tensor in graph.initializer:
        nameless = type(tensor)()
        nameless.CopyFrom(tensor)
        nameless.ClearField("name")
        digests[tensor.name] = hashlib.sha256(nameless.SerializeToString(deterministic=True)).hexdigest()
    waiting, ordered = list(graph.node), []
    while waiting:
        ready = [node for node in waiting if all(name in digests for name in node.input)]
        if not ready:
            raise TrainingFailed("the exporter wrote a graph that runs in circles, or refers to what is not in it.")
        waiting = [node for node in waiting if not all(name in digests for name in node.input)]
        found: list[tuple[str, int, Any]] = []
        for node in ready:
            attributes = sorted(part.SerializeToString(deterministic=True) for part in node.attribute)
            inputs = [digests[name] for name in node.input]
            content = repr((node.domain, node.op_type, attributes, inputs, len(node.output)))
            found.append((hashlib.sha256(content.encode()).hexdigest(), len(found), node))
        for digest, _, node in sorted(found):
            digests |= {name: f"{digest}:{index}" for index, name in enumerate(node.output)}
            ordered.append(node)
    return ordered


def _replace(field: Any, content: list[Any]) -> None:
    copies = [type(part).FromString(part.SerializeToString()) for part in content]
    del field[:]
    field.extend(copies)


def _export_in_subprocess(keras_path: Path, onnx_path: Path) -> None:
    for package in ("tensorflow", "tf2onnx"):
        if importlib.util.find_spec(package) is None:
            raise MissingPackage(
                f"writing model.onnx of a JAX run needs the package '{package}'. Run: pip install 'sightline[jax]'"
            )
    done = subprocess.run(
        # -P: a keras.py in the current folder is none of ours.
        [sys.executable, "-P", "-m", "sightline.training.packaging.onnx_export", str(keras_path), str(onnx_path)],
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
