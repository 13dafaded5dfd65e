"""The networks of the tutorial: a multilayer perceptron and LeNet-5, as its code and as its prose have it."""

from __future__ import annotations

import keras
from keras import layers

from sightline.configuration.networks import MODELS
from sightline.configuration.schema import ModelRecipe
from sightline.networks.building import input_pixels, logits_head


def mlp(shape: tuple[int, int, int], num_classes: int, model: ModelRecipe) -> keras.Model:
    """Two hidden dense layers of 256 and 128 units on the flattened pixels.

    Source:
        Rumelhart, Hinton, Williams, Nature 323 (1986).
    """
    inputs, tensor = input_pixels(shape, model)
    tensor = layers.Flatten()(tensor)
    tensor = layers.Dense(256, activation=model.activation)(tensor)
    tensor = layers.Dense(128, activation=model.activation)(tensor)
    return logits_head(inputs, tensor, num_classes, model)


def lenet5(shape: tuple[int, int, int], num_classes: int, model: ModelRecipe) -> keras.Model:
    """LeNet-5 as the tutorial's code prints it, on images padded to 32x32 as in 1998.

    On 28x28 the third convolution would meet 4x4 and could not be built.

    Source:
        LeCun, Bottou, Bengio, Haffner, Proc. IEEE 86 (1998).
    """
    inputs, tensor = input_pixels(shape, model, smallest=MODELS["lenet5"].smallest)
    for filters in (6, 16):
        tensor = layers.Conv2D(filters, 5, activation=model.activation)(tensor)
        tensor = layers.MaxPooling2D(2)(tensor)
    tensor = layers.Conv2D(120, 5, activation=model.activation)(tensor)
    tensor = layers.Flatten()(tensor)
    tensor = layers.Dense(84, activation=model.activation)(tensor)
    return logits_head(inputs, tensor, num_classes, model)


def lenet5_conv(shape: tuple[int, int, int], num_classes: int, model: ModelRecipe) -> keras.Model:
    """LeNet-5 as the tutorial's prose tells it: four convolutions, each but the last followed by max-pooling.

    Source:
        LeCun, Bottou, Bengio, Haffner, Proc. IEEE 86 (1998), as retold.
    """
    inputs, tensor = input_pixels(shape, model, smallest=MODELS["lenet5-conv"].smallest)
    for filters in (6, 16, 120):
        tensor = layers.Conv2D(filters, 5, padding="same", activation=model.activation)(tensor)
        tensor = layers.MaxPooling2D(2)(tensor)
    tensor = layers.Conv2D(84, 4, activation=model.activation)(tensor)
    tensor = layers.Flatten()(tensor)
    return logits_head(inputs, tensor, num_classes, model)
