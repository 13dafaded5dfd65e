"""The pictures of `concepts.py`: curves with their names at their ends, means over seeds with their intervals."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import numpy as np
from concepts_table import Experiment
from seeds import mean_interval

from sightline.reporting.charts.canvas import (
    BLUE,
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

# Okabe and Ito's, the yellow left out: it is too pale on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#202020", "#8A8A8A")
DASHES = ("-", "-", "-", "-", "--", "--", "--", ":")
Courses = list[list[dict[str, Any]]]


def draw(experiment: Experiment, rows: list[dict[str, Any]], courses: Courses) -> bytes:
    """The picture of an experiment as a PNG."""
    if experiment.picture == "lines":
        return lines(experiment, rows)
    labels = [row["label"] for row in rows]
    height = max(2.6, 0.6 + 0.3 * len(rows))
    if experiment.picture == "dots":
        extra = [name for name in experiment.figures if name in ("calibration_error", "calibrated_error")]
        panels = ["accuracy", *extra]
        figure = new_figure(6.6 if not extra else 9.6, height, is_arranged=True)
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, name in zip(grid, panels, strict=True):
            dots(axes, labels, [row[name] for row in rows], HEADS[name])
        return render_png(figure)
    figure = new_figure(10.2, max(3.6, height), is_arranged=True)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    if experiment.picture == "curves":
        curves(left, labels, courses)
        dots(right, labels, [row["accuracy"] for row in rows], HEADS["accuracy"], colors=COLORS)
    else:
        overfitting(left, courses[0], courses[-1] if labels[-1] == "early stopping" else [])
        dots(right, labels, [row["accuracy"] for row in rows], HEADS["accuracy"])
    return render_png(figure)


HEADS = {
    "accuracy": "accuracy on held-out rows, %",
    "calibration_error": "calibration error, points",
    "calibrated_error": "the same after calibration, points",
}


def dots(axes: Axes, labels: list[str], values: list[list[float]], head: str, *, colors: tuple[str, ...] = ()) -> None:
    """A mean an entry with its interval, from top to bottom; a rule marks the first."""
    style_axes(axes, grid=False)
    axes.grid(visible=True, axis="y", color="#EEEEEA", linewidth=0.8)
    middle = [100 * statistics.mean(seeds) for seeds in values]
    axes.axvline(middle[0], color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)))
    for place, (seeds, mean) in enumerate(zip(values, middle, strict=True)):
        color = colors[place % len(colors)] if colors else (INK if place == 0 else BLUE)
        if len(seeds) > 1:
            lower, upper = (100 * bound for bound in mean_interval(seeds))
            axes.plot([lower, upper], [place, place], color=color, linewidth=2.2, solid_capstyle="round")
        below = [place + 0.24] * len(seeds)
        axes.plot([100 * seed for seed in seeds], below, "o", color=color, markersize=3, alpha=0.55, markeredgewidth=0)
        axes.plot([mean], [place], "o", color=color, markersize=6.5, markeredgecolor="white")
    axes.set_yticks(range(len(labels)), labels, **text_style(9))
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(*limits(values))
    axes.set_xlabel(head, **text_style(9))
    axes.xaxis.set_major_locator(locator(6))


def limits(values: list[list[float]]) -> tuple[float, float]:
    """The range of the means and their seeds with a margin; an interval that is very wide may leave the panel."""
    seeds = np.array([100 * one for row in values for one in row])
    margin = max(0.12 * float(seeds.max() - seeds.min()), 0.05)
    return float(seeds.min()) - margin, float(seeds.max()) + margin


def locator(most: int) -> Any:
    """At most so many ticks."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(most, min_n_ticks=3)


def curves(axes: Axes, labels: list[str], courses: Courses) -> None:
    """The training loss of each entry, mean over seeds, on a logarithmic scale; names at the ends."""
    style_axes(axes, grid=True)
    # More ranges than this lie on top of each other and hide the curves.
    is_shaded = len(labels) <= 5
    ends: list[tuple[float, str, str]] = []
    for place, (label, seeds) in enumerate(zip(labels, courses, strict=True)):
        losses = whole_curves(seeds, "loss")
        if not len(losses):
            continue
        color = COLORS[place % len(COLORS)]
        epochs = np.arange(1, losses.shape[1] + 1)
        if is_shaded:
            axes.fill_between(epochs, losses.min(axis=0), losses.max(axis=0), color=color, alpha=0.12, linewidth=0)
        axes.plot(
            epochs, losses.mean(axis=0), color=color, linewidth=1.9, linestyle=DASHES[place % len(DASHES)], marker="."
        )
        ends.append((float(losses.mean(axis=0)[-1]), label, color))
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(plain_numbers())
    axes.yaxis.set_minor_formatter(plain_numbers(fewer=True))
    axes.set_xlabel("epoch", **text_style(9))
    said = "mean and range of the seeds" if is_shaded else "mean of the seeds"
    axes.set_title(f"training loss, {said}", loc="left", **text_style(9.5))
    axes.xaxis.set_major_locator(locator(8))
    name_ends(axes, ends)


def whole_curves(seeds: list[dict[str, Any]], name: str) -> Any:
    """(num_seeds, num_epochs) of the seeds that went to the end."""
    found = [seed["curves"][name] for seed in seeds if seed["curves"][name]]
    longest = max((len(curve) for curve in found), default=0)
    return np.array([curve for curve in found if len(curve) == longest])


def plain_numbers(*, fewer: bool = False) -> Any:
    """0.05 rather than 5 times ten to the minus two; between the decades only 2 and 5."""
    from matplotlib.ticker import FuncFormatter

    def said(value: float, _: int) -> str:
        digit = f"{value:e}"[0]
        return f"{value:g}" if not fewer or digit in "25" else ""

    return FuncFormatter(said)


def name_ends(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Names right of the curves, moved apart until none covers another."""
    low, high = (float(np.log(bound)) for bound in axes.get_ylim())
    gap, place = 0.062 * (high - low), -np.inf
    for value, label, color in sorted(ends):
        place = max(float(np.log(value)), place + gap)
        axes.annotate(
            label,
            (1.0, (place - low) / (high - low)),
            xycoords="axes fraction",
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            **text_style(8.5, color),
        )


def overfitting(axes: Axes, plain: list[dict[str, Any]], stopped: list[dict[str, Any]]) -> None:
    """Training and validation loss without any regularisation, and where early stopping goes back to."""
    style_axes(axes, grid=True)
    for name, said, color in (("loss", "training", BLUE), ("validation_loss", "validation", VERMILLION)):
        losses = whole_curves(plain, name)
        if not len(losses):
            continue
        epochs = np.arange(1, losses.shape[1] + 1)
        axes.fill_between(epochs, losses.min(axis=0), losses.max(axis=0), color=color, alpha=0.15, linewidth=0)
        axes.plot(epochs, losses.mean(axis=0), color=color, linewidth=2)
        axes.annotate(
            said,
            (epochs[-1], losses.mean(axis=0)[-1]),
            xytext=(5, 3),
            textcoords="offset points",
            va="center",
            **text_style(8.5, color),
        )
        if name == "validation_loss":
            # The first epochs may leave the panel: what counts is where the two part and the one turns.
            axes.set_ylim(0, 3.5 * float(losses.mean(axis=0).min()))
    epochs_kept = [seed["chosen_epoch"] for seed in stopped if "chosen_epoch" in seed]
    if epochs_kept:
        axes.axvspan(min(epochs_kept) - 0.3, max(epochs_kept) + 0.3, color=QUIET, alpha=0.16, linewidth=0)
        axes.annotate(
            "early stopping\nkeeps these weights",
            (max(epochs_kept) + 0.3, 0.9),
            xycoords=("data", "axes fraction"),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            **text_style(8.5, QUIET),
        )
    axes.set_xlabel("epoch", **text_style(9))
    axes.set_title("loss without regularisation, mean and range of the seeds", loc="left", **text_style(9.5))


def lines(experiment: Experiment, rows: list[dict[str, Any]]) -> bytes:
    """Accuracy over a number, a line a series."""
    figure = new_figure(6.8, 3.5, is_arranged=True)
    axes = figure.subplots()
    style_axes(axes, grid=True)
    at = {entry.label: entry.at for entry in experiment.entries}
    placed = [(at[row["label"]], row["accuracy"]) for row in rows]
    for color, series in zip((BLUE, VERMILLION), dict.fromkeys(key[0] for key, _ in placed if key), strict=False):
        points = sorted((key[1], values) for key, values in placed if key and key[0] == series)
        # The reference is a point of both series.
        if all(points[0][0] != 64 and place != 64 for place, _ in points) and rows[0]["label"] == "64":
            points = sorted([*points, (64.0, rows[0]["accuracy"])])
        line(axes, points, series, color)
    axes.set_xscale("log", base=2)
    places = sorted({key[1] for key, _ in placed if key})
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.set_xlim(places[0] * 0.8, places[-1] * 1.25)
    axes.set_xlabel(experiment.axis, **text_style(9))
    axes.set_title(f"{HEADS['accuracy']}: mean with its interval", loc="left", **text_style(9.5))
    return render_png(figure)


def line(axes: Axes, points: list[tuple[float, list[float]]], name: str, color: str) -> None:
    """One series with its intervals, and its name at its end."""
    places = [place for place, _ in points]
    means = [100 * statistics.mean(values) for _, values in points]
    axes.plot(places, means, color=color, linewidth=2, marker="o", markersize=6, markeredgecolor="white")
    for place, values in points:
        if len(values) > 1:
            lower, upper = (100 * bound for bound in mean_interval(values))
            axes.plot([place, place], [max(lower, 0), min(upper, 100)], color=color, linewidth=2.2, alpha=0.5)
    axes.annotate(
        name, (places[-1], means[-1]), xytext=(8, 0), textcoords="offset points", va="center", **text_style(8.5, color)
    )
