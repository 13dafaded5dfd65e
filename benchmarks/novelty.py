"""How well bundles tell images of other sources from their own: area under the ROC curve, catches and false alarms.

Usage: python benchmarks/novelty.py RUN OTHER [OTHER ...] [--rate 0.05] [--images 2000]

RUN is a finished run, whose test rows are the known images; OTHER is whatever `sightline.load` takes, whose images are
the novel ones. For each: the area of the score that the bundle was given, beside that of energy and of the largest
probability, each with a 95 % interval over images (bootstrap, seed 0), and what `predict --novelty` marks. Sources
that are not at hand are said and passed over. At the end what novelty takes: bytes of the graph, and the time of the
network with and without the output, for one image.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import sightline
from sightline.bundles.sessions import session_of
from sightline.bundles.trust.novelty import read_novelty
from sightline.data.inputs.pixels import read_pixels
from sightline.errors import SightlineError
from sightline.metrics.novelty import novelty_limit, separation

Outputs = dict[str, NDArray[np.float32]]


def main() -> None:
    """Measure one run against other sources, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("others", nargs="+")
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--images", type=int, default=2_000)
    arguments = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(", ".join(f"{name} {metadata.version(name)}" for name in ("sightline", "onnxruntime", "numpy")))
    run = sightline.reopen(arguments.run)
    if not isinstance(run, sightline.Run):
        raise SystemExit(f"{arguments.run} is a bundle; name its run, whose test rows are asked")
    known = read_novelty(run.bundle)
    print(f"\n{run}; {known.vouching.words}; by {known.method}; made images marked: {known.measures}\n")
    limit = novelty_limit(known.scores, rate=arguments.rate, certainty=0.95)
    dataset = sightline.load(str(run.bundle.metrics["source"]["typed"]))
    own = outputs(run, dataset.take(run.splits.test[: arguments.images]))
    alarms = float((own["novelty"] > limit).mean())
    print(f"false alarms {alarms:.4f} of {len(own['logits']):,} test rows, at most {arguments.rate:g} promised\n")
    print("| novel | novelty | energy | largest probability | marked |")
    print("|---|---|---|---|---|")
    for name in arguments.others:
        try:
            other = sightline.load(name)
        except SightlineError as error:
            print(f"| {name} | not at hand: {error} | | | |")
            continue
        rows = np.random.default_rng(0).permutation(len(other))[: arguments.images]
        print(row_of(Path(name).name, own, outputs(run, other.take(rows)), limit))
    tell_costs(run)


def outputs(run: sightline.Run, dataset: sightline.Dataset) -> Outputs:
    """Logits and the score of novelty."""
    return session_of(run.bundle).collect(read_pixels(dataset, run.bundle.input), ["logits", "novelty"])


def row_of(name: str, own: Outputs, novel: Outputs, limit: float) -> str:
    """A line of the table."""
    cells = [f"{name}, {len(novel['logits']):,} images"]
    for score in SCORES.values():
        inside, outside = score(own), score(novel)
        draw = np.random.default_rng(0)
        areas = [separation(resampled(inside, draw), resampled(outside, draw)) for _ in range(500)]
        lower, upper = np.quantile(areas, [0.025, 0.975])
        cells.append(f"{separation(inside, outside):.4f} [{lower:.4f}, {upper:.4f}]")
    marked = float((novel["novelty"] > limit).mean())
    return f"| {' | '.join(cells)} | {marked:.3f} |"


def resampled(scores: NDArray[np.float32], draw: np.random.Generator) -> NDArray[np.float32]:
    """As many, drawn with replacement."""
    return scores[draw.integers(0, len(scores), len(scores))]


def energy(found: Outputs) -> NDArray[np.float32]:
    """Minus the logarithm of the sum of exponentials."""
    largest = found["logits"].max(axis=1)
    return np.asarray(-largest - np.log(np.exp(found["logits"] - largest[:, None]).sum(axis=1)))


def smallness(found: Outputs) -> NDArray[np.float32]:
    """Minus the largest probability."""
    largest = found["logits"].max(axis=1, keepdims=True)
    return np.asarray(-1 / np.exp(found["logits"] - largest).sum(axis=1))


SCORES: dict[str, Callable[[Outputs], NDArray[np.float32]]] = {
    "novelty": lambda found: found["novelty"],
    "energy": energy,
    "largest probability": smallness,
}


def tell_costs(run: sightline.Run) -> None:
    """Bytes of the graph that novelty and the nearest images take, and the time of a whole prediction."""
    import onnx

    graph = onnx.load(run.bundle.path / "model.onnx").graph
    added = sum(weight.ByteSize() for weight in graph.initializer if weight.name.startswith("novelty/"))
    print(f"\n{added:,} bytes of weights for novelty and the nearest train images")
    image = np.zeros((1, *run.bundle.input.shape[:2]), np.uint8)
    best = {}
    for name, asked in (("without", None), ("with", 0.05)):
        times = []
        for _ in range(50):
            begun = time.perf_counter()
            sightline.predict(run, image, novelty=asked, progress=False)
            times.append(time.perf_counter() - begun)
        best[name] = min(times)
    print(f"a call for one image: {1e3 * best['without']:.2f} ms, with novelty {1e3 * best['with']:.2f} ms")


if __name__ == "__main__":
    main()
