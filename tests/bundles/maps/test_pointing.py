"""Do maps point at what they should? Four textures in a square, of which a network was fitted to tell one at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sightline.bundles.maps.activations import activation_maps
from sightline.bundles.maps.grid import Grid
from sightline.bundles.maps.occlusion import occlusion_maps
from sightline.bundles.sessions import Session, session_of
from sightline.records import Bundle, InputSpec

SIDE, NUM_FILTERS = 64, 24
PARTS = ((0, 0), (0, 1), (1, 0), (1, 1))


def texture(label: int, side: int, draw: np.random.Generator) -> NDArray[np.uint8]:
    rows, columns = np.ogrid[0:side, 0:side]
    along = (rows + 0 * columns, columns + 0 * rows, rows + columns, rows - columns)[label]
    waves = 110 + 70 * np.sin(2 * np.pi * (along / 6 + draw.random()))
    return np.clip(waves + draw.normal(0, 25, (side, side)), 0, 255).astype(np.uint8)[..., None]


def mosaic(draw: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A picture, and which texture is in each quarter."""
    labels = draw.permutation(4)
    tiles = [texture(label, SIDE // 2, draw) for label in labels.tolist()]
    return np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])]), labels


def network(folder: Path, head: NDArray[Any] | None = None) -> Bundle:
    """Random filters, a mean over positions, and a head, if it was fitted."""
    draw = np.random.default_rng(0)
    weights: dict[str, NDArray[Any]] = {
        "scale": np.array(1 / 255, np.float32),
        "kernel": (draw.normal(size=(NUM_FILTERS, 1, 7, 7)) / 7).astype(np.float32),
        "head": np.zeros((NUM_FILTERS, 4), np.float32) if head is None else head[:-1].astype(np.float32),
        "bias": np.zeros(4, np.float32) if head is None else head[-1].astype(np.float32),
    }
    # A filter that answers to light alone would tell no texture.
    weights["kernel"] -= weights["kernel"].mean(axis=(2, 3), keepdims=True)
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["small"]),
        helper.make_node("Transpose", ["small"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "kernel"], ["wide"], kernel_shape=[7, 7], strides=[4, 4], pads=[3] * 4),
        helper.make_node("Relu", ["wide"], ["map"]),
        helper.make_node("GlobalAveragePool", ["map"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["features"]),
        helper.make_node("Gemm", ["features", "head", "bias"], ["logits"]),
    ]
    given = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIDE, SIDE, 1])
    made = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])
        for name, width in (("logits", 4), ("features", NUM_FILTERS))
    ]
    held = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [given], made, held), opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    )
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return Bundle(folder, tuple("abcd"), InputSpec(SIDE, SIDE, "grey"), 1.0, 0, {}, {"files": {}})


def fitted_head(session: Session, draw: np.random.Generator) -> NDArray[np.float64]:
    """(NUM_FILTERS + 1, 4), by least squares on single textures; the last row is the bias."""
    labels = np.arange(200) % 4
    images = np.stack([texture(label, SIDE, draw) for label in labels.tolist()])
    features = session.collect(images, ["features"])["features"].astype(np.float64)
    wide = np.hstack([features, np.ones((200, 1))])
    ridge = 1e-4 * np.eye(NUM_FILTERS + 1)
    return np.asarray(20 * np.linalg.solve(wide.T @ wide + ridge, wide.T @ np.eye(4)[labels]))


def pointing(grid: Grid, maps: NDArray[Any], quarters: NDArray[np.int64]) -> float:
    """How often the largest value lies in the quarter that it should lie in."""
    spread, half = grid.spread(maps), SIDE // 2
    largest = [spread[:, a * half :, b * half :][:, :half, :half].max(axis=(1, 2)) for a, b in PARTS]
    return float((np.stack(largest, axis=1).argmax(axis=1) == quarters).mean())


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    """One with a fitted head, one whose head is shuffled."""
    folder, draw = tmp_path_factory.mktemp("textures"), np.random.default_rng(1)
    head = fitted_head(session_of(network(folder / "empty")), draw)
    return network(folder / "fitted", head), network(folder / "shuffled", draw.permuted(head, axis=0))


def test_maps_point_at_the_quarter_of_their_class_and_those_of_a_shuffled_head_do_not(
    bundles: tuple[Bundle, Bundle],
) -> None:
    draw = np.random.default_rng(2)
    images, laid = (np.stack(part) for part in zip(*[mosaic(draw) for _ in range(100)], strict=True))
    asked = draw.integers(0, 4, 100)
    quarters = (laid == asked[:, None]).argmax(axis=1)
    found = []
    for bundle in bundles:
        way = activation_maps(bundle)
        assert way is not None
        found.append(pointing(way.grid, way.parts(images, np.eye(4)[asked] - 0.25)[0], quarters))
    # Chance is 0.25, and below 0.42 in all but one of 10,000 draws.
    assert found[0] >= 0.85, found
    assert found[1] < 0.5, found


def test_occlusion_points_there_too(bundles: tuple[Bundle, Bundle]) -> None:
    draw = np.random.default_rng(3)
    images, laid = (np.stack(part) for part in zip(*[mosaic(draw) for _ in range(20)], strict=True))
    asked = draw.integers(0, 4, 20)
    way = occlusion_maps(session_of(bundles[0]), bundles[0].input)
    maps = np.stack([way.drops(image, label)[0] for image, label in zip(images, asked.tolist(), strict=True)])
    assert pointing(way.grid, maps, (laid == asked[:, None]).argmax(axis=1)) >= 0.85
