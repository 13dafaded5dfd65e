"""What augmentation a recipe means, part by part, and where that may change what an image shows. Imports no Keras."""

from __future__ import annotations

import re
from typing import Any

from sightline.catalog import AUGMENTATION_POLICIES, SOURCES
from sightline.progress import reporter
from sightline.records import Dataset
from sightline.schema import AugmentationRecipe

PARTS = (
    "rotation_degrees",
    "translation_fraction",
    "zoom_fraction",
    "shear_degrees",
    "crop_fraction",
    "flip",
    "brightness",
    "contrast",
    "saturation",
    "hue",
    "erasing_fraction",
    "blur_sigma",
    "randaugment_magnitude",
)
# Beyond it a 6 may be read as a 9, an N as a Z.
SAFE_ROTATION = 45.0
LETTER_OR_DIGIT = re.compile(r"[A-Za-z0-9]")


def strengths_of(augmentation: AugmentationRecipe) -> dict[str, float | str]:
    """Every part's strength: what the recipe says, else what its policy says, else off.

    MixUp and CutMix are not among them: they change labels, and act on batches (`sightline.training.mixing`).

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
    for part in PARTS:
        own = getattr(augmentation, part)
        strength = policy.get(part) if own is None else own
        if strength not in (None, 0, "none"):
            merged[part] = strength
    return merged


def label_risk(augmentation: AugmentationRecipe, dataset: Dataset) -> str:
    """What an augmentation may do to the labels of a dataset, in a sentence.

    A mirrored b is a d and a turned 6 a 9. Sources that the catalog marks show letters or digits, and so may any
    whose class names mostly are single letters or digits.

    Args:
        augmentation: a resolved recipe section.
        dataset: whose name and class names are looked at.

    Returns:
        The sentence, or "" where nothing speaks against the augmentation.

    Raises:
        Nothing.

    Example:
        >>> import sightline
        >>> label_risk(AugmentationRecipe(flip="horizontal"), sightline.load("mnist"))[:41]
        'augmentation may change the label: flips '
        >>> label_risk(AugmentationRecipe(policy="digits"), sightline.load("mnist"))
        ''
    """
    strengths = strengths_of(augmentation)
    doubtful: dict[str, Any] = {}
    if "flip" in strengths:
        doubtful["flips"] = "augmentation.flip=none"
    if float(strengths.get("rotation_degrees", 0.0)) > SAFE_ROTATION:
        turned = f"rotations by up to {strengths['rotation_degrees']:g} degrees"
        doubtful[turned] = f"augmentation.rotation_degrees={SAFE_ROTATION:g} or less"
    reason = _letters_or_digits(dataset)
    if not doubtful or not reason:
        return ""
    return (
        f"augmentation may change the label: {' and '.join(doubtful)} on {reason}. If that makes one class look like "
        f"another, set {' and '.join(doubtful.values())}."
    )


def warn_of_labels(augmentation: AugmentationRecipe, dataset: Dataset) -> None:
    """Print `label_risk` as a warning, if there is one.

    Args:
        augmentation: a resolved recipe section.
        dataset: what it will change.

    Raises:
        Nothing.

    Example:
        >>> import sightline
        >>> warn_of_labels(AugmentationRecipe(policy="digits"), sightline.load("mnist"))
    """
    risk = label_risk(augmentation, dataset)
    if risk:
        reporter().say(f"warning: {risk}")


def _letters_or_digits(dataset: Dataset) -> str:
    """Why the images may show letters or digits; "" if nothing says so."""
    if dataset.name in SOURCES:
        entry = SOURCES[dataset.name]
        return f"'{dataset.name}', {entry.content}" if entry.letters_or_digits else ""
    single = [name for name in dataset.class_names if LETTER_OR_DIGIT.fullmatch(name)]
    # One more class, such as "other", does not make letters safe.
    if 2 * len(single) <= len(dataset.class_names):
        return ""
    return f"'{dataset.name}', whose classes look like letters or digits ({', '.join(single[:3])}, ...)"
