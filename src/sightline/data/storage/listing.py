"""What lies in a folder or an archive, before it is known what it means, and the one walk through a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sightline.data.decoding.formats import IMAGE_SUFFIXES, why_no_image
from sightline.system.progress import reporter
from sightline.system.stored import open_without_waiting, raise_if_exhausted
from sightline.system.text import printable
from sightline.system.workers import map_in_order

# What systems, file managers and storage boxes leave behind; it is nobody's photograph.
_JUNK = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "$recycle.bin", "system volume information", "__macosx"}
    | {"network trash folder", "temporary items", "lost+found", "lost.dir"}
    | {"@eadir", "#recycle", "@recycle", "#snapshot", "@__thumb"}
)
WRITTEN = "was written by Sightline: a run, a bundle or an evaluation"
# A folder that holds all of one of these was written by Sightline: a run, its bundle, an evaluation.
_OUTPUTS = (
    frozenset({"recipe.json", "splits.csv"}),
    frozenset({"recipe.json", "history.jsonl"}),
    frozenset({"manifest.json", "labels.json"}),
    frozenset({"metrics.json", "confusion.png"}),
)
_TELLING = frozenset().union(*_OUTPUTS)
_HEAD_BYTES = 1024

# Waiting for the disk is most of the work: eight threads list 2.5 times as fast as one, on two cores.
_THREADS = 8
FolderIdentity = tuple[int, int]


@dataclass
class Listing:
    """What lies in a folder or an archive, before it is known what it means.

    Attributes:
        names: paths inside it, "/" between their parts.
        num_bytes: size of each.
        stamps: time of last change, or CRC, of each.
        offsets: where each begins in an archive; empty for a folder.
        numbers: device and number of each file on the disk, (0, 0) where they are not known; empty for an archive.
        folders: every folder seen, with or without files in it.
        left_out: what cannot be a row, with the reason.
        closed: (folder, reason) of those that could not be entered.
    """

    names: list[str] = field(default_factory=list)
    num_bytes: list[int] = field(default_factory=list)
    stamps: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    numbers: list[tuple[int, int]] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    closed: list[tuple[str, str]] = field(default_factory=list)

    def add(
        self,
        name: str,
        num_bytes: int,
        stamp: int,
        offset: int | None = None,
        *,
        number: tuple[int, int] | None = None,
    ) -> None:
        """One more file that may be an image."""
        self.names.append(name)
        self.num_bytes.append(num_bytes)
        self.stamps.append(stamp)
        if offset is not None:
            self.offsets.append(offset)
        if number is not None:
            self.numbers.append(number)


def is_passed_over(part: str) -> bool:
    """True for hidden files and folders and for what systems and file managers leave behind."""
    return part.startswith(".") or part.lower() in _JUNK


def why_no_image_file(entry: os.DirEntry[str]) -> str:
    """What a file is that is neither called an image nor begins like one; "" if it may be one. May be an OSError."""
    if entry.name[entry.name.rfind(".") :].lower() in IMAGE_SUFFIXES:
        return ""
    with open(entry.path, "rb", opener=open_without_waiting) as stream:
        return why_no_image(stream.read(_HEAD_BYTES))


def outputs_in(names: Iterable[str]) -> tuple[str, ...]:
    """The outermost folders that hold nothing but what Sightline wrote: runs, bundles, evaluations."""
    names = list(names)
    told: dict[str, set[str]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        if file in _TELLING and folder:  # the source itself is whatever its user says
            told.setdefault(folder, set()).add(file)
    written = {folder for folder, files in told.items() if any(whole <= files for whole in _OUTPUTS)}
    if not written:
        return ()
    others = {above for name in names if not written.intersection(_above(name)) for above in _above(name)}
    found = (next(above for above in _above(folder, itself=True) if above not in others) for folder in written)
    return tuple(sorted(set(found)))


def lies_in(name: str, folders: Iterable[str]) -> bool:
    """Whether a path is one of some folders, or lies in one."""
    return any(name == folder or name.startswith(f"{folder}/") for folder in folders)


def without_outputs(listing: Listing) -> tuple[Listing, tuple[str, ...]]:
    """A listing without what Sightline wrote into the folder itself, and what is to be said of it."""
    written = outputs_in([*listing.names, *(name for name, _ in listing.left_out)])
    if not written:
        return listing, ()
    kept = Listing(
        folders=[folder for folder in listing.folders if not lies_in(folder, written)],
        left_out=[(name, reason) for name, reason in listing.left_out if not lies_in(name, map(printable, written))],
        closed=listing.closed,
    )
    for row, name in enumerate(listing.names):
        if not lies_in(name, written):
            offset = listing.offsets[row] if listing.offsets else None
            number = listing.numbers[row] if listing.numbers else None
            kept.add(name, listing.num_bytes[row], listing.stamps[row], offset, number=number)
    shown = [printable(folder) for folder in written]
    kept.left_out += [(folder, WRITTEN) for folder in shown]
    was, is_ = ("was", "is") if len(shown) == 1 else ("were", "are")
    return kept, (f"{', '.join(map(repr, shown))} {was} written by Sightline and {is_} left out",)


def _above(name: str, *, itself: bool = False) -> Iterator[str]:
    """The folders that a path lies in, the outermost first."""
    parts = name.split("/")
    for depth in range(1, len(parts) + itself):
        yield "/".join(parts[:depth])


Visit = Callable[[os.DirEntry[str], str, Listing], bool]
"""Takes an entry and its path inside the folder, notes a file in the listing, tells whether it is a folder."""


@dataclass
class _Folder:
    """One folder to be listed, and how one gets there."""

    path: str
    prefix: str
    above: _Folder | None = None
    identity: FolderIdentity = (-1, -1)
    is_link: bool = False

    def lies_in_itself(self) -> bool:
        """True if a folder above is the same one; only links lead there, so only they are asked."""
        above = self.above
        while above is not None and above.identity != self.identity:
            above = above.above
        return above is not None


@dataclass
class _Content:
    """What one folder holds."""

    listing: Listing = field(default_factory=Listing)
    folders: list[_Folder] = field(default_factory=list)
    error: str = ""
    is_circle: bool = False


def walk(path: str | Path, visit: Visit) -> Listing:
    """Look at all that lies in a folder, but for what is passed over; several threads call `visit` at once.

    Args:
        path: where to begin.
        visit: called once with each entry.

    Returns:
        What `visit` noted, in no particular order; with every folder, links that were not followed in `left_out`,
        and in `closed` the folders that could not be entered, `path` itself as "".
    """
    listing = Listing()
    level = [_Folder(str(path), "")]
    walked: set[tuple[str, FolderIdentity]] = set()
    while level:
        deeper: list[_Folder] = []
        contents = map_in_order(lambda one: _look_into(one, visit), level, workers=min(_THREADS, len(level)))
        with reporter().bar("listing", total=len(level), unit="folders") as bar:
            for folder, content in zip(level, contents, strict=True):
                bar.advance(1)
                if reason := _why_not_walked(folder, content, walked):
                    listing.left_out.append((printable(folder.prefix.rstrip("/")), reason))
                if content.error:
                    listing.closed.append((folder.prefix.rstrip("/"), content.error))
                if not reason:
                    _join(listing, content)
                    deeper += content.folders
        # Links last, so that it is the link that is passed over where both lead to one folder.
        level = sorted(deeper, key=lambda folder: (folder.is_link, folder.prefix))
    listing.left_out.sort()
    return listing


def _look_into(folder: _Folder, visit: Visit) -> _Content:
    content = _Content()
    try:
        status = os.stat(folder.path)  # noqa: PTH116  # a Path object for each would take as long as the listing
        folder.identity = (status.st_dev, status.st_ino)
        content.is_circle = folder.is_link and folder.lies_in_itself()
        if content.is_circle:
            return content
        with os.scandir(folder.path) as entries:
            for entry in entries:
                if not is_passed_over(entry.name):
                    name = folder.prefix + entry.name
                    if visit(entry, name, content.listing):
                        content.folders.append(_Folder(entry.path, f"{name}/", folder, is_link=entry.is_symlink()))
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        if isinstance(error, OSError):
            raise_if_exhausted(error)
        return _Content(error=getattr(error, "strerror", None) or str(error))
    return content


def _why_not_walked(folder: _Folder, content: _Content, walked: set[tuple[str, FolderIdentity]]) -> str:
    """Why the content of a folder is not taken; notes that it was, if it is."""
    if content.error:
        return f"this folder cannot be read ({content.error}); change its permissions"
    if content.is_circle:
        return "this link leads back to a folder that it lies in"
    # Links between folders can multiply without end though none leads in a circle; once a class is enough.
    key = (folder.prefix.partition("/")[0], folder.identity)
    if folder.is_link and key in walked:
        return "this link leads to a folder that was read already"
    walked.add(key)
    return ""


def _join(whole: Listing, content: _Content) -> None:
    part = content.listing
    whole.names += part.names
    whole.num_bytes += part.num_bytes
    whole.stamps += part.stamps
    whole.numbers += part.numbers
    whole.left_out += part.left_out
    whole.folders += [below.prefix.rstrip("/") for below in content.folders]
