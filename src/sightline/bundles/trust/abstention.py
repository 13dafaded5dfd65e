"""Which answers are certain enough to be wrong as rarely as asked for: `abstention.npz`, and the mark on the others.

It holds of each calibration image how certain its answer was and whether it was right, no image and no name, and the
thresholds that validation images gave: 9 bytes an image whatever the number of classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.trust.vouching import Vouching, check_capability, not_known
from sightline.errors import InvalidBundle, InvalidValue
from sightline.metrics.conformal import exact_level, one_of_each_group
from sightline.metrics.selective import (
    MOST_THRESHOLDS,
    Certified,
    Steps,
    certainties_of,
    certified,
    fewest_answered,
    lowest_max_error,
    steps_of,
)
from sightline.records import Bundle, Predictions, UnsureAnswers
from sightline.system.files import write_arrays
from sightline.system.stored import read_arrays
from sightline.system.text import exact_percent

FILE = "abstention.npz"
USUAL_CERTAINTY = 0.95
_ARRAYS = ("thresholds", "num_answered", "num_wrong", "certainties", "is_right", "num_images", "is_grouped")
# Twenty million images; a stranger's archive may say more.
_MOST_BYTES = 256 * 2**20


@dataclass(frozen=True, eq=False)
class AnswerRecord:
    """How the answers to images came out from which nothing was learned.

    Attributes:
        steps: thresholds, from validation images.
        certainties: (num_rows,) float64 of calibration images: the log-odds of their answers, at temperature 1.
        is_right: (num_rows,) bool, whether each answer is right.
        num_images: all calibration images; where they come in groups, more than rows.
        is_grouped: whether a row stands for a group of images that hang together.
    """

    steps: Steps
    certainties: NDArray[np.float64]
    is_right: NDArray[np.bool_]
    num_images: int
    is_grouped: bool

    @property
    def vouching(self) -> Vouching:
        """The images behind it, for words."""
        return Vouching(self.num_images, len(self.certainties) if self.is_grouped else None)


def record_answers(validation: Predictions, calibration: Predictions, *, seed: int) -> AnswerRecord | None:
    """What a bundle keeps of its validation and calibration images; None where there are none of either.

    Args:
        validation: of the deployed network, with labels; groups where images hang together.
        calibration: the same of images that nothing was chosen by.
        seed: of the run, by which one image of each group is drawn.
    """
    if not len(validation) or not len(calibration):
        return None
    certainties, is_right = _came_out(calibration, seed)
    return AnswerRecord(
        steps=steps_of(*_came_out(validation, seed)),
        certainties=certainties,
        is_right=is_right,
        num_images=len(calibration),
        is_grouped=len(certainties) < len(calibration),
    )


def _came_out(rows: Predictions, seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """How certain each answer is, and whether it is right; of one image of each group."""
    if (drawn := one_of_each_group(rows.groups, len(rows), seed=seed)) is not None:
        rows = rows.take(drawn)
    return certainties_of(rows.logits), rows.task.is_right(rows.logits, np.asarray(rows.labels))


def write_answer_record(folder: Path, record: AnswerRecord) -> int:
    """Write `abstention.npz` into a bundle in the making; how many bytes it has."""
    steps = record.steps
    return write_arrays(
        folder / FILE,
        thresholds=steps.thresholds,
        num_answered=steps.num_answered,
        num_wrong=steps.num_wrong,
        certainties=record.certainties,
        is_right=record.is_right,
        num_images=np.array(record.num_images, np.int64),
        is_grouped=np.array(record.is_grouped),
    )


_MORE_OFTEN = "answers to new images are wrong more often than that"


def abstention_section(record: AnswerRecord | None, num_bytes: int = 0, *, metrics: Mapping[str, Any]) -> str:
    """What the card says of unsure answers."""
    title = "\n## When it is unsure\n\n"
    if record is None:
        return (
            f"{title}There were no validation or no calibration images, so that it cannot be told which answers are "
            "certain enough for a share of wrong ones.\n"
        )
    unknown = not_known(metrics, _MORE_OFTEN)
    return (
        f"{title}Asked for it, `predict --max-error 0.01` marks answers as unsure, so many that at most 1 % of the "
        f"others are wrong on {record.vouching.of_images}; with a certainty of 95 %, as calibration images are but a "
        f"sample. It rests on {record.vouching.words} (`{FILE}`, {num_bytes:,} bytes: how certain an answer was and "
        "whether it was right, no images); thresholds were chosen on validation images. Where it cannot be kept, "
        f"that is said, and no answer is given.{unknown}{'.' * bool(unknown)}\n"
    )


def read_answer_record(bundle: Bundle, fewest: int | None = None) -> AnswerRecord:
    """What a bundle abstains by; an InvalidBundle of one that was made without (`fewest` are needed), or damaged."""
    check_capability(
        bundle,
        "abstention",
        promises="a max_error",
        without="validation or calibration images",
        settings="data.validation_fraction and data.calibration_fraction",
        fewest=fewest,
    )
    path = bundle.path / FILE
    try:
        return _checked(read_arrays(path, names=_ARRAYS, most_bytes=_MOST_BYTES))
    except (OSError, ValueError, TypeError) as error:
        raise InvalidBundle(f"{path}: cannot be read ({error}). Copy the whole bundle again.") from error


def _checked(arrays: dict[str, NDArray[Any]]) -> AnswerRecord:
    certainties, is_right, num_images, is_grouped = (arrays[name] for name in _ARRAYS[3:])
    if certainties.dtype != np.float64 or certainties.ndim != 1 or not np.isfinite(certainties).all():
        raise ValueError("its certainties are not one finite float64 an image")
    if is_right.dtype != np.bool_ or is_right.shape != certainties.shape:
        raise ValueError("it does not say of each image whether its answer was right")
    if num_images.dtype != np.int64 or num_images.shape != () or is_grouped.dtype != np.bool_ or is_grouped.shape != ():
        raise ValueError("its number of images is no whole number, or whether they are grouped is not said")
    is_short = len(certainties) < num_images  # of images that stand alone, each is a row
    if not 0 < len(certainties) <= num_images or (is_short and not is_grouped):
        raise ValueError("its counts do not go together")
    steps = _checked_steps(*(arrays[name] for name in _ARRAYS[:3]))
    return AnswerRecord(steps, certainties, is_right, int(num_images), bool(is_grouped))


def _checked_steps(thresholds: NDArray[Any], num_answered: NDArray[Any], num_wrong: NDArray[Any]) -> Steps:
    if thresholds.dtype != np.float64 or thresholds.ndim != 1 or not 0 < len(thresholds) <= MOST_THRESHOLDS + 1:
        raise ValueError("its thresholds are not a few float64")
    if not (np.isfinite(thresholds[:-1]).all() and thresholds[-1] == -np.inf and (np.diff(thresholds) < 0).all()):
        raise ValueError("its thresholds do not fall to that which answers every image")
    if any(one.dtype != np.int64 or one.shape != thresholds.shape for one in (num_answered, num_wrong)):
        raise ValueError("its counts are not two whole numbers a threshold")
    right = num_answered - num_wrong
    if any((np.diff(one, prepend=0) < 0).any() for one in (num_wrong, right)) or not 0 < num_answered[-1] < 2**53:
        raise ValueError("its counts do not rise with the thresholds")
    return Steps(thresholds, num_answered, num_wrong)


@dataclass(frozen=True, eq=False)
class UnsureMaker:
    """Marks the answers that are not certain enough; a `DetailMaker`.

    Attributes:
        promise: as JSON tells it: max_error, certainty, threshold (None where every image is answered),
            share_answered, num_answered and num_wrong of the num_images (num_groups) calibration images.
        in_words: the promise for a person.
        threshold: of certainty; -inf where every image is answered.
    """

    outputs = ()

    promise: dict[str, Any]
    in_words: str
    threshold: float

    def make(self, found: Mapping[str, NDArray[np.float32]], images: Any) -> UnsureAnswers:  # noqa: ARG002  # as others
        """Which answers are unsure; one without finite logits is."""
        logits = found["logits"]
        is_unsure = np.ones(len(logits), bool)
        sound = np.flatnonzero(np.isfinite(logits).all(axis=1))
        if len(sound):
            is_unsure[sound] = certainties_of(logits[sound]) < self.threshold
        return UnsureAnswers(is_unsure)


def unsure_maker(bundle: Bundle, max_error: float | None, *, certainty: float = USUAL_CERTAINTY) -> UnsureMaker | None:
    """What marks answers as unsure, before anything is decoded; None where no max_error is asked for."""
    if max_error is None:
        return None
    share = float(exact_level(max_error, name="max_error", like=0.01))
    how_certain = float(exact_level(certainty, name="certainty"))
    record = read_answer_record(bundle, fewest_answered(share, how_certain))
    found = certified(record.steps, record.certainties, record.is_right, max_error=share, certainty=how_certain)
    if found is None:
        raise InvalidValue(_refusal(bundle, record, share, how_certain))
    promise = {
        "max_error": share,
        "certainty": how_certain,
        "threshold": found.threshold if math.isfinite(found.threshold) else None,
        "share_answered": found.num_answered / len(record.certainties),
        "num_answered": found.num_answered,
        "num_wrong": found.num_wrong,
        "num_images": record.num_images,
        "num_groups": record.vouching.num_groups,
    }
    unknown = not_known(bundle.metrics, _MORE_OFTEN)
    return UnsureMaker(promise, _in_words(promise, record, found) + (f".{unknown}" if unknown else ""), found.threshold)


def _in_words(promise: Mapping[str, Any], record: AnswerRecord, found: Certified) -> str:
    text = (
        f"at most {exact_percent(promise['max_error'])} of the answers that are not marked unsure are wrong on "
        f"{record.vouching.of_images}, with a certainty of {exact_percent(promise['certainty'])}. "
    )
    if promise["share_answered"] == 1:
        text += "None of them had to be marked"
    else:
        text += f"About {_percent(promise['share_answered'])} of such images are answered"
    answered = f"{found.num_answered:,} of {len(record.certainties):,}"
    wrongly = f"{found.num_wrong:,} of them wrongly"
    if record.vouching.num_groups is None:
        return f"{text} ({answered} calibration images, {wrongly}; assumed independent)"
    return f"{text} ({answered} groups, {wrongly}; {record.vouching.words})"


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _refusal(bundle: Bundle, record: AnswerRecord, max_error: float, certainty: float) -> str:
    num_rows, num_wrong = len(record.certainties), int((~record.is_right).sum())
    asked = f"a max_error of {max_error:g} with a certainty of {certainty:g}"
    fewest = fewest_answered(max_error, certainty)
    text = (
        f"{asked} needs at least {fewest:,} calibration images that are answered without a mistake, or "
        f"{fewest_answered(max_error, certainty, num_wrong=1):,} with one; {bundle.path} keeps {record.vouching.kept}"
    )
    if num_rows >= fewest:
        text += f", and of the answers to {num_rows:,} it got {num_wrong:,} wrong, too many among the surest, too"
    lowest = lowest_max_error(record.steps, record.certainties, record.is_right, above=max_error, certainty=certainty)
    less = "Ask for less certainty" if lowest is None else f"{lowest:g} can be kept: ask for that"
    return f"{text}. {less}, or train with more (data.calibration_fraction)."
