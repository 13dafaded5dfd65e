"""Time the main job against plain Keras: from command to finished run, on the same machine, in one go.

Three whole processes a seed, each started fresh and timed from outside:

  tutorial   plain Keras with the tutorial's recipe: LeNet-5, pixels 0 to 255, Adam, 50 epochs, batch 128
  tuned      plain Keras `fit` of the same network, tuned by hand: scaled input, Keras' own augmentation
             layers, one-cycle AdamW, 10 epochs
  sightline  `sightline train mnist`, everything included: splits, calibration, pictures, bundle, comparison

Usage: python benchmarks/main_job.py [--seeds 3] [--tutorial-epochs 50] [--tuned-epochs 10] [--only sightline,tuned]

Each prints its errors on the 10,000 test images; the table gives medians, ranges and ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

# What someone writes who follows the tutorial; MNIST comes from the package so that no network is needed.
TUTORIAL = """
import sys, numpy as np, keras
from keras import layers
from sightline.data.sources.builtin import read_mnist
seed, epochs = int(sys.argv[1]), int(sys.argv[2])
keras.utils.set_random_seed(seed)
x_train, y_train, x_test, y_test = read_mnist()
x_train, x_test = x_train.astype("float32"), x_test.astype("float32")
model = keras.Sequential([
    keras.Input((28, 28, 1)), layers.ZeroPadding2D(2),
    layers.Conv2D(6, 5, activation="relu"), layers.MaxPooling2D(),
    layers.Conv2D(16, 5, activation="relu"), layers.MaxPooling2D(),
    layers.Conv2D(120, 5, activation="relu"), layers.Flatten(),
    layers.Dense(84, activation="relu"), layers.Dense(10, activation="softmax"),
])
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x_train, y_train, epochs=epochs, batch_size=128, validation_split=0.2, verbose=0)
print("errors", int((model.predict(x_test, verbose=0).argmax(1) != y_test).sum()))
"""

# What someone writes who knows Keras well: nothing of Sightline but the data.
TUNED = """
import sys, math, numpy as np, keras
from keras import layers
from sightline.data.sources.builtin import read_mnist
seed, epochs = int(sys.argv[1]), int(sys.argv[2])
keras.utils.set_random_seed(seed)
x_train, y_train, x_test, y_test = read_mnist()
x_valid, y_valid, x_train, y_train = x_train[:6000], y_train[:6000], x_train[6000:], y_train[6000:]
network = keras.Sequential([
    keras.Input((28, 28, 1)), layers.Rescaling(1 / 255), layers.ZeroPadding2D(2),
    layers.Conv2D(6, 5, activation="relu"), layers.MaxPooling2D(),
    layers.Conv2D(16, 5, activation="relu"), layers.MaxPooling2D(),
    layers.Conv2D(120, 5, activation="relu"), layers.Flatten(),
    layers.Dense(84, activation="relu"), layers.Dense(10),
])
augmentation = keras.Sequential([
    layers.RandomRotation(10 / 360, fill_mode="constant"),
    layers.RandomTranslation(0.07, 0.07, fill_mode="constant"),
    layers.RandomZoom(0.1, fill_mode="constant"),
])
model = keras.Sequential([keras.Input((28, 28, 1)), augmentation, network])
steps = math.ceil(len(x_train) / 128) * epochs
rate = keras.optimizers.schedules.CosineDecay(
    0.004 / 25, int(0.7 * steps), 1e-4, warmup_target=0.004, warmup_steps=int(0.3 * steps))
model.compile(optimizer=keras.optimizers.AdamW(rate, weight_decay=0.01),
              loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(x_train, y_train, epochs=epochs, batch_size=128, validation_data=(x_valid, y_valid), verbose=0)
print("errors", int((model.predict(x_test, verbose=0).argmax(1) != y_test).sum()))
"""


def main() -> None:
    """Run all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tutorial-epochs", type=int, default=50)
    parser.add_argument("--tuned-epochs", type=int, default=10)
    parser.add_argument("--only", default="tutorial,tuned,sightline")
    parser.add_argument("--json", type=Path, help="write every single measurement here")
    arguments = parser.parse_args()
    print_machine()
    jobs = {
        "tutorial": lambda seed: plain(TUTORIAL, seed, arguments.tutorial_epochs),
        "tuned": lambda seed: plain(TUNED, seed, arguments.tuned_epochs),
        "sightline": sightline,
    }
    rows = []
    # Seed by seed, so that a change in what else the machine does falls on all alike.
    for seed in range(arguments.seeds):
        for name in arguments.only.split(","):
            row = {"job": name, "seed": seed, **jobs[name](seed)}
            rows.append(row)
            print(
                f"  {name:<10} seed {seed}  {row['seconds']:7.1f} s  {row['errors']:4d} errors  {row['mib']:5.0f} MiB",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))
    print_table(rows)


def plain(script: str, seed: int, epochs: int) -> dict[str, float]:
    """One plain Keras process."""
    command = [sys.executable, "-c", script, str(seed), str(epochs)]
    seconds, mib, output = timed(command, Path.cwd())
    return {"seconds": seconds, "mib": mib, "errors": int(output.split("errors")[1])}


def sightline(seed: int) -> dict[str, float]:
    """One whole `sightline train mnist`, in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        code = "import sys; from sightline.cli.main import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", code, "train", "mnist", "--seed", str(seed), "--json", "--quiet"]
        seconds, mib, output = timed(command, Path(folder))
    test = json.loads(output)["test"]
    return {"seconds": seconds, "mib": mib, "errors": test["num_images"] - test["num_correct"]}


def timed(command: list[str], folder: Path) -> tuple[float, float, str]:
    """Wall seconds and peak memory (MiB) of a process from its start to its end, and what it printed."""
    source = str(Path(__file__).resolve().parent.parent / "src")
    environment = {**os.environ, "PYTHONPATH": source, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    started = time.perf_counter()
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        output = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"failed with {process.returncode}: {' '.join(command)[:200]}")
    return time.perf_counter() - started, usage.ru_maxrss / (1024 if sys.platform != "darwin" else 2**20), output


def print_machine() -> None:
    """Versions and hardware, so that a figure can be judged later."""
    packages = ("keras", "tensorflow-cpu", "tensorflow", "numpy", "onnxruntime", "sightline")
    versions = []
    for name in packages:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    print(
        f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}, {', '.join(versions)}"
    )
    print(f"load at the start: {os.getloadavg()[0]:.2f}", flush=True)


def print_table(rows: list[dict[str, float]]) -> None:
    """Medians and ranges, and each job's ratio to the tutorial's."""
    names = list(dict.fromkeys(row["job"] for row in rows))
    times = {name: [row["seconds"] for row in rows if row["job"] == name] for name in names}
    errors = {name: [row["errors"] for row in rows if row["job"] == name] for name in names}
    peaks = {name: max(row["mib"] for row in rows if row["job"] == name) for name in names}
    heads = f"{'job':<11}{'seconds':>9}{'range':>16}{'errors':>8}{'range':>12}{'peak MiB':>10}"
    print(f"\n{heads}{'times faster':>14}{'errors to':>11}")
    first = names[0]
    for name in names:
        faster = statistics.median(times[first]) / statistics.median(times[name])
        share = statistics.mean(errors[name]) / statistics.mean(errors[first])
        spread = f"{min(times[name]):.1f} to {max(times[name]):.1f}"
        error_range = f"{min(errors[name])} to {max(errors[name])}"
        print(
            f"{name:<11}{statistics.median(times[name]):>9.1f}{spread:>16}{statistics.mean(errors[name]):>8.1f}"
            f"{error_range:>12}{peaks[name]:>10.0f}{faster:>13.2f}x{share:>10.0%}"
        )
    print(f"\nratios are to '{first}': median seconds, mean errors of {len(times[first])} seeds")


if __name__ == "__main__":
    main()
