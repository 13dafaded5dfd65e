from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from sightline.bundles.bundle import FOLDER
from sightline.bundles.maps.nodes import read_nodes, with_outputs
from sightline.errors import InvalidBundle

GRAPH = FOLDER / "model.onnx"


def test_operators_names_and_numbers_are_those_that_the_package_onnx_reads() -> None:
    found, graph = read_nodes(GRAPH), onnx.load(str(GRAPH)).graph
    assert [(node.operator, *node.inputs, *node.outputs) for node in found.nodes] == [
        (node.op_type, *node.input, *node.output) for node in graph.node
    ]
    assert found.numbers == {
        weight.name: tuple(np.atleast_1d(numpy_helper.to_array(weight)).tolist())
        for weight in graph.initializer
        if weight.data_type == TensorProto.INT64
    }
    assert found.weights == {weight.name: tuple(weight.dims) for weight in graph.initializer}
    for node, known in zip(found.nodes, graph.node, strict=True):
        told = {entry.name: helper.get_attribute_value(entry) for entry in known.attribute}
        plain = {name: value.decode() if isinstance(value, bytes) else value for name, value in told.items()}
        assert node.attributes == {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in plain.items()
            if not isinstance(value, onnx.TensorProto)
        }


def test_a_negative_number_is_one_and_an_operator_of_another_domain_is_not_known(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"], axis=-1),
        helper.make_node("Flatten", ["flat"], ["logits"], domain="own"),
    ]
    path = tmp_path / "a.onnx"
    path.write_bytes(helper.make_model(helper.make_graph(nodes, "g", [], [])).SerializeToString())
    assert [(node.operator, node.attributes) for node in read_nodes(path).nodes] == [
        ("Flatten", {"axis": -1}),
        ("", {}),
    ]


def test_what_differs_from_image_to_image_is_what_follows_from_them(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["w"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["images", "wide"], ["flat"]),
        helper.make_node("Shape", ["images"], ["shape"]),
        helper.make_node("Reshape", ["flat", "shape"], ["logits"]),
    ]
    weight = numpy_helper.from_array(np.zeros(3, np.float16), "w")
    path = tmp_path / "a.onnx"
    path.write_bytes(helper.make_model(helper.make_graph(nodes, "g", [], [], [weight])).SerializeToString())
    assert read_nodes(path).of_images() == {"images", "flat", "logits"}


def test_a_graph_with_more_outputs_gives_its_tensors_and_the_same_logits() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)
    content = with_outputs(GRAPH, ["mean", "six"])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    logits, features, mean, six = session.run(["logits", "features", "mean", "six"], {"images": images})
    plain = onnxruntime.InferenceSession(str(GRAPH), options, providers=["CPUExecutionProvider"])
    assert np.abs(logits - plain.run(["logits"], {"images": images})[0]).max() < 1e-5
    assert (mean.reshape(1, -1) == features).all()
    assert six.tolist() == [6]


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"\x3a\xff\xff")
    with pytest.raises(InvalidBundle, match="not a graph that Sightline runs"):
        read_nodes(path)
    with pytest.raises(InvalidBundle, match="not a graph that Sightline runs"):
        with_outputs(path, ["a"])


def test_few_whole_numbers_are_read_however_they_are_written(tmp_path: Path) -> None:
    held = [
        numpy_helper.from_array(np.array([0, -2, 3]), "raw"),
        helper.make_tensor("listed", TensorProto.INT64, [2], [-1, 5]),
        numpy_helper.from_array(np.arange(1000), "many"),
        numpy_helper.from_array(np.arange(2.0), "floats"),
    ]
    path = tmp_path / "a.onnx"
    path.write_bytes(helper.make_model(helper.make_graph([], "g", [], [], held)).SerializeToString())
    assert read_nodes(path).numbers == {"raw": (0, -2, 3), "listed": (-1, 5)}
