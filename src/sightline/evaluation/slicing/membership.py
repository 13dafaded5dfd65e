"""From rows to the parts that they belong to; no part is chosen by which answers are wrong."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sightline.data.inputs.properties import FORMATS, MEASURED
from sightline.errors import InvalidValue
from sightline.metrics.slices import FEWEST_IMAGES
from sightline.records import Dataset, Store
from sightline.system.progress import reporter
from sightline.system.stored import read_plain
from sightline.system.text import listed, places_by_name, printable
from sightline.tasks.table import has_several_labels

Members = dict[str, NDArray[np.bool_]]
KEYS: Final = ("file", "row_id", "path")
"""What the column of a table that names its rows may be called."""
# Of a column with more values, or with none of 30 images, quarters are made of numbers, and nothing of words.
MOST_VALUES: Final = 50
_QUARTERS = ("lowest quarter", "highest quarter")
_PROPERTIES = ("brightness", "contrast", "sharpness", "colour")
# Columns of a table that are called as what is looked at without one.
_OWN = ("class", "number of labels", "group", "size in pixels", "file kind", *_PROPERTIES)
_APART = " (table)"


def members_of(dataset: Dataset, measured: NDArray[np.float32]) -> Members:
    """Parts by class, group, size, brightness, sharpness and kind of file.

    Where an image may have several labels, by each of them, of which it may have more than one, and by their number.

    Args:
        dataset: the judged rows.
        measured: (num_images, 7) as `sightline.data.inputs.properties.measured_rows`.
    """
    several = has_several_labels(dataset.task)
    found = _by_label(dataset) if several else _by_value("class", np.array(dataset.named()))
    if dataset.groups is not None:
        found |= _by_value("group", dataset.groups)
    columns = dict(zip(MEASURED, measured.T.astype(np.float64), strict=True))
    found |= by_quarter("size in pixels", columns["width"] * columns["height"])
    for name in _PROPERTIES:
        found |= by_quarter(name, columns[name])
    if isinstance(dataset.images, Store):
        kinds = columns["format"]
        words = ["" if np.isnan(kind) else FORMATS[int(kind)] for kind in kinds.tolist()]
        found |= _by_value("file kind", np.array(words))
    return found


def members_of_table(path: str | Path, row_ids: Sequence[str]) -> Members:
    """Parts by each column of a table that names the rows; one that names none of them is refused."""
    lines, key = _read(Path(path))
    own = _own_lines(path, lines, key, row_ids)
    if not any(own):
        raise InvalidValue(
            f"{path}: names none of {len(row_ids):,} judged images; they are called as '{printable(row_ids[0])}'."
        )
    found: Members = {}
    without = []
    for column in (name for name in lines[0] if name is not None and name != key):
        cells = np.array(["" if line is None else str(line[column] or "").strip() for line in own])
        name = printable(str(column)).strip()
        parts = _by_cells(f"{name}{_APART}" if name in _OWN else name, cells)
        found = joined(found, parts)
        if not parts:
            without.append(name)
    if without:
        reporter().say(f"note: {path}: no part of {FEWEST_IMAGES} images comes from {listed(without, most=10)}")
    return found


def joined(found: Members, more: Members) -> Members:
    """Both; a part of a table that is called as another one is told apart."""
    result = dict(found)
    for name, mask in more.items():
        apart = name
        while apart in result:
            apart += _APART
        result[apart] = mask
    return result


def by_quarter(name: str, values: NDArray[np.float64]) -> Members:
    """The lowest and the highest quarter of what is known; nothing where most values are alike."""
    known = np.isfinite(values)
    if known.sum() < 2 * FEWEST_IMAGES:
        return {}
    low, high = np.quantile(values[known], (0.25, 0.75)).tolist()
    lowest, highest = known & (values <= low), known & (values >= high)
    return {
        f"{name}: {words}": mask
        for words, mask in zip(_QUARTERS, (lowest, highest), strict=True)
        # With many equal values a quarter is no quarter.
        if mask.sum() <= 0.4 * known.sum()
    }


def _own_lines(
    path: str | Path, lines: Sequence[dict[str, Any]], key: str, row_ids: Sequence[str]
) -> list[dict[str, Any] | None]:
    """The line of each row, whose name is as it is or as a table of ours writes it."""
    places = places_by_name(row_ids)
    own: list[dict[str, Any] | None] = [None] * len(row_ids)
    for line in lines:
        place = places.get(line[key] or "")
        if place is None:
            continue
        if own[place] is not None and own[place] != line:
            raise InvalidValue(f"{path}: gives '{printable(row_ids[place])}' two lines. Keep one of them.")
        own[place] = line
    return own


def _by_cells(name: str, cells: NDArray[np.str_]) -> Members:
    """By value where the values are few, or else, and where none of them is frequent enough, by quarters of numbers."""
    if len(np.unique(cells)) <= MOST_VALUES and (parts := _by_value(name, cells)):
        return parts
    try:
        numbers = np.array([float(cell) if cell else np.nan for cell in cells.tolist()])
    except ValueError:
        return {}
    return by_quarter(name, numbers)


def _by_label(dataset: Dataset) -> Members:
    labels = np.asarray(dataset.labels) != 0
    found = {
        f"label {name}": mask
        for name, mask in zip(dataset.class_names, labels.T, strict=True)
        if mask.sum() >= FEWEST_IMAGES
    }
    return found | _by_value("number of labels", labels.sum(axis=1).astype(str))


def _by_value(name: str, values: NDArray[np.str_]) -> Members:
    distinct, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return {
        f"{name} {value}": inverse == place
        for place, (value, count) in enumerate(zip(distinct.tolist(), counts.tolist(), strict=True))
        if value and count >= FEWEST_IMAGES
    }


def _read(path: Path) -> tuple[list[dict[str, Any]], str]:
    try:
        table = csv.DictReader(io.StringIO(read_plain(path).decode("utf-8-sig")))
        columns, lines = table.fieldnames or (), list(table)
    except OSError as error:
        raise InvalidValue(f"{path}: cannot be read ({error.strerror}).") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidValue(f"{path}: is not a readable table in UTF-8 ({error}).") from error
    if twice := [name for name, count in Counter(columns).items() if count > 1]:
        raise InvalidValue(f"{path}: has two columns '{printable(twice[0])}'. Name each once.")
    key = next((name for name in KEYS if name in columns), None)
    if key is None or not lines:
        found = ", ".join(map(printable, columns)) or "nothing"
        raise InvalidValue(f"{path}: needs a line an image and a column {' or '.join(KEYS)}; found {found}.")
    return lines, key
