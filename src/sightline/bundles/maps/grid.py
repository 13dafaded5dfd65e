"""Where on an image the cells of a map lie: followed through convolutions and pooling from the pixels on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.maps.nodes import Node, Nodes

_WINDOWS = ("Conv", "MaxPool", "AveragePool")
# Behind them nothing is in one place any more, or not where it was.
_SCATTER = (
    "ConvTranspose",
    "DepthToSpace",
    "Flatten",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "MatMul",
    "ReduceMax",
    "ReduceMean",
    "Resize",
    "Slice",
    "SpaceToDepth",
    "Upsample",
)


@dataclass(frozen=True)
class Axis:
    """Cells along one side of an image.

    Attributes:
        size: how many.
        first: where the middle of the first one lies, in pixels from the border.
        step: from one middle to the next.
    """

    size: int
    first: float
    step: float

    def over(self, side: int) -> Axis:
        """The same, evenly over an image of so many pixels if it reaches over all of it.

        Where a window is padded, what it sees is cut off by the border: what lies in the outermost cells lies farther
        in than in the middle of their windows, which some frameworks also pad on one side alone.
        """
        return Axis(self.size, side / self.size / 2, side / self.size) if self.size * self.step >= side else self

    @property
    def middles(self) -> NDArray[np.float64]:
        """(size,) where their middles lie."""
        return np.asarray(self.first + self.step * np.arange(self.size), np.float64)


@dataclass(frozen=True)
class Grid:
    """Cells of a map over an image of so many pixels.

    Attributes:
        height: of the image that the network is fed.
        width: likewise.
        rows: cells from top to bottom.
        columns: cells from left to right.
    """

    height: int
    width: int
    rows: Axis
    columns: Axis

    def spread(self, maps: NDArray[np.float32], size: tuple[int, int] | None = None) -> NDArray[np.float64]:
        """Maps (..., rows, columns) on an image of (height, width), that of the network if left out.

        Between the middles of cells it goes straight, beyond the outermost it stays.
        """
        height, width = size or (self.height, self.width)
        down = _weights(self.rows, self.height, height)
        right = _weights(self.columns, self.width, width)
        return np.asarray(down @ np.asarray(maps, np.float64) @ right.T)


def even_grid(shape: tuple[int, int], cells: tuple[int, int]) -> Grid:
    """Cells that share out an image of (height, width) evenly."""
    axes = [Axis(count, side / count / 2, side / count) for side, count in zip(shape, cells, strict=True)]
    return Grid(*shape, *axes)


def grids_of(nodes: Nodes, shape: tuple[int, int]) -> dict[str, Grid]:
    """The grid of each tensor of a graph that has one, for images of (height, width)."""
    found = {"images": even_grid(shape, shape)}
    sides = dict(nodes.weights)
    for node in nodes.nodes:
        if len(node.inputs) == 1 and node.inputs[0] in sides:
            sides |= dict.fromkeys(node.outputs, sides[node.inputs[0]])  # a weight in another dtype
        # Of several inputs the first that lies somewhere: what is multiplied with it or added lies there, too.
        grid = next((found[name] for name in node.inputs if name in found), None)
        if grid is None or not node.operator or node.operator in _SCATTER:
            continue
        if node.operator in _WINDOWS:
            grid = _behind(node, grid, sides)
        elif node.operator == "Pad":
            grid = _padded(node, grid, nodes.numbers)
        if grid is not None:
            found |= dict.fromkeys(node.outputs, grid)
    return found


def _behind(node: Node, grid: Grid, sides: Mapping[str, tuple[int, ...]]) -> Grid | None:
    """The grid behind a convolution or a pooling; None where it is of a kind that is not followed."""
    kernel = node.attributes.get("kernel_shape") or sides.get((*node.inputs, "")[1], ())[2:]
    strides = node.attributes.get("strides", (1, 1))
    dilations = node.attributes.get("dilations", (1, 1))
    pads = node.attributes.get("pads", (0, 0, 0, 0))
    kind = node.attributes.get("auto_pad", "NOTSET")
    lists = [value for value in (kernel, strides, dilations, pads) if isinstance(value, tuple)]
    if [len(value) for value in lists] != [2, 2, 2, 4] or min(*lists[0], *lists[1], *lists[2]) < 1:
        return None
    axes = []
    for number, axis in enumerate((grid.rows, grid.columns)):
        side, stride, dilation = (value[number] for value in lists[:3])
        reach = dilation * (side - 1) + 1
        before, after = lists[3][number], lists[3][number + 2]
        if kind in ("SAME_UPPER", "SAME_LOWER"):
            missing = max((-(-axis.size // stride) - 1) * stride + reach - axis.size, 0)
            before = missing // 2 if kind == "SAME_UPPER" else -(-missing // 2)
            after = missing - before
        room = axis.size + before + after - reach
        size = (-(-room // stride) if node.attributes.get("ceil_mode") else room // stride) + 1
        axes.append(Axis(size, axis.first + axis.step * ((reach - 1) / 2 - before), axis.step * stride))
    return Grid(grid.height, grid.width, *axes)


def _padded(node: Node, grid: Grid, numbers: Mapping[str, tuple[int, ...]]) -> Grid | None:
    """The grid with margins around it, of four sides each before and behind; None where they are not told."""
    told = node.attributes.get("pads") or numbers.get((*node.inputs, "")[1], ())
    if not isinstance(told, tuple) or len(told) != 8:
        return None
    # Channels have no margins: where the second side has some, it is that of rows, and channels come last.
    first = 1 if told[1] or told[5] else 2
    axes = [
        Axis(axis.size + told[at] + told[at + 4], axis.first - axis.step * told[at], axis.step)
        for at, axis in ((first, grid.rows), (first + 1, grid.columns))
    ]
    return Grid(grid.height, grid.width, *axes)


def _weights(axis: Axis, side: int, pixels: int) -> NDArray[np.float64]:
    """(pixels, cells): how much of each cell each pixel has; each row sums to 1."""
    middles = (np.arange(pixels) + 0.5) * side / pixels
    place = np.clip((middles - axis.first) / axis.step, 0, axis.size - 1)
    low = np.minimum(place.astype(np.int64), max(axis.size - 2, 0))
    share = place - low
    weights = np.zeros((pixels, axis.size))
    rows = np.arange(pixels)
    weights[rows, low] = 1 - share
    weights[rows, np.minimum(low + 1, axis.size - 1)] += share
    return weights
