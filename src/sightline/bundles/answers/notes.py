"""What is known of answers that are written: how many of which kind, and what a stopped command had noted of them."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.bundles.answers.rows import named_in
from sightline.system.stored import open_plain
from sightline.system.text import printable

_TALLIES = ("classes", "flags")
# Of a file that there is none of, in place of its size and time.
_NONE = -1
# A line of the note tells of one portion of images.
_MOST_LINE_BYTES = 2**24


@dataclass
class Tally:
    """How many answers there are of which kind.

    Attributes:
        classes: class name to answers that name it; where an image may have several labels, one answer counts for each.
        flags: "unsure" and "novel" to answers that are; "unreadable" to rows with an error.
    """

    classes: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> Tally:
        """Of some rows, as `answer_rows` makes them."""
        flags = Counter(name for row in rows for name in ("unsure", "novel") if row.get(name))
        flags.update("unreadable" for row in rows if row["error"] is not None)
        return cls(Counter(name for row in rows if row["error"] is None for name in named_in(row)), flags)

    def add(self, other: Tally) -> None:
        """Count those of another, too."""
        self.classes.update(other.classes)
        self.flags.update(other.flags)


@dataclass
class KeptAnswers:
    """What a stopped command had written and noted.

    Attributes:
        asked: what it was asked.
        num_rows: whole rows in the table.
        num_bytes: of the table, that they take.
        names: SHA-256 of their names, as `AnswerTable` makes it.
        files: size and time of each, -1 and -1 where there was none, one behind the other.
        tally: of them.
        asked_for: what they have that not every answer has.
        note_bytes: of the note, up to where it tells of the last of them.
    """

    asked: Mapping[str, Any]
    num_rows: int = 0
    num_bytes: int = 0
    names: str = ""
    files: array[int] = field(default_factory=lambda: array("q"))
    tally: Tally = field(default_factory=Tally)
    asked_for: tuple[str, ...] = ()
    note_bytes: int = 0

    def stamp(self, row: int) -> list[int] | None:
        """Size and time of the file of a row when it was answered."""
        size, time = self.files[2 * row : 2 * row + 2]
        return None if size == _NONE else [size, time]


def read_note(note: Path, num_bytes: int) -> KeptAnswers | None:
    """What a note tells of a table of so many bytes, up to its last whole line; None where it is no note of ours."""
    lines = _lines(note)
    asked, end = next(lines, (None, 0))
    if not isinstance(asked, dict):
        return None
    found, files = KeptAnswers(asked, note_bytes=end), array("q")
    for line, end in lines:
        try:
            rows, size, names = line["rows"], line["bytes"], line["names"]
            files.extend(_NONE if part is None else int(part[at]) for part in line["files"] for at in (0, 1))
            asked_for = tuple(map(str, line["asked_for"]))
            tally = Tally(*(Counter({str(k): int(v) for k, v in line["tally"][of].items()}) for of in _TALLIES))
        except (TypeError, KeyError, ValueError, IndexError, OverflowError, AttributeError):
            break
        is_whole = type(rows) is int and type(size) is int and len(files) == 2 * rows
        if not (is_whole and found.num_bytes <= size <= num_bytes):
            break  # the note was on the disk before the table was
        found.num_rows, found.num_bytes, found.names = rows, size, str(names)
        found.tally.add(tally)
        found.asked_for, found.note_bytes = asked_for, end
    found.files = files[: 2 * found.num_rows]
    return found


def _lines(note: Path) -> Iterator[tuple[Any, int]]:
    """Each whole line, up to the first that is none, and where it ends."""
    end = 0
    with open_plain(note) as stream:
        while (line := stream.readline(_MOST_LINE_BYTES)).endswith(b"\n"):
            end += len(line)
            try:
                yield json.loads(line), end
            except (ValueError, RecursionError):
                return


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """In words, with what was asked as JSON has it."""
    now = json.loads(json.dumps(now))
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return "; ".join(
        f"{printable(name)} was {_short(before.get(name))} and is {_short(now.get(name))}" for name in names
    )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return printable(text if len(text) <= 200 else f"{text[:200]}...")


def file_stamp(path: str | Path) -> list[int] | None:
    """Size and time of last change, in ns, of a file; None where there is none."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return [found.st_size, found.st_mtime_ns]
