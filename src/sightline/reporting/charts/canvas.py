"""The paper that charts are drawn on: figure, axes and letters in one quiet style, out as PNG.

Only matplotlib's objects are used, never pyplot, and every colour and size is
given here rather than read from its settings, so that drawing a chart changes
nothing in the program it happens in and a dark notebook theme changes nothing
in the chart. The colours are those of Okabe and Ito, which people with
colour-blindness can tell apart.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from sightline.errors import require
from sightline.reporting.sheets.fonts import file_for, plain_text, with_boxes
from sightline.system.paths import PNG_MARK
from sightline.system.text import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
INK, QUIET, RULE, PAPER = "#202020", "#606060", "#E2E2DE", "#FFFFFF"
DOTS_PER_INCH = 110
_FAMILY = "DejaVu Sans"  # the one font that matplotlib brings itself


def new_figure(width: float, height: float, *, is_arranged: bool) -> Figure:
    """An empty figure that no window and no pyplot knows of."""
    figures = require("matplotlib.figure", purpose="drawing a chart", install="sightline[tensorflow]")
    layout = "constrained" if is_arranged else "none"
    figure: Figure = figures.Figure(
        figsize=(width, height), dpi=DOTS_PER_INCH, facecolor=PAPER, edgecolor=PAPER, layout=layout
    )
    return figure


def render_png(figure: Figure, *, trim: bool = False) -> bytes:
    """A figure as a PNG that bears Sightline's mark and no date: the same bytes for the same figure."""
    agg = require("matplotlib.backends.backend_agg", purpose="drawing a chart", install="sightline[tensorflow]")
    agg.FigureCanvasAgg(figure)  # becomes the figure's canvas
    stream = io.BytesIO()
    figure.savefig(
        stream,
        format="png",
        dpi=DOTS_PER_INCH,
        facecolor=PAPER,
        edgecolor=PAPER,
        bbox_inches="tight" if trim else figure.bbox_inches,
        pad_inches=0.16 if trim else 0,
        metadata=dict([PNG_MARK]),
    )
    return stream.getvalue()


def style_axes(axes: Axes, *, grid: bool) -> None:
    """Give axes the house style."""
    axes.set_facecolor(PAPER)
    for side, spine in axes.spines.items():
        spine.set(visible=side in ("left", "bottom"), color=QUIET, linewidth=0.8)
    axes.tick_params(which="both", direction="out", color=QUIET, width=0.8, length=3, pad=3.5, **_tick_letters(8.5))
    axes.tick_params(which="minor", length=0)
    axes.set_axisbelow(True)
    axes.grid(visible=False, which="both")
    if grid:
        axes.grid(
            visible=True, which="major", color=RULE, linewidth=0.8, linestyle="-", alpha=1, solid_capstyle="projecting"
        )


def _tick_letters(size: float) -> dict[str, Any]:
    return {"labelsize": size, "labelcolor": QUIET, "labelfontfamily": _FAMILY}


def text_style(size: float, color: str = INK, *, bold: bool = False) -> dict[str, Any]:
    """Keyword arguments of a matplotlib text in the house style."""
    return {
        "fontsize": size,
        "color": color,
        "fontfamily": _FAMILY,
        "fontweight": "bold" if bold else "normal",
        "parse_math": False,
        "usetex": False,
    }


def name_letters(name: str, size: float, *, longest: int) -> tuple[str, dict[str, Any]]:
    """A class name as a chart can write it, and the letters to write it in."""
    text = shorten(plain_text(name), lambda words: len(words) <= longest)
    path = file_for(text)
    style = text_style(size)
    if path is not None:
        managers = require("matplotlib.font_manager", purpose="drawing a chart", install="sightline[tensorflow]")
        del style["fontfamily"]
        style["font"] = managers.FontProperties(fname=path, size=size)
    return with_boxes(text, path), style


def check_drawable() -> None:
    """Refuse what ends in a chart where no chart can be drawn, before any work is done for it."""
    require("matplotlib", purpose="drawing a chart", install="sightline[tensorflow]")
