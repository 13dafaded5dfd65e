"""How many epochs fit into a time: planned from the speed measured here, so that the schedule can end with them."""

from __future__ import annotations

import math
import time

import keras
import numpy as np

from sightline.configuration.consistency import (
    SECONDS_FOR_THE_REST,
    epochs_key,
    is_pretrained,
    learns_from_features,
)
from sightline.configuration.schema import Recipe
from sightline.errors import InvalidValue
from sightline.system.progress import reporter, reporting
from sightline.training.loop.batches import LabelledImages, drawn_rows
from sightline.training.loop.fit import fit
from sightline.training.loop.recording import FitOutputs

SHARE_FOR_THE_REST = 0.05
# What a forward pass costs beside a step of training.
FORWARD_SHARE = 0.35
TRIAL_STEPS = 50
# Of a large network, whose steps take seconds.
FEW_STEPS = 4
# What is asked for instead of a budget that is too short, beside what was measured.
ROOM = 1.25


def epochs_within(
    deadline: float,
    network: keras.Model,
    train: LabelledImages,
    *,
    num_judged: int,
    recipe: Recipe,
    augmentation: keras.Model | None = None,
) -> int:
    """The number of epochs that end in time, by a short trial whose weights are forgotten.

    Args:
        deadline: on the clock of `time.perf_counter`.
        network: what will learn; its weights are the same afterwards.
        train: what it will learn from.
        num_judged: images of all other splits, each of which is looked at once more at the end.
        recipe: resolved.
        augmentation: put before the network while training, or None.
    """
    kept = network.get_weights()
    tracing, a_image = _trial(network, train, recipe, augmentation)
    network.set_weights(kept)
    num_validation = round(num_judged * 0.25)
    # Balanced sampling sees rare classes several times an epoch.
    num_drawn = len(drawn_rows(train.strata, recipe.training.sampling))
    epoch = a_image * (num_drawn + FORWARD_SHARE * num_validation)
    left = deadline - time.perf_counter()
    rest = SECONDS_FOR_THE_REST + SHARE_FOR_THE_REST * max(left, 0.0) + FORWARD_SHARE * a_image * num_judged
    epochs = math.floor((left - rest - tracing) / epoch)
    if epochs < 1:
        # Room for a machine that is busier the next time: who gives what is asked for here is not asked again.
        spent = max((recipe.training.time_budget_seconds or left) - left, 0.0)
        enough = math.ceil(ROOM * (spent + tracing + epoch + rest) / 10) * 10
        raise InvalidValue(
            f"training.time_budget_seconds leaves {max(left - rest - tracing, 0):.0f} s for learning: {spent:.0f} s "
            f"went into starting, one epoch takes about {epoch:.0f} s here, and what comes after it {rest:.0f} s. Give "
            f"{enough} s or more, use fewer images (--fraction), or a smaller network."
        )
    reporter().say(f"an epoch takes about {epoch:.1f} s: {epochs} of them fit into the time")
    return epochs


def _trial(
    network: keras.Model, train: LabelledImages, recipe: Recipe, augmentation: keras.Model | None
) -> tuple[float, float]:
    """Seconds to get started, and seconds an image from then on."""
    is_large = is_pretrained(recipe) and not learns_from_features(recipe)
    most = int(recipe.training.batch_size) * (FEW_STEPS if is_large else TRIAL_STEPS)
    rows = np.random.default_rng(recipe.seed).permutation(len(train))[:most]
    part = LabelledImages(train.images[np.sort(rows)], train.labels[np.sort(rows)], task=train.task)
    # The trial may be too short for a single step of many batches, which the run is not.
    most_batches = math.ceil(len(part) / int(recipe.training.batch_size))
    trial = {
        epochs_key(recipe): 3,
        "training.early_stopping_patience": None,
        "training.early_stopping_min_change": 0.0,
        "training.sampling": "natural",
        "optimizer.accumulation_steps": min(recipe.optimizer.accumulation_steps, most_batches),
    }
    with reporting("quiet"):
        fitted = fit(
            network,
            part,
            validation=None,
            recipe=recipe.changed(trial),
            augmentation=augmentation,
            outputs=FitOutputs(),
        )
    first, *others = (row["seconds"] for row in fitted.history)
    usual = min(others)
    return max(first - usual, 0.0), usual / len(part)
