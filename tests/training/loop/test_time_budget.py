"""A run that ends in time: as many epochs as fit, the schedule complete, or a refusal that says what is missing."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest

import sightline
from sightline.configuration.recipes import parse_recipe
from sightline.errors import InvalidValue
from sightline.system.backends import load_keras

keras = load_keras()

from sightline.networks.building import build_network  # noqa: E402  # the backend is chosen first
from sightline.training import fit_network  # noqa: E402
from sightline.training.loop import time_budget  # noqa: E402
from sightline.training.loop.batches import LabelledImages  # noqa: E402

LABELS = np.arange(400) % 2
IMAGES = (np.random.default_rng(0).integers(0, 100, (400, 8, 8, 1)) + 120 * LABELS[:, None, None, None]).astype(
    np.uint8
)
TRAIN = LabelledImages(IMAGES, LABELS)


def planned(
    seconds: float, settings: dict[str, object] | None = None, train: LabelledImages = TRAIN
) -> tuple[int, keras.Model, list[np.ndarray]]:
    recipe = parse_recipe({"model.name": "mlp", "training.batch_size": 16, **(settings or {})})
    network = build_network((8, 8, 1), int(train.labels.max()) + 1, recipe.model)
    before = network.get_weights()
    epochs = time_budget.epochs_within(time.perf_counter() + seconds, network, train, num_judged=100, recipe=recipe)
    return epochs, network, before


def test_more_time_gives_more_epochs_and_the_trial_leaves_no_trace() -> None:
    few, network, before = planned(60)
    many, _, _ = planned(600)
    assert 1 <= few < many
    for mine, its in zip(network.get_weights(), before, strict=True):
        assert np.array_equal(mine, its)


def test_a_trial_shorter_than_one_step_of_accumulated_gradients_refuses_nothing() -> None:
    # 400 rows are 25 batches, and the trial passes them three times.
    epochs, _, _ = planned(60, {"optimizer.accumulation_steps": 100})
    assert epochs > 100 // 25


def test_an_epoch_of_balanced_sampling_is_as_long_as_the_rows_that_it_draws() -> None:
    # 140 rows of one class and 13 of each of twenty: an epoch draws 2,740, seven times as many as there are.
    rare = LabelledImages(IMAGES, np.repeat(np.arange(21), [140, *[13] * 20]))
    balanced, _, _ = planned(600, {"training.sampling": "balanced"}, rare)
    natural, _, _ = planned(600, train=rare)
    assert balanced < natural / 2


def test_a_budget_shorter_than_one_epoch_is_refused_with_what_is_missing() -> None:
    with pytest.raises(InvalidValue, match=r"one epoch takes about \d+ s here, .*\. Give \d+ s or more") as refused:
        planned(1, {"training.time_budget_seconds": 21})
    # 20 s were spent before, and 15 s are kept for what comes after the last epoch.
    enough = int(re.search(r"Give (\d+) s or more", str(refused.value))[1])
    assert enough > 1.2 * (20 + 15)
    assert planned(enough - 20, {"training.time_budget_seconds": enough})[0] >= 1


@pytest.mark.soak
def test_a_run_plans_its_epochs_and_completes_its_schedule(small_npz: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(fit_network, "epochs_within", lambda *_, **__: 3)
    recipe = sightline.recipe("fast", {"training.time_budget_seconds": 60})
    run = sightline.train(small_npz, recipe=recipe, out=tmp_path / "run", mode="quiet")
    assert len(run.history) == 3
    told = {one["key"]: one for one in json.loads((run.path / "resolution.json").read_text())}
    assert (told["training.epochs"]["asked"], told["training.epochs"]["settled"]) == ("auto", 3)
    assert told["training.epochs"]["reason"].startswith("as many as fit into training.time_budget_seconds=60 ")
    assert sightline.recipe(run.path / "recipe.json").training.epochs == 40, "what is asked for again is the budget"
    assert run.history[-1]["learning_rate"] < 0.05 * recipe.optimizer.learning_rate
