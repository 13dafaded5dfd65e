"""Which pictures somebody is asked about: those without a class, and those whose class is doubted; in which order."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from sightline.data.sources.levels import split_within
from sightline.deployment.sorting.journal import is_inside
from sightline.deployment.workshop.folders import Root
from sightline.deployment.workshop.sets.contents import class_folders, loose_pictures
from sightline.deployment.workshop.sets.journal import changes_of
from sightline.deployment.workshop.sets.tables import table_of_labels
from sightline.errors import InvalidValue
from sightline.system.stored import parse_json, read_plain
from sightline.system.text import printable

MOST_ASKED = 5_000
_MOST_BYTES = 2**28


def table_of(root: Root, place: Path, *, job_depth: int) -> str:
    """The loose pictures of a set as a table for `predict`, which lies so many folders below the studio's."""
    names = loose_pictures(place)
    if not names:
        raise InvalidValue("there are no loose pictures in this folder: each has a class. Choose another folder.")
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["path"])
    within = root.name_of(place)
    up = "../" * job_depth
    # What is no UTF-8 cannot stand in the table, and is asked about without an answer.
    named = [name for name in names if printable(name) == name]
    table.writerows([f"{up}{within}/{name}" if within else f"{up}{name}"] for name in named)
    return stream.getvalue()


def unlabelled(root: Root, place: Path, answers: Path | None, class_names: Iterable[str] = ()) -> dict[str, Any]:
    """The loose pictures of a set: by doubt where a run answered them, else by name.

    Args:
        root: of the studio.
        place: of the set.
        answers: a file of rows that `predict` wrote; None where no run was asked.
        class_names: that the run knows.
    """
    there = sorted(loose_pictures(place), key=lambda name: (name.casefold(), name))
    rows = {} if answers is None else _answers(answers)
    asked = [_asked(name, rows.get(name)) for name in there]
    unreadable = [one for one in asked if one["error"] is not None]
    asked = [one for one in asked if one["error"] is None]
    if answers is not None:
        asked.sort(key=lambda one: one["doubt"], reverse=True)
    names = {*class_folders(root, place), *class_names}
    return {
        "count": len(asked),
        "pictures": asked[:MOST_ASKED],
        "unreadable": [[printable(one["file"]), printable(one["error"])] for one in unreadable],
        "order": "name" if answers is None else "doubt",
        "classes": sorted(names, key=lambda name: (name.casefold(), name)),
    }


def _asked(name: str, row: Mapping[str, Any] | None) -> dict[str, Any]:
    told: dict[str, Any] = {"file": name, "label": None, "confidence": None, "flags": [], "doubt": 2.0, "error": None}
    if row is None:
        return told
    if row.get("error") is not None:
        return {**told, "error": str(row["error"]).removeprefix(f"{row['path']}: ")}
    if "labels" in row:
        raise InvalidValue("the run says several labels of a picture, and a set has one class each. Ask another run.")
    top = [float(one["confidence"]) for one in row["top"]]
    # How little the first class is ahead of the second; what is marked comes before all that is not.
    doubt = 1.0 - (top[0] - (top[1] if len(top) > 1 else 0.0))
    flags = [flag for flag in ("novel", "unsure") if row.get(flag)]
    found = {"label": str(row["label"]), "confidence": top[0], "flags": flags}
    return {**told, **found, "doubt": round(doubt + bool(flags), 6)}


def _answers(path: Path) -> dict[str, Mapping[str, Any]]:
    found = {}
    for row in _rows(path):
        found[PurePosixPath(str(row["path"])).name] = row
    return found


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.is_symlink():
        raise InvalidValue("the answers of the run are a link, and none is followed. Ask the run again.")
    try:
        lines = read_plain(path, most_bytes=_MOST_BYTES).decode("utf-8").splitlines()
        for line in lines:
            row = parse_json(line)
            _ = row["path"], row["top"], row["labels" if "labels" in row else "label"]
            yield row
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InvalidValue("the answers of the run are gone, or damaged. Ask the run again.") from error


def doubted(root: Root, place: Path, job: Mapping[str, Any]) -> dict[str, Any]:
    """The labels that a command doubts and nobody looked at since: those of `audit --labels`, or of `mistakes`.

    Args:
        root: of the studio.
        place: of the set that it looked at.
        job: as it is told, with its result.
    """
    rows = list(_doubted(job))
    changes = (change for change in changes_of(place) if not change.source)
    done = {change.file for change in changes if change.kind in ("keep", "correct", "remove")}
    open_rows = [row for row in rows if row["file"] not in done and _is_there(place, row["file"])]
    names = {row[key] for row in rows for key in ("given", "suggested")}
    told = _told(place, rows, open_rows, names | set(_classes(root, place)))
    return {**told, "set": root.name_of(place), "source": root.name_of(place), "table": None}


def doubted_in(root: Root, source: Path, job: Mapping[str, Any], class_names: Iterable[str]) -> dict[str, Any]:
    """The same of a source that is no folder, whose labels are corrected in a table beside it."""
    rows = list(_doubted(job))
    changes = (change for change in changes_of(source.parent) if change.source == source.name)
    done = {change.file for change in changes}
    told = _told(source, rows, [row for row in rows if row["file"] not in done], set(class_names))
    table = root.name_of(table_of_labels(source))
    return {**told, "set": root.name_of(source.parent), "source": root.name_of(source), "table": table}


def _told(
    place: Path, rows: Sequence[Mapping[str, Any]], open_rows: Sequence[Mapping[str, Any]], names: Iterable[str]
) -> dict[str, Any]:
    return {
        "name": printable(place.name),
        "count": len(open_rows),
        "num_all": len(rows),
        "rows": open_rows[:MOST_ASKED],
        "classes": sorted(names, key=str.casefold),
    }


def _classes(root: Root, place: Path) -> list[str]:
    folders = class_folders(root, place)
    return [] if any(map(split_within, folders)) else folders


def _is_there(place: Path, file: str) -> bool:
    return is_inside(file) and (place / file).is_file()


def _doubted(job: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    result = job.get("result")
    try:
        if job["kind"] == "mistakes":
            for row in (row for row in result["rows"] if row["is_wrong"]):  # type: ignore[index]  # what is none is refused below
                names = {"file": str(row["row_id"]), "given": str(row["given"]), "suggested": str(row["predicted"])}
                yield {**names, "confidence": float(row["confidence"])}
            return
        for row in (result.get("labels") or {"listed": []})["listed"]:  # type: ignore[union-attr]
            names = {name: str(row[name]) for name in ("file", "given", "suggested")}
            yield {**names, "confidence": None}
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise InvalidValue("this command told of no labels. Check the pictures with their labels again.") from error
