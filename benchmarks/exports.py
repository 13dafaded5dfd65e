"""Exports of finished runs, side by side: size, cold start, speed of one thread, difference, agreement, accuracy.

Usage: python benchmarks/exports.py RUN [RUN ...] [--rounds 5] [--formats onnx onnx-int8 ...]

Each run is exported to every format whose runtime is installed, past the gate, which looks at calibration images. Then
both networks answer the test images of the run, and a process of its own with one processor to use answers batches of
16, three seconds long in each of the rounds; the fastest of them counts, as what else the machine does slows most. Cold
start is the program of the README from the command line, from its start to its answer to one image file, beside a Keras
script that does the same with the `model.keras` of the bundle.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.bundles.sessions import session_of
from sightline.data.inputs.pixels import read_pixels
from sightline.deployment.conversion.formats import FORMATS
from sightline.deployment.conversion.gate import processor_flags
from sightline.deployment.export import Export, export
from sightline.errors import SightlineError
from sightline.evaluation.measuring.finished_runs import read_run
from sightline.evaluation.measuring.judging import choose_rows
from sightline.evaluation.measuring.kept_classes import learned_source
from sightline.metrics.intervals import wilson_interval
from sightline.records import Bundle
from sightline.system.progress import reporting

BATCH, SECONDS = 16, 3.0
KERAS = """\
import json, sys
import keras
import numpy as np
from PIL import Image
size = json.load(open("input.json"))
network = keras.saving.load_model("model.keras")
picture = Image.open(sys.argv[1]).convert("L" if size["color_mode"] == "grey" else "RGB")
picture = picture.resize((size["width"], size["height"]), Image.Resampling.BILINEAR)
images = np.asarray(picture).reshape(1, size["height"], size["width"], -1)
logits = network.predict(images, verbose=0)["logits"][0]
scores = np.exp(logits - logits.max())
print(scores.argmax(), scores.max() / scores.sum())
"""


def main() -> None:
    """Print a table a run; or, in a process of its own, how fast one file is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--formats", nargs="*", default=[name for name, row in FORMATS.items() if not row.decodes_files]
    )
    parser.add_argument("--speed-of", help="used by itself: a format, of the file and the images that stand for runs")
    arguments = parser.parse_args()
    if arguments.speed_of:
        print(json.dumps(speed(arguments.speed_of, *map(Path, arguments.runs))))
        return
    print(f"instructions of the processor: {', '.join(processor_flags())}")
    for name in arguments.runs:
        with reporting("quiet"), tempfile.TemporaryDirectory() as folder:
            one_run(Path(name), Path(folder), arguments.formats, arguments.rounds)


def one_run(run: Path, folder: Path, formats: list[str], rounds: int) -> None:
    """Print the rows of one run."""
    bundle = read_run(run).bundle
    dataset = learned_source(bundle)
    choice = choose_rows(bundle, dataset, "test")
    images = read_pixels(dataset.take(choice.rows), bundle.input)
    labels = np.asarray(dataset.labels)[choice.rows]
    expected = session_of(bundle).logits(images)
    np.save(folder / "images.npy", images[:64])
    Image.fromarray(np.squeeze(images[0])).save(folder / "one.png")
    print(f"\n{run.name}: {len(labels):,} test images of {dataset.name}")
    print("| format | bytes | cold start, s | images a second | difference | agreement | accuracy |")
    print("|---|---|---|---|---|---|---|")
    places: dict[str, Export] = {}
    for name in formats:
        try:
            places[name] = export(run, name, out=folder / name)
        except SightlineError as error:
            print(f"| {name} | {error} |")
    taken: dict[str, list[float]] = {name: [] for name in ["keras", *places]}
    rates: dict[str, list[float]] = {name: [] for name in places}
    for _ in range(rounds):  # all of them in each round, so that what else the machine does befalls all alike
        taken["keras"].append(seconds(KERAS, bundle.path, folder / "one.png"))
        for name, exported in places.items():
            taken[name].append(seconds(program_of(exported), exported.path.parent, folder / "one.png"))
            rates[name].append(alone("--speed-of", name, str(exported.path), str(folder / "images.npy")))
    for name, exported in places.items():
        told = figures(bundle, name, exported, images, labels, expected)
        size = exported.figures["bytes"]["export"]
        print(f"| {name} | {size:,} | {spread(taken[name])} | {spread(rates[name], 0)} | {told} |")
    print(f"| Keras script | | {spread(taken['keras'])} | | | | |")


def figures(
    bundle: Bundle, name: str, exported: Export, images: Any, labels: NDArray[np.int64], expected: NDArray[np.float32]
) -> str:
    """Difference, agreement and accuracy of one format as cells."""
    model = FORMATS[name].module().open_exported(exported.path)
    found = np.concatenate([model.logits(images[first : first + 64]) for first in range(0, len(labels), 64)])
    wanted = bundle.task.probabilities(expected, temperature=bundle.temperature)
    difference = np.abs(model.probabilities(found) - wanted).max()
    right = int(bundle.task.is_right(found, labels).sum())
    lower, upper = wilson_interval(right, len(labels))
    agreement = (found.argmax(axis=1) == expected.argmax(axis=1)).mean()
    return f"{difference:.2g} | {agreement:.4f} | {right / len(labels):.4f} [{lower:.4f}, {upper:.4f}]"


def spread(values: list[float], digits: int = 2) -> str:
    """Median, and from least to most."""
    return f"{np.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def program_of(exported: Export) -> str:
    """The program in the README."""
    (block,) = re.findall(r"^```python\n(.*?)^```$", exported.readme.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return str(block)


def seconds(code: str, folder: Path, image: Path) -> float:
    """How long a program takes for one image, from its start to its end."""
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code, str(image)], cwd=folder, env=environment, capture_output=True, check=True
    )
    return time.perf_counter() - started


def alone(*words: str) -> float:
    """What this script measures in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def speed(name: str, path: Path, images: Path) -> float:
    """Images a second on one processor."""
    if hasattr(os, "sched_setaffinity"):  # before any runtime counts what it may use
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    model, batch = FORMATS[name].module().open_exported(path), np.load(images)[:BATCH]
    model.logits(batch)
    fastest, ends = math.inf, time.perf_counter() + SECONDS
    while (started := time.perf_counter()) < ends:
        model.logits(batch)
        fastest = min(fastest, time.perf_counter() - started)
    return len(batch) / fastest


if __name__ == "__main__":
    main()
