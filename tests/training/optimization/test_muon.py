"""Muon on the kernels of convolutions: the steps of Keras' own on the matrices that they are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sightline.configuration.recipes import parse_recipe
from sightline.configuration.schema import ModelRecipe
from sightline.system.backends import load_keras

keras = load_keras()

from sightline.networks.building import build_network  # noqa: E402  # the backend is chosen first
from sightline.training.optimization.optimizers import build_optimizer  # noqa: E402  # the backend is chosen first

DECAY = 0.05


def muon(rate: float = 0.01, **settings) -> keras.optimizers.Optimizer:
    recipe = parse_recipe({"optimizer": {"name": "muon", "weight_decay": DECAY, **settings}}).optimizer
    return build_optimizer(recipe, rate)


def steps(optimizer: keras.optimizers.Optimizer, shape: tuple[int, ...], *, name: str = "kernel") -> np.ndarray:
    """A weight after three steps, as a matrix of what it sees by its filters."""
    draw = np.random.default_rng(7)
    weight = keras.Variable(draw.normal(size=shape).astype(np.float32), name=name)
    for _ in range(3):
        gradient = draw.normal(size=shape).astype(np.float32)
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [weight])
    return np.asarray(weight).reshape(-1, shape[-1])


@pytest.mark.parametrize("shape", [(5, 5, 2, 4), (3, 4, 6), (2, 2, 1, 12)])
def test_a_kernel_is_moved_as_keras_moves_the_matrix_that_it_is(shape: tuple[int, ...]) -> None:
    usual = keras.optimizers.Muon(0.01, weight_decay=DECAY, momentum=0.9)
    expected = steps(usual, (math.prod(shape[:-1]), shape[-1]))
    np.testing.assert_allclose(steps(muon(), shape), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(6,), (3, 3, 4, 1), (1, 1, 1, 5)])
def test_what_has_no_directions_learns_by_adamw(shape: tuple[int, ...]) -> None:
    usual = keras.optimizers.AdamW(0.01, weight_decay=DECAY)
    np.testing.assert_allclose(steps(muon(), shape), steps(usual, shape), rtol=1e-4, atol=1e-6)


def test_what_is_no_kernel_is_no_matrix() -> None:
    usual = keras.optimizers.AdamW(0.01, weight_decay=DECAY)
    slopes = {"shape": (4, 4, 6), "name": "alpha"}
    np.testing.assert_allclose(steps(muon(), **slopes), steps(usual, **slopes), rtol=1e-4, atol=1e-6)


def test_a_step_turns_into_every_direction_alike() -> None:
    weight = keras.Variable(np.zeros((3, 3, 2, 4), np.float32), name="kernel")
    gradient = np.random.default_rng(0).normal(size=weight.shape).astype(np.float32) * np.float32([30, 1, 1, 0.3])
    muon(1.0, weight_decay=0).apply([keras.ops.convert_to_tensor(gradient)], [weight])
    lengths = np.linalg.svd(np.asarray(weight).reshape(18, 4), compute_uv=False)
    # Keras scales by a fifth of the root of the longer side; five iterations bring a length to 1, give or take a half.
    assert ((lengths > 0.5 * 0.2 * math.sqrt(18)) & (lengths < 1.5 * 0.2 * math.sqrt(18))).all()


def test_lenet5_learns_its_kernels_so_and_its_logits_and_biases_by_adamw() -> None:
    network = build_network((28, 28, 1), 10, ModelRecipe(name="lenet5"))
    optimizer = muon()
    optimizer.build(network.trainable_variables)
    by_adamw = [
        weight.path.split("/")[0] + "/" + weight.name
        for weight, velocity in zip(network.trainable_variables, optimizer.adam_velocities, strict=True)
        if velocity is not None
    ]
    assert [name for name in by_adamw if not name.endswith("bias")] == ["logits/kernel"]
    assert len(by_adamw) == 6


def test_its_momentum_is_that_of_the_recipe() -> None:
    assert muon(momentum=0.5).momentum == 0.5
