"""How large an image each network takes; asked before anything is decoded and before Keras is loaded."""

from __future__ import annotations

from sightline.catalog import MODELS
from sightline.errors import InvalidValue, pick


def check_size(name: str, height: int, width: int) -> None:
    """Refuse images that are too large for a network.

    Args:
        name: of the model.
        height: pixels.
        width: pixels.

    Raises:
        UnknownName: no model has that name.
        InvalidValue: a side is longer than the model takes.

    Example:
        >>> check_size("lenet5", 28, 28)
    """
    largest = pick(MODELS, name, kind="model").largest
    if max(height, width) > largest:
        raise InvalidValue(
            f"{name} takes images up to {largest} pixels a side; got {height}x{width}. "
            f"Set data.image_size={largest} or choose another model (`sightline models`)."
        )
