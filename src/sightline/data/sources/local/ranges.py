"""What to do with an array of images that is not uint8, told from the range of its values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def range_advice(images: NDArray[Any]) -> str:
    """The range of an array and the expression that brings it to uint8, one sentence each.

    Args:
        images: of any type but uint8.

    Example:
        >>> range_advice(np.array([0.0, 0.5]))
        "It goes from 0 to 0.5. Convert it once: (images * 255).round().astype('uint8')."
        >>> range_advice(np.array([0, 4095], np.uint16)).partition(": ")[2]
        "(images >> 4).astype('uint8') if its pixels have 12 bits."
    """
    kind = images.dtype.kind
    if kind == "b":
        return "Convert it once: images.astype('uint8') * 255."
    if kind not in "iuf" or not images.size:
        return "Its pixels must be numbers."
    if kind == "f" and not np.isfinite(images).all():
        return "It holds values that are no numbers (NaN or infinite). Put those right first."
    low, high = images.min(), images.max()
    return f"It goes from {low:.6g} to {high:.6g}. Convert it once: {_expression(kind, float(low), float(high))}."


def _expression(kind: str, low: float, high: float) -> str:
    if kind == "f" and low >= 0 and high <= 1:
        return "(images * 255).round().astype('uint8')"
    if kind == "f" and low >= -1 and high <= 1:
        return "((images + 1) * 127.5).round().astype('uint8') if it was made to go from -1 to 1"
    if low >= 0 and high <= 255:
        return f"images{'.round()' if kind == 'f' else ''}.astype('uint8')"
    if kind in "iu" and low >= 0 and high < 2**16:
        bits = next(bits for bits in (10, 12, 14, 16) if high < 2**bits)
        return f"(images >> {bits - 8}).astype('uint8') if its pixels have {bits} bits"
    if kind == "f" and low < 0 and high < 20:
        return "undo what it was standardised with, images * deviation + mean, and then as from there"
    return "((images - low) * (255 / (high - low))).clip(0, 255).round().astype('uint8') with the range you need"
