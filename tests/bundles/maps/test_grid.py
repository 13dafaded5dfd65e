from __future__ import annotations

import numpy as np
import pytest

from sightline.bundles.maps.grid import Axis, Grid, even_grid, grids_of
from sightline.bundles.maps.nodes import Node, Nodes


def window(kind: str, given: str, made: str, **attributes: object) -> Node:
    return Node(kind, (given,), (made,), attributes)  # type: ignore[arg-type]


def seen_by(nodes: Nodes, name: str, side: int) -> list[float]:
    """The middle of the pixels that each cell of a side sees, by the definition: windows of windows."""
    cells = [(pixel, pixel + 1) for pixel in range(side)]
    for node in nodes.nodes:
        kernel, stride, before = (
            node.attributes[key][0] if key in node.attributes else usual  # type: ignore[index]
            for key, usual in (("kernel_shape", 1), ("strides", 1), ("pads", 0))
        )
        size = (len(cells) + 2 * before - kernel) // stride + 1
        # Beyond the border lie pixels, too, of which nothing comes.
        step = cells[1][0] - cells[0][0]
        reach = cells[0][1] - cells[0][0]
        first = cells[0][0] - before * step
        cells = [
            (first + number * stride * step, first + (number * stride + kernel - 1) * step + reach)
            for number in range(size)
        ]
        if name in node.outputs:
            break
    return [(low + high) / 2 for low, high in cells]


def test_cells_lie_in_the_middle_of_what_they_see() -> None:
    nodes = Nodes(
        (
            window("Conv", "images", "a", kernel_shape=(5, 5), strides=(1, 1), pads=(2, 2, 2, 2)),
            window("MaxPool", "a", "b", kernel_shape=(2, 2), strides=(2, 2)),
            window("Conv", "b", "c", kernel_shape=(5, 5)),
            window("MaxPool", "c", "d", kernel_shape=(2, 2), strides=(2, 2)),
        ),
        {},
    )
    grid = grids_of(nodes, (28, 28))["d"]
    assert grid.rows.middles.tolist() == seen_by(nodes, "d", 28) == [6, 10, 14, 18, 22]
    assert grid.rows == grid.columns


def test_what_is_padded_by_itself_keeps_its_size_divided_by_the_stride() -> None:
    conv = Node("Conv", ("images", "w"), ("a",), {"auto_pad": "SAME_UPPER", "strides": (2, 2)})
    grid = grids_of(Nodes((conv,), {"w": (8, 3, 3, 3)}), (32, 20))["a"]
    assert (grid.rows.size, grid.columns.size) == (16, 10)
    assert grid.rows.over(32) == Axis(16, 1, 2)


def test_of_several_inputs_the_one_that_lies_somewhere_counts() -> None:
    nodes = (
        window("MaxPool", "images", "a", kernel_shape=(2, 2), strides=(2, 2)),
        Node("GlobalAveragePool", ("a",), ("mean",), {}),
        Node("Mul", ("mean", "a"), ("scaled",), {}),
    )
    grids = grids_of(Nodes(nodes, {}), (8, 8))
    assert grids["scaled"] == grids["a"]
    assert "mean" not in grids


@pytest.mark.parametrize(
    "attributes",
    [{"kernel_shape": (2,)}, {"kernel_shape": 3}, {"kernel_shape": (2, 2), "strides": (0, 1)}, {}],
)
def test_a_window_of_another_kind_is_not_followed(attributes: dict[str, object]) -> None:
    assert "a" not in grids_of(Nodes((window("Conv", "images", "a", **attributes),), {}), (8, 8))


def test_spreading_keeps_cells_at_their_middles_and_goes_straight_between() -> None:
    grid = Grid(8, 8, Axis(2, 2, 4), Axis(1, 4, 8))
    spread = grid.spread(np.array([[0.0], [4.0]], np.float32))
    assert spread[:, 0].tolist() == [0, 0, 0.5, 1.5, 2.5, 3.5, 4, 4]
    assert (spread == spread[:, :1]).all()
    assert grid.spread(np.ones((3, 2, 1), np.float32), (5, 7)).shape == (3, 5, 7)


def test_an_even_grid_of_as_many_cells_as_pixels_is_the_image() -> None:
    values = np.random.default_rng(0).random((3, 5)).astype(np.float32)
    assert np.abs(even_grid((3, 5), (3, 5)).spread(values) - values).max() < 1e-12


@pytest.mark.parametrize("pads", [(0, 2, 1, 0, 0, 2, 3, 0), (0, 0, 2, 1, 0, 0, 2, 3)])
def test_margins_move_cells_outwards(pads: tuple[int, ...]) -> None:
    nodes = (
        Node("Pad", ("images", "pads"), ("a",), {}),
        window("MaxPool", "a", "b", kernel_shape=(2, 2), strides=(2, 2)),
    )
    grid = grids_of(Nodes(nodes, {}, {"pads": pads}), (28, 28))["b"]
    assert (grid.rows, grid.columns) == (Axis(16, -1, 2), Axis(16, 0, 2))
    assert "b" not in grids_of(Nodes(nodes, {}), (28, 28))
