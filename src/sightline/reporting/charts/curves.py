"""Learning curves: what training and validation said after each epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import require
from sightline.metrics.history import (
    FEWEST_EPOCHS_TO_SMOOTH,
    checked_epochs,
    column,
    settled_accuracy,
    smooth,
    smoothing_span,
)
from sightline.reporting.charts.canvas import (
    BLUE,
    GREEN,
    INK,
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

_LOG_SCALE_FROM_RATIO = 30.0


@dataclass(frozen=True, eq=False)
class _Curve:
    name: str
    color: str
    values: NDArray[np.float64]  # (num_epochs,), NaN where nothing was measured


def _pair(history: Sequence[Mapping[str, float]], figure: str) -> list[_Curve]:
    curves = [_Curve("training", BLUE, column(history, figure))]
    validation = column(history, f"validation_{figure}")
    return [*curves, _Curve("validation", VERMILLION, validation)] if np.isfinite(validation).any() else curves


def draw_curves(history: Sequence[Mapping[str, float]], *, chosen_epoch: int) -> Figure:
    """The figure behind `curves_png`."""
    epochs = checked_epochs(history, chosen_epoch)
    rates = column(history, "learning_rate")
    heights = [3, 3, 1] if np.isfinite(rates).any() else [3, 3]
    figure = new_figure(8.2, 1.2 + sum(heights) * 0.9, is_arranged=True)
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    accuracies, losses = _pair(history, "accuracy"), _pair(history, "loss")
    _draw_accuracy(panels[0], epochs, accuracies)
    _draw_loss(panels[1], epochs, losses)
    for panel, curves in zip(panels, (accuracies, losses), strict=False):
        _mark(panel, epochs, curves, chosen_epoch)
    if len(heights) == 3:
        _draw_rates(panels[2], epochs, rates)
    for panel in panels:
        panel.axvline(chosen_epoch, color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)), marker="", zorder=1)
    set_epoch_axis(panels[-1], epochs)
    _add_legend(figure, num_epochs=len(epochs), num_curves=len(accuracies))
    return figure


def _draw_accuracy(panel: Axes, epochs: NDArray[np.int64], curves: list[_Curve]) -> None:
    _draw_lines(panel, epochs, curves)
    panel.set_ylabel("accuracy", **text_style(10))
    lower = settled_accuracy([curve.values for curve in curves])
    known = _known(curves)
    highest = float(known.max()) if known.size else 1.0
    limits = (lower, highest + 0.06 * (highest - lower))
    panel.set_ylim(limits)
    # Room above 1 is for the marker; a tick there would be an accuracy that cannot be.
    panel.set_yticks([tick for tick in panel.get_yticks() if lower <= tick <= min(1, limits[1])])
    below = [int(epoch) for curve in curves for epoch in epochs[curve.values < lower]]
    if below:
        which = f"epoch {below[0]} lies" if set(below) == {below[0]} else f"epochs up to {max(below)} lie"
        note = f"the axis begins at {lower:.3f}; {which} partly below"
        panel.set_title(note, loc="left", pad=5, **text_style(8.5, QUIET))


def _draw_loss(panel: Axes, epochs: NDArray[np.int64], curves: list[_Curve]) -> None:
    _draw_lines(panel, epochs, curves)
    set_loss_axis(panel, _known(curves))


def set_loss_axis(panel: Axes, losses: NDArray[np.float64]) -> None:
    """Name and scale the axis of losses: from 0, or logarithmic where they differ by more than 30 times."""
    panel.set_ylabel("loss", **text_style(10))
    if not losses.size or losses.min() < 0:
        return
    if losses.min() > 0 and losses.max() > _LOG_SCALE_FROM_RATIO * losses.min():
        ticker = require("matplotlib.ticker", purpose="drawing a chart", install="sightline[tensorflow]")
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5), numticks=12))
        panel.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_locator(ticker.NullLocator())
        panel.set_ylabel("loss (log scale)", **text_style(10))
    else:
        panel.set_ylim(0, 1.06 * float(losses.max()) or 1.0)


def _known(curves: list[_Curve]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = np.concatenate([curve.values for curve in curves])
    return values[np.isfinite(values)]


def _draw_lines(panel: Axes, epochs: NDArray[np.int64], curves: list[_Curve]) -> None:
    style_axes(panel, grid=True)
    span = smoothing_span(len(epochs))
    for curve in curves:
        if len(epochs) < FEWEST_EPOCHS_TO_SMOOTH:
            panel.plot(
                epochs,
                curve.values,
                **{**line_style(curve.color, 1.8), "marker": "o", "markersize": 4, "markeredgewidth": 1},
            )
        else:
            panel.plot(epochs, curve.values, **line_style(curve.color, 0.9), alpha=0.45)
            panel.plot(epochs, smooth(curve.values, span), **line_style(curve.color, 2.2))


def line_style(color: str, width: float) -> dict[str, Any]:
    """Keyword arguments of a line over the epochs."""
    return {
        "color": color,
        "linewidth": width,
        "linestyle": "-",
        "solid_capstyle": "round",
        "marker": "",
        "zorder": 2.5,
    }


def _mark(panel: Axes, epochs: NDArray[np.int64], curves: list[_Curve], chosen_epoch: int) -> None:
    row = np.searchsorted(epochs, chosen_epoch)
    values = [(curve, float(curve.values[row])) for curve in curves if np.isfinite(curve.values[row])]
    for curve, value in values:
        panel.plot(
            [chosen_epoch],
            [value],
            marker="o",
            markersize=7,
            color=curve.color,
            markeredgecolor="white",
            markeredgewidth=1,
            zorder=4,
        )
    listed = ", ".join(f"{curve.name} {value:.4f}" for curve, value in values)
    panel.set_title(f"chosen epoch {chosen_epoch}: {listed or 'not measured'}", loc="right", pad=5, **text_style(9))


def _draw_rates(panel: Axes, epochs: NDArray[np.int64], rates: NDArray[np.float64]) -> None:
    style_axes(panel, grid=True)
    panel.plot(
        epochs,
        rates,
        **{**line_style(GREEN, 1.6), "marker": "o" if len(epochs) == 1 else ""},
        markersize=4,
        markeredgewidth=1,
    )
    highest = float(np.nanmax(rates))
    panel.set_ylim(0, 1.15 * highest if highest > 0 else 1.0)
    panel.set_yticks([0, highest] if highest > 0 else [0], labels=["0", f"{highest:.2g}"] if highest > 0 else ["0"])
    panel.set_ylabel("learning rate", **text_style(10))


def set_epoch_axis(panel: Axes, epochs: NDArray[np.int64]) -> None:
    """Name and scale the axis of epochs: whole numbers, with room at both ends."""
    ticker = require("matplotlib.ticker", purpose="drawing a chart", install="sightline[tensorflow]")
    first, last = int(epochs[0]), int(epochs[-1])
    panel.set_xlim(first - 0.5, last + max(0.5, 0.01 * (last - first)))
    panel.xaxis.set_major_locator(ticker.MaxNLocator(nbins=12, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    panel.set_xlabel("epoch", **text_style(10))


def _add_legend(figure: Figure, *, num_epochs: int, num_curves: int) -> None:
    lines = require("matplotlib.lines", purpose="drawing a chart", install="sightline[tensorflow]")
    entries = [("training", BLUE, 2.2), ("validation", VERMILLION, 2.2)][:num_curves]
    if num_epochs >= FEWEST_EPOCHS_TO_SMOOTH:
        smoothing = f"moving average over {smoothing_span(num_epochs)} epochs, fewer at the start"
        entries += [("as measured", QUIET, 0.9), (smoothing, QUIET, 2.2)]
    handles = [lines.Line2D([], [], **line_style(color, width), label=label) for label, color, width in entries]
    legend = figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=len(handles),
        frameon=False,
        handlelength=1.6,
        fontsize=9,
        columnspacing=1.6,
        borderaxespad=0.6,
    )
    for text in legend.get_texts():
        text.set(**text_style(9, INK))


def curves_png(history: Sequence[Mapping[str, float]], *, chosen_epoch: int) -> bytes:
    """Accuracy, loss and learning rate over the epochs, the chosen epoch marked.

    Thin lines are what was measured, thick ones are smoothed: an exponential
    moving average over a twelfth of the epochs that looks both ways, so that it
    does not lag behind (`smooth`). Fewer than eight epochs are drawn as
    they are. The accuracy axis begins where the curves
    have settled, and says so where earlier epochs lie below it. The loss axis is
    logarithmic where the largest is more than 30 times the smallest. Training
    is a mean over the epoch, while the weights still change; validation comes
    after it, which is why it may start out better.

    Args:
        history: one mapping an epoch, in order: `epoch` (1-based), `loss` and
            `accuracy`; `validation_loss`, `validation_accuracy` and
            `learning_rate` where they were recorded. Accuracies in [0, 1].
        chosen_epoch: the epoch whose weights were kept; one of the history's.

    Returns:
        A PNG; the same bytes for the same history.

    Raises:
        InvalidValue: no epoch, epochs that do not count up, a missing key, or
            a chosen epoch that is not among them.
        MissingPackage: matplotlib is not installed.
    """
    return render_png(draw_curves(history, chosen_epoch=chosen_epoch))
