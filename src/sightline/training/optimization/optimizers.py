"""From a recipe's optimizer to Keras' own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from sightline.configuration.names import OPTIMIZERS
from sightline.configuration.schema import OptimizerRecipe


def rate_shares(network: keras.Model, optimizer: OptimizerRecipe) -> dict[str, float]:
    """What share of the learning rate each weight of a network has, by its path; none where all have the same.

    From the lowest layer to the last the shares grow in equal steps of their logarithm.
    """
    lowest, layers = optimizer.lowest_rate_share, network.layers
    if lowest == 1:
        return {}
    last = max(len(layers) - 1, 1)
    return {weight.path: lowest ** (1 - place / last) for place, layer in enumerate(layers) for weight in layer.weights}


def build_optimizer(
    optimizer: OptimizerRecipe, rate: Any, *, shares: Mapping[str, float] | None = None
) -> keras.optimizers.Optimizer:
    """Keras' optimizer of the recipe's name; a weight among `shares` learns at that share of the rate."""
    options: dict[str, Any] = {"learning_rate": rate, "weight_decay": optimizer.weight_decay or None}
    options["global_clipnorm"] = optimizer.clip_norm
    if optimizer.accumulation_steps > 1:
        options["gradient_accumulation_steps"] = optimizer.accumulation_steps
    if optimizer.ema_momentum is not None:
        options |= {"use_ema": True, "ema_momentum": optimizer.ema_momentum}
    if optimizer.name == "sgd":
        options |= {"momentum": optimizer.momentum, "nesterov": optimizer.nesterov}
    elif optimizer.name == "rmsprop":
        options |= {"momentum": optimizer.momentum}
    elif optimizer.name == "adamw":
        options["weight_decay"] = optimizer.weight_decay
    elif optimizer.name == "muon":
        # One decay for all weights: Keras takes that of those that learn by AdamW apart.
        options |= {"momentum": optimizer.momentum, "adam_weight_decay": options["weight_decay"]}
    kind = Muon if optimizer.name == "muon" else getattr(keras.optimizers, OPTIMIZERS[optimizer.name])
    built: keras.optimizers.Optimizer = (_with_shares(kind, shares) if shares else kind)(**options)
    return built


class Muon(keras.optimizers.Muon):  # type: ignore[misc]  # Keras carries no annotations
    """Keras' Muon, which takes kernels of convolutions for the matrices that they are: what they see by filters.

    Keras' own leaves them to AdamW, as both do with biases and with the layer of the logits. What is no kernel, such as
    the slopes of a `PReLU`, one a pixel and channel, is no matrix either. Of a convolution, its learning rate and
    weight decay are AdamW's, by Keras' scale of the steps.

    Source:
        Jordan et al., Muon (2024), https://kellerjordan.github.io/posts/muon; the scale: Liu et al., arXiv 2502.16982.
    """

    def _should_use_adamw(self, variable: Any) -> bool:
        # A kernel with a single filter, such as a depthwise one, has no directions to be told apart.
        is_kernel = "kernel" in variable.name and len(variable.shape) > 1
        is_matrix = is_kernel and min(_matrix_shape(variable)) > 1
        return not is_matrix or "embedding" in variable.path or variable.path.split("/")[-2:-1] == ["logits"]

    def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:  # as Keras calls it
        gradient = ops.cast(gradient, variable.dtype)
        self.assign(m, gradient + m * self.momentum)
        ahead = ops.reshape(gradient + m * self.momentum, _matrix_shape(variable))
        step = self.lr_adjust(lr * self.zeropower_via_newtonschulz5(ahead, self.ns_steps))
        self.assign_sub(variable, ops.reshape(step, tuple(variable.shape)))


def _matrix_shape(kernel: Any) -> tuple[int, int]:
    """What a kernel sees by its filters."""
    return math.prod(kernel.shape[:-1]), kernel.shape[-1]


def _with_shares(kind: Any, shares: Mapping[str, float]) -> Any:
    """One of Keras' optimizers, each weight at its share of the rate: Keras has one rate for all."""

    def update_step(self: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
        # TensorFlow hands in a variable of its own, which has no path; the optimizer knows which of Keras' it is.
        known = self._trainable_variables[self._get_variable_index(variable)]
        kind.update_step(self, gradient, variable, learning_rate * shares.get(known.path, 1.0))

    return type(kind.__name__, (kind,), {"update_step": update_step})
