"""Random changes of training images, made of Keras' layers; never part of the saved network."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import layers, ops

from sightline.catalog import AUGMENTATION_POLICIES
from sightline.records import InputSpec
from sightline.schema import AugmentationRecipe


class RandomAffine(layers.Layer):  # type: ignore[misc]  # Keras carries no annotations
    """Rotation, translation, zoom and shear in one warp, so that pixels are interpolated once.

    Keras' four layers, one after the other, would blur four times and cost four
    warps; this one hands Keras' own `affine_transform` the product of the four.
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
        cosine, sine = ops.cos(angle) * zoom, ops.sin(angle) * zoom
        x_by_x, x_by_y = cosine, ops.tan(slant) * cosine - sine
        y_by_x, y_by_y = sine, ops.tan(slant) * sine + cosine
        middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
        offset_x = middle_x - x_by_x * middle_x - x_by_y * middle_y + shift_x
        offset_y = middle_y - y_by_x * middle_x - y_by_y * middle_y + shift_y
        zeros = ops.zeros_like(angle)
        return ops.stack([x_by_x, x_by_y, offset_x, y_by_x, y_by_y, offset_y, zeros, zeros], axis=1)


class ToPixels(layers.Layer):  # type: ignore[misc]  # as above
    """Round and clip to whole numbers in 0 to 255: what the network gets is a picture again."""

    def call(self, images: Any) -> Any:
        """(batch, height, width, channels) of any real values to floats that are whole, 0 to 255."""
        return ops.round(ops.clip(ops.cast(images, "float32"), 0.0, 255.0))


def strengths_of(augmentation: AugmentationRecipe) -> dict[str, float | str]:
    """Every part's strength: what the recipe says, else what its policy says, else off.

    Args:
        augmentation: a resolved recipe section (its policy is not "auto").

    Returns:
        Part to strength, in the recipe's units; parts that are off are left out.

    Raises:
        Nothing.

    Example:
        >>> strengths_of(AugmentationRecipe(policy="digits", rotation_degrees=5.0))["rotation_degrees"]
        5.0
    """
    policy = AUGMENTATION_POLICIES[augmentation.policy]
    merged: dict[str, float | str] = {}
    for part in (
        "rotation_degrees",
        "translation_fraction",
        "zoom_fraction",
        "shear_degrees",
        "flip",
        "brightness",
        "contrast",
    ):
        own = getattr(augmentation, part)
        strength = policy.get(part) if own is None else own
        if strength not in (None, 0, "none"):
            merged[part] = strength
    return merged


def build_augmentation(augmentation: AugmentationRecipe, spec: InputSpec, *, seed: int) -> keras.Model | None:
    """The augmentation as a Keras model of its own, or None if nothing is on.

    Args:
        augmentation: the recipe's section, resolved.
        spec: the network's input; a dark background is filled with black, any other by reflection.
        seed: of every draw.

    Returns:
        uint8 images (batch, height, width, channels) to floats that are whole, 0 to 255.

    Raises:
        Nothing.

    Example:
        >>> spec = InputSpec(28, 28, "grey")
        >>> build_augmentation(AugmentationRecipe(policy="none"), spec, seed=0) is None
        True
    """
    strengths = strengths_of(augmentation)
    if not strengths:
        return None
    images = keras.Input(spec.shape, dtype="uint8", name="images")
    tensor: Any = images
    for layer in _parts(strengths, spec, seed):
        tensor = layer(tensor)
    return keras.Model(images, ToPixels()(tensor), name="augmentation")


def _parts(strengths: dict[str, Any], spec: InputSpec, seed: int) -> list[layers.Layer]:
    parts: list[layers.Layer] = []
    affine = {
        "rotation": math.radians(strengths.get("rotation_degrees", 0.0)),
        "translation": strengths.get("translation_fraction", 0.0),
        "zoom": strengths.get("zoom_fraction", 0.0),
        "shear": math.radians(strengths.get("shear_degrees", 0.0)),
    }
    if any(affine.values()):
        fill_mode = "constant" if spec.background == "dark" else "reflect"
        parts.append(RandomAffine(affine, fill_mode=fill_mode, seed=seed, name="affine"))
    if "flip" in strengths:
        mode = "horizontal" if strengths["flip"] == "horizontal" else "horizontal_and_vertical"
        parts.append(layers.RandomFlip(mode, seed=seed + 1))
    if "brightness" in strengths:
        parts.append(layers.RandomBrightness(strengths["brightness"], value_range=(0, 255), seed=seed + 2))
    if "contrast" in strengths:
        parts.append(layers.RandomContrast(strengths["contrast"], value_range=(0, 255), seed=seed + 3))
    return parts
