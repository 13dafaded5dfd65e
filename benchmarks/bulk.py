"""Answers to many photographs: `predict --out`, a Keras script, a plain loop of Pillow and ONNX Runtime.

Usage: python benchmarks/bulk.py RUN [--count 2000] [--rounds 3]     # a run of EfficientNet-Lite0
       python benchmarks/bulk.py memory RUN [--counts 1000,10000,100000]

Photographs are made: JPEGs of 500x375 with noise, quality 90. Each way runs in a process of its own, in turn, and is
timed from its start to its end; the Keras script uses `image_dataset_from_directory` and `predict` with the Keras
network of the same bundle, the plain loop one image at a time with Pillow's resize. Memory is the most that a
process held, over small files of one content.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

KERAS = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
import keras, numpy, csv, tensorflow
network, folder, out, side = sys.argv[1:]
side = int(side)
model = keras.saving.load_model(network, compile=False)
files = keras.utils.image_dataset_from_directory(
    folder, labels=None, image_size=(side, side), batch_size=32, shuffle=False, verbose=False, pad_to_aspect_ratio=True
)
answers = model.predict(files.map(lambda images: tensorflow.cast(images, "uint8")), verbose=0)
logits = answers["logits"] if isinstance(answers, dict) else answers
with open(out, "w", newline="") as stream:
    csv.writer(stream).writerows(zip(files.file_paths, numpy.argmax(logits, axis=1)))
"""
PLAIN = """
import os, sys, csv
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy, onnxruntime
from PIL import Image, ImageOps
network, folder, out, side = sys.argv[1:]
side = int(side)
session = onnxruntime.InferenceSession(network)
rows = []
for name in sorted(os.listdir(folder)):
    picture = Image.open(os.path.join(folder, name)).convert("RGB")
    picture = ImageOps.pad(picture, (side, side), Image.Resampling.BILINEAR)
    logits = session.run(["logits"], {"images": numpy.asarray(picture)[None]})[0][0]
    rows.append((name, int(logits.argmax())))
with open(out, "w", newline="") as stream:
    csv.writer(stream).writerows(rows)
"""


def make_photographs(folder: Path, count: int) -> None:
    """Blurred noise with fine noise over it, about as large in bytes as photographs of that size are."""
    draw = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(draw.integers(0, 256, (15, 20, 3), dtype=np.uint8)).resize((500, 375))
        pixels = np.asarray(coarse).astype(np.int16) + draw.integers(-12, 13, (375, 500, 3))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number:05d}.jpg", quality=90)


def timed(words: list[str]) -> float:
    """Seconds of a process from its start to its end."""
    begun = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return time.perf_counter() - begun


def speed(run: Path, count: int, rounds: int) -> None:
    """Print a row for each way."""
    bundle = run / "bundle"
    side = str(json.loads((bundle / "input.json").read_text())["height"])
    with tempfile.TemporaryDirectory() as place:
        folder, out = Path(place) / "photos", Path(place) / "out.csv"
        folder.mkdir()
        make_photographs(folder, count)
        ways = {
            "predict --out": [sys.executable, "-m", "sightline", "predict", str(run), str(folder), "--out", str(out)],
            "plain loop": [sys.executable, "-c", PLAIN, str(bundle / "model.onnx"), str(folder), str(out), side],
            "Keras": [sys.executable, "-c", KERAS, str(bundle / "model.keras"), str(folder), str(out), side],
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, words in ways.items():
                out.unlink(missing_ok=True)
                taken[name].append(timed(words))
    print("| files to table | seconds | images a second | times as long as predict |")
    print("|---|---|---|---|")
    for name, seconds in taken.items():
        ratios = sorted(one / ours for one, ours in zip(seconds, taken["predict --out"], strict=True))
        median = statistics.median(seconds)
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"| {name} | {median:.1f} | {count / median:.0f} | {spread} |", flush=True)


def memory(run: Path, counts: list[int]) -> None:
    """Print the most memory that `predict --out` held, for each number of files."""
    print("| files | most memory, MiB | seconds |")
    print("|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        folder, first = Path(place) / "files", io.BytesIO()
        folder.mkdir()
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)).save(first, "PNG")
        content = first.getvalue()
        there = 0
        for count in counts:
            for number in range(there, count):
                (folder / f"{number:06d}.png").write_bytes(content)
            there = count
            out = Path(place) / f"{count}.csv"
            begun = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, "-m", "sightline", "predict", str(run), str(folder), "--out", str(out), "--quiet"],
                stdout=subprocess.DEVNULL,
            )
            _, status, used = os.wait4(process.pid, 0)
            if status:
                raise SystemExit("predict failed")
            print(f"| {count:,} | {used.ru_maxrss / 1024:.0f} | {time.perf_counter() - begun:.0f} |", flush=True)


def main() -> None:
    """Measure what was named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", help="RUN, or memory RUN")
    parser.add_argument("--count", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--counts", default="1000,10000,100000")
    asked = parser.parse_args()
    machine = f"{os.cpu_count()} processors, {platform.machine()}, CPython {platform.python_version()}"
    print(f"ONNX Runtime {onnxruntime.__version__}, {machine}")
    if asked.what[0] == "memory":
        memory(Path(asked.what[1]), [int(one) for one in asked.counts.split(",")])
    else:
        speed(Path(asked.what[0]), asked.count, asked.rounds)


if __name__ == "__main__":
    main()
