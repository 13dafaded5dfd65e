"""Factors and shifts of classes: in the last layer where validation likes them, so that all ask one network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import sightline
from sightline.bundles.card import trained
from sightline.metrics.calibration.scaling import choose_scaling
from sightline.networks.building import build_network
from sightline.system.progress import Stopwatch
from sightline.training.fit_network import fit_network
from sightline.training.loop.recording import FitOutputs
from sightline.training.packaging.bundling import bundled
from sightline.training.packaging.contract import contract_of, logits_layer, scale_classes
from sightline.training.setup.preparation import Prepared, prepare

Fitted = Callable[..., tuple[keras.Model, Prepared]]


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    """A network of three classes in much noise, to whose logits something is added, and its data."""
    random = np.random.default_rng(0)
    labels = np.arange(900) % 3
    images = random.normal(90, 60, (900, 8, 8))
    for label, place in enumerate(((slice(4), slice(4)), (slice(4), slice(4, 8)), (slice(4, 8), slice(4)))):
        images[labels == label, place[0], place[1]] += 20
    arrays = {"x_train": np.clip(images, 0, 255).astype(np.uint8), "y_train": labels.astype(np.uint8)}

    learned: list[np.ndarray] = []

    def make(added: list[float], settings: dict[str, Any] | None = None) -> tuple[keras.Model, Prepared]:
        keys = {"model.name": "mlp", "augmentation.policy": "none", "training.epochs": 4, "data.test_fraction": 0.2}
        keys["optimizer.name"] = "adamw"
        shares = {"data.validation_fraction": 0.3, "data.calibration_fraction": 0.2}
        recipe = sightline.recipe("fast", {**keys, **shares, **(settings or {})})
        data = prepare(sightline.load(arrays, name="corners"), recipe)
        network = build_network(data.spec.shape, 3, data.recipe.model)
        if learned:
            network.set_weights(learned)
        else:
            learned.extend(fit_network(network, data, FitOutputs())[0].get_weights())
        layer = network.get_layer("logits")
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel, bias + np.array(added, np.float32)])
        return network, data

    return make


def made(network: keras.Model, data: Prepared, folder: Path) -> tuple[Any, dict[str, Any], sightline.Bundle]:
    folder.mkdir()
    origin = trained(data.dataset, data.recipe, num_train=len(data.splits.train))
    with bundled(network, data, folder, origin, stopwatch=Stopwatch()) as judged:
        assert not (folder / "bundle").exists()
    bundle = sightline.reopen(folder / "bundle")
    assert (judged.bundle.path, judged.bundle.manifest) == (bundle.path, bundle.manifest)
    assert isinstance(bundle, sightline.Bundle)
    return judged, json.loads((folder / "bundle" / "calibration.json").read_text()), bundle


def validation_of(network: keras.Model, data: Prepared) -> tuple[np.ndarray, np.ndarray]:
    rows = data.splits.validation
    return np.asarray(network.predict(data.pixels.take(rows)[:], verbose=0)), np.asarray(data.dataset.labels[rows])


@pytest.mark.slow
def test_a_class_that_is_too_likely_is_set_right_in_the_last_layer(fitted: Fitted, tmp_path: Path) -> None:
    network, data = fitted([2.0, 0.0, 0.0])
    before = np.asarray(network.predict(data.pixels.take(data.splits.test)[:], verbose=0))
    judged, told, bundle = made(network, data, tmp_path / "run")
    chosen = told["class_scaling"]
    assert chosen["is_chosen"]
    assert chosen["gain_interval"][0] > 0
    assert chosen["shifts"][0] < min(chosen["shifts"][1:]) - 1
    rows = data.splits.test
    scaled = before * np.array(chosen["factors"]) + np.array(chosen["shifts"])
    assert judged.predictions["test"].logits == pytest.approx(scaled, abs=1e-4)
    answers = sightline.predict(bundle, data.pixels.take(rows)[:])
    assert answers.logits == pytest.approx(scaled, abs=1e-4)
    # Of the one network: the temperature of the calibration images, as ever, and what sets are made by.
    calibration = judged.predictions["calibration"]
    assert told["temperature"] == calibration.temperature
    fitted_again = calibration.task.fit_temperature(calibration.logits, calibration.labels)
    assert told["temperature"] == pytest.approx(fitted_again)
    assert "factor (" in (bundle.path / "card.md").read_text()
    with np.load(tmp_path / "run" / "predictions.npz") as kept:
        assert kept["test_logits"] == pytest.approx(scaled, abs=1e-4)


@pytest.mark.slow
def test_classes_that_were_set_right_or_weighted_keep_their_logits(fitted: Fitted, tmp_path: Path) -> None:
    network, data = fitted([2.0, 0.0, 0.0])
    choice = choose_scaling(*validation_of(network, data))
    layer = logits_layer(network)
    assert layer is not None
    scale_classes(layer, choice.factors, choice.shifts)
    weighted = fitted([2.0, 0.0, 0.0], {"training.class_weights": "balanced"})
    for name, (kept, rows), why in (
        ("alike", (network, data), "it does not clearly lower the cross-entropy of images that it was not fitted to"),
        ("weighted", weighted, "rare classes were made to count more"),
    ):
        before = np.asarray(kept.predict(rows.pixels.take(rows.splits.test)[:], verbose=0))
        judged, told, bundle = made(kept, rows, tmp_path / name)
        assert not told["class_scaling"]["is_chosen"]
        assert why in told["class_scaling"]["why"]
        assert why in (bundle.path / "card.md").read_text()
        assert judged.predictions["test"].logits == pytest.approx(before, abs=1e-5)


def test_only_a_last_layer_whose_sums_are_the_logits_is_scaled() -> None:
    inputs = keras.Input((5,))
    dense = keras.layers.Dense(3, name="logits")
    plain = keras.Model(inputs, dense(inputs))
    assert logits_layer(plain) is dense
    assert logits_layer(contract_of(plain)) is dense
    for head in (
        keras.layers.Dense(3, activation="softmax"),
        keras.layers.Dense(3, use_bias=False),
        keras.Sequential([keras.layers.Dense(3), keras.layers.Rescaling(2.0)]),
    ):
        assert logits_layer(keras.Model(inputs, head(inputs))) is None
    hidden = keras.layers.Dense(3)(inputs)
    assert logits_layer(keras.Model(inputs, keras.ops.log_softmax(hidden))) is None


def test_a_scaled_layer_gives_factors_times_logits_plus_shifts() -> None:
    inputs = keras.Input((5,))
    network = keras.Model(inputs, keras.layers.Dense(3, bias_initializer="random_normal")(inputs))
    features = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    before = np.asarray(network(features))
    factors, shifts = np.array([1.0, 0.5, 1.5]), np.array([0.0, 1.0, -2.0])
    layer = logits_layer(network)
    assert layer is not None
    scale_classes(layer, factors, shifts)
    assert np.asarray(network(features)) == pytest.approx(before * factors + shifts, abs=1e-5)
