import numpy as np
import pytest

from sightline.data.inputs.backgrounds import background_of, background_of_dataset, looks_inverted
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
