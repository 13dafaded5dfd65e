"""Nodes behind the features of a graph: they compute what NumPy does, stay small, and come out the same each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="writing a graph needs onnx")
pytest.importorskip("keras", reason="the package of training needs Keras")

import onnx

from sightline.bundles.graphs import check_graph
from sightline.bundles.sessions import Session
from sightline.metrics.novelty import NEIGHBOURS, placed, principal_directions, squared_distances
from sightline.training.packaging.novelty_fit import SEEN, FittedNovelty, _fit, _Seen, kept_width, rounded
from sightline.training.packaging.novelty_graph import add_novelty, seeing

MEBI = 1_000_000


def graph(path: Path, width: int) -> Path:
    """Its features are its pixels, as numbers from -1 to 1, and its logits the first two of them."""
    make, kind = onnx.helper.make_node, onnx.TensorProto
    nodes = [
        make("Cast", ["images"], ["wide"], to=kind.FLOAT),
        make("Sub", ["wide", "middle"], ["centred"]),
        make("Div", ["centred", "middle"], ["scaled"]),
        make("Flatten", ["scaled"], ["features"]),
        make("Slice", ["features", "start", "end", "axis"], ["logits"]),
    ]
    weights = {"middle": np.float32(127.5), "start": np.array([0]), "end": np.array([2]), "axis": np.array([1])}
    value = onnx.helper.make_tensor_value_info
    made = onnx.helper.make_graph(
        nodes,
        "graph",
        [value("images", kind.UINT8, ["batch", 1, width, 1])],
        [value("features", kind.FLOAT, ["batch", width]), value("logits", kind.FLOAT, ["batch", 2])],
        [onnx.numpy_helper.from_array(np.asarray(values), name) for name, values in weights.items()],
    )
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 15)], ir_version=8)
    onnx.save(model, path)
    return path


def images(count: int, width: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 1, width, 1), np.uint8)


def fitted(path: Path, width: int, *, looked_at: int, method: str, num_classes: int = 3) -> FittedNovelty:
    """On 300 images, by the features of the graph."""
    seen = images(300, width)
    features = Session(path, num_classes=2).collect(seen, ["features"])["features"][:, :looked_at]
    learned = _Seen(features, np.arange(300) % num_classes)
    directions = principal_directions(features, kept_width(learned.features.shape[1], len(np.unique(learned.labels))))
    whole = _fit(learned, None if directions is None else rounded(directions))
    return FittedNovelty(whole.directions, whole.bank, whole.rows, whole.classes, method)


@pytest.mark.parametrize("method", ["images", "classes"])
@pytest.mark.parametrize(("width", "looked_at"), [(40, 40), (80, 40), (640, 640)], ids=["all", "a member", "projected"])
def test_the_graph_gives_what_numpy_computes_and_the_nearest_rows_of_brute_force(
    tmp_path: Path, method: str, width: int, looked_at: int
) -> None:
    path = graph(tmp_path / "model.onnx", width)
    whole = fitted(path, width, looked_at=looked_at, method=method)
    assert (whole.directions is None) == (width < 600)
    add_novelty(path, whole, width=looked_at, with_nearest=True)
    check_graph(path)
    asked = np.concatenate([images(50, width, seed=1), images(3, width)])
    found = Session(path, num_classes=2).collect(asked, ["features", "novelty", "nearest", "nearest_distances"])
    scores = whole.scores(found["features"][:, :looked_at])
    assert found["novelty"].shape == (53,)
    assert (np.abs(found["novelty"] - scores) <= 1e-4 * np.maximum(scores, 1)).all()
    squared = squared_distances(placed(found["features"][:, :looked_at], whole.directions), whole.bank)
    nearest = np.argsort(squared, axis=1, kind="stable")[:, :NEIGHBOURS]
    distances = np.sqrt(np.take_along_axis(squared, found["nearest"].astype(int), axis=1))
    assert found["nearest"][-3:, 0].tolist() == nearest[-3:, 0].tolist() == [0, 1, 2]
    # Of two that are equally far to seven digits either may come first.
    assert np.abs(np.sort(distances, axis=1) - np.sqrt(np.take_along_axis(squared, nearest, axis=1))).max() < 1e-4
    assert np.abs(found["nearest_distances"][:50] - distances[:50]).max() < 1e-4


def test_an_image_that_gives_no_features_and_one_alone_have_the_scores_of_a_batch(tmp_path: Path) -> None:
    path = graph(tmp_path / "model.onnx", 40)
    add_novelty(path, fitted(path, 40, looked_at=40, method="classes"), width=40, with_nearest=False)
    session = Session(path, num_classes=2)
    asked = images(9, 40, seed=2)
    together = session.collect(asked, ["novelty"])["novelty"]
    alone = np.concatenate([session.collect(one[None], ["novelty"])["novelty"] for one in asked])
    assert np.allclose(together, alone, rtol=1e-4)
    assert "nearest" not in session.output_shapes()
    # In float16, what is computed with in float32 is half as large.
    held = {weight.name: weight.data_type for weight in onnx.load(path).graph.initializer}
    assert held["novelty/scale"] == onnx.TensorProto.FLOAT16


def test_the_same_arrays_give_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for name in ("first.onnx", "second.onnx"):
        path = graph(tmp_path / name, 40)
        add_novelty(path, fitted(path, 40, looked_at=40, method="images"), width=40, with_nearest=True)
        written.append(path.read_bytes())
    assert written[0] == written[1]


def pooling_graph(path: Path) -> Path:
    """Two members side by side, whose features are the sums over 3x2 places of a map of 7x5 of one or two channels."""
    make, kind = onnx.helper.make_node, onnx.TensorProto
    nodes = [make("Cast", ["images"], ["wide"], to=kind.FLOAT)]
    weights = {"ones": np.ones((2, 1, 1, 1), np.float32), "flat": np.array([0, -1])}
    for member in ("first", "second"):
        nodes += [
            make("Transpose", ["wide"], [f"{member}/rows"], perm=[0, 3, 1, 2]),
            make("Conv", [f"{member}/rows", "ones"], [f"{member}/conv"]),
            make("MaxPool", [f"{member}/conv"], [f"{member}/large"], kernel_shape=[2, 2], strides=[2, 2]),
            make("AveragePool", [f"{member}/large"], [f"{member}/small"], kernel_shape=[3, 2], strides=[3, 2]),
            make("MaxPool", [f"{member}/small"], [f"{member}/one"], kernel_shape=[2, 2]),
            make("Reshape", [f"{member}/one", "flat"], [f"{member}/features"]),
        ]
    nodes += [
        make("Concat", ["first/features", "second/features"], ["features"], axis=1),
        make("Identity", ["features"], ["logits"]),
    ]
    value = onnx.helper.make_tensor_value_info
    made = onnx.helper.make_graph(
        nodes,
        "graph",
        [value("images", kind.UINT8, ["batch", 14, 10, 1])],
        [value(name, kind.FLOAT, ["batch", 4]) for name in ("features", "logits")],
        [onnx.numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    onnx.save(onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 15)], ir_version=8), path)
    return path


def test_what_is_seen_are_features_and_the_quarters_of_the_maps_of_one_member(tmp_path: Path) -> None:
    session = Session(pooling_graph(tmp_path / "model.onnx"), num_classes=4)
    asked = np.random.default_rng(0).integers(0, 256, (6, 14, 10, 1), np.uint8)
    with seeing(session, width=2) as looking:
        found = looking.collect(asked, ["features", SEEN])
    large = asked.reshape(6, 7, 2, 5, 2).max(axis=(2, 4)).astype(np.float64)
    small = large[:, :6, :4].reshape(6, 2, 3, 2, 2).mean(axis=(2, 4))
    # The middle of an odd side belongs to both halves; the one place that is left in the end has no quarters.
    quarters = [
        [part[:, rows, columns].mean(axis=(1, 2)) for rows in halves[0] for columns in halves[1]]
        for part, halves in (
            (small, ((slice(0, 1), slice(1, 2)),) * 2),
            (large, ((slice(0, 4), slice(3, 7)), (slice(0, 3), slice(2, 5)))),
        )
    ]
    # Both channels are alike.
    rows = [np.concatenate([np.stack(part, axis=1)] * 2, axis=1) for part in quarters]
    parts = [found["features"][:, :2], *rows]
    expected = np.concatenate([part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts], axis=1)
    assert np.abs(found[SEEN] - expected).max() < 1e-6


def striding_graph(path: Path, num_channels: int) -> Path:
    """Features are the means of a map of 6x4 places of two channels or more, which a convolution made of 12x8."""
    make, kind = onnx.helper.make_node, onnx.TensorProto
    kernel = np.ones((num_channels, 1, 2, 2), np.float32) * np.arange(1, num_channels + 1)[:, None, None, None]
    weights = {"ones": kernel.astype(np.float32), "flat": np.array([0, -1])}
    nodes = [
        make("Cast", ["images"], ["wide"], to=kind.FLOAT),
        make("Transpose", ["wide"], ["rows"], perm=[0, 3, 1, 2]),
        make("Conv", ["rows", "ones"], ["small"], strides=[2, 2]),
        make("Relu", ["small"], ["positive"]),
        make("GlobalAveragePool", ["positive"], ["one"]),
        make("Reshape", ["one", "flat"], ["features"]),
        make("Identity", ["features"], ["logits"]),
    ]
    value = onnx.helper.make_tensor_value_info
    made = onnx.helper.make_graph(
        nodes,
        "graph",
        [value("images", kind.UINT8, ["batch", 12, 8, 1])],
        [value(name, kind.FLOAT, ["batch", num_channels]) for name in ("features", "logits")],
        [onnx.numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    onnx.save(onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 15)], ir_version=8), path)
    return path


@pytest.mark.parametrize(("num_channels", "num_parts"), [(2, 2), (256, 2), (257, 1)])
def test_maps_made_smaller_by_steps_are_seen_by_quarters_or_of_wide_networks_whole(
    tmp_path: Path, num_channels: int, num_parts: int
) -> None:
    session = Session(striding_graph(tmp_path / "model.onnx", num_channels), num_classes=num_channels)
    asked = np.random.default_rng(0).integers(0, 256, (5, 12, 8, 1), np.uint8)
    with seeing(session, width=num_channels) as looking:
        found = looking.collect(asked, ["features", SEEN])
    places = asked.reshape(5, 6, 2, 4, 2).sum(axis=(2, 4)).astype(np.float64)
    means = places.reshape(5, num_parts, 6 // num_parts, num_parts, 4 // num_parts).mean(axis=(2, 4)).reshape(5, 1, -1)
    row = (means * np.arange(1, num_channels + 1)[None, :, None]).reshape(5, -1)
    parts = [found["features"], row]
    expected = np.concatenate([part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts], axis=1)
    assert np.abs(found[SEEN] - expected).max() < 1e-6


def test_the_score_of_a_network_with_maps_is_that_of_what_is_seen(tmp_path: Path) -> None:
    session = Session(pooling_graph(tmp_path / "model.onnx"), num_classes=4)
    asked = np.random.default_rng(0).integers(0, 256, (90, 14, 10, 1), np.uint8)
    with seeing(session, width=2) as looking:
        seen = looking.collect(asked, [SEEN])[SEEN]
    whole = _fit(_Seen(seen[:60], np.arange(60) % 3), None)
    add_novelty(session.path, whole, width=2, with_nearest=False)
    kept = Session(session.path, num_classes=4)
    assert SEEN not in kept.output_shapes()
    assert np.abs(kept.collect(asked, ["novelty"])["novelty"] - whole.scores(seen)).max() < 1e-4
    # What is in a bundle is what was fitted by.
    with seeing(kept, width=2) as looking:
        assert (looking.collect(asked, [SEEN])[SEEN] == seen).all()


@pytest.mark.parametrize(("width", "num_classes"), [(1280, 10), (2048, 1000), (512, 5000), (4096, 2)])
def test_whatever_the_network_at_most_four_megabytes_are_added(width: int, num_classes: int) -> None:
    """Counted from the sizes alone: matrices so large take a second each."""
    learned = _Seen(np.zeros((num_classes, width), np.float32), np.arange(num_classes))
    most = kept_width(learned.features.shape[1], len(np.unique(learned.labels)))
    directions = 0 if width <= most else width * (most - 1)
    assert 2 * (1_000 * most + directions + most * most + most * num_classes) < 4 * MEBI
    assert most >= 100


def test_classes_far_apart_and_equal_features_fit_into_float16() -> None:
    features = np.repeat(np.eye(3, dtype=np.float32), 10, axis=0)
    whole: Any = _fit(_Seen(features, np.repeat(np.arange(3), 10)), None)
    for values in (whole.classes.scale, whole.classes.class_means, whole.bank):
        assert np.isfinite(values).all()
    scores = FittedNovelty(None, whole.bank, whole.rows, whole.classes, "classes").scores(features)
    assert scores.max() < FittedNovelty(None, whole.bank, whole.rows, whole.classes, "classes").scores(-features).min()
