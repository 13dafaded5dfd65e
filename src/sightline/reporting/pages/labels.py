"""The part of an audit's page that asks for a second look at labels: each image between the nearest of both classes."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

import numpy as np
from numpy.typing import NDArray

from sightline.quality.labels.doubts import LabelDoubts
from sightline.records import Dataset
from sightline.reporting.pages.miniatures import Miniature, miniature
from sightline.system.text import printable


def labels_section(dataset: Dataset, found: LabelDoubts | None) -> str:
    """The section; empty where no label was judged, or none is doubtful."""
    if found is None or not found.num_listed:
        return ""
    num_shown = min(len(found.nearest_given), found.num_listed)
    entries = "".join(_entry(dataset, found, place) for place in range(num_shown))
    more = found.num_listed - num_shown
    rest = (
        f'<p class="more">and {more:,} more, which <code>sightline audit SOURCE --label-table FILE</code> lists</p>'
        if more
        else ""
    )
    return (
        f'<section aria-labelledby="labels"><h2 id="labels">Labels worth a second look ({found.num_listed:,})</h2>'
        f'<p class="faint">None of these labels is called wrong. {escape(printable(_sentence(found.believed)))} '
        "The suggested class is the one that fits best beside the given one; beside each image stand those of both "
        "classes that are most like it, by what the network inside the package sees.</p>"
        "<p><code>sightline audit SOURCE --label-table labels.csv</code> writes them as a table. Change its column "
        "<code>label</code>, or empty it to leave an image out, then "
        "<code>sightline train SOURCE --labels labels.csv</code>.</p>"
        f"{entries}{rest}</section>"
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _entry(dataset: Dataset, found: LabelDoubts, place: int) -> str:
    row = int(found.rows[place])
    given = str(dataset.named(slice(row, row + 1))[0])
    suggested = str(dataset.class_names[int(found.suggested[place])])
    name = escape(printable(str(dataset.row_ids[row])))
    sides = (("given", given, found.nearest_given[place]), ("suggested", suggested, found.nearest_suggested[place]))
    return (
        f'<div class="entry doubt"><p>{place + 1}. <code>{name}</code>: given <b>{escape(printable(given))}</b>, '
        f"suggested <b>{escape(printable(suggested))}</b></p>"
        f'<div class="pictures">{_figure(dataset, row, "this image")}'
        + "".join(_side(dataset, which, label, rows) for which, label, rows in sides)
        + "</div></div>"
    )


def _side(dataset: Dataset, which: str, label: str, rows: NDArray[np.int64]) -> str:
    figures = "".join(_figure(dataset, row, label) for row in rows[rows >= 0].tolist())
    words = f"nearest of the {which} class"
    return f'<div class="side" role="group" aria-label="{words}"><p class="faint">{words}</p>{figures}</div>'


def _figure(dataset: Dataset, row: int, caption: str) -> str:
    drawn = "".join(_tag(picture, str(dataset.row_ids[row])) for picture in _drawn(dataset, row))
    return f"<figure>{drawn}<figcaption>{escape(printable(caption))}</figcaption></figure>"


def _drawn(dataset: Dataset, row: int) -> Iterator[Miniature]:
    picture = miniature(dataset, row)
    if picture is not None:
        yield picture


def _tag(picture: Miniature, name: str) -> str:
    small = ' class="small"' if picture.is_small else ""
    return f'<img{small} alt="{escape(printable(name))}" src="{picture.address}" loading="lazy">'
