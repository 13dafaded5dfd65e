"""What answers are to carry beside their class: what is asked for, and what makes it; a new kind is one more entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.trust.abstention import USUAL_CERTAINTY, unsure_maker
from sightline.bundles.trust.sets import USUAL_SCORE, set_maker
from sightline.records import AnswerDetail, Bundle


@dataclass(frozen=True)
class Asked:
    """What a user asks of answers; each as `sightline.predict` takes it, None where it is not asked for."""

    coverage: float | None = None
    per_class: bool = False
    score: str = USUAL_SCORE
    max_error: float | None = None
    certainty: float = USUAL_CERTAINTY


class DetailMaker(Protocol):
    """Makes one kind of detail of what a network answers.

    Attributes:
        promise: as JSON tells it.
        in_words: the promise for a person, and what is odd about it; said before the answers.
        outputs: of the graph, which it needs beside the logits.
    """

    @property
    def promise(self) -> dict[str, Any]:
        """See above."""

    @property
    def in_words(self) -> str:
        """See above."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """See above."""

    def make(self, found: Mapping[str, NDArray[np.float32]], images: Any) -> AnswerDetail:
        """The detail of some images.

        Args:
            found: outputs of the graph by name, a row an image; NaN in a row that could not be read.
            images: as the network is fed them, or what is sliced to such; zeros where one could not be read.
        """


def _sets(bundle: Bundle, asked: Asked) -> DetailMaker | None:
    return set_maker(bundle, asked.coverage, score=asked.score, per_class=asked.per_class)


def _abstention(bundle: Bundle, asked: Asked) -> DetailMaker | None:
    return unsure_maker(bundle, asked.max_error, certainty=asked.certainty)


# In the order in which a row tells them. None where it is not asked for; what a bundle cannot promise is refused.
DETAILS: dict[str, Callable[[Bundle, Asked], DetailMaker | None]] = {
    "sets": _sets,
    "abstention": _abstention,
}


def detail_makers(bundle: Bundle, asked: Asked) -> dict[str, DetailMaker]:
    """What makes the details that are asked for, by name, before anything is decoded.

    Raises:
        InvalidBundle: the bundle cannot promise it.
        InvalidValue: it is out of range, or there are too few calibration images for it.
    """
    found = {name: make(bundle, asked) for name, make in DETAILS.items()}
    return {name: maker for name, maker in found.items() if maker is not None}


def promises(makers: Mapping[str, DetailMaker]) -> dict[str, dict[str, Any]]:
    """What is promised, as JSON tells it: by the name of the detail, with all that in words."""
    return {name: {**maker.promise, "in_words": maker.in_words} for name, maker in makers.items()}
