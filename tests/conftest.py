"""What several test files share: small real data, one tiny trained run, the command line."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sightline


@dataclass(frozen=True)
class Answer:
    """What a command left: its exit code and both streams."""

    code: int
    out: str
    err: str


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests first: the short ones then fill the time of whichever worker is done sooner."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long and item.path.parent.name != "training")


@pytest.fixture(scope="session")
def small_arrays() -> dict[str, np.ndarray]:
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
def small_npz(small_arrays: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.npz"
    np.savez(path, **small_arrays)
    return path


@pytest.fixture(scope="session")
def tiny_run(small_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> sightline.Run:
    """A run of two epochs on 600 images; whoever alters its files takes `run_copy`."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    recipe = sightline.recipe("fast", {"model.name": "lenet5", "training.epochs": 2})
    return sightline.train(small_npz, recipe=recipe, out=out, mode="quiet")


@pytest.fixture
def run_copy(tiny_run: sightline.Run, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run.path, tmp_path / "run"))


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Answer]:
    """Types a command in an empty folder and hands back what it answered."""
    from sightline.cli.main import main

    monkeypatch.chdir(tmp_path)

    def type_in(*words: Any) -> Answer:
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return type_in


@pytest.fixture
def ordinary_user(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of a user for whom closed doors are closed, even where the tests run as root.

    What a test patches goes back later: such a user may be unable to return to the folder that the tests began in.
    """
    folder = Path(tempfile.mkdtemp(prefix="sightline-"))
    folder.chmod(0o777)
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        for path in folder.rglob("*"):
            if path.is_dir():
                path.chmod(stat.S_IRWXU)
        shutil.rmtree(folder)


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., Answer]:
    """Runs a program in a fresh interpreter."""

    def run(program: str, *words: Any, **options: Any) -> Answer:
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            **{"cwd": tmp_path, "timeout": 300, **options},
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return run
