"""Compare the resize rules fit, fill and stretch by what they are worth on photographs of many shapes.

Judges each rule on the same splits, several seeds, by the accuracy on validation rows, and prints the difference to the
first rule, seed by seed: the default rule is chosen by it, and test rows choose nothing. Two judges:

  features   a head on features of the embedded backbone at 224 px: what the recipe transfer starts with
  scratch    the recipe photos at 64 px: the same small network trained from nothing

Usage: python benchmarks/resize_rules.py FOLDER [FOLDER ...] [--judge features] [--seeds 5] [--epochs 25]
       [--rules fit,fill,stretch]
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np
from seeds import mean_interval

import sightline
from sightline.bundles.bundle import load_bundle
from sightline.bundles.features import feature_tables
from sightline.bundles.sessions import open_session
from sightline.system.backends import load_keras
from sightline.system.progress import reporting

RULES = ("fit", "fill", "stretch")


def main() -> None:
    """Train, print a table a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--judge", choices=("features", "scratch"), default="features")
    parser.add_argument("--rules", default=",".join(RULES))
    arguments = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    judged = "a head on features" if arguments.judge == "features" else f"from scratch, {arguments.epochs} epochs"
    print(f"keras {metadata.version('keras')}, {judged}, {arguments.seeds} seeds")
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
        "data.unreadable_limit": 0.2,
        "data.test_fraction": 0.05,
        "data.calibration_fraction": 0.0,
        "data.validation_fraction": 0.25,
    }
    if arguments.judge == "features":
        return by_features(folder, settings)
    settings |= {"training.epochs": arguments.epochs, "training.batch_size": 32, "data.image_size": 64}
    with tempfile.TemporaryDirectory() as scratch:
        run = sightline.train(
            folder, recipe=sightline.recipe("photos", settings), out=Path(scratch) / "run", mode="quiet"
        )
    return run.validation.accuracy if run.validation else float("nan")


def by_features(folder: Path, settings: dict[str, object]) -> float:
    """The same of a head that folds of train rows choose, since validation rows judge here."""
    load_keras()
    from sightline.training.setup.preparation import prepare
    from sightline.training.transfer.head import Rows, fit_head

    with reporting("quiet"):
        data = prepare(folder, sightline.recipe("transfer", settings))
        session = open_session(load_bundle("imagenet"))
        table = feature_tables(session, data.pixels, outputs={"features": (1280,)})["features"]
    labels = data.dataset.labels
    train, validation = (
        Rows(np.asarray(table[rows]), labels[rows]) for rows in (data.splits.train, data.splits.validation)
    )
    head = fit_head(train, None, num_classes=data.dataset.num_classes)
    return float((head.logits(validation.features).argmax(axis=1) == validation.labels).mean())


if __name__ == "__main__":
    main()
