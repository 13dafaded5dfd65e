"""What is written down in a set before a file of it is touched, so that each change can be taken back."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sightline.deployment.sorting.journal import Step, is_inside
from sightline.errors import CannotWrite, InvalidValue
from sightline.system.files import held, writing_to
from sightline.system.stored import parse_json, read_plain
from sightline.system.text import json_line, printable

FILE = ".sightline-changes.jsonl"
KINDS = ("label", "correct", "keep", "remove", "rename", "relabel")
# A change takes some 300 bytes.
_MOST_BYTES = 2**26
_WAIT_SECONDS = 10.0
# Of the pages of this studio; other studios are kept off by the lock of the folder.
_turn = threading.Lock()


@dataclass(frozen=True)
class Change:
    """One thing that somebody did to a set.

    Attributes:
        kind: one of `KINDS`.
        file: that it is about, by its path in the set as it was then; "" of a class that is renamed.
        given: the class before, "" for none.
        label: the class after, "" for none.
        steps: files that it moves, the picture first; both paths are in the set.
        folders: that it makes, outer ones first.
        number: by which it is called; 0 where it has none yet.
        source: of a "relabel" or "keep", the file in this folder, a table or an archive, whose row `file` is; else "".
    """

    kind: str
    file: str
    given: str
    label: str
    steps: tuple[Step, ...] = ()
    folders: tuple[str, ...] = ()
    number: int = 0
    source: str = ""


@contextlib.contextmanager
def alone(place: Path) -> Iterator[None]:
    """While it is open, nobody else changes the set: two pages may look at one. A CannotWrite after a long wait."""
    latest = time.monotonic() + _WAIT_SECONDS
    with _turn, contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(held(place))
                break
            except BlockingIOError as error:
                if time.monotonic() > latest:
                    raise CannotWrite("another page is changing this set. Try again in a moment.") from error
                time.sleep(0.02)
            except OSError as error:
                words = f"{printable(place.name)}: the folder is gone ({error.strerror}). Choose another one."
                raise InvalidValue(words) from error
        yield


def changes_of(place: Path) -> list[Change]:
    """All that were made and not taken back, in their order."""
    found: dict[int, Change] = {}
    for line in _lines(place):
        told = _read(line)
        if isinstance(told, Change):
            found[told.number] = told
        elif told is not None:
            found.pop(told, None)
    return list(found.values())


def last_change(place: Path) -> Change | None:
    """The one that is taken back next."""
    undone: set[int] = set()
    for line in reversed(_lines(place)):
        told = _read(line)
        if isinstance(told, Change) and told.number not in undone:
            return told
        if isinstance(told, int):
            undone.add(told)
    return None


def write_change(place: Path, change: Change) -> Change:
    """Write down one more, flushed to the disk before its first step; it is handed back with its number."""
    lines = reversed(_lines(place))
    last = next((told.number for line in lines if isinstance(told := _read(line), Change)), 0)
    numbered = replace(change, number=last + 1)
    _append(place, {**asdict(numbered), "at": round(time.time(), 3)})
    return numbered


def write_undone(place: Path, number: int) -> None:
    """Write down that one was taken back."""
    _append(place, {"undone": number})


def _lines(place: Path) -> list[str]:
    """Whole lines; what a power cut left behind the last one says that its change was never begun."""
    path = place / FILE
    if path.is_symlink():
        raise InvalidValue(f"{FILE} in {printable(place.name)} is a link, and none is followed there. Remove it.")
    try:
        return read_plain(path, most_bytes=_MOST_BYTES).decode("utf-8", "replace").split("\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        why = error.strerror or str(error)
        raise InvalidValue(f"{FILE} in {printable(place.name)} cannot be read ({why}). Move it away.") from error


def _read(line: str) -> Change | int | None:
    """A change, the number of one that was taken back, or None of a line that is neither: it may be a stranger's."""
    try:
        told = parse_json(line)
        if "undone" in told:
            return int(told["undone"])
        steps = tuple(_step(step) for step in told["steps"])
        kind, file, given, label = (str(told[name]) for name in ("kind", "file", "given", "label"))
        folders, source = tuple(map(str, told["folders"])), str(told.get("source", ""))
        change = Change(kind, file, given, label, steps, folders, int(told["number"]), source)
    except (ValueError, TypeError, KeyError, json.JSONDecodeError):
        return None
    names = (*change.folders, *(name for step in steps for name in (step.source, step.target)))
    names += (change.given, change.label) if change.kind == "rename" else ()
    names += (change.source,) if change.kind == "relabel" else ()
    is_sound = change.kind in KINDS and change.number > 0 and all(map(is_inside, names))
    return change if is_sound else None


def _step(told: Any) -> Step:
    return Step(str(told["source"]), str(told["target"]), int(told["num_bytes"]), int(told["time"]))


def _append(place: Path, content: Any) -> None:
    path = place / FILE
    data = json_line(content).encode("utf-8") + b"\n"
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with writing_to(path), os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0) as stream:
        size = stream.seek(0, os.SEEK_END)
        if size:
            stream.seek(size - 1)
            data = data if stream.read(1) == b"\n" else b"\n" + data
        try:
            while data:
                data = data[stream.write(data) or 0 :]
            os.fsync(stream.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                stream.truncate(size)  # half of it would be in the way of the next
            raise
