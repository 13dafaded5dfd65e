"""Time what a person waits for: `sightline --help`, and the prediction of one image, cold, beside plain Keras.

Usage: python benchmarks/startup.py RUN IMAGE [--rounds 9]

Whole processes, started in turn, timed from outside; medians, ranges, and the ratio to Keras. IMAGE must have the
network's own size, since the Keras script does no more than open it. `predict imagenet` is the network inside
the package on the same image, which is brought to 224 pixels for it.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

SIGHTLINE = "import sys; from sightline.cli.main import main; sys.exit(main(sys.argv[1:]))"
KERAS = """
import sys, numpy as np, keras
from PIL import Image
network = keras.saving.load_model(sys.argv[1] + "/bundle/model.keras", compile=False)
image = np.asarray(Image.open(sys.argv[2]))
print(network.predict(image.reshape(1, *network.inputs[0].shape[1:]), verbose=0)["logits"].argmax())
"""


def main() -> None:
    """Run all in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    run, image = str(arguments.run), str(arguments.image)
    commands = {
        "sightline --help": [sys.executable, "-c", SIGHTLINE, "--help"],
        "sightline predict": [sys.executable, "-c", SIGHTLINE, "predict", run, image],
        "predict imagenet": [sys.executable, "-c", SIGHTLINE, "predict", "imagenet", image],
        "keras predict": [sys.executable, "-c", KERAS, run, image],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(arguments.rounds):
        for name, command in commands.items():
            seconds[name].append(timed(command))
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(", ".join(f"{name} {metadata.version(name)}" for name in ("keras", "onnxruntime", "numpy", "pillow")))
    slowest = statistics.median(seconds["keras predict"])
    print(f"\n{'command':<20}{'median s':>9}{'range':>16}{'times faster than Keras':>25}")
    for name, measured in seconds.items():
        median, spread = statistics.median(measured), f"{min(measured):.2f} to {max(measured):.2f}"
        print(f"{name:<20}{median:>9.2f}{spread:>16}{slowest / median:>24.1f}x")


def timed(command: list[str]) -> float:
    """Wall seconds of a whole process."""
    source = str(Path(__file__).resolve().parent.parent / "src")
    environment = {**os.environ, "PYTHONPATH": source, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
