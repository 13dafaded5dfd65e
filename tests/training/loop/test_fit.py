from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from sightline.configuration.recipes import parse_recipe
from sightline.errors import InvalidValue, TrainingFailed
from sightline.metrics.classification import cross_entropy
from sightline.records import InputSpec
from sightline.reporting.charts import curves
from sightline.system.backends import load_keras
from sightline.system.progress import Bar, reporting

keras = load_keras()

from sightline.networks.building import build_network  # noqa: E402  # the backend is chosen first
from sightline.training.augmentation.pipeline import build_augmentation  # noqa: E402
from sightline.training.loop import monitor as monitor_module  # noqa: E402
from sightline.training.loop.batches import LabelledImages  # noqa: E402
from sightline.training.loop.fit import Fitted, fit  # noqa: E402
from sightline.training.loop.monitor import TrainingMonitor  # noqa: E402
from sightline.training.loop.recording import FitOutputs  # noqa: E402
from sightline.training.optimization.losses import build_loss  # noqa: E402

NUMBERS = np.random.default_rng(0)
# Two classes that differ in brightness: learned in an epoch or two.
LABELS = np.arange(160) % 2
BRIGHT = (NUMBERS.integers(0, 100, (160, 8, 8, 1)) + 120 * LABELS[:, None, None, None]).astype(np.uint8)
TRAIN, VALIDATION = LabelledImages(BRIGHT[:120], LABELS[:120]), LabelledImages(BRIGHT[120:], LABELS[120:])


def fitted(
    validation: LabelledImages | None = VALIDATION, *, augmentation=None, outputs: FitOutputs | None = None, **settings
):
    keras.utils.set_random_seed(0)
    usual = {"model.name": "mlp", "training.epochs": 3, "training.batch_size": 16, "optimizer.learning_rate": 0.003}
    recipe = parse_recipe({**usual, **settings})
    network = build_network((8, 8, 1), 2, recipe.model)
    with reporting("quiet"):
        result = fit(
            network,
            TRAIN,
            validation=validation,
            recipe=recipe,
            augmentation=augmentation,
            outputs=outputs or FitOutputs(),
        )
    return network, result


def loss_of(network, data: LabelledImages) -> float:
    return cross_entropy(keras.ops.convert_to_numpy(network(data.images, training=False)), data.labels)


def test_a_separable_problem_is_learned() -> None:
    network, result = fitted(**{"training.epochs": 8})
    logits = keras.ops.convert_to_numpy(network(VALIDATION.images, training=False))
    assert (logits.argmax(axis=1) == VALIDATION.labels).mean() > 0.9
    assert result.history[-1]["loss"] < result.history[0]["loss"]


def test_the_history_has_a_row_an_epoch_in_memory_and_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    _, result = fitted(outputs=FitOutputs(path))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows == list(result.history)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert set(rows[0]) == {
        "epoch",
        "loss",
        "accuracy",
        "validation_loss",
        "validation_accuracy",
        "learning_rate",
        "seconds",
    }
    assert (result.chosen_epoch, result.stopped_early) == (3, False)


def test_the_figures_of_the_last_epoch_are_those_of_the_network() -> None:
    network, result = fitted()
    assert result.history[-1]["validation_loss"] == pytest.approx(loss_of(network, VALIDATION), rel=1e-4)


def test_without_validation_rows_the_history_has_no_figures_of_them() -> None:
    _, result = fitted(None)
    assert "validation_loss" not in result.history[0]


def test_early_stopping_goes_back_to_the_weights_of_the_best_epoch() -> None:
    # Validation that contradicts training gets worse with all that is learned.
    opposite = LabelledImages(VALIDATION.images, 1 - VALIDATION.labels)
    network, result = fitted(opposite, **{"training.epochs": 30, "training.early_stopping_patience": 2})
    losses = [row["validation_loss"] for row in result.history]
    best = int(np.argmin(losses))
    assert result.stopped_early
    assert result.chosen_epoch == best + 1
    assert len(losses) == best + 3
    assert losses[-1] > losses[best] + 0.01
    assert loss_of(network, opposite) == pytest.approx(losses[best], rel=1e-4)


def test_the_best_weights_come_back_where_patience_never_ran_out_too() -> None:
    opposite = LabelledImages(VALIDATION.images, 1 - VALIDATION.labels)
    network, result = fitted(opposite, **{"training.epochs": 3, "training.early_stopping_patience": 10})
    losses = [row["validation_loss"] for row in result.history]
    assert not result.stopped_early
    assert result.chosen_epoch == int(np.argmin(losses)) + 1 < 3
    assert loss_of(network, opposite) == pytest.approx(min(losses), rel=1e-4)


@pytest.mark.soak
def test_both_losses_learn_the_same_weights() -> None:
    network, _ = fitted(**{"loss.name": "categorical_crossentropy", "training.epochs": 1})
    other, _ = fitted(**{"training.epochs": 1})
    for one, two in zip(network.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="elsewhere Keras shuffles, by its own seed")
@pytest.mark.soak
def test_a_seed_decides_on_the_order_of_the_rows() -> None:
    def weights(seed: int) -> bytes:
        network, _ = fitted(seed=seed, **{"training.epochs": 1})
        return b"".join(array.tobytes() for array in network.get_weights())

    assert weights(1) == weights(1)
    assert weights(1) != weights(2)


def one_cycle(step: int, *, num_steps: int, warmup_steps: int, largest: float) -> float:
    """The definition of the catalog, written slowly."""
    if step <= warmup_steps:
        return largest / 25 + (largest - largest / 25) * step / warmup_steps
    share = (step - warmup_steps) / (num_steps - warmup_steps)
    return largest * 1e-4 + (largest - largest * 1e-4) * (1 + math.cos(math.pi * share)) / 2


# 120 images in batches of 16 are 8 steps an epoch, numbered from 0 over the whole run.
@pytest.mark.parametrize(
    ("ema", "accumulation", "last_batches"),
    [
        ({}, 1, [7, 15, 23, 31]),
        ({"optimizer.ema_momentum": 0.9}, 3, [5, 14, 23, 29]),
        pytest.param({}, 3, [5, 14, 23, 29], marks=pytest.mark.soak),
        pytest.param({"optimizer.ema_momentum": 0.9}, 1, [7, 15, 23, 31], marks=pytest.mark.soak),
    ],
)
def test_the_learning_rate_of_an_epoch_is_that_of_its_last_step(
    accumulation: int, last_batches: list[int], ema: dict[str, float]
) -> None:
    settings = {"schedule.name": "one-cycle", "training.epochs": 4, "schedule.warmup_fraction": 0.25}
    _, result = fitted(**settings, **ema, **{"optimizer.accumulation_steps": accumulation})
    expected = [one_cycle(batch, num_steps=32, warmup_steps=8, largest=0.003) for batch in last_batches]
    assert [row["learning_rate"] for row in result.history] == pytest.approx(expected, rel=1e-4)


def test_a_constant_rate_is_recorded_as_it_is() -> None:
    _, result = fitted(**{"schedule.name": "constant"})
    assert [row["learning_rate"] for row in result.history] == [0.003] * 3


def test_a_run_too_short_for_one_accumulated_step_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"accumulation_steps=25 batches make one step, and the whole run has 24"):
        fitted(**{"optimizer.accumulation_steps": 25})
    fitted(**{"optimizer.accumulation_steps": 24})


def test_an_epoch_is_a_line_with_the_best_so_far_and_the_remaining_time(capsys: pytest.CaptureFixture[str]) -> None:
    keras.utils.set_random_seed(0)
    recipe = parse_recipe({"model.name": "mlp", "training.epochs": 3, "training.batch_size": 16})
    with reporting("plain"):
        network = build_network((8, 8, 1), 2, recipe.model)
        result = fit(
            network,
            TRAIN,
            validation=VALIDATION,
            recipe=recipe,
            outputs=FitOutputs(named="fine-tuning epoch", before=({"epoch": 1},)),
        )
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines] == [f"fine-tuning epoch {number}/3" for number in (1, 2, 3)]
    best = min(result.history, key=lambda row: row["validation_loss"])
    assert f"  best loss {best['validation_loss']:.4f} accuracy {best['validation_accuracy']:.4f}  " in lines[-1]
    assert "learning rate 0.004" in lines[0]
    assert lines[-1].endswith("images/s  0:00 remaining")


@pytest.mark.parametrize(
    ("settings", "best"),
    [
        ({}, 3),
        ({"early_stopping_patience": 2}, 3),
        ({"early_stopping_patience": 2, "early_stopping_min_change": 0.05}, 2),
    ],
)
def test_the_best_epoch_is_the_one_that_early_stopping_keeps(settings: dict[str, float], best: int) -> None:
    recipe = parse_recipe({"model.name": "mlp", **{f"training.{key}": value for key, value in settings.items()}})
    monitor = TrainingMonitor(FitOutputs(), recipe, None, rate=0.01, steps=8, num_images=120)
    # The lowest loss, the highest accuracy and the last epoch are three.
    for epoch, (loss, accuracy) in enumerate([(0.5, 0.99), (0.32, 0.8), (0.3, 0.7), (0.4, 0.9)], start=1):
        row = {"epoch": epoch, "loss": loss, "accuracy": accuracy, "learning_rate": 0.01, "seconds": 1.0}
        monitor.history.append({**row, "validation_loss": loss, "validation_accuracy": accuracy})
    expected = {2: "loss 0.3200 accuracy 0.8000", 3: "loss 0.3000 accuracy 0.7000"}[best]
    assert f"  best {expected}  learning rate" in monitor._epoch_line(monitor.history[-1])


def test_what_stands_below_the_bar_fits_into_80_columns() -> None:
    recipe = parse_recipe({"model.name": "mlp", "training.epochs": 3, "training.batch_size": 16})
    network = build_network((8, 8, 1), 2, recipe.model)
    network.compile(optimizer="sgd", loss=build_loss(recipe.loss), metrics=["accuracy"])
    monitor = TrainingMonitor(FitOutputs(), recipe, network, rate=0.01, steps=8, num_images=120)
    monitor.bar = Bar("", total=360, unit="images", stream=None)
    feed = {"x": TRAIN.images, "y": TRAIN.labels, "validation_data": (VALIDATION.images, VALIDATION.labels)}
    with reporting("quiet"):
        callbacks = monitor.callbacks([monitor.callback], network)
        network.fit(**feed, batch_size=16, epochs=2, verbose=0, callbacks=callbacks)
        monitor._noted = -math.inf  # notes are rewritten five times a second; these shall be new
        network.fit(**feed, batch_size=16, epochs=1, verbose=0, callbacks=callbacks)
    assert (monitor.bar.description, monitor.bar.done) == ("epoch 3/3 step 8/8", 360)
    lines = monitor.bar.notes.splitlines()
    pair = r"loss \d\.\d{4} accuracy \d\.\d{4}"
    for line, pattern in zip(
        lines,
        (rf"training    {pair}  learning rate 0\.01", rf"validation  {pair}", rf"best        {pair}  epoch \d"),
        strict=True,
    ):
        assert re.fullmatch(pattern, line), line
        assert len(line) < 78


@pytest.mark.parametrize(
    ("log_every", "logged"),
    [(1, [1, 2, 3, 4, 5, 6, 7, 8]), (3, [3, 6]), (5, [5]), (8, [8]), (100, [])],
)
def test_loss_and_accuracy_are_printed_every_so_many_steps(
    log_every: int, logged: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    keras.utils.set_random_seed(0)
    recipe = parse_recipe({"model.name": "mlp", "training.epochs": 2, "training.batch_size": 16})
    with reporting("plain"):
        network = build_network((8, 8, 1), 2, recipe.model)
        fit(network, TRAIN, validation=None, recipe=recipe, outputs=FitOutputs(log_every=log_every))
    lines = [line for line in capsys.readouterr().err.splitlines() if " step " in line]
    expected = [f"epoch {epoch} step {step}/8  loss " for epoch in (1, 2) for step in logged]
    assert len(lines) == len(expected)
    assert all(line.startswith(start) for line, start in zip(lines, expected, strict=True))


def test_a_loss_that_is_no_number_stops_the_run_with_a_remedy() -> None:
    with pytest.raises(TrainingFailed, match="the loss is no longer a finite number at epoch ") as refusal:
        fitted(
            **{
                "model.pixel_scaling": "none",
                "optimizer.name": "sgd",
                "optimizer.learning_rate": 10,
                "training.epochs": 50,
            }
        )
    assert "--set optimizer.learning_rate=1 or" in str(refusal.value)


@pytest.mark.parametrize("log_every", [None, 2])
def test_the_step_and_the_rate_of_a_diverged_loss_are_told(log_every: int | None) -> None:
    settings = {"optimizer.name": "sgd", "optimizer.learning_rate": 10, "optimizer.weight_decay": 1}
    with pytest.raises(TrainingFailed, match=r"epoch \d+, step \d+ \(learning rate 10, the largest 10\)") as refusal:
        fitted(outputs=FitOutputs(log_every=log_every), **settings, **{"training.epochs": 200})
    step = int(re.search(r"step (\d+)", str(refusal.value))[1])
    if keras.config.backend() == "tensorflow":
        # Several steps are one execution there.
        assert step % (log_every or 8) == 0


def test_figures_that_were_left_unread_still_name_the_first_step_that_diverged(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = parse_recipe({"model.name": "mlp", "training.epochs": 1, "training.batch_size": 16})
    network = build_network((8, 8, 1), 2, recipe.model)
    monitor = TrainingMonitor(FitOutputs(), recipe, network, rate=0.01, steps=8, num_images=120)
    end_steps = monitor.callbacks([], network).on_train_batch_end
    monkeypatch.setattr(monitor_module, "SECONDS_BETWEEN_LOOKS", math.inf)
    monitor._looked = 0.0
    losses = [0.5, 0.4, 0.3, math.nan, math.nan, math.nan, math.nan]
    for batch, loss in enumerate(losses):
        end_steps(batch, {"loss": loss, "accuracy": 0.5})
    with pytest.raises(TrainingFailed, match="at epoch 1, step 4 "):
        end_steps(7, {"loss": math.nan, "accuracy": 0.5})


def test_a_step_whose_figures_are_not_wanted_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Figure(float):
        read = 0

        def __float__(self) -> float:
            Figure.read += 1
            return 0.5

    recipe = parse_recipe({"model.name": "mlp", "training.epochs": 1, "training.batch_size": 16})
    network = build_network((8, 8, 1), 2, recipe.model)
    monitor = TrainingMonitor(FitOutputs(log_every=5), recipe, network, rate=0.01, steps=8, num_images=120)
    monkeypatch.setattr(monitor_module, "SECONDS_BETWEEN_LOOKS", math.inf)
    monitor._looked = 0.0
    with reporting("quiet"):
        for batch in range(8):
            monitor.callbacks([], network).on_train_batch_end(batch, {"loss": Figure(), "accuracy": 0.5})
    assert Figure.read == 2, "at the step that is logged and at the last"


def test_the_last_good_weights_are_kept_when_the_loss_is_no_number(tmp_path: Path) -> None:
    recipe = parse_recipe(
        {
            "model.name": "mlp",
            "optimizer.name": "sgd",
            "optimizer.learning_rate": 10,
            "optimizer.weight_decay": 1,  # each step multiplies the weights by -9, until they overflow
            "schedule.name": "constant",
            "training.epochs": 200,
            "training.batch_size": 120,
        }
    )
    network = build_network((8, 8, 1), 2, recipe.model)
    with pytest.raises(TrainingFailed, match=r"The weights of epoch \d+, the last good ones, are kept in ") as refusal:
        fit(
            network, TRAIN, validation=None, recipe=recipe, outputs=FitOutputs(rescue_path=tmp_path / "last-good.keras")
        )
    assert str(tmp_path / "last-good.keras") in str(refusal.value)
    assert "learning rate 10" in str(refusal.value)
    saved = keras.saving.load_model(tmp_path / "last-good.keras")
    for mine, its in zip(saved.get_weights(), network.get_weights(), strict=True):
        assert np.isfinite(mine).all()
        assert np.array_equal(mine, its)


def test_curves_are_drawn_while_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_module, "SECONDS_BETWEEN_CURVES", 0.0)
    seen = []
    usual = monitor_module.write_atomically
    monkeypatch.setattr(monitor_module, "write_atomically", lambda path, png: (seen.append(png[1:4]), usual(path, png)))
    fitted(outputs=FitOutputs(curves_path=tmp_path / "curves.png"))
    assert seen[0] == b"PNG"
    assert (tmp_path / "curves.png").is_file()


def test_a_fit_that_breaks_off_leaves_all_its_epochs_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(curves, "curves_png", lambda history, *, chosen_epoch: drawn.append(chosen_epoch) or b"PNG")
    with pytest.raises(TrainingFailed, match=r"at epoch (\d+)") as refusal:
        fitted(
            outputs=FitOutputs(curves_path=tmp_path / "curves.png"),
            **{"optimizer.name": "sgd", "optimizer.learning_rate": 10, "optimizer.weight_decay": 1},
            **{"training.epochs": 200, "training.batch_size": 120},
        )
    last = int(re.search(r"epoch (\d+)", str(refusal.value))[1]) - 1
    assert drawn == [1, last], "at once, and all of them at the end; between them ten seconds would have to pass"


def test_augmentation_leaves_validation_and_the_network_untouched() -> None:
    spec = InputSpec(8, 8, "grey", background="dark")
    augmentation = build_augmentation(parse_recipe({"augmentation.policy": "photos"}).augmentation, spec, seed=0)
    network, result = fitted(augmentation=augmentation)
    plain, _ = fitted()
    assert result.history[-1]["validation_loss"] == pytest.approx(loss_of(network, VALIDATION), rel=1e-4)
    assert [type(layer) for layer in network.layers] == [type(layer) for layer in plain.layers]
    # It did change what was learned from.
    assert not np.allclose(network.get_weights()[0], plain.get_weights()[0])


def test_rates_and_times_are_positive_numbers() -> None:
    _, result = fitted()
    assert isinstance(result, Fitted)
    assert all(math.isfinite(value) and value > 0 for value in (result.seconds, result.images_per_second))


def test_speed_counts_steps_alone_and_neither_compilation_nor_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = parse_recipe({"model.name": "mlp", "training.epochs": 2, "training.batch_size": 16})
    monitor = TrainingMonitor(
        FitOutputs(), recipe, build_network((8, 8, 1), 2, recipe.model), rate=0.01, steps=4, num_images=64
    )
    now = [0.0]
    monkeypatch.setattr("sightline.training.loop.monitor.time.perf_counter", lambda: now[0])
    # Begin, and after how many seconds a quarter of an epoch is done each time; then validation.
    for first, validation in ((9.0, 5.0), (0.5, 7.0)):
        monitor._begin_epoch(0)
        for step, seconds in enumerate((first, 0.5, 0.5, 0.5), start=1):
            now[0] += seconds
            monitor._time_steps(16)
            monitor._counted = 16 * step
        now[0] += validation
        monitor.history.append({})
    assert monitor.images_per_second == pytest.approx(7 * 16 / 3.5)


def test_the_average_of_the_weights_is_what_validation_judges_and_what_is_kept() -> None:
    plain, _ = fitted()
    averaged, result = fitted(**{"optimizer.ema_momentum": 0.9})
    assert not np.allclose(plain.get_weights()[0], averaged.get_weights()[0], atol=1e-4)
    assert result.history[-1]["validation_loss"] == pytest.approx(loss_of(averaged, VALIDATION), rel=1e-4)


def test_early_stopping_goes_back_to_averaged_weights() -> None:
    # Nothing is better by so much, so the first epoch stays the best.
    stopping = {"training.early_stopping_patience": 1, "training.early_stopping_min_change": 1000.0}
    network, result = fitted(**{"optimizer.ema_momentum": 0.9, "training.epochs": 6}, **stopping)
    assert (result.stopped_early, result.chosen_epoch) == (True, 1)
    first, last = result.history[0]["validation_loss"], result.history[-1]["validation_loss"]
    assert first != pytest.approx(last, rel=1e-3)
    assert loss_of(network, VALIDATION) == pytest.approx(first, rel=1e-4)


def test_an_improvement_below_the_minimum_change_is_none() -> None:
    settings = {"training.epochs": 6, "training.early_stopping_patience": 2}
    _, result = fitted(**settings, **{"training.early_stopping_min_change": 1000.0})
    assert (result.stopped_early, len(result.history)) == (True, 3)


def test_a_penalty_is_part_of_the_loss_and_makes_weights_smaller() -> None:
    plain, without = fitted()
    shrunk, result = fitted(**{"loss.l2": 0.1})
    assert result.history[0]["loss"] > without.history[0]["loss"]
    assert np.abs(shrunk.get_weights()[0]).mean() < np.abs(plain.get_weights()[0]).mean()
