"""Images that no network should take for what it learned, made at its input size: what a novelty score has to tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

# So many of each kind.
NUM_EACH = 40

Images = NDArray[np.uint8]


def unlike_images(known: Images) -> dict[str, Images]:
    """Kind to (40, height, width, channels) uint8, the same each time.

    Args:
        known: (num_images, height, width, channels) of the data, at least 1, which some are made of.
    """
    draw = np.random.default_rng(0)
    chosen = known[np.arange(NUM_EACH) % len(known)]
    colors = draw.integers(0, 256, (NUM_EACH, 1, 1, known.shape[3]), dtype=np.uint8)
    return {
        "noise": draw.integers(0, 256, chosen.shape, dtype=np.uint8),
        "one colour": np.broadcast_to(colors, chosen.shape).copy(),
        "stripes": np.stack([_stripes(draw, chosen.shape[1:]) for _ in chosen]),
        "inverted images": 255 - chosen,
        "images blurred to nothing": np.stack([_blurred(image) for image in chosen]),
        "signs of another alphabet": _another_alphabet(draw, chosen),
    }


def _stripes(draw: np.random.Generator, shape: tuple[int, ...]) -> Images:
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    angle, width = draw.uniform(0, np.pi), draw.uniform(0.05, 0.25) * min(shape[:2])
    is_second = ((rows * np.sin(angle) + columns * np.cos(angle)) // max(width, 1)) % 2 == 1
    first, second = draw.integers(0, 256, (2, shape[2]))
    return np.asarray(np.where(is_second[:, :, None], first, second), np.uint8)


def _blurred(image: Images) -> Images:
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    blurred = picture.filter(ImageFilter.GaussianBlur(min(image.shape[:2]) / 4))
    return np.asarray(blurred).reshape(image.shape)


def _another_alphabet(draw: np.random.Generator, known: Images) -> Images:
    """Signs that nobody writes: three strokes between nine points each, on what the data have as paper."""
    height, width = known.shape[1:3]
    paper, side = np.median(known, axis=(0, 1, 2)), min(height, width)
    corner = np.array([width - side, height - side]) / 2
    images = []
    for _ in known:
        picture = Image.new("L", (width, height), 0)
        for _ in range(3):
            places = corner + side * (0.2 + 0.3 * np.stack(np.divmod(draw.permutation(9)[:3], 3), axis=1))
            line = [(float(right), float(down)) for right, down in places]
            ImageDraw.Draw(picture).line(line, fill=255, width=max(side // 12, 1))
        share = np.asarray(picture)[:, :, None] / 255
        images.append(paper + share * ((paper < 128) * 255 - paper))
    return np.stack(images).astype(np.uint8)
