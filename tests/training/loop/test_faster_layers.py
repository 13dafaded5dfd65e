"""Layers that compute the same faster while a network learns leave what Keras' own leave."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.system.backends import load_keras

keras = load_keras()

from sightline.configuration.schema import ModelRecipe  # noqa: E402  # the backend is chosen first
from sightline.networks.building import build_network  # noqa: E402  # as above
from sightline.training.loop.network import dtype_policy, with_faster_layers  # noqa: E402  # as above


def learned(*, faster: bool, name: str, side: int, policy: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Weights, averages among them, and answers of a network after six steps."""
    keras.utils.set_random_seed(5)
    draw = np.random.default_rng(5)
    images, labels = draw.integers(0, 256, (96, side, side, 1), dtype=np.uint8), draw.integers(0, 3, 96)
    with dtype_policy(policy):
        network = build_network((side, side, 1), 3, ModelRecipe(name=name))
        model = with_faster_layers(network) if faster else network
    assert (model is not network) == faster
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss=loss, jit_compile=False)
    model.fit(images, labels, batch_size=16, shuffle=False, verbose=0)
    return network.get_weights(), np.asarray(network(images[:8]))


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="they are for TensorFlow alone")
@pytest.mark.parametrize(
    ("name", "side", "policy", "tolerance"),
    [
        ("convnet", 16, "float32", 2e-3),
        ("convnet", 16, "mixed_bfloat16", 0.1),
        ("lenet5", 28, "float32", 1e-4),
        ("lenet5", 28, "mixed_bfloat16", 0.05),
        ("lenet5-conv", 28, "float32", 1e-4),
    ],
)
def test_six_steps_leave_the_weights_that_keras_own_layers_leave(
    name: str, side: int, policy: str, tolerance: float
) -> None:
    expected, expected_logits = learned(faster=False, name=name, side=side, policy=policy)
    weights, logits = learned(faster=True, name=name, side=side, policy=policy)
    for index, one, other in zip(range(len(weights)), weights, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance, err_msg=f"weight {index}")
    np.testing.assert_allclose(logits, expected_logits, rtol=10 * tolerance, atol=10 * tolerance)
