"""Several views of each train image, made before a training: as it is, and augmented."""

from __future__ import annotations

import zlib
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from sightline.progress import reporter

# Images that are augmented at once.
PORTION = 500


def drawn_views(rows: NDArray[np.int64], *, num_images: int, num_views: int, seed: int) -> NDArray[np.int64]:
    """Which view of each image of a batch is seen.

    Args:
        rows: (batch,) int64 in [0, num_images), in the order of the batch.
        num_images: rows of a view; views lie one after the other.
        num_views: of each image, all as likely.
        seed: the same seed and rows give the same views, in whatever thread they are drawn.

    Returns:
        (batch,) int64 in [0, num_views * num_images).

    Raises:
        Nothing.

    Example:
        >>> drawn_views(np.array([3, 1]), num_images=4, num_views=1, seed=0).tolist()
        [3, 1]
    """
    # No state: Keras looks at a first batch before it trains, and threads read ahead.
    draw = np.random.default_rng([seed, zlib.crc32(np.ascontiguousarray(rows).tobytes())])
    picked: NDArray[np.int64] = rows + num_images * draw.integers(0, num_views, len(rows))
    return picked


def augmented_views(images: Any, augmentation: keras.Model, *, num_views: int) -> NDArray[np.uint8]:
    """Views of images, in memory: first the images as they are, then augmented ones, each drawn anew.

    Args:
        images: (num_images, height, width, channels) uint8, or what gives such an array when it is sliced.
        augmentation: as `sightline.training.augmentation.build_augmentation` gives it; goes on drawing.
        num_views: of each image, at least 1.

    Returns:
        (num_views * num_images, height, width, channels) uint8, view after view.

    Raises:
        Nothing.

    Example:
        >>> pixels = keras.Input((4, 4, 1), dtype="uint8")
        >>> augmentation = keras.Model(pixels, keras.layers.RandomFlip(seed=0)(pixels))
        >>> augmented_views(np.zeros((5, 4, 4, 1), np.uint8), augmentation, num_views=3).shape
        (15, 4, 4, 1)
    """
    num_images = len(images)
    views = np.empty((num_views * num_images, *images.shape[1:]), np.uint8)
    views[:num_images] = images[:]
    with reporter().bar("views", total=len(views) - num_images) as bar:
        for start in range(num_images, len(views), num_images):
            for first in range(0, num_images, PORTION):
                seen = keras.ops.convert_to_numpy(
                    augmentation(views[first : min(first + PORTION, num_images)], training=True)
                )
                views[start + first : start + first + len(seen)] = np.rint(seen)
                bar.advance(len(seen))
    return views
