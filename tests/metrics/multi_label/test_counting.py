from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import (
    f1_score,
    multilabel_confusion_matrix,
    precision_score,
    recall_score,
)

from sightline.errors import InvalidValue
from sightline.metrics.multi_label.counting import (
    KINDS,
    LabelRows,
    confusions,
    label_figures,
    label_intervals,
    macro,
    macro_interval,
    micro,
    micro_interval,
)

PEERS = {"precision": precision_score, "recall": recall_score, "f1": f1_score}


def drawn(num_images: int = 300, num_classes: int = 6, seed: int = 0) -> LabelRows:
    generator = np.random.default_rng(seed)
    shares = np.geomspace(0.5, 0.02, num_classes)
    given = generator.random((num_images, num_classes)) < shares
    said = np.where(generator.random(given.shape) < 0.15, ~given & (generator.random(given.shape) < 0.5), given)
    return LabelRows(given, said)


def test_counts_are_those_of_scikit_learn() -> None:
    rows = drawn()
    assert confusions(rows.given, rows.said).tolist() == multilabel_confusion_matrix(rows.given, rows.said).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_shares_are_those_of_scikit_learn(kind: str) -> None:
    rows = drawn()
    peer = PEERS[kind]
    assert label_figures(confusions(rows.given, rows.said))[kind] == pytest.approx(
        peer(rows.given, rows.said, average=None)
    )
    assert micro(rows, kind) == pytest.approx(peer(rows.given, rows.said, average="micro"))
    assert macro(rows, kind) == pytest.approx(peer(rows.given, rows.said, average="macro"))


def test_a_label_that_no_image_has_is_in_no_mean_and_one_that_is_never_said_counts_zero() -> None:
    rows = LabelRows(np.array([[1, 0, 1], [1, 0, 0]], bool), np.array([[1, 1, 0], [1, 0, 0]], bool))
    found = label_figures(confusions(rows.given, rows.said))
    assert np.isnan(found["recall"]).tolist() == [False, True, False]
    assert np.isnan(found["f1"]).tolist() == [False, True, False]
    assert np.isnan(found["precision"]).tolist() == [False, False, True]
    assert (macro(rows, "f1"), macro(rows, "precision")) == (0.5, 0.5)
    assert np.isnan(label_intervals(rows, "f1")[1]).all()


def test_the_order_of_images_and_labels_changes_nothing() -> None:
    rows = drawn()
    images, labels = np.random.default_rng(1).permutation(300), np.random.default_rng(2).permutation(6)
    turned = LabelRows(rows.given[images][:, labels], rows.said[images][:, labels])
    assert macro_interval(turned, "f1") == pytest.approx(macro_interval(rows, "f1"))
    assert label_intervals(turned, "recall") == pytest.approx(label_intervals(rows, "recall")[labels])


@pytest.mark.parametrize("figure", ["micro", "macro"])
def test_intervals_hold_the_truth_as_often_as_they_say(figure: str) -> None:
    whole = drawn(200_000)
    value, interval = (micro, micro_interval) if figure == "micro" else (macro, macro_interval)
    truth = value(whole, "f1")
    hits = 0
    for seed in range(200):
        rows = np.random.default_rng(seed).integers(0, len(whole.given), 400)
        low, high = interval(LabelRows(whole.given[rows], whole.said[rows]), "f1")
        hits += low <= truth <= high
    assert hits >= 182  # 95 of 100, of which 200 draws miss so few with probability 0.005


def test_images_of_one_group_count_as_what_they_are() -> None:
    rows = drawn()
    five = LabelRows(np.repeat(rows.given, 5, 0), np.repeat(rows.said, 5, 0))
    grouped = LabelRows(five.given, five.said, np.repeat(np.arange(300), 5).astype(str))
    wide, narrow = micro_interval(grouped, "f1"), micro_interval(five, "f1")
    assert micro_interval(rows, "f1") == pytest.approx(wide, abs=2e-3)
    assert narrow[1] - narrow[0] < 0.6 * (wide[1] - wide[0])


def test_of_no_mistake_an_interval_is_that_of_a_share_without_one() -> None:
    given = np.ones((40, 2), bool)
    low, high = micro_interval(LabelRows(given, given), "f1")
    assert high == pytest.approx(1.0)
    assert 0.9 < low < 0.92
    assert micro_interval(LabelRows(given, given, np.full(40, "a")), "f1") == (0.0, 1.0)


def test_what_is_no_table_of_zeros_and_ones_is_refused() -> None:
    with pytest.raises(InvalidValue, match="must be 0 or 1; got 0 to 2"):
        confusions([[0, 2]], [[0, 1]])
    with pytest.raises(InvalidValue, match="of one shape"):
        confusions([[0, 1]], [[0, 1], [1, 1]])
    with pytest.raises(InvalidValue, match="got float64"):
        confusions([[0.5, 1.0]], [[0, 1]])
