"""What is seen of a training while it runs: progress, history, curves, and the end at a NaN."""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from sightline.errors import SightlineError, TrainingFailed
from sightline.files import write_atomically, writing_to
from sightline.progress import Bar, clock, reporter
from sightline.schema import Recipe

SECONDS_BETWEEN_CURVES = 10.0


@dataclass(frozen=True)
class Watch:
    """Where the course of a fit is written.

    Attributes:
        history_path: gets a JSON line an epoch, or None.
        log_every: print loss and accuracy every so many steps, or None.
        curves_path: a PNG that is drawn anew as epochs end, or None.
        deadline: when the run should be over, on the clock of `time.perf_counter`, or None.
        rescue_path: where a network goes whose loss stopped being a number, or None.
        before: rows of the history that were there before this fit, which counts on from them.
    """

    history_path: Path | None = None
    log_every: int | None = None
    curves_path: Path | None = None
    deadline: float | None = None
    rescue_path: Path | None = None
    before: tuple[dict[str, float], ...] = ()


class Watcher:
    """Turns Keras' callbacks into history, progress, curves and the stop at a NaN."""

    def __init__(self, watch: Watch, recipe: Recipe, network: keras.Model, *, steps: int, num_images: int) -> None:
        """`network` is what learns; `steps` and `num_images` are those of one epoch."""
        self.watch, self.recipe, self.network = watch, recipe, network
        self.steps, self.num_images = steps, num_images
        self.history: list[dict[str, float]] = []
        self.epochs = len(watch.before) + int(recipe.training.epochs)
        self.bar: Bar | None = None
        self._good: list[Any] | None = None
        self._counted = 0
        self._epoch_started = 0.0
        self._painter = _Painter(watch.curves_path)
        self.callback = keras.callbacks.LambdaCallback(
            on_epoch_begin=self._begin_epoch, on_epoch_end=self._end_epoch, on_train_batch_end=self._end_steps
        )

    @contextlib.contextmanager
    def painting(self) -> Iterator[None]:
        """While it is open, curves are drawn beside the training; at its end none is left half-drawn."""
        try:
            yield
        finally:
            self._painter.finish()

    def _course(self) -> list[dict[str, float]]:
        """All rows there are, those from before this fit first."""
        return [*self.watch.before, *self.history]

    def _begin_epoch(self, epoch: int, logs: Any = None) -> None:  # Keras hands both on
        self._epoch_started, self._counted = time.perf_counter(), 0

    def _end_steps(self, batch: int, logs: dict[str, Any]) -> None:
        # Keras counts the last execution of an epoch as full, however few steps were left.
        step, epoch = min(batch + 1, self.steps), len(self._course()) + 1
        loss, accuracy = float(logs["loss"]), float(logs["accuracy"])
        if not math.isfinite(loss):
            raise TrainingFailed(self._rescue(epoch, step))
        done = min(step * int(self.recipe.training.batch_size), self.num_images)
        if self.bar is not None:
            self.bar.advance(
                done - self._counted,
                description=f"epoch {epoch}/{self.epochs}",
                notes=f"loss {loss:.4f} accuracy {accuracy:.4f}{self._best_so_far()}",
            )
        self._counted = done
        if self.watch.log_every and step % self.watch.log_every == 0:
            reporter().say(f"epoch {epoch} step {step}/{self.steps}  loss {loss:.4f}  accuracy {accuracy:.4f}")

    def _rescue(self, epoch: int, step: int) -> str:
        """Go back to the last good weights, keep them where they can be found, and say what happened."""
        largest = self.recipe.optimizer.learning_rate
        rate = float(self.callback.model.optimizer.learning_rate)
        kept = "No epoch was finished, so nothing was kept."
        if self._good is not None:
            self.network.set_weights(self._good)
            kept = f"The weights of epoch {epoch - 1} were the last good ones."
            if self.watch.rescue_path is not None:
                with writing_to(self.watch.rescue_path):
                    self.network.save(self.watch.rescue_path)
                kept = f"The weights of epoch {epoch - 1}, the last good ones, are kept in {self.watch.rescue_path}."
        return (
            f"the loss is no longer a finite number at epoch {epoch}, step {step} (learning rate {rate:g}, the largest "
            f"{largest:g}). {kept} Try --set optimizer.learning_rate={largest / 10:g} or optimizer.clip_norm=1, "
            "or model.pixel_scaling=unit if the network sees 0 to 255."
        )

    def _best_so_far(self) -> str:
        known = [(row["validation_accuracy"], row["epoch"]) for row in self._course() if "validation_accuracy" in row]
        return f"  best {max(known)[0]:.4f}" if known else ""

    def _end_epoch(self, epoch: int, logs: dict[str, Any]) -> None:
        number = len(self.watch.before) + epoch + 1
        row: dict[str, float] = {"epoch": number, "loss": float(logs["loss"]), "accuracy": float(logs["accuracy"])}
        if "val_loss" in logs:
            row |= {"validation_loss": float(logs["val_loss"]), "validation_accuracy": float(logs["val_accuracy"])}
        # The rate of the epoch's last step, as the schedule gave it.
        row["learning_rate"] = float(self.callback.model.optimizer.learning_rate)
        row["seconds"] = time.perf_counter() - self._epoch_started
        self.history.append(row)
        if all(math.isfinite(value) for value in row.values()):
            self._good = self.network.get_weights()
        self._painter.paint(self._course())
        if self.watch.history_path is not None:
            with writing_to(self.watch.history_path), self.watch.history_path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
        if reporter().mode == "plain":
            reporter().say(self._epoch_line(row))

    def _epoch_line(self, row: dict[str, float]) -> str:
        rate = self.num_images / max(row["seconds"], 1e-9)
        left = (self.epochs - len(self._course())) * row["seconds"]
        judged = ""
        if "validation_loss" in row:
            judged = f"  validation loss {row['validation_loss']:.4f} accuracy {row['validation_accuracy']:.4f}"
        return (
            f"epoch {row['epoch']}/{self.epochs}  loss {row['loss']:.4f} accuracy {row['accuracy']:.4f}"
            f"{judged}  {rate:,.0f} images/s  {clock(left)} remaining"
        )


class _Painter:
    """Draws the curves in a thread of its own, at most every ten seconds: training never waits for a picture."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._thread: threading.Thread | None = None
        self._last = -math.inf

    def paint(self, history: list[dict[str, float]]) -> None:
        """Draw the history so far, unless the last picture is still being drawn or is hardly older."""
        busy = self._thread is not None and self._thread.is_alive()
        if self.path is None or busy or time.perf_counter() - self._last < SECONDS_BETWEEN_CURVES:
            return
        self._last = time.perf_counter()
        self._thread = threading.Thread(target=self._draw, args=(list(history),), daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait until nothing is being drawn."""
        if self._thread is not None:
            self._thread.join()

    def _draw(self, history: list[dict[str, float]]) -> None:
        from sightline.reporting.charts import curves_png

        # A picture that fails here is drawn once more, and complained about, at the end of the run.
        with contextlib.suppress(SightlineError):
            write_atomically(self.path, curves_png(history, chosen_epoch=len(history)))  # type: ignore[arg-type]
