"""How large an image each network takes; asked before anything is decoded and before Keras is loaded."""

from __future__ import annotations

from sightline.architectures import MODELS
from sightline.errors import InvalidValue, pick


def check_size(name: str, height: int, width: int) -> None:
    """Refuse images that are too large, or for a pretrained network too small.

    Args:
        name: of the model.
        height: pixels.
        width: pixels.

    Raises:
        UnknownName: no model has that name.
        InvalidValue: a side is longer or shorter than the model takes.

    Example:
        >>> check_size("lenet5", 28, 28)
    """
    entry = pick(MODELS, name, kind="model")
    largest = entry.largest
    if entry.backbone is not None and min(height, width) < entry.smallest:
        raise InvalidValue(
            f"{name} takes images from {entry.smallest} pixels a side; got {height}x{width}. "
            f"Leave data.image_size at auto, which is {entry.backbone.image_size}, and they are enlarged."
        )
    if max(height, width) > largest:
        raise InvalidValue(
            f"{name} takes images up to {largest} pixels a side; got {height}x{width}. "
            f"Set data.image_size={largest} or choose another model (`sightline models`)."
        )
