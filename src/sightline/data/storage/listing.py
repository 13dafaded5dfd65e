"""What lies in a folder or an archive, before it is known what it means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sightline.system.text import printable

# What systems, file managers and storage boxes leave behind; it is nobody's photograph.
_JUNK = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "$recycle.bin", "system volume information", "__macosx"}
    | {"network trash folder", "temporary items", "lost+found", "lost.dir"}
    | {"@eadir", "#recycle", "@recycle", "#snapshot", "@__thumb"}
)
# A folder that holds all of one of these was written by Sightline: a run, its bundle, an evaluation.
_OUTPUTS = (
    frozenset({"recipe.json", "splits.csv"}),
    frozenset({"recipe.json", "history.jsonl"}),
    frozenset({"manifest.json", "labels.json"}),
    frozenset({"metrics.json", "confusion.png"}),
)
_TELLING = frozenset().union(*_OUTPUTS)


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
    kept.left_out += [(folder, "was written by Sightline: a run, a bundle or an evaluation") for folder in shown]
    return kept, (f"{', '.join(map(repr, shown))} was written by Sightline and is left out",)


def _above(name: str, *, itself: bool = False) -> Iterator[str]:
    """The folders that a path lies in, the outermost first."""
    parts = name.split("/")
    for depth in range(1, len(parts) + itself):
        yield "/".join(parts[:depth])
