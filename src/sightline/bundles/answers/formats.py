"""How rows of answers stand in a file: CSV for spreadsheets, JSON Lines for programs, Parquet for many."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sightline.errors import InvalidValue, require
from sightline.system.text import csv_line, json_line, without_nan
from sightline.tasks.task import Task

_ROW_GROUP = 10_000


@dataclass(frozen=True)
class Columns:
    """What a row has beside path, notice, error and what was asked for of its answer.

    Attributes:
        most_classes: how many classes it names.
        class_names: whose probabilities it tells, all of them; none where nobody asked.
    """

    most_classes: int
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableFormat:
    """One format of a table of answers.

    Attributes:
        head: columns, task and what was asked for to the text that the file begins with.
        line: the same behind a row, as `predict --json` prints it, to its text.
        holds_features: whether many numbers a row are at home there.
        finish: makes of the rows, written as lines, what is to be in place, as a file beside them; None where it is
            that already.
    """

    head: Callable[[Columns, Task, Sequence[str]], str]
    line: Callable[[Mapping[str, Any], Columns, Task, Sequence[str]], str]
    holds_features: bool = True
    finish: Callable[[Path, Columns, Task, Sequence[str]], Path] | None = None


def format_of_table(path: Path, *, option: str = "out") -> str:
    """The name of the format that the ending of a file says; what it lacks is refused.

    Example:
        >>> format_of_table(Path("answers.jsonl"))
        'jsonl'
    """
    ending = path.suffix.lower().removeprefix(".")
    if ending not in TABLE_FORMATS:
        raise InvalidValue(
            f"{option} {path}: the ending says what is written, and {path.suffix or 'none'} says nothing. Name a file "
            "that ends in .csv, .jsonl or .parquet."
        )
    if ending == "parquet":
        require("pyarrow", purpose="a Parquet file", install="sightline[parquet]")
    return ending


def check_columns(form: str, *, features: bool) -> None:
    """Refuse what a format is no place for, before any work is done."""
    if features and not TABLE_FORMATS[form].holds_features:
        raise InvalidValue("features are too many numbers for a CSV. Name a file that ends in .jsonl or .parquet.")


def _csv_head(columns: Columns, task: Task, asked_for: Sequence[str]) -> str:
    told = [*task.columns(columns.most_classes), *asked_for, *map(_column_of, columns.class_names)]
    return f"{csv_line(['path', *told, 'notice', 'error'])}\n"


def _column_of(class_name: str) -> str:
    return f"probability of {class_name}"


def _csv_cells(row: Mapping[str, Any], columns: Columns, task: Task, asked_for: Sequence[str]) -> str:
    asked = [_cell(row.get(key)) for key in asked_for]
    shares = row.get("probabilities") or {}
    told = [*task.cells(row, columns.most_classes), *asked, *(shares.get(name) for name in columns.class_names)]
    return f"{csv_line([row['path'], *told, row.get('notice'), row['error']])}\n"


def _cell(value: Any) -> str | float | None:
    """As JSON says it where it is a list or a boolean: names may hold whatever would part them."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | bool) else value


def _json_line(row: Mapping[str, Any], *_: object) -> str:
    try:
        return f"{json_line(row)}\n"
    except ValueError:
        return f"{json_line(without_nan(row))}\n"


def _to_parquet(path: Path, columns: Columns, task: Task, asked_for: Sequence[str]) -> Path:
    """Turn lines of JSON into a Parquet file beside them, some rows at a time."""
    import pyarrow as pa
    from pyarrow import parquet

    names = [*task.columns(columns.most_classes), *asked_for]
    kinds = dict.fromkeys(names, "null")
    for row in _rows(path):
        for name, value in _flat(row, columns, task, asked_for).items():
            if kinds.get(name) == "null":
                kinds[name] = _kind(value)
    arrow = {"text": pa.string(), "number": pa.float64(), "truth": pa.bool_(), "texts": pa.list_(pa.string())}
    arrow |= {"numbers": pa.list_(pa.float32())}
    fields = [("path", pa.string()), *((name, arrow.get(kinds[name], pa.string())) for name in names)]
    many = [("probabilities", pa.list_(pa.float64()))] * bool(columns.class_names)
    told = {"sightline.classes": json.dumps(columns.class_names, ensure_ascii=False)} if columns.class_names else {}
    schema = pa.schema([*fields, *many, ("notice", pa.string()), ("error", pa.string())], metadata=told)
    made = path.with_name(f"{path.name}.parquet")
    try:
        with parquet.ParquetWriter(made, schema) as writer:
            rows = _rows(path)
            while part := [_flat(row, columns, task, asked_for) for row in islice(rows, _ROW_GROUP)]:
                cells = [{name: _fitting(value, kinds.get(name)) for name, value in row.items()} for row in part]
                writer.write_table(pa.Table.from_pylist(cells, schema=schema))
    except BaseException:
        made.unlink(missing_ok=True)
        raise
    return made


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


def _flat(row: Mapping[str, Any], columns: Columns, task: Task, asked_for: Sequence[str]) -> dict[str, Any]:
    flat = {"path": _whole(row["path"]), "notice": row.get("notice"), "error": row["error"] and _whole(row["error"])}
    cells = task.cells(row, columns.most_classes)
    flat |= dict(zip(task.columns(columns.most_classes), cells, strict=True))
    flat |= {name: row.get(name) for name in asked_for}
    shares = row.get("probabilities")
    if columns.class_names:
        flat["probabilities"] = None if shares is None else [shares[name] for name in columns.class_names]
    return flat


def _whole(text: str) -> str:
    r"""Without bytes that are no UTF-8, which Parquet does not take: each is written as in tables, \xHH."""
    return "".join(f"\\x{ord(letter) - 0xDC00:02x}" if 0xDC80 <= ord(letter) <= 0xDCFF else letter for letter in text)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, list) and value and all(isinstance(one, float) for one in value):
        return "numbers"
    return "texts" if isinstance(value, list) and all(isinstance(one, str) for one in value) else "text"


def _fitting(value: Any, kind: str | None) -> Any:
    """What is neither text nor a number, truth or list of texts is told as JSON."""
    if kind != "text" or value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


TABLE_FORMATS: dict[str, TableFormat] = {
    "csv": TableFormat(_csv_head, _csv_cells, holds_features=False),
    "jsonl": TableFormat(lambda *_: "", _json_line),
    "parquet": TableFormat(lambda *_: "", _json_line, finish=_to_parquet),
}
