"""Logistic regressions of several labels at once: each is that of scikit-learn, from wherever it starts."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from sightline.training.transfer.sigmoid import SigmoidRegression

PENALTIES = (0.3, 0.01, 0.0003)


def made(num_rows: int, num_features: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(num_rows)
    labels = (random.random((num_rows, 3)) < [0.5, 0.3, 0.08]).astype(np.uint8)
    rows = labels @ random.normal(0, 1, (3, num_features)) + random.normal(0, 1, (num_rows, num_features))
    rows = rows * np.geomspace(1, 0.05, num_features)
    return rows.astype(np.float32), labels, random.uniform(0.5, 2, num_rows).astype(np.float32)


@pytest.mark.parametrize(("num_rows", "num_features"), [(60, 200), (400, 30)])
def test_each_label_is_fitted_as_by_itself_whatever_was_fitted_before(num_rows: int, num_features: int) -> None:
    rows, labels, weights = made(num_rows, num_features)
    found = SigmoidRegression(rows, labels, weights, 3)
    for penalty in PENALTIES:
        kernel, bias = found.fit(penalty)
        for label in range(3):
            # Its loss is a sum with the penalty of 1 / C; ours a mean.
            usual = LogisticRegression(C=1 / (penalty * weights.sum()), tol=1e-8, max_iter=5000)
            usual.fit(rows, labels[:, label], sample_weight=weights)
            told = rows @ kernel[:, label] + bias[label]
            wanted = usual.decision_function(rows)
            assert np.abs(told - wanted).max() < 0.02 * np.abs(wanted).max()


def test_a_label_that_every_row_has_and_rows_that_never_change_are_fitted(recwarn: pytest.WarningsRecorder) -> None:
    labels = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 1, 0]], np.uint8)
    found = SigmoidRegression(np.zeros((4, 5), np.float32), labels, np.ones(4, np.float32), 3)
    kernel, bias = found.fit(0.01)
    assert not kernel.any()
    assert bias[0] > 5
    assert bias[1] == pytest.approx(0, abs=1e-3)
    assert bias[2] < -5
    assert not recwarn
