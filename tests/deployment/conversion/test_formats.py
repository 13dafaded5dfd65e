from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

import sightline
from sightline.deployment.conversion.formats import FORMATS, Format
from sightline.errors import ExportRefused, MissingPackage

# A second format, whole: what a module has to have, and a row. It takes the weights out of the graph.
LINEAR = '''
import json
import numpy as np
import onnx
from onnx import numpy_helper
from sightline.deployment.conversion.description import ExportedModel, describe

IMPORTS = "import json\\n"
EXAMPLE = """with np.load("FILE") as file:
    told, weights = json.loads(str(file["told"])), file["weights"]
names, calibration = told["labels"], told["calibration"]
logits = images[0].mean(axis=(0, 1)) @ weights
"""


def convert(bundle, target):
    (tensor,) = onnx.load(bundle.path / "model.onnx").graph.initializer
    told = describe(bundle)
    np.savez(target, weights=numpy_helper.to_array(tensor), told=json.dumps(told))


def open_exported(path):
    with np.load(path) as file:
        told, weights = json.loads(str(file["told"])), file["weights"]
    return ExportedModel(told, lambda images: images.mean(axis=(1, 2), dtype=np.float32) @ weights)
'''


@pytest.fixture
def second_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Adds the format `linear`, as its text stands or changed."""

    def add(old: str = "", new: str = "", *, runtime: str = "numpy") -> None:
        assert old in LINEAR
        folder = tmp_path / "formats"
        folder.mkdir()
        (folder / "linear_format.py").write_text(LINEAR.replace(old, new) if old else LINEAR)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, "linear_format", raising=False)
        row = Format("weights of a linear network", "model.npz", runtime, runtime, "linear_format")
        monkeypatch.setitem(FORMATS, "linear", row)

    yield add
    sys.modules.pop("linear_format", None)


def test_a_format_is_a_module_and_a_row(second_format, run: Path, photos: Path, command, answer_of) -> None:
    second_format()
    assert "linear: weights of a linear network" in " ".join(command("export", "--help").out.split())
    known = "coreml, linear, litert, litert-int8, onnx, onnx-int8, openvino, tensorflow, torch, web, web-file"
    assert f"Did you mean 'linear'? Known: {known}" in command("export", run, "linea").err
    answer = command("export", run, "linear")
    assert answer.code == 0, answer.err
    told = json.loads((run / "exports" / "linear" / "parity.json").read_text())
    assert (told["num_images"], told["agreement"], told["accuracy"]["export"]) == (6, 1, 1)
    assert told["largest_difference"] < 1e-4
    label, confidence = answer_of(run / "exports" / "linear" / "README.md", photos / "owl" / "0.png")
    answers = sightline.predict(run, photos / "owl" / "0.png", progress=False)
    assert (label, confidence) == (answers.predicted[0], pytest.approx(float(answers.confidences[0]), abs=1e-4))


WEIGHED = "images.mean(axis=(1, 2), dtype=np.float32) @ weights"

TOLD = "    told = describe(bundle)\n"

FAULTS = {
    "swapped channels": (WEIGHED, "images[..., ::-1].mean(axis=(1, 2), dtype=np.float32) @ weights", "differs by "),
    "scaled twice": (WEIGHED, f"{WEIGHED} / 255", "differs by "),
    "rows off by one": (WEIGHED, f"np.roll({WEIGHED}, 1, axis=0)", "differs by "),
    "a row short": (WEIGHED, f"({WEIGHED})[1:]", "gives answers of shape (5, 3) for 6 images"),
    "classes turned round": (WEIGHED, f"({WEIGHED})[:, ::-1]", "differs by "),
    "no number": (WEIGHED, f"{WEIGHED} * np.nan", "gives no number for cat/0.png, and for 6 of 6 images in all"),
    "half of the digits": ("numpy_helper.to_array(tensor)", "numpy_helper.to_array(tensor).round(2)", "differs by "),
    "the temperature twice": (WEIGHED, f"{WEIGHED} / 1.7", "differs by "),
    "names in another order": (TOLD, f"{TOLD}    told['labels'].sort(reverse=True)\n", "labels"),
    "another temperature": (TOLD, f"{TOLD}    told['calibration']['temperature'] = 1\n", "calibration"),
    "another resize": (TOLD, f"{TOLD}    told['input']['resize'] = 'stretch'\n", "input"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_answers_otherwise_is_refused_with_the_figure_and_the_row(
    fault: str, second_format, run: Path, command
) -> None:
    old, new, words = FAULTS[fault]
    second_format(old, new)
    before = sorted(run.rglob("*"))
    answer = command("export", run, "linear")
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err
    assert "not kept" in answer.err
    if words == "differs by ":
        assert re.search(
            r"differs by [\d.e-]+ in the probability of '(cat|dog|owl)' of (cat|dog|owl)/\d.png", answer.err
        )
    assert sorted(run.rglob("*")) == before


def test_a_refused_export_leaves_the_one_before(second_format, run: Path) -> None:
    kept = sightline.export(run, "onnx", out=run / "exports" / "both")
    second_format(WEIGHED, f"-({WEIGHED})")
    before = {path.name: path.read_bytes() for path in kept.path.parent.iterdir()}
    with pytest.raises(ExportRefused, match="is allowed"):
        sightline.export(run, "linear", out=kept.path.parent, overwrite=True)
    assert {path.name: path.read_bytes() for path in kept.path.parent.iterdir()} == before


def test_a_runtime_that_is_missing_is_named_with_its_line_of_pip(second_format, run: Path) -> None:
    second_format(runtime="nowhere_runtime")
    with pytest.raises(MissingPackage, match="pip install 'nowhere_runtime'"):
        sightline.export(run, "linear")


@pytest.mark.parametrize("name", FORMATS)
def test_every_row_has_its_module_with_all_that_is_asked_of_it(name: str) -> None:
    row = FORMATS[name]
    module = row.module()
    assert callable(module.convert)
    assert callable(module.open_exported)
    assert Path(row.file).suffix or name in ("tensorflow", "web"), "a folder has no ending"
    if hasattr(module, "own_readme"):  # Python does not run it
        assert callable(module.find_runtime)
        assert callable(module.check_files) == row.decodes_files
        return
    assert "FILE" in module.EXAMPLE
    assert re.search(rf"^(import|from) {row.runtime}\b", module.IMPORTS, re.MULTILINE)
