"""Runs that are tracked by MLflow, read back by its own client from its own database."""

from __future__ import annotations

import math
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sightline
from sightline.configuration.recipes import flatten
from sightline.errors import CannotWrite, InvalidValue
from sightline.integrations.tracking.addresses import read_address
from sightline.integrations.tracking.telling import FILES, FINGERPRINT, About
from sightline.integrations.tracking.tracker import NOTE, Tracker
from sightline.system.progress import reporting

pytest.importorskip("mlflow", reason="mlflow is not installed")
# Of MLflow's use of SQLAlchemy, where these tests read by MLflow's client; the product is silent by itself, see below.
pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = tuple(
    {"epoch": epoch, "loss": 1 / epoch, "accuracy": 0.5, "validation_loss": 2 / epoch, "seconds": 1.0}
    for epoch in (1, 2, 3)
)
ABOUT = About("first", {"training.epochs": "3", "seed": "0"}, {FINGERPRINT: "abc", "sightline.source": "mnist"})


def runs_in(folder: Path) -> list[Any]:
    """The runs of a test in the store, the first first, as MLflow's own client reads them."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(os.environ["MLFLOW_EXPERIMENT_NAME"])
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"]))


def course(folder: Path, run: Any, name: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    return [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]


def artifacts_of(run: Any) -> set[str]:
    from urllib.parse import unquote, urlsplit

    return {path.name for path in Path(unquote(urlsplit(run.info.artifact_uri).path)).iterdir()}


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests, since MLflow takes a second to make its tables."""
    folder = tmp_path_factory.mktemp("tracking") / "my logs é"
    Tracker(read_address(f"mlflow:{folder}")).check()
    return folder


@pytest.fixture(autouse=True)
def experiment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an experiment of its own for each test, as MLflow itself takes it."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", request.node.name)
    return str(request.node.name)


@pytest.fixture
def tracked(logs: Path) -> Callable[[], Tracker]:
    return lambda: Tracker(read_address(f"mlflow:{logs}"))


@pytest.mark.slow
def test_a_run_is_tracked_with_its_keys_epochs_figures_and_files(
    logs: Path, small_npz: Path, tmp_path: Path, capfd
) -> None:
    recipe = sightline.recipe("fast", {"model.name": "mlp", "training.epochs": 2})
    run = sightline.train(small_npz, recipe=recipe, out=tmp_path / "first", track=f"mlflow:{logs}", mode="plain")
    (found,) = runs_in(logs)
    said = capfd.readouterr().err
    assert f"tracked by mlflow:{logs}, there run {found.info.run_id}\n" in said
    assert "INFO" not in said, "MLflow tells how it makes a database"
    assert (found.info.run_name, found.info.status) == ("first", "FINISHED")
    assert found.data.params == {
        key: "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in flatten(run.recipe)
    }
    for name, key in (
        ("train/loss", "loss"),
        ("validation/accuracy", "validation_accuracy"),
        ("train/learning_rate", "learning_rate"),
    ):
        assert course(logs, found, name) == [(row["epoch"], row[key]) for row in run.history]
    assert run.evaluation is not None
    for name, figure in run.evaluation.figures.items():
        bounds = figure.interval or (math.nan, math.nan)
        for end, value in zip(("", "_lower", "_upper"), (figure.value, *bounds), strict=True):
            assert found.data.metrics.get(f"test/{name}{end}") == (value if math.isfinite(value) else None), name
    assert {"test/accuracy", "test/accuracy_lower", "test/accuracy_upper"} <= found.data.metrics.keys()
    tags = found.data.tags
    assert tags["sightline.run_folder"] == str(tmp_path / "first")
    assert tags["sightline.source"] == "small"
    assert len(tags[FINGERPRINT]) > 8
    assert {"version.sightline", "version.keras", "version.numpy"} <= tags.keys()
    assert "95 % intervals" in tags["sightline.test"]
    assert artifacts_of(found) == {Path(name).name for name in FILES}, "no image of the data"
    for name in FILES:
        kept = logs / "artifacts" / found.info.run_id / "artifacts" / Path(name).name
        assert kept.read_bytes() == (run.path / name).read_bytes(), name
    assert not (run.path / "checkpoints").exists()


def test_a_tracker_that_refuses_is_told_of_once_and_the_run_goes_on(
    logs: Path, tracked, experiment: str, tmp_path: Path, tiny_run: sightline.Run, capfd
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{logs / 'mlflow.db'}")
    client.delete_experiment(client.create_experiment(experiment))
    tracker = tracked()
    with reporting("plain"), tracker.following(ABOUT, tmp_path / NOTE):
        for row in tiny_run.history:
            tracker.log_epoch(row)
        tracker.finish(tiny_run)
    said = capfd.readouterr().err
    assert said.count("could not be told of this run") == 1
    assert f"note: mlflow:{logs} could not be told of this run (" in said
    assert said.endswith("; the run goes on\n")


def test_a_run_that_is_gone_on_with_is_the_same_there_and_no_epoch_stands_twice(
    tracked, logs: Path, tmp_path: Path
) -> None:
    note = tmp_path / "run" / NOTE
    with pytest.raises(KeyboardInterrupt), tracked().following(ABOUT, note) as _:
        raise KeyboardInterrupt
    assert [run.info.status for run in runs_in(logs)] == ["KILLED"]
    first = tracked()
    with first.following(ABOUT, note):
        first.log_epoch(ROWS[0])
        first.log_epoch(ROWS[1])
    # Of one that was killed, nobody says how it ended, and its checkpoint may be older than its last epoch.
    (found,) = runs_in(logs)
    set_status(logs, found.info.run_id, "RUNNING")
    second = tracked()
    with second.following(ABOUT, note):
        assert [run.info.status for run in runs_in(logs)] == ["RUNNING"]
        for row in ROWS[1:]:
            second.log_epoch({**row, "seconds": 9.0})
    (found,) = runs_in(logs)
    assert found.info.status == "FINISHED"
    assert course(logs, found, "train/loss") == [(row["epoch"], row["loss"]) for row in ROWS]
    assert course(logs, found, "train/seconds") == [(1, 1.0), (2, 1.0), (3, 9.0)]


def set_status(folder: Path, identity: str, status: str) -> None:
    from mlflow import MlflowClient

    MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}").update_run(identity, status=status)


def test_a_note_of_no_tracked_run_begins_another(tracked, logs: Path, tmp_path: Path) -> None:
    identities = ('"0123456789abcdef0123456789abcdef"', '"../../x"', "5", '""')
    notes = [f'{{"track": "{tracked().address}", "identity": {identity}}}' for identity in identities]
    notes += ['{"track": "mlflow:elsewhere", "identity": "abcdef"}', "{", "[]"]
    for number, noted in enumerate(notes, start=1):
        (tmp_path / NOTE).write_text(noted)
        with tracked().following(ABOUT, tmp_path / NOTE):
            pass
        found = runs_in(logs)
        assert [run.info.status for run in found] == ["FINISHED"] * number
        assert any(run.info.run_id in (tmp_path / NOTE).read_text() for run in found)


def test_a_run_of_other_images_and_one_that_is_finished_are_not_written_to(tracked, logs: Path, tmp_path: Path) -> None:
    note = tmp_path / NOTE
    for about in (ABOUT, About("second", {}, {FINGERPRINT: "other"}), ABOUT):
        tracker = tracked()
        with tracker.following(about, note):
            tracker.log_epoch(ROWS[0])
    assert len(runs_in(logs)) == 3


def test_what_a_broken_store_missed_is_told_at_the_end_where_it_is_whole_again(
    tracked, logs: Path, tmp_path: Path, tiny_run: sightline.Run, capfd
) -> None:
    tracker = tracked()

    def sql(statement: str) -> None:
        with sqlite3.connect(logs / "mlflow.db") as database:
            database.execute(statement)

    with reporting("plain"), tracker.following(ABOUT, tmp_path / NOTE):
        tracker.log_epoch(tiny_run.history[0])
        sql("ALTER TABLE latest_metrics RENAME TO gone")
        tracker.log_epoch(tiny_run.history[1])
        tracker.log_epoch({**tiny_run.history[1], "epoch": 3})
        sql("ALTER TABLE gone RENAME TO latest_metrics")
        tracker.finish(tiny_run)
    said = capfd.readouterr().err
    assert said.count("the run goes on") == 1
    assert "could be reached again, and has all of it" in said
    (found,) = runs_in(logs)
    assert found.info.status == "FINISHED"
    assert course(logs, found, "train/loss") == [(row["epoch"], row["loss"]) for row in tiny_run.history]
    assert "test/accuracy" in found.data.metrics


def test_a_store_of_files_is_refused_as_mlflow_itself_no_longer_writes_to_one(tmp_path: Path) -> None:
    (tmp_path / "mlruns" / "0").mkdir(parents=True)
    (tmp_path / "mlruns" / "0" / "meta.yaml").write_text("name: Default\n")
    with pytest.raises(InvalidValue, match=r"store of files, .* mlflow migrate-filestore"):
        sightline.train("mnist", track=f"mlflow:{tmp_path / 'mlruns'}")
    assert [path.name for path in (tmp_path / "mlruns").iterdir()] == ["0"]


def test_what_is_no_database_is_refused_before_an_image_is_read(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database of anything, but a text of some length")
    with pytest.raises(CannotWrite, match="no store of MLflow can be kept there"):
        sightline.train("mnist", out=tmp_path / "run", track=f"mlflow:{tmp_path}")
    assert not (tmp_path / "run").exists()


def test_a_server_that_is_not_there_is_refused_in_seconds(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(CannotWrite, match=r"--track mlflow:http://127\.0\.0\.1:1: MLflow does not answer there"):
        sightline.train("mnist", out=tmp_path / "run", track="mlflow:http://127.0.0.1:1")
    assert time.monotonic() - started < 30
    assert not (tmp_path / "run").exists()


def test_mlflow_is_loaded_with_its_telemetry_off(python, tmp_path: Path) -> None:
    program = """
import os, socket, sys, threading
for name in ("CI", "PYTEST_CURRENT_TEST", "GITHUB_ACTIONS", "GITLAB_CI"):
    os.environ.pop(name, None)  # in which MLflow sends nothing anyway
def refused(*arguments, **options):
    raise AssertionError("a connection was asked for")
socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refused
from sightline.integrations.tracking.addresses import read_address
from sightline.integrations.tracking.tracker import Tracker
import warnings
warnings.simplefilter("error")
Tracker(read_address("mlflow:logs")).check()
from mlflow.telemetry.client import get_telemetry_client
from mlflow.telemetry.utils import is_telemetry_disabled
print(is_telemetry_disabled(), get_telemetry_client(), [thread.name for thread in threading.enumerate()])
print(sorted({"keras", "tensorflow", "torch"} & set(sys.modules)))
"""
    answer = python(program)
    assert answer.out == "True None ['MainThread']\n[]\n", answer.err
