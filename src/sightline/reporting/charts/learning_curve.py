"""The picture of a learning curve: accuracy against the number of images, and what more of them would bring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sightline.reporting.charts.canvas import BLUE, QUIET, VERMILLION, new_figure, render_png, style_axes, text_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Measured = tuple[float, float, tuple[float, float]]
"""Number of images, accuracy, its interval."""


def draw_learning_curve(measured: Sequence[Measured], projected: Sequence[Measured]) -> Figure:
    """The figure behind `learning_curve_png`, which says what it takes."""
    figure = new_figure(7.6, 4.4, is_arranged=True)
    panel = figure.subplots()
    style_axes(panel, grid=True)
    panel.set_xscale("log")
    for points, color, mark, line, words in (
        (measured, BLUE, "o", "-", "measured, 95 % interval"),
        (projected, VERMILLION, "D", (0, (4, 3)), "projected: all, 2 and 5 times as many"),
    ):
        if not points:
            continue
        counts, accuracies = np.array([point[0] for point in points]), np.array([point[1] for point in points])
        bounds = np.array([point[2] for point in points])
        # A figure outside of its own interval, by rounding, has no bar on that side.
        bars = np.maximum(0, np.stack([accuracies - bounds[:, 0], bounds[:, 1] - accuracies]))
        panel.errorbar(
            counts,
            accuracies,
            yerr=bars,
            color=color,
            marker=mark,
            markersize=6,
            linestyle=line,
            linewidth=2,
            elinewidth=1.2,
            capsize=3,
            label=words,
        )
    _label(panel, [point[0] for point in (*measured, *projected)])
    lowest = min(point[2][0] for point in (*measured, *projected))
    panel.set_ylim(max(0.0, lowest - 0.03), 1.005)
    panel.set_xlabel("images that are learned from (log scale)", **text_style(10))
    panel.set_ylabel("accuracy on others", **text_style(10))
    for text in panel.legend(loc="lower right", frameon=False, fontsize=9).get_texts():
        text.set(**text_style(9))
    return figure


def _label(panel: object, counts: Sequence[float]) -> None:
    """Numbers of images below the axis, as many as fit beside one another."""
    shown: list[float] = []
    for count in sorted(counts):
        if not shown or count > 1.35 * shown[-1]:
            shown.append(count)
    panel.set_xticks(shown, [f"{round(count):,}" for count in shown])  # type: ignore[attr-defined]
    panel.set_xticks([], minor=True)  # type: ignore[attr-defined]
    for text in panel.get_xticklabels():  # type: ignore[attr-defined]
        text.set(**text_style(8.5, QUIET))


def learning_curve_png(measured: Sequence[Measured], projected: Sequence[Measured]) -> bytes:
    """Accuracy against the number of images, which has a logarithmic axis.

    Args:
        measured: what fewer images gave, at least one.
        projected: what as many and more would give; none where nothing can be told.

    Returns:
        A PNG; the same bytes for the same figures.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    return render_png(draw_learning_curve(measured, projected))
