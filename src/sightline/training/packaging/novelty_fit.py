"""What a novelty score is made of: where learned images and classes lie, and which of two scores tells more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.sessions import Session
from sightline.bundles.trust.novelty import METHODS, USUAL_METHOD, NoveltyMeasures
from sightline.metrics.novelty import (
    ClassDistances,
    class_scores,
    fit_class_distances,
    neighbour_scores,
    placed,
    principal_directions,
    separation,
)
from sightline.training.packaging.unlike_images import unlike_images
from sightline.training.setup.preparation import Prepared
from sightline.training.setup.reference_rows import FEWEST_OF_A_MEAN, NUM_REFERENCES, reference_rows

# The output by which novelty is told, in a network that is looked at; no bundle has it.
SEEN = "novelty/seen"
# What is wider, or that too many classes have a mean of, are projected: all that is kept has 4 MB at most,
# 1 for the nearest images, 1.3 for the directions, 1.6 for the classes.
MOST_WIDTH, MOST_DIRECTION_VALUES, MOST_CLASS_VALUES = 512, 660_000, 800_000
# The choice rests on validation images, at most so many, and on as many folds of classes.
MOST_JUDGED, FEWEST_JUDGED, MOST_FOLDS = 500, 20, 4
_RATE = 0.05


@dataclass(frozen=True, eq=False)
class FittedNovelty:
    """Both scores of novelty, in numbers that float16 holds, and the one that was chosen.

    Attributes:
        directions: (width, num_directions) that what is seen is projected on, or None.
        bank: (num_images, num_values), where learned images lie.
        rows: (num_images,) of the data, which they are.
        classes: where classes lie.
        method: a name of METHODS.
        measures: what was found out about it; None where too few validation images were there to ask.
    """

    directions: NDArray[np.float64] | None
    bank: NDArray[np.float64]
    rows: NDArray[np.int64]
    classes: ClassDistances
    method: str
    measures: NoveltyMeasures | None = None

    def scores(self, seen: NDArray[np.float32], method: str | None = None) -> NDArray[np.float64]:
        """(num_images,) for (num_images, width); of the chosen method if none is named."""
        points = placed(seen, self.directions)
        if (method or self.method) == "images":
            return neighbour_scores(points, self.bank)
        return class_scores(points, self.classes)


@dataclass(frozen=True, eq=False)
class _Seen:
    """What the network sees of some images, and their classes."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]

    def take(self, chosen: NDArray[np.generic]) -> _Seen:
        return _Seen(self.features[chosen], self.labels[chosen])


def fit_novelty(session: Session, data: Prepared) -> FittedNovelty | None:
    """Fit both scores on train rows and choose one by validation rows; None where too few can be looked at.

    Args:
        session: the deployed network with the output SEEN.
        data: whose rows are looked at.
    """
    # Of images that must not travel, not even what the network sees of one may: a mean of many may.
    may_travel, seed = data.recipe.data.neighbours != "none", data.recipe.seed
    rows = reference_rows(data.dataset, data.splits.train, data.spec, seed=seed, may_travel=may_travel)
    rows, learned = _look(session, data, rows)
    if not may_travel:
        is_of_many = np.bincount(learned.labels)[learned.labels] >= FEWEST_OF_A_MEAN
        rows, learned = rows[is_of_many], learned.take(is_of_many)
    if len(rows) < FEWEST_JUDGED:
        return None
    directions = principal_directions(
        learned.features, kept_width(learned.features.shape[1], len(np.unique(learned.labels)))
    )
    if directions is not None:
        directions = rounded(directions)
    allowed = [name for name in METHODS if name != "images" or may_travel]
    fitted = replace(_fit(learned, directions), rows=rows[:NUM_REFERENCES], method=allowed[0])
    judged = data.splits.validation[_spread(len(data.splits.validation), MOST_JUDGED)]
    judged, known = _look(session, data, judged)
    if len(judged) < FEWEST_JUDGED:
        return fitted
    made = {
        name: session.collect(images, [SEEN])[SEEN]
        for name, images in unlike_images(data.pixels.take(judged)[:]).items()
    }
    found = {name: _measure(name, fitted, (learned, known), made) for name in allowed}
    best = best_method(found)
    return replace(fitted, method=best, measures=found[best])


def best_method(found: Mapping[str, NoveltyMeasures]) -> str:
    """The one that tells classes that were left out best, unless it is vetoed; of two alike the usual.

    Vetoed by made images is whatever misses more kinds of them than another, however well it tells classes apart.
    """
    most = max(measures.num_caught for measures in found.values())
    allowed = {name: measures for name, measures in found.items() if measures.num_caught == most}
    return max(allowed, key=lambda name: allowed[name].separation or 0)


def kept_width(width: int, num_classes: int) -> int:
    """How many values of what is seen, `width`, can be kept of an image in 4 MB; where fewer, it is projected."""
    # The largest w with w * (w + num_classes) values.
    for_classes = int((math.sqrt(num_classes**2 + 4 * MOST_CLASS_VALUES) - num_classes) / 2)
    most = min(MOST_WIDTH, for_classes)
    return most if width <= most else max(min(most, MOST_DIRECTION_VALUES // width + 1), 2)


def rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest numbers that float16 holds, but for one power of two for all."""
    factor = factor_of(values)
    return np.asarray((values / factor).astype(np.float16).astype(np.float64) * factor)


def factor_of(values: NDArray[np.float64]) -> float:
    """The power of two that brings the largest value near 1."""
    largest = float(np.abs(values).max(initial=0))
    return 2.0 ** math.ceil(math.log2(largest)) if largest > 0 else 1.0


def _spread(num_rows: int, most: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, num_rows - 1, min(num_rows, most)).astype(np.int64)) if num_rows else np.arange(0)


def _look(session: Session, data: Prepared, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], _Seen]:
    """Those of the rows that have an image of which the network sees finite numbers, and these."""
    rows = rows[[row not in data.pixels.errors for row in rows.tolist()]] if len(rows) else rows
    found = session.collect(data.pixels.take(rows), [SEEN], with_progress=True)[SEEN]
    is_finite = np.isfinite(found).all(axis=1)
    rows = rows[is_finite]
    return rows, _Seen(found[is_finite], data.dataset.labels[rows])


def _fit(learned: _Seen, directions: NDArray[np.float64] | None) -> FittedNovelty:
    points = placed(learned.features, directions)
    classes = fit_class_distances(points, learned.labels)
    centre = classes.centre.astype(np.float32).astype(np.float64)
    scale = rounded(classes.scale)
    means = rounded(classes.class_means + (classes.centre - centre) @ classes.scale)
    bank = rounded(points[:NUM_REFERENCES])
    return FittedNovelty(directions, bank, np.arange(len(bank)), ClassDistances(centre, scale, means), USUAL_METHOD)


def _measure(
    method: str, fitted: FittedNovelty, seen: tuple[_Seen, _Seen], made: dict[str, NDArray[np.float32]]
) -> NoveltyMeasures:
    """How a method does on classes that are left out, and on made images at 5 % false alarms of validation images."""
    learned, known = seen
    classes = np.random.default_rng(0).permutation(np.unique(learned.labels))
    num_folds = min(len(classes), MOST_FOLDS)
    separations, found_shares = [], []
    for fold in range(num_folds if len(classes) > 1 else 0):
        is_learned, is_known = (~np.isin(part.labels, classes[fold::num_folds]) for part in (learned, known))
        if is_known.all() or not is_known.any() or is_learned.sum() < FEWEST_JUDGED:
            continue
        without = _fit(learned.take(is_learned), fitted.directions)
        scores = without.scores(known.features, method)
        separations.append(separation(scores[is_known], scores[~is_known]))
        found_shares.append(_share_above(scores[~is_known], scores[is_known]))
    scores = fitted.scores(known.features, method)
    caught = {name: _share_above(fitted.scores(part, method), scores) for name, part in made.items()}
    return NoveltyMeasures(
        separation=float(np.mean(separations)) if separations else None,
        found=float(np.mean(found_shares)) if found_shares else None,
        caught=caught,
    )


def _share_above(scores: NDArray[np.float64], known: NDArray[np.float64]) -> float:
    limit = np.sort(known)[math.ceil((1 - _RATE) * len(known)) - 1]
    return float((scores > limit).mean())
