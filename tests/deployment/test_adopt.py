"""`adopt`: networks of others become bundles that answer as they did, or are refused with what to do."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import sightline
from sightline.bundles.maps.nodes import read_nodes
from sightline.bundles.sessions import Session
from sightline.cli.main import main
from sightline.deployment.adoption.foreign import check_answers, checked_answers
from sightline.deployment.adoption.onnx_files import open_onnx
from sightline.deployment.adoption.preparation import prepare, read_description
from sightline.deployment.adoption.wrapping import ends_of, wrap
from sightline.errors import ExportRefused, InvalidBundle, InvalidValue, OutputExists, SightlineError

NAMES = ("cat", "dog", "owl")
# Each class is spoken for by one colour most, so that a wrong order of colours is another answer.
WEIGHTS = np.array([[4, -2, 1], [-1, 5, -3], [0, 2, 7]], np.float32)
BIAS = (0.2, -0.1, 0.4)


def write_graph(  # each is what one test changes
    path: Path,
    *,
    sides: Sequence[int | str] = ("batch", 3, 8, 8),
    is_first: bool = True,
    end: str = "logits",
    bias: Sequence[float] = BIAS,
    dtype: Any = np.float32,
    opset: int = 17,
    version: int = 9,
    before: Sequence[Any] = (),
    extra_inputs: Sequence[Any] = (),
    extra_outputs: Sequence[Any] = (),
    external: bool = False,
) -> Path:
    """A graph from `images` to `answer`; its tensors bear names that those of a bundle have, too."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    start = before[-1].output[0] if before else "images"
    axes = [2, 3] if is_first else [1, 2]
    ends = {
        "logits": [helper.make_node("Identity", ["logits"], ["answer"])],
        "softmax": [helper.make_node("Softmax", ["logits"], ["answer"])],
        "square": [
            helper.make_node("Mul", ["logits", "logits"], ["squares"]),
            helper.make_node("ReduceL1", ["squares"], ["total"], axes=[1], keepdims=1),
            helper.make_node("Div", ["squares", "total"], ["answer"]),
        ],
        "sigmoids": [helper.make_node("Sigmoid", ["logits"], ["answer"])],
        "mean": [helper.make_node("ReduceMean", ["logits"], ["answer"], axes=[0], keepdims=0)],
    }
    nodes = [
        *before,
        helper.make_node("ReduceMean", [start], ["features"], axes=axes, keepdims=0),
        helper.make_node("Gemm", ["features", "weights", "bias"], ["logits"]),
        *ends[end],
    ]
    shape = ["batch"] if end == "mean" else ["batch", 3]
    tensors = {"weights": WEIGHTS.astype(dtype), "bias": np.array(bias, dtype), "one": np.array([1, 3, 8, 8], np.int64)}
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("images", kind, sides), *extra_inputs],
            [helper.make_tensor_value_info("answer", kind, shape), *extra_outputs],
            [numpy_helper.from_array(values, name) for name, values in tensors.items()],
        ),
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("custom", 1)],
        ir_version=version,
    )
    if external:
        model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    path.write_bytes(model.SerializeToString())
    return path


def expected(
    images: np.ndarray, mean: Any, std: Any, *, order: Sequence[int] = (0, 1, 2), bias: Sequence[float] = BIAS
) -> np.ndarray:
    """Logits of these graphs, by their definition."""
    values = (images[..., list(order)] / 255.0 - np.array(mean)) / np.array(std)
    return values.mean(axis=(1, 2)) @ WEIGHTS.astype(np.float64) + np.array(bias)


STRETCHED = {"scaling": "0..1", "resize": "stretch"}


def pictures(count: int = 6, side: int = 8, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (count, side, side, channels)).astype(np.uint8)


def adopted(tmp_path: Path, graph: Path, **description: Any) -> sightline.Adopted:
    return sightline.adopt(graph, NAMES, description={**STRETCHED, **description}, out=tmp_path / "bundle")


@pytest.mark.parametrize(
    ("asked", "mean", "std", "order"),
    [
        ({}, [0], [1], (0, 1, 2)),
        ({"scaling": "-1..1"}, [0.5], [0.5], (0, 1, 2)),
        ({"scaling": "0..255"}, [0], [1 / 255], (0, 1, 2)),
        ({"scaling": "imagenet"}, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], (0, 1, 2)),
        ({"colors": "bgr", "scaling": None, "mean": [0.1, 0.2, 0.3], "std": 0.5}, [0.1, 0.2, 0.3], [0.5], (2, 1, 0)),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_bundle_answers_by_the_definition_of_its_network(
    tmp_path: Path, asked: dict[str, Any], mean: list[float], std: list[float], order: tuple[int, ...], is_first: bool
) -> None:
    graph = write_graph(
        tmp_path / "foreign.onnx", sides=["n", 3, 8, 8] if is_first else ["n", 8, 8, 3], is_first=is_first
    )
    bundle = adopted(tmp_path, graph, **asked).bundle
    images = pictures()
    answers = sightline.predict(bundle, images)
    np.testing.assert_allclose(answers.logits, expected(images, mean, std, order=order), rtol=1e-4, atol=2e-3)
    assert answers.class_names == NAMES


def test_logits_are_taken_from_before_a_softmax_and_features_from_before_the_last_layer(tmp_path: Path) -> None:
    done = adopted(tmp_path, write_graph(tmp_path / "foreign.onnx", end="softmax"))
    images = pictures()
    np.testing.assert_allclose(
        sightline.predict(done.bundle, images).logits, expected(images, 0, 1), rtol=1e-4, atol=1e-4
    )
    assert done.bundle.manifest["outputs"]["features"]["shape"] == ["batch", 3]
    assert "before their softmax" in done.figures["answers"]
    assert done.figures["largest_difference"] < 1e-6


def test_probabilities_without_a_softmax_become_logarithms_that_are_finite_even_of_zero(tmp_path: Path) -> None:
    done = adopted(tmp_path, write_graph(tmp_path / "foreign.onnx", end="square", bias=(0, 0, 0)))
    black = np.concatenate([pictures(), np.full((1, 8, 8, 3), (51, 0, 0), np.uint8)])
    answers = sightline.predict(done.bundle, black)
    squares = expected(black, 0, 1, bias=(0, 0, 0)) ** 2
    np.testing.assert_allclose(np.exp(answers.logits), squares / squares.sum(axis=1, keepdims=True), atol=1e-5)
    assert "logarithms" in done.figures["answers"]
    assert np.isfinite(answers.logits).all()


def test_what_was_adopted_is_verified_evaluated_exported_and_explained(tmp_path: Path, photos: Path) -> None:
    graph = write_graph(tmp_path / "foreign.onnx", end="softmax")
    done = sightline.adopt(graph, NAMES, description=STRETCHED, images=photos, out=tmp_path / "bundle")
    assert done.bundle.num_calibration_images == 4
    assert done.figures["measured"]["test"]["num_images"] == 4
    assert "may have learned" in str(done)
    assert {"parity", "sets", "abstention", "reference"} <= set(done.bundle.capabilities)
    assert "may be among it" in (done.bundle.path / "card.md").read_text()
    assert all(check.outcome != "fails" for check in sightline.verify(done.bundle.path).checks)
    assert sightline.evaluate(done.bundle, photos, split="all").num_images == 12
    assert sightline.export(done.bundle, "onnx", out=tmp_path / "out.onnx").figures["largest_difference"] < 1e-5
    assert len(sightline.explain(done.bundle, next(photos.rglob("*.png")), out=tmp_path / "explained")) == 1


def test_what_an_adopted_bundle_cannot_do_is_refused_with_the_reason(tmp_path: Path) -> None:
    bundle = adopted(tmp_path, write_graph(tmp_path / "foreign.onnx")).bundle
    for asked in ({"coverage": 0.9}, {"max_error": 0.1}, {"novelty": 0.05}):
        with pytest.raises(InvalidBundle, match="adopted"):
            sightline.predict(bundle, pictures(), **asked)
    with pytest.raises(InvalidBundle, match="none of them came with it"):
        sightline.predict(bundle, pictures(), nearest=3)
    with pytest.raises(InvalidBundle, match="adopted without any"):
        sightline.check(bundle, pictures())


def node(operator: str, *names: str, **attributes: Any) -> Any:
    return helper.make_node(operator, names[:-1], names[-1:], **attributes)


def value(name: str, *sides: Any) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, sides)


RESHAPED = node("Reshape", "images", "one", "reshaped")
TRAINING = helper.make_node(
    "BatchNormalization", ["images", "bias", "bias", "bias", "bias"], ["normal", "a", "b"], training_mode=1
)


@pytest.mark.parametrize(
    ("made", "said", "problem"),
    [
        ({"extra_inputs": [value("size", 1)]}, {}, "takes 2 tensors"),
        ({"extra_outputs": [value("mean", "batch", 3)]}, {}, "gives 2 tensors"),
        ({"sides": ["batch", 8, 24], "before": [RESHAPED]}, {}, r"takes \(batch, 8, 24\)"),
        ({"sides": ["batch", 3, "height", "width"]}, {}, "--size 224"),
        ({"sides": ["batch", 5, 8, 8], "before": [RESHAPED]}, {"layout": "channels_first"}, "5 channels"),
        ({"sides": ["batch", 3, 8, 3]}, {}, "--layout"),
        ({"sides": [4, 3, 8, 8]}, {}, "exactly 4 images"),
        ({"dtype": np.float16}, {}, "float16"),
        ({"opset": 7}, {}, "opset_version"),
        ({"before": [TRAINING]}, {}, "training mode"),
        ({"end": "sigmoids"}, {"output": "probabilities"}, "add up to"),
        ({"end": "sigmoids"}, {}, "ends in a sigmoid"),
        ({"end": "softmax"}, {"output": "logits"}, "it gives probabilities"),
        ({"end": "mean"}, {}, "a row an image"),
        ({"bias": (np.nan, 0, 0)}, {}, "finite numbers"),
        ({}, {"scaling": None}, "--scaling"),
        ({}, {"resize": None}, "--resize"),
        ({}, {"size": 9}, "Leave size out"),
        ({}, {"colors": "grey"}, "3 colour channels"),
        ({}, {"scailing": "0..1"}, "scaling"),
        ({}, {"scaling": "0-1"}, "0..1"),
        ({}, {"mean": 0.5}, "not both"),
        ({}, {"scaling": None, "mean": 0.5}, "std is missing"),
        ({}, {"scaling": None, "mean": 0.5, "std": 0}, "above 0"),
        ({}, {"scaling": None, "mean": True, "std": 1}, "mean must be"),
        ({}, {"size": True}, "size must be"),
        ({}, {"size": "8"}, "size must be"),
    ],
)
def test_a_graph_or_a_description_that_does_not_fit_is_refused_and_nothing_is_left(
    tmp_path: Path, made: dict[str, Any], said: dict[str, Any], problem: str
) -> None:
    graph = write_graph(tmp_path / "foreign.onnx", **made)
    with pytest.raises(SightlineError, match=problem):
        adopted(tmp_path, graph, **said)
    assert [path.name for path in tmp_path.iterdir()] == ["foreign.onnx"]


def test_a_graph_with_code_or_weights_from_elsewhere_is_never_opened(tmp_path: Path) -> None:
    graph = write_graph(tmp_path / "foreign.onnx", before=[helper.make_node("X", ["images"], ["y"], domain="custom")])
    with pytest.raises(InvalidValue, match="standard operators"):
        adopted(tmp_path, graph)
    write_graph(graph, external=True)
    with pytest.raises(InvalidValue, match="another file"):
        adopted(tmp_path, graph)
    graph.write_bytes(graph.read_bytes()[:100])
    with pytest.raises(InvalidValue, match="not a graph"):
        adopted(tmp_path, graph)


def test_a_batch_of_one_is_relaxed_where_the_network_allows_it_and_refused_where_not(tmp_path: Path) -> None:
    graph = write_graph(tmp_path / "foreign.onnx", sides=[1, 3, 8, 8])
    images = pictures()
    bundle = adopted(tmp_path, graph).bundle
    np.testing.assert_allclose(sightline.predict(bundle, images).logits, expected(images, 0, 1), rtol=1e-4, atol=1e-4)
    write_graph(graph, sides=[1, 3, 8, 8], before=[RESHAPED])
    with pytest.raises(ExportRefused, match="batch of any size"):
        sightline.adopt(graph, NAMES, description=STRETCHED, out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_an_answer_that_depends_on_its_neighbours_is_refused(tmp_path: Path) -> None:
    centred = [node("ReduceMean", "images", "all", axes=[0], keepdims=1), node("Sub", "images", "all", "centred")]
    with pytest.raises(ExportRefused, match="stands alone"):
        adopted(tmp_path, write_graph(tmp_path / "foreign.onnx", before=centred))


def test_weights_among_the_inputs_of_an_old_graph_and_sides_of_any_size_are_taken(tmp_path: Path) -> None:
    graph = write_graph(
        tmp_path / "foreign.onnx",
        version=3,
        sides=["n", 3, "h", "w"],
        extra_inputs=[
            value("weights", 3, 3),
            value("bias", 3),
            helper.make_tensor_value_info("one", TensorProto.INT64, [4]),
        ],
    )
    images = pictures(side=12)
    bundle = adopted(tmp_path, graph, size=12).bundle
    assert bundle.input.shape == (12, 12, 3)
    np.testing.assert_allclose(sightline.predict(bundle, images).logits, expected(images, 0, 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("net.pth", "torch.onnx.export"),
        ("net.pkl", "Python objects"),
        ("net.tflite", "LiteRT"),
        ("saved.pb", "tf2onnx"),
        ("net.zip", "Unpack"),
        ("net.txt", "none of .onnx"),
        ("missing.onnx", "no such file"),
    ],
)
def test_files_of_other_kinds_are_refused_with_what_to_do(tmp_path: Path, name: str, problem: str) -> None:
    if not name.startswith("missing"):
        (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(InvalidValue, match=problem):
        adopted(tmp_path, tmp_path / name)


def test_a_folder_is_refused_with_what_to_do_of_a_saved_model(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    with pytest.raises(InvalidValue, match=r"a folder.*tf2onnx"):
        adopted(tmp_path, tmp_path / "saved")


def test_a_destination_with_something_in_it_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "mine.txt").write_text("mine")
    with pytest.raises(OutputExists):
        adopted(tmp_path, write_graph(tmp_path / "foreign.onnx"))
    assert [path.name for path in (tmp_path / "bundle").iterdir()] == ["mine.txt"]


def test_another_number_of_labels_is_refused_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="tells 3 classes apart, and 2 names"):
        sightline.adopt(write_graph(tmp_path / "foreign.onnx"), NAMES[:2], description=STRETCHED, out=tmp_path / "b")


def test_the_command_takes_options_over_a_description_and_tells_it_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_graph(Path("foreign.onnx"))
    Path("labels.txt").write_text("0 cat\n1 dog\n2 owl\n")
    Path("about.json").write_text(json.dumps({"scaling": "-1..1", "resize": "fill"}))
    command = ["adopt", "foreign.onnx", "--labels", "labels.txt", "--description", "about.json", "--scaling", "0..1"]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bundle"] == "foreign-bundle"
    assert "0..1" in told["fed"]
    assert main(command) == 2
    assert "foreign-bundle" in capsys.readouterr().err


@pytest.mark.parametrize(
    "fault", [{"is_bgr": True}, {"mean": (0.5,)}, {"std": (0.25,)}, {"mean": (0.485, 0.456, 0.406)}, {"swapped": True}]
)
def test_the_gate_refuses_a_bundle_that_was_wrapped_otherwise_than_was_said(
    tmp_path: Path, fault: dict[str, Any]
) -> None:
    network = open_onnx(write_graph(tmp_path / "foreign.onnx"))
    told = prepare(read_description(STRETCHED), network.shape, "foreign.onnx", known={})
    images = pictures()
    answers = checked_answers(network, told, images, 3)
    ends = ends_of(read_nodes(network.graph), network.given, network.answer, is_probability=False)
    changes = {key: value for key, value in fault.items() if key != "swapped"}
    wrap(network.graph, tmp_path / "model.onnx", dataclasses.replace(told, **changes), ends, 3)
    session = Session(tmp_path / "model.onnx", num_classes=3)
    with pytest.raises(ExportRefused, match="does not answer as it does"):
        check_answers(network, session, images, answers[:, ::-1] if "swapped" in fault else answers)
