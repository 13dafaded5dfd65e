from __future__ import annotations

import dataclasses
import sys
import types

import numpy as np
import pytest

import sightline
from sightline.configuration.names import ACTIVATIONS
from sightline.configuration.networks import MODELS
from sightline.configuration.recipes import parse_recipe
from sightline.configuration.schema import ModelRecipe
from sightline.errors import InvalidValue, UnknownName
from sightline.system.backends import load_keras

keras = load_keras()

from sightline.networks.building import build_network, input_pixels, logits_head  # noqa: E402  # the backend is chosen first

# Those that start from nothing; the pretrained ones have a test file of their own.
FROM_NOTHING = [name for name, entry in MODELS.items() if entry.backbone is None]
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), dtype=np.uint8)


def network_of(name: str, shape: tuple[int, int, int] = (28, 28, 1), num_classes: int = 10, **settings: object):
    keras.utils.set_random_seed(0)
    model = parse_recipe({"model": {"name": name, **settings}}).model
    return build_network(shape, num_classes, model)


def logits_of(network, images: np.ndarray = IMAGES) -> np.ndarray:
    return np.asarray(network(images, training=False))


@pytest.mark.parametrize("name", FROM_NOTHING)
def test_the_catalog_tells_the_true_number_of_parameters(name: str) -> None:
    entry = MODELS[name]
    assert network_of(name, entry.reference_input).count_params() == entry.num_parameters


def test_the_numbers_of_the_tutorial_hold() -> None:
    told = {row["name"]: row["parameters"] for row in sightline.models()}
    assert (told["lenet5"], told["lenet5-conv"]) == (61_706, 212_906)


def test_lenet5_has_the_layers_that_the_tutorial_prints() -> None:
    # 6@5x5, 16@5x5, 120@5x5, 84, 10 on the 32x32 of 1998: weights and biases by hand.
    by_hand = [6 * 25 + 6, 16 * 6 * 25 + 16, 120 * 16 * 25 + 120, 84 * 120 + 84, 10 * 84 + 10]
    assert [layer.count_params() for layer in network_of("lenet5").layers if layer.count_params()] == by_hand


def test_lenet5_conv_has_the_layers_that_the_tutorial_tells() -> None:
    by_hand = [6 * 25 + 6, 16 * 6 * 25 + 16, 120 * 16 * 25 + 120, 84 * 120 * 16 + 84, 10 * 84 + 10]
    assert [layer.count_params() for layer in network_of("lenet5-conv").layers if layer.count_params()] == by_hand


@pytest.mark.parametrize("name", FROM_NOTHING)
def test_every_network_takes_uint8_images_and_gives_float32_logits(name: str) -> None:
    network = network_of(name)
    assert (network.inputs[0].name, network.inputs[0].dtype, network.inputs[0].shape) == (
        "images",
        "uint8",
        (None, 28, 28, 1),
    )
    logits = logits_of(network)
    assert (logits.shape, logits.dtype) == ((3, 10), np.float32)
    assert np.isfinite(logits).all()
    # Probabilities would be positive and sum to one.
    assert not np.allclose(logits.sum(axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_bends_every_network_in_its_own_way(activation: str) -> None:
    for name in FROM_NOTHING:
        logits = logits_of(network_of(name, activation=activation))
        assert np.isfinite(logits).all()
        other = logits_of(network_of(name, activation="relu" if activation != "relu" else "tanh"))
        assert not np.allclose(logits, other)


@pytest.mark.parametrize("name", FROM_NOTHING)
@pytest.mark.parametrize("side", [28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_network_takes_every_usual_size_grey_and_in_colour(name: str, side: int, channels: int) -> None:
    network = network_of(name, (side, side, channels), 3)
    images = np.random.default_rng(1).integers(0, 256, (2, side, side, channels), dtype=np.uint8)
    assert logits_of(network, images).shape == (2, 3)


@pytest.mark.parametrize(("name", "smallest"), [("lenet5", (4, 4, 1)), ("convnet", (4, 4, 3)), ("mlp", (4, 4, 1))])
def test_small_images_are_padded_inside_the_network(name: str, smallest: tuple[int, int, int]) -> None:
    images = np.zeros((1, *smallest), np.uint8)
    assert logits_of(network_of(name, smallest, 2), images).shape == (1, 2)


def test_images_need_not_be_square() -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 28, 44, 1), dtype=np.uint8)
    for name in FROM_NOTHING:
        assert logits_of(network_of(name, (28, 44, 1), 2), images).shape == (2, 2)


@pytest.mark.parametrize("name", FROM_NOTHING)
def test_images_that_are_too_large_are_refused_with_the_size_to_set(name: str) -> None:
    largest = MODELS[name].largest
    with pytest.raises(InvalidValue, match=f"{name} takes images up to {largest} .*data.image_size={largest}"):
        network_of(name, (28, largest + 1, 1))


def test_an_unknown_model_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownName, match=r"no model is called 'lenet'\. Did you mean 'lenet5'"):
        network_of("lenet")


@pytest.mark.parametrize("name", FROM_NOTHING)
def test_pixels_are_scaled_inside_the_network(name: str) -> None:
    scaled, plain = network_of(name), network_of(name, pixel_scaling="none")
    plain.set_weights(scaled.get_weights())
    # Without scaling the network sees 0 to 255: ones there are what 255 is with it.
    np.testing.assert_allclose(
        logits_of(plain, np.ones((1, 28, 28, 1), np.uint8)),
        logits_of(scaled, np.full((1, 28, 28, 1), 255, np.uint8)),
        atol=1e-5,
    )


def test_lenet5_shows_the_image_in_the_middle_of_its_frame() -> None:
    network = network_of("lenet5", pixel_scaling="none")
    framed = keras.Model(network.input, network.get_layer("padding").output)
    padded = np.asarray(framed(IMAGES))[..., 0]
    np.testing.assert_array_equal(padded, np.pad(IMAGES[..., 0], ((0, 0), (2, 2), (2, 2))))


def test_dropout_works_while_training_alone() -> None:
    network = network_of("lenet5", dropout=0.5)
    np.testing.assert_array_equal(logits_of(network), logits_of(network))
    assert not np.allclose(np.asarray(network(IMAGES, training=True)), logits_of(network))
    assert all(layer.name != "dropout" for layer in network_of("lenet5").layers)


def test_convnet_normalises_and_larger_pictures_cost_no_more_weights() -> None:
    network = network_of("convnet", (64, 64, 3))
    assert any(isinstance(layer, keras.layers.BatchNormalization) for layer in network.layers)
    assert network.count_params() == network_of("convnet", (32, 32, 3)).count_params()


def test_a_new_network_is_one_function_and_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def linear(shape: tuple[int, int, int], num_classes: int, model: ModelRecipe) -> keras.Model:
        inputs, pixels = input_pixels(shape, model)
        return logits_head(inputs, keras.layers.Flatten()(pixels), num_classes, model)

    entry = dataclasses.replace(MODELS["mlp"], builder="linear:linear", num_parameters=7850, summary="a single layer")
    monkeypatch.setitem(MODELS, "linear", entry)
    monkeypatch.setitem(sys.modules, "sightline.networks.linear", types.SimpleNamespace(linear=linear))
    network = build_network((28, 28, 1), 10, ModelRecipe(name="linear"))
    assert (network.name, network.count_params()) == ("linear", 7850)
    (listed,) = [row for row in sightline.models() if row["name"] == "linear"]
    assert (listed["parameters"], listed["summary"]) == (7850, "a single layer")
