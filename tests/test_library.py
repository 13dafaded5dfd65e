from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import sightline


def test_importing_the_package_imports_nothing_heavy(python) -> None:
    program = """
import sys, sightline
assert {"load", "train", "predict"} <= set(dir(sightline))
sys.exit(" ".join({"numpy", "PIL", "onnxruntime", "rich", "matplotlib", "keras"} & set(sys.modules)) or 0)
"""
    answer = python(program)
    assert answer.code == 0, answer.err


@pytest.mark.parametrize("name", sightline.__all__)
def test_every_public_name_can_be_had_and_is_documented(name: str) -> None:
    value = getattr(sightline, name)
    assert value is getattr(sightline, name)
    if name != "__version__":
        assert value.__doc__


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'sightline' has no attribute 'trian'"):
        sightline.trian  # noqa: B018  # asking for it is what raises


def test_modules_do_not_hide_functions_of_the_package() -> None:
    for home in set(sightline._HOMES.values()):
        importlib.import_module(home)
    for name, home in sightline._HOMES.items():
        assert getattr(sightline, name) is getattr(importlib.import_module(home), name)


def test_five_lines_lead_from_images_to_predictions(small_npz: Path, tmp_path: Path) -> None:
    digits = sightline.load(small_npz)
    recipe = sightline.recipe("fast", {"training.epochs": 1, "model.name": "mlp"})
    run = sightline.train(digits, recipe=recipe, out=tmp_path / "first", mode="quiet")
    predictions = sightline.predict(run.bundle, digits, progress=False)
    assert str(run.evaluation).startswith("accuracy 0.")
    assert len(predictions) == len(digits)
    assert str(sightline.evaluate(run, digits)) == str(run.evaluation)


def test_the_tables_are_plain_values_and_copies() -> None:
    for table in (sightline.models, sightline.datasets, sightline.recipes):
        table()[0]["name"] = "changed"
        assert table()[0]["name"] != "changed"
    assert [row["name"] for row in sightline.datasets()] == ["mnist", "fashion-mnist", "cifar10"]
    assert {row["name"] for row in sightline.recipes()} >= {"fast", "tutorial"}
