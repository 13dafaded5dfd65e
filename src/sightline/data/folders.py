"""A folder with a sub-folder a class, as it lies on the disk: walked once, nothing opened that looks like an image."""

from __future__ import annotations

import os
from pathlib import Path

from sightline.data.layout import JUNK, Found, Origin, arrange, printable
from sightline.data.signatures import IMAGE_SUFFIXES, recognise
from sightline.errors import InvalidSource, UnreadableImage
from sightline.records import Dataset


def read_folder(path: Path, *, label_from: str = "first", name: str | None = None) -> Dataset:
    """Open a folder of photographs.

    Args:
        path: with a sub-folder a class; or with `train/` and, if you like, `validation/`
            (`valid/`, `val/`) and `test/`, each with a sub-folder a class. Deeper folders are walked.
        label_from: "first" or "last": which folder below the top or the split names the class.
        name: short name; that of the folder if None.

    Returns:
        One row a file that may be an image; hidden files are passed over, others that are
        none are in `left_out`.

    Raises:
        InvalidSource: no files, no class folders, one class, or a folder that cannot be read.

    Example:
        >>> read_folder(Path("nowhere"))
        Traceback (most recent call last):
        sightline.errors.InvalidSource: nowhere: cannot be read (No such file or directory).
    """
    walk = _Walk(path)
    walk.visit(str(path), "", ancestors=())
    named = name or path.resolve().name or "folder"
    origin = Origin(path, "folder", named)
    return arrange(walk.found, origin, label_from=label_from, left_out=tuple(walk.left_out))


class _Walk:
    """A walk through a tree that follows links and notices when they lead in a circle."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.found: list[Found] = []
        self.left_out: list[tuple[str, str]] = []

    def visit(self, folder: str, prefix: str, *, ancestors: tuple[tuple[int, int], ...]) -> None:
        try:
            status = Path(folder).stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            if not prefix:
                raise InvalidSource(f"{self.top}: cannot be read ({error.strerror}).") from error
            self.left_out.append((printable(prefix.rstrip("/")), f"this folder cannot be read ({error.strerror})"))
            return
        identity = (status.st_dev, status.st_ino)
        if identity in ancestors:
            self.left_out.append((printable(prefix.rstrip("/")), "this link leads back to a folder it lies in"))
            return
        for entry in entries:
            if entry.name.startswith(".") or entry.name in JUNK:
                continue
            if entry.is_dir():
                self.visit(entry.path, f"{prefix}{entry.name}/", ancestors=(*ancestors, identity))
            else:
                self._take(entry, f"{prefix}{entry.name}")

    def _take(self, entry: os.DirEntry[str], name: str) -> None:
        try:
            status = entry.stat()
        except OSError as error:
            reason = "this link leads nowhere" if entry.is_symlink() else f"cannot be read ({error.strerror})"
            self.left_out.append((printable(name), reason))
            return
        if not entry.is_file():
            self.left_out.append((printable(name), "is no ordinary file"))
        elif reason := why_not_an_image(entry.path):
            self.left_out.append((printable(name), reason))
        else:
            self.found.append(Found(name, status.st_size, status.st_mtime_ns))


def why_not_an_image(path: str) -> str:
    """The reason to leave out a file whose name is not that of an image, told from its first bytes.

    Args:
        path: of a file.

    Returns:
        "" if its suffix is that of an image (it is decoded later, and fails there if it must) or
        its first bytes are; else what it is.

    Raises:
        Nothing.

    Example:
        >>> why_not_an_image("photo.JPG")
        ''
    """
    if os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122  # 100,000 Path objects take seconds
        return ""
    try:
        with open(path, "rb") as stream:  # noqa: PTH123  # as above
            recognise(stream.read(4096))
    except UnreadableImage as error:
        return str(error)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return ""
