"""The graph of a bundle around a network of others: uint8 images in, logits out, its own operators untouched.

Written without the package `onnx`: tensors of the network get names of their own, operators are put before and behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.graphs import (
    BYTES,
    GRAPH,
    INITIALIZERS,
    INPUTS,
    NODES,
    OPERATOR,
    OUTPUTS,
    VARINT,
    Reader,
    bytes_field,
    read_graph,
    whole_field,
)
from sightline.bundles.maps.nodes import Node, Nodes
from sightline.deployment.adoption.preparation import Preparation

# Before each tensor of the network, so that none is called as one of ours.
OTHERS = "network/"
# The smallest number of float32 that is not denormal: its logarithm is -87.3, and no probability is 0 after it.
SMALLEST = float(np.finfo(np.float32).tiny)
_VERSION, _METADATA, _TRAINING = 1, 14, 20
_NODE_INPUTS, _NODE_OUTPUTS, _NODE_ATTRIBUTES, _TENSOR_NAME = 1, 2, 5, 8
_FLOAT, _UINT8, _INT64 = 1, 2, 7
# From this version of the format on, weights need not be among the inputs.
_LEAST_VERSION = 4
_GRAPH_NAME = 2


@dataclass(frozen=True)
class Ends:
    """Where a network begins and ends.

    Attributes:
        given: what it calls the images that it takes.
        logits: the tensor that is a logit a class; "" where there is none, and probabilities are all.
        probabilities: the tensor of probabilities; "" where it gives logits.
        features: the tensor that its last layer takes, and its width; None where it cannot be told.
    """

    given: str
    logits: str
    probabilities: str
    features: tuple[str, int] | None


def ends_of(nodes: Nodes, given: str, answer: str, *, is_probability: bool) -> Ends:
    """How a network ends: in a softmax, before which its logits are, or otherwise; and what its last layer takes."""
    maker = {name: node for node in nodes.nodes for name in node.outputs}
    logits, probabilities = answer, ""
    if is_probability:
        last = maker.get(_behind(maker, answer))
        logits, probabilities = (last.inputs[0], "") if last is not None and _is_softmax(last) else ("", answer)
    features = None if not logits else _features(nodes, maker, logits)
    return Ends(given, logits, probabilities, features)


def last_operator(nodes: Nodes, answer: str) -> str:
    """What makes the answer of a network; "" where nothing does."""
    maker = {name: node for node in nodes.nodes for name in node.outputs}
    node = maker.get(_behind(maker, answer))
    return "" if node is None else node.operator


def _behind(maker: Mapping[str, Node], name: str) -> str:
    """The tensor that is handed on under this name, by operators that change nothing."""
    while (node := maker.get(name)) is not None and node.operator == "Identity":
        name = node.inputs[0]
    return name


def _is_softmax(node: Node) -> bool:
    # Over the classes, which are the second of two axes; until version 13 of the operators that is what is meant
    # where nothing is said.
    return node.operator == "Softmax" and node.attributes.get("axis", -1) in (-1, 1)


def _features(nodes: Nodes, maker: Mapping[str, Node], logits: str) -> tuple[str, int] | None:
    """What a dense layer at the end takes."""
    node = maker.get(_behind(maker, logits))
    if node is not None and node.operator == "Add":
        inner = [name for name in node.inputs if name not in nodes.weights]
        node = maker.get(_behind(maker, inner[0])) if len(inner) == 1 else None
    if node is None or node.operator not in ("MatMul", "Gemm") or node.attributes.get("transA"):
        return None
    sides = nodes.weights.get(node.inputs[1], ())
    if len(sides) != 2 or node.inputs[0] in nodes.weights:
        return None
    return node.inputs[0], sides[1 if node.attributes.get("transB") else 0]


def wrap(path: Path, target: Path, preparation: Preparation, ends: Ends, num_classes: int) -> None:
    """Write a network, which was looked at before, as the graph of a bundle.

    Args:
        path: of the network; its weights lie within it.
        target: the file to write.
        preparation: what is done with the bytes of an image before the network takes it.
        ends: of the network.
        num_classes: that it tells apart.
    """
    ours = _nodes_before(preparation, ends.given) + _nodes_behind(ends)
    declared = bytes_field(INPUTS, _value("images", _UINT8, ("batch", *preparation.spec.shape)))
    declared += bytes_field(OUTPUTS, _value("logits", _FLOAT, ("batch", num_classes)))
    if ends.features is not None:
        declared += bytes_field(OUTPUTS, _value("features", _FLOAT, ("batch", ends.features[1])))
    constants = [bytes_field(INITIALIZERS, tensor) for tensor in _constants(preparation, ends)]
    target.write_bytes(read_graph(path, lambda reader: _written(reader, ours, b"".join(constants) + declared)))


def _written(reader: Reader, ours: bytes, declared: bytes) -> bytes:
    parts, at, version = list[bytes](), 0, _LEAST_VERSION
    for number, kind, begin, end in reader.fields(0, len(reader.content)):
        stop = begin if kind == VARINT else end
        if (number, kind) == (_VERSION, VARINT):
            version = max(end, _LEAST_VERSION)
        elif (number, kind) == (GRAPH, BYTES):
            inner = b"".join(_kept(reader, begin, end))
            # Operators stand behind those whose outputs they take; ONNX Runtime does not mind the order of others.
            parts.append(bytes_field(GRAPH, bytes_field(_GRAPH_NAME, b"adopted") + ours + inner + declared))
        elif number not in (_METADATA, _TRAINING):
            parts.append(bytes(reader.content[at:stop]))
        at = stop
    return whole_field(_VERSION, version) + b"".join(parts)


def _kept(reader: Reader, start: int, stop: int) -> Iterator[bytes]:
    """Operators and weights, with tensors under other names; what else is said of tensors is not needed."""
    for number, begin, end in reader.parts(start, stop, NODES, INITIALIZERS):
        names = (_TENSOR_NAME,) if number == INITIALIZERS else (_NODE_INPUTS, _NODE_OUTPUTS)
        yield bytes_field(number, _renamed(reader, begin, end, names))


def _renamed(reader: Reader, start: int, stop: int, numbers: tuple[int, ...]) -> bytes:
    parts, at = list[bytes](), start
    for number, kind, begin, end in reader.fields(start, stop):
        after = begin if kind == VARINT else end
        if number in numbers and kind == BYTES:
            name = bytes(reader.content[begin:end])
            parts.append(bytes_field(number, OTHERS.encode() + name if name else name))  # none: it is left out
        else:
            parts.append(bytes(reader.content[at:after]))
        at = after
    return b"".join(parts)


def _nodes_before(preparation: Preparation, given: str) -> bytes:
    """From bytes to what the network takes."""
    steps: list[tuple[str, tuple[str, ...], bytes]] = [("Cast", (), _whole("to", _FLOAT))]
    if preparation.is_bgr:
        steps.append(("Gather", ("order",), _whole("axis", 3)))
    steps += [("Mul", ("factor",), b""), ("Add", ("shift",), b"")]
    if preparation.is_channels_first:
        steps.append(("Transpose", (), _wholes("perm", (0, 3, 1, 2))))
    written, name = b"", "images"
    for index, (operator, beside, attributes) in enumerate(steps):
        made = f"{OTHERS}{given}" if index == len(steps) - 1 else f"prepared_{index}"
        written += _node(operator, (name, *beside), made, attributes)
        name = made
    return written


def _nodes_behind(ends: Ends) -> bytes:
    if ends.logits:
        written = _node("Identity", (OTHERS + ends.logits,), "logits")
    else:
        written = _node("Max", (OTHERS + ends.probabilities, "smallest"), "floored")
        written += _node("Log", ("floored",), "logits")
    if ends.features is not None:
        written += _node("Identity", (OTHERS + ends.features[0],), "features")
    return written


def _constants(preparation: Preparation, ends: Ends) -> list[bytes]:
    factor, shift = preparation.linear
    tensors = [_tensor("factor", factor), _tensor("shift", shift)]
    if preparation.is_bgr:
        tensors.append(_tensor("order", np.array([2, 1, 0], np.int64)))
    if not ends.logits:
        tensors.append(_tensor("smallest", np.array([SMALLEST], np.float32)))
    return tensors


def _node(operator: str, inputs: Sequence[str], made: str, attributes: bytes = b"") -> bytes:
    names = b"".join(bytes_field(_NODE_INPUTS, name.encode()) for name in inputs)
    told = bytes_field(_NODE_OUTPUTS, made.encode()) + bytes_field(OPERATOR, operator.encode())
    return bytes_field(NODES, names + told + attributes)


def _whole(name: str, value: int) -> bytes:
    """An attribute that is a whole number: its name, its value, and the kind that says so."""
    return bytes_field(_NODE_ATTRIBUTES, bytes_field(1, name.encode()) + whole_field(3, value) + whole_field(20, 2))


def _wholes(name: str, values: Sequence[int]) -> bytes:
    told = b"".join(whole_field(8, value) for value in values)
    return bytes_field(_NODE_ATTRIBUTES, bytes_field(1, name.encode()) + told + whole_field(20, 7))


def _tensor(name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> bytes:
    sides = b"".join(whole_field(1, side) for side in values.shape)
    dtype = whole_field(2, _INT64 if values.dtype == np.int64 else _FLOAT)
    return (
        sides
        + dtype
        + bytes_field(_TENSOR_NAME, name.encode())
        + bytes_field(9, values.astype("<" + values.dtype.str[1:]).tobytes())
    )


def _value(name: str, dtype: int, sides: Sequence[int | str]) -> bytes:
    """What an input or an output is called, its dtype and its sides."""
    shape = b"".join(
        bytes_field(1, whole_field(1, side) if isinstance(side, int) else bytes_field(2, side.encode()))
        for side in sides
    )
    return bytes_field(1, name.encode()) + bytes_field(2, bytes_field(1, whole_field(1, dtype) + bytes_field(2, shape)))
