"""What lines of a table name: files that are there, each once, with what all lines say of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sightline.system.text import listed, printable

Look = Callable[[str], tuple[str, Any]]
"""From a path in a table to how it is written where it lies, and its status as `os.stat` gives it, or None."""

# What a line says of its image: one class, labels in a cell, which several lines of one file may share out, or a
# column of 0 and 1 for each.
Form = Literal["class", "parted", "flags"]


@dataclass(frozen=True)
class Line:
    """One line that says what it must; `name` is where it stands, "line 2", and ends in a number."""

    name: str
    path: str
    labels: tuple[str, ...]
    split: str
    group: str
    weight: float

    @property
    def label(self) -> str:
        """All labels in a text."""
        return "; ".join(self.labels)


@dataclass(frozen=True)
class Found:
    """One line and the file that it names."""

    line: Line
    path: str
    status: os.stat_result


def existing_files(
    look: Look, lines: list[Line], left_out: list[tuple[str, str]]
) -> tuple[list[Found], tuple[str, ...]]:
    """Lines of files that are there, and the paths that lead to none."""
    looked: dict[str, tuple[str, os.stat_result | None]] = {}
    found, missing = [], []
    for line in lines:
        is_new = line.path not in looked
        path, status = looked.setdefault(line.path, look(line.path) if is_new else ("", None))
        if status is not None and stat.S_ISREG(status.st_mode):
            found.append(Found(line, path, status))
        elif is_new:
            missing.append(line.path)
            reason = "there is no such file" if status is None else "is a folder or a device, not an image file"
            left_out.append((printable(line.path), f"{reason} ({line.name})"))
    return found, tuple(missing)


def agreeing_files(
    found: list[Found], names: dict[tuple[str, str], str], left_out: list[tuple[str, str]], entry: str, *, joins: bool
) -> tuple[list[Found], int]:
    """Each file once, and how many lines only repeat; files with different labels or splits not at all.

    Where lines of one file are joined, it has the labels of all of them.
    """
    by_file: dict[object, list[Found]] = {}
    for one in found:
        # One file goes by many names: links, "a/../1.png", another case where the disk does not tell it apart.
        by_file.setdefault((one.status.st_dev, one.status.st_ino or one.path), []).append(one)
    kept = []
    repeated = 0
    for same in by_file.values():
        told = {tuple(sorted(names[one.line.split, label] for label in one.line.labels)) for one in same}
        labels = sorted("; ".join(each) or "none" for each in told)
        splits = sorted({one.line.split or "no split" for one in same})
        what, which = ("labels", labels) if len(labels) > 1 and not joins else ("splits", splits)
        if len(which) > 1:
            numbers = list(dict.fromkeys(one.line.name.split()[-1] for one in same))
            entries = entry if len(numbers) == 1 else f"{entry}s"
            spelled = dict.fromkeys(printable(one.line.path) for one in same)
            reason = f"has different {what}: {listed(which, most=5)} ({entries} {listed(numbers, most=5)})"
            left_out += [(path, reason) for path in spelled]
            continue
        every = tuple(dict.fromkeys(label for one in same for label in one.line.labels))
        kept.append(replace(same[0], line=replace(same[0].line, labels=every)) if joins else same[0])
        repeated += 0 if joins and len(labels) > 1 else len(same) - 1
    return kept, repeated


def look_up(folder: Path | str, path: str) -> tuple[str, os.stat_result | None]:
    """A path as it leads to something below a folder, and what that is; None where nothing is there."""
    # Tables written on Windows have backslashes, which are letters elsewhere.
    for written in dict.fromkeys((path, path.replace("\\", "/"))):
        try:
            return written, os.stat(os.path.join(folder, written))  # noqa: PTH116, PTH118  # 100,000 of them
        except (OSError, ValueError):  # ValueError: a zero byte
            continue
    return path, None
