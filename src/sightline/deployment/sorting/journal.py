"""What is written down before a file is touched: all steps of a sorting, so that it can be gone on with and undone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from sightline.errors import InvalidSource
from sightline.system.files import write_atomically
from sightline.system.stored import read_plain
from sightline.system.text import json_line, printable

MARK = "sightline-sort"
WAYS = ("copy", "hardlink", "link", "move")
# Those that were set aside keep their number.
_NAME = re.compile(r"\.sightline-sort-(\d{3,6})(\.undone)?\.jsonl")
_UNDONE = ".undone"
# A step takes some 200 bytes.
_MOST_BYTES = 2**31
_NONE = (*(OSError, ValueError, TypeError, KeyError, IndexError, RecursionError, AttributeError, OverflowError),)


@dataclass(frozen=True)
class Step:
    """One file: where it lies, where it goes, and what it was when that was decided.

    Attributes:
        source: inside the folder that is sorted, "/" between its parts.
        target: inside the folder that is sorted into.
        num_bytes: of the file.
        time: of its last change, in ns.
    """

    source: str
    target: str
    num_bytes: int
    time: int


@dataclass(frozen=True)
class Told:
    """What a sorting says of its images.

    Attributes:
        counts: folder to images in it.
        num_unreadable: of the images, those that cannot be read.
        left: (file, reason) of what stays where it is.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    num_unreadable: int = 0
    left: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Journal:
    """All that a sorting does.

    Attributes:
        path: of the file that says so, in the folder that is sorted into.
        source: the folder that is sorted.
        into: the folder that is sorted into.
        by: one of `WAYS`.
        asked: what else was asked, by which it is known whether the same command goes on.
        folders: that it makes, outer ones first, inside `into`.
        steps: in their order.
        is_finished: whether all of them were gone through.
        is_new: whether the folder that is sorted into was made for it.
        told: what is said of it at its end.
    """

    path: Path
    source: Path
    into: Path
    by: str
    asked: Mapping[str, Any]
    folders: Sequence[str]
    steps: Sequence[Step]
    is_finished: bool = False
    is_new: bool = False
    told: Told = field(default_factory=Told)


def journals_in(into: Path) -> list[Path]:
    """Those of a folder that can be taken back, the oldest first."""
    return [path for _, path in sorted(_numbered(into)) if _UNDONE not in path.name]


def next_journal(into: Path) -> Path:
    """The path of one more."""
    number = max((number for number, _ in _numbered(into)), default=0) + 1
    return into / f".sightline-sort-{number:03d}.jsonl"


def _numbered(into: Path) -> list[tuple[int, Path]]:
    try:
        return [(int(match[1]), path) for path in into.iterdir() if (match := _NAME.fullmatch(path.name))]
    except OSError:
        return []


def write_journal(journal: Journal) -> None:
    """Write it whole, and flush it to the disk, before the first of its steps."""
    head = {
        "made_by": MARK,
        "source": str(journal.source),
        "into": str(journal.into),
        "by": journal.by,
        "asked": dict(journal.asked),
        "is_new": journal.is_new,
        "told": asdict(journal.told),
        "folders": list(journal.folders),
    }
    told = [head, *map(_plain, journal.steps), {"steps": len(journal.steps)}]
    write_atomically(journal.path, "".join(f"{json_line(line)}\n" for line in told))


def mark_finished(journal: Journal) -> None:
    """Add that all steps were gone through."""
    with journal.path.open("a", encoding="utf-8") as stream:
        stream.write(json_line({"finished": True}) + "\n")


def set_aside(journal: Journal) -> None:
    """Give the journal of what was taken back as far as it could be a name by which it is no longer looked for."""
    journal.path.replace(journal.path.with_suffix(f"{_UNDONE}.jsonl"))


def _plain(step: Step) -> dict[str, Any]:
    return {"from": step.source, "to": step.target, "bytes": step.num_bytes, "time": step.time}


def read_journal(path: Path) -> Journal:
    """Read one that may be a stranger's: what was cut off, moved, or leads out of its two folders is refused."""
    try:
        lines = read_plain(path, most_bytes=_MOST_BYTES).decode("utf-8").splitlines()
        head = json.loads(lines[0])
        is_ours = head["made_by"] == MARK and head["by"] in WAYS
        found = Journal(
            path,
            Path(head["source"]),
            Path(head["into"]),
            str(head["by"]),
            dict(head["asked"]),
            [str(folder) for folder in head["folders"]],
            list(_steps(lines[1:])),
            is_new=head["is_new"] is True,
            told=_told(head["told"]),
        )
    except _NONE as error:
        raise _refused(path, "cannot be read") from error
    if not (is_ours and found.source.is_absolute() and found.into.is_absolute()):
        raise _refused(path, "was not written by Sightline")
    if found.into != path.parent.resolve():
        raise _refused(
            path, f"was written for {printable(str(found.into))}, from which this folder was moved or copied"
        )
    names = (*found.folders, *(name for step in found.steps for name in (step.source, step.target)))
    outside = next((name for name in names if not is_inside(name)), None)
    if outside is not None:
        raise _refused(path, f"names {printable(outside)}, which lies outside of the folder")
    # What a person or a power cut left behind its steps says at most that they were gone through.
    behind = lines[len(found.steps) + 2 :]
    return replace(found, is_finished=any('"finished"' in line for line in behind))


def _told(content: Mapping[str, Any]) -> Told:
    counts = {str(folder): int(count) for folder, count in content["counts"].items()}
    return Told(counts, int(content["num_unreadable"]), [(str(name), str(why)) for name, why in content["left"]])


def _steps(lines: Sequence[str]) -> Iterator[Step]:
    for number, line in enumerate(lines):
        told = json.loads(line)
        if "steps" in told:
            if told["steps"] != number:
                raise ValueError(line)
            return
        yield Step(str(told["from"]), str(told["to"]), int(told["bytes"]), int(told["time"]))
    raise ValueError("it has no end")


def is_inside(name: str) -> bool:
    """Whether a path that a stranger may have written stays in the folder that it is put behind, links aside."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # half a letter, which no name of a file holds
        return False
    parts, has_drive = PurePosixPath(name).parts, os.name == "nt" and ":" in name
    return bool(parts) and not name.startswith("/") and ".." not in parts and "\0" not in name and not has_drive


def _refused(path: Path, why: str) -> InvalidSource:
    return InvalidSource(f"{path}: this journal {why}. Nothing was touched. Move it away if it is not yours.")
