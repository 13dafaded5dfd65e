"""Images that look alike to the network: clusters found on validation rows, whose errors are then judged on others."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.metrics.slices import FEWEST_IMAGES

MOST_CLUSTERS, MOST_JUDGED = 12, 3
_ROUNDS: Final = 30


def worst_clusters(
    found_on: NDArray[np.float32], wrong: NDArray[np.bool_], judged: NDArray[np.float32], *, seed: int = 0
) -> list[NDArray[np.bool_]]:
    """The parts of the judged rows that lie where validation rows were wrong most often.

    Args:
        found_on: (num_validation, num_features).
        wrong: (num_validation,) bool.
        judged: (num_images, num_features) of other rows.
        seed: of where the clusters begin.

    Returns:
        Up to three masks (num_images,), the worst on the validation rows first. Which are judged was settled there, so
        that the judged rows have no say in it.
    """
    count = min(MOST_CLUSTERS, len(found_on) // FEWEST_IMAGES)
    if count < 2 or not len(judged):
        return []
    directions = _unit(found_on)
    centres = _k_means(directions, count, seed)
    nearest, own = (np.argmax(rows @ centres.T, axis=1) for rows in (directions, _unit(judged)))
    sizes = np.bincount(nearest, minlength=count)
    errors = np.bincount(nearest, weights=wrong, minlength=count) / np.maximum(sizes, 1)
    usual = float(wrong.mean())
    order = [cluster for cluster in np.argsort(-errors, kind="stable").tolist() if sizes[cluster] >= FEWEST_IMAGES // 2]
    return [own == cluster for cluster in order[:MOST_JUDGED] if errors[cluster] > usual]


def _unit(features: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = np.asarray(features, np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12))


def _k_means(directions: NDArray[np.float64], count: int, seed: int) -> NDArray[np.float64]:
    """Centres of length 1; each begins far from those before it, as k-means++ does."""
    generator = np.random.default_rng(seed)
    centres = directions[generator.integers(len(directions))][None]
    while len(centres) < count:
        far = np.maximum(1 - (directions @ centres.T).max(axis=1), 0)
        if far.sum() <= 0:
            break
        centres = np.vstack([centres, directions[generator.choice(len(directions), p=far / far.sum())]])
    for _ in range(_ROUNDS):
        nearest = np.argmax(directions @ centres.T, axis=1)
        moved = np.stack(
            [
                directions[nearest == one].sum(axis=0) if (nearest == one).any() else centres[one]
                for one in range(len(centres))
            ]
        )
        moved = _unit(moved.astype(np.float32))
        if np.allclose(moved, centres):
            break
        centres = moved
    return np.asarray(centres)
