"""A head by softmax regression over a path of penalties, by ours and by SciPy's L-BFGS on the same loss, side by side.

Features are made: classes with directions of their own in 200 dimensions, seen through a random map to so many features
that hang together as those of a backbone do, and noise. Told are seconds of processor time of the whole path, medians
and ranges over rounds in turn, their ratio, and by how much the loss of one lies above that of the other, at worst.

Usage: python benchmarks/heads.py [--rows 4000] [--features 1280] [--classes 10] [--rounds 3] [--file FEATURES.npz]

With --file, an .npz of `X` (num_rows, num_features), standardised, and `y`.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from sightline.system.backends import load_keras

load_keras()

from sightline.training.transfer.softmax import SoftmaxRegression  # noqa: E402  # the backend is chosen first

PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01)


def main() -> None:
    """Fit by both in turn and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--features", type=int, default=1280)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--file", type=Path)
    asked = parser.parse_args()
    rows, labels = made(asked.rows, asked.features, asked.classes) if asked.file is None else read(asked.file)
    num_classes = int(labels.max()) + 1
    took: dict[str, list[float]] = {"sightline": [], "scipy": []}
    worst = -np.inf
    for _ in range(asked.rounds):
        started = time.process_time()
        ours = SoftmaxRegression(rows, labels, np.ones(len(rows), np.float32), num_classes)
        found = [ours.fit(penalty) for penalty in PENALTIES]
        took["sightline"].append(time.process_time() - started)
        started = time.process_time()
        usual = by_scipy(rows, labels, num_classes)
        took["scipy"].append(time.process_time() - started)
        for (kernel, bias), point, penalty in zip(found, usual, PENALTIES, strict=True):
            mine = loss(np.vstack([kernel, bias]).ravel().astype(np.float64), rows, labels, penalty)[0]
            worst = max(worst, mine - loss(point, rows, labels, penalty)[0])
    print(
        f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}, "
        + ", ".join(f"{name} {metadata.version(name)}" for name in ("sightline", "numpy", "scipy"))
    )
    print(f"{rows.shape[0]:,} rows of {rows.shape[1]:,} features, {num_classes} classes, penalties {PENALTIES}")
    for name, seconds in took.items():
        print(
            f"{name:10} {statistics.median(seconds):6.2f} s of processor time "
            f"({min(seconds):.2f} to {max(seconds):.2f})"
        )
    ratio = statistics.median(b / a for a, b in zip(took["sightline"], took["scipy"], strict=True))
    print(f"{ratio:.1f} times; the loss at worst {worst:+.1e} nats from SciPy's")


def made(num_rows: int, num_features: int, num_classes: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Standardised features with as many directions of weight as a backbone's have, and labels."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, num_classes, num_rows)
    hidden = generator.normal(size=(num_classes, 200))[labels] * 0.5 + generator.normal(size=(num_rows, 200))
    mixed = hidden * np.geomspace(1, 0.05, 200) @ generator.normal(size=(200, num_features))
    mixed += 0.1 * generator.normal(size=mixed.shape)
    return ((mixed - mixed.mean(axis=0)) / mixed.std(axis=0)).astype(np.float32), labels


def read(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features and labels of a file."""
    with np.load(path, allow_pickle=False) as stored:
        return stored["X"].astype(np.float32), stored["y"].astype(np.int64)


def loss(
    point: NDArray[np.float64], rows: NDArray[np.float32], labels: NDArray[np.int64], penalty: float
) -> tuple[float, NDArray[np.float64]]:
    """Penalised cross-entropy in features as they come, and its gradient."""
    whole = point.astype(np.float32).reshape(rows.shape[1] + 1, -1)
    logits = rows @ whole[:-1] + whole[-1]
    logits -= logits.max(axis=1, keepdims=True)
    shares = np.exp(logits)
    shares /= shares.sum(axis=1, keepdims=True)
    surprise = -float(np.log(shares[np.arange(len(labels)), labels]).mean(dtype=np.float64))
    shares[np.arange(len(labels)), labels] -= 1
    shares /= len(labels)
    gradient = np.concatenate([rows.T @ shares + penalty * whole[:-1], shares.sum(axis=0)[None]])
    return surprise + penalty / 2 * float((whole[:-1] ** 2).sum()), gradient.astype(np.float64).ravel()


def by_scipy(rows: NDArray[np.float32], labels: NDArray[np.int64], num_classes: int) -> list[NDArray[np.float64]]:
    """The path by L-BFGS-B, each fit begun where the last one ended."""
    point, found = np.zeros((rows.shape[1] + 1) * num_classes), []
    for penalty in PENALTIES:
        answer = minimize(loss, point, (rows, labels, penalty), jac=True, method="L-BFGS-B", options={"maxiter": 100})
        point = np.asarray(answer.x)
        found.append(point)
    return found


if __name__ == "__main__":
    main()
