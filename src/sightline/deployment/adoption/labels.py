"""Class names that came with a network, in the order of its answers: from text, JSON or a table."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sightline.bundles.checks import LONGEST_NAME, MOST_BYTES, MOST_CLASSES
from sightline.errors import InvalidValue
from sightline.system.stored import parse_json, read_plain
from sightline.system.text import printable

# What the column of numbers may be called.
_NUMBER_HEADS = {"index", "id", "number", "no", "idx", "class_id", "label_id"}
_NUMBERED = re.compile(r"(\d{1,6})[ \t]+(\S.*)")
_REMEDY = "A line is a name, or its number and its name (`0 cat`); JSON is a list of names"


def read_labels(labels: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Class names in the order of a network's answers; an InvalidValue where they are none, or come twice.

    Args:
        labels: the names; or a file: a name a line, or `0 name` as Teachable Machine writes them; `.json` with a list,
            or an object of number to name or name to number; `.csv` with a column, or one of numbers beside it.
    """
    if isinstance(labels, str | Path):
        names = _read(Path(labels))
        where = f"{printable(str(labels))}: "
    else:
        names, where = list(labels), "labels: "
    return _checked(names, where)


def _read(path: Path) -> list[Any]:
    try:
        text = read_plain(path, most_bytes=MOST_BYTES["labels.json"]).decode("utf-8-sig")
        if path.suffix.lower() == ".json":
            return _of_json(parse_json(text))
        return _of_table(text) if path.suffix.lower() == ".csv" else _of_lines(text)
    except OSError as error:
        raise InvalidValue(f"{path}: cannot be read ({error.strerror}). Name the file of class names.") from error
    except ValueError as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error
        raise InvalidValue(f"{printable(str(path))}: no class names ({reason}). {_REMEDY}.") from error


def _of_lines(text: str) -> list[Any]:
    lines = [line.strip() for line in text.strip().splitlines()]
    found = [_NUMBERED.fullmatch(line) for line in lines]
    numbers = [int(match[1]) for match in found if match]
    if all(found) and sorted(numbers) == list(range(len(lines))):
        return _by_number([(match[1], match[2]) for match in found if match])
    if all(found) and sorted(numbers) == list(range(1, len(lines) + 1)):
        raise ValueError(f"classes are numbered from 1 to {len(lines)}, and answers are counted from 0")
    if any(re.match(r"\d+\s*[:,\t]|.*\t\s*\d+$", line) for line in lines):
        raise ValueError("numbers stand beside names in another way than `0 name`; name the file .csv or .json")
    if "" in lines:
        raise ValueError(f"line {lines.index('') + 1} is blank")
    # Teachable Machine gives a class without a name a number and a blank.
    if len(lines) > 1 and [line.partition(" ")[0] for line in lines] == [str(number) for number in range(len(lines))]:
        if all(line.isdigit() for line in lines):
            return lines  # digits by their names
        raise ValueError("a number stands without a name")
    return lines


def _of_json(content: Any) -> list[Any]:
    if isinstance(content, dict) and content and all(type(value) is int for value in content.values()):
        content = {str(number): name for name, number in content.items()}
    if isinstance(content, dict):
        return _by_number([(str(number), name) for number, name in content.items()])
    if not isinstance(content, list):
        raise ValueError("neither a list nor an object")
    return content


def _of_table(text: str) -> list[Any]:
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text.strip()))]
    if any(len(row) != len(rows[0]) for row in rows) or not 1 <= len(rows[0]) <= 2:
        raise ValueError("it needs one column of names, or one of numbers beside it")
    if len(rows[0]) == 1:
        return [row[0] for row in (rows[1:] if rows[0][0].lower() in ("name", "label", "class") else rows)]
    heads = [cell.lower() for cell in rows[0]] if not any(cell.isdigit() for cell in rows[0]) else []
    rows = rows[1:] if heads else rows
    is_first, is_second = (all(row[at].isdigit() for row in rows) for at in (0, 1))
    if is_first and is_second:
        # Names are digits themselves.
        numbered = [head in _NUMBER_HEADS for head in heads]
        if numbered.count(True) != 1:
            raise ValueError("both columns hold numbers; call that of the numbers `index` in a first line")
        is_first = numbered[0]
    return _by_number([(row[0], row[1]) if is_first else (row[1], row[0]) for row in rows])


def _by_number(pairs: Sequence[tuple[str, Any]]) -> list[Any]:
    names = {int(number): name for number, name in pairs if number.isdigit()}
    if sorted(names) != list(range(len(pairs))):
        raise ValueError(f"classes are not numbered from 0 to {len(pairs) - 1}")
    return [names[number] for number in range(len(pairs))]


def _checked(names: list[Any], where: str) -> tuple[str, ...]:
    if not 2 <= len(names) <= MOST_CLASSES:
        raise InvalidValue(f"{where}2 to {MOST_CLASSES:,} class names are needed; got {len(names)}. {_REMEDY}.")
    seen: dict[str, int] = {}
    for number, name in enumerate(names):
        shown = f"{where}class {number}"
        if not isinstance(name, str):
            raise InvalidValue(f"{shown} must be text; got {name!r:.40}. {_REMEDY}.")
        if not len(name.strip()) >= 1 or len(name) > LONGEST_NAME or any("\ud800" <= one <= "\udfff" for one in name):
            raise InvalidValue(f"{shown} has no name, or none that can be used. {_REMEDY}.")
        if name in seen:
            raise InvalidValue(f"{shown} is called '{printable(name)}', as class {seen[name]} is. Give each its own.")
        seen[name] = number
    return tuple(names)
