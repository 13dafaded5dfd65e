from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import sightline
from sightline.data.splitting.splits import split
from sightline.data.splitting.stratification import stratified
from sightline.records import Dataset

SHARES = np.geomspace(0.5, 0.01, 12)


def drawn(num_images: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((num_images, 12)) < SHARES).astype(np.uint8)


def worst_share(labels: np.ndarray, parts: list[np.ndarray]) -> float:
    """By how many images the count of a label in a part is farthest from its share, beyond 5 % of it."""
    wanted = [labels.sum(axis=0) * len(part) / len(labels) for part in parts]
    return max(
        float((np.abs(labels[part].sum(axis=0) - share) - 0.05 * share).max())
        for part, share in zip(parts, wanted, strict=True)
    )


def dataset_of(labels: np.ndarray, groups: np.ndarray | None = None) -> Dataset:
    images = np.zeros((len(labels), 4, 4, 1), np.uint8)
    names = [f"label {number}" for number in range(labels.shape[1])]
    found = sightline.load({"x_train": images, "y_train": labels}, class_names=names, task="multi-label")
    return dataclasses.replace(found, groups=groups)


def test_parts_have_their_sizes_and_every_label_its_share() -> None:
    labels = drawn(2000)
    parts = stratified(labels, (400, 160, 160, 1280), np.random.default_rng(0))
    assert [len(part) for part in parts] == [400, 160, 160, 1280]
    assert sorted(np.concatenate(parts).tolist()) == list(range(2000))
    assert worst_share(labels, parts) <= 2
    at_random = np.split(np.random.default_rng(0).permutation(2000), np.cumsum((400, 160, 160)))
    assert worst_share(labels, at_random) > 3


@pytest.mark.parametrize("has_groups", [False, True])
def test_the_four_splits_have_every_label_in_proportion(has_groups: bool) -> None:
    labels = drawn(2000, seed=3)
    groups = np.array([f"g{row}" for row in range(2000)]) if has_groups else None
    splits = split(dataset_of(labels, groups))
    parts = [splits.test, splits.validation, splits.calibration, splits.train]
    assert [len(part) for part in parts] == pytest.approx([400, 160, 160, 1280], rel=0.1)
    # Assigned one after the other, so that files stay where they are, a label may miss its share by a few more.
    assert worst_share(labels, parts) <= (4 if has_groups else 2)


def test_groups_stay_together_and_what_comes_later_moves_nothing() -> None:
    labels, groups = drawn(900, seed=4), np.array([f"g{row // 3}" for row in range(900)])
    whole, part = (split(dataset_of(labels[:count], groups[:count])) for count in (900, 600))
    for name in ("train", "validation", "calibration", "test"):
        rows = whole.rows(name)
        assert part.rows(name).tolist() == rows[rows < 600].tolist()
        assert set(groups[rows]).isdisjoint(groups[np.setdiff1d(np.arange(900), rows)])


def test_the_first_image_of_a_label_is_learned_from() -> None:
    labels = drawn(300, seed=5)
    labels[:, 11] = 0
    labels[299, 11] = 1
    for groups in (None, np.array([f"g{row}" for row in range(300)])):
        splits = split(dataset_of(labels, groups))
        if groups is not None:
            assert 299 in splits.train
            assert any("'label 11' has one image only" in remark for remark in splits.remarks)


def test_the_same_seed_gives_the_same_rows() -> None:
    found = dataset_of(drawn(200))
    assert split(found, seed=1).test.tolist() == split(found, seed=1).test.tolist()
    assert split(found, seed=1).test.tolist() != split(found, seed=2).test.tolist()
