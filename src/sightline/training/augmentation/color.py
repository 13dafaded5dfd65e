"""Random changes of colour and sharpness, and the way back to whole pixels."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import layers, ops

# Red, green and blue to brightness and two differences of colour (YIQ, NTSC 1953).
TO_DIFFERENCES = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
FROM_DIFFERENCES = np.linalg.inv(TO_DIFFERENCES)
LUMA = TO_DIFFERENCES[0].astype(np.float32)


class RandomColor(layers.Layer):  # type: ignore[misc]  # Keras carries no annotations
    """Saturation and hue by one 3x3 matrix an image; brightness, and with it every grey, stays.

    Keras' RandomSaturation lets pixels out of 0 to 255 (seen: -732, keras 3.15.1), because it clips saturation as if it
    were a pixel; and with RandomHue it goes to HSV and back twice. `benchmarks/augmentation.py` times both.
    """

    def __init__(self, *, saturation: float, hue: float, seed: int, **options: Any) -> None:
        """`saturation`: largest share of change; `hue`: largest turn as a share of the colour circle."""
        super().__init__(dtype="float32", **options)
        self.saturation, self.hue = saturation, hue
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, images: Any, training: bool = False) -> Any:
        """(batch, height, width, 3) in 0 to 255, each changed by its own draw while training."""
        if not training:
            return images
        count, height, width = ops.shape(images)[0], images.shape[1], images.shape[2]
        flat = ops.reshape(ops.cast(images, "float32"), (count, height * width, 3))
        changed = ops.matmul(flat, ops.transpose(self._matrices(count), (0, 2, 1)))
        return ops.clip(ops.reshape(changed, (count, height, width, 3)), 0.0, 255.0)

    def _draw(self, count: Any, strength: float) -> Any:
        return keras.random.uniform((count,), -strength, strength, seed=self.seed_generator)

    def _matrices(self, count: Any) -> Any:
        """(count, 3, 3): from red, green, blue to red, green, blue."""
        strength = 1 + self._draw(count, self.saturation)
        angle = self._draw(count, 2 * math.pi * self.hue)
        cosine, sine = strength * ops.cos(angle), strength * ops.sin(angle)
        zeros, ones = ops.zeros_like(angle), ops.ones_like(angle)
        rows = [(ones, zeros, zeros), (zeros, cosine, -sine), (zeros, sine, cosine)]
        turn = ops.stack([ops.stack(row, axis=-1) for row in rows], axis=-2)
        there, back = TO_DIFFERENCES.astype(np.float32), FROM_DIFFERENCES.astype(np.float32)
        return ops.matmul(ops.convert_to_tensor(back), ops.matmul(turn, ops.convert_to_tensor(there)))


class RandomBlur(layers.Layer):  # type: ignore[misc]  # as above
    """A Gaussian blur whose width each image draws for itself.

    Keras' RandomGaussianBlur draws one width for a whole batch, at most 1 pixel, in a window of fixed size. Here each
    row of a (side, side) matrix holds the Gaussian about one pixel, scaled to sum 1, so that borders do not darken.
    """

    def __init__(self, sigma: float, *, seed: int, **options: Any) -> None:
        """`sigma`: the largest standard deviation, in pixels."""
        super().__init__(dtype="float32", **options)
        self.sigma = sigma
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, images: Any, training: bool = False) -> Any:
        """(batch, height, width, channels), each blurred by its own draw while training."""
        if not training:
            return images
        count = ops.shape(images)[0]
        height, width, channels = images.shape[1:]
        sigma = self._draw(count)
        flat = ops.reshape(ops.cast(images, "float32"), (count, height, width * channels))
        down = ops.reshape(ops.matmul(_gaussians(height, sigma), flat), (count, height, width, channels))
        # (count, height, channels, width): the last axis is the one that is summed over.
        across = ops.matmul(ops.transpose(down, (0, 1, 3, 2)), _gaussians(width, sigma, transposed=True)[:, None])
        return ops.transpose(across, (0, 1, 3, 2))

    def _draw(self, count: Any) -> Any:
        return keras.random.uniform((count,), 0.0, self.sigma, seed=self.seed_generator)


def _gaussians(side: int, sigma: Any, *, transposed: bool = False) -> Any:
    """(count, side, side): row by row what each pixel takes from the others."""
    distances = np.arange(side, dtype=np.float32)[:, None] - np.arange(side, dtype=np.float32)
    # A width of a thousandth leaves every pixel as it is, and zero would divide by zero.
    weights = ops.exp(-ops.convert_to_tensor(distances**2) / (2 * ops.maximum(sigma, 1e-3)[:, None, None] ** 2))
    # The distances are symmetric: columns are the same Gaussians as rows.
    return weights / ops.sum(weights, axis=1 if transposed else 2, keepdims=True)


class ToPixels(layers.Layer):  # type: ignore[misc]  # as above
    """Round and clip to whole numbers in 0 to 255: what the network gets is a picture again."""

    def call(self, images: Any) -> Any:
        """(batch, height, width, channels) of any real values to floats that are whole, 0 to 255."""
        return ops.round(ops.clip(ops.cast(images, "float32"), 0.0, 255.0))
