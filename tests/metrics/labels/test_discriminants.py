from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.errors import InvalidValue
from sightline.metrics.labels.discriminants import PENALTY, SHRINKAGE, Discriminant, OutOfFold
from sightline.metrics.labels.folds import grouped_folds


@pytest.fixture
def rows() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 90)
    return generator.normal(size=(90, 6)) + 2 * np.eye(3, 6)[labels], labels


def slowly(
    features: NDArray[np.float64], labels: NDArray[np.int64], inside: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both by their definition, one fold at a time."""
    learned, given = features[~inside], labels[~inside]
    means = np.stack([learned[given == label].mean(axis=0) for label in range(3)])
    within = sum(np.outer(row - means[label], row - means[label]) for row, label in zip(learned, given, strict=True))
    within = within / (len(learned) - 3)
    size = features.shape[1]
    level = np.trace(within) / size
    inverse = np.linalg.inv((1 - SHRINKAGE) * within + SHRINKAGE * level * np.eye(size))
    middle = learned.mean(axis=0)
    likelihood = np.array(
        [[-0.5 * (row - mean) @ inverse @ (row - mean) for mean in means] for row in features[inside]]
    )
    centred = learned - middle
    scatter = centred.T @ centred
    scatter += PENALTY * np.trace(scatter) / size * np.eye(size)
    indicators = np.eye(3)[given]
    slopes = np.linalg.solve(scatter, centred.T @ (indicators - indicators.mean(axis=0)))
    return likelihood, (features[inside] - middle) @ slopes + indicators.mean(axis=0)


def test_answers_are_those_of_the_definition_written_slowly(
    rows: tuple[NDArray[np.float64], NDArray[np.int64]],
) -> None:
    features, labels = rows
    folds = grouped_folds(labels, num_classes=3)
    by_likelihood, by_regression = OutOfFold(features, folds).answers(labels, num_classes=3)
    for fold in range(5):
        inside = folds == fold
        likelihood, regression = slowly(features, labels, inside)
        # Log-odds are told but for what all classes of a row have in common.
        assert np.diff(by_likelihood[inside], axis=1) == pytest.approx(np.diff(likelihood, axis=1), abs=2e-4)
        assert by_regression[inside] == pytest.approx(regression, abs=1e-5)


def test_the_own_label_of_an_image_has_no_part_in_its_answer(
    rows: tuple[NDArray[np.float64], NDArray[np.int64]],
) -> None:
    features, labels = rows
    folds = grouped_folds(labels, num_classes=3)
    judge = OutOfFold(features, folds)
    changed = labels.copy()
    changed[folds == 2] = (changed[folds == 2] + 1) % 3
    for before, after in zip(judge.answers(labels, num_classes=3), judge.answers(changed, num_classes=3), strict=True):
        assert (before[folds == 2] == after[folds == 2]).all()
        assert (before[folds != 2] != after[folds != 2]).any()


def test_more_features_than_images_and_features_that_are_all_alike_have_answers() -> None:
    generator = np.random.default_rng(1)
    labels = np.arange(20) % 2
    for features in (generator.normal(size=(20, 200)), np.ones((20, 4))):
        for answers in OutOfFold(features, grouped_folds(labels, num_classes=2)).answers(labels, num_classes=2):
            assert np.isfinite(answers).all()


@pytest.mark.parametrize("scale", [1e300, 1e25, 1e-25, 1e-300])
def test_answers_do_not_depend_on_how_large_features_are(scale: float) -> None:
    features, labels = np.random.default_rng(0).normal(size=(60, 5)), np.arange(60) % 3
    folds = np.arange(60) // 3 % 4
    for plain, scaled in zip(
        OutOfFold(features, folds).answers(labels, num_classes=3),
        OutOfFold(features * scale, folds).answers(labels, num_classes=3),
        strict=True,
    ):
        assert scaled == pytest.approx(plain, rel=1e-4, abs=1e-4)


def test_features_are_called_so_where_they_are_refused() -> None:
    with pytest.raises(InvalidValue, match=r"features must have shape \(num_images, num_features\)"):
        OutOfFold(np.zeros(3), [0, 1, 0])


def test_few_images_in_many_directions_are_judged_as_by_the_definition() -> None:
    generator = np.random.default_rng(3)
    labels = np.arange(24) % 3
    features = generator.normal(size=(24, 40)) + np.eye(3, 40)[labels]
    folds = grouped_folds(labels, num_classes=3)
    judge = OutOfFold(features, folds)
    inside = folds == 1
    likelihood, regression = slowly(features, labels, inside)
    by_likelihood, by_regression = judge.answers(labels, num_classes=3)
    assert np.diff(by_likelihood[inside], axis=1) == pytest.approx(np.diff(likelihood, axis=1), abs=2e-3)
    assert by_regression[inside] == pytest.approx(regression, abs=1e-4)


def test_they_agree_with_another_implementation(rows: tuple[NDArray[np.float64], NDArray[np.int64]]) -> None:
    discriminant_analysis = pytest.importorskip("sklearn.discriminant_analysis", reason="needs the extra oracles")
    features, labels = rows
    folds = grouped_folds(labels, num_classes=3)
    by_likelihood, _ = OutOfFold(features, folds).answers(labels, num_classes=3)
    inside = folds == 0
    theirs = discriminant_analysis.LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE)
    theirs.fit(features[~inside], labels[~inside])
    # Theirs divides the covariance by n, ours by n less the classes, and adds the logarithm of how frequent each is.
    count = int((~inside).sum())
    log_odds = theirs.decision_function(features[inside]) - np.log(theirs.priors_)
    expected = np.diff(log_odds, axis=1) * (count - 3) / count
    assert np.diff(by_likelihood[inside], axis=1) == pytest.approx(expected, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(
    ("folds", "labels", "message"),
    [
        ([0, 0, 0, 0], [0, 0, 1, 1], "folds must be at least 2"),
        ([0, 0, 1, 1], [0, 0, 1, 1], "each class must be in two folds at least; class 1 is not|class 0 is not"),
        ([0, 1], [0, 0, 1, 1], "folds must have shape|labels must have shape"),
    ],
)
def test_what_cannot_be_judged_is_refused(folds: list[int], labels: list[int], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        OutOfFold(np.arange(8.0).reshape(4, 2), folds).answers(labels, num_classes=2)


def test_where_features_lie_far_from_0_answers_are_the_same(
    rows: tuple[NDArray[np.float64], NDArray[np.int64]],
) -> None:
    features, labels = rows
    folds = grouped_folds(labels, num_classes=3)
    near = OutOfFold(features, folds).answers(labels, num_classes=3)
    far = OutOfFold(features + 10_000, folds).answers(labels, num_classes=3)
    assert np.allclose(near, far, atol=1e-3)


@pytest.mark.parametrize("num_features", [5, 90])
def test_the_discriminant_of_features_far_from_0_is_that_of_the_shrunken_covariance(num_features):
    generator = np.random.default_rng(num_features)
    labels = np.repeat([0, 1, 2], [12, 9, 30])
    features = generator.normal(size=(51, num_features)) + labels[:, None] * 0.5 + 3
    kernel, bias = Discriminant(features.astype(np.float32), labels, num_classes=3).fit(0.3)
    means = np.stack([features[labels == label].mean(axis=0) for label in range(3)])
    within = sum((features[labels == k] - means[k]).T @ (features[labels == k] - means[k]) for k in range(3)) / 51
    shrunken = 0.7 * within + 0.3 * np.trace(within) / num_features * np.eye(num_features)
    asked = generator.normal(size=(7, num_features)) + 3
    distances = np.stack(
        [np.einsum("nf,fg,ng->n", asked - mean, np.linalg.inv(shrunken), asked - mean) for mean in means], axis=1
    )
    found = asked @ kernel + bias
    # Log-odds are half the differences of squared distances.
    np.testing.assert_allclose(found - found[:, :1], (distances[:, :1] - distances) / 2, rtol=1e-3, atol=1e-3)


def drawn(num_rows: int, width: int, num_classes: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(num_rows)
    labels = np.arange(num_rows) % num_classes
    scaled = generator.normal(size=(num_rows, width)) @ generator.normal(size=(width, width)) / width**0.5
    scaled[:, 0] += 2 * labels
    return scaled.astype(np.float32), labels, np.ones(num_rows, np.float32)


def slow_logits(scaled: np.ndarray, labels: np.ndarray, shrinkage: float, asked: np.ndarray) -> np.ndarray:
    """Minus half of the squared Mahalanobis distance to each mean, by the covariance written out."""
    means = np.array([scaled[labels == label].mean(axis=0) for label in np.unique(labels)])
    within = np.cov((scaled - means[labels]).T, bias=True)
    width = len(within)
    shrunken = (1 - shrinkage) * within + shrinkage * np.trace(within) / width * np.eye(width)
    apart = asked[:, None] - means
    return -0.5 * np.einsum("icd,de,ice->ic", apart, np.linalg.inv(shrunken), apart)


@pytest.mark.parametrize(("num_rows", "width"), [(60, 5), (12, 30)])
@pytest.mark.parametrize("shrinkage", [0.9, 0.3, 0.05])
def test_logits_are_those_of_the_definition_up_to_what_all_classes_share(
    num_rows: int, width: int, shrinkage: float
) -> None:
    scaled, labels, weights = drawn(num_rows, width)
    kernel, bias = Discriminant(scaled, labels, num_classes=3, weights=weights).fit(shrinkage)
    asked = np.random.default_rng(1).normal(size=(7, width)).astype(np.float32)
    own, slow = asked @ kernel + bias, slow_logits(scaled.astype(np.float64), labels, shrinkage, asked)
    own, slow = own - own.mean(axis=1, keepdims=True), slow - slow.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(own, slow, rtol=2e-3, atol=2e-3 * np.abs(slow).max())


def test_weights_count_as_repeated_images_do() -> None:
    scaled, labels, _ = drawn(30, 4)
    counts = 1 + np.arange(30) % 4
    weighted = Discriminant(scaled, labels, num_classes=3, weights=counts.astype(np.float32))
    rows = np.repeat(np.arange(30), counts)
    repeated = Discriminant(scaled[rows], labels[rows], num_classes=3)
    for mine, its in zip(weighted.fit(0.3), repeated.fit(0.3), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(weighted.shares, repeated.shares)


def test_of_one_image_a_class_the_nearest_is_the_answer() -> None:
    scaled = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]], np.float32)
    kernel, bias = Discriminant(scaled, np.arange(3), num_classes=3).fit(0.7)
    asked = np.array([[1.0, 0.5], [3.0, 1.0], [0.5, 2.5]], np.float32)
    assert (asked @ kernel + bias).argmax(axis=1).tolist() == [0, 1, 2]


def test_features_that_never_change_do_no_harm() -> None:
    scaled, labels, weights = drawn(30, 4)
    scaled[:, 2] = 0
    kernel, bias = Discriminant(scaled, labels, num_classes=3, weights=weights).fit(0.1)
    assert np.isfinite(kernel).all()
    assert np.isfinite(bias).all()
    assert np.abs(kernel[2]).max() == pytest.approx(0, abs=1e-6)
