from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sightline
from sightline.errors import InvalidValue
from sightline.evaluation.kept_runs import runs


@pytest.fixture
def shelf(tiny_run: sightline.Run, tmp_path: Path) -> Path:
    """A folder with one finished run."""
    shutil.copytree(tiny_run.path, tmp_path / "shelf" / "first")
    return tmp_path / "shelf"


def unfinished(shelf: Path, name: str, *, parts: str = "") -> Path:
    """A run without bundle and figures, with a lock that nobody holds where it has parts to go on from."""
    place = Path(shutil.copytree(shelf / "first", shelf / name))
    (place / "metrics.json").unlink()
    shutil.rmtree(place / "bundle")
    if parts:
        (place / parts).mkdir()
        (place / parts / "lock").touch()
    return place


def row_of(folder: Path, name: str) -> dict[str, Any]:
    (row,) = (row for row in runs(folder) if Path(row["run"]).name == name)
    return row


def test_a_finished_run_is_told_with_its_figures_size_and_time(tiny_run: sightline.Run, shelf: Path) -> None:
    (row,) = runs(shelf)
    assert row["run"] == str(shelf / "first")
    assert (row["state"], row["reason"], row["network"], row["recipe"]) == ("finished", "", "lenet5", "fast")
    assert (row["split"], row["num_images"], row["accuracy"]) == ("test", 200, tiny_run.evaluation.accuracy)
    assert row["accuracy_interval"] == list(tiny_run.evaluation.accuracy_interval)
    assert row["num_bytes"] == sum(path.stat().st_size for path in shelf.rglob("*") if path.is_file())
    assert row["changed"].endswith("+00:00")
    assert runs(shelf / "first") == [row]


@pytest.mark.parametrize("parts", ["members", "checkpoints"])
def test_a_run_is_running_while_somebody_holds_its_lock_and_interrupted_after(parts: str, shelf: Path) -> None:
    place = unfinished(shelf, "second", parts=parts)
    program = "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, 2); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(place / parts / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert row_of(shelf, "second")["state"] == "running"
        holder.kill()
    row = row_of(shelf, "second")
    assert (row["state"], row["reason"]) == ("interrupted", "the same call goes on with it")
    assert row["accuracy"] is None
    (place / parts / "request.json").touch()
    assert row_of(shelf, "second")["reason"] == f"to go on: sightline resume {place}"


def test_a_trial_of_an_unfinished_search_goes_on_with_the_search_alone(shelf: Path) -> None:
    place = unfinished(shelf, "second", parts="checkpoints")
    (place / "checkpoints" / "request.json").touch()
    search = shelf.parent
    (search / "journal.log").touch()
    assert (
        row_of(shelf, "second")["reason"]
        == f"a trial of the search {search}, which goes on by the command that began it"
    )
    refused = r"a trial of the search .*, which has not chosen yet"
    with pytest.raises(InvalidValue, match=refused):
        sightline.resume(place)
    with pytest.raises(InvalidValue, match=refused):
        sightline.train("mnist", recipe="fast", out=place, mode="quiet")
    (search / "search.json").touch()
    assert row_of(shelf, "second")["reason"] == f"to go on: sightline resume {place}"


def test_looking_leaves_a_lock_to_whoever_wants_it(shelf: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    place = unfinished(shelf, "second", parts="members")
    runs(shelf)
    with (place / "members" / "lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_did_not_finish_and_left_nothing_to_go_on_from_has_failed(shelf: Path) -> None:
    unfinished(shelf, "second")
    row = row_of(shelf, "second")
    assert (row["state"], row["reason"]) == ("failed", "nothing to go on from")


def test_a_run_killed_between_its_bundle_and_its_last_figures_is_told_as_that(shelf: Path) -> None:
    place = unfinished(shelf, "second", parts="members")
    shutil.copytree(shelf / "first" / "bundle", place / "bundle")
    row = row_of(shelf, "second")
    assert row["state"] == "interrupted"
    why = "it ended between its bundle, which is whole, and its last figures; the same call goes on with it"
    assert row["reason"] == why


def test_odd_folders_are_rows_with_a_reason(shelf: Path, tiny_run: sightline.Run) -> None:
    (shelf / "empty").mkdir()
    (shelf / "a file").touch()
    (shelf / ".first.0123abcd.partial").mkdir()
    shutil.copytree(tiny_run.bundle.path, shelf / "bundle")
    reasons = {"empty": "not a run: it has no recipe.json", "bundle": "not a run: it has no recipe.json"}
    for number, content in enumerate(["", "[]", "{", '{"name": 1}', '{"name": "x", "model": []}', "[" * 9000]):
        place = Path(shutil.copytree(tiny_run.path, shelf / f"recipe-{number}"))
        (place / "recipe.json").write_text(content)
    for number, content in enumerate(["null", "{}", '{"test": {"accuracy": "\\u001b"}, "seconds": {"total": 1}}']):
        place = Path(shutil.copytree(tiny_run.path, shelf / f"metrics-{number}"))
        (place / "metrics.json").write_text(content)
    told = {Path(row["run"]).name: row for row in runs(shelf)}
    assert set(told) == {
        "first",
        "empty",
        "bundle",
        *(f"recipe-{n}" for n in range(6)),
        *(f"metrics-{n}" for n in range(3)),
    }
    for name, row in told.items():
        if name == "first":
            continue
        assert row["state"] == "unknown", name
        assert row["reason"].startswith(reasons.get(name, "a file of it is not what was saved (")), name


def test_a_finished_run_whose_bundle_is_gone_is_told(shelf: Path) -> None:
    shutil.rmtree(shelf / "first" / "bundle")
    assert (row_of(shelf, "first")["state"], row_of(shelf, "first")["reason"]) == ("unknown", "its bundle is missing")


def test_the_last_changed_comes_first_whatever_the_clock_says(shelf: Path) -> None:
    shutil.copytree(shelf / "first", shelf / "older")
    for path in [*(shelf / "older").rglob("*")]:
        os.utime(path, (0, 0))
    assert [Path(row["run"]).name for row in runs(shelf)] == ["first", "older"]
    os.utime(shelf / "older" / "recipe.json", (2**40, 2**40))
    assert len(runs(shelf)) == 2


def test_a_folder_that_is_not_there_is_refused_and_the_usual_one_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert runs() == []
    with pytest.raises(InvalidValue, match=r"nowhere: no such folder\. Name one that holds runs, for instance runs"):
        runs("nowhere")


def test_the_command_prints_a_table_or_one_json_array(shelf: Path, command) -> None:
    (shelf / "odd\x1b[2J").mkdir()
    answer = command("runs", shelf, "--json")
    assert (answer.code, answer.err, json.loads(answer.out)) == (0, "", runs(shelf))
    table = command("runs", shelf)
    assert table.code == 0
    assert "finished" in table.out
    assert " on 200 test" in table.out
    assert "\x1b" not in table.out
    assert command("runs").out == "runs: no run. Train one: sightline train mnist\n"
    assert command("runs", "nowhere").code == 2


def test_a_run_that_ended_when_it_had_only_taken_its_folder_has_failed(tmp_path: Path) -> None:
    (tmp_path / "barely" / "checkpoints").mkdir(parents=True)
    (tmp_path / "barely" / "recipe.json").touch()
    (tmp_path / "barely" / "checkpoints" / "lock").touch()
    row = row_of(tmp_path, "barely")
    assert (row["state"], row["reason"]) == ("failed", "it ended before it wrote anything; delete its folder")
