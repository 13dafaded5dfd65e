"""From a list of files to classes, splits and rows: the rules that folders and archives share."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from sightline.errors import InvalidSource
from sightline.records import Dataset, ImageFiles

SPLIT_FOLDERS: dict[str, str] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
# What file managers leave in every folder; it is nobody's photograph.
JUNK = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX"})

LeftOut = tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a source of files is called and where it lies; `kind` is "folder", "zip" or "tar"."""

    place: Path
    kind: str
    name: str


@dataclasses.dataclass(frozen=True)
class Found:
    """One file that a source holds.

    Attributes:
        name: path inside the source, "/" between its parts.
        num_bytes: its size.
        arrival: grows with the order in which files came.
        offset: where its bytes begin in a tar, else 0.
    """

    name: str
    num_bytes: int
    arrival: int
    offset: int = 0


def printable(name: str) -> str:
    r"""A name that can be printed and written as UTF-8: bytes that are not become \xNN.

    Args:
        name: as the operating system gave it, perhaps with surrogates.

    Returns:
        The same text where it is proper.

    Raises:
        Nothing.

    Example:
        >>> printable("caf\udce9.jpg")
        'caf\\xe9.jpg'
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def arrange(found: Sequence[Found], origin: Origin, *, label_from: str = "first", left_out: LeftOut = ()) -> Dataset:
    """Make a Dataset of the files of a folder or an archive.

    Args:
        found: the files, hidden ones and junk already passed over.
        origin: the folder or archive.
        label_from: "first" or "last": which folder below the source or its split names the class.
        left_out: (file, reason) of what was passed over before.

    Returns:
        One row a file that lies in a class folder.

    Raises:
        InvalidSource: no files, no class folders, or one class only; the message says how to arrange it.

    Example:
        >>> files = [Found(f"{pet}/{number}.jpg", 9, number) for pet in ("cat", "dog") for number in range(2)]
        >>> arrange(files, Origin(Path("pets"), "folder", "pets"))
        Dataset 'pets': 4 images, 2 classes (cat, dog)
    """
    ordered = sorted(found, key=lambda file: file.name)
    top = _shared_top(ordered) if origin.kind != "folder" else ""
    has_splits = _has_splits(ordered, top)
    rows: list[tuple[Found, str, str]] = []
    strays: list[tuple[str, str]] = []
    for file in ordered:
        folders = PurePosixPath(file.name[len(top) :]).parts[:-1]
        split = SPLIT_FOLDERS[folders[0].strip().lower()] if has_splits and folders else ""
        below = folders[1:] if has_splits else folders
        if below:
            rows.append((file, split, below[0] if label_from == "first" else below[-1]))
        else:
            strays.append((printable(file.name), "lies beside the class folders, in none of them"))
    if not rows:
        raise InvalidSource(_explain_empty(origin.place, ordered))
    class_names, remarks = _match_classes(rows)
    return _assemble(rows, class_names, origin, remarks=remarks, left_out=(*left_out, *strays))


def _shared_top(found: Sequence[Found]) -> str:
    """The one folder that all files of an archive lie in, as `photos.zip` holds `photos/cat/1.jpg`; or ""."""
    parts = [PurePosixPath(file.name).parts for file in found]
    tops = {part[0] for part in parts}
    deep = len({part[1] for part in parts if len(part) > 2}) > 1
    return f"{tops.pop()}/" if len(tops) == 1 and deep and all(len(part) > 1 for part in parts) else ""


def _has_splits(found: Sequence[Found], top: str) -> bool:
    """True where the top folders are splits: `train` among them, with class folders inside, and nothing else."""
    names = [PurePosixPath(file.name[len(top) :]).parts for file in found]
    tops = {parts[0].strip().lower() for parts in names if len(parts) > 1}
    deep = any(len(parts) > 2 and SPLIT_FOLDERS.get(parts[0].strip().lower()) == "train" for parts in names)
    return deep and tops <= set(SPLIT_FOLDERS)


def _match_classes(rows: Sequence[tuple[Found, str, str]]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Folder name to class name. Names that differ in case or blanks are one class between splits, never within one."""
    splits_of: dict[str, set[str]] = {}
    for _, split, folder in rows:
        splits_of.setdefault(folder, set()).add(split)
    alike: dict[str, list[str]] = {}
    for folder in sorted(splits_of):
        alike.setdefault(folder.strip().casefold(), []).append(folder)
    class_names, remarks = {}, []
    for folders in alike.values():
        shared = set.intersection(*(splits_of[folder] for folder in folders)) if len(folders) > 1 else set()
        counted = Counter(split for folder in folders for split in splits_of[folder])
        if len(folders) == 1:
            class_names[folders[0]] = printable(folders[0]).strip() or printable(folders[0])
        elif shared or max(counted.values()) > 1:
            class_names |= {folder: printable(folder) for folder in folders}
            names = " and ".join(repr(printable(folder)) for folder in folders)
            remarks.append(f"the classes {names} differ only in case or blanks; they were kept apart")
        else:
            first = min(folders, key=lambda folder: "train" not in splits_of[folder])
            class_names |= {folder: printable(first).strip() for folder in folders}
            names = " and ".join(repr(printable(folder)) for folder in folders)
            remarks.append(
                f"{names} differ only in case or blanks between splits and are one class, '{class_names[first]}'"
            )
    return class_names, tuple(remarks)


def _assemble(
    rows: Sequence[tuple[Found, str, str]],
    class_of: dict[str, str],
    origin: Origin,
    *,
    remarks: tuple[str, ...],
    left_out: LeftOut,
) -> Dataset:
    class_names = tuple(sorted(set(class_of.values())))
    if len(class_names) < 2:
        raise InvalidSource(
            f"{origin.place}: holds one class only ({class_names[0]!r}, {len(rows):,} files); a classifier needs two. "
            "Arrange it as one sub-folder a class."
        )
    index = {label: number for number, label in enumerate(class_names)}
    files = ImageFiles(
        origin.place,
        origin.kind,  # type: ignore[arg-type]  # one of three words
        tuple(file.name for file, _, _ in rows),
        np.array([file.num_bytes for file, _, _ in rows], dtype=np.int64),
        np.array([file.arrival for file, _, _ in rows], dtype=np.int64),
        np.array([file.offset for file, _, _ in rows], dtype=np.int64),
    )
    labels = np.array([index[class_of[folder]] for _, _, folder in rows], dtype=np.int64)
    given_splits = np.array([split for _, split, _ in rows])
    missing = _lacking(class_names, labels, given_splits)
    return Dataset(
        name=origin.name,
        class_names=class_names,
        row_ids=np.array(unique_names([printable(file.name) for file, _, _ in rows])),
        labels=labels,
        images=files,
        given_splits=given_splits,
        fingerprint=fingerprint_of(files, labels, class_names, given_splits),
        remarks=(*remarks, *missing),
        left_out=left_out,
    )


def _lacking(class_names: tuple[str, ...], labels: NDArray[np.int64], given_splits: NDArray[np.str_]) -> list[str]:
    """A sentence for each given split that has no image of some class."""
    sentences = []
    for split in sorted(set(given_splits.tolist()) - {""}):
        present = set(labels[given_splits == split].tolist())
        lacking = [repr(name) for label, name in enumerate(class_names) if label not in present]
        if lacking:
            sentences.append(f"the split '{split}' has no image of {', '.join(lacking[:5])}")
    return sentences


def unique_names(names: Sequence[str]) -> list[str]:
    """The names, with a number behind those that would stand twice once made printable.

    Args:
        names: in order.

    Returns:
        As many names, all different.

    Raises:
        Nothing.

    Example:
        >>> unique_names(["a", "b", "a"])
        ['a', 'b', 'a (2)']
    """
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return unique


def fingerprint_of(
    files: ImageFiles, labels: NDArray[np.int64], class_names: tuple[str, ...], *others: NDArray[np.str_] | None
) -> str:
    """SHA-256 over what a source of files consists of, without reading one of them.

    Args:
        files: names, sizes and times.
        labels: (num_images,) int64.
        class_names: ordered.
        others: further columns, such as given splits and groups.

    Returns:
        64 hexadecimal digits.

    Raises:
        Nothing.

    Example:
        >>> none = np.array([], dtype=np.int64)
        >>> len(fingerprint_of(ImageFiles(Path("a"), "folder", (), none, none, none), none, ("a", "b")))
        64
    """
    digest = hashlib.sha256(repr((str(files.place.absolute()) if files.kind == "folder" else "", class_names)).encode())
    digest.update("\0".join(files.names).encode("utf-8", "surrogateescape"))
    for column in (files.num_bytes, files.arrivals, labels):
        digest.update(np.ascontiguousarray(column).tobytes())
    for texts in others:
        digest.update(b"none" if texts is None else "\0".join(texts.tolist()).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _explain_empty(place: Path, found: Sequence[Found]) -> str:
    if not found:
        return f"{place}: there is no file in it. It needs a sub-folder a class with images in them: {place}/cat/1.jpg."
    return (
        f"{place}: has {len(found):,} files but no sub-folder a class. Arrange it as {place}/cat/1.jpg, "
        "or list the files with their labels in a CSV table (path,label)."
    )
