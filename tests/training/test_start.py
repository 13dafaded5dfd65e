"""A training that begins with a finished run: its network, its classes by name, others anew."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import sightline
from sightline.errors import InvalidBundle, InvalidValue
from sightline.system.backends import load_keras

load_keras()

from sightline.bundles.vetting.network_files import open_network  # noqa: E402  # the backend is chosen first
from sightline.configuration.schema import ModelRecipe  # noqa: E402
from sightline.networks.building import build_network  # noqa: E402
from sightline.networks.starting import take_head  # noqa: E402
from sightline.training.setup.starting import begun_with  # noqa: E402


def test_all_layers_but_the_head_are_those_of_the_run_and_columns_go_by_name(tiny_run):
    model = ModelRecipe(name="lenet5", weights=str(tiny_run.path))
    network = build_network((28, 28, 1), 4, model)
    theirs = open_network(tiny_run.bundle.path / "model.keras")
    for ours, other in zip(network.get_weights()[:-2], theirs.get_weights()[:-2], strict=True):
        np.testing.assert_array_equal(ours, other)
    before = network.get_layer("logits").get_weights()[0].copy()
    assert take_head(network, tiny_run.bundle.path, ("7", "new", "0", "3")) == 3
    kernel, bias = network.get_layer("logits").get_weights()
    their_kernel, their_bias = theirs.get_layer("logits").get_weights()
    np.testing.assert_array_equal(kernel[:, [0, 2, 3]], their_kernel[:, [7, 0, 3]])
    np.testing.assert_array_equal(bias[[0, 2, 3]], their_bias[[7, 0, 3]])
    np.testing.assert_array_equal(kernel[:, 1], before[:, 1])


def test_what_is_taken_over_is_the_network_and_its_size(tiny_run):
    recipe = begun_with(tiny_run)
    assert (recipe.name, recipe.model.name, recipe.data.image_size) == ("fast", "lenet5", 28)
    assert recipe.model.weights == str(tiny_run.path.absolute())
    other = begun_with(tiny_run.path, sightline.recipe("photos", {"seed": 5}))
    assert (other.name, other.seed, other.model.name, other.data.image_size) == ("photos", 5, "lenet5", 28)


def test_what_the_run_settled_by_itself_is_settled_anew_for_other_images(tiny_run, tmp_path):
    copy = shutil.copytree(tiny_run.path, tmp_path / "copy")
    told = [{"key": "training.epochs", "asked": "auto", "settled": 1, "reason": "it was enough"}]
    settled = begun_with(copy).training.epochs
    assert settled != "auto"
    (copy / "resolution.json").write_text(json.dumps([*told, {"key": "seed", "asked": 3, "settled": 4, "reason": ""}]))
    assert begun_with(copy).training.epochs == "auto"
    assert begun_with(copy).seed == begun_with(tiny_run).seed
    for damaged in ("{", '[{"asked": "auto"}]', "7"):
        (copy / "resolution.json").write_text(damaged)
        assert begun_with(copy).training.epochs == settled


def test_runs_that_cannot_be_begun_with_are_refused_before_anything_is_decoded(tiny_run, small_npz, tmp_path):
    with pytest.raises(InvalidBundle):
        sightline.train(small_npz, start=tmp_path / "none", out=tmp_path / "run", mode="quiet")
    with pytest.raises(InvalidValue, match="built otherwise than mlp"):
        build_network((28, 28, 1), 10, ModelRecipe(name="mlp", weights=str(tiny_run.path)))
    copy = shutil.copytree(tiny_run.path, tmp_path / "copy")
    (copy / "bundle" / "model.keras").write_bytes(b"altered")
    with pytest.raises(InvalidBundle, match=r"model\.keras"):
        sightline.train(small_npz, start=copy, out=tmp_path / "run", mode="quiet")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_images_that_the_run_learned_from_judge_nothing(tiny_run, small_npz, tmp_path):
    recipe = begun_with(tiny_run).changed({"seed": 7, "training.epochs": 1})
    with pytest.raises(InvalidValue, match=r"learned from \d+ of the \d+ images that are to judge .* --splits"):
        sightline.train(small_npz, recipe=recipe, out=tmp_path / "run", mode="quiet")
    assert not (tmp_path / "run").exists()
    kept = recipe.changed({"data.splits_file": str(tiny_run.path / "splits.csv")})
    assert sightline.train(small_npz, recipe=kept, out=tmp_path / "run", mode="quiet").evaluation is not None


@pytest.mark.slow
def test_a_training_begins_where_the_run_ended(tiny_run, small_npz, command, tmp_path):
    out = tmp_path / "further"
    words = ["train", small_npz, "--from", tiny_run.path, "--epochs", "1", "--out", out, "--json"]
    answer = command(*words)
    assert answer.code == 0, answer.err
    assert "knows 10 of 10 classes" in answer.err
    first = json.loads((out / "history.jsonl").read_text().splitlines()[0])
    anew = json.loads((tiny_run.path / "history.jsonl").read_text().splitlines()[0])
    assert first["loss"] < anew["loss"]
    assert json.loads((out / "recipe.json").read_text())["model"]["weights"] == str(tiny_run.path.absolute())
    assert "starts from the weights of" in (out / "bundle" / "card.md").read_text()
