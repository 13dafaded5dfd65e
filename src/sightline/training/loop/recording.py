"""What a training leaves an epoch: a line of its history, and its figures as TensorBoard reads them.

TensorBoard's own classes write the latter on every backend.
Keras' callback needs TensorFlow whatever the backend, and logs the learning rate of the step to come.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from sightline.errors import InvalidValue, require
from sightline.system.files import write_atomically, write_json, writing_to
from sightline.system.stored import read_json

if TYPE_CHECKING:  # the latter imports Keras, for which a refusal does not wait
    from sightline.training.loop.checkpoints import Checkpoints
    from sightline.training.loop.ranks import Ranks
    from sightline.training.setup.preparation import Prepared

# Any name with "tfevents" in it is read; one an epoch is appended to.
FILE_NAME = "events.out.tfevents.sightline"


def check_tensorboard(folder: Path) -> None:
    """Refuse before training what could not be logged."""
    # A link that leads nowhere is there, too: nothing can be made in its place.
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not there.is_dir():
        raise InvalidValue(f"--tensorboard {folder}: {there} is no folder. Name one; each run gets its own inside it.")
    _part("compat.proto.event_pb2")


def make_log_folder(parent: Path, name: str) -> Path:
    """A new folder for the figures of one run, counted up where its name is taken: first, first-2."""
    number, folder = 1, parent / name
    with writing_to(parent):
        parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                folder.mkdir()
            except FileExistsError:
                number += 1
                folder = parent / f"{name}-{number}"
            else:
                return folder


def log_folder(parent: Path, name: str, noted: Path) -> Path:
    """The folder that a fit which is gone on with began to write to, as a file notes it, or a new one.

    One that lies elsewhere than in `parent` is no folder of ours.
    """
    with contextlib.suppress(OSError, ValueError, TypeError):
        before = Path(read_json(noted))
        if before.parent == parent.absolute() and before.is_dir() and not before.is_symlink():
            return before
    made = make_log_folder(parent, name)
    noted.parent.mkdir(parents=True, exist_ok=True)
    write_json(noted, str(made.absolute()))
    return made


def append_scalars(folder: Path, row: Mapping[str, float]) -> None:
    """Log one epoch: training and validation side by side, so that one chart shows both."""
    prefix = "validation_"
    judged = {key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)}
    learned = {key: value for key, value in row.items() if key != "epoch" and not key.startswith(prefix)}
    for name, figures in (("train", learned), ("validation", judged)):
        if figures:
            _append(folder / name / FILE_NAME, int(row["epoch"]), figures)


def _append(path: Path, step: int, figures: Mapping[str, float]) -> None:
    events, summaries = _part("compat.proto.event_pb2"), _part("compat.proto.summary_pb2")
    values = [summaries.Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
    now = time.time()
    written = [events.Event(wall_time=now, step=step, summary=summaries.Summary(value=values))]
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            written.insert(0, events.Event(wall_time=now, file_version="brain.Event:2"))
        with path.open("ab") as stream:
            writer = _part("summary.writer.record_writer").RecordWriter(stream)
            for event in written:
                writer.write(event.SerializeToString())


def _part(name: str) -> ModuleType:
    return require(f"tensorboard.{name}", purpose="--tensorboard", install="sightline[tensorboard]")


class TellsEpochs(Protocol):
    """A tracker, or what stands for one in another process."""

    def log_epoch(self, row: Mapping[str, float]) -> None:
        """Tell of one."""


class Watch(Protocol):
    """Who looks on while a fit runs, and may end it by an exception of its own; checkpoints are whole then."""

    def step(self) -> None:
        """Some steps are done; called ten times a second at most."""

    def epoch(self, row: Mapping[str, float], *, left: int) -> None:
        """An epoch is done, with so many left; of a fit that is gone on with, those before are told again, in order."""


class Onlooker(Watch, Protocol):
    """Who has a network trained and ends the run before it is bundled and judged; it can be gone on with from there."""

    def prepared(self, data: Prepared) -> None:
        """The data that will be learned from, before there is a folder."""

    def learned(self, network: Any, data: Prepared, fitted: Any) -> NoReturn:
        """A network that is fitted, its end kept as a checkpoint; raises whatever the onlooker has to say of it."""


@dataclass(frozen=True)
class FitOutputs:
    """Where the course of a fit is written.

    Attributes:
        history_path: gets a JSON line an epoch, or None.
        log_every: print loss and accuracy every so many steps, or None.
        curves_path: a PNG that is drawn anew as epochs end, or None.
        deadline: when the run should be over, on the clock of `time.perf_counter`, or None.
        rescue_path: where a network goes whose loss stopped being a number, or None.
        tensorboard: a folder that gets the figures of each epoch for TensorBoard, or None.
        before: rows of the history that were there before this fit, which counts on from them.
        named: what an epoch is called.
        tracker: is told of each epoch, or None.
        checkpoints: what the fit goes on from, and where it leaves what another can go on from; or None.
        watch: who looks on and may end the fit, or None.
        ranks: the processes that fit together, where they are several; or None.
    """

    history_path: Path | None = None
    log_every: int | None = None
    curves_path: Path | None = None
    deadline: float | None = None
    rescue_path: Path | None = None
    tensorboard: Path | None = None
    tracker: TellsEpochs | None = None
    before: tuple[Mapping[str, float], ...] = ()
    named: str = "epoch"
    checkpoints: Checkpoints | None = None
    watch: Watch | None = None
    ranks: Ranks | None = None


def rewrite_history(outputs: FitOutputs, rows: Iterable[Mapping[str, float]]) -> None:
    """Put rows in place of a history that was written further than they go."""
    if outputs.history_path is not None:
        write_atomically(outputs.history_path, "".join(json.dumps(row) + "\n" for row in rows))


def record_epoch(outputs: FitOutputs, row: Mapping[str, float]) -> None:
    """Write one epoch wherever it is to be read."""
    if outputs.history_path is not None:
        with writing_to(outputs.history_path), outputs.history_path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
    if outputs.tensorboard is not None:
        append_scalars(outputs.tensorboard, row)
    if outputs.tracker is not None:
        outputs.tracker.log_epoch(row)
