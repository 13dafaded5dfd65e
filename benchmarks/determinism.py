"""Whether two trainings end with the same weights, byte for byte, whatever the number of threads that decode.

Each network of the zoo learns made JPEG pictures twice over from nothing, with augmentation, averaged weights and early
stopping, in four processes: with one decoding thread, with as many as there are processors, with these once more, and
with one thread inside each operation of TensorFlow (`TF_NUM_INTRAOP_THREADS=1`), which is no longer the same machine.
Nothing that was decoded is kept from one process to the next. Compared are hashes of all weights.

Usage: python benchmarks/determinism.py [--models lenet5,convnet] [--backend jax]; networks from nothing if left out

It ends with 1 where the first three differ on TensorFlow.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import platform
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np
from PIL import Image

import sightline
from sightline.configuration.networks import MODELS
from sightline.system.backends import load_keras
from sightline.system.progress import reporting
from sightline.training.setup.preparation import prepare

SIDE, COUNT = 32, 90
# What each of the processes is told; the first three are to agree.
WAYS: tuple[dict[str, str], ...] = (
    {"SIGHTLINE_PROCESSORS": "1"},
    {},
    {},
    {"TF_NUM_INTRAOP_THREADS": "1"},
)


def make_pictures(place: Path) -> None:
    """Three textures, thirty JPEG pictures each."""
    generator = np.random.default_rng(0)
    for row in range(COUNT):
        rows, columns = np.mgrid[0:48, 0:48]
        pattern = (rows // 6 + columns // 6, columns // 6, rows // 6)[row % 3] % 2
        image = pattern[..., None] * 90.0 + generator.normal(80, 40, (48, 48, 3))
        folder = place / "abc"[row % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(folder / f"{row:02d}.jpg")


def recipe_of(name: str) -> sightline.Recipe:
    """A short training of a network from nothing, with all that draws random numbers."""
    keys = {"model.name": name, "training.epochs": 2, "training.batch_size": 16, "optimizer.ema_momentum": 0.9}
    keys |= {
        "training.early_stopping_patience": 2,
        "data.image_size": max(SIDE, MODELS[name].smallest),
        "augmentation.policy": "photos",
    }
    if MODELS[name].backbone is not None:
        keys |= {"model.weights": "random"}
    return sightline.recipe("fast", keys)


def hash_of_training(name: str, pictures: Path) -> str:
    """The hash of the weights that a training ends with."""
    from sightline.training.fit_network import fit_network
    from sightline.training.loop.network import new_network
    from sightline.training.loop.recording import FitOutputs

    with reporting("quiet"):
        data = prepare(pictures, recipe_of(name))
        network, _ = fit_network(new_network(data), data, FitOutputs())
    found = hashlib.sha256()
    for array in network.get_weights():
        found.update(array.tobytes())
    return found.hexdigest()


def in_a_process(name: str, pictures: Path, told: dict[str, str], cache: Path) -> str:
    """The same in a process of its own, forked from one that has computed nothing yet."""
    reader, writer = os.pipe()
    number = os.fork()
    if not number:
        code = 70
        try:
            os.environ |= told | {"SIGHTLINE_CACHE": str(cache)}
            os.write(writer, hash_of_training(name, pictures).encode())
            code = 0
        except Exception:  # noqa: BLE001  # the process has no other way to tell
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as stream:
        found = stream.read()
    _, status = os.waitpid(number, 0)
    if status:
        sys.exit(f"{name}: its process ended with {os.waitstatus_to_exitcode(status)}")
    return found


def main() -> None:
    """Train each network four times, and print a row of a table for each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    scratch = [name for name, entry in MODELS.items() if entry.backbone is None]
    parser.add_argument("--models", default=",".join(scratch))
    parser.add_argument("--backend", default="tensorflow", choices=("tensorflow", "jax", "torch"))
    arguments = parser.parse_args()
    load_keras(arguments.backend)
    for module in ("fit_network", "loop.network"):  # once, before each of the forks
        importlib.import_module(f"sightline.training.{module}")

    packages = {arguments.backend: sys.modules[arguments.backend], "keras": sys.modules["keras"], "numpy": np}
    versions = [f"{name} {package.__version__}" for name, package in packages.items()]
    machine = f"{os.cpu_count()} processors, {platform.machine()}"
    print(f"{', '.join(versions)}, CPython {platform.python_version()}, {machine}\n")
    print("| network | decoded by one thread, by all, by all again | one thread inside each operation | seconds |")
    print("|---|---|---|---|", flush=True)
    differ = False
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_pictures(place / "pictures")
        for name in arguments.models.split(","):
            started = time.monotonic()
            found = [
                in_a_process(name, place / "pictures", told, place / f"{name}-{number}")
                for number, told in enumerate(WAYS)
            ]
            differ |= len(set(found[:3])) > 1
            told = ["equal bytes" if len(set(part)) == 1 else "other bytes" for part in (found[:3], found[2:])]
            print(f"| {name} | {' | '.join(told)} | {time.monotonic() - started:.0f} |", flush=True)
    sys.exit(differ and arguments.backend == "tensorflow")


if __name__ == "__main__":
    main()
