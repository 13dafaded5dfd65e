"""What Sightline makes is taken by what looks at it: every network that it has, and every way of joining them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from sightline.bundles.vetting.configs import check_config
from sightline.bundles.vetting.network_files import check_network
from sightline.configuration.names import ACTIVATIONS
from sightline.configuration.networks import MODELS
from sightline.configuration.schema import ModelRecipe
from sightline.system.backends import load_keras


def contract(name: str, side: int = 28, channels: int = 1, **more: Any) -> Any:
    load_keras()
    from sightline.networks.building import build_network
    from sightline.training.packaging.contract import contract_of

    return contract_of(build_network((side, side, channels), 3, ModelRecipe(name=name, **more)))


def described(network: Any) -> Any:
    """As Keras would write it."""
    import keras

    return json.loads(json.dumps(keras.saving.serialize_keras_object(network)))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.backbone])
def test_a_pretrained_network_is_taken_and_its_weights_are_counted(name: str) -> None:
    network = contract(name, 96, 3, weights="random", dropout=0.1)
    assert network.count_params() <= check_config(described(network)) <= 1.05 * network.count_params() + 100


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if not entry.backbone])
def test_a_network_that_starts_from_nothing_is_taken_with_any_activation(name: str) -> None:
    for activation in ACTIVATIONS if name == "lenet5" else ("gelu",):
        network = contract(name, activation=activation, dropout=0.1)
        counted = check_config(described(network))
        assert network.count_params() <= counted <= 1.05 * network.count_params() + 100


@pytest.mark.parametrize("views", ["none", "mirror", "shifts"])
def test_what_is_joined_of_networks_is_taken(views: str, tmp_path: Path) -> None:
    networks = [contract(name) for name in ("mlp", "lenet5", "lenet5")]
    import keras

    from sightline.training.ensembles.graph import ensemble_network

    # As combining makes them: as sure as its calibration rows allow, classes in another order.
    output = networks[0].output
    ordered = keras.ops.take(keras.ops.divide(output["logits"], math.pi), [1, 0, 2], axis=-1)
    networks[0] = keras.Model(networks[0].input, {"features": output["features"], "logits": ordered})
    ensemble_network(networks, [1, 2, 3], views=views).save(tmp_path / "model.keras")
    check_network(tmp_path / "model.keras")
