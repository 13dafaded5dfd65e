"""What every page begins and ends with: one file, no network, and a policy that lets its own script run alone."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape

from sightline._version import __version__
from sightline.system.paths import PAGE_MARK


def whole_page(title: str, body: str, *, style: str, script: str, closing: str) -> str:
    """A page of HTML.

    Args:
        title: plain text.
        body: HTML between the tags of the body, in which whatever comes from a stranger is escaped.
        style: a style sheet.
        script: run at the end; nothing else is run, whatever stands in the body.
        closing: what is said last, plain text.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"{PAGE_MARK}"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>{body}"
        f"<footer>Made by Sightline {escape(__version__)}. {escape(closing)}</footer>"
        f"<script>{script}</script></body></html>\n"
    )


def wide_table(
    label: str, rows: Iterable[str], *, texts: Sequence[str], counts: Sequence[str], is_sortable: bool = False
) -> str:
    """A table that scrolls by itself where the screen is too narrow for it.

    Args:
        label: what it is called to who cannot see it.
        rows: HTML of a row each.
        texts: heads of the columns of text, which stand first.
        counts: heads of the columns of numbers.
        is_sortable: whether a script may sort its rows.
    """
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in texts)
    heads += "".join(f'<th scope="col" class="count">{escape(head)}</th>' for head in counts)
    kind = ' class="sortable"' if is_sortable else ""
    return (
        f'<div class="scroll" role="region" aria-label="{escape(label)}" tabindex="0"><table{kind}>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def count_cell(text: str, value: float | None = None) -> str:
    """A cell of a number; `value` is what it is sorted by."""
    sorted_by = "" if value is None else f' data-value="{value}"'
    return f'<td class="count"{sorted_by}>{text}</td>'
