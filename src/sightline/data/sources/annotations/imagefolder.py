"""Hugging Face's `imagefolder`: `metadata.csv` or `metadata.jsonl` with file_name and label, at the root or a split.

Source:
    https://huggingface.co/docs/datasets/image_dataset
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from sightline.data.sources.annotations.marks import METADATA, is_folder, marked, split_by_folder
from sightline.data.sources.annotations.parsing import head_of
from sightline.data.sources.annotations.records import finished, folder_of
from sightline.data.sources.levels import BY_LAST, split_of
from sightline.data.sources.local.cells import read_cells
from sightline.data.sources.local.finding import why_outside
from sightline.data.sources.local.folders import read_folder
from sightline.data.sources.local.lines import Form, Line
from sightline.data.sources.local.tables import COLUMNS, Columns, files_of, lines_of
from sightline.errors import InvalidSource
from sightline.records import Dataset
from sightline.system.text import listed, printable

_PATH = "file_name"


def fits_imagefolder(path: Path) -> bool:
    """True of a folder with a table of metadata, in it or in its splits, that names files."""
    return is_folder(path) and any(_PATH in head_of(path / file).lower() for file in marked(path, METADATA))


def read_imagefolder(
    path: Path,
    *,
    columns: Columns | None = None,
    name: str | None = None,
    class_names: Sequence[str] | None = None,
    several: bool = False,
) -> Dataset:
    """Open a folder of images with tables of metadata.

    Args:
        path: the folder. Paths are relative to the table that names them. Without a column of labels, folders name
            the classes as anywhere else.
        columns: what the columns are called where it is not file_name and label.
        name: short name; that of the folder if None.
        class_names: their order; sorted by name if None.
        several: whether an image may have several labels.
    """
    typed, folder = printable(str(path)), folder_of(path)
    files = marked(path, METADATA)
    if len({file.rpartition(".")[2] for file in files}) > 1:
        raise InvalidSource(f"{typed}: holds {listed(files)}, which may say the same or not. Keep one kind of them.")
    tables = {file: read_cells(folder / file, f"{typed}/{printable(file)}") for file in files}
    wanted: dict[str, str | Sequence[str]] = {"path": _PATH, **(columns or {})}
    headers = [header.strip() for cells in tables.values() for header in cells.headers]
    if "label" not in wanted and not {header.lower() for header in headers} & set(COLUMNS["label"]):
        return _by_folders(path, headers, name=name, class_names=class_names, several=several)
    left_out: list[tuple[str, str]] = []
    lines: list[Line] = []
    said: dict[str, None] = {}
    has_weights = False
    form: Form = "parted" if several else "class"
    for file, cells in tables.items():
        read, remarks, weighed = lines_of(f"{typed}/{printable(file)}", cells, wanted, left_out, form=form)
        lines += _inside(file.rpartition("/")[0], read, left_out)
        said |= dict.fromkeys(remarks)
        has_weights |= weighed
    lines.sort(key=lambda line: (line.path, line.label, line.name))
    labelled = files_of(typed, folder, lines, left_out, has_weights=has_weights, form=form)
    holders = {line.path.rpartition("/")[0] for line in lines} - {file.rpartition("/")[0] for file in files}
    if len({holder for holder in holders if not split_of(holder)}) > 1:
        said[f"the classes are those of {listed(files)}; with {BY_LAST} they are those of the folders"] = None
    named = name or printable(folder.name) or "folder"
    return finished(typed, labelled, tuple(said), name=named, class_names=class_names)


def _inside(folder: str, lines: Sequence[Line], left_out: list[tuple[str, str]]) -> Iterator[Line]:
    """Lines with paths from the top, and the split that the path says; what leads out of the folder is left out."""
    for line in lines:
        if reason := why_outside(line.path):
            left_out.append((printable(line.path), f"{reason} ({line.name})"))
            continue
        path, where = (
            (f"{folder}/{line.path}", f"{printable(folder)}/{line.name}") if folder else (line.path, line.name)
        )
        yield replace(line, path=path, name=where, split=line.split or split_by_folder(path))


def _by_folders(
    path: Path, headers: Sequence[str], *, name: str | None, class_names: Sequence[str] | None, several: bool
) -> Dataset:
    try:
        return read_folder(path, name=name, class_names=class_names, several=several)
    except InvalidSource as error:
        found = listed(sorted({header for header in headers if header.lower() != _PATH}), most=8)
        raise InvalidSource(
            f"{error} Or its metadata name the classes: found {found or 'no column of labels'}; say which with "
            "columns={'label': ...}, --column label=..."
        ) from error
