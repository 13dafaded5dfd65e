"""What maps of `sightline explain` are worth: whether they add up, depend on the weights, and point at the object.

Usage: python benchmarks/maps.py zoo [MODEL ...] [--side 96]
       python benchmarks/maps.py weights RUN [--count 60] [--draws 3]
       python benchmarks/maps.py pointing RUN [--count 100] [--method activations]

zoo: each network with the weights that it would begin with from nothing, exported as for a bundle: how far the sum of
a map and its constant is from the logit, at most, over made images and classes; and the network inside the package.

weights: the weights of a finished run are shuffled within each layer, those of the last layer alone, then of those
before it, too; the rank correlation of maps of the same class with those of the run, mean over test images and draws.
Beside it a map of edges, which knows no weights.

pointing: of test images of a finished run that it answers right, made half as large, one in one quarter of a plain
ground (planted), and four of different classes in a square (mosaic); the latter once more of those images alone that
it still answers right so small, in each quarter of a plain ground: a map can point at nothing that its network does
not know. How often the largest value of the map of a class lies in the quarter of its image, and how much of what
speaks for it; chance is 0.25, and is looked at with a class of another quarter.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from sightline.bundles.bundle import load_bundle, write_manifest
from sightline.bundles.maps.activations import ActivationMaps, activation_maps
from sightline.bundles.maps.class_maps import MapsMaker, maps_maker
from sightline.bundles.parity import made_images
from sightline.bundles.sessions import session_of
from sightline.configuration.networks import MODELS
from sightline.configuration.schema import ModelRecipe
from sightline.data.decoding.transforms import change_color, resize_image
from sightline.data.inputs.pixels import raw_images
from sightline.data.sources.loading import open_again
from sightline.errors import InvalidBundle
from sightline.evaluation.measuring.finished_runs import FinishedRun, kept_predictions, read_run
from sightline.evaluation.measuring.judging import recorded_source
from sightline.metrics.answers.decisions import is_right
from sightline.records import Bundle, InputSpec
from sightline.system.progress import reporting

PARTS = ((0, 0), (0, 1), (1, 0), (1, 1))


def main() -> None:
    """Measure what was named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("zoo", "weights", "pointing"))
    parser.add_argument("names", nargs="*", help="networks, or a finished run")
    parser.add_argument("--side", type=int, default=96, help="of images of pretrained networks")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--method", default="activations")
    arguments = parser.parse_args()
    if arguments.what == "zoo":
        zoo(arguments.names, arguments.side)
    elif arguments.what == "weights":
        weights(read_run(arguments.names[0]), arguments.count, arguments.draws)
    else:
        pointing(read_run(arguments.names[0]), arguments.count, arguments.method)


def zoo(names: list[str], side: int) -> None:
    """Print how far maps of each network are from its logits."""
    print(f"imagenet (inside the package): {_gap(load_bundle('imagenet'))}")
    for name in names or MODELS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                told = _gap(_untrained(name, side, Path(folder) / "bundle"))
            except InvalidBundle as error:  # of a graph as the exporter should not write it
                told = str(error)
            print(f"{name}: {told}", flush=True)


def _untrained(name: str, side: int, folder: Path) -> Bundle:
    from sightline.networks.building import build_network
    from sightline.training.packaging.contract import save_network

    entry = MODELS[name]
    shape = (side, side, 3) if entry.backbone else entry.reference_input
    model = ModelRecipe(name=name, weights="random") if entry.backbone else ModelRecipe(name=name)
    network = build_network(shape, 10, model)
    draw = np.random.default_rng(0)
    # Biases begin at 0, and a constant that is 0 shows nothing.
    network.set_weights([one if one.ndim > 1 else one + 0.1 * draw.random(one.shape) for one in network.get_weights()])
    folder.mkdir()
    save_network(network, folder)
    spec = InputSpec(shape[0], shape[1], "grey" if shape[2] == 1 else "rgb")
    return Bundle(folder, tuple("0123456789"), spec, 1.0, 0, {}, {"files": {}})


def _gap(bundle: Bundle) -> str:
    way = activation_maps(bundle)
    if way is None:
        return "no maps of activations"
    images = made_images(bundle.input)
    logits, largest = session_of(bundle).logits(images), 0.0
    for label in range(10):
        maps, constants = way.parts(images, np.eye(logits.shape[1])[np.full(len(images), label)])
        largest = max(largest, float(np.abs(maps.sum(axis=(1, 2)) + constants - logits[:, label]).max()))
    size = np.abs(logits).max()
    return f"{way.grid.rows.size} x {way.grid.columns.size} places, largest gap {largest:.1e} (logits up to {size:.3g})"


def weights(run: FinishedRun, count: int, draws: int) -> None:
    """Print the rank correlation of maps with those of shuffled weights."""
    images, labels = _right_images(run, count)
    fed = np.stack([resize_image(image, run.bundle.input) for image in images])
    learned = _maps(run.bundle, fed, labels)
    graph = onnx.load(str(run.bundle.path / "model.onnx")).graph
    num_layers = len(_weights_from_the_end(graph))
    steps = sorted({1, 2, 3, *(round(num_layers * share) for share in (0.25, 0.5, 1))})
    print(f"{run.path}: {len(fed)} images, {draws} draws")
    edge_maps = _edges(fed)
    for layers in (one for one in steps if one <= num_layers):
        found = [
            _rank_correlation(learned, _maps(_shuffled(run.bundle, layers, seed), fed, labels)) for seed in range(draws)
        ]
        edges = _rank_correlation(edge_maps, _edges(fed))
        print(
            f"last {layers} of {num_layers} layers shuffled: {np.mean(found):.3f} "
            f"({min(found):.3f} to {max(found):.3f}), map of edges {edges:.3f}",
            flush=True,
        )


def _maps(bundle: Bundle, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    way = activation_maps(bundle)
    if not isinstance(way, ActivationMaps):
        raise SystemExit(f"{bundle.path}: no maps of activations")
    num_classes = len(bundle.class_names)
    return way.parts(images, np.eye(num_classes)[labels] - 1 / num_classes)[0]


def _weights_from_the_end(graph: Any) -> list[Any]:
    held = {weight.name: weight for weight in graph.initializer}
    maker = {name: node for node in graph.node for name in node.output}
    name, found = "logits", []
    while name in maker:
        found += [held[one] for one in maker[name].input if one in held and len(held[one].dims) > 1]
        name = next((one for one in maker[name].input if one not in held), "")
    return found


def _shuffled(bundle: Bundle, layers: int, seed: int) -> Bundle:
    folder = Path(tempfile.mkdtemp()) / "bundle"
    shutil.copytree(bundle.path, folder)
    model, draw = onnx.load(str(folder / "model.onnx")), np.random.default_rng(seed)
    for weight in _weights_from_the_end(model.graph)[:layers]:
        values = numpy_helper.to_array(weight)
        weight.CopyFrom(numpy_helper.from_array(draw.permutation(values.ravel()).reshape(values.shape), weight.name))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "manifest.json").unlink()
    write_manifest(folder)
    return load_bundle(folder)


def _edges(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    wide = images.astype(np.float64).mean(axis=3)
    return np.asarray(np.hypot(np.diff(wide, axis=1, append=0), np.diff(wide, axis=2, append=0)), np.float64)


def _rank_correlation(first: NDArray[Any], second: NDArray[Any]) -> float:
    ranks = [part.reshape(len(part), -1).argsort(axis=1).argsort(axis=1) for part in (first, second)]
    return float(np.nanmean([np.corrcoef(one, other)[0, 1] for one, other in zip(*ranks, strict=True)]))


def pointing(run: FinishedRun, count: int, method: str) -> None:
    """Print how often maps point at the quarter that holds the image of the class."""
    maker = maps_maker(run.bundle, method=method)  # type: ignore[arg-type]  # refused where it is none
    images, labels = _right_images(run, 4 * count + 20)
    print(f"{run.path}: maps by {maker.way.method}, {maker.grid.rows.size} x {maker.grid.columns.size} places")
    known = _known_when_small(run.bundle, images, labels)
    print(f"{known.mean():.2f} of {len(known)} images are answered right in each quarter of a plain ground")
    small = [images[row] for row in np.flatnonzero(known)], labels[known]
    for what, put, (chosen, theirs) in (
        ("planted in one quarter", _planted, (images, labels)),
        ("mosaic of four", _mosaic, (images, labels)),
        ("mosaic of four that are known so small", _mosaic, small),
    ):
        if len(set(theirs.tolist())) < len(PARTS):
            print(f"{what}: fewer than {len(PARTS)} classes are left")
            continue
        draw = np.random.default_rng(0)
        made = [put(chosen, theirs, run.bundle.input, draw) for _ in range(count)]
        fed = np.stack([picture for picture, *_ in made])
        asked, quarters, others = (np.array(part) for part in list(zip(*made, strict=True))[1:])
        maps = _asked(maker, fed, asked, len(run.class_names))
        there, elsewhere = (_judged(maker, maps, one) for one in (quarters, others))
        print(f"{what}: {there}; looked for in another quarter: {elsewhere}", flush=True)


def _judged(maker: MapsMaker, maps: NDArray[Any], quarters: NDArray[np.int64]) -> str:
    spread = np.maximum(maker.grid.spread(maps), 0)
    height, width = (side // 2 for side in spread.shape[1:])
    parts = [spread[:, a * height : (a + 1) * height, b * width : (b + 1) * width] for a, b in PARTS]
    largest = np.stack([part.max(axis=(1, 2)) for part in parts], axis=1)
    mass = np.stack([part.sum(axis=(1, 2)) for part in parts], axis=1)
    rows = np.arange(len(maps))
    hits = float((largest.argmax(axis=1) == quarters).mean())
    half = 1.96 * math.sqrt(hits * (1 - hits) / len(maps))
    share = float(np.mean(mass[rows, quarters] / np.maximum(mass.sum(axis=1), 1e-12)))
    return f"points there in {hits:.2f} +- {half:.2f} of {len(maps)} (chance 0.25), {share:.2f} of what speaks for it"


def _asked(maker: MapsMaker, fed: NDArray[np.uint8], labels: NDArray[np.int64], num_classes: int) -> NDArray[Any]:
    if isinstance(maker.way, ActivationMaps):
        return maker.way.parts(fed, np.eye(num_classes)[labels] - 1 / num_classes)[0]
    return np.stack([maker.way.drops(image, label)[0] for image, label in zip(fed, labels.tolist(), strict=True)])


Put = tuple[NDArray[np.uint8], int, int, int]


def _mosaic(images: list[Any], labels: NDArray[np.int64], spec: InputSpec, draw: np.random.Generator) -> Put:
    while True:
        rows = draw.choice(len(images), 4, replace=False)
        if len(set(labels[rows].tolist())) == 4:
            break
    quarter, other = draw.choice(4, 2, replace=False).tolist()
    picture = np.zeros(spec.shape, np.uint8)
    for row, part in zip(rows, PARTS, strict=True):
        _put(picture, images[row], part, spec)
    return picture, int(labels[rows[quarter]]), quarter, other


def _planted(images: list[Any], labels: NDArray[np.int64], spec: InputSpec, draw: np.random.Generator) -> Put:
    row = int(draw.integers(len(images)))
    quarter, other = draw.choice(4, 2, replace=False).tolist()
    return _on_plain_ground(images[row], PARTS[quarter], spec), int(labels[row]), quarter, other


def _on_plain_ground(image: NDArray[np.uint8], part: tuple[int, int], spec: InputSpec) -> NDArray[np.uint8]:
    picture = np.empty(spec.shape, np.uint8)
    picture[:] = np.median(image, axis=(0, 1))
    _put(picture, image, part, spec)
    return picture


def _known_when_small(bundle: Bundle, images: list[Any], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which images are answered right at half their size, in whichever quarter they lie."""
    session = session_of(bundle)
    made = (np.stack([_on_plain_ground(image, part, bundle.input) for image in images]) for part in PARTS)
    return np.asarray(np.logical_and.reduce([session.logits(pictures).argmax(axis=1) == labels for pictures in made]))


def _put(picture: NDArray[np.uint8], image: NDArray[np.uint8], part: tuple[int, int], spec: InputSpec) -> None:
    height, width = spec.height // 2, spec.width // 2
    small = resize_image(image, dataclasses.replace(spec, height=height, width=width))
    picture[part[0] * height : (part[0] + 1) * height, part[1] * width : (part[1] + 1) * width] = small


def _right_images(run: FinishedRun, count: int) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
    """Test images that the run answers right, in the colours of its bundle, and their labels."""
    answers = kept_predictions(run, "test")
    if answers is None:
        raise SystemExit(f"{run.path}: kept no answers to test rows")
    dataset = open_again(recorded_source(run.bundle), run.source)
    row_of = {name: row for row, name in enumerate(dataset.row_ids.tolist())}
    chosen = np.random.default_rng(1).permutation(np.flatnonzero(is_right(answers)))
    chosen = np.array([row for row in chosen.tolist() if answers.row_ids[row] in row_of][:count])
    images, _ = raw_images(dataset, np.array([row_of[answers.row_ids[row]] for row in chosen]))
    labels = np.asarray(answers.labels)[chosen]
    return [change_color(image, run.bundle.input.color_mode) for image in images], labels


if __name__ == "__main__":
    with reporting("quiet"):
        main()
