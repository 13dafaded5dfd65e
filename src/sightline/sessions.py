"""A bundle's network in ONNX Runtime, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import InvalidBundle, require
from sightline.progress import reporter
from sightline.results import Bundle

# Pixels of one portion, so that the activations of a large network stay within some hundred MiB.
PORTION_BYTES = 4 * 1024 * 1024


class Session:
    """A network loaded once: uint8 images in, logits out."""

    def __init__(self, path: Path, *, num_classes: int) -> None:
        """Load a `model.onnx`; raises InvalidBundle if ONNX Runtime refuses it, MissingPackage if there is none."""
        onnxruntime = require("onnxruntime", purpose="prediction", install="onnxruntime")
        if not path.is_file():
            raise InvalidBundle(f"{path}: ONNX Runtime cannot load it (no such file).")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.num_classes = num_classes
        self.path = path
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no class of their own
            raise InvalidBundle(f"{path}: ONNX Runtime cannot load it ({str(error).splitlines()[0]}).") from error

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(num_images, height, width, channels) uint8 to (num_images, num_classes) float32, at once."""
        return self.outputs(images, ["logits"])[0]

    def outputs(self, images: NDArray[np.uint8], names: list[str]) -> list[NDArray[np.float32]]:
        """The outputs of these names for (num_images, height, width, channels) uint8, at once."""
        answer: list[NDArray[np.float32]] = self._session.run(names, {"images": np.ascontiguousarray(images)})
        return answer

    def output_shapes(self) -> dict[str, tuple[int | str, ...]]:
        """Name to shape of every output, the batch first; a word stands for what is not fixed."""
        return {output.name: tuple(output.shape) for output in self._session.get_outputs()}

    def all_logits(self, images: Any) -> NDArray[np.float32]:
        """The same for any number of images, in portions that bound the memory, with progress.

        `images` is a uint8 array or anything that gives one when it is sliced, as `Pixels` does.
        """
        logits = np.empty((len(images), self.num_classes), dtype=np.float32)
        portion = int(np.clip(PORTION_BYTES // max(int(np.prod(images.shape[1:])), 1), 1, 512))
        with reporter().bar("predicting", total=len(images)) as bar:
            for first in range(0, len(images), portion):
                part = images[first : first + portion]
                logits[first : first + len(part)] = self.logits(part)
                bar.advance(len(part))
        return logits


def open_session(bundle: Bundle) -> Session:
    """The network of an opened bundle.

    Args:
        bundle: from `sightline.bundle.load_bundle`.

    Returns:
        The session.

    Raises:
        InvalidBundle: ONNX Runtime cannot load the network.
        MissingPackage: ONNX Runtime is not installed.

    Example:
        >>> Session(Path("nowhere.onnx"), num_classes=2)
        Traceback (most recent call last):
        sightline.errors.InvalidBundle: nowhere.onnx: ONNX Runtime cannot load it (no such file).
    """
    return Session(bundle.path / "model.onnx", num_classes=len(bundle.class_names))
