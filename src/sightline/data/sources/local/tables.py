"""A table of paths and labels: CSV, TSV, Parquet, JSON Lines or a pandas frame."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from sightline.data.decoding.formats import IMAGE_SUFFIXES
from sightline.data.sources.assembly import LabelledFiles, fuse_classes, to_dataset
from sightline.data.sources.levels import split_of
from sightline.data.sources.local.cells import NO_LABEL, Cells, cleaned_labels, read_cells, several_labels
from sightline.data.sources.local.finding import Finder, find_ids
from sightline.data.sources.local.label_cells import Labels, flag_columns, parted_labels
from sightline.data.sources.local.lines import Form, Line, Look, agreeing_files, existing_files, look_up
from sightline.data.storage.stores import FolderStore
from sightline.errors import InvalidSource, closest, pick
from sightline.records import Dataset
from sightline.system.paths import absolute_path
from sightline.system.text import is_address, printable

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl")
"""Lower-case endings of tables."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "path": ("path", "file", "filename", "file_name", "image"),
    "label": ("label", "class", "class_name", "category"),
    "split": ("split",),
    "group": ("group",),
    "weight": ("weight",),
}
"""What a column may be called, whatever its case; the first that is there counts."""

IDS = ("image_id", "image_name", "id_code", "img", "id")
"""What a column of names without suffix may be called, where no column holds paths: it counts as one of paths."""

_FIELD = re.compile(r"\{([^{}]+)\}")

Columns = Mapping[str, str | Sequence[str]]
"""Meaning to the name of a column, or to names of which the first that is there counts."""


def read_table(
    table: Any,
    *,
    columns: Columns | None = None,
    name: str | None = None,
    class_names: Sequence[str] | None = None,
    several: bool = False,
) -> Dataset:
    """Open a table of labelled images.

    Args:
        table: path of a .csv, .tsv, .parquet or .jsonl file, or a pandas frame. It has a column of paths,
            relative to the table's folder (a frame's: to the current one) or absolute, and one of
            labels; and may have split (train, validation, test or empty), group and weight. Names without suffix or
            folder, of which none is a path as it is, are looked for below the folder.
        columns: what its columns are called, such as {"path": "img", "label": "species"}, or several names of which
            the first that is there counts; else path, file, filename or image, label, class or category, in any case.
            A path may be a pattern with names of columns, "train/{id}.jpg".
        name: short name; that of the file if None.
        class_names: their order; sorted by name if None.
        several: whether an image may have several labels, or none: "cat;dog" in a cell, a list, several lines of one
            file, or a column of 0 and 1 for each.

    Returns:
        One row a file. Lines without path or label, of missing files, and lines that
        contradict each other are in `left_out`.
    """
    typed = printable(str(table)) if isinstance(table, Path) else "the table"
    folder = absolute_path(table.parent if isinstance(table, Path) else ".", follow_links=False)
    stem = table.stem if isinstance(table, Path) else "table"
    left_out: list[tuple[str, str]] = []
    cells = read_cells(table, typed)
    form = form_of(cells, columns or {}, several=several)
    lines, remarks, has_weights = lines_of(typed, cells, columns or {}, left_out, form=form)
    found = find_ids(Finder(folder, typed), [line.path for line in lines], typed=typed, stem=stem)
    lines = [replace(line, path=found.get(line.path, line.path)) for line in lines]
    labelled = files_of(typed, folder, lines, left_out, has_weights=has_weights, form=form)
    labelled = replace(labelled, remarks=(*remarks, *_say_found(found), *labelled.remarks))
    return to_dataset(labelled, typed=typed, name=name or printable(stem), class_names=class_names)


def form_of(cells: Cells, columns: Columns, *, several: bool) -> Form:
    """What the lines of a table say of their images; without a column of labels, a column of 0 and 1 for each."""
    if not several:
        return "class"
    headers = {header.strip().lower() for header in cells.headers}
    return "parted" if "label" in columns or headers & set(COLUMNS["label"]) else "flags"


def lines_of(
    typed: str, cells: Cells, columns: Columns, left_out: list[tuple[str, str]], *, form: Form = "class"
) -> tuple[list[Line], tuple[str, ...], bool]:
    """Lines with a path and labels, what is to be said of the others, and whether there is a column of weights."""
    for meaning in columns:
        pick(COLUMNS, meaning, kind="meaning of a column")
    cells = _with_pattern(typed, cells, columns.get("path"))
    positions = {
        meaning: None if (meaning, form) == ("label", "flags") else _column(typed, cells, meaning, columns.get(meaning))
        for meaning in COLUMNS
    }
    lines, remarks = _complete(typed, cells, positions, left_out, form=form)
    return lines, remarks, positions["weight"] is not None


def paths_in_table(table: Path, *, columns: Columns | None = None) -> FolderStore:
    """The images that a table names, a row each line that has a path, in its order; labels are not looked for.

    What is not there is a row all the same: whoever reads it is told why it cannot be read.

    Raises:
        InvalidSource: it is no table, or names no path.
    """
    typed = printable(str(table))
    folder = absolute_path(table.parent, follow_links=False)
    paths = paths_in_cells(typed, read_cells(table, typed), columns)
    found = find_ids(Finder(folder, typed), paths, typed=typed, stem=table.stem)
    paths = [found.get(path, path) for path in paths]
    looked = [(path, None) if is_address(path) else look_up(folder, path) for path in paths]
    return FolderStore(
        place=folder,
        names=tuple(path for path, _ in looked),
        num_bytes=np.array([-1 if status is None else status.st_size for _, status in looked], dtype=np.int64),
        arrivals=np.arange(len(looked)),
    )


def paths_in_cells(typed: str, cells: Cells, columns: Columns | None) -> list[str]:
    """The paths of a table, a line each; an InvalidSource where it names none."""
    wanted = (columns or {}).get("path")
    cells = _with_pattern(typed, cells, wanted)
    at = _column(typed, cells, "path", wanted)
    named = [path for path in ([] if at is None else cells.column(at)) if path]
    if not named:
        raise InvalidSource(
            f"{typed}: names no image. Its first line must name a column path, the others an image each."
        )
    return [path if is_address(path) else str(PurePosixPath(path)) for path in named]


def is_frame(source: Any) -> bool:
    """True for a pandas frame, told without importing pandas."""
    return any(
        kind.__name__ == "DataFrame" and kind.__module__.split(".")[0] == "pandas" for kind in type(source).__mro__
    )


def _with_pattern(typed: str, cells: Cells, chosen: str | Sequence[str] | None) -> Cells:
    """The cells with one more column, where paths are made by a pattern such as "train/{id}.jpg"; it is called so."""
    wanted = (chosen,) if isinstance(chosen, str) else tuple(chosen or ())
    headers = [header.strip().lower() for header in cells.headers]
    for pattern in wanted:
        fields = _FIELD.findall(pattern)
        known = all(field.strip().lower() in headers for field in fields)
        if not fields or pattern.strip().lower() in headers or not (known or isinstance(chosen, str)):
            continue
        places = {field: _column(typed, cells, "path", field) or 0 for field in fields}
        rows = [[*row, _filled(pattern, {field: row[at] for field, at in places.items()})] for row in cells.rows]
        return Cells((*cells.headers, pattern), rows, cells.line_names)
    return cells


def _filled(pattern: str, values: Mapping[str, str]) -> str:
    """A pattern with the values of its fields; "" where one has none."""
    return _FIELD.sub(lambda field: values[field[1]], pattern) if all(values.values()) else ""


def _ids(cells: Cells) -> int | None:
    """The column of names without suffix; None if another one holds names of images."""
    headers = [header.strip().lower() for header in cells.headers]
    at = next((headers.index(name) for name in IDS if headers.count(name) == 1), None)
    others = [column for column in range(len(headers)) if column != at]
    firsts = (next(filter(None, cells.column(column)), "") for column in others)
    return None if any(first.lower().endswith(tuple(IMAGE_SUFFIXES)) for first in firsts) else at


def _column(typed: str, cells: Cells, meaning: str, chosen: str | Sequence[str] | None) -> int | None:
    lowered = [header.strip().lower() for header in cells.headers]
    wanted = COLUMNS[meaning] if chosen is None else (chosen,) if isinstance(chosen, str) else tuple(chosen)
    for header in (name.strip().lower() for name in wanted):
        if lowered.count(header) > 1:
            raise InvalidSource(f"{typed}: has {lowered.count(header)} columns {header!r}; rename all but one.")
        if header in lowered:
            return lowered.index(header)
    if chosen is None and meaning not in ("path", "label"):
        return None
    if chosen is None and meaning == "path" and (at := _ids(cells)) is not None:
        return at
    found = ", ".join(map(printable, cells.headers)) or "no line at all"
    if chosen is not None:
        raise InvalidSource(
            f"{typed}: has no column {wanted[0]!r}. {closest(wanted[0], map(printable, cells.headers))}"
        )
    paths, labels = (", ".join(COLUMNS[known][1:]) for known in ("path", "label"))
    raise InvalidSource(
        f"{typed}: has no column '{meaning}'; found {found}. Its first line must name path ({paths}) and label "
        f"({labels}); or say what they are called: columns={{'path': ..., 'label': ...}}, --column path=...,label=..."
    )


def _complete(
    typed: str, cells: Cells, columns: dict[str, int | None], left_out: list[tuple[str, str]], *, form: Form
) -> tuple[list[Line], tuple[str, ...]]:
    """Lines that have a path and labels, checked, and what is to be said of the labels; the others are left out."""
    filled = {meaning: [] if at is None else cells.column(at) for meaning, at in columns.items()}
    if form == "flags":
        labels, remarks = flag_columns(typed, cells, {at for at in columns.values() if at is not None})
    else:
        labels, remarks = parted_labels(filled["label"]) if form == "parted" else _classes(typed, filled["label"])
    lines, untold = [], Counter[str]()
    for row, (line_name, path, told) in enumerate(zip(cells.line_names, filled["path"], labels, strict=True)):
        split = _split(typed, line_name, filled["split"][row]) if filled["split"] else ""
        weight = _weight(typed, line_name, filled["weight"][row]) if filled["weight"] else 1.0
        group = filled["group"][row] if filled["group"] else ""
        if reason := _why_none(path, told, form):
            left_out.append((printable(path), f"{reason} ({line_name})") if path else (line_name, reason))
            # Of cells that say "nan" it is told already.
            untold[reason] += form != "class" or filled["label"][row].lower() not in NO_LABEL
        else:
            lines.append(Line(line_name, str(PurePosixPath(path)), told or (), split, group, weight))
    said = [f"lines left out: {number:,} of {len(labels):,} ({why})" for why, number in untold.items() if number]
    return lines, (*remarks, *said)


def _classes(typed: str, column: list[str]) -> tuple[list[Labels], tuple[str, ...]]:
    if example := several_labels(column):
        raise InvalidSource(
            f"{typed}: the label {printable(example)!r} looks like several labels. If an image may have several here, "
            "say so: --task multi-label, load(..., task='multi-label'). If it has one, keep one of them, or give the "
            "combination a name of its own."
        )
    labels, remarks = cleaned_labels(column)
    return [(label,) if label else None for label in labels], remarks


_UNLABELLED: dict[Form, str] = {
    "class": "has no label",
    "parted": "has no label; where an image shows none of them, write []",
    "flags": "has an empty cell in a column of 0 and 1",
}


def _why_none(path: str, labels: Labels, form: Form) -> str:
    """Why a line names no image; "" if it does."""
    if not path:
        return "has no path"
    if labels is None:
        return _UNLABELLED[form]
    return "is an address, and nothing is downloaded" if is_address(path) else ""


def _split(typed: str, line_name: str, cell: str) -> str:
    split = split_of(cell)
    if cell and split is None:
        raise InvalidSource(
            f"{typed}: {line_name} has the split {cell!r}; it must be train, validation, test or empty."
        )
    return split or ""


def _weight(typed: str, line_name: str, cell: str) -> float:
    try:
        weight = float(cell)
    except ValueError:
        weight = float("nan")
    if not 0 < weight < float("inf"):
        raise InvalidSource(f"{typed}: {line_name} has the weight {cell!r}; it must be a number above 0.")
    return weight


def _say_found(found: Mapping[str, str]) -> list[str]:
    if not found:
        return []
    name = min(found)
    return [
        f"its names are no paths as they are, and were looked for below its folder: {printable(name)!r} is "
        f"{printable(found[name])!r}"
    ]


def files_of(  # noqa: PLR0913  # tables of all kinds come here, and each says what is its own
    typed: str,
    folder: Path | str,
    lines: list[Line],
    left_out: list[tuple[str, str]],
    *,
    has_weights: bool = False,
    entry: str = "line",
    look: Look | None = None,
    form: Form = "class",
) -> LabelledFiles:
    """Files that lines name, once each, in the order of the lines; others go to `left_out`.

    Args:
        typed: the source, for messages.
        folder: what paths are relative to.
        lines: what each says.
        left_out: gets what is no row, with the reason.
        has_weights: whether weights are told.
        entry: what a line is called in its own name: "line" of "line 2".
        look: looks a path up elsewhere than on the disk; `folder` is told in messages then.
        form: what lines say; labels in cells are put together where several lines name a file.
    """
    names, remarks = fuse_classes((line.split, label) for line in lines for label in line.labels)
    existing, missing = existing_files(look or partial(look_up, folder), lines, left_out)
    num_before = len(left_out)
    found, repeated = agreeing_files(existing, names, left_out, entry, joins=form == "parted")
    whole = _whole(entry)
    num_disagreeing = len(left_out) - num_before
    if not found:
        raise InvalidSource(f"{typed}: {_explain_empty(folder, missing, left_out, entry)}")
    notes = []
    if missing:
        total = len(missing) + len(found)
        notes.append(f"{len(missing):,} of {total:,} files that {whole} names cannot be used; they were left out")
    if num_disagreeing:
        notes.append(f"files left out: {num_disagreeing:,} (has different labels or splits in different {entry}s)")
    if repeated:
        notes.append(
            f"{repeated:,} {entry}s name a file that stands in {whole} already, with the same label; they were ignored"
        )
    kept = [one.line for one in found]
    files = FolderStore(
        place=Path(folder),
        names=tuple(one.path for one in found),
        num_bytes=np.array([one.status.st_size for one in found], dtype=np.int64),
        arrivals=np.arange(len(found)),
    )
    return LabelledFiles(
        files,
        [names[line.split, line.labels[0]] for line in kept] if form == "class" else (),
        [line.split for line in kept],
        np.array([one.status.st_mtime_ns for one in found], dtype=np.int64),
        groups=[printable(line.group) for line in kept],
        weights=np.array([line.weight for line in kept]) if has_weights else None,
        remarks=(*notes, *remarks),
        left_out=tuple(left_out),
        labels=None if form == "class" else [tuple(names[line.split, label] for label in line.labels) for line in kept],
    )


def _whole(entry: str) -> str:
    return "the table" if entry == "line" else "the export"


def _explain_empty(folder: Path | str, missing: Sequence[str], left_out: list[tuple[str, str]], entry: str) -> str:
    if missing:
        return (
            f"none of the {len(missing):,} files it names exists, such as {printable(missing[0])!r}, looked for in "
            f"{printable(str(folder))}. Paths are relative to {_whole(entry)}."
        )
    if left_out:
        return f"none of its {entry}s can be used; the first: {' '.join(left_out[0])}."
    return "has no line below the one that names the columns."
