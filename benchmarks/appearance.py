"""Measure how many images an audit calls unlike the others of their source, and how many that were spoiled it finds.

  false alarms  share of the images as they are that are told: MNIST, CIFAR-10, photographs of hands that sign digits
  recall        one image in fifty is spoiled strongly: blurred by a 24th of its side, three stops darker, four stops
                lighter, nothing but faint noise, without colour, a quarter of the side; or images of another source

Usage: python benchmarks/appearance.py [--cifar FILE.npz] [--signs DIR] [--images 5000]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

import sightline
from sightline.data.storage.stores import decode_row
from sightline.metrics.intervals import wilson_interval
from sightline.quality.appearance import appearance_findings
from sightline.quality.labels.doubts import frozen_features
from sightline.quality.labels.outliers import class_outliers
from sightline.quality.measures import appearance
from sightline.quality.survey import survey
from sightline.records import Dataset, Store
from sightline.system.progress import reporting

SIGN_DIGITS = Path(__file__).parents[2] / "shared" / "data" / "sign_digits"
Image8 = NDArray[np.uint8]


def blurred(image: Image8) -> Image8:
    """Out of focus."""
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(max(1.5, min(image.shape[:2]) / 24))))
    return soft[:, :, None] if soft.ndim == 2 else soft


def darker(image: Image8) -> Image8:
    """By three stops."""
    return image // 8


def lighter(image: Image8) -> Image8:
    """By four stops, and white where that is too much."""
    return np.minimum(image.astype(np.int64) * 16, 255).astype(np.uint8)


def emptied(image: Image8) -> Image8:
    """Nothing but the median and faint noise."""
    noise = np.random.default_rng(int(image.sum())).normal(0, 3, image.shape)
    return np.clip(np.median(image) + noise, 0, 255).astype(np.uint8)


def greyed(image: Image8) -> Image8:
    """Without colour."""
    return np.repeat(image.mean(axis=2, keepdims=True).astype(np.uint8), image.shape[2], axis=2)


SPOILED: dict[str, Callable[[Image8], Image8]] = {
    "blurry": blurred,
    "dark": darker,
    "over-exposed": lighter,
    "nearly-empty": emptied,
    "grey-among-colour": greyed,
}


def looked_at(dataset: Dataset, row: int) -> Image8:
    """An image as the audit measures it."""
    if not isinstance(dataset.images, Store):
        return np.asarray(dataset.images[row])
    pixels = decode_row(dataset.images, row, color_mode="rgb", minimum_size=(256, 256)).pixels
    step = max(1, -(-max(pixels.shape[:2]) // 256))
    return pixels[::step, ::step]


def told(dataset: Dataset, measured: NDArray[np.float32], sizes: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    """Kind to which rows are told."""
    looked = np.ones(len(dataset), bool)
    findings = appearance_findings(dataset, measured, looked, sizes)
    return {finding.kind: np.isin(dataset.row_ids, finding.paths) for finding in findings}


def measure(name: str, dataset: Dataset) -> None:
    """Rates of one source."""
    seen = survey(dataset)
    sizes = np.stack([seen.heights, seen.widths], axis=1)
    alarms = told(dataset, seen.appearance, sizes)
    rows = np.arange(0, len(dataset), 50)
    for kind, spoil in SPOILED.items():
        measured = seen.appearance.copy()
        measured[rows] = [appearance(spoil(looked_at(dataset, row))) for row in rows.tolist()]
        found = told(dataset, measured, sizes)
        # What is emptied of a black picture is told as dark: any word will do.
        say(name, kind, alarms.get(kind), np.any(list(found.values()), axis=0) if found else None, rows)
    smaller = sizes.copy()
    smaller[rows] //= 4
    odd = told(dataset, seen.appearance, smaller).get("odd-size")
    say(name, "odd-size", alarms.get("odd-size"), odd, rows)


def say(
    name: str,
    kind: str,
    alarms: NDArray[np.bool_] | None,
    found: NDArray[np.bool_] | None,
    rows: NDArray[np.int64],
) -> None:
    """A row of the table."""
    share = 0.0 if alarms is None else float(alarms.mean())
    hits = 0 if found is None else int(found[rows].sum())
    lower, upper = wilson_interval(hits, len(rows))
    print(f"| {name} | {kind} | {share:.4f} | {hits / len(rows):.3f} [{lower:.3f}, {upper:.3f}] |", flush=True)


def measure_outliers(name: str, dataset: Dataset, strangers: Dataset) -> None:
    """One image in a hundred is of another source."""
    features, _ = frozen_features(dataset)
    foreign, _ = frozen_features(strangers)
    alarms = np.isin(np.arange(len(dataset)), class_outliers(features, dataset.labels, np.arange(len(dataset))))
    labels = np.concatenate([dataset.labels, np.arange(len(strangers)) % dataset.num_classes])
    found = class_outliers(np.concatenate([features, foreign]), labels, np.arange(len(labels)))
    say(
        name,
        f"outliers ({strangers.name})",
        alarms,
        np.isin(np.arange(len(labels)), found),
        np.arange(len(dataset), len(labels)),
    )


def main() -> None:
    """Measure what there is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cifar", type=Path, help="an .npz with x_train, y_train")
    parser.add_argument("--signs", type=Path, default=SIGN_DIGITS)
    parser.add_argument("--images", type=int, default=5000)
    arguments = parser.parse_args()
    mnist = sightline.load("mnist")
    sources = {"MNIST": mnist.take(np.flatnonzero(mnist.given_splits == "test")[: arguments.images])}
    if arguments.cifar is not None:
        with np.load(arguments.cifar) as cifar:
            part = slice(0, arguments.images)
            sources["CIFAR-10"] = sightline.load({"x_train": cifar["x_train"][part], "y_train": cifar["y_train"][part]})
    if arguments.signs.is_dir():
        sources["signs"] = sightline.load(arguments.signs)
    print("| source | finding | told of images as they are | told of spoiled ones |\n|---|---|---|---|")
    with reporting("quiet"):
        for name, dataset in sources.items():
            measure(name, dataset)
        for name, other in (("MNIST", "signs"), ("signs", "MNIST"), ("CIFAR-10", "MNIST")):
            if name in sources and other in sources:
                few = np.arange(len(sources[name]) // 100)
                measure_outliers(name, sources[name], sources[other].take(few))


if __name__ == "__main__":
    main()
