"""Random changes of training images; never part of the saved network."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from sightline.configuration.schema import AugmentationRecipe, strengths_of
from sightline.records import InputSpec
from sightline.training.augmentation.affine import RandomAffine
from sightline.training.augmentation.color import RandomBlur, RandomColor, ToPixels
from sightline.training.augmentation.randaugment import RandomOperations

# As in the paper on erasing; the smallest box it cuts is a fiftieth of the area.
ERASED_SHARE, SMALLEST_BOX = 0.5, 0.02
GREY_FILL = 127.0


def build_augmentation(augmentation: AugmentationRecipe, spec: InputSpec, *, seed: int) -> keras.Model | None:
    """The augmentation as a Keras model of its own, or None if nothing is on.

    MixUp and CutMix are not in it: they need labels (`sightline.training.augmentation.mixing`). A policy's own
    saturation and hue are dropped on grey input. What comes in at a border is black before a dark background, else the
    mirrored image.

    Returns:
        uint8 images (batch, height, width, channels) to floats that are whole, 0 to 255.
    """
    parts = _parts(strengths_of(augmentation), augmentation, spec, seed)
    if not parts:
        return None
    images = keras.Input(spec.shape, dtype="uint8", name="images")
    # Keras' contrast, where it comes first, cannot subtract a mean from whole numbers.
    tensor: Any = keras.ops.cast(images, "float32")
    for layer in parts:
        tensor = layer(tensor)
    return keras.Model(images, ToPixels()(tensor), name="augmentation")


def draw(augmentation: keras.Model, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images as the next draw of `build_augmentation`'s model shows them: uint8, as whole as it gives them."""
    drawn: NDArray[np.uint8] = keras.ops.convert_to_numpy(augmentation(images, training=True)).astype(np.uint8)
    return drawn


def _parts(
    strengths: dict[str, Any], augmentation: AugmentationRecipe, spec: InputSpec, seed: int
) -> list[layers.Layer]:
    """First what moves pixels, then what changes their values, last what takes them away; a seed for each."""
    parts: list[layers.Layer] = []
    affine = {
        "rotation": math.radians(strengths.get("rotation_degrees", 0.0)),
        "translation": strengths.get("translation_fraction", 0.0),
        "zoom": strengths.get("zoom_fraction", 0.0),
        "shear": math.radians(strengths.get("shear_degrees", 0.0)),
        "crop": strengths.get("crop_fraction", 0.0),
    }
    fill_mode = "constant" if spec.background == "dark" else "reflect"
    if any(affine.values()):
        parts.append(RandomAffine(affine, fill_mode=fill_mode, seed=seed, name="affine"))
    if "flip" in strengths:
        mode = "horizontal" if strengths["flip"] == "horizontal" else "horizontal_and_vertical"
        parts.append(layers.RandomFlip(mode, seed=seed + 1))
    if "randaugment_magnitude" in strengths:
        parts.append(
            RandomOperations(
                strengths["randaugment_magnitude"],
                operations=augmentation.randaugment_operations,
                fill_mode=fill_mode,
                seed=seed + 4,
            )
        )
    if "brightness" in strengths:
        parts.append(layers.RandomBrightness(strengths["brightness"], value_range=(0, 255), seed=seed + 2))
    if "contrast" in strengths:
        parts.append(layers.RandomContrast(strengths["contrast"], value_range=(0, 255), seed=seed + 3))
    return parts + _late_parts(strengths, spec, seed)


def _late_parts(strengths: dict[str, Any], spec: InputSpec, seed: int) -> list[layers.Layer]:
    parts: list[layers.Layer] = []
    saturation, hue = strengths.get("saturation", 0.0), strengths.get("hue", 0.0)
    if spec.channels == 3 and (saturation or hue):
        parts.append(RandomColor(saturation=saturation, hue=hue, seed=seed + 5))
    if "blur_sigma" in strengths:
        parts.append(RandomBlur(strengths["blur_sigma"], seed=seed + 6))
    if "erasing_fraction" in strengths:
        largest = strengths["erasing_fraction"]
        parts.append(
            layers.RandomErasing(
                # A range of one value: Keras reads a single number as "from 0 to it".
                (ERASED_SHARE, ERASED_SHARE),
                scale=(min(SMALLEST_BOX, largest), largest),
                # Noise over the whole image, Keras' default, costs more than all the rest.
                fill_value=0.0 if spec.background == "dark" else GREY_FILL,
                seed=seed + 7,
            )
        )
    return parts
