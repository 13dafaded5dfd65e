"""What becomes of a run of several labels: killed and gone on with, extended, begun from, signed, published."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sightline
from sightline.metrics.figures import figure_in
from sightline.system.signatures import new_key

# Killed when it keeps its network for the third time: what it writes then is torn.
KILLS_ITSELF = """
import os, signal, sys
from sightline.training.loop import checkpoint_files
calls, usual = 0, checkpoint_files.write_json
def kill(*arguments, **options):
    global calls
    calls += 1
    if calls == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return usual(*arguments, **options)
checkpoint_files.write_json = kill
from sightline.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def kept(run: Path) -> dict[str, np.ndarray]:
    return dict(np.load(run / "predictions.npz"))


@pytest.mark.slow
def test_a_killed_run_of_several_labels_goes_on_to_what_it_would_have_been(
    labels_run: sightline.Run, labels_table: Path, tmp_path: Path
) -> None:
    words = ["train", str(labels_table), "--out", "run", "--recipe", str(labels_run.path / "recipe.json")]
    done = subprocess.run(
        [sys.executable, "-c", KILLS_ITSELF, *words, "--checkpoint-every", "1steps"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    run = sightline.resume(tmp_path / "run", mode="quiet")
    assert len(run.history) == len(labels_run.history)
    assert run.bundle.task.name == "multi-label"
    assert run.bundle.task.thresholds == pytest.approx(labels_run.bundle.task.thresholds, abs=1e-3)
    before, after = kept(labels_run.path), kept(run.path)
    assert np.array_equal(before["test_labels"], after["test_labels"])
    assert after["test_logits"] == pytest.approx(before["test_logits"], abs=1e-3)
    assert str(run.evaluation) == str(labels_run.evaluation)


@pytest.mark.slow
def test_a_run_of_several_labels_learns_on(labels_run: sightline.Run, longer_labels_run: sightline.Run) -> None:
    longer = longer_labels_run
    assert [row["epoch"] for row in longer.history] == list(range(1, len(labels_run.history) + 5))
    assert list(longer.history[: len(labels_run.history)]) == list(labels_run.history)
    assert longer.history[-1]["loss"] < labels_run.history[-1]["loss"]
    assert longer.bundle.task.name == "multi-label"
    assert (longer.path / "splits.csv").read_bytes() == (labels_run.path / "splits.csv").read_bytes()
    assert "micro_f1" in longer.evaluation.figures


@pytest.mark.slow
def test_a_run_of_several_labels_is_begun_from_with_a_label_more(
    labels_run: sightline.Run, labels_table: Path, command: Any, tmp_path: Path
) -> None:
    """The network of a label that both know is there from the start; one that is new learns from nothing."""
    folder = Path(shutil.copytree(labels_table.parent, tmp_path / "more"))
    lines = labels_table.read_text(encoding="utf-8").splitlines()
    more = [lines[0], *(line.replace(",[]", ",none") for line in lines[1:])]
    (folder / "edges.csv").write_text("\n".join(more), encoding="utf-8")
    words = ("train", folder / "edges.csv", "--from", labels_run.path, "--epochs", 1, "--out", "second", "--quiet")
    answer = command(*words, "--json")
    assert answer.code == 0, answer.err
    run = sightline.reopen(tmp_path / "second")
    assert run.bundle.class_names == ("left", "none", "right", "top")
    first_loss, usual = run.history[0]["loss"], labels_run.history[0]["loss"]
    assert first_loss < usual, "it did not begin anew"
    assert run.recipe["data"]["task"] == "multi-label"
    assert str(labels_run.path) in (run.bundle.path / "card.md").read_text(encoding="utf-8")


def test_a_bundle_of_several_labels_is_signed_and_still_answers(
    labels_run: sightline.Run, labels_table: Path, command: Any, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(labels_run.path, tmp_path / "run"))
    new_key(tmp_path / "mine")
    sightline.sign(copy, tmp_path / "mine")
    answer = command("predict", copy, labels_table.parent / "000.png", "--trusted", tmp_path / "mine.pub", "--json")
    assert answer.code == 0, answer.err
    assert "labels" in json.loads(answer.out)
    told = json.loads((copy / "bundle" / "calibration.json").read_text(encoding="utf-8"))
    told["label_thresholds"] = [threshold + 5 for threshold in told["label_thresholds"]]
    (copy / "bundle" / "calibration.json").write_text(json.dumps(told), encoding="utf-8")
    answer = command("predict", copy, labels_table.parent / "000.png", "--trusted", tmp_path / "mine.pub")
    assert answer.code == 2, "thresholds are part of what is signed"


def test_a_published_bundle_of_several_labels_answers_as_it_did_and_its_card_tells_micro_f1(
    labels_run: sightline.Run, labels_table: Path, tmp_path: Path
) -> None:
    made = sightline.publish(labels_run, out=tmp_path / "out", licence="mit")
    card = made.readme.read_text(encoding="utf-8")
    test = figure_in(labels_run.bundle.metrics["test"], "micro_f1")
    assert test is not None
    assert f'"value": {test.value!r}' in card
    assert '"name": "micro F1, 95 % interval ' in card
    assert '"name": "exact match, 95 % interval ' in card
    files = sorted(labels_table.parent.glob("00*.png"))
    before, after = (sightline.predict(bundle, files, progress=False) for bundle in (labels_run, tmp_path / "out"))
    assert before.predicted == after.predicted
    assert np.array_equal(before.logits, after.logits)
