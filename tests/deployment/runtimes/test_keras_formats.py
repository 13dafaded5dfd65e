"""Formats that Keras writes: each answers as its bundle in its own runtime, and from its README alone."""

from __future__ import annotations

import errno
import importlib.util
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles.bundle import load_bundle
from sightline.deployment.conversion.formats import FORMATS
from sightline.deployment.runtimes.keras_conversion import BACKENDS, convert_keras
from sightline.errors import ExportRefused, InvalidBundle, MissingPackage

FORMATS_OF_KERAS = ("litert", "tensorflow", "torch", "litert-int8")


@pytest.fixture(scope="module")
def digit(tmp_path_factory: pytest.TempPathFactory, small_npz: Path) -> Path:
    place = tmp_path_factory.mktemp("digit") / "digit.png"
    Image.fromarray(sightline.load(small_npz).images[0][..., 0]).save(place)
    return place


def missing(name: str) -> bool:
    """Whether what writes or runs a format is not installed here."""
    for package in (FORMATS[name].runtime, BACKENDS[name]):
        try:
            __import__(package)
        except ImportError:
            return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["litert", *(pytest.param(name, marks=pytest.mark.soak) for name in FORMATS_OF_KERAS[1:])]
)
def test_it_answers_as_its_bundle_and_its_program_needs_no_sightline(
    name: str, tiny_run: sightline.Run, digit: Path, answer_of, tmp_path: Path
) -> None:
    if missing(name):
        pytest.skip(f"pip install '{FORMATS[name].extra}'")
    exported = sightline.export(tiny_run, name, out=tmp_path / "out")
    told = exported.figures
    assert told["agreement"] > 0.98
    if not FORMATS[name].is_quantised:
        assert told["largest_difference"] < 1e-5
        label, confidence = answer_of(exported.readme, digit)
        expected = sightline.predict(tiny_run, digit, progress=False)
        assert (label, confidence) == (expected.predicted[0], pytest.approx(expected.confidences[0], abs=1e-4))
    else:
        tried = told["conversion"]["distances"]
        assert list(tried) == ["all in int8", "first 1 in float", "first 3 in float"], "of five layers with weights"
        assert len(set(tried.values())) == 3, "each of them is another network"
        assert f"kept: {told['conversion']['kept']}" in str(exported)
        timed = told["conversion"]["images_per_second"]
        assert ("keep litert" in str(exported)) == (timed["kept"] <= timed["float"]), "in the runtime that it is for"
    model = FORMATS[name].module().open_exported(exported.path)
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), dtype=np.uint8)
    alone = np.concatenate([model.logits(image[None]) for image in images])
    assert np.allclose(alone, model.logits(images), atol=1e-4), "any number of images at once"


def test_a_bundle_without_a_keras_network_says_so(make_bundle, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    with pytest.raises(ExportRefused, match=r"this bundle holds none\. Take onnx"):
        sightline.export(make_bundle(), "litert", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_network_that_nobody_should_open_is_opened_by_none(make_bundle, tmp_path: Path) -> None:
    path = make_bundle()
    bundle = load_bundle(path)
    (path / "model.keras").write_bytes(b"no archive")
    with pytest.raises(InvalidBundle, match=r"model\.keras"):
        convert_keras(bundle, tmp_path / "model.tflite", "litert")
    assert not (tmp_path / "model.tflite").exists()


@pytest.mark.parametrize("absent", ["keras", "tensorflow"])
@pytest.mark.slow
def test_without_what_writes_it_its_line_of_pip_is_said(
    absent: str, tiny_run: sightline.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == absent else found(name))
    with pytest.raises(MissingPackage, match=rf"'{absent}'.*pip install 'sightline\[tensorflow\]'"):
        convert_keras(load_bundle(tiny_run.bundle), tmp_path / "model.tflite", "litert")


@pytest.mark.soak
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_is_no_fault_of_the_network(
    tiny_run: sightline.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing("litert"):
        pytest.skip(f"pip install '{FORMATS['litert'].extra}'")
    (tmp_path / "model.tflite").symlink_to("/dev/full")
    used = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: used._replace(free=0))
    with pytest.raises(OSError, match=r"model\.tflite") as told:
        convert_keras(load_bundle(tiny_run.bundle), tmp_path / "model.tflite", "litert")
    assert told.value.errno == errno.ENOSPC


@pytest.mark.soak
@pytest.mark.parametrize("name", ["litert", "tensorflow", "torch"])
def test_its_program_runs_where_pip_brought_what_it_names(
    name: str, tiny_run: sightline.Run, digit: Path, answer_of, tmp_path: Path
) -> None:
    if missing(name):
        pytest.skip(f"pip install '{FORMATS[name].extra}'")
    exported = sightline.export(tiny_run, name, out=tmp_path / "out")
    python = tmp_path / "alone" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    venv.create(tmp_path / "alone", with_pip=True)
    installed = [python, "-m", "pip", "install", "--quiet", FORMATS[name].install, "numpy", "pillow"]
    done = subprocess.run(installed, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no packages to be had: {done.stderr[-300:]}")
    expected = sightline.predict(tiny_run, digit, progress=False)
    label, confidence = answer_of(exported.readme, digit, python=python)
    assert (label, confidence) == (expected.predicted[0], pytest.approx(expected.confidences[0], abs=1e-4))
