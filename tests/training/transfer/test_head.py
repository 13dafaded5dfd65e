"""The head on a frozen backbone: what it is chosen among, by whom, and in its limits."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.system.backends import load_keras

load_keras()

from sightline.training.transfer import head as heads  # noqa: E402  # the backend is chosen first
from sightline.training.transfer.head import Rows, fit_head  # noqa: E402


def clouds(num_images: int, *, num_features: int = 12, apart: float = 2.0, seed: int = 0) -> Rows:
    generator = np.random.default_rng(seed)
    labels = np.arange(num_images) % 3
    features = generator.normal(size=(num_images, num_features))
    features[np.arange(num_images), labels] += apart
    return Rows((features * 5 + 40).astype(np.float32), labels)


def share_right(head: heads.Head, rows: Rows) -> float:
    return float((head.logits(rows.features).argmax(axis=1) == rows.labels).mean())


def test_the_folded_head_takes_features_as_they_come() -> None:
    train, other = clouds(300, apart=4.0), clouds(90, apart=4.0, seed=1)
    head = fit_head(train, None, num_classes=3)
    assert share_right(head, other) > 0.95
    # Other units of measurement change nothing.
    shifted = fit_head(Rows(train.features * 3 + 7, train.labels), None, num_classes=3)
    assert np.allclose(head.logits(other.features), shifted.logits(other.features * 3 + 7), atol=0.02, rtol=0.02)


def test_fewer_images_in_more_directions_are_shrunken_more() -> None:
    few = fit_head(clouds(30, num_features=100, apart=1.5), None, num_classes=3)
    many = fit_head(clouds(3000, num_features=100, apart=1.5, seed=3), None, num_classes=3)
    of_few, of_many = (float(head.how.split()[3].rstrip(",")) for head in (few, many))
    assert of_few > of_many
    assert few.how.endswith("chosen on 5 folds of train images")
    assert (len(few.surprises), few.is_safe) == (30, False)


def test_what_is_said_of_the_head_holds_on_images_that_it_never_saw() -> None:
    head = fit_head(clouds(120, apart=2.5), None, num_classes=3)
    other = clouds(3000, apart=2.5, seed=9)
    assert head.num_wrong / len(head.surprises) == pytest.approx(1 - share_right(head, other), abs=0.06)
    # Its confidences are about right as they are: what folds say sets them.
    assert heads.best_temperature(head.logits(other.features), other.labels) == pytest.approx(1, abs=0.35)


@pytest.mark.parametrize(("labels", "is_safe"), [([0, 1, 2, 0, 1, 0], True), ([0, 1, 2, 0, 1, 2], False)])
def test_where_a_class_stands_alone_the_safe_one_is_taken(labels: list[int], is_safe: bool) -> None:
    generator = np.random.default_rng(0)
    features = (generator.normal(size=(6, 8)) + 4 * np.eye(3, 8)[labels]).astype(np.float32)
    head = fit_head(Rows(features, np.array(labels)), None, num_classes=3)
    assert head.is_safe == is_safe
    assert np.isfinite(head.kernel).all()
    assert (head.logits(features).argmax(axis=1) == labels).all()


def test_views_and_groups_stay_in_one_fold() -> None:
    """Of copies that agree on wrong labels nothing can be told, and nothing is."""
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(60, 40)), generator.integers(0, 2, 60)
    copies = np.repeat(np.arange(60), 4)
    groups = np.char.add("pair", (np.arange(60) // 2).astype(str))
    labels = labels[np.arange(60) // 2 * 2]
    features = features[np.arange(60) // 2 * 2]
    views = Rows(np.concatenate([features] * 4).astype(np.float32), np.tile(labels, 4), num_views=4, groups=groups)
    assert len(copies) == len(views)
    honest = fit_head(views, None, num_classes=2)
    fooled = fit_head(Rows(views.features, views.labels, num_views=4), None, num_classes=2)
    assert honest.num_wrong > 15
    assert fooled.num_wrong < honest.num_wrong


def test_a_class_that_is_frequent_is_likely() -> None:
    rows = clouds(600, apart=0.3)
    rare = np.flatnonzero((rows.labels != 0) & (np.arange(600) % 8 != 0))
    kept = np.setdiff1d(np.arange(600), rare)
    head = fit_head(Rows(rows.features[kept], rows.labels[kept]), None, num_classes=3)
    answers = np.bincount(head.logits(clouds(900, apart=0.3, seed=2).features).argmax(axis=1), minlength=3)
    assert answers[0] > 600


def bent(num_images: int, seed: int) -> Rows:
    """Two classes whose scatter differs, which a discriminant supposes not to."""
    generator = np.random.default_rng(seed)
    labels = np.arange(num_images) % 2
    features = generator.normal(size=(num_images, 6)) * np.where(labels == 1, 6.0, 0.4)[:, None]
    features[:, 0] = np.abs(features[:, 0]) + 0.6 * labels
    return Rows(features.astype(np.float32), labels)


def test_softmax_regression_has_to_be_better_beyond_chance() -> None:
    train, validation = bent(1200, 0), bent(300, 1)
    head = fit_head(train, validation, num_classes=2)
    assert "softmax regression" in head.how
    alone = fit_head(train, None, num_classes=2)
    assert head.judged < alone.judged
    # Where a discriminant is what the data ask for, it stays.
    usual = fit_head(clouds(900), clouds(200, seed=1), num_classes=3)
    assert usual.how.startswith("discriminant")


def test_large_validation_judges_alone() -> None:
    head = fit_head(clouds(600), clouds(1200, seed=1), num_classes=3)
    assert head.how.endswith("chosen on validation")
    assert len(head.surprises) == 1200
