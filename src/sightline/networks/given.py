"""Networks of Keras that a training is given: looked at, brought into the form of Sightline's own, kept as a file."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from sightline.bundles.vetting.configs import check_config, objects_in
from sightline.bundles.vetting.given_networks import GIVEN, GivenNetwork, no_network, read_given
from sightline.bundles.vetting.network_files import open_network
from sightline.errors import InvalidValue
from sightline.system.progress import reporter
from sightline.system.text import printable

_SIDES = (4, 1024)
_IMAGES, _PIXELS, _LOGITS = "images", "pixels", "logits"
_TAKES = "A network takes keras.Input((height, width, channels)): squares of a fixed size, of 1 or 3 channels."
_ENDS = "It has to end in keras.layers.Dense(number of classes), whose sums are the logits."
_SCALES = ("Rescaling", "Normalization", "BatchNormalization", "LayerNormalization", "GroupNormalization")
# Of the first layers with weights; the others take pixels of any range.
_LEARNS = ("Conv2D", "Dense", "DepthwiseConv2D", "SeparableConv2D")
# How far answers may differ that were computed in another order.
_TOLERANCE = 1e-4


def given_network(model: keras.Model) -> GivenNetwork:
    """A network of a user's own as a training takes it; the model itself stays as it is, and is not needed any more.

    It gets the tensor contract: uint8 `images` go in, whose values from 0 to 255 it takes as floats, and logits come
    out, without the softmax that it may end in. Its weights are kept; what it was compiled with is not.

    Raises:
        InvalidValue: it cannot be trained here, and what to do about it.
    """
    functional = _functional(model)
    shape = _input_shape(functional)
    own = _copied(functional)
    ending, is_stripped = _without_softmax(own)
    network = _with_contract(ending, shape, takes_bytes=functional.inputs[0].dtype == "uint8")
    if not network.trainable_weights:
        raise _refused("all of its layers are frozen: nothing would learn. Set trainable=True of some layer.")
    _check_answers(functional, network, shape, is_stripped=is_stripped)
    if is_stripped:
        reporter().say("note: the softmax that the network ends in is left out: it is trained by its logits")
    _note_scale(network)
    with tempfile.TemporaryDirectory(prefix="sightline-") as folder:
        network.save(Path(folder) / GIVEN)
        return read_given(Path(folder) / GIVEN)


def open_given(network: GivenNetwork) -> keras.Model:
    """The network with the weights that it was given with."""
    with tempfile.TemporaryDirectory(prefix="sightline-") as folder:
        (Path(folder) / GIVEN).write_bytes(network.content)
        opened: keras.Model = open_network(Path(folder) / GIVEN)
    return opened


def given_before(folder: Path, num_classes: int) -> keras.Model:
    """The network that a run was given, by its bundle, with what it learned and a new head."""
    theirs = open_network(folder / "model.keras")
    last = next((layer for layer in theirs.layers if layer.name == _LOGITS), None)
    if not isinstance(last, layers.Dense):
        raise InvalidValue(
            f"{printable(str(folder))}: its network answers by several views of an image, and cannot be begun with. "
            "Begin with a run of ensemble.test_views=none."
        )
    head = layers.Dense(num_classes, use_bias=last.use_bias, dtype="float32", name=_LOGITS)
    return keras.Model(theirs.input, head(last.input), name=theirs.name)


def _refused(why: str) -> InvalidValue:
    return InvalidValue(f"model: {why}")


def _functional(model: Any) -> keras.Model:
    """The graph of a model, one tensor in and one out."""
    if not isinstance(model, keras.Model):
        raise no_network(model)
    if not type(model).__module__.startswith("keras.src.models."):
        raise _refused(
            f"{printable(type(model).__name__)} is a class of your own, which nobody could open without its code. "
            "Build the network of layers: keras.Model(inputs, outputs), or keras.Sequential."
        )
    if not model.built or not getattr(model, "inputs", None):
        raise _refused(f"it does not say what it takes. Begin it with its input. {_TAKES}")
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise _refused(
            f"takes {len(model.inputs)} tensors and gives {len(model.outputs)}; images alone go in, and a number a "
            "class comes out."
        )
    return keras.Model(model.inputs[0], model.outputs[0], name="given")


def _input_shape(functional: keras.Model) -> tuple[int, int, int]:
    given, made = functional.inputs[0], functional.outputs[0]
    shape = tuple(given.shape)
    if len(shape) != 4:
        raise _refused(f"takes {_shown(shape)}, which are no images. {_TAKES}")
    if shape[0] is not None:
        raise _refused(f"takes batches of exactly {shape[0]}; the size of a batch must be open. {_TAKES}")
    height, width, channels = shape[1:]
    if None in (height, width, channels):
        raise _refused(f"takes images of any size, {_shown(shape)}. {_TAKES}")
    if height != width or not _SIDES[0] <= height <= _SIDES[1]:
        raise _refused(f"takes images of {height}x{width}; squares of {_SIDES[0]} to {_SIDES[1]} pixels are fed here.")
    if channels not in (1, 3):
        raise _refused(f"takes {channels} channels. {_TAKES}")
    if given.dtype not in ("float32", "uint8"):
        raise _refused(f"takes {given.dtype}; it is fed float32.")
    answers = tuple(made.shape)
    if len(answers) != 2 or not isinstance(answers[1], int):
        raise _refused(f"gives {_shown(answers)} instead of (batch, number of classes). {_ENDS}")
    if answers[1] < 2:
        raise _refused("gives one number an image; each class, of two as well, has its own. " + _ENDS)
    return int(height), int(width), int(channels)


def _shown(shape: tuple[Any, ...]) -> str:
    sides = ", ".join("any" if side is None else str(side) for side in shape[1:])
    return f"(batch, {sides})" if sides else "(batch,)"


def _copied(functional: keras.Model) -> keras.Model:
    """The same network with layers of its own, read from what a file would say of it; code of others is refused."""
    try:
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(functional)))
    except Exception as error:
        raise _refused(f"Keras cannot describe it in a file ({_first_line(error)}).") from error
    for entry in objects_in(config):
        # What it was compiled with; a recipe says how it learns.
        entry.pop("compile_config", None)  # type: ignore[attr-defined]  # they are dictionaries of ours
    _check_layers(config)
    try:
        own: keras.Model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        own.set_weights(functional.get_weights())
    except Exception as error:
        raise _refused(
            f"Keras cannot open what a file would say of it ({_first_line(error)}). Layers, activations and other "
            "functions of your own are not taken."
        ) from error
    if not all(np.isfinite(weight).all() for weight in own.get_weights()):
        raise _refused("some of its weights are no finite numbers.")
    return own


def _check_layers(config: Mapping[str, Any]) -> None:
    for entry in objects_in(config):
        name, inner = entry.get("class_name"), entry.get("config")
        named = printable(str(inner.get("name", name) if isinstance(inner, dict) else name))
        if name in ("Lambda", "__lambda__", "function"):
            raise _refused(
                f"'{named}' is code of your own (a Lambda or function), which a file would hold as something to be "
                "run. Say the same by layers of Keras, such as Rescaling, Activation, Add, or by arithmetic on tensors."
            )
        if str(name).startswith("Random") and str(entry.get("module")) == "keras.layers":
            raise _refused(
                f"'{named}' changes images at random, which is no part of a network here: it would be exported with "
                "it. Leave it out, and say it by the recipe: augmentation.policy=light, or its parts."
            )
        policy = inner.get("dtype") if isinstance(inner, dict) else None
        computes_in = policy["config"].get("name") if isinstance(policy, dict) and "config" in policy else None
        if computes_in not in (None, "float32"):
            raise _refused(
                f"'{named}' computes in {printable(str(computes_in))}; a network that is given computes in float32. "
                "Build it under keras.config.set_dtype_policy('float32')."
            )
    try:
        check_config(config)
    except ValueError as error:
        raise _refused(
            f"{error}. Layers of Keras that only compute are taken, code of your own is not, since nobody could open "
            "the run without it."
        ) from error


def _first_line(error: Exception) -> str:
    """What an error says, without where Keras met it and without colours."""
    lines = [line.strip() for line in re.sub(r"\x1b\[\d*m", "", str(error)).splitlines()]
    said = [line for line in lines if line and not line.startswith("Exception encountered when calling")]
    return printable((said or lines or [""])[0] or type(error).__name__)[:200]


def _without_softmax(own: keras.Model) -> tuple[keras.Model, bool]:
    """A network as it is, with the dense layer at its end on its top level and without a softmax; whether it had one.

    Probabilities stay what they were: a softmax is what makes them of logits anywhere.
    """
    is_stripped = False
    while True:
        last, taken = _last_of(own)
        if isinstance(last, keras.Model | layers.Dense):
            _check_called_once(own, last)
        if isinstance(last, keras.Model):
            own = _replayed(own, {id(last): _inlined})
        elif isinstance(last, layers.Dense):
            activation = getattr(last.activation, "__name__", "")
            if activation == "softmax" and not is_stripped:
                last.activation, is_stripped = keras.activations.linear, True
                own = _replayed(own, {})
            elif activation != "linear":
                raise _refused(f"its last layer '{last.name}' ends in {activation}, which gives no logits. {_ENDS}")
            return own, is_stripped
        elif _activates_by(last, "linear"):
            own = keras.Model(own.inputs[0], taken, name="given")
        elif _is_softmax(last) and not is_stripped:
            own, is_stripped = keras.Model(own.inputs[0], taken, name="given"), True
        else:
            kind = type(last).__name__
            raise _refused(f"its last layer '{printable(str(last.name))}' is of the kind {kind}. {_ENDS}")


def _check_called_once(network: keras.Model, layer: Any) -> None:
    # Of this graph alone: a layer knows calls in others as well.
    times = sum(node.operation is layer for nodes in network._nodes_by_depth.values() for node in nodes)
    if times > 1:
        raise _refused(f"its last layer '{printable(layer.name)}' is called {times} times. Use another at the end.")


def _is_softmax(layer: Any) -> bool:
    is_usual = type(layer).__name__ == "Softmax" and getattr(layer, "axis", None) in (-1, 1)
    return is_usual or _activates_by(layer, "softmax")


def _activates_by(layer: Any, name: str) -> bool:
    return isinstance(layer, layers.Activation) and getattr(layer.activation, "__name__", "") == name


def _last_of(network: keras.Model) -> tuple[Any, Any]:
    """The layer, or operation, that gives what a network gives, and what it takes."""
    layer, node, _ = network.outputs[0]._keras_history  # how Keras says where a tensor comes from
    return layer, layer._inbound_nodes[node].input_tensors[0]


def _inlined(model: keras.Model, tensor: Any, **options: Any) -> Any:
    """What a network within another gives of a tensor, by its layers one by one."""
    if options.get("training") is not None:
        raise _refused(f"'{model.name}' ends it and is called with training=...; call it without.")
    return _run(keras.Model(model.inputs[0], model.outputs[0]), tensor, {})


def _replayed(network: keras.Model, instead: Mapping[int, Any]) -> keras.Model:
    """The same layers called once more; some in another way, by their identity."""
    tensor = keras.Input(network.inputs[0].shape[1:], dtype=network.inputs[0].dtype, name=_IMAGES)
    return keras.Model(tensor, _run(network, tensor, instead), name="given")


def _run(network: keras.Model, tensor: Any, instead: Mapping[int, Any]) -> Any:
    """What the layers of a network give of another tensor, which is the output of another graph."""
    made: list[Any] = []
    last = _last_of(network)[0]

    def call(layer: Any, *taken: Any, **options: Any) -> Any:
        result = instead.get(id(layer), layer)(*([layer] if id(layer) in instead else []), *taken, **options)
        if layer is last:
            made.append(result)
        return result

    keras.models.clone_model(network, input_tensors=tensor, clone_function=lambda layer: layer, call_function=call)
    return made[-1]


def _with_contract(own: keras.Model, shape: tuple[int, int, int], *, takes_bytes: bool) -> keras.Model:
    """The network behind uint8 `images`, whose last layer is called `logits`."""
    last, _ = _last_of(own)
    taken = {_IMAGES, _PIXELS, _LOGITS}
    names = {layer.name for layer in own.layers} | taken
    for layer in own.layers:
        if layer is last:
            layer.name = _LOGITS
        elif layer.name in taken:
            layer.name = next(name for number in range(len(names)) if (name := f"{layer.name}_{number}") not in names)
            names.add(layer.name)
    images = keras.Input(shape, dtype="uint8", name=_IMAGES)
    pixels = images if takes_bytes else layers.Rescaling(1.0, name=_PIXELS)(images)
    return keras.Model(images, _run(own, pixels, {}), name="custom")


def _check_answers(model: keras.Model, network: keras.Model, shape: tuple[int, int, int], *, is_stripped: bool) -> None:
    """Refuse a network that answers otherwise than the one that it was made of."""
    images = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    given = images if model.inputs[0].dtype == "uint8" else images.astype(np.float32)
    try:
        expected, answers = (_answers(one, batch) for one, batch in ((model, given), (network, images)))
    except Exception as error:
        raise _refused(
            f"fails on images of {model.inputs[0].dtype} ({_first_line(error)}). It has to answer model(images)."
        ) from error
    if not np.isfinite(expected).all():
        raise _refused("its answers to images of 0 to 255 are no finite numbers. Scale these inside: Rescaling(1/255).")
    if is_stripped:
        answers = np.asarray(keras.ops.convert_to_numpy(keras.ops.softmax(answers)))
    if not np.allclose(answers, expected, rtol=_TOLERANCE, atol=_TOLERANCE * max(1.0, float(np.abs(expected).max()))):
        raise _refused("it answers otherwise once it was written to a file and opened again.")


def _answers(network: keras.Model, images: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(keras.ops.convert_to_numpy(network(images, training=False)), np.float32)


def _note_scale(network: keras.Model) -> None:
    for layer in _flattened(network):
        kind = type(layer).__name__
        if (kind in _SCALES and layer.name != _PIXELS) or not isinstance(layer, layers.Layer):
            return
        if kind in _LEARNS:
            reporter().say(
                f"note: the network is fed values of 0 to 255, and nothing scales them before '{printable(layer.name)}'"
                ". If it expects 0 to 1, begin it with keras.layers.Rescaling(1 / 255)."
            )
            return


def _flattened(network: keras.Model) -> Iterator[Any]:
    for layer in network.operations if hasattr(network, "operations") else network.layers:
        if isinstance(layer, keras.Model):
            yield from _flattened(layer)
        else:
            yield layer
