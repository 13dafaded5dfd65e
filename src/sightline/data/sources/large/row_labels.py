"""Labels of images in large files, one or several: what their cells say, each different one looked at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sightline.data.sources.assembly import fuse_classes, natural_order
from sightline.data.sources.large.large_files import named_numbers
from sightline.data.sources.local.label_cells import Labels, parted_labels
from sightline.errors import InvalidSource
from sightline.system.text import printable

# So many different labels may be few images' own.
_FEW = 20


Found = tuple[list[Labels], Sequence[str] | None, tuple[str, ...]]
"""Labels of each row, None where it has none; the order of the classes where it is known; and remarks."""


@dataclass(frozen=True)
class SeveralLabels:
    """What the cells of a column of labels say.

    Attributes:
        labels: by the text of a cell, the labels of its image; None where it says nothing.
        class_names: their order, where numbers stand for names.
        remarks: what is to be said of it.
    """

    labels: Mapping[str, Labels]
    class_names: Sequence[str] | None
    remarks: tuple[str, ...]


def labels_of_cells(
    typed: str, cells: Sequence[str], names_beside: str, class_names: Sequence[str] | None
) -> SeveralLabels:
    """The labels of different cells: cat;dog, a list, a line each, or numbers of names that lie beside the files."""
    lines = [
        repr([line.strip() for line in cell.splitlines() if line.strip()]) if "\n" in cell else cell for cell in cells
    ]
    parted, remarks = parted_labels(lines)
    present = sorted({name for one in parted for name in one or ()}, key=natural_order)
    if len(present) > _FEW and 2 * len(present) > len(cells):
        raise InvalidSource(
            f"{typed}: {len(cells):,} different cells name {len(present):,} labels, such as "
            f"{printable(present[-1])[:80]!r}: these are descriptions, not labels. Name another key or column: "
            "--column label=NAME."
        )
    named, order, more = named_numbers(present, names_beside, class_names)
    name_of = dict(zip(present, named, strict=True))
    labels = {
        cell: None if one is None else tuple(name_of[name] for name in one)
        for cell, one in zip(cells, parted, strict=True)
    }
    return SeveralLabels(labels, order, (*remarks, *more))


def single_labels(
    found: Sequence[str], remarks: tuple[str, ...], names_beside: str, class_names: Sequence[str] | None
) -> Found:
    """The one label of each row in the same form, "" being none."""
    if not any(found):
        return [None] * len(found), class_names, remarks
    written, order, more = named_numbers([one for one in found if one], names_beside, class_names)
    each = iter(written)
    return [(next(each),) if one else None for one in found], order, (*remarks, *more)


def fused_labels(splits: Sequence[str], labels: Sequence[Labels]) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """Labels by one name in all splits, as `fuse_classes` has it of classes; and what is to be said of it."""
    fused, told = fuse_classes({(split, name) for split, one in zip(splits, labels, strict=True) for name in one or ()})
    every = zip(splits, labels, strict=True)
    return [tuple(dict.fromkeys(fused[split, name] for name in one or ())) for split, one in every], told
