"""What answers are to carry beside their class: what is asked for, and what makes it; a new kind is one more entry."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.trust.abstention import USUAL_CERTAINTY, unsure_maker
from sightline.bundles.trust.draws import draw_of
from sightline.bundles.trust.label_sets import label_set_maker
from sightline.bundles.trust.neighbours import neighbours_maker
from sightline.bundles.trust.novelty import novelty_maker
from sightline.bundles.trust.seen import features_maker
from sightline.bundles.trust.sets import USUAL_SCORE, set_maker
from sightline.errors import InvalidBundle, InvalidValue
from sightline.metrics.figures import FIGURES
from sightline.records import AnswerDetail, Bundle, Evaluation
from sightline.system.text import told_p_value
from sightline.tasks.table import has_several_labels, refuse_several_labels


@dataclass(frozen=True)
class Asked:
    """What a user asks of answers; each as `sightline.predict` takes it, None where it is not asked for."""

    coverage: float | None = None
    per_class: bool = False
    score: str = USUAL_SCORE
    max_error: float | None = None
    certainty: float = USUAL_CERTAINTY
    novelty: float | None = None
    nearest: int | None = None
    features: bool = False


class DetailMaker(Protocol):
    """Makes one kind of detail of what a network answers. It is kept while its bundle is, and keeps no bundle itself.

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
    make: Callable[..., DetailMaker | None] = label_set_maker if has_several_labels(bundle.task) else set_maker
    return make(bundle, asked.coverage, score=asked.score, per_class=asked.per_class)


def _abstention(bundle: Bundle, asked: Asked) -> DetailMaker | None:
    if asked.max_error is not None:
        why = "how certain an answer as a whole is says little where it is right in part. Ask for a coverage."
        refuse_several_labels(bundle.task, "max_error", why)
    return unsure_maker(bundle, asked.max_error, certainty=asked.certainty)


def _novelty(bundle: Bundle, asked: Asked) -> DetailMaker | None:
    if asked.novelty is not None:
        why = "what is new is told by how far an image lies from each class. Ask without it."
        refuse_several_labels(bundle.task, "novelty", why)
    return novelty_maker(bundle, asked.novelty, certainty=asked.certainty)


def _features(bundle: Bundle, asked: Asked) -> DetailMaker | None:
    return features_maker(bundle) if asked.features else None


def _neighbours(bundle: Bundle, asked: Asked) -> DetailMaker | None:
    if asked.nearest is not None:
        why = "no training images are kept with their labels yet. Ask without it."
        refuse_several_labels(bundle.task, "nearest", why)
    return neighbours_maker(bundle, asked.nearest)


# What a run is asked for on its test rows, so that whoever reads it sees how promises are kept.
USUAL = Asked(coverage=0.95, max_error=0.01, novelty=0.05)
# Where a line is all that there is room for, no other figure is told of them.
BRIEF = ("coverage", "share_held", "mean_set_size", "answered", "answered_error", "novel")

# In the order in which a row tells them. None where it is not asked for; what a bundle cannot promise is refused.
DETAILS: dict[str, Callable[[Bundle, Asked], DetailMaker | None]] = {
    "sets": _sets,
    "abstention": _abstention,
    "novelty": _novelty,
    "neighbours": _neighbours,
    "features": _features,
}


# What was asked last of each bundle that is in use: whoever asks image by image does not wait for it each time.
_LAST: weakref.WeakKeyDictionary[Bundle, tuple[Asked, dict[str, DetailMaker]]] = weakref.WeakKeyDictionary()


def detail_makers(bundle: Bundle, asked: Asked) -> dict[str, DetailMaker]:
    """What makes the details that are asked for, by name, before anything is decoded.

    Raises:
        InvalidBundle: the bundle cannot promise it.
        InvalidValue: it is out of range, or there are too few calibration images for it.
    """
    last = _LAST.get(bundle)
    # By how they are written: True and 1.0 are equal to 1, and refused.
    if last is not None and repr(last[0]) == repr(asked):
        return last[1]
    if asked.certainty != USUAL_CERTAINTY and asked.max_error is None and asked.novelty is None:
        raise InvalidValue("certainty says how certain a max_error or a novelty is. Name one, too, such as 0.01.")
    found = {name: make(bundle, asked) for name, make in DETAILS.items()}
    makers = {name: maker for name, maker in found.items() if maker is not None}
    _LAST[bundle] = (asked, makers)
    return makers


def usual_makers(bundle: Bundle) -> tuple[dict[str, DetailMaker], dict[str, str]]:
    """What makes the details of `USUAL` that a bundle can promise, and of the others why it cannot."""
    makers: dict[str, DetailMaker] = {}
    refused: dict[str, str] = {}
    usual = {"sets": _sets} if has_several_labels(bundle.task) else DETAILS
    for name, make in usual.items():
        try:
            maker = make(bundle, USUAL)
        except (InvalidBundle, InvalidValue) as error:
            refused[name] = str(error)
        else:
            makers |= {} if maker is None else {name: maker}
    return makers, refused


def thresholds_of(makers: Mapping[str, DetailMaker]) -> dict[str, dict[str, Any]]:
    """By the name of the detail, the thresholds that were certified, with what they rest on; for calibration.json."""
    return {name: dict(maker.promise) for name, maker in makers.items() if "threshold" in maker.promise}


def with_promises(
    evaluation: Evaluation, makers: Mapping[str, DetailMaker], refused: Mapping[str, str] = MappingProxyType({})
) -> Evaluation:
    """The same with what was promised, as JSON tells it: by the name of the detail, with all that in words.

    Args:
        evaluation: of predictions that carry the details.
        makers: of those details.
        refused: what could not be promised, and why.
    """
    told = {name: {**maker.promise, "in_words": maker.in_words} for name, maker in makers.items()}
    for name, promise in told.items():
        if (draw := draw_of(name, promise, evaluation)) is not None:
            promise["draw"] = draw
    return dataclasses.replace(
        evaluation, promises={**told, **{name: {"refused": why} for name, why in refused.items()}}
    )


def promise_lines(evaluation: Evaluation) -> list[str]:
    """A line for each promise: what is promised, and how it is kept on the images that were judged."""
    lines = []
    for name, promise in evaluation.promises.items():
        if (refused := promise.get("refused")) is not None:
            lines.append(f"no promise of {name}: {refused}")
            continue
        kept = (figure for key, figure in evaluation.figures.items() if FIGURES[key].needs == name)
        draw = f" ({promise['draw']['in_words']})" if "draw" in promise else ""
        lines.append(f"{promise['in_words']}; measured: {', '.join(map(str, kept))}{draw}")
    return lines


def brief_promise_lines(evaluation: Evaluation) -> list[str]:
    """The same in few words: what was asked for, and the figures; what that promises, the card says."""
    lines = []
    for name, promise in evaluation.promises.items():
        if (refused := promise.get("refused")) is not None:
            lines.append(f"no promise of {name}: {refused}")
            continue
        asked, share = next(iter(promise.items()))
        kept = (
            str(evaluation.figures[key]) for key in BRIEF if key in evaluation.figures and FIGURES[key].needs == name
        )
        draw = promise.get("draw", {})
        why = f"; not what was promised (p {told_p_value(draw['p_value'])})" if draw.get("is_surprising") else ""
        lines.append(f"{asked.replace('_', ' ')} {share:g}: {', '.join(kept)}{why}")
    return lines


def promises_section(test: Evaluation | None) -> str:
    """What the card says of how promises are kept on the test images; nothing where there are none."""
    if test is None or not test.promises:
        return ""
    lines = "\n".join(f"- {line}" for line in promise_lines(test))
    return (
        f"\n## How it keeps its promises\n\nOn the {test.images} of the test split, which chose nothing:\n\n{lines}\n"
    )
