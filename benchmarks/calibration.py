"""What a factor and a shift of each class do on rows that they were not fitted to, and how far calibration is off.

Usage: python benchmarks/calibration.py [RUN ...] [--splits 50] [--draws 40]

Made logits first: ten classes, the rarest a tenth as frequent as the most frequent, whose logits are right up to a
temperature, or off by a factor or a shift of each class. Fresh draws (seeds from 0) of validation rows, as many
calibration rows and 20,000 judged ones: how often factors and shifts are chosen, and what they change, 0 where they are
not chosen; with the 95 % interval of the mean (Student's t over draws).

For each run: what its bundle chose and why; its calibration error on test rows beside what a perfectly calibrated model
would show. Then, over random splits of all rows that it did not learn from (seeds from 0; as many validation and
calibration rows as the run had, the others are judged; groups stay together, but for one at each border): how often
factors and shifts are chosen, and by how much they change cross-entropy, accuracy and calibration error of the judged
rows, where they are chosen, and where they are not and would have been taken. In each, the temperature is fitted on the
calibration rows of the split. Factors and shifts that the last layer of the run has already are taken out first.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import sightline
from sightline.metrics.calibration.reliability import equal_width_error
from sightline.metrics.calibration.scaling import choose_scaling, fit_scaling
from sightline.metrics.calibration.temperature import fit_temperature
from sightline.metrics.classification import cross_entropy, softmax
from sightline.metrics.intervals import student_t_quantile

Rows = tuple[NDArray[np.float64], NDArray[np.int64]]
SPLITS = ("validation", "calibration", "test")


def main() -> None:
    """Measure each run, print its lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--splits", type=int, default=50)
    parser.add_argument("--draws", type=int, default=40)
    arguments = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(", ".join(f"{name} {metadata.version(name)}" for name in ("sightline", "numpy")))
    if arguments.draws:
        made(arguments.draws)
    for path in arguments.runs:
        run = sightline.reopen(path)
        if not isinstance(run, sightline.Run) or run.evaluation is None:
            raise SystemExit(f"{path} is no run with test rows; name one")
        told = json.loads((run.bundle.path / "calibration.json").read_text()).get("class_scaling")
        print(f"\n{path}: {run.evaluation}\n")
        if told is not None:
            print(f"chosen: {told['is_chosen']}, {told['why']}; gain {told['gain']} {told['gain_interval']}")
        if run.evaluation.reliability is not None:
            print(run.evaluation.reliability.in_words)
        over_splits(path, told, num_splits=arguments.splits)


def made(num_draws: int) -> None:
    """What happens where it is known how classes differ."""
    print(f"\n{num_draws} draws each\n\n| classes | validation rows | chosen | cross-entropy | accuracy, points |")
    print("|---|---|---|---|---|")
    even = np.linspace(-1, 1, 10)
    for name, factors, shifts in (
        ("alike", np.ones(10), np.zeros(10)),
        ("factors of 0.8 to 1.2", 1 + 0.2 * even[::-1], np.zeros(10)),
        ("shifts of -0.5 to 0.5", np.ones(10), 0.5 * even),
        ("shifts of -1.5 to 1.5", np.ones(10), 1.5 * even),
    ):
        for count in (600, 2_000, 6_000):
            changes = np.array([_change(seed, count, factors, shifts) for seed in range(num_draws)])
            told = f"{mean_of(changes[:, 1])} | {mean_of(100 * changes[:, 2])}"
            print(f"| {name} | {count:,} | {int(changes[:, 0].sum())} of {num_draws} | {told} |", flush=True)


def _change(seed: int, count: int, factors: NDArray[np.float64], shifts: NDArray[np.float64]) -> tuple[float, ...]:
    """Whether it was chosen, and by how much cross-entropy and accuracy of other rows change."""
    random = np.random.default_rng(seed)
    frequencies = np.geomspace(1, 0.1, 10)
    labels = random.choice(10, size=2 * count + 20_000, p=frequencies / frequencies.sum())
    # Of two normal distributions one apart, the log-odds are linear: so these logits are right as they are.
    seen = random.normal(size=(len(labels), 10)) + 2.5 * np.eye(10)[labels]
    right = 2.5 * seen + np.log(frequencies)
    logits = 1.5 * (right - shifts) / factors
    choice = choose_scaling(logits[:count], labels[:count])
    if not choice.is_chosen:
        return 0.0, 0.0, 0.0
    before, after = (
        figures((table[count : 2 * count], labels[count : 2 * count]), (table[2 * count :], labels[2 * count :]))
        for table in (logits, logits * choice.factors + choice.shifts)
    )
    return 1.0, after[0] - before[0], after[1] - before[1]


def over_splits(path: Path, told: dict[str, list[float]] | None, *, num_splits: int) -> None:
    """What random splits of the judged rows say."""
    logits, labels, groups, counts = rows_of(path, told)
    _, units = np.unique(groups, return_inverse=True)
    changes: list[list[float]] = []
    is_chosen = []
    for seed in range(num_splits):
        order = np.argsort(np.random.default_rng(seed).permutation(int(units.max()) + 1)[units], kind="stable")
        validation, calibration, judged = np.split(order, np.cumsum(counts[:2]))
        choice = choose_scaling(logits[validation], labels[validation], groups[validation])
        is_chosen.append(choice.is_chosen)
        factors, shifts = fit_scaling(logits[validation], labels[validation])
        before, after = (
            figures((table[calibration], labels[calibration]), (table[judged], labels[judged]))
            for table in (logits, logits * factors + shifts)
        )
        changes.append([new - old for new, old in zip(after, before, strict=True)])
    chosen, told_changes = np.array(is_chosen), np.array(changes)
    print(
        f"\n{num_splits} splits of {len(labels):,} rows, {counts[0]:,} to choose, {counts[1]:,} for the temperature\n"
    )
    print("| factors and shifts | splits | cross-entropy | accuracy, points | calibration error, points |")
    print("|---|---|---|---|---|")
    for name, rows in (("where chosen", chosen), ("where not chosen", ~chosen)):
        shown = [mean_of(told_changes[rows, column] * scale) for column, scale in ((0, 1), (1, 100), (2, 100))]
        print(f"| {name} | {int(rows.sum())} | {' | '.join(shown)} |")


def figures(calibration: Rows, judged: Rows) -> tuple[float, float, float]:
    """Cross-entropy, accuracy and calibration error of the judged rows, at the temperature of the calibration rows."""
    (table, given), temperature = judged, fit_temperature(*calibration)
    is_right = table.argmax(axis=1) == given
    error = equal_width_error(softmax(table, temperature=temperature).max(axis=1), is_right)
    return cross_entropy(table, given, temperature=temperature), float(is_right.mean()), error


def mean_of(values: NDArray[np.float64]) -> str:
    """The mean and its interval by Student's t; splits of one run share rows: theirs says nothing of other runs."""
    if not len(values):
        return "-"
    half = 0.0
    if len(values) > 1:
        half = student_t_quantile(0.95, degrees=len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return f"{values.mean():+.4f} ± {half:.4f}"


def rows_of(
    path: Path, told: dict[str, list[float]] | None
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.str_], list[int]]:
    """Logits without factors and shifts, labels and groups of all judged rows, and how many of each split there are."""
    with np.load(path / "predictions.npz") as arrays:
        logits = np.concatenate([arrays[f"{name}_logits"] for name in SPLITS]).astype(np.float64)
        labels = np.concatenate([arrays[f"{name}_labels"] for name in SPLITS])
        kind = "groups" if "test_groups" in arrays else "row_ids"
        groups = np.concatenate([arrays[f"{name}_{kind}"] for name in SPLITS])
        counts = [len(arrays[f"{name}_labels"]) for name in SPLITS]
    if told is not None and told["factors"]:
        logits = (logits - np.array(told["shifts"])) / np.array(told["factors"])
    return logits, labels, groups, counts


if __name__ == "__main__":
    main()
