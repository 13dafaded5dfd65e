"""What an export says of images, with all their labels, and the one place where that becomes a Dataset."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

from sightline.data.sources.annotations.marks import is_folder
from sightline.data.sources.assembly import LabelledFiles, to_dataset
from sightline.data.sources.local.finding import Finder, why_outside
from sightline.data.sources.local.lines import Form, Line
from sightline.data.sources.local.tables import files_of
from sightline.errors import InvalidSource
from sightline.records import Dataset
from sightline.system.paths import absolute_path
from sightline.system.text import counted, is_address, listed, printable

# Roboflow calls the versions of one picture so: cat_jpg.rf.5d1a....jpg
_VERSION = re.compile(r"(.+)\.rf\.[0-9A-Za-z]{16,}\.\w+")


@dataclass(frozen=True)
class Annotation:
    """One entry of an export.

    Attributes:
        paths: the image as it is called there; what follows is to be tried where that leads nowhere, for all of an
            export alike.
        labels: all that the entry says of it, as written.
        where: what the entry is called in messages: "image 7"; it ends in a number or id without blanks.
        split: "train", "validation", "test" or "".
        group: what it belongs to; "" for itself.
        near: folders in which its path may begin as well.
        shows_none: whether it says that the image shows none of the labels, where it has none.
    """

    paths: tuple[str, ...]
    labels: tuple[str, ...]
    where: str
    split: str = ""
    group: str = ""
    near: tuple[str, ...] = ("images",)
    shows_none: bool = False


@dataclass(frozen=True)
class Export:
    """What a reader made of an export.

    Attributes:
        typed: the source as its user named it.
        folder: what its paths are relative to.
        entries: in any order.
        entry: what one is called: "image".
        name: of the Dataset, if it is not given.
        remarks: what was noticed.
        left_out: (what, reason) of what is no entry.
    """

    typed: str
    folder: Path
    entries: Sequence[Annotation]
    entry: str
    name: str
    remarks: tuple[str, ...] = ()
    left_out: list[tuple[str, str]] = field(default_factory=list)


def dataset_of(
    export: Export, *, name: str | None = None, class_names: Sequence[str] | None = None, several: bool = False
) -> Dataset:
    """The images of an export as a Dataset, the same in whatever order it names them; with all labels of each image.

    With `several` unset each image has one label.
    """
    if not export.entries:
        raise InvalidSource(f"{export.typed}: names no image. Export it again, with what was labelled.")
    left_out = list(export.left_out)
    lines = list(_lines(export, _told(export, left_out, several=several), left_out))
    lines.sort(key=lambda line: (line.path, line.label, line.split, line.name))
    if not lines:
        what, reason = min(left_out)
        raise InvalidSource(f"{export.typed}: none of its {export.entry}s can be used; the first: {what} {reason}.")
    form: Form = "parted" if several else "class"
    labelled = files_of(export.typed, export.folder, lines, left_out, entry=export.entry, form=form)
    return finished(export.typed, labelled, export.remarks, name=name or export.name, class_names=class_names)


def finished(
    typed: str,
    labelled: LabelledFiles,
    remarks: Sequence[str],
    *,
    name: str,
    class_names: Sequence[str] | None = None,
) -> Dataset:
    """A Dataset of files whose order in the export says nothing: they came when they were changed last."""
    labelled = replace(
        labelled,
        files=replace(labelled.files, arrivals=labelled.stamps),
        groups=_shared(labelled.groups or ()),
        remarks=(*remarks, *labelled.remarks),
        left_out=tuple(sorted(labelled.left_out)),
    )
    return to_dataset(labelled, typed=typed, name=name, class_names=class_names)


def version_group(path: str, split: str) -> str:
    """What the versions of one picture have in common, where Roboflow called them; "" for any other file."""
    found = _VERSION.fullmatch(path.replace("\\", "/").rpartition("/")[2])
    # Two pictures of different splits may have one name, and are no versions of each other.
    return "" if found is None else "/".join(filter(None, (split, found[1])))


def _shared(groups: Sequence[str]) -> list[str]:
    """Groups of one row are none: it stands for itself."""
    counts: dict[str, int] = {}
    for group in groups:
        counts[group] = counts.get(group, 0) + 1
    return ["" if counts[group] == 1 else group for group in groups]


def _told(
    export: Export, left_out: list[tuple[str, str]], *, several: bool
) -> list[tuple[Annotation, tuple[str, ...]]]:
    """Entries with the labels that they have; those of which it is not said what they show are left out."""
    told, refused = [], []
    for entry in export.entries:
        labels = sorted({label.strip() for label in entry.labels} - {""})
        if not labels and not (several and entry.shows_none):
            left_out.append((_called(entry), f"has no label ({entry.where})"))
        elif len(labels) > 1 and not several:
            refused.append((entry, labels))
        else:
            told.append((entry, tuple(labels)))
    if refused:
        entry, labels = min(refused, key=lambda pair: (pair[0].paths, pair[1]))
        others = f"; so have {counted(len(refused) - 1, 'other')}" if len(refused) > 1 else ""
        raise InvalidSource(
            f"{export.typed}: {_called(entry)} has several labels: {listed(labels, most=5)} ({entry.where}){others}. "
            "If an image may have several here, say so: --task multi-label, load(..., task='multi-label'). If it has "
            "one, keep one of them, or give the combination a name of its own."
        )
    return told


def _called(entry: Annotation) -> str:
    return printable(entry.paths[0]) if entry.paths and entry.paths[0] else entry.where


def _lines(
    export: Export, told: list[tuple[Annotation, tuple[str, ...]]], left_out: list[tuple[str, str]]
) -> Iterator[Line]:
    finder = Finder(export.folder, export.typed)
    usable = []
    for entry, labels in told:
        if reason := _why_none(entry):
            left_out.append((_called(entry), f"{reason} ({entry.where})"))
        else:
            usable.append((entry, labels))
    places = _places([entry for entry, _ in usable], finder)
    for (entry, labels), found in zip(usable, places, strict=True):
        if len(found) > 1:
            reason = f"may be any of {listed(found)} ({entry.where})"
            left_out.append((_called(entry), reason))
        else:
            path = found[0] if found else entry.paths[0]
            yield Line(entry.where, path, labels, entry.split, entry.group, 1.0)


def _why_none(entry: Annotation) -> str:
    """Why an entry leads to no image of the folder; "" if it may."""
    if not entry.paths or not entry.paths[0]:
        return "has no path"
    if is_address(entry.paths[0]):
        return "is an address, and nothing is downloaded"
    return next(filter(None, (why_outside(spelled) for path in entry.paths for spelled in _spellings(path))), "")


def _spellings(path: str) -> tuple[str, ...]:
    """A path as it is, and as it is where addresses were written out: "a%20b.jpg"."""
    return tuple(dict.fromkeys((path, unquote(path, errors="surrogateescape"))))


def _places(entries: Sequence[Annotation], finder: Finder) -> list[list[str]]:
    """What each may mean by that of its paths which leads to the most files, the first of those that lead to as many.

    It is the same one for all: an image is not found by chance under a name that another one had.
    """
    best: list[list[str]] = []
    most = -1
    for level in range(max((len(entry.paths) for entry in entries), default=0)):
        found = [_found(entry, level, finder) for entry in entries]
        if (count := sum(len(paths) == 1 for paths in found)) > most:
            best, most = found, count
        if count == len(entries):
            break
    return best


def _found(entry: Annotation, level: int, finder: Finder) -> list[str]:
    for spelled in _spellings(entry.paths[min(level, len(entry.paths) - 1)]):
        if found := finder.find(spelled, near=entry.near):
            return found
    return []


def folder_of(path: Path) -> Path:
    """The folder of a file, or the folder itself, absolute and with its links as they are."""
    return absolute_path(path if is_folder(path) else path.parent, follow_links=False)
