from __future__ import annotations

import numpy as np
import pytest

from sightline.evaluation.measuring.scoring import score
from sightline.records import NO_NUMBER, Predictions


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_no_number_is_a_row_with_an_error(value: float) -> None:
    logits = np.array([[1, 0], [value, 1], [0, 1]], np.float32)
    rows = Predictions.of("xyz", logits, class_names=("a", "b"), labels=np.array([0, 1, 1]))
    assert rows.predicted == ("a", None, "b")
    assert rows.errors == (None, NO_NUMBER, None)
    assert np.isnan(rows.confidences).tolist() == [False, True, False]
    assert (score(rows).num_images, score(rows).num_unreadable) == (2, 1)


def test_one_prediction_is_one_image() -> None:
    rows = Predictions.of("x", np.array([[1, 0]], np.float32), class_names=("a", "b"))
    assert repr(rows) == "Predictions(1 image, 0 unreadable)"


def test_a_disagreement_that_is_no_number_is_an_error_too_and_older_errors_stay() -> None:
    logits = np.array([[1, 0], [np.nan, np.nan], [0, 1]], np.float32)
    shares = np.array([0.5, np.nan, np.inf], np.float32)
    errors = (None, "torn", None)
    rows = Predictions.of("xyz", logits, class_names=("a", "b"), errors=errors, disagreements=shares)
    assert rows.errors == (None, "torn", NO_NUMBER)
