"""Time opening a folder of very many files, and the memory of its index.

Usage: python benchmarks/listing.py [--files 100000] [--rounds 3]

Prints the seconds of `sightline.load`, of listing the same files with `os.walk` and a `stat` each, and of
`pathlib.Path.rglob`, in turn, and the bytes a file that the opened Dataset holds. The first round is the coldest that a
program without rights can make: the files were just written, so the system may still know them.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import sightline


def main() -> None:
    """Make the folder, time all in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as scratch:
        make_folder(Path(scratch), arguments.files)
        methods: dict[str, Callable[[Path], int]] = {
            "sightline.load": lambda folder: len(sightline.load(folder)),
            "os.walk and stat": walk,
            "Path.rglob": lambda folder: sum(path.is_file() for path in folder.rglob("*")),
        }
        seconds: dict[str, list[float]] = {name: [] for name in methods}
        for _ in range(arguments.rounds):
            for name, method in methods.items():
                started = time.perf_counter()
                found = method(Path(scratch))
                seconds[name].append(time.perf_counter() - started)
                if found != arguments.files:
                    raise SystemExit(f"{name} found {found} of {arguments.files} files")
        tracemalloc.start()
        data = sightline.load(Path(scratch))
        held = tracemalloc.get_traced_memory()[0]
        print(f"\n{len(data):,} files in 100 folders, median of {arguments.rounds} rounds")
        for name, measured in seconds.items():
            spread = f"{min(measured):.2f} to {max(measured):.2f}"
            print(f"{name:<18}{statistics.median(measured):>8.2f} s  ({spread}; first {measured[0]:.2f})")
        print(f"the index holds {held / len(data):.0f} bytes a file")


def make_folder(folder: Path, count: int) -> None:
    """Empty files with the names of photographs in 100 class folders."""
    for number in range(100):
        (folder / f"class_{number:02d}").mkdir()
    for number in range(count):
        (folder / f"class_{number % 100:02d}" / f"IMG_{number:07d}.jpg").touch()


def walk(folder: Path) -> int:
    """The least that any program does."""
    found = 0
    for place, _, files in os.walk(folder):
        for file in files:
            os.stat(os.path.join(place, file))  # noqa: PTH116, PTH118  # the fastest way there is
            found += 1
    return found


if __name__ == "__main__":
    main()
