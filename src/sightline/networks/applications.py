"""Pretrained networks of `keras.applications`, each fed as its weights expect it."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path
from typing import Any

import keras
from keras import layers

from sightline.architectures import PREPROCESSINGS, backbone_of
from sightline.data.downloads import keras_home
from sightline.errors import DownloadFailed, InvalidValue
from sightline.networks.layers import finish
from sightline.schema import ModelRecipe


def application(shape: tuple[int, int, int], num_classes: int, model: ModelRecipe) -> keras.Model:
    """A network of `keras.applications` with a new head.

    Args:
        shape: (height, width, 3) of the uint8 images.
        num_classes: at least 2.
        model: name, dropout, and `weights`: "imagenet", "random", or the path of a file in Keras' format.

    Returns:
        uint8 images (batch, height, width, 3) to float32 logits (batch, num_classes).

    Raises:
        DownloadFailed: the weights could be neither found nor fetched; the message says which
            file to place where.
        InvalidValue: the weights' file is missing, damaged or of another network.

    Example:
        >>> application((64, 64, 3), 10, ModelRecipe(name="mobilenet-v2", weights="random")).count_params()
        2270794
    """
    backbone = backbone_of(model.name)
    scale, offset = PREPROCESSINGS[backbone.preprocessing]
    images = keras.Input(shape, dtype="uint8", name="images")
    pixels = layers.Rescaling(scale, offset, name="pixels")(images)
    lower = _load(backbone.application, pixels, shape, model.weights)
    tensor = layers.GlobalAveragePooling2D(name="features")(lower.output)
    return finish(images, tensor, num_classes, model)


def _load(name: str, pixels: Any, shape: tuple[int, int, int], weights: str) -> keras.Model:
    if weights not in ("imagenet", "random") and not Path(weights).is_file():
        raise InvalidValue(f"model.weights: {weights}: no such file. Name one, or say 'imagenet' or 'random'.")
    build = getattr(keras.applications, name)
    asked = None if weights == "random" else weights
    try:
        # Keras prints a download bar of its own to stdout, which belongs to results.
        with contextlib.redirect_stdout(sys.stderr):
            return build(include_top=False, weights=asked, input_tensor=pixels, input_shape=shape)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if weights != "imagenet":
            raise InvalidValue(
                f"model.weights: {weights} holds no weights of {name} without top ({reason})."
            ) from error
        fetched = re.search(r"[^/\s]+\.h5", str(error))
        file = fetched[0] if fetched else f"the file of weights 'notop' of {name}"
        raise DownloadFailed(
            f"the weights of {name} could not be loaded ({reason}). Without a network, place {file} in "
            f"{keras_home() / 'models'}, or name a file: --set model.weights=PATH. If something damaged lies there, "
            "remove it first; efficientnet-lite0 needs no download."
        ) from error
