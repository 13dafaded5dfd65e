"""What fine-tuning starts from: features of a frozen backbone, by batch statistics that suit them, and a head."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from sightline.errors import TrainingFailed
from sightline.training.loop.batches import row_weights, rows_for_fit
from sightline.training.setup.preparation import Prepared
from sightline.training.transfer.activations import FEATURES, FeatureTables, StoredRows
from sightline.training.transfer.head import Head, Rows, fit_head
from sightline.training.transfer.stages import FEWEST_WRONG, Comparison, Stage, tell
from sightline.training.transfer.statistics import adapt_statistics, hardly_vary

# Within a time budget: what features and head by other batch statistics may take, by what they took before.
TIMES_TO_ADAPT = 4.0


@dataclass(frozen=True, eq=False)
class Beginning:
    """What fine-tuning starts from.

    Attributes:
        features: of the backbone as it is now.
        head: on them.
        rows: all views of the train rows, which it was fitted on or chosen beside.
        stages: how it came about.
    """

    features: FeatureTables
    head: Head
    rows: Rows
    stages: tuple[Stage, ...]


def begin(network: keras.Model, data: Prepared, *, deadline: float | None) -> Beginning:
    """Fit a head on features of the frozen backbone, and set it into the network.

    With a deadline on the clock of `time.perf_counter`, as much as ends in time.
    """
    started = time.perf_counter()
    features = FeatureTables(network, data, deadline=deadline)
    head, rows = _head(features, data)
    stage = Stage("head", is_kept=True, why=head.how, seconds=time.perf_counter() - started)
    begun = _adapted(network, data, Beginning(features, head, rows, (stage,)), deadline)
    network.get_layer("logits").set_weights([begun.head.kernel, begun.head.bias])
    return begun


def _adapted(network: keras.Model, data: Prepared, begun: Beginning, deadline: float | None) -> Beginning:
    """By batch statistics in part of the train images, in place, where features hardly vary and the head gains."""
    started = time.perf_counter()
    could_gain = not begun.head.is_safe and begun.head.num_wrong >= FEWEST_WRONG
    if not could_gain or not is_length_free(data) or not hardly_vary(begun.rows.features):
        return begun
    if deadline is not None and deadline - started < TIMES_TO_ADAPT * begun.stages[0].seconds:
        return begun
    kept, images = network.get_weights(), rows_for_fit(data, data.splits.train).images
    if not adapt_statistics(network, images, seed=data.recipe.seed):
        return begun
    features = FeatureTables(network, data, deadline=deadline, is_published=False)
    head, rows = _head(features, data)
    found = Comparison(begun.head.surprises, head.surprises, begun.head.judged_on)
    why = "better beyond chance" if found.is_better else "not better beyond chance"
    stage = found.stage("statistics", is_kept=found.is_better, why=why, seconds=time.perf_counter() - started)
    tell(stage)
    if found.is_better:
        return Beginning(features, head, rows, (*begun.stages, stage))
    network.set_weights(kept)
    return dataclasses.replace(begun, stages=(*begun.stages, stage))


def is_length_free(data: Prepared) -> bool:
    """Whether the length of the fine-tuning was left to Sightline."""
    return any(change.key == "training.finetune_epochs" and change.asked == "auto" for change in data.changes)


def _head(features: FeatureTables, data: Prepared) -> tuple[Head, Rows]:
    """The better of two heads on rows that neither was fitted on: of the images as they are, or of all their views.

    And all views of the train rows.
    """
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
    own = _train_rows(features.views[0][FEATURES], data, 1)
    plain = fit_head(own, validation, num_classes=num_classes)
    if len(features.views) == 1:
        return plain, own
    every = _train_rows(features.of_train(FEATURES), data, len(features.views))
    varied = fit_head(every, validation, num_classes=num_classes)
    # Where there is too little to choose by, more views are the safer start.
    return (plain if plain.judged < varied.judged and not varied.is_safe else varied), every


def _train_rows(features: StoredRows, data: Prepared, times: int) -> Rows:
    train = rows_for_fit(data, data.splits.train)
    weights = row_weights(train, data.recipe.training.class_weights)
    repeated = None if weights is None else np.tile(weights, times)
    groups = data.splits.groups if data.splits.groups is not None else data.dataset.groups
    own = None if groups is None else named_groups(groups[data.splits.train])
    return Rows(features[:], np.concatenate([train.labels] * times), repeated, num_views=times, groups=own)


def named_groups(groups: NDArray[np.str_]) -> NDArray[np.str_]:
    """A name for each row: one without a group is a group of its own."""
    return np.where(groups == "", np.char.add("\0", np.arange(len(groups)).astype(str)), groups)
