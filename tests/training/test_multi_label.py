"""A run whose images have several labels, from a table of files to answers, promises and refusals."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score

import sightline
from sightline.bundles.bundle import write_manifest
from sightline.bundles.trust.details import brief_promise_lines
from sightline.errors import InvalidBundle, InvalidValue
from sightline.training.transfer.head import Rows, fit_head

NAMES = ("left", "right", "top")
KEYS = {
    "model.name": "mlp",
    "augmentation.policy": "none",
    "data.validation_fraction": 0.2,
    "data.calibration_fraction": 0.2,
    "training.epochs": 6,
    "training.batch_size": 32,
}


def drawn(num_images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """8x8 images in noise; each of three edges is bright where the image has its label."""
    random = np.random.default_rng(seed)
    labels = (random.random((num_images, 3)) < [0.5, 0.4, 0.25]).astype(np.uint8)
    images = random.normal(80, 60, (num_images, 8, 8))
    images[:, :, :2] += 40 * labels[:, 0, None, None]
    images[:, :, 6:] += 40 * labels[:, 1, None, None]
    images[:, :2] += 40 * labels[:, 2, None, None]
    return np.clip(images, 0, 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edges")
    images, labels = drawn(500, 0)
    lines = ["path,label"]
    for number, (image, row) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(folder / f"{number:03d}.png")
        told = ";".join(name for name, has in zip(NAMES, row, strict=True) if has)
        lines.append(f"{number:03d}.png,{told or '[]'}")
    (folder / "edges.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder / "edges.csv"


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> sightline.Run:
    recipe = sightline.recipe("fast", {**KEYS, "data.task": "multi-label"})
    return sightline.train(str(table), recipe=recipe, out=tmp_path_factory.mktemp("runs") / "edges", mode="quiet")


def kept(run: sightline.Run, split: str) -> tuple[np.ndarray, np.ndarray]:
    arrays = np.load(run.path / "predictions.npz")
    return arrays[f"{split}_logits"].astype(np.float64), arrays[f"{split}_labels"]


def test_the_figures_are_those_of_scikit_learn(run: sightline.Run) -> None:
    logits, labels = kept(run, "test")
    said = logits >= np.array(run.bundle.task.thresholds)
    found = run.evaluation
    assert found.figures["micro_f1"].value == pytest.approx(f1_score(labels, said, average="micro"))
    assert found.macro_f1 == pytest.approx(f1_score(labels, said, average="macro"))
    assert found.figures["mean_average_precision"].value == pytest.approx(average_precision_score(labels, logits))
    assert found.accuracy == (said == labels).all(axis=1).mean()
    assert str(found).startswith("micro F1 0.")
    assert str(found.figures["accuracy"]).startswith("exact match 0.")
    assert found.figures["micro_f1"].value > 0.7
    assert all(figure.interval is not None for figure in found.figures.values())
    assert found.class_counts.tolist() == labels.sum(axis=0).tolist()


def test_what_is_promised_is_told_in_a_line(run: sightline.Run) -> None:
    (line,) = brief_promise_lines(run.evaluation)
    assert line.startswith("coverage 0.95: share of labels held ")
    assert "mean set size" in line


def test_recipe_and_manifest_say_what_was_learned(run: sightline.Run) -> None:
    assert run.recipe["data"]["task"] == "multi-label"
    assert run.recipe["loss"]["name"] == "binary_crossentropy"
    manifest = json.loads((run.bundle.path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["task"] == "multi-label"
    assert "sigmoid" in manifest["outputs"]["logits"]["meaning"]
    assert set(manifest["capabilities"]) == {"identity", "parity", "sets"}
    card = (run.bundle.path / "card.md").read_text(encoding="utf-8")
    assert "which of 3 labels an image has, several or none: left, right, top" in card
    assert "exact match 0." in card
    assert "the sigmoid of the logits" in card


def test_every_label_has_its_share_of_every_split(run: sightline.Run) -> None:
    whole = np.concatenate([kept(run, split)[1] for split in ("validation", "calibration", "test")]).mean(axis=0)
    for split in ("validation", "calibration", "test"):
        assert kept(run, split)[1].mean(axis=0) == pytest.approx(whole, abs=0.06)


def test_a_threshold_is_the_best_of_validation_rows_or_an_even_chance(run: sightline.Run) -> None:
    logits, labels = kept(run, "validation")
    thresholds = np.array(run.bundle.task.thresholds)
    for label in np.flatnonzero(thresholds):
        best = max(f1_score(labels[:, label], logits[:, label] >= at) for at in logits[:, label])
        assert f1_score(labels[:, label], logits[:, label] >= thresholds[label]) > best - 0.06


def test_an_answer_has_its_labels_with_confidences(run: sightline.Run, table: Path, command: Any) -> None:
    rows = [json.loads(line) for line in command("predict", run.path, table.parent, "--json").out.splitlines()]
    assert len(rows) == 500
    assert set(rows[0]) - {"notice"} == {"path", "labels", "top", "error"}
    found = sightline.predict(run, [table.parent / "000.png", table.parent / "001.png"], progress=False)
    assert ["; ".join(sorted(one["label"] for one in row["labels"])) or "(no label)" for row in rows[:2]] == list(
        found.predicted
    )
    assert all(0 <= entry["confidence"] <= 1 for row in rows for entry in row["labels"])


def test_a_table_of_answers_is_a_table_of_labels(run: sightline.Run, table: Path, command: Any, tmp_path: Path) -> None:
    said = command("predict", run.path, table.parent, "--csv", tmp_path / "a.csv")
    assert said.code == 0
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert list(lines[0]) == ["path", "labels", "confidences", "notice", "error"]
    found = sightline.load(tmp_path / "a.csv", task="multi-label", columns={"label": "labels"})
    assert set(found.class_names) == set(NAMES)


def test_a_bundle_is_judged_on_other_images_as_it_was(run: sightline.Run, table: Path, tmp_path: Path) -> None:
    again = sightline.evaluate(run)
    assert again.figures["micro_f1"].value == pytest.approx(run.evaluation.figures["micro_f1"].value)
    images, labels = drawn(60, 9)
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    flags = ["file,left,right,top", *(f"{number}.png,{','.join(map(str, row))}" for number, row in enumerate(labels))]
    (tmp_path / "flags.csv").write_text("\n".join(flags), encoding="utf-8")
    found = sightline.evaluate(run, tmp_path / "flags.csv", coverage=0.9, out=tmp_path / "judged")
    assert found.num_images == 60
    assert found.figures["share_held"].value > 0.75
    assert "sets hold 90 % of the labels of an image" in found.promises["sets"]["in_words"]
    assert sorted(path.name for path in (tmp_path / "judged").iterdir()) == [
        "metrics.json",
        "mistakes.png",
        "reliability.png",
    ]


def test_sets_hold_what_was_promised_and_the_answer(run: sightline.Run, table: Path) -> None:
    files = sorted(table.parent.glob("*.png"))
    wide, narrow = (sightline.predict(run, files, coverage=share, progress=False) for share in (0.98, 0.7))
    said = wide.task.decided(wide.logits) != 0
    assert (wide.sets.members | said == wide.sets.members).all()
    assert wide.sets.members.sum() > narrow.sets.members.sum()
    with pytest.raises(InvalidValue, match=r"needs at least 1,999 calibration images"):
        sightline.predict(run, files[:1], coverage=0.9995)


def test_a_run_is_opened_again_verified_and_reported(run: sightline.Run, command: Any, tmp_path: Path) -> None:
    again = sightline.reopen(run.path)
    assert str(again.evaluation) == str(run.evaluation)
    assert command("verify", run.path).code == 0
    page = sightline.report(run, out=tmp_path / "report.html").read_text(encoding="utf-8")
    # Who says every label finds all: what stands first counts what is said wrongly, too.
    assert (
        f'<p class="headline"><b>{run.evaluation.figures["micro_f1"].value:.3f}</b> is the F1 over all labels' in page
    )
    assert "&lt;bdi" not in page
    assert "<p>None.</p>" not in page
    assert "mistakes.png of the run shows images whose labels are not all right" in page
    assert "of the labels that are said" in page
    assert "Wrong labels one by one, maps, slices and robustness, which the commands mistakes, explain" in page


def test_a_bundle_without_thresholds_is_refused(run: sightline.Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run.bundle.path, tmp_path / "bundle"))
    told = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    told["label_thresholds"] = told["label_thresholds"][:2]
    (folder / "calibration.json").write_text(json.dumps(told), encoding="utf-8")
    write_manifest(folder, task=run.bundle.task)
    with pytest.raises(InvalidBundle, match="label_thresholds must be 3 numbers"):
        sightline.reopen(folder)


REFUSED: dict[str, Callable[[Any, Path], Any]] = {
    "check": sightline.check,
    "max_error": lambda run, folder: sightline.predict(run, folder, max_error=0.1),
    "novelty": lambda run, folder: sightline.predict(run, folder, novelty=0.1),
    "nearest": lambda run, folder: sightline.predict(run, folder, nearest=1),
    "learning_curve": lambda run, folder: sightline.learning_curve(
        sightline.load(folder / "edges.csv", task="multi-label")
    ),
    "labels": lambda run, folder: sightline.audit(
        sightline.load(folder / "edges.csv", task="multi-label"), labels=True
    ),
}


@pytest.mark.parametrize("verb", REFUSED)
def test_what_only_goes_with_one_class_an_image_says_why(run: sightline.Run, table: Path, verb: str) -> None:
    with pytest.raises(InvalidValue, match=f"{verb} is for one class an image, and here an image has several labels: "):
        REFUSED[verb](run, table.parent)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.class_weights", "balanced"),
        ("training.sampling", "balanced"),
        ("ensemble.kind", "boosting"),
    ],
)
def test_what_a_recipe_only_means_for_one_class_an_image_is_refused(table: Path, key: str, value: str) -> None:
    recipe = sightline.recipe("fast", {**KEYS, "data.task": "multi-label", key: value})
    with pytest.raises(InvalidValue, match=f"{key}={value} is for one class an image"):
        sightline.train(table, recipe=recipe)


def test_a_loss_of_several_labels_is_refused_for_one_class_an_image(corners: dict[str, np.ndarray]) -> None:
    recipe = sightline.recipe("fast", {"loss.name": "binary_crossentropy"})
    with pytest.raises(InvalidValue, match=r"Set data\.task=multi-label, or another loss"):
        sightline.train(corners, recipe=recipe)


def test_an_audit_looks_at_what_it_can(table: Path) -> None:
    data = sightline.load(table, task="multi-label")
    assert "shortcut" not in {one.kind for one in sightline.audit(data, mode="quiet").findings}
    assert sightline.show(data).labels[0] in {"top", "left; top", "right; top", "left; right; top"} | set(data.named())


def test_a_head_on_features_tells_each_label_by_itself() -> None:
    random = np.random.default_rng(0)
    labels = (random.random((600, 4)) < 0.3).astype(np.uint8)
    features = (labels @ random.normal(0, 1.5, (4, 20)) + random.normal(0, 1, (600, 20))).astype(np.float32)
    head = fit_head(Rows(features[:400], labels[:400]), Rows(features[400:500], labels[400:500]), num_classes=4)
    assert "logistic regressions of penalty" in head.how
    logits = head.logits(features[500:])
    assert f1_score(labels[500:], logits >= 0, average="macro") > 0.85
    few = fit_head(Rows(features[:8], labels[:8]), None, num_classes=4)
    assert few.is_safe
