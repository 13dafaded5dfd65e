"""Files below a folder, found by what somebody else calls them: by the end of a path, or without a suffix."""

from __future__ import annotations

import bisect
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
MOST_FOUND = 100
"""So many files of one name are handed out."""
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
        self._num_listed = 0
        # Paths turned round, sorted: those that end alike stand together, however many files are called the same.
        self._turned: list[tuple[str, str]] | None = None
        self._turned_stems: list[tuple[str, str]] = []

    def is_file(self, name: str) -> bool:
        """Whether a regular file lies at that path."""
        try:
            return os.path.isfile(os.path.join(self.folder, name))  # noqa: PTH113, PTH118  # 100,000 of them
        except ValueError:  # a zero byte
            return False

    def find(self, name: str, *, near: Sequence[str] = ()) -> list[str]:
        """Files that a path inside the folder may mean: one if it lies there or in one of the folders `near`.

        Else some of those below whose paths end so: none, one or several. Separators of Windows are read, too.
        """
        plain = name
        for written in (name, name.replace("\\", "/")) if "\\" in name else (name,):
            plain = str(PurePosixPath(written))
            for place in ("", *near):
                if self.is_file(path := f"{place}/{plain}" if place else plain):
                    return [path]
        return self.ending_with(plain)

    def ending_with(self, name: str) -> list[str]:
        """Files anywhere below whose paths end with that one, part by part; of very many, some."""
        return _ending(self._listed()[0], name)

    def without_suffix(self, name: str) -> list[str]:
        """As `ending_with`, of files that are called as images are, by what stands before their suffix."""
        return _ending(self._listed()[1], name)

    def _listed(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        if self._turned is None:
            listing, _ = without_outputs(walk(self.folder, self._visit))
            self._turned = sorted((_turned(path), path) for path in listing.names)
            stems = ((path.rpartition("."), path) for path in listing.names)
            self._turned_stems = sorted(
                (_turned(stem), path)
                for (stem, dot, suffix), path in stems
                if stem and not stem.endswith("/") and f"{dot}{suffix}".lower() in IMAGE_SUFFIXES
            )
        return self._turned, self._turned_stems

    def _visit(self, entry: os.DirEntry[str], name: str, listing: Listing) -> bool:
        if entry.is_dir():
            return True
        if entry.is_file():
            self._num_listed += 1
            if self._num_listed > MOST_LISTED:
                raise InvalidSource(
                    f"{self._typed}: its images are not where it says, and more than {MOST_LISTED:,} files lie below "
                    f"{printable(str(self.folder))}. Move it beside its images."
                )
            listing.add(name, 0, 0)
        return False


def _ending(turned: Sequence[tuple[str, str]], name: str) -> list[str]:
    wanted = _turned(name)
    first = bisect.bisect_left(turned, (wanted, ""))
    # What begins so ends before the same with the letter behind its last, the stroke.
    last = bisect.bisect_left(turned, (f"{wanted[:-1]}{chr(ord('/') + 1)}", ""))
    return sorted(path for _, path in turned[first : min(last, first + MOST_FOUND)])


def _turned(path: str) -> str:
    """A path from its end, with a stroke where its first part begins."""
    return _composed(f"/{path}")[::-1]


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
