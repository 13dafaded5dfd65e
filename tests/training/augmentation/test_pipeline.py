from __future__ import annotations

import math

import numpy as np
import pytest

from sightline.configuration.names import AUGMENTATION_POLICIES
from sightline.configuration.recipes import parse_recipe
from sightline.records import InputSpec
from sightline.system.backends import load_keras

keras = load_keras()

from sightline.configuration.schema import strengths_of  # noqa: E402  # as above
from sightline.training.augmentation.affine import RandomAffine, gathered, warp  # noqa: E402  # as above
from sightline.training.augmentation.color import ToPixels  # noqa: E402  # as above
from sightline.training.augmentation.pipeline import build_augmentation  # noqa: E402  # the backend is chosen first

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 9, 12, 3), dtype=np.uint8)
DARK, LIGHT = InputSpec(9, 12, "rgb", background="dark"), InputSpec(9, 12, "rgb", background="light")
OFF = {"rotation": 0.0, "translation": 0.0, "zoom": 0.0, "shear": 0.0}


def recipe_of(**settings: object):
    return parse_recipe({"augmentation": settings}).augmentation


def augmented(settings: dict[str, object], spec: InputSpec = DARK, images: np.ndarray = IMAGES, seed: int = 0):
    augmentation = build_augmentation(recipe_of(**settings), spec, seed=seed)
    return np.asarray(augmentation(images, training=True))


def slow_affine(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Each output pixel read by bilinear interpolation where the matrix points, zeros outside; pixel by pixel."""
    height, width, channels = image.shape
    warped = np.zeros(image.shape)

    def pixel(row: int, column: int) -> np.ndarray:
        inside = 0 <= row < height and 0 <= column < width
        return image[row, column].astype(float) if inside else np.zeros(channels)

    for row in range(height):
        for column in range(width):
            x = matrix[0] * column + matrix[1] * row + matrix[2]
            y = matrix[3] * column + matrix[4] * row + matrix[5]
            left, top = math.floor(x), math.floor(y)
            for near_row, share_y in ((top, 1 - (y - top)), (top + 1, y - top)):
                for near_column, share_x in ((left, 1 - (x - left)), (left + 1, x - left)):
                    warped[row, column] += share_x * share_y * pixel(near_row, near_column)
    return warped


def matrix_of(*, angle: float = 0, slant: float = 0, zoom: float = 1, shift: tuple[float, float] = (0, 0)):
    """Output to input positions (x, y): about the middle, shear, then turn and zoom, then shift."""
    turn = zoom * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = turn @ np.array([[1, math.tan(slant)], [0, 1]])
    middle = np.array([(12 - 1) / 2, (9 - 1) / 2])
    offset = middle - linear @ middle + np.array(shift)
    return np.array([*linear[0], offset[0], *linear[1], offset[1], 0, 0])


class Fixed(RandomAffine):
    """The layer with its draws replaced by the largest strengths."""

    def _draw(self, count, strength):
        return keras.ops.ones((count,)) * strength


def test_strength_zero_changes_nothing() -> None:
    layer = RandomAffine(OFF, fill_mode="constant", seed=0)
    np.testing.assert_allclose(np.asarray(layer(IMAGES, training=True)), IMAGES, atol=1e-3)


def test_without_training_images_pass_untouched() -> None:
    layer = RandomAffine({**OFF, "rotation": 1.0}, fill_mode="constant", seed=0)
    np.testing.assert_array_equal(np.asarray(layer(IMAGES, training=False)), IMAGES)


@pytest.mark.parametrize("pixels", [1, 3])
def test_a_move_by_whole_pixels_is_a_shift_of_the_array(pixels: int) -> None:
    square = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 1), dtype=np.uint8)
    layer = Fixed({**OFF, "translation": pixels / 8}, fill_mode="constant", seed=0)
    moved = np.asarray(layer(square, training=True))
    expected = np.zeros_like(square)
    expected[:, :-pixels, :-pixels] = square[:, pixels:, pixels:]
    np.testing.assert_allclose(moved, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("strengths", "matrix"),
    [
        ({"rotation": 0.3}, matrix_of(angle=0.3)),
        ({"rotation": math.pi / 2}, matrix_of(angle=math.pi / 2)),
        ({"shear": 0.2}, matrix_of(slant=0.2)),
        ({"zoom": 0.25}, matrix_of(zoom=1.25)),
        ({"translation": 0.1}, matrix_of(shift=(1.2, 0.9))),
        (
            {"rotation": 0.2, "shear": 0.1, "zoom": 0.1, "translation": 0.05},
            matrix_of(angle=0.2, slant=0.1, zoom=1.1, shift=(0.6, 0.45)),
        ),
    ],
)
def test_one_warp_is_what_the_slow_definition_says(strengths: dict[str, float], matrix: np.ndarray) -> None:
    warped = np.asarray(Fixed({**OFF, **strengths}, fill_mode="constant", seed=0)(IMAGES, training=True))
    for image, found in zip(IMAGES, warped, strict=True):
        np.testing.assert_allclose(found, slow_affine(image, matrix), atol=0.05)


@pytest.mark.parametrize("fill_mode", ["constant", "reflect"])
def test_every_way_to_warp_is_keras_own_warp(fill_mode: str) -> None:
    draw = np.random.default_rng(2)
    maps = np.zeros((len(IMAGES), 8), np.float32)
    # Far outside on all sides, and turned about.
    maps[:, :6] = np.array([1, 0, 0, 0, 1, 0]) + draw.normal(0, [1, 1, 20, 1, 1, 20], (len(IMAGES), 6))
    images, ops = IMAGES.astype(np.float32), keras.ops
    # A copy, because Keras changes the maps themselves on PyTorch.
    expected = np.asarray(ops.image.affine_transform(images, maps.copy(), fill_mode=fill_mode))
    for way in (warp, gathered):
        found = np.asarray(way(ops.convert_to_tensor(images), ops.convert_to_tensor(maps), fill_mode=fill_mode))
        np.testing.assert_allclose(found, expected, atol=0.05)


def test_draws_stay_within_their_strength_and_differ_from_image_to_image() -> None:
    layer = RandomAffine({**OFF, "zoom": 0.5, "rotation": 0.4}, fill_mode="constant", seed=3)
    x_by_x, _, _, y_by_x, *_ = np.asarray(layer._matrices(500, 9, 12)).T
    zoom, angle = np.hypot(x_by_x, y_by_x), np.arctan2(y_by_x, x_by_x)
    assert len(np.unique(zoom.round(6))) > 400
    assert 1 / 1.5 <= zoom.min() < 0.75
    assert 1.4 < zoom.max() <= 1.5 + 1e-6
    assert 0.35 < np.abs(angle).max() <= 0.4 + 1e-6
    # Enlarged as often as reduced.
    assert 200 < (zoom > 1).sum() < 300


def test_pixels_are_rounded_and_clipped() -> None:
    given = np.array([-3.0, 0.4, 0.6, 254.7, 300.0], np.float32).reshape(1, 1, 5, 1)
    assert np.asarray(ToPixels()(given)).ravel().tolist() == [0, 0, 1, 255, 255]


@pytest.mark.parametrize("policy", [name for name in AUGMENTATION_POLICIES if name != "none"])
def test_every_policy_gives_pictures_again(policy: str) -> None:
    pictures = augmented({"policy": policy})
    assert pictures.shape == IMAGES.shape
    assert pictures.min() >= 0
    assert pictures.max() <= 255
    np.testing.assert_array_equal(pictures, pictures.round())
    assert not np.array_equal(pictures, IMAGES)


def test_the_same_seed_draws_the_same_and_another_seed_does_not() -> None:
    settings = {"policy": "photos"}
    np.testing.assert_array_equal(augmented(settings, seed=5), augmented(settings, seed=5))
    assert not np.array_equal(augmented(settings, seed=5), augmented(settings, seed=6))


def test_a_dark_background_is_filled_with_black_and_any_other_by_reflection() -> None:
    white = np.full_like(IMAGES, 255)
    settings = {"translation_fraction": 0.4}
    assert augmented(settings, DARK, white).min() == 0
    assert augmented(settings, LIGHT, white).min() == 255


def test_a_flip_mirrors_and_nothing_else() -> None:
    flipped = augmented({"flip": "horizontal"}, images=np.repeat(IMAGES, 10, axis=0))
    originals = np.repeat(IMAGES, 10, axis=0)
    mirrored = [np.array_equal(found, image[:, ::-1]) for found, image in zip(flipped, originals, strict=True)]
    same = [np.array_equal(found, image) for found, image in zip(flipped, originals, strict=True)]
    assert all(one or other for one, other in zip(mirrored, same, strict=True))
    assert any(mirrored)
    assert any(same)


def test_without_parts_there_is_no_augmentation() -> None:
    assert build_augmentation(recipe_of(policy="none"), DARK, seed=0) is None
    everything_off = dict.fromkeys(AUGMENTATION_POLICIES["digits"], 0)
    assert build_augmentation(recipe_of(policy="digits", **everything_off), DARK, seed=0) is None


def test_what_the_recipe_says_beats_its_policy() -> None:
    told = strengths_of(recipe_of(policy="photos", rotation_degrees=0, flip="none", brightness=0.5))
    assert told == {"translation_fraction": 0.1, "zoom_fraction": 0.15, "brightness": 0.5, "contrast": 0.2}
    assert strengths_of(recipe_of(policy="digits")) == AUGMENTATION_POLICIES["digits"]
    assert strengths_of(recipe_of(policy="none", shear_degrees=3)) == {"shear_degrees": 3.0}


PART_ALONE = [
    {"crop_fraction": 0.5},
    {"saturation": 0.8},
    {"hue": 0.3},
    {"erasing_fraction": 0.5},
    {"blur_sigma": 2.0},
    {"randaugment_magnitude": 0.7},
    {"randaugment_magnitude": 1.0, "randaugment_operations": 10},
]


@pytest.mark.parametrize("settings", PART_ALONE)
def test_every_part_alone_gives_pictures_again_by_seed_and_only_while_training(settings: dict[str, float]) -> None:
    many = np.repeat(IMAGES, 8, axis=0)
    pictures = augmented(settings, images=many)
    assert pictures.shape == many.shape
    assert 0 <= pictures.min() <= pictures.max() <= 255
    np.testing.assert_array_equal(pictures, pictures.round())
    np.testing.assert_array_equal(pictures, augmented(settings, images=many))
    assert not np.array_equal(pictures, augmented(settings, images=many, seed=1))
    # Copies of one image are changed each in its own way.
    assert len(np.unique(pictures.reshape(len(many), -1), axis=0)) > 2 * len(IMAGES)
    untouched = build_augmentation(recipe_of(**settings), DARK, seed=0)(many, training=False)
    np.testing.assert_array_equal(np.asarray(untouched), many)


@pytest.mark.parametrize("crop", [0.2, 0.9])
def test_a_crop_is_a_part_of_the_image_that_lies_inside_it(crop: float) -> None:
    layer = RandomAffine({**OFF, "crop": crop}, fill_mode="constant", seed=3)
    x_by_x, x_by_y, offset_x, y_by_x, y_by_y, offset_y, *_ = np.asarray(layer._matrices(500, 9, 12)).T
    np.testing.assert_allclose(x_by_x, y_by_y, atol=1e-6)
    assert not x_by_y.any()
    assert not y_by_x.any()
    assert 1 - crop - 1e-6 <= x_by_x.min() < 1 - 0.95 * crop
    assert 1 - 0.05 * crop < x_by_x.max() <= 1 + 1e-6
    # Positions of pixels are those of their middles: the image reaches half a pixel further.
    for offset, side in ((offset_x, 12), (offset_y, 9)):
        first, last = offset - 0.5 * x_by_x, offset + (side - 0.5) * x_by_x
        assert first.min() >= -0.5 - 1e-4
        assert last.max() <= side - 0.5 + 1e-4
    assert np.corrcoef(offset_x - x_by_x.mean(), offset_y)[0, 1] < 0.99


def test_a_crop_does_not_change_what_the_other_draws_are() -> None:
    both = {**OFF, "rotation": 0.4}
    plain = np.asarray(RandomAffine(both, fill_mode="constant", seed=3)._matrices(50, 9, 12))
    cropped = np.asarray(RandomAffine({**both, "crop": 0.5}, fill_mode="constant", seed=3)._matrices(50, 9, 12))
    np.testing.assert_allclose(
        np.arctan2(plain[:, 3], plain[:, 0]), np.arctan2(cropped[:, 3], cropped[:, 0]), atol=1e-5
    )


@pytest.mark.parametrize(("spec", "fill"), [(DARK, 0), (LIGHT, 127)])
def test_erasing_fills_one_box_of_at_most_its_share_in_about_every_other_image(spec: InputSpec, fill: int) -> None:
    white = np.full((300, 40, 40, 3), 255, np.uint8)
    spec = InputSpec(40, 40, "rgb", background=spec.background)
    pictures = augmented({"erasing_fraction": 0.3}, spec, white)
    erased = (pictures != 255).any(axis=3)
    assert set(np.unique(pictures)) == {fill, 255}
    for mask in erased[erased.any(axis=(1, 2))]:
        rows, columns = mask.any(axis=1), mask.any(axis=0)
        np.testing.assert_array_equal(mask, rows[:, None] & columns)
        # A box of fractions of pixels may touch one pixel more each way.
        assert (rows.sum() - 1) * (columns.sum() - 1) <= 0.3 * 40 * 40
    assert 110 < erased.any(axis=(1, 2)).sum() < 190
    assert erased.mean(axis=(1, 2)).max() > 0.2


def test_colour_of_a_policy_is_dropped_on_grey_images() -> None:
    spec = InputSpec(9, 12, "grey", background="dark")
    names = [layer.name for layer in build_augmentation(recipe_of(policy="strong"), spec, seed=0).layers]
    assert not [name for name in names if "color" in name]
    assert augmented({"policy": "strong"}, spec, IMAGES[..., :1]).shape == (6, 9, 12, 1)
    assert build_augmentation(recipe_of(hue=0.2), spec, seed=0) is None
