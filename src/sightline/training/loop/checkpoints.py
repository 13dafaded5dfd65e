"""What a fit leaves of itself while it runs, and what it goes on from: all that its next step depends on.

A checkpoint is a folder under a manifest with hashes: variables by position, since Keras' own names for them change
from one process to the next, and what `.keras` does not hold (the state of seed generators, above all). It is copied
between two steps and written by a thread beside them, whole or not at all; the last two are kept. Where the newest is
damaged, the one before it serves.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from sightline.errors import InvalidValue, SightlineError
from sightline.system.interruption import is_interrupted, raise_if_interrupted
from sightline.system.progress import reporter
from sightline.training.loop.batches import Order
from sightline.training.loop.checkpoint_files import (
    COUNTED,
    Checkpoint,
    as_refusal,
    numbered,
    read_checkpoint,
    write_checkpoint,
)
from sightline.training.loop.ranks import AskedToStop, Ranks
from sightline.training.setup.unfinished import USUAL, Interval

KEPT = 2
# By default a checkpoint is not made before a hundred times its own cost has passed: it takes one part in a hundred.
COST_SHARE = 0.01
# A fit that was shorter is begun anew sooner than read.
SHORTEST_WORTH_KEEPING = 10.0
# Processes that fit together come to an agreement about as often, which takes each of them a message.
SECONDS_BETWEEN_AGREEMENTS = 1.0
MOST_STEPS_BETWEEN_AGREEMENTS = 1000


class Checkpoints:
    """The checkpoints of one fit: which are there, when the next is due, and the thread that writes it."""

    def __init__(
        self, folder: Path, interval: Interval | None, *, keeps_end: bool = False, expects_end: bool = False
    ) -> None:
        """`interval` is what was asked for; None for the usual, at least a hundred times what one costs.

        `keeps_end` says that the end of a fit is kept however short it was, since another process goes on behind it;
        `expects_end` that it was made by others, just now, to be gone on behind.
        """
        self.folder, self.interval = folder, interval or USUAL
        self.keeps_end, self.expects_end = keeps_end, expects_end
        self.is_asked = interval is not None
        self.found, self._kept = self._latest()
        # Whether the last one that was written is the end of the fit.
        self.has_end = False
        self._thread: threading.Thread | None = None
        self._cost = 0.0
        self._started = self._written = time.monotonic()
        self._steps = 0

    def _latest(self) -> tuple[Checkpoint | None, list[Path]]:
        for place in reversed(numbered(self.folder)):
            try:
                return read_checkpoint(place), [place]
            except (OSError, ValueError, KeyError, TypeError) as error:
                reporter().say(f"warning: the checkpoint {place} cannot be used ({error}); the one before it is tried")
        return None, []

    def count(self, steps: int) -> None:
        """So many more steps were taken."""
        self._steps += steps

    @property
    def steps_left(self) -> int:
        """Steps until the next one is due, where it goes by steps; else more than anybody asks for."""
        return 2**31 - 1 if self.interval.steps is None else self.interval.steps - self._steps

    @property
    def is_due(self) -> bool:
        """Whether it is time to write another."""
        if self._thread is not None and self._thread.is_alive():
            return False
        if self.interval.steps is not None:
            return self._steps >= self.interval.steps
        wait = self.interval.seconds or 0.0
        if not self.is_asked:
            wait = max(wait, self._cost / COST_SHARE)
        return time.monotonic() - self._written >= wait

    @property
    def is_worth_its_end(self) -> bool:
        """Whether the end of a fit is kept: where it took long, or was asked for."""
        is_long = time.monotonic() - self._started >= SHORTEST_WORTH_KEEPING
        return self.is_asked or self.keeps_end or is_long

    def write(self, checkpoint: Checkpoint, *, seconds: float = 0.0) -> None:
        """Begin to write a checkpoint that it took so many seconds to copy; the one before has to be written."""
        self._steps, self._written = 0, time.monotonic()
        self._thread = threading.Thread(target=self._put, args=(checkpoint, seconds), daemon=True)
        self._thread.start()

    def write_now(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, and wait for it."""
        self.close()
        self._put(checkpoint, 0.0)

    def close(self) -> None:
        """Wait until nothing is being written."""
        if self._thread is not None:
            self._thread.join()

    def _put(self, checkpoint: Checkpoint, seconds: float) -> None:
        started = time.monotonic()
        last = max((int(place.name) for place in numbered(self.folder)), default=0)
        place = self.folder / f"{last + 1:06d}"
        try:
            write_checkpoint(place, checkpoint)
        except (OSError, SightlineError) as error:
            reporter().say(f"warning: no checkpoint was written, and the training goes on: {error}")
            return
        self.has_end = checkpoint.is_finished
        self._kept = [*self._kept, place][-KEPT:]
        for other in numbered(self.folder):
            if other not in self._kept:
                shutil.rmtree(other, ignore_errors=True)
        self._cost = seconds + time.monotonic() - started


@dataclass(frozen=True, eq=False)
class Course:
    """Where a fit is, and what it remembers of its way beside its variables.

    Attributes:
        history: one mapping a finished epoch.
        step: batches of the epoch under way that are done.
        seconds: that they took.
        good: weights of the last epoch whose figures were all finite, or None.
    """

    history: tuple[dict[str, float], ...]
    step: int
    seconds: float
    good: list[NDArray[Any]] | None


class Watcher(Protocol):
    """What counts steps and epochs."""

    def course(self, step: int) -> Course:
        """Where the fit is after a step of the epoch under way."""

    def go_on(self, course: Course) -> None:
        """Count on from there."""


class StateKeeper(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no annotations
    """Sets the order of each epoch, writes checkpoints between steps, and puts back the one that is gone on from."""

    def __init__(
        self,
        checkpoints: Checkpoints | None,
        watcher: Watcher,
        order: Order,
        *,
        stopping: Sequence[keras.callbacks.EarlyStopping],
        epochs: int,
        ranks: Ranks | None = None,
    ) -> None:
        """`epochs` are those of the whole fit; `ranks` are the processes that fit together, if they are several."""
        super().__init__()
        self.checkpoints, self.watcher, self.order = checkpoints, watcher, order
        self.stopping, self.epochs, self.ranks = stopping, epochs, ranks
        self._found = None if checkpoints is None else checkpoints.found
        # A position that can be gone on from while validation runs: the last before the end of its epoch.
        self._before_end: Checkpoint | None = None
        self._last_step, self._at_once = 0, 1
        self._copied, self._copy_seconds = 0.0, 0.0
        # Of processes that fit together: when they agreed last, after which step, and after which they will again.
        self._agreed, self._agreed_step, self._next_step = 0.0, 0, 1

    def on_train_begin(self, logs: Any = None) -> None:
        """Ask the model while it costs nothing: on JAX, to ask for it is to wait for its last step."""
        self._at_once = int(self.model.steps_per_execution)

    @property
    def first_epoch(self) -> int:
        """The epoch to begin with, counted from 0."""
        return 0 if self._found is None else len(self._found.state["history"])

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Set the order of the epoch; the first time, everything else, too."""
        found, self._found = self._found, None
        step = 0 if found is None else int(found.state["step"])
        if step >= self.order.num_batches and self.checkpoints is not None:
            with as_refusal(self.checkpoints.folder):
                raise ValueError(f"step {step} of {self.order.num_batches}")
        self.order.begin(epoch, step)
        self._last_step, self._before_end = step, None
        if found is not None and self.checkpoints is not None:
            with as_refusal(self.checkpoints.folder):
                course = self._put_back(found)
            self.watcher.go_on(course)
            self.checkpoints.found = None  # as large as the network, its slots and averages together
        if self.ranks is None:
            self._look(step, is_new=found is None)
        else:
            self._look_together(self.ranks, step, is_new=found is None)

    def end_steps(self, step: int) -> None:
        """Look, after a step of the epoch under way, whether a checkpoint is due; stop where that was asked for."""
        if self.checkpoints is not None:
            self.checkpoints.count(step - self._last_step)
        self._last_step = step
        if self.ranks is not None:
            if self._next_step <= step < self.order.num_batches:
                self._look_together(self.ranks, step, is_new=True)
        elif step < self.order.num_batches:
            self._look(step, is_new=True)
        else:
            self.stop_before_end()

    def stop_before_end(self) -> None:
        """Stop where that was asked for, with the last position that can be gone on from."""
        if is_interrupted() and self._before_end is not None and self.checkpoints is not None:
            self.checkpoints.write_now(self._before_end)
            self._before_end = None
        raise_if_interrupted()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """While it is open, checkpoints may be under way; what was begun is whole at its end."""
        try:
            with warnings.catch_warnings():
                # Keras counts on to the length of a whole epoch, and one that is gone on with has no more to give.
                warnings.filterwarnings("ignore", "Your input ran out of data", UserWarning)
                yield
        except KeyboardInterrupt:
            # Whoever stops waits for the one that was made for it, and for no other.
            raise
        except BaseException:
            self._close()
            raise
        self._close()

    def _close(self) -> None:
        if self.checkpoints is not None:
            self.checkpoints.close()

    def finish(self, result: dict[str, Any], network: keras.Model) -> None:
        """Keep what came of the fit, so that only what follows has to be done again."""
        if self.ranks is not None:
            self.ranks.check_equal(_numbered_part("model", network.get_weights()), "At the end")
            if not self.ranks.is_first:
                return
        if self.checkpoints is not None and self.checkpoints.is_worth_its_end:
            state = {"is_finished": True, "epochs": self.epochs, "history": result.pop("history"), "result": result}
            self.checkpoints.write_now(Checkpoint({**state, "step": 0}, _numbered_part("model", network.get_weights())))

    def _look(self, step: int, *, is_new: bool) -> None:
        has_begun = step > 0 or bool(self.watcher.course(0).history)
        if self.checkpoints is None or not has_begun:
            # Before its first step an optimizer has no variables, and there is nothing to go on from.
            raise_if_interrupted()
            return
        is_due = is_new and self.checkpoints.is_due
        is_last = step + self._at_once >= self.order.num_batches and self._may_hold()
        if is_due or is_last or is_interrupted():
            started = time.monotonic()
            now = self._copy(step)
            self._copied, self._copy_seconds = time.monotonic(), time.monotonic() - started
            self._before_end = now if is_last else self._before_end
            if is_interrupted():
                self.checkpoints.write_now(now)
            elif is_due:
                self.checkpoints.write(now, seconds=self._copy_seconds)
        raise_if_interrupted()

    def _look_together(self, ranks: Ranks, step: int, *, is_new: bool) -> None:
        """Have all processes do what the first decides: keep this step or not, stop or not, when to look again.

        At the beginning of an epoch, and where something is kept, all of them have to have the same weights.
        """
        has_begun = step > 0 or bool(self.watcher.course(0).history)
        is_asked_to_stop = has_begun and ranks.line.is_asked_to_stop.is_set()
        is_due = is_new and has_begun and self.checkpoints is not None and self.checkpoints.is_due
        is_kept, is_end, ahead = ranks.agreed(is_due or is_asked_to_stop, is_asked_to_stop, self._steps_ahead(step))
        self._next_step = step + ahead
        if has_begun:
            ranks.line.may_lose.set()
        if step > 0 and not is_kept and is_new:
            return
        now = self._copy(step)
        parts = {name: array for name, array in now.arrays.items() if name.startswith(_SAME_IN_ALL)}
        epoch = len(now.state["history"]) + 1
        ranks.check_equal(parts, f"After step {step} of epoch {epoch}" if step else f"Before epoch {epoch}")
        if self.checkpoints is not None and ranks.is_first and is_kept:
            put = self.checkpoints.write_now if is_end else self.checkpoints.write
            put(now)
        if is_end:
            raise AskedToStop

    def _steps_ahead(self, step: int) -> int:
        """After how many steps the first process wants to look again, by how long those since the last time took."""
        now, steps = time.monotonic(), step - self._agreed_step
        seconds, self._agreed, self._agreed_step = now - self._agreed, now, step
        # Of an epoch that begins, the time since is that of judging, too.
        ahead = steps * SECONDS_BETWEEN_AGREEMENTS / max(seconds, 1e-9) if steps > 0 else 1.0
        left = 1 if self.checkpoints is None else self.checkpoints.steps_left
        return int(max(1, min(ahead, left, MOST_STEPS_BETWEEN_AGREEMENTS)))

    def _may_hold(self) -> bool:
        """Whether a copy costs little beside the time since the last: of a large network in short epochs it may not."""
        is_asked = self.checkpoints is not None and self.checkpoints.is_asked
        return is_asked or time.monotonic() - self._copied >= self._copy_seconds / COST_SHARE

    def _copy(self, step: int) -> Checkpoint:
        course = self.watcher.course(step)
        arrays, generators = _generators()
        # On JAX `fit` holds the variables, and writes them back where somebody asks for the model.
        for name, variables in _parts_of(self.model).items():
            arrays |= _numbered_part(name, (keras.ops.convert_to_numpy(variable) for variable in variables))
        arrays |= _numbered_part("good", course.good or ())
        stopping = [
            {"best": None if each.best is None else float(each.best)}
            | {name: int(getattr(each, name)) for name in COUNTED}
            for each in self.stopping
        ]
        for each in self.stopping:
            arrays |= _numbered_part("best", each.best_weights or ())
        state = {
            "is_finished": False,
            "epochs": self.epochs,
            "step": step,
            "history": list(course.history),
            "seconds": course.seconds,
            "stopping": stopping,
            "generators": generators,
        }
        return Checkpoint(state, arrays)

    def _put_back(self, found: Checkpoint) -> Course:
        # Keras would build it at its first step, which is too late to put anything into it.
        self.model.optimizer.build(self.model.trainable_variables)
        for name, variables in _parts_of(self.model).items():
            kept = found.part(name)
            if [array.shape for array in kept] != [tuple(variable.shape) for variable in variables]:
                raise InvalidValue(
                    f"{self.checkpoints and self.checkpoints.folder}: the checkpoints are of another network than the "
                    "recipe makes here. Delete this folder to begin anew."
                )
            for variable, array in zip(variables, kept, strict=True):
                variable.assign(array)
        for each, state in zip(self.stopping, found.state["stopping"], strict=True):
            for name, value in state.items():
                setattr(each, name, value)
            each.best_weights = found.part("best") or None
        _set_generators(found.arrays, found.state["generators"])
        state = found.state
        return Course(tuple(state["history"]), state["step"], state["seconds"], found.part("good") or None)


# Of the arrays of a checkpoint, those that are the same in all processes of one fit; generators of Python are not.
_SAME_IN_ALL = ("model-", "optimizer-", "metrics-")


def _parts_of(model: keras.Model) -> dict[str, list[Any]]:
    """All variables of a fit by what they are of; layers' seed generators are among the model's."""
    return {
        "model": list(model.variables),
        "optimizer": list(model.optimizer.variables),
        "metrics": list(model.metrics_variables),
    }


def _numbered_part(name: str, arrays: Iterable[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    # A copy: TensorFlow hands out what its variables lie in.
    return {f"{name}-{index:05d}": np.array(array) for index, array in enumerate(arrays)}


def _generators() -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The generators of Python, NumPy and PyTorch: arrays, and the plain values beside them."""
    version, words, next_gauss = random.getstate()
    name, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002  # others may draw from it
    arrays = {"random-python": np.array(words, np.uint32), "random-numpy": np.array(keys)}
    if keras.config.backend() == "torch":
        import torch

        arrays["random-torch"] = torch.get_rng_state().numpy()
    plain = {"python": [version, next_gauss], "numpy": [name, int(position), int(has_gauss), float(gauss)]}
    return arrays, plain


def _set_generators(arrays: dict[str, NDArray[Any]], plain: dict[str, Any]) -> None:
    version, next_gauss = plain["python"]
    random.setstate((version, tuple(arrays["random-python"].tolist()), next_gauss))
    name, position, has_gauss, gauss = plain["numpy"]
    np.random.set_state((name, arrays["random-numpy"], position, has_gauss, gauss))  # noqa: NPY002  # as above
    if keras.config.backend() == "torch":
        import torch

        torch.set_rng_state(torch.from_numpy(arrays["random-torch"]))
