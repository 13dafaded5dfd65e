"""An audit as one HTML page that needs nothing but itself: no network, no other file, no framework.

Whatever comes from the source, a file's name above all, is escaped; and a policy in
the page's head lets a browser run its one script and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final

from sightline.quality.findings import KINDS, SEVERITIES, Audit, Finding, Severity, by_kind
from sightline.reporting.pages.labels import labels_section
from sightline.reporting.pages.miniatures import Miniature, miniature
from sightline.reporting.pages.shell import whole_page
from sightline.reporting.pages.style import SCRIPT, STYLE
from sightline.system.files import write_atomically
from sightline.system.paths import check_output, places_of
from sightline.system.progress import reporter
from sightline.system.text import counted, printable

MOST_PICTURES: Final = 200
"""Miniatures on a page, of about 5 KB each."""
_MOST_PICTURES_A_FINDING, _MOST_PICTURES_A_KIND = 12, 36
_MOST_ENTRIES, _MOST_PATHS, _MOST_CLASSES, _MOST_PLANNED = 100, 200, 200, 1000
_HEADINGS: dict[Severity, str] = {"error": "Errors", "warning": "Warnings", "note": "Notes"}
_MEANINGS: dict[Severity, str] = {
    "error": "Wrong for certain: put these right before any figure is believed.",
    "warning": "Likely to harm the training, or to make its figures mean less than they seem to.",
    "note": "Good to know; nothing has to be done.",
}


def audit_page(audit: Audit) -> str:
    """An audit as a page to be read in a browser, on a screen or a telephone."""
    pictures = _Pictures(audit)
    sections = "".join(_section(audit, severity, pictures) for severity in SEVERITIES)
    labels = labels_section(audit.dataset, audit.labels)
    title = f"Audit of {printable(audit.name)}: {audit.verdict}"
    body = f"{_header(audit)}<main>{_filter(audit)}{sections}{labels}{_classes(audit)}{_plan(audit)}</main>"
    return whole_page(title, body, style=STYLE, script=SCRIPT, closing="Nothing of the source was changed.")


def write_audit_page(audit: Audit, path: str | Path, *, overwrite: bool = False) -> None:
    """Write an audit as one HTML file.

    Args:
        audit: from `sightline.audit`.
        path: the file; an old page of ours is replaced.
        overwrite: whether any other file at `path` may be replaced, too.

    Raises:
        InvalidValue: it lies in the source or in a bundle.
        OutputExists: it is a file that Sightline did not write.
    """
    check_output("path", Path(path), keep=places_of(audit.dataset), overwrite=overwrite)
    write_atomically(Path(path), audit_page(audit))


class _Pictures:
    """Hands out miniatures until there are enough, a fair share to each kind."""

    def __init__(self, audit: Audit) -> None:
        self._dataset = audit.dataset
        self._rows = {str(name): row for row, name in enumerate(audit.dataset.row_ids)}
        self._left = MOST_PICTURES
        self._made: dict[int, Miniature | None] = {}

    def label(self, path: str) -> str:
        row = self._rows.get(path)
        return "" if row is None else self._dataset.named(slice(row, row + 1))[0]

    def take(self, paths: Sequence[str], most: int) -> Iterator[tuple[str, Miniature]]:
        for path in paths[: min(most, _MOST_PICTURES_A_FINDING)]:
            row = self._rows.get(path)
            if row is None or self._left < 1:
                continue
            if row not in self._made:
                self._made[row] = miniature(self._dataset, row)
            found = self._made[row]
            if found is not None:
                self._left -= 1
                yield path, found


def _header(audit: Audit) -> str:
    tally = "".join(
        f'<li class="{severity}"><b>{audit.count(severity):,}</b>'
        f"{escape(counted(audit.count(severity), severity).split(' ')[1])}</li>"
        for severity in SEVERITIES
    )
    left = audit.num_files - audit.num_images
    unused = f" ({counted(left, 'file')} not used)" if left else ""
    return (
        f"<header><h1>Audit of {escape(printable(audit.name))}</h1>"
        f"<p>{counted(audit.num_files, 'file')}, {counted(audit.num_images, 'image')}{unused}, "
        f"{counted(audit.dataset.num_classes, 'class', 'classes')}</p>"
        f'<ul class="tally" aria-label="findings by severity">{tally}</ul>{_contents(audit)}</header>'
    )


def _contents(audit: Audit) -> str:
    groups = by_kind(audit.findings)
    if len(groups) < 2:
        return ""
    items = "".join(
        f'<li class="{group[0].severity}"><a href="#{group[0].severity}-{kind}">{escape(KINDS[kind].title)}</a>'
        f"{f' ({len(group):,})' if len(group) > 1 else ''}</li>"
        for kind, group in groups
    )
    return f'<nav aria-label="kinds of findings"><ul>{items}</ul></nav>'


def _filter(audit: Audit) -> str:
    if not audit.findings:
        return "<p>Nothing to remark.</p>"
    boxes = "".join(
        f'<label><input type="checkbox" id="show-{severity}" checked> {_HEADINGS[severity].lower()}</label>'
        for severity in SEVERITIES
        if audit.count(severity)
    )
    return (
        f'<form id="filter" hidden aria-label="filter">{boxes}'
        '<label class="search"><span>search</span><input type="search" id="words" autocomplete="off"></label>'
        '<output id="shown" class="faint"></output></form>'
    )


def _section(audit: Audit, severity: Severity, pictures: _Pictures) -> str:
    findings = [finding for finding in audit.findings if finding.severity == severity]
    if not findings:
        return ""
    with reporter().bar(f"drawing {severity}s", total=len(findings), unit="findings", lines=False) as bar:
        articles = []
        for kind, group in by_kind(findings):
            articles.append(_article(kind, group, pictures))
            bar.advance(len(group))
    head = (
        f'<h2 id="{severity}s">{_HEADINGS[severity]} ({len(findings):,})</h2><p class="faint">{_MEANINGS[severity]}</p>'
    )
    return f'<section class="findings" aria-labelledby="{severity}s">{head}{"".join(articles)}</section>'


def _article(kind: str, group: Sequence[Finding], pictures: _Pictures) -> str:
    title, left = KINDS[kind].title, _MOST_PICTURES_A_KIND
    entries = []
    for finding in group[:_MOST_ENTRIES]:
        # Labels in doubt have a section of their own, where each image stands beside others.
        drawn = [] if kind == "doubtful-labels" else list(pictures.take(finding.paths, left))
        left -= len(drawn)
        entries.append(_entry(finding, drawn, pictures))
    more = len(group) - _MOST_ENTRIES
    rest = f'<p class="more">and {more:,} more, which <code>sightline audit --json</code> lists</p>' if more > 0 else ""
    severity, count = group[0].severity, f" ({len(group):,})" if len(group) > 1 else ""
    return (
        f'<article id="{severity}-{kind}" class="{severity}">'
        f"<h3>{escape(title[0].upper() + title[1:])}{count}</h3>"
        f'<p class="faint">{escape(KINDS[kind].advice)}</p>{"".join(entries)}{rest}</article>'
    )


def _entry(finding: Finding, drawn: Sequence[tuple[str, Miniature]], pictures: _Pictures) -> str:
    words = " ".join([finding.kind, finding.detail, *finding.paths[:_MOST_PATHS]]).lower()
    figures = "".join(_figure(path, picture, pictures.label(path)) for path, picture in drawn)
    named = {path for path, _ in drawn}
    others = [path for path in finding.paths if path not in named]
    return (
        f'<div class="entry" data-severity="{finding.severity}" data-words="{escape(printable(words))}">'
        f"<p>{_detail(finding, others)}</p>"
        + (f'<div class="pictures">{figures}</div>' if figures else "")
        + _paths(others, is_rest=bool(named))
        + "</div>"
    )


def _detail(finding: Finding, others: Sequence[str]) -> str:
    detail = escape(printable(finding.detail))
    # A file that has no miniature stands before what is said of it.
    return f"<code>{escape(printable(others[0]))}</code>: {detail}" if _is_single(finding.paths, others) else detail


def _is_single(paths: Sequence[str], others: Sequence[str]) -> bool:
    return len(paths) == 1 and len(others) == 1


def _paths(others: Sequence[str], *, is_rest: bool) -> str:
    if not others or (len(others) == 1 and not is_rest):
        return ""
    listed = "".join(f"<li>{escape(printable(path))}</li>" for path in others[:_MOST_PATHS])
    more = f'<p class="more">and {len(others) - _MOST_PATHS:,} more</p>' if len(others) > _MOST_PATHS else ""
    summary = f"{counted(len(others), 'file')} more" if is_rest else counted(len(others), "file")
    return f'<details><summary>{summary}</summary><ul class="paths">{listed}</ul>{more}</details>'


def _figure(path: str, picture: Miniature, label: str) -> str:
    name = escape(printable(path))
    breakable = name.replace("/", "/<wbr>")
    small = ' class="small"' if picture.is_small else ""
    return (
        f'<figure><img{small} alt="{name}" src="{picture.address}" loading="lazy">'
        f"<figcaption><b>{escape(printable(label))}</b>{breakable}</figcaption></figure>"
    )


def _classes(audit: Audit) -> str:
    counts = list(audit.dataset.class_counts().items())
    largest = max((count for _, count in counts), default=0)
    rows = "".join(
        f'<tr><th scope="row">{escape(printable(name))}</th><td class="count">{count:,}</td>'
        f'<td class="wide"><span style="width:{100 * count / max(1, largest):.1f}%"></span></td></tr>'
        for name, count in counts[:_MOST_CLASSES]
    )
    more = f'<p class="more">and {len(counts) - _MOST_CLASSES:,} more</p>' if len(counts) > _MOST_CLASSES else ""
    head = '<thead><tr><th scope="col">class</th><th scope="col" class="count">images</th><td></td></tr></thead>'
    return (
        f'<section aria-labelledby="classes"><h2 id="classes">Classes ({len(counts):,})</h2>'
        f"<table>{head}<tbody>{rows}</tbody></table>{more}</section>"
    )


def _plan(audit: Audit) -> str:
    if not audit.plan:
        return ""
    rows = "".join(
        f"<tr><td><code>{escape(printable(file))}</code></td><td>{escape(printable(reason))}</td></tr>"
        for file, reason in audit.plan[:_MOST_PLANNED]
    )
    more = len(audit.plan) - _MOST_PLANNED
    rest = f'<p class="more">and {more:,} more</p>' if more > 0 else ""
    head = '<thead><tr><th scope="col">file</th><th scope="col">reason</th></tr></thead>'
    return (
        f'<section aria-labelledby="plan"><h2 id="plan">Proposed exclusions ({len(audit.plan):,})</h2>'
        "<p><code>sightline audit SOURCE --plan plan.csv</code> writes this list; edit it, then "
        "<code>sightline train SOURCE --exclude plan.csv</code> leaves these rows out. No file is touched.</p>"
        f"<details><summary>{counted(len(audit.plan), 'file')}</summary>"
        f"<table>{head}<tbody>{rows}</tbody></table>{rest}</details></section>"
    )
