"""What every training starts from, a run and a range test alike: the network, its precision, its labelled images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import numpy as np
from numpy.typing import NDArray

from sightline.networks.building import build_network
from sightline.training.loop.batches import LabelledImages
from sightline.training.setup.preparation import Prepared


@contextlib.contextmanager
def computing_in(policy: str) -> Iterator[None]:
    """While it is open, new layers compute in this precision.

    Args:
        policy: a name of `sightline.configuration.names.PRECISIONS`.

    Yields:
        Nothing.

    Raises:
        Nothing.

    Example:
        >>> with computing_in("mixed_bfloat16"):
        ...     keras.layers.Dense(1).compute_dtype
        'bfloat16'
    """
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(usual)


def new_network(data: Prepared) -> keras.Model:
    """The network that a recipe names, at the start that its seed gives; seeds all that is drawn from here on.

    Args:
        data: its resolved recipe, the size of its images and its classes.

    Returns:
        uint8 images to float32 logits.

    Raises:
        InvalidValue, DownloadFailed: the weights it should start from cannot be used.

    Example:
        >>> import inspect
        >>> list(inspect.signature(new_network).parameters)
        ['data']
    """
    keras.utils.set_random_seed(data.recipe.seed)
    with computing_in(data.recipe.training.precision):
        return build_network(data.spec.shape, data.dataset.num_classes, data.recipe.model)


def learned_rows(data: Prepared) -> LabelledImages:
    """The train rows as `fit` takes them: with their labels, or with a teacher's answers.

    Args:
        data: where they are.

    Returns:
        Images, labels, weights, and the answers of a lesson; nothing is copied.

    Raises:
        Nothing.

    Example:
        >>> import inspect
        >>> list(inspect.signature(learned_rows).parameters)
        ['data']
    """
    train = labelled(data, data.splits.train)
    if data.lesson is None:
        return train
    return LabelledImages(data.lesson.images, train.labels, train.weights, data.lesson.answers)


def labelled(data: Prepared, rows: NDArray[np.int64]) -> LabelledImages:
    """Some rows as `fit` takes them.

    Args:
        data: where they are.
        rows: (num_images,) row indices.

    Returns:
        Images, labels, and the rows' own weights if the source has any; nothing is copied.

    Raises:
        Nothing.

    Example:
        >>> import inspect
        >>> list(inspect.signature(labelled).parameters)
        ['data', 'rows']
    """
    weights = None if data.dataset.weights is None else data.dataset.weights[rows]
    return LabelledImages(data.pixels.take(rows), data.dataset.labels[rows], weights)
