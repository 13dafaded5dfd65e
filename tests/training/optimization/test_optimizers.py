from __future__ import annotations

import math

import numpy as np
import pytest

from sightline.configuration.names import LOSSES, OPTIMIZERS, SCHEDULES
from sightline.configuration.recipes import parse_recipe
from sightline.errors import UnknownName
from sightline.system.backends import load_keras

keras = load_keras()

from sightline.training.optimization.losses import add_weight_penalties, build_loss  # noqa: E402  # the backend is chosen first
from sightline.training.optimization.optimizers import build_optimizer  # noqa: E402  # the backend is chosen first
from sightline.training.optimization.schedules import build_schedule, last_rate  # noqa: E402  # the backend is chosen first


def rates(name: str, *, steps: int = 100, warmup: float = 0.3, largest: float = 0.5) -> list[float]:
    course = {"name": name} | ({"warmup_fraction": warmup} if name in ("cosine", "one-cycle") else {})
    recipe = parse_recipe({"schedule": course, "optimizer.learning_rate": largest})
    schedule = build_schedule(recipe, total_steps=steps)
    if isinstance(schedule, float):
        return [schedule] * (steps + 1)
    return [float(schedule(step)) for step in range(steps + 1)]


def test_constant_is_the_same_number_throughout() -> None:
    assert set(rates("constant")) == {0.5}


def test_one_cycle_starts_at_a_25th_peaks_after_the_warmup_and_ends_near_nothing() -> None:
    course = rates("one-cycle")
    assert course[0] == pytest.approx(0.5 / 25)
    assert course[30] == pytest.approx(0.5)
    assert max(course) == pytest.approx(0.5)
    assert course[100] == pytest.approx(0.5 * 1e-4, rel=1e-3)


def test_step_falls_by_the_factor_at_equal_distances() -> None:
    recipe = parse_recipe(
        {"schedule": {"name": "step", "num_drops": 3, "decay_factor": 0.1}, "optimizer.learning_rate": 0.5}
    )
    schedule = build_schedule(recipe, total_steps=100)
    course = [float(schedule(step)) for step in range(100)]
    expected = [0.5 * 0.1 ** (step // 25) for step in range(100)]
    np.testing.assert_allclose(course, expected, rtol=1e-5)


def test_exponential_falls_by_the_same_share_to_the_factor() -> None:
    course = np.array(rates("exponential"))
    assert (course[0], course[100]) == (pytest.approx(0.5), pytest.approx(0.05))
    np.testing.assert_allclose(course[1:] / course[:-1], 0.1 ** (1 / 100), rtol=1e-4)


def test_with_accumulation_a_schedule_still_lasts_for_the_whole_run() -> None:
    settings = {"name": "sgd", "momentum": 0, "learning_rate": 1, "accumulation_steps": 2}
    recipe = parse_recipe({"optimizer": settings, "schedule": {"name": "step", "num_drops": 1, "decay_factor": 0.5}})
    optimizer = build_optimizer(recipe.optimizer, build_schedule(recipe, total_steps=16))
    weights, moved = keras.Variable(np.zeros(1, np.float32)), []
    for _ in range(16):
        before = float(np.asarray(weights)[0])
        optimizer.apply([keras.ops.convert_to_tensor(np.float32([1]))], [weights])
        moved.append(before - float(np.asarray(weights)[0]))
    np.testing.assert_allclose(moved, [0, 1] * 4 + [0, 0.5] * 4, atol=1e-5)


@pytest.mark.parametrize("accumulation", [1, 3])
def test_the_last_rate_is_the_one_that_moved_the_weights_last(accumulation: int) -> None:
    settings = {"name": "sgd", "momentum": 0, "learning_rate": 1, "accumulation_steps": accumulation}
    recipe = parse_recipe({"optimizer": settings, "schedule.name": "cosine"})
    rate = build_schedule(recipe, total_steps=12)
    optimizer, weights = build_optimizer(recipe.optimizer, rate), keras.Variable(np.zeros(1, np.float32))
    for batch in range(12):
        before = float(np.asarray(weights)[0])
        optimizer.apply([keras.ops.convert_to_tensor(np.float32([1]))], [weights])
        if (batch + 1) % accumulation == 0:
            told = last_rate(rate, num_batches=batch + 1, accumulation_steps=accumulation)
            assert before - float(np.asarray(weights)[0]) == pytest.approx(told, abs=1e-6)


def test_cosine_starts_and_ends_at_nothing() -> None:
    course = rates("cosine")
    assert (course[0], course[100]) == (pytest.approx(0), pytest.approx(0, abs=1e-6))
    assert course[30] == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["cosine", "one-cycle"])
def test_the_rate_rises_in_a_line_and_falls_in_half_a_cosine(name: str) -> None:
    course = np.array(rates(name))
    np.testing.assert_allclose(np.diff(course[:31]), (course[30] - course[0]) / 30, rtol=1e-3)
    last = course[100]
    half_cosine = [last + (0.5 - last) * (1 + math.cos(math.pi * step / 70)) / 2 for step in range(71)]
    np.testing.assert_allclose(course[30:], half_cosine, atol=1e-5)


@pytest.mark.parametrize("name", ["cosine", "one-cycle"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_runs_have_a_rate_too(name: str, steps: int) -> None:
    course = rates(name, steps=steps)
    assert all(0 <= rate <= 0.5 + 1e-6 for rate in course)
    assert max(course[:steps]) > 0


@pytest.mark.parametrize("name", ["cosine", "one-cycle"])
def test_without_warmup_the_largest_rate_comes_first(name: str) -> None:
    course = rates(name, warmup=0)
    assert course[0] == pytest.approx(0.5)
    assert (np.diff(course) < 0).all()


def test_every_schedule_can_be_built() -> None:
    assert all(len(rates(name)) == 101 for name in SCHEDULES)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_keras_own_of_that_name(name: str) -> None:
    recipe = parse_recipe({"optimizer": {"name": name, "learning_rate": 0.125}}).optimizer
    built = build_optimizer(recipe, 0.125)
    # On PyTorch the class hands out a subclass of its own kernels.
    assert isinstance(built, getattr(keras.optimizers, OPTIMIZERS[name]))
    assert type(built).__name__ == OPTIMIZERS[name]
    assert float(built.learning_rate) == 0.125
    # 0 means none; left to itself Keras' AdamW would decay.
    assert not built.weight_decay


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_reaches_the_optimizer(name: str) -> None:
    recipe = parse_recipe({"optimizer": {"name": name, "weight_decay": 0.25}}).optimizer
    assert build_optimizer(recipe, 0.1).weight_decay == 0.25


def test_momentum_and_nesterov_reach_sgd() -> None:
    recipe = parse_recipe({"optimizer": {"name": "sgd", "momentum": 0.5, "nesterov": True}}).optimizer
    built = build_optimizer(recipe, 0.1)
    assert (built.momentum, built.nesterov) == (0.5, True)


def test_without_focus_every_loss_is_the_mean_of_minus_the_log_of_the_softmax() -> None:
    logits = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 3.0]], np.float32)
    labels = np.array([0, 1])
    by_hand = np.mean(
        [-math.log(math.exp(row[label]) / sum(map(math.exp, row))) for row, label in zip(logits, labels, strict=True)]
    )
    for name in (name for name in LOSSES if not name.startswith("binary")):
        unfocused = {"loss.focal_gamma": 0} if "focal" in name else {}
        loss = build_loss(parse_recipe({"loss.name": name, **unfocused}).loss)
        given = np.eye(3, dtype=np.float32)[labels] if name.startswith("categorical") else labels
        assert float(loss(given, logits)) == pytest.approx(by_hand, rel=1e-5)


def test_without_focus_a_loss_of_several_labels_is_the_mean_of_minus_the_log_of_each_sigmoid() -> None:
    logits = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 3.0]], np.float32)
    labels = np.array([[1, 0, 1], [0, 0, 1]], np.float32)
    by_hand = np.mean(np.log1p(np.exp(np.where(labels == 1, -logits, logits))))
    for name in (name for name in LOSSES if name.startswith("binary")):
        unfocused = {"loss.focal_gamma": 0} if "focal" in name else {}
        loss = build_loss(parse_recipe({"loss.name": name, **unfocused}).loss)
        assert float(loss(labels, logits)) == pytest.approx(by_hand, rel=1e-5)


def test_label_smoothing_shares_out_certainty() -> None:
    recipe = parse_recipe({"loss": {"name": "categorical_crossentropy", "label_smoothing": 0.3}})
    logits = np.array([[2.0, -1.0, 0.5]], np.float32)
    log_softmax = logits[0] - math.log(sum(map(math.exp, logits[0])))
    smoothed = np.array([0.7 + 0.1, 0.1, 0.1])
    loss = build_loss(recipe.loss)(np.array([[1.0, 0, 0]], np.float32), logits)
    assert float(loss) == pytest.approx(-(smoothed * log_softmax).sum(), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_the_focal_loss_is_that_of_its_paper(gamma: float) -> None:
    recipe = parse_recipe({"loss.name": "categorical_focal_crossentropy", "loss.focal_gamma": gamma})
    logits = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    labels = np.arange(6) % 3
    right = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))[np.arange(6), labels]
    expected = np.mean((1 - right) ** gamma * -np.log(right))
    assert float(build_loss(recipe.loss)(np.eye(3, dtype=np.float32)[labels], logits)) == pytest.approx(
        expected, rel=1e-4
    )


def test_penalties_are_of_kernels_alone() -> None:
    layers = keras.layers
    network = keras.Sequential(
        [keras.Input((3, 3, 1)), layers.Conv2D(2, 2), layers.BatchNormalization(), layers.Flatten()]
    )
    kernel = np.asarray(network.layers[0].kernel)
    add_weight_penalties(network, parse_recipe({"loss.l1": 0.1, "loss.l2": 0.01}).loss)
    assert len(network.losses) == 1
    penalty = float(keras.ops.convert_to_numpy(network.losses[0]))
    assert penalty == pytest.approx(0.1 * abs(kernel).sum() + 0.01 * (kernel**2).sum(), rel=1e-5)


def test_without_strengths_there_is_no_penalty() -> None:
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    add_weight_penalties(network, parse_recipe({}).loss)
    assert network.losses == []


def test_gradients_are_cut_to_the_length_asked_for() -> None:
    recipe = parse_recipe(
        {"optimizer": {"name": "sgd", "learning_rate": 1, "momentum": 0, "clip_norm": 0.5, "weight_decay": 0}}
    )
    weights = keras.Variable(np.zeros(2, np.float32))
    build_optimizer(recipe.optimizer, 1.0).apply([keras.ops.convert_to_tensor(np.float32([3, 4]))], [weights])
    np.testing.assert_allclose(np.asarray(weights), [-0.3, -0.4], rtol=1e-5)


def test_accumulated_gradients_make_one_step_of_their_mean() -> None:
    recipe = parse_recipe({"optimizer": {"name": "sgd", "learning_rate": 1, "momentum": 0, "accumulation_steps": 2}})
    optimizer, weights = build_optimizer(recipe.optimizer, 1.0), keras.Variable(np.zeros(1, np.float32))
    for gradient in (1.0, 3.0):
        assert float(np.asarray(weights)[0]) == 0
        optimizer.apply([keras.ops.convert_to_tensor(np.float32([gradient]))], [weights])
    assert float(np.asarray(weights)[0]) == pytest.approx(-2)


def test_a_new_optimizer_is_one_row_of_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownName, match="'nadam'"):
        parse_recipe({"optimizer.name": "nadam"})
    monkeypatch.setitem(OPTIMIZERS, "nadam", "Nadam")
    built = build_optimizer(parse_recipe({"optimizer.name": "nadam"}).optimizer, 0.125)
    assert isinstance(built, keras.optimizers.Nadam)
    assert float(built.learning_rate) == 0.125
