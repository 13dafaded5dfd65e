"""A learning-rate range test: Keras' own `fit` at a rate that grows with each step, until the loss runs away."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from sightline.configuration.schema import Recipe
from sightline.system.interruption import noting_interrupts
from sightline.system.progress import Bar, reporter
from sightline.training.augmentation.mixing import mixing_of
from sightline.training.loop.batches import LabelledImages, training_feed, training_order
from sightline.training.loop.network import training_network
from sightline.training.optimization.losses import add_weight_penalties, build_loss
from sightline.training.optimization.optimizers import build_optimizer

LOWEST_RATE, HIGHEST_RATE = 1e-6, 10.0
# A smoothed loss of four times the lowest so far has diverged; fastai stops there, too.
DIVERGED_FROM_RATIO = 4.0
_MEMORY = 0.9


def range_test(
    network: keras.Model,
    train: LabelledImages,
    recipe: Recipe,
    *,
    augmentation: keras.Model | None = None,
    num_steps: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Let a network learn at rates that grow geometrically from 1e-6 to 10, and note the loss of each step.

    Optimizer, loss, batches and augmentation are the recipe's; its schedule, its number of epochs
    and the averaging of weights are left out. Where an epoch has fewer steps, several are passed.

    Args:
        network: uint8 images to logits; it learned, and its weights are of no use afterwards.
        train: what it learns from.
        recipe: resolved.
        augmentation: put before the network, or None.
        num_steps: of the optimizer, at least 2; fewer are taken if the loss diverges.

    Returns:
        Rates and losses, float64 (num_taken,) each; a loss is measured before its step is taken. Where
        gradients are accumulated it is the mean of the batches that make the step. All are finite.

    Source:
        Smith, Cyclical Learning Rates for Training Neural Networks, arXiv 1506.01186.
    """
    every = recipe.optimizer.accumulation_steps
    num_batches = num_steps * every
    rate = keras.optimizers.schedules.ExponentialDecay(
        LOWEST_RATE, decay_steps=num_batches - 1, decay_rate=HIGHEST_RATE / LOWEST_RATE
    )
    mixes = mixing_of(recipe, train.images.shape[1:]) is not None
    model = training_network(network, augmentation, mixes=mixes)
    add_weight_penalties(network, recipe.loss)
    model.compile(
        optimizer=build_optimizer(recipe.changed({"optimizer.ema_momentum": None}).optimizer, rate),
        loss=build_loss(recipe.loss),
        # The loss of every step is looked at, so none is taken without coming back to Python.
        steps_per_execution=1,
        jit_compile=False if keras.config.backend() == "tensorflow" else "auto",
    )
    order = training_order(train, recipe)
    epochs = math.ceil(num_batches / order.num_batches)
    feed = training_feed(train, recipe, num_classes=int(network.output_shape[-1]), order=order)
    shuffling = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: order.begin(epoch))
    with reporter().bar("trying rates", total=num_batches, unit="batches") as bar:
        recorder = _Recorder(bar, every=every, num_steps=num_steps)
        with noting_interrupts():
            model.fit(**feed, epochs=epochs, verbose=0, callbacks=[shuffling, recorder])
    # The rate of a step is that of its last batch.
    taken = (np.arange(len(recorder.losses)) + 1) * every - 1
    rates = LOWEST_RATE * (HIGHEST_RATE / LOWEST_RATE) ** (taken / (num_batches - 1))
    return rates, np.array(recorder.losses)


class _Recorder(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no annotations
    """The loss of each step on its own, and the end where it diverges."""

    def __init__(self, bar: Bar, *, every: int, num_steps: int) -> None:
        super().__init__()
        self.bar, self.every, self.num_steps = bar, every, num_steps
        self.losses: list[float] = []
        self._batches: list[float] = []
        self._average, self._lowest = 0.0, math.inf

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Forget the batches before: Keras' loss is a mean over the epoch."""
        self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Note the loss; stop where it is no number, has run away, or was the last."""
        self._batches.append(float(logs["loss"]))
        self.bar.advance(1)
        if len(self._batches) < self.every:
            return
        loss, self._batches = sum(self._batches) / self.every, []
        if not math.isfinite(loss):
            self.model.stop_training = True
            return
        self.losses.append(loss)
        self._average = _MEMORY * self._average + (1 - _MEMORY) * loss
        smoothed = self._average / (1 - _MEMORY ** len(self.losses))
        self._lowest = min(self._lowest, smoothed)
        if smoothed > DIVERGED_FROM_RATIO * self._lowest or len(self.losses) == self.num_steps:
            self.model.stop_training = True
