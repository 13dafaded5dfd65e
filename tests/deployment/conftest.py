"""Bundles made by hand: a graph that weighs the mean of each channel, so that nothing has to be trained."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import sightline
from sightline.bundles.bundle import write_description, write_manifest
from sightline.bundles.parity import made_images, write_parity
from sightline.bundles.sessions import Session
from sightline.records import InputSpec

CLASSES = ("cat", "dog", "owl")
COLORS = {"cat": (200, 60, 20), "dog": (30, 210, 60), "owl": (10, 40, 190)}
MakeBundle = Callable[..., Path]


def linear_graph(path: Path, *, channels: int, num_classes: int, outputs: tuple[str, ...] = ("logits",)) -> None:
    weights = np.random.default_rng(1).normal(size=(channels, num_classes)).astype(np.float32) / 20
    if (channels, num_classes) == (3, 3):
        weights = np.eye(3, dtype=np.float32) * np.float32(0.0537)
    nodes = [
        helper.make_node("Cast", ["images"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["wide"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
        helper.make_node("ReduceMax", ["logits"], ["disagreement"], axes=[1], keepdims=0),
    ]
    shapes = {"logits": ["batch", num_classes], "disagreement": ["batch"]}
    graph = helper.make_graph(
        nodes[: 2 + len(outputs)],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", None, None, channels])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in outputs],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    path.write_bytes(model.SerializeToString())


@pytest.fixture(scope="session")
def write_bundle() -> MakeBundle:
    def write_into(
        path: Path,
        *,
        spec: InputSpec | None = None,
        outputs: tuple[str, ...] = ("logits",),
        source: dict[str, str] | None = None,
        has_parity: bool = True,
        write: Callable[[Path], None] | None = None,
    ) -> Path:
        path.mkdir(parents=True)
        spec = spec or InputSpec(8, 8, "rgb")
        if write is None:
            linear_graph(path / "model.onnx", channels=spec.channels, num_classes=len(CLASSES), outputs=outputs)
        else:
            write(path / "model.onnx")
        write_description(path, spec=spec, class_names=CLASSES, calibration={"temperature": 1.7, "num_images": 9})
        (path / "metrics.json").write_text(json.dumps({"source": source or {}}))
        (path / "card.md").write_text("a card")
        if has_parity:
            write_parity(path, Session(path / "model.onnx", num_classes=3), made_images(spec), are_made=True)
        write_manifest(path, kind="embedded")
        return path

    return write_into


@pytest.fixture
def make_bundle(tmp_path: Path, write_bundle: MakeBundle) -> MakeBundle:
    def make(folder: str = "bundle", **options: Any) -> Path:
        return write_bundle(tmp_path / folder, **options)

    return make


def uneven_graph(path: Path) -> None:
    """A network that bears whole numbers only if it is folded first, and each channel has a range of its own.

    Red goes through a steep step between 0 and 6, green and blue through a slope of 0.02 to the same height. The steep
    layer makes numbers up to 6,000, of which a normalisation behind it leaves what the others have.
    """
    slopes = np.array([50, 0.02, 0.02], np.float32).reshape(3, 1, 1, 1)
    means = np.array([6397, 0, 0], np.float32)
    head = np.eye(3, dtype=np.float32) * 2
    floats = {
        "slopes": slopes,
        "ones": np.full(3, np.sqrt(np.float32(1 + 1e-5)), np.float32),
        "zeros": np.zeros(3, np.float32),
        "means": means,
        "variances": np.ones(3, np.float32),
        "low": np.float32(0),
        "high": np.float32(6),
        "head": head,
        "bias": np.zeros(3, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["wide"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "slopes"], ["steep"], group=3, kernel_shape=[1, 1]),
        helper.make_node("BatchNormalization", ["steep", "ones", "zeros", "means", "variances"], ["even"]),
        helper.make_node("Clip", ["even", "low", "high"], ["clipped"]),
        helper.make_node("GlobalAveragePool", ["clipped"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "head", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", None, None, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in floats.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)])
    model.ir_version = 10
    path.write_bytes(model.SerializeToString())


@pytest.fixture
def uneven_bundle(make_bundle: MakeBundle) -> Path:
    return make_bundle("uneven", write=uneven_graph)


@pytest.fixture
def many_photos() -> tuple[np.ndarray, np.ndarray]:
    """Of each colour a hundred, 8 x 8 and noisy: uint8 images, and the numbers of their classes."""
    draw = np.random.default_rng(3)
    labels = np.arange(300) % 3
    pixels = np.array(list(COLORS.values()))[labels][:, None, None] + draw.integers(-40, 40, (300, 8, 8, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8), labels


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve files of three colours, each with noise of its own; what is cached of them goes with them."""
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    draw = np.random.default_rng(0)
    for name, color in COLORS.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(4):
            pixels = np.clip(np.array(color) + draw.integers(-40, 40, (20, 12, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def run(make_bundle: MakeBundle, photos: Path, tmp_path: Path) -> Path:
    """What a finished run leaves beside its bundle, as far as an export looks at it: half of the rows calibrate."""
    dataset = sightline.load(photos)
    make_bundle("run/bundle", source={"name": "photos", "typed": str(photos), "fingerprint": dataset.fingerprint})
    folder = tmp_path / "run"
    for name in ("recipe.json", "metrics.json"):
        (folder / name).write_text("{}")
    with (folder / "splits.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["row_id", "split"])
        table.writerows(
            (row_id, ("calibration", "train")[number % 2]) for number, row_id in enumerate(dataset.row_ids.tolist())
        )
    return folder


def program_of(readme: Path) -> str:
    (block,) = re.findall(r"^```python\n(.*?)^```$", readme.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return block


@pytest.fixture
def lines_of() -> Callable[..., list[str]]:
    """What the program in a README prints of an image, run where the file lies, without Sightline and Keras."""

    def run_program(readme: Path, image: Path, python: Path = Path(sys.executable)) -> list[str]:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [
                python,
                "-c",
                "import sys; sys.modules['sightline'] = sys.modules['keras'] = None\n" + program_of(readme),
                str(image),
            ],
            capture_output=True,
            text=True,
            check=True,
            cwd=readme.parent,
            env=environment,
            timeout=60,
        )
        return done.stdout.splitlines()

    return run_program


@pytest.fixture
def answer_of(lines_of: Callable[..., list[str]]) -> Callable[..., tuple[str, float]]:
    """Label and confidence that it prints."""

    def answer(readme: Path, image: Path, python: Path = Path(sys.executable)) -> tuple[str, float]:
        (line,) = lines_of(readme, image, python)
        label, confidence = line.split()
        return label, float(confidence)

    return answer
