"""A member: trained whole or not at all, kept in a folder, read back, and what goes wrong is told and not raised."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.metrics.ensembles import bootstrap_counts
from sightline.system.backends import load_keras

keras = load_keras()

from sightline.training.ensembles.members import (  # noqa: E402  # as above
    load_member,
    read_member,
    train_answers,
    train_member,
    train_member_or_report,
    with_data,
)
from sightline.training.loop import monitor  # noqa: E402  # the backend is chosen first
from sightline.training.loop.checkpoint_files import numbered  # noqa: E402
from sightline.training.loop.checkpoints import StateKeeper  # noqa: E402
from sightline.training.setup.unfinished import Interval  # noqa: E402

# A network whose weights grow ninefold with each step.
ABSURD = {
    "model.pixel_scaling": "none",
    "optimizer.name": "sgd",
    "optimizer.learning_rate": 10,
    "optimizer.weight_decay": 1,
    "schedule.name": "constant",
    "training.epochs": 20,
}


def _train(job, data, number: int) -> None:
    with with_data(job, data):
        train_member(job, number)


def test_a_member_is_kept_whole_and_read_back(prepared_job) -> None:
    job, data = prepared_job({})
    assert read_member(job, 2) is None
    _train(job, data, 2)
    assert sorted(path.name for path in job.folder_of(2).iterdir()) == ["history.jsonl", "member.json", "model.keras"]
    member = read_member(job, 2)
    assert (member.number, member.network, member.seed, member.chosen_epoch) == (2, "mlp", 1, 2)
    assert [row["epoch"] for row in member.history] == [1, 2]
    assert not member.stopped_early
    lines = (job.folder_of(2) / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == list(member.history)
    assert set(load_member(job, 2).output) == {"features", "logits"}


@pytest.mark.soak
def test_a_member_that_is_broken_off_goes_on_where_it_was(
    prepared_job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, data = prepared_job({"ensemble.kind": "bagging", "model.dropout": 0.2})
    _train(job, data, 2)
    again = dataclasses.replace(job, folder=tmp_path / "again", interval=Interval(steps=1))

    usual = StateKeeper.end_steps

    def break_off(keeper: StateKeeper, step: int) -> None:
        if keeper.watcher.course(step).history:
            raise KeyError
        usual(keeper, step)

    with monkeypatch.context() as patch:
        patch.setattr(StateKeeper, "end_steps", break_off)
        with pytest.raises(KeyError):
            _train(again, data, 2)
    assert read_member(again, 2) is None
    assert len(numbered(again.checkpoints_of(2))) == 1, "of the beginning of the second epoch"
    _train(again, data, 2)
    one, other = load_member(job, 2).get_weights(), load_member(again, 2).get_weights()
    assert [array.tobytes() for array in one] == [array.tobytes() for array in other]
    assert [row["epoch"] for row in read_member(again, 2).history] == [1, 2]
    assert [path.name for path in (again.folder / "members").iterdir()] == ["02"], "nothing is left of checkpoints"


def test_a_bagged_member_keeps_what_it_says_of_the_rows_that_it_did_not_see(prepared_job) -> None:
    job, data = prepared_job({"ensemble.kind": "bagging", "seed": 5})
    _train(job, data, 1)
    train = data.splits.train
    counts = bootstrap_counts(data.dataset.labels[train], None, seed=(5, 1))
    rows, logits = train_answers(job, 1)
    np.testing.assert_array_equal(rows, train[counts == 0])
    expected = load_member(job, 1)(np.asarray(data.pixels.take(rows)[:]))["logits"]
    np.testing.assert_allclose(logits, np.asarray(expected), atol=1e-5)


def test_early_stopping_works_within_a_member(prepared_job) -> None:
    settings = {"training.epochs": 30, "training.early_stopping_patience": 1, "optimizer.learning_rate": 0.05}
    job, data = prepared_job(settings)
    _train(job, data, 1)
    member = read_member(job, 1)
    assert member.stopped_early
    assert len(member.history) < 30
    assert member.chosen_epoch == 1 + int(np.argmin([row["validation_loss"] for row in member.history]))


@pytest.mark.soak
def test_a_member_computed_in_mixed_precision_is_kept_in_float32(prepared_job) -> None:
    job, data = prepared_job({"training.precision": "mixed_bfloat16", "ensemble.kind": "soup"})
    for number in (1, 2):
        _train(job, data, number)
    assert {layer.compute_dtype for layer in load_member(job, 2).layers if layer.weights} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


def test_an_interrupted_member_leaves_nothing_behind(prepared_job, monkeypatch: pytest.MonkeyPatch) -> None:
    job, data = prepared_job({"training.epochs": 3})
    seen = []

    def interrupt(_: monitor.FitOutputs, row: dict[str, float]) -> None:
        seen.append((row["epoch"], list(job.folder.glob("members/.*.partial"))))
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    # A signal may reach Python where an interrupt is swallowed; this one comes between two epochs.
    monkeypatch.setattr(monitor, "record_epoch", interrupt)
    with pytest.raises(KeyboardInterrupt), with_data(job, data):
        train_member_or_report(job, 1)
    assert [epoch for epoch, _ in seen] == [1, 2]
    assert all(half for _, half in seen), "it was being written"
    assert not list((job.folder / "members").iterdir())


def test_a_member_that_diverges_is_reported_and_leaves_nothing_behind(prepared_job) -> None:
    job, data = prepared_job(ABSURD)
    with with_data(job, data):
        outcome = train_member_or_report(job, 1)
    assert "no longer a finite number" in outcome.error
    assert outcome.trace == ""
    assert not list((job.folder / "members").iterdir())


def test_a_mistake_of_ours_is_reported_with_its_traceback(prepared_job) -> None:
    job, data = prepared_job({})
    with with_data(job, dataclasses.replace(data, pixels=None)):
        outcome = train_member_or_report(job, 1)
    assert outcome.error.startswith("AttributeError: ")
    assert "Traceback" in outcome.trace


def test_data_that_changed_since_the_run_was_divided_is_refused(prepared_job) -> None:
    job, _ = prepared_job({})
    outcome = train_member_or_report(dataclasses.replace(job, fingerprint="of other images"), 1)
    assert outcome.error == "corners: the images changed while members were trained. Train anew."


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"history": 3}', '{"number": 1, "more": 2, "history": []}'])
def test_a_damaged_member_is_refused_and_the_remedy_told(content: str, prepared_job) -> None:
    job, _ = prepared_job({})
    job.folder_of(1).mkdir(parents=True)
    (job.folder_of(1) / "member.json").write_text(content)
    with pytest.raises(
        InvalidValue, match=rf"member\.json: cannot be read \(.*\)\. Delete {job.folder_of(1)}, and it is"
    ):
        read_member(job, 1)


def test_a_damaged_network_or_table_of_a_member_is_refused_and_the_remedy_told(prepared_job) -> None:
    job, data = prepared_job({"ensemble.kind": "bagging", "training.epochs": 1})
    _train(job, data, 1)
    for name, read in (("model.keras", load_member), ("train_answers.npz", train_answers)):
        path = job.folder_of(1) / name
        whole = path.read_bytes()
        for damage in (whole[: len(whole) // 2], b"", b"no network", None):
            path.unlink() if damage is None else path.write_bytes(damage)
            told = rf"{name}: cannot be read \(.*\)\. Delete {job.folder_of(1)}, and it is trained anew"
            with pytest.raises(InvalidValue, match=told):
                read(job, 1)


@pytest.mark.soak
@pytest.mark.slow
def test_the_figures_of_each_member_go_to_a_folder_of_their_own_for_tensorboard(prepared_job, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    job, data = prepared_job({"training.epochs": 1})
    job = dataclasses.replace(job, tensorboard=tmp_path / "logs")
    for number in (1, 2):
        _train(job, data, number)
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["run-member-01", "run-member-02"]
    assert all(list(folder.rglob("*tfevents*")) for folder in (tmp_path / "logs").iterdir())


SAID = {
    "number": 1,
    "network": "mlp",
    "seed": 0,
    "history": [{"epoch": 1, "loss": 0.5, "accuracy": 0.5}],
    "chosen_epoch": 1,
    "stopped_early": False,
    "seconds": 1.0,
    "images_per_second": 1.0,
}


@pytest.mark.parametrize(
    "changed",
    [
        [],
        SAID | {"own": 1},
        SAID | {"number": "1"},
        SAID | {"network": ["mlp"]},
        SAID | {"seconds": "1"},
        SAID | {"chosen_epoch": 2},
        SAID | {"history": []},
        SAID | {"history": [5]},
        SAID | {"history": [{"epoch": 1, "loss": "0.5", "accuracy": 0.5}]},
    ],
)
def test_a_member_that_is_not_what_was_written_is_refused_with_what_to_delete(changed, prepared_job) -> None:
    job, _ = prepared_job({})
    job.folder_of(1).mkdir(parents=True)
    (job.folder_of(1) / "member.json").write_text(json.dumps(SAID))
    assert read_member(job, 1).chosen_epoch == 1
    (job.folder_of(1) / "member.json").write_text(json.dumps(changed))
    with pytest.raises(InvalidValue, match=r"member\.json: cannot be read .* Delete .* and it is trained anew"):
        read_member(job, 1)


def test_a_network_or_answers_of_other_data_are_none_of_a_member(prepared_job) -> None:
    from sightline.configuration.schema import ModelRecipe
    from sightline.networks.building import build_network
    from sightline.training.packaging.contract import contract_of

    job, data = prepared_job({})
    job.folder_of(1).mkdir(parents=True)
    for shape, classes in (((8, 8, 3), 3), ((8, 8, 1), 4)):
        contract_of(build_network(shape, classes, ModelRecipe(name="mlp"))).save(job.folder_of(1) / "model.keras")
        with with_data(job, data), pytest.raises(InvalidValue, match=r"no network of this|for other classes"):
            load_member(job, 1)
    for rows, logits in (([10**6], np.zeros((1, 3))), ([-1], np.zeros((1, 3))), ([0], np.zeros((1, 4))), ([0.5], [])):
        np.savez(job.folder_of(1) / "train_answers.npz", rows=np.array(rows), logits=np.asarray(logits))
        with with_data(job, data), pytest.raises(InvalidValue, match="are not those of this data"):
            train_answers(job, 1)
