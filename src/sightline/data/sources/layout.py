"""From a list of files to classes and splits: the rules that folders and archives share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.data.sources.assembly import Reasons, fuse_classes
from sightline.data.sources.levels import (
    BY_LAST,
    Counts,
    Folders,
    added_up,
    classes_in_classes,
    find_splits,
    inner_wrappers,
    nested_copies,
    refuse_alike,
    say_splits,
    unpacked,
    without_labels,
)
from sightline.data.storage.listing import Listing, without_outputs
from sightline.errors import InvalidSource
from sightline.system.text import printable


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


_NO_CLASS = "lies beside the class folders, in none of them"


def arrange(listing: Listing, *, typed: str, label_from: str = "first", several: bool = False) -> Arrangement:
    """Tell classes and splits from where the files lie. A single folder around all of them is passed through.

    Where an image may have `several` labels, one that lies in several classes contradicts nothing.
    """
    listing, remarks = without_outputs(listing)
    holders = [name.rpartition("/")[0] for name in listing.names]
    # What follows is decided once a folder, not once a file.
    counts = {_parts(holder): number for holder, number in Counter(holders).items()}
    plan = _plan(counts, typed=typed, label_from=label_from)
    _refuse_closed(listing, plan, typed)
    found = {holder: plan.level_and_class(_parts(holder)) for holder in set(holders)}
    names, fused = fuse_classes(pair for pair in found.values() if not isinstance(pair, str))
    rows: list[int] = []
    strays: list[tuple[str, str]] = []
    pairs: list[tuple[str, str]] = []
    for row in sorted(range(len(holders)), key=listing.names.__getitem__):
        pair = found[holders[row]]
        if isinstance(pair, str):
            strays.append((printable(listing.names[row]), pair))
        else:
            rows.append(row)
            pairs.append(pair)
    if not rows:
        raise InvalidSource(_explain_empty(typed, listing, strays))
    classes = [names[pair] for pair in pairs]
    said = (*remarks, *plan.remarks, *_say_joined({level for level, _ in pairs}), *_say_strays(strays))
    used = {at[: plan.depth + 1] for at in map(plan.below, counts) if at}
    return Arrangement(
        rows=np.array(rows, dtype=np.int64),
        classes=classes,
        splits=[level.partition(":")[0] for level, _ in pairs],
        remarks=(
            *said,
            *_empty_folders(listing, plan, used),
            *fused,
            *([] if several else _say_contradicting(listing, rows, classes)),
        ),
        left_out=(*listing.left_out, *strays),
        remedy=_remedy(typed, map(plan.below, counts), depth=plan.depth, label_from=label_from),
    )


@dataclass(frozen=True)
class _Plan:
    """What the folders of one source mean.

    Attributes:
        top: how many folders everything is packed in.
        splits: the top folders below them that are splits; empty if none is.
        inner: how many folders each split is packed in once more.
        no_class: folders, below `top` and `inner`, of which nothing is taken, each with the reason.
        label_from: which folder names the class.
        remarks: what was decided.
    """

    top: int
    splits: Mapping[str, str]
    inner: Mapping[str, int]
    no_class: Mapping[Folders, str]
    label_from: str
    remarks: tuple[str, ...]

    @property
    def depth(self) -> int:
        """At which level classes stand, from 0."""
        return int(bool(self.splits))

    def below(self, folders: Folders) -> Folders:
        """A folder without those that everything is packed in."""
        return unpacked(folders[self.top :], self.inner)

    def level_and_class(self, folders: Folders) -> tuple[str, str] | str:
        """Level and class, as they are written, of what lies in a folder; or why it has none."""
        at = self.below(folders)
        reasons = (self.no_class.get(at[:length], "") for length in range(1, len(at) + 1))
        if reason := next(filter(None, reasons), ""):
            return reason
        if self.splits and at and at[0] not in self.splits:
            return "lies beside the splits"
        classes = at[self.depth :]
        if not classes:
            return _NO_CLASS
        level = f"{self.splits[at[0]]}:{at[0]}" if self.splits else ""
        return level, classes[-1] if self.label_from == "last" else classes[0]


def _parts(holder: str) -> Folders:
    return tuple(holder.split("/")) if holder else ()


def _plan(counts: Counts, *, typed: str, label_from: str) -> _Plan:
    top = 0 if label_from == "top" else _num_wrappers(counts, typed=typed, label_from=label_from)
    whole = added_up((folders[top:], number) for folders, number in counts.items())
    splits = find_splits(whole, typed=typed, label_from=label_from)
    inner = inner_wrappers(whole, splits)
    remarks = say_splits(whole, splits)
    if top:
        wrapper = "/".join(max(counts, key=len)[:top])
        said = f"everything lies in the folder {printable(wrapper)!r}; what lies in it is taken for the whole"
        remarks.insert(0, said)
    below = added_up((unpacked(folders, inner), number) for folders, number in whole.items())
    no_class: dict[Folders, str] = {}
    if splits and label_from == "first":
        inside = {folders: number for folders, number in below.items() if folders and folders[0] in splits}
        no_class |= without_labels(inside, splits)
    if label_from == "first":
        no_class |= _no_classes(below, splits, remarks, typed)
    elif label_from == "last":
        remarks += classes_in_classes(folders for folders in below if len(folders) > bool(splits))
    return _Plan(top, splits, inner, no_class, label_from, tuple(remarks))


def _no_classes(below: Counts, splits: Mapping[str, str], remarks: list[str], typed: str) -> dict[Folders, str]:
    """Class folders that are none; refuses those of which it cannot be told."""
    no_class: dict[Folders, str] = {}
    depth = int(bool(splits))
    for level in sorted(splits) or [""]:
        inside = added_up((at[depth:], number) for at, number in below.items() if not splits or at[:1] == (level,))
        copies = nested_copies(inside)
        for name in copies:
            whole = "/".join(filter(None, (level, name)))
            number = sum(number for at, number in inside.items() if at[:1] == (name,))
            no_class[(level, name) if splits else (name,)] = f"lies in {printable(whole)!r}, which holds classes itself"
            remarks.append(
                f"the folder {printable(whole)!r} holds folders called as those beside it are, so it is no class: its "
                f"{number:,} images are left out; {BY_LAST} takes them, too"
            )
        inside = {at: number for at, number in inside.items() if at and at[0] not in copies}
        refuse_alike(inside, typed=typed, inside=f" in {printable(level)!r}" if level else "")
    return no_class


def _num_wrappers(counts: Counts, *, typed: str, label_from: str) -> int:
    """How many folders everything is packed in before several stand side by side: 1 for photos/cat, photos/dog."""
    inner = {folders: number for folders, number in counts.items() if folders}
    depth = 0
    while len({folders[0] for folders in inner}) == 1 and not find_splits(inner, typed=typed, label_from=label_from):
        deeper = {folders[1:]: number for folders, number in inner.items() if len(folders) > 1}
        if 2 * sum(deeper.values()) <= sum(inner.values()):  # most lie right in it: it is a class
            return 0
        inner = deeper
        depth += 1
    return depth


def _refuse_closed(listing: Listing, plan: _Plan, typed: str) -> None:
    """A folder that cannot be entered would be a class that is missing, or all of one."""
    for folder, reason in listing.closed:
        at = plan.below(_parts(folder))
        if len(at) <= 1 + plan.depth and not (plan.splits and at[0] not in plan.splits):
            raise InvalidSource(
                f"{typed}: the folder {printable(folder)!r} cannot be read ({reason}), and a class would be missing. "
                "Change its permissions, or move it away."
            )


def _say_joined(levels: set[str]) -> list[str]:
    """Where images of several folders make one split; a folder without labels gives none."""
    folders = Counter(level.partition(":")[0] for level in sorted(levels) if level)
    return [f"several folders are the split '{split}'; they are joined" for split in folders if folders[split] > 1]


def _say_contradicting(listing: Listing, rows: list[int], classes: list[str]) -> list[str]:
    """A remark where links put one file into several classes; copies of its content are looked for when it is read."""
    if len(set(listing.numbers)) == len(listing.numbers):
        return []
    names: dict[tuple[int, int], dict[str, str]] = {}
    for row, class_name in zip(rows, classes, strict=True):
        if listing.numbers[row] != (0, 0):
            names.setdefault(listing.numbers[row], {}).setdefault(class_name, listing.names[row])
    several = [list(found.values()) for found in names.values() if len(found) > 1]
    if not several:
        return []
    listed = " and ".join(repr(printable(name)) for name in several[0])
    return [
        f"by links, {len(several):,} files lie in several classes at once, such as {listed}: their labels contradict "
        "each other; `sightline audit` lists them".replace("1 files lie", "1 file lies")
    ]


def _say_strays(strays: list[tuple[str, str]]) -> list[str]:
    unlabelled = Counter(reason for _, reason in strays if "which has no" in reason)
    return [f"what {reason}; {number:,} images are left out" for reason, number in unlabelled.items()]


def _empty_folders(listing: Listing, plan: _Plan, used: set[Folders]) -> list[str]:
    known = {plan.below(_parts(folder)) for folder in listing.folders}
    empty = sorted(printable("/".join(folder)) for folder in known - used if len(folder) == plan.depth + 1)
    if not empty:
        return []
    more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
    return [f"no file that may be an image lies in {', '.join(map(repr, empty[:5]))}{more}"]


def _remedy(typed: str, below: Iterable[Folders], *, depth: int, label_from: str) -> str:
    deeper = sorted({folders[-1] for folders in below if len(folders) > 1 + depth})
    if label_from == "first" and len(deeper) > 1:
        inner = ", ".join(map(repr, map(printable, deeper[:3])))
        return f"Its folders hold folders of their own ({inner}): with {BY_LAST} those name the classes."
    return f"Arrange it as one sub-folder a class: {typed}/cat/1.jpg, {typed}/dog/2.jpg."


def _explain_empty(typed: str, listing: Listing, strays: list[tuple[str, str]]) -> str:
    example = f"{typed.rstrip('/')}/cat/1.jpg, {typed.rstrip('/')}/dog/2.jpg"
    if strays and strays[0][1] != _NO_CLASS:
        return f"{typed}: none of its {len(strays):,} images has a label; the first, {strays[0][0]}, {strays[0][1]}."
    if listing.names:
        return (
            f"{typed}: has {len(listing.names):,} files but no sub-folder a class. Arrange it as {example}, "
            "or list the files with their labels in a CSV table with the columns path and label."
        )
    if listing.left_out:
        first = ": ".join(listing.left_out[0])
        return f"{typed}: none of {len(listing.left_out):,} files is an image; the first is {first}"
    return f"{typed}: there is no file in it. It needs a sub-folder a class with images in them: {example}."
