"""Measure the memory of training on images four times as large as the memory they may take.

Makes a folder of small PNG files, trains one epoch of an MLP on them at 64x64 twice: once with all pixels in memory
(`data.memory_limit_mib` above their size), once with a limit of a quarter of their size, where batches are read from
the mapped cache. Prints the peak of the memory that belongs to the process itself (RssAnon, Linux) for both, and how
many images a second were trained.

Usage: python benchmarks/memory.py [--images 84000]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from importlib import metadata
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64


def main() -> None:
    """Make the folder, train in two processes, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=84_000)
    parser.add_argument("--limit", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.limit:
        print(json.dumps(train(arguments.folder, arguments.limit)))
        return
    size_mib = arguments.images * SIDE * SIDE * 3 / 2**20
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(f"keras {metadata.version('keras')}; {arguments.images:,} images, {size_mib:.0f} MiB at {SIDE}x{SIDE}")
    with tempfile.TemporaryDirectory() as scratch:
        make_folder(Path(scratch) / "photos", arguments.images)
        print(f"\n{'limit MiB':>10}{'pixels to limit':>17}{'peak MiB':>10}{'above import':>14}{'images/s':>10}")
        for limit in (int(2 * size_mib), max(int(size_mib / 4), 1)):
            row = run(Path(scratch), limit)
            print(
                f"{limit:>10}{size_mib / limit:>16.1f}x{row['peak_mib']:>10.0f}"
                f"{row['peak_mib'] - row['import_mib']:>14.0f}{row['images_per_second']:>10.0f}",
                flush=True,
            )


def make_folder(folder: Path, count: int) -> None:
    """Noise of 32 pixels a side in two classes."""
    generator = np.random.default_rng(0)
    for number in range(count):
        place = folder / ("even" if number % 2 == 0 else "odd")
        place.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((32, 32)).save(place / f"{number:06d}.png", compress_level=1)


def run(scratch: Path, limit: int) -> dict[str, float]:
    """One training in a process of its own."""
    source = str(Path(__file__).resolve().parent.parent / "src")
    environment = {**os.environ, "PYTHONPATH": source, "SIGHTLINE_CACHE": str(scratch / "cache")}
    command = [sys.executable, __file__, "--limit", str(limit), "--folder", str(scratch / "photos")]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd=scratch, timeout=1800
    )
    if done.returncode:
        sys.exit(done.stderr)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def train(folder: Path, limit: int) -> dict[str, float]:
    """Train, watched by a thread that reads how much memory is the process's own."""
    import sightline
    from sightline.system.backends import load_keras

    load_keras()
    peak, stop = [own_mib()], threading.Event()
    imported = peak[0]

    def watch() -> None:
        while not stop.is_set():
            peak[0] = max(peak[0], own_mib())
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    settings = {
        "model.name": "mlp",
        "data.image_size": SIDE,
        "data.memory_limit_mib": limit,
        "data.group_near_duplicates": False,
        "augmentation.policy": "none",
        "training.epochs": 2,
    }
    run = sightline.train(folder, recipe=sightline.recipe("photos", settings), mode="quiet")
    stop.set()
    watcher.join()
    return {"peak_mib": peak[0], "import_mib": imported, "images_per_second": run.images_per_second}


def own_mib() -> float:
    """Memory that is the process's own: pages of mapped files, which the system may drop, are not in it."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return float("nan")


if __name__ == "__main__":
    main()
