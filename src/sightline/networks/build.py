"""From a recipe's `model.name` to a network."""

from __future__ import annotations

import importlib

import keras

from sightline.configuration.networks import MODELS
from sightline.configuration.schema import ModelRecipe
from sightline.networks.limits import check_size, check_weights


def build_network(shape: tuple[int, int, int], num_classes: int, model: ModelRecipe) -> keras.Model:
    """The network that a recipe asks for.

    Args:
        shape: (height, width, channels) of the uint8 images it will be fed.
        num_classes: at least 2.
        model: name, activation, dropout, pixel scaling.

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
    check_size(model.name, shape[0], shape[1])
    check_weights(model)
    module, function = MODELS[model.name].builder.split(":")
    network: keras.Model = getattr(importlib.import_module(f"sightline.networks.{module}"), function)(
        shape, num_classes, model
    )
    return network
