from __future__ import annotations

import numpy as np
import pytest

import sightline
from sightline.configuration.recipes import parse_recipe
from sightline.data.decoding.transforms import resize_image
from sightline.data.inputs.input_spec import (
    background_of,
    background_of_dataset,
    input_spec,
    looks_inverted,
    natural_shape,
)
from sightline.data.inputs.pixels import read_pixels
from sightline.errors import InvalidValue
from sightline.records import InputSpec

DARK, LIGHT, MIXED = (InputSpec(28, 28, "grey", background=background) for background in ("dark", "light", "mixed"))


def digit(size=28, level=255):
    """A stroke on black, as MNIST draws it."""
    image = np.zeros((size, size, 1), dtype=np.uint8)
    image[size // 4 : -size // 4, size // 2 - size // 14 : size // 2 + size // 14] = level
    return image


def on_paper(stroke, generator):
    """A dark stroke on paper, lit from one side, through a noisy lens."""
    height, width = stroke.shape[:2]
    angle = generator.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    ramp = (np.cos(angle) * rows + np.sin(angle) * columns) / 2**0.5
    paper = 190 + 40 * ramp + generator.normal(0, 6, (height, width))
    inked = paper * (1 - 0.8 * (stroke[..., 0] / 255))
    return np.clip(inked, 0, 255).astype(np.uint8)[..., np.newaxis]


@pytest.mark.parametrize(
    ("level", "background"), [(0, "dark"), (80, "dark"), (81, "mixed"), (109, "mixed"), (110, "light"), (255, "light")]
)
def test_an_even_image_is_its_own_background(level, background):
    assert background_of(np.full((9, 9, 1), level, dtype=np.uint8)) == background
    assert background_of(np.full((9, 9, 3), level, dtype=np.uint8)) == background


def test_the_middle_of_an_image_does_not_matter():
    image = np.full((30, 30, 1), 255, dtype=np.uint8)
    image[1:-1, 1:-1] = 0
    assert background_of(image) == "light"


def test_an_object_may_touch_a_quarter_of_the_border():
    image = np.zeros((28, 28, 1), dtype=np.uint8)
    image[0, :26] = 255
    assert background_of(image) == "dark"
    image[:, 0] = 255
    assert background_of(image) == "mixed"


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 3), (2, 2, 1), (3000, 40, 3)])
def test_every_shape_has_a_background(shape):
    assert background_of(np.zeros(shape, dtype=np.uint8)) == "dark"
    assert not looks_inverted(np.zeros(shape, dtype=np.uint8), DARK)


def test_a_training_set_has_a_background_if_nearly_all_images_agree():
    images = np.stack([digit()] * 100)
    assert background_of_dataset(images) == "dark"
    assert background_of_dataset(255 - images) == "light"
    images[:5] = 255
    assert background_of_dataset(images) == "dark"
    images[5] = 255
    assert background_of_dataset(images) == "mixed"
    assert background_of_dataset(images[:0]) == "mixed"


def test_one_image_and_a_training_set_of_it_agree():
    generator = np.random.default_rng(0)
    for image in generator.integers(0, 256, (1, 1, 1, 3)) + generator.integers(-60, 60, (20, 12, 15, 3)):
        pixels = np.clip(image, 0, 255).astype(np.uint8)
        assert background_of(pixels) == background_of_dataset(pixels[np.newaxis])


@pytest.mark.parametrize("size", [28, 64, 600])
def test_a_dark_digit_on_paper_is_the_inverse_for_a_network_of_light_digits(size):
    generator = np.random.default_rng(1)
    for _ in range(20):
        photo = on_paper(digit(size), generator)
        assert looks_inverted(photo, DARK)
        assert not looks_inverted(photo, LIGHT)
        assert not looks_inverted(255 - photo, DARK)
        assert looks_inverted(np.repeat(photo, 3, axis=2), DARK)


def test_a_light_digit_on_a_blackboard_is_the_inverse_for_a_network_of_dark_digits():
    assert looks_inverted(digit(), LIGHT)
    assert not looks_inverted(digit(), DARK)


def test_an_empty_sheet_is_no_inverse():
    generator = np.random.default_rng(2)
    assert not looks_inverted(on_paper(np.zeros((64, 64, 1)), generator), DARK)
    assert not looks_inverted(np.full((28, 28, 1), 255, dtype=np.uint8), DARK)


def test_without_a_common_background_nothing_is_claimed():
    assert not looks_inverted(digit(), MIXED)
    assert not looks_inverted(255 - digit(), MIXED)


def test_what_is_no_image_is_refused():
    with pytest.raises(InvalidValue, match="shape"):
        background_of(np.zeros((4, 4), dtype=np.uint8))
    with pytest.raises(InvalidValue, match="shape"):
        background_of_dataset(np.zeros((4, 4, 1), dtype=np.uint8))


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


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 3), (2, 2, 3), (3, 3, 1), (2, 70, 3), (61, 90, 3), (128, 31, 1)])
def test_the_border_is_each_pixel_of_the_ring_once(shape: tuple[int, int, int]) -> None:
    ring = max(1, min(shape[:2]) // 30)
    image = np.full(shape, 200, dtype=np.uint8)
    image[ring : shape[0] - ring, ring : shape[1] - ring] = 0
    num_border = int((image[:, :, 0] == 200).sum())
    dark = num_border - (num_border * 3 + 3) // 4  # of the ring, so many may be dark without a change
    places = np.argwhere(image[:, :, 0] == 200)
    for row, column in places[:dark]:
        image[row, column] = 0
    assert background_of(image) == "light"
    for row, column in places[: num_border // 2 + 1]:
        image[row, column] = 0
    assert background_of(image) != "light"
