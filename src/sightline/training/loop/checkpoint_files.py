"""The files of a checkpoint: written whole or not at all, and read back with what nobody wrote refused."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import InvalidValue, SightlineError
from sightline.system.files import sha256_of, staged_folder, write_json
from sightline.system.stored import parse_json, read_arrays, read_json, read_plain
from sightline.system.text import printable

MANIFEST, STATE, ARRAYS = "manifest.json", "state.json", "arrays.npz"
FORMAT = 1
# Of early stopping, beside its best figure and weights.
COUNTED = ("best_epoch", "wait", "stopped_epoch")
_NUMBER = re.compile(r"\d{6}")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A fit between two of its steps.

    Attributes:
        state: plain values: where it is, its history, early stopping, generators.
        arrays: variables and the like, by part and position, such as "model-000".
    """

    state: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to fit."""
        return bool(self.state["is_finished"])

    def part(self, name: str) -> list[NDArray[Any]]:
        """The arrays of one part, in order."""
        return [self.arrays[key] for key in sorted(self.arrays) if key.startswith(f"{name}-")]


def write_checkpoint(place: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint whole or not at all; a CannotWrite where the disk does not take it."""
    with staged_folder(place) as staged:
        with (staged / ARRAYS).open("wb") as stream:
            np.savez(stream, **checkpoint.arrays)  # type: ignore[arg-type]  # NumPy takes its option for one of them
        # A figure of validation may be no number, which JSON has none for and Python's has.
        (staged / STATE).write_text(json.dumps(checkpoint.state), encoding="utf-8")
        hashes = {name: sha256_of(staged / name) for name in (STATE, ARRAYS)}
        write_json(staged / MANIFEST, {"format": FORMAT, "files": hashes})


def read_checkpoint(place: Path) -> Checkpoint:
    """Read a checkpoint back; an OSError or a ValueError where it is not what was written."""
    manifest = read_json(place / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or not isinstance(manifest["files"], dict):
        raise ValueError(f"{MANIFEST} is not what was written")
    for name in (STATE, ARRAYS):
        if sha256_of(place / name) != manifest["files"].get(name):
            raise ValueError(f"{name} is not what was written")
    state = parse_json(read_plain(place / STATE).decode("utf-8"), allow_nan=True)
    _check_state(state)
    # They are not packed: what says that it holds more than its file does is none of ours.
    return Checkpoint(state, read_arrays(place / ARRAYS, most_bytes=(place / ARRAYS).stat().st_size))


def _check_state(state: Any) -> None:
    """A KeyError, TypeError or ValueError where the plain values of a checkpoint are not what was written."""
    course = {"history": list, "epochs": int, "step": int, "is_finished": bool}
    rest = {"result": dict} if state["is_finished"] else {"seconds": float, "stopping": list, "generators": dict}
    for name, kind in (course | rest).items():
        if type(state[name]) is not kind:
            raise TypeError(f"{name} is no {kind.__name__}")
    history = state["history"]
    if not 0 <= len(history) < state["epochs"] + state["is_finished"] or state["step"] < 0:
        raise ValueError("it is of an epoch that there is not")
    for number, row in enumerate(history):
        is_next = type(row["epoch"]) is int and row["epoch"] == history[0]["epoch"] + number
        if not is_next or not all(type(value) in (int, float) for value in row.values()):
            raise ValueError(f"row {number} of its history is not what was written")
    for each in state.get("stopping", ()):
        if set(each) != {"best", *COUNTED}:
            raise ValueError("early stopping is not what was written")


@contextlib.contextmanager
def as_refusal(folder: Path) -> Iterator[None]:
    """Whatever goes wrong while a checkpoint is put back, it is none of this network, or of nobody's."""
    try:
        yield
    except SightlineError:
        raise
    except Exception as error:
        raise InvalidValue(
            f"{folder}: the checkpoints cannot be gone on with ({printable(str(error))[:200]}). Delete this folder to "
            "begin anew."
        ) from error


def numbered(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the oldest first; whether they are whole is not looked at."""
    if not folder.is_dir():
        return []
    return sorted(place for place in folder.iterdir() if _NUMBER.fullmatch(place.name) and place.is_dir())
