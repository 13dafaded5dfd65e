"""Tar shards of samples as a source: a folder of them, a list in braces, or one; each image is reached by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sightline.data.sources.assembly import LabelledFiles, to_dataset
from sightline.data.sources.large.large_files import LargeFiles, splits_by_name, stems_of, told_apart
from sightline.data.sources.large.row_labels import Found, fused_labels, labels_of_cells, single_labels
from sightline.data.sources.large.shard_index import ShardIndex, index_of
from sightline.data.sources.levels import split_of
from sightline.data.sources.local.cells import cleaned_labels, several_labels
from sightline.data.sources.local.tables import COLUMNS, Columns
from sightline.data.storage.blobs import Blob, ShardStore
from sightline.data.storage.packed_names import PackedNames
from sightline.errors import InvalidSource, pick
from sightline.records import Dataset
from sightline.system.text import counted, printable

SHARD_SUFFIX = ".tar"


def read_shards(
    shards: LargeFiles,
    *,
    columns: Columns | None = None,
    name: str | None = None,
    class_names: Sequence[str] | None = None,
    several: bool = False,
) -> Dataset:
    """Open shards as labelled images: each is a row; labels come from `key.cls`, `key.json` or `key.txt`.

    Args:
        shards: where they lie.
        columns: what the keys of the JSON are called.
        name: short name; theirs if None.
        class_names: their order; where labels are numbers, what they stand for.
        several: whether an image may have several labels, or none.

    Returns:
        One row an image with a label; what has none is in `left_out`.
    """
    for meaning in columns or {}:
        pick(COLUMNS, meaning, kind="meaning of a column")
    typed = printable(shards.typed)
    index = index_of(shards.blobs, where=shards.where, columns=columns)
    _refuse_all_faulty(typed, shards.blobs, index)
    stems = stems_of(shards.blobs)
    left_out = [(printable(f"{stems[number]}{name}"), reason) for number, name, reason in index.left_out]
    left_out += [(printable(blob.name), fault) for blob, fault in zip(shards.blobs, index.faults, strict=True) if fault]
    labels, named, remarks = (_several if several else _single)(typed, shards, index, class_names)
    has_label = np.array([label is not None for label in labels], bool)
    rows = np.flatnonzero(has_label)
    store = _store(shards.blobs, index)
    for row in np.flatnonzero(~has_label).tolist():
        left_out.append((printable(store.names[row]), "has no label (no .cls, .json or .txt that says one)"))
    if not len(rows):
        first = ": ".join(left_out[0]) if left_out else "there is no image"
        raise InvalidSource(
            f"{typed}: none of its {len(has_label):,} images has a label; the first: {first}. A sample is key.jpg "
            "beside key.cls (a class), key.json with a label, or key.txt."
        )
    store = store.take(rows) if len(rows) < len(labels) else store
    splits = _splits(typed, shards.blobs, index, rows)
    fused, told = fused_labels(splits, [labels[row] for row in rows.tolist()])
    groups = index.told["group"][rows]
    stamps = np.array(store.stamps_of_blobs, np.int64)[store.blob_of]
    labelled = LabelledFiles(
        store,
        () if several else [one[0] for one in fused],
        splits,
        stamps,
        groups=groups if any(groups) else None,
        remarks=(*_faults_told(shards.blobs, index), *_left_out_told(left_out), *remarks, *told),
        left_out=tuple(left_out),
        labels=fused if several else None,
    )
    return to_dataset(labelled, typed=typed, name=name or shards.name, class_names=named)


def images_of(shards: LargeFiles, *, columns: Columns | None = None) -> ShardStore:
    """All images of shards, with and without labels, in their order; a shard that cannot be read is a row, too."""
    index = index_of(shards.blobs, where=shards.where, columns=columns)
    store = _store(shards.blobs, index, with_faults=True)
    if not len(store):
        raise InvalidSource(f"{printable(shards.typed)}: there is no image in it. Name shards with images.")
    return store


def _store(blobs: tuple[Blob, ...], index: ShardIndex, *, with_faults: bool = False) -> ShardStore:
    stems = stems_of(blobs)
    names: Iterable[str] = index.names
    if len(blobs) > 1:
        names = (f"{stems[shard]}{name}" for shard, name in zip(index.shard_of.tolist(), index.names, strict=True))
    # Time of last change, or what stands for it; the content itself where neither means anything.
    stamps = tuple(blob.stamp or int(content) for blob, content in zip(blobs, index.contents, strict=True))
    num_bytes, shard_of, offsets = index.num_bytes, index.shard_of, index.offsets
    faults = {}
    if with_faults and any(index.faults):
        broken = [number for number, fault in enumerate(index.faults) if fault]
        faults = {blobs[number].name: f"this shard {index.faults[number]}." for number in broken}
        # Behind the images of its shard.
        at = np.searchsorted(shard_of, broken, side="right")
        names = list(names)
        for number, place in zip(reversed(broken), reversed(at.tolist()), strict=True):
            names.insert(place, blobs[number].name)
        num_bytes, offsets = np.insert(num_bytes, at, 0), np.insert(offsets, at, 0)
        shard_of = np.insert(shard_of, at, broken)
    packed = names if isinstance(names, PackedNames) else PackedNames.of(names)
    return ShardStore(
        names=packed,
        num_bytes=num_bytes,
        arrivals=np.arange(len(packed)),
        blobs=blobs,
        blob_of=shard_of.astype(np.int32),
        stamps_of_blobs=stamps,
        offsets=offsets,
        faults=faults,
    )


def _several(typed: str, shards: LargeFiles, index: ShardIndex, class_names: Sequence[str] | None) -> Found:
    coded = index.told["label"]
    found = labels_of_cells(typed, coded.values, shards.names_of_numbers(), class_names)
    return [found.labels[coded.values[code]] for code in coded.codes.tolist()], found.class_names, found.remarks


def _single(typed: str, shards: LargeFiles, index: ShardIndex, class_names: Sequence[str] | None) -> Found:
    found, remarks = _labels(typed, index)
    return single_labels(found, remarks, shards.names_of_numbers(), class_names)


def _labels(typed: str, index: ShardIndex) -> tuple[list[str], tuple[str, ...]]:
    coded = index.told["label"]
    if example := several_labels(coded.values):
        raise InvalidSource(
            f"{typed}: the label {printable(example)!r} looks like several labels. One image has one label here; "
            "keep one of them, give the combination a name of its own, or ask for several: --task multi-label."
        )
    distinct = len([value for value in coded.values if value])
    if distinct > 20 and 2 * distinct > len(coded.codes) and any(" " in value for value in coded.values):
        example = next(value for value in coded.values if " " in value)
        raise InvalidSource(
            f"{typed}: its {len(coded.codes):,} images have {distinct:,} different texts, such as "
            f"{printable(example)[:80]!r}: these are descriptions, not classes. Write the class of each sample into "
            "key.cls, or name a key of key.json: --column label=NAME."
        )
    cleaned, _ = cleaned_labels(coded.values)
    _, remarks = cleaned_labels([value for value in coded.values if value])
    cleaned = ["" if label == "-1" else label for label in cleaned]  # as test sets have it
    return [cleaned[code] for code in coded.codes.tolist()], tuple(
        remark for remark in remarks if "left out" not in remark
    )


def _splits(typed: str, blobs: Sequence[Blob], index: ShardIndex, rows: NDArray[np.int64]) -> list[str]:
    """The split of each row: what its sample says, or the name of its shard; one alone fixes nothing."""
    of_shard = splits_by_name(blobs)
    told = index.told["split"]
    of_text = []
    for value in told.values:
        split = split_of(value)
        if value and split is None:
            raise InvalidSource(
                f"{typed}: a sample has the split {printable(value)!r}; it must be train, validation, test or empty."
            )
        of_text.append(split or "")
    found = [
        of_text[code] or of_shard[shard]
        for code, shard in zip(told.codes[rows].tolist(), index.shard_of[rows].tolist(), strict=True)
    ]
    return told_apart(found)


def _refuse_all_faulty(typed: str, blobs: Sequence[Blob], index: ShardIndex) -> None:
    if blobs and not len(index.names) and all(index.faults):
        raise InvalidSource(f"{typed}: {printable(blobs[0].name)} {index.faults[0].rstrip('.')}.")


def _faults_told(blobs: Sequence[Blob], index: ShardIndex) -> Iterator[str]:
    broken = [(blob.name, fault) for blob, fault in zip(blobs, index.faults, strict=True) if fault]
    if broken:
        name, fault = broken[0]
        yield (
            f"{len(broken):,} of {counted(len(blobs), 'shard')} cannot be read to the end, such as {printable(name)}, "
            f"which {fault}; what was in there is missing: copy them again"
        )


def _left_out_told(left_out: Sequence[tuple[str, str]]) -> Iterator[str]:
    for reason, number in Counter(reason for _, reason in left_out).items():
        if reason.startswith(("has ", "stands ")):
            first = next(name for name, why in left_out if why == reason)
            yield f"samples left out: {number:,} ({reason}), such as {first}"
