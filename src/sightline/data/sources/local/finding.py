"""Files below a folder, found by what somebody else calls them: by the end of a path, or without a suffix."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from sightline.data.decoding.formats import IMAGE_SUFFIXES
from sightline.data.sources.levels import split_within
from sightline.data.storage.listing import Listing, walk, without_outputs
from sightline.errors import InvalidSource
from sightline.system.text import listed, printable

MOST_LISTED = 1_000_000
"""So many files are listed below a folder, and no more: a table may have been left in somebody's home."""
_DRIVE = re.compile(r"[A-Za-z]:/")


def why_outside(name: str) -> str:
    """Why a path is none inside the folder that it is relative to; "" if it is one."""
    plain = name.replace("\\", "/")
    if plain.startswith("/") or _DRIVE.match(plain):
        return "is an absolute path, and only those inside the folder are followed"
    return "leads out of its folder" if ".." in plain.split("/") else ""


class Finder:
    """Looks files up in one folder; all that lies below it is listed once, and not before that is needed."""

    def __init__(self, folder: Path, typed: str) -> None:
        self.folder = folder
        self._typed = typed
        self._by_name: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        self._num_listed: int | None = None

    def is_file(self, name: str) -> bool:
        """Whether a regular file lies at that path."""
        try:
            return os.path.isfile(os.path.join(self.folder, name))  # noqa: PTH113, PTH118  # 100,000 of them
        except ValueError:  # a zero byte
            return False

    def find(self, name: str, *, near: Sequence[str] = ()) -> list[str]:
        """Files that a path inside the folder may mean: one if it lies there or in one of the folders `near`.

        Else all below whose paths end so, in their order: none, one or several. Separators of Windows are read, too.
        """
        plain = name
        for written in (name, name.replace("\\", "/")) if "\\" in name else (name,):
            plain = str(PurePosixPath(written))
            for place in ("", *near):
                if self.is_file(path := f"{place}/{plain}" if place else plain):
                    return [path]
        return self.ending_with(plain)

    def ending_with(self, name: str) -> list[str]:
        """Files anywhere below whose paths end with that one, part by part."""
        self._list()
        name = _composed(name)
        found = self._by_name.get(name.rpartition("/")[2], ())
        return [path for path in found if _composed(f"/{path}").endswith(f"/{name}")]

    def without_suffix(self, name: str) -> list[str]:
        """As `ending_with`, of files that are called as images are, by what stands before their suffix."""
        self._list()
        name = _composed(name)
        found = self._by_stem.get(name.rpartition("/")[2], ())
        return [path for path in found if _composed(f"/{path.rpartition('.')[0]}").endswith(f"/{name}")]

    def _list(self) -> None:
        if self._num_listed is not None:
            return
        self._num_listed = 0
        listing, _ = without_outputs(walk(self.folder, self._visit))
        for path in sorted(listing.names):
            name = _composed(path.rpartition("/")[2])
            self._by_name.setdefault(name, []).append(path)
            stem, dot, suffix = name.rpartition(".")
            if stem and f"{dot}{suffix}".lower() in IMAGE_SUFFIXES:
                self._by_stem.setdefault(stem, []).append(path)

    def _visit(self, entry: os.DirEntry[str], name: str, listing: Listing) -> bool:
        if entry.is_dir():
            return True
        if entry.is_file():
            self._num_listed = (self._num_listed or 0) + 1
            if self._num_listed > MOST_LISTED:
                raise InvalidSource(
                    f"{self._typed}: its images are not where it says, and more than {MOST_LISTED:,} files lie below "
                    f"{printable(str(self.folder))}. Move it beside its images."
                )
            listing.add(name, 0, 0)
        return False


def _composed(name: str) -> str:
    """A name in one way of writing accents: some systems part a letter from its accent."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def find_ids(finder: Finder, names: Sequence[str], *, typed: str, stem: str) -> dict[str, str]:
    """Names to the files below that they mean, with or without their suffix; empty where some are paths as they are.

    Args:
        finder: of the folder of the table.
        names: as a column has them, such as "000bec" for train/000bec.jpg.
        typed: the table, for messages.
        stem: the name of the table; one that is called as a split is names files in folders of that split.
    """
    bare = list(dict.fromkeys(names))
    if any("/" in name or "\\" in name or why_outside(name) for name in bare) or any(map(finder.is_file, bare)):
        return {}
    found = {name: finder.ending_with(name) or finder.without_suffix(name) for name in bare}
    split = split_within(stem)
    if split and any(len(paths) > 1 for paths in found.values()):
        found = {name: _in_split(paths, split) or paths for name, paths in found.items()}
    for name, paths in found.items():
        if len(paths) > 1:
            raise InvalidSource(
                f"{typed}: {printable(name)!r} may be {listed(paths)}. Say where its images are, as a pattern with the "
                f"name of a column: columns={{'path': '{_example(paths[0], name)}'}}, "
                f"--column 'path={_example(paths[0], name)}'"
            )
    return {name: paths[0] for name, paths in found.items() if paths}


def _in_split(paths: Sequence[str], split: str) -> list[str]:
    return [path for path in paths if any(split_within(part) == split for part in path.split("/")[:-1])]


def _example(path: str, name: str) -> str:
    folder, slash, file = path.rpartition("/")
    return printable(f"{folder}{slash}{{id}}{file.removeprefix(name)}")
