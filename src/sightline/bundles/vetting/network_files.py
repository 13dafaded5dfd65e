"""Networks in Keras' format, opened; the one place where Keras reads a file that somebody may have sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import InvalidBundle
from sightline.system.text import printable


def open_network(path: Path) -> Any:
    """The network of a `.keras` file, without what it was compiled with."""
    import keras

    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InvalidBundle(f"{path}: Keras cannot open it ({printable(reason)[:200]}).") from error


def network_logits(path: Path, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the network of a `.keras` file answers, on the processor and in full precision, wherever it learned."""
    import keras

    # A GPU multiplies float32 in TF32, which has a thousandth of its digits; files are compared to all of them.
    with keras.device("cpu:0"):
        answers = open_network(path).predict(images, batch_size=500, verbose=0)
    return np.asarray(answers["logits"])
