from __future__ import annotations

import numpy as np
from sklearn.metrics import f1_score

from sightline.metrics.multi_label.thresholds import choose_thresholds


def test_a_chosen_threshold_is_better_on_other_images_than_an_even_chance() -> None:
    generator = np.random.default_rng(0)
    given = generator.random((4000, 2)) < [0.1, 0.3]
    # As of a network that is never as sure as it might be.
    logits = generator.normal(-2.5, 1, given.shape) + 2.5 * given
    found = choose_thresholds(logits[:2000], given[:2000])
    usual, chosen = (f1_score(given[2000:], logits[2000:] >= at, average="macro") for at in (0.0, found.values))
    assert found.are_chosen.all()
    assert chosen > usual + 0.03


def test_a_label_of_few_images_or_of_nearly_all_keeps_an_even_chance() -> None:
    given = np.zeros((100, 3), bool)
    given[:9, 0], given[:95, 1], given[:50, 2] = True, True, True
    found = choose_thresholds(np.where(given, -1.0, -3.0), given)
    assert found.are_chosen.tolist() == [False, False, True]
    assert found.values.tolist() == [0.0, 0.0, -2.0]


def test_groups_are_counted_not_images() -> None:
    given = np.zeros((100, 1), bool)
    given[:50] = True
    groups = np.array(["a"] * 50 + [str(row) for row in range(50)])
    assert not choose_thresholds(np.where(given, 1.0, -1.0), given, groups).are_chosen.any()


def test_what_is_usual_stays_where_nothing_is_better_beyond_chance() -> None:
    generator = np.random.default_rng(3)
    true = generator.normal(0, 3, (300, 4))
    given = generator.random(true.shape) < 1 / (1 + np.exp(-true))
    assert choose_thresholds(true, given).are_chosen.sum() <= 1
    assert choose_thresholds(true, given, usual=3.0).are_chosen.all()
