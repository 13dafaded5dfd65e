"""Pretrained networks of `keras.applications`, each fed as its weights expect it."""

from __future__ import annotations

import contextlib
import sys
import warnings
from typing import Any

import keras
from keras import layers

from sightline.configuration.networks import PREPROCESSINGS, Backbone, backbone_of
from sightline.configuration.schema import ModelRecipe
from sightline.data.sources.downloads import keras_home
from sightline.errors import DownloadFailed, InvalidValue
from sightline.networks.building import logits_head
from sightline.networks.starting import begins_at_random

# Sizes for which MobileNetV2 has weights of its own.
OWN_SIDES = (96, 128, 160, 192, 224)


def application(shape: tuple[int, int, int], num_classes: int, model: ModelRecipe) -> keras.Model:
    """A network of `keras.applications` with a new head; `model.weights` may name a file in Keras' format."""
    backbone = backbone_of(model.name)
    scale, offset = PREPROCESSINGS[backbone.preprocessing]
    images = keras.Input(shape, dtype="uint8", name="images")
    pixels = layers.Rescaling(scale, offset, name="pixels")(images)
    lower = _load(backbone, pixels, shape, model.weights)
    tensor = layers.GlobalAveragePooling2D(name="features")(lower.output)
    return logits_head(images, tensor, num_classes, model)


def _load(backbone: Backbone, pixels: Any, shape: tuple[int, int, int], weights: str) -> keras.Model:
    name = backbone.application
    build = getattr(keras.applications, name)
    asked = None if begins_at_random(weights) else weights
    try:
        # Keras prints a download bar of its own to stdout, which belongs to results, and warns of what is
        # refused here or meant: a file that does not fit, a size that has no weights of its own.
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return build(include_top=False, weights=asked, input_tensor=pixels, input_shape=shape)
    except Exception as error:
        reason = str(error).splitlines()[0].rstrip(":. ") if str(error) else type(error).__name__
        if weights != "imagenet":
            raise InvalidValue(
                f"model.weights: {weights} holds no weights of {name} without top ({reason})."
            ) from error
        place = keras_home() / "models" / weights_file(backbone, shape[0])
        remedy = "place it there" if not place.exists() else "remove it, for it is damaged, and place a whole one there"
        raise DownloadFailed(
            f"the weights of {name} could not be loaded ({reason}). They belong into {place}: without a network, "
            f"{remedy}, or name a file: --set model.weights=PATH. efficientnet-lite0 needs no download."
        ) from error


def weights_file(backbone: Backbone, side: int) -> str:
    """The name of the file that Keras keeps the weights of a backbone in, for images of so many pixels a side."""
    return backbone.file.format(side=side if side in OWN_SIDES else backbone.image_size)
