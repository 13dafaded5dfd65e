"""A small modern network: 3x3 convolutions with batch normalisation, halved until 7 or 8 pixels are left."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from sightline.configuration.networks import MODELS
from sightline.configuration.schema import ModelRecipe
from sightline.networks.building import input_pixels, logits_head


def convnet(shape: tuple[int, int, int], num_classes: int, model: ModelRecipe) -> keras.Model:
    """Stages of two normalised 3x3 convolutions, pooled in between; then the mean over positions.

    The first stage has 32 filters and each further one twice as many, up to 256.
    Stages are added until the picture is at most 8 pixels a side. Above 40 pixels
    the first convolution strides by two, so that 64 px cost what 32 px cost.

    Source:
        Simonyan, Zisserman, arXiv 1409.1556 (stages of 3x3); Ioffe, Szegedy, arXiv
        1502.03167 (batch normalisation); Lin, Chen, Yan, arXiv 1312.4400 (mean over positions).
    """
    inputs, tensor = input_pixels(shape, model, smallest=MODELS["convnet"].smallest)
    stride = 2 if min(tensor.shape[1:3]) > 40 else 1
    filters = 32
    while True:
        tensor = _normalised_convolution(tensor, filters, model.activation, stride=stride)
        tensor = _normalised_convolution(tensor, filters, model.activation)
        if min(tensor.shape[1:3]) <= 8:
            break
        tensor = layers.MaxPooling2D(2)(tensor)
        filters, stride = min(2 * filters, 256), 1
    tensor = layers.GlobalAveragePooling2D(name="features")(tensor)
    return logits_head(inputs, tensor, num_classes, model)


def _normalised_convolution(tensor: Any, filters: int, activation: str, *, stride: int = 1) -> Any:
    # The normalisation shifts by itself: a bias before it would be a weight without effect.
    tensor = layers.Conv2D(filters, 3, strides=stride, padding="same", use_bias=False)(tensor)
    # Keras' usual momentum of 0.99 needs a thousand steps to forget its start; small folders give a hundred.
    tensor = layers.BatchNormalization(momentum=0.9)(tensor)
    return layers.Activation(activation)(tensor)
