"""Keras' own `fit`, fed without Python between the steps, watched and stopped in time."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from sightline.errors import TrainingFailed
from sightline.files import writing_to
from sightline.progress import Bar, clock, reporter
from sightline.schema import Recipe
from sightline.training.feed import LabelledImages, drawn_rows, training_feed, validation_feed
from sightline.training.optimizers import build_loss, build_optimizer, build_schedule, penalise

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
        images_per_second: training images, over all epochs.
    """

    history: tuple[dict[str, float], ...]
    chosen_epoch: int
    stopped_early: bool
    seconds: float
    images_per_second: float


def fit(
    network: keras.Model,
    train: LabelledImages,
    *,
    validation: LabelledImages | None,
    recipe: Recipe,
    augmentation: keras.Model | None = None,
    watch: Watch,
) -> Fitted:
    """Train a network in place.

    Args:
        network: uint8 images to logits; holds the chosen weights afterwards.
        train: what it learns from.
        validation: what early stopping and the curves go by, or None.
        recipe: resolved; its optimizer, schedule, loss and training sections are used.
        augmentation: put before the network while training only.
        watch: where history and progress go.

    Returns:
        History and figures of the fit.

    Raises:
        TrainingFailed: the loss became NaN or infinite; the message says when and what to try.

    Example:
        >>> import numpy as np
        >>> pixels, layers = keras.Input((4, 4, 1), dtype="uint8"), keras.layers
        >>> network = keras.Sequential([pixels, layers.Flatten(), layers.Dense(2)])
        >>> data = LabelledImages(np.zeros((8, 4, 4, 1), np.uint8), np.arange(8) % 2)
        >>> from sightline.config import parse_recipe
        >>> recipe = parse_recipe({"training.epochs": 2, "training.batch_size": 4})
        >>> len(fit(network, data, validation=None, recipe=recipe, watch=Watch()).history)
        2
    """
    num_drawn = len(drawn_rows(train.labels, recipe.training.sampling))
    steps = math.ceil(num_drawn / int(recipe.training.batch_size))
    model = network
    if augmentation is not None:
        model = keras.Model(augmentation.input, network(augmentation.output), name="training")
    penalise(network, recipe.loss)
    rate = build_schedule(recipe, total_steps=steps * int(recipe.training.epochs))
    model.compile(
        optimizer=build_optimizer(recipe.optimizer, rate),
        loss=build_loss(recipe.loss),
        metrics=["accuracy"],
        weighted_metrics=[],
        steps_per_execution=_steps_per_execution(steps, watch.log_every),
        # XLA runs convolution gradients on a CPU through a slow path; on TensorFlow it stays off.
        jit_compile=False if keras.config.backend() == "tensorflow" else "auto",
    )
    watcher = _Watcher(watch, recipe, steps, num_drawn)
    stopping = _early_stopping(recipe)
    callbacks = [*_averaging(recipe), watcher.callback, *stopping]
    num_classes = int(network.output_shape[-1])
    feed = training_feed(train, recipe, num_classes=num_classes)
    feed |= validation_feed(validation, recipe, num_classes=num_classes)
    started = time.perf_counter()
    with reporter().bar("epoch 1", total=num_drawn * int(recipe.training.epochs), lines=False) as bar:
        watcher.bar = bar
        model.fit(**feed, epochs=int(recipe.training.epochs), verbose=0, callbacks=callbacks)
    return watcher.result(stopping, time.perf_counter() - started)


@dataclass(frozen=True)
class Watch:
    """Where the course of a fit is written.

    Attributes:
        history_path: gets a JSON line an epoch, or None.
        log_every: print loss and accuracy every so many steps, or None.
    """

    history_path: Path | None = None
    log_every: int | None = None


def _steps_per_execution(steps: int, log_every: int | None) -> int:
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


class _Watcher:
    """Turns Keras' callbacks into history, progress and the stop at a NaN."""

    def __init__(self, watch: Watch, recipe: Recipe, steps: int, num_images: int) -> None:
        self.watch, self.recipe, self.steps, self.num_images = watch, recipe, steps, num_images
        self.history: list[dict[str, float]] = []
        self.bar: Bar | None = None
        self._counted = 0
        self._epoch_started = 0.0
        self.callback = keras.callbacks.LambdaCallback(
            on_epoch_begin=self._begin_epoch, on_epoch_end=self._end_epoch, on_train_batch_end=self._end_steps
        )

    def result(self, stopping: list[Any], seconds: float) -> Fitted:
        """The whole course, once fit has returned."""
        chosen = stopping[0].best_epoch + 1 if stopping else len(self.history)
        stopped_early = len(self.history) < int(self.recipe.training.epochs)
        # Validation and compilation are no training: only the steps count.
        trained = self.num_images * len(self.history)
        return Fitted(tuple(self.history), chosen, stopped_early, seconds, trained / max(seconds, 1e-9))

    def _begin_epoch(self, epoch: int, logs: Any = None) -> None:  # Keras hands both on
        self._epoch_started, self._counted = time.perf_counter(), 0

    def _end_steps(self, batch: int, logs: dict[str, Any]) -> None:
        # Keras counts the last execution of an epoch as full, however few steps were left.
        step, epoch = min(batch + 1, self.steps), len(self.history) + 1
        loss, accuracy = float(logs["loss"]), float(logs["accuracy"])
        if not math.isfinite(loss):
            raise TrainingFailed(self._explain_divergence(epoch, step))
        done = min(step * int(self.recipe.training.batch_size), self.num_images)
        if self.bar is not None:
            self.bar.advance(
                done - self._counted,
                description=f"epoch {epoch}/{self.recipe.training.epochs}",
                notes=f"loss {loss:.4f} accuracy {accuracy:.4f}{self._best_so_far()}",
            )
        self._counted = done
        if self.watch.log_every and step % self.watch.log_every == 0:
            reporter().say(f"epoch {epoch} step {step}/{self.steps}  loss {loss:.4f}  accuracy {accuracy:.4f}")

    def _explain_divergence(self, epoch: int, step: int) -> str:
        rate = self.recipe.optimizer.learning_rate
        return (
            f"the loss is no longer a finite number at epoch {epoch}, step {step} (largest learning rate {rate:g}). "
            f"Nothing was saved. Try --set optimizer.learning_rate={rate / 10:g}, "
            "or model.pixel_scaling=unit if the network sees 0 to 255."
        )

    def _best_so_far(self) -> str:
        known = [(row["validation_accuracy"], row["epoch"]) for row in self.history if "validation_accuracy" in row]
        return f"  best {max(known)[0]:.4f}" if known else ""

    def _end_epoch(self, epoch: int, logs: dict[str, Any]) -> None:
        row: dict[str, float] = {"epoch": epoch + 1, "loss": float(logs["loss"]), "accuracy": float(logs["accuracy"])}
        if "val_loss" in logs:
            row |= {"validation_loss": float(logs["val_loss"]), "validation_accuracy": float(logs["val_accuracy"])}
        # The rate of the epoch's last step, as the schedule gave it.
        row["learning_rate"] = float(self.callback.model.optimizer.learning_rate)
        row["seconds"] = time.perf_counter() - self._epoch_started
        self.history.append(row)
        if self.watch.history_path is not None:
            with writing_to(self.watch.history_path), self.watch.history_path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
        if reporter().mode == "plain":
            reporter().say(self._epoch_line(row))

    def _epoch_line(self, row: dict[str, float]) -> str:
        rate = self.num_images / max(row["seconds"], 1e-9)
        left = (int(self.recipe.training.epochs) - len(self.history)) * row["seconds"]
        judged = ""
        if "validation_loss" in row:
            judged = f"  validation loss {row['validation_loss']:.4f} accuracy {row['validation_accuracy']:.4f}"
        return (
            f"epoch {row['epoch']}/{self.recipe.training.epochs}  loss {row['loss']:.4f} accuracy {row['accuracy']:.4f}"
            f"{judged}  {rate:,.0f} images/s  {clock(left)} remaining"
        )
