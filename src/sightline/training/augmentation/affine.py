"""Everything that moves pixels, in one warp."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import layers, ops


class RandomAffine(layers.Layer):  # type: ignore[misc]  # Keras carries no annotations
    """Rotation, translation, zoom, shear and crop in one warp, so that pixels are interpolated once.

    Keras' layers, one after the other, would blur once each and cost a warp each;
    this one hands `warp` the product of all.
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
        return warp(ops.cast(images, "float32"), matrices, fill_mode=self.fill_mode)

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
    """
    cosine, sine = turn
    x_by_x, x_by_y = cosine, tangent * cosine - sine
    y_by_x, y_by_y = sine, tangent * sine + cosine
    middle_x, middle_y = (size[1] - 1) / 2, (size[0] - 1) / 2
    offset_x = middle_x - x_by_x * middle_x - x_by_y * middle_y + shift[0]
    offset_y = middle_y - y_by_x * middle_x - y_by_y * middle_y + shift[1]
    zeros = ops.zeros_like(cosine)
    return ops.stack([x_by_x, x_by_y, offset_x, y_by_x, y_by_y, offset_y, zeros, zeros], axis=1)


def warp(images: Any, maps: Any, *, fill_mode: str) -> Any:
    """What `keras.ops.image.affine_transform` gives with bilinear interpolation, fast on every backend.

    Keras has a kernel for it on TensorFlow alone; on PyTorch it goes image by image, and there and on JAX it
    interpolates between channels, too (keras 3.15.1). Here PyTorch's own kernel does it, and on JAX four gathers.

    Args:
        images: (count, height, width, channels) float32.
        maps: (count, 8) as `inverse_maps` gives them.
        fill_mode: "constant" fills what lies outside with 0, "reflect" with the mirrored image.

    Returns:
        (count, height, width, channels) float32.
    """
    if keras.config.backend() == "tensorflow":
        return ops.image.affine_transform(images, maps, interpolation="bilinear", fill_mode=fill_mode)
    images, maps = ops.convert_to_tensor(images), ops.convert_to_tensor(maps)
    if keras.config.backend() == "torch":
        return _warp_in_torch(images, maps, fill_mode)
    return gathered(images, maps, fill_mode=fill_mode)


def gathered(images: Any, maps: Any, *, fill_mode: str) -> Any:
    """`warp` by four gathers, one for each neighbour of a position; what JAX gets."""
    count, (height, width, channels) = ops.shape(images)[0], images.shape[1:]
    x, y = _positions(maps, height, width)
    pixels = ops.reshape(images, (-1, channels))
    first = (ops.arange(count, dtype="int32") * (height * width))[:, None, None]
    warped: Any = 0.0
    for row, share_y in _neighbours(y, height, fill_mode):
        for column, share_x in _neighbours(x, width, fill_mode):
            picked = ops.take(pixels, first + row * width + column, axis=0)
            warped = warped + (share_y * share_x)[..., None] * picked
    return warped


def _positions(maps: Any, height: int, width: int) -> tuple[Any, Any]:
    """(count, height, width) each: x and y in the input of every pixel of the output."""
    row = ops.convert_to_tensor(np.arange(height, dtype=np.float32)[:, None])
    column = ops.convert_to_tensor(np.arange(width, dtype=np.float32))
    x_by_x, x_by_y, offset_x, y_by_x, y_by_y, offset_y = (maps[:, column][:, None, None] for column in range(6))
    return x_by_x * column + x_by_y * row + offset_x, y_by_x * column + y_by_y * row + offset_y


def _neighbours(positions: Any, side: int, fill_mode: str) -> list[tuple[Any, Any]]:
    """The two whole places about each position, moved inside, and what each counts."""
    lower = ops.floor(positions)
    share, pixel = positions - lower, ops.cast(lower, "int32")
    pairs = []
    for index, weight in ((pixel, 1 - share), (pixel + 1, share)):
        if fill_mode == "constant":
            is_inside = ops.logical_and(index >= 0, index < side)
            pairs.append((ops.clip(index, 0, side - 1), ops.where(is_inside, weight, 0.0)))
        else:
            # The mirrored image and the image in turn, the pixel at the border twice.
            turned = ops.mod(index, 2 * side)
            pairs.append((ops.minimum(turned, 2 * side - 1 - turned), weight))
    return pairs


def _warp_in_torch(images: Any, maps: Any, fill_mode: str) -> Any:
    from torch.nn.functional import grid_sample

    height, width = images.shape[1:3]
    x, y = _positions(maps, height, width)
    # PyTorch counts from -1 at the left edge of the first pixel to 1 at the right edge of the last.
    grid = ops.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], axis=-1)
    padding = "zeros" if fill_mode == "constant" else "reflection"
    sampled = grid_sample(images.permute(0, 3, 1, 2), grid, "bilinear", padding, align_corners=False)
    return sampled.permute(0, 2, 3, 1)
