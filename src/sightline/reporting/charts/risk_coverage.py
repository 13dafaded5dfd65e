"""The picture of what answering less is worth: the share of wrong answers against the share that is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sightline.reporting.charts.canvas import (
    BLUE,
    GREEN,
    QUIET,
    VERMILLION,
    new_figure,
    render_png,
    style_axes,
    text_style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# More points than this no reader could tell apart.
_MOST_POINTS = 2_000


def draw_risk_coverage(
    risks: NDArray[np.float64], *, max_error: float | None = None, measured: tuple[float, float] | None = None
) -> Figure:
    """The figure behind `risk_coverage_png`, which says what it takes."""
    figure = new_figure(7.2, 4.4, is_arranged=True)
    panel: Axes = figure.subplots()
    style_axes(panel, grid=True)
    shown = np.unique(np.linspace(0, len(risks) - 1, min(len(risks), _MOST_POINTS)).astype(np.int64))
    shares = (shown + 1) / len(risks)
    overall = float(risks[-1])
    panel.axhline(100 * overall, color=QUIET, linewidth=1.2, linestyle=(0, (1, 2)), label="all answered")
    panel.plot(100 * shares, 100 * risks[shown], color=BLUE, linewidth=2.2, label="the surest answered")
    highest = max(overall, max_error or 0.0, 0.0 if measured is None else np.nan_to_num(measured[1]))
    if max_error is not None:
        rule = (0, (4, 3))
        panel.axhline(100 * max_error, color=VERMILLION, linewidth=1.4, linestyle=rule, label="promised at most")
    if measured is not None and np.isfinite(measured[1]):
        answered, wrong = measured
        panel.plot(
            100 * answered,
            100 * wrong,
            color=GREEN,
            marker="o",
            markersize=8,
            linestyle="",
            clip_on=False,
            zorder=4,
            label="not marked unsure",
        )
    # A single mistake among the surest few would be most of the picture.
    panel.set_ylim(0, 100 * 1.35 * highest if highest > 0 else 1)
    panel.set_xlim(0, 100)
    panel.set_xlabel("answered, % of the images", **text_style(10))
    panel.set_ylabel("wrong, % of the answered", **text_style(10))
    legend = panel.legend(loc="upper left", frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set(**text_style(9))
    return figure


def risk_coverage_png(
    risks: NDArray[np.float64], *, max_error: float | None = None, measured: tuple[float, float] | None = None
) -> bytes:
    """What share of the answers is wrong, where the surest images alone are answered, against their share.

    Args:
        risks: float64 (num_images,) in [0, 1] of the 1, 2, ... surest images; at least 1.
        max_error: what was promised of the answers that are not marked as unsure, if anything.
        measured: the share of those, and what share of them is wrong; NaN where there is none.

    Returns:
        A PNG; the same bytes for the same figures.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    return render_png(draw_risk_coverage(risks, max_error=max_error, measured=measured))
