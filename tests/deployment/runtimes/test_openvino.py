from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

import sightline
from sightline.bundles.bundle import write_manifest
from sightline.deployment.runtimes import openvino
from sightline.errors import CannotWrite, ExportRefused, InvalidBundle, MissingPackage


def test_it_answers_as_its_bundle_in_float32_and_its_readme_says_how(run: Path, photos: Path, answer_of) -> None:
    pytest.importorskip("openvino")
    exported = sightline.export(run, "openvino")
    assert sorted(path.name for path in exported.path.parent.iterdir()) == [
        "README.md",
        "model.bin",
        "model.json",
        "model.xml",
        "parity.json",
    ]
    told = exported.figures
    assert told["largest_difference"] < 1e-5
    assert told["effective_precision"] == "float32"
    assert set(told["files"]) == {"model.xml", "model.bin", "model.json", "README.md"}
    assert '{"INFERENCE_PRECISION_HINT": "f32"}' in exported.readme.read_text(encoding="utf-8")
    label, confidence = answer_of(exported.readme, photos / "owl" / "1.png")
    answers = sightline.predict(run, photos / "owl" / "1.png", progress=False)
    assert (label, confidence) == (answers.predicted[0], pytest.approx(float(answers.confidences[0]), abs=1e-5))
    (exported.path.with_suffix(".bin")).write_bytes(b"")
    with pytest.raises(InvalidBundle, match="OpenVINO does not open it"):
        openvino.open_exported(exported.path)


def test_nothing_is_reported_to_the_makers_of_openvino(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    code = (
        "import sys\n"
        "from sightline.deployment.runtimes import openvino\n"
        "openvino._runtime()\n"
        "print(sorted(name for name in sys.modules if name.startswith('openvino_telemetry')))\n"
    )
    environment = {"HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
    assert not list(tmp_path.iterdir())  # it would keep an identity of this user


def test_a_network_that_openvino_cannot_hold_is_refused_with_what_it_misses(make_bundle, photos: Path) -> None:
    pytest.importorskip("openvino")
    path = make_bundle()
    model = onnx.load(path / "model.onnx")
    model.graph.node[2].CopyFrom(onnx.helper.make_node("Bernoulli", ["mean"], ["logits"], seed=1.0))
    onnx.save(model, path / "model.onnx")
    write_manifest(path, kind="embedded")
    with pytest.raises(ExportRefused, match=r"OpenVINO does not hold this network \(.*Bernoulli"):
        sightline.export(path, "openvino", images=photos)
    assert not (path.parent / "bundle-exports").exists()


def test_a_place_that_takes_no_files_is_no_fault_of_the_network(make_bundle, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(CannotWrite, match="OpenVINO could not write it"):
        openvino.convert(sightline.reopen(make_bundle()), tmp_path / "file" / "model.xml")


def test_without_openvino_its_line_of_pip_is_said(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingPackage, match=r"pip install 'sightline\[openvino\]'"):
        sightline.export(run, "openvino")


def test_what_its_runtime_calls_a_precision_is_told_by_the_name_that_numpy_has() -> None:
    class Hint:
        def to_string(self) -> str:
            return "bf16"

    assert openvino._precision(Hint()) == "bfloat16"
    assert openvino._precision("f32") == "float32"


def test_a_description_that_is_gone_is_refused(tmp_path: Path) -> None:
    from sightline.deployment.conversion.description import read_beside

    with pytest.raises(InvalidBundle, match="Copy the whole export again"):
        read_beside(tmp_path / "model.xml")
    (tmp_path / "model.json").write_text(json.dumps(["no", "table"]))
    with pytest.raises(InvalidBundle, match=r"says nothing of model\.xml"):
        read_beside(tmp_path / "model.xml")
