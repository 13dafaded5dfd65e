"""From a recipe's `model.name` to a network, and what all of them share: pixels in, logits out."""

from __future__ import annotations

import importlib
from typing import Any

import keras
from keras import layers

from sightline.bundles.vetting.given_networks import GivenNetwork, check_given
from sightline.bundles.vetting.weights_files import check_weights, starts_from
from sightline.configuration.networks import MODELS, OWN, check_image_size
from sightline.configuration.schema import ModelRecipe
from sightline.networks.given import given_before, open_given
from sightline.networks.starting import take_weights


def build_network(
    shape: tuple[int, int, int], num_classes: int, model: ModelRecipe, given: GivenNetwork | None = None
) -> keras.Model:
    """The network that a recipe asks for; every builder that the table of networks names takes and gives the same.

    Args:
        shape: (height, width, channels) of the uint8 images it will be fed.
        num_classes: at least 2.
        model: name, activation, dropout, pixel scaling, weights.
        given: the network itself, where `model` says that one was given.

    Returns:
        An untrained network: uint8 images (batch, height, width, channels) to
        float32 logits (batch, num_classes).

    Raises:
        UnknownName: no model has that name.
        InvalidValue: the images are too large for it.

    Example:
        >>> build_network((28, 28, 1), 10, ModelRecipe(name="lenet5")).count_params()
        61706
    """
    check_image_size(model.name, shape[0], shape[1])
    check_weights(model.name, model.weights)
    check_given(model.name, model.weights, given)
    folder = starts_from(model.weights)
    if model.name == OWN and given is not None:
        return open_given(given)
    if model.name == OWN and folder is not None:
        return given_before(folder, num_classes)
    module, function = MODELS[model.name].builder.split(":")
    network: keras.Model = getattr(importlib.import_module(f"sightline.networks.{module}"), function)(
        shape, num_classes, model
    )
    if folder is not None:
        take_weights(network, folder)
    return network


def input_pixels(shape: tuple[int, int, int], model: ModelRecipe, *, smallest: int = 1) -> tuple[Any, Any]:
    """The uint8 input `images` of a network, its pixels as scaled floats; a shorter side is padded to `smallest`."""
    inputs = keras.Input(shape, dtype="uint8", name="images")
    scale = 1 / 255 if model.pixel_scaling == "unit" else 1.0
    pixels = layers.Rescaling(scale, name="pixels")(inputs)
    missing = [max(smallest - side, 0) for side in shape[:2]]
    if any(missing):
        margins = tuple((lack // 2, lack - lack // 2) for lack in missing)
        pixels = layers.ZeroPadding2D(margins, name="padding")(pixels)
    return inputs, pixels


def logits_head(inputs: Any, tensor: Any, num_classes: int, model: ModelRecipe) -> keras.Model:
    """Close a network with dropout, if asked for, and a dense layer of float32 logits."""
    if model.dropout > 0:
        tensor = layers.Dropout(model.dropout, name="dropout")(tensor)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(tensor)
    return keras.Model(inputs, logits, name=model.name.replace("-", "_"))
