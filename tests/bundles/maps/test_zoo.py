"""Every network that can be trained ends in a way that is taken apart; quicker ones are in test_class_maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sightline.bundles.maps.activations import activation_maps
from sightline.bundles.parity import made_images
from sightline.bundles.sessions import session_of
from sightline.configuration.networks import MODELS
from sightline.configuration.schema import ModelRecipe
from sightline.records import Bundle, InputSpec


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("name", MODELS)
def test_maps_of_each_network_add_up_to_its_logits(name: str, tmp_path: Path) -> None:
    from sightline.networks.building import build_network
    from sightline.training.packaging.contract import save_network

    entry = MODELS[name]
    shape = (64, 64, 3) if entry.backbone else entry.reference_input
    model = ModelRecipe(name=name, weights="random") if entry.backbone else ModelRecipe(name=name)
    save_network(build_network(shape, 10, model), tmp_path)
    spec = InputSpec(shape[0], shape[1], "grey" if shape[2] == 1 else "rgb")
    bundle = Bundle(tmp_path, tuple("0123456789"), spec, 1.0, 0, {}, {"files": {}})
    way = activation_maps(bundle)
    assert way is not None
    images = made_images(spec)
    logits = session_of(bundle).logits(images)
    for label in range(10):
        maps, constants = way.parts(images, np.eye(10)[np.full(len(images), label)])
        assert np.abs(maps.sum(axis=(1, 2)) + constants - logits[:, label]).max() <= 1e-4
