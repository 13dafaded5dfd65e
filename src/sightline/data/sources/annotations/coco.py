"""COCO: one JSON of images, categories and annotations; an image is of a class where all its annotations agree.

Source:
    https://cocodataset.org/#format-data
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sightline.data.sources.annotations.marks import COCO, COCO_FOLDER, OF_SPLIT, is_folder, marked, split_by_folder
from sightline.data.sources.annotations.parsing import head_of, read_document
from sightline.data.sources.annotations.records import Annotation, Export, dataset_of, folder_of, version_group
from sightline.data.sources.levels import split_within
from sightline.errors import InvalidSource
from sightline.records import Dataset
from sightline.system.text import counted, listed, printable

_LISTS = ("images", "annotations", "categories")
_SIGN = re.compile(rf'"({"|".join(_LISTS)})"\s*:\s*\[')


def fits_coco(path: Path) -> bool:
    """True of a JSON file that begins as COCO does, and of a folder with one where tools put it."""
    if is_folder(path):
        return bool(_files(path))
    return path.name.lower().endswith(".json") and _is_coco(path)


def read_coco(
    path: Path, *, name: str | None = None, class_names: Sequence[str] | None = None, several: bool = False
) -> Dataset:
    """Open an export in COCO's format.

    Args:
        path: a JSON file, or a folder with `_annotations.coco.json` in it or in its splits, or with
            `annotations/instances_train.json` and others beside.
        name: short name; that of the file or folder if None.
        class_names: their order; sorted by name if None.
        several: whether an image may have several labels.
    """
    typed = printable(str(path))
    in_folder = is_folder(path)
    folder = folder_of(path)
    if not in_folder and folder.name == COCO_FOLDER:
        folder = folder.parent
    entries: list[Annotation] = []
    left_out: list[tuple[str, str]] = []
    remarks: list[str] = []
    for file in _files(path) if in_folder else [os.path.relpath(path, folder)]:
        document = read_document(folder / file, f"{typed}/{file}" if in_folder else typed)
        reader = _Document(document, f"{typed}/{printable(file)}" if in_folder else typed, file, is_alone=not in_folder)
        entries += reader.entries(left_out)
        remarks += reader.remarks
    called = printable(folder.name if in_folder else path.stem) or "coco"
    export = Export(typed, folder, entries, "image", called, tuple(remarks), left_out)
    return dataset_of(export, name=name, class_names=class_names, several=several)


def _files(folder: Path) -> list[str]:
    found = [file for file in marked(folder, COCO) if _is_coco(folder / file)]
    try:
        names = sorted(os.listdir(folder / COCO_FOLDER))  # noqa: PTH208  # names alone
    except OSError:
        names = []
    of_splits = [f"{COCO_FOLDER}/{file}" for file in names if OF_SPLIT.fullmatch(file)]
    return found or [file for file in of_splits if _is_coco(folder / file)]


def _is_coco(path: Path) -> bool:
    head = head_of(path)
    return head.startswith("{") and _SIGN.search(head) is not None


class _Document:
    """One file of COCO: who has which id."""

    def __init__(self, document: Any, typed: str, file: str, *, is_alone: bool) -> None:
        self._typed = typed
        self._folder, _, base = file.replace(os.sep, "/").rpartition("/")
        named = OF_SPLIT.fullmatch(base)
        self._part = named[1] if named else ""
        self._prefix = "" if self._folder == COCO_FOLDER else self._folder
        self._split = "" if is_alone else split_by_folder(file) or (split_within(self._part) or "")
        self.remarks: list[str] = []
        parts = [document.get(key) if isinstance(document, dict) else None for key in _LISTS]
        if missing := [key for key, part in zip(_LISTS, parts, strict=True) if not isinstance(part, list)]:
            raise InvalidSource(
                f"{typed}: is no COCO: it has no list of {listed(missing)}. It must have images, annotations with "
                "image_id and category_id, and categories with names."
            )
        self._images, self._annotations, self._categories = (
            self._records(part, key) for part, key in zip(parts, _LISTS, strict=True)
        )

    def _records(self, part: Any, key: str) -> list[Mapping[str, Any]]:
        for number, record in enumerate(part, 1):
            if not isinstance(record, dict):
                raise InvalidSource(f"{self._typed}: number {number:,} of its {key} is no object of names and values.")
        return list(part)

    def _by_id(self, records: Sequence[Mapping[str, Any]], key: str) -> dict[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        for record in records:
            identity = _identity(record.get("id"))
            if identity == "":
                raise InvalidSource(f"{self._typed}: one of its {key} has no id; it must be a number or a text.")
            if identity in found and found[identity] != record:
                raise InvalidSource(f"{self._typed}: two of its {key} have the id {printable(identity)}.")
            found[identity] = record
        return found

    def entries(self, left_out: list[tuple[str, str]]) -> Iterator[Annotation]:
        """An entry for each image, with the categories of all its annotations."""
        images, categories = self._by_id(self._images, "images"), self._by_id(self._categories, "categories")
        names = {identity: _name(record) or identity for identity, record in categories.items()}
        labels: dict[str, set[str]] = {identity: set() for identity in images}
        unknown: dict[str, str] = {}
        lost = 0
        for annotation in self._annotations:
            image, category = _identity(annotation.get("image_id")), _identity(annotation.get("category_id"))
            if image not in labels:
                lost += 1
            elif category not in names:
                unknown[image] = category
            else:
                labels[image].add(names[category])
        if lost:
            self.remarks.append(f"{counted(lost, 'annotation')} of {self._typed} are of no image that it names")
        for identity, record in images.items():
            entry = self._entry(identity, record, labels[identity])
            if identity in unknown:
                reason = f"has the category {printable(unknown[identity]) or 'of no id'}, which is not named"
                left_out.append((printable(entry.paths[-1]) or entry.where, f"{reason} ({entry.where})"))
            else:
                yield entry

    def _entry(self, identity: str, record: Mapping[str, Any], labels: set[str]) -> Annotation:
        written = record.get("file_name")
        path = written if isinstance(written, str) else ""
        near = (self._part, "images", f"images/{self._part}", "data") if self._part else ("images", "data")
        return Annotation(
            (f"{self._prefix}/{path}", path) if self._prefix and path else (path,),
            tuple(sorted(labels)),
            f"image {printable(identity).replace(' ', '_')}",
            self._split,
            version_group(path, self._split),
            near,
        )


def _identity(value: Any) -> str:
    """An id as text: 7 and "7" are one; "" for none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""


def _name(category: Mapping[str, Any]) -> str:
    name = category.get("name")
    return str(name).strip() if isinstance(name, int | str) and not isinstance(name, bool) else ""
