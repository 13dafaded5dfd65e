"""CIFAR-10 by the recipe transfer and by a convnet from nothing, each within ten minutes of processor time.

Usage: python benchmarks/cifar10.py CIFAR10.npz [--seeds 1] [--first-seed 0] [--only transfer,convnet]

Each is one whole `sightline train` in a process of its own with an empty cache, timed from outside, and looks at the
10,000 test images once, at its end. The file is in Keras' layout: x_train, y_train, x_test, y_test.

  transfer   EfficientNet-Lite0 with ImageNet weights at 96 pixels: features, head, its upper part fine-tuned
  convnet    from nothing at 32 pixels: one-cycle AdamW, flips and shifts
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

SETTINGS = {
    "transfer": ["--recipe", "transfer", "--set", "data.image_size=96", "--set", "training.finetune_epochs=2"],
    "convnet": ["--recipe", "accurate", "--set", "augmentation.policy=light", "--set", "training.epochs=4"],
}


def main() -> None:
    """Run each, print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="transfer,convnet")
    arguments = parser.parse_args()
    packages = ("keras", "tensorflow-cpu", "onnxruntime", "sightline")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}, {versions}")
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        for name in arguments.only.split(","):
            print(f"  {name:<9} seed {seed}  {measured(arguments.file, name, seed)}", flush=True)


def measured(file: Path, name: str, seed: int) -> str:
    """Accuracy with its interval, and what the whole process cost."""
    code = "import sys; from sightline.cli.main import main; sys.exit(main(sys.argv[1:]))"
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-c", code, "train", str(file), "--seed", str(seed), *SETTINGS[name]]
        command += ["--json", "--quiet", "--out", f"{scratch}/run"]
        environment = {**os.environ, "SIGHTLINE_CACHE": f"{scratch}/cache", "TF_CPP_MIN_LOG_LEVEL": "3"}
        started = time.perf_counter()
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            output = process.stdout.read() if process.stdout else ""
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
    if process.returncode:
        sys.exit(f"failed with {process.returncode}")
    found = json.loads(output)
    lower, upper = found["test"]["accuracy_interval"]
    laps = ", ".join(f"{lap} {value:.0f}" for lap, value in found["seconds"].items() if lap != "total")
    return (
        f"accuracy {found['test']['accuracy']:.4f} [{lower:.4f}, {upper:.4f}], {seconds:.0f} s on the clock ({laps}), "
        f"{usage.ru_utime + usage.ru_stime:.0f} s of processor time"
    )


if __name__ == "__main__":
    main()
