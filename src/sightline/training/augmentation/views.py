"""Views of train images, made before a training: drawn by the one augmentation, in memory or row by row."""

from __future__ import annotations

import hashlib
import threading
import zlib
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from sightline.configuration.schema import AugmentationRecipe, strengths_of
from sightline.records import InputSpec, View
from sightline.system.progress import reporter
from sightline.training.augmentation.pipeline import build_augmentation, draw

# Images that are augmented at once.
PORTION = 500
# Rows that are drawn for together: a row's draw depends on its place in its block alone.
BLOCK = 16


def drawn_views(rows: NDArray[np.int64], *, num_images: int, num_views: int, seed: int) -> NDArray[np.int64]:
    """Which view of each image of a batch is seen.

    Args:
        rows: (batch,) int64 in [0, num_images), in the order of the batch.
        num_images: rows of a view; views lie one after the other.
        num_views: of each image, all as likely.
        seed: the same seed and rows give the same views, in whatever thread they are drawn.

    Returns:
        (batch,) int64 in [0, num_views * num_images).
    """
    # No state: Keras looks at a first batch before it trains, and threads read ahead.
    generator = np.random.default_rng([seed, zlib.crc32(np.ascontiguousarray(rows).tobytes())])
    picked: NDArray[np.int64] = rows + num_images * generator.integers(0, num_views, len(rows))
    return picked


def augmented_views(images: Any, augmentation: keras.Model, *, num_views: int) -> NDArray[np.uint8]:
    """Views of images, in memory: first the images as they are, then augmented ones, each drawn anew.

    Returns:
        (num_views * num_images, height, width, channels) uint8, view after view.
    """
    num_images = len(images)
    views = np.empty((num_views * num_images, *images.shape[1:]), np.uint8)
    views[:num_images] = images[:]
    with reporter().bar("views", total=len(views) - num_images) as bar:
        for start in range(num_images, len(views), num_images):
            for first in range(0, num_images, PORTION):
                seen = draw(augmentation, views[first : min(first + PORTION, num_images)])
                views[start + first : start + first + len(seen)] = seen
                bar.advance(len(seen))
    return views


def row_views(augmentation: AugmentationRecipe, spec: InputSpec, *, count: int) -> list[View]:
    """Random views of the rows of a source, drawn as by any training; none where nothing is augmented.

    The same row of the same view gives the same bytes, alone or among others, in any thread.
    """
    # A seed for all: number and row alone say what is drawn, so that a run with another seed finds the features kept.
    model = build_augmentation(augmentation, spec, seed=0)
    if model is None:
        return []
    settings = (strengths_of(augmentation), augmentation.randaugment_operations, spec.background)
    known_by = hashlib.sha256(repr((*settings, keras.__version__, keras.config.backend())).encode()).hexdigest()[:16]
    return [View(number, f"{number}-{known_by}", _RowDraw(model, number)) for number in range(1, count + 1)]


class _RowDraw:
    """What a view sees of a row, whatever rows stand beside it.

    Keras' layers draw for a batch at once, from a state that goes on. Here the state is set before each draw, by the
    number of the view and the block of rows; rows of a block that are not asked for are drawn for all the same.
    """

    def __init__(self, augmentation: keras.Model, number: int) -> None:
        self.augmentation, self.number = augmentation, number
        self.states = [variable for variable in augmentation.variables if "seed" in variable.path]
        self.lock = threading.Lock()

    def __call__(self, rows: NDArray[np.int64], images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        seen = np.empty_like(images)
        for block in np.unique(rows // BLOCK):
            here = np.flatnonzero(rows // BLOCK == block)
            positions = rows[here] % BLOCK
            whole = np.zeros((BLOCK, *images.shape[1:]), np.uint8)
            whole[positions] = images[here]
            seen[here] = self._drawn(whole, int(block))[positions]
        return seen

    def _drawn(self, images: NDArray[np.uint8], block: int) -> NDArray[np.uint8]:
        with self.lock:
            for index, state in enumerate(self.states):
                # Two whole numbers; each draw from a state adds to the second.
                state.assign(np.array([1000 * self.number + index, 1000 * block], np.uint32))
            return draw(self.augmentation, images)
