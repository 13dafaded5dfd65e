"""What answers carry where it is asked which places of an image speak for a class: a map, and where most of it lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.maps.activations import ActivationMaps, activation_maps, is_close
from sightline.bundles.maps.grid import Grid
from sightline.bundles.maps.occlusion import OcclusionMaps, occlusion_maps
from sightline.bundles.sessions import session_of
from sightline.errors import InvalidBundle, InvalidValue, UnknownName, closest
from sightline.records import AnswerDetail, Bundle
from sightline.system.progress import reporter
from sightline.system.text import listed, percent, printable
from sightline.tasks.single_label import SINGLE_LABEL
from sightline.tasks.table import has_several_labels
from sightline.tasks.task import Task

Method = Literal["auto", "activations", "occlusion"]
METHODS: tuple[Method, ...] = ("auto", "activations", "occlusion")
NOWHERE, EVERYWHERE = "nowhere", "all over the image"
# From so much of it on, most lies in a part of a quarter of the image, or of half of it.
_MOST_OF_QUARTER, _MOST_OF_HALF = 0.6, 0.75


@dataclass(frozen=True, eq=False)
class ClassMaps(AnswerDetail):
    """Which places of images speak for a class, and which against it.

    Attributes:
        labels: (num_images,) int64, the class that each map is about; -1 where an image could not be read.
        maps: (num_images, rows, columns) float32: above 0 what speaks for the class, below 0 what speaks against it.
            By activations, what each place adds to the logit above the mean of all logits, or of several labels to
            the logit as it is; by occlusion, how far its log-odds fall where the place is covered. NaN where an image
            could not be read.
        constants: (num_images,) float32, what no place adds: by activations, maps and constants sum up to the logit
            above the mean; by occlusion, the log-odds where nothing is covered.
        places: (num_images,) str, where most of what speaks for it lies: "upper left"; "nowhere" where nothing does.
        shares: (num_images,) float32, how much of that lies there.
        images: (num_images, height, width, channels) uint8, as the network was fed them.
    """

    columns = ("explained", "where", "share", "constant", "map")

    labels: NDArray[np.int64]
    maps: NDArray[np.float32]
    constants: NDArray[np.float32]
    places: NDArray[np.str_]
    shares: NDArray[np.float32]
    images: NDArray[np.uint8]

    def cells(self, row: int, logits: NDArray[np.float32], class_names: Sequence[str]) -> dict[str, Any]:  # noqa: ARG002  # a seam
        """The class, where most of what speaks for it lies, and the map from top to bottom."""
        return {
            "explained": class_names[int(self.labels[row])],
            "where": str(self.places[row]),
            "share": round(float(self.shares[row]), 4),
            "constant": round(float(self.constants[row]), 6),
            "map": [[round(value, 6) for value in line] for line in self.maps[row].tolist()],
        }

    @staticmethod
    def words(cells: Mapping[str, Any]) -> str:
        """As in "for cat: 62 % in the upper left"."""
        return f"for {printable(cells['explained'])}: {share_in_words(cells['where'], cells['share'])}"


def share_in_words(place: str, share: float) -> str:
    """Where most of what speaks for a class lies, as in "62 % in the upper left"."""
    return place if place in (NOWHERE, EVERYWHERE) else f"{percent(share)} in the {place}"


@dataclass(frozen=True, eq=False)
class MapsMaker:
    """Makes a map an image; a `DetailMaker`.

    Attributes:
        promise: as JSON tells it: by which method, and about which class.
        in_words: the same for a person.
        way: what looks at the images.
        label: the class that all maps are about; None for the one that each is answered with.
        task: what an answer is; of several labels, the surest that is said, or the most probable where none is.
    """

    outputs: ClassVar[tuple[str, ...]] = ()

    promise: dict[str, Any]
    in_words: str
    way: ActivationMaps | OcclusionMaps
    label: int | None
    task: Task = SINGLE_LABEL

    @property
    def grid(self) -> Grid:
        """Where the cells of each map lie."""
        return self.way.grid

    def make(self, found: Mapping[str, NDArray[np.float32]], images: Any) -> ClassMaps:
        """Maps of images that were read; NaN for the others."""
        logits = found["logits"]
        pixels = np.asarray(images[:])
        rows = np.flatnonzero(np.isfinite(logits).all(axis=1))
        labels = np.full(len(logits), -1, np.int64)
        labels[rows] = self._answered(logits[rows]) if self.label is None else self.label
        maps = np.full((len(logits), self.grid.rows.size, self.grid.columns.size), np.nan, np.float32)
        constants = np.full(len(logits), np.nan, np.float32)
        if len(rows):
            given = (pixels[rows], labels[rows], logits[rows])
            way = self.way
            if isinstance(way, ActivationMaps):
                told = _taken_apart(way, *given, is_alone=has_several_labels(self.task))
            else:
                told = _covered(way, *given)
            maps[rows], constants[rows] = told
        where = [where_most_lies(self.grid, one) for one in maps]
        places, shares = (
            (np.array(part) for part in zip(*where, strict=True)) if where else (np.array([]), np.array([]))
        )
        return ClassMaps(labels, maps, constants, places.astype(object), shares.astype(np.float32), pixels)

    def _answered(self, logits: NDArray[np.float32]) -> NDArray[np.int64]:
        """The class of each answer; of several labels see `task`."""
        if has_several_labels(self.task):
            said = self.task.decided(logits) != 0
            logits = np.where(said | ~said.any(axis=1, keepdims=True), logits, -np.inf)
        return np.asarray(logits.argmax(axis=1), np.int64)


Parts = tuple[NDArray[np.float64], NDArray[np.float64]]


def _taken_apart(
    way: ActivationMaps,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    logits: NDArray[np.float32],
    *,
    is_alone: bool,
) -> Parts:
    # What speaks for all classes alike changes no answer: a logit is told above the mean of all. Of several labels each
    # is answered by its own logit alone.
    direction = np.full(logits.shape, 0.0 if is_alone else -1 / logits.shape[1])
    direction[np.arange(len(labels)), labels] += 1
    maps, constants = way.parts(images, direction)
    sums = (direction * logits).sum(axis=1)
    if not is_close(maps.sum(axis=(1, 2)) + constants, np.where(np.isfinite(sums), sums, 0)):
        raise InvalidBundle(
            f"{way.session.path}: maps of its activations do not add up to its logits. Ask for method=occlusion."
        )
    return maps, constants


def _covered(
    way: OcclusionMaps, images: NDArray[np.uint8], labels: NDArray[np.int64], logits: NDArray[np.float32]
) -> Parts:
    maps, odds = np.empty((len(images), way.grid.rows.size, way.grid.columns.size)), np.empty(len(images))
    with reporter().bar("covering places", total=len(logits)) as bar:
        for row, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
            maps[row], odds[row] = way.drops(image, label)
            bar.advance(1)
    return maps, odds


def maps_maker(bundle: Bundle, *, class_name: str | None = None, method: Method = "auto") -> MapsMaker:
    """What makes maps of a bundle's images.

    Args:
        bundle: an opened bundle.
        class_name: the class that all maps are about; left out, the one that each image is answered with; of several
            labels the surest that is said, or the most probable where none is.
        method: "activations", where the network ends in a way that can be taken apart; "occlusion" for any network;
            "auto": the first where it can be had.

    Raises:
        UnknownName: the bundle knows no such class.
        InvalidValue: there is no such method.
        InvalidBundle: maps of activations were asked for, and the network has none.
    """
    if method not in METHODS:
        raise InvalidValue(f"method must be one of {', '.join(METHODS)}; got {method!r}.")
    label = None if class_name is None else _label_of(bundle, class_name)
    way: ActivationMaps | OcclusionMaps | None = None if method == "occlusion" else activation_maps(bundle)
    if way is None and method == "activations":
        raise InvalidBundle(
            f"{bundle.path}: its network ends in no way that can be taken apart: a mean over positions, or layers with "
            "ReLU, and then the logits. Ask for method=occlusion."
        )
    if way is None:
        way = occlusion_maps(session_of(bundle), bundle.input, has_several_labels=has_several_labels(bundle.task))
    promise = {"method": way.method, "class": class_name}
    words = _WORDS_OF_LABELS if has_several_labels(bundle.task) else _WORDS
    return MapsMaker(promise=promise, in_words=words[way.method], way=way, label=label, task=bundle.task)


_WORDS = {
    "activations": (
        "maps are of activations: what each place adds to the logit of the class, above the mean of all classes; they "
        "tell where the network looks, not why"
    ),
    "occlusion": (
        "maps are by occlusion: how far the log-odds of the class fall where a place is covered; they tell what "
        "covering changes, not why"
    ),
}


_WORDS_OF_LABELS = {
    "activations": (
        "maps are of activations: what each place adds to the logit of the label, the surest that is said where none "
        "was named; they tell where the network looks, not why"
    ),
    "occlusion": (
        "maps are by occlusion: how far the log-odds of the label, the surest that is said where none was named, fall "
        "where a place is covered; they tell what covering changes, not why"
    ),
}


def _label_of(bundle: Bundle, class_name: str) -> int:
    if isinstance(class_name, str) and class_name in bundle.class_names:
        return bundle.class_names.index(class_name)
    names = bundle.class_names
    hint = f"Known: {listed(names, most=20)}."
    if isinstance(class_name, str) and len(names) <= 20:
        hint = printable(closest(class_name, names))
    raise UnknownName(f"the bundle knows no class {class_name!r}. {hint}")


def where_most_lies(grid: Grid, one: NDArray[np.float32]) -> tuple[str, float]:
    """Where most of what is above 0 in a map lies, and which share of it; of a map without numbers nowhere, NaN."""
    if not np.isfinite(one).all():
        return NOWHERE, float("nan")
    weights = np.maximum(grid.spread(one), 0)
    total = weights.sum()
    if not total > 0:
        return NOWHERE, 0.0
    for parts, least in ((_QUARTERS, _MOST_OF_QUARTER), (_HALVES, _MOST_OF_HALF)):
        shares = {name: float(weights[_part(part, weights.shape)].sum() / total) for name, part in parts.items()}
        name = max(shares, key=lambda one: shares[one])
        if shares[name] >= least:
            return name, shares[name]
    return EVERYWHERE, 1.0


Quarters = tuple[tuple[int, int], tuple[int, int]]
# From which quarter of the side to which, down and across.
_QUARTERS: dict[str, Quarters] = {
    "upper left": ((0, 2), (0, 2)),
    "upper right": ((0, 2), (2, 4)),
    "lower left": ((2, 4), (0, 2)),
    "lower right": ((2, 4), (2, 4)),
    "middle": ((1, 3), (1, 3)),
}
_HALVES: dict[str, Quarters] = {
    "upper half": ((0, 2), (0, 4)),
    "lower half": ((2, 4), (0, 4)),
    "left half": ((0, 4), (0, 2)),
    "right half": ((0, 4), (2, 4)),
}


def _part(quarters: Quarters, shape: tuple[int, ...]) -> tuple[slice, slice]:
    rows, columns = (
        slice(side * first // 4, side * last // 4) for side, (first, last) in zip(shape, quarters, strict=True)
    )
    return rows, columns
