"""How long the file work of sorting takes, beside `cp -r` of the same folder: planning, steps and the way back.

Usage: python benchmarks/sorting.py [--files 100000] [--rounds 3]

Made files of 12 kB in 100 folders, half of them with settings beside them (.xmp); answers are made up, so that no
network counts. Each way is tried in turn with `cp -r`, in fresh folders on one disk, after `sync`; medians.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sightline.deployment.sort import carry_out, undo_sort
from sightline.deployment.sorting.journal import Journal, write_journal
from sightline.deployment.sorting.places import Rules
from sightline.deployment.sorting.planning import make_plan
from sightline.system.progress import reporting

CLASSES = tuple(f"class {number}" for number in range(10))


def make_files(folder: Path, count: int) -> None:
    """Pictures by name alone: nobody decodes them here."""
    content = os.urandom(12_000)
    for number in range(count):
        place = folder / f"{number % 100:02d}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"IMG_{number:06d}.jpg").write_bytes(content)
        if number % 2:
            (place / f"IMG_{number:06d}.xmp").write_bytes(content[:300])


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def sorted_by(by: str, source: Path, into: Path) -> tuple[float, float, float]:
    """Seconds of planning, of the steps, and of taking them back."""
    names = sorted(source.rglob("*.jpg"))
    rows = [
        {"path": str(path), "label": CLASSES[row % 10], "confidence": 0.9, "error": None}
        for row, path in enumerate(names)
    ]
    journal = Journal(into / ".sightline-sort-001.jsonl", source, into, by, {}, (), (), is_new=True)
    planned = journal

    def plan() -> None:
        nonlocal planned
        planned = make_plan(journal, rows, CLASSES, Rules()).journal
        write_journal(planned)

    def steps() -> None:
        if left := carry_out(planned, None).left:
            raise SystemExit(f"some files stayed: {left[:3]}")

    return timed(plan), timed(steps), timed(lambda: undo_sort(into))


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    python = f"CPython {platform.python_version()}"
    print(f"{asked.files:,} images and {asked.files // 2:,} settings, {platform.platform()}, {python}")
    with tempfile.TemporaryDirectory() as folder, reporting("quiet"):
        root = Path(folder).resolve()
        source = root / "photos"
        make_files(source, asked.files)
        found: dict[str, list[tuple[float, float, float, float]]] = {
            by: [] for by in ("copy", "hardlink", "link", "move")
        }
        for _ in range(asked.rounds):
            for by, rounds in found.items():
                os.sync()
                copying = ["/bin/cp", "-r", str(source), str(root / "copied")]  # what it is timed beside
                copied = timed(functools.partial(subprocess.run, copying, check=True))
                shutil.rmtree(root / "copied")
                os.sync()
                rounds.append((copied, *sorted_by(by, source, root / "sorted")))
    print("| by | cp -r, s | planning, s | steps, s | taking back, s | planning and steps over cp -r |")
    print("|---|---|---|---|---|---|")
    for by, rounds in found.items():
        medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
        ratios = sorted((plan + steps) / copied for copied, plan, steps, _ in rounds)
        told = " | ".join(f"{value:.1f}" for value in medians)
        print(f"| {by} | {told} | {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |", flush=True)


if __name__ == "__main__":
    main()
