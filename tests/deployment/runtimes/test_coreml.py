"""Core ML: written everywhere, run on a Mac alone, and kept elsewhere under a name that says so."""

from __future__ import annotations

import importlib.util
import json
import platform
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles.parity import read_parity
from sightline.bundles.sessions import session_of
from sightline.deployment.conversion.description import describe
from sightline.deployment.runtimes import coreml
from sightline.deployment.runtimes.keras_conversion import convert_keras
from sightline.errors import ExportRefused, InvalidBundle, MissingPackage, OutputExists


@pytest.mark.parametrize("system", ["Linux", "Windows"])
def test_where_it_cannot_be_run_it_is_refused_in_words(
    system: str, make_bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    with pytest.raises(ExportRefused, match=rf"is run on macOS alone, and this machine runs {system}: .*add --un"):
        sightline.export(make_bundle(), "coreml", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_what_writes_it_its_line_of_pip_is_said(
    make_bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = sightline.reopen(make_bundle())
    (bundle.path / "model.keras").touch()
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "coremltools" else found(name))
    monkeypatch.setattr("sightline.deployment.runtimes.keras_conversion.check_network", lambda _: None)
    with pytest.raises(MissingPackage, match=r"'coremltools'.*pip install 'sightline\[tensorflow,coreml\]'"):
        convert_keras(bundle, tmp_path / "model.mlpackage", "coreml")


def computed(package: Any, images: np.ndarray) -> np.ndarray:
    """What the program in a package gives for images, by NumPy and TensorFlow: no Core ML is here to run it."""
    import tensorflow as tf
    from coremltools.converters.mil.frontend.milproto.load import load

    spec = package.get_spec()
    program = load(spec, spec.specificationVersion, package.weights_dir).functions["main"]
    (start,), (end,) = program.inputs.values(), program.outputs
    values = {start: images.transpose(0, 3, 1, 2).astype(np.float32)}

    def windows(given: Callable[[str], Any], size: list[int], answer: Callable[..., Any], outside: float) -> np.ndarray:
        before_after = np.zeros(4, int) if given("pad_type") != "custom" else given("pad")
        sides = [(0, 0), tuple(before_after[:2]), tuple(before_after[2:]), (0, 0)]
        rows = np.pad(given("x").transpose(0, 2, 3, 1), sides, constant_values=outside)
        padding = "SAME" if given("pad_type") == "same" else "VALID"
        return answer(rows, size, list(given("strides")), padding).numpy().transpose(0, 3, 1, 2)

    def convolved(given: Callable[[str], Any]) -> np.ndarray:
        weights = given("weight").transpose(2, 3, 1, 0)
        assert given("groups") == 1
        found = windows(given, [], lambda rows, _, strides, pad: tf.nn.conv2d(rows, weights, strides, pad), 0)
        return found if given("bias") is None else found + given("bias").reshape(1, -1, 1, 1)

    operations = {
        "mul": lambda given: given("x") * given("y"),
        "add": lambda given: given("x") + given("y"),
        "relu": lambda given: np.maximum(given("x"), 0),
        "tanh": lambda given: np.tanh(given("x")),
        "transpose": lambda given: given("x").transpose(given("perm")),
        "reshape": lambda given: given("x").reshape(len(images), *given("shape")[1:]),
        "linear": lambda given: given("x") @ given("weight").T + given("bias"),
        "reduce_mean": lambda given: given("x").mean(tuple(given("axes")), keepdims=bool(given("keep_dims"))),
        "pad": lambda given: np.pad(
            given("x"), [(0, 0)] * (4 - len(given("pad")) // 2) + given("pad").reshape(-1, 2).tolist()
        ),
        "conv": convolved,
        "max_pool": lambda given: windows(given, list(given("kernel_sizes")), tf.nn.max_pool2d, -np.inf),
        "avg_pool": lambda given: windows(given, list(given("kernel_sizes")), tf.nn.avg_pool2d, 0),
    }
    for step in program.operations:
        if step.op_type != "const":

            def given(name: str, step: Any = step) -> Any:
                found = step.inputs.get(name)
                return values[found] if found in values else getattr(found, "val", None)

            values[step.outputs[0]] = operations[step.op_type](given)
    return values[end]


@pytest.mark.slow
def test_unchecked_it_is_a_package_that_says_what_it_is(tiny_run: sightline.Run, tmp_path: Path, command) -> None:
    tools = pytest.importorskip("coremltools", reason="pip install 'sightline[coreml]'")
    if platform.system() == "Darwin":
        pytest.skip("a Mac compares it")
    answer = command("export", tiny_run.path, "coreml", "--unchecked", "--out", tmp_path / "out")
    assert answer.code == 1, answer.err
    assert "unchecked  coreml is run on macOS alone" in answer.out
    place = tmp_path / "out" / "model.unchecked.mlpackage"
    assert len({one.stat().st_mode for one in place.rglob("*") if one.is_file()}) == 1, "who reads one reads all"
    package = tools.models.MLModel(str(place), skip_model_load=True)
    bundle = sightline.reopen(tiny_run.bundle.path)
    (images,), (logits,) = package.get_spec().description.input, package.get_spec().description.output
    assert (images.name, logits.name) == ("images", "logits")
    size = images.type.imageType
    assert (size.height, size.width) == bundle.input.shape[:2]
    told = {key: json.loads(text) for key, text in package.user_defined_metadata.items() if "sightline." in key}
    assert told["sightline.labels"] == list(bundle.class_names)
    assert told["sightline.calibration"]["temperature"] == bundle.temperature
    assert {f"sightline.{key}" for key in describe(bundle)} == set(told)
    images, logits = read_parity(bundle)
    assert np.abs(computed(package, images[:3]) - logits[:3]).max() < 1e-4
    text = (place.parent / "README.md").read_text(encoding="utf-8")
    assert "**It was not compared with its bundle**: coreml is run on macOS alone" in text
    assert "A Mac, an iPhone or an iPad runs it, and nothing else." in text


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch):
    """What a Mac would have: `predict`, which here asks the bundle; and a package without its network."""

    def pretend(bundle: sightline.Bundle, *, turned: bool = False) -> None:
        class MLModel:
            def __init__(self, path: str, compute_units: str) -> None:
                assert compute_units == "processor"
                self.user_defined_metadata = json.loads((Path(path) / "told.json").read_text())

            def predict(self, given: dict[str, Image.Image]) -> dict[str, np.ndarray]:
                pixels = np.asarray(given["images"])
                assert given["images"].size == (bundle.input.width, bundle.input.height)
                image = pixels.reshape(1, *bundle.input.shape)
                return {"logits": session_of(bundle).logits(image[..., ::-1] if turned else image)}

        tools = types.ModuleType("coremltools")
        tools.ComputeUnit = types.SimpleNamespace(CPU_ONLY="processor")
        tools.models = types.SimpleNamespace(MLModel=MLModel)
        tools.__version__ = "9.0"
        monkeypatch.setitem(sys.modules, "coremltools", tools)
        monkeypatch.setattr(platform, "system", lambda: "Darwin")

        def write(bundle: sightline.Bundle, target: Path, name: str, told: dict[str, str]) -> None:
            target.mkdir()
            others = {"com.github.apple.coremltools.version": "9.0"}
            (target / "told.json").write_text(json.dumps(told | others))

        monkeypatch.setattr(coreml, "convert_keras", write)

    return pretend


def test_on_a_mac_it_is_compared_as_every_other(mac, run: Path) -> None:
    mac(sightline.reopen(run / "bundle"))
    exported = sightline.export(run, "coreml")
    assert exported.path == run / "exports" / "coreml" / "model.mlpackage"
    told = exported.figures
    assert (told["num_images"], told["largest_difference"], told["unchecked"]) == (6, 0, None)
    assert told["versions"]["coremltools"] == "9.0"
    assert set(told["files"]) == {"model.mlpackage/told.json", "README.md"}


def test_on_a_mac_what_answers_otherwise_is_not_kept(mac, run: Path) -> None:
    mac(sightline.reopen(run / "bundle"), turned=True)
    with pytest.raises(ExportRefused, match="differs by"):
        sightline.export(run, "coreml")
    assert not (run / "exports").exists()


def test_a_package_is_replaced_only_if_all_of_it_is_ours(mac, run: Path, tmp_path: Path) -> None:
    mac(sightline.reopen(run / "bundle"))
    out = tmp_path / "mine.mlpackage"
    for _ in range(2):
        assert sightline.export(run, "coreml", out=out).path == out
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputExists, match="holds what is not ours"):
        sightline.export(run, "coreml", out=out)
    assert (out / "notes.txt").read_text() == "mine"


def test_a_package_that_core_ml_does_not_open_is_told_by_its_name(mac, run: Path, tmp_path: Path) -> None:
    mac(sightline.reopen(run / "bundle"))
    with pytest.raises(InvalidBundle, match=r"model\.mlpackage: Core ML does not open it"):
        coreml.open_exported(tmp_path / "model.mlpackage")
