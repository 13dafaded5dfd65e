"""A finished run learns on: from its weights, on its rows, into a run of its own; what cannot is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import sightline
from sightline.errors import InvalidBundle, InvalidValue


@pytest.mark.slow
def test_a_finished_run_learns_on_from_its_weights_on_its_rows_into_a_run_of_its_own(
    tiny_run: sightline.Run, tmp_path: Path, command
) -> None:
    before = {path: path.read_bytes() for path in tiny_run.path.rglob("*") if path.is_file()}
    answer = command("extend", tiny_run.path, "--epochs", 1, "--out", "longer", "--json", "--quiet")
    assert answer.code == 0, answer.err
    longer = sightline.reopen(tmp_path / "longer")
    assert [row["epoch"] for row in longer.history] == [1, 2, 3]
    assert list(longer.history[:2]) == list(tiny_run.history)
    assert longer.chosen_epoch == 3
    assert longer.history[2]["loss"] < tiny_run.history[0]["loss"], "it did not begin anew"
    assert (longer.path / "splits.csv").read_bytes() == before[tiny_run.path / "splits.csv"]
    changes = json.loads((longer.path / "resolution.json").read_text())
    assert any(
        "so many more than the 2 of" in change["reason"] for change in changes if change["key"] == "training.epochs"
    )
    assert (
        f"It began with the weights of '{tiny_run.path}', after 2 epochs"
        in (longer.bundle.path / "card.md").read_text()
    )
    assert {path: path.read_bytes() for path in before} == before, "the run itself stays"


@pytest.mark.parametrize("epochs", [0, -1, 1.5, True, "3", float("nan")])
def test_a_number_of_epochs_that_is_none_is_refused(epochs: object, tiny_run: sightline.Run) -> None:
    with pytest.raises(InvalidValue, match="epochs must be a whole number of at least 1, how many more to learn; got"):
        sightline.extend(tiny_run, epochs=epochs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("ensemble", {"kind": "deep", "members": []}, r"an ensemble \(deep\)"),
        ("teacher", {"bundle": "x", "has_same_splits": True}, "a student"),
    ],
)
def test_a_run_that_is_more_than_one_fit_is_refused(key: str, value: dict, kind: str, run_copy: Path) -> None:
    metrics = json.loads((run_copy / "metrics.json").read_text())
    (run_copy / "metrics.json").write_text(json.dumps(metrics | {key: value}))
    with pytest.raises(InvalidValue, match=rf"is {kind}.*only one network that learned from nothing by labels"):
        sightline.extend(run_copy, epochs=2)


def test_what_is_no_finished_run_is_refused(run_copy: Path, tmp_path: Path) -> None:
    (run_copy / "metrics.json").unlink()
    for place in (run_copy, tmp_path / "nowhere"):
        with pytest.raises(InvalidBundle):
            sightline.extend(place, epochs=2)
    shutil.rmtree(run_copy)
