"""A network of a user's own: what is taken of it and stays, and what is refused with what to do about it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sightline.errors import InvalidBundle, InvalidValue
from sightline.system.backends import load_keras

keras = load_keras()

from keras import layers  # noqa: E402  # the backend is chosen first

from sightline.bundles.vetting.given_networks import read_given  # noqa: E402
from sightline.networks.given import given_network, open_given  # noqa: E402

SHAPE = (12, 12, 3)


def network(*more: Any, shape: tuple[int | None, ...] = SHAPE, end: Any = None, **options: Any) -> Any:
    return keras.Sequential(
        [
            keras.Input(shape, **options),
            layers.Rescaling(1 / 255),
            *more,
            layers.Conv2D(4, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5) if end is None else end,
        ]
    )


def answers(model: Any, images: np.ndarray) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(model(images, training=False)))


def images_of(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (3, *shape), dtype=np.uint8)


def nested() -> Any:
    lower = keras.Sequential([keras.Input(SHAPE), layers.Conv2D(4, 3), layers.BatchNormalization()], name="lower")
    lower.trainable = False
    head = keras.Sequential([keras.Input((10, 10, 4), name="pixels"), layers.Flatten(), layers.Dense(5)], name="images")
    inputs = keras.Input(SHAPE, name="logits")
    return keras.Model(inputs, head(lower(inputs / 255.0, training=False)))


def twice() -> Any:
    shared, inputs = layers.Conv2D(3, 3, padding="same", name="logits"), keras.Input(SHAPE)
    scaled = layers.Rescaling(1 / 127.5, -1)(inputs)
    return keras.Model(inputs, layers.Dense(5)(layers.Flatten()(shared(shared(scaled)))))


@pytest.mark.parametrize(
    "model",
    [
        network(),
        network(dtype="uint8"),
        network(layers.SeparableConv2D(4, 3), layers.PReLU(shared_axes=[1, 2]), layers.GroupNormalization(2)),
        network(end=layers.Dense(5, use_bias=False)),
        nested(),
        twice(),
    ],
)
def test_a_network_answers_as_it_did_on_bytes_and_stays_as_it_is(model: Any) -> None:
    model.compile("adam", "mse")
    names, weights = [layer.name for layer in model.layers], model.get_weights()
    given = given_network(model)
    assert (given.shape, given.num_classes) == (SHAPE, 5)
    opened, images = open_given(given), images_of(SHAPE)
    assert (opened.inputs[0].name, opened.inputs[0].dtype) == ("images", "uint8")
    np.testing.assert_allclose(answers(opened, images), answers(model, images.astype(model.inputs[0].dtype)), atol=1e-5)
    assert opened.get_layer("logits").output is opened.outputs[0]
    assert sum(w.size for w in opened.get_weights()) == sum(w.size for w in weights)
    assert len(opened.trainable_weights) == len(model.trainable_weights)
    assert [layer.name for layer in model.layers] == names
    assert model.compiled
    assert all(map(np.array_equal, model.get_weights(), weights))
    assert given_network(model).digest == given.digest
    model.set_weights([weight + 1 for weight in weights])
    assert given_network(model).digest != given.digest


@pytest.mark.parametrize("end", ["dense", "layer", "activation"])
def test_a_softmax_at_the_end_is_left_out_and_probabilities_stay(end: str, capsys: pytest.CaptureFixture[str]) -> None:
    inner = {
        "dense": [layers.Dense(5, activation="softmax")],
        "layer": [layers.Dense(5), layers.Softmax()],
        "activation": [layers.Dense(5), layers.Activation("softmax")],
    }[end]
    model = keras.Sequential([keras.Input(SHAPE), layers.Rescaling(1 / 255), layers.Flatten(), *inner])
    opened, images = open_given(given_network(model)), images_of(SHAPE)
    assert "the softmax that the network ends in is left out" in capsys.readouterr().err
    logits = answers(opened, images)
    assert not np.allclose(logits.sum(axis=1), 1)
    probabilities = np.asarray(keras.ops.convert_to_numpy(keras.ops.softmax(logits)))
    np.testing.assert_allclose(probabilities, answers(model, images.astype(np.float32)), atol=1e-6)


def test_an_activation_that_changes_nothing_is_no_end(capsys: pytest.CaptureFixture[str]) -> None:
    model = keras.Sequential(
        [keras.Input(SHAPE), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(5), layers.Activation("linear")]
    )
    opened, images = open_given(given_network(model)), images_of(SHAPE)
    assert opened.layers[-1].name == "logits"
    np.testing.assert_allclose(answers(opened, images), answers(model, images.astype(np.float32)), atol=1e-5)
    assert "softmax" not in capsys.readouterr().err


def test_who_forgot_to_scale_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    given_network(keras.Sequential([keras.Input(SHAPE), layers.Flatten(), layers.Dense(5, name="only")]))
    assert "fed values of 0 to 255, and nothing scales them before 'logits'" in capsys.readouterr().err
    given_network(network())
    given_network(nested())
    assert "0 to 255" not in capsys.readouterr().err


class Mine(keras.Model):  # type: ignore[misc, name-defined]  # Keras carries no annotations
    """A class without a description."""

    def __init__(self) -> None:
        super().__init__()
        self.end = layers.Dense(5)

    def call(self, images: Any) -> Any:
        return self.end(keras.ops.mean(images, axis=(1, 2)))


class Layer(layers.Layer):  # type: ignore[misc]
    def call(self, images: Any) -> Any:
        return images * 2


def many(count: int, results: int) -> Any:
    inputs = [keras.Input(SHAPE) for _ in range(count)]
    merged = layers.Flatten()(layers.Concatenate()(inputs) if count > 1 else inputs[0])
    return keras.Model(inputs, [layers.Dense(5)(merged) for _ in range(results)])


def ending_in_a_shared_layer(activation: str | None = None) -> Any:
    last, inputs = layers.Dense(3, activation=activation, name="again"), keras.Input(SHAPE)
    return keras.Model(inputs, last(last(layers.GlobalAveragePooling2D()(inputs))))


def frozen() -> Any:
    model = network()
    model.trainable = False
    return model


def ending_in_a_shared_head() -> Any:
    head, inputs = keras.Sequential([keras.Input((3,)), layers.Dense(3)], name="head"), keras.Input(SHAPE)
    return keras.Model(inputs, head(head(layers.GlobalAveragePooling2D()(inputs))))


def without_numbers() -> Any:
    model = network()
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    return model


def built(model: Any, images: np.ndarray) -> Any:
    model(images)
    return model


REFUSED = {
    "text": (lambda: "lenet5", "takes a network of Keras 3 (keras.Model); got str. Networks of Sightline's"),
    "layer": (lambda: layers.Dense(5), "takes a network of Keras 3"),
    "subclass": (lambda: built(Mine(), np.zeros((1, *SHAPE))), "Mine is a class of your own"),
    "unbuilt": (lambda: keras.Sequential([layers.Flatten(), layers.Dense(5)]), "does not say what it takes"),
    "two inputs": (lambda: many(2, 1), "takes 2 tensors and gives 1"),
    "two outputs": (lambda: many(1, 2), "takes 1 tensors and gives 2"),
    "rank": (
        lambda: keras.Sequential([keras.Input((9,)), layers.Dense(5)]),
        "takes (batch, 9), which are no images",
    ),
    "dynamic": (lambda: network(shape=(None, None, 3)), "takes images of any size, (batch, any, any, 3)"),
    "oblong": (lambda: network(shape=(12, 16, 3)), "takes images of 12x16; squares of 4 to 1024"),
    "channels": (lambda: network(shape=(12, 12, 4)), "takes 4 channels"),
    "batch": (lambda: network(batch_size=8), "batches of exactly 8"),
    "whole numbers": (lambda: network(dtype="int32"), "takes int32; it is fed float32"),
    "map": (
        lambda: keras.Sequential([keras.Input(SHAPE), layers.Dense(5)]),
        "gives (batch, 12, 12, 5) instead of (batch, number of classes)",
    ),
    "one number": (lambda: network(end=layers.Dense(1, activation="sigmoid")), "gives one number an image"),
    "sigmoid": (lambda: network(end=layers.Dense(5, activation="sigmoid")), "ends in sigmoid, which gives no logits"),
    "no dense end": (lambda: keras.Sequential([keras.Input(SHAPE), layers.GlobalAveragePooling2D()]), "of the kind"),
    "softmax twice": (
        lambda: network(layers.Identity(), end=keras.Sequential([layers.Dense(5, "softmax"), layers.Softmax()])),
        "ends in softmax, which gives no logits",
    ),
    "lambda": (lambda: network(layers.Lambda(lambda tensor: tensor * 2)), "is code of your own (a Lambda"),
    "own layer": (lambda: network(Layer()), "Layer, which no network that Sightline opens is made of"),
    "random": (lambda: network(layers.RandomFlip()), "changes images at random, which is no part of a network"),
    "precision": (lambda: network(layers.Conv2D(3, 3, dtype="mixed_bfloat16")), "computes in mixed_bfloat16"),
    "frozen": (frozen, "all of its layers are frozen"),
    "shared end": (ending_in_a_shared_layer, "its last layer 'again' is called 2 times"),
    "shared softmax": (lambda: ending_in_a_shared_layer("softmax"), "its last layer 'again' is called 2 times"),
    "shared head": (ending_in_a_shared_head, "its last layer 'head' is called 2 times"),
    "bytes into weights": (
        lambda: keras.Sequential(
            [keras.Input(SHAPE, dtype="uint8"), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(5)]
        ),
        "fails on images of uint8 (",
    ),
    "own activation": (lambda: network(layers.Conv2D(4, 3, activation=answers)), "'function' is code of your own"),
    "numbers": (without_numbers, "some of its weights are no finite numbers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_is_refused_with_the_reason(name: str) -> None:
    make, why = REFUSED[name]
    with pytest.raises(InvalidValue) as refused:
        given_network(make())
    assert str(refused.value).startswith("model: ")
    assert why in str(refused.value)


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_an_activation_without_a_name_is_refused_with_the_reason() -> None:
    with pytest.raises(InvalidValue, match="Layers, activations and other functions of your own are not taken"):
        given_network(network(layers.Conv2D(4, 3, activation=lambda tensor: tensor)))


def test_a_file_that_is_no_given_network_is_refused(tmp_path: Any) -> None:
    with pytest.raises(InvalidBundle):
        read_given(tmp_path / "missing.keras")
    network().save(tmp_path / "other.keras")
    with pytest.raises(InvalidBundle, match="describes no network"):
        read_given(tmp_path / "other.keras")
    model = network()
    keras.Model(model.inputs[0], model.outputs[0]).save(tmp_path / "plain.keras")
    with pytest.raises(InvalidBundle, match="not a network that a training was given"):
        read_given(tmp_path / "plain.keras")
