"""The fifteen corruptions, on pixels from 0 to 1; each takes the numbers of `strengths` and what draws at random."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.errors import InvalidValue, pick
from sightline.evaluation.corruptions.filters import (
    Pixels,
    cloud,
    convolved,
    disk,
    dragged,
    enlarged,
    gaussian,
    sampled,
)
from sightline.evaluation.corruptions.strengths import SEVERITIES, STRENGTHS

Numbers = tuple[float, ...]
Generator = np.random.Generator


def corrupted(image: NDArray[np.uint8], name: str, severity: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """An image gone bad in one way; the same bytes give the same bytes, whatever stands beside them.

    Args:
        image: (height, width, 1 or 3) uint8.
        name: a key of `STRENGTHS`, "gaussian noise".
        severity: 1 to 5.
        seed: another one draws other noise.

    Returns:
        (height, width, channels) uint8, of the same shape.
    """
    if image.ndim != 3 or image.dtype != np.uint8 or not image.size or image.shape[2] not in (1, 3):
        raise InvalidValue(
            f"an image must have shape (height, width, 1 or 3), at least 1 by 1, and dtype uint8; got shape "
            f"{image.shape} and dtype {image.dtype}."
        )
    strength = pick(STRENGTHS, name, kind="corruption")
    if isinstance(severity, bool) or severity not in SEVERITIES:
        raise InvalidValue(f"a severity must be a whole number from 1 to 5; got {severity!r}.")
    numbers = strength.at(int(severity), min(image.shape[:2]))
    key = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16)
    key.update(f"{image.shape} {name} {severity} {seed}".encode())
    generator = np.random.default_rng(int.from_bytes(key.digest(), "little"))
    made = CHANGES[name](image / 255.0, numbers, generator)
    # Cut, not rounded, as the published images are.
    return (np.clip(made, 0, 1) * 255 + 1e-9).astype(np.uint8)


def _gaussian_noise(pixels: Pixels, numbers: Numbers, generator: Generator) -> Pixels:
    (sigma,) = numbers
    return pixels + generator.normal(0, sigma, pixels.shape)


def _shot_noise(pixels: Pixels, numbers: Numbers, generator: Generator) -> Pixels:
    """So many photons where a pixel is white."""
    (photons,) = numbers
    return generator.poisson(pixels * photons) / photons


def _impulse_noise(pixels: Pixels, numbers: Numbers, generator: Generator) -> Pixels:
    """This share of the values is black or white."""
    (share,) = numbers
    drawn = generator.random(pixels.shape)
    return np.where(drawn < share, (drawn < share / 2).astype(np.float64), pixels)


def _defocus(pixels: Pixels, numbers: Numbers, _: Generator) -> Pixels:
    radius, softness = numbers
    return convolved(pixels, disk(radius, softness))


def _glass(pixels: Pixels, numbers: Numbers, generator: Generator) -> Pixels:
    """A blur; so many times each pixel comes from up to so many pixels away; and a blur."""
    sigma, reach, rounds = numbers
    furthest, height, width = max(1, round(reach)), *pixels.shape[:2]
    pixels = gaussian(pixels, sigma)
    rows, columns = np.mgrid[:height, :width]
    for _ in range(max(1, round(rounds))):
        down, across = generator.integers(-furthest, furthest + 1, (2, height, width))
        pixels = pixels[np.clip(rows + down, 0, height - 1), np.clip(columns + across, 0, width - 1)]
    return gaussian(pixels, sigma)


def _motion(pixels: Pixels, numbers: Numbers, generator: Generator) -> Pixels:
    radius, sigma = numbers
    return dragged(pixels, radius, sigma, generator.uniform(-45, 45))


def _zoom(pixels: Pixels, numbers: Numbers, _: Generator) -> Pixels:
    """The mean of itself and so many enlargements up to this one."""
    largest, count = numbers[0], round(numbers[1])
    made = pixels.copy()
    for factor in np.linspace(1, largest, count).tolist():
        made += enlarged(pixels, factor)
    return made / (count + 1)


def _snow(pixels: Pixels, numbers: Numbers, generator: Generator) -> Pixels:
    """Flakes where enlarged noise of this mean and deviation exceeds a limit, dragged, over a picture made paler."""
    mean, deviation, size, limit, radius, sigma, kept = numbers
    height, width = pixels.shape[:2]
    small = generator.normal(mean, deviation, (math.ceil(height / size) + 1, math.ceil(width / size) + 1, 1))
    rows, columns = np.meshgrid(np.arange(height) / size, np.arange(width) / size, indexing="ij")
    flakes = sampled(small, rows, columns)
    flakes[flakes < limit] = 0
    flakes = dragged(np.clip(flakes, 0, 1), radius, sigma, generator.uniform(-135, -45))
    grey = pixels.mean(axis=2, keepdims=True) * 1.5 + 0.5
    paler = kept * pixels + (1 - kept) * np.maximum(pixels, grey)
    return np.asarray(paler + flakes + flakes[::-1, ::-1])


def _frost(pixels: Pixels, numbers: Numbers, generator: Generator) -> Pixels:
    """Crystals drawn anew for each image, not photographs of a window: ridges of a cloud, bluish, over the picture."""
    kept, strength = numbers
    height, width = pixels.shape[:2]
    ridges = 1 - np.abs(2 * cloud(height, width, decay=1.3, generator=generator) - 1)
    depth = cloud(height, width, decay=2.0, generator=generator)
    crystals = np.clip(0.35 + 0.55 * ridges**3 + 0.45 * (depth - 0.5), 0, 1)
    tint = np.array([0.92, 0.98, 1.0]) if pixels.shape[2] == 3 else np.ones(1)
    return kept * pixels + strength * crystals[:, :, None] * tint


def _fog(pixels: Pixels, numbers: Numbers, generator: Generator) -> Pixels:
    strength, decay = numbers
    highest = float(pixels.max())
    fogged = pixels + strength * cloud(*pixels.shape[:2], decay=decay, generator=generator)[:, :, None]
    return fogged * highest / (highest + strength)


def _brightness(pixels: Pixels, numbers: Numbers, _: Generator) -> Pixels:
    """The highest channel is raised by so much, the others in proportion: hue and saturation stay."""
    (raised,) = numbers
    value = pixels.max(axis=2, keepdims=True)
    lighter = np.clip(value + raised, 0, 1)
    return np.asarray(np.where(value > 0, pixels * lighter / np.maximum(value, 1e-12), lighter))


def _contrast(pixels: Pixels, numbers: Numbers, _: Generator) -> Pixels:
    (kept,) = numbers
    mean = pixels.mean(axis=(0, 1), keepdims=True)
    return np.asarray((pixels - mean) * kept + mean)


def _elastic(pixels: Pixels, numbers: Numbers, generator: Generator) -> Pixels:
    """Three points are moved by up to so much, and all pixels along a field smoothed so widely."""
    far, sigma, moved = numbers
    height, width = pixels.shape[:2]
    middle, reach = np.array([height, width]) // 2, min(height, width) // 3
    before = middle + reach * np.array([[1, 1], [1, -1], [-1, -1]])
    after = before + generator.uniform(-moved, moved, before.shape)
    # Where each pixel that is made comes from: the affine map from the moved points to where they were.
    source = np.linalg.lstsq(np.column_stack([after, np.ones(3)]), before.astype(np.float64), rcond=None)[0]
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    if far > 0 and sigma > 0:
        field = gaussian(generator.uniform(-1, 1, (height, width, 2)), sigma, truncate=3.0) * far
        rows, columns = rows + field[:, :, 0], columns + field[:, :, 1]
    places = np.stack([rows, columns, np.ones_like(rows)], axis=2) @ source
    return sampled(pixels, places[:, :, 0], places[:, :, 1])


def _pixelate(pixels: Pixels, numbers: Numbers, _: Generator) -> Pixels:
    (share,) = numbers
    height, width = pixels.shape[:2]
    small = max(1, int(width * share)), max(1, int(height * share))
    picture = _picture(pixels).resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BOX)
    return _pixels(picture)


def _jpeg(pixels: Pixels, numbers: Numbers, _: Generator) -> Pixels:
    (quality,) = numbers
    stream = io.BytesIO()
    _picture(pixels).save(stream, "JPEG", quality=round(quality))
    return _pixels(Image.open(stream))


def _picture(pixels: Pixels) -> Image.Image:
    whole = np.rint(pixels * 255).astype(np.uint8)
    return Image.fromarray(whole[:, :, 0] if whole.shape[2] == 1 else whole)


def _pixels(picture: Image.Image) -> Pixels:
    whole = np.asarray(picture) / 255.0
    return whole[:, :, None] if whole.ndim == 2 else whole


CHANGES: Final[dict[str, Callable[[Pixels, Numbers, Generator], Pixels]]] = {
    "gaussian noise": _gaussian_noise,
    "shot noise": _shot_noise,
    "impulse noise": _impulse_noise,
    "defocus blur": _defocus,
    "glass blur": _glass,
    "motion blur": _motion,
    "zoom blur": _zoom,
    "snow": _snow,
    "frost": _frost,
    "fog": _fog,
    "brightness": _brightness,
    "contrast": _contrast,
    "elastic": _elastic,
    "pixelate": _pixelate,
    "jpeg": _jpeg,
}
