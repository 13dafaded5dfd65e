"""Colour and blur against their definitions, written slowly."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sightline.system.backends import load_keras

keras = load_keras()

from sightline.training.augmentation.color import RandomBlur, RandomColor  # noqa: E402  # the backend is chosen first

IMAGES = np.random.default_rng(0).integers(60, 180, (5, 7, 6, 3), dtype=np.uint8)


class FullColor(RandomColor):
    """The layer with its draws replaced by the largest strengths."""

    def _draw(self, count, strength):
        return keras.ops.ones((count,)) * strength


class FullBlur(RandomBlur):
    def _draw(self, count):
        return keras.ops.ones((count,)) * self.sigma


def slow_color(pixel: np.ndarray, strength: float, angle: float) -> list[float]:
    """Brightness kept, the two differences of colour turned and stretched; written out."""
    red, green, blue = (float(value) for value in pixel)
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue
    orange = 0.596 * red - 0.274 * green - 0.322 * blue
    purple = 0.211 * red - 0.523 * green + 0.312 * blue
    turned = strength * (math.cos(angle) * orange - math.sin(angle) * purple)
    other = strength * (math.sin(angle) * orange + math.cos(angle) * purple)
    system = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    return np.clip(np.linalg.solve(system, [brightness, turned, other]), 0, 255).tolist()


@pytest.mark.parametrize(("saturation", "hue"), [(0.3, 0.0), (0.0, 0.1), (0.5, 0.5)])
def test_colours_are_what_the_slow_definition_says(saturation: float, hue: float) -> None:
    changed = np.asarray(FullColor(saturation=saturation, hue=hue, seed=0)(IMAGES, training=True))
    expected = [slow_color(pixel, 1 + saturation, 2 * math.pi * hue) for pixel in IMAGES.reshape(-1, 3)]
    np.testing.assert_allclose(changed.reshape(-1, 3), expected, atol=0.01)


def test_grey_stays_as_it_is_and_no_saturation_is_grey() -> None:
    grey = np.repeat(IMAGES[..., :1], 3, axis=-1)
    np.testing.assert_allclose(
        np.asarray(RandomColor(saturation=1, hue=0.5, seed=1)(grey, training=True)), grey, atol=1
    )
    faded = np.asarray(FullColor(saturation=-1, hue=0, seed=0)(IMAGES, training=True))
    np.testing.assert_allclose(faded, np.repeat(IMAGES @ [0.299, 0.587, 0.114], 3).reshape(IMAGES.shape), atol=1)


def test_a_turn_by_a_third_of_the_circle_thrice_is_none() -> None:
    pastel, layer = IMAGES // 8 + 110, FullColor(saturation=0, hue=1 / 3, seed=0)
    once = layer(pastel, training=True)
    assert np.abs(np.asarray(once) - pastel).max() > 3
    np.testing.assert_allclose(np.asarray(layer(layer(once, training=True), training=True)), pastel, atol=0.01)


def slow_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """The mean of all pixels, weighted by a Gaussian of their distance; pixel by pixel."""
    height, width, _ = image.shape
    blurred = np.zeros(image.shape)
    for row in range(height):
        for column in range(width):
            total = 0.0
            for other in range(height):
                for further in range(width):
                    distance = (row - other) ** 2 + (column - further) ** 2
                    weight = math.exp(-distance / (2 * sigma**2))
                    blurred[row, column] += weight * image[other, further]
                    total += weight
            blurred[row, column] /= total
    return blurred


@pytest.mark.parametrize("sigma", [0.4, 2.0])
def test_a_blur_is_what_the_slow_definition_says(sigma: float) -> None:
    blurred = np.asarray(FullBlur(sigma, seed=0)(IMAGES, training=True))
    for found, image in zip(blurred, IMAGES, strict=True):
        np.testing.assert_allclose(found, slow_blur(image, sigma), atol=0.01)


def test_a_plain_image_stays_plain_and_a_blur_of_nothing_is_none() -> None:
    plain = np.full((2, 5, 9, 1), 200, np.uint8)
    np.testing.assert_allclose(np.asarray(RandomBlur(3.0, seed=0)(plain, training=True)), plain, atol=0.01)
    np.testing.assert_allclose(np.asarray(RandomBlur(0.0, seed=0)(IMAGES, training=True)), IMAGES, atol=0.01)


def test_images_of_a_batch_are_blurred_by_different_widths() -> None:
    same = np.repeat(IMAGES[:1], 40, axis=0)
    left = np.asarray(RandomBlur(2.0, seed=0)(same, training=True)).std(axis=(1, 2, 3))
    assert len(np.unique(left.round(3))) > 20
