"""What a report tells, and how its names and shares are written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Final

from sightline.reporting.pages.miniatures import Miniature
from sightline.system.text import printable, shorten

MOST_PICTURES: Final = 400
"""Of wrong answers; a thousand bytes each."""
MOST_NAMED: Final = 2_000
MOST_SUREST: Final = 12
"""Of the surest wrong answers, which stand with pictures of what is most alike."""
MOST_UNSURE: Final = 60
"""Of answers that are right and unsure."""


@dataclass(frozen=True)
class ReportedAnswer:
    """One wrong or unsure answer of a report.

    Attributes:
        row_id: by which the source calls the image.
        given: name of its class.
        predicted: name of the class that it was taken for.
        confidence: of that, calibrated.
        nearest: (name, class) of the training images that the network sees most alike.
        picture: None where the image is not at hand, or there are enough.
        is_unsure: whether `predict --max-error` would have marked it.
        nearest_pictures: of the nearest, where they are shown; None for one that is not at hand.
        map: which places speak for the named class, or None.
        map_words: where most of that lies, in words.
    """

    row_id: str
    given: str
    predicted: str
    confidence: float
    nearest: tuple[tuple[str, str], ...] = ()
    picture: Miniature | None = None
    is_unsure: bool = False
    nearest_pictures: tuple[Miniature | None, ...] = ()
    map: Miniature | None = None
    map_words: str = ""


@dataclass(frozen=True)
class NoticedThing:
    """What was noticed about the images before training: its severity, title, and what was seen, with file names."""

    severity: str
    title: str
    detail: str


@dataclass(frozen=True)
class ThresholdStep:
    """What is answered, and how much of it wrongly, where answers count from a confidence on."""

    least_confidence: float
    num_answered: int
    num_wrong: int


@dataclass(frozen=True, eq=False)
class ReportContent:
    """What a report tells; `sightline.report` gathers it.

    Attributes:
        name: of the run.
        facts: what it is, in pairs of a label and a text.
        split: the rows that the figures are of, "test" or "validation"; None where nothing was judged.
        figures: as metrics.json has them; empty where nothing was judged.
        counts: class name to images in each split, as far as they are known.
        split_totals: split to images.
        left_out: (file, reason) of what training left out.
        promises: (promise in words, what was measured) or (refusal, "").
        steps: from answering everything to answering the surest alone.
        wrong: wrong answers, the surest first.
        history: one mapping an epoch.
        chosen_epoch: whose weights were kept.
        missing: what is not in the report, and why.
        bundle: what is typed behind `sightline predict`.
        unsure: right answers that are unsure, the least sure first.
        about_maps: what maps say, or how they are made, as HTML that is safe.
        about_unsure: what is promised of answers that are not unsure, or why none is marked.
        findings: what was noticed about the images before training; None where that was not kept.
        sections: further ones: (id, title, HTML that is safe).
    """

    name: str
    facts: Sequence[tuple[str, str]]
    split: str | None
    figures: Mapping[str, Any]
    counts: Mapping[str, Mapping[str, int]]
    split_totals: Mapping[str, int]
    left_out: Sequence[tuple[str, str]]
    promises: Sequence[tuple[str, str]]
    steps: Sequence[ThresholdStep]
    wrong: Sequence[ReportedAnswer]
    history: Sequence[Mapping[str, float]]
    chosen_epoch: int
    missing: Sequence[str]
    bundle: str
    unsure: Sequence[ReportedAnswer] = ()
    about_unsure: str = ""
    about_maps: str = ""
    findings: Sequence[NoticedThing] | None = None
    sections: Sequence[tuple[str, str, str]] = field(default_factory=tuple)

    @property
    def has_several_labels(self) -> bool:
        """Whether an image may have several labels, or none."""
        return "micro_f1" in self.figures


_LONGEST_NAME = 60


def text_of(name: str) -> str:
    """A text of strangers as HTML in which it does nothing."""
    return escape(printable(name))


def apart(name: str) -> str:
    """A name of strangers as HTML, which turns nothing beside it where it is written from right to left."""
    return f"<bdi>{text_of(name)}</bdi>"


def short_name(name: str) -> str:
    """A name that a table can hold, whole in its tip; written from right to left, it turns nothing beside it."""
    whole = printable(name)
    short = shorten(whole, lambda words: len(words) <= _LONGEST_NAME)
    tip = "" if short == whole else f' title="{escape(whole)}"'
    return f"<bdi{tip}>{escape(short)}</bdi>"


def share_in_words(share: float) -> str:
    """A share in percent, with two digits of what it is away from 0 and 100; a dash where there is none."""
    if math.isnan(share):
        return "-"
    away = 100 * min(share, 1 - share)
    digits = 0 if away <= 0 else min(4, max(1, 1 - math.floor(math.log10(away))))
    return f"{100 * share:.{digits}f} %"
