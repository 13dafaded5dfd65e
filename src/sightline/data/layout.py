"""From a list of files to classes and splits: the rules that folders and archives share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sightline.data.labelled import Reasons, fuse_classes
from sightline.errors import InvalidSource
from sightline.text import printable

SPLIT_FOLDERS: dict[str, str] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
"""Lower-case folder names that say which split lies in them."""

# What file managers and storage boxes leave in every folder; it is nobody's photograph.
_JUNK = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "icon\r"})


@dataclass
class Listing:
    """What lies in a folder or an archive, before it is known what it means.

    Attributes:
        names: paths inside it, "/" between their parts.
        num_bytes: size of each.
        stamps: time of last change, or CRC, of each.
        offsets: where each begins in an archive; empty for a folder.
        folders: every folder seen, with or without files in it.
        left_out: what cannot be a row, with the reason.
    """

    names: list[str] = field(default_factory=list)
    num_bytes: list[int] = field(default_factory=list)
    stamps: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, num_bytes: int, stamp: int, offset: int | None = None) -> None:
        """One more file that may be an image."""
        self.names.append(name)
        self.num_bytes.append(num_bytes)
        self.stamps.append(stamp)
        if offset is not None:
            self.offsets.append(offset)


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Which files of a Listing are rows, and of which class and split.

    Attributes:
        rows: (num_images,) int64 indices into the listing, by name.
        classes: (num_images) class names.
        splits: (num_images) "train", "validation", "test" or "".
        remarks: what was noticed.
        left_out: what cannot be a row, the listing's own included.
        remedy: what to do if all is of one class.
    """

    rows: NDArray[np.int64]
    classes: list[str]
    splits: list[str]
    remarks: tuple[str, ...]
    left_out: Reasons
    remedy: str


def is_passed_over(part: str) -> bool:
    """True for hidden files and folders and for what file managers leave behind.

    Args:
        part: one part of a path.

    Returns:
        Whether it is not even worth a reason.

    Raises:
        Nothing.

    Example:
        >>> [is_passed_over(part) for part in (".DS_Store", "Thumbs.db", "cat.jpg")]
        [True, True, False]
    """
    return part.startswith(".") or part.lower() in _JUNK


def split_of(folder: str) -> str:
    """The split that a folder's name stands for.

    Args:
        folder: one part of a path.

    Returns:
        "train", "validation", "test", or "" for any other name.

    Raises:
        Nothing.

    Example:
        >>> split_of("Val"), split_of("cat")
        ('validation', '')
    """
    return SPLIT_FOLDERS.get(folder.strip().lower(), "")


def arrange(listing: Listing, *, typed: str, label_from: str = "first", unwrap: bool = False) -> Arrangement:
    """Tell classes and splits from where the files lie.

    Args:
        listing: the files, with what is passed over already missing.
        typed: the source as its user named it, for messages.
        label_from: "first" or "last": which folder below the top, or below the split, names the class.
        unwrap: True takes the sub-folders of a single top folder for the classes, as archives are packed.

    Returns:
        Rows with their classes and splits; files that lie in no class folder are left out.

    Raises:
        InvalidSource: no files, or none in a class folder; the message says how to arrange them.

    Example:
        >>> listing = Listing()
        >>> for name in ("train/cat/1.jpg", "train/dog/1.jpg", "test/cat/2.jpg", "test/readme.jpg"):
        ...     listing.add(name, 1, 1)
        >>> found = arrange(listing, typed="pets")
        >>> found.classes, found.splits, found.left_out[0][0]
        (['cat', 'cat', 'dog'], ['test', 'train', 'train'], 'test/readme.jpg')
    """
    holders = [name.rpartition("/")[0] for name in listing.names]
    # What follows is decided once a folder, not once a file.
    parts = {holder: tuple(holder.split("/")) if holder else () for holder in set(holders)}
    top = _num_wrappers(parts.values()) if unwrap else 0
    below = {holder: folders[top:] for holder, folders in parts.items()}
    has_splits = _has_splits(below.values())
    placed = {holder: _placed(at, has_splits=has_splits, label_from=label_from) for holder, at in below.items()}
    names, remarks = fuse_classes(pair for pair in placed.values() if pair is not None)
    rows: list[int] = []
    strays: list[int] = []
    for row in sorted(range(len(holders)), key=listing.names.__getitem__):
        (strays if placed[holders[row]] is None else rows).append(row)
    if not rows:
        raise InvalidSource(_explain_empty(typed, listing))
    pairs = [placed[holders[row]] or ("", "") for row in rows]
    return Arrangement(
        rows=np.array(rows, dtype=np.int64),
        classes=[names[pair] for pair in pairs],
        splits=[split_of(level) for level, _ in pairs],
        remarks=(*_remarks(listing, below, has_splits=has_splits, label_from=label_from, top=top), *remarks),
        left_out=(*listing.left_out, *((printable(listing.names[row]), _NO_CLASS) for row in strays)),
        remedy=_remedy(typed, below.values(), has_splits=has_splits, label_from=label_from),
    )


_NO_CLASS = "lies beside the class folders, in none of them"


def _num_wrappers(holders: Iterable[tuple[str, ...]]) -> int:
    """How many folders everything is packed in before several stand side by side: 1 for photos/cat, photos/dog."""
    inner = [folders for folders in holders if folders]
    depth = 0
    while not _has_splits(folders[depth:] for folders in inner):
        if len({folders[depth] for folders in inner}) != 1:
            return depth
        inner = [folders for folders in inner if len(folders) > depth + 1]
        depth += 1
        if not inner:
            return 0
    return depth


def _has_splits(below: Iterable[tuple[str, ...]]) -> bool:
    """True where the top folders are splits and nothing else, with class folders in `train`."""
    below = list(below)
    return all(split_of(folders[0]) for folders in below if folders) and any(
        len(folders) > 1 and split_of(folders[0]) == "train" for folders in below
    )


def _placed(folders: tuple[str, ...], *, has_splits: bool, label_from: str) -> tuple[str, str] | None:
    """Level and class as they are written, or None for a file that lies in no class folder."""
    level, classes = (folders[0] if folders else "", folders[1:]) if has_splits else ("", folders)
    if not classes:
        return None
    return level, classes[0] if label_from == "first" else classes[-1]


def _remarks(
    listing: Listing, below: dict[str, tuple[str, ...]], *, has_splits: bool, label_from: str, top: int
) -> list[str]:
    depth = int(has_splits)
    remarks = []
    tops = sorted({folders[0] for folders in below.values() if folders})
    splits = [name for name in tops if split_of(name)]
    if top:
        wrapper = "/".join(max(below, key=len).split("/")[:top])
        remarks.append(f"everything lies in the folder {printable(wrapper)!r}; what lies in it is taken for the whole")
    if not has_splits and len(splits) > 1:
        others = [name for name in tops if name not in splits]
        reason = f"beside {printable(others[0])!r}" if others else "without class folders inside 'train'"
        remarks.append(f"the folders {', '.join(map(repr, splits))} stand {reason}, so they are taken for classes")
    joined = Counter(map(split_of, splits)) if has_splits else Counter()
    remarks += [f"several folders are the split '{split}'; they are joined" for split in joined if joined[split] > 1]
    remarks += _empty_folders(listing, below, depth=depth, top=top)
    if label_from == "last":
        holders = sorted(folders for folders in below.values() if len(folders) > depth)
        # Sorted, what lies in a folder follows it at once.
        parents = ["/".join(one) for one, other in pairwise(holders) if other[: len(one)] == one != other]
        remarks += [f"{printable(parents[0])!r} is a class and holds classes"] if parents else []
    return remarks


def _empty_folders(listing: Listing, below: dict[str, tuple[str, ...]], *, depth: int, top: int) -> list[str]:
    used = {folders[: depth + 1] for folders in below.values()}
    known = {tuple(folder.split("/"))[top : top + depth + 1] for folder in listing.folders}
    empty = sorted(printable("/".join(folder)) for folder in known - used if len(folder) == depth + 1)
    if not empty:
        return []
    more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
    return [f"no file that may be an image lies in {', '.join(map(repr, empty[:5]))}{more}"]


def _remedy(typed: str, below: Iterable[tuple[str, ...]], *, has_splits: bool, label_from: str) -> str:
    deeper = sorted({folders[-1] for folders in below if len(folders) > 1 + has_splits})
    if label_from == "first" and len(deeper) > 1:
        inner = ", ".join(map(repr, map(printable, deeper[:3])))
        return f"Its folders hold folders of their own ({inner}): with label_from='last' those name the classes."
    return f"Arrange it as one sub-folder a class: {typed}/cat/1.jpg, {typed}/dog/2.jpg."


def _explain_empty(typed: str, listing: Listing) -> str:
    example = f"{typed.rstrip('/')}/cat/1.jpg, {typed.rstrip('/')}/dog/2.jpg"
    if listing.names:
        return (
            f"{typed}: has {len(listing.names):,} files but no sub-folder a class. Arrange it as {example}, "
            "or list the files with their labels in a CSV table with the columns path and label."
        )
    if listing.left_out:
        first = ": ".join(listing.left_out[0])
        return f"{typed}: none of {len(listing.left_out):,} files is an image; the first is {first}"
    return f"{typed}: there is no file in it. It needs a sub-folder a class with images in them: {example}."
