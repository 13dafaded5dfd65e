"""Keras' own `fit`, fed without Python between the steps, watched and stopped in time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from sightline.configuration.consistency import epochs_key, num_epochs
from sightline.configuration.schema import Recipe
from sightline.errors import InvalidValue
from sightline.system.interruption import noting_interrupts
from sightline.system.progress import reporter
from sightline.training.augmentation.mixing import mixing_of
from sightline.training.loop.batches import LabelledImages, Order, training_feed, training_order, validation_feed
from sightline.training.loop.checkpoint_files import as_refusal
from sightline.training.loop.checkpoints import StateKeeper
from sightline.training.loop.monitor import TrainingMonitor
from sightline.training.loop.network import training_network
from sightline.training.loop.ranks import Ranks
from sightline.training.loop.recording import FitOutputs, rewrite_history
from sightline.training.optimization.losses import add_weight_penalties, build_loss, build_metrics
from sightline.training.optimization.optimizers import build_optimizer, rate_shares
from sightline.training.optimization.schedules import build_schedule

# TensorFlow runs this many steps without coming back to Python; a few a second stay visible.
STEPS_PER_EXECUTION = 25


@dataclass(frozen=True)
class Fitted:
    """What fitting gave, besides the weights in the network.

    Attributes:
        history: one mapping an epoch.
        chosen_epoch: 1-based; its weights are in the network now.
        stopped_early: fewer epochs than the recipe allows.
        seconds: wall time.
        images_per_second: training images, over all epochs, without compilation and validation.
        planned_epochs: those that a time budget had room for, where there is one.
        stages: what each stage of a training on a pretrained network brought and cost; none otherwise.
    """

    history: tuple[dict[str, float], ...]
    chosen_epoch: int
    stopped_early: bool
    seconds: float
    images_per_second: float
    planned_epochs: int | None = None
    stages: tuple[Mapping[str, Any], ...] = ()


def fit(
    network: keras.Model,
    train: LabelledImages,
    *,
    validation: LabelledImages | None,
    recipe: Recipe,
    augmentation: keras.Model | None = None,
    outputs: FitOutputs,
) -> Fitted:
    """Train a network in place; where the loss is no longer a finite number, TrainingFailed says when and what to try.

    Args:
        network: uint8 images to logits; holds the chosen weights afterwards.
        train: what it learns from.
        validation: what early stopping and the curves go by, or None.
        recipe: resolved; its optimizer, schedule, loss and training sections are used.
        augmentation: put before the network while training only, as MixUp and CutMix are if the recipe asks for them.
        outputs: where history and progress go.
    """
    finished = _finished(network, outputs)
    if finished is not None:
        return finished
    order = training_order(train, recipe, before=len(outputs.before))
    steps, num_drawn = order.num_batches, len(order.rows)
    rate = build_schedule(recipe, total_steps=steps * num_epochs(recipe))
    model = _compiled(network, train, recipe, augmentation, rate=rate, at_once=_at_once(steps, outputs.log_every))
    _check_accumulation(recipe, steps * num_epochs(recipe))
    monitor = TrainingMonitor(outputs, recipe, network, rate=rate, steps=steps, num_images=num_drawn)
    stopping = _early_stopping(recipe)
    keeper = StateKeeper(
        outputs.checkpoints, monitor, order, stopping=stopping, epochs=num_epochs(recipe), ranks=outputs.ranks
    )
    monitor.keeper = keeper
    # Weights that are averaged are put back before anything else; what is kept at the beginning of an epoch is the
    # state after all that happens at the end of the one before.
    callbacks = monitor.callbacks([*_averaging(recipe), monitor.callback, keeper, *stopping], model)
    num_classes = int(network.output_shape[-1])
    # Metrics have no variables to be put back before they have seen something, which each epoch forgets.
    model.compute_metrics(
        None, train.targets(recipe.loss.name, num_classes)[:1], np.zeros((1, num_classes), np.float32)
    )
    feed = _feed(model, train, validation, recipe, order, outputs.ranks)
    started = time.perf_counter()
    with reporter().bar("epoch 1", total=num_drawn * num_epochs(recipe), lines=False) as bar:
        monitor.bar = bar
        # A step of TensorFlow that is broken off may leave an error of its own, or none at all.
        with monitor.painting(), noting_interrupts(), keeper.writing():
            model.fit(
                **feed,
                epochs=num_epochs(recipe),
                initial_epoch=keeper.first_epoch,
                verbose=0,
                callbacks=callbacks,
            )
    seconds = time.perf_counter() - started
    chosen = stopping[0].best_epoch + 1 if stopping else len(monitor.history)
    stopped_early = len(monitor.history) < num_epochs(recipe)
    planned = None if outputs.deadline is None else num_epochs(recipe)
    fitted = Fitted(tuple(monitor.history), chosen, stopped_early, seconds, monitor.images_per_second, planned)
    keeper.finish(dataclasses.asdict(fitted), network)
    return fitted


def behind(before: tuple[Mapping[str, float], ...], fitted: Fitted) -> Fitted:
    """What a fit gave that counted on from the history of another, told as one course."""
    history = (*map(dict, before), *fitted.history)
    return dataclasses.replace(fitted, history=history, chosen_epoch=len(before) + fitted.chosen_epoch)


def _finished(network: keras.Model, outputs: FitOutputs) -> Fitted | None:
    """What a fit gave that ended before what follows it did; None where there is something left to fit."""
    kept = outputs.checkpoints
    found = None if kept is None else kept.found
    if kept is None or found is None or not found.is_finished:
        return None
    with as_refusal(kept.folder):
        network.set_weights(found.part("model"))
        fitted = Fitted(history=tuple(found.state["history"]), **found.state["result"])
        if not 1 <= fitted.chosen_epoch <= len(fitted.history):
            raise ValueError(f"epoch {fitted.chosen_epoch} was chosen of {len(fitted.history)}")
    rewrite_history(outputs, [*outputs.before, *fitted.history])
    if not kept.expects_end:
        reporter().say("learning was finished already; going on behind it")
    return fitted


def planned_epochs(outputs: FitOutputs) -> int | None:
    """How many epochs were planned for the fit that is gone on with, if one is."""
    found = None if outputs.checkpoints is None else outputs.checkpoints.found
    return None if found is None else int(found.state["epochs"])


def _compiled(
    network: keras.Model,
    train: LabelledImages,
    recipe: Recipe,
    augmentation: keras.Model | None,
    *,
    rate: Any,
    at_once: int,
) -> keras.Model:
    """What Keras fits: the network behind all that changes its images, with optimizer, loss and metrics."""
    model = training_network(network, augmentation, mixes=mixing_of(recipe, train.images.shape[1:]) is not None)
    add_weight_penalties(network, recipe.loss)
    model.compile(
        optimizer=build_optimizer(recipe.optimizer, rate, shares=rate_shares(network, recipe.optimizer)),
        loss=build_loss(recipe.loss),
        metrics=build_metrics(train.task),
        weighted_metrics=[],
        steps_per_execution=at_once,
        # XLA runs convolution gradients on a CPU through a slow path; on TensorFlow it stays off.
        jit_compile=False if keras.config.backend() == "tensorflow" else "auto",
    )
    return model


def _feed(  # what is fed, how, and to whom
    model: keras.Model,
    train: LabelledImages,
    validation: LabelledImages | None,
    recipe: Recipe,
    order: Order,
    ranks: Ranks | None,
) -> dict[str, Any]:
    """What the `fit` of a compiled model learns from and is judged by; of several processes, its share of both."""
    num_classes, share = int(model.output_shape[-1]), None if ranks is None else ranks.share
    feed = training_feed(train, recipe, num_classes=num_classes, order=order, share=share)
    feed |= validation_feed(validation, recipe, num_classes=num_classes, share=share)
    if ranks is not None:
        ranks.feed_tails(model, order, feed["validation_data"].order if "validation_data" in feed else None)
    return feed


def _check_accumulation(recipe: Recipe, total_steps: int) -> None:
    accumulation_steps = recipe.optimizer.accumulation_steps
    if accumulation_steps > total_steps:
        raise InvalidValue(
            f"optimizer.accumulation_steps={accumulation_steps} batches make one step, and the whole run has "
            f"{total_steps}: nothing would be learned. Set it lower, or {epochs_key(recipe)} higher."
        )


def _at_once(steps: int, log_every: int | None) -> int:
    """As many steps at once as the backend can and the log allows."""
    if keras.config.backend() != "tensorflow":
        return 1
    most = min(STEPS_PER_EXECUTION, steps)
    if log_every is None:
        return most
    return max(count for count in range(1, most + 1) if log_every % count == 0)


def _early_stopping(recipe: Recipe) -> list[keras.callbacks.EarlyStopping]:
    patience = recipe.training.early_stopping_patience
    if patience is None:
        return []
    least = recipe.training.early_stopping_min_change
    return [
        keras.callbacks.EarlyStopping(
            monitor="val_loss", mode="min", patience=patience, min_delta=least, restore_best_weights=True
        )
    ]


def _averaging(recipe: Recipe) -> list[keras.callbacks.SwapEMAWeights]:
    """Averaged weights are what validation judges, what early stopping keeps and what is left at the end."""
    if recipe.optimizer.ema_momentum is None:
        return []
    return [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)]
