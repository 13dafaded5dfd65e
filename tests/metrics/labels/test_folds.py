from __future__ import annotations

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.metrics.labels.folds import grouped_folds


def test_no_group_is_in_two_folds_and_each_class_is_spread_evenly() -> None:
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(300), generator.integers(1, 5, 300))
    labels = (groups % 3).astype(np.int64)
    folds = grouped_folds(labels, groups, num_classes=3)
    assert all(len(set(folds[groups == group])) == 1 for group in range(300))
    counts = np.stack([np.bincount(folds[labels == label], minlength=5) for label in range(3)])
    assert (np.ptp(counts, axis=1) <= 4).all()


def test_two_groups_of_a_class_are_in_two_folds() -> None:
    folds = grouped_folds([0] * 20 + [1, 1], num_classes=2)
    assert folds[20] != folds[21]


def test_the_same_seed_deals_the_same_folds_and_another_others() -> None:
    labels = np.arange(100) % 4
    first, again = grouped_folds(labels, num_classes=4), grouped_folds(labels, num_classes=4)
    assert (first == again).all()
    assert (first != grouped_folds(labels, num_classes=4, seed=1)).any()


def test_a_class_that_is_only_in_groups_of_others_is_spread_whatever_the_order_within_a_group() -> None:
    groups = np.repeat(np.arange(20), 6)
    labels = np.zeros(120, np.int64)
    labels[[5, 11]] = 1  # the last of the first two groups
    folds = grouped_folds(labels, groups, num_classes=2)
    assert folds[5] != folds[11]
    turned = np.arange(120).reshape(20, 6)[:, ::-1].reshape(-1)
    assert (grouped_folds(labels[turned], groups, num_classes=2) == folds).all()


@pytest.mark.parametrize("num_folds", [1, True, 2.5, "5"])
def test_fewer_than_two_folds_are_refused(num_folds: object) -> None:
    with pytest.raises(InvalidValue, match="num_folds must be a whole number of at least 2"):
        grouped_folds([0, 1], num_classes=2, num_folds=num_folds)  # type: ignore[arg-type]


def test_groups_of_other_rows_are_refused() -> None:
    with pytest.raises(InvalidValue, match="a row an image, 3; got 2"):
        grouped_folds([0, 1, 1], [1, 2], num_classes=2)
