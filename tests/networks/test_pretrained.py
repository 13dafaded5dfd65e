"""Pretrained networks: the one inside the package and those of keras.applications, each fed as its weights expect."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import sightline
from sightline.architectures import MODELS
from sightline.backbones import embedded
from sightline.backends import load_keras
from sightline.bundle import load_bundle
from sightline.config import parse_recipe
from sightline.data.downloads import keras_home
from sightline.errors import DownloadFailed, InvalidBundle, InvalidValue
from sightline.metrics.scores import softmax
from sightline.sessions import open_session

keras = load_keras()

from sightline.networks import applications, lite0  # noqa: E402  # the backend is chosen first
from sightline.networks.build import build_network  # noqa: E402

FETCHED = [name for name, entry in MODELS.items() if entry.backbone is not None and entry.backbone.application]
# The module of keras.applications that holds each one's own preprocessing.
MODULES = {
    "mobilenet-v2": "mobilenet_v2",
    "mobilenet-v3": "mobilenet_v3",
    "efficientnet-v2": "efficientnet_v2",
    "convnext": "convnext",
    "resnet50-v2": "resnet_v2",
}


def network_of(name: str, side: int = 64, num_classes: int = 10, **settings: object):
    keras.utils.set_random_seed(0)
    return build_network((side, side, 3), num_classes, parse_recipe({"model": {"name": name, **settings}}).model)


def pictures(count: int, side: int) -> np.ndarray:
    """Smooth pictures with some noise: what a network meets, rather than noise alone."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[0:side, 0:side] / side
    waves = [
        127 + 100 * np.sin(6 * (row * rows + (1 - row) * columns + phase))[..., None] * generator.uniform(0.3, 1, 3)
        for row, phase in generator.random((count, 2))
    ]
    return np.clip(np.stack(waves) + generator.normal(0, 8, (count, side, side, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", FETCHED)
def test_every_fetched_network_is_fed_exactly_as_its_own_preprocessing_says(name: str) -> None:
    entry = MODELS[name]
    network = network_of(name, weights="random")
    assert network.count_params() == entry.num_parameters
    module = importlib.import_module(f"keras.applications.{MODULES[name]}")
    reference = getattr(keras.applications, entry.backbone.application)(
        include_top=False, weights=None, input_shape=(64, 64, 3)
    )
    reference.set_weights(network.get_weights()[:-2])  # all but the kernel and the bias of the head
    images = pictures(4, 64)
    expected = np.asarray(reference(module.preprocess_input(images.astype("float32")), training=False)).mean(
        axis=(1, 2)
    )
    features = keras.Model(network.input, network.get_layer("features").output)
    assert np.abs(np.asarray(features(images, training=False)) - expected).max() < 1e-4 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.backbone is not None])
def test_the_cut_of_every_backbone_is_a_layer_of_it(name: str) -> None:
    network = network_of(name, weights="random")
    cut = MODELS[name].backbone.cut
    if cut:
        upper = keras.Model(network.get_layer(cut).output, network.output)
        # A cut worth having leaves the larger part of the positions below it.
        assert upper.input.shape[1] <= 8


def test_the_embedded_network_is_the_same_in_keras_and_in_onnx_runtime() -> None:
    bundle = load_bundle("imagenet")
    session = open_session(bundle)
    for side in (224, 96):
        network = network_of("efficientnet-lite0", side, 1000)
        weights = lite0.embedded_weights()
        network.get_layer("logits").set_weights([weights["_fc.weight"], weights["_fc.bias"]])
        assert network.count_params() == 4_694_024
        images = pictures(3, side)
        logits, features, middle = session.outputs(images, ["logits", "features", "middle"])
        inside = keras.Model(
            network.input, [network.get_layer(layer).output for layer in ("logits", "features", "blocks_10_sum")]
        )
        for mine, its in zip(inside(images, training=False), (logits, features, middle), strict=True):
            assert np.asarray(mine).shape == its.shape
        difference = np.abs(softmax(np.asarray(network(images, training=False))) - softmax(logits)).max()
        assert difference < 1e-4


def test_imagenet_names_what_is_on_a_photograph() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    photo = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    if not photo.is_file():
        pytest.skip("this matplotlib brings no photograph")
    assert sightline.predict("imagenet", [photo]).predicted == ("military uniform",)


def test_imagenet_has_a_thousand_different_names() -> None:
    names = load_bundle("imagenet").class_names
    assert (len(names), len(set(names)), names[0], names[-1]) == (1000, 1000, "tench", "toilet tissue")


def test_an_altered_embedded_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = Path(shutil.copytree(embedded.FOLDER, tmp_path / "imagenet"))
    graph = bytearray((copy / "model.onnx").read_bytes())
    graph[len(graph) // 2] ^= 1
    (copy / "model.onnx").write_bytes(graph)
    monkeypatch.setattr("sightline.bundle.FOLDER", copy)
    with pytest.raises(InvalidBundle, match=r"model\.onnx is not the file that was saved"):
        network_of("efficientnet-lite0")


def test_a_folder_called_imagenet_is_taken_before_the_embedded_network(tmp_path, monkeypatch) -> None:
    (tmp_path / "imagenet").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidBundle, match="imagenet: not a bundle"):
        load_bundle("imagenet")


def test_weights_from_a_file_are_those_of_the_file(tmp_path: Path) -> None:
    weights = lite0.embedded_weights()
    np.savez(tmp_path / "mine.npz", **weights)
    given = network_of("efficientnet-lite0", weights=str(tmp_path / "mine.npz"))
    usual = network_of("efficientnet-lite0")
    for mine, its in zip(given.get_weights()[:-2], usual.get_weights()[:-2], strict=True):
        assert np.array_equal(mine, its)


def test_keras_own_weights_file_is_read(tmp_path: Path) -> None:
    reference = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(64, 64, 3))
    reference.save_weights(tmp_path / "mine.weights.h5")
    network = network_of("mobilenet-v2", weights=str(tmp_path / "mine.weights.h5"))
    assert np.array_equal(network.get_weights()[0], reference.get_weights()[0])


@pytest.mark.parametrize("name", ["efficientnet-lite0", "mobilenet-v2"])
def test_foreign_damaged_and_missing_weights_are_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"model\.weights: .*gone\.npz"):
        network_of(name, weights=str(tmp_path / "gone.npz"))
    (tmp_path / "text.h5").write_text("not weights")
    with pytest.raises(InvalidValue, match=r"model\.weights: .*text\.h5"):
        network_of(name, weights=str(tmp_path / "text.h5"))
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(InvalidValue, match=r"other\.npz"):
        network_of(name, weights=str(tmp_path / "other.npz"))


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    weights = lite0.embedded_weights() | {"_bn0.weight": np.zeros(7)}
    np.savez(tmp_path / "odd.npz", **weights)
    with pytest.raises(InvalidValue, match=r"odd\.npz: '_bn0' has another shape than efficientnet-lite0's"):
        network_of("efficientnet-lite0", weights=str(tmp_path / "odd.npz"))


def test_a_failed_download_says_which_file_to_place_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    def cut_off(**options: object) -> None:
        raise OSError("URL fetch failure on https://nowhere.invalid/mobilenet_v2_no_top.h5: None -- cut off")

    monkeypatch.setattr(keras.applications, "MobileNetV2", cut_off)
    with pytest.raises(DownloadFailed) as caught:
        applications.application((64, 64, 3), 2, parse_recipe({"model.name": "mobilenet-v2"}).model)
    assert "place mobilenet_v2_no_top.h5 in" in str(caught.value)
    assert str(tmp_path / "models") in str(caught.value)


def test_the_real_weights_of_mobilenet_v2_are_used_where_keras_has_them() -> None:
    cached = list((keras_home() / "models").glob("mobilenet_v2_*_no_top.h5"))
    if not cached:
        pytest.skip("Keras' cache does not hold the weights of MobileNetV2")
    network = network_of("mobilenet-v2", 224)
    scratch = network_of("mobilenet-v2", 224, weights="random")
    assert not np.array_equal(network.get_weights()[0], scratch.get_weights()[0])


@pytest.mark.parametrize(("side", "match"), [(32, "from 64 pixels a side; got 32x32"), (600, "up to 512 pixels")])
def test_a_size_that_a_backbone_cannot_take_is_refused(side: int, match: str) -> None:
    with pytest.raises(InvalidValue, match=match):
        network_of("efficientnet-lite0", side)


def test_the_manifest_of_the_embedded_network_lists_every_file() -> None:
    listed = json.loads((embedded.FOLDER / "manifest.json").read_text())["files"]
    assert set(listed) == {path.name for path in embedded.FOLDER.iterdir()} - {"manifest.json"}
