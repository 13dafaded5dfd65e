"""What older Keras wrote of a network, in the words of today's: fields of its description alone, by fixed rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sightline.bundles.vetting.configs import ALLOWED, MOST_CHANNELS, objects_in

# Beyond the layers of networks that learn here: what changes images while a network learns, and is left out.
OTHER_LAYERS = "RandomBrightness RandomContrast RandomFlip RandomRotation RandomTranslation RandomZoom"
_LAYERS = frozenset(f"{ALLOWED['keras.layers']} {OTHER_LAYERS}".split())
_NAMES = _LAYERS | {"Functional", "Sequential"}
# How weights began, what held them small and how a batch was worked off: not what a finished network computes.
_GONE = (
    "ragged",
    "renorm",
    "renorm_clipping",
    "renorm_momentum",
    "virtual_batch_size",
    "fused",
    "optional",
    "rng_type",
)
_GONE_ENDINGS = ("_initializer", "_regularizer", "_constraint")
# Where Keras 2 keeps classes that Keras 3 has elsewhere, by the ends of their modules.
_MODULES = {
    "engine.functional": ("keras.src.models.functional", "Functional"),
    "engine.sequential": ("keras", None),
    "engine.input_layer": ("keras.layers", None),
}
Config = dict[str, Any]


def settled(entry: Any) -> Config:
    """The description of a network, and of all within it, as Keras 3 reads it; a ValueError where it is none."""
    if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict | list):
        raise ValueError("its config describes no network")
    name = "Functional" if entry.get("class_name") == "Model" else entry.get("class_name")
    if not isinstance(name, str):
        raise ValueError("its config describes no network")
    config = entry["config"]
    if isinstance(config, list):  # a row of layers alone, as the oldest wrote it
        config = {"name": "sequential", "layers": config}
    if isinstance(config.get("layers"), list):
        config = {**config, "layers": _with_input([settled(layer) for layer in config["layers"]], name)}
        _count_calls(config)
        for key in ("input_layers", "output_layers"):
            # One tensor in a list of its own becomes a list of tensors, which the next layer does not take.
            if isinstance(ends := config.get(key), list) and len(ends) == 1 and isinstance(ends[0], list):
                config[key] = ends[0]
    else:
        config = _settled_layer(name, config)
    # How it was to be trained is not looked at, and what built it is told by its input.
    kept = {key: value for key, value in entry.items() if key not in ("compile_config", "class_name", "config")}
    if name in _LAYERS and (kept.get("module") is None or ".layers." in str(kept["module"])):
        # Keras 2 names the file of some layers, and of others none; a name of its own is looked at later.
        kept["module"] = "keras.layers"
    for end, (module, registered) in _MODULES.items():
        if str(kept.get("module")).endswith(end):
            kept["module"], kept["registered_name"] = module, registered
    return {"class_name": name, "config": config, **kept}


def _count_calls(config: Config) -> None:
    """Where a network within another is called first: Keras 2 counts its own making as the first call, Keras 3 not."""
    inner = [layer.get("name") for layer in config["layers"] if layer["class_name"] in ("Functional", "Sequential")]
    nodes = [layer.get("inbound_nodes") for layer in config["layers"]]
    taken = [place for node in nodes for place in _places(node)] + [*_places([config.get("output_layers")])]
    for name in inner:
        calls = [place for place in taken if place[0] == name]
        if calls and min(place[1] for place in calls) >= 1:
            for place in calls:
                place[1] -= 1


def _places(nodes: Any) -> Iterator[list[Any]]:
    """What calls take, as Keras 2 writes it: name of the layer, which of its calls, which of what that gives."""
    for node in nodes if isinstance(nodes, list) else ():
        for place in node if isinstance(node, list) else ():
            if isinstance(place, list) and len(place) >= 3 and isinstance(place[0], str) and type(place[1]) is int:
                yield place


def _with_input(layers: list[Config], name: Any) -> list[Config]:
    """A row of layers with what it takes as a layer of its own; the first layer said it once, and others may, too."""
    shape = layers[0]["config"].get("batch_shape") if layers else None
    plain = [
        layer if layer["class_name"] == "InputLayer" else {**layer, "config": _without(layer["config"], "batch_shape")}
        for layer in layers
    ]
    if name != "Sequential" or shape is None or layers[0]["class_name"] == "InputLayer":
        return plain
    return [
        {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": shape, "dtype": "float32"}},
        *plain,
    ]


def _without(config: Config, key: str) -> Config:
    return {name: value for name, value in config.items() if name != key}


def _settled_layer(name: Any, config: Mapping[str, Any]) -> Config:
    found = {key: value for key, value in config.items() if key not in _GONE and not str(key).endswith(_GONE_ENDINGS)}
    if name == "DepthwiseConv2D" and found.get("groups") == 1:
        del found["groups"]
    if name == "BatchNormalization" and isinstance(axis := found.get("axis"), list) and len(axis) == 1:
        found["axis"] = axis[0]
    if isinstance(shape := found.pop("batch_input_shape", None), list):
        found["batch_shape"] = shape
    policy = found.get("dtype")
    if isinstance(policy, dict) and policy.get("class_name") == "Policy" and isinstance(policy.get("config"), dict):
        found["dtype"] = policy["config"].get("name")
    return found


def check_legacy(config: Config, shapes: list[tuple[int, ...]]) -> None:
    """Refuse what names something else than layers that are known, or makes more room than the file has weights.

    Args:
        config: settled, from an HDF5 file.
        shapes: of the arrays in that file.
    """
    if config["class_name"] not in ("Functional", "Sequential"):
        raise ValueError("its config describes no network")
    sides = {shape[-1] for shape in shapes if shape}
    for entry in objects_in(config):
        module, name = entry.get("module"), entry.get("class_name")
        if "class_name" in entry and not _is_known(name, module, entry.get("registered_name")):
            raise ValueError(f"it names {ascii(name)[:60]}, a layer that is not known here")
        if "class_name" not in entry and ("module" in entry or "registered_name" in entry):
            raise ValueError("its config names a module without a class")
        for key in ("units", "filters"):
            # Keras makes room for a layer before it looks for its weights.
            count = entry.get(key)
            if count is not None and (type(count) is not int or count not in sides or count > MOST_CHANNELS):
                raise ValueError(f"it has {key} of {ascii(count)[:20]}, and no weights of that many")


def _is_known(name: Any, module: Any, registered: Any) -> bool:
    if not isinstance(name, str) or not isinstance(module, str | None) or registered not in (None, name):
        return False
    if module is None:
        return name in _NAMES or name in ALLOWED[""].split()
    return name in ALLOWED.get(module, "").split() or (module == "keras.layers" and name in _LAYERS)


def is_teachable_machine(config: Config) -> bool:
    """Whether it is built as those of Teachable Machine: MobileNet and a small head, each a row of layers."""
    parts = _row(config)
    if [part["class_name"] for part in parts] != ["Sequential"] * 2:
        return False
    inner, head = map(_row, parts)
    names, last = [part["class_name"] for part in inner], head[-1]["config"] if head else {}
    is_head = [part["class_name"] for part in head] == ["Dense"] * 2 and last.get("activation") == "softmax"
    return (
        is_head
        and not last.get("use_bias", True)
        and names in [["Functional", "GlobalAveragePooling2D"], ["Functional", "Flatten"]]
    )


def _row(config: Config) -> list[Config]:
    """The layers of a network, but for what it takes."""
    return [layer for layer in config["config"].get("layers", []) if layer["class_name"] != "InputLayer"]
