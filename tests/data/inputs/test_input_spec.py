from __future__ import annotations

import numpy as np
import pytest

import sightline
from sightline.configuration.parsing import parse_recipe
from sightline.data.decoding.resizing import resize_image
from sightline.data.inputs.input_spec import input_spec, natural_shape
from sightline.data.inputs.pixels import read_pixels
from sightline.records import InputSpec

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 12, 8, 3), dtype=np.uint8)
COLOUR = sightline.load({"x_train": PIXELS, "y_train": np.arange(20) % 2})
GREY = sightline.load({"x_train": PIXELS[..., 0], "y_train": np.arange(20) % 2})


def spec_of(dataset: sightline.Dataset, rows: np.ndarray, **settings: object) -> InputSpec:
    return input_spec(dataset, rows, parse_recipe({"data": {"color_mode": "rgb", **settings}}).data)


def test_images_of_network_size_are_handed_on_untouched() -> None:
    np.testing.assert_array_equal(read_pixels(COLOUR, InputSpec(12, 8, "rgb"))[:], PIXELS)


@pytest.mark.parametrize("rows", [[3, 1, 19], [], [4, 5, 6], [7, 7], list(range(20)), [0, 2, 1]])
def test_rows_come_in_the_order_in_which_they_are_asked_for(rows: list[int]) -> None:
    pixels = read_pixels(COLOUR, InputSpec(12, 8, "rgb"))
    wanted = np.array(rows, dtype=np.int64)
    np.testing.assert_array_equal(pixels[wanted], PIXELS[wanted])
    taken = pixels.take(wanted)
    assert taken.shape == (len(rows), 12, 8, 3)
    np.testing.assert_array_equal(taken[:], PIXELS[wanted])
    np.testing.assert_array_equal(taken[1:], PIXELS[wanted][1:])


@pytest.mark.parametrize("resize", ["fit", "fill", "stretch"])
def test_other_sizes_go_through_the_one_resize(resize: str) -> None:
    spec = InputSpec(6, 6, "rgb", resize)  # type: ignore[arg-type]
    pixels = read_pixels(COLOUR, spec)
    for row, image in enumerate(PIXELS):
        np.testing.assert_array_equal(pixels[row], resize_image(image, spec))


def test_grey_becomes_colour_by_repetition() -> None:
    images = read_pixels(GREY, InputSpec(12, 8, "rgb"))[:]
    for channel in range(3):
        np.testing.assert_array_equal(images[..., channel], PIXELS[..., 0])


def test_colour_becomes_grey_by_the_luma_of_itu_r_601() -> None:
    images = read_pixels(COLOUR, InputSpec(12, 8, "grey"))[:]
    luma = PIXELS @ np.array([0.299, 0.587, 0.114])
    assert images.shape == (20, 12, 8, 1)
    assert np.abs(images[..., 0] - luma).max() <= 1


def test_arrays_say_their_own_size_and_colour() -> None:
    assert natural_shape(COLOUR) == (12, 8, 3)
    assert natural_shape(GREY) == (12, 8, 1)


@pytest.mark.parametrize(("size", "shape"), [(12, (12, 8, 3)), (8, (8, 8, 3)), (32, (32, 32, 3))])
def test_the_longer_side_of_the_source_keeps_its_shape_and_others_are_square(size: int, shape: tuple) -> None:
    assert spec_of(COLOUR, np.arange(20), image_size=size).shape == shape


def test_colour_and_resize_are_those_of_the_recipe() -> None:
    spec = spec_of(COLOUR, np.arange(20), image_size=12, color_mode="grey", resize="fill")
    assert (spec.shape, spec.resize) == ((12, 8, 1), "fill")


@pytest.mark.parametrize(("background", "told"), [(0, "dark"), (255, "light")])
def test_the_background_of_the_given_rows_is_noticed(background: int, told: str) -> None:
    images = np.full((20, 16, 16), background, np.uint8)
    images[:, 5:11, 7:9] = 255 - background
    images[10:] = 255 - images[10:]
    dataset = sightline.load({"x_train": images, "y_train": np.arange(20) % 2})
    assert spec_of(dataset, np.arange(10), image_size=16).background == told
    assert spec_of(dataset, np.arange(20), image_size=16).background == "mixed"
