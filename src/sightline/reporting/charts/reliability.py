"""The reliability diagram: how often answers are right, by how sure they are, beside what chance alone would show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sightline.errors import InvalidValue, require
from sightline.metrics.calibration.reliability import Reliability
from sightline.records import Evaluation
from sightline.reporting.charts.canvas import (
    BLUE,
    QUIET,
    RULE,
    VERMILLION,
    new_figure,
    render_png,
    style_axes,
    text_style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_reliability(evaluation: Evaluation) -> Figure:
    """The figure behind `reliability_png`."""
    found = evaluation.reliability
    if found is None:
        raise InvalidValue("reliability must be known of an evaluation that is drawn; got None.")
    figure = new_figure(6.6, 7.2, is_arranged=True)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    for panel in (upper, lower):
        style_axes(panel, grid=True)
    _paint_shares(upper, found)
    _paint_counts(lower, found)
    legend = figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set(**text_style(9))
    upper.set_title(_heading(found), loc="left", pad=10, **text_style(10.5))
    return figure


def _paint_shares(panel: Axes, found: Reliability) -> None:
    edges = np.linspace(0, 1, len(found.counts) + 1)
    filled = np.flatnonzero(found.counts)
    low, high = found.band[:, filled]
    panel.bar(
        edges[filled],
        high - low,
        bottom=low,
        width=edges[1],
        align="edge",
        color=RULE,
        linewidth=0,
        label=f"perfect confidences, {100 * found.level:g} of 100 times",
    )
    panel.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (4, 3)), marker="", label="as sure as right")
    sure, right = found.confidences[filled], found.accuracies[filled]
    is_outside = (right < low) | (right > high)
    for rows, color, shape, words in (
        (~is_outside, BLUE, "o", "seen, as chance explains"),
        (is_outside, VERMILLION, "D", "seen, further off"),
    ):
        panel.vlines(
            sure[rows], np.minimum(sure, right)[rows], np.maximum(sure, right)[rows], color=color, linewidth=1.4
        )
        panel.plot(
            sure[rows],
            right[rows],
            color=color,
            linestyle="",
            marker=shape,
            markersize=6,
            clip_on=False,
            zorder=3,
            label=words,
            # The place of no point is a corner of the figure, and the panels would make room for it.
            in_layout=bool(rows.any()),
        )
    panel.set(xlim=(0, 1), ylim=(-0.02, 1.02))
    panel.set_ylabel("share that is right", **text_style(10))


def _paint_counts(panel: Axes, found: Reliability) -> None:
    """How many images each bin holds, on a scale on which one is seen beside a thousand."""
    ticker = require("matplotlib.ticker", purpose="drawing a chart", install="sightline[tensorflow]")
    edges = np.linspace(0, 1, len(found.counts) + 1)
    filled = np.flatnonzero(found.counts)
    counts = found.counts[filled]
    panel.bar(edges[filled], counts - 0.5, bottom=0.5, width=0.94 * edges[1], align="edge", color=BLUE, linewidth=0)
    panel.set_yscale("log")
    panel.set_ylim(0.5, 6 * float(counts.max()))
    panel.yaxis.set_major_locator(ticker.LogLocator(numticks=4))
    panel.yaxis.set_major_formatter(ticker.FuncFormatter(lambda count, _: f"{count:,.0f}"))
    for number, count in zip(filled.tolist(), counts.tolist(), strict=True):
        middle = (edges[number] + edges[number + 1]) / 2
        panel.text(middle, count * 1.25, f"{count:,}", ha="center", va="bottom", **text_style(7.5, QUIET))
    panel.set_xlabel("confidence", **text_style(10))
    panel.set_ylabel("images (log scale)", **text_style(10))


def _heading(found: Reliability) -> str:
    lower, upper = found.expected_interval
    return (
        f"calibration error {found.error:.4f}, p = {found.p_value:.3f}\n"
        f"a perfectly calibrated model: {found.expected:.4f} [{lower:.4f}, {upper:.4f}]"
    )


def reliability_png(evaluation: Evaluation) -> bytes:
    """How often answers are right, by how sure they are, with the number of images behind each point.

    A point is a bin: below the diagonal answers are too sure, above it not sure enough. The grey bars are where the
    points of a perfectly calibrated model would mostly lie on as many images; a point outside has another colour and
    shape.

    Returns:
        A PNG; the same bytes for the same evaluation on the same machine.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    return render_png(draw_reliability(evaluation))
