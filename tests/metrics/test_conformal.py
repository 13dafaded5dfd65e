"""Sets that keep their promise: by definition, by hand, by law, and refused where they could not.

The law: over random splits of one pool without ties into n calibration rows and m others, how many of the m are
covered is BetaBinomial(m; k, n + 1 - k), exactly. A test against it has a false-alarm rate that is known.
"""

from __future__ import annotations

import functools
import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import sightline
from sightline.errors import InvalidValue, UnknownName
from sightline.metrics import conformal
from sightline.metrics.conformal import (
    FREE_CLASSES,
    PENALTY,
    SCORES,
    coverage_law,
    exact_level,
    fewest_rows,
    label_scores,
    num_as_bad,
    one_of_each_group,
    p_values,
    rank_of,
    score_limits,
)

NAMES = tuple("abcdefghij")
ALPHAS = ("0.5", "0.3", "0.25", "0.2", "0.1", "0.075", "0.05", "0.025", "0.02", "0.01", "0.005", "0.001")


def pool(num_rows: int, *, seed: int = 0, num_classes: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float32 logits as a network gives them, right for nine in ten; labels; a random number a row."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, num_classes, num_rows)
    logits = random.normal(0, 1.5, (num_rows, num_classes))
    logits[np.arange(num_rows), labels] += 4
    return logits.astype(np.float32), labels, random.random(num_rows)


def right_scores(table: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return table[np.arange(len(labels)), labels]


# Scores


def slow_scores(logits: np.ndarray, kind: str, uniforms: np.ndarray) -> np.ndarray:
    """The definitions as they are published, label by label, from ordinary probabilities."""
    scores = np.empty(logits.shape)
    for row, (one, u) in enumerate(zip(logits.astype(float), uniforms, strict=True)):
        probabilities = np.exp(one - one.max()) / np.exp(one - one.max()).sum()
        for label, own in enumerate(probabilities):
            before = [p for other, p in enumerate(probabilities) if (-p, other) < (-own, label)]
            rank = len(before) + 1
            scores[row, label] = {
                "lac": math.log(sum(np.delete(probabilities, label)) / own),
                "aps": sum(before) + u * own,
                "raps": sum(before) + u * own + PENALTY * max(0, rank - FREE_CLASSES),
            }[kind]
    return scores


@pytest.mark.parametrize("kind", SCORES)
def test_a_score_is_the_published_one_of_every_label(kind: str) -> None:
    logits, _, uniforms = pool(200)
    expected = slow_scores(logits, kind, uniforms) - (0 if kind == "lac" else 1)
    assert np.allclose(label_scores(logits, kind, uniforms), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", SCORES)
def test_of_one_image_scores_rise_as_classes_become_less_probable(kind: str) -> None:
    logits, _, uniforms = pool(500)
    scores = label_scores(logits * 3, kind, uniforms)
    ranked = np.take_along_axis(scores, np.argsort(-logits, axis=1), axis=1)
    assert (np.diff(ranked, axis=1) >= 0).all()


@pytest.mark.parametrize("kind", SCORES)
def test_the_score_of_an_image_does_not_depend_on_those_beside_it(kind: str) -> None:
    logits, _, uniforms = pool(64)
    together = label_scores(logits, kind, uniforms)
    alone = np.concatenate([label_scores(logits[[row]], kind, uniforms[[row]]) for row in range(64)])
    assert (together == alone).all()
    turned = np.random.default_rng(1).permutation(64)
    assert (label_scores(logits[turned], kind, uniforms[turned]) == together[turned]).all()


def test_a_sure_network_has_no_ties() -> None:
    # In float32, each of these probabilities is 1, and in float64 that of the most probable class, too.
    logits = np.array([[gap, 0, -1, -2] for gap in (40, 60, 80, 100)], np.float32)
    for kind in ("lac", "aps"):
        assert len(np.unique(label_scores(logits, kind, np.full(4, 0.5))[:, 1:])) == 12
    assert label_scores(logits)[:, 0].tolist() == pytest.approx([-39.592394, -59.592394, -79.592394, -99.592394])


@pytest.mark.parametrize("kind", SCORES)
def test_logits_of_any_size_have_finite_scores(kind: str) -> None:
    logits = [[3e38, -3e38, 0], [0, 0, 0], [1e308, -1e308, 5]]
    assert np.isfinite(label_scores(logits, kind, [0.0, 1.0, 0.5])).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[np.nan, 0]],), "logits must be finite; got NaN or infinity in 1 of 1 rows"),
        (([[1, 2]], "aps"), r"uniforms must be one number in \[0, 1\] for each of 1 images"),
        (([[1, 2]], "raps", [np.nan]), "uniforms must be one number"),
        (([[1, 2]], "aps", [1.5]), "uniforms must be one number"),
        (([[1, 2]], "apx"), "no score is called 'apx'. Did you mean 'aps'"),
    ],
)
def test_what_has_no_score_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        label_scores(*arguments)


def test_an_unknown_score_is_an_unknown_name() -> None:
    with pytest.raises(UnknownName):
        label_scores([[1, 2]], "hinge")


# Ranks


@pytest.mark.parametrize("alpha", ALPHAS)
def test_ranks_are_those_of_rationals(alpha: str) -> None:
    level = 1 - Fraction(alpha)
    for num_rows in range(1, 2001):
        # The smallest whole k with k >= (n + 1) (1 - alpha), found without rounding anything up.
        needed = (num_rows + 1) * level
        rank = needed.numerator // needed.denominator
        rank += rank < needed
        assert rank_of(num_rows, float(level)) == rank
        assert (num_rows >= fewest_rows(float(level))) == (rank <= num_rows)


def test_a_level_is_what_was_typed() -> None:
    assert math.ceil(1 / (1 - 0.9)) - 1 == 10  # 1 - 0.9 is less than a tenth
    assert fewest_rows(0.9) == 9
    assert rank_of(19, 0.95) == rank_of(19, np.float32(0.95)) == rank_of(19, Fraction(19, 20)) == 19


@pytest.mark.parametrize("level", [0, 1, -0.1, 1.5, np.nan, np.inf, "0.95", None, True, [0.9]])
def test_what_is_no_level_is_refused(level: Any) -> None:
    with pytest.raises(InvalidValue, match=r"coverage must be a number above 0 and below 1, such as 0.95; got"):
        exact_level(level)


# Limits and p-values


def test_a_limit_by_hand() -> None:
    scores = np.array([5.0, 1.0, 4.0, 2.0, 3.0, 9.0, 8.0, 7.0, 6.0])
    labels = np.zeros(9, np.int64)
    assert score_limits(scores, labels, coverage=0.9, class_names=("a", "b")).tolist() == [9, 9]
    assert score_limits(scores, labels, coverage=0.8, class_names=("a", "b")).tolist() == [8, 8]
    assert score_limits(scores, labels, coverage=0.5, class_names=("a", "b")).tolist() == [5, 5]


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_a_class_is_in_a_set_exactly_where_its_p_value_says_so(coverage: float, per_class: bool) -> None:
    logits, labels, _ = pool(1_990)  # (199 + 1) * alpha is whole: where a rank off by one would show
    labels = np.repeat(np.arange(10), 199)
    scores = right_scores(label_scores(logits), labels)
    table = label_scores(pool(300, seed=1)[0])
    # A score that is met exactly is common enough.
    table[:, 0] = scores[:300]
    limits = score_limits(scores, labels, coverage=coverage, class_names=NAMES, per_class=per_class)
    found = num_as_bad(table, scores, labels=labels if per_class else None)
    least = (1 - Fraction(str(coverage))) * (200 if per_class else 1_991)
    expected = [[count > least for count in row] for row in found.tolist()]
    assert (
        p_values(table, scores, labels=labels if per_class else None) == found / (200 if per_class else 1_991)
    ).all()
    assert ((table <= limits) == np.array(expected)).all()


def test_the_law_of_the_coverage_is_that_of_random_splits_of_one_pool() -> None:
    """Counted over all ways in which 3 of 7 scores can be the calibration rows."""
    held = []
    for chosen in itertools.combinations(range(7), 3):
        limit = sorted(chosen)[rank_of(3, 0.6) - 1]
        held.append(sum(score <= limit for score in range(7) if score not in chosen))
    law = [float(np.mean(np.array(held) <= count)) for count in range(5)]
    assert coverage_law(3, 0.6, 4).tolist() == pytest.approx(law)


def test_p_values_are_the_definition() -> None:
    scores, values = np.array([1.0, 2.0, 2.0, 5.0]), np.array([0.0, 2.0, 3.0, 5.0, 6.0])
    slow = [(1 + sum(score >= value for score in scores)) / 5 for value in values]
    assert p_values(values, scores).tolist() == slow == [1.0, 0.8, 0.4, 0.4, 0.2]
    table, labels = np.array([[2.0, 2.0]]), np.array([0, 0, 1, 1])
    assert p_values(table, scores, labels=labels).tolist() == [[2 / 3, 1.0]]


@pytest.mark.parametrize(("coverage", "least"), [(0.9, 9), (0.95, 19), (0.99, 99), (0.995, 199)])
def test_one_row_too_few_is_refused_with_the_number_needed(coverage: float, least: int) -> None:
    scores, labels = np.arange(least, dtype=float), np.zeros(least, np.int64)
    assert score_limits(scores, labels, coverage=coverage, class_names=("a", "b"))[0] == least - 1
    with pytest.raises(InvalidValue, match=f"needs at least {least} calibration images; there are {least - 1}, enough"):
        score_limits(scores[1:], labels[1:], coverage=coverage, class_names=("a", "b"))


def test_a_coverage_is_refused_as_it_was_typed() -> None:
    with pytest.raises(InvalidValue, match=r"^a coverage of 0\.9999999 needs at least 9,999,999 calibration images"):
        score_limits(np.zeros(5), np.zeros(5, np.int64), coverage=0.9999999, class_names=("a", "b"))


@pytest.mark.parametrize("num_rows", [1, 2, 18, 60, 98, 1000, 5000])
def test_the_coverage_that_a_refusal_names_is_one_that_the_rows_suffice_for(num_rows: int) -> None:
    scores, labels = np.arange(num_rows, dtype=float), np.zeros(num_rows, np.int64)
    with pytest.raises(InvalidValue) as refused:
        score_limits(scores, labels, coverage=0.9999, class_names=("a", "b"))
    enough = float(str(refused.value).split("enough for ")[1].rstrip("."))
    score_limits(scores, labels, coverage=enough, class_names=("a", "b"))


def test_per_class_names_the_class_that_is_short_or_missing() -> None:
    scores, labels = np.arange(40, dtype=float), np.repeat([0, 1], [22, 18])
    with pytest.raises(InvalidValue, match=r"0.95 needs at least 19 calibration images of class 'b'; there are 18, en"):
        score_limits(scores, labels, coverage=0.95, class_names=("a", "b"), per_class=True)
    with pytest.raises(InvalidValue, match=r"needs at least 9 calibration images of class 'c'; there are 0\."):
        score_limits(scores, labels, coverage=0.9, class_names=("a", "b", "c"), per_class=True)


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(InvalidValue, match="must be finite"):
        score_limits(np.array([np.nan] * 20), np.zeros(20, np.int64), coverage=0.9, class_names=("a", "b"))


# The law


def chances(num_rows: int, num_others: int, rank: int) -> np.ndarray:
    """(num_others + 1,) of the Beta-binomial law, by logarithms of factorials."""
    factorials = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, num_rows + num_others + 2)))))

    def beta(a: Any, b: Any) -> Any:
        return factorials[a - 1] + factorials[b - 1] - factorials[a + b - 1]

    covered = np.arange(num_others + 1)
    ways = factorials[num_others] - factorials[covered] - factorials[num_others - covered]
    tail = num_rows + 1 - rank
    return np.exp(ways + beta(covered + rank, num_others - covered + tail) - beta(rank, tail))


def law_p_value(covered: list[int], law: np.ndarray) -> float:
    """Chi-square over ten bins of about equal chance; its p-value by the Wilson-Hilferty normal."""
    edges = np.searchsorted(np.cumsum(law), np.arange(1, 10) / 10)
    bins = np.searchsorted(edges, np.arange(len(law)), side="left")
    expected = np.bincount(bins, weights=law, minlength=10) * len(covered)
    observed = np.bincount(bins[covered], minlength=10)
    used = expected > 0
    statistic, degrees = float(((observed - expected)[used] ** 2 / expected[used]).sum()), int(used.sum()) - 1
    deviation = ((statistic / degrees) ** (1 / 3) - (1 - 2 / (9 * degrees))) / math.sqrt(2 / (9 * degrees))
    return 0.5 * math.erfc(deviation / math.sqrt(2))


FALSE_ALARM_RATE = 1e-3


def covered_in_splits(
    scores: np.ndarray, *, num_rows: int, coverage: float, num_splits: int = 200, seed: int = 0
) -> dict[int, list[int]]:
    """How many of the other rows are covered, in random splits; where the rank is off by so many, too."""
    random, found = np.random.default_rng(seed), {-1: [], 0: [], 1: []}
    for _ in range(num_splits):
        order = random.permutation(len(scores))
        calibration, others = scores[order[:num_rows]], scores[order[num_rows:]]
        limit = score_limits(calibration, np.zeros(num_rows, np.int64), coverage=coverage, class_names=("a", "b"))[0]
        ascending = np.sort(calibration)
        place = int(np.searchsorted(ascending, limit))
        for off, counts in found.items():
            counts.append(int((others <= ascending[place + off]).sum()))
    return found


@pytest.fixture(scope="module")
def ten_thousand() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Scores of the right classes of the test rows of MNIST, by kind, and the classes."""
    logits, labels = mnist_rows()
    uniforms = np.random.default_rng(5).random(10_000)
    return {kind: right_scores(label_scores(logits, kind, uniforms), labels) for kind in SCORES}, labels


@functools.cache
def mnist_rows() -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels of the test rows of MNIST, by a network that knows the mean image of each class.

    The law holds whatever the network is.
    """
    mnist = sightline.load("mnist")
    images, labels = np.asarray(mnist.images).reshape(70_000, 784), mnist.labels
    train = images[:2_000].astype(np.float32) / 255
    means = np.stack([train[labels[:2_000] == label].mean(axis=0) for label in range(10)])
    test, labels = images[60_000:].astype(np.float32) / 255, labels[60_000:]
    return (test @ means.T - (means**2).sum(axis=1) / 2) / 4, labels


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("coverage", [0.9, 0.95])
def test_the_coverage_of_200_random_splits_follows_its_law(
    kind: str, coverage: float, ten_thousand: tuple[dict[str, np.ndarray], np.ndarray]
) -> None:
    scores = ten_thousand[0][kind]
    assert len(np.unique(scores)) == len(scores)
    law = chances(1_000, 9_000, rank_of(1_000, coverage))
    assert math.isclose(law.sum(), 1, rel_tol=1e-9)
    found = covered_in_splits(scores, num_rows=1_000, coverage=coverage)[0]
    assert law_p_value(found, law) > FALSE_ALARM_RATE


def test_the_test_of_the_law_finds_a_rank_that_is_off_by_one(
    ten_thousand: tuple[dict[str, np.ndarray], np.ndarray],
) -> None:
    # A rank is 0.46 standard deviations of the law with 99 rows, and 0.14 with 1,000. So 200 splits find it in 11 of 12
    # cases with 99 rows and hardly ever with 1,000; those below find it in all.
    scores, coverage = ten_thousand[0]["lac"], 0.95
    for num_rows, num_splits, seeds in ((99, 400, 5), (1_000, 4_000, 1)):
        law = chances(num_rows, 10_000 - num_rows, rank_of(num_rows, coverage))
        for seed in range(seeds):
            found = covered_in_splits(scores, num_rows=num_rows, coverage=coverage, num_splits=num_splits, seed=seed)
            p_value = {off: law_p_value(counts, law) for off, counts in found.items()}
            assert {off: p > FALSE_ALARM_RATE for off, p in p_value.items()} == {-1: False, 0: True, 1: False}, p_value


def test_per_class_the_law_holds_within_each_class(ten_thousand: tuple[dict[str, np.ndarray], np.ndarray]) -> None:
    scores, labels = ten_thousand[0]["lac"], ten_thousand[1]
    # A class that is harder than the others: all images together would cover too few of it.
    hard = np.where(labels == 3, scores + 2, scores)
    random = np.random.default_rng(7)
    members = np.flatnonzero(labels == 3)
    law = chances(99, len(members) - 99, rank_of(99, 0.9))
    found, together = [], []
    for _ in range(200):
        drawn = np.concatenate([random.permutation(np.flatnonzero(labels == label))[:99] for label in range(10)])
        rest = np.setdiff1d(members, drawn)
        for per_class, counts in ((True, found), (False, together)):
            limits = score_limits(hard[drawn], labels[drawn], coverage=0.9, class_names=NAMES, per_class=per_class)
            counts.append(int((hard[rest] <= limits[3]).sum()))
    assert law_p_value(found, law) > FALSE_ALARM_RATE
    assert law_p_value(together, law) < 1e-12


# Groups


def test_of_each_group_one_row_is_drawn_by_the_seed() -> None:
    groups = np.repeat([f"object {number}" for number in range(20)], 5)
    first, again = (one_of_each_group(groups, 100, seed=3) for _ in range(2))
    assert first is not None
    assert again is not None
    assert (first == again).all()
    assert sorted(groups[first]) == sorted(set(groups))
    others = [one_of_each_group(groups, 100, seed=seed) for seed in range(200)]
    # Every place within a group is drawn about equally often: 4,000 draws of 5 places.
    counts = np.bincount(np.concatenate([rows % 5 for rows in others if rows is not None]))
    assert counts.min() > 700


def test_rows_that_stand_alone_are_all_counted() -> None:
    assert one_of_each_group(None, 5, seed=0) is None
    assert one_of_each_group(["a", "b", "c"], 3, seed=0) is None


def test_bursts_keep_their_coverage_where_groups_are_counted() -> None:
    # 15 groups of 20 images that are hard together. Counted one by one they promise too much.
    random, level, counted, ignored = np.random.default_rng(11), 0.9, [], []
    for seed in range(1_000):
        scores = np.repeat(random.normal(0, 1, 15), 20) + random.normal(0, 0.3, 300)
        others = random.normal(0, 1, 200) + random.normal(0, 0.3, 200)
        rows = one_of_each_group(np.repeat(np.arange(15), 20), 300, seed=seed)
        for kept, shares in ((rows, counted), (np.arange(300), ignored)):
            limit = score_limits(
                scores[kept], np.zeros(len(scores[kept]), np.int64), coverage=level, class_names=("a", "b")
            )[0]
            shares.append((others <= limit).mean())
    error = np.std(counted) / math.sqrt(len(counted))
    assert np.mean(counted) >= level - 2 * error
    assert np.mean(ignored) < level - 4 * np.std(ignored) / math.sqrt(len(ignored))


# Oracles: `pip install '.[oracles]'`; skipped where they are not installed.


class Known:
    """A fitted classifier for MAPIE: what it is given are its probabilities."""

    def __init__(self, num_classes: int) -> None:
        self.classes_ = np.arange(num_classes)
        self.is_fitted_ = True
        self.n_features_in_ = num_classes

    def fit(self, *_: Any) -> Known:
        return self

    def predict(self, table: np.ndarray) -> np.ndarray:
        return table.argmax(axis=1)

    def predict_proba(self, table: np.ndarray) -> np.ndarray:
        return table

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {"num_classes": len(self.classes_)}


def split_pool(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Float64 logits and their probabilities; labels; which rows calibrate. By odd seeds those of MNIST, else made."""
    if seed % 2:
        rows = np.random.default_rng(seed).permutation(10_000)[:5_000]
        logits, labels = (part[rows] for part in mnist_rows())
    else:
        logits, labels, _ = pool(5_000, seed=seed)
    logits = logits.astype(np.float64) * np.random.default_rng(seed).choice([0.5, 1, 2])
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    return logits, probabilities / probabilities.sum(axis=1, keepdims=True), labels, np.arange(1_000)


def sets_of_mapie(kind: str, coverage: float, seed: int) -> tuple[np.ndarray, Any]:
    classification = pytest.importorskip("mapie.classification", reason="pip install '.[oracles]'")
    _, probabilities, labels, calibration = split_pool(seed)
    judge = classification.SplitConformalClassifier(
        Known(10), confidence_level=coverage, conformity_score=kind, prefit=True, random_state=seed
    )
    judge.conformalize(probabilities[calibration], labels[calibration])
    options = {} if kind == "lac" else {"include_last_label": "randomized"}
    _, sets = judge.predict_set(probabilities[1_000:], conformity_score_params=options)
    return sets[:, :, 0], judge


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("coverage", [0.9, 0.95])
@pytest.mark.parametrize("kind", ["lac", "aps"])
def test_sets_are_those_of_mapie(kind: str, coverage: float, seed: int) -> None:
    expected, _ = sets_of_mapie(kind, coverage, seed)
    logits, _, labels, calibration = split_pool(seed)
    # Its random numbers, which count from the other end.
    known = 1 - np.random.RandomState(seed).uniform(size=1_000)
    new = 1 - np.random.RandomState(seed).uniform(size=4_000)
    scores = right_scores(label_scores(logits[calibration], kind, known), labels[calibration])
    limits = score_limits(scores, labels[calibration], coverage=coverage, class_names=NAMES)
    found = label_scores(logits[1_000:], kind, new) <= limits
    assert int((found != expected).any(axis=1).sum()) == 0


@pytest.mark.parametrize("seed", range(5))
def test_raps_is_that_of_mapie_where_it_asks_its_scores_alone(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # From the second rank past k on, MAPIE 1.6 keeps classes whose score is above its own limit.
    expected, judge = sets_of_mapie("raps", 0.9, seed)
    logits, _, labels, calibration = split_pool(seed)
    splitter = pytest.importorskip("sklearn.model_selection").StratifiedShuffleSplit(n_splits=1, random_state=seed)
    kept = next(splitter.split(calibration[:, None], labels[calibration]))[0]
    chosen = judge._conformity_score
    free, penalty = int(np.ravel(chosen.k_star)[0]), float(np.ravel(chosen.lambda_star)[0])
    monkeypatch.setattr(conformal, "FREE_CLASSES", free)
    monkeypatch.setattr(conformal, "PENALTY", penalty)
    known = 1 - np.random.RandomState(seed).uniform(size=len(kept))
    new = 1 - np.random.RandomState(seed).uniform(size=4_000)
    scores = right_scores(label_scores(logits[kept], "raps", known), labels[kept])
    limits = score_limits(scores, labels[kept], coverage=0.9, class_names=NAMES)
    assert limits[0] == pytest.approx(float(np.ravel(chosen.quantiles_)[0]) - 1, abs=1e-12)
    found = label_scores(logits[1_000:], "raps", new) <= limits
    is_near = np.maximum(found.sum(axis=1), expected.sum(axis=1)) <= free + 1
    assert is_near.mean() > 0.5
    assert int((found != expected).any(axis=1)[is_near].sum()) == 0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("class_cond", [False, True])
def test_p_values_are_those_of_crepes(seed: int, class_cond: bool) -> None:
    crepes = pytest.importorskip("crepes", reason="pip install '.[oracles]'")
    logits, _, labels, calibration = split_pool(seed)
    table = label_scores(logits)
    scores = right_scores(table, labels)[calibration]
    judge = crepes.ConformalClassifier()
    if class_cond:
        judge.fit(scores, bins=labels[calibration])
        columns = [
            judge.predict_p(table[1_000:, [label]], bins=np.full(4_000, label), smoothing=False) for label in range(10)
        ]
        expected = np.concatenate(columns, axis=1)
    else:
        judge.fit(scores)
        expected = judge.predict_p(table[1_000:], smoothing=False)
    found = p_values(table[1_000:], scores, labels=labels[calibration] if class_cond else None)
    assert np.abs(found - expected).max() <= 1e-12
