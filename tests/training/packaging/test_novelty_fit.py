"""What a novelty score is made of: rows of every class, images that nobody learned, and the score that tells more."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("keras", reason="the package of training needs Keras")

import sightline
from sightline.bundles.sessions import session_of
from sightline.bundles.trust.novelty import METHODS, NoveltyMeasures
from sightline.training.packaging.novelty_fit import FittedNovelty, best_method, fit_novelty, rounded
from sightline.training.packaging.novelty_graph import seeing
from sightline.training.packaging.unlike_images import NUM_EACH, unlike_images
from sightline.training.setup.preparation import Prepared, prepare
from sightline.training.setup.reference_rows import reference_rows

# Of LeNet-5: 84 features, the quarters of maps of 16 and 6 channels.
WIDTH = 84 + 4 * 16 + 4 * 6


def fit(run: sightline.Run, data: Prepared) -> FittedNovelty | None:
    with seeing(session_of(run.bundle), width=84) as session:
        return fit_novelty(session, data)


@pytest.fixture(scope="module")
def prepared(small_npz: Path) -> Prepared:
    return prepare(small_npz, sightline.recipe("fast", {"model.name": "lenet5"}))


def test_reference_rows_are_as_even_over_classes_as_there_are_and_drawn_by_the_seed(prepared: Prepared) -> None:
    labels = np.repeat([0, 1, 2], [2_000, 900, 5])
    dataset = dataclasses.replace(
        prepared.dataset,
        labels=labels,
        row_ids=np.arange(len(labels)).astype(str),
        images=np.zeros((len(labels), 2, 2, 1), np.uint8),
        given_splits=np.full(len(labels), ""),
    )
    train = np.arange(len(labels))
    small, large = (dataclasses.replace(prepared.spec, height=side, width=side) for side in (28, 224))
    rows = reference_rows(dataset, train, small, seed=0)
    assert len(set(rows.tolist())) == len(rows) == 2_000
    assert np.bincount(labels[rows[:1_000]]).tolist() == [498, 497, 5]
    assert len(reference_rows(dataset, train, large, seed=0)) == 1_000
    assert reference_rows(dataset, train, small, seed=0).tolist() == rows.tolist()
    assert reference_rows(dataset, train, small, seed=1).tolist() != rows.tolist()
    assert sorted(reference_rows(dataset, train[::300], small, seed=1).tolist()) == train[::300].tolist()
    assert reference_rows(dataset, train[:0], small, seed=0).tolist() == []


@pytest.mark.parametrize("shape", [(7, 28, 28, 1), (90, 20, 31, 3)])
def test_images_unlike_the_data_are_of_its_size_and_the_same_each_time(shape: tuple[int, ...]) -> None:
    known = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    made = unlike_images(known)
    assert len(made) == 6
    for name, images in made.items():
        assert (images.shape, images.dtype) == ((NUM_EACH, *shape[1:]), np.uint8), name
        assert (images == unlike_images(known)[name]).all()
    assert (made["inverted images"][:7] == 255 - known[:7]).all()
    assert made["one colour"].std(axis=(1, 2)).max() == 0
    assert all(len(np.unique(image[:, :, 0])) >= 2 for image in made["signs of another alphabet"])
    assert made["images blurred to nothing"].std(axis=(1, 2)).max() < known.std(axis=(1, 2)).min() / 2


def measures(told: Sequence[bool], separation: float | None) -> NoveltyMeasures:
    """Of kinds of made images that are told or not, told as closely as it can be."""
    return NoveltyMeasures(
        separation, None, {str(kind): 0.95 if is_told else 0.949 for kind, is_told in enumerate(told)}
    )


@pytest.mark.parametrize("separations", [(0.5, 1.0), (1.0, 0.5), (0.7, 0.7), (None, None)])
def test_a_score_is_vetoed_by_what_it_misses_and_the_other_tells_whatever_classes_say(
    separations: tuple[float | None, float | None],
) -> None:
    all_told = list(itertools.product([True, False], repeat=3))
    for images, classes in itertools.product(all_told, all_told):
        found = {"images": measures(images, separations[0]), "classes": measures(classes, separations[1])}
        best = best_method(found)
        # What tells all that the other tells and more is taken; where each misses its own, what misses fewer.
        if sum(images) != sum(classes):
            assert best == ("images" if sum(images) > sum(classes) else "classes")
        else:
            assert best == ("classes" if separations == (0.5, 1.0) else "images")


def test_both_scores_are_fitted_on_train_rows_and_tried_on_validation_rows(
    prepared: Prepared, tiny_run: sightline.Run
) -> None:
    found = fit(tiny_run, prepared)
    assert found is not None
    assert found.bank.shape == (len(prepared.splits.train), WIDTH)
    assert sorted(found.rows.tolist()) == prepared.splits.train.tolist()
    assert found.directions is None
    assert found.classes.class_means.shape == (10, WIDTH)
    for values in (found.bank, found.classes.scale, found.classes.class_means):
        assert (values == rounded(values)).all()
    assert found.measures is not None
    assert list(found.measures.caught) == list(unlike_images(np.zeros((1, 9, 9, 1), np.uint8)))
    assert found.measures.separation is not None
    assert 0.5 < found.measures.separation <= 1
    again = fit(tiny_run, prepared)
    assert again is not None
    assert (again.method, again.measures) == (found.method, found.measures)


def test_where_images_must_not_travel_only_means_of_many_are_kept(prepared: Prepared, tiny_run: sightline.Run) -> None:
    data = dataclasses.replace(prepared.recipe.data, neighbours="none")
    private = dataclasses.replace(prepared, recipe=dataclasses.replace(prepared.recipe, data=data))
    found = fit(tiny_run, private)
    assert found is not None
    assert found.method == "classes" != next(iter(METHODS))
    # Four images of the first class are left: their mean would be nearly one of them.
    labels = prepared.dataset.labels[prepared.splits.train]
    train = prepared.splits.train[(labels != 0) | (np.cumsum(labels == 0) <= 4)]
    rare = dataclasses.replace(private, splits=dataclasses.replace(prepared.splits, train=train))
    found = fit(tiny_run, rare)
    assert found is not None
    assert found.classes.class_means.shape == (9, WIDTH)
    named = dataclasses.replace(rare, recipe=prepared.recipe)
    found = fit(tiny_run, named)
    assert found is not None
    assert found.classes.class_means.shape == (10, WIDTH)


def test_so_many_rows_are_looked_at_that_each_class_has_enough(prepared: Prepared) -> None:
    labels = np.repeat(np.arange(700), 6)
    dataset = dataclasses.replace(
        prepared.dataset,
        class_names=tuple(map(str, range(700))),
        labels=labels,
        row_ids=np.arange(len(labels)).astype(str),
        images=np.zeros((len(labels), 2, 2, 1), np.uint8),
        given_splits=np.full(len(labels), ""),
    )
    rows = reference_rows(dataset, np.arange(len(labels)), prepared.spec, seed=0, may_travel=False)
    assert np.bincount(labels[rows]).tolist() == [5] * 700


def test_too_few_rows_are_nothing_to_fit_or_choose_by(prepared: Prepared, tiny_run: sightline.Run) -> None:
    splits = dataclasses.replace(prepared.splits, validation=prepared.splits.validation[:19])
    found = fit(tiny_run, dataclasses.replace(prepared, splits=splits))
    assert found is not None
    assert (found.method, found.measures) == (next(iter(METHODS)), None)
    few = dataclasses.replace(prepared.splits, train=prepared.splits.train[:19])
    assert fit(tiny_run, dataclasses.replace(prepared, splits=few)) is None
