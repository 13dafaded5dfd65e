from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from PIL import Image

import sightline
from sightline.bundles.bundle import write_manifest
from sightline.deployment.conversion.formats import FORMATS, Format
from sightline.errors import (
    ExportRefused,
    InvalidBundle,
    InvalidValue,
    MissingPackage,
    OutputExists,
    UnknownName,
    UnreadableImage,
)
from sightline.records import InputSpec

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
names, temperature = told["labels"], told["calibration"]["temperature"]
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


def program_of(readme: Path) -> str:
    (block,) = re.findall(r"^```python\n(.*?)^```$", readme.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return block


def answer_of(readme: Path, image: Path) -> tuple[str, float]:
    """What the program in a README prints of an image, run where the file lies and without Sightline's folder."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.modules['sightline'] = None\n" + program_of(readme), str(image)],
        capture_output=True,
        text=True,
        check=True,
        cwd=readme.parent,
        env=environment,
        timeout=60,
    )
    label, confidence = done.stdout.split()
    return label, float(confidence)


def test_an_exported_graph_says_what_it_is_and_answers_as_before(make_bundle, tmp_path: Path) -> None:
    bundle = sightline.reopen(make_bundle())
    exported = sightline.export(bundle, "onnx")
    assert exported.path == tmp_path / "bundle-exports" / "onnx" / "model.onnx"
    onnx.checker.check_model(onnx.load(exported.path))
    session = onnxruntime.InferenceSession(exported.path)
    about = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    assert about["sightline.labels"] == ["cat", "dog", "owl"]
    assert about["sightline.input"] == json.loads((bundle.path / "input.json").read_text())
    assert about["sightline.calibration"]["temperature"] == bundle.temperature
    assert (about["sightline.task"], about["sightline.version"]) == ("single-label", sightline.__version__)
    assert about["sightline.bundle"]["model_sha256"] == bundle.manifest["files"]["model.onnx"]["sha256"]
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    (logits,) = session.run(["logits"], {"images": images})
    np.testing.assert_array_equal(logits, sightline.predict(bundle, images, progress=False).logits)


def test_without_images_the_bundles_own_are_compared_and_that_is_said(make_bundle, command) -> None:
    answer = command("export", make_bundle(), "onnx", "--quiet")
    assert (answer.code, answer.err) == (0, "")
    assert "careful    compared on parity.npz alone, since the bundle lies in no run. Name images" in answer.out
    report = json.loads(Path("bundle-exports/onnx/parity.json").read_text())
    assert (report["compared_on"]["kind"], report["num_images"], report["accuracy"]) == ("parity", 32, None)
    assert report["compared_on"]["remark"].startswith("compared on parity.npz alone")


def test_of_a_run_its_calibration_images_are_compared_from_their_files(run: Path, command) -> None:
    answer = command("export", run, "onnx", "--json", "--quiet")
    told = json.loads(answer.out)
    assert (answer.code, answer.err) == (0, "")
    assert told["path"] == str(run / "exports" / "onnx" / "model.onnx")
    assert told["compared_on"]["in_words"] == "6 calibration images of photos"
    assert (told["largest_difference"], told["agreement"]) == (0, 1)
    assert (told["accuracy"]["bundle"], told["accuracy"]["export"]) == (1, 1)
    assert told["accuracy"]["paired"]["p_value"] == 1
    assert told["bytes"]["export"] == Path(told["path"]).stat().st_size > told["bytes"]["bundle"]
    assert min(told["milliseconds_per_image"].values()) > 0
    report = json.loads(Path(told["report"]).read_text())
    assert report == {name: value for name, value in told.items() if name not in ("path", "report", "readme")}
    assert sightline.predict(run, run.parent / "photos", progress=False).predicted[:4] == ("cat",) * 4


def test_a_run_whose_source_is_gone_is_compared_on_what_its_bundle_keeps(run: Path, photos: Path) -> None:
    photos.rename(photos.with_name("elsewhere"))
    told = sightline.export(run, "onnx").figures
    assert told["compared_on"]["kind"] == "parity"
    assert "the calibration images of the run cannot be had" in told["compared_on"]["remark"]


def test_images_that_are_named_are_compared_and_what_cannot_be_read_is_told(make_bundle, photos: Path, command) -> None:
    (photos / "cat" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    answer = command("export", make_bundle(), "onnx", "--images", photos, "--out", "here")
    assert answer.code == 1
    assert "compared   on 12 images of photos: largest difference of a probability 0 " in answer.out
    assert "left out   1 that could not be read" in answer.out
    assert sorted(path.name for path in Path("here").iterdir()) == ["README.md", "model.onnx", "parity.json"]


def test_images_of_a_class_that_the_bundle_does_not_know_are_refused(make_bundle, photos: Path) -> None:
    (photos / "owl").rename(photos / "eagle")
    with pytest.raises(InvalidValue, match="has classes the bundle does not know: eagle"):
        sightline.export(make_bundle(), "onnx", images=photos)


def test_images_none_of_which_can_be_read_are_refused(make_bundle, photos: Path) -> None:
    for path in photos.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(UnreadableImage, match="none of its images can be read"):
        sightline.export(make_bundle(), "onnx", images=photos)


def test_many_images_are_thinned_evenly(make_bundle, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.deployment.conversion.rows.MOST_ROWS", 6)
    told = sightline.export(make_bundle(), "onnx", images=photos).figures
    assert told["compared_on"]["in_words"] == "6 of the 12 images of photos"


def test_without_anything_to_compare_on_it_is_said_what_to_do(make_bundle, command, tmp_path: Path) -> None:
    answer = command("export", make_bundle(has_parity=False), "onnx")
    assert (answer.code, answer.out) == (2, "")
    assert "it keeps no parity.npz. Name images of its classes: --images SOURCE" in answer.err
    assert not (tmp_path / "bundle-exports").exists()


@pytest.mark.parametrize(
    ("spec", "outputs"),
    [(InputSpec(8, 6, "grey", background="light"), ("logits",)), (InputSpec(8, 8, "rgb"), ("logits", "disagreement"))],
    ids=["grey", "ensemble"],
)
def test_grey_bundles_and_ensembles_are_exported_whole(spec: InputSpec, outputs: tuple[str, ...], make_bundle) -> None:
    exported = sightline.export(make_bundle(spec=spec, outputs=outputs), "onnx")
    session = onnxruntime.InferenceSession(exported.path)
    assert tuple(output.name for output in session.get_outputs()) == outputs


def test_weights_in_another_file_are_refused_as_predicting_does(make_bundle, photos: Path) -> None:
    path = make_bundle()
    model = onnx.load(path / "model.onnx")
    onnx.save(model, path / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    write_manifest(path, kind="embedded")
    with pytest.raises(InvalidBundle, match="weights lie in another file"):
        sightline.export(path, "onnx", images=photos)


def test_metadata_that_a_graph_has_already_is_kept_and_ours_replaced(make_bundle, tmp_path: Path) -> None:
    from sightline.bundles.graphs import write_with_metadata

    graph = make_bundle() / "model.onnx"
    model = onnx.load(graph)
    helper.set_model_props(model, {"author": "me", "sightline.labels": "forged"})
    graph.write_bytes(model.SerializeToString())
    write_with_metadata(graph, tmp_path / "a.onnx", {"sightline.labels": "[1]", "long": "ü" * 300})
    found = onnx.load(tmp_path / "a.onnx")
    told = [(entry.key, entry.value) for entry in found.metadata_props]
    assert told == [("author", "me"), ("sightline.labels", "[1]"), ("long", "ü" * 300)]
    assert found.graph == model.graph


def test_the_program_in_the_readme_answers_as_predict_does(run: Path, photos: Path) -> None:
    exported = sightline.export(run, "onnx", out=run.parent / "elsewhere" / "animals.onnx")
    assert exported.readme.name == "animals.README.md"
    image = photos / "dog" / "2.png"
    label, confidence = answer_of(exported.readme, image)
    answers = sightline.predict(run, image, progress=False)
    assert label == answers.predicted[0] == "dog"
    assert confidence == pytest.approx(float(answers.confidences[0]), abs=1e-6)


@pytest.mark.parametrize("rule", ["fit", "fill", "stretch"])
@pytest.mark.parametrize("mode", ["grey", "rgb"])
def test_the_program_in_the_readme_prepares_an_image_byte_by_byte(
    rule: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sightline.data.decoding.decoder import decode_image
    from sightline.data.decoding.transforms import resize_image
    from sightline.deployment.conversion.readme import prepared

    spec = InputSpec(20, 14, mode, rule, "light")
    for number, size in enumerate([(20, 14), (31, 17), (13, 57), (3, 2)]):
        path = tmp_path / f"{number}.png"
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels if mode == "rgb" else pixels[..., 0]).save(path)
        monkeypatch.setattr(sys, "argv", ["program", str(path)])
        names: dict[str, object] = {}
        exec("import sys\nimport numpy as np\nfrom PIL import Image, ImageOps\n" + prepared(spec), names)
        wanted = resize_image(decode_image(path, color_mode=mode), spec)
        np.testing.assert_array_equal(names["images"], wanted[None])


def test_a_format_is_a_module_and_a_row(second_format, run: Path, photos: Path, command) -> None:
    second_format()
    assert "linear: weights of a linear network" in " ".join(command("export", "--help").out.split())
    assert "Did you mean 'linear'? Known: linear, onnx." in command("export", run, "linea").err
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
    "no number": (WEIGHED, f"{WEIGHED} * np.nan", "differs by no number in the probability of 'cat' of cat/0.png"),
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
        sightline.export(run, "linear", out=kept.path.parent)
    assert {path.name: path.read_bytes() for path in kept.path.parent.iterdir()} == before


def test_a_runtime_that_is_missing_is_named_with_its_line_of_pip(second_format, run: Path) -> None:
    second_format(runtime="nowhere_runtime")
    with pytest.raises(MissingPackage, match="pip install 'nowhere_runtime'"):
        sightline.export(run, "linear")


def test_what_sightline_wrote_is_replaced_and_what_was_changed_is_not(make_bundle, tmp_path: Path, command) -> None:
    bundle, out = make_bundle(), tmp_path / "here"
    assert command("export", bundle, "onnx", "--out", out, "--quiet").code == 0
    assert command("export", bundle, "onnx", "--out", out, "--quiet").code == 0
    (out / "README.md").write_text("notes of mine")
    refused = command("export", bundle, "onnx", "--out", out)
    assert refused.code == 2
    assert "README.md exists and is not ours; it was not changed." in refused.err
    assert (out / "README.md").read_text() == "notes of mine"
    assert command("export", bundle, "onnx", "--out", out, "--overwrite", "--quiet").code == 0
    assert "notes of mine" not in (out / "README.md").read_text()


def test_nothing_is_written_into_a_bundle_a_run_or_the_images(make_bundle, run: Path, photos: Path) -> None:
    bundle = make_bundle()
    for out in (bundle, bundle / "exports", run / "bundle" / "model.onnx", run / "mine.onnx", photos / "exports"):
        with pytest.raises(InvalidValue, match="which is never changed"):
            sightline.export(bundle, "onnx", out=out, images=photos)
    (bundle.parent / "taken").mkdir()
    (bundle.parent / "taken" / "model.onnx").write_bytes(b"somebody's")
    with pytest.raises(OutputExists, match="exists and is not ours"):
        sightline.export(bundle, "onnx", out=bundle.parent / "taken")


def test_an_unknown_format_is_told_what_may_have_been_meant() -> None:
    with pytest.raises(UnknownName, match=r"no export format is called 'onx'. Did you mean 'onnx'\?"):
        sightline.export("imagenet", "onx")


@pytest.mark.parametrize("name", FORMATS)
def test_every_row_has_its_module_with_all_that_is_asked_of_it(name: str) -> None:
    row = FORMATS[name]
    module = row.module()
    assert callable(module.convert)
    assert callable(module.open_exported)
    assert "FILE" in module.EXAMPLE
    assert f"import {row.runtime}" in module.IMPORTS
    assert Path(row.file).suffix


def test_a_bundle_named_by_a_dot_has_its_export_beside_it(make_bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_bundle("mine")
    monkeypatch.chdir(path)
    assert sightline.export(".", "onnx").path == path.with_name("mine-exports") / "onnx" / "model.onnx"
