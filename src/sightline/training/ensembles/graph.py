"""Several networks, and several views of an image, in one graph that answers like a single network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike, NDArray

from sightline.errors import InvalidValue
from sightline.metrics.ensembles import checked_votes
from sightline.tasks.single_label import SINGLE_LABEL
from sightline.tasks.table import has_several_labels
from sightline.tasks.task import Task

# Copies of all weights while members are joined: Keras', the exporter's and ONNX Runtime's.
COPIES = 3
# Values of one portion when Keras answers for many: 500 images of 28x28, 55 of 224x224 in colour.
PORTION_VALUES = 2**23
MOST_IN_PORTION = 500


def ensemble_network(
    members: Sequence[keras.Model], votes: ArrayLike, *, views: str = "none", task: Task = SINGLE_LABEL
) -> keras.Model:
    """One network that asks all members and answers with the weighted mean of their probabilities.

    Args:
        members: each uint8 images to a dictionary of `features` and `logits`, all for the same size and classes.
        votes: (num_members,), 0 or more, not all 0; members without a vote are left out.
        views: a name of `sightline.configuration.names.TEST_VIEWS`, "auto" resolved; a member's answer is its mean over
            them.
        task: what the logits say. Of several labels each is averaged by itself, and how far members disagree is not
            told: that would take thresholds of their own.

    Returns:
        uint8 `images` to `logits`, the logarithm of that mean, of several labels its logit; and `features`, those of
        all members side by side. With two or more members, `member_logits` (batch, num_members, num_classes) and
        `disagreement` (batch,), the share of the members, by their votes, that name another class than all together.

    Source:
        Lakshminarayanan, Pritzel, Blundell, Deep ensembles, arXiv 1612.01474; the variation ratio of Freeman (1965).
    """
    shares = checked_votes(votes, len(members)).tolist()
    heard = [(member, share) for member, share in zip(members, shares, strict=True) if share > 0]
    _check_alike([member for member, _ in heard])
    is_several = has_several_labels(task)
    together = _labels_together if is_several else _together
    images = keras.Input(members[0].input.shape[1:], dtype="uint8", name="images")
    seen = [change(images) for change in VIEWS[views]]
    features, answers = [], []
    for number, (member, _) in enumerate(heard, start=1):
        # Layers of members bear the same names; within a model of its own each is unique.
        inner = keras.Model(member.input, member.output, name=f"member_{number:02d}")
        outputs = [inner(view) for view in seen]
        features.append(outputs[0]["features"])
        answers.append(together([output["logits"] for output in outputs], [1 / len(seen)] * len(seen)))
    logits = together(answers, [share for _, share in heard])
    contract = {"features": features[0] if len(features) == 1 else ops.concatenate(features, axis=1), "logits": logits}
    if len(heard) > 1:
        contract["member_logits"] = ops.stack(answers, axis=1)
    if len(heard) > 1 and not is_several:
        contract["disagreement"] = _disagreement(answers, [share for _, share in heard], logits)
    return keras.Model(images, contract, name="ensemble")


def check_joined(num_parameters: int, free: int, *, said: str) -> None:
    """Refuse members whose network the free bytes cannot hold, before they are joined; `said` is what they are."""
    gib, joined = 2**30, COPIES * 4 * num_parameters
    if joined > free:
        raise InvalidValue(
            f"{said} need about {joined / gib:.1f} GiB of memory when they are joined, and {free / gib:.1f} GiB are "
            "free. Take fewer members or a smaller network."
        )


def _together(logits: list[Any], shares: list[float]) -> Any:
    """The logarithm of the weighted mean of probabilities; a single network's logits stay what they are."""
    if len(logits) == 1:
        return logits[0]
    logs = [ops.log_softmax(one, axis=-1) + math.log(share) for one, share in zip(logits, shares, strict=True)]
    stacked = ops.stack(logs, axis=1)
    # `ops.logsumexp` asks which values are finite, by an operation that ONNX does not have.
    largest = ops.max(stacked, axis=1, keepdims=True)
    return ops.log(ops.sum(ops.exp(stacked - largest), axis=1)) + ops.squeeze(largest, axis=1)


def _labels_together(logits: list[Any], shares: list[float]) -> Any:
    """The logit of the weighted mean of probabilities, of each label by itself, as of two classes."""
    if len(logits) == 1:
        return logits[0]
    pairs = _together([ops.stack([ops.zeros_like(one), one], axis=-1) for one in logits], shares)
    return pairs[..., 1] - pairs[..., 0]


def _disagreement(answers: list[Any], shares: list[float], logits: Any) -> Any:
    # `ops.argmax` tells 0.0 from -0.0 by an operation that ONNX does not have.
    is_best = logits >= ops.max(logits, axis=-1, keepdims=True)
    parts = []
    for answer, share in zip(answers, shares, strict=True):
        of_best = ops.max(ops.where(is_best, answer, -np.inf), axis=-1)
        parts.append(share * ops.cast(of_best < ops.max(answer, axis=-1), "float32"))
    return ops.sum(ops.stack(parts, axis=1), axis=1)


def _check_alike(members: Sequence[keras.Model]) -> None:
    shapes = {(tuple(member.input.shape[1:]), int(member.output["logits"].shape[-1])) for member in members}
    if len(shapes) > 1:
        shown = "; ".join(f"{'x'.join(map(str, size))} and {count} classes" for size, count in sorted(shapes))
        raise InvalidValue(f"members of one ensemble take images of one size and tell the same classes; got {shown}.")


def _moved(down: int, right: int) -> Callable[[Any], Any]:
    """Images moved by up to a pixel; what comes in at the border is the mirrored neighbour."""

    def move(images: Any) -> Any:
        height, width = images.shape[1:3]
        margins = ((0, 0), (max(down, 0), max(-down, 0)), (max(right, 0), max(-right, 0)), (0, 0))
        top, left = max(-down, 0), max(-right, 0)
        return ops.pad(images, margins, mode="reflect")[:, top : top + height, left : left + width]

    return move


def _mirrored(images: Any) -> Any:
    return ops.flip(images, axis=2)


def _as_it_is(images: Any) -> Any:
    return images


VIEWS: dict[str, tuple[Callable[[Any], Any], ...]] = {
    "none": (_as_it_is,),
    "mirror": (_as_it_is, _mirrored),
    "shifts": (_as_it_is, _moved(1, 0), _moved(-1, 0), _moved(0, 1), _moved(0, -1)),
}


def answers_of(network: keras.Model, images: Any) -> NDArray[np.float32]:
    """What a network that was not exported yet says of uint8 images, in bounded memory: (num_images, num_classes).

    `images` are an array, or what gives one when it is sliced.
    """
    size = min(max(PORTION_VALUES // math.prod(images.shape[1:]), 1), MOST_IN_PORTION)
    parts = []
    for first in range(0, len(images), size):
        output: Any = network.predict(np.asarray(images[first : first + size]), batch_size=size, verbose=0)
        parts.append(np.asarray(output["logits"] if isinstance(output, dict) else output))
    width = network.output["logits"].shape[-1] if isinstance(network.output, dict) else network.output_shape[-1]
    return np.concatenate(parts) if parts else np.empty((0, int(width)), np.float32)
