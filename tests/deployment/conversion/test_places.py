from __future__ import annotations

import json
from pathlib import Path

import pytest

import sightline
from sightline.deployment.conversion.formats import FORMATS, Format
from sightline.deployment.conversion.places import places_for
from sightline.errors import InvalidValue, MissingPackage, OutputExists

# Weights in a file or a folder, and what they mean beside them.
MODULE = '''
import numpy as np
import onnx
from onnx import numpy_helper
from sightline.deployment.conversion.description import ExportedModel, read_beside, write_beside

IMPORTS = "import linear\\n"
EXAMPLE = """with open("DESCRIPTION") as file:
    told = json.load(file)
names, calibration = told["labels"], told["calibration"]
logits = linear.run("FILE", images)
"""


def convert(bundle, target):
    (tensor,) = onnx.load(bundle.path / "model.onnx").graph.initializer
    place = target
    if target.suffix in ("", ".unchecked"):
        target.mkdir()
        place = target / "weights.npy"
    with place.open("wb") as stream:
        np.save(stream, numpy_helper.to_array(tensor))
    write_beside(bundle, target)


def open_exported(path):
    weights = np.load(path if path.suffix else path / "weights.npy")
    return ExportedModel(read_beside(path), lambda images: images.mean(axis=(1, 2), dtype=np.float32) @ weights)
'''


@pytest.fixture
def add_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def add(file: str, *, runtime: str = "numpy") -> None:
        (tmp_path / "beside_format.py").write_text(MODULE)
        monkeypatch.syspath_prepend(tmp_path)
        row = Format("weights", file, runtime, runtime, "beside_format", beside=(".json",), has_novelty=False)
        monkeypatch.setitem(FORMATS, "linear", row)

    return add


@pytest.mark.parametrize("file", ["model.weights", "weights"], ids=["file", "folder"])
def test_an_export_of_several_files_is_whole_and_is_replaced_only_if_all_of_it_is_ours(
    file: str, add_format, run: Path, command
) -> None:
    add_format(file)
    place = run / "exports" / "linear"
    for _ in range(2):
        assert command("export", run, "linear").code == 0
    names = sorted(path.name for path in place.iterdir())
    beside = Path(file).stem + ".json"
    assert names == sorted([file, beside, "parity.json", "README.md"])
    told = json.loads((place / "parity.json").read_text())
    weights = file if "." in file else f"{file}/weights.npy"
    assert set(told["files"]) == {weights, beside, "README.md"}
    text = (place / "README.md").read_text()
    assert f'open("{beside}")' in text
    assert "take the format `onnx`" in text
    (place / weights).write_bytes(b"mine")
    with pytest.raises(OutputExists, match="not ours"):
        sightline.export(run, "linear")
    assert (place / weights).read_bytes() == b"mine"
    sightline.export(run, "linear", overwrite=True)
    assert (place / weights).read_bytes() != b"mine"


def test_a_folder_that_holds_a_file_of_somebody_else_is_kept(add_format, run: Path) -> None:
    add_format("weights")
    exported = sightline.export(run, "linear")
    (exported.path / "notes.txt").write_text("mine")
    with pytest.raises(OutputExists, match="holds what is not ours"):
        sightline.export(run, "linear")
    assert (exported.path / "notes.txt").read_text() == "mine"


def test_what_cannot_be_run_is_kept_only_if_asked_and_under_a_name_that_says_so(add_format, run: Path, command) -> None:
    add_format("model.weights", runtime="nowhere_runtime")
    with pytest.raises(MissingPackage, match="pip install 'nowhere_runtime'"):
        sightline.export(run, "linear")
    answer = command("export", run, "linear", "--unchecked")
    assert answer.code == 1
    assert "unchecked  the format linear needs the package 'nowhere_runtime', which is not installed." in answer.out
    place = run / "exports" / "linear-unchecked"
    assert sorted(path.name for path in place.iterdir()) == [
        "README.md",
        "model.unchecked.json",
        "model.unchecked.weights",
        "parity.json",
    ]
    assert "**It was not compared with its bundle**" in (place / "README.md").read_text()
    assert "largest_difference" not in json.loads((place / "parity.json").read_text())


def test_what_can_be_compared_is_compared_even_if_unchecked_would_do(add_format, run: Path, make_bundle) -> None:
    add_format("model.weights")
    exported = sightline.export(run, "linear", unchecked=True)
    assert (exported.path.name, exported.figures["unchecked"]) == ("model.weights", None)
    bare = sightline.export(make_bundle(has_parity=False), "linear", unchecked=True)
    assert bare.path.name == "model.unchecked.weights"
    assert "there is nothing to compare an export on" in bare.figures["unchecked"]


def test_of_a_folder_that_was_not_compared_the_program_names_the_description(add_format, make_bundle) -> None:
    add_format("weights")
    exported = sightline.export(make_bundle(has_parity=False), "linear", unchecked=True)
    assert exported.path.name == "weights.unchecked"
    assert (exported.path.parent / "weights.unchecked.json").is_file()
    assert 'open("weights.unchecked.json")' in exported.readme.read_text()


@pytest.mark.parametrize("name", ["onnx", "litert", "openvino", "torch", "coreml", "web-file"])
def test_an_ending_in_capitals_is_that_of_its_format(name: str, run: Path, tmp_path: Path) -> None:
    form = FORMATS[name]
    ending = Path(form.file).suffix
    found = places_for(sightline.reopen(run / "bundle"), name, form, tmp_path / f"mine{ending.upper()}")
    assert found.file == tmp_path / f"mine{ending}"
    assert found.beside == tuple(tmp_path / f"mine{end}" for end in form.beside)


def test_unchecked_is_yes_or_no(run: Path) -> None:
    with pytest.raises(InvalidValue, match="unchecked must be True or False; got 1"):
        sightline.export(run, "onnx", unchecked=1)
