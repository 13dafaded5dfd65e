"""Presses Ctrl-C at random moments of a training and counts how it ended: 130, said in a line, no traceback.

    python tools/interrupt_training.py 30

Each try trains on a part of the embedded MNIST in a folder of its own and is interrupted once, at any time from its
second second on: while Keras is loaded, while TensorFlow compiles, between steps, in validation, at the end.
"""

from __future__ import annotations

import argparse
import collections
import random
import signal
import subprocess
import sys
import tempfile
import time

# Whoever starts this in the background has the signal ignored, and hands that on.
PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from sightline.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
WORDS = ["train", "mnist", "--fraction", "0.05", "--epochs", "40", "--out", "run"]


def attempt(seconds: float) -> tuple[str, float, str]:
    """How one training ended that was interrupted after so many seconds: in words, how long it took, what it said."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", PROGRAM, *WORDS]
        with subprocess.Popen(
            command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as started:
            time.sleep(seconds)
            started.send_signal(signal.SIGINT)
            pressed = time.monotonic()
            try:
                _, told = started.communicate(timeout=120)
            except subprocess.TimeoutExpired:
                started.kill()
                return "went on", 120.0, ""
    took = time.monotonic() - pressed
    last = told.splitlines()[-1] if told else ""
    if started.returncode == 130 and last.startswith("sightline train: interrupted"):
        return ("noise" if "Traceback" in told or "Exception ignored" in told else "well"), took, told
    return f"exit code {started.returncode}", took, told


def main() -> None:
    """Try as often as was asked for, and print how each try ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tries", type=int)
    parser.add_argument("--earliest", type=float, default=2.0)
    parser.add_argument("--latest", type=float, default=25.0)
    arguments = parser.parse_args()
    draw, counts = random.Random(0), collections.Counter[str]()  # noqa: S311  # no secret
    for _ in range(arguments.tries):
        seconds = draw.uniform(arguments.earliest, arguments.latest)
        ending, took, told = attempt(seconds)
        counts[ending] += 1
        print(f"after {seconds:4.1f} s: {ending}, {took:.1f} s later", flush=True)
        if ending != "well":
            print(told[-2000:], flush=True)
    print(dict(counts))


if __name__ == "__main__":
    main()
