"""What augmentation a recipe means, part by part, and where that may change what an image shows. Imports no Keras."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from sightline.configuration.names import AUGMENTATION_PARTS, AUGMENTATION_POLICIES, SOURCES
from sightline.configuration.schema import AugmentationRecipe
from sightline.records import Dataset
from sightline.system.progress import reporter
from sightline.system.text import printable
from sightline.training.setup.mirrors import Axis, named_mirrors

# Beyond it a 6 may be read as a 9, an N as a Z.
SAFE_ROTATION = 45.0
LETTER_OR_DIGIT = re.compile(r"[A-Za-z0-9]")


def strengths_of(augmentation: AugmentationRecipe) -> dict[str, float | str]:
    """Every part's strength: what the recipe says, else what its policy says, else off.

    MixUp and CutMix are not among them: they change labels, and act on batches
    (`sightline.training.augmentation.mixing`).

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
    for part in AUGMENTATION_PARTS:
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
    turned = float(strengths.get("rotation_degrees", 0.0))
    doubtful: dict[str, str] = {}
    if "flip" in strengths:
        doubtful["flips"] = "augmentation.flip=none"
    if turned > SAFE_ROTATION:
        doubtful[f"rotations by up to {turned:g} degrees"] = f"augmentation.rotation_degrees={SAFE_ROTATION:g} or less"
    # What is turned upside down is turned left to right, too.
    is_upside_down = strengths.get("flip") == "both" or turned > SAFE_ROTATION
    reason = sides_of(dataset, ("horizontal", "vertical") if is_upside_down else ("horizontal",)) or _letters_or_digits(
        dataset
    )
    if not doubtful or not reason:
        return ""
    return (
        f"augmentation may change the label: {' and '.join(doubtful)} on {reason}. If that makes one class look like "
        f"another, set {' and '.join(doubtful.values())}."
    )


def sides_of(dataset: Dataset, axes: Sequence[Axis] = ("horizontal",)) -> str:
    """By what two classes are told apart that are mirror images of one another; "" if no name says so."""
    pairs = [pair for axis in axes if (pair := named_mirrors(dataset.class_names, axis))]
    if not pairs:
        return ""
    first, second = (printable(name) for name in pairs[0])
    return f"'{dataset.name}', whose classes '{first}' and '{second}' are told apart by a side"


def settle_flips(augmentation: AugmentationRecipe, dataset: Dataset) -> AugmentationRecipe:
    """The same without the flips of its policy where class names speak of sides; what was asked for stays."""
    if augmentation.flip is None and "flip" in strengths_of(augmentation) and sides_of(dataset):
        return dataclasses.replace(augmentation, flip="none")
    return augmentation


def warn_of_labels(augmentation: AugmentationRecipe, dataset: Dataset, *, asked: AugmentationRecipe) -> None:
    """Print `label_risk` as a warning, if there is one, or that a policy's flips were left out.

    Args:
        augmentation: a resolved recipe section.
        dataset: what it will change.
        asked: the section before it was resolved.

    Example:
        >>> import sightline
        >>> digits = AugmentationRecipe(policy="digits")
        >>> warn_of_labels(digits, sightline.load("mnist"), asked=digits)
    """
    risk = label_risk(augmentation, dataset)
    if risk:
        reporter().say(f"warning: {risk}")
    if asked.flip is None and augmentation.flip == "none":
        say_unmirrored(sides_of(dataset))


def say_unmirrored(reason: str) -> None:
    """Print that the flips of a policy are left out, and how to have them all the same."""
    reporter().say(
        f"note: images are not mirrored (augmentation.flip=none), because of {reason}. "
        "To mirror them all the same: --set augmentation.flip=horizontal"
    )


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
