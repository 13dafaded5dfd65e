"""What answers carry beside their class: a set of classes that holds the right one, and what else is asked for."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from sightline.system.text import listed

# Of the classes of a set, a line on a terminal names no more.
_MOST_NAMED = 10


@dataclass(frozen=True, eq=False)
class AnswerDetail(ABC):
    """One kind of thing that is said of images beside their class; each attribute has a row an image.

    A new kind is a subclass, a line of `sightline.bundles.trust.details.DETAILS`, and its options; JSON, the table
    and the terminal walk over what there is.
    """

    columns: ClassVar[tuple[str, ...]]

    def __len__(self) -> int:
        return len(getattr(self, dataclasses.fields(self)[0].name))

    def take(self, rows: NDArray[np.int64]) -> Self:
        """The same for some of the rows."""
        arrays = {field.name: getattr(self, field.name)[rows] for field in dataclasses.fields(self)}
        return type(self)(**arrays)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Several, one behind the other; at least one."""
        arrays = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in dataclasses.fields(parts[0])
        }
        return cls(**arrays)

    @abstractmethod
    def cells(self, row: int, logits: NDArray[np.float32], class_names: Sequence[str]) -> dict[str, Any]:
        """Of a readable row with these logits, by the names of `columns`: plain values, as JSON says them."""

    @staticmethod
    @abstractmethod
    def words(cells: Mapping[str, Any]) -> str:
        """What a line on a terminal says of it, fit to be printed; may be empty."""


@dataclass(frozen=True, eq=False)
class PredictionSets(AnswerDetail):
    """Sets of classes that hold the right one as often as was promised, on images like the calibration images.

    Attributes:
        members: (num_images, num_classes) bool, which classes are in the set of each image: at least the most probable
            one, and none in a row that has an error.
        is_unusual: (num_images,) bool, True where even the most probable class fits worse, by its log-odds, than the
            coverage allows; it is in the set nonetheless, so that none is empty.
    """

    columns = ("set", "unusual")

    members: NDArray[np.bool_]
    is_unusual: NDArray[np.bool_]

    def named(self, row: int, logits: NDArray[np.float32], class_names: Sequence[str]) -> tuple[str, ...]:
        """The classes of one set, the most probable first."""
        members = np.flatnonzero(self.members[row])
        if len(members) > 1:
            members = members[np.argsort(-logits[members], kind="stable")]
        return tuple(class_names[label] for label in members.tolist())

    def cells(self, row: int, logits: NDArray[np.float32], class_names: Sequence[str]) -> dict[str, Any]:
        """The set as a list of names, and whether it is unusual."""
        return {"set": list(self.named(row, logits, class_names)), "unusual": bool(self.is_unusual[row])}

    @staticmethod
    def words(cells: Mapping[str, Any]) -> str:
        """As in "{cat, dog}"."""
        return f"{{{'unusual: ' * cells['unusual']}{listed(cells['set'], most=_MOST_NAMED)}}}"


@dataclass(frozen=True, eq=False)
class UnsureAnswers(AnswerDetail):
    """Which answers are not certain enough to be wrong as rarely as was promised of the others.

    Attributes:
        is_unsure: (num_images,) bool; True in a row that has an error, too.
    """

    columns = ("unsure",)

    is_unsure: NDArray[np.bool_]

    def cells(self, row: int, logits: NDArray[np.float32], class_names: Sequence[str]) -> dict[str, Any]:  # noqa: ARG002
        """Whether it is."""
        return {"unsure": bool(self.is_unsure[row])}

    @staticmethod
    def words(cells: Mapping[str, Any]) -> str:
        """Nothing where it is sure."""
        return "unsure" if cells["unsure"] else ""


@dataclass(frozen=True, eq=False)
class Novelty(AnswerDetail):
    """Which images are unlike what was learned.

    Attributes:
        is_novel: (num_images,) bool.
        nearer: (num_images,) share of the calibration images that are nearer to what was learned, 0 to 1; NaN
            where an image could not be read.
    """

    columns = ("novel", "farther_than")

    is_novel: NDArray[np.bool_]
    nearer: NDArray[np.float64]

    def cells(self, row: int, logits: NDArray[np.float32], class_names: Sequence[str]) -> dict[str, Any]:  # noqa: ARG002  # a seam
        """Whether it is novel, and than which share of the calibration images it is farther."""
        return {"novel": bool(self.is_novel[row]), "farther_than": round(float(self.nearer[row]), 6)}

    @staticmethod
    def words(cells: Mapping[str, Any]) -> str:
        """Nothing of an image like those that were learned."""
        return "unlike the images it learned" if cells["novel"] else ""


@dataclass(frozen=True, eq=False)
class Neighbours(AnswerDetail):
    """The training images that the network sees most alike.

    Attributes:
        names: (num_images, count) str, the nearest first; "" where an image could not be read.
        classes: (num_images, count) str, which they are of; "" likewise.
        distances: (num_images, count), between what is seen of them, of length 1: 0 for the same picture, 1.4 for
            nothing in common; NaN where it could not be read.
    """

    columns = ("nearest",)

    names: NDArray[np.str_]
    classes: NDArray[np.str_]
    distances: NDArray[np.float32]

    def cells(self, row: int, logits: NDArray[np.float32], class_names: Sequence[str]) -> dict[str, Any]:  # noqa: ARG002  # a seam
        """A list, the nearest first."""
        told = zip(self.names[row].tolist(), self.classes[row].tolist(), self.distances[row].tolist(), strict=True)
        return {
            "nearest": [
                {"name": name, "label": label, "distance": round(distance, 4)} for name, label, distance in told
            ]
        }

    @staticmethod
    def words(cells: Mapping[str, Any]) -> str:
        """As in "nearest: cat/17.jpg, cat/3.jpg"."""
        return f"nearest: {listed([one['name'] for one in cells['nearest']], most=_MOST_NAMED)}"


@dataclass(frozen=True, eq=False)
class Features(AnswerDetail):
    """What the network saw of each image before it decided.

    Attributes:
        values: (num_images, num_features) float32; NaN where an image could not be read.
    """

    columns = ("features",)

    values: NDArray[np.float32]

    def cells(self, row: int, logits: NDArray[np.float32], class_names: Sequence[str]) -> dict[str, Any]:  # noqa: ARG002  # a seam
        """A list of numbers with six digits that count."""
        return {"features": [float(f"{value:.6g}") for value in self.values[row].tolist()]}

    @staticmethod
    def words(cells: Mapping[str, Any]) -> str:  # noqa: ARG004
        """Nothing: they are for programs."""
        return ""
