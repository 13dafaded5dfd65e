"""Where the backbone inside the package lies: a bundle that is opened by name, its bytes verified.

Its `model.onnx` takes `images`, uint8 (batch, height, width, 3) with sides of 32 pixels and more, and
gives `logits` (batch, 1000), `features` (batch, 1280), which are the mean over positions, and `middle`
(batch, rows, columns, 112), where the upper part of the network begins.
"""

from __future__ import annotations

from pathlib import Path

EMBEDDED = "imagenet"
FOLDER = Path(__file__).resolve().parent / "imagenet"
