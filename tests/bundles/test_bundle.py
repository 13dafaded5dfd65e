from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import sightline
from sightline.bundles.bundle import CAPABILITIES, load_bundle, write_description, write_manifest
from sightline.errors import InvalidBundle
from sightline.evaluation.measuring.finished_runs import read_run
from sightline.system.progress import reporting

FILES = ("input.json", "labels.json", "model.keras", "model.onnx", "calibration.json", "metrics.json", "card.md")


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_run_its_folder_and_its_bundle_open_the_same(tiny_run: sightline.Run, monkeypatch) -> None:
    opened = load_bundle(tiny_run.path)
    assert opened.path == tiny_run.path / "bundle"
    assert load_bundle(str(tiny_run.path / "bundle")).manifest == opened.manifest
    assert load_bundle(opened) is opened
    monkeypatch.chdir(tiny_run.path / "bundle")
    assert load_bundle(".").manifest == opened.manifest


def test_a_bundle_tells_what_it_was_made_for(tiny_run: sightline.Run) -> None:
    bundle = load_bundle(tiny_run.path)
    assert bundle.class_names == tuple("0123456789")
    assert (bundle.input.shape, bundle.input.background, bundle.num_calibration_images) == ((28, 28, 1), "dark", 30)
    assert bundle.metrics["test"]["num_images"] == 200
    assert bundle.metrics["largest_probability_difference"] <= 1e-4


def test_the_manifest_lists_every_other_file_and_what_made_it(tiny_run: sightline.Run) -> None:
    manifest = json.loads((tiny_run.path / "bundle" / "manifest.json").read_text())
    assert (manifest["format"], manifest["format_version"]) == ("sightline-bundle", 2)
    listed = {*FILES, *(name for capability in manifest["capabilities"] for name in CAPABILITIES[capability])}
    assert set(manifest["files"]) == listed
    for name, entry in manifest["files"].items():
        assert entry["size"] == (tiny_run.path / "bundle" / name).stat().st_size
        assert len(entry["sha256"]) == 64
    assert {"keras", "numpy", "onnxruntime"} <= set(manifest["versions"])
    assert manifest["created"].endswith("+00:00")


def test_a_bundle_works_wherever_it_is_moved_to(run_copy: Path, tmp_path: Path) -> None:
    moved = Path(shutil.move(run_copy / "bundle", tmp_path / "elsewhere"))
    assert load_bundle(moved).class_names == tuple("0123456789")


@pytest.mark.skipif(sys.platform == "win32", reason="has no such permissions")
def test_what_may_not_be_read_is_refused_in_a_sentence(ordinary_user: Path) -> None:
    run = ordinary_user / "runs" / "first"
    (run / "bundle").mkdir(parents=True)
    for name in ("recipe.json", "bundle/manifest.json"):
        (run / name).touch()
    closed = (
        (run / "bundle" / "manifest.json", (load_bundle,)),
        (run / "bundle", (load_bundle,)),
        (run, (load_bundle, read_run)),
        (run.parent, (load_bundle, read_run)),
    )
    for place, ways in closed:
        usual = place.stat().st_mode
        place.chmod(0)
        for way in ways:
            with pytest.raises(InvalidBundle, match=r"cannot be read \(.*Permission denied\)"):
                way(run)
        place.chmod(usual)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(name: str, run_copy: Path) -> None:
    (run_copy / "bundle" / name).unlink()
    with pytest.raises(InvalidBundle, match=f"{name} is missing. Copy the whole bundle again"):
        load_bundle(run_copy)


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_one_other_byte_is_named(name: str, run_copy: Path) -> None:
    path = run_copy / "bundle" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidBundle, match=f"{name} is not the file that was saved"):
        load_bundle(run_copy)


def test_a_folder_in_the_place_of_a_file_is_named(run_copy: Path) -> None:
    (run_copy / "bundle" / "card.md").unlink()
    (run_copy / "bundle" / "card.md").mkdir()
    with pytest.raises(InvalidBundle, match=r"card\.md is no file\. Copy the whole bundle again"):
        load_bundle(run_copy)


@pytest.mark.skipif(os.name == "nt", reason="links need a permission on Windows")
def test_a_bundle_of_links_is_one_as_the_store_of_a_model_hub_keeps_it(run_copy: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for path in (run_copy / "bundle").iterdir():
        stored = blobs / hashlib.sha256(path.read_bytes()).hexdigest()
        path.rename(stored)
        (snapshot / path.name).symlink_to(Path("../../blobs", stored.name))
    (snapshot / "README.md").symlink_to("nowhere")
    (tmp_path / "model").symlink_to(snapshot)
    for place in (snapshot, tmp_path / "model"):
        assert len(sightline.predict(place, np.zeros((2, 28, 28), np.uint8), progress=False)) == 2
    for lead in ("nowhere", "labels.json"):
        (snapshot / "labels.json").unlink()
        (snapshot / "labels.json").symlink_to(lead)
        with pytest.raises(
            InvalidBundle, match=r"labels\.json is a link that leads to no file\. Copy the whole bundle"
        ):
            load_bundle(snapshot)
    (snapshot / "labels.json").unlink()
    (snapshot / "labels.json").symlink_to("card.md")
    with pytest.raises(InvalidBundle, match=r"labels\.json is not the file that was saved"):
        load_bundle(snapshot)


@pytest.mark.parametrize("name", [".DS_Store", "._model.onnx", ".gitattributes", "README.md", "model.onnx.bak"])
def test_files_that_no_manifest_lists_are_passed_over(name: str, run_copy: Path) -> None:
    (run_copy / "bundle" / name).write_text("x")
    for folder in ("__MACOSX", "@eaDir", ".git"):
        (run_copy / "bundle" / folder).mkdir()
    assert load_bundle(run_copy).path == run_copy / "bundle"
    write_manifest(run_copy / "bundle")
    assert name not in load_bundle(run_copy).manifest["files"]


@pytest.mark.parametrize("version", [0, 3, "1", None, True, 1.0])
def test_an_unknown_format_version_is_refused_with_the_remedy(version: object, run_copy: Path) -> None:
    rewrite(run_copy / "bundle" / "manifest.json", format_version=version)
    with pytest.raises(InvalidBundle, match=r"reads versions 1 and 2\. Run: pip install --upgrade sightline"):
        load_bundle(run_copy)


def test_a_bundle_of_the_first_version_is_opened(run_copy: Path) -> None:
    path = run_copy / "bundle" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["capabilities"], manifest["outputs"]
    path.write_text(json.dumps({**manifest, "format_version": 1}))
    assert load_bundle(run_copy).capabilities == ()


def test_the_manifest_tells_dtype_shape_and_meaning_of_every_output(tiny_run: sightline.Run) -> None:
    outputs = load_bundle(tiny_run.path).manifest["outputs"]
    assert {name: (entry["dtype"], entry["shape"]) for name, entry in outputs.items()} == {
        "features": ("float32", ["batch", 84]),
        "logits": ("float32", ["batch", 10]),
        "novelty": ("float32", ["batch"]),
        "nearest": ("int32", ["batch", 5]),
        "nearest_distances": ("float32", ["batch", 5]),
    }
    assert "softmax" in outputs["logits"]["meaning"]


def test_what_a_newer_version_added_is_passed_over_and_said_once(
    run_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run_copy / "bundle" / "manifest.json"
    rewrite(path, capabilities=[*json.loads(path.read_text())["capabilities"], "telepathy"], more={"new": 1})
    with reporting("plain"):
        assert "telepathy" in load_bundle(run_copy).capabilities
        load_bundle(run_copy)
    assert capsys.readouterr().err.count("passed over what this Sightline does not know of it: telepathy") == 1


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", "{}", '{"format": "sightline-bundle"}', "[" * 100_000 + "]" * 100_000],
)
def test_something_else_under_the_name_of_the_manifest_is_refused(content: str, run_copy: Path) -> None:
    (run_copy / "bundle" / "manifest.json").write_text(content)
    with pytest.raises(InvalidBundle, match=r"manifest\.json: |format version"):
        load_bundle(run_copy)


@pytest.mark.parametrize("entry", [None, "x", {}, {"sha256": None}])
def test_a_manifest_without_hashes_is_refused(entry: object, run_copy: Path) -> None:
    path = run_copy / "bundle" / "manifest.json"
    manifest = json.loads(path.read_text())
    rewrite(path, files={**manifest["files"], "card.md": entry})
    with pytest.raises(InvalidBundle, match=r"card\.md is not the file that was saved"):
        load_bundle(run_copy)


def test_a_manifest_cannot_point_out_of_the_bundle(run_copy: Path) -> None:
    path = run_copy / "bundle" / "manifest.json"
    files = json.loads(path.read_text())["files"]
    rewrite(path, files={**files, "../recipe.json": files["card.md"]})
    with pytest.raises(InvalidBundle, match=r"\.\./recipe\.json is missing"):
        load_bundle(run_copy)


@pytest.mark.parametrize(
    "content",
    [
        {"files": []},
        {"files": {f"{number}": {} for number in range(2_000)}},
        {"capabilities": "parity"},
        {"capabilities": [1]},
        {"outputs": []},
        {"outputs": {"logits": {"dtype": "float32", "shape": [None], "meaning": ""}}},
        {"outputs": {"logits": {"dtype": "float32"}}},
    ],
)
def test_a_manifest_with_a_part_of_another_kind_is_refused(content: dict[str, object], run_copy: Path) -> None:
    rewrite(run_copy / "bundle" / "manifest.json", **content)
    with pytest.raises(InvalidBundle, match=r"manifest\.json: (files|capabilities|outputs) must"):
        load_bundle(run_copy)


def test_a_graph_that_is_none_is_not_sealed(run_copy: Path) -> None:
    bundle = run_copy / "bundle"
    (bundle / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(InvalidBundle, match=r"model\.onnx: not a graph"):
        write_manifest(bundle)


def test_a_bundle_that_lacks_a_file_is_not_sealed(run_copy: Path) -> None:
    (run_copy / "bundle" / "card.md").unlink()
    with pytest.raises(InvalidBundle, match=r"the bundle lacks card\.md; it was not sealed"):
        write_manifest(run_copy / "bundle")


def test_a_place_without_a_bundle_is_refused_as_it_was_typed(tmp_path: Path) -> None:
    with pytest.raises(InvalidBundle, match="nowhere: no such folder"):
        load_bundle("nowhere")
    with pytest.raises(InvalidBundle, match=r"not a bundle: it has no manifest\.json"):
        load_bundle(tmp_path)
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(InvalidBundle, match="this run has no bundle; its training did not finish"):
        load_bundle(tmp_path)
    with pytest.raises(InvalidBundle, match=r"recipe\.json: a file, and .* is a folder\. Name its folder; unpack it"):
        load_bundle(tmp_path / "recipe.json")
    (tmp_path / "manifest.json").touch()
    with pytest.raises(InvalidBundle, match=rf"Name {tmp_path}, the folder it lies in"):
        load_bundle(tmp_path / "recipe.json")


def test_what_is_described_and_sealed_again_says_the_same(run_copy: Path) -> None:
    bundle = run_copy / "bundle"
    before = sightline.reopen(bundle)
    names = ("input.json", "labels.json", "manifest.json")
    told = {name: json.loads((bundle / name).read_bytes()) for name in names}
    for name in names:
        (bundle / name).unlink()
    calibration = json.loads((bundle / "calibration.json").read_bytes())
    write_description(bundle, spec=before.input, class_names=before.class_names, calibration=calibration)
    write_manifest(bundle, task=before.task)
    found = {name: json.loads((bundle / name).read_bytes()) for name in names}
    for content in (told, found):
        content["manifest.json"]["created"] = content["manifest.json"]["files"]["calibration.json"] = None
    assert found == told
    assert sightline.reopen(bundle).class_names == before.class_names
