"""A run that is killed or stopped and gone on with is the run that was never stopped, or is refused with the reason."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import sightline
from sightline.errors import InvalidValue, UnknownName
from sightline.training.setup.preparation import prepare
from sightline.training.setup.unfinished import (
    FIGURES,
    Interval,
    KeptRequest,
    keep_request,
    read_interval,
    read_judged,
    read_request,
    write_plan,
)

# What kills itself is no program of a user, but its command is: the instant is aimed at by what is put in place.
KILLS_ITSELF = """
import os, signal, sys
from sightline.training.loop import checkpoint_files, checkpoints
place, name, number = sys.argv[1:4]
calls = 0
def kill(*arguments, **options):
    global calls
    calls += 1
    if calls == int(number):
        os.kill(os.getpid(), getattr(signal, name))
    return usual(*arguments, **options)
owner = checkpoint_files if place == "write_json" else checkpoints.StateKeeper
usual = getattr(owner, place)
setattr(owner, place, kill)
from sightline.cli.main import main
sys.exit(main(sys.argv[4:]))
"""
# As the tiny run was asked for.
SHORT = ("--epochs", "2", "--model", "lenet5", "--checkpoint-every", "1steps")


def weights_of(folder: Path) -> list[bytes]:
    import keras

    network = keras.saving.load_model(folder / "bundle" / "model.keras", compile=False)
    return [array.tobytes() for array in network.get_weights()]


def killed(cwd: Path, how: tuple[str, str, int], *words: str) -> subprocess.CompletedProcess[str]:
    """A command that is sent a signal when a function is called for so many times."""
    command = [sys.executable, "-c", KILLS_ITSELF, *map(str, how), *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
@pytest.mark.soak
def test_a_run_killed_in_a_checkpoint_and_stopped_between_steps_is_the_one_never_stopped(
    tiny_run: sightline.Run, small_npz: Path, tmp_path: Path
) -> None:
    words, run = ("train", str(small_npz), *SHORT, "--out", "run"), tmp_path / "run"
    done = killed(tmp_path, ("write_json", "SIGKILL", 2), *words)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [path.name for path in (run / "checkpoints").glob("[0-9]*")] == ["000001"], "the second was never whole"
    assert list((run / "checkpoints").glob(".000002.*.partial"))
    done = killed(tmp_path, ("on_epoch_begin", "SIGTERM", 1), *words)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert "going on with the run that was left unfinished in run\n" in done.stderr
    assert done.stderr.endswith("sightline train: interrupted, and kept as it is. To go on: sightline resume run\n")
    assert sightline.resume(run, mode="quiet").history[-1]["epoch"] == 2
    if tiny_run.backend == "tensorflow":
        assert weights_of(run) == weights_of(tiny_run.path)
    files = [{str(path.relative_to(folder)) for path in folder.rglob("*")} for folder in (run, tiny_run.path)]
    assert files[0] == files[1], "nothing is left of checkpoints"


def test_a_finished_run_is_handed_back_and_nothing_is_trained(run_copy: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run_copy.rglob("*")}
    assert sightline.resume(run_copy).path == run_copy
    assert {path: path.stat().st_mtime_ns for path in run_copy.rglob("*")} == before


def test_what_is_no_unfinished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="there is no unfinished run"):
        sightline.resume(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(InvalidValue, match="only what began this run can go on with it: the same command or call"):
        sightline.resume(tmp_path)
    (tmp_path / "checkpoints" / "request.json").write_text("{")
    with pytest.raises(InvalidValue, match=r"request\.json: cannot be read .* Give the command again that began"):
        sightline.resume(tmp_path)


def test_a_request_is_read_back_as_it_was_kept_and_its_source_is_found_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "photos").mkdir()
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "there")
    recipe = sightline.recipe("fast", {"training.epochs": 3})
    asked = KeptRequest("train", recipe.to_dict(), {"backend": "jax", "log_every": 5})
    keep_request(tmp_path / "run", asked, source="photos")
    assert read_request(tmp_path / "run") == ("photos", asked)
    monkeypatch.chdir(tmp_path)
    assert read_request(tmp_path / "run")[0] == str(tmp_path / "there" / "photos")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (None, None),
        ("500steps", Interval(steps=500)),
        ("1step", Interval(steps=1)),
        ("30s", Interval(seconds=30)),
        ("5m", Interval(seconds=300)),
        ("2h", Interval(seconds=7200)),
    ],
)
def test_an_interval_is_read_as_it_is_typed(typed: str | None, expected: Interval | None) -> None:
    assert read_interval(typed) == expected
    if expected is not None:
        assert read_interval(str(expected)) == expected


@pytest.mark.parametrize("wrong", ["", "5", "0steps", "0s", "-5m", "1.5m", "nan", "5 years", 5, True, float("nan")])
def test_an_interval_that_is_none_is_refused_with_those_that_are(wrong: object) -> None:
    with pytest.raises(InvalidValue, match=r"such as 500steps, 30s, 5m or 1h; got "):
        read_interval(wrong)  # type: ignore[arg-type]


def left_before_its_last_figures(run: Path, source: Path) -> None:
    """Bring a finished run back to the moment at which its bundle appeared."""
    recipe = sightline.recipe(run / "recipe.json")
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "lock").touch()
    write_plan(run, prepare(source, recipe))
    keep_request(run, KeptRequest("train", recipe.to_dict(), {}), source=str(source))
    (run / "metrics.json").rename(run / "checkpoints" / FIGURES)
    for name in ("confusion.png", "reliability.png", "mistakes.png", "report.html"):
        (run / name).unlink()


def test_a_run_that_ended_behind_its_bundle_is_finished_without_learning_again(
    run_copy: Path, small_npz: Path, capsys
) -> None:
    before = {path.relative_to(run_copy): path.read_bytes() for path in run_copy.rglob("*") if path.is_file()}
    left_before_its_last_figures(run_copy, small_npz)
    (run_copy / "confusion.png").write_bytes(before[Path("confusion.png")])
    (row,) = sightline.runs(run_copy)
    assert row["state"] == "interrupted"
    assert "between its bundle, which is whole, and its last figures" in row["reason"]
    learned_at = (run_copy / "bundle").stat().st_ino
    run = sightline.resume(run_copy, mode="plain")
    assert "its bundle is whole: nothing is learned again" in capsys.readouterr().err
    assert (run_copy / "bundle").stat().st_ino == learned_at
    after = {path.relative_to(run_copy): path.read_bytes() for path in run_copy.rglob("*") if path.is_file()}
    assert after.keys() == before.keys()
    told = [json.loads(content[Path("metrics.json")]) for content in (before, after)]
    assert told[1] == told[0] | {"run": str(run_copy), "bundle": str(run_copy / "bundle")}
    own = {Path("metrics.json"), Path("report.html")}  # the one has the path, the other the name of the folder
    assert [str(name) for name in before if name not in own and before[name] != after[name]] == []
    assert str(run.evaluation) == str(sightline.reopen(run_copy).evaluation)


def test_figures_of_a_bundle_that_is_not_there_or_was_damaged_are_not_gone_on_with(
    run_copy: Path, small_npz: Path
) -> None:
    left_before_its_last_figures(run_copy, small_npz)
    assert read_judged(run_copy, run_copy / "checkpoints") is not None
    (run_copy / "bundle" / "card.md").write_text("another")
    assert read_judged(run_copy, run_copy / "checkpoints") is None
    (run_copy / "bundle").rename(run_copy / ".bundle.12345678.partial")
    assert read_judged(run_copy, run_copy / "checkpoints") is None


def test_where_a_run_logs_for_tensorboard_is_named_again_and_is_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    recipe = sightline.recipe("fast").to_dict()
    for kept, named, words in (
        (str(tmp_path / "logs"), None, rf"logs for TensorBoard into {tmp_path}/logs, .* --tensorboard {tmp_path}/logs"),
        (str(tmp_path / "logs"), "others", r"tensorboard others: this run logs for TensorBoard into"),
        (None, "logs", r"tensorboard logs: this run does not log for TensorBoard\. To go on: sightline resume"),
    ):
        options = {"jobs": 1, "tensorboard": kept}
        keep_request(tmp_path / "run", KeptRequest("train", recipe, options), source="nowhere")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(InvalidValue, match=words):
            sightline.resume(tmp_path / "run", tensorboard=named)
    # Named as it was, it comes as far as to its images.
    keep_request(
        tmp_path / "run", KeptRequest("train", recipe, {"tensorboard": str(tmp_path / "logs")}), source="nowhere"
    )
    with pytest.raises(UnknownName, match="nowhere"):
        sightline.resume(tmp_path / "run", tensorboard="logs", mode="quiet")
    assert not (tmp_path / "logs").exists()


def test_where_a_run_is_tracked_is_named_again_and_is_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    recipe = sightline.recipe("fast").to_dict()
    monkeypatch.chdir(tmp_path)
    here = f"mlflow:{tmp_path}/logs"
    for kept, named, words in (
        (here, None, rf"tracked by {here}, .* --track {here}; or go on without: --track none"),
        (here, "mlflow:others", rf"track mlflow:{tmp_path}/others: this run is tracked by {here}"),
        (here, "mlfow:logs", "no tracker is called that"),
        (None, "mlflow:logs", r"this run is not tracked\. To go on: sightline resume run$"),
        ("mlflow:http://a:secret@b", None, r"tracked by mlflow:http://\*\*\*@b,"),
    ):
        keep_request(tmp_path / "run", KeptRequest("train", recipe, {"jobs": 1, "track": kept}), source="nowhere")
        with pytest.raises(InvalidValue, match=words) as refused:
            sightline.resume("run", track=named)
        assert "secret" not in str(refused.value)
    keep_request(tmp_path / "run", KeptRequest("train", recipe, {"jobs": 1, "track": here}), source="nowhere")
    # Named as it was, or said to be tracked no longer, it comes as far as to its images.
    for named in ("mlflow:logs", "none"):
        with pytest.raises(UnknownName, match="nowhere"):
            sightline.resume("run", track=named, mode="quiet")
    asked = KeptRequest("distil", recipe, {"bundle": "teacher", "into": "lenet5"})
    keep_request(tmp_path / "run", asked, source="nowhere")
    with pytest.raises(InvalidValue, match="this run is not tracked"):
        sightline.resume("run", track="mlflow:logs")


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.filterwarnings("ignore")  # of MLflow's use of SQLAlchemy, by which it is read here
def test_a_run_that_is_killed_is_gone_on_with_as_the_same_tracked_run(small_npz: Path, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    words = ("train", str(small_npz), *SHORT, "--track", "mlflow:logs", "--out", "run")
    done = killed(tmp_path, ("on_epoch_begin", "SIGKILL", 2), *words)
    assert done.returncode == -signal.SIGKILL, done.stderr
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/logs/mlflow.db")
    experiment = client.get_experiment_by_name("sightline").experiment_id
    (begun,) = client.search_runs([experiment])
    assert begun.info.status == "RUNNING"
    run = sightline.resume(tmp_path / "run", track=f"mlflow:{tmp_path}/logs", mode="quiet")
    (ended,) = client.search_runs([experiment])
    assert (ended.info.run_id, ended.info.status) == (begun.info.run_id, "FINISHED")
    losses = client.get_metric_history(ended.info.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in losses] == [(row["epoch"], row["loss"]) for row in run.history]
