"""From a recipe's optimizer to Keras' own."""

from __future__ import annotations

from typing import Any

import keras

from sightline.configuration.names import OPTIMIZERS
from sightline.configuration.schema import OptimizerRecipe


def build_optimizer(optimizer: OptimizerRecipe, rate: Any) -> keras.optimizers.Optimizer:
    """Keras' optimizer of the recipe's name."""
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
    built: keras.optimizers.Optimizer = getattr(keras.optimizers, OPTIMIZERS[optimizer.name])(**options)
    return built
