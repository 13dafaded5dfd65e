from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from sightline.errors import InvalidValue
from sightline.metrics.multi_label.ranking import average_precisions


def drawn(num_images: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    given = generator.random((num_images, 3)) < [0.5, 0.2, 0.05]
    return (generator.normal(0, 1, given.shape) + 1.5 * given).round(1), given


def test_average_precisions_are_those_of_scikit_learn_with_ties_too() -> None:
    logits, given = drawn()
    found = average_precisions(logits, given)
    peers = [average_precision_score(given[:, label], logits[:, label]) for label in range(3)]
    assert found.values == pytest.approx(peers)
    assert found.mean == pytest.approx(np.mean(peers))


def test_influences_are_what_leaving_an_image_out_changes() -> None:
    logits, given = drawn(200)
    found = average_precisions(logits, given)
    for row in range(0, 200, 7):
        kept = np.arange(200) != row
        without = average_precisions(logits[kept], given[kept]).values
        assert found.values - without == pytest.approx(found.influences[row], abs=0.01)
    assert found.influences.sum(axis=0) == pytest.approx(0, abs=1e-9)


def test_the_interval_of_the_mean_holds_the_truth_as_often_as_it_says() -> None:
    logits, given = drawn(100_000, seed=5)
    truth, hits = average_precisions(logits, given).mean, 0
    for seed in range(200):
        rows = np.random.default_rng(seed).integers(0, len(given), 500)
        low, high = average_precisions(logits[rows], given[rows]).mean_interval()
        hits += low <= truth <= high
    assert hits >= 180


def test_a_label_that_no_image_has_is_left_out_of_the_mean() -> None:
    found = average_precisions([[2.0, 1.0], [1.0, 3.0]], [[1, 0], [0, 0]])
    assert found.mean == 1.0
    assert np.isnan(found.values).tolist() == [False, True]
    assert np.isnan(average_precisions([[1.0], [2.0]], [[0], [0]]).mean)


def test_of_a_perfect_order_the_interval_is_that_of_no_mistake() -> None:
    given = np.repeat([[1, 0, 1], [0, 1, 0]], 25, axis=0)
    low, high = average_precisions(given + np.linspace(0, 0.5, 50)[:, None], given).mean_interval()
    assert 0.9 < low < 0.94
    assert high == pytest.approx(1.0)


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(InvalidValue, match="must be finite"):
        average_precisions([[np.nan]], [[1]])
