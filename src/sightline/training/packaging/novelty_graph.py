"""Nodes behind an exported graph: what it sees of an image, how novel that is, and which learned ones are nearest."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.sessions import Session
from sightline.errors import require
from sightline.metrics.novelty import NEIGHBOURS
from sightline.training.packaging.novelty_fit import SEEN, FittedNovelty, factor_of

# What makes a map smaller, a convolution by steps of two places or more; ONNX has maps channels first, whatever the
# exporter.
_SMALLER = ("MaxPool", "AveragePool", "Conv")
# What reads a whole map, as it has become after what works on each number alone.
_READERS = (*_SMALLER, "GlobalAveragePool", "ReduceMean", "Reshape", "Transpose", "Flatten", "MatMul", "Gemm")
# Of wide networks whole means are seen: all that is more would be projected away again.
_MOST_OF_QUARTERS = 1_280


@contextlib.contextmanager
def seeing(session: Session, *, width: int) -> Iterator[Session]:
    """A network that tells what it sees of an image, too: the output SEEN, by which novelty is told.

    That are its features, and the means over the quarters of each map that it makes smaller on the way to them, each of
    length 1; of a wide network the means over whole maps. Features tell classes apart, and what they are not asked
    about they drop; the maps still have it.

    Args:
        session: of a graph with `features`, which is left as it is; that of a bundle does, too.
        width: how many features are those of one network, from the first on.
    """
    onnx = require("onnx", purpose="writing model.onnx", install="onnx")
    model = onnx.load(str(session.path))
    nodes = _Nodes(onnx, model)
    nodes.give(SEEN, "FLOAT", nodes.sides[SEEN][-1] if SEEN in nodes.sides else _see(nodes, width))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString(deterministic=True))
        yield Session(path, num_classes=session.num_classes)


def add_novelty(path: Path, fitted: FittedNovelty, *, width: int, with_nearest: bool) -> None:
    """Give a graph the output `novelty`, and `nearest` and `nearest_distances` of the bank, where it is asked for.

    Weights are kept in float16 and computed with in float32; for what does not ask for these outputs nothing changes.

    Args:
        path: of a graph with `features`, which is written anew; the same bytes for the same arrays.
        fitted: on what `seeing` tells; with a bank of at least one image.
        width: how many features are those of one network, from the first on.
        with_nearest: whether learned images may be told.
    """
    onnx = require("onnx", purpose="writing model.onnx", install="onnx")
    model = onnx.load(str(path))
    nodes = _Nodes(onnx, model)
    _see(nodes, width)
    points = _points(nodes, fitted)
    if with_nearest or fitted.method == "images":
        distances = _nearest(nodes, points, fitted, with_nearest=with_nearest)
    if fitted.method == "images":
        last = nodes.whole("last", np.array(min(NEIGHBOURS, len(fitted.bank)) - 1))
        nodes.add("Gather", [distances, last], "novelty", axis=1)
    else:
        _nearest_class(nodes, points, fitted)
    nodes.give("novelty", "FLOAT")
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


class _Nodes:
    """Adds nodes and weights to a graph, by names of their own."""

    def __init__(self, onnx: Any, model: Any) -> None:
        self.onnx, self.graph = onnx, model.graph
        shaped = onnx.shape_inference.infer_shapes(model).graph
        # Of tensors as they were, as far as it is known; 0 for a side that is not fixed, as that of a batch.
        self.sides = {
            value.name: tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
            for value in (*shaped.output, *shaped.value_info)
        }

    def add(self, kind: str, inputs: list[str], name: str, *more: str, **attributes: Any) -> str:
        """The name of the first result."""
        node = self.onnx.helper.make_node(kind, inputs, [name, *more], name=f"{name}_{kind}", **attributes)
        self.graph.node.append(node)
        return name

    def _weight(self, name: str, values: NDArray[Any]) -> str:
        self.graph.initializer.append(self.onnx.numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def whole(self, name: str, values: NDArray[np.int64]) -> str:
        return self._weight(f"novelty/{name}", values.astype(np.int64))

    def number(self, name: str, values: Any) -> str:
        return self._weight(f"novelty/{name}", np.asarray(values, np.float32))

    def halved(self, name: str, values: NDArray[np.float64]) -> str:
        """Weights that float16 holds but for a power of two, as float32."""
        factor = factor_of(values)
        stored = self._weight(f"novelty/{name}", (values / factor).astype(np.float16))
        wide = self.add("Cast", [stored], f"novelty/{name}/wide", to=self.onnx.TensorProto.FLOAT)
        return self.add("Mul", [wide, self.number(f"{name}/factor", factor)], f"novelty/{name}/values")

    def squared_lengths(self, points: str, name: str) -> str:
        """(batch, 1)."""
        squares = self.add("Mul", [points, points], f"novelty/{name}/squares")
        # As an input, axes are the same in all versions from 13 on.
        axis = self.whole(f"{name}/axis", np.array([1]))
        return self.add("ReduceSum", [squares, axis], f"novelty/{name}/lengths", keepdims=1)

    def distances(self, points: str, others: NDArray[np.float64], name: str) -> str:
        """(batch, num_others) squared, from points to others that float16 holds."""
        held = self.halved(f"{name}/transposed", others.T)
        products = self.add("MatMul", [points, held], f"novelty/{name}/products")
        doubled = self.add("Mul", [products, self.number(f"{name}/two", 2)], f"novelty/{name}/doubled")
        lengths = self.number(f"{name}/other_lengths", (others**2).sum(axis=1)[None])
        both = self.add("Add", [self.squared_lengths(points, name), lengths], f"novelty/{name}/both")
        found = self.add("Sub", [both, doubled], f"novelty/{name}/signed")
        return self.add("Relu", [found], f"novelty/{name}/distances")

    def smallest(self, table: str, count: int, name: str, indices: str = "") -> str:
        """(batch, count), ascending."""
        number = self.whole(f"{name}/count", np.array([count]))
        more = indices or f"novelty/{name}/indices"
        return self.add("TopK", [table, number], f"novelty/{name}/smallest", more, axis=1, largest=0, sorted=1)

    def give(self, name: str, kind: str, *sides: int) -> None:
        """Declare an output; its batch is called what that of the first output is."""
        value = self.onnx.helper.make_tensor_value_info(name, getattr(self.onnx.TensorProto, kind), [0, *sides])
        value.type.tensor_type.shape.dim[0].CopyFrom(self.graph.output[0].type.tensor_type.shape.dim[0])
        self.graph.output.append(value)


def _smaller_maps(nodes: _Nodes) -> dict[str, tuple[int, int, int]]:
    """Maps after they were made smaller, the last first, to channels, height, width.

    Of those on the way to the features of one network; each as the next layer reads it. What no layer reads by itself,
    a runtime computes in one step with what comes before and after, and is slower where it has to hand it out.
    """
    weights = {weight.name for weight in nodes.graph.initializer}
    maker = {name: node for node in nodes.graph.node for name in node.output}
    found, name, read = {}, "features", "features"
    while name in maker:
        sides = nodes.sides.get(name, ())
        if _makes_smaller(maker[name]) and len(sides) == 4 and min(sides[2:]) > 1:
            whole = read if nodes.sides.get(read, ())[2:] == sides[2:] else name
            found[whole] = nodes.sides[whole][1:]
        # Of several, as where members stand side by side, the first; a weight is on no way from an image.
        given = next((given for given in maker[name].input if given not in weights), "")
        read = given if maker[name].op_type in _READERS else read
        name = given
    return found


def _makes_smaller(node: Any) -> bool:
    strides = next((list(given.ints) for given in node.attribute if given.name == "strides"), [1])
    return node.op_type in _SMALLER and (node.op_type != "Conv" or min(strides) > 1)


def _see(nodes: _Nodes, width: int) -> int:
    """Compute SEEN, (batch, values), whose length does not count; how many values it has."""
    seen, maps = "features", _smaller_maps(nodes)
    if nodes.sides["features"][-1] != width:
        limits = [nodes.whole(name, np.array([side])) for name, side in (("start", 0), ("end", width), ("of", 1))]
        seen = nodes.add("Slice", [seen, *limits], "novelty/one")
    parts = [nodes.add("LpNormalization", [seen], "novelty/features", axis=1, p=2)]
    num_channels = sum(channels for channels, *_ in maps.values())
    num_parts = 2 if width + 4 * num_channels <= _MOST_OF_QUARTERS else 1
    for number, (name, (channels, *sizes)) in enumerate(maps.items(), start=1):
        # Two windows along each side, which share the middle of an odd one; or one, which this kind adds up faster.
        kernel, strides = [-(-size // 2) for size in sizes], [size // 2 for size in sizes]
        windows = {"kernel_shape": kernel, "strides": strides} if num_parts == 2 else {}
        kind = "AveragePool" if windows else "GlobalAveragePool"
        means = nodes.add(kind, [name], f"novelty/map_{number}", **windows)
        flat = nodes.whole(f"map_{number}/flat", np.array([0, num_parts**2 * channels]))
        row = nodes.add("Reshape", [means, flat], f"novelty/map_{number}/row")
        parts.append(nodes.add("LpNormalization", [row], f"novelty/map_{number}/direction", axis=1, p=2))
    nodes.add("Concat", parts, SEEN, axis=1)
    return width + num_parts**2 * num_channels


def _points(nodes: _Nodes, fitted: FittedNovelty) -> str:
    """As `sightline.metrics.novelty.placed` does."""
    points = nodes.add("LpNormalization", [SEEN], "novelty/points", axis=1, p=2)
    if fitted.directions is None:
        return points
    along = nodes.add("MatMul", [points, nodes.halved("directions", fitted.directions)], "novelty/along")
    lengths = nodes.squared_lengths(along, "along")
    left = nodes.add("Sub", [nodes.number("all", 1), lengths], "novelty/left")
    rest = nodes.add("Sqrt", [nodes.add("Relu", [left], "novelty/left/positive")], "novelty/rest")
    return nodes.add("Concat", [along, rest], "novelty/narrow", axis=1)


def _nearest(nodes: _Nodes, points: str, fitted: FittedNovelty, *, with_nearest: bool) -> str:
    """Distances to the nearest of the bank, (batch, count)."""
    count = min(NEIGHBOURS, len(fitted.bank))
    squared = nodes.smallest(nodes.distances(points, fitted.bank, "bank"), count, "bank", "novelty/bank/rows")
    distances = nodes.add("Sqrt", [squared], "nearest_distances" if with_nearest else "novelty/bank/roots")
    if with_nearest:
        nodes.add("Cast", ["novelty/bank/rows"], "nearest", to=nodes.onnx.TensorProto.INT32)
        nodes.give("nearest", "INT32", count)
        nodes.give("nearest_distances", "FLOAT", count)
    return distances


def _nearest_class(nodes: _Nodes, points: str, fitted: FittedNovelty) -> None:
    centred = nodes.add("Sub", [points, nodes.number("centre", fitted.classes.centre[None])], "novelty/centred")
    scaled = nodes.add("MatMul", [centred, nodes.halved("scale", fitted.classes.scale)], "novelty/scaled")
    distances = nodes.distances(scaled, fitted.classes.class_means, "classes")
    first = nodes.whole("first", np.array(0))
    nodes.add("Gather", [nodes.smallest(distances, 1, "classes"), first], "novelty", axis=1)
