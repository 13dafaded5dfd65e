"""RandAugment's operations against Pillow's, and how many of them an image gets."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from sightline.system.backends import load_keras

keras = load_keras()

from sightline.training.augmentation.randaugment import OPERATIONS, RandomOperations  # noqa: E402  # the backend is chosen first

IMAGES = np.random.default_rng(0).integers(20, 230, (4, 10, 8, 3), dtype=np.uint8)


class Chosen(RandomOperations):
    """The layer with one operation named, and its sign."""

    name_of_one, sign = "", 1.0

    def _draw(self, count):
        row = np.array([float(name == self.name_of_one) for name in OPERATIONS], np.float32)
        return keras.ops.convert_to_tensor(np.tile(row, (len(IMAGES), 1))), self.sign


def changed_by(name: str, magnitude: float, sign: float = 1.0, images: np.ndarray = IMAGES) -> np.ndarray:
    layer = Chosen(magnitude, operations=1, fill_mode="constant", seed=0)
    layer.name_of_one, layer.sign = name, sign
    return np.asarray(layer(images, training=True))


def by_pillow(name: str, image: Image.Image) -> Image.Image:
    """What Pillow calls the same, at magnitude 0.5 and positive sign."""
    if name in ("brightness", "contrast", "saturation", "sharpness"):
        kind = {"saturation": "Color"}.get(name, name.capitalize())
        return getattr(ImageEnhance, kind)(image).enhance(1 + 0.5 * 0.9)
    if name == "posterization":
        return ImageOps.posterize(image, 6)
    return ImageOps.solarize(image, 128) if name == "solarization" else ImageOps.autocontrast(image)


@pytest.mark.parametrize(
    "name", ["brightness", "contrast", "saturation", "sharpness", "posterization", "solarization", "autocontrast"]
)
def test_an_operation_is_pillows(name: str) -> None:
    changed = np.clip(changed_by(name, 0.5).round(), 0, 255)
    expected = np.stack([np.asarray(by_pillow(name, Image.fromarray(image))) for image in IMAGES])
    if name == "sharpness":  # Pillow leaves the border as it is
        changed, expected = changed[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1]
    assert not np.array_equal(expected, IMAGES[:, 1:-1, 1:-1] if name == "sharpness" else IMAGES)
    # Pillow rounds where this does not yet.
    np.testing.assert_allclose(changed, expected, atol=2)


def test_a_move_of_whole_pixels_is_a_shift_of_the_array() -> None:
    # A quarter of 8 pixels, at magnitude 0.25 / 0.45.
    moved = changed_by("translation_x", 0.25 / 0.45)
    np.testing.assert_allclose(moved[:, :, :-2], IMAGES[:, :, 2:], atol=0.01)
    assert not moved[:, :, -2:].round(2).any()


@pytest.mark.parametrize("name", OPERATIONS)
def test_magnitude_zero_changes_nothing_but_autocontrast_that_has_no_strength(name: str) -> None:
    if name == "autocontrast":
        assert np.ptp(changed_by(name, 0.0)[0, :, :, 0]) == pytest.approx(255, abs=0.01)
        return
    np.testing.assert_allclose(changed_by(name, 0.0), IMAGES, atol=0.01)


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_range_is_kept_at_full_magnitude_in_either_direction_and_in_grey(name: str) -> None:
    for sign in (-1.0, 1.0):
        for images in (IMAGES, IMAGES[..., :1], np.full_like(IMAGES, 255), np.zeros_like(IMAGES)):
            changed = changed_by(name, 1.0, sign, images)
            assert changed.shape == images.shape
            assert -0.01 <= changed.min() <= changed.max() <= 255.01


@pytest.mark.parametrize("operations", [1, 2, 10])
def test_each_image_draws_so_many_operations_of_its_own_all_equally_often(operations: int) -> None:
    chosen, signs = RandomOperations(0.5, operations=operations, fill_mode="constant", seed=2)._draw(2000)
    chosen, signs = np.asarray(chosen), np.asarray(signs)
    assert (chosen.sum(axis=1) == operations).all()
    assert len(np.unique(chosen, axis=0)) > 8
    np.testing.assert_allclose(chosen.mean(axis=0), operations / len(OPERATIONS), atol=0.05)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    np.testing.assert_allclose(signs.mean(axis=0), 0, atol=0.1)
