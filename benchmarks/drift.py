"""How often `check` calls alike images different, and how often it finds what was changed, on the test rows of a run.

Usage: python benchmarks/drift.py RUN [--draws 100]

Alike are test images drawn at random: some of them stand for the reference, others are checked, as a folder and as a
stream, so that nothing can have changed. Then each property is shifted by half a standard deviation; and then the
images themselves are changed, and measured and answered anew. Last, streams of plain numbers: how often a gambler's
capital reaches 100 against a reference that grows, and against one that stays as it was. All seeds are fixed.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import time
from collections import Counter
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

import sightline
from sightline.bundles.prediction import predict_with
from sightline.bundles.trust.reference import CATEGORIES, PROPERTIES, ImageProperties, PropertyMaker, Reference
from sightline.evaluation.measuring.drift import Judgement, judge_stream, judge_together
from sightline.metrics.drift import online_p_values, simple_jumper
from sightline.metrics.intervals import wilson_interval

NUM_ROWS, LEVEL = 1_500, 0.01
Pixels = NDArray[np.uint8]


def main() -> None:
    """Measure one run, print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--draws", type=int, default=100)
    arguments = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(", ".join(f"{name} {metadata.version(name)}" for name in ("sightline", "onnxruntime", "numpy")))
    run = sightline.reopen(arguments.run)
    if not isinstance(run, sightline.Run) or run.evaluation is None:
        raise SystemExit(f"{arguments.run} is no run with test rows; name one")
    dataset = sightline.load(run.bundle.metrics["source"]["typed"]).take(run.splits.test)
    images = np.asarray(dataset.images)
    classes = run.bundle.class_names
    began = time.perf_counter()
    sound = properties(run.bundle, images)
    print(f"{run}; measured and answered {len(images):,} images in {time.perf_counter() - began:.1f} s")
    alike(sound, classes, draws=arguments.draws)
    shifted(sound, classes, draws=arguments.draws // 5)
    changed(run.bundle, images, sound, dataset.labels, draws=arguments.draws // 5)
    plain_streams()


def properties(bundle: sightline.Bundle, images: Pixels) -> ImageProperties:
    """Of all images, as `check` has them."""
    return predict_with(bundle, images, {"properties": PropertyMaker(b"k" * 16, {})}).details["properties"]  # type: ignore[return-value]  # made here


def drawn(sound: ImageProperties, num_images: int, seed: int) -> tuple[Reference, NDArray[np.int64]]:
    """A reference of random rows, and the rows of so many other images."""
    order = np.random.default_rng(seed).permutation(len(sound))
    columns = dict(zip(PROPERTIES, sound.table[order[:NUM_ROWS]].T, strict=True))
    kept = {name: column for name, column in columns.items() if np.isfinite(column).all()}
    key = seed.to_bytes(16, "little")
    return Reference(key, kept, NUM_ROWS, is_grouped=False), order[NUM_ROWS : NUM_ROWS + num_images]


def both(old: Reference, new: ImageProperties, classes: tuple[str, ...]) -> tuple[Judgement, Judgement]:
    """As a folder and as a stream."""
    return (
        judge_together(old, new, level=LEVEL, class_names=classes),
        judge_stream(old, new, level=LEVEL, class_names=classes),
    )


def share(found: list[bool]) -> str:
    """A share with its interval."""
    lower, upper = wilson_interval(sum(found), len(found))
    return f"{np.mean(found):.3f} [{lower:.3f}, {upper:.3f}]"


def alike(sound: ImageProperties, classes: tuple[str, ...], *, draws: int) -> None:
    """How often nothing has changed and it is called different."""
    print(f"\nalike, called different at {LEVEL:g}, {draws} draws, {NUM_ROWS:,} images as the reference\n")
    print("| images | folder | stream |")
    print("|---|---|---|")
    for num_images in (100, 500):
        told = []
        for seed in range(draws):
            old, rows = drawn(sound, num_images, seed)
            told.append(both(old, sound.take(rows), classes))
        folder, stream = ([not judged[place].is_alike for judged in told] for place in (0, 1))
        print(f"| {num_images} | {share(folder)} | {share(stream)} |")


def shifted(sound: ImageProperties, classes: tuple[str, ...], *, draws: int) -> None:
    """How often half a standard deviation of one property is seen within 500 images."""
    print(f"\none property shifted by 0.5 standard deviations, 500 images, {draws} draws\n")
    print("| property | folder | stream | images until the stream was sure, median |")
    print("|---|---|---|---|")
    for place, name in enumerate(PROPERTIES):
        column = sound.table[:, place]
        if name in CATEGORIES or not np.isfinite(column).all() or not column.std():
            continue
        told = []
        for seed in range(draws):
            old, rows = drawn(sound, 500, seed)
            new = sound.take(rows)
            new.table[:, place] += 0.5 * column.std()
            told.append(both(old, new, classes))
        report(name, told)


def report(name: str, told: list[tuple[Judgement, Judgement]], *, first: str = "") -> None:
    """A line of a table."""
    after = [stream.alarm_after for _, stream in told if stream.alarm_after is not None]
    folder, stream = ([not judged[place].is_alike for judged in told] for place in (0, 1))
    until = f"{np.median(after):.0f}" if after else "-"
    print(f"| {name} | {share(folder)} | {share(stream)} | {until} |{first}")


def changed(
    bundle: sightline.Bundle, images: Pixels, sound: ImageProperties, labels: NDArray[np.int64], *, draws: int
) -> None:
    """How often changed images are found, and what is named first."""
    print(f"\nimages changed, 100 of them, {draws} draws\n")
    print("| change | folder | stream | images until the stream was sure, median | named first in the folder |")
    print("|---|---|---|---|---|")
    for name, change in CHANGES.items():
        rows_of = np.flatnonzero(labels < len(bundle.class_names) // 2) if change is None else np.arange(len(images))
        new = sound if change is None else properties(bundle, np.stack([change(image) for image in images]))
        told: list[tuple[Judgement, Judgement]] = []
        for seed in range(draws):
            old, rows = drawn(sound, len(sound) - NUM_ROWS, seed)
            told.append(both(old, new.take(rows[np.isin(rows, rows_of)][:100]), bundle.class_names))
        named = Counter(one.properties[0].name for one, _ in told if one.properties[0].has_moved)
        first = ", ".join(f"{one} {count}" for one, count in named.most_common(3))
        report(name, told, first=f" {first or '-'} |")


def filtered(image: Pixels, change: Callable[[Image.Image], Image.Image]) -> Pixels:
    """An image changed by Pillow."""
    grey = image.shape[2] == 1
    picture = Image.fromarray(image[:, :, 0] if grey else image)
    pixels = np.asarray(change(picture))
    return pixels[..., None] if grey else pixels


CHANGES: dict[str, Callable[[Pixels], Pixels] | None] = {
    "nothing": lambda image: image,
    "a tenth darker": lambda image: (image * 0.9).astype(np.uint8),
    "a third darker": lambda image: (image * 0.67).astype(np.uint8),
    "blurred by 0.5 pixels": lambda image: filtered(image, lambda one: one.filter(ImageFilter.GaussianBlur(0.5))),
    "turned by 10 degrees": lambda image: filtered(image, lambda one: one.rotate(10, Image.Resampling.BILINEAR)),
    "noise of 10 levels": lambda image: np.clip(
        image + np.random.default_rng(int(image.sum())).normal(0, 10, image.shape), 0, 255
    ).astype(np.uint8),
    "upside down": lambda image: image[::-1],
    "half of the classes": None,
}


def plain_streams() -> None:
    """Ville's bound, kept by a growing reference and broken by one that stays."""
    num_streams, num_images, num_rows = 1_000, 2_000, 200
    random = np.random.default_rng(0)
    growing, fixed = np.empty((2, num_images, num_streams))
    for stream in range(num_streams):
        reference, values = np.sort(random.normal(size=num_rows)), random.normal(size=num_images)
        draws = random.random(num_images)
        growing[:, stream] = online_p_values(values, reference, draws)
        fixed[:, stream] = (np.searchsorted(reference, values) + draws) / (num_rows + 1)
    print(
        f"\ncapital of 100 in {num_streams:,} clean streams of {num_images:,}, {num_rows} in the reference, bound 0.01"
    )
    for name, p_values in (("each joins the reference", growing), ("the reference stays as it was", fixed)):
        print(f"- {name}: {share((simple_jumper(p_values).max(axis=0) >= math.log(100)).tolist())}")


if __name__ == "__main__":
    main()
