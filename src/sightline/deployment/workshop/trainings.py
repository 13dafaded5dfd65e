"""Runs as the page shows them: the list, how far each is, and what came of it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from sightline.deployment.workshop.folders import RUNS, Root
from sightline.evaluation.kept_runs import runs
from sightline.evaluation.report import FILE as REPORT
from sightline.system.stored import parse_json, read_plain
from sightline.system.text import printable, without_nan

_MOST_HISTORY = 2**24


def list_runs(root: Root) -> list[dict[str, Any]]:
    """The runs in the studio's folder, as `sightline runs` tells them, named as the page does."""
    folder = root.place / RUNS
    if not folder.is_dir() or folder.is_symlink():
        return []
    return [_told(root, row) for row in runs(folder)]


def look_at_run(root: Root, run: Path) -> dict[str, Any]:
    """One run with its epochs so far, and whether it has a report."""
    row = next(iter(runs(run)), None)
    told = {} if row is None else _told(root, row)
    return {**told, "history": history_of(run), "has_report": (run / REPORT).is_file()}


def _told(root: Root, row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "run": root.name_of(Path(row["run"])), "reason": printable(row["reason"])}


def history_of(run: Path) -> list[dict[str, Any]]:
    """A mapping an epoch; the line that is just being written is left for the next time."""
    try:
        lines = read_plain(run / "history.jsonl", most_bytes=_MOST_HISTORY).decode("utf-8").splitlines()
    except (OSError, ValueError):
        return []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError, json.JSONDecodeError):
            row = parse_json(line, allow_nan=True)
            if isinstance(row, dict):
                found.append(without_nan(row))
    return found
