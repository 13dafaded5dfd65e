"""What the description of a network may name: layers and operations that compute, and nothing else.

Sightline's networks are made of some of them, and those that its users give it of the others. Keras makes whatever a
description names. A list of what is harmless cannot lack what is found to be harmful tomorrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

MOST_CHANNELS = 100_000
MOST_MARGIN = 2_048
MOST_SIDE = 2**26

# Modules, and the names of theirs that may stand in a description.
ALLOWED: dict[str, str] = {
    "keras": "DTypePolicy Sequential",
    "keras.src.models.functional": "Functional",
    "keras.layers": "Activation Add AlphaDropout Average AveragePooling2D BatchNormalization Concatenate Conv2D "
    "Cropping2D Dense DepthwiseConv2D Dropout ELU Flatten GaussianDropout GaussianNoise GlobalAveragePooling2D "
    "GlobalMaxPooling2D GroupNormalization Identity InputLayer LayerNormalization LeakyReLU MaxPooling2D Maximum "
    "Minimum Multiply Normalization PReLU Permute ReLU Rescaling Reshape SeparableConv2D Softmax SpatialDropout2D "
    "Subtract ZeroPadding2D",
    "keras.constraints": "MaxNorm MinMaxNorm NonNeg UnitNorm",
    "keras.initializers": "Constant GlorotNormal GlorotUniform HeNormal HeUniform LecunNormal LecunUniform Ones "
    "Orthogonal RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros",
    "keras.regularizers": "L1 L1L2 L2",
    "keras.src.applications.convnext": "LayerScale",
    "keras.src.ops.core": "Cast",
    "keras.src.ops.nn": "Elu Gelu LeakyRelu LogSoftmax Relu Relu6 Sigmoid Silu Softmax Softplus",
    "keras.src.ops.numpy": "Absolute Add Concatenate Divide Exp Flip GetItem GreaterEqual Less Log Max Maximum Mean "
    "Minimum Multiply Negative Pad Sqrt Square Squeeze Stack Subtract Sum Take Tanh TrueDivide Where",
    # How a call is kept: what goes in, and the parts of an image that are taken.
    "": "__keras_tensor__ __slice__",
}


def check_config(config: Any, *, others: str = "") -> int:
    """Refuse, by a ValueError in words, a description that names anything else; how many weights it would make.

    `others` are further layers without weights, of a network that others made, which may be a row of layers, too.
    """
    tops = ("Functional", "Sequential") if others else ("Functional",)
    if not isinstance(config, dict) or config.get("class_name") not in tops:
        raise ValueError("its config.json describes no network")
    num_weights = 0
    for entry in objects_in(config):
        if "class_name" in entry:
            _check_named(entry, others)
            num_weights += _weights(entry)
        elif "module" in entry or "registered_name" in entry:
            raise ValueError("its config.json names a module without a class")
        for key, value in entry.items():
            _check_size(key, value)
    return num_weights


def objects_in(content: Any) -> Iterator[Mapping[str, Any]]:
    """Every object of a JSON tree, however deep."""
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _check_named(entry: Mapping[str, Any], others: str) -> None:
    name, module, registered = entry["class_name"], entry.get("module") or "", entry.get("registered_name")
    allowed = ALLOWED.get(module, "") if isinstance(module, str) else ""
    if module == "keras.layers":
        allowed = f"{allowed} {others}"
    if not isinstance(name, str) or not isinstance(module, str) or name not in allowed.split():
        raise ValueError(f"it names {_shown(module, name)}, which no network that Sightline opens is made of")
    if registered not in (None, name):
        raise ValueError(f"it names {_shown(module, name)} by {ascii(registered)[:60]}, code that is not of Keras")
    if entry.get("compile_config"):
        raise ValueError("it brings along how it is to be trained, which Sightline's networks do not")


def _shown(module: Any, name: Any) -> str:
    return f"{ascii(module).strip(chr(39))}.{ascii(name).strip(chr(39))}"[:120].lstrip(".")


def _check_size(key: str, value: Any) -> None:
    """What says how large something becomes; what does not, such as a seed, may be any number."""
    most = {"units": MOST_CHANNELS, "filters": MOST_CHANNELS, "padding": MOST_MARGIN, "pad_width": MOST_MARGIN}
    limit = most.get(key, MOST_SIDE if key in _SIZES else None)
    if limit is None:
        return
    for number in _numbers(value):
        if not -limit <= number <= limit:
            raise ValueError(f"its config.json asks for {key} of {number:,}; {limit:,} is the most")


_SIZES = (
    *("batch_shape", "input_shape", "shape", "target_shape", "kernel_size", "pool_size", "strides", "dilation_rate"),
    *("depth_multiplier", "groups", "projection_dim", "repeats"),
)


def _numbers(value: Any) -> Iterator[float]:
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, list):
            waiting.extend(inner)
        elif isinstance(inner, int | float):
            yield inner


def _weights(entry: Mapping[str, Any]) -> int:
    """How many numbers a layer makes room for when it is built, before any file of weights is looked at."""
    counted = _WITH_WEIGHTS.get(entry["class_name"])
    if counted is None:
        return 0
    config, build = entry.get("config"), entry.get("build_config")
    try:
        if not isinstance(config, dict) or config.get("data_format", "channels_last") not in (None, "channels_last"):
            raise TypeError
        shape = build["input_shape"]  # type: ignore[index]  # whatever it is: what fails is caught
        return _whole(counted(config, shape))
    except (TypeError, KeyError, IndexError, ValueError, OverflowError):
        raise ValueError(f"its layer {entry['class_name']!a} does not say how large it is") from None


def _whole(count: Any) -> int:
    if type(count) is not int or count < 0:
        raise TypeError
    return count


def _axes(config: Mapping[str, Any], shape: Any) -> int:
    axes = config["axis"] if isinstance(config["axis"], list) else [config["axis"]]
    return math.prod(_whole(shape[axis]) for axis in axes)


_WITH_WEIGHTS: dict[str, Callable[[Mapping[str, Any], Any], int]] = {
    "Dense": lambda config, shape: (_whole(shape[-1]) + 1) * _whole(config["units"]),
    "Conv2D": lambda config, shape: (
        (math.prod(map(_whole, config["kernel_size"])) * _whole(shape[-1]) // config["groups"] + 1)
        * _whole(config["filters"])
    ),
    "DepthwiseConv2D": lambda config, shape: (
        (math.prod(map(_whole, config["kernel_size"])) + 1) * _whole(shape[-1]) * _whole(config["depth_multiplier"])
    ),
    "BatchNormalization": lambda config, shape: 4 * _axes(config, shape),
    "LayerNormalization": lambda config, shape: 2 * _axes(config, shape),
    "GroupNormalization": lambda config, shape: 2 * _axes(config, shape),
    "PReLU": lambda config, shape: math.prod(
        1 if axis in (config["shared_axes"] or ()) else _whole(side) for axis, side in enumerate(shape[1:], start=1)
    ),
    "SeparableConv2D": lambda config, shape: (
        math.prod(map(_whole, config["kernel_size"])) * _whole(shape[-1]) * _whole(config["depth_multiplier"])
        + (_whole(shape[-1]) * _whole(config["depth_multiplier"]) + 1) * _whole(config["filters"])
    ),
    "Normalization": lambda config, shape: 3 * _axes(config, shape),
    "LayerScale": lambda config, _: _whole(config["projection_dim"]),
}
