"""Pretrained networks: the one inside the package and those of keras.applications, each fed as its weights expect."""

from __future__ import annotations

import importlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import sightline
from sightline.bundles.bundle import FOLDER, load_bundle
from sightline.bundles.sessions import open_session
from sightline.configuration.networks import MODELS
from sightline.configuration.recipes import parse_recipe
from sightline.data.sources.downloads import keras_home
from sightline.errors import InvalidBundle, InvalidValue
from sightline.metrics.classification import softmax
from sightline.system.backends import load_keras

keras = load_keras()

from sightline.bundles.vetting.weights_files import check_weights  # noqa: E402
from sightline.networks import applications, lite  # noqa: E402  # the backend is chosen first
from sightline.networks.building import build_network  # noqa: E402

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


@pytest.mark.parametrize(
    "name", [name if name == "mobilenet-v2" else pytest.param(name, marks=pytest.mark.soak) for name in FETCHED]
)
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
        weights = lite.embedded_weights()
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
    copy = Path(shutil.copytree(FOLDER, tmp_path / "imagenet"))
    graph = bytearray((copy / "model.onnx").read_bytes())
    graph[len(graph) // 2] ^= 1
    (copy / "model.onnx").write_bytes(graph)
    monkeypatch.setattr("sightline.bundles.bundle.FOLDER", copy)
    with pytest.raises(InvalidBundle, match=r"model\.onnx is not the file that was saved"):
        network_of("efficientnet-lite0")


def test_a_folder_called_imagenet_is_taken_before_the_embedded_network(tmp_path, monkeypatch) -> None:
    (tmp_path / "imagenet").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidBundle, match="imagenet: not a bundle"):
        load_bundle("imagenet")


def test_weights_from_a_file_are_those_of_the_file(tmp_path: Path) -> None:
    weights = lite.embedded_weights()
    np.savez(tmp_path / "mine.npz", **weights)
    given = network_of("efficientnet-lite0", weights=str(tmp_path / "mine.npz"))
    usual = network_of("efficientnet-lite0")
    for mine, its in zip(given.get_weights()[:-2], usual.get_weights()[:-2], strict=True):
        assert np.array_equal(mine, its)


@pytest.mark.soak
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


@pytest.mark.parametrize("damage", ["cut off", "one byte changed", "an array"])
def test_a_damaged_archive_of_weights_is_refused(damage: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.npz"
    np.savez(file, **lite.embedded_weights())
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 255
    file.write_bytes(data[: len(data) // 2] if damage == "cut off" else data)
    if damage == "an array":
        with file.open("wb") as stream:
            np.save(stream, np.zeros(3))
    with pytest.raises(InvalidValue, match=r"model\.weights: .*mine\.npz cannot be read \(.*damaged"):
        network_of("efficientnet-lite0", weights=str(file))


@pytest.mark.parametrize("other", ["another width", "another network", "cut off"])
def test_foreign_weights_in_the_format_of_keras_are_refused_without_noise(other: str, tmp_path: Path) -> None:
    file = tmp_path / "other.weights.h5"
    if other == "another width":
        made = keras.applications.MobileNetV2(alpha=0.35, include_top=False, weights=None, input_shape=(64, 64, 3))
    else:
        made = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    made.save_weights(file)
    if other == "cut off":
        file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(
        InvalidValue, match=r"model\.weights: .*other\.weights\.h5 (holds no weights of|cannot be read)"
    ):
        network_of("mobilenet-v2", weights=str(file))


@pytest.mark.parametrize(
    ("name", "file", "match"),
    [
        ("efficientnet-lite0", "gone.npz", "no such file"),
        ("efficientnet-lite0", "there.h5", r"takes weights from \.npz files"),
        ("mobilenet-v2", "there.npz", r"takes weights from \.h5 or \.keras files"),
        ("mobilenet-v2", "there.h5", "damaged, cut off, or no"),
        ("mobilenet-v2", "there.keras", "damaged, cut off, or no"),
        ("convnet", "there.npz", "convnet starts from nothing"),
    ],
)
def test_a_file_that_cannot_be_weights_is_refused_without_building_anything(
    name: str, file: str, match: str, tmp_path: Path
) -> None:
    for suffix in ("h5", "npz", "keras"):
        (tmp_path / f"there.{suffix}").write_text("a text")
    with pytest.raises(InvalidValue, match=match):
        check_weights(name, str(tmp_path / file))


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    weights = lite.embedded_weights() | {"_bn0.weight": np.zeros(7)}
    np.savez(tmp_path / "odd.npz", **weights)
    with pytest.raises(InvalidValue, match=r"odd\.npz: '_bn0' has another shape than efficientnet-lite0's"):
        network_of("efficientnet-lite0", weights=str(tmp_path / "odd.npz"))


OFFLINE = """
import json, sys
from sightline.configuration.networks import backbone_of
from sightline.system.backends import load_keras
load_keras()
from sightline.configuration.recipes import parse_recipe
from sightline.errors import DownloadFailed
from sightline.networks.applications import weights_file
from sightline.networks.building import build_network
for name, side in json.loads(sys.argv[1]):
    try:
        build_network((side, side, 3), 2, parse_recipe({"model.name": name}).model)
    except DownloadFailed as error:
        print(json.dumps([str(error), weights_file(backbone_of(name), side)]))
"""


def offline(home: Path) -> dict[str, str]:
    """An environment in which every download goes to a port that nobody listens on."""
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    kept = {key: value for key, value in os.environ.items() if key.lower() != "no_proxy"}
    home.mkdir(parents=True, exist_ok=True)
    return {**kept, **proxies, "KERAS_HOME": str(home)}


@pytest.mark.slow
@pytest.mark.soak
def test_without_a_network_the_file_is_named_and_half_of_it_is_never_taken_for_whole(tmp_path: Path, python) -> None:
    models = tmp_path / "keras" / "models"
    models.mkdir(parents=True)
    half = applications.weights_file(MODELS["mobilenet-v2"].backbone, 224)
    keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)]).save_weights(tmp_path / "whole.weights.h5")
    (models / half).write_bytes((tmp_path / "whole.weights.h5").read_bytes()[:-1000])
    asked = [*((name, 224) for name in FETCHED), ("mobilenet-v2", 96)]
    answer = python(OFFLINE, json.dumps(asked), env=offline(tmp_path / "keras"))
    assert answer.code == 0, answer.err
    told = dict(json.loads(line)[::-1] for line in answer.out.splitlines())
    assert len(told) == len(asked)
    damaged = told.pop(half)
    assert "truncated file" in damaged
    assert f"{models / half}: without a network, remove it, for it is damaged, and place a whole one" in damaged
    for file, message in told.items():
        # Keras names the address that it tried: it has to be the same file.
        assert f"/{file}: None" in message
        assert f"They belong into {models / file}: without a network, place it there" in message


def test_the_real_weights_of_mobilenet_v2_are_used_where_keras_has_them() -> None:
    cached = list((keras_home() / "models").glob("mobilenet_v2_*_no_top.h5"))
    if not cached:
        pytest.skip("Keras' cache does not hold the weights of MobileNetV2")
    network = network_of("mobilenet-v2", 224)
    scratch = network_of("mobilenet-v2", 224, weights="random")
    assert not np.array_equal(network.get_weights()[0], scratch.get_weights()[0])
    (file,) = [path for path in cached if "_224_" in path.name]
    by_path = network_of("mobilenet-v2", 224, weights=str(file))
    assert all(
        np.array_equal(mine, its)
        for mine, its in zip(network.get_weights()[:-2], by_path.get_weights()[:-2], strict=True)
    )


@pytest.mark.parametrize(("side", "match"), [(32, "from 64 pixels a side; got 32x32"), (600, "up to 512 pixels")])
def test_a_size_that_a_backbone_cannot_take_is_refused(side: int, match: str) -> None:
    with pytest.raises(InvalidValue, match=match):
        network_of("efficientnet-lite0", side)


def test_the_manifest_of_the_embedded_network_lists_every_file() -> None:
    listed = json.loads((FOLDER / "manifest.json").read_text())["files"]
    assert set(listed) == {path.name for path in FOLDER.iterdir()} - {"manifest.json"}
