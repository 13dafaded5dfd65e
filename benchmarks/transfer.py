"""Time the recipe transfer against what others do with the same photographs and the same pretrained network.

Whole processes, each started fresh, on the same train and test files, in turn:

  head         `sightline train`, recipe transfer without fine-tuning
  transfer     `sightline train`, recipe transfer as it is
  budget-2m    `sightline train --time-budget 2m`; any other time as well
  keras        benchmarks/transfer_keras.py: MobileNetV2 as Keras' guides print it
  keras-lite0  the same with EfficientNet-Lite0, the network of all that follow and of Sightline
  fastai-1     benchmarks/transfer_peers.py: fastai's `fine_tune(1)`; any other number of epochs as well
  torch-5      a plain PyTorch loop as timm's trainer makes it, so many epochs
  sklearn      scikit-learn's logistic regression on features of the frozen network

Processor time is that of all processes of a job, its start included; of Keras and PyTorch, which say after each epoch
how good they are, without what that look costs. With --features it is images a second from files to a table of features
instead, both with empty caches:

  predict      image_dataset_from_directory and `predict` of EfficientNet-Lite0 in Keras
  table        Sightline's pixels and features through ONNX Runtime: the same network

The peers' environment, which needs 6 GB (with the CUDA build of PyTorch that package indexes serve):

  python -m venv peers && peers/bin/pip install torch torchvision fastai timm

Usage: python benchmarks/transfer.py FOLDER [--seeds 3] [--only head,transfer,keras] [--peers peers/bin/python]
       [--fraction 0.1] [--side 224] [--as-jpeg] [--results FILE] [--features]

--fraction learns from a part of the train files of each class; --as-jpeg first writes every file anew as a JPEG of at
most 512 pixels a side, for sources with files that others do not read. KERAS_HOME must hold the weights of MobileNetV2
for `keras`, or the network be reached.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

import sightline

HERE = Path(__file__).parent
SIDE_OF_JPEG = 512
FROZEN_EPOCHS, TUNED_EPOCHS = 5, 8

PREDICT = """
import sys, time, os
folder = sys.argv[1]
from sightline.system.backends import load_keras
keras = load_keras()
from sightline.networks.building import build_network
from sightline.configuration.schema import ModelRecipe
network = build_network((224, 224, 3), 2, ModelRecipe(name="efficientnet-lite0"))
network = keras.Model(network.input, network.get_layer("features").output)
started, used = time.perf_counter(), time.process_time()
files = keras.utils.image_dataset_from_directory(
    folder, image_size=(224, 224), batch_size=32, shuffle=False, verbose=False)
table = network.predict(files.map(lambda images, labels: images).prefetch(2), verbose=0)
print(len(table) / (time.perf_counter() - started), 1e3 * (time.process_time() - used) / len(table))
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
started, used = time.perf_counter(), time.process_time()
data = sightline.load(folder)
pixels = read_pixels(data, bundle.input)
table = feature_tables(session, pixels, outputs={"features": (1280,)})["features"]
print(len(table) / (time.perf_counter() - started), 1e3 * (time.process_time() - used) / len(table))
"""


def main() -> None:
    """Run, print a line a process, then means and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="head,transfer,keras")
    parser.add_argument("--peers", type=Path, help="the Python of an environment with fastai, timm and scikit-learn")
    parser.add_argument("--fraction", type=float, default=1.0)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--as-jpeg", action="store_true")
    parser.add_argument("--results", type=Path, help="gets a JSON line a process")
    parser.add_argument("--features", action="store_true")
    arguments = parser.parse_args()
    packages = ("keras", "tensorflow-cpu", "onnxruntime", "pillow", "sightline")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}, {versions}")
    if arguments.features:
        compare_features(arguments.folder, arguments.seeds)
        return
    found: dict[str, list[Any]] = {name: [] for name in arguments.only.split(",")}
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        with tempfile.TemporaryDirectory() as scratch:
            divided = divide(arguments, Path(scratch) / "photos", seed)
            for name, rows in found.items():
                rows.append(course(name, divided, seed, arguments))
                print(f"  {name:<11} seed {seed}  {told(rows[-1])}", flush=True)
                if arguments.results is not None:
                    line = {"folder": arguments.folder.name, "fraction": arguments.fraction, "job": name, "seed": seed}
                    with arguments.results.open("a", encoding="utf-8") as stream:
                        stream.write(json.dumps(line | {"course": rows[-1]}) + "\n")
    judge(found)


def divide(arguments: argparse.Namespace, place: Path, seed: int) -> Path:
    """The files as `train/` and `test/`, by Sightline's own split: all learn from and are judged on the same."""
    data = sightline.load(arguments.folder)
    splits = sightline.split(data, seed=seed)
    train, generator = np.setdiff1d(np.arange(len(data)), splits.test), np.random.default_rng(seed)
    few = [generator.permutation(train[data.labels[train] == label]) for label in range(data.num_classes)]
    train = np.concatenate([rows[: max(5, round(len(rows) * arguments.fraction))] for rows in few])
    for name, rows in (("test", splits.test), ("train", train)):
        for row in rows.tolist():
            origin = arguments.folder / data.row_ids[row]
            target = place / name / data.class_names[data.labels[row]] / origin.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not arguments.as_jpeg:
                shutil.copy(origin, target)
                continue
            with Image.open(origin) as image:
                upright = ImageOps.exif_transpose(image).convert("RGB")
                upright.thumbnail((SIDE_OF_JPEG, SIDE_OF_JPEG))
                upright.save(target.with_name(f"{row:06d}.jpg"), quality=95)
    return place


def course(name: str, divided: Path, seed: int, arguments: argparse.Namespace) -> list[dict[str, float]]:
    """What a job spent and how good it was, once or after each epoch."""
    kind, _, number = name.partition("-")
    if kind in ("head", "transfer", "budget"):
        return ours(name, divided, seed)
    if kind == "keras":
        script, python = HERE / "transfer_keras.py", Path(sys.executable)
        words = [number or "mobilenet", divided, arguments.side, seed, FROZEN_EPOCHS, TUNED_EPOCHS]
    else:
        if arguments.peers is None:
            sys.exit(f"{name} needs --peers: the Python of an environment with fastai, timm and scikit-learn")
        script, python = HERE / "transfer_peers.py", arguments.peers
        weights = divided.parent / "lite0.npz"
        if not weights.exists():
            write_weights(weights)
        words = [kind, divided, weights, arguments.side, seed, number or 1]
    _, output = timed([str(python), str(script), *map(str, words)], {})
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def ours(name: str, divided: Path, seed: int) -> list[dict[str, float]]:
    """One whole `sightline train` with an empty cache."""
    code = "import sys; from sightline.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "train", str(divided), "--recipe", "transfer", "--seed", str(seed)]
    with tempfile.TemporaryDirectory() as scratch:
        command += ["--json", "--quiet", "--out", str(Path(scratch) / "run")]
        if name == "head":
            command += ["--set", "training.finetune_epochs=0"]
        elif name.startswith("budget-"):
            command += ["--time-budget", name.removeprefix("budget-")]
        spent, output = timed(command, {"SIGHTLINE_CACHE": str(Path(scratch) / "cache")})
    answer = json.loads(output)
    told = {key: answer[key] for key in ("stages",) if key in answer}
    return [spent | {"accuracy": answer["test"]["accuracy"], **told}]


def write_weights(place: Path) -> None:
    """Those of the embedded network as its file has them, for PyTorch."""
    import onnx

    from sightline.bundles.bundle import EMBEDDED, load_bundle

    model = onnx.load(str(load_bundle(EMBEDDED).path / "model.onnx"))
    arrays: dict[str, Any] = {stored.name: onnx.numpy_helper.to_array(stored) for stored in model.graph.initializer}
    np.savez(place, **arrays)


def timed(command: list[str], environment: dict[str, str]) -> tuple[dict[str, float], str]:
    """Seconds on the clock and of the processor of a whole process, and what it printed."""
    usual = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=usual, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"failed: {done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.perf_counter() - started, "processor": spent}, done.stdout


def told(rows: list[dict[str, float]]) -> str:
    """The course of one process in a line."""
    every = max(1, len(rows) // 5)
    return "  ".join(f"{row['processor']:.0f} s {row['accuracy']:.3f}" for row in (*rows[:-1:every], rows[-1]))


def judge(found: dict[str, list[Any]]) -> None:
    """Means over the seeds, and the best accuracy on the way of those that say it after each epoch."""
    print(f"\n{'job':<12}{'clock, s':>10}{'processor, s':>14}{'accuracy':>10}{'best on the way':>17}")
    for name, courses in found.items():
        means = [statistics.mean(rows[-1][key] for rows in courses) for key in ("seconds", "processor", "accuracy")]
        best = statistics.mean(max(row["accuracy"] for row in rows) for rows in courses)
        print(f"{name:<12}{means[0]:>10.0f}{means[1]:>14.0f}{means[2]:>10.4f}{best:>17.4f}")
    for name, courses in found.items():
        if name.partition("-")[0] in ("head", "transfer", "budget"):
            for peer in found.keys() - {name}:
                print(f"{name} beside {peer}: {comparison(courses, found[peer])}")


def comparison(mine: Iterable[Any], theirs: Iterable[Any]) -> str:
    """What a peer had by the same processor time, and how long it took to the same accuracy, seed by seed."""
    said = []
    for own, course in zip(mine, theirs, strict=True):
        spent, accuracy = own[-1]["processor"], own[-1]["accuracy"]
        reached = next((row["processor"] for row in course if row["accuracy"] >= accuracy), None)
        until = [row["accuracy"] for row in course if row["processor"] <= spent]
        then = f"{max(until):.3f}" if until else "nothing"
        ratio = f"{reached / spent:.1f}" if reached else f"more than {course[-1]['processor'] / spent:.1f}"
        said.append(f"{accuracy:.3f} in {spent:.0f} s against {then} by then, the same after {ratio} times as long")
    return "; ".join(said)


def compare_features(folder: Path, rounds: int) -> None:
    """Images a second of both roads, in turn, and what each took of the processors."""
    found: dict[str, list[list[float]]] = {"predict": [], "table": []}
    for _ in range(rounds):
        for name, script in (("predict", PREDICT), ("table", TABLE)):
            with tempfile.TemporaryDirectory() as cache:
                _, output = timed([sys.executable, "-c", script, str(folder)], {"SIGHTLINE_CACHE": cache})
            found[name].append([float(word) for word in output.split()[-2:]])
            rate, spent = found[name][-1]
            print(f"  {name:<8} {rate:7.1f} images/s, {spent:5.2f} ms of processor an image", flush=True)
    for number, (what, is_rate) in enumerate((("images/s", True), ("ms of processor an image", False))):
        theirs, own = ([row[number] for row in found[name]] for name in ("predict", "table"))
        ratios = [one / other if is_rate else other / one for one, other in zip(own, theirs, strict=True)]
        medians = f"predict {statistics.median(theirs):.2f}, table {statistics.median(own):.2f} {what}"
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{medians}; ratio {statistics.median(ratios):.2f} ({spread}), round by round")


if __name__ == "__main__":
    main()
