"""How members differ: seeds, networks, epochs, and what each train row counts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import sightline
from sightline.configuration.recipes import parse_recipe
from sightline.errors import InvalidValue
from sightline.system.backends import load_keras

load_keras()

from sightline.training.ensembles.member_recipes import (  # noqa: E402  # the backend is chosen first
    check_differ,
    member_data,
    member_recipe,
    starts_from_first,
)


def _recipe(**settings):
    return parse_recipe({key.replace("__", "."): value for key, value in settings.items()})


def test_every_member_has_a_seed_of_its_own_and_the_first_that_of_the_run() -> None:
    recipe = _recipe(seed=7, ensemble__kind="deep", ensemble__members=4)
    assert [member_recipe(recipe, number).seed for number in range(1, 5)] == [7, 8, 9, 10]


def test_the_largest_seed_is_followed_by_the_smallest() -> None:
    recipe = _recipe(seed=2**31 - 1, ensemble__kind="deep")
    assert member_recipe(recipe, 2).seed == 0


def test_networks_are_taken_in_turn() -> None:
    recipe = _recipe(ensemble__kind="deep", ensemble__networks="lenet5, convnet")
    assert [member_recipe(recipe, number).model.name for number in (1, 2, 3)] == ["lenet5", "convnet", "lenet5"]


def test_a_member_is_a_recipe_for_one_network() -> None:
    recipe = _recipe(ensemble__kind="bagging", ensemble__test_views="mirror")
    own = member_recipe(recipe, 2)
    assert own.ensemble.kind == "none"
    assert dataclasses.replace(own, seed=recipe.seed, ensemble=recipe.ensemble) == recipe


def test_boosted_members_share_the_epochs_out() -> None:
    recipe = _recipe(ensemble__kind="boosting", ensemble__members=5, training__epochs=12)
    assert member_recipe(recipe, 3).training.epochs == 2
    assert member_recipe(_recipe(ensemble__kind="boosting", ensemble__members=9), 1).training.epochs >= 1


@pytest.mark.parametrize("kind", ["soup", "greedy-soup"])
def test_members_of_a_soup_learn_on_from_the_first_with_a_lower_rate(kind: str) -> None:
    recipe = _recipe(ensemble__kind=kind, training__epochs=8, optimizer__learning_rate=0.01)
    first, second = member_recipe(recipe, 1), member_recipe(recipe, 2)
    assert (first.training.epochs, first.optimizer.learning_rate) == (8, 0.01)
    assert (second.training.epochs, second.schedule.name) == (2, "cosine")
    assert second.optimizer.learning_rate == pytest.approx(0.003)
    assert [starts_from_first(recipe, number) for number in (1, 2, 3)] == [False, True, True]


def test_pretrained_members_of_a_soup_have_their_common_start_already() -> None:
    recipe = _recipe(ensemble__kind="soup", model__name="efficientnet-lite0")
    assert not starts_from_first(recipe, 2)


@pytest.mark.parametrize("given", [None, "some"])
def test_rows_without_weight_are_left_out_and_the_others_count_on_top_of_what_the_source_says(
    given: str | None, prepared_job
) -> None:
    _, data = prepared_job({"ensemble.kind": "bagging"})
    own_weights = None if given is None else np.linspace(1, 2, len(data.dataset))
    data = dataclasses.replace(data, dataset=dataclasses.replace(data.dataset, weights=own_weights))
    rows = data.splits.train
    counts = np.arange(len(rows)) % 3
    own = member_data(data, 2, counts.astype(float))
    np.testing.assert_array_equal(own.splits.train, rows[counts > 0])
    expected = counts[counts > 0] * (1 if own_weights is None else own_weights[rows[counts > 0]])
    np.testing.assert_allclose(own.dataset.weights[own.splits.train], expected)
    others = data.splits.validation
    np.testing.assert_array_equal(own.dataset.weights[others], 1 if own_weights is None else own_weights[others])
    assert len(data.splits.train) == len(rows)
    assert own_weights is None or own_weights.max() == 2


def test_without_weights_a_member_learns_from_all_train_rows(prepared_job) -> None:
    _, data = prepared_job({})
    own = member_data(data, 2, None)
    assert own.dataset is data.dataset
    assert own.splits is data.splits


def test_views_are_settled_by_the_augmentation(corners: dict[str, np.ndarray], small_recipe) -> None:
    from sightline.training.setup.resolution import settle

    dataset = sightline.load(corners)
    for policy, views in (("none", "shifts"), ("light", "mirror"), ("digits", "shifts")):
        asked = small_recipe({"augmentation.policy": policy, "ensemble.test_views": "auto"})
        assert settle(asked, dataset=dataset).recipe.ensemble.test_views == views


@pytest.mark.parametrize("kind", ["deep", "soup"])
def test_heads_that_would_be_alike_are_refused(kind: str, prepared_job) -> None:
    _, data = prepared_job({})
    heads = {"model.name": "efficientnet-lite0", "training.finetune_epochs": 0}
    alike = _recipe(ensemble__kind=kind, ensemble__members=2, **heads)
    with pytest.raises(InvalidValue, match=f"members of ensemble.kind={kind} would be the same: a head on frozen"):
        check_differ(dataclasses.replace(data, recipe=alike))
    tuned = _recipe(ensemble__kind=kind, ensemble__members=2, **heads | {"training.finetune_epochs": 2})
    check_differ(dataclasses.replace(data, recipe=tuned))
    unjudged = dataclasses.replace(data.splits, validation=data.splits.validation[:0])
    with pytest.raises(InvalidValue, match="and validation rows"):
        check_differ(dataclasses.replace(data, recipe=tuned, splits=unjudged))


def test_heads_on_other_rows_or_other_backbones_differ(prepared_job) -> None:
    _, data = prepared_job({})
    heads = {"model.name": "efficientnet-lite0", "training.finetune_epochs": 0, "ensemble.members": 2}
    for other in ({"ensemble.kind": "bagging"}, {"ensemble.networks": "efficientnet-lite0,mobilenet-v2"}):
        recipe = _recipe(**heads | {"ensemble.kind": "deep"} | other)
        check_differ(dataclasses.replace(data, recipe=recipe))
