"""From recipe names to Keras' optimizers, schedules and losses."""

from __future__ import annotations

from typing import Any

import keras

from sightline.catalog import OPTIMIZERS
from sightline.schema import LossRecipe, OptimizerRecipe, Recipe


def build_schedule(recipe: Recipe, *, total_steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate, as a number or as Keras' schedule over all steps.

    Args:
        recipe: its `schedule` and the largest rate in `optimizer`.
        total_steps: of the whole run, at least 1.

    Returns:
        What Keras' optimizers take as `learning_rate`.

    Raises:
        Nothing.

    Source:
        one-cycle: Smith, Topin, arXiv 1708.07120; cosine: Loshchilov, Hutter, arXiv 1608.03983.

    Example:
        >>> build_schedule(Recipe(), total_steps=10)
        0.004
    """
    rate = recipe.optimizer.learning_rate
    if recipe.schedule.name == "constant":
        return rate
    warmup_steps = round(recipe.schedule.warmup_fraction * total_steps)
    start, end = (rate / 25, 1e-4) if recipe.schedule.name == "one-cycle" else (0.0, 0.0)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=start if warmup_steps else rate,
        decay_steps=max(total_steps - warmup_steps, 1),
        alpha=end,
        warmup_target=rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )


def build_optimizer(optimizer: OptimizerRecipe, rate: Any) -> keras.optimizers.Optimizer:
    """Keras' optimizer of the recipe's name.

    Args:
        optimizer: the recipe's section.
        rate: a number or a schedule.

    Returns:
        The optimizer, not yet built.

    Raises:
        Nothing.

    Example:
        >>> type(build_optimizer(OptimizerRecipe(name="sgd"), 0.1)).__name__
        'SGD'
    """
    options: dict[str, Any] = {"learning_rate": rate, "weight_decay": optimizer.weight_decay or None}
    if optimizer.name == "sgd":
        options |= {"momentum": optimizer.momentum, "nesterov": optimizer.nesterov}
    elif optimizer.name == "rmsprop":
        options |= {"momentum": optimizer.momentum}
    elif optimizer.name == "adamw":
        options["weight_decay"] = optimizer.weight_decay
    built: keras.optimizers.Optimizer = getattr(keras.optimizers, OPTIMIZERS[optimizer.name])(**options)
    return built


def build_loss(loss: LossRecipe) -> keras.losses.Loss:
    """Keras' loss of the recipe's name, on logits.

    Args:
        loss: the recipe's section.

    Returns:
        A loss that takes integer or one-hot labels, as its name says.

    Raises:
        Nothing.

    Example:
        >>> build_loss(LossRecipe()).name
        'sparse_categorical_crossentropy'
    """
    if loss.name == "categorical_crossentropy":
        return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=loss.label_smoothing)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
