"""What a search may vary is read, checked against its recipe before anything is trained, and made into recipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sightline
from sightline.configuration.recipes import RECIPES
from sightline.errors import InvalidValue, UnknownName
from sightline.training.search.space import Dimension, point_of, recipe_with, stated_space

FAST = sightline.recipe("fast")


@pytest.mark.parametrize("name", RECIPES)
def test_the_usual_space_of_a_recipe_holds_the_recipe_itself(name: str) -> None:
    base = sightline.recipe(name)
    space = stated_space(base, None, ())
    point = point_of(base, space)
    assert len(space) >= 3
    assert point is not None
    assert recipe_with(base, point) == base


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("optimizer.learning_rate=1e-4..1e-2:log", Dimension("optimizer.learning_rate", 1e-4, 1e-2, is_log=True)),
        ("model.dropout=.1...5", Dimension("model.dropout", 0.1, 0.5)),
        (" training.epochs = 2..8 ", Dimension("training.epochs", 2, 8, is_whole=True)),
        ("training.batch_size=32, auto", Dimension("training.batch_size", values=(32, "auto"))),
        ("optimizer.clip_norm=null,1", Dimension("optimizer.clip_norm", values=(None, 1.0))),
        ("augmentation.flip=none,horizontal", Dimension("augmentation.flip", values=("none", "horizontal"))),
    ],
)
def test_a_range_or_values_are_read_as_they_are_typed(typed: str, expected: Dimension) -> None:
    assert stated_space(FAST, None, [typed]) == (expected,)


def test_a_file_says_the_same_and_what_is_typed_holds_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "größe.json"
    entries = {"optimizer.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "model.dropout": [0, 0.5]}
    path.write_text(json.dumps(entries))
    space = stated_space(FAST, path, ["model.dropout=0..0.3"])
    assert [str(one) for one in space] == ["0 to 0.3", "0.0001 to 0.01, by its logarithm"]
    assert {one.key: one.to_dict() for one in stated_space(FAST, path, ())} == entries


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("optimizer.learning_rat=1..2", "Did you mean 'optimizer.learning_rate'"),
        ("Größe=1..2", "no recipe key is called 'Größe'"),
        ("optimizer.learning_rate=0..1", r"must be a number above 0 and at most 10; got 0\.0"),
        ("optimizer.learning_rate=0.1..0.01", "from a lower to a higher number; got 0.1 and 0.01"),
        ("optimizer.learning_rate=nan..1", "from a lower to a higher number"),
        ("model.dropout=0..0.5:log", "begins above 0"),
        ("model.dropout=0..0.5:lin", "a range is LOW..HIGH or LOW..HIGH:log"),
        ("model.dropout=..", "a range is LOW..HIGH"),
        ("model.dropout=", "takes a key with a range or values"),
        ("model.dropout", "takes a key with a range or values"),
        ("", "takes a key with a range or values"),
        ("model.dropout=0.1,0.1", "name 2 to 100 different values"),
        ("model.dropout=0.1", "name 2 to 100 different values"),
        ("training.epochs=1.5..4", "takes whole numbers"),
        ("model.name=lenet5..mlp", "a range is LOW..HIGH"),
        ("model.name=1..2", "takes no numbers"),
        ("model.name=lenet5,lenet6", "no model is called 'lenet6'"),
        ("schedule.num_drops=1..3", "would change nothing: it matters only with schedule.name=step"),
        ("loss.name=sparse_categorical_crossentropy,categorical_crossentropy", "holds a recipe that cannot be"),
        ("seed=1,2", "cannot be varied"),
        ("data.test_fraction=0.1..0.2", "cannot be varied"),
        ("ensemble.kind=none,deep", "cannot be varied"),
        ("training.time_budget_seconds=60..90", "cannot be varied"),
    ],
)
def test_what_cannot_be_varied_so_is_refused(typed: str, told: str) -> None:
    with pytest.raises((InvalidValue, UnknownName), match=told):
        stated_space(FAST, None, [typed])


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"model.dropout": []},
        {"model.dropout": {"low": 0}},
        {"model.dropout": {"low": "a", "high": 1}},
        {"model.dropout": {"low": 0, "high": 0.5, "log": "no"}},
        {"model.dropout": {"low": 0, "high": 0.5, "step": 1}},
        {"model.dropout": [[0], {}]},
        {"model.dropout": 0.5},
        {"model": {"dropout": [0, 0.5]}},
        {"model.dropout": {"low": True, "high": 0.5}},
        {"": [1, 2]},
    ],
)
def test_a_file_that_is_no_space_is_refused_by_its_name(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "space.json"
    path.write_text(json.dumps(content))
    with pytest.raises((InvalidValue, UnknownName)):
        stated_space(FAST, path, ())


def test_no_file_and_no_json_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"none\.json: cannot be read as a space \(No such file"):
        stated_space(FAST, tmp_path / "none.json", ())
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InvalidValue, match=r"broken\.json: not a JSON file"):
        stated_space(FAST, tmp_path / "broken.json", ())


def test_what_has_no_use_beside_the_others_is_left_out_of_a_recipe() -> None:
    varied = ["optimizer.name=sgd,adamw", "optimizer.momentum=0.5..0.9"]
    space = stated_space(FAST, None, varied)
    values = {"optimizer.name": "adamw", "optimizer.momentum": 0.6}
    assert recipe_with(FAST, values).optimizer.momentum == 0.9, "its default"
    assert recipe_with(FAST, values | {"optimizer.name": "sgd"}).optimizer.momentum == 0.6
    assert point_of(FAST, space) is None, "the recipe learns by another optimizer"
    transfer = sightline.recipe("transfer")
    made = recipe_with(transfer, {"training.finetune_epochs": 0, "training.finetune_part": "all"})
    assert made.training.finetune_part == "upper", "there is nothing to fine-tune"


def test_what_is_drawn_lies_in_the_space() -> None:
    generator = np.random.default_rng(0)
    for dimension in stated_space(FAST, None, ["training.epochs=2..5:log", "model.dropout=0.1..0.2"]):
        drawn = [dimension.drawn(generator) for _ in range(200)]
        assert all(dimension.holds(value) for value in drawn)
        assert len(set(drawn)) > 3
