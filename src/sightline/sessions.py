"""A bundle's network in ONNX Runtime, on the CPU."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import InvalidBundle, require
from sightline.progress import reporter
from sightline.results import Bundle
from sightline.workers import available_processors, in_order, num_workers

# Pixels of one portion: four images of 224x224. Larger ones leave the processor's cache and are slower an image.
PORTION_BYTES = 600 * 1024
MOST_IN_PORTION = 512


class Session:
    """A network loaded once: uint8 images in, logits out.

    One portion of images is spread over all processors. Many portions are worked off by one
    thread a processor, each on a portion of its own: nobody waits for anybody, which counts most
    where other work keeps the machine busy.
    """

    def __init__(self, path: Path, *, num_classes: int) -> None:
        """Load a `model.onnx`; raises InvalidBundle if ONNX Runtime refuses it, MissingPackage if there is none."""
        self._onnxruntime = require("onnxruntime", purpose="prediction", install="onnxruntime")
        if not path.is_file():
            raise InvalidBundle(f"{path}: ONNX Runtime cannot load it (no such file).")
        self.num_classes = num_classes
        self.path = path
        self._session = self._open(threads=0)
        self._alone: Any = None

    def _open(self, *, threads: int) -> Any:
        """The file in ONNX Runtime with so many threads for one portion; 0 for one a processor."""
        options = self._onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # By itself ONNX Runtime takes all processors of the machine, whatever this process was given of them.
        is_limited = available_processors() < (os.cpu_count() or 1)
        options.intra_op_num_threads = threads or (available_processors() if is_limited else 0)
        try:
            return self._onnxruntime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no class of their own
            reason = str(error).splitlines()[0]
            raise InvalidBundle(f"{self.path}: ONNX Runtime cannot load it ({reason}).") from error

    def outputs(self, images: NDArray[np.uint8], names: list[str]) -> list[NDArray[np.float32]]:
        """The outputs of these names for (num_images, height, width, channels) uint8, at once."""
        answer: list[NDArray[np.float32]] = self._session.run(names, {"images": np.ascontiguousarray(images)})
        return answer

    def portions(
        self, images: Any, names: list[str], *, change: Callable[[int, NDArray[np.uint8]], Any] | None = None
    ) -> Iterator[tuple[int, list[NDArray[np.float32]]]]:
        """The outputs for any number of images, portion by portion: first row and outputs, in order.

        `images` is a uint8 array or anything that gives one when it is sliced, as `Pixels` does. `change`
        is handed the first row and the images of a portion, and gives the images that are looked at.
        """
        size = int(np.clip(PORTION_BYTES // max(int(np.prod(images.shape[1:])), 1), 1, MOST_IN_PORTION))
        starts = range(0, len(images), size)
        workers = num_workers(len(starts))
        if self._alone is None and workers > 1:
            self._alone = self._open(threads=1)
        session = self._alone if workers > 1 else self._session

        def answer(first: int) -> list[NDArray[np.float32]]:
            part = images[first : first + size]
            seen = part if change is None else change(first, part)
            found: list[NDArray[np.float32]] = session.run(names, {"images": np.ascontiguousarray(seen)})
            return found

        yield from zip(starts, in_order(answer, starts, workers=workers), strict=True)

    def logits(self, images: Any, *, with_progress: bool = False) -> NDArray[np.float32]:
        """(num_images, height, width, channels) uint8 to (num_images, num_classes) float32, in bounded memory."""
        return self.collect(images, ["logits"], with_progress=with_progress)["logits"]

    def collect(
        self, images: Any, names: Sequence[str], *, with_progress: bool = False
    ) -> dict[str, NDArray[np.float32]]:
        """Outputs of these names, those that the network has, for any number of images."""
        shapes = self.output_shapes()
        known = [name for name in names if name in shapes]
        widths = {name: (self.num_classes,) if name == "logits" else map(int, shapes[name][1:]) for name in known}
        found = {name: np.empty((len(images), *width), dtype=np.float32) for name, width in widths.items()}
        with reporter().bar("predicting", total=len(images)) if with_progress else contextlib.nullcontext() as bar:
            for first, parts in self.portions(images, known):
                for name, part in zip(known, parts, strict=True):
                    found[name][first : first + len(part)] = part
                if bar is not None:
                    bar.advance(len(parts[0]))
        return found

    def output_shapes(self) -> dict[str, tuple[int | str, ...]]:
        """Name to shape of every output, the batch first; a word stands for what is not fixed."""
        return {output.name: tuple(output.shape) for output in self._session.get_outputs()}


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
