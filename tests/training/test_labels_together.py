"""Several networks that answer as one where an image may have several labels, and a small one that learns from them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import sightline
from sightline.errors import InvalidValue
from sightline.metrics.multi_label.voting import label_ensemble_logits

KEYS = {
    "data.task": "multi-label",
    "model.name": "mlp",
    "augmentation.policy": "none",
    "training.epochs": 3,
    "training.batch_size": 16,
    "data.validation_fraction": 0.2,
    "data.calibration_fraction": 0.2,
}


def learned(table: Path, out: Path, **keys: object) -> sightline.Run:
    return sightline.train(table, recipe=sightline.recipe("fast", {**KEYS, **keys}), out=out, mode="quiet")


@pytest.fixture(scope="module")
def bagged(labels_table: Path, tmp_path_factory: pytest.TempPathFactory) -> sightline.Run:
    keys = {"ensemble.kind": "bagging", "ensemble.members": 2, "ensemble.test_views": "mirror"}
    return learned(labels_table, tmp_path_factory.mktemp("runs") / "bagged", **keys)


def test_an_ensemble_answers_with_the_mean_of_the_probabilities_of_each_label(bagged: sightline.Run) -> None:
    kept = np.load(bagged.path / "predictions.npz")
    said, together = kept["test_member_logits"], kept["test_logits"]
    assert said.shape == (len(together), 2, 3)
    np.testing.assert_allclose(together, label_ensemble_logits(said, [1, 1]), atol=2e-5)
    assert bagged.evaluation.figures["micro_f1"].value > 0.6
    assert bagged.ensemble["out_of_bag"]["micro_f1"] > 0.5
    assert [member["test"]["num_images"] for member in bagged.ensemble["members"]] == [len(together)] * 2
    assert bagged.ensemble["disagreement"] is None
    card = (bagged.bundle.path / "card.md").read_text(encoding="utf-8")
    assert "of the test images, in all labels." in card


def test_its_sets_answers_and_exports_are_those_of_one_network(
    bagged: sightline.Run, labels_table: Path, tmp_path: Path
) -> None:
    answers = sightline.predict(bagged, labels_table.parent, coverage=0.9, progress=False)
    assert answers.sets.members.any()
    assert answers.disagreements is None
    exported = sightline.export(bagged, "onnx", out=tmp_path)
    assert exported.figures["agreement"] == 1


def test_runs_are_combined_by_votes_that_lower_the_cross_entropy_of_all_labels(
    labels_run: sightline.Run, labels_table: Path, tmp_path: Path
) -> None:
    splits = {"data.splits_file": str(labels_run.path / "splits.csv")}
    other = learned(labels_table, tmp_path / "other", **splits, seed=5)
    run = sightline.combine([labels_run, other], out=tmp_path / "both", mode="quiet")
    told = run.ensemble
    assert sum(member["vote"] for member in told["members"]) == len(run.history)
    losses = [line["validation_loss"] for line in run.history]
    assert losses == sorted(losses, reverse=True)
    kept = {place: np.load(place / "predictions.npz") for place in (run.path, labels_run.path, other.path)}
    rows = kept[run.path]["test_row_ids"].tolist()
    assert rows == kept[other.path]["test_row_ids"].tolist()
    votes = np.array([member["vote"] for member in told["members"]])
    said = [kept[one.path]["test_logits"] / one.bundle.temperature for one in (labels_run, other)]
    wanted = label_ensemble_logits(np.stack(said, axis=1), votes)
    np.testing.assert_allclose(kept[run.path]["test_logits"], wanted, atol=2e-5)
    np.testing.assert_array_equal(kept[run.path]["test_labels"], kept[other.path]["test_labels"])
    assert len(run.bundle.task.thresholds) == 3


def test_a_student_learns_labels_and_the_answers_of_its_teacher(bagged: sightline.Run, tmp_path: Path) -> None:
    quick = sightline.recipe("fast", {"training.epochs": 6, "augmentation.policy": "none", "training.batch_size": 16})
    student = sightline.distil(bagged, into="mlp", recipe=quick, out=tmp_path / "student", mode="quiet")
    assert student.recipe["data"]["task"] == "multi-label"
    assert student.recipe["loss"]["name"] == "binary_crossentropy"
    assert student.teacher["has_same_splits"]
    assert student.evaluation.figures["micro_f1"].value > 0.6
    # Counted by the given labels, though answers of the teacher are learned, which are no 0 and 1.
    assert 0.5 < student.history[-1]["accuracy"] <= 1
    tables = [(run.path / "splits.csv").read_text(encoding="utf-8").splitlines() for run in (bagged, student)]
    found = [{line["row_id"]: line["split"] for line in csv.DictReader(lines)} for lines in tables]
    assert found[0] == found[1]
    assert json.loads((student.path / "metrics.json").read_text(encoding="utf-8"))["teacher"]["num_views"] == 1


def test_what_cannot_be_is_refused_before_anything_is_learned(
    labels_run: sightline.Run, tiny_run: sightline.Run, labels_table: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidValue, match=r"ensemble\.kind=boosting is for one class an image.* Take deep or bagging"):
        learned(labels_table, tmp_path / "boosted", **{"ensemble.kind": "boosting"})
    with pytest.raises(InvalidValue, match=r"answers as multi-label, and .* as single-label: their answers have no"):
        sightline.combine([labels_run, tiny_run], out=tmp_path / "both")
    focal = sightline.recipe("fast", {"loss.name": "binary_focal_crossentropy"})
    with pytest.raises(InvalidValue, match="it is made for given labels, and a student learns answers"):
        sightline.distil(labels_run, recipe=focal, out=tmp_path / "student")
    assert not list(tmp_path.iterdir())
