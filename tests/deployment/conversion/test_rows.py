from __future__ import annotations

import json
from pathlib import Path

import pytest

import sightline
from sightline.errors import InvalidValue, UnreadableImage


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
    assert (told["compared_on"]["in_words"], told["compared_on"]["remark"]) == ("6 calibration images of photos", "")
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
    assert "careful    the bundle may have learned from these images: their accuracy compares two files" in answer.out
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
