"""Lower layers learn at a share of the rate."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.configuration.schema import OptimizerRecipe
from sightline.system.backends import load_keras

keras = load_keras()

from sightline.training.optimization.optimizers import build_optimizer, rate_shares  # noqa: E402  # after the backend


def network() -> keras.Model:
    layers = [keras.layers.Dense(2, use_bias=False, name=name) for name in ("low", "middle", "high")]
    return keras.Sequential([keras.Input((2,)), *layers])


def test_shares_grow_from_the_lowest_layer_to_the_last_in_equal_steps_of_their_logarithm() -> None:
    made = network()
    shares = rate_shares(made, OptimizerRecipe(lowest_rate_share=0.01))
    assert [shares[weight.path] for weight in made.weights] == pytest.approx([0.01, 0.1, 1.0])
    assert rate_shares(made, OptimizerRecipe()) == {}


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_step_of_each_weight_is_its_share_of_what_it_would_be(name: str) -> None:
    recipe = OptimizerRecipe(name=name, learning_rate=0.1, lowest_rate_share=0.01)
    steps = []
    for is_shared in (False, True):
        made = network()
        shares = rate_shares(made, recipe) if is_shared else {}
        before = [keras.ops.convert_to_numpy(weight).copy() for weight in made.weights]
        optimizer = build_optimizer(recipe, 0.1, shares=shares)
        optimizer.apply([keras.ops.ones_like(weight) for weight in made.weights], made.trainable_variables)
        steps.append(
            [keras.ops.convert_to_numpy(weight).copy() - old for weight, old in zip(made.weights, before, strict=True)]
        )
    for whole, part, share in zip(*steps, (0.01, 0.1, 1.0), strict=True):
        np.testing.assert_allclose(part, whole * share, rtol=1e-3)
