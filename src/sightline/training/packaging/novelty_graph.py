"""Nodes behind the features of an exported graph: how novel an image is, and which learned ones are nearest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import require
from sightline.metrics.novelty import NEIGHBOURS
from sightline.training.packaging.novelty_fit import FittedNovelty, factor_of


def add_novelty(path: Path, fitted: FittedNovelty, *, with_nearest: bool) -> None:
    """Give a graph the output `novelty`, and `nearest` and `nearest_distances` of the bank, where it is asked for.

    Weights are kept in float16 and computed with in float32; for what does not ask for these outputs nothing changes.

    Args:
        path: of a graph with `features`, which is written anew; the same bytes for the same arrays.
        fitted: with a bank of at least one image.
        with_nearest: whether learned images may be told.
    """
    onnx = require("onnx", purpose="writing model.onnx", install="onnx")
    model = onnx.load(str(path))
    nodes = _Nodes(onnx, model.graph)
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

    def __init__(self, onnx: Any, graph: Any) -> None:
        self.onnx, self.graph = onnx, graph

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


def _points(nodes: _Nodes, fitted: FittedNovelty) -> str:
    """As `sightline.metrics.novelty.placed` does."""
    width = next(output for output in nodes.graph.output if output.name == "features").type.tensor_type.shape.dim[1]
    features = "features"
    if width.dim_value != fitted.width:
        limits = [
            nodes.whole(name, np.array([side])) for name, side in (("start", 0), ("end", fitted.width), ("of", 1))
        ]
        features = nodes.add("Slice", [features, *limits], "novelty/one")
    points = nodes.add("LpNormalization", [features], "novelty/points", axis=1, p=2)
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
