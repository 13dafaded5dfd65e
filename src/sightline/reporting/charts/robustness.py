"""The picture of what a bundle still gets right where images go bad: a line of dots for each corruption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sightline.reporting.charts.canvas import (
    BLUE,
    INK,
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

USUAL_UNIT = "right, % of the images"


def draw_robustness(
    accuracies: Mapping[str, Sequence[float]],
    *,
    severities: Sequence[int],
    clean: float,
    mean: float,
    unit: str = USUAL_UNIT,
) -> Figure:
    """The figure behind `robustness_png`, which says what it takes."""
    figure = new_figure(7.2, 1.5 + 0.34 * max(len(accuracies), 2), is_arranged=True)
    panel: Axes = figure.subplots()
    style_axes(panel, grid=True)
    panel.grid(visible=False, axis="y")
    panel.axvline(100 * clean, color=QUIET, linewidth=1.4, linestyle=(0, (4, 3)), label="images as they are")
    panel.axvline(100 * mean, color=VERMILLION, linewidth=1.6, label="mean of all")
    for place, values in enumerate(accuracies.values()):
        shares = [100 * value for value in values]
        panel.plot(
            [min(shares), max(shares)], [place, place], color=RULE, linewidth=4, solid_capstyle="round", zorder=1
        )
        for value, severity in zip(shares, severities, strict=True):
            panel.plot(
                value,
                place,
                color=BLUE,
                marker="o",
                markersize=10,
                markeredgecolor="white",
                linestyle="",
                alpha=0.25 + 0.15 * severity,
                clip_on=False,
                zorder=2 + severity,
            )
            panel.annotate(
                str(severity),
                (value, place),
                ha="center",
                va="center_baseline",
                zorder=3 + severity,
                annotation_clip=False,
                **text_style(6.5, "white" if severity > 1 else INK, bold=True),
            )
    panel.set_yticks(range(len(accuracies)))
    panel.set_yticklabels(list(accuracies), **text_style(9.5))
    panel.set_ylim(len(accuracies) - 0.4, -0.6)
    panel.set_xlim(0, 100)
    panel.set_xlabel(f"{unit}; the number on a dot is the severity", **text_style(10))
    legend = figure.legend(loc="outside upper right", frameon=False, fontsize=9, ncols=2)
    for text in legend.get_texts():
        text.set(**text_style(9))
    return figure


def robustness_png(
    accuracies: Mapping[str, Sequence[float]],
    *,
    severities: Sequence[int],
    clean: float,
    mean: float,
    unit: str = USUAL_UNIT,
) -> bytes:
    """What is still right under each corruption at each severity, beside what is right without.

    Args:
        accuracies: a corruption to its accuracies in [0, 1], one a severity; at least one.
        severities: whole numbers from 1 to 5, as many.
        clean: the accuracy on the images as they are.
        mean: over all.
        unit: what they are, in words.

    Returns:
        A PNG; the same bytes for the same figures.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    return render_png(draw_robustness(accuracies, severities=severities, clean=clean, mean=mean, unit=unit))
