"""What an audit says: kinds of findings, findings, how they are printed, and the exclusions they propose."""

from __future__ import annotations

import csv
import html
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sightline.quality.labels.doubts import LabelDoubts
from sightline.records import Dataset
from sightline.system.text import counted, listed, printable

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""error: something is wrong for certain; warning: it likely harms training or its figures; note: good to know."""

_MOST_LINES = 4
_WIDTH, _INDENT = 80, " " * 9


@dataclass(frozen=True)
class Kind:
    """What a kind of finding is called and what its reader should do.

    Attributes:
        title: a heading in lower case.
        advice: one sentence or two.
    """

    title: str
    advice: str


# In the order in which they are told, within one severity.
KINDS: dict[str, Kind] = {
    "unreadable": Kind(
        "files that cannot be read as images",
        "Copy them again from their source, convert or delete them. Training leaves them out and lists them.",
    ),
    "contradicting-labels": Kind(
        "the same picture under different labels",
        "Decide on one class and remove the other copies. Until then none of them can be trusted, "
        "and the plan leaves all of them out.",
    ),
    "leak": Kind(
        "the same picture in different splits",
        "What is measured on such an image is memory, not skill. The plan keeps the copy in test and "
        "leaves out the others.",
    ),
    "placeholder": Kind(
        "one picture many times over",
        "Look at it: it is likely a stand-in such as 'image not available'. The plan leaves it out where it lies "
        "in several classes, else all copies but one.",
    ),
    "class-too-small": Kind(
        "classes that cannot be learned or measured",
        "Add images, merge the class with another, or remove it.",
    ),
    "near-contradiction": Kind(
        "near copies or lookalikes under different labels",
        "Look at each group: one label may be wrong, or the difference between the classes is very fine.",
    ),
    "near-leak": Kind(
        "near copies or lookalikes in different splits",
        "The figures of the test are too good by as much as these are remembered. The plan leaves out the copies "
        "outside test.",
    ),
    "shortcut": Kind(
        "the label can be told without looking at the picture",
        "A network may learn this instead of what is on the picture, and fail wherever it does not hold. "
        "Bring all classes to the same camera, format and size, or collect them anew.",
    ),
    "duplicates": Kind(
        "the same picture more than once in a class",
        "Copies count double. The plan keeps the first of each. Training keeps copies in one split in any case.",
    ),
    "constant": Kind(
        "images of a single colour",
        "There is nothing to learn from them; the plan leaves them out.",
    ),
    "narrow-range": Kind(
        "images of 16 bits that hardly use them",
        "Pixels are brought to 8 bits by dividing the whole range by 257, so that all images are treated alike. Save "
        "them so that they fill it, or with the 8 bits that matter.",
    ),
    "tiny": Kind(
        "tiny images",
        "They are enlarged to the network's size and may show too little. Look whether they are mere thumbnails.",
    ),
    "extreme-shape": Kind(
        "images of an extreme shape",
        "Brought to the network's shape, little of them remains. Crop them to what they show.",
    ),
    "doubtful-labels": Kind(
        "labels worth a second look",
        "Look at each, the first ones first, and stop where they are right: audit --label-table writes a table to "
        "edit, and train --labels goes by it.",
    ),
    "class-names": Kind(
        "class names that are nearly the same",
        "Rename one if they mean the same; Sightline never fuses them by itself.",
    ),
    "imbalance": Kind(
        "classes of very different size",
        "Read balanced accuracy and macro F1 beside accuracy; weigh or sample the classes by recipe.",
    ),
    "few-images": Kind(
        "classes too small for a figure of their own",
        "Add images of these classes, or read their figures with the interval in mind.",
    ),
    "left-out": Kind(
        "files that the source names and that are not used",
        "Look whether an image is among them.",
    ),
    "wrong-extension": Kind(
        "files whose name promises another format",
        "Sightline goes by the content; other programs may not. Rename them.",
    ),
    "exif-rotation": Kind(
        "photographs that are stored turned and say so",
        "Sightline turns them upright everywhere. A program that ignores EXIF sees them lying on their side.",
    ),
    "huge": Kind(
        "very large images",
        "They slow down the first pass. Nothing is wrong with them.",
    ),
    "near-duplicates": Kind(
        "near copies or lookalikes within a class",
        "Series and edited copies add less than their number says. Training keeps them in one split.",
    ),
    "blurry": Kind(
        "images blurrier than the others",
        "Look whether what tells the class is still seen. Keep them where new images will be as blurry.",
    ),
    "dark": Kind(
        "images darker than the others",
        "Look whether what tells the class is still seen. Keep them where new images will be as dark.",
    ),
    "over-exposed": Kind(
        "images with far more white than the others",
        "Look whether what tells the class is still seen. Keep them where new images will be as light.",
    ),
    "nearly-empty": Kind(
        "images that are nearly empty",
        "Look whether there is anything on them.",
    ),
    "grey-among-colour": Kind(
        "grey images among coloured ones",
        "Look whether they lie mostly in one class, and whether new images will be grey, too.",
    ),
    "odd-size": Kind(
        "images of another size or shape than the others",
        "Look whether they came from another camera, or are parts of larger ones.",
    ),
    "outliers": Kind(
        "images unlike the others of their class",
        "Look whether they belong to this source at all. A rare view of the class is worth keeping.",
    ),
    "order": Kind(
        "images that follow one another are alike",
        "Set data.group_by, or a column group, by what they have in common, so that series stay in one split and are "
        "counted as one.",
    ),
    "not-searched": Kind(
        "what was not looked for",
        "Absence from this list says nothing here.",
    ),
    "remark": Kind(
        "remarks on the source",
        "Read whether it was meant so.",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed.

    Attributes:
        kind: a key of `KINDS`.
        severity: "error", "warning" or "note".
        paths: row ids, or files that are no row, that it is about; empty where it is
            about the source as a whole.
        detail: what was seen, with its numbers.
        exclusions: (file, reason) of the rows that a plan would leave out because of it.
    """

    kind: str
    severity: Severity
    paths: tuple[str, ...]
    detail: str
    exclusions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class Audit:
    """Everything that was noticed about a source; printing it gives the summary.

    Attributes:
        name: of the source.
        num_files: what the source names: its rows and what it left out.
        num_images: rows that could be read as images.
        findings: errors first, then warnings, then notes.
        dataset: what was looked at, for the thumbnails of the page.
        labels: how doubtful each label is; None where that was not asked for, or could not be judged.

    Example:
        >>> import numpy as np, sightline
        >>> found = sightline.audit(sightline.load("mnist").take(np.arange(100)))
        >>> [(finding.severity, finding.kind) for finding in found.findings], found.plan
        ([('warning', 'few-images'), ('note', 'not-searched')], ())
    """

    name: str
    num_files: int
    num_images: int
    findings: tuple[Finding, ...]
    dataset: Dataset = field(repr=False)
    labels: LabelDoubts | None = field(default=None, repr=False)

    def count(self, severity: Severity) -> int:
        """How many findings are of one severity."""
        return sum(finding.severity == severity for finding in self.findings)

    @property
    def is_clean(self) -> bool:
        """True where nothing is an error or a warning."""
        return not self.count("error") and not self.count("warning")

    @property
    def plan(self) -> tuple[tuple[str, str], ...]:
        """(file, reason) of every row that is proposed to be left out, each once; nothing is changed."""
        reasons: dict[str, str] = {}
        for finding in self.findings:
            for path, reason in finding.exclusions:
                reasons.setdefault(path, reason)
        return tuple(reasons.items())

    @property
    def headline(self) -> str:
        """The counts in one line."""
        classes = counted(self.dataset.num_classes, "class", "classes")
        files = counted(self.num_files, "file") + ", " if self.num_files != self.num_images else ""
        return f"{files}{counted(self.num_images, 'image')}, {classes}: {self.verdict}"

    @property
    def verdict(self) -> str:
        """How many errors, warnings and notes there are."""
        if not self.findings:
            return "nothing to remark"
        return ", ".join(counted(self.count(severity), severity) for severity in SEVERITIES if self.count(severity))

    def __repr__(self) -> str:
        lines = [f"audit of '{printable(self.name)}': {self.headline}"]
        for kind, group in by_kind(self.findings):
            lines.append(
                f"\n{group[0].severity:<8} {KINDS[kind].title}{f' ({len(group):,})' if len(group) > 1 else ''}"
            )
            lines += [_wrapped(line_of(finding)) for finding in group[:_MOST_LINES]]
            if len(group) > _MOST_LINES:
                lines.append(_wrapped(f"... and {len(group) - _MOST_LINES:,} more"))
            lines.append(_wrapped(KINDS[kind].advice, mark="-> "))
        if self.plan:
            lines.append(f"\n{counted(len(self.plan), 'file')} could be left out; a plan names each with its reason")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{finding.severity}</td><td>{html.escape(KINDS[finding.kind].title)}</td>"
            f"<td style='text-align:left'>{html.escape(line_of(finding))}</td></tr>"
            for finding in self.findings[:100]
        )
        more = f"<p>... and {len(self.findings) - 100:,} more</p>" if len(self.findings) > 100 else ""
        table = f"<table><tr><th>severity</th><th>kind</th><th>what was seen</th></tr>{rows}</table>{more}"
        head = f"<p>audit of '{html.escape(printable(self.name))}': {html.escape(self.headline)}</p>"
        return head + (table if self.findings else "")


def by_kind(findings: Sequence[Finding]) -> list[tuple[str, list[Finding]]]:
    """(kind, its findings), errors first, in the order of `KINDS`; a kind with two severities comes twice."""
    groups: dict[tuple[int, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((SEVERITIES.index(finding.severity), finding.kind), []).append(finding)
    order = list(KINDS)
    ranked = sorted(groups.items(), key=lambda item: (item[0][0], order.index(item[0][1])))
    return [(kind, group) for (_, kind), group in ranked]


def line_of(finding: Finding) -> str:
    """A finding in one line, its first paths and what was seen: "a.png, b.png: the same pixels"."""
    return f"{listed(finding.paths)}: {printable(finding.detail)}" if finding.paths else printable(finding.detail)


def audit_figures(audit: Audit) -> dict[str, Any]:
    """An audit as plain values, for JSON.

    Returns:
        `num_files`, `num_images`, `findings`: a list of `kind`, `severity`, `paths`, `detail`; `labels` where they were
        judged.
    """
    findings = [finding_figures(finding) for finding in audit.findings]
    labels = {} if audit.labels is None else {"labels": audit.labels.figures(audit.dataset)}
    return {"num_files": audit.num_files, "num_images": audit.num_images, "findings": findings, **labels}


def finding_figures(finding: Finding, *, most_paths: int | None = None) -> dict[str, Any]:
    """A finding as plain values, for JSON: all its paths, or the first of them."""
    paths = list(finding.paths[:most_paths])
    return {"kind": finding.kind, "severity": finding.severity, "paths": paths, "detail": finding.detail}


def plan_csv(audit: Audit) -> str:
    """The proposed exclusions as a table that `train --exclude` takes: a header, then a file and its reason a line."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("file", "reason"))
    writer.writerows(audit.plan)
    return stream.getvalue()


def _wrapped(text: str, *, mark: str = "") -> str:
    # A file's name is never broken, so that it can be copied.
    return textwrap.fill(
        text,
        width=_WIDTH,
        initial_indent=_INDENT + mark,
        subsequent_indent=_INDENT + " " * (len(mark) or 2),
        break_long_words=False,
        break_on_hyphens=False,
    )
