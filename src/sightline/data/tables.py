"""A table of paths and labels: CSV, TSV, Parquet or a pandas frame."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sightline.data.layout import SPLIT_FOLDERS, fingerprint_of, printable, unique_names
from sightline.errors import InvalidSource, require
from sightline.records import Dataset, ImageFiles

SUFFIXES = (".csv", ".tsv", ".parquet")
COLUMNS: dict[str, tuple[str, ...]] = {
    "path": ("path", "file", "filename", "file_name", "image"),
    "label": ("label", "class", "class_name"),
    "split": ("split",),
    "group": ("group",),
    "weight": ("weight",),
}


@dataclass(frozen=True)
class _Line:
    """One usable line of a table."""

    number: int
    path: str
    label: str
    split: str
    group: str
    weight: float


def read_table(table: Any, *, name: str | None = None) -> Dataset:
    """Open a table of labelled images.

    Args:
        table: path of a .csv, .tsv or .parquet file, or a pandas frame. It has a column
            path (or file, filename, image) and label (or class), and may have split, group and
            weight. Paths are relative to the table's folder, or absolute.
        name: short name; that of the file if None.

    Returns:
        One row a line whose file exists. Lines without label, of missing files, and lines
        that contradict each other are in `left_out`.

    Raises:
        InvalidSource: columns are missing, cells hold several labels, a split or weight makes no
            sense, no file exists, or there is one class only.
        MissingPackage: a Parquet file needs pandas and pyarrow.

    Example:
        >>> read_table(Path("nowhere.csv"))
        Traceback (most recent call last):
        sightline.errors.InvalidSource: nowhere.csv: cannot be read (No such file or directory).
    """
    typed = table if isinstance(table, Path) else "the table"
    folder = table.absolute().parent if isinstance(table, Path) else Path.cwd()
    records = _records(table)
    columns = _find_columns(typed, list(records[0]) if records else [])
    left_out: list[tuple[str, str]] = []
    remarks: list[str] = []
    lines = _usable(typed, records, columns, left_out)
    _refuse_several_labels(typed, [line.label for line in lines])
    lines = _agreeing(lines, left_out, remarks)
    there = _existing(typed, lines, folder, left_out)
    if missing := len(lines) - len(there):
        remarks.append(f"{missing:,} of {len(lines):,} files that the table names do not exist; they were left out")
    dataset = _assemble(typed, there, folder, name=name or _stem(table), columns=columns)
    return replace(dataset, left_out=tuple(left_out), remarks=tuple(remarks))


def is_frame(source: Any) -> bool:
    """True for a pandas frame, told without importing pandas."""
    return type(source).__name__ == "DataFrame" and type(source).__module__.split(".")[0] == "pandas"


def _stem(table: Any) -> str:
    return table.stem if isinstance(table, Path) else "table"


def _records(table: Any) -> list[dict[str, str]]:
    """Every line as column to text; an empty or missing cell is ""."""
    if isinstance(table, Path) and table.suffix.lower() == ".parquet":
        pandas = require("pandas", purpose="reading Parquet", install="pandas pyarrow")
        require("pyarrow", purpose="reading Parquet", install="pyarrow")
        try:
            table = pandas.read_parquet(table)
        except (OSError, ValueError) as error:
            raise InvalidSource(f"{table}: not a readable Parquet file ({error}).") from error
    if is_frame(table):
        rows: Iterable[Mapping[str, Any]] = table.to_dict("records")
        return [{str(key): _text(value) for key, value in row.items()} for row in rows]
    try:
        text = table.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidSource(f"{table}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise InvalidSource(f"{table}: is not UTF-8 (byte {error.start}). Save it as UTF-8.") from error
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    try:
        return [{key: _text(value) for key, value in row.items() if key is not None} for row in reader]
    except csv.Error as error:
        raise InvalidSource(f"{table}: not a readable table (line {reader.line_num}: {error}).") from error


def _text(value: Any) -> str:
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if missing else str(value).strip()


def _find_columns(typed: Any, present: Sequence[str]) -> dict[str, str]:
    """Meaning to column name; path and label must be there."""
    lowered = {name.strip().lower(): name for name in present}
    found = {
        meaning: lowered[known[0]]
        for meaning, names in COLUMNS.items()
        if (known := [name for name in names if name in lowered])
    }
    for meaning in ("path", "label"):
        if meaning not in found:
            raise InvalidSource(
                f"{typed}: has no column '{meaning}'; found {', '.join(present) or 'no line at all'}. "
                f"Its first line must name path ({', '.join(COLUMNS['path'][1:])}) "
                f"and label ({', '.join(COLUMNS['label'][1:])})."
            )
    return found


def _usable(
    typed: Any, records: Sequence[Mapping[str, str]], columns: Mapping[str, str], left_out: list[tuple[str, str]]
) -> list[_Line]:
    lines = []
    for number, record in enumerate(records, start=2):
        cells = {meaning: record.get(column, "") for meaning, column in columns.items()}
        if not cells["path"]:
            left_out.append((f"line {number}", "has no path"))
        elif not cells["label"]:
            left_out.append((printable(cells["path"]), f"has no label (line {number})"))
        else:
            split = _split(typed, number, cells.get("split", ""))
            weight = _weight(typed, number, cells.get("weight", ""))
            lines.append(_Line(number, cells["path"], cells["label"], split, cells.get("group", ""), weight))
    return lines


def _split(typed: Any, number: int, cell: str) -> str:
    if cell and cell.lower() not in SPLIT_FOLDERS:
        raise InvalidSource(
            f"{typed}: line {number} has the split {cell!r}; it must be train, validation, test or empty."
        )
    return SPLIT_FOLDERS[cell.lower()] if cell else ""


def _weight(typed: Any, number: int, cell: str) -> float:
    try:
        weight = float(cell) if cell else 1.0
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise InvalidSource(f"{typed}: line {number} has the weight {cell!r}; it must be a number above 0.")
    return weight


def _refuse_several_labels(typed: Any, labels: Sequence[str]) -> None:
    """Several labels in a cell are told by a separator whose parts are themselves labels of other lines."""
    known = set(labels)
    for label in dict.fromkeys(labels):
        is_list = label.startswith("[") and label.endswith("]") and "," in label
        parts = [part.strip() for mark in ";|" if mark in label for part in label.split(mark)]
        if is_list or (parts and all(parts) and any(part in known for part in parts)) or len(parts) > 2:
            raise InvalidSource(
                f"{typed}: the label {label!r} looks like several labels. One image has one label here; "
                "several are not supported yet. Write one of them, or a name for the combination."
            )


def _agreeing(lines: list[_Line], left_out: list[tuple[str, str]], remarks: list[str]) -> list[_Line]:
    """Each path once; paths with different labels not at all."""
    by_path: dict[str, list[_Line]] = {}
    for line in lines:
        by_path.setdefault(line.path, []).append(line)
    kept, repeated = [], 0
    for path, same in by_path.items():
        labels = sorted({line.label for line in same})
        if len(labels) > 1:
            numbers = ", ".join(str(line.number) for line in same)
            left_out.append((printable(path), f"has different labels: {', '.join(labels)} (lines {numbers})"))
            continue
        kept.append(same[0])
        repeated += len(same) - 1
    if repeated:
        remarks.append(
            f"{repeated:,} lines name a file that stands in the table already, with the same label; they were ignored"
        )
    return kept


def _existing(
    typed: Any, lines: list[_Line], folder: Path, left_out: list[tuple[str, str]]
) -> dict[str, tuple[_Line, int]]:
    """Path to line and size, for the files that are there."""
    there = {}
    for line in lines:
        try:
            there[line.path] = (line, (folder / line.path).stat().st_size)
        except (OSError, ValueError):
            left_out.append((printable(line.path), f"there is no such file (line {line.number})"))
    if not there:
        example = f", such as {lines[0].path!r}, looked for in {folder}" if lines else ""
        raise InvalidSource(
            f"{typed}: none of the {len(lines):,} files it names exists{example}. Paths are relative to the table."
        )
    return there


def _assemble(
    typed: Any, there: dict[str, tuple[_Line, int]], folder: Path, *, name: str, columns: Mapping[str, str]
) -> Dataset:
    lines, sizes = [line for line, _ in there.values()], [size for _, size in there.values()]
    class_names = tuple(sorted({line.label for line in lines}))
    if len(class_names) < 2:
        raise InvalidSource(f"{typed}: holds one class only ({class_names[0]!r}); a classifier needs two.")
    index = {label: number for number, label in enumerate(class_names)}
    labels = np.array([index[line.label] for line in lines], dtype=np.int64)
    splits = np.array([line.split for line in lines])
    files = ImageFiles(
        folder,
        "folder",
        tuple(line.path for line in lines),
        np.array(sizes, dtype=np.int64),
        np.array([line.number for line in lines], dtype=np.int64),
        np.zeros(len(lines), dtype=np.int64),
    )
    row_ids = unique_names([printable(line.path) for line in lines])
    groups = (
        np.array([line.group or row for line, row in zip(lines, row_ids, strict=True)]) if "group" in columns else None
    )
    weights = np.array([line.weight for line in lines]) if "weight" in columns else None
    return Dataset(
        name=name,
        class_names=class_names,
        row_ids=np.array(row_ids),
        labels=labels,
        images=files,
        given_splits=splits,
        fingerprint=fingerprint_of(files, labels, class_names, splits, groups),
        groups=groups,
        weights=weights,
    )
