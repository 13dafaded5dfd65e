"""Normalisation in one operation of TensorFlow: Keras' answers, weights and averages, only sooner."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.system.backends import load_keras

keras = load_keras()

from sightline.configuration.schema import AugmentationRecipe, ModelRecipe  # noqa: E402  # as above
from sightline.networks.building import build_network  # noqa: E402  # the backend is chosen first
from sightline.records import InputSpec  # noqa: E402  # as above
from sightline.training.augmentation.pipeline import build_augmentation  # noqa: E402  # as above
from sightline.training.loop.network import (  # noqa: E402  # as above
    FusedNormalization,
    training_network,  # as above
    with_faster_layers,
)
from sightline.training.packaging.contract import contract_of  # noqa: E402  # as above

on_tensorflow = pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="an operation of TensorFlow")
CONVNET = ModelRecipe(name="convnet")


@on_tensorflow
def test_one_batch_by_hand() -> None:
    usual = keras.layers.BatchNormalization(momentum=0.5, epsilon=1e-3)
    images = np.array([0.0, 2.0, 4.0, 6.0], np.float32).reshape(1, 2, 2, 1)
    normalised = np.asarray(FusedNormalization(usual)(images, training=True))
    # Mean 3, variance of the batch 5: half of each is added to half of what was there, 0 and 1.
    np.testing.assert_allclose(normalised.ravel(), (images.ravel() - 3) / np.sqrt(5.001), rtol=1e-5)
    assert float(usual.moving_mean[0]) == pytest.approx(1.5)
    assert float(usual.moving_variance[0]) == pytest.approx(3.0)


@on_tensorflow
def test_it_learns_into_the_weights_of_the_network_and_answers_by_the_averages() -> None:
    network = build_network((16, 16, 1), 3, CONVNET)
    faster = with_faster_layers(network)
    assert {id(weight) for weight in faster.weights} == {id(weight) for weight in network.weights}
    assert sum(isinstance(layer, FusedNormalization) for layer in faster.layers) == 4
    assert not any(isinstance(layer, FusedNormalization) for layer in network.layers)
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 1), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(faster(images)), np.asarray(network(images)))


@on_tensorflow
@pytest.mark.parametrize("is_augmented", [False, True])
def test_what_fit_trains_is_normalised_so_and_what_is_saved_is_not(*, is_augmented: bool) -> None:
    network = build_network((16, 16, 1), 3, CONVNET)
    augmentation = None
    if is_augmented:
        spec = InputSpec(16, 16, "grey")
        augmentation = build_augmentation(AugmentationRecipe(policy="digits"), spec, seed=0)
    model = training_network(network, augmentation, mixes=False)
    inner = [layer for outer in model.layers for layer in getattr(outer, "layers", [outer])]
    assert sum(isinstance(layer, FusedNormalization) for layer in inner) == 4
    assert not any(isinstance(layer, FusedNormalization) for layer in contract_of(network).layers)


@on_tensorflow
def test_a_frozen_layer_and_unusual_ones_are_left_to_keras() -> None:
    pixels = keras.Input((4, 4, 2))
    frozen = keras.layers.BatchNormalization(trainable=False)
    unusual = [frozen, keras.layers.BatchNormalization(scale=False), keras.layers.BatchNormalization(axis=1)]
    tensor = pixels
    for layer in unusual:
        tensor = layer(tensor)
    network = keras.Model(pixels, keras.layers.BatchNormalization()(keras.layers.Flatten()(tensor)))
    assert with_faster_layers(network) is network


@on_tensorflow
def test_a_layer_that_is_frozen_later_keeps_its_averages() -> None:
    usual = keras.layers.BatchNormalization()
    fused = FusedNormalization(usual)
    fused(np.ones((2, 3, 3, 1), np.float32), training=True)
    usual.trainable = False
    before = [np.asarray(weight).copy() for weight in usual.weights]
    fused(np.full((2, 3, 3, 1), 9.0, np.float32), training=True)
    for weight, kept in zip(usual.weights, before, strict=True):
        np.testing.assert_array_equal(np.asarray(weight), kept)


def test_a_network_without_anything_to_compute_faster_is_itself() -> None:
    network = build_network((28, 28, 1), 10, ModelRecipe(name="mlp"))
    assert with_faster_layers(network) is network
