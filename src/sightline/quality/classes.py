"""Findings about classes: sizes, names, and what the source itself had to say."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.data.decoding.formats import IMAGE_SUFFIXES
from sightline.metrics.intervals import USUAL_LEVEL, wilson_interval
from sightline.quality.findings import Finding, Severity
from sightline.records import Dataset
from sightline.system.text import counted, exact_percent, listed, percent

LEAST_TEST_IMAGES: Final = 20
"""With fewer test images a class has no figure of its own: 20 of 20 right still reach down to 0.84."""
TEST_FRACTION: Final = 0.2
"""Share of a class that training keeps for the test where the source gives no test split."""
NOTED_RATIO: Final = 3
"""Largest class over smallest, from which imbalance is noted."""
WARNED_RATIO: Final = 10
"""Largest class over smallest, from which imbalance is a warning."""


def class_findings(dataset: Dataset) -> list[Finding]:
    """What the labels, the names and the source's own remarks say; no image is read."""
    counts = dataset.counts()
    alike = _similar_names(dataset.class_names)
    return [
        *_too_small(dataset, counts),
        *[_names_finding(names) for names in alike],
        *_imbalance(dataset, counts),
        *_few_images(dataset, counts),
        *_left_out(dataset),
        *_remarks(dataset, alike),
    ]


def _quoted(dataset: Dataset, labels: NDArray[np.int64], *, most: int = 5) -> str:
    return listed([f"'{dataset.class_names[label]}'" for label in labels], most=most)


def _too_small(dataset: Dataset, counts: NDArray[np.int64]) -> list[Finding]:
    findings = []
    for count, what in ((0, "no image"), (1, "a single image, which cannot be both learned from and measured on")):
        labels = np.flatnonzero(counts == count)
        if len(labels):
            rows = np.unique(np.concatenate([dataset.rows_of(label) for label in labels.tolist()]))
            paths = tuple(dataset.row_ids[rows].tolist())
            findings.append(Finding("class-too-small", "error", paths, f"{_quoted(dataset, labels)}: {what}"))
    is_train = (dataset.given_splits == "train") | (dataset.given_splits == "")
    in_train = dataset.counts(is_train)
    unseen = np.flatnonzero((in_train == 0) & (counts > 0))
    if len(unseen):
        detail = f"{_quoted(dataset, unseen)}: images in test or validation, none to learn from"
        findings.append(Finding("class-too-small", "error", (), detail))
    return findings


def _similar_names(class_names: tuple[str, ...]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for name in class_names:
        plain = unicodedata.normalize("NFKC", name).casefold().strip()
        groups.setdefault(re.sub(r"[\s_-]+", " ", plain), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def _names_finding(names: list[str]) -> Finding:
    return Finding("class-names", "warning", (), f"{listed([repr(name) for name in names], most=6)} may be one class")


def _imbalance(dataset: Dataset, counts: NDArray[np.int64]) -> list[Finding]:
    present = np.flatnonzero(counts > 1)
    if len(present) < 2:
        return []
    most, least = present[np.argmax(counts[present])], present[np.argmin(counts[present])]
    ratio = counts[most] / counts[least]
    if ratio < NOTED_RATIO:
        return []
    severity: Severity = "warning" if ratio >= WARNED_RATIO else "note"
    share = counts[most] / counts.sum()
    detail = (
        f"'{dataset.class_names[most]}' has {counted(int(counts[most]), 'image')}, "
        f"'{dataset.class_names[least]}' {counts[least]:,}: {ratio:.1f} to 1. "
        f"Always answering '{dataset.class_names[most]}' would be right in {percent(share)}"
    )
    return [Finding("imbalance", severity, (), detail)]


def _few_images(dataset: Dataset, counts: NDArray[np.int64]) -> list[Finding]:
    is_test = dataset.given_splits == "test"
    given = bool(is_test.any())
    tested = dataset.counts(is_test)
    expected = tested if given else np.floor(counts * TEST_FRACTION + 0.5).astype(np.int64)
    few = np.flatnonzero((expected < LEAST_TEST_IMAGES) & (counts > 1))
    if not len(few):
        return []
    fewest = few[np.argmin(expected[few])]
    number = int(expected[fewest])
    lower = wilson_interval(number, number, confidence=USUAL_LEVEL)[0] if number else 0.0
    share = "in test" if given else f"of {counts[fewest]:,} for the test"
    example = (
        f"even with every answer right its accuracy could be as low as {percent(lower)} "
        f"({exact_percent(USUAL_LEVEL)} interval)"
        if number
        else "nothing can be said of its accuracy"
    )
    detail = (
        f"{_quoted(dataset, few)}: fewer than {LEAST_TEST_IMAGES} test images each. "
        f"'{dataset.class_names[fewest]}' has {'' if given else 'about '}{number} {share}: {example}"
    )
    return [Finding("few-images", "warning", (), detail)]


def _left_out(dataset: Dataset) -> list[Finding]:
    findings = []
    reasons: dict[tuple[str, Severity], list[str]] = {}
    for file, reason in dataset.left_out:
        # A list or a licence beside the images is nothing to worry about; what calls itself an image is.
        looks_like_image = PurePosixPath(file).suffix.lower() in IMAGE_SUFFIXES
        # A table says in which line it stands, which would set every file apart.
        words = re.sub(r" \(lines? [^)]*\)$", "", reason)
        reasons.setdefault((words, "warning" if looks_like_image else "note"), []).append(file)
    for (reason, severity), files in reasons.items():
        findings.append(Finding("left-out", severity, tuple(files), f"{counted(len(files), 'file')}: {reason}"))
    return findings


def _remarks(dataset: Dataset, alike: list[list[str]]) -> list[Finding]:
    # The source, too, remarks on similar names; they are told once.
    told = [
        remark for remark in dataset.remarks if not any(all(repr(name) in remark for name in names) for names in alike)
    ]
    return [Finding("remark", "note", (), remark) for remark in told]
