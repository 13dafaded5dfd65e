from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import sightline
from sightline.bundles.bundle import write_manifest
from sightline.errors import CannotWrite, ExportRefused, InvalidBundle, InvalidValue, OutputExists, UnknownName


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


def test_nothing_is_written_into_the_images_of_a_run(run: Path, photos: Path) -> None:
    with pytest.raises(InvalidValue, match=r"belongs to .*photos, which is never changed"):
        sightline.export(run, "onnx", out=photos / "exports")


def test_of_a_link_to_the_bundle_of_a_run_the_export_lies_in_the_run(run: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(run / "bundle")
    exported = sightline.export(tmp_path / "latest", "onnx")
    assert exported.path.samefile(run / "exports" / "onnx" / "model.onnx")
    assert exported.figures["compared_on"]["kind"] == "calibration"


def test_an_unknown_format_is_told_what_may_have_been_meant() -> None:
    with pytest.raises(UnknownName, match=r"no export format is called 'onx'. Did you mean 'onnx'\?"):
        sightline.export("imagenet", "onx")


def test_a_bundle_named_by_a_dot_has_its_export_beside_it(make_bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_bundle("mine")
    monkeypatch.chdir(path)
    assert sightline.export(".", "onnx").path == path.with_name("mine-exports") / "onnx" / "model.onnx"


@pytest.mark.parametrize("name", ["tfjs", "TensorFlowJS"])
def test_a_format_that_is_dead_is_refused_with_what_to_take(name: str) -> None:
    with pytest.raises(UnknownName, match="For a page in a browser take web; a page of your own runs the file of onnx"):
        sightline.export("imagenet", name)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="it has no place that takes no files")
def test_a_folder_that_takes_no_files_leaves_nothing(make_bundle, tmp_path: Path) -> None:
    with pytest.raises(CannotWrite):
        sightline.export(make_bundle(), "onnx", out=Path("/proc/exports"))


def test_another_format_does_not_take_the_report_of_one_that_is_there(make_bundle, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    bundle, out = make_bundle(), tmp_path / "here"
    sightline.export(bundle, "onnx", out=out)
    with pytest.raises(OutputExists, match=r"holds the export of another format \(model\.onnx\)"):
        sightline.export(bundle, "openvino", out=out)
    assert sightline.export(bundle, "onnx", out=out).path == out / "model.onnx"


def test_what_a_bundle_kept_of_its_answers_is_not_taken_for_them(make_bundle, tmp_path: Path) -> None:
    bundle = make_bundle()
    other = onnx.load(bundle / "model.onnx")
    other.graph.initializer[0].CopyFrom(numpy_helper.from_array(-np.eye(3, dtype=np.float32), "weights"))
    onnx.save(other, bundle / "model.onnx")
    (bundle / "manifest.json").unlink()
    write_manifest(bundle, kind="embedded")
    with pytest.raises((InvalidBundle, ExportRefused), match="does not answer as"):
        sightline.export(bundle, "onnx", out=tmp_path / "out")
