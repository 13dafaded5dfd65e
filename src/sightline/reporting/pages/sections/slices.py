"""The section of a report on parts of the images: where answers are wrong more often than on the rest."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final

from sightline.reporting.pages.report_content import share_in_words, short_name
from sightline.reporting.pages.shell import count_cell, wide_table
from sightline.system.text import counted, exact_percent, told_p_value

_MOST_SHOWN: Final = 12
_MOST_LISTED: Final = 500


def slices_section(told: Mapping[str, Any]) -> str:
    """What stands about each part, the surest to be worse first.

    Args:
        told: `slices`, each as `sightline.metrics.slices.Slice.figures`, and the `interval_level`.
    """
    slices = told["slices"]
    if not slices:
        return "<p>No part of the images has 30 of them and 30 others to be judged against.</p>"
    level = exact_percent(float(told["interval_level"]))
    worse = [one for one in slices if one["is_worse"]]
    shown = max(len(worse), min(_MOST_SHOWN, len(slices)))
    rest = slices[shown:_MOST_LISTED]
    others = f"<details><summary>{counted(len(rest), 'other part')}</summary>{_table(rest, level)}</details>"
    return (
        f"<p>{_verdict(worse, len(slices))} Looked at were the images of each class and group, the darkest and the "
        "lightest quarter, the blurriest and the sharpest, small and large ones, kinds of files, and images that the "
        "network sees alike where it was wrong on validation images.</p>"
        f"{_table(slices[:shown], level)}{others if rest else ''}"
        '<p class="faint">Each part against all other images: the exact test of Fisher, one-sided; as many parts are '
        "looked at, p is adjusted (Holm) so that of sources that are alike everywhere one in twenty has a part called "
        f"worse. Points more: how far the share of wrong answers lies above that of the rest, in brackets the {level} "
        "interval. Parts may overlap.</p>"
    )


def _verdict(worse: list[Mapping[str, Any]], count: int) -> str:
    if not worse:
        return f"On none of {counted(count, 'part')} of the images is it wrong more often than chance explains."
    first = worse[0]
    return (
        f"<b>On {len(worse):,} of {count:,} parts of the images it is wrong more often than on the rest, by more than "
        f"chance.</b> The surest: {short_name(first['name'])}, where {share_in_words(first['error'])} of the answers "
        f"are wrong, and of the rest {share_in_words(first['rest_error'])}."
    )


def _table(slices: list[Mapping[str, Any]], level: str) -> str:
    counts = ("images", "wrong", "share", "of the rest", f"points more, {level}", "adjusted p")
    rows = map(_row, slices)
    return wide_table("parts of the images", rows, texts=["part"], counts=counts, is_sortable=True)


def _row(one: Mapping[str, Any]) -> str:
    low, high = one["excess_interval"]
    excess = f"{100 * one['excess']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    p_value = escape(told_p_value(one["adjusted_p_value"]).removeprefix("= "))
    cells = (
        count_cell(f"{one['num_images']:,}", one["num_images"]),
        count_cell(f"{one['num_wrong']:,}", one["num_wrong"]),
        count_cell(share_in_words(one["error"]), one["error"]),
        count_cell(share_in_words(one["rest_error"]), one["rest_error"]),
        count_cell(excess, one["excess"]),
        count_cell(f"<b>{p_value}: worse</b>" if one["is_worse"] else p_value, one["adjusted_p_value"]),
    )
    return f'<tr><th scope="row">{short_name(one["name"])}</th>{"".join(cells)}</tr>'
