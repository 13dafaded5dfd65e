"""One network fitted by its recipe: from nothing, or on a pretrained backbone; float32 whatever it was computed in."""

from __future__ import annotations

import keras

from sightline.configuration.consistency import is_pretrained
from sightline.networks.building import build_network
from sightline.training.augmentation.pipeline import build_augmentation
from sightline.training.loop.batches import rows_for_fit, train_rows_for_fit
from sightline.training.loop.fit import Fitted, fit, planned_epochs
from sightline.training.loop.network import dtype_policy, enough_memory
from sightline.training.loop.recording import FitOutputs
from sightline.training.loop.time_budget import epochs_within
from sightline.training.setup.preparation import Prepared
from sightline.training.transfer.finetuning import fit_transfer


def fit_network(network: keras.Model, data: Prepared, outputs: FitOutputs) -> tuple[keras.Model, Fitted]:
    """Let a network learn the train rows as its recipe says.

    Returns:
        The network, or one in float32 with its weights where it was computed otherwise; and the course of the fit.
    """
    with dtype_policy(data.recipe.training.precision), enough_memory(int(data.recipe.training.batch_size)):
        fitted = fit_transfer(network, data, outputs) if is_pretrained(data.recipe) else _fit(network, data, outputs)
    if data.recipe.training.precision == "float32":
        return network, fitted
    exact = build_network(data.spec.shape, data.dataset.num_classes, data.recipe.model, data.network)
    exact.set_weights(network.get_weights())
    return exact, fitted


def _fit(network: keras.Model, data: Prepared, outputs: FitOutputs) -> Fitted:
    recipe, train = data.recipe, train_rows_for_fit(data)
    augmentation = None
    if data.distillation is None:
        # A teacher answered for the views that a student learns as they are: they are not changed again.
        augmentation = build_augmentation(recipe.augmentation, data.spec, seed=recipe.seed)
    if outputs.deadline is not None:
        num_judged = len(data.dataset) - len(train)
        epochs = planned_epochs(outputs) or epochs_within(
            outputs.deadline, network, train, num_judged=num_judged, recipe=recipe, augmentation=augmentation
        )
        recipe = recipe.changed({"training.epochs": epochs})
    validation = rows_for_fit(data, data.splits.validation) if len(data.splits.validation) else None
    return fit(network, train, validation=validation, recipe=recipe, augmentation=augmentation, outputs=outputs)
