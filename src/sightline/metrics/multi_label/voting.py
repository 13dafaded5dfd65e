"""What several networks say together where an image may have several labels: each label is voted on by itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.metrics.ensembles import ensemble_logits, selection_course
from sightline.metrics.multi_label.counting import checked_flags
from sightline.metrics.multi_label.scaling import flat_pairs


def label_ensemble_logits(member_logits: ArrayLike, votes: ArrayLike) -> NDArray[np.float64]:
    """The logit of the weighted mean of probabilities, of each label by itself.

    Args:
        member_logits: (num_images, num_members, num_classes).
        votes: (num_members,), as `sightline.metrics.ensembles.checked_votes` takes them.

    Returns:
        (num_images, num_classes) float64; the sigmoid of each is that mean.

    Raises:
        InvalidValue: votes that cannot be used.

    Example:
        >>> label_ensemble_logits([[[4.0, 0.0], [-4.0, 0.0]]], [1, 1]).round(3).tolist()
        [[0.0, 0.0]]
    """
    logits = np.asarray(member_logits, np.float64)
    together = ensemble_logits(_pairs(logits), votes)
    return np.asarray((together[:, 1] - together[:, 0]).reshape(len(logits), logits.shape[2]))


def label_selection_course(
    member_logits: ArrayLike, given: ArrayLike, *, most: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Votes for members by forward selection, as `sightline.metrics.ensembles.selection_course` has it of classes.

    Args:
        member_logits: (num_images, num_members, num_classes).
        given: (num_images, num_classes) of 0 and 1.
        most: how many are chosen at most, at least 1.

    Returns:
        The chosen member of each step, (num_steps,) int64; and the binary cross-entropy of the ensemble after it, its
        mean over images and labels, in nats, (num_steps,) float64, falling.

    Raises:
        InvalidValue: labels that do not belong to the logits.

    Example:
        >>> order, losses = label_selection_course([[[2.0, -2.0], [-2.0, 2.0]]], [[1, 0]], most=3)
        >>> order.tolist(), losses.round(3).tolist()
        ([0], [0.127])
    """
    logits = np.asarray(member_logits, np.float64)
    flags = checked_flags(given, name="labels")
    return selection_course(_pairs(logits), flags.reshape(-1).astype(np.int64), most=most)


def _pairs(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """As `flat_pairs` of each member: (num_images * num_classes, num_members, 2)."""
    return np.stack([flat_pairs(logits[:, member], ())[0] for member in range(logits.shape[1])], axis=1)
