from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sightline.bundles.maps.head import steps_of, taken_apart
from sightline.bundles.maps.nodes import Nodes, read_nodes, with_outputs

DRAW = np.random.default_rng(0)


def numbers(*shape: int) -> NDArray[np.float32]:
    return DRAW.normal(size=shape).astype(np.float32)


def node(kind: str, *names: str, **attributes: Any) -> Any:
    return helper.make_node(kind, [*names[:-1]], [names[-1]], **attributes)


DENSE = [node("MatMul", "flat", "m", "x"), node("Add", "b", "x", "logits")]
ENDS: dict[str, tuple[list[Any], dict[str, NDArray[Any]]]] = {
    "a mean over positions": (
        [node("GlobalAveragePool", "map", "mean"), node("Flatten", "mean", "flat"), *DENSE],
        {"m": numbers(3, 4), "b": numbers(4)},
    ),
    "a mean over axes": (
        [node("ReduceMean", "map", "flat", axes=[2, 3], keepdims=0), *DENSE],
        {"m": numbers(3, 4), "b": numbers(4)},
    ),
    "a product of matrices": (
        [node("Flatten", "map", "flat"), node("Gemm", "flat", "m", "b", "logits", transB=1, alpha=0.5, beta=2.0)],
        {"m": numbers(4, 12), "b": numbers(4)},
    ),
    "hidden layers with bends": (
        [
            node("Transpose", "map", "turned", perm=[0, 2, 3, 1]),
            node("Reshape", "turned", "shape", "row"),
            node("MatMul", "row", "first", "a"),
            node("Sub", "a", "c", "shifted"),
            node("Relu", "shifted", "e"),
            node("MatMul", "e", "second", "f"),
            node("LeakyRelu", "f", "g", alpha=0.1),
            node("Clip", "g", "low", "high", "h"),
            node("Mul", "h", "scale", "i"),
            node("Div", "i", "scale", "flat"),
            *DENSE,
        ],
        {
            "shape": np.array([-1, 12]),
            "first": numbers(12, 9),
            "c": numbers(9),
            "second": numbers(9, 8),
            "low": np.array(-0.1, np.float32),
            "high": np.array(0.8, np.float32),
            "scale": numbers(8),
            "m": numbers(8, 4),
            "b": numbers(4),
        },
    ),
    "a convolution over all positions": (
        [
            node("Conv", "map", "kernel", "c", "a"),
            node("Relu", "a", "e"),
            node("Squeeze", "e", "axes", "flat"),
            *DENSE,
        ],
        {"kernel": numbers(6, 3, 2, 2), "c": numbers(6), "axes": np.array([2, 3]), "m": numbers(6, 4), "b": numbers(4)},
    ),
    "a difference the other way round": (
        [node("Flatten", "map", "flat"), node("MatMul", "flat", "m", "x"), node("Sub", "b", "x", "logits")],
        {"m": numbers(12, 4), "b": numbers(4)},
    ),
}
IMAGES = DRAW.integers(0, 256, (5, 2, 2, 3)).astype(np.uint8)


def graph(nodes: list[Any], weights: dict[str, NDArray[Any]], path: Any) -> Nodes:
    before = [
        node("Cast", "images", "floats", to=TensorProto.FLOAT),
        node("Mul", "floats", "small", "scaled"),
        node("Transpose", "scaled", "map", perm=[0, 3, 1, 2]),
    ]
    held = [numpy_helper.from_array(value, name) for name, value in {**weights, "small": np.float32(1 / 99)}.items()]
    given = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 2, 2, 3])
    made = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])
    whole = helper.make_graph([*before, *nodes], "g", [given], [made], held)
    opset = 11 if any(one.op_type == "ReduceMean" for one in nodes) else 13
    path.write_bytes(
        helper.make_model(whole, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()
    )
    return read_nodes(path)


def run(path: Any, names: list[str]) -> dict[str, Any]:
    content = with_outputs(path, [name for name in names if name != "logits"])
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, {"images": IMAGES}), strict=True))


@pytest.mark.parametrize("end", ENDS)
def test_what_places_and_constants_add_is_the_logit(end: str, tmp_path: Any) -> None:
    steps = steps_of(graph(*ENDS[end], tmp_path / "a.onnx"))
    steps = steps[: [step.given for step in steps].index("map") + 1]
    tensors = run(tmp_path / "a.onnx", list(dict.fromkeys(name for step in steps for name in (step.made, step.given))))
    constants = run(tmp_path / "a.onnx", [name for step in steps for name in step.constants])
    for label in range(4):
        direction = np.eye(4)[np.full(len(IMAGES), label)]
        values, added = taken_apart(steps, tensors, constants, direction)
        assert values.shape == tensors["map"].shape
        assert np.abs(values.sum(axis=(1, 2, 3)) + added - tensors["logits"][:, label]).max() < 1e-5


def test_a_gradient_is_what_a_small_change_of_a_value_changes(tmp_path: Any) -> None:
    steps = steps_of(graph(*ENDS["hidden layers with bends"], tmp_path / "a.onnx"))
    names = list(dict.fromkeys(name for step in steps for name in (step.made, step.given) if name != "images"))
    tensors = run(tmp_path / "a.onnx", names) | {"images": IMAGES}
    constants = run(tmp_path / "a.onnx", [name for step in steps for name in step.constants])
    values, _ = taken_apart(steps, tensors, constants, np.eye(4)[[2] * len(IMAGES)])
    # The last step that is followed takes the images themselves; one grey level changes no unit of these here.
    changed = IMAGES.copy()
    changed[0, 1, 0, 2] += 1
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"), providers=["CPUExecutionProvider"])
    after = session.run(["logits"], {"images": changed})[0]
    assert values[0, 1, 0, 2] / IMAGES[0, 1, 0, 2] == pytest.approx(float((after - tensors["logits"])[0, 2]), abs=1e-4)


@pytest.mark.parametrize(
    ("nodes", "weights"),
    [
        ([node("Flatten", "map", "flat"), node("MatMul", "m", "flat", "logits")], {"m": numbers(4, 5)}),
        ([node("Flatten", "map", "flat"), node("Div", "m", "flat", "logits")], {"m": numbers(12)}),
        ([node("Cast", "map", "logits", to=TensorProto.INT64)], {}),
        ([node("ReduceMean", "map", "logits", axes=[1, 2])], {}),
        ([node("Conv", "map", "kernel", "logits")], {"kernel": numbers(4, 3, 1, 1)}),
        ([node("Add", "map", "m", "logits")], {"m": numbers(2, 1, 3, 2, 2)}),
    ],
)
def test_what_is_not_linear_or_of_another_shape_is_refused(
    nodes: list[Any], weights: dict[str, Any], tmp_path: Any
) -> None:
    steps = steps_of(graph(nodes, weights, tmp_path / "a.onnx"))[: len(nodes)]
    names = list(dict.fromkeys(name for step in steps for name in (step.made, step.given)))
    tensors = {name: numbers(2, 3, 2, 2) if name == "map" else numbers(2, 12) for name in names}
    with pytest.raises((ValueError, IndexError)):
        taken_apart(steps, tensors, weights, np.ones((2, 12)))


def test_the_way_ends_where_an_operator_bends_all_over_or_takes_two_things(tmp_path: Any) -> None:
    tanh = [node("Flatten", "map", "a"), node("Tanh", "a", "flat"), *DENSE]
    steps = steps_of(graph(tanh, {"m": numbers(12, 4), "b": numbers(4)}, tmp_path / "a.onnx"))
    assert [step.node.operator for step in steps] == ["Add", "MatMul"]
    twice = [node("Flatten", "map", "a"), node("Mul", "a", "a", "flat"), *DENSE]
    steps = steps_of(graph(twice, {"m": numbers(12, 4), "b": numbers(4)}, tmp_path / "b.onnx"))
    assert [step.node.operator for step in steps] == ["Add", "MatMul"]
