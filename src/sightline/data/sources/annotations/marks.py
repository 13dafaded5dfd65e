"""Which files of annotations lie in a folder, at the places where tools put them."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

from sightline.data.sources.levels import says_nothing, split_of, split_within

METADATA = ("metadata.csv", "metadata.jsonl")
CLASSES = ("_classes.csv",)
COCO = ("_annotations.coco.json", "labels.json")
CVAT = ("annotations.xml",)
SYNSETS = "synsets.txt"
COCO_FOLDER = "annotations"
# Beside these lie captions and keypoints of the same images.
OF_SPLIT = re.compile(r"(?:instances|labels)_(.+)\.json")

# Folders of splits lie beside few others; a folder of a million images is not listed to look for them.
_MOST_BESIDE = 1000


def is_mark(name: str) -> bool:
    """Whether a file is called, and lies, as files of annotations do."""
    folder, _, file = name.rpartition("/")
    if folder.rpartition("/")[2] == COCO_FOLDER and OF_SPLIT.fullmatch(file):
        return True
    return file in (*METADATA, *CLASSES, *COCO, *CVAT, SYNSETS)


def marked(folder: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Paths inside a folder of files that are called so: right in it, in folders of splits, or in one like `data/`.

    Nothing below is walked; () where the path is no folder.
    """
    places = [""]
    for inner in _folders(folder):
        if split_within(inner):
            places.append(f"{inner}/")
        elif says_nothing(inner):
            places.append(f"{inner}/")
            places += [f"{inner}/{deeper}/" for deeper in _folders(folder / inner) if split_within(deeper)]
    return tuple(sorted(f"{place}{name}" for place in places for name in names if is_file(folder, f"{place}{name}")))


def split_by_folder(path: str) -> str:
    """The split whose folder a path inside a source lies in; "" if it lies in none."""
    return next(filter(None, map(split_of, path.replace("\\", "/").split("/")[:-1])), "")


def is_folder(path: Path) -> bool:
    """Whether a folder lies there; False where one may not look."""
    return os.path.isdir(path)  # noqa: PTH112  # Path's own raises in closed folders


def is_file(folder: Path, name: str) -> bool:
    """Whether a file lies at that path in a folder; False where one may not look."""
    return os.path.isfile(os.path.join(folder, name))  # noqa: PTH113, PTH118  # as above


def _folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            few = list(itertools.islice(entries, _MOST_BESIDE + 1))
    except OSError:
        return []
    if len(few) > _MOST_BESIDE:
        return []
    return sorted(entry.name for entry in few if not entry.name.startswith(".") and entry.is_dir())
