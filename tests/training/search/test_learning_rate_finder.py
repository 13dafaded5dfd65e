"""The learning-rate range test: rates by their definition, train rows alone, a suggestion, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.configuration.recipes import parse_recipe
from sightline.errors import InvalidValue, TrainingFailed
from sightline.system.backends import load_keras
from sightline.training.search.learning_rate_finder import smoothed_losses, suggest

keras = load_keras()

from sightline.networks.building import build_network  # noqa: E402  # the backend is chosen first
from sightline.training.loop.batches import LabelledImages  # noqa: E402
from sightline.training.search.rate_sweep import range_test  # noqa: E402

LABELS = np.arange(64) % 2
IMAGES = (np.random.default_rng(0).integers(0, 100, (64, 8, 8, 1)) + 120 * LABELS[:, None, None, None]).astype(np.uint8)
QUICK = {"model.name": "mlp", "training.batch_size": 32}


def tried(num_steps: int, **settings):
    keras.utils.set_random_seed(0)
    recipe = parse_recipe({"model.name": "mlp", "training.batch_size": 16, **settings})
    network = build_network((8, 8, 1), 2, recipe.model)
    first = network.get_weights()
    rates, losses = range_test(network, LabelledImages(IMAGES, LABELS), recipe, num_steps=num_steps)
    return rates, losses, network, first


def test_rates_grow_by_the_same_share_from_the_lowest_to_the_highest_over_several_passes() -> None:
    rates, losses, _, _ = tried(15, **{"optimizer.weight_decay": 0.0})
    # 64 images in batches of 16 are four steps a pass.
    assert rates.tolist() == pytest.approx([1e-6 * 10 ** (7 * step / 14) for step in range(len(rates))])
    assert len(rates) == len(losses) > 4
    assert np.isfinite(losses).all()


def test_the_losses_are_those_of_keras_trained_step_by_step() -> None:
    settings = {"optimizer": {"name": "sgd", "momentum": 0}, "training.batch_size": 64, "seed": 0}
    rates, losses, network, first = tried(6, **settings)
    slow = keras.models.clone_model(network)
    slow.set_weights(first)
    expected = []
    for rate in rates:
        slow.compile(optimizer=keras.optimizers.SGD(rate), loss=keras.losses.SparseCategoricalCrossentropy(True))
        expected.append(float(slow.train_on_batch(IMAGES, LABELS)))
    assert losses.tolist() == pytest.approx(expected, rel=1e-3)


def test_with_accumulation_a_step_has_the_mean_loss_of_its_batches_and_the_rate_of_its_last() -> None:
    one_by_one, losses, _, _ = tried(5, **{"optimizer.accumulation_steps": 4, "optimizer.ema_momentum": 0.9})
    assert one_by_one.tolist() == pytest.approx([1e-6 * 10 ** (7 * (4 * step + 3) / 19) for step in range(5)])
    _, _, network, first = tried(2, **{"training.batch_size": 64})
    network.set_weights(first)
    logits = np.asarray(network(IMAGES, training=False))
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert losses[0] == pytest.approx(-log_softmax[np.arange(64), LABELS].mean(), rel=1e-4)


def test_it_stops_where_the_loss_runs_away() -> None:
    rates, losses, _, _ = tried(200, **{"optimizer.name": "sgd", "model.pixel_scaling": "none"})
    assert len(rates) < 200
    assert np.isfinite(losses).all()


def test_the_lowest_and_the_steepest_are_found_in_a_worked_case() -> None:
    rates = 10.0 ** np.linspace(-6, 1, 200)
    # Flat, down in a line from 1e-4 to 1e-2, then up.
    losses = np.interp(np.log10(rates), [-6, -4, -2, -1, 1], [2, 2, 1, 5, 5])
    lowest, steepest = suggest(rates, losses)
    assert 4e-3 < lowest <= 1e-2  # the steep side pulls it a little to the left
    assert 1e-4 < steepest < 1e-2
    assert suggest(rates, losses * 7) == pytest.approx((lowest, steepest)), "the unit of the loss does not matter"


def test_how_far_a_loss_ran_away_changes_nothing() -> None:
    rates = 10.0 ** np.linspace(-6, 1, 200)
    losses = np.interp(np.log10(rates), [-6, -4, -2, -1, 1], [2, 2, 1, 5, 5])
    wilder = np.where(losses > 3, losses * 1e6, losses)
    assert suggest(rates, wilder) == suggest(rates, losses)
    assert np.array_equal(smoothed_losses(wilder), smoothed_losses(losses))


@pytest.mark.parametrize("losses", [np.full(100, 2.0), np.linspace(2, 9, 100), np.array([])], ids=["flat", "up", "no"])
def test_where_the_loss_does_not_fall_nothing_is_suggested(losses: np.ndarray) -> None:
    with pytest.raises(TrainingFailed, match="the loss fell at no learning rate up to"):
        suggest(10.0 ** np.linspace(-6, 1, len(losses)), losses)


@pytest.mark.soak
def test_a_rate_is_suggested_drawn_and_nothing_else_is_left(small_npz: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = sightline.recipe("fast", QUICK)
    found = sightline.find_learning_rate(small_npz, recipe=recipe, out="rates.png", mode="quiet")
    assert found.suggestion == pytest.approx(found.lowest / 10)
    assert 1e-5 < found.suggestion < 0.1
    assert found.steepest <= found.lowest
    assert f"optimizer.learning_rate={found.suggestion:.2g}" in repr(found)
    assert [path.name for path in tmp_path.iterdir()] == ["rates.png"]
    assert (tmp_path / "rates.png").read_bytes() == found.png
    again = sightline.find_learning_rate(small_npz, recipe=recipe, mode="quiet")
    assert np.allclose(again.losses, found.losses, rtol=1e-3)


def test_the_command_prints_one_object_and_writes_the_picture(command, small_npz: Path, tmp_path: Path) -> None:
    words = ["find-learning-rate", small_npz, "--model", "mlp", "--steps", "60", "--quiet"]
    answer = command(*words, "--json")
    told = json.loads(answer.out)
    assert (answer.code, answer.err) == (0, "")
    assert set(told) == {"suggestion", "steepest", "lowest", "rates", "losses", "picture"}
    assert told["picture"] == "small-learning-rate.png"
    with Image.open(tmp_path / told["picture"]) as picture:
        assert picture.format == "PNG"
    (tmp_path / "notes.txt").write_text("mine")
    refused = command(*words, "--out", "notes.txt")
    assert (refused.code, (tmp_path / "notes.txt").read_text()) == (2, "mine")


@pytest.mark.parametrize(("option", "key"), [("model", "model.name"), ("seed", "seed"), ("fraction", "data.fraction")])
def test_options_that_are_short_for_a_key_are_the_same_as_those_of_train(command, option: str, key: str) -> None:
    for name in ("find-learning-rate", "train"):
        answer = command(name, "mnist", f"--{option}", "-7")
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert f"{key} " in answer.err or f"{key}:" in answer.err


@pytest.mark.parametrize("steps", [0, 49, 5001, 100.0, True, "100"])
def test_a_number_of_steps_out_of_range_is_refused(steps: object) -> None:
    with pytest.raises(InvalidValue, match="steps must be a whole number from 50 to 5000; got"):
        sightline.find_learning_rate("mnist", steps=steps)


def test_a_recipe_that_starts_from_pretrained_weights_is_refused_with_what_to_do() -> None:
    with pytest.raises(InvalidValue, match=r"networks that learn from scratch.*--recipe photos.*model\.weights=random"):
        sightline.find_learning_rate("no such folder", recipe="transfer")
