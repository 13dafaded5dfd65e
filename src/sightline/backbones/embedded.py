"""Where the backbone inside the package lies."""

from __future__ import annotations

from pathlib import Path

EMBEDDED = "imagenet"
FOLDER = Path(__file__).resolve().parent / "imagenet"


def embedded_onnx() -> Path:
    """The ONNX file: `images`, uint8 (batch, height, width, 3), to `logits`, `features` and `middle`.

    `features` are (batch, 1280), the mean over positions; `middle` is (batch, rows, columns, 112),
    where the upper part of the network begins. Sides of 32 pixels and more are taken.

    Returns:
        Its path.

    Raises:
        Nothing; who opens it through `sightline.bundle.load_bundle("imagenet")` gets its bytes verified.

    Example:
        >>> embedded_onnx().name
        'model.onnx'
    """
    return FOLDER / "model.onnx"
