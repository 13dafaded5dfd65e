"""The curves of several runs in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import InvalidValue, require
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
    PAPER,
    QUIET,
    VERMILLION,
    name_letters,
    new_figure,
    render_png,
    style_axes,
    text_style,
)
from sightline.reporting.charts.curves import line_style, set_epoch_axis, set_loss_axis
from sightline.reporting.sheets.fonts import file_for, plain_text, text_width, with_boxes
from sightline.system.text import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's, without the yellow, which no one sees on white.
COLORS = (BLUE, VERMILLION, GREEN, "#CC79A7", "#E69F00", "#56B4E9", INK, "#8C6D46")
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.6)), (0, (1.2, 1.4)))
MOST_CURVES = len(COLORS) * len(_DASHES)
_ALL_SEEN_UP_TO = 3  # epochs
_LETTER_HEIGHT = 0.062  # of a panel's height
# At 902 pixels a picture, less the samples of the lines and the gaps.
_WIDEST_NAMES = {1: 800, 2: 370}
_LETTER_PIXELS = 14  # nine points


@dataclass(frozen=True, eq=False)
class Course:
    """The history of one run and how it is called.

    Attributes:
        letter: stands at the end of its lines.
        name: stands beside the letter in the legend; a long one loses its middle.
        history: one mapping an epoch, as `curves_png` takes it.
        chosen_epoch: whose weights were kept; one of the history's.
    """

    letter: str
    name: str
    history: Sequence[Mapping[str, float]]
    chosen_epoch: int


@dataclass(frozen=True, eq=False)
class _Line:
    course: Course
    epochs: NDArray[np.int64]
    color: str
    dashes: Any

    def values(self, figure: str) -> NDArray[np.float64]:
        """Thick: validation, or training where nothing was kept to validate on."""
        measured = column(self.course.history, f"validation_{figure}")
        return measured if np.isfinite(measured).any() else column(self.course.history, figure)

    def train(self, figure: str) -> NDArray[np.float64]:
        return column(self.course.history, figure)

    def drawn(self, figure: str) -> NDArray[np.float64]:
        values = self.values(figure)
        return smooth(values, smoothing_span(len(values))) if len(values) >= FEWEST_EPOCHS_TO_SMOOTH else values


def draw_overlay(courses: Sequence[Course]) -> Figure:
    """The figure behind `overlay_png`."""
    if not 1 <= len(courses) <= MOST_CURVES:
        raise InvalidValue(f"from 1 to {MOST_CURVES} runs can be drawn in one picture; got {len(courses)}.")
    lines = [
        _Line(
            course,
            checked_epochs(course.history, course.chosen_epoch),
            COLORS[index % len(COLORS)],
            _DASHES[index // len(COLORS)],
        )
        for index, course in enumerate(courses)
    ]
    num_rows = -(-len(lines) // 2)
    figure = new_figure(8.2, 6.6 + 0.21 * num_rows, is_arranged=True)
    panels = figure.subplots(2, 1, sharex=True)
    longest = max((line.epochs for line in lines), key=lambda epochs: int(epochs[-1]))
    set_epoch_axis(panels[1], np.array([1, longest[-1]]))
    left, right = panels[1].get_xlim()
    panels[1].set_xlim(left, right + 0.03 * (right - left))
    _draw_accuracy(panels[0], lines)
    _draw_loss(panels[1], lines)
    _add_legends(figure, lines)
    return figure


def _draw_accuracy(panel: Axes, lines: list[_Line]) -> None:
    _draw(panel, lines, "accuracy")
    panel.set_ylabel("accuracy", **text_style(10))
    drawn = [[line.values("accuracy"), line.train("accuracy")] for line in lines]
    lower = min(settled_accuracy([_late(values) for values in pair]) for pair in drawn)
    known = np.concatenate([values for pair in drawn for values in pair])
    known = known[np.isfinite(known)]
    highest = float(known.max()) if known.size else 1.0
    limits = (lower, highest + 0.06 * (highest - lower))
    panel.set_ylim(limits)
    # Room above 1 is for the lines' width; a tick there would be an accuracy that cannot be.
    panel.set_yticks([tick for tick in panel.get_yticks() if lower <= tick <= min(1, limits[1])])
    if (known < lower).any():
        note = f"the axis begins at {lower:.3f}; some early epochs lie below"
        panel.set_title(note, loc="right", pad=5, **text_style(8.5, QUIET))
    _set_letters(panel, lines, "accuracy")


def _late(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """What sets the scale of the accuracies, of which `settled_accuracy` passes over the beginning."""
    if len(values) >= FEWEST_EPOCHS_TO_SMOOTH:
        # In a comparison the end matters.
        return values[len(values) // 3 :]
    # Of so few epochs all shall be seen: what is passed over is the copy.
    return np.concatenate([values[:1], values]) if len(values) <= _ALL_SEEN_UP_TO else values


def _draw_loss(panel: Axes, lines: list[_Line]) -> None:
    _draw(panel, lines, "loss")
    known = np.concatenate([values for line in lines for values in (line.values("loss"), line.train("loss"))])
    set_loss_axis(panel, known[np.isfinite(known)])
    _set_letters(panel, lines, "loss")


def _draw(panel: Axes, lines: list[_Line], figure: str) -> None:
    style_axes(panel, grid=True)
    for line in lines:
        style = {**line_style(line.color, 2.2), "linestyle": line.dashes}
        dots = {"marker": "o", "markersize": 4} if len(line.epochs) < FEWEST_EPOCHS_TO_SMOOTH else {}
        panel.plot(line.epochs, line.train(figure), **{**style, "linewidth": 0.9}, alpha=0.55)
        panel.plot(line.epochs, line.drawn(figure), **{**style, **dots})
        chosen = line.epochs == line.course.chosen_epoch
        panel.plot(
            line.epochs[chosen],
            line.drawn(figure)[chosen],
            marker="o",
            markersize=8,
            color=line.color,
            markeredgecolor="white",
            markeredgewidth=1,
            zorder=4,
        )


def _set_letters(panel: Axes, lines: list[_Line], figure: str) -> None:
    """The letter of each run at the end of its line, those that would touch moved apart."""
    to_panel = panel.transScale + panel.transLimits
    ends: dict[float, list[tuple[float, _Line]]] = {}
    for line in lines:
        values = line.drawn(figure)
        known = np.flatnonzero(np.isfinite(values))
        if len(known):
            last = known[-1]
            x, y = to_panel.transform((float(line.epochs[last]), float(values[last])))
            ends.setdefault(float(x), []).append((float(y), line))
    for x, column_of in ends.items():
        ranked = sorted(column_of, key=lambda end: end[0])
        for height, (_, line) in zip(spread([y for y, _ in ranked]), ranked, strict=True):
            panel.text(
                x + 0.014,
                height,
                line.course.letter,
                transform=panel.transAxes,
                va="center",
                ha="left",
                zorder=5,
                bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 0.6},
                **text_style(9.5, line.color, bold=True),
            )


def spread(heights: Sequence[float]) -> list[float]:
    """Move heights apart by as little as is needed for a letter at each, inside the panel.

    Args:
        heights: ascending, as shares of the panel's height.

    Returns:
        Ascending, in [0.03, 0.97], neighbours a letter apart: those that touch are
        spread about their common middle (least squares).
    """
    gap = min(_LETTER_HEIGHT, 0.94 / max(1, len(heights) - 1))
    # Without the gaps it is the nearest sequence that never falls: neighbours that fall are pooled.
    pools: list[list[float]] = []
    for index, height in enumerate(heights):
        pools.append([height - index * gap])
        while len(pools) > 1 and np.mean(pools[-2]) >= np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    level = [float(np.mean(pool)) for pool in pools for _ in pool]
    most = 0.97 - (len(heights) - 1) * gap
    return [min(max(height, 0.03), most) + index * gap for index, height in enumerate(level)]


def _add_legends(figure: Figure, lines: list[_Line]) -> None:
    num_columns = 1 if len(lines) < 3 else 2
    runs = [
        (
            _fitting(f"{line.course.letter}  {line.course.name}", _WIDEST_NAMES[num_columns]),
            line.color,
            2.2,
            line.dashes,
        )
        for line in lines
    ]
    _add_legend(figure, runs, is_above=True, num_columns=num_columns)
    smoothed = any(len(line.epochs) >= FEWEST_EPOCHS_TO_SMOOTH for line in lines)
    thick = "validation, a moving average from eight epochs on" if smoothed else "validation"
    key = [(thick, QUIET, 2.2, "-"), ("training", QUIET, 0.9, "-"), ("chosen epoch", QUIET, 0.0, "none")]
    _add_legend(figure, key, is_above=False, num_columns=3)


def _fitting(name: str, pixels: int) -> str:
    text = plain_text(name)
    path = file_for(text)
    return shorten(text, lambda words: text_width(with_boxes(words, path), path, _LETTER_PIXELS) <= pixels)


def _add_legend(
    figure: Figure, entries: list[tuple[str, str, float, Any]], *, num_columns: int, is_above: bool
) -> None:
    artists = require("matplotlib.lines", purpose="drawing a chart", install="sightline[tensorflow]")
    handles, styles = [], []
    for name, color, width, dashes in entries:
        text, style = name_letters(name, 9, longest=len(name))
        dot = {"marker": "o", "markersize": 8, "markeredgecolor": "white"} if dashes == "none" else {}
        look = {**line_style(color, width), "linestyle": dashes, **dot}
        handles.append(artists.Line2D([], [], **look, label=text))
        styles.append(style)
    legend = figure.legend(
        handles=handles,
        loc="outside upper left" if is_above else "outside lower left",
        ncols=num_columns,
        frameon=False,
        handlelength=2.2,
        fontsize=9,
        columnspacing=2.0,
        borderaxespad=0.6,
    )
    for written, style in zip(legend.get_texts(), styles, strict=True):
        written.set(**style)


def overlay_png(courses: Sequence[Course]) -> bytes:
    """Accuracy and loss of up to 24 runs over their epochs, on the same axes.

    Thick lines are validation, smoothed from eight epochs on as in `curves_png`;
    thin ones are training; a dot is the chosen epoch. A run without validation
    rows has its training as the thick line.

    Returns:
        A PNG; the same bytes for the same courses.

    Raises:
        InvalidValue: no run, more than 24, or a history that cannot be drawn.
        MissingPackage: matplotlib is not installed.
    """
    return render_png(draw_overlay(courses))
