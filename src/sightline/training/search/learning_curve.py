"""`learning_curve`: accuracy by number of images, and what more of them would bring."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sightline.data.duplicates.search import outstanding, remembered_copies
from sightline.data.inputs.pixels import read_pixels
from sightline.data.sources.loading import load
from sightline.errors import InvalidSource
from sightline.metrics.intervals import normal_quantile, student_t_quantile, wilson_bounds
from sightline.metrics.labels.discriminants import SHRINKAGE, Discriminant
from sightline.metrics.labels.folds import grouped_folds
from sightline.metrics.uncertainty.power_law import FEWEST_SIZES, projected_errors
from sightline.quality.labels.doubts import LOOKED_AT, features_of, tied_groups
from sightline.records import Dataset, image_tag
from sightline.reporting.charts.canvas import check_drawable
from sightline.reporting.charts.learning_curve import learning_curve_png
from sightline.system.files import write_atomically
from sightline.system.paths import check_output, places_of
from sightline.system.progress import Mode, reporter, reporting
from sightline.system.text import counted, listed, printable
from sightline.tasks.table import refuse_several_labels

NUM_FOLDS, NUM_ROUNDS = 5, 2
FEWEST_GROUPS: Final = 5
"""Images of a class that do not hang together: with fewer, one part or the other would have none of them."""
SMALLEST = 5
TIMES: Final = (1, 2, 5)
# A size that is hardly smaller than all images says the same as these.
_LEAST_STEP = 1.3


@dataclass(frozen=True)
class CurvePoint:
    """What so many images gave.

    Attributes:
        images_a_class: the most of each class that were learned from; None where it was all.
        num_images: learned from, on average over the draws.
        accuracy: on images that were not learned from.
        interval: that holds the true accuracy, of such a number of other images, in 95 of 100 cases.
    """

    images_a_class: int | None
    num_images: float
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Projection:
    """What as many images, or more, would give: by the power law through the errors.

    Attributes:
        times: how many times as many images as there are.
        num_images: in all.
        accuracy: on other images.
        interval: that holds it in 95 of 100 cases, if more images are like these.
    """

    times: int
    num_images: int
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """Accuracy by number of images; a notebook shows the picture.

    Attributes:
        name: of the source.
        class_names: that were judged.
        num_images: of those classes, that could be read.
        num_groups: what of them does not hang together, by groups and copies.
        points: what fewer images gave, growing.
        projections: what all of them, 2 and 5 times as many would give; none where that cannot be told.
        remark: why it cannot be told, or what to be careful with; "" for nothing.
        left_out: (class name, images) of the classes with too few.
        errors: (image, reason) of what could not be read.
        png: the picture.
        path: its file, or None.
    """

    name: str
    class_names: tuple[str, ...]
    num_images: int
    num_groups: int
    points: tuple[CurvePoint, ...]
    projections: tuple[Projection, ...]
    remark: str
    left_out: tuple[tuple[str, int], ...]
    errors: tuple[tuple[str, str], ...]
    png: bytes
    path: Path | None = None

    def __repr__(self) -> str:
        last = self.points[-1]
        told = [f"accuracy {last.accuracy:.3f} {_bounds(last.interval)} by {round(last.num_images):,} images"]
        told += [f"{one.times} times as many: {one.accuracy:.3f} {_bounds(one.interval)}" for one in self.projections]
        return "; ".join([*told, *([self.remark] if self.remark else [])])

    def _repr_html_(self) -> str:
        return image_tag(self.png, alt="accuracy by number of images")


def learning_curve(
    source: Any, *, out: str | Path | None = None, seed: int = 0, mode: Mode | None = None, overwrite: bool = False
) -> LearningCurve:
    """How accurate a classifier is with 5, 10, 20, ... images a class, and what 2 and 5 times as many would bring.

    Nothing is trained but a linear classifier on what the network inside the package sees at 96 pixels, which is
    computed once for each image and kept. Each draw learns from some groups of images and is judged by others: what
    hangs together, by groups of the source and as copies, is never on both sides. The level is that of a frozen
    network, and a training with fine-tuning gets above it; what carries over is whether the curve still rises.

    Args:
        source: whatever `sightline.load` takes.
        out: a PNG to write.
        seed: of the draws, at least 0.
        mode: "terminal", "plain" or "quiet" progress; by what stderr is if left out.
        overwrite: whether a file at `out` that Sightline did not write may be replaced.

    Returns:
        The curve with intervals, and projections with theirs, or why there are none.

    Raises:
        UnknownName: no source goes by the name.
        InvalidSource: it cannot be opened, or has fewer than two classes of at least 5 images that do not hang
            together.
        OutputExists, CannotWrite: `out` is a file that Sightline did not write, or cannot be written.
        MissingPackage: matplotlib is not installed.

    Source:
        Nadeau and Bengio, Inference for the Generalization Error, Machine Learning 52 (2003): intervals by draws
        that have images in common. Hestness et al., arXiv 1712.00409: errors fall off as a power of the number.

    Example:
        >>> import numpy as np, sightline
        >>> mnist = sightline.load("mnist")
        >>> curve = sightline.learning_curve(mnist.take(np.arange(0, len(mnist), 200)))
        >>> [point.images_a_class for point in curve.points], curve.points[-1].accuracy > 0.8
        ([5, 10, 20, None], True)
    """
    check_drawable()
    path = Path(out) if out is not None else None
    check_output("out", path, keep=places_of(source), overwrite=overwrite)
    with reporting(mode):
        dataset = load(source)
        why = "its small network names one class of each image."
        refuse_several_labels(dataset.task, "learning_curve", why)
        pixels = read_pixels(dataset, LOOKED_AT)
        copies = np.zeros((0, 2), np.int64)
        if pixels.signatures is not None:
            copies = outstanding(remembered_copies(pixels.signatures))[0].rows
        features, is_read = features_of(pixels)
        chosen = _Chosen.of(dataset, features, is_read, tied_groups(dataset, copies))
        steps, sizes, accuracies = _draws(chosen, seed)
    points = [
        CurvePoint(step, float(size), float(column.mean()), _interval(column, chosen.num_groups))
        for step, size, column in zip(steps, sizes, accuracies.T, strict=True)
    ]
    projections, remark = _projections(sizes, 1 - accuracies, len(chosen.labels), chosen.num_groups)
    drawn = [[(one.num_images, one.accuracy, one.interval) for one in kind] for kind in (points, projections)]
    png = learning_curve_png(*drawn)
    if path is not None:
        write_atomically(path, png)
    errors = tuple((str(dataset.row_ids[row]), reason) for row, reason in pixels.errors.items())
    return LearningCurve(
        name=dataset.name,
        class_names=chosen.class_names,
        num_images=len(chosen.labels),
        num_groups=chosen.num_groups,
        points=tuple(points),
        projections=projections,
        remark=remark,
        left_out=chosen.left_out,
        errors=(*errors, *dataset.left_out),
        png=png,
        path=path,
    )


def curve_figures(curve: LearningCurve) -> dict[str, Any]:
    """As plain values, for JSON."""
    return {
        "name": curve.name,
        "num_images": curve.num_images,
        "num_groups": curve.num_groups,
        "class_names": list(curve.class_names),
        "points": [
            {"images_a_class": one.images_a_class, "num_images": one.num_images, **_accuracy(one)}
            for one in curve.points
        ],
        "projections": [
            {"times": one.times, "num_images": one.num_images, **_accuracy(one)} for one in curve.projections
        ],
        "remark": curve.remark,
        "left_out": [{"class": name, "num_images": count} for name, count in curve.left_out],
        "errors": [{"path": name, "error": reason} for name, reason in curve.errors],
        "picture": None if curve.path is None else str(curve.path),
    }


def _accuracy(one: CurvePoint | Projection) -> dict[str, Any]:
    return {"accuracy": one.accuracy, "accuracy_interval": list(one.interval)}


def _bounds(interval: tuple[float, float]) -> str:
    return f"[{interval[0]:.3f}, {interval[1]:.3f}]"


@dataclass(frozen=True, eq=False)
class _Chosen:
    """The images of the classes that have enough of them, with labels and groups counted from 0."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    class_names: tuple[str, ...]
    left_out: tuple[tuple[str, int], ...]

    @property
    def num_groups(self) -> int:
        return int(self.groups.max()) + 1

    @classmethod
    def of(
        cls, dataset: Dataset, features: NDArray[np.float32], is_read: NDArray[np.bool_], groups: NDArray[np.int64]
    ) -> _Chosen:
        rows = np.flatnonzero(is_read)
        pairs = np.unique(np.stack([dataset.labels[rows], groups[rows]], axis=1), axis=0)
        enough = np.bincount(pairs[:, 0], minlength=dataset.num_classes) >= FEWEST_GROUPS
        counts = dataset.counts(rows).tolist()
        few = tuple((dataset.class_names[label], counts[label]) for label in np.flatnonzero(~enough).tolist())
        if enough.sum() < 2:
            named = zip(dataset.class_names, counts, strict=True)
            there = [f"'{printable(name)}' ({count:,})" for name, count in named]
            raise InvalidSource(
                f"a learning curve needs two classes with at least {FEWEST_GROUPS} images that do not hang together, "
                f"as copies and groups do; got {listed(there)}. Add images to the small classes."
            )
        kept = rows[enough[dataset.labels[rows]]]
        numbers, labels = np.unique(dataset.labels[kept], return_inverse=True)
        names = tuple(dataset.class_names[number] for number in numbers.tolist())
        return cls(features[kept], labels, np.unique(groups[kept], return_inverse=True)[1], names, few)


def _draws(chosen: _Chosen, seed: int) -> tuple[list[int | None], NDArray[np.float64], NDArray[np.float64]]:
    """Images a class, (num_sizes,) images in all, and (num_draws, num_sizes) accuracies."""
    num_classes = len(chosen.class_names)
    largest = int(np.bincount(chosen.labels).max() * (NUM_FOLDS - 1) / NUM_FOLDS)
    steps = [SMALLEST * 2**power for power in range(20) if SMALLEST * 2**power * _LEAST_STEP < largest]
    if len(steps) < FEWEST_SIZES - 1:
        steps = [2, *steps] if largest > 2 * _LEAST_STEP else steps
    sizes, accuracies = [], []
    with reporter().bar("learning from parts", total=NUM_FOLDS * NUM_ROUNDS, unit="draws") as bar:
        for turn in range(NUM_ROUNDS):
            folds = grouped_folds(
                chosen.labels, chosen.groups, num_classes=num_classes, num_folds=NUM_FOLDS, seed=seed + turn
            )
            for fold in range(NUM_FOLDS):
                ranks = _ranks(chosen, folds != fold, np.random.default_rng((seed, turn, fold)))
                learned = [ranks < (len(ranks) if step is None else step) for step in (*steps, None)]
                sizes.append([int(rows.sum()) for rows in learned])
                accuracies.append([_judged(chosen, rows, folds == fold) for rows in learned])
                bar.advance(1)
    table, mean_sizes = np.array(accuracies), np.array(sizes, np.float64).mean(axis=0)
    # Where most classes have no more images than that, a further step adds hardly any.
    kept = [len(steps)]
    for index in reversed(range(len(steps))):
        if mean_sizes[index] * _LEAST_STEP <= mean_sizes[kept[0]]:
            kept.insert(0, index)
    return [(*steps, None)[index] for index in kept], mean_sizes[kept], table[:, kept]


def _ranks(chosen: _Chosen, is_drawn: NDArray[np.bool_], generator: np.random.Generator) -> NDArray[np.int64]:
    """(num_images,) the place of each image in its class, its groups in an order of chance; huge where not drawn."""
    ranks = np.full(len(chosen.labels), np.iinfo(np.int64).max)
    of_group, of_image = generator.permutation(chosen.num_groups), generator.permutation(len(chosen.labels))
    for label in range(len(chosen.class_names)):
        rows = np.flatnonzero(is_drawn & (chosen.labels == label))
        # Whole groups one after the other: who collects more images mostly collects more of a thing at once.
        order = np.lexsort((of_image[rows], of_group[chosen.groups[rows]]))
        ranks[rows[order]] = np.arange(len(rows))
    return ranks


def _judged(chosen: _Chosen, learned: NDArray[np.bool_], asked: NDArray[np.bool_]) -> float:
    fitted = Discriminant(chosen.features[learned], chosen.labels[learned], num_classes=len(chosen.class_names))
    kernel, bias = fitted.fit(SHRINKAGE)
    scores = chosen.features[asked] @ kernel + bias
    return float((scores.argmax(axis=1) == chosen.labels[asked]).mean())


# Of each draw, judged to learned from.
_SHARED = 1 / (NUM_FOLDS - 1)


def _interval(accuracies: NDArray[np.float64], num_groups: int) -> tuple[float, float]:
    """Of the mean over draws: by how much draws differ, and at least as wide as so many groups leave it."""
    mean, spread = float(accuracies.mean()), float(accuracies.std(ddof=1))
    quantile = student_t_quantile(0.95, degrees=len(accuracies) - 1)
    half = quantile * spread * math.sqrt(1 / len(accuracies) + _SHARED)
    lower, upper = wilson_bounds(mean, num_groups, normal_quantile(0.95))
    return max(0.0, min(lower, mean - half)), min(1.0, max(upper, mean + half))


def _projections(
    sizes: NDArray[np.float64], errors: NDArray[np.float64], num_images: int, num_groups: int
) -> tuple[tuple[Projection, ...], str]:
    if len(sizes) < FEWEST_SIZES:
        return (), (
            f"what more images would bring cannot be told: the curve has {counted(len(sizes), 'point')}, "
            f"and {FEWEST_SIZES} are needed"
        )
    gains = errors[:, 0] - errors[:, -1]
    half = student_t_quantile(0.95, degrees=len(gains) - 1) * gains.std(ddof=1) * math.sqrt(1 / len(gains) + _SHARED)
    if gains.mean() - half <= 0:
        return (), (
            f"what more images would bring cannot be told: from {round(sizes[0]):,} to {round(sizes[-1]):,} images the "
            "accuracy does not rise beyond chance. `sightline audit --labels` looks at the labels"
        )
    at = np.array([num_images * times for times in TIMES], np.float64)
    middle, lower, upper = projected_errors(sizes, errors, at=at, shared=_SHARED)
    # No projection is surer than that of all images could be, by so many groups.
    rooms = [wilson_bounds(float(1 - error), num_groups, normal_quantile(0.95)) for error in middle]
    told = tuple(
        Projection(
            times, num_images * times, 1 - float(error), (min(1 - float(high), room[0]), max(1 - float(low), room[1]))
        )
        for times, error, low, high, room in zip(TIMES, middle, lower, upper, rooms, strict=True)
    )
    return told, _missed(sizes, errors)


def _missed(sizes: NDArray[np.float64], errors: NDArray[np.float64]) -> str:
    """What to say where the same, without the last size, would have told that one wrong."""
    if len(sizes) <= FEWEST_SIZES:
        return ""
    _, lower, upper = projected_errors(sizes[:-1], errors[:, :-1], at=sizes[-1:], shared=_SHARED)
    if lower[0] <= errors[:, -1].mean() <= upper[0]:
        return ""
    return (
        f"be careful with what more images would bring: by the curve up to {round(sizes[-2]):,} images, the accuracy "
        f"with {round(sizes[-1]):,} would have been foretold between {1 - upper[0]:.3f} and {1 - lower[0]:.3f}"
    )
