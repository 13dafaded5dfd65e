"""Fashion-MNIST and CIFAR-10 through `keras.datasets`: its cache is honoured, its failures explained."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import DownloadFailed, SightlineError, pick
from sightline.system.backends import load_keras

# What to place by hand below the Keras folder when a download fails.
MANUAL_FILES: dict[str, str] = {
    "fashion-mnist": "the four files train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz "
    "and t10k-labels-idx1-ubyte.gz in {home}/datasets/fashion-mnist/",
    # Keras looks for the archive under a name of its own, and unpacks it at each load.
    "cifar10": "cifar-10-python.tar.gz as the file {home}/datasets/cifar-10-batches-py-target_archive",
}

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]


def keras_home() -> Path:
    """The folder in which Keras keeps what it downloaded: KERAS_HOME, or ~/.keras, or /tmp/.keras; it may not exist."""
    if chosen := os.environ.get("KERAS_HOME"):
        return Path(chosen)
    # As Keras has it, also for a user without a home.
    home = os.path.expanduser("~")  # noqa: PTH111  # Path's own raises where there is none
    return Path(home if os.access(home, os.W_OK) else "/tmp", ".keras")  # noqa: S108  # for the message alone


def read_keras_dataset(name: str) -> Arrays:
    """Load a data set that Keras knows, from its cache or by download.

    Returns:
        Train images (num_images, height, width, channels) uint8, train labels
        (num_images,) int64, test images and test labels likewise.
    """
    manual = pick(MANUAL_FILES, name, kind="Keras data set").format(home=keras_home())
    load_keras()
    try:
        # Keras prints a download bar of its own to stdout, which belongs to results.
        (train_images, train_labels), (test_images, test_labels) = _load_quietly(name)
    except SightlineError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DownloadFailed(
            f"{name} could not be loaded through keras.datasets ({reason}). Without a network, place {manual}; "
            f"if something damaged lies there, remove it first."
        ) from error
    return _images(train_images), _labels(train_labels), _images(test_images), _labels(test_labels)


def _load_quietly(name: str) -> Any:
    import contextlib
    import sys

    from keras import datasets

    module = datasets.fashion_mnist if name == "fashion-mnist" else datasets.cifar10
    with contextlib.redirect_stdout(sys.stderr):
        return module.load_data()


def _images(images: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(images if images.ndim == 4 else images[..., None], dtype=np.uint8)


def _labels(labels: NDArray[Any]) -> NDArray[np.int64]:
    return labels.reshape(-1).astype(np.int64)


def load_keras_for(source: Any, backend: str) -> None:
    """Import Keras before a source that Keras itself fetches is opened: it must be loaded on the backend that trains.

    Any other source needs no Keras, and none is imported.

    Raises:
        MissingPackage, InvalidValue: as `load_keras`.
    """
    if isinstance(source, str | Path) and str(source) in MANUAL_FILES:
        load_keras(backend)
