"""Pictures written into a class: whole, as they came, under a name that is free, and never over another."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from sightline.data.decoding.formats import ImageFormat
from sightline.deployment.sorting.steps import leads_out, put_if_free
from sightline.deployment.workshop.sets.naming import picture_name
from sightline.errors import CannotWrite
from sightline.system.files import flush_folder, hold_file, remove_leftovers, writing_to
from sightline.system.paths import FreeNames, short_file_name
from sightline.system.text import printable

_PARTIAL = ".sightline.*.partial"


def add_picture(place: Path, folder: Path, name: str, content: bytes, *, picture: ImageFormat) -> tuple[Path, bool]:
    """Write the bytes of a picture into a folder of a set.

    Args:
        place: of the set; no link leads out of it.
        folder: the set itself, or one of its classes.
        name: what its sender calls it.
        content: of the file.
        picture: what it is.

    Returns:
        The file, and whether the same bytes lay there under that name before; then nothing was written.
    """
    stem, ending = picture_name(name, picture)
    if leads_out(place, folder / stem):
        raise CannotWrite(f"{printable(folder.name)} is a link that leads out of the set. Choose another class.")
    # Whoever sends it again, since no answer came, finds it there.
    same = folder / short_file_name(stem, ending)
    if _holds(same, content):
        return same, True
    with writing_to(folder):
        return _written(folder, stem, ending, content), False


def _holds(path: Path, content: bytes) -> bool:
    try:
        is_as_long = not path.is_symlink() and path.is_file() and path.stat().st_size == len(content)
        return is_as_long and path.read_bytes() == content
    except OSError:
        return False


def _written(folder: Path, stem: str, ending: str, content: bytes) -> Path:
    remove_leftovers(folder, _PARTIAL)
    partial = folder / f".sightline.{secrets.token_hex(4)}.partial"
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        with os.fdopen(descriptor, "wb") as stream:
            hold_file(descriptor)
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        target = _put(partial, folder, stem, ending)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    flush_folder(folder)
    return target


def _put(partial: Path, folder: Path, stem: str, ending: str) -> Path:
    # Hidden files take names, too; what appears meanwhile is met by the system.
    names = FreeNames(os.listdir(folder))  # noqa: PTH208  # of ten thousand
    while True:
        target = folder / names.free(stem, ending)
        with contextlib.suppress(FileExistsError):
            put_if_free(partial, target)
            return target
