"""Parquet files whose rows hold the images themselves, as Hugging Face's datasets lie on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.data.sources.assembly import LabelledFiles, natural_order, to_dataset
from sightline.data.sources.large.large_files import LargeFiles, splits_by_name, stems_of, told_apart
from sightline.data.sources.large.parquet_layout import (
    Layout,
    footer_of,
    image_columns,
    layout_of,
    no_images,
    schema_of,
)
from sightline.data.sources.large.row_labels import Found, fused_labels, labels_of_cells, single_labels
from sightline.data.sources.levels import split_of
from sightline.data.sources.local.cells import (
    cell_text,
    cleaned_labels,
    features_of,
    named_cells,
    several_labels,
)
from sightline.data.sources.local.tables import COLUMNS, Columns
from sightline.data.storage.blobs import Blob
from sightline.data.storage.packed_names import PackedNames
from sightline.data.storage.parquet_rows import ParquetStore, column_of, parquet_reader
from sightline.errors import InvalidSource, SightlineError, pick
from sightline.records import Dataset
from sightline.system.text import printable

# Of a cell without bytes, whose file is not looked at yet.
_USUAL_BYTES = 2**20


@dataclass(eq=False)
class _Rows:
    """What the rows of some files say beside their images, one behind the other."""

    names: list[str]
    num_bytes: list[NDArray[np.int64]]
    blob_of: list[NDArray[np.int32]]
    group_of: list[NDArray[np.int32]]
    row_in_group: list[NDArray[np.int32]]
    cells: dict[str, list[Any]]
    stamps: list[int]


def read_parquet(
    files: LargeFiles,
    *,
    columns: Columns | None = None,
    name: str | None = None,
    class_names: Sequence[str] | None = None,
    several: bool = False,
) -> Dataset:
    """Open Parquet files with a column of images and one of labels; only footers and small columns are read.

    Args:
        files: where they lie.
        columns: what the columns of images ("path") and labels are called, and of split, group and weight.
        name: short name; theirs if None.
        class_names: their order; where labels are numbers without names, what they stand for.
        several: whether a row may have several labels, or none: its cell is a list, or text such as cat;dog.

    Returns:
        One row a row with a label; the others are in `left_out`.
    """
    for meaning in columns or {}:
        pick(COLUMNS, meaning, kind="meaning of a column")
    typed = printable(files.typed)
    layout = layout_of(files, columns or {})
    rows = _rows(files, layout)
    labels, order, remarks = (_several if several else _single)(files, layout, rows.cells["label"], class_names)
    has_label = np.array([label is not None for label in labels], bool)
    weights = _weights(typed, layout, rows)
    chosen = np.flatnonzero(has_label)
    left_out = [(printable(rows.names[row]), "has no label") for row in np.flatnonzero(~has_label).tolist()]
    if not len(chosen):
        raise InvalidSource(
            f"{typed}: none of its {len(labels):,} rows has a label in the column {layout.columns['label']!r}."
        )
    if left_out:
        first = left_out[0][0]
        remarks = (*remarks, f"rows left out: {len(left_out):,} of {len(labels):,} (has no label), such as {first}")
    store = _store(files.blobs, layout, rows).take(chosen)
    splits = _splits(typed, files.blobs, rows)
    splits = told_apart([splits[row] for row in chosen.tolist()])
    kept = [labels[row] for row in chosen.tolist()]
    if layout.class_names and class_names is None:
        order = _used(layout.class_names, {name for one in kept for name in one or ()})
    fused, told = fused_labels(splits, kept)
    groups = rows.cells.get("group")
    labelled = LabelledFiles(
        store,
        () if several else [one[0] for one in fused],
        splits,
        np.array(store.stamps_of_blobs, np.int64)[store.blob_of],
        groups=None if groups is None else [cell_text(groups[row]) for row in chosen.tolist()],
        weights=None if weights is None else weights[chosen],
        remarks=(*remarks, *told),
        left_out=tuple(left_out),
        labels=fused if several else None,
    )
    return to_dataset(labelled, typed=typed, name=name or files.name, class_names=order)


def cells_of(files: LargeFiles, *, columns: Columns | None = None) -> ParquetStore:
    """All images of Parquet files, labels or not, in their order."""
    schema, first = schema_of(files)
    features = features_of(schema.metadata)
    image = image_columns(schema, features, (columns or {}).get("path"), files.typed)
    if not image:
        raise InvalidSource(f"{printable(files.typed)}: {no_images(first, schema)}")
    layout = Layout(image, {}, [], features)
    rows = _rows(files, layout)
    if not rows.names:
        raise InvalidSource(f"{printable(files.typed)}: has no row.")
    return _store(files.blobs, layout, rows)


def _rows(files: LargeFiles, layout: Layout) -> _Rows:
    rows = _Rows([], [], [], [], [], {meaning: [] for meaning in layout.columns}, [])
    stems = stems_of(files.blobs)
    for number, (blob, stem) in enumerate(zip(files.blobs, stems, strict=True)):
        footer = footer_of(files, blob)
        table = _small_columns(files, blob, footer, layout)
        for meaning, name in layout.columns.items():
            values = named_cells(table.column(name), layout.features.get(name))
            rows.cells[meaning] += values
        rows.names += _names(stem, table, layout, footer.num_rows)
        rows.stamps.append(blob.stamp or _digest_of(blob))
        sizes = [footer.row_group(group) for group in range(footer.num_row_groups)]
        counts = [group.num_rows for group in sizes]
        rows.blob_of.append(np.full(footer.num_rows, number, np.int32))
        rows.group_of.append(np.repeat(np.arange(len(counts), dtype=np.int32), counts))
        rows.row_in_group += [np.arange(count, dtype=np.int32) for count in counts]
        each = [_bytes_a_row(group, layout.image[0]) for group in sizes]
        rows.num_bytes.append(np.repeat(np.array(each, np.int64), counts))
    return rows


def _small_columns(files: LargeFiles, blob: Blob, footer: Any, layout: Layout) -> Any:
    """What is read beside the images: the other columns, and the paths inside the images."""
    wanted = [*layout.columns.values(), *filter(None, layout.image[1:])]
    there = footer.schema.to_arrow_schema()
    image = layout.image[0]
    needed = (*layout.columns.values(), image if image in there.names else image.rpartition(".")[0])
    missing = [name for name in needed if name not in there.names]
    if missing:
        raise InvalidSource(
            f"{printable(files.typed)}: {printable(blob.name)} lacks the column {printable(missing[0])!r}, which "
            f"{printable(files.blobs[0].name)} has. Name files of one kind."
        )
    try:
        with blob.open() as stream:
            file = parquet_reader().ParquetFile(stream, metadata=footer, pre_buffer=False)
            return file.read(columns=list(dict.fromkeys(wanted)), use_threads=False)
    except Exception as error:
        if isinstance(error, SightlineError):
            raise
        reason = printable(str(error).splitlines()[0] if str(error) else type(error).__name__).rstrip(".")
        raise InvalidSource(f"{printable(files.typed)}: {printable(blob.name)} cannot be read ({reason}).") from error


def _names(stem: str, table: Any, layout: Layout, num_rows: int) -> list[str]:
    """By their paths, where each row has one of its own; else by their numbers."""
    if layout.image[1]:
        paths = column_of(table, layout.image[1]).to_pylist()
        if all(paths) and len(set(paths)) == len(paths):
            return [f"{stem}{path}" for path in paths]
    return [f"{stem}{row:06d}" for row in range(num_rows)]


def _bytes_a_row(group: Any, column: str) -> int:
    """What a cell of a row group takes on average; the footer says no more."""
    for at in range(group.num_columns):
        told = group.column(at)
        if told.path_in_schema == column and group.num_rows:
            return int(told.total_uncompressed_size // group.num_rows) or _USUAL_BYTES
    return _USUAL_BYTES


def _digest_of(blob: Blob) -> int:
    """Of the end of a file, which tells where each part lies, how large it is and what it ranges over."""
    size = int.from_bytes(blob.read(blob.num_bytes - 8, 4), "little") + 8
    return int.from_bytes(hashlib.blake2b(blob.read(blob.num_bytes - size, size), digest_size=7).digest(), "big") or 1


def _store(blobs: tuple[Blob, ...], layout: Layout, rows: _Rows) -> ParquetStore:
    def joined(parts: Sequence[NDArray[Any]], dtype: Any) -> NDArray[Any]:
        return np.concatenate(parts) if parts else np.zeros(0, dtype)

    return ParquetStore(
        names=PackedNames.of(rows.names),
        num_bytes=joined(rows.num_bytes, np.int64),
        arrivals=np.arange(len(rows.names)),
        blobs=blobs,
        blob_of=joined(rows.blob_of, np.int32),
        stamps_of_blobs=tuple(rows.stamps),
        columns=layout.image,
        group_of=joined(rows.group_of, np.int32),
        row_in_group=joined(rows.row_in_group, np.int32),
    )


def _several(files: LargeFiles, layout: Layout, values: Sequence[Any], class_names: Sequence[str] | None) -> Found:
    typed = printable(files.typed)
    cells = _label_cells(typed, layout, values)
    found = labels_of_cells(typed, list(dict.fromkeys(cells)), files.names_of_numbers(), class_names)
    return [found.labels[cell] for cell in cells], found.class_names, found.remarks


def _single(files: LargeFiles, layout: Layout, values: Sequence[Any], class_names: Sequence[str] | None) -> Found:
    found, remarks = _labels(printable(files.typed), layout, values)
    if layout.class_names:  # which stand for numbers already
        return [(one,) if one else None for one in found], class_names, remarks
    return single_labels(found, remarks, files.names_of_numbers(), class_names)


def _labels(typed: str, layout: Layout, values: Sequence[Any]) -> tuple[list[str], tuple[str, ...]]:
    if any(isinstance(value, dict) for value in values[:100]):
        raise InvalidSource(f"{typed}: the column {layout.columns['label']!r} holds objects. Name one of labels.")
    is_listed = any(isinstance(value, list) for value in values)
    if layout.class_names and not is_listed:
        wrong = [value for value in values if type(value) is int]
        if wrong:
            raise InvalidSource(
                f"{typed}: a row has the label {wrong[0]}; with {len(layout.class_names)} names of classes labels go "
                f"from 0 to {len(layout.class_names) - 1}, and -1 for none."
            )
        return ["" if value is None else value for value in values], ()
    cells = _label_cells(typed, layout, values) if is_listed else [cell_text(value) for value in values]
    distinct = list(dict.fromkeys(cells))
    if example := several_labels(distinct):
        raise InvalidSource(
            f"{typed}: the label {printable(example)!r} looks like several labels. One image has one label here; "
            "keep one of them, give the combination a name of its own, or ask for several: --task multi-label."
        )
    cleaned, remarks = cleaned_labels(cells)
    return ["" if label == "-1" else label for label in cleaned], remarks


def _label_cells(typed: str, layout: Layout, values: Sequence[Any]) -> list[str]:
    """Cells of a column of several labels as text; numbers in a list by the names that the file has for them."""
    column, names = layout.columns["label"], layout.class_names
    cells = []
    for value in values:
        listed = value if isinstance(value, list) else [value]
        if any(isinstance(one, dict | list) for one in listed):
            raise InvalidSource(
                f"{typed}: the column {column!r} holds objects. Name one of labels: --column label=NAME."
            )
        if names and (wrong := [one for one in listed if type(one) is int and not -1 <= one < len(names)]):
            raise InvalidSource(
                f"{typed}: a row has the label {wrong[0]}; with {len(names)} names of classes labels go from 0 to "
                f"{len(names) - 1}, and -1 for none."
            )
        if names and isinstance(value, list):
            value = [names[one] if type(one) is int else one for one in listed if one not in (-1, None)]  # noqa: PLW2901
        cells.append(repr([value]) if names and isinstance(value, str) else cell_text(value))
    return cells


def _weights(typed: str, layout: Layout, rows: _Rows) -> NDArray[np.float64] | None:
    if "weight" not in layout.columns:
        return None
    try:
        weights = np.array([float(value) for value in rows.cells["weight"]], np.float64)
    except (TypeError, ValueError):
        weights = np.array([np.nan])
    if not (np.isfinite(weights) & (weights > 0)).all():
        raise InvalidSource(f"{typed}: the column {layout.columns['weight']!r} must hold numbers above 0 alone.")
    return weights


def _splits(typed: str, blobs: Sequence[Blob], rows: _Rows) -> list[str]:
    """What a column says; else the names of the files."""
    if "split" not in rows.cells:
        of_file = splits_by_name(blobs)
        return [of_file[number] for part in rows.blob_of for number in part.tolist()]
    known: dict[str, str] = {}
    for cell in dict.fromkeys(map(cell_text, rows.cells["split"])):
        split = split_of(cell)
        if cell and split is None:
            raise InvalidSource(
                f"{typed}: a row has the split {printable(cell)!r}; it must be train, validation, test or empty."
            )
        known[cell] = split or ""
    return [known[cell_text(value)] for value in rows.cells["split"]]


def _used(names: Sequence[str], labels: Iterable[str]) -> list[str]:
    """The classes that there are, in the order of their numbers."""
    present = set(labels)
    return list(
        dict.fromkeys([name for name in names if name in present] + sorted(present - set(names), key=natural_order))
    )
