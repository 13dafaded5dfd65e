"""What several networks say together, how far they agree, who gets what vote: definitions, by hand, invariances."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.metrics.classification import cross_entropy, softmax
from sightline.metrics.ensembles import (
    bootstrap_counts,
    checked_votes,
    ensemble_logits,
    samme_vote,
    samme_weights,
    selection_course,
)

NAN = math.nan


def _answers(num_images: int = 40, num_members: int = 4, num_classes: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=2, size=(num_images, num_members, num_classes))


def _together_slowly(member_logits: np.ndarray, votes: list[float]) -> np.ndarray:
    rows = []
    for members in member_logits:
        mean = [0.0] * len(members[0])
        for logits, vote in zip(members, votes, strict=True):
            whole = sum(math.exp(logit) for logit in logits)
            for label, logit in enumerate(logits):
                mean[label] += vote / sum(votes) * math.exp(logit) / whole
        rows.append(mean)
    return np.array(rows)


@pytest.mark.parametrize("votes", [[1, 1, 1, 1], [1, 0, 2, 0.5], [0, 0, 0, 3]])
def test_a_ensemble_answers_with_the_weighted_mean_of_probabilities(votes: list[float]) -> None:
    answers = _answers()
    np.testing.assert_allclose(np.exp(ensemble_logits(answers, votes)), _together_slowly(answers, votes), rtol=1e-12)


def test_two_members_by_hand() -> None:
    # 0.9 and 0.1 beside 0.5 and 0.5; then the second counts three times.
    answers = np.log([[[0.9, 0.1], [0.5, 0.5]]])
    np.testing.assert_allclose(np.exp(ensemble_logits(answers, [1, 1])), [[0.7, 0.3]])
    np.testing.assert_allclose(np.exp(ensemble_logits(answers, [1, 3])), [[0.6, 0.4]])


def test_a_ensemble_ignores_the_order_of_members_the_scale_of_votes_and_what_is_added_to_logits() -> None:
    answers, votes = _answers(), np.array([1.0, 2.0, 3.0, 0.0])
    expected = ensemble_logits(answers, votes)
    np.testing.assert_allclose(ensemble_logits(answers[:, ::-1], votes[::-1]), expected)
    np.testing.assert_allclose(ensemble_logits(answers, 7 * votes), expected)
    shifted = answers + np.arange(4)[None, :, None]
    np.testing.assert_allclose(ensemble_logits(shifted, votes), expected)
    np.testing.assert_allclose(ensemble_logits(answers[:, :3], votes[:3]), expected)


def test_members_that_are_sure_beyond_all_numbers_are_heard_nonetheless() -> None:
    answers = np.array([[[1e4, 0.0], [0.0, 1e4]], [[-1e4, 0.0], [-1e4, 0.0]]])
    together = ensemble_logits(answers, [1, 3])
    assert np.isfinite(together).all()
    np.testing.assert_allclose(softmax(together), [[0.25, 0.75], [0.0, 1.0]], atol=1e-12)


@pytest.mark.parametrize(
    "votes", [[], [1], [1, 2, 3], [[1, 1]], [0, 0], [-1, 2], [NAN, 1], [math.inf, 1], [1e-300, 1e300]]
)
def test_votes_that_cannot_be_used_are_refused(votes: Any) -> None:
    with pytest.raises(
        InvalidValue, match=r"one weight a member, 2; got|must be 0 or more, and not all 0; got|are too far"
    ):
        checked_votes(votes, 2)
    with pytest.raises(InvalidValue, match=r"weights? "):
        ensemble_logits(_answers(num_members=2), votes)


def test_votes_whose_sum_is_no_number_are_still_shares() -> None:
    assert checked_votes([1e308, 1e308], 2).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("seed", range(20))
def test_a_bootstrap_draws_whole_groups(seed: int) -> None:
    groups = np.array([f"g{row // 3}" for row in range(60)])
    counts = bootstrap_counts(np.arange(60) % 2, groups, seed=(seed, 1))
    for group in np.unique(groups):
        assert len(set(counts[groups == group])) == 1, "in the bag and out of it"


def test_a_bootstrap_draws_as_many_rows_as_there_are_and_leaves_about_a_third_out() -> None:
    labels = np.arange(20_000) % 4
    counts = bootstrap_counts(labels, None, seed=(3,))
    assert counts.sum() == len(labels)
    # A row is drawn by the law of Poisson with mean 1.
    for often in range(4):
        assert (counts == often).mean() == pytest.approx(math.exp(-1) / math.factorial(often), abs=0.015)


@pytest.mark.parametrize("seed", range(30))
def test_no_class_is_missing_in_a_bootstrap_even_if_each_has_one_image(seed: int) -> None:
    labels = np.arange(25)
    assert (bootstrap_counts(labels, None, seed=(seed,)) > 0).all()
    few = np.array([0] * 50 + [1])
    groups = np.array([f"{row // 5}" for row in range(51)])
    assert bootstrap_counts(few, groups, seed=(seed,))[-1] > 0


def test_a_bootstrap_is_the_same_for_the_same_seed_and_another_for_each_member() -> None:
    labels = np.arange(50) % 2
    first, again, other = (bootstrap_counts(labels, None, seed=seed) for seed in ((0, 1), (0, 1), (0, 2)))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert len(bootstrap_counts(labels[:0], None, seed=(0,))) == 0


def _vote_slowly(error: float, num_classes: int) -> float:
    return math.log((1 - error) / error) + math.log(num_classes - 1)


@pytest.mark.parametrize("error", [0.01, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_the_vote_of_a_boosted_member_is_that_of_samme(error: float, num_classes: int) -> None:
    assert samme_vote(error, num_classes=num_classes, num_images=1000) == pytest.approx(
        _vote_slowly(error, num_classes)
    )


def test_votes_by_hand() -> None:
    assert samme_vote(0.25, num_classes=2, num_images=100) == pytest.approx(math.log(3))
    assert samme_vote(0.25, num_classes=4, num_images=100) == pytest.approx(math.log(9))


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_who_guesses_has_no_vote_and_who_is_better_has_more(num_classes: int) -> None:
    def vote(error: float) -> float:
        return samme_vote(error, num_classes=num_classes, num_images=1000)

    assert vote(1 - 1 / num_classes) == pytest.approx(0, abs=1e-12)
    assert vote(0.1) > vote(0.2) > 0
    assert samme_vote(0.3, num_classes=2, num_images=9) == pytest.approx(-samme_vote(0.7, num_classes=2, num_images=9))


def test_a_member_without_errors_has_a_finite_vote() -> None:
    assert samme_vote(0.0, num_classes=2, num_images=100) == pytest.approx(math.log(199))
    assert math.isfinite(samme_vote(1.0, num_classes=2, num_images=100))


def test_rows_that_were_wrong_count_more_by_the_vote() -> None:
    random = np.random.default_rng(0)
    weights, is_wrong, vote = random.uniform(0.1, 3, 30), random.random(30) < 0.3, 1.7
    grown = [weight * (math.exp(vote) if wrong else 1) for weight, wrong in zip(weights, is_wrong, strict=True)]
    np.testing.assert_allclose(samme_weights(weights, is_wrong, vote), np.array(grown) / np.mean(grown))


def test_row_weights_by_hand() -> None:
    found = samme_weights(np.ones(4), np.array([True, False, False, False]), math.log(3))
    np.testing.assert_allclose(found, [2, 2 / 3, 2 / 3, 2 / 3])


@pytest.mark.parametrize("num_classes", [2, 5])
def test_under_the_new_weights_the_member_is_no_better_than_guessing(num_classes: int) -> None:
    is_wrong = np.arange(100) < 17
    vote = samme_vote(0.17, num_classes=num_classes, num_images=100)
    weights = samme_weights(np.ones(100), is_wrong, vote)
    assert weights.mean() == pytest.approx(1)
    assert weights[is_wrong].sum() / weights.sum() == pytest.approx(1 - 1 / num_classes)


def test_row_weights_of_many_rounds_stay_positive_and_finite() -> None:
    weights = np.ones(50)
    for _ in range(200):
        weights = samme_weights(weights, np.arange(50) < 1, 6.0)
    assert np.isfinite(weights).all()
    assert (weights > 0).all()


def _select(logits: Any, labels: Any, most: int) -> np.ndarray:
    order, losses = selection_course(logits, labels, most=most)
    assert np.array_equal(losses, np.sort(losses)[::-1])
    return np.bincount(order, minlength=np.shape(logits)[1])


def _select_slowly(logits: np.ndarray, labels: np.ndarray, most: int) -> list[int]:
    chosen: list[int] = []
    best = math.inf
    while len(chosen) < most:
        trials = {}
        for member in range(logits.shape[1]):
            heard = logits[:, [*chosen, member]]
            mean = softmax(heard.reshape(-1, logits.shape[2])).reshape(heard.shape).mean(axis=1)
            trials[member] = -np.log(mean[np.arange(len(labels)), labels]).mean()
        if not min(trials.values()) < best:
            break
        best = min(trials.values())
        chosen.append(min(trials, key=trials.__getitem__))
    return [chosen.count(member) for member in range(logits.shape[1])]


@pytest.mark.parametrize("seed", range(5))
def test_greedy_selection_takes_what_lowers_the_cross_entropy_most(seed: int) -> None:
    logits = _answers(seed=seed)
    labels = np.random.default_rng(seed).integers(0, 3, 40)
    logits[np.arange(40), :, labels] += 1
    assert _select(logits, labels, 6).tolist() == _select_slowly(logits, labels, 6)


def test_greedy_selection_by_hand_takes_the_only_one_that_is_right() -> None:
    assert _select([[[2.0, 0.0], [0.0, 2.0]]], [0], 3).tolist() == [1, 0]
    # Each right where the other is wrong: together they are better than one.
    assert _select([[[3.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [3.0, 0.0]]], [0, 0], 2).tolist() == [1, 1]


def test_greedy_selection_follows_its_members_and_never_gets_worse() -> None:
    logits, labels = _answers(), np.arange(40) % 3
    found = _select(logits, labels, 5)
    for order in itertools.islice(itertools.permutations(range(4)), 0, 24, 7):
        np.testing.assert_array_equal(_select(logits[:, order], labels, 5), found[list(order)])
    losses = [cross_entropy(ensemble_logits(logits, _select(logits, labels, most)), labels) for most in range(1, 6)]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("labels", [[], [0], [0, 3], [-1, 0], [0.5, 1.0]])
def test_labels_that_do_not_belong_to_the_logits_are_refused(labels: Any) -> None:
    with pytest.raises(InvalidValue, match=r"^labels must"):
        selection_course(_answers(2), labels, most=1)
