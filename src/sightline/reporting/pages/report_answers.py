"""The parts of a report that name classes and images: figures of each class, what is taken for what, wrong answers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from sightline.records import Figure
from sightline.reporting.pages.miniatures import Miniature
from sightline.reporting.pages.report_content import (
    MOST_NAMED,
    MOST_SUREST,
    MOST_UNSURE,
    ReportContent,
    ReportedAnswer,
    apart,
    short_name,
    text_of,
)
from sightline.reporting.pages.shell import count_cell, wide_table
from sightline.system.text import as_argument, counted, printable

_MOST_IN_MATRIX, _MOST_PAIRS = 40, 300


def classes_section(content: ReportContent) -> str:
    """Recall, precision and F1 of each class."""
    if content.split is None:
        return ""
    counts = ("images", "found", "named rightly", "F1")
    rows = map(_class_row, content.figures["classes"])
    return (
        "<p>Found: of the images of a class, the share that is named so (recall). Named rightly: of the images that "
        "are named so, the share that is of the class (precision). In brackets, between what bounds each would be for "
        f"many such images.</p>{wide_table('figures by class', rows, texts=['class'], counts=counts, is_sortable=True)}"
    )


def _class_row(entry: Mapping[str, Any]) -> str:
    cells = count_cell(f"{entry['num_images']:,}", entry["num_images"])
    for name in ("recall", "precision", "f1"):
        value = entry[name]
        told = Figure(name, math.nan if value is None else value, tuple(entry.get(f"{name}_interval") or ()) or None)
        cells += count_cell(told.numbers, -1 if value is None else value)
    return f'<tr><th scope="row">{short_name(entry["class_name"])}</th>{cells}</tr>'


def confusion_section(content: ReportContent) -> str:
    """The confusion matrix, or of many classes the pairs that are confused."""
    if content.split is None or content.has_several_labels:
        return ""
    confusion = np.array(content.figures["confusion"])
    names = [entry["class_name"] for entry in content.figures["classes"]]
    linked = {(answer.given, answer.predicted) for answer in content.wrong[:MOST_NAMED]}
    if len(names) > _MOST_IN_MATRIX:
        return _pairs(confusion, names, linked)
    wrong = confusion.sum(axis=1) - confusion.diagonal()
    order = json.dumps(np.argsort(-wrong, kind="stable").tolist())
    head = "".join(f'<th scope="col">{short_name(name)}</th>' for name in names)
    most = max(1, int((confusion - np.diag(confusion.diagonal())).max()))
    rows = "".join(_matrix_row(confusion[given], names, given, most, linked) for given in range(len(names)))
    return (
        "<p>A row is the given class, a column what its images were named; on the diagonal they are right. "
        "A number leads to its images.</p>"
        '<p><button type="button" class="plain-button" id="sort-matrix" data-there="most errors first" '
        'data-back="in the order of the classes">most errors first</button></p>'
        '<div class="scroll" role="region" aria-label="confusion matrix" tabindex="0">'
        f'<table class="matrix" data-order="{escape(order)}"><thead><tr><th scope="col">given \\ named</th>{head}</tr>'
        f"</thead><tbody>{rows}</tbody></table></div>"
    )


def _matrix_row(counts: Any, names: Sequence[str], given: int, most: int, linked: set[tuple[str, str]]) -> str:
    cells = ""
    for predicted, count in enumerate(counts.tolist()):
        if predicted == given or not count:
            cells += f'<td class="right">{count:,}</td>' if predicted == given else "<td></td>"
            continue
        told = f"{count:,}"
        if (names[given], names[predicted]) in linked:
            told = f'<a href="#pair-{given}-{predicted}">{told}</a>'
        # One scale for the whole matrix.
        cells += f'<td style="--share:{6 + 30 * count / most:.0f}">{told}</td>'
    return f'<tr><th scope="row">{short_name(names[given])}</th>{cells}</tr>'


def _pairs(confusion: Any, names: Sequence[str], linked: set[tuple[str, str]]) -> str:
    """Of many classes the pairs that occur: a matrix of them could not be read."""
    off = confusion - np.diag(confusion.diagonal())
    given, predicted = np.nonzero(off)
    order = np.argsort(-off[given, predicted], kind="stable")
    rows = []
    for one, other in zip(given[order][:_MOST_PAIRS].tolist(), predicted[order][:_MOST_PAIRS].tolist(), strict=True):
        told = f"{off[one, other]:,}"
        if (names[one], names[other]) in linked:
            told = f'<a href="#pair-{one}-{other}">{told}</a>'
        cells = f"<td>{short_name(names[other])}</td>{count_cell(told, int(off[one, other]))}"
        rows.append(f'<tr><th scope="row">{short_name(names[one])}</th>{cells}</tr>')
    more = len(order) - _MOST_PAIRS
    rest = f'<p class="more">and {counted(more, "pair")} more</p>' if more > 0 else ""
    table = wide_table("confused classes", rows, texts=["given", "named"], counts=["images"], is_sortable=True)
    return f"<p>Of {len(names):,} classes, the pairs that are confused; a number leads to its images.</p>{table}{rest}"


def mistakes_section(content: ReportContent) -> str:
    """The wrong answers with their pictures: the surest, then all by pairs of classes."""
    if content.split is None:
        return ""
    if content.has_several_labels:
        return (
            "<p>Answers are right in part; mistakes.png of the run shows images whose labels are not all right, and "
            "<code>sightline mistakes RUN</code> names each label that is missed or said wrongly.</p>"
        )
    if not content.wrong:
        return "<p>None.</p>"
    return f"{_surest(content.wrong[:MOST_SUREST], content.about_maps)}<h3>By pairs of classes</h3>{_by_pairs(content)}"


def _surest(answers: Sequence[ReportedAnswer], about_maps: str) -> str:
    cards = "".join(map(_card, answers))
    return (
        "<h3>The surest of them</h3><p>Wrong, and sure of it: labels that may be doubtful stand here, and what the "
        "network does not see. Beside each image are the training images that it sees most alike; they need not be why "
        f'it answered so.</p>{about_maps}<div class="surest">{cards}</div>'
    )


def _card(answer: ReportedAnswer) -> str:
    pictures = answer.nearest_pictures or (None,) * len(answer.nearest)
    nearest = ""
    for (name, label), picture in zip(answer.nearest, pictures, strict=True):
        # Without its picture an image is told by its name.
        caption = apart(label) if picture else _broken(name)
        nearest += f"<figure>{_image(picture, name)}<figcaption>{caption}</figcaption></figure>"
    side = ""
    if nearest:
        words = "most alike in training"
        side = f'<div class="side" role="group" aria-label="{words}"><p class="faint">{words}</p>{nearest}</div>'
    what = f"{printable(answer.row_id)}: given {printable(answer.given)}, named {printable(answer.predicted)}"
    return (
        f'<div class="doubt"><p>given <b>{short_name(answer.given)}</b>, named <b>{short_name(answer.predicted)}</b>, '
        f"{_sure(answer)} sure{_mark(answer)}</p>"
        f'<div class="pictures"><figure>{_image(answer.picture, what)}<figcaption>{_broken(answer.row_id)}</figcaption>'
        f"</figure>{side}{_map(answer)}</div></div>"
    )


def _map(answer: ReportedAnswer) -> str:
    if answer.map is None:
        return ""
    what = f"map of {answer.row_id}: for {answer.predicted} {answer.map_words}"
    return f"<figure>{_image(answer.map, what)}<figcaption>{text_of(answer.map_words)}</figcaption></figure>"


def _by_pairs(content: ReportContent) -> str:
    number = {entry["class_name"]: label for label, entry in enumerate(content.figures["classes"])}
    pairs: dict[tuple[str, str], list[ReportedAnswer]] = {}
    for answer in content.wrong[:MOST_NAMED]:
        pairs.setdefault((answer.given, answer.predicted), []).append(answer)
    confusion = content.figures["confusion"]
    # All of a pair count, whether or not all of them are named here.
    counted_pairs = [(confusion[number[given]][number[named]], (given, named)) for given, named in pairs]
    ranked = sorted(counted_pairs, key=lambda pair: -pair[0])
    drawn = "".join(
        _pair((number[given], number[named]), pairs[given, named], count, is_open=place < 3)
        for place, (count, (given, named)) in enumerate(ranked)
    )
    more = len(content.wrong) - MOST_NAMED
    rest = f'<p class="more">and {more:,} more, which <code>sightline mistakes RUN --csv FILE</code> names</p>'
    return (
        "<p>The pairs that are confused most often first, within each the surest answers first. Beneath a picture are "
        f"the names of the training images that the network sees most alike.</p>{drawn}{rest if more > 0 else ''}"
    )


def _pair(labels: tuple[int, int], answers: Sequence[ReportedAnswer], count: int, *, is_open: bool) -> str:
    figures = "".join(map(_answer, answers))
    first = answers[0]
    images = counted(count, "image") + (f", the surest {len(answers):,} of them" if len(answers) < count else "")
    return (
        f'<details class="pair" id="pair-{labels[0]}-{labels[1]}"{" open" if is_open else ""}><summary>'
        f"<b>{short_name(first.given)}</b> taken for <b>{short_name(first.predicted)}</b>: {images}"
        f'</summary><div class="pictures">{figures}</div></details>'
    )


def unsure_section(content: ReportContent) -> str:
    """How many answers `--max-error` would leave to a person, and those that were right all the same."""
    if content.split is None or not content.about_unsure:
        return ""
    num_wrong = sum(answer.is_unsure for answer in content.wrong)
    total = num_wrong + len(content.unsure)
    about = f"{content.about_unsure[0].upper()}{content.about_unsure[1:].removesuffix('.')}."
    if not total:
        return f"<p>{text_of(about)}</p>"
    shown = content.unsure[:MOST_UNSURE]
    more = len(content.unsure) - len(shown)
    name = escape(as_argument(content.bundle))
    rest = f'<p class="more">and {more:,} more</p>' if more else ""
    least = f"<details><summary>those that were right, the least sure first ({len(content.unsure):,})</summary>"
    pictures = f'{least}<div class="pictures">{"".join(map(_answer, shown))}</div>{rest}</details>'
    return (
        f"<p><b>{counted(total, 'answer')} of {content.figures['num_images']:,} would be left to a person; "
        f"{num_wrong:,} of them {'is' if num_wrong == 1 else 'are'} wrong</b> and marked so above. {text_of(about)} "
        f"<code>sightline mistakes {name} --csv unsure.csv</code> names them all, "
        f"<code>--copy-to FOLDER</code> copies the images.</p>{pictures if shown else ''}"
    )


def _answer(answer: ReportedAnswer) -> str:
    what = f"{printable(answer.row_id)}: given {printable(answer.given)}, named {printable(answer.predicted)}"
    near = ", ".join(f"{apart(image)} ({apart(label)})" for image, label in answer.nearest)
    nearest = f"<br>like {near}" if near else ""
    return (
        f"<figure>{_image(answer.picture, what)}<figcaption><b>{_sure(answer)} sure{_mark(answer)}</b>"
        f"{_broken(answer.row_id)}{nearest}</figcaption></figure>"
    )


def _image(picture: Miniature | None, what: str) -> str:
    if picture is None:
        return ""
    small = ' class="small"' if picture.is_small else ""
    return f'<img{small} alt="{escape(printable(what))}" src="{picture.address}" loading="lazy">'


def _sure(answer: ReportedAnswer) -> str:
    return "&gt;0.99" if answer.confidence >= 0.995 else f"{answer.confidence:.2f}"


def _mark(answer: ReportedAnswer) -> str:
    return ", unsure" if answer.is_unsure else ""


def _broken(name: str) -> str:
    """The name of a file that may go on in the next line behind each folder."""
    return f"<bdi>{text_of(name).replace('/', '/<wbr>')}</bdi>"
