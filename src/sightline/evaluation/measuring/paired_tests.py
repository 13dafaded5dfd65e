"""Two runs on the rows that both were judged on: which is better, by how much, and how sure that is."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.data.duplicates.search import connected_components
from sightline.errors import InvalidValue
from sightline.evaluation.measuring.finished_runs import FinishedRun
from sightline.evaluation.measuring.label_tests import LabelTest, SharedLabels, shared_labels, tests_of_labels
from sightline.metrics.grouped import checked_groups, difference_interval, num_groups, paired_p_value
from sightline.metrics.intervals import USUAL_LEVEL
from sightline.metrics.multi_label.pairing import MicroDifference
from sightline.metrics.significance import number_to_tell
from sightline.system.text import printable, told_p_value
from sightline.tasks.table import has_several_labels

SIGNIFICANT = 0.05
# So many labels are named in what is printed.
MOST_LABELS = 10
# Above this share of rows with two names, it is not the labels that differ but the images.
MOST_DISAGREEING = 0.05
_NUMBERED = re.compile(r"(train|validation|test)/\d+")
_ELSEWHERE = ""


@dataclass(frozen=True)
class PairedTest:
    """The difference of two runs on the rows they share. `first` and `second` are their letters.

    Where an image may have several labels, an answer is right if all of its labels are.

    Attributes:
        first: what is compared with.
        second: what is compared.
        num_images: rows of the asked split of both, whose class both name alike.
        num_first_correct: of these, what the first got right.
        num_second_correct: of these, what the second got right.
        num_only_first: what the first alone got right.
        num_only_second: what the second alone got right.
        difference: accuracy of the second minus that of the first, in [-1, 1].
        interval: of the difference, for this test alone.
        p_value: McNemar, exact, two-sided; of images in groups, of the turns of whole groups.
        adjusted_p_value: by Holm, for all tests of the comparison; equal to `p_value` if there is one.
        num_tests: how many there are in the comparison.
        remarks: what was left out and why, a sentence each.
        num_groups: of images that hang together in one of the runs; None where each stands alone.
        interval_level: of the interval.
        num_images_to_tell: how many images would tell such a difference in four of five cases, were it what it seems;
            None where there is none, or too few images say so.
        num_groups_to_tell: the same in groups; None where each image stands alone.
        micro_f1: where an image may have several labels, the difference of micro F1; else None.
        labels: then a test of each label.
    """

    first: str
    second: str
    num_images: int
    num_first_correct: int
    num_second_correct: int
    num_only_first: int
    num_only_second: int
    difference: float
    interval: tuple[float, float]
    p_value: float
    adjusted_p_value: float
    num_tests: int = 1
    remarks: tuple[str, ...] = ()
    num_groups: int | None = None
    interval_level: float = USUAL_LEVEL
    num_images_to_tell: int | None = None
    num_groups_to_tell: int | None = None
    micro_f1: MicroDifference | None = None
    labels: tuple[LabelTest, ...] = ()

    @property
    def is_distinguishable(self) -> bool:
        """Whether the adjusted p-value is below 0.05. The interval, an approximation, may exclude 0 where it is not."""
        return self.adjusted_p_value < SIGNIFICANT

    def __str__(self) -> str:
        if self.micro_f1 is None:
            return self._of_answers
        return "\n".join([f"exact match: {self._of_answers}", self._of_micro_f1(self.micro_f1), *self._of_labels])

    def _of_micro_f1(self, found: MicroDifference) -> str:
        (lower, upper), by = found.interval, "p by Holm" if self.num_tests > 1 else "p"
        told = f"{found.difference + 0.0:+.4f} [{lower:+.4f}, {upper:+.4f}]"
        sure = f"(exchanged answers, {by} {told_p_value(found.adjusted_p_value)})"
        scores = f"{self.first} {found.first:.4f}, {self.second} {found.second:.4f}"
        if found.adjusted_p_value >= SIGNIFICANT:
            return f"micro F1: {scores}, not distinguishable: difference {told} {sure}."
        return f"micro F1: {scores}, {self.second} is {'better' if found.difference > 0 else 'worse'}: {told} {sure}."

    @property
    def _of_labels(self) -> list[str]:
        clear = [test for test in self.labels if test.adjusted_p_value < SIGNIFICANT]
        if not clear:
            return [f"No label of {len(self.labels):,} is told apart (McNemar p by Holm)."] * bool(self.labels)
        lines = [f"{len(clear):,} of {len(self.labels):,} labels told apart (McNemar p by Holm):"]
        lines += [
            f"  {printable(test.label)}: {self.second} alone is right on {test.num_only_second:,}, {self.first} alone "
            f"on {test.num_only_first:,} (p {told_p_value(test.adjusted_p_value)})"
            for test in sorted(clear, key=lambda one: one.p_value)[:MOST_LABELS]
        ]
        return [*lines, *[f"  and {len(clear) - MOST_LABELS:,} more"] * (len(clear) > MOST_LABELS)]

    @property
    def _of_answers(self) -> str:
        name = "McNemar p" if self.num_groups is None else "paired test of groups p"
        name = name if self.num_tests == 1 else f"{name} by Holm"
        sure = f"({name} {told_p_value(self.adjusted_p_value)})"
        alone = (
            f"{self.second} alone is right on {self.num_only_second:,}, {self.first} alone on {self.num_only_first:,}"
        )
        images = f"{self.num_images:,} image{'s' * (self.num_images != 1)}"
        if self.num_groups is not None:
            images = f"{images} in {self.num_groups:,} group{'s' * (self.num_groups != 1)}"
        if self.remarks:
            images = f"the {images} that both were judged on"
        # As many digits as show a single image.
        digits = max(1, len(str(self.num_images - 1)) - 2)
        lower, upper = self.interval
        if not self.is_distinguishable:
            by = f"difference {_points(self.difference, digits)} points {_bounds(lower, upper, digits)}"
            told = f"{self.first} and {self.second} are not distinguishable on {images}{self._would_tell}"
            return f"{told}: {by} {sure}; {alone}."
        word = "better" if self.difference > 0 else "worse"
        lower, upper = (lower, upper) if self.difference > 0 else (-upper, -lower)
        by = f"{_points(abs(self.difference), digits)} points {_bounds(lower, upper, digits)}"
        return f"{self.second} is {word} than {self.first} by {by} on {images} {sure}; {alone}."

    __repr__ = __str__

    @property
    def _would_tell(self) -> str:
        if self.num_images_to_tell is None:
            return ""
        of_what = "" if self.num_groups_to_tell is None else " groups"
        return f"; about {_rounded(self.num_groups_to_tell or self.num_images_to_tell):,}{of_what} would tell"


def pair(
    first: FinishedRun,
    second: FinishedRun,
    *,
    names: tuple[str, str],
    split: str,
    interval_level: float = USUAL_LEVEL,
    num_tests: int = 1,
) -> PairedTest:
    """Test two runs against each other on the rows of a split, "test" or "validation", that both were judged on.

    Rows are matched by their id, classes by their name; of several labels those count that both runs know. A row that
    one run was tested on and the other learned from is in no figure; how many there are is remarked. Rows of an array
    are known by number alone, so two arrays share rows only if they are the same array.

    Returns:
        The test, its p-value not yet adjusted for `num_tests`; `names` are how the two are called in it.

    Raises:
        InvalidValue: they share no row, or call the same rows by different classes; in one an image has one class and
            in the other it may have several labels, or they share no label.
    """
    _check_same_task(first, second, names)
    here, there = first.predictions[split], second.predictions[split]
    shared = [row_id for row_id in here.given if row_id in there.given]
    both_ways = ((first, second, names), (second, first, (names[1], names[0])))
    remarks = different_sources(first, second, names, shared)
    remarks += [sentence for ordered in both_ways for sentence in _left_out(*ordered, split)]
    if not shared:
        raise InvalidValue(
            f"{names[0]} ({first.path}) and {names[1]} ({second.path}) share no {split} row. {' '.join(remarks)} "
            + _remedy(first, second, split)
        )
    remarks += [sentence for ordered in both_ways for sentence in _warnings(*ordered, split)]
    agreed, correct, labels = _judged_alike(first, second, split, shared)
    num_disagreeing = len(shared) - len(agreed)
    if num_disagreeing > MOST_DISAGREEING * len(shared):
        raise InvalidValue(
            f"{names[0]} ({first.path}) and {names[1]} ({second.path}) call {num_disagreeing:,} of the {len(shared):,} "
            f"{split} rows that they share by different classes: these are other images, or other classes. "
            "Compare runs that were trained on the same source."
        )
    if num_disagreeing:
        row = "row is" if num_disagreeing == 1 else "rows are"
        remarks.append(
            f"{num_disagreeing:,} {row} of one class for {names[0]} and of another for {names[1]}: left out."
        )
    groups = _groups(first, second, agreed)
    test = paired_test(
        correct[0],
        correct[1],
        names=names,
        groups=groups,
        interval_level=interval_level,
        num_tests=num_tests,
    )
    if labels is not None:
        whole, each = tests_of_labels(labels, groups, interval_level=interval_level)
        test = dataclasses.replace(test, micro_f1=whole, labels=each)
    return dataclasses.replace(test, remarks=tuple(remarks))


def _judged_alike(
    first: FinishedRun, second: FinishedRun, split: str, shared: Sequence[str]
) -> tuple[list[str], NDArray[np.bool_], SharedLabels | None]:
    """Rows that both give the same label, (2, num_rows) which of them each has right; of several labels, these."""
    here, there = first.predictions[split], second.predictions[split]
    if not has_several_labels(first.bundle.task):
        agreed = [row_id for row_id in shared if here.given[row_id] == there.given[row_id]]
        right = [[answers.predicted[name] == answers.given[name] for name in agreed] for answers in (here, there)]
        return agreed, np.array(right), None
    labels = shared_labels(first, second, split=split, row_ids=shared)
    agrees = (labels.given[0] == labels.given[1]).all(axis=1)
    labels = labels.take(agrees)
    agreed = [row_id for row_id, is_same in zip(shared, agrees.tolist(), strict=True) if is_same]
    return agreed, np.array([(said == labels.given[0]).all(axis=1) for said in labels.said]), labels


def _check_same_task(first: FinishedRun, second: FinishedRun, names: tuple[str, str]) -> None:
    runs = dict(zip(names, (first, second), strict=True))
    several = [name for name, run in runs.items() if has_several_labels(run.bundle.task)]
    if len(several) == 1:
        (one,) = set(names) - set(several)
        raise InvalidValue(
            f"{one} ({runs[one].path}) has one class an image, and in {several[0]} ({runs[several[0]].path}) an image "
            "may have several labels. Compare runs of one kind."
        )
    if several and not set(first.class_names) & set(second.class_names):
        raise InvalidValue(
            f"{names[0]} ({first.path}) and {names[1]} ({second.path}) share no label. Compare runs that know the same."
        )


def paired_figures(test: PairedTest) -> dict[str, Any]:
    """A paired test as JSON has it: its attributes, is_distinguishable, and in_words."""
    told = dataclasses.asdict(test)
    if test.micro_f1 is None:
        del told["micro_f1"], told["labels"]
    return {**told, "is_distinguishable": test.is_distinguishable, "in_words": str(test)}


def _groups(first: FinishedRun, second: FinishedRun, row_ids: Sequence[str]) -> NDArray[np.int64]:
    """(num_rows,) the group of each row: what hangs together in one of the two runs does so here."""
    seen: dict[tuple[int, str], int] = {}
    pairs = [
        (seen.setdefault((which, run.groups.get(row_id, row_id)), row), row)
        for which, run in enumerate((first, second))
        for row, row_id in enumerate(row_ids)
    ]
    return connected_components(len(row_ids), np.array(pairs, np.int64).reshape(-1, 2))


def paired_test(
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    *,
    names: tuple[str, str],
    groups: NDArray[Any] | None = None,
    interval_level: float = USUAL_LEVEL,
    num_tests: int = 1,
) -> PairedTest:
    """Test two classifiers against each other on the same images.

    Args:
        first: (num_images,) which of them what is compared with got right.
        second: (num_images,) which of them what is compared got right.
        names: how the two are called in what is said of them.
        groups: (num_images,) names or numbers, images of one hang together; None: each stands alone.
        interval_level: of the interval of their difference.
        num_tests: how many there are in all; the first to be told has to be as much clearer.
    """
    p_value, numbers = paired_p_value(first, second, groups), checked_groups(groups, len(first))
    excesses = second.astype(np.int64) - first
    if numbers is not None:
        excesses = np.bincount(numbers, weights=excesses).round().astype(np.int64)
    to_tell = number_to_tell(excesses, significance=SIGNIFICANT / num_tests)
    return PairedTest(
        first=names[0],
        second=names[1],
        num_images=len(first),
        num_first_correct=int(first.sum()),
        num_second_correct=int(second.sum()),
        num_only_first=int((first & ~second).sum()),
        num_only_second=int((second & ~first).sum()),
        difference=(int(second.sum()) - int(first.sum())) / len(first),
        interval=difference_interval(first, second, groups, confidence=interval_level),
        p_value=p_value,
        adjusted_p_value=p_value,
        num_tests=num_tests,
        num_groups=num_groups(groups),
        interval_level=interval_level,
        num_images_to_tell=None if to_tell is None else math.ceil(to_tell * len(first) / len(excesses)),
        num_groups_to_tell=None if numbers is None else to_tell,
    )


def different_sources(
    first: FinishedRun, second: FinishedRun, names: tuple[str, str], shared: Sequence[str]
) -> list[str]:
    """A sentence where two runs were not trained on the same state of one source; nothing where it is the same.

    Raises:
        InvalidValue: the rows that `shared` names are known by number alone: those of two sources are not the same.
    """
    fingerprint = first.source.get("fingerprint")
    if fingerprint is not None and fingerprint == second.source.get("fingerprint"):
        return []
    if any(_NUMBERED.fullmatch(row_id) for row_id in shared):
        raise InvalidValue(
            f"{names[0]} ({first.path}) and {names[1]} ({second.path}) share no rows: they were trained on different "
            f"arrays, whose rows are known by number alone, so that {shared[0]} of one is not {shared[0]} of the "
            "other. Take runs that were trained on the same source."
        )
    return [
        f"{names[0]} and {names[1]} were not trained on the same state of one source: "
        "files of the same name and class are taken for the same image."
    ]


def _fates(one: FinishedRun, other: FinishedRun, split: str) -> Counter[str]:
    """What the rows of the split that only one of the two was judged on were in the other."""
    mine, theirs = one.predictions[split].given, other.predictions[split].given
    return Counter(other.splits.get(row_id, _ELSEWHERE) for row_id in mine if row_id not in theirs)


def _left_out(one: FinishedRun, other: FinishedRun, names: tuple[str, str], split: str) -> list[str]:
    fates = _fates(one, other, split)
    if not fates:
        return []
    parts = [_fate(count, fate, names[1]) for fate, count in fates.most_common()]
    return [f"Of the {len(one.predictions[split].given):,} {split} rows of {names[0]}, {' and '.join(parts)}."]


def _remedy(first: FinishedRun, second: FinishedRun, split: str) -> str:
    if not any({*_fates(first, second, split), *_fates(second, first, split)} - {_ELSEWHERE}):
        return "Compare runs that were trained on the same source."
    return f"Train again with --splits {first.path / 'splits.csv'}, so that both are judged on the same rows."


def _warnings(one: FinishedRun, other: FinishedRun, names: tuple[str, str], split: str) -> list[str]:
    num_learned = _fates(one, other, split)["train"]
    if not num_learned:
        return []
    return [
        f"Warning: {names[1]} learned from {num_learned:,} of the rows that {names[0]} was judged on; "
        "their accuracies in the table are not of the same images."
    ]


def _fate(count: int, fate: str, run: str) -> str:
    was, rows = ("was", "row") if count == 1 else ("were", "rows")
    if fate == _ELSEWHERE:
        return f"{count:,} {was} not in {run}"
    return f"{count:,} {was} {fate} {rows} of {run}"


def _rounded(number: int) -> int:
    """To two digits: no more of it is known."""
    return int(float(f"{number:.1e}"))


def _points(difference: float, digits: int) -> str:
    # Adding 0 makes of -0.0 what it is.
    return f"{round(100 * difference, digits) + 0.0:.{digits}f}"


def _bounds(lower: float, upper: float, digits: int) -> str:
    return f"[{_points(lower, digits)}, {_points(upper, digits)}]"
