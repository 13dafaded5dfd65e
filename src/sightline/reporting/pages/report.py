"""What a run is worth as one HTML page: in plain words first, then every number, picture and threshold.

It needs nothing but itself: no network, no other file. Whatever comes from the data, names above all, is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from sightline.metrics.figures import FIGURES, figure_in
from sightline.records import Figure
from sightline.reporting.pages.report_answers import (
    classes_section,
    confusion_section,
    mistakes_section,
    unsure_section,
)
from sightline.reporting.pages.report_content import (
    NoticedThing,
    ReportContent,
    apart,
    share_in_words,
    short_name,
    text_of,
)
from sightline.reporting.pages.report_figures import (
    confidence_section,
    numbers_section,
    threshold_section,
    training_section,
)
from sightline.reporting.pages.report_style import REPORT_SCRIPT, REPORT_STYLE
from sightline.reporting.pages.shell import count_cell, whole_page, wide_table
from sightline.reporting.pages.style import STYLE
from sightline.system.text import as_argument, counted, exact_percent, printable

_MOST_LEFT_OUT = 500


def report_page(content: ReportContent) -> str:
    """The report of a run as a page to be read in a browser, on a screen, a telephone or paper."""
    parts = [
        ("promises", "What it promises, and what was measured", _promises(content)),
        ("sure", "Answer only where it is sure", threshold_section(content)),
        ("classes", "Class by class", classes_section(content)),
        ("confusion", "What is taken for what", confusion_section(content)),
        ("mistakes", "The wrong answers", mistakes_section(content)),
        ("unsure", "The unsure answers", unsure_section(content)),
        ("confidence", "Do its confidences come true?", confidence_section(content)),
        *content.sections,
        ("data", "What it learned from", _data(content)),
        ("training", "How it learned", training_section(content)),
        ("numbers", "Every figure", numbers_section(content)),
        ("use", "How to use it, and when not to", _use(content)),
        ("missing", "What this report does not hold", _listed(content.missing)),
    ]
    there = [(name, title, body) for name, title, body in parts if body]
    contents = "".join(f'<li><a href="#{name}">{escape(title)}</a></li>' for name, title, _ in there)
    sections = "".join(
        f'<section id="{name}" aria-labelledby="{name}-title">'
        f'<h2 id="{name}-title">{escape(title)}</h2>{part}</section>'
        for name, title, part in there
    )
    body = (
        f"<header><h1>Report of {apart(content.name)}</h1>{_facts(content)}</header><main>{_summary(content)}"
        f'<nav class="contents" aria-label="contents"><ul>{contents}</ul></nav>{sections}</main>'
    )
    return whole_page(
        f"Report of {printable(content.name)}",
        body,
        style=STYLE + REPORT_STYLE,
        script=REPORT_SCRIPT,
        closing="Its figures are those of metrics.json of the run.",
    )


def _facts(content: ReportContent) -> str:
    return f'<p class="faint">{"; ".join(f"{escape(label)} {apart(value)}" for label, value in content.facts)}</p>'


def _summary(content: ReportContent) -> str:
    if content.split is None:
        return '<p class="headline">No figure: there were no images to judge it by.</p>'
    told = content.figures
    if content.has_several_labels:
        return _summary_of_labels(content)
    accuracy = _figure(content, "accuracy")
    low, high = accuracy.interval or (math.nan, math.nan)
    level = exact_percent(told.get("interval_level", 0.95))
    groups = told.get("num_groups")
    counting = f", counting {counted(groups, 'group')}" if groups is not None else ""
    caution = "These images took no part in training or in any choice."
    if content.split != "test":
        caution = "<strong>By these validation images the network was chosen: the figure flatters it.</strong>"
    return (
        f'<p class="headline"><b>{share_in_words(accuracy.value)}</b> of '
        f"{counted(told['num_images'], f'{content.split} image')} are answered rightly. Of many images like these it "
        f"would be between {share_in_words(low)} and {share_in_words(high)} ({level} interval{counting}). {caution}"
        f'</p><ul class="cards">{_cards(content.figures)}</ul>'
    )


def _summary_of_labels(content: ReportContent) -> str:
    told = content.figures
    whole, f1, ranked = (_figure(content, name) for name in ("accuracy", "micro_f1", "mean_average_precision"))
    found, right = (_figure(content, name) for name in ("micro_recall", "micro_precision"))
    seen = [entry for entry in told["classes"] if entry["num_images"] and entry["f1"] is not None]
    cards = [("Found together", f"Of {share_in_words(whole.value)} of the images exactly the given labels are said.")]
    if len(seen) > 1:
        hardest = min(seen, key=lambda entry: entry["f1"])
        of = counted(hardest["num_images"], "image")
        cards.append(("The hardest label", f"{short_name(hardest['class_name'])}, of {of}: F1 {hardest['f1']:.3f}."))
    cards.append(("Whatever the thresholds", f"{ranked}, the mean over the labels."))
    listed = "".join(f"<li><b>{escape(title)}</b>{text}</li>" for title, text in cards)
    caution = "These images took no part in training or in any choice."
    if content.split != "test":
        caution = "<strong>By these validation images the network was chosen: the figure flatters it.</strong>"
    return (
        # Not the share that is found alone: who says every label finds all.
        f'<p class="headline"><b>{f1.value:.3f}</b> is the F1 over all labels ({escape(str(f1))}): of those of '
        f"{counted(told['num_images'], f'{content.split} image')} {share_in_words(found.value)} are found, and of the "
        f"labels that are said {share_in_words(right.value)} are right. {caution}</p>"
        f'<ul class="cards">{listed}</ul>'
    )


def _cards(told: Mapping[str, Any]) -> str:
    num_images, num_wrong = int(told["num_images"]), int(told["num_images"] - told["num_correct"])
    often = f"{num_wrong:,}: about one in {round(num_images / max(1, num_wrong)):,}."
    if 3 * num_wrong > num_images:
        often = f"{num_wrong:,}: {share_in_words(num_wrong / num_images)} of all."
    none = "None; among more images there may well be some."
    usual = max(told["classes"], key=lambda entry: entry["num_images"])
    cards = [
        ("Wrong answers", often if num_wrong else none),
        (
            "Without looking",
            f"Always naming the most frequent class, {short_name(usual['class_name'])}, is right for "
            f"{share_in_words(usual['num_images'] / num_images)}.",
        ),
    ]
    seen = [entry for entry in told["classes"] if entry["num_images"] and entry["recall"] is not None]
    if len(seen) > 1:
        hardest = min(seen, key=lambda entry: entry["recall"])
        low, high = map(share_in_words, hardest.get("recall_interval") or (math.nan, math.nan))
        found = f"{share_in_words(hardest['recall'])} of its {counted(hardest['num_images'], 'image')} are found"
        cards.append(("The hardest class", f"{short_name(hardest['class_name'])}: {found}, {low} to {high}."))
    if told.get("answered") is not None and told.get("answered_error") is not None:
        wrong = share_in_words(told["answered_error"])
        left = f"{share_in_words(told['answered'])} of the images are answered, {wrong} of those wrongly."
        cards.append(("Leaving the unsure to a person", left))
    for pair in told.get("most_confused", ())[:1]:
        what = f"{short_name(pair['given'])} is taken for {short_name(pair['predicted'])}"
        cards.append(("Most often confused", f"{what}: {counted(pair['num_images'], 'image')}."))
    return "".join(f"<li><b>{escape(title)}</b>{text}</li>" for title, text in cards)


def _figure(content: ReportContent, name: str) -> Figure:
    return figure_in(content.figures, name) or Figure(FIGURES[name].words, math.nan)


def _listed(texts: Sequence[str]) -> str:
    return f'<ul class="plain">{"".join(f"<li>{text_of(text)}</li>" for text in texts)}</ul>' if texts else ""


def _promises(content: ReportContent) -> str:
    if not content.promises:
        return ""
    rows = "".join(
        f"<tr><td>{text_of(promise)}</td><td>{text_of(measured) or 'not promised'}</td></tr>"
        for promise, measured in content.promises
    )
    return (
        "<p>A promise holds for many images like those that it rests on, not for one image, and not for images of "
        'another camera, place or year.</p><table><thead><tr><th scope="col">promised</th>'
        f'<th scope="col">measured on {content.split} images</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _data(content: ReportContent) -> str:
    totals = (
        f'<tr><th scope="row">{text_of(name)}</th>{count_cell(f"{count:,}")}</tr>'
        for name, count in content.split_totals.items()
    )
    text = wide_table("images in each split", totals, texts=["split"], counts=["images"])
    if content.counts:
        splits = list(content.split_totals)
        rows = (
            f'<tr><th scope="row">{short_name(name)}</th>'
            f"{''.join(count_cell(f'{found.get(split, 0):,}', found.get(split, 0)) for split in splits)}</tr>"
            for name, found in content.counts.items()
        )
        table = wide_table("images by class", rows, texts=["class"], counts=splits, is_sortable=True)
        text += f"<details><summary>by class</summary>{table}</details>"
    return text + _left_out(content.left_out) + _findings(content.findings)


def _left_out(left_out: Sequence[tuple[str, str]]) -> str:
    if not left_out:
        return ""
    rows = (
        f"<tr><td><code>{text_of(file)}</code></td><td>{text_of(reason)}</td></tr>"
        for file, reason in left_out[:_MOST_LEFT_OUT]
    )
    more = len(left_out) - _MOST_LEFT_OUT
    rest = f'<p class="more">and {more:,} more, in excluded.csv of the run</p>' if more > 0 else ""
    table = wide_table("files left out", rows, texts=["file", "reason"], counts=[])
    return f"<details><summary>{counted(len(left_out), 'file')} left out</summary>{table}{rest}</details>"


def _findings(findings: Sequence[NoticedThing] | None) -> str:
    title = "<h3>What was noticed about the images</h3>"
    if findings is None:
        return f"{title}<p>This run kept nothing of that; <code>sightline audit SOURCE</code> looks.</p>"
    found = "".join(
        f"<li><b>{text_of(one.severity)}</b>: {text_of(one.title)}. {text_of(one.detail)}</li>" for one in findings
    )
    told = f'<ul class="plain">{found}</ul>' if found else "<p>Nothing.</p>"
    more = "looks closer: at near copies, blurred and dark images, shortcuts, with <code>--labels</code> at labels."
    return f"{title}{told}<p><code>sightline audit SOURCE</code> {more}</p>"


def _use(content: ReportContent) -> str:
    bundle = escape(as_argument(content.bundle))
    commands = "\n".join(
        (
            f"sightline predict {bundle} PHOTO",
            f"sightline predict {bundle} FOLDER --coverage 0.95 --max-error 0.01 --novelty 0.05 --csv answers.csv",
            f"sightline explain {bundle} PHOTO",
            f"sightline check {bundle} FOLDER",
        )
    )
    if content.has_several_labels:
        return (
            f'<pre tabindex="0">sightline predict {bundle} FOLDER --coverage 0.95 --csv answers.csv</pre><p>Not for '
            "pictures of another camera, place, year or purpose, of which none of these figures holds.</p>"
        )
    not_for = (
        "<b>Other pictures</b>: of another camera, place, year or purpose, none of these figures holds. "
        "<code>sightline check</code> tells whether a folder is like the images that were judged.",
        "<b>Things of no class of its own</b>: it names one of its classes all the same. <code>--novelty</code> marks "
        "what is far from all that it learned; what looks like it is mostly missed.",
        "<b>Alone, where a wrong answer costs much</b>: <code>--max-error</code> marks what should go to a person.",
    )
    items = "".join(f"<li>{text}</li>" for text in not_for)
    return f'<pre tabindex="0">{commands}</pre><p>Not for:</p><ul class="plain">{items}</ul>'
