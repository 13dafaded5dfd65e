"""A trial of a search: an ordinary run that stops when its network has learned, judged on validation rows alone."""

from __future__ import annotations

import dataclasses
import math
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from sightline.configuration.consistency import is_pretrained
from sightline.configuration.schema import Recipe
from sightline.data.splitting.splits import splits_csv
from sightline.errors import CannotWrite, InvalidSource, InvalidValue, MissingPackage, OutputExists, SightlineError
from sightline.system.backends import load_keras, usual_keras, without_retracing_notes
from sightline.system.files import write_json
from sightline.system.progress import reporting
from sightline.system.stored import read_json, read_plain
from sightline.tasks.task import Task
from sightline.training.search.study import Race
from sightline.training.setup.preparation import Prepared
from sightline.training.setup.run_folder import GoingOn
from sightline.training.setup.unfinished import FINISHED, KeptRequest, remove_checkpoints
from sightline.training.train import TrainingRequest, run_training

State = Literal["finished", "pruned", "stopped", "failed"]
TRIALS = "trials"
# Another trial would meet them, too.
_OF_ALL = (CannotWrite, InvalidSource, MissingPackage, OutputExists)
# The first epoch is compiled, too: those after it take less.
_SHARE_OF_FIRST = 0.5


@dataclass(frozen=True, eq=False)
class TrialJob:
    """All that is needed to run any trial anywhere: it can be pickled.

    Attributes:
        source: whatever `sightline.load` takes.
        folder: of the search, which every process reaches by this path.
        backend: of Keras.
        pruner: one of `PRUNERS`.
        epochs: that the first trial learned for; None while it is under way.
        deadline: when trials should be over, in seconds of `time.time`, or None.
    """

    source: Any
    folder: Path
    backend: str
    pruner: str
    epochs: int | None = None
    deadline: float | None = None

    def run_of(self, number: int) -> Path:
        """The folder of the run that a trial is."""
        return self.folder / TRIALS / f"{number:03d}"

    def outcome_of(self, number: int) -> Path:
        """The file that says what became of a trial; it is there when the trial has ended."""
        return self.folder / TRIALS / f"{number:03d}.json"


@dataclass(frozen=True, eq=False)
class AskedTrial:
    """What a trial is: its number, its recipe, and of each trial told of before it `number`, `course` and `rungs`."""

    number: int
    recipe: Recipe
    earlier: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a trial.

    Attributes:
        number: from 0, the recipe as it was asked for.
        state: "finished"; "pruned", given up since others did better; "stopped", for want of time; "failed".
        reason: of what is not finished, in a sentence.
        cross_entropy: of the validation rows, in nats, at the temperature that suits them best; None if not finished.
        accuracy: of the validation rows; None if not finished.
        num_validation: validation rows.
        course: share of wrong answers to validation rows after each epoch.
        rungs: what it leaves for the pruning of others.
        epochs: passes over the train rows.
        epochs_at_most: those after which it may be given up, were it another trial.
        seconds: on the clock, of the last process that was at it.
        core_seconds: of all processors, of the same process.
        is_fatal: other trials would end the same way.
        trace: of a bug.
    """

    number: int
    state: State
    reason: str = ""
    cross_entropy: float | None = None
    accuracy: float | None = None
    num_validation: int = 0
    course: tuple[float, ...] = ()
    rungs: Mapping[str, float] = dataclasses.field(default_factory=dict)
    epochs: int = 0
    epochs_at_most: int = 0
    seconds: float = 0.0
    core_seconds: float = 0.0
    is_fatal: bool = False
    trace: str = ""


class _EndedError(Exception):
    """A trial is over, for this reason."""

    def __init__(self, state: State, reason: str = "") -> None:
        super().__init__(reason)
        self.state, self.reason = state, reason


class _Onlooker:
    """Looks on while a trial learns: ends it where others did better or time is up, and judges what it learned."""

    def __init__(self, job: TrialJob, asked: AskedTrial) -> None:
        self.job, self.asked = job, asked
        self.course: list[float] = []
        self.figures: dict[str, Any] = {}
        self.epochs = self.epochs_at_most = 0
        # The recipe as it was asked for is what all others are held against: it learns to its end.
        self.race = None
        if asked.number and job.epochs:
            self.race = Race(job.pruner, epochs=job.epochs, number=asked.number, earlier=asked.earlier)

    def prepared(self, data: Prepared) -> None:
        if not len(data.splits.validation):
            raise InvalidValue(
                "a search chooses by validation rows, and there are none. Set data.validation_fraction above 0."
            )
        if not len(data.splits.test):
            raise InvalidValue(
                "a search tells what its choice is worth by test rows that chose nothing, and there are none. Set "
                "data.test_fraction above 0, or name a source with test images."
            )
        first = self.job.run_of(0) / "splits.csv"
        if self.asked.number and read_plain(first).decode("utf-8") != splits_csv(data.dataset, data.splits):
            raise InvalidValue("it would learn from or be judged by other images than the first trial.")

    def step(self) -> None:
        if self.job.deadline is not None and time.time() > self.job.deadline:
            raise _EndedError("stopped", "the time budget was spent")

    def epoch(self, row: Mapping[str, float], *, left: int) -> None:
        self.course.append(1 - float(row["validation_accuracy"]))
        self.epochs_at_most = len(self.course) + left
        is_lost = self._is_lost(left)
        if not left:
            return
        if is_lost:
            raise _EndedError("pruned", f"others did better after {len(self.course)} of {self.epochs_at_most} epochs")
        needed = left * float(row["seconds"]) * (_SHARE_OF_FIRST if len(self.course) == 1 else 1.0)
        if self.job.deadline is not None and time.time() + needed > self.job.deadline:
            raise _EndedError("stopped", "it would not have ended within the time budget")

    def _is_lost(self, left: int) -> bool:
        if self.race is not None:
            return self.race.is_lost(len(self.course), self.course[-1]) and left > 0
        return False

    def learned(self, network: Any, data: Prepared, fitted: Any) -> NoReturn:
        from sightline.training.ensembles.graph import answers_of

        rows = data.splits.validation
        answers, labels = answers_of(network, data.pixels.take(rows)), data.dataset.labels[rows]
        self.figures = validation_figures(data.dataset.task, answers, labels)
        self.epochs = len(fitted.history)
        if not self.course:  # of a fit that was over when its process was killed
            rows_of_fit = fitted.history[1:] if is_pretrained(data.recipe) else fitted.history
            for row in rows_of_fit:
                self.course.append(1 - float(row["validation_accuracy"]))
                self._is_lost(0)
        if not math.isfinite(self.figures["cross_entropy"]):
            raise _EndedError("failed", "its answers are no finite numbers")
        raise _EndedError("finished")


def validation_figures(task: Task, answers: NDArray[np.float32], labels: NDArray[Any]) -> dict[str, Any]:
    """What a search chooses by: `cross_entropy` at the best temperature, in nats; and `accuracy`, `num_validation`.

    A recipe is not preferred for how sure of itself its network is, which calibration sets anew.
    """
    accuracy, num_images = float(task.is_right(answers, labels).mean()), len(labels)
    if not np.isfinite(answers).all():
        return {"cross_entropy": math.nan, "accuracy": accuracy, "num_validation": num_images}
    temperature = task.fit_temperature(answers, labels)
    surprises = task.surprises(answers, labels, temperature=temperature)
    return {"cross_entropy": float(surprises.mean()), "accuracy": accuracy, "num_validation": num_images}


def run_trial(job: TrialJob, asked: AskedTrial) -> Outcome:
    """Run a trial, or what is left of it, and keep what became of it; what goes wrong with it is told, not raised."""
    kept = read_outcome(job, asked.number)
    if kept is not None:
        return kept
    started, processors = time.perf_counter(), time.process_time()
    state, reason, trace, is_fatal = _carried_out(job, asked, look := _Onlooker(job, asked))
    outcome = Outcome(
        asked.number,
        state,
        reason,
        **(look.figures if state == "finished" else {}),
        course=tuple(look.course),
        rungs={} if look.race is None else look.race.rungs(),
        epochs=look.epochs or len(look.course),
        epochs_at_most=look.epochs_at_most or len(look.course),
        seconds=round(time.perf_counter() - started, 3),
        core_seconds=round(time.process_time() - processors, 3),
        is_fatal=is_fatal,
        trace=trace,
    )
    if state != "finished" and asked.number:
        remove_checkpoints(job.run_of(asked.number))  # nobody goes on with it
    if not is_fatal and (state != "stopped" or asked.number):
        write_json(job.outcome_of(asked.number), dataclasses.asdict(outcome))
    return outcome


def _carried_out(job: TrialJob, asked: AskedTrial, look: _Onlooker) -> tuple[State, str, str, bool]:
    try:
        with reporting("quiet"):
            _train(job, asked, look)
    except _EndedError as ended:
        return ended.state, ended.reason, "", False
    except _OF_ALL as error:
        return "failed", str(error), "", True
    except SightlineError as error:
        return "failed", str(error), "", asked.number == 0
    except Exception as error:  # noqa: BLE001  # whatever it is, it is told, and the other trials go on
        return "failed", f"{type(error).__name__}: {error}", traceback.format_exc(), asked.number == 0
    raise AssertionError("a trial ended without a word")


def finish_trial(job: TrialJob, asked: AskedTrial) -> float:
    """Bundle the network of a finished trial and judge it on the test rows: from here on its run is an ordinary one.

    Returns the seconds of all processors that this took.
    """
    processors = time.process_time()
    if not (job.run_of(asked.number) / FINISHED).exists():
        with reporting("quiet"):
            _train(job, asked, None)
    return time.process_time() - processors


def _train(job: TrialJob, asked: AskedTrial, look: _Onlooker | None) -> None:
    folder = job.run_of(asked.number)
    folder.parent.mkdir(parents=True, exist_ok=True)
    again = KeptRequest("train", asked.recipe.to_dict(), {"backend": job.backend})
    request = TrainingRequest(
        job.source,
        asked.recipe,
        folder,
        job.backend,
        going_on=GoingOn(must=look is None),
        again=again,
        onlooker=look,
    )
    keras = load_keras(job.backend)
    try:
        with usual_keras(), without_retracing_notes():
            run_training(request)
    finally:
        keras.utils.clear_session()


def read_outcome(job: TrialJob, number: int) -> Outcome | None:
    """What became of a trial that has ended; None of one that has not."""
    path = job.outcome_of(number)
    if not path.exists():
        return None
    try:
        content = read_json(path)
        outcome = Outcome(**{**content, "course": tuple(content["course"])})
        if outcome.number != number or not isinstance(outcome.rungs, Mapping):
            raise ValueError("it is of another trial")
        return outcome
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InvalidValue(f"{path}: cannot be read ({error}). Name another folder to search anew.") from error


def outcome_of_lost_process(asked: AskedTrial) -> Outcome:
    """What became of a trial whose process ended without a word."""
    reason = (
        "its process ended: from outside, for instance for want of memory, or since it could not begin. A script that "
        'runs several trials at once needs the usual `if __name__ == "__main__":`.'
    )
    return Outcome(asked.number, "failed", reason)
