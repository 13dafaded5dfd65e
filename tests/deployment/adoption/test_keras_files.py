"""Files of Keras: what older ones wrote is read, what is more than a network is refused before Keras sees it."""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sightline
from sightline.deployment.adoption.keras_configs import check_legacy, settled
from sightline.errors import InvalidValue, MissingPackage
from sightline.system.backends import load_keras

h5py = pytest.importorskip("h5py")
NAMES = ("cat", "dog", "owl")
RNG = np.random.default_rng(2)
# Weights of a network as small as one of that shape can be, and the numbers that define its answer.
CONV = RNG.normal(0, 0.6, (3, 3, 3, 4)).astype(np.float32)
DEPTHWISE = RNG.normal(0, 0.6, (3, 3, 4, 1)).astype(np.float32)
NORMAL = [RNG.uniform(0.5, 1.5, 4).astype(np.float32) for _ in range(4)]  # gamma, beta, mean, variance
HIDDEN, SHIFT = RNG.normal(0, 1, (4, 5)).astype(np.float32), RNG.normal(0, 1, 5).astype(np.float32)
LAST = RNG.normal(0, 1, (5, 3)).astype(np.float32)
CONFIG: dict[str, Any] = {"name": "", "trainable": True, "dtype": "float32"}
INITIALIZER = {"class_name": "VarianceScaling", "config": {"scale": 1, "mode": "fan_avg", "seed": None}}


def layer(kind: str, name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {**CONFIG, "name": name, **config}}


def legacy_config(side: int = 8) -> dict[str, Any]:
    """As tf.keras 2 describes Teachable Machine's export: rows of layers in rows, fields that Keras 3 does not know."""
    shape = [None, side, side, 3]
    given = {"batch_input_shape": shape, "dtype": "float32", "sparse": False, "ragged": False}
    square = {"kernel_size": [3, 3], "strides": [1, 1], "padding": "same", "data_format": "channels_last"}
    parts = [
        {"class_name": "InputLayer", "config": {**given, "name": "input_1"}},
        layer(
            "Conv2D", "Conv1", filters=4, use_bias=False, activation="linear", kernel_initializer=INITIALIZER, **square
        ),
        layer(
            "BatchNormalization", "bn", axis=[3], momentum=0.999, epsilon=0.001, center=True, scale=True, renorm=False
        ),
        layer("ReLU", "relu", max_value=6, negative_slope=0, threshold=0),
        layer(
            "DepthwiseConv2D",
            "expanded_conv_depthwise",
            groups=1,
            depth_multiplier=1,
            use_bias=False,
            activation="linear",
            dilation_rate=[1, 1],
            depthwise_initializer=INITIALIZER,
            **square,
        ),
    ]
    names = [part["config"]["name"] for part in parts]
    for number, part in enumerate(parts):
        part |= {"name": names[number], "inbound_nodes": [[[names[number - 1], 0, 0, {}]]] if number else []}
    inner = {
        "name": "model1",
        "layers": parts,
        "input_layers": [["input_1", 0, 0]],
        "output_layers": [[names[-1], 0, 0]],
    }
    mobile = {"class_name": "Model", "config": {**inner, "trainable": True}}
    pooled = [mobile, layer("GlobalAveragePooling2D", "pool", data_format="channels_last")]
    head = [
        layer("Dense", "dense_1", units=5, activation="relu", use_bias=True, batch_input_shape=[None, 4]),
        layer("Dense", "dense_2", units=3, activation="softmax", use_bias=False),
    ]
    rows = [
        {"class_name": "Sequential", "config": {"name": "sequential_1", "layers": pooled}},
        {"class_name": "Sequential", "config": {"name": "sequential_3", "layers": head}},
    ]
    return {"class_name": "Sequential", "config": {"name": "sequential_4", "layers": rows}}


def write_legacy(path: Path, config: Any) -> Path:
    weights = {
        "sequential_1": {
            "Conv1/kernel:0": CONV,
            "bn/gamma:0": NORMAL[0],
            "bn/beta:0": NORMAL[1],
            "expanded_conv_depthwise/depthwise_kernel:0": DEPTHWISE,
            "bn/moving_mean:0": NORMAL[2],
            "bn/moving_variance:0": NORMAL[3],
        },
        "sequential_3": {"dense_1/kernel:0": HIDDEN, "dense_1/bias:0": SHIFT, "dense_2/kernel:0": LAST},
    }
    with h5py.File(path, "w") as stored:
        stored.attrs["model_config"] = json.dumps(config).encode()
        stored.attrs["keras_version"], stored.attrs["backend"] = b"2.4.0", b"tensorflow"
        group = stored.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in weights]
        group.attrs["keras_version"], group.attrs["backend"] = b"2.4.0", b"tensorflow"
        for name, arrays in weights.items():
            inside = group.create_group(name)
            inside.attrs["weight_names"] = [key.encode() for key in arrays]
            for key, values in arrays.items():
                inside.create_dataset(key, data=values)
    return path


def convolved(images: np.ndarray, kernel: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """A 3x3 convolution that keeps the size: `kernel` of each window, (n, 3, 3, channels)."""
    wide = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows, columns = images.shape[1:3]
    found = [[kernel(wide[:, row : row + 3, column : column + 3]) for column in range(columns)] for row in range(rows)]
    return np.moveaxis(np.array(found), 2, 0)


def by_definition(images: np.ndarray) -> np.ndarray:
    """Logits of the network above in float64, of bytes from -1 to 1."""
    values = convolved(images / 127.5 - 1, lambda window: np.einsum("nijc,ijcd->nd", window, CONV.astype(float)))
    gamma, beta, mean, variance = NORMAL
    values = np.clip((values - mean) / np.sqrt(variance + 0.001) * gamma + beta, 0, 6)
    values = convolved(values, lambda window: np.einsum("nijc,ijc->nc", window, DEPTHWISE[..., 0].astype(float)))
    return np.maximum(values.mean(axis=(1, 2)) @ HIDDEN + SHIFT, 0) @ LAST


@pytest.mark.slow
def test_an_export_in_the_shape_of_teachable_machine_answers_by_its_definition(tmp_path: Path) -> None:
    path = write_legacy(tmp_path / "keras_model.h5", legacy_config())
    (tmp_path / "labels.txt").write_text("0 cat\n1 dog\n2 owl\n")
    done = sightline.adopt(path, tmp_path / "labels.txt", out=tmp_path / "bundle")
    assert done.figures["kind"] == "export of Teachable Machine"
    assert done.bundle.input.resize == "fill"
    assert done.bundle.manifest["outputs"]["features"]["shape"] == ["batch", 5]
    images = RNG.integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    np.testing.assert_allclose(sightline.predict(done.bundle, images).logits, by_definition(images), atol=1e-4)


@pytest.mark.slow
def test_a_network_of_keras_3_that_was_compiled_is_adopted_from_either_format(tmp_path: Path) -> None:
    keras = load_keras()
    layers = keras.layers
    network = keras.Sequential(
        [
            layers.Input((6, 6, 1)),
            keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.2)]),
            layers.Conv2D(2, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    network.compile("adam", "sparse_categorical_crossentropy")
    images = RNG.integers(0, 256, (4, 6, 6, 1)).astype(np.uint8)
    wanted = network.predict(images / np.float32(255), verbose=0)
    for suffix in (".keras", ".h5"):
        network.save(tmp_path / f"network{suffix}")
        done = sightline.adopt(
            tmp_path / f"network{suffix}",
            NAMES,
            description={"scaling": "0..1", "resize": "stretch", "output": "logits"},
            out=tmp_path / f"bundle{suffix}",
        )
        np.testing.assert_allclose(sightline.predict(done.bundle, images).logits, wanted, atol=1e-5)


def changed(**changes: Any) -> dict[str, Any]:
    config = legacy_config()
    config["config"]["layers"][1]["config"]["layers"][0].update(changes)
    return config


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (changed(class_name="Lambda"), "'Lambda'"),
        (changed(class_name="TFOpLambda"), "'TFOpLambda'"),
        (changed(module="os", class_name="Dense"), "'Dense'"),
        (changed(registered_name="mine>Dense"), "'Dense'"),
        (changed(config={"units": 50_000, "name": "dense_1"}), "units of 50000"),
        ({"class_name": "Sequential"}, "describes no network"),
        ([1], "describes no network"),
    ],
)
def test_what_is_more_than_known_layers_is_refused_before_keras_opens_it(
    tmp_path: Path, config: Any, problem: str
) -> None:
    path = write_legacy(tmp_path / "keras_model.h5", config)
    with pytest.raises(InvalidValue, match=problem):
        sightline.adopt(path, NAMES, out=tmp_path / "bundle")
    assert [entry.name for entry in tmp_path.iterdir()] == ["keras_model.h5"]


def test_weights_alone_links_and_damage_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.h5"
    with h5py.File(path, "w") as stored:
        stored["kernel"] = CONV
    with pytest.raises(InvalidValue, match="weights without a network"):
        sightline.adopt(path, NAMES, out=tmp_path / "bundle")
    with h5py.File(path, "w") as stored:
        stored["kernel"] = h5py.ExternalLink("other.h5", "kernel")
    with pytest.raises(InvalidValue, match="link"):
        sightline.adopt(path, NAMES, out=tmp_path / "bundle")
    path.write_bytes(b"no such thing")
    with pytest.raises(InvalidValue, match="damaged"):
        sightline.adopt(path, NAMES, out=tmp_path / "bundle")
    with zipfile.ZipFile(tmp_path / "network.keras", "w") as archive:
        archive.writestr("code.py", "print()")
    with pytest.raises(InvalidValue, match="does not write"):
        sightline.adopt(tmp_path / "network.keras", NAMES, out=tmp_path / "bundle")


def test_networks_within_networks_are_counted_as_keras_3_counts_them() -> None:
    base = {"class_name": "Model", "name": "base", "config": {"name": "base", "layers": []}, "inbound_nodes": []}
    base["inbound_nodes"] = [[["input_1", 0, 0, {}]]]
    pool = {**layer("GlobalAveragePooling2D", "pool"), "name": "pool", "inbound_nodes": [[["base", 1, 0, {}]]]}
    config = {"layers": [base, pool], "output_layers": [["pool", 0, 0]]}
    found = settled({"class_name": "Functional", "module": "tf_keras.src.engine.functional", "config": config})
    assert found["module"] == "keras.src.models.functional"
    assert found["config"]["layers"][1]["inbound_nodes"] == [[["base", 0, 0, {}]]]
    assert found["config"]["output_layers"] == ["pool", 0, 0]


@pytest.mark.parametrize("entry", [None, 3, [], {"class_name": "Dense"}, {"class_name": "Dense", "config": 3}])
def test_a_description_of_another_kind_is_refused(entry: Any) -> None:
    with pytest.raises(ValueError, match="describes no network"):
        settled(entry)


@pytest.mark.parametrize(
    "config",
    [
        {"layers": [[]]},
        {"layers": [{"class_name": 3, "config": {}}]},
        {"layers": [{"class_name": {}, "config": {}}]},
        {"layers": [{"class_name": "Sequential", "name": [], "module": [], "registered_name": {}, "config": {}}]},
        {"layers": [{"class_name": "Dense", "config": {"units": [3]}}], "output_layers": {"a": [[1]]}},
        {"layers": [{"class_name": "Dense", "config": {"batch_input_shape": 3, "dtype": {"class_name": "Policy"}}}]},
        {"layers": [{"class_name": "InputLayer", "config": {}, "inbound_nodes": [[[{}, 1, 2], ["a"], 3], 4]}]},
    ],
)
def test_a_damaged_description_ends_in_a_refusal_if_it_ends(config: Any) -> None:
    with contextlib.suppress(ValueError):
        check_legacy(settled({"class_name": "Sequential", "config": config}), [(3, 4)])


def test_where_keras_is_missing_the_line_that_brings_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_legacy(tmp_path / "keras_model.h5", legacy_config())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"sightline\[tensorflow\]"):
        sightline.adopt(path, NAMES, out=tmp_path / "bundle")
