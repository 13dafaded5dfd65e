"""What augmentation a recipe means, part by part."""

from __future__ import annotations

from sightline.configuration.names import AUGMENTATION_PARTS, AUGMENTATION_POLICIES
from sightline.configuration.schema import AugmentationRecipe


def strengths_of(augmentation: AugmentationRecipe) -> dict[str, float | str]:
    """Every part's strength: what the recipe says, else what its policy says, else off.

    MixUp and CutMix are not among them: they change labels, and act on batches
    (`sightline.training.augmentation.mixing`).

    Args:
        augmentation: a resolved recipe section (its policy is not "auto").

    Returns:
        Part to strength, in the recipe's units; parts that are off are left out.

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
