"""`check`: are these images like those that a bundle was measured on, and if not, what has moved."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sightline.bundles.bundle import load_bundle
from sightline.bundles.prediction import predict_with
from sightline.bundles.trust.reference import ImageProperties, PropertyMaker, read_reference
from sightline.bundles.trust.vouching import not_known
from sightline.errors import InvalidValue, UnreadableImage
from sightline.evaluation.measuring.drift import Property, in_words, judge_stream, judge_together
from sightline.metrics.conformal import one_of_each_group
from sightline.records import Bundle, Dataset, Predictions, Run
from sightline.system.progress import reporter, reporting
from sightline.system.text import printable
from sightline.tasks.table import refuse_several_labels


@dataclass(frozen=True)
class Check:
    """Whether images are like those that a bundle was measured on.

    Attributes:
        is_alike: nothing shows that they differ.
        in_words: the same in a sentence, with what moved.
        false_alarms: how often images that are alike are called different, at most.
        num_images: that were compared; of a group, one counts.
        num_reference: that they were compared with.
        properties: all that were compared, those that moved first.
        unlike: names of single images, the worst first, that lie farther from what was learned than chance lets one
            of so many be, or, where a bundle does not tell how far, are answered less surely; none of a stream.
        visible_shift: in standard deviations of a property, what would have been seen in 19 of 20 cases; infinite
            where no shift would have been. None of a stream.
        alarm_after: of a stream, the number of images after which it was told different; None where it was not.
        errors: (name, reason) of the images that could not be read.

    Example:
        >>> import sightline
        >>> digits = sightline.load("mnist")
        >>> sightline.check("runs/mnist-fast-001", 255 - digits.images[:200], progress=False)
        these 200 images are not like the ... calibration images: ...lighter (median 0.8..., was 0.1...
    """

    is_alike: bool
    in_words: str
    false_alarms: float
    num_images: int
    num_reference: int
    properties: tuple[Property, ...]
    unlike: tuple[str, ...]
    visible_shift: float | None
    alarm_after: int | None
    errors: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return self.in_words


def check(
    bundle: str | Path | Bundle | Run,
    images: Any,
    *,
    false_alarms: float = 0.01,
    stream: bool = False,
    progress: bool = True,
) -> Check:
    """Tell whether images are like those that a bundle was measured on, and what has moved if not.

    Compared are size, brightness, contrast, sharpness, colour and file format, which class is answered, how surely,
    and how far an image lies from what was learned; no labels are needed. Images are taken for independent of one
    another, but for groups of a Dataset, of which one counts: twenty pictures of one thing differ from others by that
    alone.

    Args:
        bundle: a bundle or a run, or its folder.
        images: as `sightline.predict` takes them.
        false_alarms: how often, at most, images that are alike are called different, by all that is looked at together.
        stream: look at them one after the other, in the order given, folders by name, and tell after how many they are
            different: for images that keep coming, of which the first may be alike and later ones not.
        progress: False prints nothing.

    Returns:
        The Check.

    Raises:
        InvalidBundle: the bundle cannot be used, or keeps nothing to compare with.
        InvalidValue: no image was given, the rate of false alarms is not above 0 and below 1, or
            `stream` is not True or False.
        UnreadableImage: none of the images can be read.

    Example:
        >>> import sightline
        >>> digits = sightline.load("mnist")
        >>> dark = sightline.check("runs/mnist-fast-001", digits.images[-300:] // 2, progress=False)
        >>> dark.is_alike, "brightness" in [one.name for one in dark.properties if one.has_moved]
        (False, True)
    """
    is_real = isinstance(false_alarms, numbers.Real) and not isinstance(false_alarms, bool)
    if not (is_real and 0 < false_alarms < 1):
        raise InvalidValue(f"false_alarms must be a number above 0 and below 1, such as 0.01; got {false_alarms!r}.")
    if not isinstance(stream, bool | np.bool_):
        raise InvalidValue(f"stream must be True or False; got {stream!r}.")
    opened = load_bundle(bundle.bundle if isinstance(bundle, Run) else bundle)
    why = "such a bundle keeps nothing yet that other images could be compared with."
    refuse_several_labels(opened.task, "check", why)
    reference = read_reference(opened)
    with reporting(None if progress else "quiet"):
        found = predict_with(opened, images, {"properties": PropertyMaker(reference.key, {})})
        errors = tuple(
            (name, error.removeprefix(f"{printable(name)}: "))
            for name, error in zip(found.row_ids, found.errors, strict=True)
            if error is not None
        )
        for name, error in errors:
            reporter().say(f"{printable(name)}: {error}")
    counting, groups = _counting(found, images)
    if not len(counting):
        which = "the image" if len(found) == 1 else f"all of the {len(found):,} images, such as"
        raise UnreadableImage(f"nothing can be compared: {which} {printable(errors[0][0])}: {errors[0][1]}")
    seen: ImageProperties = found.details["properties"].take(counting)  # type: ignore[assignment]  # made above
    names = [found.row_ids[row] for row in counting.tolist()]
    judge = judge_stream if stream else judge_together
    judged = judge(reference, seen, level=float(false_alarms), class_names=opened.class_names)
    unknown = not_known(opened.metrics, "images that are like them in all are called different")
    return Check(
        is_alike=judged.is_alike,
        in_words=in_words(judged, reference, names, groups=groups) + (f".{unknown}" if unknown else ""),
        false_alarms=float(false_alarms),
        num_images=len(names),
        num_reference=len(reference),
        properties=judged.properties,
        unlike=tuple(names[row] for row in judged.unlike),
        visible_shift=judged.visible_shift,
        alarm_after=judged.alarm_after,
        errors=errors,
    )


def _counting(found: Predictions, images: Any) -> tuple[np.ndarray, str]:
    """The readable rows that count, one of each group, and how that is said."""
    rows = np.flatnonzero(found.readable)
    if not isinstance(images, Dataset) or images.groups is None or not len(rows):
        return rows, ""
    drawn = one_of_each_group(images.groups[rows], len(rows), seed=0)
    return (rows, "") if drawn is None else (rows[drawn], f" (of {len(rows):,}, one of each group)")
