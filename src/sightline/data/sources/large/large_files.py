"""Several large files as one source: those of a folder, of a list in braces, or a single one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sightline.data.decoding.formats import IMAGE_SUFFIXES
from sightline.data.sources.levels import says_nothing, split_of, split_within
from sightline.data.storage.blobs import Blob, FileBlob
from sightline.data.storage.listing import is_passed_over
from sightline.errors import InvalidSource, InvalidValue
from sightline.system.stored import read_plain
from sightline.system.text import counted, printable

# What programs call a list of class names that lies beside the files, a line a class number.
NAME_FILES = ("classnames.txt", "classes.txt", "labels.txt")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
MOST_FILES = 100_000
_MOST_TOLD = 3
_MOST_NAMES_BYTES = 2**24


@dataclass(frozen=True)
class LargeFiles:
    """The large files that a source consists of.

    Attributes:
        typed: the source as its user named it.
        name: its short name.
        where: what its index is kept by.
        blobs: the files, in their order.
        names_of_numbers: asks for the class names beside them, a line a class number; "" where there are none.
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
        if not 0 <= last - first < MOST_FILES:
            raise InvalidValue(
                f"{printable(pattern)}: {{{bounds[0]}}} must go up, over at most {MOST_FILES:,} numbers."
            )
        parts = [f"{number:0{len(bounds[1])}d}" for number in range(first, last + 1)]
    else:
        parts = found[1].split(",")
    rests = expand_braces(pattern[found.end() :])
    if len(parts) * len(rests) > MOST_FILES:
        raise InvalidValue(f"{printable(pattern)}: stands for more than {MOST_FILES:,} files. Name a folder of them.")
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
    are_told = len(folders) == 1 or all(split_within(name) or says_nothing(name) for name in folders)
    if others or (inner and not names and not are_told):
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
                elif entry.name[entry.name.rfind(".") :].lower() in IMAGE_SUFFIXES:
                    return None, []
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return None, []
    return names, sorted(folders)


def in_folder(folder: Path, suffix: str) -> LargeFiles:
    """Those of a folder that `files_in` told."""
    names = files_in(folder, suffix)
    return _local(folder, names, typed=str(folder), name=printable(folder.absolute().name) or "folder")


def listed(pattern: str) -> LargeFiles:
    """Those of a list in braces; refused where one of them is not there."""
    paths = _local_files(pattern)
    folder = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120  # a Path for each is slow
    names = [os.path.relpath(path, folder or ".") for path in paths]
    return _local(Path(folder), names, typed=pattern, name=listed_name(pattern))


def single(path: Path) -> LargeFiles:
    """One of them alone."""
    return _local(path.parent, [path.name], typed=str(path), name=printable(path.stem) or "file")


def _local_files(pattern: str) -> list[str]:
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
    return printable(name.strip("-_. ")) or "list"


def stems_of(blobs: Sequence[Blob]) -> list[str]:
    """What stands before the name of an image: its file, where there are several."""
    return [f"{blob.name.rpartition('.')[0]}/" for blob in blobs] if len(blobs) > 1 else [""]


def splits_by_name(blobs: Sequence[Blob]) -> list[str]:
    """The split that the name of each file, or else of its folder, tells; "" where they tell none."""
    return [split_within(blob.name.rpartition("/")[2]) or split_within(blob.name) or "" for blob in blobs]


def told_apart(splits: list[str]) -> list[str]:
    """The splits of all rows; one alone fixes nothing."""
    return [""] * len(splits) if len(set(splits)) == 1 else splits


def named_numbers(
    labels: list[str], names_beside: str, class_names: Sequence[str] | None
) -> tuple[list[str], Sequence[str] | None, tuple[str, ...]]:
    """Class numbers by the names beside the files, or by those that were given; and the order of the classes."""
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
        remark = f"the names beside the files are {len(listed):,}, and class numbers go to {max(numbers.values())}"
        return labels, class_names, () if class_names else (f"{remark}; the numbers were kept",)
    used = [listed[number] for number in sorted(numbers.values())]
    return [listed[numbers[label]] for label in labels], class_names or used, ()


def _local(folder: Path, names: Sequence[str], *, typed: str, name: str) -> LargeFiles:
    blobs = []
    for file in names:
        try:
            blobs.append(FileBlob.at(folder / file, file.replace("\\", "/")))
        except (OSError, ValueError) as error:
            raise InvalidSource(
                f"{printable(str(folder / file))}: cannot be read ({getattr(error, 'strerror', None) or error})."
            ) from error
    where = os.path.abspath(typed)  # noqa: PTH100  # the same source, wherever the process goes
    return LargeFiles(typed, name, where, tuple(blobs), lambda: _names_beside(folder / names[0] if names else folder))


def _names_beside(shard: Path) -> str:
    for folder in (shard.parent, shard.parent.parent):
        for name in NAME_FILES:
            try:
                return read_plain(folder / name, most_bytes=_MOST_NAMES_BYTES).decode("utf-8-sig")
            except (OSError, UnicodeDecodeError):
                continue
    return ""
