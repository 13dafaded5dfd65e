"""A folder of photographs as it lies on the disk: walked once, and nothing opened that is called an image."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sightline.data.sources.assembly import LabelledFiles, to_dataset
from sightline.data.sources.layout import arrange
from sightline.data.sources.several import as_several
from sightline.data.storage.listing import Listing, walk, why_no_image_file
from sightline.data.storage.stores import FolderStore
from sightline.errors import InvalidSource
from sightline.records import Dataset
from sightline.system.paths import absolute_path
from sightline.system.text import printable


def read_folder(
    path: Path,
    *,
    label_from: str = "first",
    name: str | None = None,
    class_names: Sequence[str] | None = None,
    several: bool = False,
) -> Dataset:
    """Open a folder of photographs.

    Args:
        path: with a sub-folder a class; or with `train/` and, if you like, `validation/`
            (`valid/`, `val/`) and `test/`, each with a sub-folder a class. Deeper folders are
            walked, links followed, hidden files passed over.
        label_from: "first" or "last": which folder below the top, or below the split, names the class.
        name: short name; that of the folder if None.
        class_names: their order; sorted by name if None.
        several: whether an image that lies in several folders has all of their classes.

    Returns:
        One row a file that may be an image: by its suffix, or else by its first bytes. All
        others are in `left_out`.
    """
    typed = printable(str(path))
    listing, remarks = list_folder(path)
    found = arrange(listing, typed=typed, label_from=label_from, several=several)
    stamps = np.array(listing.stamps, dtype=np.int64)[found.rows]
    files = FolderStore(
        place=absolute_path(path, follow_links=False),  # the same rows, wherever the process goes
        names=tuple(listing.names[row] for row in found.rows.tolist()),
        num_bytes=np.array(listing.num_bytes, dtype=np.int64)[found.rows],
        arrivals=stamps,
    )
    labelled = LabelledFiles(
        files, found.classes, found.splits, stamps, remarks=(*remarks, *found.remarks), left_out=found.left_out
    )
    if several:
        labelled = as_several(labelled, [listing.numbers[row] for row in found.rows.tolist()])
    named = name or printable(files.place.name) or "folder"
    return to_dataset(labelled, typed=typed, name=named, class_names=class_names, remedy=found.remedy)


def list_folder(path: Path) -> tuple[Listing, tuple[str, ...]]:
    """Walk a folder and all below it."""
    listing = walk(path, _sort_in)
    closed = dict(listing.closed)
    if "" in closed:
        raise InvalidSource(f"{printable(str(path))}: cannot be read ({closed['']}).")
    if not closed:
        return listing, ()
    remark = f"{len(closed):,} folders cannot be read; what lies in them is left out. Change their permissions"
    return listing, (remark.replace("1 folders", "1 folder"),)


def _sort_in(entry: os.DirEntry[str], name: str, listing: Listing) -> bool:
    """Add an entry to the listing; True if it is a folder."""
    try:
        status = entry.stat()
    except OSError as error:
        reason = "this link leads nowhere" if entry.is_symlink() else f"cannot be read ({error.strerror})"
        listing.left_out.append((printable(name), reason))
        return False
    if stat.S_ISDIR(status.st_mode):
        return True
    if not stat.S_ISREG(status.st_mode):
        listing.left_out.append((printable(name), "is a pipe or device, not an image file"))
    elif reason := _why_not(entry):
        listing.left_out.append((printable(name), reason))
    else:
        # Windows does not tell the number of a file without opening it.
        number = (status.st_dev, status.st_ino) if status.st_ino else (0, 0)
        listing.add(name, status.st_size, status.st_mtime_ns, number=number)
    return False


def _why_not(entry: os.DirEntry[str]) -> str:
    try:
        return why_no_image_file(entry)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
