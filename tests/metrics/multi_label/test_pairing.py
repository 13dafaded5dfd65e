"""How far the micro F1 of two answers lies apart: its definition, what exchanging shows, and what nothing shows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from sightline.metrics.multi_label.counting import LabelRows
from sightline.metrics.multi_label.pairing import micro_difference


def answers(
    num_images: int, shares: tuple[float, float], seed: int, groups: np.ndarray | None = None
) -> list[LabelRows]:
    random = np.random.default_rng(seed)
    given = random.random((num_images, 4)) < [0.5, 0.3, 0.2, 0.1]
    return [LabelRows(given, given ^ (random.random(given.shape) < share), groups) for share in shares]


def test_both_are_those_of_scikit_learn_and_the_other_way_round_is_the_other_way_round() -> None:
    one, other = answers(200, (0.05, 0.15), 0)
    found, back = micro_difference(one, other), micro_difference(other, one)
    assert found.first == pytest.approx(f1_score(one.given, one.said, average="micro"))
    assert found.second == pytest.approx(f1_score(other.given, other.said, average="micro"))
    assert found.difference == pytest.approx(-back.difference)
    assert found.interval == pytest.approx((-back.interval[1], -back.interval[0]))
    assert found.p_value < 0.01


def test_every_exchange_of_few_images_is_as_often_as_it_is_drawn() -> None:
    given = np.ones((3, 1), bool)
    one, other = LabelRows(given, given), LabelRows(given, ~given)
    # Of eight exchanges two lie as far apart: none, and all.
    assert micro_difference(one, other).p_value == pytest.approx(0.25, abs=0.02)


def test_groups_are_exchanged_as_a_whole() -> None:
    groups = np.repeat([f"g{number}" for number in range(6)], 30)
    alone, grouped = answers(180, (0.02, 0.12), 1), answers(180, (0.02, 0.12), 1, groups)
    assert micro_difference(*alone).p_value < 0.001
    # Of 64 exchanges of six groups two at least lie as far apart.
    assert micro_difference(*grouped).p_value > 0.02


def test_answers_that_are_alike_are_not_told_apart_and_nothing_is_said_to_be_certain() -> None:
    one, _ = answers(50, (0.1, 0.1), 2)
    found = micro_difference(one, one)
    assert (found.difference, found.p_value) == (0, 1)
    assert found.interval[0] < 0 < found.interval[1]
    silent = LabelRows(np.zeros((5, 2), bool), np.zeros((5, 2), bool))
    assert micro_difference(silent, silent).first == 1


@pytest.mark.soak
def test_intervals_hold_the_truth_and_p_values_are_small_as_often_as_they_say() -> None:
    whole = answers(100_000, (0.08, 0.12), 3)
    truth = micro_difference(whole[0], whole[1]).difference
    held = 0
    for seed in range(400):
        rows = np.random.default_rng(seed).integers(0, 100_000, 150)
        found = micro_difference(*(LabelRows(part.given[rows], part.said[rows]) for part in whole))
        held += found.interval[0] <= truth <= found.interval[1]
    small = sum(micro_difference(*answers(60, (0.1, 0.1), 10 + seed)).p_value < 0.05 for seed in range(400))
    print(f"intervals of 95 % held {held} of 400; p < 0.05 without a difference {small} of 400")
    assert held >= 370
    assert small <= 32
