"""Time the training loop against a bare Keras `fit` on in-memory arrays: same network, same batches, same optimizer.

Two processes a backend and round, in turn, each started fresh:

  bare       Keras' own `fit(x=uint8 array, y=integers)` with everything else at its defaults
  sightline  `sightline.training.loop.fit.fit` on the same rows, with its watching, its history and its progress bar

Neither has augmentation or validation rows. What counts are the epochs after the first, which compiles.

Usage: python benchmarks/loop.py [--backends tensorflow,jax,torch] [--models lenet5,mlp,convnet] [--rows 20000]
       [--epochs 4] [--rounds 3]

A backend that is not installed is named and left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from importlib import metadata

from sightline.system.backends import installed_backends

START = """
import json, sys, time
backend, model, num_rows, epochs = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
from sightline.system.backends import load_keras
keras = load_keras(backend)
import numpy as np, sightline
from sightline.configuration.recipes import parse_recipe
from sightline.networks.building import build_network
data = sightline.load("mnist")
images, labels = np.array(data.images[:num_rows]), data.labels[:num_rows]
recipe = parse_recipe({"model.name": model, "training.epochs": epochs, "training.batch_size": 128,
                       "optimizer.learning_rate": 0.001})
keras.utils.set_random_seed(0)
network = build_network((28, 28, 1), 10, recipe.model)
"""

BARE = (
    START
    + """
class Clock(keras.callbacks.Callback):
    seconds = []
    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()
    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.started)
network.compile(optimizer=keras.optimizers.AdamW(0.001, weight_decay=0.0),
                loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
clock = Clock()
network.fit(images, labels, batch_size=128, epochs=epochs, verbose=0, callbacks=[clock])
print(json.dumps(clock.seconds))
"""
)

OURS = (
    START
    + """
from sightline.training.loop.batches import LabelledImages
from sightline.training.loop.fit import fit
from sightline.training.loop.recording import FitOutputs
fitted = fit(network, LabelledImages(images, labels), validation=None, recipe=recipe, outputs=FitOutputs())
print(json.dumps([row["seconds"] for row in fitted.history]))
"""
)


def main() -> None:
    """Run all pairs, a line each, then the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", default="tensorflow,jax,torch")
    parser.add_argument("--models", default="lenet5,mlp,convnet")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    wanted = arguments.backends.split(",")
    there = [name for name in wanted if name in installed_backends()]
    if missing := sorted(set(wanted) - set(there)):
        print(f"not installed and left out: {', '.join(missing)}")
    print_machine(there)
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(arguments.rounds):
        for model in arguments.models.split(","):
            for backend in there:
                pair = (measure(BARE, backend, model, arguments), measure(OURS, backend, model, arguments))
                found.setdefault((backend, model), []).append(pair)
                print(f"  {backend:<11}{model:<9}bare {pair[0]:8.0f}  sightline {pair[1]:8.0f} images/s", flush=True)
    print_table(found)


def measure(script: str, backend: str, model: str, arguments: argparse.Namespace) -> float:
    """Images a second in the median epoch after the first, in a process of its own."""
    rows = arguments.rows if model != "convnet" else arguments.rows // 4
    command = [sys.executable, "-c", script, backend, model, str(rows), str(arguments.epochs)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": backend}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"failed: {done.stderr[-2000:]}")
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    rate: float = rows / statistics.median(seconds[1:])
    return rate


def print_machine(backends: list[str]) -> None:
    """Versions and hardware, so that a figure can be judged later."""
    packages = {"tensorflow": ("tensorflow-cpu", "tensorflow"), "jax": ("jax",), "torch": ("torch",)}
    versions = []
    for name in ("keras", *(package for backend in backends for package in packages[backend])):
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    system = f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}"
    print(f"{system}, {', '.join(versions)}; load {os.getloadavg()[0]:.1f}", flush=True)


def print_table(found: dict[tuple[str, str], list[tuple[float, float]]]) -> None:
    """Medians, and the ratio in its median and range over the rounds."""
    print(f"\n{'backend':<12}{'network':<9}{'bare images/s':>14}{'sightline':>11}{'times as fast, median (range)':>34}")
    for (backend, model), pairs in found.items():
        ratios = [mine / bare for bare, mine in pairs]
        bare, mine = (statistics.median(side) for side in zip(*pairs, strict=True))
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{backend:<12}{model:<9}{bare:>14.0f}{mine:>11.0f}{spread:>34}")


if __name__ == "__main__":
    main()
