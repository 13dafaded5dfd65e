"""Time one photograph predicted again and again: by path, by record, and with the network that a record keeps loaded.

Usage: python benchmarks/reopening.py [BUNDLE] [--rounds 15]

BUNDLE is a run or a bundle, "imagenet" if left out. The photograph is drawn, 640x480, and handed over as the bytes of
a JPEG. "by path" verifies the bundle and loads its network at each call, "by record" loads it only, "kept" does
neither. All three in turn, in one process; medians and ranges.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import os
import platform
import statistics
import time
from importlib import metadata

import numpy as np
from PIL import Image

import sightline


def main() -> None:
    """Run all in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", default="imagenet")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    photograph = a_photograph()
    opened = sightline.reopen(arguments.bundle)
    bundle = opened.bundle if isinstance(opened, sightline.Run) else opened
    milliseconds: dict[str, list[float]] = {"by path": [], "by record": [], "kept": []}
    for _ in range(arguments.rounds):
        # No record keeps a network yet, so these two load it; the second one without verifying the bundle.
        milliseconds["by path"].append(timed(arguments.bundle, photograph))
        record = dataclasses.replace(bundle)
        milliseconds["by record"].append(timed(record, photograph))
        milliseconds["kept"].append(timed(record, photograph))
        del record
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(", ".join(f"{name} {metadata.version(name)}" for name in ("sightline", "onnxruntime", "numpy", "pillow")))
    print(f"{bundle!r}, {arguments.rounds} rounds")
    quickest = statistics.median(milliseconds["kept"])
    print(f"\n{'way':<12}{'median ms':>10}{'range':>18}{'times as long as kept':>24}")
    for name, times in milliseconds.items():
        median, spread = statistics.median(times), f"{min(times):.1f} to {max(times):.1f}"
        print(f"{name:<12}{median:>10.1f}{spread:>18}{median / quickest:>23.1f}x")


def timed(bundle: str | sightline.Bundle, photograph: bytes) -> float:
    """Milliseconds of one call."""
    started = time.perf_counter()
    sightline.predict(bundle, photograph, progress=False)
    return 1000 * (time.perf_counter() - started)


def a_photograph() -> bytes:
    """Smooth colours and some noise, as a JPEG."""
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    smooth.save(stream, "JPEG", quality=90)
    return stream.getvalue()


if __name__ == "__main__":
    main()
