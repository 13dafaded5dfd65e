"""What is done to the files of a set: label, correct, keep, remove, rename; each is written down, and taken back."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from sightline.data.decoding.formats import IMAGE_SUFFIXES
from sightline.data.sources.assembly import named_alike
from sightline.deployment.sorting.companions import companions_of, name_beside
from sightline.deployment.sorting.journal import Journal, Step
from sightline.deployment.sorting.planning import missing_folders, unplaced_step
from sightline.deployment.sorting.steps import do, leads_out, make_folders, remove_folders, undo
from sightline.deployment.workshop.folders import Root
from sightline.deployment.workshop.sets.contents import class_folders, file_in, folder_of_class, refuse_alike
from sightline.deployment.workshop.sets.journal import (
    FILE,
    Change,
    alone,
    last_change,
    write_change,
    write_undone,
)
from sightline.deployment.workshop.sets.naming import checked_name
from sightline.deployment.workshop.sets.tables import table_of_labels, unlabel_row
from sightline.errors import CannotWrite, InvalidValue, OutputExists, SightlineError
from sightline.system.files import writing_to
from sightline.system.paths import FreeNames
from sightline.system.text import printable

REMOVED = ".sightline-removed"
_LONGEST_CLASS = 1000


def label_file(root: Root, place: Path, file: object, label: object) -> dict[str, Any]:
    """Move a loose picture into the folder of a class, which is made if it is missing."""
    path = file_in(place, file)
    if path.parent != place:
        raise InvalidValue(f"{printable(str(file))}: it lies in a class already. Correct its label there.")
    with alone(place):
        folder = folder_of_class(root, place, label)
        return _moved(place, Change("label", str(file), "", folder), folder)


def correct_file(root: Root, place: Path, file: object, given: object, label: object) -> dict[str, Any]:
    """Move a picture from the folder of its class into that of another, in the same split and as deep."""
    path = file_in(place, file)
    parts = path.relative_to(place).as_posix().split("/")[:-1]
    at = _place_of_class(parts, str(given), str(file))
    beside = place / "/".join(parts[:at])
    with alone(place):
        found = _sibling(root, beside, label)
        if found == parts[at]:
            raise InvalidValue(f"{printable(str(file))}: it is of the class {printable(found)!r} already.")
        folder = "/".join([*parts[:at], found, *parts[at + 1 :]])
        return _moved(place, Change("correct", str(file), parts[at], found), folder)


def _place_of_class(parts: list[str], given: str, file: str) -> int:
    at = [number for number, part in enumerate(parts) if named_alike(printable(part)) == named_alike(given)]
    if len(at) != 1:
        raise InvalidValue(
            f"{printable(file)}: which of its folders is the class {printable(given)!r} cannot be told. Move the file "
            "by hand."
        )
    return at[0]


def _sibling(root: Root, beside: Path, label: object) -> str:
    names = class_folders(root, beside)
    alike = [name for name in names if isinstance(label, str) and printable(name) == label]
    return alike[0] if alike else folder_of_class(root, beside, label)


def keep_label(place: Path, file: object, given: object) -> dict[str, Any]:
    """Note that a label was looked at and is right, so that it is not asked about again."""
    file_in(place, file)
    if not isinstance(given, str) or len(given) > _LONGEST_CLASS:
        raise InvalidValue("the class that is kept is needed, such as cat.")
    with alone(place):
        return told(write_change(place, Change("keep", str(file), str(given), str(given))))


def remove_file(place: Path, file: object) -> dict[str, Any]:
    """Move a picture into a hidden folder of the set, where no source looks."""
    path = file_in(place, file)
    above = path.parent.relative_to(place).as_posix()
    folder = REMOVED if above == "." else f"{REMOVED}/{above}"
    given = "" if above == "." else above.split("/")[0]
    with alone(place):
        return _moved(place, Change("remove", str(file), given, ""), folder)


def rename_class(root: Root, place: Path, name: object, to: object) -> dict[str, Any]:
    """Give the folder of a class another name, which nothing there has."""
    new = checked_name(to)
    with alone(place):
        if name not in class_folders(root, place):
            raise InvalidValue(f"there is no class {printable(str(name))[:80]!r} any more. Look at the set again.")
        refuse_alike(place, new, but=str(name))
        change = write_change(place, Change("rename", "", str(name), new))
        try:
            _rename(place, str(name), new)
        except SightlineError:
            _forget(place, change)
            raise
        return told(change)


def _rename(place: Path, name: str, to: str) -> None:
    is_same = os.path.lexists(place / to) and (place / name).samefile(place / to)  # but for case
    if os.path.lexists(place / to) and not is_same:
        raise OutputExists(f"{printable(to)!r} is there already. Nothing was renamed.")
    with writing_to(place / to):
        (place / name).rename(place / to)


def undo_change(place: Path, number: object) -> dict[str, Any]:
    """Take the last change back: files to where they were, a class to its name, and folders away that it made.

    Args:
        place: of the set.
        number: of the change as the page showed it; where another page changed something since, nothing is done.
    """
    with alone(place):
        change = last_change(place)
        if change is None:
            raise InvalidValue("there is nothing to take back in this set.")
        if change.number != number or isinstance(number, bool):
            raise OutputExists("something else was changed in this set since. Look at it again, then take that back.")
        back = {"rename": _renamed_back, "relabel": unlabel_row}.get(change.kind, _taken_back)
        left = back(place, change)
        write_undone(place, change.number)
    return {**told(change), "left": left}


def _renamed_back(place: Path, change: Change) -> list[str]:
    if not (place / change.label).is_dir() or (place / change.label).is_symlink():
        return [f"{printable(change.label)}: it is gone"]
    _rename(place, change.label, change.given)
    return []


def _taken_back(place: Path, change: Change) -> list[str]:
    journal, left = _as_sorting(place, change), []
    with writing_to(place):
        for step in reversed(change.steps):
            outcome = undo(journal, step)
            if outcome.why_left and outcome.may_be_repeated:
                raise InvalidValue(f"{printable(step.source)}: {outcome.why_left}. Clear the way, and try again.")
            left += [f"{printable(step.target)}: {outcome.why_left}"] * bool(outcome.why_left)
        remove_folders(journal)
    return left


def _moved(place: Path, change: Change, folder: str) -> dict[str, Any]:
    """Write down and carry out that a picture, with what goes along with it, goes into a folder of the set."""
    if leads_out(place, place / folder / "file"):
        raise CannotWrite(f"{printable(folder)} is a link that leads out of the set. Remove it, or choose another.")
    steps = _steps(place, change.file, folder)
    folders = missing_folders(place, [step.target for step in steps])
    change = Change(change.kind, change.file, change.given, change.label, steps, tuple(folders))
    change = write_change(place, change)
    journal, left = _as_sorting(place, change), []
    with writing_to(place):
        make_folders(journal)
        for number, step in enumerate(change.steps):
            outcome = do(journal, step)
            if outcome.why_left and number == 0:
                remove_folders(journal)
                _forget(place, change)
                raise InvalidValue(f"{printable(step.source)}: {outcome.why_left}. Look at the set again.")
            left += [f"{printable(step.source)}: {outcome.why_left}"] * bool(outcome.why_left)
    return {**told(change), "left": left}


def _forget(place: Path, change: Change) -> None:
    """Of a change that could not be made, nothing is taken back later."""
    with contextlib.suppress(CannotWrite):
        write_undone(place, change.number)


def _as_sorting(place: Path, change: Change) -> Journal:
    """As the steps of a sorting take it: from the set, into the set."""
    return Journal(place / FILE, place, place, "move", {}, change.folders, change.steps)


def _steps(place: Path, file: str, folder: str) -> tuple[Step, ...]:
    above, _, _ = file.rpartition("/")
    names = FreeNames(_listed(place / folder))
    beside = companions_of(place, _images_called_alike(place, above, file))
    steps = []
    target = ""
    for name in (file, *beside.get(file, ())):
        found = unplaced_step(place, name)
        if isinstance(found, str):
            if name == file:
                raise InvalidValue(f"{printable(name)}: {found}. Look at the set again.")
            continue
        called = name.rpartition("/")[2] if name == file else name_beside(file, target, name)
        stem, dot, ending = called.rpartition(".")
        there = f"{folder}/{names.free(stem or called, f'{dot}{ending}' if stem else '')}"
        target = target or there
        steps.append(Step(name, there, found.num_bytes, found.time))
    return tuple(steps)


def _images_called_alike(place: Path, above: str, file: str) -> list[str]:
    """Those that the same companions may belong to: no others are asked, so that ten thousand hold nobody up."""
    stem = file.rpartition("/")[2].rpartition(".")[0].lower()
    names = [name for name in _listed(place / above) if name.lower().startswith(stem)]
    images = [name for name in names if name[name.rfind(".") :].lower() in IMAGE_SUFFIXES]
    return sorted(f"{above}/{name}" if above else name for name in images)


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  # of ten thousand
    except OSError:  # it is made for this
        return []


def told(change: Change) -> dict[str, Any]:
    """A change as the page shows it."""
    table = table_of_labels(Path(change.source)).name if change.source else ""
    return {
        "number": change.number,
        "kind": change.kind,
        "file": change.file,
        "given": change.given,
        "label": change.label,
        "to": change.steps[0].target if change.steps else table,
    }
