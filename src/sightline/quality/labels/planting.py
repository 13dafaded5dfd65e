"""Labels changed on purpose, in the user's own rows: how many of them a list of doubtful labels would have named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sightline.metrics.labels.discriminants import OutOfFold
from sightline.metrics.labels.quality import found_by, label_doubts
from sightline.system.text import counted, percent

SHARE: Final = 0.05
"""Of the labels of each class, as many are changed at once."""
FEWEST: Final = 10
"""With fewer changed at once nothing is said."""
# So many changed labels in all are enough; of small sources they take several rounds.
_ENOUGH, _MOST_ROUNDS = 200, 5
_PLACES = (20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True)
class PlantedFlips:
    """How lists of doubtful labels found labels that were changed on purpose, in two ways.

    Attributes:
        num_planted: labels that were changed at once, the same share of each class.
        num_rounds: how often, with other rows each time; figures are means.
        places: lengths of lists.
        any_class: labels changed to any other class: of the first labels of a list that long, the share that had been
            changed. Labels of the source that are wrong themselves count as not changed, so it is at least that.
        most_alike: the same of labels changed to the class that their own is most like.
        recalls: of both, the share of the changed labels on a list as long as they are many.
    """

    num_planted: int
    num_rounds: int
    places: tuple[int, ...]
    any_class: tuple[float, ...]
    most_alike: tuple[float, ...]
    recalls: tuple[float, float]

    @property
    def in_words(self) -> str:
        """The figures in two sentences."""
        rounds = f", {self.num_rounds} times" if self.num_rounds > 1 else ""
        ways = zip(
            ("any other class", "the class most like theirs"),
            (self.any_class, self.most_alike),
            self.recalls,
            strict=True,
        )
        told = "; ".join(
            f"changed to {way}, they were at least {self._shares(shares)}, and {percent(recall)} of them were among "
            f"the first {self.num_planted:,}"
            for way, shares, recall in ways
        )
        return (
            f"tried on these images with {self.num_planted:,} labels changed on purpose{rounds}: {told}. The fewer "
            "labels of the source are wrong, the fewer of its list will be"
        )

    def _shares(self, shares: tuple[float, ...]) -> str:
        parts = [f"{percent(share)} of the first {place:,}" for place, share in zip(self.places, shares, strict=True)]
        return ", ".join(parts[:3])

    def figures(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        kinds = (("any_class", self.any_class, self.recalls[0]), ("most_alike", self.most_alike, self.recalls[1]))
        found = {
            name: {
                "precisions": [
                    {"num_listed": place, "at_least": share} for place, share in zip(self.places, shares, strict=True)
                ],
                "recall": recall,
            }
            for name, shares, recall in kinds
        }
        return {"num_planted": self.num_planted, "num_rounds": self.num_rounds, **found, "in_words": self.in_words}


def no_planting(num_images: int) -> str:
    """Why nothing can be said of how far a list may be believed."""
    return (
        f"how far the list can be believed was not tried: {counted(num_images, 'image')} are too few to change "
        f"{FEWEST} labels of, {percent(SHARE)} of each class"
    )


def plant_flips(
    judge: OutOfFold, labels: NDArray[np.int64], look_alikes: NDArray[np.int64], *, seed: int = 0
) -> PlantedFlips | None:
    """Change some labels, judge all of them anew, and count how many of the changed ones come first.

    Args:
        judge: of the features of these rows.
        labels: (num_images,) as given.
        look_alikes: (num_classes,) the class that each is most like.
        seed: of the rows and classes that are drawn.

    Returns:
        The figures; None where there are too few images.
    """
    generator = np.random.default_rng(seed)
    num_planted, rounds = int(_wanted(labels).sum()), num_rounds(labels)
    if not rounds:
        return None
    found = np.mean([_round(judge, labels, look_alikes, generator) for _ in range(rounds)], axis=0)
    places = tuple(place for place in _PLACES if place <= num_planted) or (num_planted,)
    any_class, most_alike = (tuple(float(one[place - 1] / place) for place in places) for one in found)
    recalls = tuple((found[:, num_planted - 1] / num_planted).tolist())
    return PlantedFlips(num_planted, rounds, places, any_class, most_alike, recalls)


def num_rounds(labels: NDArray[np.int64]) -> int:
    """How often labels are changed, each time in two ways; 0 where there are too few images."""
    num_planted = int(_wanted(labels).sum())
    return 0 if num_planted < FEWEST else min(_MOST_ROUNDS, -(-_ENOUGH // num_planted))


def _wanted(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """(num_classes,) how many labels of each class are changed."""
    return np.asarray(np.rint(SHARE * np.bincount(labels)), np.int64)


def _drawn(labels: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """The same share of the rows of each class."""
    rows = generator.permutation(len(labels))
    ordered = rows[np.argsort(labels[rows], kind="stable")]
    counts = np.bincount(labels)
    starts = np.cumsum(counts) - counts
    pairs = zip(starts, _wanted(labels), strict=True)
    return np.concatenate([ordered[start : start + count] for start, count in pairs])


def _round(
    judge: OutOfFold, labels: NDArray[np.int64], look_alikes: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.int64]:
    """(2, num_images) how many changed labels the lists found, changed to any other class and to the most alike."""
    num_classes = len(look_alikes)
    rows = _drawn(labels, generator)
    any_other = (labels[rows] + generator.integers(1, num_classes, len(rows))) % num_classes
    found = []
    for other in (any_other, look_alikes[labels[rows]]):
        changed = labels.copy()
        changed[rows] = other
        doubts = label_doubts(changed, *judge.answers(changed, num_classes=num_classes))
        found.append(found_by(doubts, np.isin(np.arange(len(labels)), rows)))
    return np.stack(found)
