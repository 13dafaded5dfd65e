from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sightline.bundles.bundle import FOLDER
from sightline.bundles.graphs import Output, check_graph, graph_outputs, write_with_metadata
from sightline.errors import InvalidBundle

IMAGES = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 2, 2, 1])
LOGITS = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])


def save(path: Path, nodes: list[Any], *, initializers: tuple[Any, ...] = (), functions: tuple[Any, ...] = ()) -> Path:
    graph = helper.make_graph(nodes, "g", [IMAGES], [LOGITS], list(initializers))
    path.write_bytes(helper.make_model(graph, functions=list(functions)).SerializeToString())
    return path


def harmless() -> list[Any]:
    shape = numpy_helper.from_array(np.array([-1, 4]), "shape")
    return [
        helper.make_node("Constant", [], ["shape"], value=shape),
        helper.make_node("Reshape", ["images", "shape"], ["flat"]),
        helper.make_node("Cast", ["flat"], ["logits"], to=TensorProto.FLOAT),
    ]


def test_outputs_are_read_with_their_dtypes_and_shapes() -> None:
    assert graph_outputs(FOLDER / "model.onnx")[0] == Output("logits", "float32", ("batch", 1000))
    assert graph_outputs(FOLDER / "model.onnx")[2].shape == ("batch", "rows", "columns", 112)


def test_a_graph_of_standard_operators_is_let_through(tmp_path: Path) -> None:
    check_graph(save(tmp_path / "a.onnx", harmless()))


def loop() -> Any:
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["still_on"])],
        "body",
        [
            helper.make_tensor_value_info("count", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("still_on", TensorProto.BOOL, [])],
    )
    return helper.make_node("Loop", ["", "on"], [], body=body)


def function(name: str, calls: list[str]) -> Any:
    nodes = [helper.make_node(call, ["x"], [f"y{number}"], domain="own") for number, call in enumerate(calls)]
    nodes.append(helper.make_node("Identity", ["x"], ["z"]))
    return helper.make_function("own", name, ["x"], ["z"], nodes, [helper.make_opsetid("", 17)])


def external() -> Any:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def foreign() -> Any:
    return helper.make_node("Gelu", ["images"], ["logits"], domain="com.microsoft")


@pytest.mark.parametrize(
    ("parts", "match"),
    [
        ({"nodes": [loop()]}, "a graph within a graph"),
        ({"nodes": [helper.make_node("Scan", ["images"], ["logits"])]}, "the operator Scan"),
        ({"nodes": [foreign()]}, "the operator 'Gelu' of 'com.microsoft'"),
        ({"nodes": harmless(), "initializers": (external(),)}, "weights lie in another file"),
        ({"nodes": [helper.make_node("Constant", [], ["logits"], value=external())]}, "weights lie in another file"),
        ({"nodes": [helper.make_node("f", ["images"], ["x"], domain="own")]}, "the operator 'f' of 'own'"),
    ],
)
def test_what_could_run_on_or_reach_out_is_refused(parts: dict[str, Any], match: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidBundle, match=match):
        check_graph(save(tmp_path / "a.onnx", **parts))


def test_functions_within_the_file_are_let_through_while_they_are_small(tmp_path: Path) -> None:
    nodes = [*harmless(), helper.make_node("f0", ["images"], ["x"], domain="own")]
    check_graph(save(tmp_path / "a.onnx", nodes, functions=(function("f0", ["f1"]), function("f1", []))))
    doubled = [function(f"f{depth}", [f"f{depth + 1}"] * 8) for depth in range(8)]
    with pytest.raises(InvalidBundle, match="more than 200,000 operators"):
        check_graph(save(tmp_path / "b.onnx", nodes, functions=(*doubled, function("f8", []))))
    with pytest.raises(InvalidBundle, match="functions call one another"):
        check_graph(save(tmp_path / "c.onnx", nodes, functions=(function("f0", ["f0"]),)))


def test_a_graph_that_comes_in_two_parts_is_looked_at_whole(tmp_path: Path) -> None:
    # Readers of protocol buffers lay the parts together.
    path = save(tmp_path / "a.onnx", harmless())
    more = onnx.ModelProto(graph=helper.make_graph([foreign()], "g", [], []))
    path.write_bytes(path.read_bytes() + more.SerializeToString())
    with pytest.raises(InvalidBundle, match="Gelu"):
        check_graph(path)


@pytest.mark.parametrize("keep", [0, 1, 7, 60, 150])
def test_a_graph_that_is_cut_off_is_refused(keep: int, tmp_path: Path) -> None:
    path = save(tmp_path / "a.onnx", harmless())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InvalidBundle, match=r"a\.onnx: not a graph"):
        check_graph(path)


def test_a_file_of_nothing_but_small_parts_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.bundles.graphs.MOST_FIELDS", 1_000)
    path = tmp_path / "a.onnx"
    path.write_bytes(b"\x08\x01" * 2_000)
    with pytest.raises(InvalidBundle, match="parts"):
        check_graph(path)


def test_metadata_that_a_graph_has_is_kept_and_that_of_the_same_keys_replaced(tmp_path: Path) -> None:
    graph = save(tmp_path / "a.onnx", harmless())
    model = onnx.load(graph)
    helper.set_model_props(model, {"author": "me", "sightline.labels": "forged"})
    graph.write_bytes(model.SerializeToString())
    write_with_metadata(graph, tmp_path / "b.onnx", {"sightline.labels": "[1]", "long": "ü" * 300})
    found = onnx.load(tmp_path / "b.onnx")
    told = [(entry.key, entry.value) for entry in found.metadata_props]
    assert told == [("author", "me"), ("sightline.labels", "[1]"), ("long", "ü" * 300)]
    assert found.graph == model.graph
