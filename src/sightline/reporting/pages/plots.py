"""Plots as SVG text for a page: they take the colours of the page, and say in words what they show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 640, 316
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 28, 28, 44
_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Axis:
    """One axis of a plot.

    Attributes:
        label: below or beside it, with the unit.
        first: value at its beginning.
        last: value at its end, above `first`.
        is_percent: whether shares are written as percentages.
        is_whole: whether there is nothing between whole numbers.
    """

    label: str
    first: float
    last: float
    is_percent: bool = False
    is_whole: bool = False

    def ticks(self, most: int) -> list[float]:
        """Round values along it, at most so many and one."""
        rough = max((self.last - self.first) / most, self.is_whole)
        power = 10 ** math.floor(math.log10(rough))
        steps = (step * power for step in _STEPS if not self.is_whole or step * power % 1 == 0)
        step = next(step for step in steps if step >= rough * (1 - 1e-9))
        begin = math.ceil(self.first / step - 1e-9)
        return [round(number * step, 12) for number in range(begin, math.floor(self.last / step + 1e-9) + 1)]

    def written(self, value: float) -> str:
        """A value as it stands beside the axis."""
        return f"{100 * value:.4g} %" if self.is_percent else f"{value:.6g}"


@dataclass(frozen=True)
class Line:
    """A line of a plot.

    Attributes:
        name: in the legend; "" for none.
        points: in the order of drawing; NaN breaks the line.
        style: a class of the page's style sheet: "first", "second", "quiet".
        has_dots: whether its points are marked.
    """

    name: str
    points: Sequence[tuple[float, float]]
    style: str
    has_dots: bool = False


@dataclass(frozen=True)
class Band:
    """A rectangle of a plot, by the values of its corners."""

    left: float
    right: float
    low: float
    high: float


def plot(  # each is a part of a plot, and none is a group of others
    title: str, description: str, *, across: Axis, up: Axis, lines: Sequence[Line], bands: Sequence[Band] = ()
) -> str:
    """A plot as one SVG element with its title and description for who cannot see it."""
    frame = _Frame(across, up)
    drawn = "".join(map(frame.band, bands)) + "".join(map(frame.line, lines))
    return (
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}. '
        f'{escape(description)}"><title>{escape(title)}</title><desc>{escape(description)}</desc>'
        f"{frame.axes()}{drawn}{_legend(lines)}</svg>"
    )


def place_in_plot(point: tuple[float, float], across: Axis, up: Axis) -> tuple[float, float]:
    """Where a point lies in the units of a plot of these axes."""
    frame = _Frame(across, up)
    return frame.x(point[0]), frame.y(point[1])


@dataclass(frozen=True)
class _Frame:
    across: Axis
    up: Axis

    def x(self, value: float) -> float:
        share = (value - self.across.first) / (self.across.last - self.across.first)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.up.first) / (self.up.last - self.up.first)
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)

    def axes(self) -> str:
        bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        parts = [f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>']
        for value in self.up.ticks(5):
            y = self.y(value)
            parts.append(f'<path class="grid" d="M{_LEFT} {y}H{right}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{self.up.written(value)}</text>')
        for value in self.across.ticks(8):
            x = self.x(value)
            parts.append(f'<text x="{x}" y="{bottom + 17}" text-anchor="middle">{self.across.written(value)}</text>')
        middle = (_LEFT + right) / 2
        parts.append(f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(self.across.label)}</text>')
        center = (_TOP + bottom) / 2
        parts.append(
            f'<text transform="translate(13 {center})rotate(-90)" text-anchor="middle">{escape(self.up.label)}</text>'
        )
        return "".join(parts)

    def band(self, band: Band) -> str:
        x, y = self.x(band.left), self.y(band.high)
        width, height = self.x(band.right) - x, self.y(band.low) - y
        return f'<rect class="band" x="{x}" y="{y}" width="{width:.1f}" height="{max(height, 1):.1f}"/>'

    def line(self, line: Line) -> str:
        path, is_down = "", False
        for x, y in line.points:
            if math.isnan(x) or math.isnan(y):
                is_down = False
                continue
            path += f"{'L' if is_down else 'M'}{self.x(x)} {self.y(y)}"
            is_down = True
        dots = "".join(
            f'<circle cx="{self.x(x)}" cy="{self.y(y)}" r="3.2"/>'
            for x, y in line.points
            if line.has_dots and not (math.isnan(x) or math.isnan(y))
        )
        return f'<g class="{line.style}"><path d="{path}"/>{dots}</g>' if path else ""


def _legend(lines: Sequence[Line]) -> str:
    parts, x = [], float(_LEFT)
    for line in lines:
        if line.name:
            parts.append(
                f'<g class="{line.style}"><path d="M{x:.0f} 10h18"/></g>'
                f'<text x="{x + 23:.0f}" y="14">{escape(line.name)}</text>'
            )
            x += 42 + 6.6 * len(line.name)
    return "".join(parts)
