"""What a `model.onnx` holds, without running it and without the package `onnx`: its outputs, what is unsafe, metadata.

An ONNX file is a protocol buffer: fields of a number, a kind and a value, some of which hold fields again. Only
those that are asked for are looked into, so that weights cost nothing.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from sightline.errors import InvalidBundle
from sightline.system.stored import open_plain

Result = TypeVar("Result")

# Names of the operators' standard set; any other comes with code of its own.
STANDARD_DOMAINS = ("", "ai.onnx")
# They run a graph of their own, some without end.
_WITH_SUBGRAPHS = ("Loop", "Scan", "If", "SequenceMap")
# EfficientNet-Lite0 has 3,000, an ensemble of a hundred of them 300,000.
MOST_FIELDS = 2_000_000
_MOST_NODES = 200_000
_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}
# Numbers of the fields, as onnx.proto has them.
GRAPH, _METADATA, _FUNCTIONS = 7, 14, 25
NODES, INITIALIZERS, INPUTS, OUTPUTS, _SPARSE = 1, 5, 11, 12, 15
_FUNCTION_NAME, _FUNCTION_NODES, _FUNCTION_DOMAIN = 1, 7, 10
OPERATOR, ATTRIBUTES, DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_EXTERNAL = (13, 14)
VARINT, _EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5
_COPIED_BYTES = 2**20


@dataclass(frozen=True)
class Output:
    """One output or input of a graph: its dtype as NumPy calls it, and its sides; a word stands for one not fixed."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass
class Reader:
    """Reads fields, and so many at most."""

    content: memoryview
    left: int
    calls: dict[tuple[str, str], list[tuple[str, str]]] = field(default_factory=dict)

    def fields(self, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
        """Number and kind of each field, with where its value begins and ends; a varint's value stands for its end."""
        at = start
        while at < stop:
            self.left -= 1
            if self.left < 0:
                raise ValueError(f"it has more than {MOST_FIELDS:,} parts")
            key, at = self.varint(at, stop)
            number, kind = key >> 3, key & 7
            if kind == VARINT:
                value, at = self.varint(at, stop)
                yield number, kind, at, value
                continue
            size = {_EIGHT_BYTES: 8, FOUR_BYTES: 4}.get(kind)
            if kind == BYTES:
                size, at = self.varint(at, stop)
            if size is None or size > stop - at:
                raise ValueError("it is cut off or damaged")
            yield number, kind, at, at + size
            at += size

    def varint(self, at: int, stop: int) -> tuple[int, int]:
        """A whole number, and where it ends."""
        # Seven bits a byte, the lowest first; the eighth says that more follow. Ten bytes hold 64 bits.
        value = 0
        for number in range(10):
            if at + number >= stop:
                break
            byte = self.content[at + number]
            value |= (byte & 127) << (7 * number)
            if byte < 128:
                return value, at + number + 1
        raise ValueError("it is cut off or damaged")

    def parts(self, start: int, stop: int, *wanted: int) -> Iterator[tuple[int, int, int]]:
        """Number, beginning and end of those fields that hold bytes and bear one of these numbers."""
        for number, kind, begin, end in self.fields(start, stop):
            if kind == BYTES and number in wanted:
                yield number, begin, end

    def text(self, start: int, stop: int) -> str:
        """Bytes as text, whatever they are."""
        return bytes(self.content[start:stop]).decode("utf-8", "replace")


def graph_outputs(path: Path) -> tuple[Output, ...]:
    """The outputs that a graph declares, in its order."""
    return read_graph(path, lambda reader: _declared(reader, OUTPUTS))


def graph_inputs(path: Path) -> tuple[Output, ...]:
    """The inputs that a graph declares; before version 4 of the format weights are among them."""
    return read_graph(path, lambda reader: _declared(reader, INPUTS))


def check_graph(path: Path) -> None:
    """Refuse a graph that could run without end, needs code or files from outside, or is no graph at all.

    Refused are loops and whatever else holds a graph within, operators beyond the standard set, weights in other
    files, and more parts than any network has.
    """
    read_graph(path, _check)


def write_with_metadata(path: Path, target: Path, properties: Mapping[str, str]) -> None:
    """Copy a graph with properties in its metadata, in place of those of the same keys that it may have.

    Args:
        path: a graph whose weights lie within it.
        target: the file to write, which is not `path`.
        properties: key to text, as ONNX Runtime tells them in `custom_metadata_map`.
    """
    kept = read_graph(path, lambda reader: _without_properties(reader, properties))
    with open_plain(path) as source, target.open("wb") as copy:
        for start, stop in kept:
            source.seek(start)
            for at in range(start, stop, _COPIED_BYTES):
                copy.write(source.read(min(_COPIED_BYTES, stop - at)))
        # Fields may stand in any order, and those that may come several times need not be together.
        for key, text in properties.items():
            copy.write(bytes_field(_METADATA, bytes_field(1, key.encode()) + bytes_field(2, text.encode())))


def _without_properties(reader: Reader, keys: Mapping[str, str]) -> list[tuple[int, int]]:
    """Where the fields of the file begin and end, but for metadata of these keys."""
    kept, at = [], 0
    for number, kind, begin, end in reader.fields(0, len(reader.content)):
        stop = begin if kind == VARINT else end
        parts = reader.parts(begin, end, 1) if (number, kind) == (_METADATA, BYTES) else ()
        if not any(reader.text(first, last) in keys for _, first, last in parts):
            kept.append((at, stop))
        at = stop
    return kept


def bytes_field(number: int, content: bytes) -> bytes:
    """A field of that number which holds these bytes."""
    return _varint(number << 3 | BYTES) + _varint(len(content)) + content


def whole_field(number: int, value: int) -> bytes:
    """A field of that number which holds a whole number of at least 0."""
    return _varint(number << 3 | VARINT) + _varint(value)


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    return bytes([*written, value])


def read_graph(path: Path, work: Callable[[Reader], Result]) -> Result:
    """What `work` makes of a graph; InvalidBundle where the file cannot be read, or `work` raises a ValueError."""
    try:
        with (
            open_plain(path) as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
            memoryview(content) as view,
        ):
            return work(Reader(view, MOST_FIELDS))
    except (OSError, ValueError) as error:
        raise InvalidBundle(f"{path}: not a graph that Sightline runs: {error}.") from error


def _declared(reader: Reader, field_number: int) -> tuple[Output, ...]:
    found = []
    for _, start, stop in reader.parts(0, len(reader.content), GRAPH):
        for _, begin, end in reader.parts(start, stop, field_number):
            found.append(_output(reader, begin, end))
    return tuple(found)


def _output(reader: Reader, start: int, stop: int) -> Output:
    name, dtype, shape = "", "unknown", list[int | str]()
    for number, begin, end in reader.parts(start, stop, 1, 2):
        if number == 1:
            name = reader.text(begin, end)
            continue
        for _, first, last in reader.parts(begin, end, 1):  # the tensor among the types
            for part, kind, low, high in reader.fields(first, last):
                if part == 1 and kind == VARINT:
                    dtype = _DTYPES.get(high, "unknown")
                if part == 2 and kind == BYTES:
                    shape = [_side(reader, *where) for _, *where in reader.parts(low, high, 1)]
    return Output(name, dtype, tuple(shape))


def _side(reader: Reader, start: int, stop: int) -> int | str:
    for number, kind, begin, end in reader.fields(start, stop):
        if number == 1 and kind == VARINT:
            return end
        if number == 2 and kind == BYTES:
            return reader.text(begin, end)
    return ""


def _check(reader: Reader) -> None:
    top = list(reader.parts(0, len(reader.content), GRAPH, _FUNCTIONS))
    graphs = [(start, stop) for number, start, stop in top if number == GRAPH]
    if not graphs:
        raise ValueError("it has no graph")
    for number, start, stop in top:
        if number == _FUNCTIONS:
            _read_function(reader, start, stop)
    calls = []
    for start, stop in graphs:
        for number, begin, end in reader.parts(start, stop, NODES, INITIALIZERS, _SPARSE):
            if number == NODES:
                calls.append(_read_node(reader, begin, end))
            elif number == _SPARSE:
                raise ValueError("it has sparse weights, which Sightline does not write")
            else:
                _check_tensor(reader, begin, end)
    _count_nodes(reader.calls, calls)


def _read_function(reader: Reader, start: int, stop: int) -> None:
    """Some exporters write operators of theirs as functions of standard ones within the file."""
    name, domain, nodes = "", "", []
    for number, begin, end in reader.parts(start, stop, _FUNCTION_NAME, _FUNCTION_NODES, _FUNCTION_DOMAIN):
        if number == _FUNCTION_NODES:
            nodes.append(_read_node(reader, begin, end))
        elif number == _FUNCTION_NAME:
            name = reader.text(begin, end)
        else:
            domain = reader.text(begin, end)
    if domain in STANDARD_DOMAINS:
        raise ValueError(f"it defines the standard operator {name!r} anew")
    reader.calls[domain, name] = nodes


def _read_node(reader: Reader, start: int, stop: int) -> tuple[str, str]:
    """Domain and operator of a node whose attributes are harmless."""
    operator, domain = "", ""
    for number, begin, end in reader.parts(start, stop, OPERATOR, ATTRIBUTES, DOMAIN):
        if number == OPERATOR:
            operator = reader.text(begin, end)
        elif number == DOMAIN:
            domain = reader.text(begin, end)
        else:
            for part, first, last in reader.parts(
                begin, end, *_ATTRIBUTE_TENSORS, *_ATTRIBUTE_GRAPHS, *_ATTRIBUTE_SPARSE
            ):
                if part in _ATTRIBUTE_TENSORS:
                    _check_tensor(reader, first, last)
                else:
                    raise ValueError("it holds a graph within a graph, as a loop does")
    if operator in _WITH_SUBGRAPHS and domain in STANDARD_DOMAINS:
        raise ValueError(f"it holds the operator {operator}, which can run without end")
    return domain, operator


def _check_tensor(reader: Reader, start: int, stop: int) -> None:
    for number, kind, _, value in reader.fields(start, stop):
        # Where the weights lie is a varint, and 0 says "in this file"; the list of other files is bytes.
        if number in _EXTERNAL and (kind != VARINT or value):
            raise ValueError("its weights lie in another file")


def _count_nodes(functions: dict[tuple[str, str], list[tuple[str, str]]], calls: list[tuple[str, str]]) -> None:
    """Refuse foreign operators, and functions that call one another until there are too many nodes."""
    # Each function is counted once: fifteen of which each calls the next one ten times would be walked 10^15 times.
    sizes: dict[tuple[str, str], int] = {}

    def size(call: tuple[str, str], depth: int) -> int:
        if call[0] in STANDARD_DOMAINS:
            return 1
        if call not in functions:
            raise ValueError(f"it needs the operator {call[1]!r} of {call[0]!r}, which is not of the standard set")
        # Exporters nest a few; without a bound, functions that call one another would be walked for ever.
        if depth > 16:
            raise ValueError("its functions call one another")
        if call not in sizes:
            sizes[call] = sum(size(inner, depth + 1) for inner in functions[call])
        return sizes[call]

    if sum(size(call, 0) for call in calls) > _MOST_NODES:
        raise ValueError(f"it has more than {_MOST_NODES:,} operators")
