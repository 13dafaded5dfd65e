"""Train each concept on and off, at small scale and with several seeds, and write the figures of docs/concepts.md.

Every network learns from rows of the official train split. Rates and strengths are chosen, and early stopping goes
by, 2,000 other rows of it; accuracies are counted on 5,000 more. The official test split is not touched.

Usage: python benchmarks/concepts.py [--only activations,losses] [--seeds 4] [--rows 3072] [--epochs 8]
       [--out runs/concepts] [--source mnist] [--publish] [--list]

A line of JSON a trained network lies in OUT/networks.jsonl: started again, the script goes on where it stopped.
Another version of Sightline needs another OUT.
OUT gets concepts.json and a picture an experiment; --publish also puts them into docs/ and rewrites the tables of
docs/concepts.md and docs/concepts.zh.md between their marks.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import platform
import re
import statistics
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from concepts_pages import ROOT, publish, write_results
from concepts_plots import draw
from concepts_table import BASE, EXPERIMENTS, Entry, Experiment
from concepts_training import Job, Sizes, Trainer

SMALL_ROWS = 1_024
SMALL_EPOCHS_FACTOR = 4  # fewer images, seen more often
CHOOSING_SEED = 100  # rates and strengths are not chosen on the seeds that are reported


def job_of(entry: Entry, experiment: Experiment, sizes: Sizes, seed: int) -> Job:
    """The entry at these sizes."""
    rows, epochs = sizes.rows, sizes.epochs
    if experiment.is_small:
        rows, epochs = min(SMALL_ROWS, rows), epochs * SMALL_EPOCHS_FACTOR
    return Job({**BASE, **entry.settings}, entry.dense, rows, round(epochs * entry.longer), seed, sizes.source)


def chosen(entry: Entry, experiment: Experiment, trainer: Trainer) -> Entry:
    """The entry with the value of its grid that did best on validation rows, with a seed of its own."""
    if entry.choose is None:
        return entry
    key, values = entry.choose
    tried = [dataclasses.replace(entry, settings={**entry.settings, key: value}, choose=None) for value in values]
    return max(
        tried,
        key=lambda one: trainer.result(job_of(one, experiment, trainer.sizes, CHOOSING_SEED)).get(
            "validation_accuracy", 0.0
        ),
    )


def measure(name: str, trainer: Trainer) -> tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]:
    """One experiment: a plain row an entry for the tables, and the trained networks for the picture."""
    experiment = EXPERIMENTS[name]
    rows, courses = [], []
    for entry in experiment.entries:
        if not entry.is_known():
            print(f"  {entry.label}: left out, this version has no key {', '.join(sorted(entry.settings))}")
            continue
        final = chosen(entry, experiment, trainer)
        results = [
            trainer.result(job_of(final, experiment, trainer.sizes, seed)) for seed in range(trainer.sizes.seeds)
        ]
        rows.append(row_of(entry, final, results, figures=experiment.figures))
        courses.append(results)
        mean = statistics.mean(rows[-1]["accuracy"])
        print(f"  {entry.label:<26} {mean:.4f}  {sum(row['seconds'] for row in results):6.1f} s", flush=True)
    return rows, courses


def row_of(
    entry: Entry, final: Entry, results: list[dict[str, Any]], *, figures: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What is kept of an entry in concepts.json: one value a seed."""
    row: dict[str, Any] = {"label": entry.label, "settings": dict(final.settings)}
    if entry.choose:
        row["chosen"] = {entry.choose[0]: final.settings[entry.choose[0]], "of": list(entry.choose[1])}
    for figure in ("accuracy", "cross_entropy", "calibration_error", "calibrated_error"):
        if all(figure in result for result in results):
            row[figure] = [round(result[figure], 5) for result in results]
    for figure in ("parameters", "steps", "failed", "epochs"):
        row[figure] = [result[figure] for result in results]
    for figure in ("seen", "passes"):
        if figure in figures:
            row[figure] = [result[figure] for result in results]
    return row


def machine() -> str:
    """Versions and hardware, so that a figure can be judged later."""
    names = ("keras", "tensorflow-cpu", "tensorflow", "numpy", "sightline")
    found = {name: version for name in names if (version := version_of(name))}
    return (
        f"{processor()} with {os.cpu_count()} processors, Python {platform.python_version()}, "
        f"{', '.join(f'{name} {version}' for name, version in found.items())}"
    )


def processor() -> str:
    """Its name where the system tells it, else its kind."""
    path = Path("/proc/cpuinfo")
    told = re.search(r"model name\s*: (.+)", path.read_text(encoding="utf-8")) if path.exists() else None
    return told[1] if told else platform.machine()


def version_of(name: str) -> str:
    """Of an installed package, or nothing."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def main() -> None:
    """Train what is missing, then write pictures and tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(EXPERIMENTS), help="experiments, with commas between them")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--rows", type=int, default=3072)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("runs/concepts"))
    parser.add_argument("--source", default="mnist", choices=("mnist", "fashion-mnist"))
    parser.add_argument("--publish", action="store_true", help="also write docs/")
    parser.add_argument("--list", action="store_true", help="print the experiments and stop")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := [name for name in names if name not in EXPERIMENTS]:
        parser.error(f"no experiment is called {', '.join(unknown)}. Known: {', '.join(EXPERIMENTS)}.")
    if arguments.publish and arguments.source != "mnist":
        parser.error(f"the pages are about mnist, so --publish is for it alone; got --source {arguments.source}.")
    if arguments.list:
        for name in names:
            print(f"{name:<16} {'; '.join(entry.label for entry in EXPERIMENTS[name].entries)}")
        return
    sizes = Sizes(arguments.source, arguments.rows, arguments.epochs, arguments.seeds)
    measure_all(names, sizes, arguments.out)
    if arguments.publish:
        publish(arguments.out, ROOT / "docs")


def measure_all(names: list[str], sizes: Sizes, out: Path) -> None:
    """Each experiment in turn; results are written after each."""
    from sightline.system.backends import load_keras
    from sightline.system.progress import reporting

    load_keras("tensorflow")
    # Each network is compiled anew, which TensorFlow warns of.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    print(machine(), flush=True)
    trainer = Trainer(sizes, out)
    for name in names:
        started = time.perf_counter()
        print(name, flush=True)
        with reporting("quiet"):
            rows, courses = measure(name, trainer)
        write_results(out, name, rows, sizes=dataclasses.asdict(sizes), machine=machine())
        (out / f"concepts-{name}.png").write_bytes(draw(EXPERIMENTS[name], rows, courses))
        print(f"  {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
