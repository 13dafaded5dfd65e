"""What `audit --json` says, put as the page shows it: one thing under one heading, with the first of its images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sightline.quality.findings import KINDS, SEVERITIES
from sightline.system.text import printable

_MOST_FINDINGS, _MOST_PATHS = 30, 8


def shown_audit(result: object) -> dict[str, Any] | None:
    """The findings by severity and kind, each kind with its title and advice; None where that is no audit."""
    if not isinstance(result, Mapping) or not isinstance(result.get("findings"), list):
        return None
    groups: dict[tuple[int, int], dict[str, Any]] = {}
    order = list(KINDS)
    for found in result["findings"]:
        kind, severity = found["kind"], found["severity"]
        place = SEVERITIES.index(severity), order.index(kind)
        group = groups.setdefault(
            place,
            {"kind": kind, "severity": severity, "title": KINDS[kind].title, "advice": KINDS[kind].advice, "num": 0}
            | {"findings": []},
        )
        group["num"] += 1
        if len(group["findings"]) < _MOST_FINDINGS:
            group["findings"].append(_shown(found))
    counts = {severity: sum(one["severity"] == severity for one in result["findings"]) for severity in SEVERITIES}
    told = {name: result.get(name) for name in ("num_files", "num_images")}
    labels = result.get("labels")
    doubted = labels.get("listed") if isinstance(labels, Mapping) else None
    told["num_doubted"] = len(doubted) if isinstance(doubted, list) else 0
    return {**told, "counts": counts, "groups": [groups[place] for place in sorted(groups)]}


def _shown(found: Mapping[str, Any]) -> dict[str, Any]:
    paths = found["paths"]
    return {"detail": printable(found["detail"]), "paths": paths[:_MOST_PATHS], "num_paths": len(paths)}
