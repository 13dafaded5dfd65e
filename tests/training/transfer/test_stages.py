"""Stages of a training on a pretrained network: which are worth their time, which are kept, what is said of them."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.errors import InvalidValue
from sightline.system.backends import load_keras
from sightline.system.progress import reporting

keras = load_keras()

from sightline.training.fit_network import fit_network  # noqa: E402  # the backend is chosen first
from sightline.training.loop.fit import Fitted  # noqa: E402
from sightline.training.loop.network import new_network  # noqa: E402
from sightline.training.loop.recording import FitOutputs  # noqa: E402
from sightline.training.setup.preparation import Prepared, prepare  # noqa: E402
from sightline.training.transfer import beginning, finetuning  # noqa: E402
from sightline.training.transfer.activations import FeatureTables  # noqa: E402
from sightline.training.transfer.beginning import begin  # noqa: E402
from sightline.training.transfer.halves import compare_on_halves  # noqa: E402
from sightline.training.transfer.stages import Comparison, Stage, tell, why_hopeless  # noqa: E402

SMALL = {"data.image_size": 64, "training.feature_variants": 2, "data.group_near_duplicates": False}

pytestmark = pytest.mark.usefixtures("own_cache")


def spots(place: Path, num_images: int, *, is_easy: bool) -> Path:
    """Two classes of noise: told apart by colour, or, where that is not easy, by nothing at all."""
    generator = np.random.default_rng(0)
    for label, name in enumerate(("one", "two")):
        (place / name).mkdir(parents=True)
        for number in range(num_images):
            image = generator.normal(120, 40, (64, 64, 3))
            image[..., 0] += 70 * label * is_easy
            Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(place / name / f"{number:03d}.png")
    return place


@pytest.fixture(scope="module")
def easy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spots(tmp_path_factory.mktemp("easy") / "spots", 30, is_easy=True)


@pytest.fixture(scope="module")
def hopeless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spots(tmp_path_factory.mktemp("hopeless") / "noise", 20, is_easy=False)


def prepared(source: Path, **settings: Any) -> Prepared:
    return prepare(sightline.load(source), sightline.recipe("transfer", SMALL | settings))


def learn(data: Prepared, *, seconds: float | None = None) -> tuple[Any, Fitted]:
    deadline = None if seconds is None else time.perf_counter() + seconds
    with reporting("quiet"):
        return fit_network(new_network(data), data, FitOutputs(deadline=deadline))


def compared(gain: float, num_images: int = 60) -> Comparison:
    before = np.random.default_rng(0).exponential(size=num_images)
    return Comparison(before, before - gain * np.linspace(0.5, 1.5, num_images), "validation")


def test_a_gain_is_kept_beyond_chance_and_by_however_little_where_the_length_was_asked_for() -> None:
    noise = np.random.default_rng(1).normal(0, 0.5, 60)
    by_chance = dataclasses.replace(compared(0), after=compared(0).before + noise - noise.mean() - 0.01)
    assert by_chance.is_lower
    assert not by_chance.is_better
    assert not by_chance.is_worse
    for found, free, asked in ((compared(0.2), True, True), (by_chance, False, True), (compared(-0.2), False, False)):
        assert finetuning._is_kept(found, is_free=True, is_promising=False) == free
        assert finetuning._is_kept(found, is_free=False, is_promising=False) == asked
    # Where halves of the train images have spoken for it, validation has to speak against it.
    assert finetuning._is_kept(by_chance, is_free=True, is_promising=True)
    assert not finetuning._is_kept(compared(-0.2), is_free=True, is_promising=True)


def test_what_is_no_number_is_never_kept() -> None:
    lost = dataclasses.replace(compared(0), after=np.full(60, np.nan))
    for is_free, is_promising in ((True, True), (True, False), (False, False)):
        assert not finetuning._is_kept(lost, is_free=is_free, is_promising=is_promising)
    stage = lost.stage("upper", is_kept=False, why="not better", seconds=1.0)
    assert (stage.after, stage.to_dict()["after"]) == (None, None)
    json.dumps(stage.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("surprises", "num_wrong", "is_hopeless"),
    [
        ([0.001] * 19 + [3.0], 1, True),
        ([0.001] * 19 + [3.0], 40, False),
        ([0.5] * 20, 1, False),
        ([0.0] * 20, None, False),
    ],
)
def test_where_no_gain_could_be_told_from_chance_nothing_is_tried(
    surprises: list[float], num_wrong: int | None, is_hopeless: bool
) -> None:
    assert bool(why_hopeless(np.array(surprises), num_wrong)) == is_hopeless


def test_a_stage_is_told_with_what_it_brought_and_cost(capsys) -> None:
    with reporting("plain"):
        tell(compared(0.2).stage("upper", is_kept=True, why="better beyond chance", seconds=12.3))
        tell(Stage("all", is_kept=False, why="less than 90 s are left", seconds=0.0))
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("upper part: kept, better beyond chance; cross-entropy ")
    assert first.endswith("on validation (60 images); 12 s")
    assert second == "whole network: not kept, less than 90 s are left; 0 s"


def test_behind_a_head_that_has_nothing_wrong_no_time_is_spent(easy: Path) -> None:
    data = prepared(easy)
    network, fitted = learn(data)
    head, upper = fitted.stages
    assert (head["name"], head["is_kept"], upper["name"], upper["is_kept"]) == ("head", True, "upper", False)
    assert "no gain could be told from chance" in upper["why"]
    assert (len(fitted.history), fitted.chosen_epoch) == (1, 1)
    alone, _ = learn(prepared(easy, **{"training.finetune_epochs": 0}))
    for mine, its in zip(network.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.soak
def test_with_few_validation_images_halves_of_the_train_images_say_that_there_is_no_gain(hopeless: Path) -> None:
    network, fitted = learn(prepared(hopeless))
    upper = fitted.stages[1]
    assert (upper["is_kept"], upper["judged_on"]) == (False, "halves of the train images")
    assert upper["num_judged"] >= 10
    # What was tried is forgotten.
    alone, _ = learn(prepared(hopeless, **{"training.finetune_epochs": 0}))
    for mine, its in zip(network.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-4, atol=1e-6)


def test_a_budget_that_is_too_short_for_the_head_says_what_it_would_need(easy: Path, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path))
    data = prepared(easy, **{"training.time_budget_seconds": 17})
    with pytest.raises(InvalidValue, match=r"=17 is too short even for a head .* Give \d+ s or more, or use fewer"):
        learn(data, seconds=1.0)


def test_a_stage_that_there_is_no_time_for_is_not_begun(hopeless: Path) -> None:
    data = prepared(hopeless, **{"training.time_budget_seconds": 3000})
    begin(new_network(data), data, deadline=None)  # features are there from here on
    _, fitted = learn(data, seconds=29)
    told = [(stage["name"], stage["is_kept"], stage["why"]) for stage in fitted.stages[1:]]
    assert told == [("upper", False, "less than 30 s are left"), ("all", False, "less than 90 s are left")]
    assert fitted.stages[1]["seconds"] < 1


@pytest.mark.slow
@pytest.mark.soak
def test_with_a_budget_the_whole_network_has_its_turn_behind_the_upper_part(tmp_path: Path) -> None:
    place = spots(tmp_path / "noise", 100, is_easy=False)
    data = prepared(place, **{"training.time_budget_seconds": 3000, "data.validation_fraction": 0.4})
    _, fitted = learn(data, seconds=3000)
    assert [stage["name"] for stage in fitted.stages] == ["head", "upper", "all"]
    # Where there is nothing to learn, nothing is learned, however long.
    assert [stage["is_kept"] for stage in fitted.stages] == [True, False, False]
    assert all(math.isfinite(stage["after"]) for stage in fitted.stages[1:])


def test_where_next_to_nothing_is_learned_halves_find_the_head_as_it_was(hopeless: Path) -> None:
    # Batch statistics that followed each half would change the answers however small the rate.
    data = prepared(hopeless, **{"training.finetune_epochs": 1, "optimizer.learning_rate": 1e-12})
    network = new_network(data)
    features = FeatureTables(network, data)
    _, rows = beginning._head(features, data)
    found = compare_on_halves(network, features, data, rows)
    np.testing.assert_allclose(found.after, found.before, rtol=1e-3, atol=1e-4)
