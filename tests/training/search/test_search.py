"""A search chooses by validation rows alone, looks at test rows once, goes on after a kill, and does not flatter."""

from __future__ import annotations

import html
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sightline
from sightline.errors import InvalidValue, OutputExists, TrainingFailed, UnknownName
from sightline.evaluation.measuring.finished_runs import read_run
from sightline.metrics.intervals import wilson_interval
from sightline.tasks.single_label import SINGLE_LABEL
from sightline.training.search.results import finalists, ranked, verdict_lines
from sightline.training.search.search import read_budget
from sightline.training.search.trials import AskedTrial, Outcome, TrialJob, run_trial, validation_figures

pytest.importorskip("optuna")

KEYS = {
    "model.name": "mlp",
    "augmentation.policy": "none",
    "data.validation_fraction": 0.2,
    "data.calibration_fraction": 0.1,
    "optimizer.name": "adamw",
    "training.epochs": 4,
    "training.batch_size": 32,
}
VARIED = ("optimizer.learning_rate=1e-4..1e-1:log", "model.dropout=0..0.5")
NUM_TRIALS = 5


@pytest.fixture(scope="session")
def corners_file(corners: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corners") / "corners.npz"
    np.savez(path, **corners)  # type: ignore[arg-type]  # NumPy's stub takes them for its own option
    return path


@pytest.fixture(scope="session")
def waves() -> list[list[int]]:
    """Which trials were handed to the map at once."""
    return []


@pytest.fixture(scope="session")
def searched(corners_file: Path, waves: list[list[int]], tmp_path_factory: pytest.TempPathFactory) -> sightline.Search:
    """Two trials at once, by a map of the caller's; whoever alters its files takes a copy."""

    def each(work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        asked = list(items)
        waves.append([one.number for one in asked])
        return map(work, reversed(asked))  # in any order

    out = tmp_path_factory.mktemp("searches") / "corners"
    return search_corners(corners_file, out, jobs=2, map=each)


def search_corners(source: Any, out: Path, **options: Any) -> sightline.Search:
    recipe = sightline.recipe("fast", KEYS)
    asked = {"recipe": recipe, "vary": VARIED, "trials": NUM_TRIALS, "mode": "quiet", **options}
    return sightline.search(source, out=out, **asked)


def files_of(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_the_recipe_as_it_was_asked_for_is_trial_0_and_the_best_on_validation_rows_is_chosen(
    searched: sightline.Search, waves: list[list[int]]
) -> None:
    figures = searched.figures
    assert waves[:3] == [[0], [1, 2], [3, 4]]
    assert [one["number"] for one in figures["trials"]] == [0, 1, 2, 3, 4]
    assert figures["trials"][0]["changed"] == {}
    assert figures["trials"][0]["state"] == "finished"
    finished = {one["number"]: one["cross_entropy"] for one in figures["trials"] if one["state"] == "finished"}
    assert finished[searched.chosen] == min(finished.values())
    for one in figures["trials"][1:]:
        assert set(one["changed"]) == {"model.dropout", "optimizer.learning_rate"}
        assert 1e-4 <= one["changed"]["optimizer.learning_rate"] <= 1e-1
    assert figures == json.loads((searched.path / "search.json").read_text())


@pytest.mark.slow
def test_test_rows_are_looked_at_by_the_finalists_alone_and_once(searched: sightline.Search) -> None:
    figures = searched.figures
    judged = {one["number"]: one for one in figures["judged"]}
    ranking = json.loads((searched.path / "choice.json").read_text())["ranking"]
    assert list(judged) == finalists(ranking)
    for one in figures["trials"]:
        has_answers = (searched.path / one["run"] / "predictions.npz").exists()
        assert has_answers is (one["number"] in judged), one["run"]
    run = read_run(searched.run)
    assert run.metrics["test"] == figures["test"]
    assert figures["optimism"] == run.metrics["validation"]["accuracy"] - run.metrics["test"]["accuracy"]
    assert judged[searched.chosen]["accuracy_interval"] == figures["test"]["accuracy_interval"]
    assert {one["second"] for one in figures["tests"]} == {f"trial {searched.chosen}"}
    assert len(figures["tests"]) == len(judged) - 1
    assert sightline.predict(searched.run, [np.zeros((8, 8), np.uint8)]).class_names == ("0", "1", "2")


@pytest.mark.slow
def test_a_finalist_is_the_run_that_training_by_its_recipe_gives(
    searched: sightline.Search, corners_file: Path, tmp_path: Path
) -> None:
    recipe = sightline.recipe("fast", KEYS | dict(searched.recipe))
    run = sightline.train(corners_file, recipe=recipe, out=tmp_path / "run", mode="quiet")
    assert run.evaluation is not None
    told = read_run(searched.run)
    assert told.metrics["test"]["cross_entropy"] == read_run(run).metrics["test"]["cross_entropy"]
    of_trial = {path.name for path in searched.run.iterdir()}
    assert of_trial == {path.name for path in run.path.iterdir()}, "nothing is left of checkpoints"


@pytest.mark.slow
def test_what_it_says_names_what_was_spent_the_choice_and_the_tests(searched: sightline.Search) -> None:
    said, spent = str(searched), searched.figures["spent"]
    assert sum(spent[state] for state in ("finished", "pruned", "stopped", "failed")) == NUM_TRIALS
    assert spent["core_seconds"] > 0
    assert f"chosen: trial {searched.chosen}, on 24 validation images" in said
    assert "judged once, on 60 test images that chose nothing: accuracy 0." in said
    assert "McNemar p" in said or len(searched.figures["judged"]) == 1
    assert "the recipe as it was asked for" in said
    page = (searched.path / "search.html").read_text(encoding="utf-8")
    assert page.count("<tr>") == 1 + NUM_TRIALS + 1 + len(VARIED)
    assert f'<a href="trials/{searched.chosen:03d}/report.html">trial {searched.chosen}</a>' in page
    for line in verdict_lines(searched.figures):
        assert html.escape(line) in page
    assert said in searched._repr_html_().replace("&#x27;", "'").replace("&quot;", '"')


@pytest.mark.slow
def test_a_finished_search_is_handed_back_and_another_one_is_refused(
    searched: sightline.Search, corners_file: Path, command: Callable[..., Any]
) -> None:
    before = files_of(searched.path)
    again = search_corners(corners_file, searched.path, jobs=2, trials=50)
    assert again.figures == searched.figures
    sets = [word for key, value in KEYS.items() for word in ("--set", f"{key}={value}")]
    words = ["search", corners_file, "--out", searched.path, "--recipe", "fast", *sets, "--jobs", 2, "--trials", 5]
    varied = [word for text in VARIED for word in ("--vary", text)]
    answer = command(*words, *varied, "--json", "--quiet")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["run"] == str(searched.run)
    assert command(*words, *varied).out.endswith(f"\nrun   {searched.run}\npage  {searched.path / 'search.html'}\n")
    answer = command(*words, "--vary", VARIED[0])
    assert answer.code == 2
    assert "holds a search that is not this one: space.model.dropout was 0 to 0.5 and is not there" in answer.err
    with pytest.raises(OutputExists, match=r"seed was 0 and is 1"):
        search_corners(corners_file, searched.path, jobs=2, recipe=sightline.recipe("fast", KEYS | {"seed": 1}))
    after = files_of(searched.path)
    assert {name for name in after if after[name] != before.get(name)} <= {"search.lock"}


@pytest.mark.slow
def test_a_search_that_ended_while_it_judged_chooses_nothing_again(
    searched: sightline.Search, corners_file: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(searched.path, tmp_path / "search"))
    (folder / "search.json").unlink()
    trained: list[int] = []

    def each(work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        asked = list(items)
        trained.extend(one.number for one in asked)
        return map(work, asked)

    # With more trials to go: none is begun, since test rows may have been looked at.
    again = search_corners(corners_file, folder, jobs=2, trials=9, map=each)
    assert trained == [one["number"] for one in searched.figures["judged"]]
    for part in ("trials", "test", "tests", "chosen"):
        assert again.figures[part] == searched.figures[part]


@pytest.mark.slow
def test_a_budget_that_is_too_short_keeps_what_was_learned_for_a_longer_one(corners_file: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"does not learn to its end within 0:01\. What it learned is kept"):
        search_corners(corners_file, tmp_path / "search", time_budget=1, trials=None)
    found = search_corners(corners_file, tmp_path / "search", time_budget="10m", trials=1)
    assert found.chosen == 0
    assert found.figures["spent"]["requeued"] == 1
    assert found.figures["spent"]["processes"] == 2
    assert found.figures["tests"] == []
    assert "nothing was compared" in str(found)


def test_a_trial_that_cannot_be_is_told_and_takes_no_other_along(
    corners: dict[str, np.ndarray], tmp_path: Path
) -> None:
    job = TrialJob(sightline.load(corners, name="corners"), tmp_path, "tensorflow", "halving")
    recipe = sightline.recipe("fast", KEYS | {"model.weights": "nowhere.h5"})
    outcome = run_trial(job, AskedTrial(1, recipe))
    assert outcome.state == "failed"
    assert not outcome.is_fatal
    assert "leave model.weights out" in outcome.reason
    assert run_trial(job, AskedTrial(1, recipe)) == outcome, "it is read, not run again"
    assert run_trial(job, AskedTrial(0, recipe)).is_fatal


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"trials": None}, "give time_budget, such as 1h, or a number of trials"),
        ({"trials": 0}, "trials must be a whole number"),
        ({"trials": True}, "trials must be a whole number"),
        ({"time_budget": "soon"}, "such as 90s, 30m or 1h"),
        ({"sampler": "grid"}, "no sampler is called 'grid'"),
        ({"pruner": "median"}, "no pruner is called 'median'"),
        ({"jobs": 0}, "jobs must be a whole number"),
        ({"jobs": 999}, "more than there are processors"),
        ({"vary": "model.dropout=0..0.5"}, "vary is a list of texts"),
        ({"vary": [1]}, "vary takes texts"),
        ({"vary": ["model.droput=0..0.5"]}, "Did you mean 'model.dropout'"),
        ({"recipe": sightline.recipe("fast", {"ensemble.kind": "deep"})}, "a search is for one network"),
        ({"recipe": sightline.recipe("fast", {"training.time_budget_seconds": 60})}, "for the whole search"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_starts(
    options: dict[str, Any], told: str, corners: dict[str, np.ndarray], tmp_path: Path
) -> None:
    with pytest.raises((InvalidValue, UnknownName), match=told):
        search_corners(corners, tmp_path / "search", **options)
    assert not (tmp_path / "search").exists()


@pytest.mark.parametrize("key", ["data.validation_fraction", "data.test_fraction"])
def test_without_validation_or_test_rows_nothing_is_searched_and_no_folder_left(
    key: str, corners: dict[str, np.ndarray], tmp_path: Path
) -> None:
    train = {"x_train": corners["x_train"], "y_train": corners["y_train"]}
    recipe = sightline.recipe("fast", KEYS | {key: 0.0})
    with pytest.raises(TrainingFailed, match=rf"there are none\. Set {key} above 0"):
        search_corners(train, tmp_path / "search", recipe=recipe)
    assert not (tmp_path / "search").exists()


@pytest.mark.parametrize(
    ("typed", "seconds"), [(None, None), ("90", 90), ("90s", 90), (" 1.5m ", 90), ("1h", 3600), (90, 90), (2.5, 2.5)]
)
def test_a_budget_is_read_as_it_is_typed(typed: Any, seconds: float | None) -> None:
    assert read_budget(typed) == seconds


@pytest.mark.parametrize("wrong", ["", "h", "-1h", "1d", "0", 0, -5, True, float("nan"), float("inf"), [], "1e9h"])
def test_a_budget_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidValue, match="such as 90s, 30m or 1h"):
        read_budget(wrong)


def test_ties_go_to_the_earlier_trial_and_what_did_not_end_is_in_no_ranking() -> None:
    outcomes = [
        Outcome(0, "finished", cross_entropy=0.5),
        Outcome(1, "pruned"),
        Outcome(2, "finished", cross_entropy=0.4),
        Outcome(3, "finished", cross_entropy=0.4),
    ]
    assert ranked(outcomes) == [2, 3, 0]
    assert finalists([2, 3, 0]) == [2, 3, 0]
    assert finalists([0, 2]) == [0, 2]
    assert finalists([0]) == [0]


def test_how_sure_of_itself_a_network_is_does_not_choose() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 500)
    logits = (2 * np.eye(3)[labels] + generator.normal(0, 1.5, (500, 3))).astype(np.float32)
    found = [validation_figures(SINGLE_LABEL, logits * factor, labels) for factor in (0.2, 1, 3)]
    assert len({one["accuracy"] for one in found}) == 1
    assert np.ptp([one["cross_entropy"] for one in found]) < 0.01


def test_without_signal_the_interval_that_is_reported_holds_chance_and_that_of_validation_rows_would_not() -> None:
    repeats, num_trials, num_validation = 300, 20, 60
    by_test, by_validation = 0, 0
    for repeat in range(repeats):
        generator = np.random.default_rng(repeat)
        labels = generator.integers(0, 2, num_validation + 200)
        outcomes, right = [], []
        for number in range(num_trials):
            logits = generator.normal(0, 2, (len(labels), 2)).astype(np.float32)
            judged = validation_figures(SINGLE_LABEL, logits[:num_validation], labels[:num_validation])
            outcomes.append(Outcome(number, "finished", **judged))
            right.append(SINGLE_LABEL.is_right(logits, labels))
        chosen = right[ranked(outcomes)[0]]
        lower, upper = wilson_interval(int(chosen[num_validation:].sum()), 200)
        by_test += lower <= 0.5 <= upper
        lower, upper = wilson_interval(int(chosen[:num_validation].sum()), num_validation)
        by_validation += lower <= 0.5 <= upper
    # Of 300 draws of 0.95, fewer than 0.92 are seen in one of fifty.
    assert by_test / repeats >= 0.92
    assert by_validation / repeats < 0.85


# What kills itself is no program of a user, but its command is: when a file is made sure of for so many times.
KILLS_ITSELF = """
import os, signal, sys
calls, usual = 0, os.fsync
def kill(*arguments, **options):
    global calls
    calls += 1
    if calls == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return usual(*arguments, **options)
os.fsync = kill
from sightline.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.soak
def test_a_search_that_is_killed_again_and_again_is_the_one_never_killed(corners_file: Path, tmp_path: Path) -> None:
    sets = [word for key, value in KEYS.items() for word in ("--set", f"{key}={value}")]
    varied = [word for text in VARIED for word in ("--vary", text)]
    words = ["search", str(corners_file), "--recipe", "fast", *sets, *varied, "--trials", "6", "--quiet", "--json"]

    def run(kill_at: int, out: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", KILLS_ITSELF, str(kill_at), *words, "--out", out]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600)

    assert run(0, "whole").returncode == 0
    generator, ends = np.random.default_rng(0), []
    kept: dict[str, float] = {}
    while not ends or ends[-1] != 0:
        done = run(int(generator.integers(10, 50)) if len(ends) < 12 else 0, "killed")
        ends.append(done.returncode)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        now = {path.name: path.stat().st_mtime for path in (tmp_path / "killed" / "trials").glob("*.json")}
        assert all(now[name] == changed for name, changed in kept.items()), "a trial that ended was run again"
        kept = now
    assert len(ends) > 10
    figures = [json.loads((tmp_path / name / "search.json").read_text()) for name in ("whole", "killed")]
    for part in ("chosen", "runner_up", "validation", "test", "tests", "importances"):
        assert figures[0][part] == figures[1][part], part
    told = [[(one["changed"], one["state"], one["cross_entropy"]) for one in each["trials"]] for each in figures]
    assert told[0] == told[1]
    assert figures[1]["spent"]["processes"] == len(ends)
