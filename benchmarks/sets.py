"""Promised and reached coverage of sets, and how large they are, on the test rows of finished runs.

Usage: python benchmarks/sets.py RUN [RUN ...] [--coverages 0.9,0.95,0.99] [--splits 200] [--mapie]

For each run, coverage and score: what the bundle reaches on the test rows of its run, with the 95 % interval (groups
counted), as `sightline evaluate --coverage` tells it. Beside it, what any calibration with as many rows would reach in
95 of 100 cases, by the Beta law. Then the same from the logits that the run kept, over random splits of its test rows
into calibration rows and others: mean and spread of the coverage, which has to be that of the law (p-value, chi-square
over ten bins). These splits need rows that stand alone; where test rows come in groups, that part is left out.

With --mapie, nothing but this: of the test rows of each run, 1,000 calibrate and 4,000 get sets, drawn by ten seeds,
and it is counted how many of those differ from those of MAPIE (pip install '.[oracles]'), by the same random numbers.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import platform
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

import sightline
from sightline.bundles.trust.sets import read_certificate
from sightline.metrics.conformal import SCORES, fewest_rows, label_scores, rank_of, score_limits


def main() -> None:
    """Measure each run, print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--coverages", default="0.9,0.95,0.99")
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--mapie", action="store_true")
    arguments = parser.parse_args()
    if arguments.mapie:
        for path in arguments.runs:
            beside_mapie(path)
        return
    coverages = [float(coverage) for coverage in arguments.coverages.split(",")]
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(", ".join(f"{name} {metadata.version(name)}" for name in ("sightline", "onnxruntime", "numpy")))
    for path in arguments.runs:
        measure(path, coverages, num_splits=arguments.splits)


def measure(path: Path, coverages: list[float], *, num_splits: int) -> None:
    """The tables of one run."""
    run = sightline.reopen(path)
    if not isinstance(run, sightline.Run):
        raise SystemExit(f"{path} is a bundle; name its run, whose test rows are asked")
    kept = read_certificate(run.bundle)
    num_rows = len(kept.labels)
    print(f"\n{path}: test {run.evaluation}; {kept.vouching.words}\n")
    print("| coverage | score | reached | other calibrations | mean set size | of one class | unusual |")
    print("|---|---|---|---|---|---|---|")
    for coverage in coverages:
        if num_rows < fewest_rows(coverage):
            print(f"| {coverage:g} | | refused: {num_rows} rows, {fewest_rows(coverage)} needed | | | | |")
            continue
        rank = rank_of(num_rows, coverage)
        lower, upper = stats.beta(rank, num_rows + 1 - rank).ppf([0.025, 0.975])
        for score in SCORES:
            figures = sightline.evaluate(run, coverage=coverage, score=score).figures
            told = [figures[name].numbers for name in ("coverage", "mean_set_size", "singletons", "unusual")]
            print(f"| {coverage:g} | {score} | {told[0]} | {lower:.4f} to {upper:.4f} | {' | '.join(told[1:])} |")
    if run.splits.groups is not None and len(set(run.splits.groups[run.splits.test])) < len(run.splits.test):
        print("\nrandom splits: left out, test rows come in groups")
        return
    in_splits(path, coverages, num_splits=num_splits)


def in_splits(path: Path, coverages: list[float], *, num_splits: int) -> None:
    """What random splits of the test rows reach, against the law that it has to follow."""
    with np.load(path / "predictions.npz") as arrays:
        logits, labels = arrays["test_logits"], arrays["test_labels"]
    num_rows = min(1_000, len(labels) // 2)
    uniform = np.random.default_rng(0).random(len(labels))
    print(f"\n{num_splits} random splits of {len(labels):,} test rows, {num_rows:,} to calibrate, seeds from 0:\n")
    print("| coverage | score | mean | from | to | law: mean | p-value |\n|---|---|---|---|---|---|---|")
    for coverage in coverages:
        for score in SCORES:
            right = label_scores(logits, score, uniform)[np.arange(len(labels)), labels]
            covered = np.array([covered_in_split(right, num_rows, coverage, seed=seed) for seed in range(num_splits)])
            shares, rank = covered / (len(labels) - num_rows), rank_of(num_rows, coverage)
            law = stats.betabinom(len(labels) - num_rows, rank, num_rows + 1 - rank)
            print(
                f"| {coverage:g} | {score} | {shares.mean():.4f} | {shares.min():.4f} | {shares.max():.4f} "
                f"| {rank / (num_rows + 1):.4f} | {p_value(covered, law):.3f} |"
            )


def covered_in_split(scores: NDArray[np.float64], num_rows: int, coverage: float, *, seed: int) -> int:
    """How many of the other rows are covered, without the most probable class being added to what is empty."""
    order = np.random.default_rng(seed).permutation(len(scores))
    calibration, others = scores[order[:num_rows]], scores[order[num_rows:]]
    limit = score_limits(calibration, np.zeros(num_rows, np.int64), coverage=coverage, class_names=("right", "other"))
    return int((others <= limit[0]).sum())


def p_value(covered: NDArray[np.int64], law: stats.rv_discrete) -> float:
    """Chi-square over ten bins of about equal chance under the law."""
    edges = np.unique(law.ppf(np.arange(1, 10) / 10))
    chances = np.diff(np.concatenate(([0.0], law.cdf(edges), [1.0])))
    observed = np.bincount(np.searchsorted(edges, covered, side="left"), minlength=len(chances))
    return float(stats.chisquare(observed, chances / math.fsum(chances) * len(covered)).pvalue)


class Known:
    """A fitted classifier for MAPIE: what it is given are its probabilities."""

    def __init__(self, num_classes: int) -> None:
        """Know so many classes."""
        self.classes_, self.is_fitted_, self.n_features_in_ = np.arange(num_classes), True, num_classes

    def fit(self, *_: object) -> Known:
        """Nothing."""
        return self

    def predict(self, table: NDArray[np.float64]) -> NDArray[np.int64]:
        """The most probable class."""
        return np.asarray(table.argmax(axis=1))

    def predict_proba(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        """As they are."""
        return table

    def __sklearn_is_fitted__(self) -> bool:
        """It is."""
        return True


def beside_mapie(path: Path) -> None:
    """How many sets differ, of each score and coverage."""
    with np.load(path / "predictions.npz") as arrays:
        pool, labels = arrays["test_logits"].astype(np.float64), arrays["test_labels"]
    print(f"\n{path}: MAPIE {metadata.version('mapie')}, sets that differ of 10 x 4,000:\n")
    print("| score | 0.9 | 0.95 |\n|---|---|---|")
    for score in ("lac", "aps"):
        found = [
            sum(num_different(pool, labels, score, coverage, seed=seed) for seed in range(10))
            for coverage in (0.9, 0.95)
        ]
        print(f"| {score} | {found[0]:,} | {found[1]:,} |")


def num_different(
    pool: NDArray[np.float64], labels: NDArray[np.int64], score: str, coverage: float, *, seed: int
) -> int:
    """Of 4,000 rows, those whose set is another one than that of MAPIE."""
    classification = importlib.import_module("mapie.classification")

    rows = np.random.default_rng(seed).permutation(len(pool))[:5_000]
    logits, right = pool[rows], labels[rows]
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    table, num_classes = weights / weights.sum(axis=1, keepdims=True), pool.shape[1]
    judge = classification.SplitConformalClassifier(
        Known(num_classes), confidence_level=coverage, conformity_score=score, prefit=True, random_state=seed
    )
    judge.conformalize(table[:1_000], right[:1_000])
    options = {} if score == "lac" else {"include_last_label": "randomized"}
    expected = judge.predict_set(table[1_000:], conformity_score_params=options)[1][:, :, 0]
    # Its random numbers, which count from the other end.
    known, new = (1 - np.random.RandomState(seed).uniform(size=size) for size in (1_000, 4_000))
    scores = label_scores(logits[:1_000], score, known)[np.arange(1_000), right[:1_000]]
    names = tuple(map(str, range(num_classes)))
    limits = score_limits(scores, right[:1_000], coverage=coverage, class_names=names)
    return int(((label_scores(logits[1_000:], score, new) <= limits) != expected).any(axis=1).sum())


if __name__ == "__main__":
    main()
