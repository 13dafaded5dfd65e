"""A finished run or a bundle opened again."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sightline
from sightline.errors import InvalidBundle
from sightline.evaluation.measuring.scoring import figures


def test_a_reopened_run_is_the_run_that_was_trained(tiny_run: sightline.Run) -> None:
    again = sightline.reopen(tiny_run.path)
    assert isinstance(again, sightline.Run)
    assert repr(again) == repr(tiny_run)
    assert again.recipe == tiny_run.recipe
    assert [dict(row) for row in again.history] == [dict(row) for row in tiny_run.history]
    for name in ("chosen_epoch", "stopped_early", "backend", "num_parameters", "ensemble", "teacher", "stages"):
        assert getattr(again, name) == getattr(tiny_run, name)
    assert again.seconds["total"] == pytest.approx(tiny_run.seconds["total"], abs=1e-3)
    for name in ("train", "validation", "calibration", "test"):
        assert np.array_equal(again.splits.rows(name), tiny_run.splits.rows(name))
    for here, there in ((again.validation, tiny_run.validation), (again.evaluation, tiny_run.evaluation)):
        assert json.dumps(figures(here)) == json.dumps(figures(there))
    assert again._repr_html_() == tiny_run._repr_html_()


def test_a_reopened_run_counts_groups_as_it_did(run_copy: Path) -> None:
    lines = (run_copy / "splits.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    paired = [f"{row_id},{split},{int(row_id.rpartition('/')[2]) // 2}" for row_id, split, _ in rows]
    (run_copy / "splits.csv").write_text("\n".join([lines[0], *paired]) + "\n")
    again = sightline.reopen(run_copy)
    assert again.evaluation.num_groups == again.evaluation.num_images // 2
    assert again.splits.groups is not None


def test_what_holds_a_bundle_alone_is_reopened_as_one(tiny_run: sightline.Run, tmp_path: Path) -> None:
    shutil.copytree(tiny_run.bundle.path, tmp_path / "elsewhere")
    for place in (tiny_run.path / "bundle", str(tmp_path / "elsewhere"), "imagenet"):
        assert isinstance(sightline.reopen(place), sightline.Bundle)


def test_what_is_reopened_predicts_evaluates_and_is_compared(
    tiny_run: sightline.Run, run_copy: Path, small_npz: Path, small_arrays: dict[str, np.ndarray]
) -> None:
    again = pickle.loads(pickle.dumps(sightline.reopen(run_copy)))
    images = small_arrays["x_test"][:5]
    expected = sightline.predict(tiny_run, images, progress=False)
    assert np.allclose(sightline.predict(again, images, progress=False).logits, expected.logits, atol=1e-5)
    assert sightline.evaluate(again, small_npz).accuracy == tiny_run.evaluation.accuracy
    assert sightline.compare([tiny_run, again]).tests[0].difference == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda metrics: metrics.update(ensemble=[1]), "ensemble and teacher are no objects"),
        (
            lambda metrics: metrics.update(ensemble={"kind": "deep", "members": [{"vote": "x"}]}),
            "a figure is no number",
        ),
        (lambda metrics: metrics.update(ensemble={"kind": 3, "members": []}), "kind of an ensemble is no text"),
        (lambda metrics: metrics.update(images_per_second="fast"), "a figure is no number"),
    ],
)
def test_a_damaged_run_is_refused(run_copy: Path, change: Callable[[dict[str, Any]], None], told: str) -> None:
    metrics = json.loads((run_copy / "metrics.json").read_text())
    change(metrics)
    (run_copy / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(InvalidBundle, match=told):
        sightline.reopen(run_copy)


def test_what_is_neither_is_refused_as_everywhere(run_copy: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidBundle, match=r"no such folder\. Name a run or a bundle"):
        sightline.reopen(tmp_path / "nowhere")
    (run_copy / "metrics.json").unlink()
    with pytest.raises(InvalidBundle, match=r"no metrics\.json; its training did not finish\. Train again"):
        sightline.reopen(run_copy)
    (run_copy / "checkpoints").mkdir()
    (run_copy / "checkpoints" / "request.json").touch()
    with pytest.raises(InvalidBundle, match=f"did not finish. Go on with it: sightline resume {run_copy}"):
        sightline.reopen(run_copy)
