"""What to say, and what to refuse, where there are too few images to divide."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sightline.configuration.schema import DataRecipe
from sightline.errors import InvalidSource
from sightline.records import SPLIT_NAMES, Dataset, Splits

_NAMES_SHOWN = 5


def refuse_empty(dataset: Dataset, data: DataRecipe, splits: Splits) -> None:
    """Refuse splits of which one came out empty, or none of which teaches a class."""
    given = set(dataset.given_splits.tolist())
    if given and not given & {"", "train"}:
        raise InvalidSource(
            f"{dataset.name}: all of its images are in the given splits {' and '.join(sorted(given))}. "
            "There is none to learn from. Add a train split, or take the folders for one whole."
        )
    fractions = {
        "validation": data.validation_fraction,
        "calibration": data.calibration_fraction,
        "test": data.test_fraction,
    }
    for name, fraction in fractions.items():
        if fraction > 0 and not len(splits.rows(name)):  # type: ignore[arg-type]  # the keys are split names
            share = fraction if name == "test" else fraction * (1 - data.test_fraction)
            kind = "images" if splits.groups is None else "groups of images"
            raise InvalidSource(
                f"{dataset.name}: {_few(dataset, splits)} to keep {fraction:g} of them for {name}. "
                f"Add images, or set data.{name}_fraction=0. About {groups_needed(share)} {kind} are needed."
            )
    lost = _without(dataset, splits.train)
    if splits.groups is not None and len(splits.train):
        # Of files, a class whose few images went with their copies is told in a remark and stops nobody.
        is_free = (dataset.given_splits == "") | (dataset.given_splits == "train")
        lost = [label for label in lost if not dataset.counts(is_free)[label]]
    if lost or not len(splits.train):
        name = dataset.class_names[lost[0]] if lost else dataset.named(slice(0, 1))[0]
        raise InvalidSource(
            f"{dataset.name}: no image of class {name!r} is left to train on after the splits. "
            "Add images of it, or make data.validation_fraction and data.calibration_fraction smaller."
        )


def _few(dataset: Dataset, splits: Splits) -> str:
    """How few images there are, or groups of them where copies or groups are tied; refuses a single picture."""
    num_groups = len(dataset) if splits.groups is None else len(np.unique(splits.groups))
    if num_groups == len(dataset):
        return f"{len(dataset)} images are too few"
    if num_groups == 1 and (dataset.groups is None or not dataset.groups[0]):
        raise InvalidSource(
            f"{dataset.name}: all {len(dataset):,} images are copies of one picture ({dataset.row_ids[0]}), from which "
            "nothing can be learned. Look at the files: were they written by a camera or a program that failed?"
        )
    counted = "one group" if num_groups == 1 else f"{num_groups:,} groups"
    return f"{len(dataset):,} images in {counted}, such as copies of one picture, are too few"


def refuse_unreadable(dataset: Dataset, errors: Mapping[int, str], limit: float) -> None:
    """Refuse a source of which too much cannot be read to be an accident, or of which a class is lost by it.

    Args:
        dataset: with the rows that cannot be read.
        errors: row to reason.
        limit: the share of rows above which it is refused.
    """
    if not errors:
        return
    first = f"the first is {dataset.row_ids[next(iter(errors))]}: {next(iter(errors.values()))}"
    lost = f"{len(errors):,} of {len(dataset):,} files cannot be read"
    if len(errors) > limit * len(dataset):
        raise InvalidSource(
            f"{dataset.name}: {lost}, more than {limit:.0%} ({kinds_of_errors(errors)}); {first} "
            "Run `sightline audit`, or set data.unreadable_limit higher."
        )
    readable = np.setdiff1d(np.arange(len(dataset)), np.fromiter(errors, dtype=np.int64))
    if gone := _without(dataset, readable):
        raise InvalidSource(
            f"{dataset.name}: {_named(dataset, gone)} no image that can be read ({lost}: {kinds_of_errors(errors)}); "
            f"{first} Convert them, or leave the class out."
        )


def kinds_of_errors(errors: Mapping[int, str]) -> str:
    """How many files cannot be read for which kind of reason, the most frequent first.

    Example:
        >>> kinds_of_errors({0: "a HEIC image, not a ...", 3: "a HEIC image, ...", 4: "empty file (0 bytes)."})
        '2 times: a HEIC image; once: empty file'
    """
    counts = Counter(re.split(r"[,;(:]|\d[\d,]+ ", reason)[0].strip(" .") for reason in errors.values())
    told = [
        f"{'once' if count == 1 else f'{count:,} times'}: {kind}" for kind, count in counts.most_common(_NAMES_SHOWN)
    ]
    return "; ".join(told)


def class_remarks(dataset: Dataset, splits: Splits, shares: Sequence[float]) -> tuple[str, ...]:
    """Which classes have too few images for every split, and what was done with those they have."""
    counts = dataset.counts()
    remarks = []
    single = [label for label in np.flatnonzero(counts == 1).tolist() if label not in _without(dataset, splits.train)]
    if single:
        remarks.append(
            f"{_named(dataset, single)} one image only, which is in train: "
            "nothing will tell how well it is recognised. Add images."
        )
    untaught = _without(dataset, splits.train)
    if untaught:
        remarks.append(
            f"{_named(dataset, untaught)} no image in train, since all are copies of images in other splits: "
            "the network cannot learn it. Add images, or remove the copies."
        )
    for name, share in zip(SPLIT_NAMES[1:], shares[1:], strict=True):
        lacking = [label for label in _without(dataset, splits.rows(name)) if counts[label] > 1]
        if share > 0 and lacking:
            remarks.append(
                f"{_named(dataset, lacking)} too few groups of images for one in {name}; "
                f"about {groups_needed(share)} a class are needed. Those there are were left in the other splits."
            )
    return tuple(remarks)


def groups_needed(share: float) -> int:
    """How many groups a class needs so that a split of this share surely has one."""
    return math.ceil(1 / (0.95 * share)) + 2


def _without(dataset: Dataset, rows: NDArray[np.int64]) -> list[int]:
    """Labels that the dataset has and these rows have not."""
    return np.flatnonzero((dataset.counts() > 0) & (dataset.counts(rows) == 0)).tolist()


def _named(dataset: Dataset, labels: Sequence[int]) -> str:
    names = ", ".join(repr(dataset.class_names[label]) for label in labels[:_NAMES_SHOWN])
    more = f" and {len(labels) - _NAMES_SHOWN} more" if len(labels) > _NAMES_SHOWN else ""
    return f"{'classes' if len(labels) > 1 else 'class'} {names}{more} {'have' if len(labels) > 1 else 'has'}"
