"""ONNX graphs of others: looked at by their bytes, then run by ONNX Runtime as they are."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.graphs import VARINT, Output, Reader, check_graph, graph_inputs, graph_outputs, read_graph
from sightline.bundles.maps.nodes import Nodes, read_nodes
from sightline.bundles.sessions import Session
from sightline.deployment.adoption.foreign import ForeignNetwork
from sightline.errors import InvalidBundle, InvalidValue, require
from sightline.system.text import printable

# Of the standard operators: from 8 on, each is written as those that Sightline puts beside them.
_LEAST_OPERATORS = 8
_OPERATOR_SETS = 8
_PORTION = 16


def open_onnx(path: Path) -> ForeignNetwork:
    """A graph of one input and one output, opened without the package `onnx`."""
    runtime = require("onnxruntime", purpose="adopting an ONNX graph", install="onnxruntime")
    try:
        check_graph(path)
        nodes = read_nodes(path)
        inputs = [entry for entry in graph_inputs(path) if entry.name not in nodes.weights]
        given, answer = _one(path, inputs, "takes"), _one(path, list(graph_outputs(path)), "gives")
        _check(path, nodes, given)
        session = Session(path, num_classes=0, input_name=given.name)
    except InvalidBundle as error:
        raise InvalidValue(f"{error} Export it again for inference, in one file with standard operators.") from error
    answers = functools.partial(_answers, session, answer.name, given.shape[0])
    return ForeignNetwork(
        path, path, given.name, answer.name, given.shape, answers, f"ONNX Runtime {runtime.__version__}", "ONNX graph"
    )


def _one(path: Path, entries: list[Output], does: str) -> Output:
    if len(entries) != 1:
        names = ", ".join(printable(entry.name) for entry in entries[:5]) or "none"
        raise InvalidValue(
            f"{path}: {does} {len(entries)} tensors ({names}); one is needed. Export it with its images as the only "
            "input and its classes as the only output."
        )
    return entries[0]


def _check(path: Path, nodes: Nodes, given: Output) -> None:
    if given.dtype != "float32":
        raise InvalidValue(f"{path}: takes {given.dtype}; float32 is needed. Export it in float32.")
    for node in nodes.nodes:
        in_training = node.attributes.get("training_mode", 0) or len([name for name in node.outputs if name]) > 1
        if node.operator == "BatchNormalization" and in_training:
            raise InvalidValue(
                f"{path}: was exported in training mode: its answer to an image depends on those beside it. Export it "
                "for inference (model.eval() in PyTorch)."
            )
    version = read_graph(path, _operators)
    if version < _LEAST_OPERATORS:
        raise InvalidValue(
            f"{path}: is written in version {version} of the operators; {_LEAST_OPERATORS} is the oldest that can be "
            "adopted. Export it again with opset_version=17."
        )
    if given.shape and isinstance(given.shape[0], int) and given.shape[0] != 1:
        raise InvalidValue(
            f"{path}: takes exactly {given.shape[0]} images at once. Export it with a batch of 1, or of any size."
        )


def _operators(reader: Reader) -> int:
    """The version of the standard operators."""
    for _, start, stop in reader.parts(0, len(reader.content), _OPERATOR_SETS):
        domain, version = "", 0
        for number, kind, begin, end in reader.fields(start, stop):
            if number == 1:
                domain = reader.text(begin, end)
            elif number == 2 and kind == VARINT:
                version = end
        if domain in ("", "ai.onnx"):
            return version
    return 0


def _answers(session: Session, name: str, batch: int | str, images: NDArray[np.float32]) -> NDArray[Any]:
    """In portions, or one by one where the graph says so."""
    size = 1 if batch == 1 else _PORTION
    parts = [session.tensors(images[first : first + size], [name])[0] for first in range(0, len(images), size)]
    # What does not stand in rows is told by whoever looks at it.
    return np.concatenate(parts) if all(part.ndim for part in parts) else parts[0]
