"""From answers to a journal: which file goes where, with what goes along with it."""

from __future__ import annotations

import functools
import json
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sightline.data.decoding.containers import read_bytes
from sightline.data.decoding.tiff import date_taken
from sightline.deployment.sorting.companions import companions_of, name_beside
from sightline.deployment.sorting.journal import Journal, Step, Told
from sightline.deployment.sorting.places import SPECIAL, UNREADABLE, Date, Destinations, Rules
from sightline.errors import InvalidValue, UnreadableImage
from sightline.system.progress import reporter


@dataclass(frozen=True)
class PlannedImage:
    """One image of a plan, in one of the folders that it goes to.

    Attributes:
        source: inside the folder that is sorted.
        target: inside the folder that is sorted into.
        of: its class, one of its labels, or one of `SPECIAL`.
        about: why it goes there, in words.
    """

    source: str
    target: str
    of: str
    about: str


@dataclass(frozen=True)
class Plan:
    """What a sorting would do.

    Attributes:
        journal: its steps.
        images: in their order, one with several labels several times; more steps than images where something goes
            along with them.
        left: (file, reason) of what stays where it is.
        folders: class name, or one of `SPECIAL`, to the folder that it goes to.
    """

    journal: Journal
    images: Sequence[PlannedImage]
    left: Sequence[tuple[str, str]]
    folders: Mapping[str, str]

    @property
    def num_unreadable(self) -> int:
        """How many of the images cannot be read."""
        return sum(image.of == UNREADABLE for image in self.images)

    def counts(self) -> dict[str, int]:
        """Folder to images in it, most first; those beside the classes last."""
        found = Counter(image.of for image in self.images)
        ranked = sorted(found, key=lambda of: (of in SPECIAL, -found[of], of))
        return {self.folders[of]: found[of] for of in ranked}


def read_answers(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file of answers."""
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


def make_plan(
    journal: Journal,
    rows: Iterable[Mapping[str, Any]],
    class_names: Sequence[str],
    rules: Rules,
    *,
    has_several_labels: bool = False,
) -> Plan:
    """Where each answered file goes.

    Args:
        journal: without steps and folders.
        rows: answers to files in its folder.
        class_names: of the bundle.
        rules: what has to hold of an answer.
        has_several_labels: whether an answer holds several labels, or none, and its file goes to the folder of each.
    """
    answered = [(Path(row["path"]).relative_to(journal.source).as_posix(), row) for row in rows]
    beside = companions_of(journal.source, [name for name, _ in answered])
    places = Destinations(journal.into, class_names, rules.pattern, has_several_labels)
    images, steps, left = [], [], []
    with reporter().bar("planning", total=len(answered)) as bar:
        for name, row in answered:
            bar.advance(1)
            step = unplaced_step(journal.source, name)
            if isinstance(step, str):
                left.append((name, step))
                continue
            special = rules.why(row)
            ofs = [special] if special else rules.classes(row)
            taken_on = functools.partial(_date, journal.source / name)
            targets = places.places(name.rpartition("/")[2], ofs, taken_on, is_alone=name not in beside)
            images += [PlannedImage(name, target, of, _about(row)) for target, of in zip(targets, ofs, strict=False)]
            steps += [Step(name, target, step.num_bytes, step.time) for target in targets]
            for companion in beside.get(name, ()):
                found = unplaced_step(journal.source, companion)
                if isinstance(found, str):
                    left.append((companion, found))
                    continue
                there = places.companions(targets, name_beside(name, targets[0], companion))
                steps += [Step(companion, target, found.num_bytes, found.time) for target in there]
    folders = missing_folders(journal.into, (step.target for step in steps))
    plan = Plan(replace(journal, folders=folders, steps=steps), images, left, places.folders)
    return replace(plan, journal=replace(plan.journal, told=Told(plan.counts(), plan.num_unreadable, left)))


def unplaced_step(source: Path, name: str) -> Step | str:
    """What a file is now; or why it is left where it is."""
    try:
        found = os.lstat(source / name)
    except OSError as error:
        return f"it cannot be looked at ({error.strerror})"
    if stat.S_ISLNK(found.st_mode):
        return "it is a link, and what it leads to is not moved or copied by it"
    if not stat.S_ISREG(found.st_mode):
        return "it is no file"
    return Step(name, "", found.st_size, found.st_mtime_ns)


def _date(path: Path) -> Date | None:
    try:
        return date_taken(read_bytes(path))
    except UnreadableImage:
        return None


def _about(row: Mapping[str, Any]) -> str:
    if row["error"] is not None:
        return str(row["error"])
    among = f", one of {len(row['set'])}" if len(row.get("set") or ()) > 1 else ""
    notes = [word for word in ("unsure", "novel") if row.get(word)]
    if "labels" in row:
        said = ", ".join(f"{one['label']} {one['confidence']:.3f}" for one in row["labels"]) or "no label"
        return f"{said}{among}{''.join(f', {note}' for note in notes)}"
    return f"{row['label']} {row['confidence']:.3f}{among}{''.join(f', {note}' for note in notes)}"


def missing_folders(into: Path, targets: Iterable[str]) -> list[str]:
    """Every folder that the targets need and that is not there, outer ones first."""
    needed: dict[str, None] = {}
    for target in targets:
        parts = target.split("/")[:-1]
        needed.update({"/".join(parts[: depth + 1]): None for depth in range(len(parts))})
    for folder in needed:
        if (into / folder).exists() and not (into / folder).is_dir():
            raise InvalidValue(f"{into / folder} is a file, and a folder is needed there. Move it, or sort elsewhere.")
    return [folder for folder in sorted(needed) if not (into / folder).is_dir()]
