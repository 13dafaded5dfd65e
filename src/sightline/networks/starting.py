"""Networks that begin with what a finished run has learned: the same layers, and of the head the classes by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from sightline.bundles.bundle import load_bundle
from sightline.bundles.vetting.network_files import open_network
from sightline.bundles.vetting.weights_files import starts_from
from sightline.errors import InvalidValue
from sightline.system.text import printable


def begins_at_random(weights: str) -> bool:
    """Whether a builder is to leave the weights as they are drawn: nothing is asked for, or a run fills them later."""
    return weights == "random" or starts_from(weights) is not None


def take_weights(network: keras.Model, folder: Path) -> None:
    """Fill all layers but the head, in their order, from the network of a bundle, unless it is built otherwise."""
    theirs = [layer for layer in open_network(folder / "model.keras").layers if layer.weights]
    ours = [layer for layer in network.layers if layer.weights]
    shapes = [[[tuple(weight.shape) for weight in layer.weights] for layer in part[:-1]] for part in (ours, theirs)]
    if shapes[0] != shapes[1]:
        raise InvalidValue(
            f"{printable(str(folder))}: its network is built otherwise than {network.name.replace('_', '-')} at "
            f"{'x'.join(map(str, network.input_shape[1:]))}, and cannot be begun with. Leave model.* as the run has it."
        )
    for layer, other in zip(ours[:-1], theirs[:-1], strict=True):
        layer.set_weights(other.get_weights())


def take_head(network: keras.Model, folder: Path, class_names: Sequence[str]) -> int:
    """Fill the head's columns of the classes that a bundle in a folder knows by name, too; how many there are."""
    known = load_bundle(folder).class_names
    kernel, bias = network.get_layer("logits").get_weights()
    their_kernel, their_bias = open_network(folder / "model.keras").get_layer("logits").get_weights()
    shared = [(number, known.index(name)) for number, name in enumerate(class_names) if name in known]
    mine, other = (np.array([pair[side] for pair in shared], np.int64) for side in (0, 1))
    kernel[:, mine], bias[mine] = their_kernel[:, other], their_bias[other]
    network.get_layer("logits").set_weights([kernel, bias])
    return len(shared)
