from __future__ import annotations

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.metrics.significance import holm


def _by_definition(p_values: list[float]) -> list[float]:
    """The smallest level at which Holm's steps, done one by one, would reject each hypothesis."""
    ranked = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted = [0.0] * len(p_values)
    for rank, place in enumerate(ranked):
        # A hypothesis falls only after all before it: the level must do for each of them.
        needed = [(len(p_values) - before) * p_values[ranked[before]] for before in range(rank + 1)]
        adjusted[place] = min(1.0, max(needed))
    return adjusted


def test_holm_is_the_level_at_which_step_after_step_rejects() -> None:
    random = np.random.default_rng(0)
    for num_tests in range(1, 9):
        p_values = (random.random(num_tests) ** 3).tolist()
        assert holm(p_values).tolist() == pytest.approx(_by_definition(p_values), rel=1e-15)


def test_holm_by_hand() -> None:
    # 0.01 counts four times, 0.015 three times, 0.03 twice, 0.2 once.
    assert holm([0.2, 0.01, 0.03, 0.015]).tolist() == pytest.approx([0.2, 0.04, 0.06, 0.045])
    assert holm([0.04, 0.04]).tolist() == [0.08, 0.08]
    assert holm([0.6, 0.7, 0.9]).tolist() == [1.0, 1.0, 1.0]


def test_one_test_alone_is_not_adjusted() -> None:
    assert holm([0.03]).tolist() == [0.03]
    assert holm([0]).tolist() == [0.0]


def test_the_order_of_the_tests_does_not_matter_and_no_value_becomes_smaller() -> None:
    random = np.random.default_rng(1)
    p_values = random.random(7) ** 4
    order = random.permutation(7)
    assert holm(p_values[order]).tolist() == holm(p_values)[order].tolist()
    assert (holm(p_values) >= p_values).all()


@pytest.mark.parametrize(
    ("p_values", "message"),
    [
        ([], "at least 1 test"),
        ([[0.1, 0.2]], "at least 1 test"),
        ([0.1, 1.1], r"p_values must be in \[0, 1\]; got 1.1"),
        ([-0.1], r"p_values must be in \[0, 1\]; got -0.1"),
        ([0.1, float("nan")], r"p_values must be in \[0, 1\]; got nan"),
        (["0.1"], "p_values must be an array of numbers"),
    ],
)
def test_what_is_no_p_value_is_refused(p_values: object, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        holm(p_values)  # type: ignore[arg-type]
