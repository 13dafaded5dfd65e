"""Processes fit one network as one would; killed or stopped they go on to the same bytes; a difference stops them."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sightline
from sightline.bundles.vetting.network_files import open_network
from sightline.errors import CannotWrite, NotReached
from sightline.training.fit_on_processes import SharedFit, check_same, fit_on_processes
from sightline.training.loop.checkpoint_files import numbered, read_checkpoint
from sightline.training.setup.preparation import prepare
from sightline.training.setup.run_folder import run_folder
from sightline.training.setup.unfinished import Interval

NUM_KILLS = int(os.environ.get("SIGHTLINE_KILLS", "10"))
# Dropout and augmentation, drawn for a whole batch: both would differ if a share were taken for one. The last batches
# of train and validation images do not divide by four.
KEYS = {
    "model.name": "lenet5",
    "model.dropout": 0.3,
    "training.epochs": 3,
    "training.batch_size": 64,
    "optimizer.name": "sgd",
    "optimizer.learning_rate": 0.01,
}


def shared_fit(source: Any, folder: Path, **keys: Any) -> SharedFit:
    usual = {"model.name": "mlp", "training.epochs": 2, "training.batch_size": 32, "augmentation.policy": "none"}
    recipe = sightline.recipe("fast", usual | keys)
    return SharedFit(source, recipe, folder, None, None, Interval(steps=2), "plain", is_tracked=True)


class _Epochs:
    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def log_epoch(self, row: Any) -> None:
        self.rows.append(row)


@pytest.mark.slow
def test_two_processes_leave_the_end_of_one_fit(ray_here, corners, tmp_path: Path, capfd) -> None:
    pytest.importorskip("jax")
    source = sightline.load(corners, name="corners")
    shared, told = shared_fit(source, tmp_path / "run"), _Epochs()
    with run_folder(shared.folder, prepare(source, shared.recipe)):
        fit_on_processes(shared, "ray", count=2, tracker=told)
        end = read_checkpoint(numbered(shared.checkpoints)[-1])
        assert end.is_finished
        assert [row["epoch"] for row in told.rows] == [1, 2]
        lines = (shared.folder / "history.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == list(end.state["history"]) == told.rows
        assert all(np.isfinite(weights).all() for weights in end.part("model"))
        assert (shared.folder / "curves.png").exists()
    shown = capfd.readouterr().err
    assert re.search(r"^2 processes learn together, on .*\(node \w{8}\)$", shown, re.MULTILINE), shown
    assert shown.count("epoch 2/2") == 1, "the first alone tells"


def test_a_machine_that_would_learn_something_else_is_named(monkeypatch, corners, tmp_path: Path) -> None:
    monkeypatch.setenv("SIGHTLINE_NODE", "10.0.0.7 (node cafecafe)")
    source = sightline.load(corners, name="corners")
    shared = shared_fit(source, tmp_path / "run")
    data = prepare(source, shared.recipe)
    with pytest.raises(
        NotReached, match=r"^10\.0\.0\.7 \(node cafecafe\) does not see the folder of the run, .*/run\."
    ):
        check_same(shared, data)
    with run_folder(shared.folder, data):
        check_same(shared, data)
        with pytest.raises(NotReached, match=r"^10\.0\.0\.7 .* has other images than the machine that asks"):
            check_same(shared, prepare(source, shared.recipe.changed({"seed": 1})))
        few = source.take(np.arange(170))
        with pytest.raises(NotReached, match="under the same path everywhere"):
            check_same(shared, prepare(few, shared.recipe))


def test_an_end_that_could_not_be_kept_is_told(monkeypatch, corners, tmp_path: Path) -> None:
    def is_full(on: str, team: Any, item: Any) -> list[bool]:
        return [False, False]

    monkeypatch.setattr("sightline.training.fit_on_processes.work_together", is_full)
    with pytest.raises(CannotWrite, match="what was learned could not be kept there"):
        fit_on_processes(shared_fit(corners, tmp_path), "ray", count=2, tracker=None)


# One process of two, whose first weight is another by a millionth after the third step of the first epoch.
PLANTED = """
import sys
from pathlib import Path
from sightline.training.setup.processes import begin_on_one_processor
begin_on_one_processor()
import numpy
from sightline.configuration.recipes import parse_recipe
from sightline.errors import ProcessesDiffer
from sightline.integrations.ray.teams import Line, Place
from sightline.system.stored import read_json
from sightline.training import fit_on_processes as fits

number, address, source, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4])
recipe = parse_recipe(read_json(folder / "recipe.json"))
shared = fits.SharedFit(source, recipe, folder, None, None, None, "plain", is_tracked=False)
fits._make_ready(shared)
from sightline.training.loop import checkpoints

def planted(keeper, step):
    usual(keeper, step)
    if number == 1 and step == 3 and not keeper.watcher.history:
        import jax
        variable = keeper.model.trainable_variables[0]
        other = numpy.array(variable.value)
        other.flat[0] += 1e-6
        variable._value = jax.make_array_from_callback(other.shape, variable.value.sharding, lambda at: other[at])

usual, checkpoints.StateKeeper.end_steps = checkpoints.StateKeeper.end_steps, planted
try:
    fits._take_part(shared, Place(number, ("here", "there"), address), Line())
except ProcessesDiffer as error:
    print(error, flush=True)
    import os
    os._exit(3)
"""


@pytest.mark.slow
@pytest.mark.soak
def test_a_weight_of_one_that_differs_by_a_millionth_stops_both(corners, tmp_path: Path) -> None:
    pytest.importorskip("jax")
    source, folder = tmp_path / "corners.npz", tmp_path / "run"
    np.savez(source, **corners)
    recipe = shared_fit(source, folder).recipe
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with run_folder(folder, prepare(str(source), recipe)):
        both = [
            subprocess.Popen(
                [sys.executable, "-c", PLANTED, str(number), address, str(source), str(folder)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(2)
        ]
        told = [process.communicate(timeout=300) for process in both]
        assert [process.returncode for process in both] == [3, 3], told
        assert not numbered(folder / "checkpoints"), "nothing of it was kept"
    for out, _ in told:
        assert "Before epoch 2, not all processes have the weights of the first one, on here" in out
        assert "process 1 on there." in out


def command_of(source: Path, out: Path, *words: str) -> list[str]:
    keys = [f"--set={key}={value}" for key, value in KEYS.items()]
    begin = [sys.executable, "-m", "sightline", "train", str(source), "--recipe", "fast", *keys, "--backend", "jax"]
    return [*begin, "--out", str(out), *words]


def weights_of(run: Path) -> list[np.ndarray]:
    return list(open_network(run / "bundle" / "model.keras").get_weights())


def losses_of(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [row[name] for row in rows for name in ("loss", "validation_loss")]


@pytest.fixture(scope="module")
def trained(small_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The run of so many processes, made once."""
    pytest.importorskip("jax")
    pytest.importorskip("ray", minversion="2.60")
    folder = tmp_path_factory.mktemp("together")

    def run_of(processes: int) -> Path:
        out = folder / f"of-{processes}"
        if not out.exists():
            words = ("--on", "ray", "--processes", str(processes)) if processes > 1 else ()
            subprocess.run(command_of(small_npz, out, *words), check=True, capture_output=True, timeout=1200)
        return out

    return run_of


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("processes", [2, 4])
def test_several_learn_what_one_learns(trained, processes: int) -> None:
    one, several = trained(1), trained(processes)
    np.testing.assert_allclose(losses_of(several), losses_of(one), rtol=0, atol=1e-6)
    differences = [
        np.abs(ours - theirs).max() for ours, theirs in zip(weights_of(several), weights_of(one), strict=True)
    ]
    assert max(differences) < 1e-6, differences
    assert sightline.reopen(several).processes == processes
    assert sightline.reopen(one).processes == 1
    assert f"on {processes} processes that learned together" in (several / "bundle" / "card.md").read_text()
    assert not (several / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.soak
def test_ten_kills_of_a_process_change_no_byte(processes_of_ray, trained, small_npz: Path, tmp_path: Path) -> None:
    wanted, killed, number = weights_of(trained(2)), 0, 0
    while killed < NUM_KILLS:
        number += 1
        out = tmp_path / f"killed-{number}"
        words = ("--on", "ray", "--processes", "2", "--checkpoint-every", "2steps")
        with (tmp_path / "told").open("w") as told:
            process = subprocess.Popen(command_of(small_npz, out, *words), stdout=subprocess.DEVNULL, stderr=told)
        while killed < NUM_KILLS and process.poll() is None:
            before = numbered(out / "checkpoints")
            while process.poll() is None and numbered(out / "checkpoints") == before:
                time.sleep(0.02)
            time.sleep(random.random() / 2)
            if there := processes_of_ray("ray::Member", below=process.pid):
                os.kill(random.choice(there), signal.SIGKILL)
                killed += 1
        assert process.wait(timeout=1200) == 0, (tmp_path / "told").read_text()
        assert [array.tobytes() for array in weights_of(out)] == [array.tobytes() for array in wanted]
        assert losses_of(out) == losses_of(trained(2))


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_command_that_is_stopped_or_killed_is_gone_on_with_by_resume(
    trained, small_npz: Path, tmp_path: Path, how: signal.Signals
) -> None:
    out = tmp_path / "run"
    words = ("--on", "ray", "--processes", "2", "--checkpoint-every", "2steps")
    process = subprocess.Popen(
        command_of(small_npz, out, *words),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while process.poll() is None and not numbered(out / "checkpoints"):
        time.sleep(0.02)
    os.kill(process.pid, how)
    _, told = process.communicate(timeout=600)
    assert process.returncode == (-how if how == signal.SIGKILL else 128 + how), told
    assert not (out / "metrics.json").exists()
    if how == signal.SIGINT:
        assert f"interrupted, and kept as it is. To go on: sightline resume {out}" in told
    resumed = [sys.executable, "-m", "sightline", "resume", str(out)]
    done = subprocess.run(resumed, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stderr
    assert "going on in epoch" in done.stderr
    assert [array.tobytes() for array in weights_of(out)] == [array.tobytes() for array in weights_of(trained(2))]
    assert sightline.reopen(out).processes == 2
