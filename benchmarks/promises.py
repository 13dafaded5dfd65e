"""Promised and kept, end to end: bundles in an environment without Keras, on the test images of their runs.

Usage: python benchmarks/promises.py RUN [RUN ...] [--python PYTHON] [--repeats 3]

For each run, `sightline predict BUNDLE FOLDER --coverage 0.95 --max-error 0.01 --novelty 0.05 --json` is typed in an
environment that has the base install alone (made anew where --python names none), on the test images as files. From
what it prints comes what was kept: how many sets hold the right class, how many of the answers that are not unsure are
wrong, how many of these images, of classes that the network knows, are called novel; each with its 95 % interval
(Wilson, groups counted). A promise that a bundle refuses is told with its reason. Beside it the time of the whole
command with all three, over that of the plain one, one after the other, so that other work on the machine meets both.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import sightline
from sightline.metrics.grouped import accuracy_interval

ROOT = Path(__file__).resolve().parents[1]
PROMISES = {
    "--coverage": ("0.95", "sets hold the right class", 0.95),
    "--max-error": ("0.01", "answered ones are wrong", 0.01),
    "--novelty": ("0.05", "known ones are called novel", 0.05),
}


def main() -> None:
    """Measure each run, print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--python", type=Path, help="an interpreter with the base install and no Keras")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of timings; 0 for none")
    arguments = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(", ".join(f"{name} {metadata.version(name)}" for name in ("sightline", "onnxruntime", "numpy")))
    with tempfile.TemporaryDirectory() as made:
        python = arguments.python or base_install(Path(made) / "venv")
        has_keras = subprocess.run([python, "-c", "import keras"], capture_output=True, check=False).returncode == 0
        if has_keras:
            raise SystemExit(f"{python} has Keras; name an interpreter that has the base install alone")
        for path in arguments.runs:
            measure(path, python, Path(made) / f"images-{path.name}", repeats=arguments.repeats)


def base_install(folder: Path) -> Path:
    """A new environment with what `pip install sightline` brings, and its interpreter."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", ROOT], check=True)
    return python


def measure(path: Path, python: Path, folder: Path, *, repeats: int) -> None:
    """The table of one run."""
    run = sightline.reopen(path)
    if not isinstance(run, sightline.Run):
        raise SystemExit(f"{path} is a bundle; name its run, whose test rows are asked")
    labels, groups = write_test_images(run, folder)
    asked, refused = kept_options(python, run.bundle.path, folder)
    print(f"\n{path}: test {run.evaluation}, {run.bundle.num_calibration_images:,} calibration images\n")
    print("| promised | on the test images | kept |")
    print("|---|---|---|")
    rows = [json.loads(line) for line in typed(python, run.bundle.path, folder, asked).splitlines()]
    for option, (value, words, share) in PROMISES.items():
        if option in refused:
            print(f"| `{option} {value}` | refused: {refused[option]} | |")
            continue
        counted, chosen = found(option, rows, labels)
        lower, upper = accuracy_interval(counted, None if groups is None else groups[chosen])
        told = f"{counted.mean():.4f} [{lower:.4f}, {upper:.4f}] of {len(counted):,}"
        print(f"| `{option} {value}` | {told} {words} | {judged(run, option, share, lower)} |")
    if repeats:
        print(f"\n{ratio(python, run.bundle.path, folder, asked, repeats=repeats)}")


def judged(run: sightline.Run, option: str, share: float, lower: float) -> str:
    """Whether what was seen speaks against the promise.

    A coverage is promised over all draws of the calibration images, too, so that of one bundle a little less is no
    breach: the run tells what 95 of 100 of them reach. The others are promised with certainty of the bundle at hand.
    """
    if option != "--coverage":
        return "yes" if lower <= share else "no"
    draw = run.evaluation.promises["sets"]["draw"] if run.evaluation is not None else {}
    return f"{'no' if draw['p_value'] < 0.025 else 'yes'}: {draw['in_words']}"


def write_test_images(run: sightline.Run, folder: Path) -> tuple[list[str], Any]:
    """The test images as files in the order of their names, with their classes and their groups."""
    from sightline.bundles.bundle import load_bundle
    from sightline.data.sources.loading import open_again

    source = load_bundle(run.bundle.path).metrics["source"]
    dataset = open_again(source["typed"] or source["name"], source)
    # Rows of a finished run are lines of its splits.csv, which need not be all of its source.
    with (run.path / "splits.csv").open(encoding="utf-8", newline="") as table:
        row_ids = [line["row_id"] for line in csv.DictReader(table)]
    row_of = {row_id: row for row, row_id in enumerate(dataset.row_ids.tolist())}
    rows = [row_of[row_ids[position]] for position in run.splits.test.tolist()]
    folder.mkdir()
    for number, row in enumerate(rows):
        if isinstance(dataset.images, np.ndarray):
            image = dataset.images[row]
            Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(folder / f"{number:06d}.png")
        else:
            (folder / f"{number:06d}{Path(row_ids[0]).suffix}").write_bytes(dataset.images.read(row))
    labels = [dataset.class_names[label] for label in dataset.labels[rows].tolist()]
    return labels, None if run.splits.groups is None else run.splits.groups[run.splits.test]


def kept_options(python: Path, bundle: Path, folder: Path) -> tuple[list[str], dict[str, str]]:
    """The options that the bundle takes, and why it refuses the others."""
    one = folder / min(path.name for path in folder.iterdir())
    asked: list[str] = []
    refused: dict[str, str] = {}
    for option, (value, *_) in PROMISES.items():
        done = run_command(python, bundle, one, [option, value])
        if done.returncode:
            refused[option] = done.stderr.strip().splitlines()[-1].removeprefix("sightline predict: ")
        else:
            asked += [option, value]
    return asked, refused


def run_command(python: Path, bundle: Path, images: Path, options: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """`sightline predict` in the other environment."""
    command = [str(python), "-m", "sightline", "predict", str(bundle), str(images), *options, "--json", "--quiet"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def typed(python: Path, bundle: Path, images: Path, options: Sequence[str]) -> str:
    """What it prints, or the end of the benchmark."""
    done = run_command(python, bundle, images, options)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def found(option: str, rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> tuple[Any, Any]:
    """Of which rows a promise speaks, and in which of them happened what it counts."""
    if option == "--coverage":
        happened = [label in row["set"] for row, label in zip(rows, labels, strict=True)]
        return np.array(happened), np.arange(len(rows))
    if option == "--novelty":
        return np.array([row["novel"] for row in rows]), np.arange(len(rows))
    answered = np.flatnonzero([not row["unsure"] for row in rows])
    return np.array([rows[row]["label"] != labels[row] for row in answered.tolist()]), answered


def ratio(python: Path, bundle: Path, folder: Path, asked: Sequence[str], *, repeats: int) -> str:
    """The time of the command with all that was asked, over that of the plain one; pairs, one after the other."""
    pairs = []
    for _ in range(repeats):
        seconds = []
        for options in ((), asked):
            begin = time.perf_counter()
            typed(python, bundle, folder, options)
            seconds.append(time.perf_counter() - begin)
        pairs.append(seconds)
    ratios = sorted(with_all / plain for plain, with_all in pairs)
    plain = statistics.median(pair[0] for pair in pairs)
    return (
        f"time with all of them over that without: median {statistics.median(ratios):.3f}, from {ratios[0]:.3f} to "
        f"{ratios[-1]:.3f} in {repeats} pairs; without, {plain:.1f} s"
    )


if __name__ == "__main__":
    main()
