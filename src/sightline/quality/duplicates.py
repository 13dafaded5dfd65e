"""Findings about copies: within a class, across classes, across splits, and one picture many times over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from sightline.quality.findings import Finding, Severity
from sightline.records import Dataset
from sightline.system.text import counted, listed

PLACEHOLDER_COPIES: Final = 5
"""From so many exact copies on, one picture is taken for a placeholder."""

Pair = tuple[int, int, str]
"""Two rows and how the second differs from the first: "resized", "flipped", ..."""

# The copy that is kept is the one whose figures matter most.
_RANK = {"test": 0, "validation": 1, "calibration": 2, "train": 3}


def copy_findings(dataset: Dataset, exact: Sequence[Sequence[int]], near: Sequence[Pair]) -> list[Finding]:
    """What copies mean for the labels and the splits of a source.

    Args:
        dataset: the rows.
        exact: groups of at least two rows with the same pixels; no row in two groups.
        near: pairs of rows that are near copies of one another.
    """
    place = _Places(dataset)
    found = [_exact_finding(place, sorted(rows)) for rows in exact]
    return found + _near_findings(place, exact, near)


class _Places:
    """Class, split and name of each row, looked up by row."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        # Rows that no split claims are trained on where the source gives other splits, and divided as whole
        # groups where it gives none.
        self._has_splits = bool((dataset.given_splits != "").any())

    def name(self, row: int) -> str:
        return str(self._dataset.row_ids[row])

    def names(self, rows: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.name(row) for row in rows)

    def split(self, row: int) -> str:
        given = str(self._dataset.given_splits[row])
        return given or ("train" if self._has_splits else "")

    def splits(self, rows: Sequence[int]) -> list[str]:
        return sorted({self.split(row) for row in rows}, key=lambda split: _RANK.get(split, 9))

    def classes(self, rows: Sequence[int]) -> Counter[str]:
        """Class names with their counts, the commonest first."""
        names = (self._dataset.class_names[self._dataset.labels[row]] for row in rows)
        return Counter(dict(Counter(names).most_common()))

    def best_first(self, rows: Sequence[int]) -> list[int]:
        return sorted(rows, key=lambda row: (_RANK.get(self.split(row), 9), row))


def _exact_finding(place: _Places, rows: list[int]) -> Finding:
    classes, splits = place.classes(rows), place.splits(rows)
    if len(rows) >= PLACEHOLDER_COPIES:
        return _placeholder(place, rows, classes)
    if len(classes) > 1:
        across = f", in {_and(splits)}" if len(splits) > 1 else ""
        detail = f"{len(rows)} copies, labelled {_tally(classes)}{across}"
        reason = f"the same picture is labelled {_quoted(classes)}"
        return Finding("contradicting-labels", "error", place.names(rows), detail, _all_of(place, rows, reason))
    kept, *others = place.best_first(rows)
    if len(splits) > 1:
        detail = f"{len(rows)} copies of class {_tally(classes)}, in {_and(splits)}"
        reason = f"copy of {place.name(kept)}, which is in {place.split(kept)}"
        return Finding("leak", "error", place.names(rows), detail, _all_of(place, others, reason))
    detail = f"{len(rows)} copies in class {_quoted(classes)}"
    reason = f"copy of {place.name(kept)}"
    return Finding("duplicates", "warning", place.names(rows), detail, _all_of(place, others, reason))


def _placeholder(place: _Places, rows: list[int], classes: Counter[str]) -> Finding:
    detail = f"one picture {len(rows):,} times, labelled {_tally(classes)}"
    if len(classes) > 1:
        reason = f"one picture {len(rows):,} times over, in {len(classes)} classes"
        return Finding("placeholder", "error", place.names(rows), detail, _all_of(place, rows, reason))
    kept, *others = place.best_first(rows)
    splits = place.splits(rows)
    severity: Severity = "error" if len(splits) > 1 else "warning"
    across = f", in {_and(splits)}" if len(splits) > 1 else ""
    reason = f"copy of {place.name(kept)}, one picture {len(rows):,} times over"
    return Finding("placeholder", severity, place.names(rows), detail + across, _all_of(place, others, reason))


def _all_of(place: _Places, rows: Sequence[int], reason: str) -> tuple[tuple[str, str], ...]:
    return tuple((place.name(row), reason) for row in rows)


def _near_findings(place: _Places, exact: Sequence[Sequence[int]], near: Sequence[Pair]) -> list[Finding]:
    if not near:
        return []
    first_of = {row: min(rows) for rows in exact for row in rows}
    # Exact copies stand for one another, so that a group of near copies is not told once a copy.
    pairs = [(first_of.get(a, a), first_of.get(b, b), kind) for a, b, kind in near]
    copies = {min(rows): sorted(rows) for rows in exact}
    findings = []
    for rows, kinds in tied(pairs):
        whole = [copy for row in rows for copy in copies.get(row, [row])]
        findings.append(_near_finding(place, whole, kinds))
    return findings


def tied(pairs: Sequence[Pair]) -> list[tuple[list[int], Counter[str]]]:
    """Pairs that share a row, tied to groups.

    Returns:
        (rows in ascending order, how often each kind of difference occurs), by first row.
    """
    parent: dict[int, int] = {}

    def root(row: int) -> int:
        while parent.setdefault(row, row) != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    real = [pair for pair in pairs if pair[0] != pair[1]]
    for first, second, _ in real:
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    members: dict[int, list[int]] = {}
    for row in sorted(parent):
        members.setdefault(root(row), []).append(row)
    kinds: dict[int, Counter[str]] = {}
    for first, _, kind in real:
        kinds.setdefault(root(first), Counter())[kind] += 1
    return [(rows, kinds[first]) for first, rows in members.items()]


def _near_finding(place: _Places, rows: list[int], kinds: Counter[str]) -> Finding:
    classes, splits = place.classes(rows), place.splits(rows)
    how = f"alike as if {' or '.join(kind for kind, _ in kinds.most_common(3))}"
    if len(classes) > 1:
        across = f", in {_and(splits)}" if len(splits) > 1 else ""
        detail = f"{counted(len(rows), 'image')} {how}, labelled {_tally(classes)}{across}"
        return Finding("near-contradiction", "warning", place.names(rows), detail)
    if len(splits) > 1:
        # All copies outside the most important split go: one alone would still leak.
        kept = [row for row in rows if place.split(row) == splits[0]]
        others = [row for row in rows if place.split(row) != splits[0]]
        detail = f"{counted(len(rows), 'image')} of class {_tally(classes)}, {how}, in {_and(splits)}"
        reason = f"near copy of {place.name(kept[0])}, which is in {splits[0]}"
        return Finding("near-leak", "warning", place.names(rows), detail, _all_of(place, others, reason))
    detail = f"{counted(len(rows), 'image')} in class {_quoted(classes)}, {how}"
    return Finding("near-duplicates", "note", place.names(rows), detail)


def _tally(classes: Counter[str]) -> str:
    return listed([f"'{name}' ({count:,})" for name, count in classes.items()], most=4)


def _quoted(classes: Counter[str]) -> str:
    return listed([f"'{name}'" for name in classes])


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
