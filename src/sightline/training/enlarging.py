"""A larger side of the images for a pretrained network, in a time budget, where train images say that it is better."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.bundle import EMBEDDED, load_bundle
from sightline.bundles.features import feature_tables
from sightline.bundles.sessions import open_session
from sightline.configuration.consistency import SECONDS_FOR_THE_REST
from sightline.data.inputs.pixels import Pixels, read_pixels
from sightline.system.progress import reporter
from sightline.training.setup.preparation import Prepared
from sightline.training.setup.resolution import Settled, take_steps
from sightline.training.transfer.activations import FEATURES
from sightline.training.transfer.beginning import named_groups
from sightline.training.transfer.head import Head, Rows, fit_head, is_taught
from sightline.training.transfer.stages import Comparison

# By the side that is usual: photographs, and files of less than 64 pixels, which are enlarged already.
SIDES = {224: (320,), 96: (224, 160, 128)}
MOST_SAMPLED = 400
# Of an image of 224 pixels on a slow laptop. Not measured: a training that is gone on with has to decide the same.
USUAL_SECONDS, USUAL_SIDE = 0.01, 224
# Of the budget, which features of all views may take.
SHARE = 0.3


def enlarged(data: Prepared) -> Prepared:
    """The same data, fed by a larger side where that was left to Sightline and a head on features is better by it.

    The largest side of those for which the budget suffices is looked at, on up to 400 train images, each answered by
    heads that learned from others. It is taken where it is better beyond chance.

    Args:
        data: resolved, with a time budget.
    """
    side = _affordable(data)
    rows = _sample(data) if side is not None else np.zeros(0, np.int64)
    if side is None or not len(rows):
        return data
    usual = max(data.spec.height, data.spec.width)
    height, width = (round(length * side / usual) for length in (data.spec.height, data.spec.width))
    spec = dataclasses.replace(data.spec, height=height, width=width)
    looked_at = read_pixels(data.dataset.take(rows), spec, limit_gib=data.recipe.data.cache_limit_gib)
    before = _head(data, rows, data.pixels.take(rows))
    if looked_at.errors or before.is_safe:
        return data
    after = _head(data, rows, looked_at)
    found = Comparison(before.surprises, after.surprises, f"{before.judged_on}, {len(rows):,} of them")
    told = f"cross-entropy {after.judged:.4f}, before {before.judged:.4f}, on {found.judged_on}"
    if not found.is_better:
        reporter().say(f"images stay at {usual} pixels a side: not better beyond chance at {side}; {told}")
        return data
    pixels = read_pixels(data.dataset, spec, limit_gib=data.recipe.data.cache_limit_gib)
    if pixels.errors:
        return data
    reporter().say(
        f"images are fed at {side} pixels a side instead of {usual}: better beyond chance; {told}. An answer takes "
        f"about {(side / usual) ** 2:.1f} times as long; --set data.image_size={usual} keeps it short."
    )
    reason = f"better beyond chance than {usual}; {told}"
    settled = take_steps(Settled(data.recipe, data.changes), [("data.image_size", side, reason)])
    return dataclasses.replace(data, pixels=pixels, spec=spec, recipe=settled.recipe, changes=settled.changes)


def _affordable(data: Prepared) -> int | None:
    """The largest side whose features of all views the budget suffices for; None: nothing is to be chosen."""
    recipe, budget = data.recipe, data.recipe.training.time_budget_seconds
    is_embedded = recipe.model.name == "efficientnet-lite0" and recipe.model.weights == "imagenet"
    is_free = any(change.key == "data.image_size" and change.asked == "auto" for change in data.changes)
    if budget is None or not is_embedded or not is_free or recipe.ensemble.kind != "none":
        return None
    num_views = len(data.dataset) + (int(recipe.training.feature_variants) - 1) * len(data.splits.train)
    allowed = SHARE * (budget - SECONDS_FOR_THE_REST)
    for side in SIDES.get(max(data.spec.height, data.spec.width), ()):
        if num_views * USUAL_SECONDS * (side / USUAL_SIDE) ** 2 <= allowed:
            return side
    return None


def _sample(data: Prepared) -> NDArray[np.int64]:
    """Rows of train, as many of each class as there are, up to an even share; none where a class would be missing."""
    train = np.random.default_rng(data.recipe.seed).permutation(data.splits.train)
    labels = data.dataset.labels[train]
    if labels.ndim == 1:
        by_class = np.argsort(labels, kind="stable")
        counts = np.bincount(labels, minlength=data.dataset.num_classes)
        rank = np.empty(len(train), np.int64)
        rank[by_class] = np.concatenate([np.arange(count) for count in counts])
        train = train[np.argsort(rank, kind="stable")]
    rows: NDArray[np.int64] = np.sort(train[:MOST_SAMPLED])
    return rows if is_taught(data.dataset.labels[rows], data.dataset.num_classes) else rows[:0]


def _head(data: Prepared, rows: NDArray[np.int64], pixels: Pixels) -> Head:
    session = open_session(load_bundle(EMBEDDED))
    shape = tuple(int(length) for length in session.output_shapes()[FEATURES][1:])
    features = np.asarray(feature_tables(session, pixels, outputs={FEATURES: shape})[FEATURES][:])
    groups = data.splits.groups if data.splits.groups is not None else data.dataset.groups
    own = None if groups is None else named_groups(groups[rows])
    known = Rows(features, data.dataset.labels[rows], groups=own)
    return fit_head(known, None, num_classes=data.dataset.num_classes)
