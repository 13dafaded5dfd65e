"""From labelled files to a Dataset: printable names, numbered classes, a fingerprint of all of it."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import InvalidSource, OneClassOnly, closest
from sightline.records import Dataset, Store
from sightline.system.text import printable
from sightline.tasks.multi_label import MULTI_LABEL
from sightline.tasks.single_label import SINGLE_LABEL
from sightline.tasks.table import has_several_labels
from sightline.tasks.task import Task

# Names that are joined at once, where there may be a million of them.
_AT_ONCE = 4096
Reasons = tuple[tuple[str, str], ...]
"""(file, reason) of what cannot be a row."""


@dataclass(frozen=True, eq=False)
class LabelledFiles:
    """What a folder, an archive or a table comes down to before its classes are numbered.

    Attributes:
        files: where the images are.
        classes: (num_images) class names, as written there; nothing where `labels` are given.
        splits: (num_images) "train", "validation", "test" or "".
        stamps: (num_images,) int64, changes when a file changes: its time, or its CRC.
        groups: (num_images) names, "" for each row for itself; None: no groups at all.
        weights: (num_images,) float64, or None.
        remarks: what was noticed, a sentence each.
        left_out: what cannot be a row.
        seal: what else the fingerprint covers, such as size and time of the archive.
        labels: (num_images) names of all labels of each image, maybe none: whatever reads such labels, from a table,
            from folders or from annotations, hands them on here. None where an image has one class.
    """

    files: Store
    classes: Sequence[str]
    splits: Sequence[str]
    stamps: NDArray[np.int64]
    groups: Sequence[str] | None = None
    weights: NDArray[np.float64] | None = None
    remarks: tuple[str, ...] = ()
    left_out: Reasons = ()
    seal: str = ""
    labels: Sequence[tuple[str, ...]] | None = None


def to_dataset(
    labelled: LabelledFiles, *, typed: str, name: str, class_names: Sequence[str] | None = None, remedy: str = ""
) -> Dataset:
    """Number the classes and make a Dataset.

    Args:
        labelled: at least one row.
        typed: the source as its user named it, for messages.
        name: short name of the source.
        class_names: their order, with every class among them; in natural order if None.
        remedy: what to do where all files are of one class.
    """
    several = labelled.labels
    every = labelled.classes if several is None else (name for one in several for name in one)
    found = sorted(set(every), key=natural_order)
    if not found:
        raise InvalidSource(f"{typed}: no image has a label. Is the column of labels the right one?")
    names = tuple(found) if class_names is None else _ordered(found, class_names, typed)
    number = {class_name: label for label, class_name in enumerate(names)}
    if several is None:
        labels = np.array([number[class_name] for class_name in labelled.classes], dtype=np.int64)
    else:
        labels = np.zeros((len(several), len(names)), np.uint8)
        for row, one in enumerate(several):
            labels[row, [number[name] for name in one]] = 1
    task = SINGLE_LABEL if several is None else MULTI_LABEL
    # As an array at once: a million strings of Python's own take as much again.
    row_ids = np.array(unique_names([printable(file) for file in labelled.files.names]))
    groups = None
    if labelled.groups is not None and any(labelled.groups):
        groups = np.array([group or row_id for group, row_id in zip(labelled.groups, row_ids.tolist(), strict=True)])
    splits = np.array(labelled.splits)
    dataset = Dataset(
        name=name,
        class_names=names,
        row_ids=row_ids,
        labels=labels,
        images=labelled.files,
        given_splits=splits,
        fingerprint=_fingerprint(labelled, labels, names, splits, groups),
        groups=groups,
        weights=labelled.weights,
        remarks=(*labelled.remarks, *_lacking(names, labels, splits, task), *_everywhere(names, labels, task)),
        left_out=labelled.left_out,
        task=task,
    )
    if len(found) < 2:
        raise OneClassOnly(
            f"{typed}: holds one class only ({found[0]!r}, {len(labels):,} files); a classifier needs two. "
            f"{remedy}".rstrip(),
            dataset,
        )
    return dataset


def natural_order(name: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts numbers within names by their value: 2 before 10."""
    parts = re.split("([0-9]+)", name)
    # Odd parts are numbers, of any length: the longer is the larger.
    values = [(len(part.lstrip("0")), part.lstrip("0")) if at % 2 else (0, part) for at, part in enumerate(parts)]
    return (*values, (0, name))


def unique_names(names: Sequence[str]) -> list[str]:
    """The names, with a number behind those that stand there before.

    Two files can have the same name once it is made printable.
    """
    if len(set(names)) == len(names):
        return list(names)
    taken, unique = set(names), []
    seen: set[str] = set()
    for name in names:
        chosen, number = name, 2
        while chosen in seen or (chosen != name and chosen in taken):
            chosen, number = f"{name} ({number})", number + 1
        seen.add(chosen)
        unique.append(chosen)
    return unique


def named_alike(name: str) -> str:
    """A key that is the same for names that differ in case, outer blanks or the way of writing accents alone."""
    return unicodedata.normalize("NFC", name).strip().casefold()


def fuse_classes(levels: Iterable[tuple[str, str]]) -> tuple[dict[tuple[str, str], str], tuple[str, ...]]:
    """Match classes by name between splits: case, outer blanks and the way of writing accents do not part them.

    Within one level such names are suspicious but may be meant, so they are kept apart.
    """
    spellings: dict[str, dict[str, set[str]]] = {}
    # "train" comes first: what is learned gives the name.
    for level, written in sorted(set(levels), key=lambda pair: (not pair[0].startswith("train"), pair)):
        key = named_alike(written)
        spellings.setdefault(key, {}).setdefault(written, set()).add(level)
    names: dict[tuple[str, str], str] = {}
    remarks = []
    for key in sorted(spellings):
        levels_of = spellings[key]
        in_all = [level for where in levels_of.values() for level in where]
        is_one = len(in_all) == len(set(in_all))
        first = next(iter(levels_of))
        for written, where in levels_of.items():
            names |= {(level, written): printable(first if is_one else written) for level in where}
        listed = " and ".join(repr(printable(written)) for written in levels_of)
        if len(levels_of) > 1 and is_one:
            remarks.append(
                f"{listed} are one class, {printable(first)!r}: between splits, case and blanks do not count"
            )
        elif len(levels_of) > 1:
            remarks.append(f"the classes {listed} differ only in case or blanks; they were kept apart")
    return names, tuple(remarks)


def checked_names(names: Iterable[object], typed: str) -> tuple[str, ...]:
    """Class names as text; bytes are UTF-8, and what could not be written to a file at the end is refused now."""
    texts = []
    for name in names:
        try:
            text = bytes(name).decode() if isinstance(name, bytes) else str(name)
            text.encode()
        except UnicodeError as error:
            plain = bytes(name) if isinstance(name, bytes) else str(name)  # without the type that NumPy prints
            raise InvalidSource(
                f"{typed}: the class name {printable(repr(plain))} is no valid text (UTF-8). Give it another name."
            ) from error
        texts.append(text)
    return tuple(texts)


def _ordered(found: Sequence[str], class_names: Sequence[str], typed: str) -> tuple[str, ...]:
    names = checked_names(class_names, typed)
    if isinstance(class_names, str) or len(set(names)) != len(names):
        raise InvalidSource(f"{typed}: class_names must be a list of different names; got {class_names!r}.")
    for name in found:
        if name not in names:
            raise InvalidSource(f"{typed}: holds the class {name!r}, which class_names lacks. {closest(name, names)}")
    return names


def _lacking(names: tuple[str, ...], labels: NDArray[Any], splits: NDArray[np.str_], task: Task) -> list[str]:
    remarks = []
    for split in sorted(set(splits.tolist()) - {""}):
        counts = task.counts(labels[splits == split], num_classes=len(names))
        lacking = [repr(names[label]) for label in np.flatnonzero(counts == 0)]
        if lacking:
            more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
            remarks.append(f"the split '{split}' has no image of {', '.join(lacking[:5])}{more}")
    return remarks


def _everywhere(names: tuple[str, ...], labels: NDArray[Any], task: Task) -> list[str]:
    """A label that all images have cannot be told from anything."""
    if not has_several_labels(task):
        return []
    found = [
        repr(name)
        for name, count in zip(names, task.counts(labels, num_classes=len(names)), strict=True)
        if count == len(labels)
    ]
    return [f"every image has the label {', '.join(found)}: nothing will tell what it looks like"] if found else []


def _fingerprint(
    labelled: LabelledFiles,
    labels: NDArray[Any],
    names: tuple[str, ...],
    splits: NDArray[np.str_],
    groups: NDArray[np.str_] | None,
) -> str:
    digest = hashlib.sha256(repr((labelled.seal, len(labels), names)).encode("utf-8", "surrogatepass"))
    for texts in (labelled.files.names, splits, () if groups is None else groups):
        for first in range(0, len(texts), _AT_ONCE):
            part = "\0".join(map(str, texts[first : first + _AT_ONCE]))
            digest.update((b"\0" if first else b"") + part.encode("utf-8", "surrogatepass"))
        digest.update(b"\0\0")
    for column in (labelled.files.num_bytes, labelled.stamps, labels):
        digest.update(np.ascontiguousarray(column, dtype=np.int64).data)
    return digest.hexdigest()
