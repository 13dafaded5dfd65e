"""Findings about single images: unreadable, wrongly named, turned, tiny, huge, of extreme shape, of one colour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.data.decoding.formats import SUFFIXES
from sightline.quality.findings import Finding, Severity
from sightline.quality.ranges import range_findings
from sightline.quality.survey import Survey
from sightline.records import Dataset
from sightline.system.text import counted

TINY_SIDE: Final = 32
"""An image whose shorter side has fewer pixels is tiny."""
HUGE_MEGAPIXELS: Final = 20
"""An image of more pixels is huge."""
EXTREME_RATIO: Final = 5
"""An image whose longer side is more than so many times the shorter is of extreme shape."""
CONSTANT_SPREAD: Final = 16
"""An image of which 99.9 % of the pixels lie within so many of 255 levels has a single colour."""


def picture_findings(dataset: Dataset, seen: Survey) -> list[Finding]:
    """What is to be said about images one by one."""
    return [
        *unreadable_findings(dataset, seen.errors),
        *_wrong_extensions(dataset, seen),
        *_turned(dataset, seen),
        *_sizes(dataset, seen),
        *_constant(dataset, seen),
        *range_findings(dataset, seen.peaks),
    ]


def unreadable_findings(dataset: Dataset, errors: Mapping[int, str]) -> list[Finding]:
    """A finding for each reason why rows could not be read."""
    rows_of: dict[str, list[int]] = {}
    for row, reason in errors.items():
        rows_of.setdefault(reason, []).append(row)
    findings = []
    for reason, rows in rows_of.items():
        names = names_of(dataset, rows)
        detail = f"{counted(len(rows), 'file')}: {reason}" if len(rows) > 1 else reason
        gone = tuple((name, f"cannot be read: {reason}") for name in names)
        findings.append(Finding("unreadable", "error", names, detail, gone))
    return findings


def names_of(dataset: Dataset, rows: NDArray[np.int64] | list[int]) -> tuple[str, ...]:
    """Row ids of some rows, as plain strings."""
    return tuple(dataset.row_ids[np.asarray(rows, dtype=np.int64)].tolist())


def _wrong_extensions(dataset: Dataset, seen: Survey) -> list[Finding]:
    groups: dict[tuple[str, str], list[int]] = {}
    for row, (content, suffix) in enumerate(zip(seen.formats, seen.suffixes, strict=True)):
        if content and suffix not in SUFFIXES[content]:
            groups.setdefault((suffix, content), []).append(row)
    findings = []
    for (suffix, content), rows in sorted(groups.items()):
        called = f"called {suffix}" if suffix else "without a suffix"
        detail = f"{counted(len(rows), 'file')} {called} {'holds' if len(rows) == 1 else 'hold'} {content}"
        findings.append(Finding("wrong-extension", "note", names_of(dataset, rows), detail))
    return findings


def _turned(dataset: Dataset, seen: Survey) -> list[Finding]:
    rows = np.flatnonzero(seen.orientations > 1)
    if not len(rows):
        return []
    sizes = sorted({f"{seen.widths[row]}x{seen.heights[row]}" for row in rows})
    verb = "is" if len(rows) == 1 else "are"
    detail = f"{counted(len(rows), 'photograph')} {verb} turned or mirrored by EXIF ({', '.join(sizes[:3])} pixels)"
    return [Finding("exif-rotation", "note", names_of(dataset, rows), detail)]


def _sizes(dataset: Dataset, seen: Survey) -> list[Finding]:
    readable = seen.readable
    shorter, longer = np.minimum(seen.heights, seen.widths), np.maximum(seen.heights, seen.widths)
    findings = []
    tiny = np.flatnonzero(readable & (shorter < TINY_SIDE))
    # Where all images are small, as digits of 28 pixels, that is how the source is; a few among larger ones are not.
    if len(tiny) and 2 * len(tiny) <= readable.sum():
        detail = f"{counted(len(tiny), 'image')} with a side below {TINY_SIDE} pixels; the median is {_median(shorter)}"
        findings.append(Finding("tiny", "warning", names_of(dataset, tiny), detail))
    huge = np.flatnonzero(seen.heights * seen.widths > HUGE_MEGAPIXELS * 1_000_000)
    if len(huge):
        largest = (seen.heights * seen.widths).max() / 1e6
        detail = f"{counted(len(huge), 'image')} above {HUGE_MEGAPIXELS} megapixels, the largest of {largest:.0f}"
        findings.append(Finding("huge", "note", names_of(dataset, huge), detail))
    narrow = np.flatnonzero(readable & (longer > EXTREME_RATIO * shorter))
    if len(narrow):
        worst = narrow[np.argmax(longer[narrow] / shorter[narrow])]
        detail = (
            f"{counted(len(narrow), 'image')} more than {EXTREME_RATIO} times as long as wide, "
            f"up to {seen.widths[worst]}x{seen.heights[worst]} pixels"
        )
        severity: Severity = "warning" if 2 * len(narrow) <= readable.sum() else "note"
        findings.append(Finding("extreme-shape", severity, names_of(dataset, narrow), detail))
    return findings


def _median(shorter: NDArray[np.int64]) -> int:
    return int(np.median(shorter[shorter > 0]))


def _constant(dataset: Dataset, seen: Survey) -> list[Finding]:
    # Of what is stored with 16 bits and fills few of them, nothing is said but that.
    narrow = list(seen.peaks) if range_findings(dataset, seen.peaks) else []
    is_narrow = np.isin(np.arange(len(seen)), narrow)
    rows = np.flatnonzero(seen.readable & ~is_narrow & (seen.spread <= CONSTANT_SPREAD))
    if not len(rows):
        return []
    names = names_of(dataset, rows)
    exact = int((seen.spread[rows] == 0).sum())
    detail = f"{counted(len(rows), 'image')} of a single colour ({exact:,} exactly, {len(rows) - exact:,} nearly)"
    return [Finding("constant", "warning", names, detail, tuple((name, "a single colour") for name in names))]
