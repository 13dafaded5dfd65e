"""Whether images are like those of a reference, property by property and one by one, and what of it to say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.trust.reference import CATEGORIES, PROPERTIES, ImageProperties, Reference
from sightline.data.inputs.properties import FORMATS
from sightline.metrics.conformal import p_values
from sightline.metrics.drift import (
    online_category_p_values,
    online_p_values,
    shares_p_value,
    simple_jumper,
    two_sample_distance,
    two_sample_p_value,
    visible_shift,
)
from sightline.metrics.significance import benjamini_hochberg, holm
from sightline.system.text import counted, listed, percent, printable

# In words where it fell and where it rose, and the digits of its values.
_MOVES = {
    "width": ("narrower", "wider", 0),
    "height": ("less tall", "taller", 0),
    "brightness": ("darker", "lighter", 2),
    "contrast": ("lower in contrast", "higher in contrast", 2),
    "sharpness": ("less sharp", "sharper", 2),
    "colour": ("less colourful", "more colourful", 2),
    "certainty": ("answered less surely", "answered more surely", 1),
    "novelty": ("nearer to what was learned", "farther from what was learned", 2),
}
# Of a stream, what moved is told by so many images up to the alarm.
_LATEST = 100
# Of fewer images all are told, as they have no middle 80 %.
_FEW = 10
# Of a smaller distance it is said that it is slight, however sure it is.
_SLIGHT = 0.1
# Divisions of both samples that shares are compared with: enough for the usual rate of false alarms, and at most;
# of many classes, so many counts.
_DRAWS, _MOST_COUNTS = (4_999, 199_999), 2**25


@dataclass(frozen=True)
class Property:
    """One property of images beside that of the reference.

    Attributes:
        name: "width", "height", "brightness", "contrast", "sharpness", "colour", "certainty" (the log-odds of the
            answer), "novelty" (the distance to what was learned), "format" or "class" (the one that was answered).
        p_value: adjusted for all that is looked at: at most the `false_alarms` of the check where it moved.
        has_moved: by that.
        reference: median of the reference; of a category, the share of the one that moved most.
        images: the same of the images; of a stream that moved, of the latest before that was sure.
        distance: the largest difference of the cumulative shares, of a category half the sum of all differences of
            its shares: 0 to 1, the share of the images that would have to be others at least.
        in_words: how they differ, whether by more than chance or not.
    """

    name: str
    p_value: float
    has_moved: bool
    reference: float
    images: float
    distance: float
    in_words: str


@dataclass(frozen=True)
class Judgement:
    """What the statistics say of images.

    Attributes:
        properties: all that were compared, those that moved first.
        unlike: rows of single images, the worst first.
        visible_shift: in standard deviations; None of a stream.
        alarm_after: of a stream, after how many images; None where never.
    """

    properties: tuple[Property, ...]
    unlike: tuple[int, ...] = ()
    visible_shift: float | None = None
    alarm_after: int | None = None

    @property
    def is_alike(self) -> bool:
        """Whether nothing shows that they differ."""
        return not self.unlike and not any(one.has_moved for one in self.properties)


def judge_together(
    reference: Reference, images: ImageProperties, *, level: float, class_names: Sequence[str]
) -> Judgement:
    """Images side by side with the reference: half of the false alarms for what moved, half for single images.

    Args:
        reference: of the bundle.
        images: at least 1, all of them readable.
        level: how often, at most, alike images are called different.
        class_names: of the bundle.
    """
    names = _shared(reference, images)
    most = min(_DRAWS[1], _MOST_COUNTS // len(class_names))
    draws = int(max(_DRAWS[0], min(4 * len(names) / level, most)))
    found = []
    for name in names:
        old, new = reference.columns[name], _column(images, name)
        if name in CATEGORIES:
            seed = int.from_bytes(reference.key[:8], "little")
            found.append(shares_p_value(*_counts(old, new), seed=seed, num_draws=draws))
        else:
            found.append(two_sample_p_value(old, new))
    adjusted = np.minimum(1, 2 * holm(found))
    told = [
        _property(name, value, level, (reference.columns[name], _column(images, name)), class_names)
        for name, value in zip(names, adjusted.tolist(), strict=True)
    ]
    return Judgement(
        _ordered(told),
        unlike=_unlike(reference, images, _single(names), level=level),
        visible_shift=visible_shift(len(reference), len(images), level / 2 / len(names)),
    )


def _single(names: Sequence[str]) -> str:
    """The property by which single images are told."""
    return "novelty" if "novelty" in names else "certainty"


def _unlike(reference: Reference, images: ImageProperties, name: str, *, level: float) -> tuple[int, ...]:
    """Rows of single images, the worst first: in so many, none should lie so far out of the reference."""
    sign = 1 if name == "novelty" else -1
    badness, known = (sign * column.astype(np.float64) for column in (_column(images, name), reference.columns[name]))
    adjusted = np.minimum(1, 2 * benjamini_hochberg(p_values(badness, known)))
    worst = np.argsort(-badness, kind="stable")
    return tuple(worst[adjusted[worst] <= level].tolist())


def judge_stream(
    reference: Reference, images: ImageProperties, *, level: float, class_names: Sequence[str]
) -> Judgement:
    """Images one after the other, each joining what the next are compared with: a bet on each property."""
    names = _shared(reference, images)
    # Equal images have equal draws; by the place in the stream they become independent.
    random = np.random.default_rng(int.from_bytes(reference.key[:8], "little"))
    draws = (images.draws + random.random(len(images))) % 1
    told, alarms = [], []
    for name in names:
        old, new = reference.columns[name], _column(images, name)
        if name in CATEGORIES:
            online = online_category_p_values(new.astype(np.int64), old.astype(np.int64), draws)
        else:
            online = online_p_values(new, old, draws)
        capital = simple_jumper(online)
        p_value = min(1.0, len(names) * math.exp(-max(0.0, float(capital.max()))))
        last = len(images)
        if p_value <= level:
            last = int((len(names) * np.exp(-np.maximum(capital, 0)) <= level).argmax()) + 1
            alarms.append(last)
        latest = new[max(0, last - _LATEST) : last]
        told.append(_property(name, p_value, level, (old, latest), class_names))
    return Judgement(_ordered(told), alarm_after=min(alarms, default=None))


def _shared(reference: Reference, images: ImageProperties) -> list[str]:
    """The properties that the reference has, and each of the images."""
    return [name for name in PROPERTIES if name in reference.columns and np.isfinite(_column(images, name)).all()]


def _column(images: ImageProperties, name: str) -> NDArray[np.float32]:
    return images.table[:, PROPERTIES.index(name)]


def _counts(old: NDArray[np.float32], new: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    most = int(max(old.max(), new.max())) + 1
    one, other = (np.bincount(values.astype(np.int64), minlength=most) for values in (old, new))
    return one, other


def _ordered(told: list[Property]) -> tuple[Property, ...]:
    return tuple(sorted(told, key=lambda one: (not one.has_moved, one.p_value)))


def _property(
    name: str,
    p_value: float,
    level: float,
    samples: tuple[NDArray[np.float32], NDArray[np.float32]],
    class_names: Sequence[str],
) -> Property:
    told = _shares_told if name in CATEGORIES else _numbers_told
    old, new, distance, words = told(name, samples, class_names)
    if not distance:
        words = f"{name} as it was"
    elif distance < _SLIGHT:
        words = f"slightly {words}"
    return Property(name, p_value, p_value <= level, old, new, distance, words)


def _numbers_told(
    name: str, samples: tuple[NDArray[np.float32], NDArray[np.float32]], _: Sequence[str]
) -> tuple[float, float, float, str]:
    """Both medians, how far apart, and which way it went; of equal ones, how far the middle 80 %, or all, reach.

    One image has no median but its own value.
    """
    old, new = (float(np.median(sample)) for sample in samples)
    apart = two_sample_distance(*samples)
    falls, rises, digits = _MOVES[name]
    before, after = f"{old:.{digits}f}", f"{new:.{digits}f}"
    if len(samples[1]) == 1:
        way = falls if new < old else rises
        words = f"{way} ({after}, the median was {before})" if before != after else f"{name} as most were ({after})"
        return old, new, apart, words
    if before != after:
        return old, new, apart, f"{falls if new < old else rises} (median {after}, was {before})"
    was, now = (_reach(sample, (0.1, 0.9), digits) for sample in samples)
    middle = "middle 80 % "
    if was == now or len(samples[1]) < _FEW:
        was, now, middle = *(_reach(sample, (0, 1), digits) for sample in samples), ""
    # Both may still be written alike, as so few digits are told.
    reach = f" ({middle}{now}, was {was})" if was != now else ""
    return old, new, apart, f"otherwise spread in {name}{reach}"


def _reach(sample: NDArray[np.float32], ends: tuple[float, float], digits: int) -> str:
    """From which to which quantile: "0.09 to 0.21"."""
    lower, upper = np.quantile(sample, ends).tolist()
    return f"{lower:.{digits}f} to {upper:.{digits}f}"


def _shares_told(
    name: str, samples: tuple[NDArray[np.float32], NDArray[np.float32]], class_names: Sequence[str]
) -> tuple[float, float, float, str]:
    """The shares of the category that moved most."""
    one, other = _counts(*samples)
    old, new = one / one.sum(), other / other.sum()
    most = int(np.abs(new - old).argmax())
    names = FORMATS if name == "format" else class_names
    apart = float(np.abs(new - old).sum() / 2)
    if other.sum() == 1:
        most = int(other.argmax())
        words = f"{name} {printable(names[most])}, as {percent(old[most])} of them were"
        return float(old[most]), 1.0, apart, words
    words = f"otherwise composed by {name} ({printable(names[most])}: {percent(new[most])}, was {percent(old[most])})"
    return float(old[most]), float(new[most]), apart, words


def in_words(found: Judgement, reference: Reference, names: Sequence[str], *, groups: str = "") -> str:
    """The one sentence.

    Args:
        found: what the statistics say.
        reference: of the bundle.
        names: of the images.
        groups: how images that hang together were counted.
    """
    is_one, like = len(names) == 1, f"the {reference.words}"
    few = "a single one" if is_one else "so few"
    these = f"{'this image' if is_one else f'these {len(names):,} images'}{groups}"
    if found.is_alike and found.visible_shift is None:
        order = "" if is_one else ", in the order given,"
        return f"nothing shows that {these}{order} {'differs' if is_one else 'differ'} from {like}"
    if found.is_alike:
        return f"nothing shows that {these} {'differs' if is_one else 'differ'} from {like}; {_unseen(found, few)}"
    moved = [one.in_words for one in found.properties if one.has_moved]
    if found.unlike:
        is_told = _single([one.name for one in found.properties]) == "novelty"
        how = "farther from what was learned" if is_told else "answered less surely"
        count = counted(len(found.unlike), "image")
        named = listed([names[row] for row in found.unlike])
        moved.append(f"{count} {how} than chance lets {'it' if is_one else 'them'} be ({named})")
    after = "" if found.alarm_after is None else f", as the first {found.alarm_after:,} in the order given show"
    told = f"{these} {'is' if is_one else 'are'} not like {like}{after}: {', '.join(moved)}"
    return f"{told}; the figures of the card need not hold for {'it' if is_one else 'them'}"


def _unseen(found: Judgement, few: str) -> str:
    shift = found.visible_shift or math.inf
    if math.isinf(shift):
        return f"of {few}, no shift of a property would have been seen"
    by = f"{shift:.1f}" if shift >= 0.1 else f"{shift:.2f}"
    return f"a shift of a property by {by} standard deviations would have been seen in 19 of 20 cases"
