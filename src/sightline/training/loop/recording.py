"""The figures of a run as TensorBoard reads them, written by TensorBoard's own classes on every backend.

Keras' callback needs TensorFlow whatever the backend, and logs the learning rate of the step to come.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from sightline.errors import InvalidValue, require
from sightline.system.files import writing_to

# Any name with "tfevents" in it is read; one an epoch is appended to.
FILE_NAME = "events.out.tfevents.sightline"


def check_tensorboard(folder: Path) -> None:
    """Refuse before training what could not be logged.

    Args:
        folder: where runs shall be logged.

    Returns:
        Nothing.

    Raises:
        MissingPackage: tensorboard is not installed.
        InvalidValue: `folder` is a file or would lie in one.

    Example:
        >>> check_tensorboard(Path("logs"))
    """
    # A link that leads nowhere is there, too: nothing can be made in its place.
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not there.is_dir():
        raise InvalidValue(f"--tensorboard {folder}: {there} is no folder. Name one; each run gets its own inside it.")
    _part("compat.proto.event_pb2")


def make_log_folder(parent: Path, name: str) -> Path:
    """A folder of its own for the figures of one run.

    Args:
        parent: what `tensorboard --logdir` is given.
        name: of the run; counted up where it is taken.

    Returns:
        An empty folder that now exists: parent/first, parent/first-2, ...

    Raises:
        CannotWrite: it cannot be made.

    Example:
        >>> import tempfile
        >>> parent = Path(tempfile.mkdtemp())
        >>> [make_log_folder(parent, "first").name for _ in range(2)]
        ['first', 'first-2']
    """
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


def append_scalars(folder: Path, row: Mapping[str, float]) -> None:
    """Log one epoch: training and validation side by side, so that one chart shows both.

    Args:
        folder: of the run; `train` and `validation` are made inside it.
        row: of the history: `epoch`, `loss`, `accuracy`, `learning_rate`, `seconds` and those of validation.

    Returns:
        Nothing.

    Raises:
        MissingPackage: tensorboard is not installed.
        CannotWrite: the disk is full or read-only.

    Example:
        >>> import inspect
        >>> list(inspect.signature(append_scalars).parameters)
        ['folder', 'row']
    """
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
