"""What goes into Keras' `fit`: labelled rows, from memory without Python, or from the cache batch by batch."""

from __future__ import annotations

import contextvars
import functools
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from sightline.configuration.names import ONE_HOT_LOSSES
from sightline.configuration.schema import Recipe
from sightline.tasks.single_label import SINGLE_LABEL
from sightline.tasks.task import Task
from sightline.training.augmentation.mixing import PLAN_COLUMNS, mixing_of, unmixed
from sightline.training.augmentation.views import drawn_views
from sightline.training.setup.preparation import Prepared

VALIDATION_BATCH = 1000
# Batches made ready while the network learns from another.
PREFETCHED = 4
MOST_REPETITIONS = 10

# Rows of a batch and all targets and weights to a plan and those of the batch, as `Mixing.mix` does.
Mix = Callable[[NDArray[np.int64], list[NDArray[Any]]], tuple[NDArray[Any], ...]]
# Rows of a batch to those of the views that are seen.
Pick = Callable[[NDArray[np.int64]], NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images as the network is fed them, with their labels.

    Attributes:
        images: (num_views * num_images, height, width, channels) uint8, or what gives such an array when
            it is sliced by rows (`Pixels`, a mapped cache); view after view where there are several of each image.
        labels: (num_images,) int64.
        weights: (num_images,) float64, positive, or None.
        soft_labels: (num_views * num_images, num_classes) float32, rows that sum to 1: what is learned in place of the
            labels, for a loss that takes one-hot ones; or None.
        task: what a label is.
    """

    images: Any
    labels: NDArray[np.int64]
    weights: NDArray[np.float64] | None = None
    soft_labels: NDArray[np.float32] | None = None
    task: Task = SINGLE_LABEL

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def strata(self) -> NDArray[np.int64]:
        """(num_images,) the class of each, as far as rare ones are to be seen more often or to count more."""
        return self.task.strata(self.labels)

    def targets(self, loss_name: str, num_classes: int) -> NDArray[Any]:
        """Labels as the loss takes them: whole numbers, or one row of zeros and a one for each."""
        return self.task.targets(self.labels, num_classes=num_classes, one_hot=loss_name in ONE_HOT_LOSSES)

    @property
    def num_views(self) -> int:
        """Of each image; each time it is seen, one of them is drawn."""
        return 1 if self.soft_labels is None else len(self.soft_labels) // len(self.labels)


def drawn_rows(strata: NDArray[np.int64], sampling: str) -> NDArray[np.int64]:
    """Rows of one epoch, before they are shuffled.

    Args:
        strata: (num_images,) int64, the class of each.
        sampling: "natural": each once; "balanced": rare classes repeated until they are as
            frequent as the largest, each image ten times at most.
    """
    rows = np.arange(len(strata))
    if sampling == "natural":
        return rows
    counts = np.bincount(strata)
    parts = []
    for stratum in np.flatnonzero(counts):
        own = rows[strata == stratum]
        # Repeated from the start until there are so many: a class sees its images equally often, give or take one.
        parts.append(np.resize(own, min(counts.max(), MOST_REPETITIONS * len(own))))
    return np.sort(np.concatenate(parts))


def row_weights(data: LabelledImages, class_weights: str) -> NDArray[np.float32] | None:
    """What each row counts in the loss.

    Returns:
        (num_images,) float32 with mean 1, or None where all count the same.

    Source:
        King, Zeng, Logistic regression in rare events data (2001), as scikit-learn's "balanced".
    """
    if class_weights == "none" and data.weights is None:
        return None
    weights = np.ones(len(data)) if data.weights is None else data.weights
    if class_weights == "balanced":
        weights = weights / np.bincount(data.strata)[data.strata]
    scaled: NDArray[np.float32] = (weights / weights.mean()).astype(np.float32)
    return scaled


def training_feed(data: LabelledImages, recipe: Recipe, *, num_classes: int) -> dict[str, Any]:
    """The arguments that feed `fit` with training images."""
    labels = data.targets(recipe.loss.name, num_classes)
    arrays = [labels if data.soft_labels is None else data.soft_labels]
    weights, num_views = row_weights(data, recipe.training.class_weights), data.num_views
    if weights is not None:
        arrays.append(np.tile(weights, num_views))
    rows = drawn_rows(data.strata, recipe.training.sampling)
    in_memory = data.images.nbytes <= recipe.data.memory_limit_mib * 2**20
    batch_size = int(recipe.training.batch_size)
    mixing = mixing_of(recipe, data.images.shape[1:])
    pick: Pick | None = None
    if num_views > 1:
        pick = functools.partial(drawn_views, num_images=len(data), num_views=num_views, seed=recipe.seed)
    batching = _Batching(rows, batch_size, recipe.seed, mixing.mix if mixing else None, pick)
    if keras.config.backend() == "tensorflow":
        images = np.asarray(data.images[:]) if in_memory else data.images
        return {"x": _tensorflow_batches(images, arrays, batching), "shuffle": False}
    if mixing or pick or not in_memory:
        return {"x": _Batches(data.images, arrays, batching), "shuffle": False}
    names = ("y", "sample_weight")
    fed = {name: array[rows] for name, array in zip(names, arrays, strict=False)}
    return {"x": np.asarray(data.images[:])[rows], "batch_size": batch_size, "shuffle": True, **fed}


def validation_feed(data: LabelledImages | None, recipe: Recipe, *, num_classes: int) -> dict[str, Any]:
    """The arguments that let `fit` measure itself on validation rows after each epoch; none without rows."""
    if data is None:
        return {}
    targets = data.targets(recipe.loss.name, num_classes)
    in_memory = data.images.nbytes <= recipe.data.memory_limit_mib * 2**20
    images = np.asarray(data.images[:]) if in_memory else data.images
    # A thousand photographs of 224x224 are 600 MB once they are float32.
    size = VALIDATION_BATCH if in_memory else 256
    mixing = mixing_of(recipe, data.images.shape[1:])
    batching = _Batching(np.arange(len(data)), size, None, unmixed if mixing else None)
    if keras.config.backend() == "tensorflow":
        return {"validation_data": _tensorflow_batches(images, [targets], batching)}
    if in_memory and not mixing:
        return {"validation_data": (images, targets), "validation_batch_size": size}
    return {"validation_data": _Batches(images, [targets], batching)}


@dataclass(frozen=True, eq=False)
class _Batching:
    """How rows become batches: which, how many at once, shuffled by which seed (None: in order), mixed by what.

    Where there are several views of each image, `pick` says which.
    """

    rows: NDArray[np.int64]
    batch_size: int
    seed: int | None
    mix: Mix | None
    pick: Pick | None = None


def _tensorflow_batches(images: Any, arrays: list[NDArray[Any]], batching: _Batching) -> Any:
    """Batches in TensorFlow's own threads, from constants where they fit in memory; shuffled anew each epoch by a seed.

    tf.data's tuning is off: its thread sleeps up to five seconds at the end of every pass before it lets go.
    """
    import tensorflow as tf

    with tf.device("CPU"):
        fixed = [tf.constant(array) for array in arrays]
        pixels = tf.constant(images) if isinstance(images, np.ndarray) and not isinstance(images, np.memmap) else None
    shape, mix, pick = tuple(images.shape[1:]), batching.mix, batching.pick
    context = contextvars.copy_context()

    def read(batch: NDArray[np.int64]) -> NDArray[Any]:
        # TensorFlow's threads have no context of their own: without this one they would not know that they are to be
        # quiet. A copy each time, since several of them read at once.
        return np.asarray(context.copy().run(operator.getitem, images, batch))

    def gather(batch: Any) -> tuple[Any, ...]:
        if pick is not None:
            batch = tf.ensure_shape(tf.numpy_function(pick, [batch], tf.int64), (None,))
        if pixels is not None:
            picked = tf.gather(pixels, batch)
        else:
            picked = tf.ensure_shape(tf.numpy_function(read, [batch], images.dtype), (None, *shape))
        if mix is None:
            return (picked, *(tf.gather(array, batch) for array in fixed))
        kinds = [tf.float32, *(array.dtype for array in fixed)]
        mixed = tf.numpy_function(lambda own: mix(own, arrays), [batch], kinds)
        widths = [(len(PLAN_COLUMNS),), *(array.shape[1:] for array in fixed)]
        plan, *others = [tf.ensure_shape(part, (None, *width)) for part, width in zip(mixed, widths, strict=True)]
        return ((picked, plan), *others)

    order = tf.data.Dataset.from_tensor_slices(batching.rows)
    if batching.seed is not None:
        order = order.shuffle(len(batching.rows), seed=batching.seed, reshuffle_each_iteration=True)
    options = tf.data.Options()
    options.autotune.enabled = False
    return order.batch(batching.batch_size).map(gather).prefetch(PREFETCHED).with_options(options)


class _Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no annotations
    """Batches read from a mapped cache in Keras' own thread, for any backend."""

    def __init__(self, images: Any, arrays: list[NDArray[Any]], batching: _Batching) -> None:
        super().__init__()
        self.images, self.arrays = images, arrays
        self.context = contextvars.copy_context()  # batches are read in a thread of Keras, which has none
        self.rows, self.batch_size, self.mix = batching.rows, batching.batch_size, batching.mix
        self.pick = batching.pick
        self.generator = None if batching.seed is None else np.random.default_rng(batching.seed)
        self.on_epoch_end()

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        batch = self.rows[index * self.batch_size : (index + 1) * self.batch_size]
        if self.pick is not None:
            batch = self.pick(batch)
        picked = np.asarray(self.context.copy().run(operator.getitem, self.images, batch))
        if self.mix is None:
            return (picked, *(array[batch] for array in self.arrays))
        plan, *others = self.mix(batch, self.arrays)
        return ((picked, plan), *others)

    def on_epoch_end(self) -> None:
        """Shuffle anew, if there is anything to shuffle by."""
        if self.generator is not None:
            self.rows = self.generator.permutation(self.rows)


def train_rows_for_fit(data: Prepared) -> LabelledImages:
    """The train rows as `fit` takes them: with their labels, or with a teacher's answers."""
    train = rows_for_fit(data, data.splits.train)
    if data.distillation is None:
        return train
    return LabelledImages(
        data.distillation.images, train.labels, train.weights, data.distillation.soft_labels, train.task
    )


def rows_for_fit(data: Prepared, rows: NDArray[np.int64]) -> LabelledImages:
    """Some rows as `fit` takes them."""
    weights = None if data.dataset.weights is None else data.dataset.weights[rows]
    return LabelledImages(data.pixels.take(rows), data.dataset.labels[rows], weights, task=data.dataset.task)
