"""From an address to a Dataset or a Store: a folder of images, a table, tar shards or Parquet, listed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from sightline.data.decoding.formats import IMAGE_SUFFIXES
from sightline.data.sources.assembly import LabelledFiles, to_dataset
from sightline.data.sources.large.large_files import (
    NAME_FILES,
    LargeFiles,
    expand_braces,
    is_list,
    listed_name,
    refuse_missing,
)
from sightline.data.sources.large.parquet import cells_of, read_parquet
from sightline.data.sources.large.parquet_layout import PARQUET_SUFFIX, holds_images
from sightline.data.sources.large.shards import SHARD_SUFFIX, images_of, read_shards
from sightline.data.sources.layout import arrange
from sightline.data.sources.levels import says_nothing, split_within
from sightline.data.sources.local.cells import Cells, cells_of_parquet, cells_of_text
from sightline.data.sources.local.tables import Columns, files_of, form_of, lines_of, paths_in_cells
from sightline.data.sources.remote.objects import ObjectStore, RemoteBlob
from sightline.data.sources.remote.stores import RemoteEntry, fetch, info_of, list_below, stamp_of
from sightline.data.sources.several import as_several
from sightline.data.storage.listing import Listing, is_passed_over, without_outputs
from sightline.data.storage.packed_names import PackedNames
from sightline.errors import InvalidSource, UnreadableImage
from sightline.records import Dataset, Store
from sightline.system.progress import reporter
from sightline.system.stored import MOST_TABLE_BYTES
from sightline.system.text import counted, printable
from sightline.system.workers import map_in_order
from sightline.tasks.single_label import SINGLE_LABEL
from sightline.tasks.table import TASKS, has_several_labels

_THREADS = 16
_LARGE = (SHARD_SUFFIX, PARQUET_SUFFIX)
_TABLES = (".csv", ".tsv")
_LOCAL_ONLY = (".zip", ".npz", ".gz", ".tgz", ".bz2", ".xz", ".tbz2", ".txz", ".json", ".jsonl", ".xml")
_NO_IMAGE = "is not called as images are; in an object store nothing else is looked into"


@dataclass(frozen=True)
class Opening:
    """What is said of a source beside where it is, as `load` takes it."""

    name: str | None = None
    class_names: Sequence[str] | None = None
    label_from: str = "first"
    columns: Columns | None = None
    task: str = SINGLE_LABEL.name

    @property
    def several(self) -> bool:
        """Whether an image may have several labels, or none."""
        return has_several_labels(TASKS[self.task])


class _Status(NamedTuple):
    """What a table asks of a file."""

    st_mode: int
    st_size: int
    st_mtime_ns: int
    st_dev: int = 0
    st_ino: int = 0


_REGULAR = 0o100644


def read_remote(address: str, how: Opening) -> Dataset:
    """Open an address as a source of labelled images."""
    found = _look(address)
    told: dict[str, Any] = {"name": how.name, "class_names": how.class_names}
    if isinstance(found, LargeFiles):
        if found.blobs[0].name.lower().endswith(SHARD_SUFFIX):
            return read_shards(found, columns=how.columns, several=how.several, **told)
        if len(found.blobs) > 1 or holds_images(found, columns=how.columns):
            return read_parquet(found, columns=how.columns, several=how.several, **told)
        return _read_table(address, found.blobs[0].entry, how)  # type: ignore[attr-defined]  # all of them are remote
    if isinstance(found, RemoteEntry):
        return _read_table(address, found, how)
    if how.columns:
        raise InvalidSource(f"columns are named for tables, and {printable(address)} is none. Leave them out.")
    return _read_folder(address, found, how)


def images_at(address: str, columns: Columns | None = None) -> Store:
    """All images at an address, labels or not: of a folder, a table, shards, Parquet files, or a single object."""
    found = _look(address)
    if isinstance(found, LargeFiles):
        if found.blobs[0].name.lower().endswith(SHARD_SUFFIX):
            return images_of(found, columns=columns)
        if len(found.blobs) > 1 or holds_images(found, columns=columns):
            return cells_of(found, columns=columns)
        found = found.blobs[0].entry  # type: ignore[attr-defined]  # as above
    if isinstance(found, RemoteEntry):
        if found.address.lower().endswith((*_TABLES, PARQUET_SUFFIX)):
            return _paths_in_table(address, found, columns)
        base, _, name = found.address.rpartition("/")
        return _objects(f"{base}/", [(name, found)])
    base = _folder(address)
    listing, entries = _listed(base, found)
    kept, remarks = without_outputs(listing)
    for remark in remarks:
        reporter().say(f"note: {printable(address)}: {remark}")
    if not kept.names:
        raise InvalidSource(f"{printable(address)}: there is no image in this folder. Name a folder with images.")
    if kept.left_out:
        name, reason = kept.left_out[0]
        number = counted(len(kept.left_out), "object")
        reporter().say(f"note: {printable(address)}: {number} passed over, such as {name} ({reason})")
    return _objects(base, [(name, entries[name]) for name in sorted(kept.names)])


def _look(address: str) -> LargeFiles | RemoteEntry | list[RemoteEntry]:
    """What lies at an address: large files, a single object, or all objects below it."""
    lowered = address.lower()
    if is_list(address, *_LARGE):
        return _listed_in_braces(address)
    if lowered.endswith(_LOCAL_ONLY):
        raise InvalidSource(
            f"{printable(address)}: is read from the disk alone. Download it, and name the file. From object stores, "
            "folders of images, tables (.csv, .tsv, .parquet), tar shards and Parquet files are read."
        )
    if not address.endswith("/") and "." in address.rpartition("/")[2] and (entry := info_of(address)) is not None:
        name = address.rpartition("/")[2]
        if not lowered.endswith(_LARGE):
            return entry
        return _large(address, name.rpartition(".")[0], [(name, entry)])
    with reporter().bar("listing", total=0, unit="objects") as bar:
        entries = []
        for entry in list_below(address):
            entries.append(entry)
            bar.advance(1)
    if not entries:
        raise InvalidSource(
            f"{printable(address)}: there is no such object, and no folder of that name with any in it."
        )
    base = _folder(address)
    if not entries[0].address.startswith(base):
        told = printable(entries[0].address)
        raise InvalidSource(
            f"{printable(address)}: what lies there is called otherwise, such as {told}. Name it like that."
        )
    for suffix in _LARGE:
        if names := _only_large(base, entries, suffix):
            return _large(address, base.rstrip("/").rpartition("/")[2], names)
    return entries


def _folder(address: str) -> str:
    return address if address.endswith("/") else f"{address}/"


def _only_large(base: str, entries: list[RemoteEntry], suffix: str) -> list[tuple[str, RemoteEntry]]:
    """Objects of an ending right below, or in folders of splits, by name; none where images lie there."""
    found, folders = [], set()
    for entry in entries:
        name = entry.address.removeprefix(base)
        if name.lower().endswith(suffix):
            found.append((name, entry))
            folders.add(name.rpartition("/")[0])
        elif name[name.rfind(".") :].lower() in IMAGE_SUFFIXES:
            return []
    inner = folders - {""}
    if len(inner) > 1 and not all(split_within(name) or says_nothing(name) for name in inner):
        return []
    return sorted(found, key=lambda pair: pair[0])


def _listed_in_braces(address: str) -> LargeFiles:
    addresses = expand_braces(address)
    looked = list(map_in_order(info_of, addresses, workers=min(_THREADS, len(addresses))))
    missing = [one for one, entry in zip(addresses, looked, strict=True) if entry is None]
    if missing:
        refuse_missing(address, missing, len(addresses))
    base = addresses[0].rpartition("/")[0]
    while not all(one.startswith(f"{base}/") for one in addresses):
        base = base.rpartition("/")[0]
    there = [entry for entry in looked if entry is not None]
    return _large(address, listed_name(address), [(entry.address.removeprefix(f"{base}/"), entry) for entry in there])


def _large(address: str, name: str, named: list[tuple[str, RemoteEntry]]) -> LargeFiles:
    blobs = tuple(RemoteBlob(file, entry.num_bytes, entry) for file, entry in named)
    folder = named[0][1].address.rpartition("/")[0]
    return LargeFiles(address, printable(name) or "objects", address, blobs, partial(_names_beside, folder))


def _names_beside(folder: str) -> str:
    for name in NAME_FILES:
        entry = info_of(f"{folder}/{name}")
        if entry is not None and entry.num_bytes <= MOST_TABLE_BYTES:
            return fetch(entry, 0, entry.num_bytes).decode("utf-8-sig", "replace")
    return ""


def _listed(base: str, entries: list[RemoteEntry]) -> tuple[Listing, dict[str, RemoteEntry]]:
    """The objects of a folder as files of one, and by their names."""
    listing, by_name = Listing(), dict[str, RemoteEntry]()
    folders = dict[str, None]()
    for entry in entries:
        name = entry.address.removeprefix(base)
        if any(map(is_passed_over, name.split("/"))):
            continue
        folders[name.rpartition("/")[0]] = None
        if name[name.rfind(".") :].lower() in IMAGE_SUFFIXES:
            listing.add(name, entry.num_bytes, stamp_of(entry.etag), number=(0, 0))
            by_name[name] = entry
        else:
            listing.left_out.append((printable(name), _NO_IMAGE))
    listing.folders = [folder for folder in folders if folder]
    return listing, by_name


def _objects(base: str, named: Sequence[tuple[str, RemoteEntry | None]]) -> ObjectStore:
    return ObjectStore(
        names=PackedNames.of(name for name, _ in named),
        num_bytes=np.array([-1 if entry is None else entry.num_bytes for _, entry in named], np.int64),
        arrivals=np.arange(len(named)),
        base=base,
        etags=PackedNames.of("" if entry is None else entry.etag for _, entry in named),
    )


def _read_folder(address: str, entries: list[RemoteEntry], how: Opening) -> Dataset:
    base, typed = _folder(address), printable(address)
    listing, by_name = _listed(base, entries)
    found = arrange(listing, typed=typed, label_from=how.label_from, several=how.several)
    names = [listing.names[row] for row in found.rows.tolist()]
    stamps = np.array(listing.stamps, np.int64)[found.rows]
    store = _objects(base, [(name, by_name[name]) for name in names])
    labelled = LabelledFiles(store, found.classes, found.splits, stamps, remarks=found.remarks, left_out=found.left_out)
    if how.several:
        labelled = as_several(labelled)
    name = how.name or printable(base.rstrip("/").rpartition("/")[2]) or "objects"
    return to_dataset(labelled, typed=typed, name=name, class_names=how.class_names, remedy=found.remedy)


def _cells(address: str, entry: RemoteEntry) -> tuple[Cells, str]:
    """The cells of a table, and the folder that its paths are relative to."""
    typed = printable(address)
    if entry.num_bytes > MOST_TABLE_BYTES:
        raise InvalidSource(f"{typed}: has more than {MOST_TABLE_BYTES:,} bytes. Split it into several tables.")
    if not address.lower().endswith((*_TABLES, PARQUET_SUFFIX)):
        hint = "It is one image: `sightline predict` takes it. " if _is_image(address) else ""
        raise InvalidSource(
            f"{typed}: cannot be opened as a source. {hint}From object stores, folders of images, tables (.csv, .tsv, "
            ".parquet), tar shards and Parquet files are read."
        )
    try:
        data = fetch(entry, 0, entry.num_bytes)
    except UnreadableImage as error:
        raise InvalidSource(f"{typed}: {error}") from error
    base = f"{entry.address.rpartition('/')[0]}/"
    is_text = address.lower().endswith(_TABLES)
    cells = cells_of_text(data, typed) if is_text else cells_of_parquet(data, typed)
    # Tables of stores often name whole addresses.
    rows = [[cell.removeprefix(base) if cell.startswith(base) else cell for cell in row] for row in cells.rows]
    return replace(cells, rows=rows), base


def _is_image(address: str) -> bool:
    return address[address.rfind(".") :].lower() in IMAGE_SUFFIXES


def _looker(base: str) -> tuple[dict[str, RemoteEntry], Callable[[str], tuple[str, Any]]]:
    """All objects beside a table, which are listed once, and what looks one of them up."""
    there = {entry.address.removeprefix(base): entry for entry in list_below(base)}

    def look(path: str) -> tuple[str, Any]:
        for written in dict.fromkeys((path, path.replace("\\", "/"), path.removeprefix("./"))):
            if (entry := there.get(written)) is not None:
                return written, _Status(_REGULAR, entry.num_bytes, stamp_of(entry.etag))
        return path, None

    return there, look


def _read_table(address: str, entry: RemoteEntry, how: Opening) -> Dataset:
    typed = printable(address)
    cells, base = _cells(address, entry)
    left_out: list[tuple[str, str]] = []
    form = form_of(cells, how.columns or {}, several=how.several)
    lines, remarks, has_weights = lines_of(typed, cells, how.columns or {}, left_out, form=form)
    there, look = _looker(base)
    labelled = files_of(typed, base, lines, left_out, has_weights=has_weights, look=look, form=form)
    store = _objects(base, [(name, there[name]) for name in labelled.files.names])
    labelled = replace(labelled, files=store, remarks=(*remarks, *labelled.remarks))
    name = how.name or printable(address.rpartition("/")[2].rpartition(".")[0]) or "table"
    return to_dataset(labelled, typed=typed, name=name, class_names=how.class_names)


def _paths_in_table(address: str, entry: RemoteEntry, columns: Columns | None) -> ObjectStore:
    cells, base = _cells(address, entry)
    there, look = _looker(base)
    written = [look(path)[0] for path in paths_in_cells(printable(address), cells, columns)]
    return _objects(base, [(path, there.get(path)) for path in written])
