"""Compare the resize rules fit, fill and stretch by what they are worth on photographs of many shapes.

Trains the same small network with each rule on the same splits, several seeds, and prints validation accuracy and the
difference to the first rule, seed by seed: the default rule is chosen by it, and test rows choose nothing.

Usage: python benchmarks/resize_rules.py FOLDER [FOLDER ...] [--seeds 5] [--epochs 25] [--size 64]
       [--rules fit,fill,stretch]
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from importlib import metadata
from pathlib import Path

import sightline
from sightline.metrics.intervals import mean_interval

RULES = ("fit", "fill", "stretch")


def main() -> None:
    """Train, print a table a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rules", default=",".join(RULES))
    arguments = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(f"keras {metadata.version('keras')}, {arguments.size} px, {arguments.epochs} epochs, {arguments.seeds} seeds")
    for folder in arguments.folders:
        print(f"\n{folder.name}\n{'rule':<9}{'validation accuracy':>28}{'less that of the first':>30}")
        first: list[float] = []
        for rule in arguments.rules.split(","):
            found = [accuracy(folder, rule, seed, arguments) for seed in range(arguments.seeds)]
            first = first or found
            differences = [own - other for own, other in zip(found, first, strict=True)]
            print(f"{rule:<9}{told(found):>28}{told(differences) if found is not first else '':>30}", flush=True)


def told(values: list[float]) -> str:
    """The mean over seeds and its 95 % interval."""
    lower, upper = mean_interval(values)
    return f"{sum(values) / len(values):.4f} [{lower:.4f}, {upper:.4f}]"


def accuracy(folder: Path, rule: str, seed: int, arguments: argparse.Namespace) -> float:
    """Validation accuracy of one training; a quarter of the rows judge, so that the figure is worth something."""
    settings = {
        "seed": seed,
        "data.resize": rule,
        "data.image_size": arguments.size,
        "data.unreadable_limit": 0.2,
        "data.test_fraction": 0.05,
        "data.calibration_fraction": 0.0,
        "data.validation_fraction": 0.25,
        "training.epochs": arguments.epochs,
        "training.batch_size": 32,
    }
    with tempfile.TemporaryDirectory() as scratch:
        run = sightline.train(
            folder, recipe=sightline.recipe("photos", settings), out=Path(scratch) / "run", mode="quiet"
        )
    return run.validation.accuracy if run.validation else float("nan")


if __name__ == "__main__":
    main()
