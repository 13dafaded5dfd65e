"""A network of others, opened by its own runtime, and what is asked of it before it is taken for a classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.parity import LARGEST_DIFFERENCE, largest_difference
from sightline.bundles.sessions import Session
from sightline.deployment.adoption.preparation import Preparation
from sightline.errors import ExportRefused, InvalidBundle, InvalidValue
from sightline.tasks.single_label import SINGLE_LABEL

# How far the probabilities of an image may be from one in all.
_FROM_ONE = 1e-3
_ALONE = 3
_PORTION = 64


@dataclass(frozen=True, eq=False)
class ForeignNetwork:
    """A network of others.

    Attributes:
        path: of its file, for messages.
        graph: the same network as an ONNX graph: the file itself, or what was written of it.
        given: what the graph calls the images that it takes.
        answer: what it calls its answer.
        shape: of what it takes, the batch first; a word stands for a side that is not fixed.
        answers: what its own runtime says of prepared images, (num_images, num_classes).
        runtime: which one, with its version.
        kind: what the file is, in a word or two.
        known: what is said of such files where their users say nothing, as `prepare` takes it.
        remarks: what was changed so that it could be opened.
    """

    path: Path
    graph: Path
    given: str
    answer: str
    shape: tuple[int | str, ...]
    answers: Callable[[NDArray[np.float32]], NDArray[Any]]
    runtime: str
    kind: str
    known: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def checked_answers(
    network: ForeignNetwork, preparation: Preparation, images: NDArray[np.uint8], num_classes: int
) -> NDArray[np.float32]:
    """What the network says of images, (num_images, num_classes): finite, whatever stands beside an image."""
    portions = [images[first : first + _PORTION] for first in range(0, len(images), _PORTION)]
    parts = [np.asarray(network.answers(preparation(portion))) for portion in portions]
    fits = all(part.shape[1:] == parts[0].shape[1:] for part in parts)
    answers = np.concatenate(parts) if fits and parts[0].ndim else parts[0]
    if answers.dtype != np.float32 or answers.shape != (len(images), num_classes):
        raise InvalidValue(_why_no_answers(network, answers, len(images), num_classes))
    if not np.isfinite(answers).all():
        raise InvalidValue(
            f"{network.path}: answers images with something else than finite numbers; look at its scaling."
        )
    for row in range(min(_ALONE, len(images))):
        alone = np.asarray(network.answers(preparation(images[row : row + 1])))[0]
        # Logits grow with the network; what is compared grows with them.
        if np.abs(alone - answers[row]).max() > LARGEST_DIFFERENCE * max(1.0, float(np.abs(answers).max())):
            raise ExportRefused(
                f"{network.path}: answers an image otherwise where it stands alone, as a network does that was saved "
                "in training mode. Save it for inference (model.eval() in PyTorch, training=False in Keras)."
            )
    return answers


def _why_no_answers(network: ForeignNetwork, answers: NDArray[Any], count: int, num_classes: int) -> str:
    if answers.dtype != np.float32:
        return f"{network.path}: answers in {answers.dtype}; float32 is needed. Save it in float32."
    if answers.ndim == 2 and len(answers) == count:
        found = f"{network.path}: tells {answers.shape[1]:,} classes apart, and {num_classes:,} names were given"
        if answers.shape[1] == 1:
            return f"{found}. One answer for two classes cannot be adopted: save it with an answer each (softmax)."
        return f"{found}. Name each class of its own, in the order of its answers."
    return (
        f"{network.path}: answers {count} images with numbers of shape {answers.shape}; a row an image and a number a "
        "class are needed. A detector or a segmentation cannot be adopted."
    )


def are_probabilities(network: ForeignNetwork, answers: NDArray[np.float32], output: str | None) -> bool:
    """Whether answers are probabilities, as was said or as they look; an InvalidValue where both differ."""
    sums = answers.astype(np.float64).sum(axis=1)
    look_so = bool(answers.min() >= -_FROM_ONE and np.abs(sums - 1).max() <= _FROM_ONE)
    if output == "probabilities" and not look_so:
        raise InvalidValue(
            f"{network.path}: output says 'probabilities', but those of an image add up to {sums.min():.4g} to "
            f"{sums.max():.4g}, the least being {answers.min():.4g}. If it gives logits, say so: --output logits."
        )
    if output == "logits" and look_so:
        raise InvalidValue(
            f"{network.path}: output says 'logits', but its answers are never below 0 and add up to 1: it gives "
            "probabilities. Say so: --output probabilities."
        )
    return look_so


def log_of(probabilities: NDArray[np.float32], smallest: float) -> NDArray[np.float32]:
    """Logits of probabilities, finite: of 0, the logarithm of the smallest number that is normal in float32."""
    return np.log(np.maximum(probabilities, np.float32(smallest)))


def check_answers(
    network: ForeignNetwork, session: Session, images: NDArray[np.uint8], expected: NDArray[np.float32]
) -> float:
    """The largest difference of a probability between a bundle's graph and a network; refused where it is too large."""
    try:
        found = session.logits(images, with_progress=True)
    except InvalidBundle as error:
        raise ExportRefused(
            f"{network.path}: cannot answer several images at once. Export it with a batch of any size "
            f"(dynamic_axes in PyTorch). It was not adopted ({str(error).rpartition('(')[2].rstrip('.)')[:200]})."
        ) from error
    probabilities = SINGLE_LABEL.probabilities(expected), SINGLE_LABEL.probabilities(found)
    difference = largest_difference(*probabilities) if np.isfinite(found).all() else float("nan")
    if not difference <= LARGEST_DIFFERENCE:
        raise ExportRefused(
            f"{network.path}: its bundle does not answer as it does: a probability differs by {difference:.2g}; "
            f"{LARGEST_DIFFERENCE:g} is allowed. It was not adopted."
        )
    return difference
