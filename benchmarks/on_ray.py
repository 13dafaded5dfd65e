"""Bulk prediction by two workers of a Ray on this machine beside one process with its two threads.

    python benchmarks/on_ray.py --images 20000 --rounds 5

Images of 28x28 pixels, the hardest case: so little is done for each that whatever a cluster adds shows. What it takes
to begin is measured by itself, with 64 images, and taken off; both are asked in turn, in fresh processes, and each
answer file is compared byte for byte.
"""

from __future__ import annotations

import argparse
import gzip
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

MNIST = Path(__file__).resolve().parents[1] / "src/sightline/data/sources/mnist/train-images-idx3-ubyte.gz"
PROGRAM = """
import sys, sightline
sightline.predict_into(sys.argv[1], sys.argv[2], sys.argv[3], on=sys.argv[4] or None, progress=False)
"""


def written(folder: Path, count: int) -> Path:
    """A folder of the first so many digits, as PNG files."""
    place = folder / f"images-{count}"
    place.mkdir()
    digits = np.frombuffer(gzip.decompress(MNIST.read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)
    for number in range(count):
        Image.fromarray(digits[number]).save(place / f"{number:06d}.png")
    return place


def seconds(bundle: Path, images: Path, out: Path, on: str) -> tuple[float, float]:
    """Wall and processor time of a fresh process, those of its children included."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", PROGRAM, str(bundle), str(images), str(out), on], check=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Ask both in turn, and print what each takes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "bundle", type=Path, nargs="?", help="a run; left out, LeNet-5 is trained on MNIST for one epoch"
    )
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = options.bundle or trained(folder)
        many, few = written(folder, options.images), written(folder, 64)
        taken: dict[str, list[float]] = {"one process": [], "Ray": []}
        starts: dict[str, list[float]] = {"one process": [], "Ray": []}
        for number in range(options.rounds):
            for who, on in (("one process", ""), ("Ray", "ray")):
                start, _ = seconds(bundle, few, folder / f"{on}few{number}.csv", on)
                whole, _ = seconds(bundle, many, folder / f"{on}many{number}.csv", on)
                starts[who].append(start)
                taken[who].append(whole - start)
                print(
                    f"{who:12} begins in {start:5.1f} s, then {options.images / (whole - start):7,.0f} images/s",
                    flush=True,
                )
            same = (folder / f"many{number}.csv").read_bytes() == (folder / f"raymany{number}.csv").read_bytes()
            print("the same bytes" if same else "OTHER BYTES", flush=True)
        ratios = [ray / one for ray, one in zip(taken["Ray"], taken["one process"], strict=True)]
        print(f"{options.images:,} images, {options.rounds} rounds; median (lowest to highest):")
        print(f"  after its start Ray takes {_spread(ratios)} times as long as one process")
        print(f"  Ray begins in {_spread(starts['Ray'])} s, one process in {_spread(starts['one process'])} s")


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def trained(folder: Path) -> Path:
    """LeNet-5 after one epoch: how right it is does not matter here."""
    keys = [
        "--recipe",
        "fast",
        "--set",
        "training.epochs=1",
        "--set",
        "model.name=lenet5",
        "--out",
        str(folder / "run"),
    ]
    subprocess.run([sys.executable, "-m", "sightline", "train", "mnist", *keys], check=True, stdout=subprocess.DEVNULL)
    return folder / "run"


if __name__ == "__main__":
    main()
