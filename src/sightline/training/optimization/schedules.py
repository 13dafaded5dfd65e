"""From a recipe's schedule to Keras' own."""

from __future__ import annotations

from typing import Any

import keras

from sightline.configuration.schema import Recipe


def build_schedule(recipe: Recipe, *, total_steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate, as a number or as Keras' schedule over all steps.

    Source:
        one-cycle: Smith, Topin, arXiv 1708.07120; cosine: Loshchilov, Hutter, arXiv 1608.03983;
        step: He et al., arXiv 1512.03385.
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

    Keras' `optimizer.learning_rate` is that of the step to come. Before the first step, it is that of the first batch.
    """
    if isinstance(rate, int | float):
        return float(rate)
    taken = num_batches // accumulation_steps * accumulation_steps
    return float(rate(max(taken - 1, 0)))
