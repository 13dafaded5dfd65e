"""The parts of a report that draw and list figures: thresholds, confidences, epochs, every number."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from sightline.metrics.figures import FIGURES, figure_in
from sightline.reporting.pages.plots import Axis, Band, Line, place_in_plot, plot
from sightline.reporting.pages.report_content import (
    ReportContent,
    ThresholdStep,
    share_in_words,
    text_of,
)
from sightline.reporting.pages.shell import count_cell, wide_table
from sightline.system.text import counted, exact_percent


def threshold_section(content: ReportContent) -> str:
    """What is answered, and how much of it wrongly, from which confidence on: a curve with a slider, and a table."""
    if len(content.steps) < 2:
        return ""
    total = content.steps[0].num_answered
    risks = [step.num_wrong / max(1, step.num_answered) for step in content.steps]
    up = Axis("share of the answers that is wrong", 0, max(1.15 * max(risks), 1e-3), is_percent=True)
    points = [(step.num_answered / total, risk) for step, risk in zip(content.steps, risks, strict=True)]
    words = f"Where every image is answered, {share_in_words(risks[0])} of the answers are wrong."
    drawn = plot("Risk and coverage", words, across=_ANSWERED, up=up, lines=[Line("", points, "first")])
    mark = '<circle id="threshold-mark" r="6" cx="-20" cy="-20"/></svg>'
    counts = ("confidence from", "answered", "of all", "wrong", "of the answered")
    told = [0, *(place for place, step in enumerate(content.steps) if round(step.least_confidence, 4) in _TOLD)]
    rows = (_threshold_row(content.steps[place], total) for place in told)
    return (
        "<p>Where a wrong answer costs more than none, let the answers count from a confidence on, and leave the rest "
        "to a person. What that gives on these images is no promise; "
        "<code>sightline predict --max-error 0.01</code> finds a threshold with one.</p>"
        f"{_slider(content.steps, points, _ANSWERED, up)}{drawn.removesuffix('</svg>')}{mark}"
        f"{wide_table('thresholds', rows, texts=[], counts=counts)}"
    )


# Of a training that went astray; what is larger has no room for an axis around it.
_LARGEST = 1e100
_TOLD = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
_ANSWERED = Axis("share of the images that is answered", 0, 1, is_percent=True)


def _slider(steps: Sequence[ThresholdStep], points: Sequence[tuple[float, float]], across: Axis, up: Axis) -> str:
    """The threshold for a script to move; it holds what each step gives, and where it lies on the curve."""
    told = [
        [round(step.least_confidence, 6), step.num_answered, step.num_wrong, *place_in_plot(point, across, up)]
        for step, point in zip(steps, points, strict=True)
    ]
    return (
        '<div id="slider"><label for="threshold">least confidence</label>'
        f'<input type="range" id="threshold" min="0" max="{len(steps) - 1}" value="0" '
        f'data-total="{steps[0].num_answered}" data-steps="{escape(json.dumps(told))}">'
        '<output id="threshold-words" for="threshold"></output></div>'
    )


def _threshold_row(step: ThresholdStep, total: int) -> str:
    cells = (
        f"{step.least_confidence:g}",
        f"{step.num_answered:,}",
        share_in_words(step.num_answered / total),
        f"{step.num_wrong:,}",
        share_in_words(step.num_wrong / max(1, step.num_answered)),
    )
    return f"<tr>{''.join(map(count_cell, cells))}</tr>"


def confidence_section(content: ReportContent) -> str:
    """The reliability diagram with what chance alone would show."""
    told = content.figures.get("reliability")
    if not told:
        return ""
    seen = [(entry["confidence"], entry["accuracy"]) for entry in told["bins"]]
    bands = [Band(entry["from"], entry["to"], *entry["expected_accuracy_interval"]) for entry in told["bins"]]
    lines = [Line("as sure as right", [(0, 0), (1, 1)], "quiet"), Line("seen", seen, "first", has_dots=True)]
    across, up = Axis("confidence", 0, 1), Axis("share that is right", 0, 1)
    words = f"{told['in_words'][0].upper()}{told['in_words'][1:]}."
    drawn = plot("Reliability", words, across=across, up=up, lines=lines, bands=bands)
    counts = ("confidence", "images", "mean confidence", "share right", "by chance alone")
    table = wide_table("reliability", map(_bin_row, told["bins"]), texts=[], counts=counts)
    return (
        "<p>Of the answers that are 80 % sure, 80 of 100 should be right. The grey bars are where the points of a "
        f"perfectly calibrated model would mostly lie on as many images. {text_of(words)}</p>{drawn}"
        f"<details><summary>the same in numbers</summary>{table}</details>"
    )


def _bin_row(entry: Mapping[str, Any]) -> str:
    low, high = entry["expected_accuracy_interval"]
    cells = (
        f"{entry['from']:.2f} to {entry['to']:.2f}",
        f"{entry['num_images']:,}",
        f"{entry['confidence']:.3f}",
        f"{entry['accuracy']:.3f}",
        f"{low:.3f} to {high:.3f}",
    )
    return f"<tr>{''.join(map(count_cell, cells))}</tr>"


def training_section(content: ReportContent) -> str:
    """The curves of loss and accuracy, and what the epoch that was kept reached."""
    chosen = next((record for record in content.history if record.get("epoch") == content.chosen_epoch), None)
    if chosen is None:
        return ""
    drawn = ""
    for key, title in (("accuracy", "Accuracy"), ("loss", "Loss")):
        lines = [
            Line(name, [(record["epoch"], _number(record.get(f"{prefix}{key}"))) for record in content.history], style)
            for name, prefix, style in (("training", "", "first"), ("validation", "validation_", "second"))
        ]
        if len(content.history) > 1 and any(map(_heights, lines)):
            drawn += _curves(content, title, lines)
    told = "; ".join(
        f"{key.replace('_', ' ')} {chosen[key]:.4f}"
        for key in ("loss", "accuracy", "validation_loss", "validation_accuracy")
        if not math.isnan(_number(chosen.get(key)))
    )
    kept = f"<p>Kept are the weights of epoch {content.chosen_epoch:,} of {len(content.history):,}: {escape(told)}.</p>"
    return f'{kept}<div class="plots">{drawn}</div>'


def _curves(content: ReportContent, title: str, lines: Sequence[Line]) -> str:
    values = [height for line in lines for height in _heights(line)]
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or 0.05 * max(1, abs(high))
    first, last = content.history[0]["epoch"], content.history[-1]["epoch"]
    up = Axis(title.lower(), low - room, high + 3 * room)
    kept = Line("kept", [(content.chosen_epoch, up.first), (content.chosen_epoch, high + room)], "quiet")
    # What a run that learned nothing itself was made from is known of validation images alone.
    told = next(line for line in lines if _heights(line))
    heights = _heights(told)
    words = f"From {heights[0]:.4g} to {heights[-1]:.4g} on {told.name} images in {len(content.history):,} epochs."
    return plot(title, words, across=Axis("epoch", first, last, is_whole=True), up=up, lines=[*lines, kept])


def _heights(line: Line) -> list[float]:
    return [height for _, height in line.points if not math.isnan(height)]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) < _LARGEST else math.nan


def numbers_section(content: ReportContent) -> str:
    """Every figure of `FIGURES` with its interval."""
    if content.split is None:
        return ""
    rows = [_figure_row(name, content.figures) for name in FIGURES]
    level = exact_percent(content.figures.get("interval_level", 0.95))
    rough = content.figures.get("rough")
    caution = f" Those of figures that are no shares of images are rough: {text_of(rough)}." if rough else ""
    images = counted(content.figures["num_images"], f"{content.split} image")
    table = wide_table("figures with their intervals", rows, texts=["figure"], counts=["value", "from", "to"])
    return f"<p>On {images}; the bounds are those of {level} intervals.{caution}</p>{table}"


def _figure_row(name: str, figures: Mapping[str, Any]) -> str:
    found = figure_in(figures, name)
    if found is None:
        return ""
    bounds = [found.written(bound) for bound in found.interval or ()] or ["", ""]
    metric = FIGURES[name]
    cells = "".join(map(count_cell, (found.written(found.value), *bounds)))
    return f'<tr><th scope="row">{escape(metric.full_words or metric.words)}</th>{cells}</tr>'
