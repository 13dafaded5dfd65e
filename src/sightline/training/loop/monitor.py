"""What is seen of a training while it runs: progress, history, curves, and the end at a NaN.

To be seen must cost nothing. On JAX and on a GPU a step is only started when Keras reports it done; to turn its loss
into a number is to wait for it, and a monitor that did so after every step would make the device idle in between. So
figures are kept as they are, unread, and read ten times a second, at steps that are logged, and at the end of an
epoch. A NaN is therefore found late, and the unread figures tell at which step it began: Keras' loss is a mean over the
epoch, and stays NaN after the first. Learning stops there, with the weights of the last epoch whose figures were all
finite. Curves are drawn in a thread of their own.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from sightline.configuration.consistency import num_epochs
from sightline.configuration.schema import Recipe
from sightline.errors import SightlineError, TrainingFailed
from sightline.system.files import write_atomically, writing_to
from sightline.system.interruption import raise_if_interrupted
from sightline.system.progress import Bar, clock, reporter
from sightline.training.loop.checkpoints import Course, StateKeeper
from sightline.training.loop.recording import FitOutputs, record_epoch, rewrite_history
from sightline.training.optimization.schedules import last_rate

# A picture takes half a second of a processor that trains as well.
SECONDS_BETWEEN_CURVES = 10.0
# Faster than this nobody reads numbers.
SECONDS_BETWEEN_NOTES = 0.2
# To read a figure is to wait for the step that it comes from; in between JAX and a GPU run ahead. Ten times a second
# is a bar that moves smoothly, and a wait that cannot be measured.
SECONDS_BETWEEN_LOOKS = 0.1


class TrainingMonitor:
    """Turns Keras' callbacks into history, progress, curves and the stop at a NaN."""

    def __init__(
        self, outputs: FitOutputs, recipe: Recipe, network: keras.Model, *, rate: Any, steps: int, num_images: int
    ) -> None:
        """`network` learns at `rate`, a number or a schedule; `steps` and `num_images` are those of one epoch."""
        self.outputs, self.recipe, self.network, self.rate = outputs, recipe, network, rate
        self.steps, self.num_images = steps, num_images
        self.num_epochs = num_epochs(recipe)
        self.named = outputs.named
        self.history: list[dict[str, float]] = []
        self.bar: Bar | None = None
        # The weights of the last epoch that was sound: what a NaN is answered with.
        self._good: list[Any] | None = None
        # Images of this epoch that the bar has been told of.
        self._counted = 0
        self._epoch_started = 0.0
        # Images and seconds of steps alone: neither the first, which is compiled, nor validation.
        self._timed, self._timed_seconds = 0, 0.0
        self._mark: float | None = None
        self._noted = self._looked = -math.inf
        self._unread: list[tuple[int, Any]] = []
        self._painter = _Painter(outputs.curves_path)
        # Who keeps the state between steps; batches of this epoch, and their seconds, that another process saw.
        self.keeper: StateKeeper | None = None
        self._before = Course((), 0, 0.0, None)
        self.callback = keras.callbacks.LambdaCallback(on_epoch_begin=self._begin_epoch, on_epoch_end=self._end_epoch)

    def callbacks(self, others: list[keras.callbacks.Callback], model: keras.Model) -> keras.callbacks.CallbackList:
        """What the `fit` of `model` is given as its callbacks: others, of which none may wait for steps, and this."""
        ends = (self._end_steps, self._end_judging)
        return _Callbacks(others, ends, model=model, epochs=num_epochs(self.recipe))

    def course(self, step: int) -> Course:
        """Where the fit is after a step of the epoch under way."""
        seconds = self._before.seconds + time.perf_counter() - self._epoch_started if step else 0.0
        return Course(tuple(self.history), step, seconds, self._good)

    def go_on(self, course: Course) -> None:
        """Count on from where another process was."""
        self.history[:], self._good, self._before = course.history, course.good, course
        rewrite_history(self.outputs, self._course())
        num_done = min(course.step * int(self.recipe.training.batch_size), self.num_images)
        if self.bar is not None:
            self.bar.advance(len(self.history) * self.num_images + num_done)
        self._counted = num_done
        reporter().say(f"going on in {self.named} {len(self.history) + 1} after step {course.step}/{self.steps}")
        for number, row in enumerate(self.history, start=1):
            self._show(row, number)

    @contextlib.contextmanager
    def painting(self) -> Iterator[None]:
        """While it is open, curves are drawn beside the training; a fit that breaks off leaves all its epochs drawn."""
        try:
            yield
        except BaseException:
            self._painter.finish(self._course())
            raise
        # The end of a run draws them itself, with the epoch that was chosen, which is known only then.
        self._painter.finish()

    def _course(self) -> list[Mapping[str, float]]:
        """All rows there are, those from before this fit first."""
        return [*self.outputs.before, *self.history]

    def _begin_epoch(self, epoch: int, logs: Any = None) -> None:  # Keras hands both on
        self._epoch_started, self._counted = time.perf_counter(), 0
        # In the first epoch the network is compiled before its first steps are done.
        self._mark = self._epoch_started if self.history else None
        self._unread = []

    def _end_judging(self) -> None:
        """After a batch of validation."""
        if self.keeper is None:
            raise_if_interrupted()
        else:
            self.keeper.stop_before_end()

    def _end_steps(self, batch: int, logs: dict[str, Any]) -> None:
        # Called once an execution, which on TensorFlow is several steps; `batch` is the last of them, counted from 0.
        # Keras counts the last execution of an epoch as full, however few steps were left.
        # Epochs are counted by rows of history: Keras' own count is not handed on with a step.
        step, epoch = min(self._before.step + batch + 1, self.steps), len(self.history) + 1
        self._unread.append((step, logs["loss"]))
        if self.keeper is not None:
            self.keeper.end_steps(step)
        is_logged = bool(self.outputs.log_every) and step % (self.outputs.log_every or 1) == 0
        if not is_logged and step < self.steps and time.monotonic() - self._looked < SECONDS_BETWEEN_LOOKS:
            return
        loss, accuracy = float(logs["loss"]), float(logs["accuracy"])
        if not math.isfinite(loss) and self._leads:
            # Keras' loss is a mean over the epoch: after the first NaN there are only more.
            first = next(number for number, value in self._unread if not math.isfinite(float(value)))
            raise TrainingFailed(self._rescue(epoch, first))
        self._unread, self._looked = [], time.monotonic()
        if self.outputs.watch is not None:
            self.outputs.watch.step()
        self._time_steps(min(step * int(self.recipe.training.batch_size), self.num_images) - self._counted)
        done = min(step * int(self.recipe.training.batch_size), self.num_images)
        if self.bar is not None:
            self.bar.advance(
                done - self._counted,
                description=f"{self.named} {epoch}/{self.num_epochs} step {step}/{self.steps}",
                notes=self._notes(step, loss, accuracy),
            )
        self._counted = done
        if is_logged:
            reporter().say(f"{self.named} {epoch} step {step}/{self.steps}  loss {loss:.4f}  accuracy {accuracy:.4f}")

    def _time_steps(self, num_images: int) -> None:
        now = time.perf_counter()
        if self._mark is not None:
            self._timed += num_images
            self._timed_seconds += now - self._mark
        self._mark = now

    @property
    def _leads(self) -> bool:
        """Whether it decides; of processes that fit together the first does, and the others are ended."""
        return self.outputs.ranks is None or self.outputs.ranks.is_first

    @property
    def images_per_second(self) -> float:
        """Training images a second; of a fit with a single look at its steps, compilation is among them."""
        if self._timed:
            return self._timed / max(self._timed_seconds, 1e-9)
        seconds = (self._mark or self._epoch_started) - self._epoch_started
        return self.num_images / seconds if seconds > 0 else 0.0

    def _notes(self, step: int, loss: float, accuracy: float) -> str | None:
        """What stands below the bar; None, for no change, where it was written a moment ago."""
        now = time.monotonic()
        if now - self._noted < SECONDS_BETWEEN_NOTES:
            return None
        self._noted = now
        notes = f"training    {_pair(loss, accuracy)}  learning rate {self._rate_after(step):.3g}"
        if self.history and "validation_loss" in self.history[-1]:
            row, best = self.history[-1], self._best()
            notes += (
                f"\nvalidation  {_pair(row['validation_loss'], row['validation_accuracy'])}\n"
                f"best        {_pair(best['validation_loss'], best['validation_accuracy'])}  {self._name_of(best)}"
            )
        return notes

    def _name_of(self, row: Mapping[str, float]) -> str:
        epoch = int(row["epoch"]) - len(self.outputs.before)
        return f"epoch {epoch}" if epoch > 0 else "head"

    def _rate_after(self, step: int) -> float:
        """The learning rate of the last step, by the count of batches: asking Keras costs time on JAX."""
        batches = len(self.history) * self.steps + step
        return last_rate(self.rate, num_batches=batches, accumulation_steps=self.recipe.optimizer.accumulation_steps)

    def _rescue(self, epoch: int, step: int) -> str:
        """Go back to the last good weights, keep them where they can be found, and say what happened."""
        largest = self.recipe.optimizer.learning_rate
        if self._good is not None:
            # On JAX `fit` holds the weights and writes them back at its end, unless a callback asked for the model.
            _ = self.callback.model
            if self.outputs.ranks is None:
                self.network.set_weights(self._good)
        return (
            f"the loss is no longer a finite number at {self.named} {epoch}, step {step} (learning rate "
            f"{self._rate_after(step):g}, the largest {largest:g}). {self._kept(epoch)}Try --set "
            f"optimizer.learning_rate={largest / 10:g} or optimizer.clip_norm=1, "
            "or model.pixel_scaling=unit if the network sees 0 to 255."
        )

    def _kept(self, epoch: int) -> str:
        path = self.outputs.rescue_path
        if path is None:
            return ""
        if self._good is None:
            return "No epoch was finished, so nothing was kept. "
        with writing_to(path):
            self._sound_network(self._good).save(path)
        return f"The weights of epoch {epoch - 1}, the last good ones, are kept in {path}. "

    def _sound_network(self, weights: list[Any]) -> keras.Model:
        """The network with the last good weights; of processes that fit together a copy, for which none waits."""
        if self.outputs.ranks is None:
            return self.network
        with self.outputs.ranks.alone():
            copy = keras.models.clone_model(self.network)
            copy.set_weights(weights)
        return copy

    def _best(self) -> Mapping[str, float]:
        """The epoch with the lowest validation loss; where early stopping asks for a change, what it would keep."""
        # As Keras' EarlyStopping compares: what is lower by less than the change that is asked for is no better.
        least = self.recipe.training.early_stopping_min_change
        best, *others = [row for row in self._course() if "validation_loss" in row]
        for row in others:
            if row["validation_loss"] + least < best["validation_loss"]:
                best = row
        return best

    def _end_epoch(self, epoch: int, logs: dict[str, Any]) -> None:
        row: dict[str, float] = {
            # Counted over the whole run, as the curves are.
            "epoch": len(self._course()) + 1,
            "loss": float(logs["loss"]),
            "accuracy": float(logs["accuracy"]),
        }
        if "val_loss" in logs:
            row |= {"validation_loss": float(logs["val_loss"]), "validation_accuracy": float(logs["val_accuracy"])}
        row["learning_rate"] = self._rate_of_last_step()
        row["seconds"] = self._before.seconds + time.perf_counter() - self._epoch_started
        self.history.append(row)
        self._before = Course((), 0, 0.0, None)
        # A copy on the host, once an epoch; a NaN within the next epoch then costs no more than that epoch. Before it
        # tells of the end of an epoch, Keras has written JAX's weights back into the network.
        if all(math.isfinite(value) for value in row.values()):
            self._good = self.network.get_weights()
        self._painter.paint(self._course())
        record_epoch(self.outputs, row)
        if reporter().mode == "plain":
            reporter().say(self._epoch_line(row))
        self._show(row, len(self.history))

    def _show(self, row: Mapping[str, float], number: int) -> None:
        """Tell who looks on of an epoch of this fit."""
        if self.outputs.watch is not None:
            self.outputs.watch.epoch(row, left=self.num_epochs - number)

    def _rate_of_last_step(self) -> float:
        """As the optimizer counts: in mixed_float16 it leaves out a batch whose gradients overflow."""
        optimizer = self.callback.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        # Keras' `iterations` counts the steps that were taken, the schedule the batches they were made of.
        every = self.recipe.optimizer.accumulation_steps
        return last_rate(self.rate, num_batches=int(optimizer.iterations) * every, accumulation_steps=every)

    def _epoch_line(self, row: Mapping[str, float]) -> str:
        speed = self.images_per_second
        epoch = int(row["epoch"]) - len(self.outputs.before)
        left = (self.num_epochs - epoch) * row["seconds"]
        judged = ""
        if "validation_loss" in row:
            best = self._best()
            judged = (
                f"  validation {_pair(row['validation_loss'], row['validation_accuracy'])}"
                f"  best {_pair(best['validation_loss'], best['validation_accuracy'])}"
            )
        return (
            f"{self.named} {epoch}/{self.num_epochs}  {_pair(row['loss'], row['accuracy'])}{judged}  "
            f"learning rate {row['learning_rate']:.3g}  {speed:,.0f} images/s  {clock(left)} remaining"
        )


def _pair(loss: float, accuracy: float) -> str:
    return f"loss {loss:.4f} accuracy {accuracy:.4f}"


class _Callbacks(keras.callbacks.CallbackList):  # type: ignore[misc]  # Keras has no annotations
    """Keras' list of callbacks, except that the figures of a step are not made Python numbers before they are wanted.

    Keras' own does so after every step, which makes JAX and a GPU wait for each.
    """

    def __init__(
        self,
        callbacks: list[keras.callbacks.Callback],
        ends: tuple[Callable[[int, dict[str, Any]], None], Callable[[], None]],
        *,
        model: keras.Model,
        epochs: int,
    ) -> None:
        super().__init__(callbacks, add_history=True, model=model, epochs=epochs, verbose=0)
        self._end_steps, self._end_judging = ends

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Hand on the figures as they are, to who may leave them unread."""
        self._end_steps(batch, logs or {})

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Nobody waits for a figure of validation before its end; Ctrl-C is heeded there, too."""
        self._end_judging()


class _Painter:
    """Draws the curves in a thread of its own, at most every ten seconds: training never waits for a picture."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._thread: threading.Thread | None = None
        self._last = -math.inf

    def paint(self, history: Sequence[Mapping[str, float]]) -> None:
        """Draw the history so far, unless the last picture is still being drawn or is hardly older."""
        busy = self._thread is not None and self._thread.is_alive()
        if self.path is None or busy or time.perf_counter() - self._last < SECONDS_BETWEEN_CURVES:
            return
        self._last = time.perf_counter()
        # A thread begins with no context; what is said in this one goes where the others' words go.
        run = contextvars.copy_context().run
        # A daemon: a program that is stopped does not wait for a picture.
        self._thread = threading.Thread(target=run, args=(self._draw, list(history)), daemon=True)
        self._thread.start()

    def finish(self, history: Sequence[Mapping[str, float]] | None = None) -> None:
        """Wait until nothing is being drawn; then draw `history` if it is given."""
        if self._thread is not None:
            self._thread.join()
        if history and self.path is not None:
            self._draw(history)

    def _draw(self, history: Sequence[Mapping[str, float]]) -> None:
        from sightline.reporting.charts.curves import curves_png

        # A picture that fails here is drawn once more, and complained about, at the end of the run.
        with contextlib.suppress(SightlineError):
            write_atomically(self.path, curves_png(history, chosen_epoch=int(history[-1]["epoch"])))  # type: ignore[arg-type]
