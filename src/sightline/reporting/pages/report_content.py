"""What a report tells, and how its names and shares are written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Final

from sightline.reporting.pages.miniatures import Miniature
from sightline.system.text import printable, shorten

MOST_PICTURES: Final = 600
"""Of wrong answers; a thousand bytes each."""
MOST_NAMED: Final = 2_000


@dataclass(frozen=True)
class WrongAnswer:
    """One wrong answer of a report.

    Attributes:
        row_id: by which the source calls the image.
        given: name of its class.
        predicted: name of the class that it was taken for.
        confidence: of that, calibrated.
        nearest: (name, class) of the training images that the network sees most alike.
        picture: None where the image is not at hand, or there are enough.
    """

    row_id: str
    given: str
    predicted: str
    confidence: float
    nearest: tuple[tuple[str, str], ...] = ()
    picture: Miniature | None = None


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
    wrong: Sequence[WrongAnswer]
    history: Sequence[Mapping[str, float]]
    chosen_epoch: int
    missing: Sequence[str]
    bundle: str
    sections: Sequence[tuple[str, str, str]] = field(default_factory=tuple)


_LONGEST_NAME = 60


def text_of(name: str) -> str:
    """A text of strangers as HTML in which it does nothing."""
    return escape(printable(name))


def short_name(name: str) -> str:
    """A name that a table can hold; whole in its tip."""
    whole = printable(name)
    short = shorten(whole, lambda words: len(words) <= _LONGEST_NAME)
    return escape(short) if short == whole else f'<span title="{escape(whole)}">{escape(short)}</span>'


def share_in_words(share: float) -> str:
    """A share in percent, with two digits of what it is away from 0 and 100; a dash where there is none."""
    if math.isnan(share):
        return "-"
    away = 100 * min(share, 1 - share)
    digits = 0 if away <= 0 else min(4, max(1, 1 - math.floor(math.log10(away))))
    return f"{100 * share:.{digits}f} %"
