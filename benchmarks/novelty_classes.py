"""How well classes that a network never saw are told, pair by pair: area under the ROC curve with its interval.

Usage: python benchmarks/novelty_classes.py SOURCE --pairs 4,9 0,1 [--seeds 3] [--recipe fast] [--set KEY=VALUE ...]

For each pair of classes and each seed, a network is trained by a recipe on SOURCE without them; nothing of them is in
its network, its statistics or its validation images. Its test images are the known ones, images of the pair (at most
--images of each kind) the novel ones. The two scores of novelty, the one that the bundle chose marked by a star, stand
beside energy and the largest probability; intervals at 95 % are DeLong's, over images, for the first seed, and the mean
over all seeds stands before them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sightline
from sightline.bundles.sessions import session_of
from sightline.bundles.trust.novelty import METHODS
from sightline.data.inputs.pixels import read_pixels
from sightline.metrics.uncertainty.ranking import Ranking

COLUMNS = (*METHODS, "energy", "largest probability")


def main() -> None:
    """Train for each pair and seed, print a line of the table for each pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--pairs", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--set", nargs="*", default=[], dest="changes")
    parser.add_argument("--images", type=int, default=2_000)
    arguments = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(", ".join(f"{name} {metadata.version(name)}" for name in ("sightline", "onnxruntime", "numpy")))
    print(f"\n{arguments.source}, recipe {arguments.recipe} {' '.join(arguments.changes)}\n")
    print(f"| left out | test accuracy | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 2)}")
    dataset = sightline.load(arguments.source)
    changes = {key: value_of(text) for key, text in (change.split("=", 1) for change in arguments.changes)}
    for pair in arguments.pairs:
        found = []
        for seed in range(arguments.seeds):
            recipe = sightline.recipe(arguments.recipe, {**changes, "seed": seed})
            found.append(measure(dataset, [int(label) for label in pair.split(",")], recipe, arguments.images))
        print(line_of(pair, found), flush=True)


def value_of(text: str) -> Any:
    """A number where it is one."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@dataclasses.dataclass(frozen=True)
class Found:
    """What came out of one training: areas and intervals by COLUMNS, and which of them the bundle has."""

    accuracy: float
    method: str
    areas: dict[str, tuple[float, tuple[float, float]]]


def line_of(pair: str, found: list[Found]) -> str:
    """Means over seeds, the interval of the first, a star for each seed that chose the score."""
    cells = [pair, f"{np.mean([one.accuracy for one in found]):.3f}"]
    for name in COLUMNS:
        lower, upper = found[0].areas[name][1]
        stars = "*" * sum(one.method == name for one in found)
        cells.append(f"{np.mean([one.areas[name][0] for one in found]):.4f} [{lower:.4f}, {upper:.4f}]{stars}")
    return f"| {' | '.join(cells)} |"


def measure(dataset: sightline.Dataset, pair: list[int], recipe: sightline.Recipe, most: int) -> Found:
    """One training without the pair, and how its scores tell it."""
    from sightline.training.packaging.novelty_fit import SEEN, fit_novelty
    from sightline.training.packaging.novelty_graph import seeing
    from sightline.training.setup.preparation import prepare

    known = without(dataset, pair)
    with tempfile.TemporaryDirectory() as folder:
        run = sightline.train(known, recipe=recipe, out=Path(folder) / "run", mode="quiet")
        session = session_of(run.bundle)
        width = session.output_shapes()["features"][1]
        with seeing(session, width=int(width)) as looking:
            fitted = fit_novelty(looking, prepare(known, recipe))
            rows = np.random.default_rng(recipe.seed).permutation(np.flatnonzero(np.isin(dataset.labels, pair)))
            kinds = (known.take(run.splits.test[:most]), dataset.take(np.sort(rows[:most])))
            told = [looking.collect(read_pixels(one, run.bundle.input), [SEEN, "logits"]) for one in kinds]
    if fitted is None or run.evaluation is None:
        raise SystemExit("too few images to fit or to test by")
    is_novel = np.repeat([False, True], [len(one["logits"]) for one in told])
    together = {name: np.concatenate([one[name] for one in told]) for name in (SEEN, "logits")}
    scores = {name: fitted.scores(together[SEEN], name) for name in METHODS}
    scores |= energy_and_smallness(together["logits"].astype(np.float64))
    return Found(run.evaluation.accuracy, fitted.method, {name: area(scores[name], is_novel) for name in COLUMNS})


def without(dataset: sightline.Dataset, pair: list[int]) -> sightline.Dataset:
    """The images of the other classes, numbered anew."""
    others = [label for label in range(dataset.num_classes) if label not in pair]
    known = dataset.take(np.flatnonzero(np.isin(dataset.labels, others)))
    labels = np.searchsorted(others, known.labels).astype(np.int64)
    names = tuple(dataset.class_names[label] for label in others)
    return dataclasses.replace(known, labels=labels, class_names=names)


def energy_and_smallness(logits: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Minus the logarithm of the sum of exponentials, and minus the largest probability."""
    largest = logits.max(axis=1)
    rest = np.log(np.exp(logits - largest[:, None]).sum(axis=1))
    return {"energy": -largest - rest, "largest probability": -np.exp(-rest)}


def area(scores: NDArray[np.float64], is_novel: NDArray[np.bool_]) -> tuple[float, tuple[float, float]]:
    """How often a novel image scores higher than a known one, and between which bounds that lies."""
    ranking = Ranking([(scores, is_novel)])
    return ranking.value, ranking.interval()


if __name__ == "__main__":
    main()
