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
from sightline.training.loop.shares import Share
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
        labels: (num_images,) int64; where an image may have several, (num_images, num_classes) of 0 and 1.
        weights: (num_images,) float64, positive, or None.
        soft_labels: (num_views * num_images, num_classes) float32, rows that sum to 1: what is learned in place of the
            labels, for a loss that takes one-hot ones; or None.
        task: what a label is.
    """

    images: Any
    labels: NDArray[Any]
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


class Order:
    """Which rows come when: the permutation of an epoch is a function of the seed and its number, and of nothing else.

    So a training that goes on in the middle of an epoch draws what one that never stopped drew.
    """

    def __init__(self, rows: NDArray[np.int64], *, batch_size: int, seed: int | None, before: int = 0) -> None:
        """`rows` of one epoch, of which `before` were; in this order in all of them where there is no seed."""
        self.rows, self.batch_size, self.seed, self.before = rows, batch_size, seed, before
        self.followers: list[Callable[[], object]] = []
        self.begin(0)

    def begin(self, epoch: int, first: int = 0) -> None:
        """Set the order of an epoch, counted from 0, from a batch of it on; before a feed is iterated over."""
        generator = None if self.seed is None else np.random.default_rng([self.seed, self.before + epoch])
        self.current = self.rows if generator is None else generator.permutation(self.rows)
        self.first = first
        for follow in self.followers:
            follow()

    @property
    def num_batches(self) -> int:
        """Of a whole epoch."""
        return math.ceil(len(self.rows) / self.batch_size)


def training_order(data: LabelledImages, recipe: Recipe, *, before: int = 0) -> Order:
    """The order in which a recipe has rows learned, behind so many epochs of an earlier fit."""
    rows = drawn_rows(data.strata, recipe.training.sampling)
    return Order(rows, batch_size=int(recipe.training.batch_size), seed=recipe.seed, before=before)


def training_feed(
    data: LabelledImages, recipe: Recipe, *, num_classes: int, order: Order, share: Share | None = None
) -> dict[str, Any]:
    """The arguments that feed `fit` with training images in an order, which whoever counts epochs sets before each.

    `share` is the part of a process where several feed together.
    """
    labels = data.targets(recipe.loss.name, num_classes)
    arrays = [labels if data.soft_labels is None else data.soft_labels]
    weights, num_views = row_weights(data, recipe.training.class_weights), data.num_views
    if weights is not None:
        arrays.append(np.tile(weights, num_views))
    mixing = mixing_of(recipe, data.images.shape[1:])
    pick: Pick | None = None
    if num_views > 1:
        pick = functools.partial(drawn_views, num_images=len(data), num_views=num_views, seed=recipe.seed)
    batching = _Batching(order, mixing.mix if mixing else None, pick, share)
    return {"x": _batches(_held(data, recipe), arrays, batching), "shuffle": False}


def _held(data: LabelledImages, recipe: Recipe) -> Any:
    """Images in memory where they fit, else what gives them when it is sliced."""
    in_memory = data.images.nbytes <= recipe.data.memory_limit_mib * 2**20
    return np.asarray(data.images[:]) if in_memory else data.images


def _batches(images: Any, arrays: list[NDArray[Any]], batching: _Batching) -> Any:
    of_backend = _tensorflow_batches if keras.config.backend() == "tensorflow" else _Batches
    return of_backend(images, arrays, batching)


def validation_feed(
    data: LabelledImages | None, recipe: Recipe, *, num_classes: int, share: Share | None = None
) -> dict[str, Any]:
    """The arguments that let `fit` measure itself on validation rows after each epoch; none without rows."""
    if data is None:
        return {}
    targets = data.targets(recipe.loss.name, num_classes)
    images, mixing = _held(data, recipe), mixing_of(recipe, data.images.shape[1:])
    # A thousand photographs of 224x224 are 600 MB once they are float32.
    size = VALIDATION_BATCH if images is not data.images else 256
    if keras.config.backend() != "tensorflow" and images is not data.images and not mixing and share is None:
        return {"validation_data": (images, targets), "validation_batch_size": size}
    if share is not None:
        size -= size % share.count
    order = Order(np.arange(len(data)), batch_size=size, seed=None)
    batching = _Batching(order, unmixed if mixing else None, share=share)
    return {"validation_data": _batches(images, [targets], batching)}


@dataclass(frozen=True, eq=False)
class _Batching:
    """How rows become batches: in which order, mixed by what; of several views of an image, `pick` says which.

    Of a process that has a `share` it is the part of each batch that it feeds.
    """

    order: Order
    mix: Mix | None
    pick: Pick | None = None
    share: Share | None = None


def _tensorflow_batches(images: Any, arrays: list[NDArray[Any]], batching: _Batching) -> Any:
    """Batches in TensorFlow's own threads, from constants where they fit in memory.

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

    options = tf.data.Options()
    options.autotune.enabled = False
    batches = _tensorflow_rows(batching.order).map(gather).prefetch(PREFETCHED).with_options(options)
    # How many there are Keras asks once, and an epoch that is gone on with has fewer; TensorFlow itself cannot tell.
    num_batches = tf.constant(batching.order.num_batches, tf.int64)
    batches.cardinality = lambda: num_batches
    return batches


def _tensorflow_rows(order: Order) -> Any:
    """The rows of each batch of an epoch, which lie in a variable that is read when the epoch begins.

    No Python between the steps, and none of tf.data's buffers, whose state nobody could keep.
    """
    import tensorflow as tf

    size, num_batches = order.batch_size, order.num_batches
    with tf.device("CPU"):
        rows, first = tf.Variable(order.current), tf.Variable(order.first, dtype=tf.int64)
    order.followers.append(lambda: (rows.assign(order.current), first.assign(order.first)))

    def of_epoch(_: Any) -> Any:
        current = rows.read_value()
        steps = tf.data.Dataset.range(first.read_value(), num_batches)
        return steps.map(lambda step: current[step * size : (step + 1) * size])

    return tf.data.Dataset.from_tensors(0).flat_map(of_epoch)


class _Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no annotations
    """Batches read in Keras' own thread, from memory or a mapped cache, for any backend."""

    def __init__(self, images: Any, arrays: list[NDArray[Any]], batching: _Batching) -> None:
        super().__init__()
        self.images, self.arrays = images, arrays
        self.context = contextvars.copy_context()  # batches are read in a thread of Keras, which has none
        self.order, self.mix, self.pick, self.share = batching.order, batching.mix, batching.pick, batching.share

    def __len__(self) -> int:
        return self.order.num_batches - self.order.first

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        start = (self.order.first + index) * self.order.batch_size
        batch = self.order.current[start : start + self.order.batch_size]
        if self.pick is not None:
            batch = self.pick(batch)
        part: slice | NDArray[np.int64] = slice(None)
        if self.share is not None:
            part = self.share.positions(len(batch), batch_size=self.order.batch_size)
        picked = np.asarray(self.context.copy().run(operator.getitem, self.images, batch[part]))
        if self.mix is None:
            return (picked, *(array[batch[part]] for array in self.arrays))
        # Drawn for the whole batch, in which its partners lie.
        plan, *others = self.mix(batch, self.arrays)
        return ((picked, plan[part]), *(array[part] for array in others))


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
