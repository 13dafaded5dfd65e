"""Several labels an image: F1 of canvases of digits, what thresholds bring, and how sets keep their promise.

Pictures are made of MNIST digits: each of ten labels is on a canvas with a chance of its own, from one half down to
6 %, four at most, each in a quarter of its own; some canvases are empty. What is on them is known, so that figures need
no other truth.

    python benchmarks/multi_label.py --images 6000 --epochs 8
    python benchmarks/multi_label.py --heads 300
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import sightline
from sightline.bundles.trust.label_sets import read_label_certificate
from sightline.evaluation.measuring.finished_runs import kept_predictions, read_run
from sightline.evaluation.measuring.scoring import score
from sightline.metrics.multi_label.counting import LabelRows, macro, macro_interval, micro, micro_interval
from sightline.metrics.multi_label.risk_control import least_margin, misses_of
from sightline.quality.labels.doubts import frozen_features
from sightline.tasks.multi_label import MULTI_LABEL
from sightline.training.transfer.head import Rows, fit_head

SIDE, MOST_DIGITS = 56, 4
CHANCES = np.geomspace(0.5, 0.06, 10)


def canvases(num_images: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(num_images, 56, 56) uint8 and (num_images, 10) of 0 and 1."""
    random, mnist = np.random.default_rng(seed), sightline.load("mnist")
    digits, of_digit = np.asarray(mnist.images)[..., 0], [np.flatnonzero(mnist.labels == digit) for digit in range(10)]
    images, labels = np.zeros((num_images, SIDE, SIDE), np.uint8), np.zeros((num_images, 10), np.uint8)
    for image, row in zip(images, labels, strict=True):
        there = random.permutation(np.flatnonzero(random.random(10) < CHANCES))[:MOST_DIGITS]
        for digit, quarter in zip(there.tolist(), random.permutation(4).tolist(), strict=False):
            top, left = np.clip(28 * np.array(divmod(quarter, 2)) + random.integers(-3, 4, 2), 0, 28)
            place = image[top : top + 28, left : left + 28]
            np.maximum(place, digits[random.choice(of_digit[digit])], out=place)
        row[there] = 1
    return images, labels


def missed_shares(run: sightline.Run, coverage: float, *, num_splits: int, num_rows: int) -> NDArray[np.float64]:
    """The mean share of missed labels of each split of calibration and test rows; the first half certifies."""
    finished, certificate = read_run(run), read_label_certificate(run.bundle)
    parts = [rows for split in ("calibration", "test") if (rows := kept_predictions(finished, split)) is not None]
    margins = np.concatenate([certificate.margins(rows.logits) for rows in parts])
    given = np.concatenate([np.asarray(rows.labels) != 0 for rows in parts])
    found = np.empty(num_splits)
    for number in range(num_splits):
        order = np.random.default_rng(number).permutation(len(given))
        certifies, others = order[:num_rows], order[num_rows:]
        least = least_margin(misses_of(margins[certifies], given[certifies]), coverage)
        lost = (given[others] & (margins[others] < least)).sum(axis=1)
        found[number] = np.mean(lost / np.maximum(given[others].sum(axis=1), 1))
    return found


def intervals_hold(num_draws: int) -> None:
    """How often intervals of 95 % of micro and macro F1 hold the truth, on 400 images of a known law."""
    generator = np.random.default_rng(0)
    given = generator.random((200_000, 6)) < np.geomspace(0.5, 0.02, 6)
    said = np.where(generator.random(given.shape) < 0.15, ~given & (generator.random(given.shape) < 0.5), given)
    whole = LabelRows(given, said)
    for name, value, interval in (("micro", micro, micro_interval), ("macro", macro, macro_interval)):
        truth, hits = value(whole, "f1"), 0
        for seed in range(num_draws):
            rows = np.random.default_rng(seed).integers(0, len(given), 400)
            low, high = interval(LabelRows(given[rows], said[rows]), "f1")
            hits += low <= truth <= high
        print(f"interval of {name} F1 holds the truth in {hits:,} of {num_draws:,} draws of 400 images")


def heads(num_images: int) -> None:
    """Seconds of processor and on the clock that a head on the features of so many canvases takes, judged by folds."""
    images, labels = canvases(num_images, 0)
    data = sightline.load({"x_train": images, "y_train": labels}, task="multi-label", name="canvases")
    rows = Rows(frozen_features(data)[0], labels)
    for _ in range(3):
        processor, clock = time.process_time(), time.perf_counter()
        head = fit_head(rows, None, num_classes=labels.shape[1])
        processor, clock = time.process_time() - processor, time.perf_counter() - clock
        print(f"{processor:.2f} s of processor, {clock:.2f} s on the clock: {head.how}, judged {head.judged:.5f}")


def main() -> None:
    """Train once, and print what the page tells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--heads", type=int, metavar="IMAGES", help="only time a head on the features of so many")
    arguments = parser.parse_args()
    if arguments.heads is not None:
        heads(arguments.heads)
        return
    intervals_hold(1000)
    images, labels = canvases(arguments.images, 0)
    data = sightline.load({"x_train": images, "y_train": labels}, task="multi-label", name="canvases")
    recipe = sightline.recipe("fast", {"training.epochs": arguments.epochs, "data.calibration_fraction": 0.1})
    with tempfile.TemporaryDirectory() as folder:
        run = sightline.train(data, recipe=recipe, out=Path(folder) / "run", mode="quiet")
        rows = kept_predictions(read_run(run), "test")
        if rows is None or run.evaluation is None:
            raise SystemExit("the run kept no answers to test rows")
        print(run.evaluation)
        print(run.evaluation.other_figures)
        usual = score(dataclasses.replace(rows, task=MULTI_LABEL))
        print(f"at an even chance: {usual.figures['micro_f1']}, {usual.figures['macro_f1']}")
        for coverage in (0.9, 0.95, 0.99):
            shares = missed_shares(run, coverage, num_splits=arguments.splits, num_rows=300)
            error = shares.std() / np.sqrt(len(shares))
            print(
                f"coverage {coverage}: missed {shares.mean():.4f} +- {error:.4f}, allowed {1 - coverage:.2f}; "
                f"of single splits {np.quantile(shares, 0.05):.4f} to {np.quantile(shares, 0.95):.4f}"
            )


if __name__ == "__main__":
    main()
