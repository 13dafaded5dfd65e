"""One network that learns on several processes of this machine beside one: seconds an epoch, and those of processors.

    python benchmarks/on_processes.py --processes 1 2 4 --rounds 3

What it takes to begin is told by itself: from the command to the end of the first epoch, in which the network is
compiled. Processor time is that of whoever learns, read at the end of each epoch. Linux alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def learners(command: int) -> list[int]:
    """The processes of Ray that learn for a command, or the command itself."""
    parents, members = {}, []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if (place / "cmdline").read_bytes().startswith(b"ray::Member"):
                members.append(int(place.name))
        except OSError:
            continue

    def is_below(process: int) -> bool:
        while process > 1 and process != command:
            process = parents.get(process, 0)
        return process == command

    return list(filter(is_below, members)) or [command]


def spent(processes: list[int]) -> float:
    """Seconds of processors that they took so far."""
    fields = [(Path("/proc") / str(one) / "stat").read_text().rpartition(")")[2].split() for one in processes]
    return sum(int(each[11]) + int(each[12]) for each in fields) / TICKS


def measured(options: argparse.Namespace, processes: int, out: Path) -> tuple[float, float, float]:
    """Seconds until the end of the first epoch, then the median of an epoch on the clock, and that of processors."""
    keys = {"training.epochs": options.epochs, "training.batch_size": 128, "model.name": options.model}
    words = [f"--set={key}={value}" for key, value in keys.items()]
    words += ["--fraction", str(options.fraction), "--backend", "jax", "--out", str(out)]
    words += ["--on", "ray", "--processes", str(processes)] if processes > 1 else []
    began, found = time.perf_counter(), list[float]()
    command = [sys.executable, "-m", "sightline", "train", "mnist", "--recipe", "fast", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    start = 0.0
    while process.poll() is None and len(found) < options.epochs:
        lines = (out / "history.jsonl").read_text().count("\n") if (out / "history.jsonl").exists() else 0
        if lines > len(found):
            start = start or time.perf_counter() - began
            found += [spent(learners(process.pid))] * (lines - len(found))
        time.sleep(0.02)
    if process.wait():
        raise SystemExit("the training failed")
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    of_processors = [after - before for before, after in itertools.pairwise(found) if after > before]
    return start, statistics.median(row["seconds"] for row in rows[1:]), statistics.median(of_processors or [0.0])


def main() -> None:
    """Train in turn, and print what each takes."""
    parser = argparse.ArgumentParser(description="One network on several processes beside one.")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--model", default="convnet")
    parser.add_argument("--fraction", type=float, default=0.1, help="of MNIST")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    taken: dict[int, list[tuple[float, float, float]]] = {number: [] for number in options.processes}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            for processes in options.processes:
                found = measured(options, processes, Path(folder) / f"{processes}-{number}")
                taken[processes].append(found)
                print(f"{processes} processes: begin {found[0]:.1f} s, an epoch {found[1]:.2f} s", flush=True)
    for processes, rounds in taken.items():
        columns = [[each[column] for each in rounds] for column in range(3)]
        spreads = [f"{statistics.median(each):.2f} s ({min(each):.2f} to {max(each):.2f})" for each in columns]
        print(f"{processes} processes: first epoch done after {spreads[0]}, then an epoch {spreads[1]}", end="")
        print(f", of processors {spreads[2]}")


if __name__ == "__main__":
    main()
