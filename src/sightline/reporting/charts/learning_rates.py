"""The picture of a learning-rate range test: loss against rate, the suggestion marked."""

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


def draw_rates(
    rates: NDArray[np.float64],
    losses: NDArray[np.float64],
    smoothed: NDArray[np.float64],
    *,
    suggestion: float,
    steepest: float,
) -> Figure:
    """The figure behind `rates_png`, which says what it takes."""
    figure = new_figure(8.2, 4.4, is_arranged=True)
    panel: Axes = figure.subplots()
    style_axes(panel, grid=True)
    panel.set_xscale("log")
    panel.plot(rates, losses, color=BLUE, linewidth=0.8, alpha=0.4, linestyle="-", marker="", label="each step")
    panel.plot(rates, smoothed, color=BLUE, linewidth=2.2, linestyle="-", marker="", label="smoothed")
    lowest, before = float(smoothed.min()), float(smoothed[: max(len(smoothed) // 4, 1)].max())
    # What comes after the edge is only that it is over: without a limit it would flatten all before.
    room = 0.35 * (before - lowest)
    panel.set_ylim(max(lowest - room, 0.0), before + room)
    panel.set_xlim(rates[0], rates[-1])
    _mark(panel, suggestion, VERMILLION, f"suggestion {suggestion:.2g}", "-", top=0.97)
    _mark(panel, steepest, GREEN, f"fell fastest at {steepest:.2g}", (0, (4, 3)), top=0.89)
    edge = float(rates[int(smoothed.argmin())])
    _mark(panel, edge, QUIET, f"lowest at {edge:.2g}", (0, (1, 2)), top=0.81)
    panel.set_xlabel("learning rate (log scale)", **text_style(10))
    panel.set_ylabel("training loss", **text_style(10))
    legend = panel.legend(loc="lower left", frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set(**text_style(9))
    return figure


def _mark(panel: Axes, rate: float, color: str, words: str, line: object, *, top: float) -> None:
    """A rule at a rate with words at a height of their own, on the side with more room."""
    panel.axvline(rate, color=color, linewidth=1.4, linestyle=line, marker="", zorder=3)
    low, high = np.log10(panel.get_xlim())
    is_left = (np.log10(rate) - low) < 0.6 * (high - low)
    panel.annotate(
        words,
        (rate, top),
        xycoords=("data", "axes fraction"),
        xytext=(5 if is_left else -5, 0),
        textcoords="offset points",
        ha="left" if is_left else "right",
        va="center",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.85},
        zorder=4,
        **text_style(9, color),
    )


def rates_png(
    rates: NDArray[np.float64],
    losses: NDArray[np.float64],
    smoothed: NDArray[np.float64],
    *,
    suggestion: float,
    steepest: float,
) -> bytes:
    """Training loss against the learning rate of a range test, with the rate to begin with.

    The axis of the rate is logarithmic. The loss is cut above where it began: beyond the edge it
    only says that the rate was too large.

    Args:
        rates: float64 (num_steps,), positive and growing.
        losses: float64 (num_steps,), finite.
        smoothed: float64 (num_steps,), the same without its noise.
        suggestion: the rate to begin with.
        steepest: the rate at which the loss fell fastest.

    Returns:
        A PNG; the same bytes for the same figures.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    return render_png(draw_rates(rates, losses, smoothed, suggestion=suggestion, steepest=steepest))
