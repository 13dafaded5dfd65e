"""What finished runs have in common: classes, input, and the rows that none of them learned from. Imports no Keras.

Runs that are combined may have been divided differently, by another seed or at another time. A row that one of them
tested on may be a row that another learned from; votes and figures found on it would flatter the whole. So the rows
are divided anew, by what happened to each in every run: one that any run learned from trains, one that was the same
in all of them (validated, calibrated, tested) stays that, and all others are in no split. A row is known by its row
id, and that two runs mean the same row is checked by the class that both call it by: two folders may both have
a 0001.jpg. Why it was chosen: docs/decisions/0023-combining-on-rows-that-no-run-learned-from.md.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sightline.configuration.recipes import flatten, parse_recipe
from sightline.errors import InvalidValue, UnknownName
from sightline.evaluation.measuring.finished_runs import JUDGED_SPLITS, FinishedRun, has_known_train_rows
from sightline.evaluation.measuring.paired_tests import MOST_DISAGREEING, different_sources
from sightline.records import InputSpec, Predictions
from sightline.tasks.multi_label import MultiLabel

# Stands where the name of a split would, and is told like one: "test in runs/a, not in runs/b".
_ELSEWHERE = "not"
# Not the background: it changes no pixel, it only lets prediction notice an inverted image.
_INPUT = ("height", "width", "color_mode", "resize", "interpolation")


@dataclass(frozen=True, eq=False)
class SharedRows:
    """The rows of several runs, divided so that nobody is judged on what anybody learned from.

    Attributes:
        splits: row id to its split: "train" if any of the runs learned from it; "validation", "calibration" or "test"
            if it was that in all of them.
        groups: row id to the group that was kept together with it.
        given: row id to the name of its class, of the judged rows.
        left_out: (row id, reason) of all other rows.
        remarks: a sentence each.
    """

    splits: Mapping[str, str]
    groups: Mapping[str, str]
    given: Mapping[str, str]
    left_out: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]

    def rows(self, split: str) -> list[str]:
        """Row ids of one split."""
        return [row_id for row_id, name in self.splits.items() if name == split]


def shared_rows(runs: Sequence[FinishedRun]) -> SharedRows:
    """Divide the rows of all runs anew; each of the judged splits may be empty.

    A row that one run validated and another tested on is in no split: it has chosen the epoch of the one. Nor is
    a row that only some of the runs know, one with two classes, or one whose group, kept together by one
    run, was torn apart by another that learned from a part of it.
    """
    remarks = _check_sources(runs) + _taught_by_strangers(runs)
    # Each once, in the order of the runs.
    known = list(dict.fromkeys(itertools.chain.from_iterable(run.splits for run in runs)))
    learned = {row_id for run in runs for row_id, split in run.splits.items() if split == "train"}
    torn = [_torn_groups(run, learned) for run in runs]
    splits: dict[str, str] = {}
    given: dict[str, str] = {}
    left_out: list[tuple[str, str]] = []
    num_disagreeing = 0
    for row_id in known:
        if row_id in learned:
            splits[row_id] = "train"
            continue
        fates = [run.splits.get(row_id, _ELSEWHERE) for run in runs]
        # None where the run does not know the row, or has no finite answer for it.
        classes = [_class_of(run, row_id, fate) for run, fate in zip(runs, fates, strict=True)]
        if len(set(fates)) > 1 or None in classes:
            left_out.append((row_id, _each(runs, fates)))
        elif any(run.groups.get(row_id) in groups for run, groups in zip(runs, torn, strict=True)):
            left_out.append((row_id, "a run learned from a part of its group"))
        # Last, so that it is counted only of rows that would be shared: these tell whether the runs mean one source.
        elif len(set(classes)) > 1:
            num_disagreeing += 1
            left_out.append((row_id, _each(runs, [f"'{name}'" for name in classes])))
        else:
            splits[row_id], given[row_id] = fates[0], str(classes[0])
    # A few labels may have been corrected between two runs; of other images nearly all disagree.
    if num_disagreeing > MOST_DISAGREEING * (num_disagreeing + len(given)):
        raise InvalidValue(
            f"{_listed(runs)} call {num_disagreeing:,} of the {num_disagreeing + len(given):,} rows that they share by "
            "different classes: these are other images, or other classes. Combine runs of the same source."
        )
    if left_out:
        remarks.append(
            f"{len(left_out):,} {'row is' if len(left_out) == 1 else 'rows are'} in no split that all runs share and "
            "left out (excluded.csv)."
        )
    # Runs that agree on the split of a row may still have grouped it differently; the first that knows it is heard.
    groups = {row_id: next(run.groups[row_id] for run in runs if row_id in run.groups) for row_id in splits}
    return SharedRows(splits, groups, given, tuple(left_out), tuple(remarks))


def shared_classes(runs: Sequence[FinishedRun]) -> tuple[str, ...]:
    """The classes that all runs tell apart, in the order of the first."""
    first, *others = runs
    class_names = first.bundle.class_names
    # The bundle will answer; votes are chosen by the answers that its run left: two files, and either may be foreign.
    for run in (first, *others):
        for names in (run.bundle.class_names, run.class_names):
            _check_same(class_names, names, first, run)
    return class_names


def _check_same(class_names: Sequence[str], names: Sequence[str], first: FinishedRun, run: FinishedRun) -> None:
    if set(names) == set(class_names):
        return
    parts = [
        f"only {path} knows {', '.join(map(repr, sorted(alone)[:5]))}"
        for path, alone in ((first.path, set(class_names) - set(names)), (run.path, set(names) - set(class_names)))
        if alone
    ]
    raise InvalidValue(f"runs are combined that tell the same classes apart; {', '.join(parts)}.")


def shared_input(runs: Sequence[FinishedRun]) -> InputSpec:
    """What all runs are fed; the background is "mixed", which says nothing, where they do not agree on one."""
    specs = [run.bundle.input for run in runs]
    if len({tuple(getattr(spec, key) for key in _INPUT) for spec in specs}) > 1:
        taken = "; ".join(
            f"{run.path} takes {spec.height}x{spec.width} {spec.color_mode} by '{spec.resize}'"
            for run, spec in zip(runs, specs, strict=True)
        )
        raise InvalidValue(
            f"runs are combined that take the same images; {taken}. Train again with the same data.image_size, "
            "data.color_mode and data.resize."
        )
    agreed = len({spec.background for spec in specs}) == 1
    return specs[0] if agreed else dataclasses.replace(specs[0], background="mixed")


def predictions_of(run: FinishedRun, rows: SharedRows, split: str, class_names: tuple[str, ...]) -> Predictions:
    """What a run said of the shared rows of a split when it was trained.

    Returns:
        Predictions whose logits are divided by the temperature of the run, classes in that order.
    """
    row_ids, told = rows.rows(split), run.predictions[split]
    row_of = {row_id: row for row, row_id in enumerate(told.given)}
    found = np.array([row_of[row_id] for row_id in row_ids], np.int64)
    # Each run has its own order of rows and of classes.
    order = class_order(run.class_names, class_names)
    task, labels = run.bundle.task, told.labels[found]
    if isinstance(task, MultiLabel):  # whose labels stand in one order in all runs; thresholds are of raw logits
        limits = tuple(limit / run.bundle.temperature for limit in task.thresholds)
        task = dataclasses.replace(task, thresholds=limits)
    else:
        labels = np.array([class_names.index(rows.given[row_id]) for row_id in row_ids], np.int64)
    # Calibrated by its own run: votes weigh probabilities, and a student's raw answers are far softer than a teacher's.
    logits = told.logits[found][:, order] / np.float32(run.bundle.temperature)
    groups = np.array([rows.groups[row_id] for row_id in row_ids], dtype=str)
    return Predictions.of(row_ids, logits, class_names=class_names, labels=labels, groups=groups, task=task)


def class_order(names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Where each of the wanted classes stands among others: what logits are sorted by."""
    index_of = {name: number for number, name in enumerate(names)}
    return [index_of[name] for name in wanted]


def shared_recipe(recipes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The part of several recipes that is the same in all and is a recipe by itself, as a tree.

    What has a use beside a key alone that they do not share is left out, since no recipe takes it.
    """
    first, *others = (dict(flatten(recipe)) for recipe in recipes)
    waiting = {key: value for key, value in first.items() if all(other.get(key, other) == value for other in others)}
    shared: dict[str, Any] = {}
    while True:
        taken = {key: value for key, value in waiting.items() if _is_recipe({**shared, key: value})}
        # One after the other: two that are taken alone need not go together.
        for key, value in taken.items():
            if _is_recipe({**shared, key: value}):
                shared[key] = value
            del waiting[key]
        if not taken:
            return _tree(shared)


def _tree(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Nested as a recipe is written."""
    tree: dict[str, Any] = {}
    for key, value in keys.items():
        section, _, name = key.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[name] = value
    return tree


def _is_recipe(content: Mapping[str, Any]) -> bool:
    try:
        parse_recipe(content)
    except (InvalidValue, UnknownName):
        return False
    return True


def _check_sources(runs: Sequence[FinishedRun]) -> list[str]:
    first, *others = runs
    remarks = []
    for run in others:
        names, both = (str(first.path), str(run.path)), [row_id for row_id in first.splits if row_id in run.splits]
        remarks += different_sources(first, run, names, both)
    return remarks


def _taught_by_strangers(runs: Sequence[FinishedRun]) -> list[str]:
    return [
        f"{run.path} was distilled, and what its teacher learned from is not known: the rows that the runs share may "
        "be among it."
        for run in runs
        if not has_known_train_rows(run.bundle)
    ]


def _torn_groups(run: FinishedRun, learned: set[str]) -> set[str]:
    """Groups that this run kept in one split that it did not learn from, while another learned from a part."""
    # What this run judged on a group that another has seen a part of would flatter the combined run as much as if the
    # row itself had been seen: the images of a group are right or wrong together.
    splits: dict[str, set[str]] = {}
    for row_id, group in run.groups.items():
        splits.setdefault(group, set()).add(run.splits[row_id])
    touched = {group for row_id, group in run.groups.items() if row_id in learned}
    # What the source itself tears apart was said when the run was trained, and stays judged as it was there.
    return {group for group in touched if len(splits[group]) == 1}


def _class_of(run: FinishedRun, row_id: str, split: str) -> str | None:
    return run.predictions[split].given.get(row_id) if split in JUDGED_SPLITS else None


def _each(runs: Sequence[FinishedRun], fates: Sequence[str]) -> str:
    return ", ".join(f"{fate} in {run.path}" for run, fate in zip(runs, fates, strict=True))


def _listed(runs: Sequence[FinishedRun]) -> str:
    return ", ".join(str(run.path) for run in runs)
