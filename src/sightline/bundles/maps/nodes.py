"""The operators of a graph and what they take, read without the package `onnx`; and the graph with more outputs."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sightline.bundles.graphs import (
    ATTRIBUTES,
    BYTES,
    DOMAIN,
    FOUR_BYTES,
    GRAPH,
    INITIALIZERS,
    NODES,
    OPERATOR,
    OUTPUTS,
    STANDARD_DOMAINS,
    VARINT,
    Reader,
    bytes_field,
    read_graph,
)

Value = int | float | str | tuple[int, ...]
# Numbers of the fields of an attribute and of a tensor, as onnx.proto has them.
_NAME, _FLOAT, _INTEGER, _TEXT, _INTEGERS = 1, 2, 3, 4, 8
_SIDES, _DTYPE, _VALUES, _TENSOR_NAME, _CONTENT = 1, 2, 7, 8, 9
_INT64, _MOST_BYTES = 7, 128
_GIVEN, _MADE = 1, 2


@dataclass(frozen=True)
class Node:
    """One operator of a graph.

    Attributes:
        operator: its name in the standard set; "" for any other, of which nothing is known.
        inputs: names of tensors; "" for one that is left out.
        outputs: names of tensors.
        attributes: those that are numbers, text or lists of whole numbers.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Value]


@dataclass(frozen=True)
class Nodes:
    """What a graph computes.

    Attributes:
        nodes: each behind those whose outputs it takes.
        weights: name to sides of each tensor that the file holds.
        numbers: name to values of those that are few whole numbers, such as margins.
    """

    nodes: tuple[Node, ...]
    weights: dict[str, tuple[int, ...]]
    numbers: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def of_images(self) -> set[str]:
        """Names of the tensors that differ from image to image."""
        moved = {"images"}
        for node in self.nodes:
            # How many images there are does not count: some exporters compute with it.
            if node.operator != "Shape" and moved.intersection(node.inputs):
                moved.update(node.outputs)
        return moved


def read_nodes(path: Path) -> Nodes:
    """The operators of a graph; InvalidBundle where it is none."""
    return read_graph(path, _nodes)


def with_outputs(path: Path, names: Iterable[str]) -> bytes:
    """A graph that gives some of its tensors, too, as the bytes of a file.

    Args:
        path: of the graph, whose weights lie within it.
        names: of tensors that are no outputs yet; of what dtype and shape they are, whoever runs it finds out.
    """
    # An output of which only the name is told: field 1 of what onnx.proto calls a ValueInfoProto.
    declared = b"".join(bytes_field(OUTPUTS, bytes_field(1, name.encode())) for name in names)
    return read_graph(path, lambda reader: _copy(reader, declared))


def _copy(reader: Reader, declared: bytes) -> bytes:
    parts, at = [], 0
    for number, kind, begin, end in reader.fields(0, len(reader.content)):
        stop = begin if kind == VARINT else end
        if (number, kind) == (GRAPH, BYTES):
            parts.append(bytes_field(GRAPH, bytes(reader.content[begin:end]) + declared))
        else:
            parts.append(bytes(reader.content[at:stop]))
        at = stop
    return b"".join(parts)


def _nodes(reader: Reader) -> Nodes:
    nodes, weights, numbers = list[Node](), dict[str, tuple[int, ...]](), dict[str, tuple[int, ...]]()
    for _, start, stop in reader.parts(0, len(reader.content), GRAPH):
        for number, begin, end in reader.parts(start, stop, NODES, INITIALIZERS):
            if number == NODES:
                nodes.append(_node(reader, begin, end))
            else:
                name, sides, values = _tensor(reader, begin, end)
                weights[name] = sides
                numbers |= {name: values} if values else {}
    return Nodes(tuple(nodes), weights, numbers)


def _node(reader: Reader, start: int, stop: int) -> Node:
    operator, domain, attributes = "", "", dict[str, Value]()
    names: dict[int, list[str]] = {_GIVEN: [], _MADE: []}
    for number, begin, end in reader.parts(start, stop, _GIVEN, _MADE, OPERATOR, ATTRIBUTES, DOMAIN):
        if number in names:
            names[number].append(reader.text(begin, end))
        elif number == ATTRIBUTES:
            attributes.update(_attribute(reader, begin, end))
        elif number == OPERATOR:
            operator = reader.text(begin, end)
        else:
            domain = reader.text(begin, end)
    known = operator if domain in STANDARD_DOMAINS else ""
    return Node(known, tuple(names[_GIVEN]), tuple(names[_MADE]), attributes)


def _attribute(reader: Reader, start: int, stop: int) -> dict[str, Value]:
    """Name to value; nothing for a tensor, a graph or a list of text."""
    name, value, integers = "", None, list[int]()
    for number, kind, begin, end in reader.fields(start, stop):
        if number == _NAME and kind == BYTES:
            name = reader.text(begin, end)
        elif number == _FLOAT and kind == FOUR_BYTES:
            value = struct.unpack("<f", reader.content[begin:end])[0]
        elif number == _INTEGER and kind == VARINT:
            value = _signed(end)
        elif number == _TEXT and kind == BYTES:
            value = reader.text(begin, end)
        elif number == _INTEGERS:
            integers.extend(_integers(reader, kind, begin, end))
    if integers:
        return {name: tuple(integers)}
    return {} if value is None else {name: value}


def _tensor(reader: Reader, start: int, stop: int) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """Name and sides, and the values where they are few whole numbers."""
    name, sides, dtype, values = "", list[int](), 0, list[int]()
    content = memoryview(b"")
    for number, kind, begin, end in reader.fields(start, stop):
        if number == _TENSOR_NAME and kind == BYTES:
            name = reader.text(begin, end)
        elif number == _SIDES:
            sides.extend(_integers(reader, kind, begin, end))
        elif number == _DTYPE and kind == VARINT:
            dtype = end
        elif number == _VALUES and end - begin <= _MOST_BYTES:
            values.extend(_integers(reader, kind, begin, end))
        elif number == _CONTENT and kind == BYTES and end - begin <= _MOST_BYTES:
            content = reader.content[begin:end]
    if dtype == _INT64 and not values and len(content) % 8 == 0:
        values = [int.from_bytes(content[at : at + 8], "little", signed=True) for at in range(0, len(content), 8)]
    return name, tuple(sides), tuple(values) if dtype == _INT64 else ()


def _integers(reader: Reader, kind: int, begin: int, end: int) -> list[int]:
    """One of a list of whole numbers, or, as other writers have it, all of them in one field."""
    if kind == VARINT:
        return [_signed(end)]
    found = []
    while begin < end:
        value, begin = reader.varint(begin, end)
        found.append(_signed(value))
    return found


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
