"""The cells of a table as text, whatever it is written in, and what a cell of labels holds."""

from __future__ import annotations

import ast
import codecs
import csv
import io
import math
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sightline.errors import InvalidSource, require
from sightline.system.stored import open_plain, parse_json, read_plain
from sightline.system.text import printable

# These hardly stand in the name of one class: a single part that is a label elsewhere, too, is enough.
_STRONG = (";", "|")
_WEAK = (",", "+", "&", "/", " and ", " ")
_DELIMITER_LINE = re.compile(r'"?sep=([,;|\t])"?[ ]*\r?\n', re.IGNORECASE)
# How programs write that there is no label; a class of this name would be made of all that was never labelled.
NO_LABEL = frozenset({"nan", "<na>", "#n/a", "#na", "null", "nat"})
_MAY_BE_NO_LABEL = frozenset(
    {"none", "na", "n/a", "?", "-", "missing", "undefined", "unknown", "unknown label", "unlabeled", "unlabelled"}
)
_WHOLE = re.compile(r"([+-]?[0-9]+)\.0+")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True)
class Cells:
    """A table as text.

    Attributes:
        headers: names of the columns.
        rows: their cells, outer blanks taken off; "" where a cell is empty or missing.
        line_names: where each row stands, for messages: "line 2".
    """

    headers: tuple[str, ...]
    rows: list[list[str]]
    line_names: list[str]

    def column(self, position: int) -> list[str]:
        """The cells of one column."""
        return [row[position] for row in self.rows]


def read_cells(table: Any, typed: str) -> Cells:
    r"""Read a table whole."""
    if not isinstance(table, Path):
        columns = [table.iloc[:, at].tolist() for at in range(len(table.columns))]
        return _from_columns([str(header) for header in table.columns], columns)
    if table.suffix.lower() == ".parquet":
        return _from_parquet(table, typed)
    if table.suffix.lower() == ".jsonl":
        return _from_json_lines(table, typed)
    try:
        data = read_plain(table)
    except OSError as error:
        raise InvalidSource(f"{typed}: cannot be read ({error.strerror}).") from error
    return cells_of_text(data, typed)


def cells_of_text(data: bytes, typed: str) -> Cells:
    """The cells of the content of a .csv or .tsv file."""
    try:
        # Spreadsheets save "Unicode text" as UTF-16 and begin it with a mark that says so.
        is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidSource(f"{typed}: is not UTF-8 (byte {error.start:,}). Save it as UTF-8.") from error
    return _from_text(text, typed)


def _from_text(text: str, typed: str) -> Cells:
    # The header tells the delimiter: a comma or semicolon may stand in any cell below it.
    told = _DELIMITER_LINE.match(text)  # a line of its own, which Excel reads and other programs write for it
    head = re.sub('"[^"]*"', "", text[told.end() if told else 0 :].lstrip().partition("\n")[0])
    delimiter = told[1] if told else max(",;\t", key=head.count)
    lines = io.StringIO(text, newline="")
    lines.seek(told.end() if told else 0)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    headers: tuple[str, ...] = ()
    rows, line_names = [], []
    skipped = int(told is not None)
    first, line_name = 1 + skipped, ""
    try:
        for raw in reader:
            line_name, first = f"line {first}", reader.line_num + 1 + skipped
            cells = [cell.strip() for cell in raw]
            if not any(cells):
                continue
            if not headers:
                headers = tuple(cells)
            elif any(cells[len(headers) :]):
                raise InvalidSource(
                    f"{typed}: {line_name} has {len(cells)} cells and the header {len(headers)}. "
                    f'Put cells that hold {delimiter!r} into double quotes: "a{delimiter}b".'
                )
            else:
                rows.append([*cells, *[""] * len(headers)][: len(headers)])
                line_names.append(line_name)
    except csv.Error as error:
        raise InvalidSource(f"{typed}: is not a readable table (line {reader.line_num}: {error}).") from error
    if sum(cell.count("\n") for row in rows[-1:] for cell in row) and _ends_in_quotes(text):
        raise InvalidSource(f"{typed}: a double quote in {line_name} is never closed, so all below it is one cell.")
    return Cells(headers, rows, line_names)


def _ends_in_quotes(text: str) -> bool:
    # Quotes come in pairs, those within a cell, too, which are doubled.
    return text.count('"') % 2 == 1


def _from_parquet(path: Path, typed: str) -> Cells:
    try:
        with open_plain(path) as stream:
            return cells_of_parquet(stream, typed)
    except OSError as error:
        raise InvalidSource(f"{typed}: is not a readable Parquet file ({error.strerror or error}).") from error


def cells_of_parquet(content: bytes | BinaryIO, typed: str) -> Cells:
    """The cells of a Parquet file, or of its content."""
    reader = require("pyarrow.parquet", purpose="reading Parquet tables", install="sightline[parquet]")
    try:
        table = reader.read_table(io.BytesIO(content) if isinstance(content, bytes) else content)
    except (OSError, ValueError, NotImplementedError) as error:  # pyarrow's own errors are kinds of these
        raise InvalidSource(f"{typed}: is not a readable Parquet file ({str(error).splitlines()[0]}).") from error
    features = features_of(table.schema.metadata)
    columns = [
        named_cells(column, features.get(name)) for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    return _from_columns(list(table.column_names), columns)


def features_of(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """What Hugging Face's library says of the columns of a Parquet file, by their names."""
    try:
        said = parse_json((metadata or {}).get(b"huggingface", b"{}").decode("utf-8"))
        features = said["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return (
        {name: told for name, told in features.items() if isinstance(told, dict)} if isinstance(features, dict) else {}
    )


def class_names_of(feature: Any) -> list[str]:
    """The names of classes that are written as numbers; empty for any other column."""
    names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
    return list(map(str, names)) if isinstance(names, list) else []


def class_names_of_lists(feature: Any) -> list[str]:
    """The names of classes of a column that holds lists of their numbers; empty for any other column."""
    is_list = isinstance(feature, dict) and feature.get("_type") in ("Sequence", "List", "LargeList")
    return class_names_of(feature.get("feature")) if is_list else []


def named_cells(column: Any, feature: Any) -> list[Any]:
    """The values of a column; class numbers by their names, None for -1, which stands for no label."""
    values: list[Any] = column.to_pylist()
    names = class_names_of(feature)
    if not names:
        return values
    return [
        (names[value] if 0 <= value < len(names) else None if value == -1 else value) if type(value) is int else value
        for value in values
    ]


def _from_json_lines(path: Path, typed: str) -> Cells:
    records = []
    try:
        # Not `splitlines`: half a dozen letters that end a line elsewhere stand in JSON as they are.
        for number, line in enumerate(read_plain(path).decode("utf-8-sig").split("\n"), 1):
            if line.strip():
                record = parse_json(line, allow_nan=True)
                if not isinstance(record, dict):
                    raise ValueError("it is no object of names and values")
                records.append((f"line {number}", record))
    except OSError as error:
        raise InvalidSource(f"{typed}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise InvalidSource(f"{typed}: is not UTF-8 (byte {error.start:,}). Save it as UTF-8.") from error
    except ValueError as error:
        raise InvalidSource(f"{typed}: line {number:,} is no readable JSON ({printable(str(error))}).") from error
    headers = tuple(dict.fromkeys(key for _, record in records for key in record))
    rows = [[cell_text(record.get(header)) for header in headers] for _, record in records]
    return Cells(headers, rows, [line_name for line_name, _ in records])


def _from_columns(headers: list[str], columns: list[list[Any]]) -> Cells:
    rows = [[cell_text(value) for value in row] for row in zip(*columns, strict=True)]
    # Counted as a spreadsheet shows them, where the header is the first line.
    return Cells(tuple(headers), rows, [f"line {number}" for number in range(2, len(rows) + 2)])


def cell_text(value: Any) -> str:
    """A value as a cell of text; "" for none."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    if isinstance(value, Sequence) or hasattr(value, "tolist"):
        return repr(list(value)) if isinstance(value, Sequence) else cell_text(value.tolist())
    if isinstance(value, float):
        # A column of whole numbers with a gap comes as floats.
        return "" if math.isnan(value) else str(int(value)) if value.is_integer() else str(value)
    return "" if value is None or str(value) in ("<NA>", "NaT") else str(value).strip()


def several_labels(cells: Sequence[str]) -> str:
    """A cell of a column of labels that holds several of them; "" if none does.

    A list does. Names parted by ; or | do where one of the names also stands in another
    cell: "black|white" may be the name of one class. Names parted by what stands in ordinary
    names, too (a comma, a plus, a blank), do where each of them is the label of another image.
    """
    distinct = list(dict.fromkeys(cell for cell in cells if cell))
    parts_of = {cell: _parts(cell) for cell in distinct}
    seen = Counter(part for parts in parts_of.values() for part in set(parts))
    for cell, parts in parts_of.items():
        is_list = as_list(cell) is not None
        if len(parts) > 1 and (is_list or len(parts) > 2 or any(seen[part] > 1 for part in parts)):
            return cell
    return next(filter(None, (_parted_by(separator, distinct) for separator in _WEAK)), "")


def has_parted_cells(separator: str, distinct: Sequence[str]) -> bool:
    """Whether some cells of a column consist of what other cells are, or of words in any number and order."""
    return bool(_parted_by(separator, distinct))


def _parted_by(separator: str, distinct: Sequence[str]) -> str:
    """The first cell that consists of other cells, or a column of words that come in any number and order."""
    known = set(distinct)
    parts_of = {cell: [part.strip() for part in cell.split(separator)] for cell in distinct if separator in cell}
    for cell, parts in parts_of.items():
        if len(set(parts)) > 1 and known.issuperset(parts):
            return cell
    words = {part for parts in parts_of.values() for part in parts}
    lengths = {len(parts) for parts in parts_of.values()}
    # Names of classes are made of about as many words as there are classes; marks of a few kinds combine to many.
    return next(iter(parts_of), "") if len(lengths) > 2 and len(parts_of) > 2 * len(words) else ""


def cleaned_labels(cells: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """The labels of a column, "" where there is none, and what is to be said of it.

    A list of one label is that label; what programs write for "no label" is none; whole numbers that a program
    wrote as 1.0 are 1, where all labels are numbers.
    """
    single = list(map(single_label, cells))
    remarks = []
    missing = Counter(cell for cell in single if cell.lower() in NO_LABEL)
    if missing:
        written = ", ".join(map(repr, missing))
        remarks.append(f"{missing.total():,} lines have the label {written}, which stands for none; they were left out")
    doubtful = [cell for cell in dict.fromkeys(single) if cell.lower() in _MAY_BE_NO_LABEL]
    if doubtful:
        written = ", ".join(map(repr, doubtful))
        taken = "was taken for a class; if it stands" if len(doubtful) == 1 else "were taken for classes; if they stand"
        remarks.append(f"{written} {taken} for no label, leave those cells empty")
    kept = ["" if cell in missing else cell for cell in single]
    present = {cell for cell in kept if cell}
    if not all(map(_NUMBER.fullmatch, present)):
        return kept, tuple(remarks)
    whole = {cell: match[1] for cell in present if (match := _WHOLE.fullmatch(cell))}
    if whole:
        first = min(whole)
        remarks.append(f"labels such as {first!r} were taken for {whole[first]!r}: all labels are numbers")
    return [whole.get(cell, cell) for cell in kept], tuple(remarks)


def single_label(cell: str) -> str:
    """The label of a cell that holds no more than one; a list of one label is that label."""
    listed = as_list(cell)
    return cell if listed is None else "".join(listed[:1])


def _parts(cell: str) -> list[str]:
    listed = as_list(cell)
    if listed is not None:
        return listed
    for separator in _STRONG:
        parts = [part.strip() for part in cell.split(separator)]
        if len(parts) > 1 and all(parts):
            return parts
    return [cell]


def as_list(cell: str) -> list[str] | None:
    """The items of a list in JSON or of a list, tuple or set in Python's writing; None for all else."""
    if cell[:1] + cell[-1:] not in ("[]", "()", "{}"):
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd backslashes in what is no code
            items = ast.literal_eval(cell)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # TypeError: [{[]: 1}]
        return None
    if not isinstance(items, list | tuple | set):
        return None
    listed = sorted(items, key=str) if isinstance(items, set) else items
    return [str(item).strip() for item in listed if item is not None and str(item).strip()]
