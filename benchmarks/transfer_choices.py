"""What side and batch statistics of a pretrained network bring to a head, and to trainings on made textures.

sides FOLDER        Heads on features of EfficientNet-Lite0 by each side of `--sides`, train images answered by five
                    folds: cross-entropy, accuracy with its 95 % interval, and seconds of processor time.
statistics FOLDER   The same where a share of the batch statistics is taken from the train images (`--shares`), with the
                    middle of the features' standard deviations and the p-value beside no share. FOLDER may be
                    "textures": woven ones that are made here, four classes of faults, 250 of each.
textures            Whole trainings on them, with statistics that may be taken anew and without, a line a seed.

All by train rows of the recipe's own split with its seed; nothing else is looked at, but by `textures`, which tells the
test figures of its runs.

Usage: python benchmarks/transfer_choices.py sides photos [--sides 96 128 160 224] [--fraction 0.2] [--seeds 1]
       python benchmarks/transfer_choices.py statistics textures [--shares 0 0.1 0.25 0.4 0.6 0.8] [--seeds 1]
       python benchmarks/transfer_choices.py textures [--seeds 3]
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

import sightline
from sightline.metrics.intervals import wilson_interval
from sightline.metrics.significance import chance_of_gain
from sightline.system.backends import load_keras
from sightline.system.progress import reporting

load_keras()

from sightline.training.loop.batches import rows_for_fit  # noqa: E402  # the backend is chosen first
from sightline.training.loop.network import new_network  # noqa: E402
from sightline.training.setup.preparation import Prepared, prepare  # noqa: E402
from sightline.training.transfer import statistics  # noqa: E402
from sightline.training.transfer.activations import FEATURES, FeatureTables  # noqa: E402
from sightline.training.transfer.head import Head, Rows, fit_head  # noqa: E402


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("sides", "statistics", "textures"))
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--sides", type=int, nargs="+", default=[96, 128, 160, 224, 320])
    parser.add_argument("--shares", type=float, nargs="+", default=[0, 0.1, 0.25, 0.4, 0.6, 0.8])
    parser.add_argument("--fraction", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    if asked.what != "textures" and asked.folder is None:
        parser.error(f"{asked.what} needs a FOLDER with a sub-folder a class")
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(", ".join(f"{name} {metadata.version(name)}" for name in ("sightline", "keras", "onnxruntime", "numpy")))
    with tempfile.TemporaryDirectory(prefix="sightline-choices-") as scratch:
        folder = made_textures(Path(scratch)) if asked.folder in (None, "textures") else Path(asked.folder)
        for seed in range(asked.seeds):
            if asked.what == "textures":
                trained(folder, seed, Path(scratch))
            elif asked.what == "sides":
                by_side(folder, asked.fraction, seed, asked.sides)
            else:
                by_share(folder, asked.fraction, seed, asked.shares)


def by_side(folder: Path, fraction: float, seed: int, sides: list[int]) -> None:
    """A line for each side."""
    for side in sides:
        started = time.process_time()
        head, _ = headed(data_of(folder, fraction, seed, {"data.image_size": side}))
        tell(
            f"{folder.name}, seed {seed}, {side} pixels",
            head,
            f"{time.process_time() - started:.0f} s of processor time",
        )


def by_share(folder: Path, fraction: float, seed: int, shares: list[float]) -> None:
    """A line for each share; the first is what others are compared with."""
    data = data_of(folder, fraction, seed, {})
    before: Head | None = None
    for share in shares:
        network = new_network(data)
        with mock.patch.object(statistics, "SHARE", share):
            images = rows_for_fit(data, data.splits.train).images
            is_changed = share > 0 and statistics.adapt_statistics(network, images, seed=seed)
        head, features = headed(data, network, is_published=not is_changed)
        before = before or head
        spread = float(np.median(np.asarray(features, np.float32).std(axis=0)))
        found = f"features vary by {spread:.4f}, p {chance_of_gain(before.surprises, head.surprises):.2g}"
        tell(f"{folder.name}, seed {seed}, share {share:g}", head, found)


def trained(folder: Path, seed: int, scratch: Path) -> None:
    """Both trainings of a seed, and their paired test."""
    runs = []
    for hardly in (0.0, statistics.HARDLY):
        started = time.process_time()
        with mock.patch.object(statistics, "HARDLY", hardly):
            out = scratch / f"{seed}-{hardly:g}"
            run = sightline.train(folder, recipe=sightline.recipe("transfer", {"seed": seed}), out=out, mode="quiet")
        if run.evaluation is None:
            raise SystemExit("textures: no test rows were judged")
        lower, upper = run.evaluation.accuracy_interval
        spent = time.process_time() - started
        stages = ", ".join(f"{stage['name']} {'kept' if stage['is_kept'] else 'not kept'}" for stage in run.stages)
        kind = "as published" if hardly == 0 else "may be taken anew"
        print(
            f"textures, seed {seed}, statistics {kind}: {run.evaluation.accuracy:.4f} [{lower:.4f}, {upper:.4f}] of "
            f"{run.evaluation.num_images} test images; {stages}; {spent:.0f} s of processor time",
            flush=True,
        )
        runs.append(out)
    print(f"  {sightline.compare(runs).tests[0]}", flush=True)


def data_of(folder: Path, fraction: float, seed: int, keys: dict[str, Any]) -> Prepared:
    """Resolved, images as they are alone."""
    usual = {"seed": seed, "data.fraction": fraction, "training.feature_variants": 1, "training.finetune_epochs": 0}
    with reporting("quiet"):
        return prepare(str(folder), sightline.recipe("transfer", usual | keys))


def headed(data: Prepared, network: Any = None, *, is_published: bool = True) -> tuple[Head, Any]:
    """A head that five folds of train images chose, and the features that it was fitted on."""
    with reporting("quiet"):
        features = FeatureTables(network or new_network(data), data, is_published=is_published).of_train(FEATURES)[:]
    groups = data.splits.groups if data.splits.groups is not None else data.dataset.groups
    rows = Rows(
        features, data.dataset.labels[data.splits.train], groups=None if groups is None else groups[data.splits.train]
    )
    return fit_head(rows, None, num_classes=data.dataset.num_classes), features


def tell(what: str, head: Head, more: str) -> None:
    """A line."""
    num_images = len(head.surprises)
    right = num_images - head.num_wrong
    lower, upper = wilson_interval(right, num_images)
    print(
        f"{what}: cross-entropy {head.judged:.4f}, {right / num_images:.4f} [{lower:.4f}, {upper:.4f}] of {num_images} "
        f"train images right; {more}",
        flush=True,
    )


def made_textures(place: Path) -> Path:
    """Woven cloth at 224 pixels: whole, with a hole, with a line of another thread, with a stain."""
    generator, folder = np.random.default_rng(3), place / "textures"
    y, x = np.mgrid[:224, :224]
    for name in ("good", "hole", "line", "stain"):
        (folder / name).mkdir(parents=True)
        for number in range(250):
            pitch, angle = 0.35 + 0.03 * generator.random(), generator.normal(0, 0.05)
            along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
            image = 128 + 35 * np.sin(pitch * along) * np.sin(pitch * across) + generator.normal(0, 18, x.shape)
            column, row = generator.integers(30, 194, 2)
            away = np.hypot(x - column, y - row)
            if name == "hole":
                image -= 45 * (away < generator.uniform(4, 8))
            elif name == "line":
                turn = generator.uniform(0, np.pi)
                image += 28 * (abs((x - column) * np.sin(turn) - (y - row) * np.cos(turn)) < 2) * (away < 40)
            elif name == "stain":
                image -= 16 * np.exp(-((away / generator.uniform(12, 22)) ** 2))
            Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(folder / name / f"{number:03d}.png")
    return folder


if __name__ == "__main__":
    main()
