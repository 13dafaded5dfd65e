"""The one folder that the studio shows, and what lies in it; nothing outside it is ever named, read or written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sightline.data.decoding.formats import IMAGE_SUFFIXES
from sightline.data.sources.catalog import SOURCES
from sightline.data.sources.loading import SOURCE_KINDS
from sightline.errors import InvalidValue
from sightline.system.paths import absolute_path
from sightline.system.text import is_address, printable

# What lies deeper is counted when the folder is looked at; a list of more is nothing that somebody chooses from.
_MOST_ENTRIES = 5_000
_MOST_LISTED = 500
_BUNDLE_OF_OURS = "imagenet"
RUNS = "runs"
"""Where the commands of the studio keep what they train."""
_LONGEST_PATH, _LONGEST_NAME = 4096, 255


class Root:
    """A folder, and paths below it as a page names them: relative, with "/" between their parts."""

    def __init__(self, place: str | Path) -> None:
        """Take a folder; an InvalidValue where there is none."""
        self.place = absolute_path(place)
        if not self.place.is_dir():
            raise InvalidValue(f"{printable(str(place))}: no such folder. Name one that holds your pictures.")

    def inside(self, named: object) -> Path:
        """The path that is named, links followed, there or not; an InvalidValue where it leads out of the folder."""
        if not isinstance(named, str) or not _can_be_a_path(named):
            raise InvalidValue("a path below the studio's folder is needed, such as photos/birds.")
        path = absolute_path(self.place / named)
        if path != self.place and self.place not in path.parents:
            raise InvalidValue(f"{printable(named)}: lies outside the folder of the studio. Start it on that folder.")
        return path

    def name_of(self, path: Path) -> str:
        """How a page names a path below it; "" for the folder itself."""
        return "" if path == self.place else path.relative_to(self.place).as_posix()

    def word_of(self, path: Path) -> str:
        """The path as a command line that runs in the folder takes it for a path, and for nothing else."""
        name = self.name_of(path) or "."
        is_taken = name in SOURCES or name == _BUNDLE_OF_OURS or is_address(name)
        # A name may be that of an option, of a data set, or of a home.
        return f"./{name}" if is_taken or name.startswith(("-", "~")) else name


def _can_be_a_path(named: str) -> bool:
    try:
        parts = os.fsencode(named).split(b"/")
    except UnicodeEncodeError:  # half a letter, which no name of a file holds
        return False
    return "\0" not in named and len(named) <= _LONGEST_PATH and max(map(len, parts)) <= _LONGEST_NAME


def list_folder(root: Root, named: object) -> dict[str, Any]:
    """What somebody can choose in a folder: folders with what lies right in them, and files that are sources."""
    folder = root.inside(named)
    folders, files, num_images = [], [], 0
    for entry in _entries(folder):
        if _is_folder(entry):
            if root.place in absolute_path(entry.path).parents:  # else a link that leads out
                folders.append({"name": entry.name, "path": _joined(root, folder, entry.name)})
        elif _is_image(entry.name):
            num_images += 1
        elif any(kind.fits(Path(entry.path)) for kind in SOURCE_KINDS):
            files.append({"name": entry.name, "path": _joined(root, folder, entry.name)})
    folders.sort(key=lambda one: one["name"].casefold())
    files.sort(key=lambda one: one["name"].casefold())
    return {
        "path": root.name_of(folder),
        "num_images": num_images,
        "folders": [{**one, **_counts(folder / one["name"])} for one in folders[:_MOST_LISTED]],
        "files": files[:_MOST_LISTED],
        "num_more": max(len(folders) - _MOST_LISTED, 0) + max(len(files) - _MOST_LISTED, 0),
    }


def _joined(root: Root, folder: Path, name: str) -> str:
    return "/".join(filter(None, (root.name_of(folder), name)))


def _counts(folder: Path) -> dict[str, int]:
    """Folders and images right in a folder; both 0 where it may not be entered."""
    try:
        found = list(_entries(folder))
    except InvalidValue:
        found = []
    num_folders = sum(map(_is_folder, found))
    return {"num_folders": num_folders, "num_images": sum(_is_image(entry.name) for entry in found)}


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            for number, entry in enumerate(found):
                if number == _MOST_ENTRIES:
                    return
                # Hidden ones are nobody's photographs, and the studio's own folder is one of them.
                if not entry.name.startswith("."):
                    yield entry
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidValue(
            f"{printable(folder.name)}: cannot be looked into ({reason}). Choose another one."
        ) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_image(name: str) -> bool:
    return name[name.rfind(".") :].lower() in IMAGE_SUFFIXES
