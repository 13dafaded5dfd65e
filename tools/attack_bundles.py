"""Attack everything that opens a bundle or a run with changed ones, resealed so that their hashes are right.

Usage: python tools/attack_bundles.py runs/mnist-fast-001 [--count 500] [--seed 0]

Fields of the JSON files are changed in kind, range and name, bytes and structure of the graph, arrays and tables of the
run, and files change places. `predict`, `similar`, `evaluate`, `compare` and what reads a recipe open each; a child
process does it, so that a crash is counted, too. It ends with 1 where anything but an answer or a refusal came
of one, or one took longer than 10 s of processor time: what runs beside it shall not count.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

import sightline
from sightline.bundles.prediction import predict
from sightline.configuration.recipes import flatten, read_recipe
from sightline.errors import SightlineError
from sightline.evaluation.evaluate import evaluate
from sightline.evaluation.measuring.finished_runs import read_run
from sightline.evaluation.similarity import similar
from sightline.system.progress import reporting

MOST_SECONDS = 10.0
HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63), 10**400, 0.5, 1e308, float("nan"), float("inf")),
    *("", "\x1b[31m", "\ud800", "a" * 100_000, "/etc/passwd", "../../recipe.json"),
    *([], {}, [[]], [None], {"a": 1}, list(range(3_000)), [[1, 2], [3]], ["a", "a"], [["a"]]),
)
DESCRIPTIONS = ("manifest.json", "input.json", "labels.json", "calibration.json", "metrics.json")
ARRAYS = ("parity.npz", "identity.npz", "sets.npz")
BUNDLE_FILES = (*DESCRIPTIONS, *ARRAYS, "model.onnx", "card.md")
OF_RUN = ("recipe.json", "metrics.json", "history.jsonl", "splits.csv", "predictions.npz")


def places_in(content: Any) -> list[tuple[Any, Any]]:
    """Every container in a tree with one of its keys."""
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    return [place for key in keys for place in ((content, key), *places_in(content[key]))]


def change_json(path: Path, draw: np.random.Generator) -> None:
    """Change, remove, rename or repeat a field, or write something else altogether."""
    content = json.loads(path.read_text(encoding="utf-8"))
    value, places = copy.deepcopy(HOSTILE[draw.integers(len(HOSTILE))]), places_in(content)
    kind = draw.integers(8)
    if kind == 0 or not places:
        content = value
    else:
        container, key = places[draw.integers(min(len(places), 40) if draw.random() < 0.7 else len(places))]
        if kind == 1:
            del container[key]
        elif kind == 2 and isinstance(container, dict):
            container[f"{key}x"] = container.pop(key)
        else:
            container[key] = value
    text = json.dumps(content)
    if draw.random() < 0.05:
        text = "[" * 50_000 + text + "]" * 50_000
    path.write_text(text, encoding="utf-8")


def change_bytes(path: Path, draw: np.random.Generator) -> None:
    """Flip bits, cut, or append."""
    content = bytearray(path.read_bytes())
    kind = draw.integers(4)
    if kind == 0:
        content = content[: draw.integers(len(content))]
    elif kind == 1:
        content += draw.bytes(int(draw.integers(1, 400)))
    else:
        # The graph stands at both ends of the file, weights between them.
        reach = len(content) if draw.random() < 0.5 else min(len(content), 4_000)
        for place in draw.integers(0, reach, 1 + draw.integers(8)):
            content[place if draw.random() < 0.5 else -1 - place] ^= 1 << draw.integers(8)
    path.write_bytes(content)


def change_graph(path: Path, draw: np.random.Generator) -> None:
    """Change what a graph takes, gives or does, and keep it a graph."""
    model = onnx.load(str(path))
    graph, kind = model.graph, draw.integers(9)
    node, tensor = graph.node[draw.integers(len(graph.node))], graph.initializer[draw.integers(len(graph.initializer))]
    value = [*graph.input, *graph.output][draw.integers(len(graph.input) + len(graph.output))]
    if kind == 0:
        value.name = ["logits", "images", "disagreement", "x"][draw.integers(4)]
    elif kind == 1:
        value.type.tensor_type.elem_type = int(draw.integers(1, 14))
    elif kind == 2:
        sides = value.type.tensor_type.shape.dim
        sides[draw.integers(len(sides))].dim_value = int(draw.integers(-1, 40_000))
    elif kind == 3:
        node.op_type = ["Loop", "If", "Scan", "Identity", "NonZero", "Unique", "Expand"][draw.integers(7)]
    elif kind == 4:
        node.domain = ["com.microsoft", "ai.onnx.ml", "own"][draw.integers(3)]
    elif kind == 5:
        tensor.dims[:] = [int(side) for side in draw.integers(0, 2**31, 1 + draw.integers(3))]
    elif kind == 6:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../recipe.json")
    elif kind == 7:
        scale = float([np.nan, np.inf, 1e38, 0][draw.integers(4)])
        graph.node[-1].output[0], last = "before", graph.node[-1].output[0]
        graph.initializer.append(helper.make_tensor("scale", TensorProto.FLOAT, [1], [scale]))
        graph.node.append(helper.make_node("Mul", ["before", "scale"], [last]))
    else:
        del graph.output[draw.integers(len(graph.output))]
    path.write_bytes(model.SerializeToString())


def swap_files(bundle: Path, draw: np.random.Generator) -> None:
    """Put one file in the place of another, or nothing, or a folder."""
    first, second = (bundle / BUNDLE_FILES[place] for place in draw.choice(len(BUNDLE_FILES), 2, replace=False))
    kind = draw.integers(3)
    if kind == 0:
        shutil.copy(second, first)
    else:
        first.unlink()
        if kind == 1:
            first.touch()
        else:
            first.mkdir()


def change_arrays(path: Path, draw: np.random.Generator) -> None:
    """Change an array of an `.npz` file in shape, kind or numbers."""
    arrays = dict(np.load(path))
    name = sorted(arrays)[draw.integers(len(arrays))]
    array = arrays[name]
    others: tuple[Any, ...] = (np.atleast_1d(array)[:-1], array[None], np.zeros(3))
    if array.dtype.kind != "U":
        others += (array.astype(str), np.array([b"a"]), np.full_like(array, -1 if array.dtype.kind in "if" else 1))
    other = others[draw.integers(len(others))]
    if draw.random() < 0.3 and array.dtype.kind == "f":
        other = np.where(draw.random(array.shape) < 0.5, np.nan, array)
    arrays[name] = other
    np.savez(path, **arrays)


def change_run(run: Path, draw: np.random.Generator) -> None:
    """Change a file that lies beside the bundle."""
    path = run / OF_RUN[draw.integers(len(OF_RUN))]
    if path.suffix == ".json" and draw.random() < 0.8:
        change_json(path, draw)
    elif path.suffix == ".npz" and draw.random() < 0.7:
        change_arrays(path, draw)
    else:
        change_bytes(path, draw)


def reseal(bundle: Path) -> None:
    """Make the hashes of a manifest right again, where it is one."""
    path = bundle / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        listed = manifest["files"]
        for name in listed:
            content = (bundle / name).read_bytes()
            listed[name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        path.write_text(json.dumps(manifest), encoding="utf-8")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return


def changed(run: Path, number: int, seed: int, place: Path) -> Path:
    """A copy of a run in which something is changed: always the same for one number and seed."""
    draw = np.random.default_rng((seed, number))
    copied = Path(shutil.copytree(run, place / f"{number:05d}"))
    bundle = copied / "bundle"
    for _ in range(1 + int(draw.random() < 0.2)):
        kind = draw.random()
        try:
            if kind < 0.4:
                change_json(bundle / DESCRIPTIONS[draw.integers(len(DESCRIPTIONS))], draw)
            elif kind < 0.55:
                change_bytes(bundle / "model.onnx", draw)
            elif kind < 0.75:
                change_graph(bundle / "model.onnx", draw)
            elif kind < 0.8:
                swap_files(bundle, draw)
            elif kind < 0.85:
                change_arrays(bundle / ARRAYS[draw.integers(len(ARRAYS))], draw)
            else:
                change_run(copied, draw)
        except Exception:  # noqa: BLE001, S112  # what was changed before cannot be changed any more
            continue
    reseal(bundle)
    return copied


def outcomes(run: Path) -> dict[str, str]:
    """What each way of opening a run made of it: "answered", "refused", or the fault."""
    picture = run.parent / "picture.png"
    Image.fromarray(np.arange(784, dtype=np.uint8).reshape(28, 28)).save(picture)
    Image.fromarray(np.full((28, 28), 9, np.uint8)).save(run.parent / "another.png")
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    labels = np.arange(40) % 10
    arrays = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}

    def answer() -> None:
        found = predict(run, images, progress=False)
        sure = found.confidences[found.readable]
        named = np.array(found.predicted, object)[found.readable]
        if not np.isfinite(sure).all() or not all(name in found.class_names for name in named):
            raise ValueError("an answer without a number or a class")

    ways: dict[str, Callable[[], Any]] = {
        "predict": answer,
        "predict a file": lambda: predict(run, [picture], progress=False),
        "predict sets": lambda: predict(run, images, coverage=0.8, score="aps", progress=False).named_sets,
        "similar": lambda: similar(run, picture, folder=[picture, run.parent / "another.png"]),
        "evaluate": lambda: evaluate(run, sightline.load(arrays)),
        "read": lambda: read_run(run),
        "recipe": lambda: list(flatten(read_recipe(run / "recipe.json").to_dict())),
    }
    return {name: _outcome(way) for name, way in ways.items()}


def _outcome(way: Callable[[], Any]) -> str:
    try:
        with reporting("quiet"):
            way()
    except SightlineError:
        return "refused"
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what is looked for
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:100]!a} at {Path(frame.filename).name}:{frame.lineno}"
    return "answered"


def attack(run: Path, number: int, seed: int) -> tuple[dict[str, str], float]:
    """Make one changed run, open it in every way, and take the processor's time."""
    with tempfile.TemporaryDirectory() as place:
        copied = changed(run, number, seed, Path(place))
        begun = time.process_time()
        return outcomes(copied), time.process_time() - begun


def main() -> int:
    """Attack, and tell what came of it."""
    parser = argparse.ArgumentParser(description="Open changed bundles and runs, and count what is no refusal.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    told, faults, slowest, pool = Counter[str](), 0, 0.0, ProcessPoolExecutor(1)
    for number in range(arguments.count):
        try:
            found, seconds = pool.submit(attack, arguments.run, number, arguments.seed).result(timeout=120)
        except (BrokenProcessPool, TimeoutError) as error:
            found, seconds, pool = {"process": f"{type(error).__name__}"}, 0.0, ProcessPoolExecutor(1)
        slowest = max(slowest, seconds)
        for way, outcome in found.items():
            told[outcome if outcome in ("answered", "refused") else "fault"] += 1
            if outcome not in ("answered", "refused"):
                faults += 1
                print(f"{number}: {way}: {outcome}", flush=True)
    pool.shutdown()
    print(f"{arguments.count} changed runs: {dict(told)}, {faults} faults")
    print(f"the slowest took {slowest:.1f} s of processor time")
    return 1 if faults or slowest > MOST_SECONDS else 0


if __name__ == "__main__":
    sys.exit(main())
