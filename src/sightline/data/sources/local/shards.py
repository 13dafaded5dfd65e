"""Tar shards of samples as a source: a folder of them, a list in braces, or one; each image is reached by itself."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sightline.data.sources.assembly import LabelledFiles, fuse_classes, to_dataset
from sightline.data.sources.levels import split_of, split_within
from sightline.data.sources.local.cells import cleaned_labels, several_labels
from sightline.data.sources.local.shard_index import ShardIndex, index_of
from sightline.data.sources.local.tables import COLUMNS, Columns
from sightline.data.storage.blobs import Blob, FileBlob, ShardStore
from sightline.data.storage.listing import is_passed_over
from sightline.data.storage.packed_names import PackedNames
from sightline.errors import InvalidSource, InvalidValue, pick
from sightline.records import Dataset
from sightline.system.stored import read_plain
from sightline.system.text import counted, printable

SHARD_SUFFIX = ".tar"
# What programs call a list of class names that lies beside the shards, a line a class number.
NAME_FILES = ("classnames.txt", "classes.txt", "labels.txt")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
MOST_SHARDS = 100_000
_MOST_TOLD = 3
_MOST_NAMES_BYTES = 2**24


@dataclass(frozen=True)
class Shards:
    """Where the shards of a source lie.

    Attributes:
        typed: the source as its user named it.
        name: its short name.
        where: what its index is kept by.
        blobs: the shards, by name.
        names_of_numbers: asks for the class names beside the shards, a line a class number; "" where there are none.
    """

    typed: str
    name: str
    where: str
    blobs: tuple[Blob, ...]
    names_of_numbers: Callable[[], str] = str


def expand_braces(pattern: str) -> list[str]:
    """The names that a list in braces stands for: "train-{008..010}.tar" for three, "{train,test}-0.tar" for two."""
    found = _BRACES.search(pattern)
    if found is None:
        return [pattern]
    bounds = _RANGE.fullmatch(found[1])
    if bounds is not None:
        first, last = int(bounds[1]), int(bounds[2])
        if not 0 <= last - first < MOST_SHARDS:
            raise InvalidValue(
                f"{printable(pattern)}: {{{bounds[0]}}} must go up, over at most {MOST_SHARDS:,} numbers."
            )
        parts = [f"{number:0{len(bounds[1])}d}" for number in range(first, last + 1)]
    else:
        parts = found[1].split(",")
    rests = expand_braces(pattern[found.end() :])
    if len(parts) * len(rests) > MOST_SHARDS:
        raise InvalidValue(f"{printable(pattern)}: stands for more than {MOST_SHARDS:,} files. Name a folder of them.")
    return [f"{pattern[: found.start()]}{part}{rest}" for part in parts for rest in rests]


def is_list(path: str | Path, *suffixes: str) -> bool:
    """Whether a name is a list in braces of files that end so, and not a file that is called like that."""
    name = str(path)
    return _BRACES.search(name) is not None and name.lower().endswith(suffixes) and not os.path.lexists(name)


def files_in(folder: Path, suffix: str) -> list[str]:
    """Files of that ending in a folder and in its sub-folders of splits, by name; none where it holds other folders.

    A folder of classes that has an archive beside them stays one.
    """
    names, folders = _look_into(folder, suffix)
    if names is None:
        return []
    inner = list[str]()
    for name in folders:
        below, deeper = _look_into(folder / name, suffix)
        if below:
            inner += [f"{name}/{file}" for file in below]
        elif below is None or deeper or split_of(name) is not None:
            return []  # what lies in there is something else
    others = [name for name in folders if not any(file.startswith(f"{name}/") for file in inner)]
    if others or (inner and not names and not all(split_within(name) or name == "data" for name in folders)):
        return []
    return sorted([*names, *inner])


def _look_into(folder: Path, suffix: str) -> tuple[list[str] | None, list[str]]:
    """Files of an ending and folders in a folder; None instead of the files where images lie there, or it is closed."""
    names, folders = list[str](), list[str]()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_passed_over(entry.name):
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                elif entry.name.lower().endswith(suffix):
                    names.append(entry.name)
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return None, []
    return names, sorted(folders)


def shards_in(folder: Path) -> Shards:
    """Those of a folder that `files_in` told."""
    names = files_in(folder, SHARD_SUFFIX)
    return _local(folder, names, typed=str(folder), name=printable(folder.absolute().name) or "shards")


def shards_listed(pattern: str) -> Shards:
    """Those of a list in braces; refused where one of them is not there."""
    paths = local_files(pattern)
    folder = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120  # a Path for each is slow
    names = [os.path.relpath(path, folder or ".") for path in paths]
    return _local(Path(folder), names, typed=pattern, name=listed_name(pattern))


def one_shard(path: Path) -> Shards:
    """A single one."""
    return _local(path.parent, [path.name], typed=str(path), name=printable(path.stem) or "shard")


def local_files(pattern: str) -> list[str]:
    """The files of a list in braces; an InvalidSource where some of them are not there."""
    names = expand_braces(os.path.expanduser(pattern))  # noqa: PTH111  # Path's own raises where there is no home
    missing = [name for name in names if not os.path.isfile(name)]  # noqa: PTH113  # a name may hold what is no path
    if missing:
        refuse_missing(pattern, missing, len(names))
    return names


def refuse_missing(pattern: str, missing: Sequence[str], number: int) -> None:
    """Refuse a list of which some files are not there: what they hold would be missing without a word."""
    told = ", ".join(map(printable, missing[:_MOST_TOLD]))
    more = ", ..." if len(missing) > _MOST_TOLD else ""
    verb = "is" if len(missing) == 1 else "are"
    raise InvalidSource(
        f"{printable(pattern)}: of {counted(number, 'file')} that it stands for, {len(missing):,} {verb} not there: "
        f"{told}{more}. Fetch them, or name those that you have."
    )


def listed_name(pattern: str) -> str:
    """A short name for a list in braces: what stands before the first of them."""
    name = _BRACES.split(pattern)[0].replace("\\", "/").rpartition("/")[2]
    return printable(name.strip("-_. ")) or "shards"


def read_shards(
    shards: Shards, *, columns: Columns | None = None, name: str | None = None, class_names: Sequence[str] | None = None
) -> Dataset:
    """Open shards as labelled images: each is a row; labels come from `key.cls`, `key.json` or `key.txt`.

    Args:
        shards: where they lie.
        columns: what the keys of the JSON are called.
        name: short name; theirs if None.
        class_names: their order; where labels are numbers, what they stand for.

    Returns:
        One row an image with a label; what has none is in `left_out`.
    """
    for meaning in columns or {}:
        pick(COLUMNS, meaning, kind="meaning of a column")
    typed = printable(shards.typed)
    index = index_of(shards.blobs, where=shards.where, columns=columns)
    _refuse_all_faulty(typed, shards.blobs, index)
    stems = _stems(shards.blobs)
    left_out = [(printable(f"{stems[number]}{name}"), reason) for number, name, reason in index.left_out]
    left_out += [(printable(blob.name), fault) for blob, fault in zip(shards.blobs, index.faults, strict=True) if fault]
    labels, remarks = _labels(typed, index)
    has_label = np.array([bool(label) for label in labels], bool)
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
    kept = [labels[row] for row in rows.tolist()]
    written, named, more = _named(kept, shards.names_of_numbers(), class_names)
    fused, told = fuse_classes(set(zip(splits, written, strict=True)))
    groups = index.told["group"][rows]
    stamps = np.array(store.stamps_of_blobs, np.int64)[store.blob_of]
    labelled = LabelledFiles(
        store,
        [fused[pair] for pair in zip(splits, written, strict=True)],
        splits,
        stamps,
        groups=groups if any(groups) else None,
        remarks=(*_faults_told(shards.blobs, index), *_left_out_told(left_out), *remarks, *more, *told),
        left_out=tuple(left_out),
    )
    return to_dataset(labelled, typed=typed, name=name or shards.name, class_names=named)


def images_of(shards: Shards) -> ShardStore:
    """All images of shards, with and without labels, in their order; a shard that cannot be read is a row, too."""
    index = index_of(shards.blobs, where=shards.where)
    store = _store(shards.blobs, index, with_faults=True)
    if not len(store):
        raise InvalidSource(f"{printable(shards.typed)}: there is no image in it. Name shards with images.")
    return store


def _local(folder: Path, names: Sequence[str], *, typed: str, name: str) -> Shards:
    blobs = []
    for file in names:
        try:
            blobs.append(FileBlob.at(folder / file, file.replace("\\", "/")))
        except (OSError, ValueError) as error:
            raise InvalidSource(
                f"{printable(str(folder / file))}: cannot be read ({getattr(error, 'strerror', None) or error})."
            ) from error
    where = os.path.abspath(typed)  # noqa: PTH100  # the same source, wherever the process goes
    return Shards(typed, name, where, tuple(blobs), lambda: _names_beside(folder / names[0] if names else folder))


def _names_beside(shard: Path) -> str:
    for folder in (shard.parent, shard.parent.parent):
        for name in NAME_FILES:
            try:
                return read_plain(folder / name, most_bytes=_MOST_NAMES_BYTES).decode("utf-8-sig")
            except (OSError, UnicodeDecodeError):
                continue
    return ""


def _stems(blobs: Sequence[Blob]) -> list[str]:
    """What stands before the name of a member: its shard, where there are several."""
    return [f"{blob.name.rpartition('.')[0]}/" for blob in blobs] if len(blobs) > 1 else [""]


def _store(blobs: tuple[Blob, ...], index: ShardIndex, *, with_faults: bool = False) -> ShardStore:
    stems = _stems(blobs)
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


def _labels(typed: str, index: ShardIndex) -> tuple[list[str], tuple[str, ...]]:
    coded = index.told["label"]
    if example := several_labels(coded.values):
        raise InvalidSource(
            f"{typed}: the label {printable(example)!r} looks like several labels. One image has one label here; "
            "keep one of them, or give the combination a name of its own."
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
    return [cleaned[code] for code in coded.codes.tolist()], tuple(
        remark for remark in remarks if "left out" not in remark
    )


def _splits(typed: str, blobs: Sequence[Blob], index: ShardIndex, rows: np.ndarray) -> list[str]:
    """The split of each row: what its sample says, or the name of its shard; one alone fixes nothing."""
    of_shard = [split_within(blob.name.rpartition("/")[2]) or split_within(blob.name) or "" for blob in blobs]
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
    return [""] * len(found) if len(set(found)) == 1 else found


def _named(
    labels: list[str], names_beside: str, class_names: Sequence[str] | None
) -> tuple[list[str], Sequence[str] | None, tuple[str, ...]]:
    """Class numbers by the names beside the shards, or by those that were given; and the order of the classes."""
    lines = names_beside.splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    listed = [line.strip() for line in lines] if class_names is None else list(class_names)
    present = set(labels)
    numbers = {label: int(label) for label in present if label.isascii() and label.isdigit()}
    if not listed or len(numbers) < len(present):
        return labels, class_names, ()
    if class_names is not None and present <= set(class_names):
        return labels, class_names, ()
    if max(numbers.values()) >= len(listed) or len(set(listed)) < len(listed) or not all(listed):
        remark = f"the names beside the shards are {len(listed):,}, and class numbers go to {max(numbers.values())}"
        return labels, class_names, () if class_names else (f"{remark}; the numbers were kept",)
    used = [listed[number] for number in sorted(numbers.values())]
    return [listed[numbers[label]] for label in labels], class_names or used, ()


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
