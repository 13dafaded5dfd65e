"""A folder of photographs as it lies on the disk: walked once, and nothing opened that is called an image."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sightline.data.labelled import LabelledFiles, to_dataset
from sightline.data.layout import Listing, arrange, is_passed_over
from sightline.data.signatures import IMAGE_SUFFIXES, why_no_image
from sightline.errors import InvalidSource
from sightline.progress import reporter
from sightline.records import Dataset, ImageFiles
from sightline.text import printable

# Waiting for the disk is most of the work: eight threads list 2.5 times as fast as one, on two cores.
_THREADS = 8
_HEAD_BYTES = 1024

Identity = tuple[int, int]


def read_folder(
    path: Path, *, label_from: str = "first", name: str | None = None, class_names: Sequence[str] | None = None
) -> Dataset:
    """Open a folder of photographs.

    Args:
        path: with a sub-folder a class; or with `train/` and, if you like, `validation/`
            (`valid/`, `val/`) and `test/`, each with a sub-folder a class. Deeper folders are
            walked, links followed, hidden files passed over.
        label_from: "first" or "last": which folder below the top, or below the split, names the class.
        name: short name; that of the folder if None.
        class_names: their order; sorted by name if None.

    Returns:
        One row a file that may be an image: by its suffix, or else by its first bytes. All
        others are in `left_out`.

    Raises:
        InvalidSource: no images, no class folders, one class, or a folder that cannot be read.

    Example:
        >>> read_folder(Path("nowhere"))
        Traceback (most recent call last):
        sightline.errors.InvalidSource: nowhere: cannot be read (No such file or directory).
    """
    typed = printable(str(path))
    listing, remarks = list_folder(path)
    found = arrange(listing, typed=typed, label_from=label_from)
    stamps = np.array(listing.stamps, dtype=np.int64)[found.rows]
    files = ImageFiles(
        place=Path(os.path.abspath(path)),  # noqa: PTH100  # the same rows, wherever the process goes; links stay
        kind="folder",
        names=tuple(listing.names[row] for row in found.rows.tolist()),
        num_bytes=np.array(listing.num_bytes, dtype=np.int64)[found.rows],
        arrivals=stamps,
        offsets=np.empty(0, dtype=np.int64),
    )
    labelled = LabelledFiles(
        files, found.classes, found.splits, stamps, remarks=(*remarks, *found.remarks), left_out=found.left_out
    )
    named = name or printable(files.place.name) or "folder"
    return to_dataset(labelled, typed=typed, name=named, class_names=class_names, remedy=found.remedy)


@dataclass
class _Folder:
    """One folder to be listed, and how one gets there."""

    path: str
    prefix: str
    ancestors: tuple[Identity, ...] = ()
    is_link: bool = False


@dataclass
class _Content:
    """What one folder holds."""

    identity: Identity
    listing: Listing = field(default_factory=Listing)
    folders: list[_Folder] = field(default_factory=list)
    error: str = ""


def list_folder(path: Path) -> tuple[Listing, tuple[str, ...]]:
    """Walk a folder and all below it.

    Args:
        path: where to begin.

    Returns:
        What lies there, in no particular order, and what was noticed: folders that cannot be read.

    Raises:
        InvalidSource: `path` itself cannot be read.

    Example:
        >>> list_folder(Path("nowhere"))
        Traceback (most recent call last):
        sightline.errors.InvalidSource: nowhere: cannot be read (No such file or directory).
    """
    listing, unreadable = Listing(), 0
    level = [_Folder(str(path), "")]
    walked: set[tuple[str, Identity]] = set()
    with ThreadPoolExecutor(_THREADS) as threads:
        while level:
            deeper: list[_Folder] = []
            with reporter().bar("listing", total=len(level), unit="folders") as bar:
                for folder, content in zip(level, threads.map(_look_into, level), strict=True):
                    bar.advance(1)
                    if content.error and not folder.prefix:
                        raise InvalidSource(f"{printable(str(path))}: cannot be read ({content.error}).")
                    reason = _why_not_walked(folder, content, walked)
                    unreadable += bool(content.error)
                    if reason:
                        listing.left_out.append((printable(folder.prefix.rstrip("/")), reason))
                        continue
                    _join(listing, content.listing)
                    listing.folders += [below.prefix.rstrip("/") for below in content.folders]
                    deeper += content.folders
            # Links last, so that it is the link that is passed over where both lead to one folder.
            level = sorted(deeper, key=lambda folder: (folder.is_link, folder.prefix))
    remark = f"{unreadable:,} folders cannot be read; what lies in them is left out. Change their permissions"
    listing.left_out.sort()
    return listing, (remark.replace("1 folders", "1 folder"),) if unreadable else ()


def _look_into(folder: _Folder) -> _Content:
    try:
        status = os.stat(folder.path)  # noqa: PTH116  # a Path object for each would take as long as the listing
        content = _Content((status.st_dev, status.st_ino))
        if content.identity in folder.ancestors:
            return content
        with os.scandir(folder.path) as entries:
            for entry in entries:
                if not is_passed_over(entry.name):
                    _sort_in(entry, folder, content)
    except OSError as error:
        return _Content((0, 0), error=error.strerror or str(error))
    return content


def _sort_in(entry: os.DirEntry[str], folder: _Folder, content: _Content) -> None:
    name = folder.prefix + entry.name
    try:
        status = entry.stat()
    except OSError as error:
        reason = "this link leads nowhere" if entry.is_symlink() else f"cannot be read ({error.strerror})"
        content.listing.left_out.append((printable(name), reason))
        return
    if stat.S_ISDIR(status.st_mode):
        ancestors = (*folder.ancestors, content.identity)
        content.folders.append(_Folder(entry.path, f"{name}/", ancestors, entry.is_symlink()))
    elif not stat.S_ISREG(status.st_mode):
        content.listing.left_out.append((printable(name), "is a pipe or device, not an image file"))
    elif reason := _why_no_image(entry):
        content.listing.left_out.append((printable(name), reason))
    else:
        content.listing.add(name, status.st_size, status.st_mtime_ns)


def _why_no_image(entry: os.DirEntry[str]) -> str:
    """What a file is that is neither called an image nor begins like one; "" if it may be one."""
    suffix = entry.name[entry.name.rfind(".") :].lower()
    if suffix in IMAGE_SUFFIXES:
        return ""
    try:
        with open(entry.path, "rb", opener=_open_without_waiting) as stream:
            return why_no_image(stream.read(_HEAD_BYTES))
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _open_without_waiting(path: str, flags: int) -> int:
    # A pipe may have taken the file's place since it was looked at, and opening one can block for ever.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _why_not_walked(folder: _Folder, content: _Content, walked: set[tuple[str, Identity]]) -> str:
    """Why the content of a folder is not taken; notes that it was, if it is."""
    if content.error:
        return f"this folder cannot be read ({content.error}); change its permissions"
    if content.identity in folder.ancestors:
        return "this link leads back to a folder that it lies in"
    # Links between folders can multiply without end though none leads in a circle; once a class is enough.
    key = (folder.prefix.partition("/")[0], content.identity)
    if folder.is_link and key in walked:
        return "this link leads to a folder that was read already"
    walked.add(key)
    return ""


def _join(whole: Listing, part: Listing) -> None:
    whole.names += part.names
    whole.num_bytes += part.num_bytes
    whole.stamps += part.stamps
    whole.left_out += part.left_out
