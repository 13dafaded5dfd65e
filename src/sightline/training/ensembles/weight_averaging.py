"""A soup: the weights of networks with a common start, averaged into one network."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from sightline.errors import InvalidValue
from sightline.training.ensembles.graph import answers_of
from sightline.training.loop.batches import LabelledImages

# Images by which the averages of normalisation layers are taken anew.
MOST_NORMALISED = 6_400
BATCH = 64


def weight_average(
    members: Sequence[keras.Model], train: LabelledImages, validation: LabelledImages, *, greedy: bool
) -> tuple[keras.Model, NDArray[np.int64]]:
    """Average the weights of members, of all or of those that validation rows like.

    Args:
        members: networks of one shape, each uint8 images to a dictionary with `logits`.
        train: images by which normalisation layers take their averages anew.
        validation: what the soup and its members are judged on; at least one image.
        greedy: take members in from the best to the worst, each only if the cross-entropy does not rise.

    Returns:
        The soup, and (num_members,) int64: 1 for who is in it.

    Source:
        Wortsman et al., Model soups, arXiv 2203.05482; the barrier: Frankle et al., arXiv 1912.05671; averages taken
        anew: Izmailov et al., arXiv 1803.05407.
    """
    weights = [member.get_weights() for member in members]
    if len({tuple(array.shape for array in arrays) for arrays in weights}) > 1:
        raise InvalidValue("a soup is made of networks of one shape; these differ. Combine their answers.")
    alone = [_judge(member, validation) for member in members]
    average = keras.models.clone_model(members[0])
    if greedy:
        chosen = _greedy(average, weights, [loss for loss, _ in alone], train, validation)
        _fill(average, weights, chosen, train)  # it holds what was tried last
    else:
        chosen = np.ones(len(members), np.int64)
        _fill(average, weights, chosen, train)
        _refuse_barrier(_judge(average, validation), alone)
    return average, chosen


def _greedy(
    average: keras.Model,
    weights: list[list[NDArray[np.float32]]],
    losses: list[float],
    train: LabelledImages,
    validation: LabelledImages,
) -> NDArray[np.int64]:
    chosen, best = np.zeros(len(weights), np.int64), np.inf
    for member in np.argsort(losses, kind="stable"):
        tried = chosen.copy()
        tried[member] = 1
        _fill(average, weights, tried, train)
        loss, _ = _judge(average, validation)
        if loss <= best:
            chosen, best = tried, loss
    return chosen


def _fill(
    average: keras.Model, weights: list[list[NDArray[np.float32]]], chosen: NDArray[np.int64], train: LabelledImages
) -> None:
    """Put the mean of the chosen weights into the average."""
    taken = [arrays for arrays, is_in in zip(weights, chosen, strict=True) if is_in]
    together = list(zip(*taken, strict=True))
    average.set_weights([np.mean(arrays, axis=0) for arrays in together])
    moved = {
        variable.path
        for variable, arrays in zip(average.weights, together, strict=True)
        if any(not np.array_equal(arrays[0], other) for other in arrays[1:])
    }
    _renormalise(average, moved, train)


def _renormalise(average: keras.Model, moved: set[str], train: LabelledImages) -> None:
    """Averages of normalisation layers belong to the weights they were taken with; take them anew where they moved."""
    normalising = [layer for layer in average.layers if isinstance(layer, keras.layers.BatchNormalization)]
    # Those of a backbone that did not learn are the same in all members, and stay.
    moving = [layer for layer in normalising if layer.trainable and layer.moving_mean.path in moved]
    if not moving:
        return
    momenta = [layer.momentum for layer in moving]
    sums = [[np.zeros(average.shape) for average in (layer.moving_mean, layer.moving_variance)] for layer in moving]
    rows = np.random.default_rng(0).permutation(len(train))[:MOST_NORMALISED]
    # Alike in size, so that each counts as much as it holds.
    batches = [np.sort(part) for part in np.array_split(rows, math.ceil(len(rows) / BATCH))]
    for layer in moving:
        layer.momentum = 0.0  # each pass then leaves the figures of its own batch
    for batch in batches:
        average(np.asarray(train.images[batch]), training=True)
        for layer, totals in zip(moving, sums, strict=True):
            totals[0] += np.asarray(layer.moving_mean) / len(batches)
            totals[1] += np.asarray(layer.moving_variance) / len(batches)
    for layer, momentum, (means, variances) in zip(moving, momenta, sums, strict=True):
        layer.momentum = momentum
        layer.moving_mean.assign(means)
        layer.moving_variance.assign(variances)


def _judge(network: keras.Model, validation: LabelledImages) -> tuple[float, float]:
    """Cross-entropy and accuracy."""
    logits = answers_of(network, validation.images)
    task, labels = validation.task, validation.labels
    accuracy = float(task.is_right(logits, labels).mean())
    if not np.isfinite(logits).all():
        return float("inf"), accuracy
    return float(task.surprises(logits, labels).mean()), accuracy


def _refuse_barrier(together: tuple[float, float], alone: list[tuple[float, float]]) -> None:
    """Refuse an average that is worse than every one of its members, in cross-entropy and in accuracy."""
    loss, accuracy = together
    if loss > max(other for other, _ in alone) and accuracy < min(other for _, other in alone):
        lowest, highest = min(other for _, other in alone), max(other for _, other in alone)
        raise InvalidValue(
            f"the soup is right on {accuracy:.1%} of the validation rows, and its members alone on {lowest:.1%} to "
            f"{highest:.1%}: between their weights lies a barrier, as between networks that share no start. "
            "Combine their answers (ensemble.kind=deep, or `sightline combine`), or take greedy-soup."
        )
