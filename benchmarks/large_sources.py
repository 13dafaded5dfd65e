"""Time and memory of a million images in tar shards, and the memory of training on ten times what it may hold.

index     Makes shards of tiny samples (key.jpg of 20 bytes, which is not decoded, and key.cls), and opens them, each
          time in a process of its own: first without an index, then from it, as `predict` plans its work and as
          `train` loads its rows. Told are seconds, the peak of the process' memory above what importing takes
          (ru_maxrss), and what the opened object keeps a file (tracemalloc).
training  Makes shards of noise of 32 pixels and trains one epoch of an MLP on them at 64x64 with
          data.memory_limit_mib = 64: on as many images as that holds twice and a half, and on ten times that many
          pixels. Told is the peak of the memory that belongs to the process itself (RssAnon, Linux).

Usage: python benchmarks/large_sources.py index [--images 1000000] [--shards 100] [--repeats 3]
       python benchmarks/large_sources.py training [--limit 64]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import resource
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64
CLASSES = 10


def main() -> int:
    """Do what was asked for, or one measurement of it where a parent asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("index", "training", "plan", "load", "kept", "train"))
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=int, default=64)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    inner: dict[str, Callable[[], dict[str, float]]] = {
        "plan": lambda: opened(options.folder, as_dataset=False),
        "load": lambda: opened(options.folder, as_dataset=True),
        "kept": lambda: kept(options.folder),
        "train": lambda: train(options.folder, options.limit),
    }
    if options.what in inner:
        print(json.dumps(inner[options.what]()))
        return 0
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(prefix="sightline-large-") as scratch:
        place = Path(scratch)
        if options.what == "index":
            measure_index(place, options.images, options.shards, options.repeats)
        else:
            measure_training(place, options.limit)
    return 0


def write_shards(folder: Path, samples: Iterator[tuple[bytes, int]], *, num_shards: int, in_shard: int) -> None:
    """Plain tars, `in_shard` samples each."""
    folder.mkdir(parents=True)
    number = 0
    for shard in range(num_shards):
        with (folder / f"shard-{shard:04d}.tar").open("wb") as out:
            for _ in range(in_shard):
                content, label = next(samples)
                for ending, data in (("jpg", content), ("cls", str(label).encode())):
                    member = tarfile.TarInfo(f"{number:08d}.{ending}")
                    member.size = len(data)
                    out.write(member.tobuf(tarfile.USTAR_FORMAT))
                    out.write(data + bytes(-len(data) % tarfile.BLOCKSIZE))
                number += 1
            out.write(bytes(2 * tarfile.BLOCKSIZE))


def measure_index(place: Path, num_images: int, num_shards: int, repeats: int) -> None:
    """Print a line for each way of opening."""
    samples = ((b"not decoded here, ok", number % CLASSES) for number in range(num_images))
    write_shards(place / "shards", samples, num_shards=num_shards, in_shard=num_images // num_shards)
    size = sum(path.stat().st_size for path in (place / "shards").iterdir())
    print(f"{num_images:,} images in {num_shards} shards of {size / 1e9:.2f} GB together")
    print(f"{'':22}{'seconds':>18}{'CPU s':>8}{'peak MB':>9}")
    for name, what, times in (("plan, no index", "plan", 1), ("plan", "plan", repeats), ("load", "load", repeats)):
        rows = [run(place, what) for _ in range(times)]
        seconds = sorted(row["seconds"] for row in rows)
        spread = f"{seconds[len(seconds) // 2]:.1f} [{seconds[0]:.1f}, {seconds[-1]:.1f}]"
        cpu = min(row["cpu"] for row in rows)
        print(f"{name:22}{spread:>18}{cpu:>8.1f}{max(row['peak_mb'] for row in rows):>9.0f}", flush=True)
    told = run(place, "kept")
    index = sum(path.stat().st_size for path in (place / "cache").rglob("*") if path.is_file())
    print(
        f"kept in memory, bytes a file: {told['plan']:.0f} planned, {told['load']:.0f} loaded; index on disk {index:,}"
    )


def measure_training(place: Path, limit: int) -> None:
    """Print a line for a quarter of the data and one for all of it."""
    whole = 10 * limit * 2**20 // (SIDE * SIDE * 3)
    print(f"limit {limit} MiB\n{'images':>10}{'pixels to limit':>17}{'above import, MiB':>19}{'images/s':>10}")
    for number in (whole // 4, whole):
        folder = place / f"of-{number}"
        write_shards(folder / "shards", noise(number), num_shards=10, in_shard=number // 10)
        row = run(folder, "train", limit=limit)
        pixels = number * SIDE * SIDE * 3 / 2**20
        above = row["peak_mib"] - row["import_mib"]
        print(f"{number:>10,}{pixels / limit:>16.1f}x{above:>19.0f}{row['images_per_second']:>10.0f}", flush=True)


def noise(number: int) -> Iterator[tuple[bytes, int]]:
    """Noise of 32 pixels a side; one of two classes is brighter."""
    generator = np.random.default_rng(0)
    for at in range(number):
        pixels = generator.integers(0, 200, (32, 32, 3), np.uint8) + np.uint8(50 * (at % 2))
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
        yield stream.getvalue(), at % 2


def run(place: Path, what: str, *, limit: int = 0) -> dict[str, float]:
    """One measurement, in a process of its own."""
    words = [sys.executable, __file__, what, "--folder", str(place / "shards"), "--limit", str(limit)]
    environment = {**os.environ, "SIGHTLINE_CACHE": str(place / "cache")}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def opened(folder: Path, *, as_dataset: bool) -> dict[str, float]:
    """Seconds and peak memory above importing of one opening."""
    import sightline
    from sightline.deployment.bulk.images import bulk_images

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, cpu = time.perf_counter(), time.process_time()
    found = sightline.load(folder) if as_dataset else bulk_images([folder])
    seconds, used = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"images": len(found), "seconds": seconds, "cpu": used, "peak_mb": peak * 1024 / 1e6}


def kept(folder: Path) -> dict[str, float]:
    """Bytes a file that are kept while a source is open."""
    import sightline
    from sightline.deployment.bulk.images import bulk_images

    told = {}
    ways: dict[str, Callable[[], object]] = {
        "plan": lambda: bulk_images([folder]),
        "load": lambda: sightline.load(folder),
    }
    for name, way in ways.items():
        tracemalloc.start()
        found: object = way()
        told[name] = tracemalloc.get_traced_memory()[0] / len(found)  # type: ignore[arg-type]  # both have a length
        tracemalloc.stop()
    return told


def train(folder: Path, limit: int) -> dict[str, float]:
    """Train one epoch; peak of RssAnon, looked at every 20 ms, and what importing alone took."""
    import sightline
    from sightline.system.backends import load_keras

    load_keras()
    settings = {
        "model.name": "mlp",
        "data.image_size": SIDE,
        "data.memory_limit_mib": limit,
        "data.group_near_duplicates": False,
        "augmentation.policy": "none",
        "training.epochs": 1,
    }
    before, peak, stop = anonymous_mib(), [0.0], threading.Event()

    def look() -> None:
        while not stop.wait(0.02):
            peak[0] = max(peak[0], anonymous_mib())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    run = sightline.train(folder, recipe=sightline.recipe("photos", settings), out=folder.parent / "run", mode="quiet")
    stop.set()
    watcher.join()
    return {"peak_mib": peak[0], "import_mib": before, "images_per_second": run.images_per_second}


def anonymous_mib() -> float:
    """Memory that belongs to this process itself."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024


if __name__ == "__main__":
    sys.exit(main())
