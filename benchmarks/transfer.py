"""Time the recipe transfer against a plain Keras script on the same photographs, and features against Keras' predict.

Whole processes, each started fresh and timed from outside, on the same train and test files:

  keras      image_dataset_from_directory, MobileNetV2 frozen, a new head, then its upper third fine-tuned at a
             hundredth of the rate; what the guides print. After every epoch it says how long it has learned and how
             good it is on the test files; the time of that look is not counted.
  head       `sightline train`, recipe transfer without fine-tuning
  transfer   `sightline train`, recipe transfer as it is

and with --features, images a second from files to a table of features, both with empty caches:

  predict    image_dataset_from_directory and `predict` of EfficientNet-Lite0 in Keras
  table      Sightline's pixels and features through ONNX Runtime: the same network

Usage: python benchmarks/transfer.py FOLDER [--seeds 3] [--frozen-epochs 10] [--tuned-epochs 20] [--features]
       [--only keras,head,transfer]

KERAS_HOME must hold the weights of MobileNetV2, or the network be reached.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import sightline

PLAIN = """
import sys, time, json, os
started = time.perf_counter()
import numpy as np, keras
from keras import layers
folder, seed, frozen, tuned = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
keras.utils.set_random_seed(seed)
def read(name, **options):
    return keras.utils.image_dataset_from_directory(
        os.path.join(folder, name), image_size=(224, 224), batch_size=32, seed=seed, verbose=False, **options)
train, test = read("train").prefetch(2), read("test", shuffle=False).prefetch(2)
classes = len(os.listdir(os.path.join(folder, "train")))
backbone = keras.applications.MobileNetV2(weights="imagenet", include_top=False, input_shape=(224, 224, 3))
backbone.trainable = False
inputs = keras.Input((224, 224, 3))
tensor = layers.RandomFlip("horizontal")(inputs)
tensor = layers.RandomRotation(0.03)(tensor)
tensor = layers.Rescaling(1 / 127.5, -1)(tensor)
tensor = backbone(tensor, training=False)
tensor = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(tensor))
model = keras.Model(inputs, layers.Dense(classes)(tensor))
looked = 0.0
class Look(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        global looked
        now = time.perf_counter()
        truth = np.concatenate([label for _, label in test])
        right = model.predict(test, verbose=0).argmax(1) == truth
        print(json.dumps({"seconds": now - started - looked, "accuracy": float(right.mean())}), flush=True)
        looked += time.perf_counter() - now
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss, metrics=["accuracy"])
model.fit(train, epochs=frozen, verbose=0, callbacks=[Look()])
if tuned:
    backbone.trainable = True
    for layer in backbone.layers[:100]:
        layer.trainable = False
    model.compile(optimizer=keras.optimizers.Adam(1e-5), loss=loss, metrics=["accuracy"])
    model.fit(train, epochs=tuned, verbose=0, callbacks=[Look()])
"""

PREDICT = """
import sys, time, os
folder = sys.argv[1]
from sightline.system.backends import load_keras
keras = load_keras()
from sightline.networks.building import build_network
from sightline.configuration.schema import ModelRecipe
network = build_network((224, 224, 3), 2, ModelRecipe(name="efficientnet-lite0"))
network = keras.Model(network.input, network.get_layer("features").output)
started = time.perf_counter()
files = keras.utils.image_dataset_from_directory(
    folder, image_size=(224, 224), batch_size=32, shuffle=False, verbose=False)
table = network.predict(files.map(lambda images, labels: images).prefetch(2), verbose=0)
print(len(table) / (time.perf_counter() - started))
"""

TABLE = """
import sys, time
folder = sys.argv[1]
import numpy as np, sightline
from sightline.bundles.bundle import load_bundle
from sightline.data.inputs.pixels import read_pixels
from sightline.bundles.features import feature_tables
from sightline.bundles.sessions import open_session
bundle = load_bundle("imagenet")
session = open_session(bundle)
started = time.perf_counter()
data = sightline.load(folder)
pixels = read_pixels(data, bundle.input)
table = feature_tables(session, pixels, outputs={"features": (1280,)})["features"]
print(len(table) / (time.perf_counter() - started))
"""


def main() -> None:
    """Run, print a line a process, then medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--frozen-epochs", type=int, default=10)
    parser.add_argument("--tuned-epochs", type=int, default=20)
    parser.add_argument("--features", action="store_true")
    parser.add_argument("--only", default="keras,head,transfer")
    arguments = parser.parse_args()
    packages = ("keras", "tensorflow-cpu", "onnxruntime", "pillow", "sightline")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}, {versions}")
    if arguments.features:
        compare_features(arguments.folder, arguments.seeds)
        return
    found: dict[str, list[Any]] = {name: [] for name in arguments.only.split(",")}
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as scratch:
            divided = divide(arguments.folder, Path(scratch) / "photos", seed)
            for name, rows in found.items():
                row = plain(divided, seed, arguments) if name == "keras" else ours(divided, seed, name, Path(scratch))
                rows.append(row)
                print(f"  {name:<9} seed {seed}  {told(row)}", flush=True)
    judge(found)


def divide(folder: Path, place: Path, seed: int) -> Path:
    """The files as `train/` and `test/`, by Sightline's own split: all learn from and are judged on the same."""
    data = sightline.load(folder)
    splits = sightline.split(data, seed=seed)
    for name, rows in (("test", splits.test), ("train", np.setdiff1d(np.arange(len(data)), splits.test))):
        for row in rows.tolist():
            target = place / name / data.class_names[data.labels[row]] / Path(data.row_ids[row]).name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / data.row_ids[row], target)
    return place


def plain(divided: Path, seed: int, arguments: argparse.Namespace) -> list[tuple[float, float]]:
    """(seconds, accuracy) after each epoch of the plain script."""
    numbers = (seed, arguments.frozen_epochs, arguments.tuned_epochs)
    _, lines = timed([sys.executable, "-c", PLAIN, str(divided), *map(str, numbers)], {})
    rows = [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
    return [(row["seconds"], row["accuracy"]) for row in rows]


def ours(divided: Path, seed: int, name: str, scratch: Path) -> list[tuple[float, float]]:
    """(seconds, accuracy) of one whole `sightline train` with an empty cache."""
    code = "import sys; from sightline.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "train", str(divided), "--recipe", "transfer", "--seed", str(seed)]
    command += ["--json", "--quiet", "--out", str(scratch / name)]
    if name == "head":
        command += ["--set", "training.finetune_epochs=0"]
    seconds, output = timed(command, {"SIGHTLINE_CACHE": str(scratch / f"cache-{name}")})
    return [(seconds, json.loads(output)["test"]["accuracy"])]


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, str]:
    """Wall seconds of a whole process, and what it printed."""
    usual = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    started = time.perf_counter()
    done = subprocess.run(command, env=usual, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"failed: {done.stderr[-2000:]}")
    return time.perf_counter() - started, done.stdout


def told(row: list[tuple[float, float]]) -> str:
    """The course of one process in a line."""
    every = max(1, len(row) // 5)
    return "  ".join(f"{seconds:.0f} s {accuracy:.3f}" for seconds, accuracy in (*row[:-1:every], row[-1]))


def judge(found: dict[str, list[Any]]) -> None:
    """For each of ours: how long plain Keras takes to its accuracy, and how good it is at its time."""
    print(f"\n{'job':<10}{'seconds (median)':>18}{'accuracy (mean)':>17}")
    for name, rows in found.items():
        seconds = statistics.median(row[-1][0] for row in rows)
        print(f"{name:<10}{seconds:>18.0f}{statistics.mean(row[-1][1] for row in rows):>17.4f}")
    for name in found.keys() - {"keras"} if "keras" in found else ():
        for seed, line in enumerate(comparisons(found["keras"], found[name])):
            print(f"{name} seed {seed}: {line}")


def comparisons(theirs: list[Any], mine: list[Any]) -> Iterator[str]:
    """One sentence a seed."""
    for course, row in zip(theirs, mine, strict=True):
        seconds, accuracy = row[-1]
        reached = next((after for after, figure in course if figure >= accuracy), None)
        until = [figure for after, figure in course if after <= seconds]
        then = f"{max(until):.3f}" if until else "nothing"
        ratio = (
            f"{reached / seconds:.1f} times as long" if reached else f"not after {course[-1][0] / seconds:.1f} times"
        )
        yield f"{accuracy:.3f} in {seconds:.0f} s; plain Keras had {then} by then, and that accuracy {ratio}"


def compare_features(folder: Path, rounds: int) -> None:
    """Images a second of both roads, in turn."""
    found: dict[str, list[float]] = {"predict": [], "table": []}
    for _ in range(rounds):
        for name, script in (("predict", PREDICT), ("table", TABLE)):
            with tempfile.TemporaryDirectory() as cache:
                _, output = timed([sys.executable, "-c", script, str(folder)], {"SIGHTLINE_CACHE": cache})
            found[name].append(float(output.split()[-1]))
            print(f"  {name:<8} {found[name][-1]:7.1f} images/s", flush=True)
    medians = {name: statistics.median(rates) for name, rates in found.items()}
    print(
        f"\nmedians: predict {medians['predict']:.1f}, table {medians['table']:.1f} images/s; ratio "
        f"{medians['table'] / medians['predict']:.1f}"
    )


if __name__ == "__main__":
    main()
