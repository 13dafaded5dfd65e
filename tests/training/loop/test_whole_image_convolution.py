"""A convolution over all of its image as a product of matrices: Keras' answers and weights, only sooner."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.system.backends import load_keras

keras = load_keras()

from sightline.configuration.schema import ModelRecipe  # noqa: E402  # as above
from sightline.networks.building import build_network  # noqa: E402  # the backend is chosen first
from sightline.training.loop.network import (  # noqa: E402  # as above
    WholeImageConvolution,
    with_faster_layers,
)

on_tensorflow = pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="measured on TensorFlow alone")


def product_of(**options) -> tuple[np.ndarray, np.ndarray]:
    """What a 3x2 convolution of images of 3x2 with 2 channels gives, by Keras' layer and by the product."""
    usual = keras.layers.Conv2D(5, (3, 2), bias_initializer="random_normal", **options)
    images = np.random.default_rng(0).normal(size=(4, 3, 2, 2)).astype(np.float32)
    expected = np.asarray(usual(images))
    return np.asarray(WholeImageConvolution(usual)(images)), expected


@pytest.mark.parametrize("options", [{}, {"activation": "relu"}, {"use_bias": False}, {"strides": 2}])
def test_it_answers_as_the_convolution_does(options: dict) -> None:
    product, expected = product_of(**options)
    assert product.shape == expected.shape == (4, 1, 1, 5)
    np.testing.assert_allclose(product, expected, rtol=1e-5, atol=1e-6)


def test_one_image_by_hand() -> None:
    usual = keras.layers.Conv2D(1, 2, kernel_initializer="ones", bias_initializer="ones")
    image = np.array([1.0, 2.0, 4.0, 8.0], np.float32).reshape(1, 2, 2, 1)
    usual.build(image.shape)
    assert float(np.asarray(WholeImageConvolution(usual)(image)).squeeze()) == 16.0


@on_tensorflow
def test_lenet5_learns_into_its_own_weights_and_stays_what_it_is() -> None:
    network = build_network((28, 28, 1), 10, ModelRecipe(name="lenet5"))
    faster = with_faster_layers(network)
    assert sum(isinstance(layer, WholeImageConvolution) for layer in faster.layers) == 1
    assert not any(isinstance(layer, WholeImageConvolution) for layer in network.layers)
    assert [id(weight) for weight in faster.weights] == [id(weight) for weight in network.weights]
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), dtype=np.uint8)
    np.testing.assert_allclose(np.asarray(faster(images)), np.asarray(network(images)), rtol=1e-4, atol=1e-5)


@on_tensorflow
def test_convolutions_that_lie_in_several_places_or_meet_a_part_are_left_to_keras() -> None:
    pixels = keras.Input((4, 4, 2))
    others = [
        keras.layers.Conv2D(2, 3),
        keras.layers.Conv2D(2, 2, padding="same"),
        keras.layers.Conv2D(2, 2, groups=2),
    ]
    tensor = pixels
    for layer in others:
        tensor = layer(tensor)
    pixel = keras.layers.GlobalAveragePooling2D(keepdims=True)(tensor)
    network = keras.Model(pixels, keras.layers.Conv2D(2, 1)(pixel))
    assert with_faster_layers(network) is network


@on_tensorflow
def test_a_layer_that_is_called_on_several_sizes_is_left_to_keras_where_it_lies_in_several_places() -> None:
    small, large = keras.Input((4, 4, 2)), keras.Input((5, 5, 2))
    shared = keras.layers.Conv2D(3, 4)
    tensors = [keras.layers.Flatten()(shared(pixels)) for pixels in (small, large)]
    network = keras.Model([small, large], keras.layers.Concatenate()(tensors))
    faster = with_faster_layers(network)
    assert sum(isinstance(layer, WholeImageConvolution) for layer in faster.layers) == 1
    draw = np.random.default_rng(0)
    images = [draw.normal(size=(3, side, side, 2)).astype(np.float32) for side in (4, 5)]
    np.testing.assert_allclose(np.asarray(faster(images)), np.asarray(network(images)), rtol=1e-4, atol=1e-5)


@on_tensorflow
@pytest.mark.parametrize("kind", ["convolution", "normalization"])
def test_what_a_layer_adds_to_the_loss_by_its_answers_is_added(kind: str) -> None:
    regularizer = keras.regularizers.L2(0.1)
    inputs = keras.Input((4, 4, 2))
    if kind == "convolution":
        tensor = keras.layers.Conv2D(3, 4, activity_regularizer=regularizer)(inputs)
    else:
        tensor = keras.layers.BatchNormalization(activity_regularizer=regularizer)(inputs)
    network = keras.Model(inputs, keras.layers.Flatten()(tensor))
    images = np.random.default_rng(0).normal(size=(3, 4, 4, 2)).astype(np.float32)
    added = []
    for model in (network, with_faster_layers(network)):
        model(images, training=True)
        added.append([float(loss) for loss in model.losses])
    assert added[0] == pytest.approx(added[1])
    assert added[0][0] > 0
