"""Time the opening of a large folder of images, and what an index of it on disk would save.

  open           `sightline.load` of the folder: listing, one look at each file's size and time, classes, fingerprint
  os.walk, stat  the least that any program does that wants names, sizes and times
  index, sound   a saved list of names, each file's size and time looked at again: an edited photograph is noticed
  index, blind   a saved list of names, sizes and times, where only the folders' times are looked at: a
                 photograph edited in place goes unnoticed, and its old pixels would be trained on

Each is timed with the file system's caches emptied (where this process may do that; else it says so) and
again at once. Bytes a file are what the opened Dataset keeps in memory, measured by tracemalloc.

Usage: python benchmarks/listing.py [--files 100000] [--folders 100] [--repeats 3]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import numpy as np

import sightline
from sightline.data.sources.local.folders import list_folder

THREADS = 8


def main() -> int:
    """Make the folder, time all four, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--folders", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sightline-listing-") as temporary:
        place = Path(temporary)
        photos = make_files(place / "photos", options.files, options.folders)
        report(photos, save_index(photos, place / "index.npz"), options.repeats)
    return 0


def make_files(photos: Path, num_files: int, num_folders: int) -> Path:
    """Small files named as photographs are; their content is never looked at."""
    for number in range(num_folders):
        (photos / f"class-{number:03d}").mkdir(parents=True)
    for number in range(num_files):
        (photos / f"class-{number % num_folders:03d}" / f"IMG_{number:08d}.jpg").write_bytes(b"not decoded here")
    return photos


def walk(photos: Path) -> int:
    """Every file found and looked at, without links, circles or closed folders being thought of."""
    found = 0
    for place, _, names in os.walk(photos):
        for name in names:
            os.stat(f"{place}/{name}")  # noqa: PTH116  # a Path for each would be most of the time
            found += 1
    return found


def save_index(photos: Path, index: Path) -> Path:
    """What an index would hold."""
    listing, _ = list_folder(photos)
    folders = sorted({name.rpartition("/")[0] for name in listing.names})
    np.savez(
        index,
        names=np.frombuffer("\0".join(listing.names).encode(), dtype=np.uint8),
        num_bytes=np.array(listing.num_bytes),
        stamps=np.array(listing.stamps),
        folders=np.array(folders),
        times=np.array([(photos / folder).stat().st_mtime_ns for folder in folders]),
    )
    return index


def from_index(photos: Path, index: Path, *, sound: bool) -> int:
    """Names, sizes and times from an index, checked; how many there are."""
    with np.load(index, allow_pickle=False) as saved:
        names = saved["names"].tobytes().decode().split("\0")
        num_bytes, stamps = saved["num_bytes"], saved["stamps"]
        folders, times = saved["folders"].tolist(), saved["times"].tolist()
    if [(photos / folder).stat().st_mtime_ns for folder in folders] != times:
        raise RuntimeError("the folder changed while it was measured")
    if sound:
        parts = [names[first : first + 1000] for first in range(0, len(names), 1000)]
        with ThreadPoolExecutor(THREADS) as threads:
            looked = threads.map(lambda part: list(looks(photos, part)), parts)
            found = np.array([pair for part in looked for pair in part])
        if not (np.array_equal(found[:, 0], num_bytes) and np.array_equal(found[:, 1], stamps)):
            raise RuntimeError("a file changed while it was measured")
    return len(names)


def looks(photos: Path, names: list[str]) -> Iterator[tuple[int, int]]:
    """Size and time of each file."""
    top = f"{photos}/"
    for name in names:
        status = os.stat(top + name)  # noqa: PTH116  # a Path for each would be most of the time
        yield status.st_size, status.st_mtime_ns


def empty_caches() -> bool:
    """Have the system forget what it knows of files; needs to be root on Linux."""
    try:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
    except OSError:
        return False
    return True


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def bytes_a_file(photos: Path) -> float:
    """What an opened Dataset keeps in memory, a file."""
    tracemalloc.start()
    dataset = sightline.load(photos)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return kept / len(dataset)


def report(photos: Path, index: Path, repeats: int) -> None:
    """Time everything and print it."""
    jobs: dict[str, Callable[[], object]] = {
        "open": lambda: sightline.load(photos),
        "os.walk, stat": lambda: walk(photos),
        "index, sound": lambda: from_index(photos, index, sound=True),
        "index, blind": lambda: from_index(photos, index, sound=False),
    }
    can_empty = empty_caches()
    print(f"{len(list_folder(photos)[0].names):,} files in {len(list(photos.iterdir())):,} folders; {machine()}")
    print(f"median and range of {repeats}, seconds; first: {'caches emptied' if can_empty else 'caches NOT emptied'}")
    for name, work in jobs.items():
        first, again = [], []
        for _ in range(repeats):
            empty_caches()
            first.append(seconds(work))
            again.append(seconds(work))
        print(f"{name:14} first {spread(first)}   again {spread(again)}")
    print(f"memory {bytes_a_file(photos):,.0f} bytes a file; index on disk {index.stat().st_size / 1e6:.1f} MB")


def spread(times: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(times):5.2f} [{min(times):.2f}, {max(times):.2f}]"


def machine() -> str:
    """Versions and hardware, for whoever reads the figures later."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    versions = f"Python {platform.python_version()}, NumPy {metadata.version('numpy')}"
    return f"{versions}, {platform.system()} {platform.release()}, {os.cpu_count()} cores{load}"


if __name__ == "__main__":
    sys.exit(main())
