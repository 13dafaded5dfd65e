"""The network as ONNX: the same bytes for the same network, whatever was exported before, and nobody else's code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("keras", reason="exporting needs Keras")

import keras

from sightline.bundles.sessions import Session
from sightline.training.packaging import onnx_export as module
from sightline.training.packaging.onnx_export import export_onnx


@pytest.mark.slow
def test_the_same_network_gives_the_same_bytes_whatever_was_exported_before(tmp_path: Path) -> None:
    inputs = keras.Input((12, 12, 1), dtype="uint8", name="images")
    hidden = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(inputs))
    hidden = keras.layers.Flatten()(keras.layers.MaxPooling2D()(hidden))
    network = keras.Model(inputs, {"features": hidden, "logits": keras.layers.Dense(3)(hidden)})
    network.save(tmp_path / "model.keras")
    for name in ("first.onnx", "second.onnx"):
        export_onnx(tmp_path / "model.keras", tmp_path / name)
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()
    images = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 1), dtype=np.uint8)
    logits = Session(tmp_path / "second.onnx", num_classes=3).logits(images)
    assert np.allclose(logits, network.predict(images, verbose=0)["logits"], atol=1e-5)


@pytest.mark.slow
def test_layers_of_which_the_exporter_knows_another_way_are_exported_by_it(tmp_path: Path) -> None:
    """Means that a network came with, the error function's complement, and convolutions of each channel alone."""
    inside = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Normalization(mean=[4.0, 5.0, 6.0], variance=[1.0, 4.0, 9.0])]
    )
    inputs = keras.Input((8, 8, 3), dtype="uint8", name="images")
    active = keras.layers.Activation("gelu")(inside(keras.layers.Rescaling(1.0)(inputs)))
    hidden = keras.layers.Flatten()(keras.layers.Conv2D(3, 3, groups=3, padding="same")(active))
    network = keras.Model(inputs, {"features": hidden, "logits": keras.layers.Dense(3)(hidden)})
    network.save(tmp_path / "model.keras")
    export_onnx(tmp_path / "model.keras", tmp_path / "model.onnx")
    images = np.random.default_rng(0).integers(0, 9, (5, 8, 8, 3), dtype=np.uint8)
    # A session refuses a graph that has other inputs.
    logits = Session(tmp_path / "model.onnx", num_classes=3).logits(images)
    assert np.allclose(logits, network.predict(images, verbose=0)["logits"], atol=1e-5)


def _written(place: Path, prefix: str, *, is_turned: bool) -> bytes:
    """A sum of two products with equal constants, in one of two spellings."""
    onnx = pytest.importorskip("onnx")
    make, kind = onnx.helper.make_node, onnx.TensorProto.FLOAT
    two, three = (onnx.numpy_helper.from_array(np.float32([value]), f"{prefix}{value}") for value in (2, 3))
    nodes = [
        make("Mul", ["images", f"{prefix}2"], [f"{prefix}a"]),
        make("Mul", ["images", f"{prefix}3"], [f"{prefix}b"]),
    ]
    side = [f"unk__{prefix}"]
    graph = onnx.helper.make_graph(
        [*(nodes[::-1] if is_turned else nodes), make("Sub", [f"{prefix}a", f"{prefix}b"], ["logits"], name=prefix)],
        "graph",
        [onnx.helper.make_tensor_value_info("images", kind, side)],
        [onnx.helper.make_tensor_value_info("logits", kind, side)],
        [three, two] if is_turned else [two, three],
        doc_string=prefix,
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), place)
    module._settle_names(place)
    return place.read_bytes()


def test_names_and_order_say_what_is_computed_and_nothing_else(tmp_path: Path) -> None:
    first = _written(tmp_path / "a.onnx", "x", is_turned=False)
    assert _written(tmp_path / "b.onnx", "conv__17", is_turned=True) == first
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(first, providers=["CPUExecutionProvider"])
    assert session.run(["logits"], {"images": np.float32([5, 7])})[0].tolist() == [-5, -7]


def test_a_keras_py_in_the_current_folder_is_not_run(tmp_path: Path) -> None:
    for name in ("keras.py", "tensorflow.py", "tf2onnx.py"):
        (tmp_path / name).write_text("print('code of the current folder'); import os; os._exit(3)")
    # Something that cannot be loaded, so that it ends soon.
    environment = {**os.environ, "KERAS_BACKEND": "none"}
    command = [sys.executable, "-m", "sightline.training.packaging.onnx_export", "a.keras", "a.onnx"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "no backend is called 'none'" in done.stderr
    assert "code of the current folder" not in done.stdout
