"""Whether fine-tuning is worth it where validation is too small to tell: by what halves of the train images teach."""

from __future__ import annotations

import keras
import numpy as np

from sightline.system.progress import reporting
from sightline.training.loop.batches import LabelledImages
from sightline.training.loop.fit import fit
from sightline.training.loop.network import freeze_statistics
from sightline.training.loop.recording import FitOutputs
from sightline.training.setup.preparation import Prepared
from sightline.training.transfer.activations import FEATURES, MIDDLE, FeatureTables
from sightline.training.transfer.head import Rows, fit_head, folds_of, is_taught
from sightline.training.transfer.judging import calibrated_surprises
from sightline.training.transfer.stages import Comparison

HALVES = "halves of the train images"


def compare_on_halves(network: keras.Model, features: FeatureTables, data: Prepared, train: Rows) -> Comparison:
    """A head and what fine-tuning makes of it, each half answered by what was learned from the other.

    Together they cost what one fine-tuning costs. After the first, the second is left out if there was no gain. The
    network has its weights from before afterwards, and frozen batch statistics.

    Args:
        network: with the head of all train rows.
        features: of all rows, with activations of the middle.
        data: resolved.
        train: features and labels of all views of the train rows.
    """
    freeze_statistics(network)
    images = train.labels[: train.num_images]
    folds = folds_of(images, train.groups, num_classes=data.dataset.num_classes, num_folds=2)
    kept, before, after = network.get_weights(), [], []
    for half in (0, 1):
        answered, learned = np.flatnonzero(folds == half), folds != half
        if not is_taught(images[learned], data.dataset.num_classes):
            continue
        part = train.take(learned)
        head = fit_head(part, None, num_classes=data.dataset.num_classes)
        network.get_layer("logits").set_weights([head.kernel, head.bias])
        upper = keras.Model(network.get_layer(features.cut).output, network.output, name="upper")
        middles = features.of_train(MIDDLE)
        rows = np.flatnonzero(np.tile(learned, train.num_views))
        own = data.dataset.weights
        weights = None if own is None else np.tile(own[features.train], train.num_views)[rows]
        shown = LabelledImages(middles[rows], part.labels, weights, task=data.dataset.task)
        with reporting("quiet"):
            fit(upper, shown, validation=None, recipe=data.recipe, outputs=FitOutputs())
        seen = np.asarray(features.whole[FEATURES][features.train[answered]])
        before.append(calibrated_surprises(head.logits(seen), images[answered]))
        logits = upper.predict(middles[answered], batch_size=64, verbose=0)
        after.append(calibrated_surprises(logits, images[answered]))
        network.set_weights(kept)
        if not after[0].mean() < before[0].mean():
            break
    nothing = np.zeros(0)
    return Comparison(np.concatenate([nothing, *before]), np.concatenate([nothing, *after]), HALVES)
