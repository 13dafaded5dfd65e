"""How often answers that are not marked unsure are wrong more often than asked, and how many are given.

Usage: python benchmarks/abstention.py RUN [RUN ...] [--max-errors 0.002,0.005,0.01] [--splits 100]

For each run and share: its test rows are split at random, from the logits that the run kept, into a quarter that gives
thresholds, a quarter that certifies one, and the rest. Told is in how many splits the rest is wrong more often than was
asked (the promise allows one in twenty; that the rest is a sample, too, adds to it), in how many no threshold can be
certified, and the mean share that is answered and wrong. Beside it, the same for the lowest threshold whose calibration
error is low enough. These splits need rows that stand alone.
"""

from __future__ import annotations

import argparse
import os
import platform
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.metrics.selective import certainties_of, certified, risk_coverage, steps_of

Answers = tuple[NDArray[np.float64], NDArray[np.bool_]]


def main() -> None:
    """Measure each run, print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--max-errors", default="0.002,0.005,0.01")
    parser.add_argument("--splits", type=int, default=100)
    arguments = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(", ".join(f"{name} {metadata.version(name)}" for name in ("sightline", "numpy")))
    for path in arguments.runs:
        with np.load(path / "predictions.npz") as stored:
            logits, labels = stored["test_logits"], stored["test_labels"]
        answers = certainties_of(logits), logits.argmax(axis=1) == labels
        area = risk_coverage(*answers).mean()
        print(f"\n{path}: {len(labels):,} test rows, accuracy {answers[1].mean():.4f}, area {area:.5f}\n")
        print("| asked for at most | method | above it | refused | answered | wrong of those |")
        print("|---|---|---|---|---|---|")
        for max_error in map(float, arguments.max_errors.split(",")):
            measure(answers, max_error, num_splits=arguments.splits)


def measure(answers: Answers, max_error: float, *, num_splits: int) -> None:
    """Two rows of the table: certified, and as it looks on the calibration rows."""
    found: dict[str, list[tuple[float, float]]] = {"certified": [], "lowest that looks right": []}
    for seed in range(num_splits):
        parts = np.array_split(np.random.default_rng(seed).permutation(len(answers[0])), 4)
        validation, calibration, others = (
            (answers[0][rows], answers[1][rows]) for rows in (parts[0], parts[1], np.concatenate(parts[2:]))
        )
        passed = certified(steps_of(*validation), *calibration, max_error=max_error)
        found["certified"].append(outcome(others, np.inf if passed is None else passed.threshold))
        found["lowest that looks right"].append(outcome(others, lowest(calibration, max_error)))
    for name, outcomes in found.items():
        shares, wrong = np.array(outcomes).T
        given = wrong[shares > 0]
        mean = given.mean() if len(given) else np.nan
        print(
            f"| {max_error:g} | {name} | {(given > max_error).sum()} of {num_splits} | {(shares == 0).sum()} | "
            f"{shares.mean():.4f} | {mean:.5f} |"
        )


def lowest(calibration: Answers, max_error: float) -> float:
    """The lowest threshold of which the same rows that choose it say that few enough answers are wrong."""
    order = np.argsort(-calibration[0])
    risks = np.cumsum(~calibration[1][order]) / np.arange(1, len(order) + 1)
    kept = np.flatnonzero(risks <= max_error)
    return float(calibration[0][order[kept[-1]]]) if len(kept) else np.inf


def outcome(others: Answers, threshold: float) -> tuple[float, float]:
    """The share that is answered, and what share of that is wrong."""
    is_answered = others[0] >= threshold
    return float(is_answered.mean()), float((~others[1][is_answered]).mean()) if is_answered.any() else 0.0


if __name__ == "__main__":
    main()
