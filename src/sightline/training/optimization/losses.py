"""From a recipe's loss to Keras' own, and penalties on weights."""

from __future__ import annotations

from typing import Any

import keras

from sightline.configuration.schema import LossRecipe
from sightline.tasks.table import has_several_labels
from sightline.tasks.task import Task


def build_loss(loss: LossRecipe) -> keras.losses.Loss:
    """Keras' loss of the recipe's name, on logits.

    Returns:
        A loss that takes integer or one-hot labels, as its name says; without the penalties of
        `add_weight_penalties`, which belong to the weights.

    Source:
        focal: Lin et al., arXiv 1708.02002; label smoothing: Szegedy et al., arXiv 1512.00567.
    """
    if loss.name == "categorical_crossentropy":
        return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=loss.label_smoothing)
    if loss.name == "categorical_focal_crossentropy":
        # Keras' alpha is one factor on all classes, which only scales the rate; class weights are a key of their own.
        return keras.losses.CategoricalFocalCrossentropy(
            alpha=1.0, gamma=loss.focal_gamma, from_logits=True, label_smoothing=loss.label_smoothing
        )
    if loss.name == "binary_crossentropy":
        return keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=loss.label_smoothing)
    if loss.name == "binary_focal_crossentropy":
        return keras.losses.BinaryFocalCrossentropy(
            gamma=loss.focal_gamma, from_logits=True, label_smoothing=loss.label_smoothing
        )
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def build_metrics(task: Task) -> list[Any]:
    """What Keras counts in each epoch under the name "accuracy": right answers, of several labels right labels."""
    if has_several_labels(task):
        # Keras' own of that name would compare logits with a half, and soft labels with 0 and 1.
        return [keras.metrics.MeanMetricWrapper(_right_labels, name="accuracy")]
    return list(task.keras_metrics)


def _right_labels(labels: Any, logits: Any) -> Any:
    """Of each image the share of its labels that are right, said from an even chance on; soft ones are from a half."""
    is_right = keras.ops.equal(keras.ops.greater_equal(labels, 0.5), keras.ops.greater(logits, 0.0))
    return keras.ops.mean(keras.ops.cast(is_right, "float32"), axis=-1)


def add_weight_penalties(network: keras.Model, loss: LossRecipe) -> None:
    """Let Keras add L1 and L2 penalties of the kernels to the loss while this network is trained.

    Biases and the parameters of batch normalisation are left alone. The penalty is a property
    of the weights in memory: a saved network knows nothing of it.

    Source:
        L2: Hoerl, Kennard, Technometrics 12 (1970); L1: Tibshirani, J. R. Stat. Soc. B 58 (1996).
    """
    if loss.l1 == 0 and loss.l2 == 0:
        return
    for weights in network.trainable_variables:
        if weights.name == "kernel":
            weights.regularizer = keras.regularizers.L1L2(l1=loss.l1, l2=loss.l2)
