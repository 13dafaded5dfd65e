"""Batch statistics of a pretrained backbone, taken in part from images that are quite unlike those it comes from."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

# Of the standard deviations of the features, over images, the middle one: 0.1 to 1 for photographs, small ones,
# silhouettes and grey hands, 0.002 for woven textures with faults.
HARDLY = 0.02
# How much is taken of what the images say. By all of it, features of textures told less than by 0.6 and 0.8.
SHARE = 0.6
BATCH_SIZE, MOST_IMAGES = 32, 1024


def hardly_vary(features: NDArray[Any]) -> bool:
    """Whether a backbone gives nearly the same for all images: (num_images, num_features)."""
    return bool(np.median(np.asarray(features, np.float32).std(axis=0)) < HARDLY)


def adapt_statistics(network: keras.Model, images: Any, *, seed: int) -> bool:
    """Move the batch statistics of a network towards those of some images, in place.

    Each layer sees what the ones below give where they normalise each batch by itself, as they did while they learned.

    Args:
        network: uint8 images to logits.
        images: (num_images, height, width, channels) uint8, stored or in memory; up to `MOST_IMAGES` are drawn.
        seed: by which they are drawn.

    Returns:
        False, and nothing is changed, where the network has no such layer, or there is no batch of images.

    Source:
        Li et al., Revisiting batch normalization for practical domain adaptation, arXiv 1603.04779; in part:
        Schneider et al., arXiv 2006.16971.
    """
    normalising = [layer for layer in network.layers if isinstance(layer, layers.BatchNormalization)]
    order = np.random.default_rng(seed).permutation(len(images))[:MOST_IMAGES]
    num_batches = len(order) // BATCH_SIZE
    if not normalising or not num_batches:
        return False
    usual = [(layer.trainable, layer.momentum) for layer in normalising]
    before = [_statistics(layer) for layer in normalising]
    for number in range(num_batches):
        for layer in normalising:
            # So the averages are those of all batches alike.
            layer.trainable, layer.momentum = True, number / (number + 1)
        batch = np.asarray(images[np.sort(order[number * BATCH_SIZE : (number + 1) * BATCH_SIZE])])
        network(batch, training=True)
    for layer, old, (is_trainable, momentum) in zip(normalising, before, usual, strict=True):
        for variable, was, new in zip((layer.moving_mean, layer.moving_variance), old, _statistics(layer), strict=True):
            variable.assign((1 - SHARE) * was + SHARE * new)
        layer.trainable, layer.momentum = is_trainable, momentum
    return True


def _statistics(layer: layers.BatchNormalization) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    mean, variance = (
        np.array(ops.convert_to_numpy(variable)) for variable in (layer.moving_mean, layer.moving_variance)
    )
    return mean, variance
