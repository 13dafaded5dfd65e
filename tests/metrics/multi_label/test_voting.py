from __future__ import annotations

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.metrics.multi_label.voting import label_ensemble_logits, label_selection_course


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def test_it_is_the_logit_of_the_mean_probability_of_each_label() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (40, 3, 5))
    together = label_ensemble_logits(logits, [1, 0, 3])
    np.testing.assert_allclose(sigmoid(together), (sigmoid(logits[:, 0]) + 3 * sigmoid(logits[:, 2])) / 4)


def test_one_member_says_what_it_says_and_sure_ones_stay_finite() -> None:
    logits = np.array([[[-800.0, 0.5, 900.0]]])
    np.testing.assert_allclose(label_ensemble_logits(logits, [2]), logits[:, 0])
    together = label_ensemble_logits([[[900.0], [-900.0]]], [1, 3])
    assert sigmoid(together) == pytest.approx(0.25)


def test_the_order_of_labels_changes_nothing() -> None:
    logits = np.random.default_rng(1).normal(size=(10, 2, 4))
    swapped = label_ensemble_logits(logits[:, :, ::-1], [1, 1])
    np.testing.assert_allclose(swapped[:, ::-1], label_ensemble_logits(logits, [1, 1]))


def test_selection_takes_what_lowers_the_binary_cross_entropy_most() -> None:
    random = np.random.default_rng(2)
    given = (random.random((200, 3)) < 0.3).astype(np.uint8)
    sign = np.where(given == 1, 1.0, -1.0)
    members = [sign + random.normal(0, 2, given.shape), sign + random.normal(0, 1, given.shape), -sign]
    logits = np.stack(members, axis=1)
    order, losses = label_selection_course(logits, given, most=6)

    def loss(votes: np.ndarray) -> float:
        shares = sigmoid(label_ensemble_logits(logits, votes))
        return float(-np.log(np.where(given == 1, shares, 1 - shares)).mean())

    assert order[0] == np.argmin([loss(np.eye(3)[one]) for one in range(3)]) == 1
    assert 2 not in order
    assert losses == pytest.approx([loss(np.bincount(order[: step + 1], minlength=3)) for step in range(len(order))])
    assert (np.diff(losses) < 0).all()


def test_labels_of_another_shape_are_refused() -> None:
    with pytest.raises(InvalidValue):
        label_selection_course(np.zeros((4, 2, 3)), np.zeros((4, 2), np.uint8), most=2)
