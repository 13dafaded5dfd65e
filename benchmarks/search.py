"""Whether a search is better than the recipe as it was asked for, and whether what it says of its choice holds.

Usage: python benchmarks/search.py [--made 2000] [--real 25] [--sources NAME ...] [--seeds 3] [--trials 12] [--out DIR]

Without signal first. Labels are fair coins that no image tells, so that the true accuracy of every classifier is 0.5:
a search that flatters says otherwise.

- `--made`: so many searches by made answers, independent of the labels: 30 trials, 60 validation rows that choose by
  the rule of the product, 200 test rows. How often the interval that is reported (test rows, of the chosen) holds 0.5,
  and how often the one would that validation rows give of the same choice.
- `--real`: so many searches as a user runs them: 6 trials of a small network on 240 made images of 8x8 with labels by
  a coin, 60 validation and 200 test images.

Then on data: for each source and each seed, a search of so many trials and, for the control, one by `sampler="random"`
with the same trials. Each line has the accuracy on test rows of the recipe as it was asked for and of the choice, their
difference in points with its 95 % interval and the p-value of the paired test; at the end, the mean difference with the
interval of the mean over seeds (Student's t). Sources: `mnist500`, 500 train images of MNIST with all its test images;
`digits300`, 300 of the 1,797 digits of 8x8 that come with scikit-learn, the others as test images; and `signs`, 400
photographs of `sign_digits` and the others as test images, from the folder that SIGN_DIGITS names.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from seeds import mean_interval

import sightline
from sightline.metrics.intervals import wilson_interval
from sightline.tasks.single_label import SINGLE_LABEL
from sightline.training.search.results import ranked
from sightline.training.search.trials import Outcome, validation_figures

NUM_TRIALS, NUM_VALIDATION, NUM_TEST = 30, 60, 200


def main() -> None:
    """Measure what was asked for, print its lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--made", type=int, default=2000)
    parser.add_argument("--real", type=int, default=25)
    parser.add_argument("--sources", nargs="*", default=["mnist500"], choices=("mnist500", "digits300", "signs"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(", ".join(f"{name} {metadata.version(name)}" for name in ("sightline", "numpy", "optuna")))
    with tempfile.TemporaryDirectory() as scratch:
        out = arguments.out or Path(scratch)
        if arguments.made:
            _tell("made answers", made_searches(arguments.made))
        if arguments.real:
            _tell("whole searches", real_searches(arguments.real, out))
        for name in arguments.sources:
            on_data(name, arguments.seeds, arguments.trials, out)


# Whether the interval holds 0.5 that is reported, that of validation rows, and by how much these flatter.
Row = tuple[bool, bool, float]


def made_searches(repeats: int) -> Iterator[Row]:
    """Of each search by made answers: whether both intervals hold 0.5, and by how much validation rows flatter."""
    for repeat in range(repeats):
        generator = np.random.default_rng(repeat)
        judged, outcomes = {}, []
        labels = generator.integers(0, 2, NUM_VALIDATION + NUM_TEST)
        for number in range(NUM_TRIALS):
            logits = generator.normal(0, 2, (NUM_VALIDATION + NUM_TEST, 2)).astype(np.float32)
            found = validation_figures(SINGLE_LABEL, logits[:NUM_VALIDATION], labels[:NUM_VALIDATION])
            outcomes.append(Outcome(number, "finished", **found))
            judged[number] = SINGLE_LABEL.is_right(logits, labels)
        right = judged[ranked(outcomes)[0]]
        yield _held(int(right[:NUM_VALIDATION].sum()), int(right[NUM_VALIDATION:].sum()), NUM_VALIDATION, NUM_TEST)


def real_searches(repeats: int, out: Path) -> Iterator[Row]:
    """The same of searches as a user runs them, on images whose labels are coins."""
    keys = {"model.name": "mlp", "augmentation.policy": "none", "training.epochs": 3, "training.batch_size": 32}
    keys |= {"data.validation_fraction": 0.25, "data.calibration_fraction": 0.1, "optimizer.name": "adamw"}
    for repeat in range(repeats):
        generator = np.random.default_rng(repeat)
        images = generator.integers(0, 256, (440, 8, 8), np.uint8)
        labels = generator.integers(0, 2, 440).astype(np.uint8)
        arrays = {"x_train": images[:240], "y_train": labels[:240], "x_test": images[240:], "y_test": labels[240:]}
        found = sightline.search(
            sightline.load(arrays, name="coins"),
            trials=6,
            recipe=sightline.recipe("fast", keys | {"seed": repeat}),
            out=out / f"coins-{repeat:02d}",
            mode="quiet",
        )
        validation, test = found.figures["validation"], found.figures["test"]
        num_validation, num_test = validation["num_images"], test["num_images"]
        right = round(validation["accuracy"] * num_validation), round(test["accuracy"] * num_test)
        yield _held(*right, num_validation, num_test)


def _held(validation: int, test: int, num_validation: int, num_test: int) -> Row:
    bounds = [wilson_interval(test, num_test), wilson_interval(validation, num_validation)]
    by_test, by_validation = (lower <= 0.5 <= upper for lower, upper in bounds)
    return by_test, by_validation, validation / num_validation - test / num_test


def _tell(what: str, held: Iterator[Row]) -> None:
    started = time.process_time()
    rows = list(held)
    shares = []
    for column in range(2):
        count = int(sum(row[column] for row in rows))
        lower, upper = wilson_interval(count, len(rows))
        shares.append(f"{count / len(rows):.3f} [{lower:.3f}, {upper:.3f}]")
    flattered = 100 * float(np.mean([row[2] for row in rows]))
    print(
        f"{what}: {len(rows)} searches without signal; the interval that is reported holds 0.5 in {shares[0]}, that "
        f"of the validation rows of the same choice would in {shares[1]}; validation rows are {flattered:.1f} points "
        f"above test rows; {time.process_time() - started:.0f} s of processor time",
        flush=True,
    )


def on_data(name: str, seeds: int, trials: int, out: Path) -> None:
    """Search one source with several seeds and both samplers, print a line each and the mean difference."""
    differences: dict[str, list[float]] = {"tpe": [], "random": []}
    for seed in range(seeds):
        source, recipe = _source(name, seed)
        for sampler, found in differences.items():
            started = time.process_time()
            place = out / f"{name}-{sampler}-{seed}"
            searched = sightline.search(
                source, trials=trials, recipe=recipe, sampler=sampler, out=place, mode="quiet", pruner="halving"
            )
            found.append(_line(name, sampler, seed, searched, time.process_time() - started))
    for sampler, found in differences.items():
        bounds = mean_interval(found) if len(found) > 1 else (math.nan, math.nan)
        mean, lower, upper = (100 * value for value in (float(np.mean(found)), *bounds))
        print(
            f"{name}, {sampler}: chosen minus as asked for {mean:+.2f} points [{lower:+.2f}, {upper:+.2f}]", flush=True
        )


def _line(name: str, sampler: str, seed: int, searched: sightline.Search, processors: float) -> float:
    figures = searched.figures
    judged = {one["number"]: one["accuracy"] for one in figures["judged"]}
    tests = [one for one in figures["tests"] if one["first"] == "trial 0"]
    states = ", ".join(f"{figures['spent'][state]} {state}" for state in ("finished", "pruned", "failed"))
    told = "the recipe as it was asked for was chosen"
    difference = float(judged[searched.chosen] - judged[0])
    if tests:
        lower, upper = tests[0]["interval"]
        told = f"{100 * difference:+.2f} [{100 * lower:+.2f}, {100 * upper:+.2f}], p {tests[0]['adjusted_p_value']:.3g}"
    print(
        f"{name}, {sampler}, seed {seed}: as asked for {judged[0]:.4f}, trial {searched.chosen} "
        f"{judged[searched.chosen]:.4f}; {told}; {states}; {processors:.0f} s of processor time; "
        f"{dict(searched.recipe)}",
        flush=True,
    )
    return difference


def _source(name: str, seed: int) -> tuple[Any, sightline.Recipe]:
    generator = np.random.default_rng(seed)
    if name == "mnist500":
        mnist = sightline.load("mnist")
        train = generator.choice(np.flatnonzero(mnist.given_splits == "train"), 500, replace=False)
        rows = np.sort(np.concatenate([train, np.flatnonzero(mnist.given_splits == "test")]))
        keys = {"data.validation_fraction": 0.3, "data.calibration_fraction": 0.1, "seed": seed}
        return mnist.take(rows), sightline.recipe("fast", keys)
    if name == "digits300":
        from sklearn.datasets import load_digits

        bunch = load_digits()
        images, labels = (bunch.images * (255 / 16)).round().astype(np.uint8), bunch.target.astype(np.uint8)
        order = generator.permutation(len(images))
        train, test = order[:300], order[300:]
        arrays = {"x_train": images[train], "y_train": labels[train], "x_test": images[test], "y_test": labels[test]}
        keys = {"data.validation_fraction": 0.3, "data.calibration_fraction": 0.1, "seed": seed}
        return sightline.load(arrays, name="digits"), sightline.recipe("fast", keys)
    folder = os.environ.get("SIGN_DIGITS")
    if folder is None:
        raise SystemExit("signs: SIGN_DIGITS names no folder; set it to one with a sub-folder a class")
    keys = {"data.test_fraction": 0.6, "data.validation_fraction": 0.3, "data.calibration_fraction": 0.1, "seed": seed}
    keys["data.fraction"] = 0.4
    return folder, sightline.recipe("transfer", keys)


if __name__ == "__main__":
    main()
