from __future__ import annotations

import numpy as np
import pytest

from sightline.reporting.sheets.overlays import AGAINST, FOR, drawn, overlay

GREY = np.full((4, 4, 1), 100, np.uint8)


def test_nothing_is_coloured_where_a_map_is_0() -> None:
    assert (overlay(GREY, np.zeros((4, 4)), scale=2.0) == 100).all()


def test_what_speaks_for_a_class_turns_orange_and_what_speaks_against_it_blue() -> None:
    values = np.zeros((4, 4))
    values[0, 0], values[0, 1], values[0, 2] = 2, -2, 9
    colored = overlay(GREY, values, scale=2.0)
    assert colored[0, 0].tolist() == [round(0.15 * 100 + 0.85 * one) for one in FOR]
    assert colored[0, 1].tolist() == [round(0.15 * 100 + 0.85 * one) for one in AGAINST]
    # Beyond the end of the scale no colour is stronger.
    assert (colored[0, 2] == colored[0, 0]).all()


def test_half_of_a_value_has_half_of_the_colour_whatever_else_is_in_the_map() -> None:
    half, alone = np.zeros((4, 4)), np.zeros((4, 4))
    half[0, 0] = alone[0, 0] = 1
    half[3, 3] = 2
    assert (overlay(GREY, half, scale=4.0)[0, 0] == overlay(GREY, alone, scale=4.0)[0, 0]).all()
    strong = overlay(GREY, 2 * half, scale=4.0)[0, 0].astype(int) - 100
    assert np.abs(strong - 2 * (overlay(GREY, half, scale=4.0)[0, 0].astype(int) - 100)).max() <= 1


@pytest.mark.parametrize(
    ("shape", "size"), [((28, 28, 1), (224, 224)), ((96, 64, 3), (192, 128)), ((448, 224, 3), (224, 112))]
)
def test_small_images_are_drawn_in_whole_squares_and_large_ones_reduced(
    shape: tuple[int, int, int], size: tuple[int, int]
) -> None:
    assert drawn(np.zeros(shape, np.uint8)).shape == (*size, shape[2])
