"""The confusion matrix: a row a given class, a column a predicted one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import InvalidValue, require
from sightline.records import Evaluation
from sightline.reporting.charts.canvas import (
    DOTS_PER_INCH,
    INK,
    QUIET,
    RULE,
    name_letters,
    new_figure,
    render_png,
    style_axes,
    text_style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CLASSES_WITH_COUNTS = 20
MOST_CLASSES = 200
NUM_MOST_CONFUSED = 50
# Below this share of a row the strongest orange would shout.
_LEAST_ERROR_SCALE = 0.005
_ERROR_COLORS = ("#FFFFFF", "#FBD9B5", "#F0A050", "#D55E00", "#A84300")
_RECALL_COLORS = ("#FFFFFF", "#CFE3F1", "#8FBFE0")


def draw_confusion(evaluation: Evaluation) -> Figure:
    """The figure behind `confusion_png`."""
    counts = _checked_counts(evaluation)
    shown = shown_classes(counts)
    part = counts[np.ix_(shown, shown)]
    shares = _row_shares(counts)[np.ix_(shown, shown)]
    side = max(2.4, len(shown) * _cell_inches(part))
    # The matrix decides; what is left empty around it is trimmed.
    figure = new_figure(side + 5, side + 4, is_arranged=False)
    panel = figure.add_axes((3 / (side + 5), 2.5 / (side + 4), side / (side + 5), side / (side + 4)))
    style_axes(panel, grid=False)
    _paint(panel, shares, side)
    if len(shown) <= MOST_CLASSES_WITH_COUNTS:
        _write_counts(panel, part, shares)
    _name_classes(panel, [evaluation.class_names[label] for label in shown], side / len(shown))
    panel.set_title(_heading(evaluation, part, num_classes=len(counts)), loc="left", pad=10, **text_style(10.5))
    return figure


def shown_classes(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The classes that a picture has room for.

    Args:
        counts: int64 (num_classes, num_classes), row the given, column the predicted class.

    Returns:
        int64, ascending: all up to 200 classes, else the 50 at most that the
        most frequently confused pairs are made of; the first 50 without errors.
    """
    num_classes = len(counts)
    if num_classes <= MOST_CLASSES:
        return np.arange(num_classes)
    pairs = np.triu(counts + counts.T, k=1).ravel()
    order = np.argsort(-pairs, kind="stable")[: NUM_MOST_CONFUSED**2]
    # A pair after the other, (first, second), until there are enough classes.
    classes = np.stack(np.divmod(order[pairs[order] > 0], num_classes), axis=1).ravel()
    confused = list(dict.fromkeys(classes.tolist()))[:NUM_MOST_CONFUSED]
    return np.array(sorted(confused) or range(NUM_MOST_CONFUSED))


def _checked_counts(evaluation: Evaluation) -> NDArray[np.int64]:
    counts, num_classes = evaluation.confusion, len(evaluation.class_names)
    if counts.shape != (num_classes, num_classes) or num_classes == 0:
        raise InvalidValue(
            f"confusion must have a row and a column for each of {num_classes} class names; got {counts.shape}."
        )
    if counts.dtype.kind not in "iu" or counts.min() < 0:
        raise InvalidValue(f"confusion must hold counts of at least 0; got {counts.dtype} from {counts.min()}.")
    return counts


def _row_shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    totals = counts.sum(axis=1, keepdims=True)
    return np.where(totals > 0, counts / np.maximum(totals, 1), np.nan)


def _cell_inches(part: NDArray[np.int64]) -> float:
    if len(part) <= MOST_CLASSES_WITH_COUNTS:
        return max(0.42, 0.16 + 0.085 * len(f"{part.max():,}"))
    pixels = 20 if len(part) <= 60 else 13
    return pixels / DOTS_PER_INCH


def _paint(panel: Axes, shares: NDArray[np.float64], side: float) -> None:
    colors = require("matplotlib.colors", purpose="drawing a chart", install="sightline[tensorflow]")
    diagonal = np.eye(len(shares), dtype=bool)
    wrong, right = np.where(diagonal, np.nan, shares), np.where(diagonal, shares, np.nan)
    highest = max(_LEAST_ERROR_SCALE, float(np.nanmax(wrong, initial=0.0)))
    for values, names, limit, label, bottom in (
        (wrong, _ERROR_COLORS, highest, "wrong, of the row", 0.54),
        (right, _RECALL_COLORS, 1.0, "right, of the row", 0.0),
    ):
        shades = colors.LinearSegmentedColormap.from_list(label, names).with_extremes(bad=(0, 0, 0, 0))
        image = panel.imshow(
            values, cmap=shades, vmin=0, vmax=limit, interpolation="nearest", aspect="equal", origin="upper"
        )
        _add_bar(panel, image, label, (1 + 0.22 / side, bottom, 0.16 / side, 0.4))
    for row in np.flatnonzero(np.isnan(shares).all(axis=1)):
        panel.axhspan(row - 0.5, row + 0.5, color=RULE, linewidth=0)


def _add_bar(panel: Axes, image: Any, label: str, bounds: tuple[float, float, float, float]) -> None:
    ticker = require("matplotlib.ticker", purpose="drawing a chart", install="sightline[tensorflow]")
    bar = panel.figure.colorbar(image, cax=panel.inset_axes(bounds))
    style_axes(bar.ax, grid=False)
    bar.outline.set(visible=False)
    bar.ax.set_title(label, loc="left", pad=6, **text_style(9, QUIET))
    bar.locator = ticker.MaxNLocator(nbins=4)
    bar.formatter = ticker.FuncFormatter(lambda share, _: f"{100 * share:.3g} %")
    bar.update_ticks()


def _write_counts(panel: Axes, part: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    highest = np.nanmax(np.where(np.eye(len(part), dtype=bool), np.nan, shares), initial=0.0)
    for row, column in np.argwhere(part > 0):
        is_dark = row != column and shares[row, column] > 0.6 * highest
        style = text_style(9, "white" if is_dark else INK)
        panel.text(column, row, f"{part[row, column]:,}", ha="center", va="center", **style)


def _name_classes(panel: Axes, names: list[str], cell_inches: float) -> None:
    size = min(9.0, 72 * cell_inches * 0.8)
    is_long = max(len(name) for name in names) * size * 0.62 > 72 * cell_inches
    drawn = [name_letters(name, size, longest=24) for name in names]
    for axis, label in ((panel.xaxis, "predicted class"), (panel.yaxis, "given class")):
        axis.set_ticks(range(len(names)), labels=[text for text, _ in drawn])
        for tick, (_, style) in zip(axis.get_major_ticks(), drawn, strict=True):
            tick.label1.set(**style)
        axis.set_label_text(label, **text_style(10))
    if is_long:
        for tick in panel.xaxis.get_major_ticks():
            tick.label1.set(rotation=90, ha="center", va="top")
    panel.tick_params(length=0)
    for spine in panel.spines.values():
        spine.set(visible=True, color=QUIET, linewidth=0.8)


def _heading(evaluation: Evaluation, part: NDArray[np.int64], *, num_classes: int) -> str:
    heading = str(evaluation)
    if evaluation.num_unreadable:
        heading += f", {evaluation.num_unreadable:,} unreadable"
    if len(part) == num_classes:
        return heading
    inside = int(part.sum() - np.trace(part))
    return (
        f"{heading}\nthe {len(part)} most confused of {num_classes:,} classes; "
        f"{inside:,} of {evaluation.num_errors:,} errors lie between them"
    )


def confusion_png(evaluation: Evaluation) -> bytes:
    """Which class was taken for which: a row a given class, a column a predicted one.

    Errors and the diagonal have scales of their own, so that one error in a
    thousand is seen beside the 999. Both are shares of the row: of the images
    given that class. Up to 20 classes have their counts written in the cells,
    up to 200 are drawn without; of more, the 50 classes of the most confused
    pairs are shown, and the title says so. The row of a class without images is grey.

    Returns:
        A PNG; the same bytes for the same evaluation on the same machine.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    return render_png(draw_confusion(evaluation), trim=True)
