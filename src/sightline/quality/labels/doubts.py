"""Which labels are doubtful: each judged by a frozen network and two linear classifiers that did not learn from it."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.bundle import EMBEDDED, load_bundle
from sightline.bundles.features import feature_tables
from sightline.bundles.sessions import session_of
from sightline.data.duplicates.search import connected_components
from sightline.data.inputs.pixels import Pixels, read_pixels
from sightline.metrics.classification import softmax
from sightline.metrics.labels.discriminants import OutOfFold
from sightline.metrics.labels.folds import grouped_folds
from sightline.metrics.labels.quality import label_doubts
from sightline.quality.labels.outliers import class_outliers
from sightline.quality.labels.planting import PlantedFlips, no_planting, num_rounds, plant_flips
from sightline.records import Dataset, InputSpec
from sightline.system.progress import reporter
from sightline.system.text import counted, listed

# The embedded network sees enough at this size, at a fifth of the time of its own.
LOOKED_AT: Final = InputSpec(96, 96, "rgb", "fit")
FEWEST_IMAGES: Final = 10
"""Of a class with fewer that do not hang together, no label is judged."""
MOST_SHARE, FEWEST_LISTED = 0.05, 50
"""A list names at most this share of the labels, or so many where that is less."""
MOST_SHOWN: Final = 30
"""The nearest images are looked up for so many."""
NUM_NEAREST: Final = 3


@dataclass(frozen=True, eq=False)
class LabelDoubts:
    """How doubtful each label is; none of them is called wrong.

    Attributes:
        rows: (num_judged,) int64 rows of the dataset, the most doubtful first.
        suggested: (num_judged,) int64 the class that fits best beside the given one.
        doubts: (num_judged,) float64, 1 for the most doubtful label, 0 for the least.
        num_listed: how many of them are worth a look: two classifiers would give them another class.
        nearest_given: (num_shown, 3) int64 rows of the nearest images of the given class; -1 for none.
        nearest_suggested: (num_shown, 3) the same of the suggested class.
        planted: what such a list finds of labels changed on purpose; None where there are too few images.
        not_judged: names of the classes with too few images.
        outliers: (num_outliers,) rows unlike the others of their class, the farthest first.
    """

    rows: NDArray[np.int64]
    suggested: NDArray[np.int64]
    doubts: NDArray[np.float64]
    num_listed: int
    nearest_given: NDArray[np.int64]
    nearest_suggested: NDArray[np.int64]
    planted: PlantedFlips | None
    not_judged: tuple[str, ...] = ()
    outliers: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def __repr__(self) -> str:
        return f"LabelDoubts({self.num_listed:,} of {counted(len(self.rows), 'label')} to look at)"

    @property
    def believed(self) -> str:
        """How far the list can be believed, in words."""
        return self.planted.in_words if self.planted is not None else no_planting(len(self.rows))

    def figures(self, dataset: Dataset) -> dict[str, Any]:
        """As plain values, for JSON."""
        rows = self.rows[: self.num_listed]
        lines = zip(
            dataset.row_ids[rows].tolist(),
            dataset.named(rows),
            [dataset.class_names[number] for number in self.suggested[: self.num_listed].tolist()],
            self.doubts[: self.num_listed].tolist(),
            strict=True,
        )
        return {
            "num_judged": len(self.rows),
            "not_judged": list(self.not_judged),
            "planted": None if self.planted is None else self.planted.figures(),
            "listed": [
                {"file": file, "given": given, "suggested": suggested, "doubt": doubt}
                for file, given, suggested, doubt in lines
            ],
        }


def find_doubts(dataset: Dataset, *, readable: NDArray[np.bool_], copies: NDArray[np.int64]) -> LabelDoubts | str:
    """Judge every label by what was learned from the others.

    Args:
        dataset: the rows.
        readable: (num_images,) False for images that are passed over.
        copies: (num_pairs, 2) rows that show the same; they and the groups of the dataset are in one fold.

    Returns:
        The doubts, or why there are none.
    """
    groups = tied_groups(dataset, copies)
    judged = _judged(dataset, readable, groups)
    counts, all_counts = dataset.counts(judged), dataset.counts()
    missing = tuple(dataset.class_names[label] for label in np.flatnonzero((counts == 0) & (all_counts > 0)))
    if (counts > 0).sum() < 2:
        return f"doubtful labels: two classes of at least {FEWEST_IMAGES} images that do not hang together are needed"
    chosen = dataset.take(judged)
    kept, labels = np.unique(chosen.labels, return_inverse=True)
    features, is_read = frozen_features(chosen)
    if not is_read.all():  # gone since they were looked at
        return find_doubts(
            dataset, readable=readable & ~np.isin(np.arange(len(dataset)), judged[~is_read]), copies=copies
        )
    reporter().say(f"doubtful labels: judging {counted(len(judged), 'label')}")
    folds = grouped_folds(labels, groups[judged], num_classes=len(kept))
    # Products of features, the labels as they are, and twice in each round of changed ones.
    total = len(np.unique(folds)) * (2 + 2 * num_rounds(labels))
    with reporter().bar("judging labels", total=total, unit="parts") as bar:
        judge = OutOfFold(features, folds, after_fold=functools.partial(bar.advance, 1))
        answers = judge.answers(labels, num_classes=len(kept))
        planted = plant_flips(judge, labels, look_alikes(labels, answers[1]))
    doubts = label_doubts(labels, *answers)
    fits = softmax(answers[0]) + answers[1]
    both = (answers[0].argmax(axis=1) != labels) & (answers[1].argmax(axis=1) != labels)
    fits[np.arange(len(labels)), labels] = -np.inf
    suggested = fits.argmax(axis=1)
    # What is listed comes first: labels that both would change, the most doubtful before the others.
    order = np.lexsort((-doubts, ~both))
    shown = order[: min(MOST_SHOWN, int(both.sum()))]
    nearest = [_nearest(features, labels, groups[judged], shown, classes[shown]) for classes in (labels, suggested)]
    return LabelDoubts(
        rows=judged[order],
        suggested=kept[suggested[order]],
        doubts=doubts[order],
        num_listed=min(int(both.sum()), max(FEWEST_LISTED, round(MOST_SHARE * len(judged)))),
        nearest_given=np.where(nearest[0] < 0, -1, judged[nearest[0]]),
        nearest_suggested=np.where(nearest[1] < 0, -1, judged[nearest[1]]),
        planted=planted,
        not_judged=missing,
        outliers=judged[class_outliers(features, labels, groups[judged])],
    )


def finding_words(found: LabelDoubts) -> str:
    """What is said of them beside their names."""
    missing = f"; not judged, for too few images: {listed(found.not_judged)}" if found.not_judged else ""
    return (
        f"{counted(found.num_listed, 'label')} of {len(found.rows):,} that two classifiers would give another class, "
        f"the most doubtful first; {found.believed}{missing}"
    )


def tied_groups(dataset: Dataset, copies: NDArray[np.int64]) -> NDArray[np.int64]:
    """(num_images,) numbers, equal for rows of one group and for copies, and for what these tie together."""
    pairs = [copies]
    if dataset.groups is not None:
        named = np.where(dataset.groups == "", dataset.row_ids, dataset.groups)
        _, first, inverse = np.unique(named, return_index=True, return_inverse=True)
        pairs.append(np.stack([first[inverse], np.arange(len(dataset))], axis=1))
    return connected_components(len(dataset), np.concatenate(pairs))


def _judged(dataset: Dataset, readable: NDArray[np.bool_], groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the classes that have enough groups."""
    rows = np.flatnonzero(readable)
    pairs = np.unique(np.stack([dataset.labels[rows], groups[rows]], axis=1), axis=0)
    enough = np.bincount(pairs[:, 0], minlength=dataset.num_classes) >= FEWEST_IMAGES
    return np.asarray(rows[enough[dataset.labels[rows]]])


def frozen_features(chosen: Dataset) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(num_images, 1280) float32 of what the embedded network sees, and (num_images,) whether each could be read."""
    return features_of(read_pixels(chosen, LOOKED_AT))


def features_of(pixels: Pixels) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The same of images that are read already, of the size in `LOOKED_AT`; kept file by file."""
    session = session_of(load_bundle(EMBEDDED))
    length = session.output_shapes()["features"][-1]
    table = feature_tables(session, pixels, outputs={"features": (int(length),)})["features"]
    is_read = ~np.isin(np.arange(len(pixels)), list(pixels.errors))
    # Means of what ReLU gives, skewed to the right: their roots are nearer to what a discriminant expects.
    return np.sqrt(np.maximum(np.asarray(table[:], np.float32), 0)), is_read


def look_alikes(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """(num_classes,) the other class that the images of each are most like, on the whole."""
    num_classes = scores.shape[1]
    means = np.stack([scores[labels == label].mean(axis=0) for label in range(num_classes)])
    means[np.diag_indices(num_classes)] = -np.inf
    return np.asarray(means.argmax(axis=1), np.int64)


def _nearest(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    shown: NDArray[np.int64],
    classes: NDArray[np.int64],
) -> NDArray[np.int64]:
    """(num_shown, 3) rows of the nearest images of a class, by cosine, none a copy of the image; -1 for none."""
    lengths = np.maximum(np.linalg.norm(features, axis=1), 1e-12)
    found = np.full((len(shown), NUM_NEAREST), -1, np.int64)
    for place, (row, label) in enumerate(zip(shown.tolist(), classes.tolist(), strict=True)):
        others = np.flatnonzero((labels == label) & (groups != groups[row]))
        closeness = features[others] @ features[row] / lengths[others]
        best = others[np.argsort(-closeness, kind="stable")[:NUM_NEAREST]]
        found[place, : len(best)] = best
    return found
