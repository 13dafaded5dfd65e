"""What checkpoints cost a training at the default interval, in processor time, which other work does not lengthen.

For each network a short fit makes a checkpoint at every step, with all that one holds (optimizer slots, averages, best
and last sound weights). Measured are the copy between two steps, the writing in a thread beside them, and the look
whether one is due, which comes after every execution. A share follows: a checkpoint each minute, or each hundred times
its cost where that is longer, on one processor.

Usage: python benchmarks/checkpoints.py [--models lenet5,convnet,efficientnet-lite0] [--steps 12]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sightline.configuration.recipes import parse_recipe
from sightline.system.backends import load_keras
from sightline.system.progress import reporting
from sightline.training.setup.unfinished import USUAL, Interval

keras = load_keras()

from sightline.networks.building import build_network  # noqa: E402  # the backend is chosen first
from sightline.training.loop import checkpoints  # noqa: E402
from sightline.training.loop.batches import LabelledImages  # noqa: E402
from sightline.training.loop.checkpoint_files import numbered  # noqa: E402
from sightline.training.loop.fit import fit  # noqa: E402
from sightline.training.loop.recording import FitOutputs  # noqa: E402

SHAPES = {"lenet5": (28, 28, 1), "mlp": (28, 28, 1), "convnet": (32, 32, 3), "efficientnet-lite0": (96, 96, 3)}
SETTINGS = {
    "model.weights": "random",
    "training.batch_size": 16,
    "training.epochs": 2,
    "training.early_stopping_patience": 2,
    "optimizer.name": "adamw",
    "optimizer.ema_momentum": 0.9,
}


def timed(function: Callable[..., Any], kept: list[float]) -> Callable[..., Any]:
    """A function whose processor time in its own thread is kept."""

    def call(*arguments: Any, **options: Any) -> Any:
        started = time.thread_time()
        try:
            return function(*arguments, **options)
        finally:
            kept.append(time.thread_time() - started)

    return call


def seconds_of(model: str, steps: int, folder: Path, interval: Interval | None) -> tuple[dict[str, list[float]], int]:
    """Processor seconds by what they were spent on, and the bytes of the last checkpoint."""
    shape, found = SHAPES[model], defaultdict[str, list[float]](list)
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (16 * steps + 32, *shape)).astype(np.uint8)
    labels = np.arange(len(images)) % 10
    recipe = parse_recipe({"model.name": model, **SETTINGS})
    keras.utils.set_random_seed(0)
    network = build_network(shape, 10, recipe.model)
    kept = checkpoints.Checkpoints(folder, interval)
    places = [(checkpoints.StateKeeper, "_copy"), (checkpoints.Checkpoints, "_put"), (checkpoints.StateKeeper, "_look")]
    usual = [(owner, name, getattr(owner, name)) for owner, name in places]
    try:
        for owner, name, function in usual:
            setattr(owner, name, timed(function, found[name]))
        train, judged = LabelledImages(images[32:], labels[32:]), LabelledImages(images[:32], labels[:32])
        # One step at a time: as many positions as there can be.
        outputs = FitOutputs(checkpoints=kept, log_every=1)
        with reporting("quiet"):
            fit(network, train, validation=judged, recipe=recipe, outputs=outputs)
    finally:
        for owner, name, function in usual:
            setattr(owner, name, function)
    last = numbered(folder)
    return found, sum(path.stat().st_size for path in last[0].iterdir()) if last else 0


def main() -> None:
    """Print a row a network."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", default="lenet5,convnet,efficientnet-lite0")
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()
    print("| network | MB | copied, ms | written beside, ms | looked, ms a step | share of the time |")
    print("|---|---|---|---|---|---|")
    for model in arguments.models.split(","):
        with tempfile.TemporaryDirectory() as name:
            often, num_bytes = seconds_of(model, arguments.steps, Path(name) / "often", Interval(steps=1))
            seldom, _ = seconds_of(model, arguments.steps, Path(name) / "seldom", None)
        copied, written = (statistics.median(often[part]) for part in ("_copy", "_put"))
        # Those that copied nothing, of which there are more.
        looked = statistics.median(seldom["_look"])
        share = (copied + written) / max(USUAL.seconds or 0, (copied + written) / checkpoints.COST_SHARE)
        print(
            f"| {model} | {num_bytes / 1e6:.1f} | {1000 * copied:.0f} | {1000 * written:.0f} | {1000 * looked:.3f} | "
            f"{share:.3%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
