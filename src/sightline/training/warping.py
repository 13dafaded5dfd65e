"""Everything that moves pixels, in one warp."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import layers, ops


class RandomAffine(layers.Layer):  # type: ignore[misc]  # Keras carries no annotations
    """Rotation, translation, zoom, shear and crop in one warp, so that pixels are interpolated once.

    Keras' layers, one after the other, would blur once each and cost a warp each;
    this one hands Keras' own `affine_transform` the product of all.
    Input and output are (batch, height, width, channels) in 0 to 255.
    """

    def __init__(self, strengths: dict[str, float], *, fill_mode: str, seed: int, **options: Any) -> None:
        """`strengths` holds radians for rotation and shear, shares of the side or scale for the others."""
        super().__init__(**options)
        self.strengths = strengths
        self.fill_mode = fill_mode
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, images: Any, training: bool = False) -> Any:
        """Warp each image by its own draw while training; otherwise hand the images on."""
        if not training:
            return images
        height, width = images.shape[1], images.shape[2]
        matrices = self._matrices(ops.shape(images)[0], height, width)
        return ops.image.affine_transform(
            ops.cast(images, "float32"), matrices, interpolation="bilinear", fill_mode=self.fill_mode
        )

    def _draw(self, count: Any, strength: float) -> Any:
        return keras.random.uniform((count,), -strength, strength, seed=self.seed_generator)

    def _matrices(self, count: Any, height: int, width: int) -> Any:
        """(count, 8) rows of the inverse maps, from output to input positions, about the middle."""
        angle = self._draw(count, self.strengths["rotation"])
        slant = self._draw(count, self.strengths["shear"])
        # Both directions of a zoom are equally likely on the scale of ratios.
        zoom = ops.exp(self._draw(count, math.log1p(self.strengths["zoom"])))
        shift_x = self._draw(count, self.strengths["translation"] * width)
        shift_y = self._draw(count, self.strengths["translation"] * height)
        crop = self.strengths.get("crop", 0.0)
        if crop:
            # A part of the side, then where its middle is: as far from the image's as keeps the part inside.
            side = 1 - crop / 2 + self._draw(count, crop / 2)
            zoom = zoom * side
            shift_x = shift_x + self._draw(count, 0.5) * (1 - side) * width
            shift_y = shift_y + self._draw(count, 0.5) * (1 - side) * height
        return inverse_maps(
            ops.tan(slant), (ops.cos(angle) * zoom, ops.sin(angle) * zoom), (shift_x, shift_y), (height, width)
        )


def inverse_maps(tangent: Any, turn: tuple[Any, Any], shift: tuple[Any, Any], size: tuple[int, int]) -> Any:
    """Matrices from output to input positions: shear, then turn and zoom about the middle, then shift.

    Args:
        tangent: (count,) of the angle by which images are slanted.
        turn: (count,) zoom times cosine, and (count,) zoom times sine.
        shift: (count,) pixels in x, and (count,) in y.
        size: height and width.

    Returns:
        (count, 8), as `keras.ops.image.affine_transform` takes them.

    Raises:
        Nothing.

    Example:
        >>> one, none = ops.ones((1,)), ops.zeros((1,))
        >>> [float(value) for value in inverse_maps(none, (one, none), (2 * one, none), (8, 8))[0]]
        [1.0, 0.0, 2.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    """
    cosine, sine = turn
    x_by_x, x_by_y = cosine, tangent * cosine - sine
    y_by_x, y_by_y = sine, tangent * sine + cosine
    middle_x, middle_y = (size[1] - 1) / 2, (size[0] - 1) / 2
    offset_x = middle_x - x_by_x * middle_x - x_by_y * middle_y + shift[0]
    offset_y = middle_y - y_by_x * middle_x - y_by_y * middle_y + shift[1]
    zeros = ops.zeros_like(cosine)
    return ops.stack([x_by_x, x_by_y, offset_x, y_by_x, y_by_y, offset_y, zeros, zeros], axis=1)
