"""Findings about copies: within a class, across classes, across splits, and one picture many times over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from sightline.data.duplicates.search import connected_components
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
    lookup = _RowLookup(dataset)
    found = [_exact_finding(lookup, sorted(rows)) for rows in exact]
    return found + _near_findings(lookup, exact, near)


class _RowLookup:
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
        names = self._dataset.named(np.asarray(rows, np.int64))
        return Counter(dict(Counter(names).most_common()))

    def best_first(self, rows: Sequence[int]) -> list[int]:
        return sorted(rows, key=lambda row: (_RANK.get(self.split(row), 9), row))


def _exact_finding(lookup: _RowLookup, rows: list[int]) -> Finding:
    classes, splits = lookup.classes(rows), lookup.splits(rows)
    if len(rows) >= PLACEHOLDER_COPIES:
        return _placeholder(lookup, rows, classes)
    if len(classes) > 1:
        across = f", in {_and(splits)}" if len(splits) > 1 else ""
        detail = f"{len(rows)} copies, labelled {_tally(classes)}{across}"
        reason = f"the same picture is labelled {_quoted(classes)}"
        return Finding("contradicting-labels", "error", lookup.names(rows), detail, _all_of(lookup, rows, reason))
    kept, *others = lookup.best_first(rows)
    if len(splits) > 1:
        detail = f"{len(rows)} copies of class {_tally(classes)}, in {_and(splits)}"
        reason = f"copy of {lookup.name(kept)}, which is in {lookup.split(kept)}"
        return Finding("leak", "error", lookup.names(rows), detail, _all_of(lookup, others, reason))
    detail = f"{len(rows)} copies in class {_quoted(classes)}"
    reason = f"copy of {lookup.name(kept)}"
    return Finding("duplicates", "warning", lookup.names(rows), detail, _all_of(lookup, others, reason))


def _placeholder(lookup: _RowLookup, rows: list[int], classes: Counter[str]) -> Finding:
    detail = f"one picture {len(rows):,} times, labelled {_tally(classes)}"
    if len(classes) > 1:
        reason = f"one picture {len(rows):,} times over, in {len(classes)} classes"
        return Finding("placeholder", "error", lookup.names(rows), detail, _all_of(lookup, rows, reason))
    kept, *others = lookup.best_first(rows)
    splits = lookup.splits(rows)
    severity: Severity = "error" if len(splits) > 1 else "warning"
    across = f", in {_and(splits)}" if len(splits) > 1 else ""
    reason = f"copy of {lookup.name(kept)}, one picture {len(rows):,} times over"
    return Finding("placeholder", severity, lookup.names(rows), detail + across, _all_of(lookup, others, reason))


def _all_of(lookup: _RowLookup, rows: Sequence[int], reason: str) -> tuple[tuple[str, str], ...]:
    return tuple((lookup.name(row), reason) for row in rows)


def _near_findings(lookup: _RowLookup, exact: Sequence[Sequence[int]], near: Sequence[Pair]) -> list[Finding]:
    if not near:
        return []
    first_of = {row: min(rows) for rows in exact for row in rows}
    # Exact copies stand for one another, so that a group of near copies is not told once a copy.
    pairs = [(first_of.get(a, a), first_of.get(b, b), kind) for a, b, kind in near]
    copies = {min(rows): sorted(rows) for rows in exact}
    findings = []
    for rows, kinds in near_groups(pairs):
        whole = [copy for row in rows for copy in copies.get(row, [row])]
        findings.append(_near_finding(lookup, whole, kinds))
    return findings


def near_groups(pairs: Sequence[Pair]) -> list[tuple[list[int], Counter[str]]]:
    """Rows that hang together by pairs, chains included: (ascending rows, how often each kind occurs), by first row."""
    real = [pair for pair in pairs if pair[0] != pair[1]]
    # Few of many rows are in a pair: they alone are nodes, numbered in their order.
    rows, nodes = np.unique(np.array([pair[:2] for pair in real], np.int64), return_inverse=True)
    components = connected_components(len(rows), nodes.reshape(-1, 2)).tolist()
    members: dict[int, list[int]] = {}
    for row, component in zip(rows.tolist(), components, strict=True):
        members.setdefault(component, []).append(row)
    kinds: dict[int, Counter[str]] = {component: Counter() for component in members}
    for node, (_, _, kind) in zip(nodes.reshape(-1, 2)[:, 0].tolist(), real, strict=True):
        kinds[components[node]][kind] += 1
    return [(rows_of, kinds[component]) for component, rows_of in members.items()]


def _near_finding(lookup: _RowLookup, rows: list[int], kinds: Counter[str]) -> Finding:
    classes, splits = lookup.classes(rows), lookup.splits(rows)
    how = f"alike as if {' or '.join(kind for kind, _ in kinds.most_common(3))}"
    if len(classes) > 1:
        across = f", in {_and(splits)}" if len(splits) > 1 else ""
        detail = f"{counted(len(rows), 'image')} {how}, labelled {_tally(classes)}{across}"
        return Finding("near-contradiction", "warning", lookup.names(rows), detail)
    if len(splits) > 1:
        # All copies outside the most important split go: one alone would still leak.
        kept = [row for row in rows if lookup.split(row) == splits[0]]
        others = [row for row in rows if lookup.split(row) != splits[0]]
        detail = f"{counted(len(rows), 'image')} of class {_tally(classes)}, {how}, in {_and(splits)}"
        reason = f"near copy of {lookup.name(kept[0])}, which is in {splits[0]}"
        return Finding("near-leak", "warning", lookup.names(rows), detail, _all_of(lookup, others, reason))
    detail = f"{counted(len(rows), 'image')} in class {_quoted(classes)}, {how}"
    return Finding("near-duplicates", "note", lookup.names(rows), detail)


def _tally(classes: Counter[str]) -> str:
    return listed([f"'{name}' ({count:,})" for name, count in classes.items()], most=4)


def _quoted(classes: Counter[str]) -> str:
    return listed([f"'{name}'" for name in classes])


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
