"""`audit`: look at every image of a source once and say what may be wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.data.duplicates.fingerprints import THUMBNAIL_SIDE, Signatures
from sightline.data.duplicates.search import exact_duplicates, find_copies, outstanding
from sightline.data.sources.loading import load
from sightline.integrations.ray.cluster import check_on
from sightline.integrations.ray.workers import cluster_map
from sightline.quality.appearance import appearance_findings
from sightline.quality.classes import class_findings
from sightline.quality.duplicates import Pair, copy_findings
from sightline.quality.findings import KINDS, SEVERITIES, Audit, Finding
from sightline.quality.images import CONSTANT_SPREAD, picture_findings, unreadable_findings
from sightline.quality.labels.doubts import LabelDoubts, find_doubts, finding_words
from sightline.quality.measures import MEASURES
from sightline.quality.order import order_findings
from sightline.quality.ranges import range_findings, sampled_peaks
from sightline.quality.shortcuts import shortcut_findings
from sightline.quality.survey import Survey, survey
from sightline.records import Dataset
from sightline.system.progress import Mode, reporter, reporting
from sightline.system.text import counted
from sightline.system.workers import Map
from sightline.tasks.table import has_several_labels, refuse_several_labels


def audit(
    source: Any, *, near_duplicates: bool = True, labels: bool = False, mode: Mode | None = None, on: str | None = None
) -> Audit:
    """Find what may be wrong with a source of labelled images, before a network learns it.

    Looks for files that cannot be read, wrong names, turned, tiny, huge, narrow and
    empty images, copies within and across classes and splits, classes too small or too
    large, shortcuts that give the class away, and images that are blurred, dark or otherwise
    unlike the others of their source. Nothing of the source is changed.

    Args:
        source: whatever `sightline.load` takes.
        near_duplicates: False looks for exact copies alone.
        labels: True judges every label, too, by what a frozen network sees and two classifiers that did not learn from
            that image; what is doubtful is never called wrong. 12,000 images take half a minute on two cores.
        mode: of the progress: "terminal", "plain", "quiet", or None for what fits.
        on: where files are looked at and copies searched for: "ray" or "ray://HOST", as `predict_into` takes it. The
            findings are the same; labels are judged here.

    Returns:
        The Audit. Printed it is a summary; `findings` holds one record each, `plan` the
        rows that could be left out, `labels` how doubtful each label is.

    Raises:
        UnknownName, InvalidSource: the source cannot be opened.
        DownloadFailed, MissingPackage: public data cannot be fetched.
        NotReached: no cluster answers there, or a node of it lacks the images.

    Example:
        >>> import numpy as np, sightline
        >>> found = sightline.audit(sightline.load("mnist").take(np.arange(2000)))
        >>> found.verdict, found.is_clean
        ('1 note', True)
    """
    check_on(on)
    with reporting(mode):
        dataset = load(source)
        several = has_several_labels(dataset.task)
        if several:
            refuse = "a doubtful label is found by the class that an image looks like. Leave labels out."
            if labels:
                refuse_several_labels(dataset.task, "labels", refuse)
            reporter().say("note: shortcuts and the order of images are looked for where an image has one class")
        with cluster_map(on) as each:
            seen = survey(dataset, each=each)
            copies = _find_copies(seen, with_near=near_duplicates, each=each)
        findings = [
            *picture_findings(dataset, seen),
            *class_findings(dataset),
            *_copies(dataset, seen, copies),
            *([] if several else shortcut_findings(dataset, seen)),
            *_beside_the_others(dataset, seen),
        ]
        doubts, told = _label_doubts(dataset, seen, copies) if labels else (None, [])
        findings += told
    return Audit(
        name=dataset.name,
        num_files=len(dataset) + len(dataset.left_out),
        num_images=int(seen.readable.sum()),
        findings=_in_order(findings),
        dataset=dataset,
        labels=doubts,
    )


def _beside_the_others(dataset: Dataset, seen: Survey) -> list[Finding]:
    """What is unusual for this source."""
    looked = seen.readable & (seen.spread > CONSTANT_SPREAD)
    of_fineness = seen.appearance[:, MEASURES.index("fineness")]
    measured: dict[str, NDArray[np.floating[Any]]] = {"brightness": seen.brightness, "sharpness": of_fineness}
    sizes = np.stack([seen.heights, seen.widths], axis=1)
    return [
        *appearance_findings(dataset, seen.appearance, looked, sizes),
        *([] if has_several_labels(dataset.task) else order_findings(dataset, measured, looked)),
    ]


def cheap_findings(
    dataset: Dataset, *, errors: Mapping[int, str] | None = None, signatures: Signatures | None = None
) -> tuple[Finding, ...]:
    """What can be said without opening an image again: for training, which has seen them all.

    Args:
        dataset: the rows.
        errors: row to reason, of those that could not be read and are still rows.
        signatures: of the same rows; None where nobody took them.

    Returns:
        Findings on class sizes and names, files left out, unreadable rows, and exact copies
        across classes, splits and within a class; errors first.
    """
    findings = [*unreadable_findings(dataset, errors or {}), *class_findings(dataset)]
    findings += range_findings(dataset, sampled_peaks(dataset))
    if signatures is not None:
        # An image without any structure is no copy of another; it shows nothing.
        exact = [rows for rows in _exact(signatures) if signatures.detail[rows[0]] > 0]
        findings += copy_findings(dataset, exact, [])
    return _in_order(findings)


def _in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    kinds = list(KINDS)
    return tuple(sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), kinds.index(one.kind))))


def _exact(signatures: Signatures) -> list[list[int]]:
    return [np.asarray(rows).tolist() for rows in exact_duplicates(signatures)]


@dataclass(frozen=True)
class _Copies:
    """What shows the same: groups of exact copies, pairs of near ones, and of how many images these cannot be told."""

    exact: list[list[int]]
    near: list[Pair]
    num_untold: int
    with_near: bool

    def pairs(self) -> NDArray[np.int64]:
        """(num_pairs, 2) rows, which tie all copies of an image together."""
        exact = [(rows[0], other) for rows in self.exact for other in rows[1:]]
        return np.array([*exact, *[pair[:2] for pair in self.near]], np.int64).reshape(-1, 2)


def _find_copies(seen: Survey, *, with_near: bool, each: Map | None) -> _Copies:
    shows_something = seen.spread > CONSTANT_SPREAD
    exact = [rows for rows in _exact(seen.signatures) if shows_something[rows[0]]]
    near, num_untold = _near(seen, shows_something, each) if with_near else ([], 0)
    return _Copies(exact, near, num_untold, with_near)


def _copies(dataset: Dataset, seen: Survey, copies: _Copies) -> list[Finding]:
    found = copy_findings(dataset, copies.exact, copies.near)
    if not copies.with_near:
        return [*found, Finding("not-searched", "note", (), "near copies, because it was asked not to")]
    return [*found, *_not_searched(seen), *_not_told(copies.num_untold)]


def _label_doubts(dataset: Dataset, seen: Survey, copies: _Copies) -> tuple[LabelDoubts | None, list[Finding]]:
    found = find_doubts(dataset, readable=seen.readable, copies=copies.pairs())
    if isinstance(found, str):
        return None, [Finding("not-searched", "note", (), found)]
    names = tuple(dataset.row_ids[found.rows[: found.num_listed]].tolist())
    told = [Finding("doubtful-labels", "note", names, finding_words(found))] if names else []
    if len(found.outliers):
        far = tuple(dataset.row_ids[found.outliers].tolist())
        detail = f"{counted(len(far), 'image')} far from what is nearest in the class, the farthest first"
        told.append(Finding("outliers", "note", far, detail))
    return found, told


def _near(seen: Survey, shows_something: NDArray[np.bool_], each: Map | None) -> tuple[list[Pair], int]:
    """The pairs of near copies that stand out, and the number of images of which they cannot be told."""
    found, num_untold = outstanding(find_copies(seen.signatures, each=each))
    pairs = zip(found.rows.tolist(), found.kinds.tolist(), strict=True)
    near = [
        (first, second, kind)
        for (first, second), kind in pairs
        if kind != "exact" and shows_something[[first, second]].all()
    ]
    return near, num_untold


def _not_searched(seen: Survey) -> list[Finding]:
    passed = seen.readable & ~seen.signatures.can_tell & (seen.spread > CONSTANT_SPREAD)
    if not passed.any():
        return []
    detail = (
        f"near copies of {counted(int(passed.sum()), 'image')}: below {THUMBNAIL_SIDE} pixels a side, or with hardly "
        "any structure, different pictures look alike. Exact copies were looked for"
    )
    return [Finding("not-searched", "note", (), detail)]


def _not_told(num_images: int) -> list[Finding]:
    if not num_images:
        return []
    detail = (
        f"near copies of {counted(num_images, 'image')}: they look so much like others, as under a fixed camera, "
        "that copies cannot be told. Exact copies were looked for; data.group_by keeps pictures of one thing together"
    )
    return [Finding("not-searched", "note", (), detail)]
