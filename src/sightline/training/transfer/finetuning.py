"""Training on a pretrained backbone: features once, a head in seconds, then fine-tuning if validation likes it."""

from __future__ import annotations

import dataclasses
import json
import time

import keras
import numpy as np
from numpy.typing import NDArray

from sightline.configuration.schema import Recipe
from sightline.errors import InvalidValue, TrainingFailed
from sightline.system.files import write_atomically
from sightline.system.progress import reporter
from sightline.training.augmentation.pipeline import build_augmentation
from sightline.training.loop.batches import LabelledImages, row_weights, rows_for_fit
from sightline.training.loop.fit import Fitted, fit, planned_epochs
from sightline.training.loop.recording import FitOutputs, record_epoch
from sightline.training.loop.time_budget import epochs_within
from sightline.training.setup.preparation import Prepared
from sightline.training.transfer.activations import FEATURES, MIDDLE, FeatureTables, StoredRows
from sightline.training.transfer.head import Head, Rows, fit_head
from sightline.training.transfer.judging import calibrated_cross_entropy


def fit_transfer(network: keras.Model, data: Prepared, outputs: FitOutputs) -> Fitted:
    """Fit a network that has a pretrained backbone, in place.

    The head is fitted on features of the frozen backbone. Then, if the recipe asks for it, the
    upper part or the whole learns too, with its batch statistics frozen; what came of it is kept
    only if it lowers the cross-entropy of the validation rows.

    Returns:
        The course: one row for the head, then one an epoch of fine-tuning.

    Source:
        Features and a linear head: Donahue et al., DeCAF, arXiv 1310.1531; fine-tuning after the head:
        Kumar et al., arXiv 2202.10054.
    """
    started = time.perf_counter()
    features = FeatureTables(network, data)
    head = _head(features, data)
    network.get_layer("logits").set_weights([head.kernel, head.bias])
    row = _head_row(head, features, data, time.perf_counter() - started)
    record_epoch(outputs, row)
    reporter().say(_head_line(head, row))
    num_seen, trained_seconds = len(data.splits.train) * len(features.views), row["seconds"]
    history: tuple[dict[str, float], ...] = (row,)
    chosen, stopped_early, planned = 1, False, None
    if data.recipe.training.finetune_epochs and not len(data.splits.validation):
        reporter().say("no fine-tuning: there are no validation rows to judge it by. The head alone stays.")
    elif data.recipe.training.finetune_epochs:
        # What is worth keeping of a failed fine-tuning is the head, and that is in the network.
        later = dataclasses.replace(outputs, before=history, named="fine-tuning epoch", rescue_path=None)
        rows = data.splits.validation
        answers = head.logits(np.asarray(features.whole[FEATURES][rows]))
        before = calibrated_cross_entropy(answers, data.dataset.labels[rows])
        tuned, is_kept = _finetune(network, features, data, later, before=before)
        history += tuned.history
        chosen = 1 + tuned.chosen_epoch if is_kept else 1
        stopped_early, planned = tuned.stopped_early, tuned.planned_epochs
        # Only what is stored shows all views in an epoch.
        num_shown = num_seen if features.has_middle else len(data.splits.train)
        num_tuned = num_shown * len(tuned.history)
        num_seen += num_tuned
        trained_seconds += num_tuned / tuned.images_per_second if num_tuned else 0.0
    seconds, speed = time.perf_counter() - started, num_seen / max(trained_seconds, 1e-9)
    return Fitted(
        history,
        chosen,
        stopped_early=stopped_early,
        seconds=seconds,
        images_per_second=speed,
        planned_epochs=planned,
    )


def _head(features: FeatureTables, data: Prepared) -> Head:
    """The better of two heads on rows that neither was fitted on: of the images as they are, or of all their views."""
    num_classes = data.dataset.num_classes
    if not all(np.isfinite(table).all() for table in (features.whole[FEATURES][:], features.of_train(FEATURES)[:])):
        model = data.recipe.model
        raise TrainingFailed(
            f"{model.name} with model.weights={model.weights} gives features that are not finite numbers. "
            "The weights are damaged; take others."
        )
    validation = None
    if len(data.splits.validation):
        rows = data.splits.validation
        validation = Rows(np.asarray(features.whole[FEATURES][rows]), data.dataset.labels[rows])
    plain = fit_head(_train_rows(features.views[0][FEATURES], data, 1), validation, num_classes=num_classes)
    if len(features.views) == 1:
        return plain
    every = _train_rows(features.of_train(FEATURES), data, len(features.views))
    varied = fit_head(every, validation, num_classes=num_classes)
    # Where there is too little to choose by, more views are the safer start.
    return plain if plain.judged < varied.judged and not varied.is_safe else varied


def _train_rows(features: StoredRows, data: Prepared, times: int) -> Rows:
    train = rows_for_fit(data, data.splits.train)
    weights = row_weights(train, data.recipe.training.class_weights)
    repeated = None if weights is None else np.tile(weights, times)
    groups = data.splits.groups if data.splits.groups is not None else data.dataset.groups
    own = None if groups is None else _named_groups(groups[data.splits.train])
    return Rows(features[:], np.tile(train.labels, times), repeated, num_views=times, groups=own)


def _named_groups(groups: NDArray[np.str_]) -> NDArray[np.str_]:
    """A name for each row: one without a group is a group of its own."""
    return np.where(groups == "", np.char.add("\0", np.arange(len(groups)).astype(str)), groups)


def _finetune(
    network: keras.Model, features: FeatureTables, data: Prepared, outputs: FitOutputs, *, before: float
) -> tuple[Fitted, bool]:
    """Let the upper part or the whole learn; go back to the head alone if validation is not better."""
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    kept = network.get_weights()
    recipe = data.recipe
    learner, train, augmentation = _learner(network, features, data)
    validation = _validation(features, data)
    try:
        if outputs.deadline is not None:
            recipe = _within(outputs, learner, train, data, augmentation)
        fitted = fit(learner, train, validation=validation, recipe=recipe, augmentation=augmentation, outputs=outputs)
    except (TrainingFailed, InvalidValue) as error:
        network.set_weights(kept)
        reporter().say(f"no fine-tuning, the head alone stays: {error}")
        if outputs.history_path is not None:
            write_atomically(outputs.history_path, "".join(json.dumps(row) + "\n" for row in outputs.before))
        return Fitted((), 0, stopped_early=True, seconds=0.0, images_per_second=0.0), False
    after = float("nan")
    if validation is not None:
        after = calibrated_cross_entropy(
            learner.predict(validation.images[:], batch_size=64, verbose=0), validation.labels
        )
    is_kept = after < before  # NaN, of a network that diverged, is not
    if not is_kept:
        network.set_weights(kept)
    verdict = "kept" if is_kept else "not kept: the head alone stays"
    reporter().say(f"fine-tuned: validation cross-entropy {after:.4f}, before {before:.4f}; {verdict}")
    return fitted, is_kept


def _within(
    outputs: FitOutputs, learner: keras.Model, train: LabelledImages, data: Prepared, augmentation: keras.Model | None
) -> Recipe:
    """The recipe with as many epochs of fine-tuning as end in time."""
    num_judged = len(data.dataset) - len(data.splits.train)
    epochs = planned_epochs(outputs) or epochs_within(
        outputs.deadline or 0.0, learner, train, num_judged=num_judged, recipe=data.recipe, augmentation=augmentation
    )
    return data.recipe.changed({"training.finetune_epochs": epochs})


def _learner(
    network: keras.Model, features: FeatureTables, data: Prepared
) -> tuple[keras.Model, LabelledImages, keras.Model | None]:
    """What is fine-tuned, on what, and the augmentation before it: the upper part on stored activations, or all."""
    train = rows_for_fit(data, features.train)
    if not features.has_middle:
        augmentation = build_augmentation(data.recipe.augmentation, data.spec, seed=data.recipe.seed)
        return network, train, augmentation
    upper = keras.Model(network.get_layer(features.cut).output, network.output, name="upper")
    times = len(features.views)
    repeated = None if train.weights is None else np.tile(train.weights, times)
    return (
        upper,
        LabelledImages(features.of_train(MIDDLE), np.tile(train.labels, times), repeated, task=train.task),
        None,
    )


def _validation(features: FeatureTables, data: Prepared) -> LabelledImages | None:
    rows = data.splits.validation
    if not len(rows):
        return None
    if not features.has_middle:
        return rows_for_fit(data, rows)
    stored = StoredRows([(features.whole[MIDDLE], rows)])
    return LabelledImages(stored, data.dataset.labels[rows], task=data.dataset.task)


def _head_row(head: Head, features: FeatureTables, data: Prepared, seconds: float) -> dict[str, float]:
    """The head as the first row of the history."""
    row: dict[str, float] = {"epoch": 1, **_figures("", head, features, data, data.splits.train)}
    if len(data.splits.validation):
        row |= _figures("validation_", head, features, data, data.splits.validation)
    # A head is fitted to the end, not by steps: there is no rate.
    return row | {"learning_rate": 0.0, "seconds": seconds}


def _figures(
    prefix: str, head: Head, features: FeatureTables, data: Prepared, rows: NDArray[np.int64]
) -> dict[str, float]:
    logits, labels = head.logits(np.asarray(features.whole[FEATURES][rows])), data.dataset.labels[rows]
    task = data.dataset.task
    accuracy = float(task.is_right(logits, labels).mean())
    return {f"{prefix}loss": float(task.surprises(logits, labels).mean()), f"{prefix}accuracy": accuracy}


def _head_line(head: Head, row: dict[str, float]) -> str:
    judged = f", validation accuracy {row['validation_accuracy']:.4f}" if "validation_accuracy" in row else ""
    return f"head fitted on features of the frozen backbone in {row['seconds']:.0f} s ({head.how}){judged}"
