"""What goes along with a photograph: its settings, its edits, the film of a live photo."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

# `IMG_1.xmp` or `IMG_1.JPG.xmp`; the others bear the name of the picture alone.
_ENDINGS = (".xmp", ".aae", ".mov", ".mp4")


def companions_of(folder: Path, images: Sequence[str]) -> dict[str, list[str]]:
    """Image to the files that go along with it, as paths inside a folder; each of them with the first that it fits.

    Args:
        folder: that all lie in.
        images: paths inside it, "/" between their parts.

    Returns:
        Of those that have any.
    """
    taken = set(images)
    found: dict[str, list[str]] = defaultdict(list)
    by_parent: dict[str, list[str]] = defaultdict(list)
    for name in images:
        by_parent[name.rpartition("/")[0]].append(name)
    for parent, names in by_parent.items():
        entries = [f"{parent}/{entry}" if parent else entry for entry in _files(folder / parent)]
        others = [path for path in entries if path.lower().endswith(_ENDINGS) and path not in taken]
        # As it is written first, so that of `A.jpg` and `a.jpg` each keeps its own.
        for fold in (str, str.lower):
            left: dict[str, list[str]] = defaultdict(list)
            for path in others:
                left[fold(path.rpartition(".")[0])].append(path)
            for name in names:
                for key in dict.fromkeys((fold(name), fold(name.rpartition(".")[0]))):
                    found[name] += sorted(left.pop(key, []))
            others = [path for paths in left.values() for path in paths]
    return {name: paths for name, paths in found.items() if paths}


def name_beside(image: str, placed: str, companion: str) -> str:
    """What a companion is called beside an image that was placed under another name: "0002 I.xmp" by "0002 I.JPG"."""
    whole, new, name = (path.rpartition("/")[2] for path in (image, placed, companion))
    if whole == new:
        return name
    stem, new_stem = (text.rpartition(".")[0] or text for text in (whole, new))
    if name.lower().startswith(f"{whole.lower()}."):
        return f"{new}{name[len(whole) :]}"
    return f"{new_stem}{name[len(stem) :]}"


def _files(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
    except OSError:
        return []
