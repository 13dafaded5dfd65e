"""A fit that is broken off and gone on with ends as one that never stopped; what is damaged is passed over and said."""

from __future__ import annotations

import contextlib
import errno
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.configuration.recipes import parse_recipe
from sightline.errors import InvalidValue
from sightline.system.backends import load_keras
from sightline.system.files import sha256_of
from sightline.system.interruption import heeding_interrupts
from sightline.system.progress import reporting

keras = load_keras()

from sightline.networks.building import build_network  # noqa: E402  # the backend is chosen first
from sightline.records import InputSpec  # noqa: E402
from sightline.training.augmentation.pipeline import build_augmentation  # noqa: E402
from sightline.training.loop.batches import LabelledImages  # noqa: E402
from sightline.training.loop.checkpoint_files import (  # noqa: E402
    Checkpoint,
    numbered,
    read_checkpoint,
    write_checkpoint,
)
from sightline.training.loop.checkpoints import Checkpoints, StateKeeper  # noqa: E402
from sightline.training.loop.fit import Fitted, fit  # noqa: E402
from sightline.training.loop.recording import FitOutputs  # noqa: E402
from sightline.training.setup.unfinished import Interval  # noqa: E402

NUMBERS = np.random.default_rng(0)
LABELS = np.arange(160) % 2
BRIGHT = (NUMBERS.integers(0, 100, (160, 8, 8, 1)) + 60 * LABELS[:, None, None, None]).astype(np.uint8)
TRAIN, VALIDATION = LabelledImages(BRIGHT[:120], LABELS[:120]), LabelledImages(BRIGHT[120:], LABELS[120:])
# All that has a state: slots, averaged weights, a schedule, early stopping, generators of dropout and augmentation.
RECIPE = parse_recipe(
    {
        "model.name": "mlp",
        "augmentation.policy": "digits",
        "training.epochs": 4,
        "training.batch_size": 16,
        "training.early_stopping_patience": 2,
        "optimizer.name": "adamw",
        "optimizer.learning_rate": 0.003,
        "optimizer.ema_momentum": 0.9,
        "schedule.name": "one-cycle",
    }
)
STEPS = 8
EVERY_STEP = Interval(steps=1)


class Killed(BaseException):
    """As good as SIGKILL: nothing of ours catches it."""


def fitted(folder: Path | None, *, recipe: Any = RECIPE, interval: Interval = EVERY_STEP) -> tuple[Any, Fitted]:
    """What a fit leaves that goes on from what is in a folder, as another process would: all is built anew."""
    keras.utils.set_random_seed(3)
    pixels = keras.Input((8, 8, 1), dtype="uint8")
    features = keras.layers.Dropout(0.3)(build_network((8, 8, 1), 4, recipe.model)(pixels))
    network = keras.Model(pixels, keras.layers.Dense(2)(features))
    augmentation = build_augmentation(recipe.augmentation, InputSpec(8, 8, "grey"), seed=recipe.seed)
    checkpoints = None if folder is None else Checkpoints(folder / "checkpoints", interval)
    history = None if folder is None else folder / "history.jsonl"
    outputs = FitOutputs(history_path=history, checkpoints=checkpoints)
    result = fit(network, TRAIN, validation=VALIDATION, recipe=recipe, augmentation=augmentation, outputs=outputs)
    return network, result


def without_times(rows: Any) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.fixture
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps of eight at a time: there are positions inside an epoch, and its last steps are fewer."""
    monkeypatch.setattr("sightline.training.loop.fit.STEPS_PER_EXECUTION", 3)


class Breaks:
    """Lets something happen at a step of an epoch, both counted from 0, or in its validation."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.patch = monkeypatch

    def after_step(self, epoch: int, step: int, happen: Callable[[], object]) -> None:
        usual = StateKeeper.end_steps

        def then(keeper: StateKeeper, now: int) -> None:
            usual(keeper, now)
            if (len(keeper.watcher.history), now) == (epoch, step):
                happen()

        self.patch.setattr(StateKeeper, "end_steps", then)

    def in_validation(self, epoch: int, happen: Callable[[], object]) -> None:
        usual, calls = StateKeeper.stop_before_end, []

        def then(keeper: StateKeeper) -> None:
            calls.append(len(keeper.watcher.history))
            # The first call in an epoch ends its steps.
            if calls.count(epoch) == 2:
                happen()
            usual(keeper)

        self.patch.setattr(StateKeeper, "stop_before_end", then)


def kill() -> None:
    raise Killed


def position_of(place: Path) -> tuple[int, int]:
    state = read_checkpoint(place).state
    return len(state["history"]), state["step"]


@pytest.fixture
def heeded() -> Iterator[None]:
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


@pytest.mark.soak  # as trainings that are killed, in tests/faults
def test_a_fit_that_is_broken_off_twice_and_finds_a_torn_file_ends_as_one_that_never_stopped(
    few_at_once: None,
    heeded: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, expected = fitted(None)
    with reporting("plain"):
        with monkeypatch.context() as patch:
            Breaks(patch).after_step(0, 3, kill)
            with pytest.raises(Killed):
                fitted(tmp_path)
        with monkeypatch.context() as patch:
            Breaks(patch).in_validation(1, lambda: signal.raise_signal(signal.SIGINT))
            with pytest.raises(KeyboardInterrupt):
                heeding_interrupts()(fitted)(tmp_path)
        *_, last = numbered(tmp_path / "checkpoints")
        assert position_of(last) == (1, 6), "the last position from which the epoch can be ended"
        (last / "arrays.npz").write_bytes(b"torn")
        again, found = fitted(tmp_path)
    told = capsys.readouterr().err
    assert "going on in epoch 1 after step 3/8" in told
    assert f"the checkpoint {last} cannot be used (arrays.npz is not what was written)" in told
    assert told.count("going on in epoch 2 after step") == 1
    assert [a.tobytes() for a in again.get_weights()] == [a.tobytes() for a in whole.get_weights()]
    assert without_times(found.history) == without_times(expected.history)
    assert (found.chosen_epoch, found.stopped_early) == (expected.chosen_epoch, expected.stopped_early)
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert without_times(lines) == without_times(expected.history)
    once_more, same = fitted(tmp_path)
    assert same == found, "what was finished is not learned again"
    assert [a.tobytes() for a in once_more.get_weights()] == [a.tobytes() for a in whole.get_weights()]


STATE = {
    "is_finished": False,
    "epochs": 4,
    "step": 3,
    "history": [{"epoch": 1, "loss": 0.5, "seconds": 0.1}],
    "seconds": 0.1,
    "stopping": [{"best": 0.5, "best_epoch": 0, "wait": 0, "stopped_epoch": 0}],
    "generators": {},
}


def few_arrays() -> Checkpoint:
    return Checkpoint({**STATE, "figure": float("nan")}, {"model-00000": np.arange(3.0)})


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "000001", few_arrays())
    read = read_checkpoint(tmp_path / "000001")
    assert np.isnan(read.state["figure"])
    assert [array.tolist() for array in read.part("model")] == [[0, 1, 2]]


@pytest.mark.parametrize("name", ["manifest.json", "state.json", "arrays.npz"])
@pytest.mark.parametrize("damage", ["torn", "altered", "gone", "a folder"])
def test_the_checkpoint_before_a_damaged_one_is_taken_and_that_is_said(
    name: str, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        state = {**few_arrays().state, "number": number}
        write_checkpoint(tmp_path / f"00000{number}", Checkpoint(state, few_arrays().arrays))
    path = tmp_path / "000002" / name
    content = path.read_bytes()
    path.unlink()
    if damage == "torn":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "altered":
        place = len(content) // 2
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    elif damage == "a folder":
        path.mkdir()
    with reporting("plain"):
        found = Checkpoints(tmp_path, EVERY_STEP).found
    assert found is not None
    assert found.state["number"] == 1
    assert f"{tmp_path / '000002'} cannot be used (" in capsys.readouterr().err


def test_objects_that_would_run_code_are_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "000001", Checkpoint(STATE, {"model-00000": np.array([print], object)}))
    with pytest.raises(ValueError, match="an array of object"):
        read_checkpoint(tmp_path / "000001")


def test_the_last_two_are_kept_and_a_damaged_one_is_not_counted(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write_checkpoint(tmp_path / f"00000{number}", few_arrays())
    (tmp_path / "000003" / "state.json").write_text("{}")
    checkpoints = Checkpoints(tmp_path, EVERY_STEP)
    checkpoints.write_now(few_arrays())
    assert [place.name for place in numbered(tmp_path)] == ["000002", "000004"]
    checkpoints.write(few_arrays())
    checkpoints.close()
    assert [place.name for place in numbered(tmp_path)] == ["000004", "000005"]


def test_a_full_disk_costs_the_checkpoint_and_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checkpoint(tmp_path / "000001", few_arrays())
    checkpoints = Checkpoints(tmp_path, EVERY_STEP)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with reporting("plain"):
        checkpoints.write_now(few_arrays())
    assert "no checkpoint was written, and the training goes on: " in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["000001"]


def test_steps_are_counted_and_the_usual_interval_grows_with_what_a_checkpoint_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("sightline.training.loop.checkpoints.time.monotonic", lambda: now[0])
    by_steps, usual = Checkpoints(tmp_path / "steps", Interval(steps=5)), Checkpoints(tmp_path / "time", None)
    by_steps.count(4)
    assert not by_steps.is_due
    by_steps.count(1)
    assert by_steps.is_due
    by_steps.write(few_arrays())
    by_steps.close()
    assert not by_steps.is_due
    now[0] += 59
    assert not usual.is_due
    now[0] += 1
    assert usual.is_due
    usual.write(few_arrays(), seconds=3.0)  # three seconds that the training stood still
    usual.close()
    now[0] += 299
    assert not usual.is_due
    now[0] += 1
    assert usual.is_due, "three in three hundred are one in a hundred"


@pytest.mark.parametrize(
    "changed",
    [
        [],
        None,
        {},
        STATE | {"epochs": "4"},
        STATE | {"epochs": True},
        STATE | {"epochs": 1},
        STATE | {"step": -1},
        STATE | {"step": 1.5},
        STATE | {"history": {"epoch": 1}},
        STATE | {"history": [1]},
        STATE | {"history": [{"epoch": 1, "loss": "0.5"}]},
        STATE | {"history": [{"epoch": 1}, {"epoch": 1}]},
        STATE | {"history": [{"loss": 1}]},
        STATE | {"seconds": None},
        STATE | {"stopping": [{"best": 0.5, "on_epoch_end": 0}]},
        STATE | {"stopping": [5]},
        STATE | {"generators": []},
        STATE | {"is_finished": 1},
        STATE | {"is_finished": True},
        STATE | {"is_finished": True, "result": []},
    ],
)
def test_a_checkpoint_with_a_state_that_nobody_wrote_is_passed_over(changed: Any, tmp_path: Path, capsys) -> None:
    write_checkpoint(tmp_path / "000001", Checkpoint(STATE, {}))
    assert read_checkpoint(tmp_path / "000001").state == STATE
    write_checkpoint(tmp_path / "000002", Checkpoint(changed, {}))
    found = Checkpoints(tmp_path, None).found
    assert found is not None
    assert found.state == STATE
    assert "000002 cannot be used" in capsys.readouterr().err


def test_arrays_of_a_checkpoint_that_are_packed_are_not_unpacked(tmp_path: Path) -> None:
    place = tmp_path / "000001"
    write_checkpoint(place, Checkpoint(STATE, {}))
    np.savez_compressed(place / "arrays.npz", np.zeros(2**20, np.uint8))
    hashes = {name: sha256_of(place / name) for name in ("state.json", "arrays.npz")}
    (place / "manifest.json").write_text(json.dumps({"format": 1, "files": hashes}))
    with pytest.raises(ValueError, match=r"says that it holds 1,048,\d+ bytes"):
        read_checkpoint(place)


@pytest.mark.parametrize(
    "change",
    [
        lambda state, arrays: state["generators"].update(python=[9, None]),
        lambda state, arrays: state["generators"].pop("numpy"),
        lambda state, arrays: arrays.update({"random-numpy": np.zeros(3)}),
        lambda state, arrays: arrays.update({"model-00000": np.full(arrays["model-00000"].shape, "a")}),
        lambda state, arrays: state.update(step=10**6),
    ],
)
def test_a_checkpoint_that_cannot_be_put_back_is_refused_with_what_to_delete(
    change: Callable[[dict, dict], object], begun: Path, tmp_path: Path
) -> None:
    found = read_checkpoint(begun)
    state, arrays = json.loads(json.dumps(found.state)), dict(found.arrays)
    change(state, arrays)
    write_checkpoint(tmp_path / "checkpoints" / "000001", Checkpoint(state, arrays))
    with (
        reporting("quiet"),
        pytest.raises(InvalidValue, match=r"cannot be gone on with .* Delete this folder"),
    ):
        fitted(tmp_path)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a fit under way."""
    folder = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed), reporting("quiet"):
        patch.setattr("sightline.training.loop.fit.STEPS_PER_EXECUTION", 3)
        Breaks(patch).after_step(0, 6, kill)
        fitted(folder)
    return numbered(folder / "checkpoints")[-1]
