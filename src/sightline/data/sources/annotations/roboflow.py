"""Roboflow: `_classes.csv` beside the images of each split, a column of 0 and 1 for each class.

Its other export for classification is a folder a class, which is opened as any folder is.

Source:
    https://docs.roboflow.com/datasets/adding-data/formats
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from sightline.data.sources.annotations.marks import CLASSES, is_folder, marked, split_by_folder
from sightline.data.sources.annotations.records import Annotation, Export, dataset_of, folder_of, version_group
from sightline.data.sources.local.cells import read_cells
from sightline.errors import InvalidSource
from sightline.records import Dataset
from sightline.system.text import listed, printable

# So the column of images without any class is called.
_NO_CLASS = frozenset({"unlabeled", "unlabelled"})
_TRUTHS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False, "": False}


def fits_roboflow(path: Path) -> bool:
    """True of a `_classes.csv`, and of a folder with one in it or in its splits."""
    return bool(marked(path, CLASSES)) if is_folder(path) else path.name.lower() in CLASSES


def read_roboflow(
    path: Path, *, name: str | None = None, class_names: Sequence[str] | None = None, several: bool = False
) -> Dataset:
    """Open an export of Roboflow with a column a class.

    Args:
        path: a folder with `_classes.csv` in `train`, `valid` and `test`, or in itself; or one such file.
        name: short name; that of the folder if None.
        class_names: their order; sorted by name if None.
        several: whether an image may have several labels.
    """
    typed = printable(str(path))
    folder, in_folder = folder_of(path), is_folder(path)
    entries: list[Annotation] = []
    for file in marked(path, CLASSES) if in_folder else (path.name,):
        split = split_by_folder(file) if in_folder else ""
        entries += _entries(folder, file, split, f"{typed}/{printable(file)}" if in_folder else typed)
    export = Export(typed, folder, entries, "line", printable(folder.name) or "roboflow")
    return dataset_of(export, name=name, class_names=class_names, several=several)


def _entries(folder: Path, file: str, split: str, typed: str) -> Iterator[Annotation]:
    cells = read_cells(folder / file, typed)
    headers = [header.strip() for header in cells.headers]
    if len(headers) < 3 or headers[0].lower() != "filename":
        raise InvalidSource(
            f"{typed}: its first line must name filename and the classes; found {listed(headers) or 'no line at all'}. "
            "Masks of segmentation are no classes of images: export it for classification."
        )
    if len(set(headers)) < len(headers):
        repeated = next(header for header in headers if headers.count(header) > 1)
        raise InvalidSource(f"{typed}: has several columns {printable(repeated)!r}; rename all but one.")
    inside = os.path.dirname(file)  # noqa: PTH120  # "" for none, not "."
    for line_name, (named, *marks) in zip(cells.line_names, cells.rows, strict=True):
        labels, is_marked = [], False
        for header, mark in zip(headers[1:], marks, strict=True):
            is_one = _TRUTHS.get(mark.lower())
            if is_one is None:
                what = f"{printable(mark)!r} in the column {printable(header)!r}"
                raise InvalidSource(f"{typed}: {line_name} has {what}; it must be 0 or 1.")
            is_marked |= is_one
            if is_one and header.lower() not in _NO_CLASS:
                labels.append(header)
        paths = (f"{inside}/{named}", named) if inside and named else (named,)
        where = f"{printable(inside)}/{line_name}" if inside else line_name
        yield Annotation(paths, tuple(labels), where, split, version_group(named, split), shows_none=not is_marked)
