"""Measure how well doubtful labels are found: planted flips, and labels that people have looked at.

  planted    CIFAR-10 (the first 12,000 train images) and photographs of hands that sign digits, 5 % of the labels
             changed, to any other class and to the most alike; AUROC and average precision of the order, and the share
             of changed labels among the first 50 and 100; mean of the seeds
  verdicts   of the test images of MNIST and CIFAR-10: labels that a majority of five people called wrong, in the
             files of cleanlab/label-errors (its mturk folder); what people were not asked about counts as right
  time       processor seconds, over two the seconds on two cores that do nothing else

Usage: python benchmarks/labels.py [--cifar FILE.npz] [--signs DIR] [--verdicts DIR] [--seeds 3]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import sightline
from sightline.metrics.labels.discriminants import OutOfFold
from sightline.metrics.labels.folds import grouped_folds
from sightline.metrics.labels.quality import found_by, label_doubts, label_quality
from sightline.quality.labels.doubts import frozen_features, look_alikes
from sightline.records import Dataset
from sightline.system.progress import reporting

SIGN_DIGITS = Path(__file__).parents[2] / "shared" / "data" / "sign_digits"
# Cats and dogs, deer and horses, cars and trucks, planes and ships or birds, frogs and deer.
CIFAR_ALIKE = np.array([2, 9, 4, 5, 7, 3, 4, 4, 0, 1])
PLANTED = 0.05


def arrays(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Dataset:
    """Images and labels in memory as a source."""
    return sightline.load({"x_train": images, "y_train": np.asarray(labels, np.int64)})


def measured(doubts: NDArray[np.float64], is_wrong: NDArray[np.bool_]) -> str:
    """AUROC, average precision, and the shares among the first 50 and 100."""
    found = found_by(doubts, is_wrong)
    hits = np.diff(found, prepend=0) > 0
    num_wrong, places = int(is_wrong.sum()), np.flatnonzero(hits)
    # Of each wrong label, how many right ones come behind it.
    behind = (len(found) - places - 1) - (num_wrong - np.arange(1, num_wrong + 1))
    area = float(behind.sum()) / (num_wrong * (len(found) - num_wrong))
    average = float((found / np.arange(1, len(found) + 1))[hits].mean())
    return f"{area:.3f} | {average:.3f} | {found[49] / 50:.2f} | {found[99] / 100:.2f}"


def orders(judge: OutOfFold, labels: NDArray[np.int64], num_classes: int) -> dict[str, NDArray[np.float64]]:
    """Doubts by each of the classifiers alone, and by both."""
    by_likelihood, by_regression = judge.answers(labels, num_classes=num_classes)
    return {
        "discriminant": label_doubts(labels, by_likelihood, by_likelihood),
        "ridge": -label_quality(labels, by_regression, method="normalized_margin"),
        "both": label_doubts(labels, by_likelihood, by_regression),
    }


def planted(name: str, source: Dataset, alike: NDArray[np.int64] | None, seeds: int) -> None:
    """Change labels, and see where they come."""
    started, processor = time.perf_counter(), time.process_time()
    features, _ = frozen_features(source)
    print(
        f"\n{name}: features of {len(source):,} images took {time.process_time() - processor:.1f} processor seconds "
        f"({time.perf_counter() - started:.0f} s here)"
    )
    for way in ("any class", "most alike"):
        for seed in range(seeds):
            generator = np.random.default_rng(seed)
            rows = generator.choice(len(source), round(PLANTED * len(source)), replace=False)
            processor = time.process_time()
            judge = OutOfFold(features, grouped_folds(source.labels, num_classes=source.num_classes, seed=seed))
            if alike is None:
                alike = look_alikes(source.labels, judge.answers(source.labels, num_classes=source.num_classes)[1])
            labels, own = source.labels.copy(), source.labels[rows]
            other = (own + generator.integers(1, source.num_classes, len(rows))) % source.num_classes
            labels[rows] = other if way == "any class" else alike[own]
            is_wrong = np.isin(np.arange(len(source)), rows)
            for order, doubts in orders(judge, labels, source.num_classes).items():
                print(f"| {name} | {way} | {seed} | {order} | {measured(doubts, is_wrong)} |", flush=True)
            print(f"  judging took {time.process_time() - processor:.1f} processor seconds")


def verdicts(name: str, source: Dataset, path: Path) -> None:
    """Where the labels come that people called wrong."""
    told = json.loads(path.read_text())
    wrong = [entry["id"] for entry in told if _is_wrong(entry)]
    features, _ = frozen_features(source)
    judge = OutOfFold(features, grouped_folds(source.labels, num_classes=source.num_classes))
    is_wrong = np.isin(np.arange(len(source)), np.array(wrong, np.int64))
    print(f"\n{name}: people were asked about {len(told)} labels and called {len(wrong)} wrong")
    for order, doubts in orders(judge, source.labels, source.num_classes).items():
        print(f"| {name} | people | - | {order} | {measured(doubts, is_wrong)} |", flush=True)


def _is_wrong(entry: dict[str, dict[str, int]]) -> bool:
    """A majority of five said that it is of the other class, of both, or of neither."""
    return entry["mturk"]["given"] < 3


def main() -> None:
    """Measure what there is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cifar", type=Path, help="an .npz with x_train, y_train, x_test, y_test")
    parser.add_argument("--signs", type=Path, default=SIGN_DIGITS)
    parser.add_argument("--verdicts", type=Path, help="the mturk folder of cleanlab/label-errors")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    print("| source | changed to | seed | order | AUROC | AP | P@50 | P@100 |\n|---|---|---|---|---|---|---|---|")
    with reporting("quiet"):
        if arguments.signs.is_dir():
            planted("signs", sightline.load(arguments.signs), None, arguments.seeds)
        if arguments.cifar is not None:
            with np.load(arguments.cifar) as cifar:
                train = arrays(cifar["x_train"][:12000], cifar["y_train"][:12000].ravel())
                test = arrays(cifar["x_test"], cifar["y_test"].ravel())
            planted("CIFAR-10", train, CIFAR_ALIKE, arguments.seeds)
            if arguments.verdicts is not None:
                verdicts("CIFAR-10", test, arguments.verdicts / "cifar10_mturk.json")
        if arguments.verdicts is not None:
            mnist = sightline.load("mnist")
            test = mnist.take(np.flatnonzero(mnist.given_splits == "test"))
            verdicts("MNIST", test, arguments.verdicts / "mnist_mturk.json")


if __name__ == "__main__":
    main()
