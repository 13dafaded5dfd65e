"""The cells of a table as text, whatever it is written in, and what a cell of labels holds."""

from __future__ import annotations

import ast
import csv
import io
import math
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.errors import InvalidSource, require

_SEPARATORS = ";|"


@dataclass(frozen=True)
class Cells:
    """A table as text.

    Attributes:
        headers: names of the columns.
        rows: their cells, outer blanks taken off; "" where a cell is empty or missing.
        places: where each row stands, for messages: "line 2".
    """

    headers: tuple[str, ...]
    rows: list[list[str]]
    places: list[str]

    def column(self, position: int) -> list[str]:
        """The cells of one column."""
        return [row[position] for row in self.rows]


def read_cells(table: Any, typed: str) -> Cells:
    r"""Read a table whole.

    Args:
        table: path of a .csv, .tsv or .parquet file, or a pandas frame.
        typed: what its user called it, for messages.

    Returns:
        Its cells.

    Raises:
        InvalidSource: it cannot be read, is not UTF-8, or a line has more cells than there are columns.
        MissingPackage: a Parquet file needs pyarrow.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "pets.csv"
        >>> _ = path.write_text("path;label\n1.jpg;cat\n")
        >>> read_cells(path, "pets.csv").rows
        [['1.jpg', 'cat']]
    """
    if not isinstance(table, Path):
        columns = [table.iloc[:, at].tolist() for at in range(len(table.columns))]
        return _from_columns([str(header) for header in table.columns], columns)
    if table.suffix.lower() == ".parquet":
        return _from_parquet(table, typed)
    try:
        text = table.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidSource(f"{typed}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise InvalidSource(f"{typed}: is not UTF-8 (byte {error.start:,}). Save it as UTF-8.") from error
    return _from_text(text, typed)


def _from_text(text: str, typed: str) -> Cells:
    # The header tells the delimiter: a comma or semicolon may stand in any cell below it.
    head = re.sub('"[^"]*"', "", text.lstrip().partition("\n")[0])
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    headers: tuple[str, ...] = ()
    rows, places = [], []
    first = 1
    try:
        for raw in reader:
            place, first = f"line {first}", reader.line_num + 1
            cells = [cell.strip() for cell in raw]
            if not any(cells):
                continue
            if not headers:
                headers = tuple(cells)
            elif any(cells[len(headers) :]):
                raise InvalidSource(
                    f"{typed}: {place} has {len(cells)} cells and the header {len(headers)}. "
                    f'Put cells that hold {delimiter!r} into double quotes: "a{delimiter}b".'
                )
            else:
                rows.append([*cells, *[""] * len(headers)][: len(headers)])
                places.append(place)
    except csv.Error as error:
        raise InvalidSource(f"{typed}: is not a readable table (line {reader.line_num}: {error}).") from error
    return Cells(headers, rows, places)


def _from_parquet(path: Path, typed: str) -> Cells:
    reader = require("pyarrow.parquet", purpose="reading Parquet tables", install="pyarrow")
    try:
        with path.open("rb") as stream:
            table = reader.read_table(stream)
    except (OSError, ValueError, NotImplementedError) as error:  # pyarrow's own errors are kinds of these
        raise InvalidSource(f"{typed}: is not a readable Parquet file ({str(error).splitlines()[0]}).") from error
    return _from_columns(list(table.column_names), [column.to_pylist() for column in table.columns])


def _from_columns(headers: list[str], columns: list[list[Any]]) -> Cells:
    rows = [[_text(value) for value in row] for row in zip(*columns, strict=True)]
    # Counted as a spreadsheet shows them, where the header is the first line.
    return Cells(tuple(headers), rows, [f"line {number}" for number in range(2, len(rows) + 2)])


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    if isinstance(value, Sequence) or hasattr(value, "tolist"):
        return repr(list(value)) if isinstance(value, Sequence) else _text(value.tolist())
    if isinstance(value, float):
        # A column of whole numbers with a gap comes as floats.
        return "" if math.isnan(value) else str(int(value)) if value.is_integer() else str(value)
    return "" if value is None or str(value) in ("<NA>", "NaT") else str(value).strip()


def several_labels(cells: Sequence[str]) -> str:
    """A cell of a column of labels that holds several of them; "" if none does.

    A list does. Names parted by ; or | do where one of the names also stands in another
    cell: "black|white" may be the name of one class.

    Args:
        cells: all labels of a table.

    Returns:
        The first such cell.

    Raises:
        Nothing.

    Example:
        >>> several_labels(["cat;dog", "dog"]), several_labels(["black|white", "grey"])
        ('cat;dog', '')
    """
    distinct = list(dict.fromkeys(cell for cell in cells if cell))
    parts_of = {cell: _parts(cell) for cell in distinct}
    seen = Counter(part for parts in parts_of.values() for part in set(parts))
    for cell, parts in parts_of.items():
        is_list = _as_list(cell) is not None
        if len(parts) > 1 and (is_list or len(parts) > 2 or any(seen[part] > 1 for part in parts)):
            return cell
    return ""


def single_label(cell: str) -> str:
    """The label of a cell that holds no more than one; a list of one label is that label.

    Args:
        cell: text of a cell.

    Returns:
        The label, or "".

    Raises:
        Nothing.

    Example:
        >>> single_label('["cat"]'), single_label("cat"), single_label("[]")
        ('cat', 'cat', '')
    """
    listed = _as_list(cell)
    return cell if listed is None else "".join(listed[:1])


def _parts(cell: str) -> list[str]:
    listed = _as_list(cell)
    if listed is not None:
        return listed
    for separator in _SEPARATORS:
        parts = [part.strip() for part in cell.split(separator)]
        if len(parts) > 1 and all(parts):
            return parts
    return [cell]


def _as_list(cell: str) -> list[str] | None:
    """The items of a list in JSON or in Python's writing; None for all else."""
    if not (cell.startswith("[") and cell.endswith("]")):
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd backslashes in what is no code
            items = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return [str(item).strip() for item in items if item is not None and str(item).strip()]
