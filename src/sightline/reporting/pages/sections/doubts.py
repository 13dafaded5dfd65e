"""The section of a report that asks for a second look at labels: each image between the nearest of both classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, Final

from sightline.reporting.pages.miniatures import Miniature
from sightline.reporting.pages.report_content import apart, short_name, text_of
from sightline.reporting.pages.shell import count_cell, wide_table
from sightline.system.text import as_argument, counted, printable

MOST_LISTED: Final = 300
_OPEN: Final = 10
# As many as are kept of ours; a run may come from somebody else, and each is a picture.
_MOST_SHOWN: Final = 30
_MOST_NEAREST: Final = 3

Pictures = Callable[[str], Miniature | None]
"""From what the source calls an image to a small picture of it; None where it is not at hand."""


def doubts_section(told: Mapping[str, Any], picture: Pictures, *, source: str) -> str:
    """The list, how far it can be believed, and the first of it with pictures.

    Args:
        told: `num_judged`, `not_judged`, `believed`, `num_listed`, `num_wrong_answers`, `num_wrong_listed`, and
            `listed`, each with `file`, `given`, `suggested`, `doubt`, `split`, `nearest_given`, `nearest_suggested`.
        picture: of an image by its name.
        source: what is typed behind `sightline audit`.
    """
    listed: Sequence[Mapping[str, Any]] = told["listed"]
    shown = [entry for entry in listed if entry["nearest_given"] or entry["nearest_suggested"]]
    drawn = [_entry(place, entry, picture) for place, entry in enumerate(shown[:_MOST_SHOWN], start=1)]
    more = f"<details><summary>the next {len(drawn) - _OPEN:,} of them</summary>{''.join(drawn[_OPEN:])}</details>"
    entries = "".join(drawn[:_OPEN]) + (more if len(drawn) > _OPEN else "")
    missing = ""
    if told["not_judged"]:
        names = ", ".join(short_name(name) for name in told["not_judged"][:20])
        missing = f" Not judged, for too few images: {names}."
    believed = f"<p>How far the list can be believed: {text_of(told['believed'])}.</p>"
    if not listed:
        return f"<p>None of {counted(told['num_judged'], 'label')} would be given another class.{missing}</p>{believed}"
    return (
        f"<p><b>{counted(len(listed), 'label')} of {told['num_judged']:,} may be worth a second look; none of them is "
        f"called wrong.</b> A network that did not learn from these labels and two classifiers, each judging only "
        f"images that it did not learn from, would give them another class.{missing}{_wrong(told)}</p>"
        f"{believed}{_how(source)}{entries}{_list(listed)}"
    )


def _wrong(told: Mapping[str, Any]) -> str:
    if not told["num_wrong_answers"]:
        return ""
    return (
        f" Of the {counted(told['num_wrong_answers'], 'wrong answer')} above, {told['num_wrong_listed']:,} "
        f"{'is' if told['num_wrong_listed'] == 1 else 'are'} to images on this list."
    )


def _how(source: str) -> str:
    name = escape(as_argument(source))
    return (
        f"<p><code>sightline audit {name} --label-table labels.csv</code> writes them as a table. Change its column "
        "<code>label</code>, or empty it to leave an image out, then "
        f"<code>sightline train {name} --labels labels.csv</code>.</p>"
    )


def _entry(place: int, entry: Mapping[str, Any], picture: Pictures) -> str:
    sides = "".join(
        _side(which, str(entry[which]), entry[f"nearest_{which}"], picture) for which in ("given", "suggested")
    )
    name = text_of(entry["file"]).replace("/", "/<wbr>")
    return (
        f'<div class="doubt"><p>{place}. <code><bdi>{name}</bdi></code> ({text_of(entry["split"])}): given '
        f"<b>{short_name(entry['given'])}</b>, suggested <b>{short_name(entry['suggested'])}</b></p>"
        f'<div class="pictures">{_figure(entry["file"], "this image", picture)}{sides}</div></div>'
    )


def _side(which: str, label: str, names: Sequence[str], picture: Pictures) -> str:
    if not names:
        return ""
    words = f"nearest of the {which} class"
    figures = "".join(_figure(name, label, picture) for name in names[:_MOST_NEAREST])
    return f'<div class="side" role="group" aria-label="{words}"><p class="faint">{words}</p>{figures}</div>'


def _figure(name: str, caption: str, picture: Pictures) -> str:
    drawn, told = picture(name), ""
    if drawn is not None:
        small = ' class="small"' if drawn.is_small else ""
        told = f'<img{small} alt="{escape(printable(name))}" src="{drawn.address}" loading="lazy">'
    # Without its picture an image is told by its name.
    words = short_name(caption) if told else apart(name)
    return f"<figure>{told}<figcaption>{words}</figcaption></figure>"


def _list(listed: Sequence[Mapping[str, Any]]) -> str:
    rows = map(_row, listed[:MOST_LISTED])
    texts = ("image", "split", "given", "suggested")
    table = wide_table("labels worth a second look", rows, texts=texts, counts=["doubt, 0 to 1"], is_sortable=True)
    more = len(listed) - MOST_LISTED
    rest = f'<p class="more">and {more:,} more, which the table of labels names</p>' if more > 0 else ""
    return f"<details><summary>all of them by name</summary>{table}{rest}</details>"


def _row(entry: Mapping[str, Any]) -> str:
    texts = "".join(f"<td>{short_name(entry[key])}</td>" for key in ("split", "given", "suggested"))
    doubt = count_cell(f"{entry['doubt']:.4f}", entry["doubt"])
    return f'<tr><th scope="row">{short_name(entry["file"])}</th>{texts}{doubt}</tr>'
