"""MixUp and CutMix: two images of a batch in one, and their labels with them.

The feed draws a plan for each batch and mixes the labels by it; the plan goes into the training network as a second
input, where the images are mixed by the same numbers, after each got its own augmentation. Keras' MixUp and CutMix
layers take images and labels together, which no layer of a network has; and Keras' CutMix shares labels by a box
before it is rounded to pixels.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from sightline.configuration.schema import Recipe

# A row of a plan: the partner's place in the batch, the own share of the blend, and the box that the partner fills.
PLAN_COLUMNS = ("partner", "own_share", "top", "bottom", "left", "right")


@dataclass(frozen=True)
class Mixing:
    """How the images of a run are mixed: all that a batch's plan depends on besides its rows.

    Attributes:
        mixup_alpha: of Beta(alpha, alpha), from which the own share of a blend is drawn; 0: no MixUp.
        cutmix_alpha: of Beta(alpha, alpha), from which the own share of the area is drawn; 0: no CutMix.
        height: pixels.
        width: pixels.
        seed: the same seed and rows give the same plan, in whatever thread it is drawn.
    """

    mixup_alpha: float
    cutmix_alpha: float
    height: int
    width: int
    seed: int

    def plan(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """What becomes of each image of a batch: (batch, 6) float32, columns as PLAN_COLUMNS.

        Source:
            MixUp: Zhang et al., arXiv 1710.09412; CutMix: Yun et al., arXiv 1905.04899, its boxes kept inside.
        """
        # No state: Keras looks at a first batch before it trains, and threads read ahead.
        draw = np.random.default_rng([self.seed, zlib.crc32(np.ascontiguousarray(rows).tobytes())])
        plan = np.zeros((len(rows), len(PLAN_COLUMNS)), np.float32)
        plan[:, 0], plan[:, 1] = draw.permutation(len(rows)), 1.0
        is_mixup = self.mixup_alpha > 0 and (self.cutmix_alpha == 0 or draw.random() < 0.5)
        if is_mixup:
            plan[:, 1] = draw.beta(self.mixup_alpha, self.mixup_alpha, len(rows))
            return plan
        side = np.sqrt(1 - draw.beta(self.cutmix_alpha, self.cutmix_alpha, len(rows)))
        for first, length in ((2, self.height), (4, self.width)):
            cut = np.rint(side * length).astype(np.int64)
            plan[:, first] = draw.integers(0, length - cut + 1)
            plan[:, first + 1] = plan[:, first] + cut
        return plan

    def mix(self, rows: NDArray[np.int64], arrays: list[NDArray[Any]]) -> tuple[NDArray[np.float32], ...]:
        """The plan of a batch, and its targets and weights mixed by it.

        What an image counts goes with its part of the label: a pixel of an image that counts twice counts twice.

        Args:
            rows: (batch,) of the arrays.
            arrays: one-hot targets (num_images, num_classes), and (num_images,) weights if there are any.

        Returns:
            The plan, targets that sum to 1, and the weights if there are any; float32.
        """
        plan = self.plan(rows)
        partners, share = rows[plan[:, 0].astype(np.int64)], self.own_share(plan)
        if len(arrays) == 1:
            own, other = share, 1 - share
            return plan, own[:, None] * arrays[0][rows] + other[:, None] * arrays[0][partners]
        own, other = share * arrays[1][rows], (1 - share) * arrays[1][partners]
        counts = own + other
        mixed = own[:, None] * arrays[0][rows] + other[:, None] * arrays[0][partners]
        return plan, mixed / counts[:, None], counts

    def own_share(self, plan: NDArray[np.float32]) -> NDArray[np.float32]:
        """The share of each mixed image that is still its own, (batch,) float32: of the blend, or of the pixels."""
        area = (plan[:, 3] - plan[:, 2]) * (plan[:, 5] - plan[:, 4]) / np.float32(self.height * self.width)
        share: NDArray[np.float32] = (plan[:, 1] * (1 - area)).astype(np.float32)
        return share


def mixing_of(recipe: Recipe, shape: tuple[int, ...]) -> Mixing | None:
    """How a resolved recipe mixes images of that shape; None where it asks for none."""
    mixup, cutmix = recipe.augmentation.mixup_alpha or 0.0, recipe.augmentation.cutmix_alpha or 0.0
    return Mixing(mixup, cutmix, shape[0], shape[1], recipe.seed) if mixup or cutmix else None


def unmixed(rows: NDArray[np.int64], arrays: list[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    """A plan that nobody reads, and the arrays as they are: what rows are fed with that only judge."""
    return (np.zeros((len(rows), len(PLAN_COLUMNS)), np.float32), *(array[rows] for array in arrays))


class MixImages(layers.Layer):  # type: ignore[misc]  # Keras carries no annotations
    """Mix the images of a batch by a plan while training; hand them on otherwise."""

    def __init__(self, **options: Any) -> None:
        """float32, whatever the network computes in: a place in a batch must not be rounded."""
        super().__init__(dtype="float32", **options)

    def call(self, images: Any, plan: Any, training: bool = False) -> Any:
        """(batch, height, width, channels) in 0 to 255 and (batch, 6) to mixed images."""
        images = ops.cast(images, "float32")
        if not training:
            return images
        others = ops.take(images, ops.cast(plan[:, 0], "int32"), axis=0)
        share, top, bottom, left, right = (plan[:, column][:, None, None, None] for column in range(1, 6))
        row = ops.convert_to_tensor(np.arange(images.shape[1], dtype=np.float32)[:, None, None])
        column = ops.convert_to_tensor(np.arange(images.shape[2], dtype=np.float32)[:, None])
        in_box = (row >= top) & (row < bottom) & (column >= left) & (column < right)
        return ops.where(in_box, others, share * images + (1 - share) * others)
