"""Plots as SVG: points where they belong, and words for who cannot see them."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from sightline.reporting.pages.plots import Axis, Band, Line, place_in_plot, plot

ACROSS, UP = Axis("share", 0, 1, is_percent=True), Axis("loss <b>", 0, 2)


def test_it_is_well_formed_and_says_what_it_shows() -> None:
    drawn = ElementTree.fromstring(
        plot('a "title" <', "words & more", across=ACROSS, up=UP, lines=[Line("x", [(0, 0), (1, 2)], "first")])
    )
    assert drawn.get("role") == "img"
    assert drawn.findtext("title") == 'a "title" <'
    assert drawn.findtext("desc") == "words & more"


def test_a_line_is_broken_where_there_is_no_number() -> None:
    line = Line("", [(0, 0), (0.5, math.nan), (0.75, 1), (1, 2)], "first", has_dots=True)
    drawn = ElementTree.fromstring(plot("t", "d", across=ACROSS, up=UP, lines=[line]))
    group = next(part for part in drawn if part.get("class") == "first")
    assert group[0].get("d", "").count("M") == 2
    assert len(group) == 1 + 3


def test_the_end_of_an_axis_is_the_edge_of_the_plot() -> None:
    left, bottom = place_in_plot((0, 0), ACROSS, UP)
    right, top = place_in_plot((1, 2), ACROSS, UP)
    assert left < right
    assert top < bottom


@pytest.mark.parametrize(("first", "last"), [(0, 1), (0.31, 0.34), (1, 16), (-3, 3), (0, 1e-3)])
def test_ticks_are_round_and_within_the_axis(first: float, last: float) -> None:
    ticks = Axis("", first, last).ticks(5)
    assert 2 <= len(ticks) <= 7
    assert all(first - 1e-9 <= tick <= last + 1e-9 for tick in ticks)
    assert all(len(f"{tick:.6g}") <= 7 for tick in ticks)


@pytest.mark.parametrize(
    ("last", "told"), [(1, [0, 1]), (3, [0, 1, 2, 3]), (5, [0, 1, 2, 3, 4, 5]), (20, [0, 5, 10, 15, 20])]
)
def test_an_axis_of_whole_numbers_has_no_ticks_between_them(last: int, told: list[int]) -> None:
    assert Axis("", 0, last, is_whole=True).ticks(5) == told


def test_a_band_has_a_height_even_where_its_bounds_are_one() -> None:
    drawn = ElementTree.fromstring(plot("t", "d", across=ACROSS, up=UP, lines=[], bands=[Band(0, 0.5, 1, 1)]))
    band = next(part for part in drawn if part.get("class") == "band")
    assert float(band.get("height", "0")) == 1
