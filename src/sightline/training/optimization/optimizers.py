"""From recipe names to Keras' optimizers, schedules and losses."""

from __future__ import annotations

from typing import Any

import keras

from sightline.configuration.names import OPTIMIZERS
from sightline.configuration.schema import LossRecipe, OptimizerRecipe, Recipe


def build_schedule(recipe: Recipe, *, total_steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate, as a number or as Keras' schedule over all steps.

    Args:
        recipe: its `schedule` and the largest rate in `optimizer`.
        total_steps: batches of the whole run, at least 1.

    Returns:
        What Keras' optimizers take as `learning_rate`.

    Raises:
        Nothing.

    Source:
        one-cycle: Smith, Topin, arXiv 1708.07120; cosine: Loshchilov, Hutter, arXiv 1608.03983;
        step: He et al., arXiv 1512.03385.

    Example:
        >>> build_schedule(Recipe(), total_steps=10)
        0.004
    """
    rate = recipe.optimizer.learning_rate
    factor, num_drops = recipe.schedule.decay_factor, recipe.schedule.num_drops
    # Keras asks a schedule by the batch, also where gradients of several batches make one step.
    if recipe.schedule.name == "constant":
        return rate
    if recipe.schedule.name == "exponential":
        return keras.optimizers.schedules.ExponentialDecay(rate, decay_steps=total_steps, decay_rate=factor)
    if recipe.schedule.name == "step":
        # Keras keeps the old rate at the boundary itself.
        ends = [max(round(total_steps * drop / (num_drops + 1)) - 1, 0) for drop in range(1, num_drops + 1)]
        return keras.optimizers.schedules.PiecewiseConstantDecay(
            ends, [rate * factor**drop for drop in range(num_drops + 1)]
        )
    warmup_steps = round(recipe.schedule.warmup_fraction * total_steps)
    start, end = (rate / 25, 1e-4) if recipe.schedule.name == "one-cycle" else (0.0, 0.0)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=start if warmup_steps else rate,
        decay_steps=max(total_steps - warmup_steps, 1),
        alpha=end,
        warmup_target=rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )


def last_rate(rate: Any, *, num_batches: int, accumulation_steps: int = 1) -> float:
    """The learning rate of the last step that was taken after so many batches.

    Keras' `optimizer.learning_rate` is that of the step to come.

    Args:
        rate: a number or a schedule, as `build_schedule` gives it.
        num_batches: seen so far.
        accumulation_steps: batches that make one step.

    Returns:
        The rate; before the first step, the one that the first batch has.

    Raises:
        Nothing.

    Example:
        >>> halving = keras.optimizers.schedules.ExponentialDecay(1.0, decay_steps=1, decay_rate=0.5)
        >>> last_rate(halving, num_batches=3), last_rate(halving, num_batches=3, accumulation_steps=2)
        (0.25, 0.5)
    """
    if isinstance(rate, int | float):
        return float(rate)
    taken = num_batches // accumulation_steps * accumulation_steps
    return float(rate(max(taken - 1, 0)))


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


def build_loss(loss: LossRecipe) -> keras.losses.Loss:
    """Keras' loss of the recipe's name, on logits.

    Args:
        loss: the recipe's section.

    Returns:
        A loss that takes integer or one-hot labels, as its name says; without the penalties of
        `penalise`, which belong to the weights.

    Raises:
        Nothing.

    Source:
        focal: Lin et al., arXiv 1708.02002; label smoothing: Szegedy et al., arXiv 1512.00567.

    Example:
        >>> build_loss(LossRecipe()).name
        'sparse_categorical_crossentropy'
    """
    if loss.name == "categorical_crossentropy":
        return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=loss.label_smoothing)
    if loss.name == "categorical_focal_crossentropy":
        # Keras' alpha is one factor on all classes, which only scales the rate; class weights are a key of their own.
        return keras.losses.CategoricalFocalCrossentropy(
            alpha=1.0, gamma=loss.focal_gamma, from_logits=True, label_smoothing=loss.label_smoothing
        )
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def penalise(network: keras.Model, loss: LossRecipe) -> None:
    """Let Keras add L1 and L2 penalties of the kernels to the loss while this network is trained.

    Biases and the parameters of batch normalisation are left alone. The penalty is a property
    of the weights in memory: a saved network knows nothing of it.

    Args:
        network: built; changed in place.
        loss: its `l1` and `l2`; nothing is done where both are zero.

    Returns:
        Nothing.

    Raises:
        Nothing.

    Source:
        L2: Hoerl, Kennard, Technometrics 12 (1970); L1: Tibshirani, J. R. Stat. Soc. B 58 (1996).

    Example:
        >>> network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> penalise(network, LossRecipe(l2=0.5))
        >>> float(network.losses[0])
        1.0
    """
    if loss.l1 == 0 and loss.l2 == 0:
        return
    for weights in network.trainable_variables:
        if weights.name == "kernel":
            weights.regularizer = keras.regularizers.L1L2(l1=loss.l1, l2=loss.l2)
