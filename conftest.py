"""What tests and the examples of docstrings share: their order, small real data, one tiny trained run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import sightline

FIRST, SECOND = "runs/mnist-fast-001", "runs/mnist-fast-002"
# What an example of a docstring says where it trains, or reads what was trained.
TRAINS = re.compile(rf"sightline\.(train|combine|distil|find_learning_rate|search)\(|{FIRST}")


def _typed(item: object) -> str:
    """What the example of a docstring types, "" of a test."""
    return "".join(example.source for example in item.dtest.examples) if isinstance(item, pytest.DoctestItem) else ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests first: the short ones then fill the time of whichever worker is done sooner."""
    for item in items:
        if TRAINS.search(_typed(item)):
            item.add_marker(pytest.mark.slow)
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long and item.path.parent.name != "training")


@pytest.fixture(scope="session")
def small_arrays() -> dict[str, NDArray[np.uint8]]:
    """600 training and 200 test images of MNIST in Keras' layout."""
    mnist = sightline.load("mnist")
    images, labels = np.asarray(mnist.images), mnist.labels
    train = np.flatnonzero(mnist.given_splits == "train")[:600]
    test = np.flatnonzero(mnist.given_splits == "test")[:200]
    return {
        "x_train": images[train, :, :, 0],
        "y_train": labels[train].astype(np.uint8),
        "x_test": images[test, :, :, 0],
        "y_test": labels[test].astype(np.uint8),
    }


@pytest.fixture(scope="session")
def small_npz(small_arrays: dict[str, NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small arrays as a file."""
    path = tmp_path_factory.mktemp("small") / "small.npz"
    np.savez(path, **small_arrays)  # type: ignore[arg-type]  # NumPy's stub takes them for its own option
    return path


@pytest.fixture(scope="session")
def tiny_run(small_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> sightline.Run:
    """A run of two epochs on 600 images; whoever alters its files takes `run_copy`."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    # In so few steps AdamW learns something, and Muon hardly anything.
    keys = {"model.name": "lenet5", "training.epochs": 2, "optimizer.name": "adamw"}
    return sightline.train(small_npz, recipe=sightline.recipe("fast", keys), out=out, mode="quiet")


@pytest.fixture(scope="session")
def tiny_mlp(tiny_run: sightline.Run, small_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> sightline.Run:
    """Another network that learned from the same rows."""
    keys = {"model.name": "mlp", "training.epochs": 2, "optimizer.name": "adamw"}
    keys["data.splits_file"] = str(tiny_run.path / "splits.csv")
    out = tmp_path_factory.mktemp("runs") / "mlp"
    return sightline.train(small_npz, recipe=sightline.recipe("fast", keys), out=out, mode="quiet")


@pytest.fixture(scope="session")
def labels_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 images of 8x8 in noise, of which each may have three labels or none: three edges, bright where it has."""
    folder = tmp_path_factory.mktemp("edges")
    random = np.random.default_rng(3)
    labels = random.random((300, 3)) < [0.5, 0.4, 0.3]
    images = random.normal(80, 45, (300, 8, 8))
    for edge, has in zip((np.s_[:, :2], np.s_[:, 6:], np.s_[:2, :]), labels.T, strict=True):
        images[(has, *edge)] += 45
    lines = ["path,label"]
    for number, (image, row) in enumerate(zip(np.clip(images, 0, 255).astype(np.uint8), labels, strict=True)):
        Image.fromarray(image).save(folder / f"{number:03d}.png")
        told = ";".join(name for name, has in zip(("left", "right", "top"), row, strict=True) if has)
        lines.append(f"{number:03d}.png,{told or '[]'}")
    (folder / "edges.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder / "edges.csv"


@pytest.fixture(scope="session")
def labels_run(labels_table: Path, tmp_path_factory: pytest.TempPathFactory) -> sightline.Run:
    """A run whose images may have several labels; whoever alters its files copies it."""
    keys = {"data.task": "multi-label", "model.name": "mlp", "augmentation.policy": "none", "training.epochs": 8}
    keys |= {"data.validation_fraction": 0.2, "data.calibration_fraction": 0.2, "training.batch_size": 16}
    out = tmp_path_factory.mktemp("runs") / "edges"
    return sightline.train(labels_table, recipe=sightline.recipe("fast", keys), out=out, mode="quiet")


@pytest.fixture(scope="session")
def longer_labels_run(labels_run: sightline.Run, tmp_path_factory: pytest.TempPathFactory) -> sightline.Run:
    """The same run, four epochs later: it was judged on the same rows."""
    return sightline.extend(labels_run, epochs=4, out=tmp_path_factory.mktemp("runs") / "longer", mode="quiet")


@pytest.fixture(autouse=True)
def folder_of_example(request: pytest.FixtureRequest) -> None:
    """An example that trains begins in a folder of its own, which holds the finished runs that it names."""
    typed = _typed(request.node)
    if not TRAINS.search(typed):
        return
    folder = request.getfixturevalue("tmp_path")
    for place, fixture in ((FIRST, "tiny_run"), (SECOND, "tiny_mlp")):
        if place in typed:
            shutil.copytree(request.getfixturevalue(fixture).path, folder / place)
    request.getfixturevalue("monkeypatch").chdir(folder)
