"""Shortcuts: can the class be told from the file's size, its format, the camera or the brightness alone?

A rule of one feature is measured as a classifier would be: each image is judged by
the images beside it in its bin, itself left out. Nothing is trained and nothing is
random, so that the same source gives the same answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.metrics.intervals import wilson_interval
from sightline.quality.findings import Finding, Severity
from sightline.quality.survey import Survey
from sightline.records import Dataset
from sightline.system.text import counted, percent

LEAST_IMAGES: Final = 10
"""Smaller classes are not judged."""
# Lower bounds, not shares that were found: of 3,000 random sources of 24 to 1,000 images none gave an alarm.
PROVEN: Final = 0.70
"""Lower bound of balanced accuracy from which a feature of the file counts as a shortcut; guessing gives 0.50."""
PROVEN_OF_CONTENT: Final = 0.85
"""The same for brightness and for bytes a file, which may follow from what is on the picture."""
SURE_OF_CONTENT: Final = 0.90
"""The same, from which those two are a warning and no mere note."""
# All intervals of one audit together hold with this probability.
_CONFIDENCE = 0.99
_MOST_BINS, _MOST_VALUES = 16, 32


@dataclass(frozen=True)
class Rule:
    """How well one feature tells one class from the rest.

    Attributes:
        label: the class.
        accuracy: mean of the share of the class and the share of the rest that is told right; 0.5 is guessing.
        lower: lower bound of it.
        num_images: judged, the class and the rest together.
    """

    label: int
    accuracy: float
    lower: float
    num_images: int


@dataclass(frozen=True)
class _Feature:
    words: str
    bins: NDArray[np.int64]
    is_content: bool = False


def shortcut_findings(dataset: Dataset, seen: Survey) -> list[Finding]:
    """Which features tell a class without a look at the picture.

    Returns:
        At most one finding a feature. Format, camera and size in pixels are warnings; brightness
        and bytes a file can follow from what is on the picture, and are warnings only where
        they tell nearly all of a class.
    """
    rows = np.flatnonzero(seen.readable)
    labels = dataset.labels[rows]
    features = [feature for feature in _features(seen, rows) if len(np.unique(feature.bins)) > 1]
    findings = []
    for feature in features:
        limit = PROVEN_OF_CONTENT if feature.is_content else PROVEN
        rules = measure(feature.bins, labels, num_classes=dataset.num_classes, num_tests=len(features))
        proven = sorted((rule for rule in rules if rule.lower >= limit), key=lambda rule: (-rule.lower, rule.label))
        if proven:
            is_sure = not feature.is_content or proven[0].lower >= SURE_OF_CONTENT
            severity: Severity = "warning" if is_sure else "note"
            findings.append(Finding("shortcut", severity, (), _words(dataset, feature, proven)))
    return findings


def measure(bins: ArrayLike, labels: ArrayLike, *, num_classes: int, num_tests: int = 1) -> list[Rule]:
    """How well the bin of an image alone tells each class from the rest.

    An image is given to the class where the class fills a larger share of itself into
    the bin than the rest does, the image itself not counted; a tie is a wrong answer.

    Args:
        bins: (num_images,) whole numbers from 0: which bin each image falls into.
        labels: (num_images,) whole numbers in [0, num_classes).
        num_classes: at least 2.
        num_tests: how many features are tried; the bounds hold for all of them and all
            classes together with 99 % (Bonferroni).

    Returns:
        A Rule for each class of at least 10 images against at least 10 others; of two classes one, which tells both.

    Source:
        Leave-one-out on a table of counts; Wilson's interval for each of the two shares, combined
        as Newcombe does (Statistics in Medicine 17, 1998).
    """
    bin_number, label = np.asarray(bins, dtype=np.int64), np.asarray(labels, dtype=np.int64)
    table = np.zeros((int(bin_number.max(initial=0)) + 1, num_classes), dtype=np.int64)
    np.add.at(table, (bin_number, label), 1)
    totals = table.sum(axis=0)
    judged = [
        one for one in range(num_classes) if totals[one] >= LEAST_IMAGES and totals.sum() - totals[one] >= LEAST_IMAGES
    ]
    # Two classes are told from one another by one and the same rule.
    judged = judged[:1] if num_classes == 2 else judged
    confidence = 1 - (1 - _CONFIDENCE) / max(1, num_tests * len(judged))
    return [_rule(table[:, one], table.sum(axis=1) - table[:, one], one, confidence) for one in judged]


def _rule(own: NDArray[np.int64], rest: NDArray[np.int64], label: int, confidence: float) -> Rule:
    num_own, num_rest = int(own.sum()), int(rest.sum())
    # Each image is judged by the others: its own bin and its own total are one smaller.
    found = int(own[(own - 1) * num_rest > rest * (num_own - 1)].sum())
    refused = int(rest[(rest - 1) * num_own > own * (num_rest - 1)].sum())
    shares = found / num_own, refused / num_rest
    below = [
        share - wilson_interval(right, total, confidence=confidence)[0]
        for share, right, total in zip(shares, (found, refused), (num_own, num_rest), strict=True)
    ]
    # The bound of the mean of two shares: how far each may lie below, squared and added.
    accuracy = sum(shares) / 2
    return Rule(label, accuracy, accuracy - math.hypot(*below) / 2, num_own + num_rest)


def binned(values: ArrayLike) -> NDArray[np.int64]:
    """Numbers sorted into bins; labels are not looked at.

    Args:
        values: (num_images,) numbers.

    Returns:
        (num_images,) from 0: one bin a value where there are at most 32 values, else 16 bins
        of about equally many images.
    """
    array = np.asarray(values)
    distinct, inverse = np.unique(array, return_inverse=True)
    if len(distinct) <= _MOST_VALUES:
        return np.asarray(inverse, dtype=np.int64)
    # At least about 10 images a bin: emptier ones would tell noise.
    num_bins = int(min(_MOST_BINS, max(2, len(array) // 10)))
    edges = np.unique(np.quantile(array, np.arange(1, num_bins) / num_bins))
    return np.asarray(np.searchsorted(edges, array, side="right"), dtype=np.int64)


def _features(seen: Survey, rows: NDArray[np.int64]) -> list[_Feature]:
    heights, widths = seen.heights[rows], seen.widths[rows]
    brightness = _Feature("the mean brightness", binned(seen.brightness[rows]), is_content=True)
    if not any(seen.formats):  # arrays have no files
        return [brightness]
    # To a hundredth of a doubling: one shape stays one when it is rounded to whole pixels at another size.
    shapes = np.round(np.log2(np.maximum(widths, 1) / np.maximum(heights, 1)), 2)
    return [
        _Feature("the file format", binned([seen.formats[row] for row in rows])),
        _Feature("the file's ending", binned([seen.suffixes[row] for row in rows])),
        _Feature("the camera named in EXIF", _most_common([seen.cameras[row] for row in rows])),
        _Feature("the size in pixels", binned(heights * widths)),
        _Feature("the shape, width to height", binned(shapes)),
        _Feature("the number of bytes", binned(seen.num_bytes[rows]), is_content=True),
        brightness,
    ]


def _most_common(names: list[str]) -> NDArray[np.int64]:
    """A bin for each of the commonest names, one for all others."""
    _, inverse, counts = np.unique(np.array(names), return_inverse=True, return_counts=True)
    # The order of the order is the rank: 0 for the commonest.
    rank = np.argsort(np.argsort(-counts, kind="stable"), kind="stable")
    return np.asarray(np.minimum(rank[inverse], _MOST_VALUES - 1), dtype=np.int64)


def _words(dataset: Dataset, feature: _Feature, proven: list[Rule]) -> str:
    best = proven[0]
    own = dataset.class_names[best.label]
    others = [name for name in dataset.class_names if name != own]
    against = f"'{others[0]}'" if len(others) == 1 else "the rest"
    more = f", and {counted(len(proven) - 1, 'more class', 'more classes')} nearly as well" if len(proven) > 1 else ""
    return (
        f"{feature.words} alone tells '{own}' from {against} in {percent(best.accuracy)} of "
        f"{best.num_images:,} images, both sides counted alike (at least "
        f"{math.floor(best.lower * 100)} %; guessing gives 50 %){more}"
    )
