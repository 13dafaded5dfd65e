"""RandAugment: a few of eleven changes an image, all of one strength."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import layers, ops

from sightline.training.augmentation.affine import inverse_maps, warp
from sightline.training.augmentation.color import LUMA

WARPS = ("rotation", "shear", "translation_x", "translation_y")
OPERATIONS = (
    *WARPS,
    "brightness",
    "contrast",
    "saturation",
    "sharpness",
    "posterization",
    "solarization",
    "autocontrast",
)
# What magnitude 1 means; the ranges of the paper.
LARGEST_ROTATION, LARGEST_SHEAR, LARGEST_TRANSLATION = math.radians(30), 0.3, 0.45
LARGEST_CHANGE, LARGEST_LOSS_OF_BITS = 0.9, 4


class RandomOperations(layers.Layer):  # type: ignore[misc]  # Keras carries no annotations
    """RandAugment in which every image draws its own operations.

    Keras' RandAugment draws the same operations for a whole batch, turns and shears one way only, posterizes most where
    the magnitude is smallest, and computes all its operations for each that it applies (keras 3.15.1;
    `benchmarks/augmentation.py` times both). Here those that move pixels are one warp, the others follow in the order
    of OPERATIONS, and an image's own draw leaves it out of all but `operations` of them, no one twice.
    Equalization is left out: histograms have no fast batched form that all backends share. On grey images saturation
    changes nothing; it is RandAugment's identity.

    Source:
        Cubuk, Zoph, Shlens, Le, RandAugment, arXiv 1909.13719.
    """

    def __init__(self, magnitude: float, *, operations: int, fill_mode: str, seed: int, **options: Any) -> None:
        """`magnitude` 0 to 1; `operations` 1 to 10 an image."""
        super().__init__(dtype="float32", **options)
        self.magnitude, self.operations, self.fill_mode = magnitude, operations, fill_mode
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, images: Any, training: bool = False) -> Any:
        """(batch, height, width, channels) in 0 to 255, each changed by its own draw while training."""
        if not training:
            return images
        chosen, signs = self._draw(ops.shape(images)[0])
        # (batch, operations) to one (batch,) column each: 0 where it is left out, else -1 or 1
        columns = {name: (chosen * signs)[:, column] for column, name in enumerate(OPERATIONS)}
        pictures = self._warp(ops.cast(images, "float32"), columns)
        columns = {name: column[:, None, None, None] for name, column in columns.items()}
        return self._repaint(self._blend(pictures, columns), columns)

    def _draw(self, count: Any) -> tuple[Any, Any]:
        """(count, 11) ones at the operations that each image gets, and (count, 11) signs."""
        shape = (count, len(OPERATIONS))
        lots = keras.random.uniform(shape, seed=self.seed_generator)
        last_taken = ops.sort(lots, axis=1)[:, self.operations - 1 : self.operations]
        signs = ops.where(keras.random.uniform(shape, seed=self.seed_generator) < 0.5, -1.0, 1.0)
        return ops.cast(lots <= last_taken, "float32"), signs

    def _warp(self, images: Any, columns: dict[str, Any]) -> Any:
        height, width = images.shape[1], images.shape[2]
        angle = columns["rotation"] * (self.magnitude * LARGEST_ROTATION)
        reach = self.magnitude * LARGEST_TRANSLATION
        shift = (columns["translation_x"] * (reach * width), columns["translation_y"] * (reach * height))
        tangent = columns["shear"] * (self.magnitude * LARGEST_SHEAR)
        maps = inverse_maps(tangent, (ops.cos(angle), ops.sin(angle)), shift, (height, width))
        return warp(images, maps, fill_mode=self.fill_mode)

    def _blend(self, images: Any, columns: dict[str, Any]) -> Any:
        """Towards or away from black, from the mean, from grey, from a smoothed copy."""
        reach = self.magnitude * LARGEST_CHANGE
        images = ops.clip(images * (1 + reach * columns["brightness"]), 0.0, 255.0)
        mean = ops.mean(_grey(images), axis=(1, 2, 3), keepdims=True)
        images = ops.clip(images + reach * columns["contrast"] * (images - mean), 0.0, 255.0)
        if images.shape[-1] == 3:
            images = ops.clip(images + reach * columns["saturation"] * (images - _grey(images)), 0.0, 255.0)
        return ops.clip(images + reach * columns["sharpness"] * (images - _smoothed(images)), 0.0, 255.0)

    def _repaint(self, images: Any, columns: dict[str, Any]) -> Any:
        """Fewer levels; bright pixels inverted; values stretched to 0 to 255."""
        lost_bits = math.floor(self.magnitude * LARGEST_LOSS_OF_BITS + 0.5)
        level = ops.where(columns["posterization"] != 0, float(2**lost_bits), 1.0)
        images = ops.floor(images / level) * level
        # 256 is above every pixel: nothing is inverted.
        threshold = ops.where(columns["solarization"] != 0, 256.0 * (1 - self.magnitude), 256.0)
        images = ops.where(images >= threshold, 255.0 - images, images)
        lowest, highest = ops.min(images, axis=(1, 2), keepdims=True), ops.max(images, axis=(1, 2), keepdims=True)
        stretched = (images - lowest) * (255.0 / ops.maximum(highest - lowest, 1.0))
        is_stretched = ops.logical_and(columns["autocontrast"] != 0, highest - lowest >= 1.0)
        return ops.where(is_stretched, stretched, images)


def _grey(images: Any) -> Any:
    """(batch, height, width, 1): brightness."""
    if images.shape[-1] == 1:
        return images
    return ops.sum(images * ops.convert_to_tensor(LUMA), axis=-1, keepdims=True)


def _smoothed(images: Any) -> Any:
    """Each pixel five times and its eight neighbours once, over 13; beyond the border the border goes on."""
    padded = ops.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="symmetric")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    box = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    return (box + 4 * images) / 13
