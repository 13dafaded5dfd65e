"""How well left-out classes are told by frozen features of a pretrained network: areas with intervals, by seed.

Usage: python benchmarks/novelty_frozen.py SOURCE --pairs 3,5 8,9 [--seeds 3] [--size 96] [--images 2600]

EfficientNet-Lite0 as it comes with the package sees images of SOURCE at --size pixels once. For each pair of classes
and each seed, the other classes are divided at random: 60 % train rows give both scores of novelty, as a bundle has
them, and a linear head (least squares on features of length 1, ridge of 0.01, ten times as steep), the rest are the
known images; those of the pair are the novel ones. Beside the scores stand energy and the largest probability; means
over seeds, and the lowest and the highest bound of their intervals (DeLong, 95 %).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

import sightline
from sightline.bundles.bundle import FOLDER
from sightline.bundles.sessions import Session
from sightline.data.inputs.pixels import read_pixels
from sightline.metrics.novelty import (
    class_scores,
    fit_class_distances,
    neighbour_scores,
    placed,
    principal_directions,
    unit_length,
)
from sightline.metrics.uncertainty.ranking import Ranking
from sightline.records import InputSpec
from sightline.training.packaging.novelty_fit import SEEN, kept_width
from sightline.training.packaging.novelty_graph import seeing

Floats = NDArray[np.float64]


def main() -> None:
    """See all images, print a line of the table for each pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--pairs", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--images", type=int, default=2_600)
    arguments = parser.parse_args()
    dataset = sightline.load(arguments.source)
    rows = np.sort(np.random.default_rng(0).permutation(len(dataset))[: arguments.images])
    spec = InputSpec(arguments.size, arguments.size, "rgb", "fit")
    with tempfile.TemporaryDirectory() as folder:
        pretrained = Session(of_one_size(Path(folder) / "model.onnx", arguments.size), num_classes=1_000)
        with seeing(pretrained, width=int(pretrained.output_shapes()["features"][1])) as session:
            told = session.collect(read_pixels(dataset.take(rows), spec), ["features", SEEN])
    labels = dataset.labels[rows]
    print(f"{arguments.source}: {len(rows):,} images at {arguments.size} pixels")
    for pair in arguments.pairs:
        is_novel = np.isin(labels, [int(label) for label in pair.split(",")])
        found = [areas((told[SEEN], told["features"]), labels, is_novel, seed=seed) for seed in range(arguments.seeds)]
        cells = []
        for name in found[0]:
            values, lower, upper = zip(*[one[name] for one in found], strict=True)
            cells.append(f"{name} {np.mean(values):.3f} [{min(lower):.3f}, {max(upper):.3f}]")
        print(f"| {pair} | {' | '.join(cells)} |", flush=True)


def of_one_size(path: Path, size: int) -> Path:
    """The pretrained network for images of one size, as a bundle has it: how large its maps are is known."""
    model = onnx.load(FOLDER / "model.onnx")
    for side in model.graph.input[0].type.tensor_type.shape.dim[1:3]:
        side.dim_value = size
    onnx.save(model, path)
    return path


def areas(
    looked_at: tuple[NDArray[np.float32], NDArray[np.float32]],
    labels: NDArray[np.int64],
    is_novel: NDArray[np.bool_],
    *,
    seed: int,
) -> dict[str, tuple[float, float, float]]:
    """Score to its area and both bounds, for one way to divide the images of known classes.

    Of what novelty sees and of the features.
    """
    seen, features = looked_at
    known = np.random.default_rng(seed).permutation(np.flatnonzero(~is_novel))
    train, asked = known[: int(0.6 * len(known))], known[int(0.6 * len(known)) :]
    asked = np.concatenate([asked, np.flatnonzero(is_novel)])
    directions = principal_directions(seen[train], kept_width(seen.shape[1], len(np.unique(labels[train]))))
    learned, points = placed(seen[train], directions), placed(seen[asked], directions)
    logits = 10 * head(unit_length(features[train]), labels[train], unit_length(features[asked]))
    largest = logits.max(axis=1)
    rest = np.log(np.exp(logits - largest[:, None]).sum(axis=1))
    scores = {
        "images": neighbour_scores(points, learned[:1_000]),
        "classes": class_scores(points, fit_class_distances(learned, labels[train])),
        "energy": -largest - rest,
        "largest probability": -np.exp(-rest),
    }
    rankings = {name: Ranking([(values, is_novel[asked])]) for name, values in scores.items()}
    return {name: (ranking.value, *ranking.interval()) for name, ranking in rankings.items()}


def head(points: Floats, labels: NDArray[np.int64], asked: Floats) -> Floats:
    """Logits of the asked points: least squares on which class each learned one is of, with a little ridge."""
    classes = np.unique(labels)
    centre = points.mean(axis=0)
    centred = points - centre
    gram = centred.T @ centred + 0.01 * len(points) * np.eye(points.shape[1]) / points.shape[1]
    kernel = np.linalg.solve(gram, centred.T @ (labels[:, None] == classes))
    return np.asarray((asked - centre) @ kernel)


if __name__ == "__main__":
    main()
