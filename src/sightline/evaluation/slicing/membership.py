"""From rows to the parts that they belong to; no part is chosen by which answers are wrong."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sightline.data.inputs.properties import FORMATS, MEASURED
from sightline.errors import InvalidValue
from sightline.metrics.slices import FEWEST_IMAGES
from sightline.records import Dataset, Store
from sightline.system.stored import read_plain
from sightline.system.text import printable

Members = dict[str, NDArray[np.bool_]]
KEYS: Final = ("file", "row_id", "path")
"""What the column of a table that names its rows may be called."""
# Of a column with more values, quarters are made of numbers, and nothing of words.
MOST_VALUES: Final = 50
_QUARTERS = ("lowest quarter", "highest quarter")
_PROPERTIES = ("brightness", "contrast", "sharpness", "colour")


def members_of(dataset: Dataset, measured: NDArray[np.float32]) -> Members:
    """Parts by class, group, size, brightness, sharpness and kind of file.

    Args:
        dataset: the judged rows.
        measured: (num_images, 7) as `sightline.data.inputs.properties.measured_rows`.
    """
    found = _by_value("class", np.array(dataset.named()))
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
    by_row = {line[key] or "": line for line in lines}
    own = [by_row.get(row_id) for row_id in row_ids]
    if not any(own):
        raise InvalidValue(
            f"{path}: names none of {len(row_ids):,} judged images; they are called as '{printable(row_ids[0])}'."
        )
    found: Members = {}
    for column in (name for name in lines[0] if name is not None and name != key):
        cells = np.array(["" if line is None else str(line[column] or "").strip() for line in own])
        found |= _by_cells(printable(str(column)), cells)
    return found


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


def _by_cells(name: str, cells: NDArray[np.str_]) -> Members:
    if len(np.unique(cells)) <= MOST_VALUES:
        return _by_value(name, cells)
    try:
        numbers = np.array([float(cell) if cell else np.nan for cell in cells.tolist()])
    except ValueError:
        return {}
    return by_quarter(name, numbers)


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
    key = next((name for name in KEYS if name in columns), None)
    if key is None or not lines:
        found = ", ".join(map(printable, columns)) or "nothing"
        raise InvalidValue(f"{path}: needs a line an image and a column {' or '.join(KEYS)}; found {found}.")
    return lines, key
