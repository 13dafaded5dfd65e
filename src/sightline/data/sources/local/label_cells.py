"""The labels of images that may have several: a cell such as `cat;dog`, a list, or a column of 0 and 1 for each."""

from __future__ import annotations

from collections.abc import Sequence

from sightline.data.sources.local.cells import NO_LABEL, Cells, as_list, has_parted_cells
from sightline.errors import InvalidSource
from sightline.system.text import listed, printable

# The first that stands in any cell of the column parts the labels of all of them: "black, white; red" has two.
SEPARATORS = (";", "|", ",")
_FLAGS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}

Labels = tuple[str, ...] | None
"""What an image shows, maybe nothing; None where that is not said."""


def parted_labels(cells: Sequence[str]) -> tuple[list[Labels], tuple[str, ...]]:
    """The labels of each cell of a column, and what is to be said of how they were parted."""
    plain = [cell for cell in dict.fromkeys(cells) if cell and as_list(cell) is None]
    separator = next((one for one in SEPARATORS if any(one in cell for cell in plain)), "")
    if not separator and has_parted_cells(" ", plain):
        separator = " "
    remarks = [f"labels are parted by {separator!r}"] if separator else []
    return [_labels_of(cell, separator) for cell in cells], tuple(remarks)


def _labels_of(cell: str, separator: str) -> Labels:
    listed_there = as_list(cell)
    if listed_there is not None:
        return tuple(dict.fromkeys(listed_there))
    parts = cell.split(separator) if separator else [cell]
    named = dict.fromkeys(part.strip() for part in parts if part.strip())
    told = tuple(name for name in named if name.lower() not in NO_LABEL)
    return told or None


def flag_columns(typed: str, cells: Cells, used: set[int]) -> tuple[list[Labels], tuple[str, ...]]:
    """The labels of each line of a table that has a column for each, and which columns were taken for labels.

    `used` are the columns that mean something else.
    """
    found: dict[str, list[bool | None]] = {}
    others = []
    for position, header in enumerate(cells.headers):
        name = header.strip()
        if position in used or not name:
            continue
        column = [cell.lower() for cell in cells.column(position)]
        distinct = set(column) - {""}
        if distinct <= {"-1", "-1.0", *_FLAGS} and distinct & {"-1", "-1.0"}:
            raise InvalidSource(
                f"{typed}: the column {printable(name)!r} says -1, and a label is there (1) or not (0). Write 0 or 1, "
                "or leave the cell empty where it is not known: such a line is left out."
            )
        if not distinct or not distinct <= set(_FLAGS):
            others.append(printable(name))
            continue
        if name in found:
            raise InvalidSource(f"{typed}: has several columns {printable(name)!r}; rename all but one.")
        found[name] = [_FLAGS.get(cell) for cell in column]
    if not found:
        raise InvalidSource(
            f"{typed}: has no column 'label' with labels such as cat;dog, and no columns of 0 and 1, one a label. "
            "Say what the column of labels is called: columns={'label': ...}, --column label=..."
        )
    remarks = [f"the labels are the columns of 0 and 1: {listed(list(map(printable, found)), most=10)}"]
    if others:
        remarks.append(f"columns that hold other things than 0 and 1 are no labels: {listed(others, most=10)}")
    rows = zip(*found.values(), strict=True)
    labels = [
        None if None in row else tuple(name for name, flag in zip(found, row, strict=True) if flag) for row in rows
    ]
    return labels, tuple(remarks)
