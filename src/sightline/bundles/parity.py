"""`parity.npz`: a few network inputs with their logits, by which a bundle is verified where its images are not."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.sessions import Session
from sightline.errors import InvalidBundle, TrainingFailed
from sightline.records import Bundle, InputSpec
from sightline.system.files import write_arrays
from sightline.system.stored import read_arrays
from sightline.tasks.single_label import SINGLE_LABEL
from sightline.tasks.task import Task

# The largest difference in a probability between Keras and ONNX Runtime that is put down to rounding.
LARGEST_DIFFERENCE = 1e-4

FILE = "parity.npz"
MOST_IMAGES, MOST_BYTES = 32, 2_000_000
# One image of the largest side, or the logits of the most classes.
MOST_READ_BYTES = 2**26


def num_parity_images(spec: InputSpec) -> int:
    """How many inputs are kept: 32, or fewer that stay within 2 MB together, but one at least."""
    return int(np.clip(MOST_BYTES // int(np.prod(spec.shape)), 1, MOST_IMAGES))


def made_images(spec: InputSpec) -> NDArray[np.uint8]:
    """Images that show nothing, the same each time: gradients, and squares of random colours.

    Returns:
        (num_images, height, width, channels) uint8.
    """
    draw = np.random.default_rng(0)
    rows, columns = np.ogrid[0 : spec.height, 0 : spec.width]
    images = []
    for number in range(num_parity_images(spec)):
        if number % 2:
            first, second = draw.integers(0, 256, (2, spec.channels))
            share = draw.integers(0, 101) / 100
            way = share * rows / max(spec.height - 1, 1) + (1 - share) * columns / max(spec.width - 1, 1)
            image = first + way[:, :, None] * (second - first)
        else:
            squares = draw.integers(0, 256, (8, 8, spec.channels))
            image = squares[rows * 8 // spec.height, columns * 8 // spec.width]
        images.append(image.astype(np.uint8))
    return np.stack(images)


def write_parity(folder: Path, session: Session, images: NDArray[np.uint8], *, are_made: bool) -> None:
    """Write `parity.npz` into a bundle: `images`, their `logits`, and `kind`, "photographs" or "made"."""
    kind = np.array("made" if are_made else "photographs")
    write_arrays(folder / FILE, images=images, logits=session.logits(images), kind=kind)


def parity_section(num_images: int, *, are_made: bool) -> str:
    """What the card says of it: whether pictures travel with the bundle."""
    what = (
        "made ones, gradients and squares of random colours; no picture of the data is in the bundle"
        if are_made
        else "pictures of the data, as the network is fed them: who gets the bundle can see them. "
        "`--no-parity-images` keeps made ones instead"
    )
    said = f"`parity.npz` holds {num_images} images with their logits, to verify the bundle: {what}."
    return f"\n## Images inside\n\n{said}\n"


def read_parity(bundle: Bundle) -> tuple[NDArray[np.uint8], NDArray[np.float32]] | None:
    """What a bundle keeps to be verified by; None where it keeps nothing, as those of the first version.

    Returns:
        (num_images, height, width, channels) uint8, at least one, and their (num_images, num_classes) logits.

    Raises:
        InvalidBundle: they do not fit the bundle.
    """
    if "parity" not in bundle.capabilities:
        return None
    path = bundle.path / FILE
    try:
        arrays = read_arrays(path, names=("images", "logits"), most_bytes=MOST_READ_BYTES)
    except (OSError, ValueError) as error:
        raise InvalidBundle(f"{path}: cannot be read ({error}).") from error
    images, logits = arrays["images"], arrays["logits"]
    fits = images.dtype == np.uint8 and images.shape[1:] == bundle.input.shape and len(images) > 0
    if not fits or logits.dtype != np.float32 or logits.shape != (len(images), len(bundle.class_names)):
        raise InvalidBundle(f"{path}: holds other images or logits than its bundle says. Make the bundle again.")
    return images, logits


def largest_difference(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """The largest difference of two arrays of probabilities; NaN where one of them holds no number."""
    return float(np.abs(first - second).max())


def check_difference(first: NDArray[np.float32], second: NDArray[np.float32], task: Task = SINGLE_LABEL) -> float:
    """The largest difference in a probability of two sets of logits, (num_images, num_classes) each; in [0, 1e-4].

    Raises:
        TrainingFailed: it is more, or not a number.
    """
    finite = bool(np.isfinite(first).all() and np.isfinite(second).all())
    difference = largest_difference(task.probabilities(first), task.probabilities(second)) if finite else math.nan
    if not difference <= LARGEST_DIFFERENCE:
        raise TrainingFailed(
            f"model.onnx and model.keras differ by {difference:g} in a probability; {LARGEST_DIFFERENCE:g} is allowed. "
            "The bundle was refused. Other versions of the exporter may help: see `sightline doctor`."
        )
    return difference
