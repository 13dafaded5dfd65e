"""How often each kind of interval holds the truth, by simulation, and whether as many images as would tell tell.

Usage: python benchmarks/intervals.py [--draws 1000] [--level 0.95]

Each line draws as many test sets from a population whose figures are known, seeds from 0, and counts the intervals that
hold the truth, the share of draws in which the truth lies below and above, and their mean width. "BCa" beside figures
of the confusion matrix is the bias-corrected and accelerated bootstrap over its cells (1,000 resamples), for comparison
with what Sightline does; it costs the most and is drawn a quarter as often. In groups, ten images are alike.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from importlib import metadata

import numpy as np
from numpy.typing import NDArray

from sightline.metrics.classification import balanced_accuracy, macro_f1
from sightline.metrics.grouped import accuracy_interval, paired_p_value
from sightline.metrics.significance import number_to_tell
from sightline.metrics.uncertainty.bootstrap import mean_interval
from sightline.metrics.uncertainty.calibration_error import calibration_error_interval
from sightline.metrics.uncertainty.macro import (
    DecidedRows,
    balanced_accuracy_interval,
    class_intervals,
    macro_f1_interval,
)
from sightline.metrics.uncertainty.ranking import Ranking
from sightline.metrics.uncertainty.risk import risk_coverage_area_interval

Bounds = tuple[float, float]
Draw = Callable[[np.random.Generator], tuple[Bounds, float]]
Setting = tuple[str, str, str, str, float, Draw]
GROUP = 10
# Shares of the classes of three populations.
EVEN, THREE = np.full(10, 0.1), np.full(3, 1 / 3)
RARE = np.geomspace(20, 1, 10) / np.geomspace(20, 1, 10).sum()


def main() -> None:
    """Simulate all of it, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--level", type=float, default=0.95)
    arguments = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(", ".join(f"{name} {metadata.version(name)}" for name in ("sightline", "numpy")))
    start = time.perf_counter()
    print(f"\n{arguments.level:g} asked for, {arguments.draws:,} draws a line\n")
    print("| figure | interval | population | images | holds | too high | too low | width |")
    print("|---|---|---|---|---|---|---|---|")
    for *names, share, draw in settings(arguments.level):
        print(f"| {' | '.join(map(str, names))} | {told(draw, int(share * arguments.draws))} |", flush=True)
    print("\n| differ | by | would tell | tell | ratio |\n|---|---|---|---|---|")
    for only_first, only_second in ((10, 20), (35, 65), (75, 125), (20, 60), (1, 11)):
        print(f"| {' | '.join(power(only_first, only_second, arguments.draws))} |", flush=True)
    print(f"\n{time.perf_counter() - start:.0f} s")


def told(draw: Draw, num_draws: int) -> str:
    """Of so many draws: how often the interval holds the truth, lies above it, below it, and how wide it is."""
    generator = np.random.default_rng(0)
    drawn = [draw(generator) for _ in range(num_draws)]
    lower, upper, truth = np.array([(*bounds, true) for bounds, true in drawn]).T
    too_high, too_low = (lower > truth + 1e-12).mean(), (upper < truth - 1e-12).mean()
    return f"{1 - too_high - too_low:.3f} | {too_high:.3f} | {too_low:.3f} | {(upper - lower).mean():.4f}"


def settings(level: float) -> Iterator[Setting]:
    """All lines: figure, interval, population, images, share of the draws, and how one is drawn."""
    return itertools.chain(shares(level), means_over_classes(level), losses_and_rankings(level), calibrations(level))


def shares(level: float) -> Iterator[Setting]:
    """Of images, and of a class."""
    for accuracy in (0.9, 0.98, 0.995):
        yield "accuracy", "Wilson", f"{accuracy:g}", "400", 1, of_accuracy(accuracy, 400, 1, level)
    for count in (20, 50, 200):
        yield "accuracy", "Wilson", "0.9", f"{count} groups", 1, of_accuracy(0.9, count, GROUP, level)
    for size in (400, 2000):
        yield "F1 of a rare class", "Wilson", "20 to 1, 0.9", f"{size:,}", 1, of_class(cells_of(RARE, 0.9), size, level)


def means_over_classes(level: float) -> Iterator[Setting]:
    """Of images that stand alone, and in groups."""
    populations = (
        ("10 classes, 0.9", EVEN, 0.9, 100),
        ("10 classes, 0.9", EVEN, 0.9, 400),
        ("10 classes, 0.98", EVEN, 0.98, 400),
        ("10 classes, 0.995", EVEN, 0.995, 400),
        ("10 classes, 0.98", EVEN, 0.98, 2000),
        ("20 to 1, 0.9", RARE, 0.9, 400),
        ("20 to 1, 0.97", RARE, 0.97, 1000),
        ("3 classes, 0.95", THREE, 0.95, 60),
    )
    for figure in ("balanced accuracy", "macro F1"):
        for words, chances, recall, size in populations:
            cells = cells_of(chances, recall)
            yield figure, "Wilson", words, f"{size:,}", 1, of_cells(figure, cells, size, 1, level)
            yield figure, "BCa", words, f"{size:,}", 0.25, of_bootstrap(figure, cells, size, level)
        for count in (20, 50, 200):
            draw = of_cells(figure, cells_of(THREE, 0.9), count, GROUP, level)
            yield figure, "Wilson", "3 classes, 0.9", f"{count} groups", 1, draw


def losses_and_rankings(level: float) -> Iterator[Setting]:
    """Of networks whose confidences come true."""
    for words, margin, size in (("0.9", 3, 400), ("0.98", 7, 400), ("0.98", 7, 2000)):
        for figure in ("cross-entropy", "Brier score"):
            yield figure, "BCa", words, f"{size:,}", 0.5, of_loss(figure, margin, size, 1, level)
    for count in (20, 50, 200):
        yield "cross-entropy", "BCa", "0.9", f"{count} groups", 0.5, of_loss("cross-entropy", 3, count, GROUP, level)
    for gap, share, size in ((2, 0.5, 100), (2, 0.5, 400), (3.3, 0.5, 400), (2, 0.1, 400)):
        words = f"{statistics.NormalDist().cdf(gap / 2**0.5):.3f}, 1 in {1 / share:g}"
        yield "AUROC", "Wilson", words, f"{size}", 1, of_ranking(gap, share, size, level)
    for accuracy, gap, size in ((0.95, 0, 100), (0.95, 2, 400), (0.97, 2, 1000), (0.99, 2, 2000), (0.99, 2, 5000)):
        words, draw = f"{accuracy:g}, {gap} apart", of_risk(accuracy, gap, size, level)
        yield "area under risk-coverage", "Wilson", words, f"{size:,}", 1, draw


def of_risk(accuracy: float, gap: float, size: int, level: float) -> Draw:
    """Of certainties that are normal, right answers surer by so many deviations."""
    above = np.linspace(12.0, -12.0, 100_001)
    wrong, right = ((np.vectorize(math.erfc)((above - mean) / 2**0.5) / 2) for mean in (0.0, gap))
    covered = accuracy * right + (1 - accuracy) * wrong
    truth = float(np.trapezoid((1 - accuracy) * wrong / covered, covered))

    def draw(generator: np.random.Generator) -> tuple[Bounds, float]:
        is_right = generator.random(size) < accuracy
        sure = generator.normal(size=size) + gap * is_right
        return risk_coverage_area_interval(sure, is_right, confidence=level), truth

    return draw


def calibrations(level: float) -> Iterator[Setting]:
    """Of confidences that are too high by nothing, by little and by much."""
    for too_sure, size in ((0.0, 400), (0.0, 2000), (0.02, 400), (0.02, 2000), (0.1, 400)):
        for power_of, figure in ((1, "calibration error"), (2, "its root mean square")):
            draw = of_calibration(too_sure, size, power_of, level)
            yield figure, "by tests", f"{too_sure:g}", f"{size:,}", 0.5, draw


def of_accuracy(accuracy: float, count: int, size: int, level: float) -> Draw:
    """So many groups of a size that are right together."""
    groups = None if size == 1 else np.arange(count * size) // size

    def draw(generator: np.random.Generator) -> tuple[Bounds, float]:
        right = np.repeat(generator.random(count) < accuracy, size)
        return accuracy_interval(right, groups, confidence=level), accuracy

    return draw


def cells_of(shares: NDArray[np.float64], recall: float) -> NDArray[np.float64]:
    """Chances of given class and answer, where each class is right as often."""
    cells = np.full((len(shares), len(shares)), (1 - recall) / (len(shares) - 1))
    np.fill_diagonal(cells, recall)
    return cells * shares[:, None]


def truth_of(figure: str, cells: NDArray[np.float64]) -> float:
    """The figure of a population."""
    counts = np.round(cells * 1e9).astype(np.int64)
    return balanced_accuracy(counts) if figure == "balanced accuracy" else macro_f1(counts)


def of_cells(figure: str, cells: NDArray[np.float64], count: int, size: int, level: float) -> Draw:
    """A mean over classes."""
    truth, num_classes = truth_of(figure, cells), len(cells)
    interval = balanced_accuracy_interval if figure == "balanced accuracy" else macro_f1_interval
    groups = None if size == 1 else np.arange(count * size) // size

    def draw(generator: np.random.Generator) -> tuple[Bounds, float]:
        drawn = np.repeat(generator.choice(cells.size, size=count, p=cells.ravel()), size)
        labels, predicted = np.divmod(drawn, num_classes)
        return interval(DecidedRows(labels, predicted, num_classes, groups), confidence=level), truth

    return draw


def of_class(cells: NDArray[np.float64], size: int, level: float) -> Draw:
    """The F1 of the rarest class."""
    given, answered, num_classes = cells[-1].sum(), cells[:, -1].sum(), len(cells)
    truth = float(2 * cells[-1, -1] / (given + answered))

    def draw(generator: np.random.Generator) -> tuple[Bounds, float]:
        labels, predicted = np.divmod(generator.choice(cells.size, size=size, p=cells.ravel()), num_classes)
        lower, upper = class_intervals(DecidedRows(labels, predicted, num_classes), confidence=level)["f1"][-1]
        return (0.0, 1.0) if math.isnan(lower) else (lower, upper), truth

    return draw


def of_bootstrap(figure: str, cells: NDArray[np.float64], size: int, level: float) -> Draw:
    """The same by the BCa bootstrap over the cells of the confusion matrix."""
    truth, normal = truth_of(figure, cells), statistics.NormalDist()

    def values(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        right, given = np.diagonal(counts, axis1=1, axis2=2), counts.sum(axis=2)
        total = given if figure == "balanced accuracy" else (given + counts.sum(axis=1)) / 2
        found: NDArray[np.float64] = np.nanmean(np.where(given > 0, right / np.maximum(total, 1e-9), np.nan), axis=1)
        return found

    def draw(generator: np.random.Generator) -> tuple[Bounds, float]:
        counts = generator.multinomial(size, cells.ravel())
        resampled = values(generator.multinomial(size, counts / size, size=1000).reshape(-1, *cells.shape))
        value = float(values(counts.reshape(1, *cells.shape))[0])
        cell = np.flatnonzero(counts)
        without = values((counts - np.eye(counts.size, dtype=np.int64)[cell]).reshape(-1, *cells.shape))
        gaps = np.average(without, weights=counts[cell]) - without
        spread = float((counts[cell] * gaps**2).sum()) ** 1.5
        skew = float((counts[cell] * gaps**3).sum()) / (6 * spread) if spread else 0.0
        below = ((resampled < value).sum() + (resampled <= value).sum()) / (2 * len(resampled))
        bias = normal.inv_cdf(min(max(below, 5e-4), 1 - 5e-4))
        shifted = [bias + normal.inv_cdf(share) for share in ((1 - level) / 2, (1 + level) / 2)]
        lower, upper = np.quantile(resampled, [normal.cdf(bias + one / (1 - skew * one)) for one in shifted])
        return (lower, upper), truth

    return draw


def of_loss(figure: str, margin: float, count: int, size: int, level: float) -> Draw:
    """Losses of a calibrated network of two classes whose margins are normal."""
    groups = None if size == 1 else np.arange(count * size) // size

    def losses(generator: np.random.Generator, number: int) -> NDArray[np.float64]:
        logits = generator.normal(margin, 2.5, number)
        sure = 1 / (1 + np.exp(-logits))
        right = np.where(generator.random(number) < sure, sure, 1 - sure)
        return -np.log(np.maximum(right, 1e-12)) if figure == "cross-entropy" else (1 - right) ** 2

    truth = float(losses(np.random.default_rng(99), 4_000_000).mean())

    def draw(generator: np.random.Generator) -> tuple[Bounds, float]:
        return mean_interval(np.repeat(losses(generator, count), size), groups, confidence=level), truth

    return draw


def of_ranking(gap: float, share: float, size: int, level: float) -> Draw:
    """Normal scores, those of the class so much higher."""
    truth = statistics.NormalDist().cdf(gap / 2**0.5)

    def draw(generator: np.random.Generator) -> tuple[Bounds, float]:
        is_of = generator.random(size) < share
        is_of[:2] = True, False
        return Ranking([(generator.normal(0, 1, size) + gap * is_of, is_of)]).interval(confidence=level), truth

    return draw


def of_calibration(too_sure: float, size: int, power_of: int, level: float) -> Draw:
    """Confidences that are all too high by as much."""

    def draw(generator: np.random.Generator) -> tuple[Bounds, float]:
        sure = 0.5 + generator.beta(3, 1, size) / 2
        right = generator.random(size) < sure - too_sure
        return calibration_error_interval(sure, right, power=2 if power_of == 2 else 1, confidence=level), too_sure

    return draw


def power(only_first: int, only_second: int, num_draws: int) -> list[str]:
    """Of 1,000 images so many differ: how many would tell in four of five cases, by the formula and by simulation."""
    excesses = np.array([1] * only_second + [-1] * only_first + [0] * (1000 - only_first - only_second))
    said = number_to_tell(excesses) or 0
    generator = np.random.default_rng(0)
    shares = np.array([only_first, only_second, 1000 - only_first - only_second]) / 1000

    def tells(number: int) -> float:
        counts = generator.multinomial(number, shares, size=num_draws)
        return float(np.mean([_p_value(*row[:2]) < 0.05 for row in counts.tolist()]))

    sizes = np.unique(np.linspace(0.75 * said, 1.25 * said, 11).astype(int))
    slope, base = np.polyfit(sizes, [tells(int(size)) for size in sizes], 1)
    found = (0.8 - base) / slope
    differ = (only_first + only_second) / 1000
    points = (only_second - only_first) / 10
    return [f"{differ:.1%}", f"{points:.1f} points", f"{said:,}", f"{found:,.0f}", f"{said / found:.2f}"]


def _p_value(only_first: int, only_second: int) -> float:
    first = np.array([True] * only_first + [False] * only_second + [True])
    return paired_p_value(first, np.array([False] * only_first + [True] * only_second + [True]))


if __name__ == "__main__":
    main()
