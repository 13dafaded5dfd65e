"""Time decoding and resizing to 224 pixels: Sightline's first pass and its cache against three others.

  keras     keras.utils.image_dataset_from_directory (tf.data, full decode, bilinear), one pass
  torch     PyTorch DataLoader over Pillow, 2 worker processes, one pass (skipped, and said, if torch is not installed)
  pillow    Pillow alone, one thread: open, convert, resize
  first     Sightline's first pass: threads, scaled decoding, signatures for duplicates, writing the cache
  cache     Sightline reading the cache again, as every later epoch and run does

Usage: python benchmarks/decode.py [--images 60] [--rounds 3] [--only keras,first] [--sizes 12,6,small]
       [--folder PHOTOS]

Without --folder the photographs are made: noise with the spectrum of natural images behind a lens, JPEG quality 90,
of 12 and of 6 megapixels and, ten times as many, of 500x375. They take 0.4 bytes a pixel, as sharp real photographs of
that size do (seen: 0.35 to 0.44); bytes, more than pixels, decide what decoding costs. All methods run in processes of
their own, in turn, round by round. Beside images a second stands what all threads of a method took of the processors,
which other work on the machine changes less, and how much less than Keras' that is, round by round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 224
LENS_BLUR = 0.7  # standard deviation in pixels: what lens and sensor leave of a point
METHODS = ("pillow", "keras", "torch", "first", "cache")
SIZES = {"12": (4000, 3000), "6": (3000, 2000), "small": (500, 375)}


def main() -> None:
    """Make photographs, run all methods in turn, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="photographs in sub-folders, instead of made ones")
    parser.add_argument("--only", default=",".join(METHODS), help="methods, by commas")
    parser.add_argument("--sizes", default=",".join(SIZES), help="of made photographs: 12, 6, small")
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.method:
        print(json.dumps(measure(arguments.method, arguments.folder)))
        return
    methods, sizes = arguments.only.split(","), arguments.sizes.split(",")
    if unknown := {*methods, *sizes} - {*METHODS, *SIZES}:
        parser.error(
            f"unknown: {', '.join(sorted(unknown))}. Methods are {', '.join(METHODS)}; sizes {', '.join(SIZES)}."
        )
    packages = ("keras", "tensorflow-cpu", "torch", "pillow", "numpy")
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(", ".join(f"{name} {version}" for name in packages if (version := installed(name))))
    with tempfile.TemporaryDirectory() as scratch:
        sets = {"given": arguments.folder}
        if arguments.folder is None:
            sets = {}
            for size in sizes:
                wide, high = SIZES[size]
                count = arguments.images * (10 if size == "small" else 1)
                sets[f"{wide}x{high}"] = make_photographs(Path(scratch) / size, count, SIZES[size])
        for name, folder in sets.items():
            report(name, folder, arguments.rounds, methods)


def report(name: str, folder: Path, rounds: int, methods: list[str]) -> None:
    """Some methods on one set of photographs, round by round; medians, ranges and ratios."""
    num_images = sum(1 for path in folder.rglob("*") if path.is_file())
    results: dict[str, list[dict[str, float]]] = {method: [] for method in methods}
    with tempfile.TemporaryDirectory() as cache:
        for _ in range(rounds):
            shutil.rmtree(Path(cache) / "pixels", ignore_errors=True)
            for method in methods:
                result = run(method, folder, cache)
                if result is not None:
                    results[method].append(result)
    print(f"\n{name}: {num_images} photographs to {SIDE}x{SIDE}, median of {rounds} rounds")
    print(f"{'method':<9}{'images/s':>10}{'range':>18}{'to the best other':>19}{'CPU ms an image':>24}{'to Keras':>22}")
    others = [speed(results[method]) for method in ("pillow", "keras", "torch") if results.get(method)]
    for method, measured in results.items():
        if not measured:
            print(f"{method:<9}{'skipped: not installed':>28}")
            continue
        speeds = [row["images_per_second"] for row in measured]
        spread = f"{min(speeds):.0f} to {max(speeds):.0f}"
        best = f"{speed(measured) / max(others):.2f}x" if others else ""
        cpu = [1e3 * row["cpu_seconds"] / num_images for row in measured]
        theirs = [row["cpu_seconds"] for row in results.get("keras", [])]
        ratios = [keras / row["cpu_seconds"] for keras, row in zip(theirs, measured, strict=False)]
        told = f"{told_range(ratios)}x" if ratios else ""
        print(f"{method:<9}{speed(measured):>10.1f}{spread:>18}{best:>19}{told_range(cpu):>24}{told:>22}")


def told_range(values: list[float]) -> str:
    """Median, and from least to most."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def speed(measured: list[dict[str, float]]) -> float:
    """Median images a second."""
    return statistics.median(row["images_per_second"] for row in measured)


def run(method: str, folder: Path, cache: str) -> dict[str, float] | None:
    """One method in a process of its own; None if what it needs is not installed."""
    source = str(Path(__file__).resolve().parent.parent / "src")
    environment = {**os.environ, "PYTHONPATH": source, "SIGHTLINE_CACHE": cache, "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, __file__, "--method", method, "--folder", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if "No module named 'torch'" in done.stderr:
        return None
    if done.returncode:
        sys.exit(done.stderr)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(method: str, folder: Path) -> dict[str, float]:
    """Seconds and CPU seconds of one pass, imports and listing left out for all alike."""
    import resource
    import time

    one_pass = {"pillow": pillow_pass, "keras": keras_pass, "torch": torch_pass, "first": own_pass, "cache": own_pass}
    start_pass = one_pass[method](folder)

    def used() -> float:
        return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))

    cpu, started = used(), time.perf_counter()
    num_images = start_pass()
    seconds = time.perf_counter() - started
    return {"images_per_second": num_images / seconds, "cpu_seconds": used() - cpu}


def pillow_pass(folder: Path) -> Callable[[], int]:
    """Pillow as a script would use it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())

    def go() -> int:
        for path in paths:
            with Image.open(path) as image:
                np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
        return len(paths)

    return go


def keras_pass(folder: Path) -> Callable[[], int]:
    """Keras' own folder reader."""
    import keras

    data = keras.utils.image_dataset_from_directory(folder, image_size=(SIDE, SIDE), batch_size=32, verbose=False)
    return lambda: sum(len(images) for images, _ in data)


def torch_pass(folder: Path) -> Callable[[], int]:
    """What a PyTorch tutorial does, without torchvision."""
    import torch

    paths = sorted(path for path in folder.rglob("*") if path.is_file())

    class Photographs(torch.utils.data.Dataset):  # type: ignore[misc]  # PyTorch is not in the dev setup
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, row: int) -> Any:
            with Image.open(paths[row]) as image:
                small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            return torch.from_numpy(np.asarray(small).copy())

    loader = torch.utils.data.DataLoader(Photographs(), batch_size=32, num_workers=2)
    return lambda: sum(len(images) for images in loader)


def own_pass(folder: Path) -> Callable[[], int]:
    """Sightline; whether it decodes or reads the cache depends on what lies in the cache folder."""
    import sightline
    from sightline.data.inputs.pixels import read_pixels
    from sightline.records import InputSpec
    from sightline.system.progress import reporting

    data = sightline.load(folder)

    def go() -> int:
        with reporting("quiet"):
            pixels = read_pixels(data, InputSpec(SIDE, SIDE, "rgb"))
        # Touch every pixel, as training does.
        for first in range(0, len(pixels), 32):
            pixels[first : first + 32].sum()
        return len(pixels)

    return go


def make_photographs(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """JPEGs whose spectrum falls like that of natural images, in two classes."""
    generator = np.random.default_rng(0)
    width, height = size
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    falling = np.exp(-2 * (np.pi * LENS_BLUR) ** 2 * (x**2 + y**2)) / np.maximum(np.hypot(x, y), 1 / max(size))
    for number in range(count):
        channels = []
        shared = np.fft.rfft2(generator.standard_normal((height, width)))
        for _ in range(3):
            own = shared + 0.3 * np.fft.rfft2(generator.standard_normal((height, width)))
            plane = np.fft.irfft2(own * falling, (height, width))
            channels.append(128 + 50 * (plane - plane.mean()) / plane.std())
        pixels = np.stack(channels, axis=2).clip(0, 255).astype(np.uint8)
        place = folder / ("even" if number % 2 == 0 else "odd")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number:05d}.jpg", quality=90)
    return folder


def installed(name: str) -> str | None:
    """The version of a package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
