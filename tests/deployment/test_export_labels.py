"""Exports of a bundle whose images may have several labels: each answers as `predict` does, or is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import sightline
from sightline.bundles.sessions import session_of
from sightline.bundles.trust.label_sets import label_set_maker
from sightline.deployment.conversion.choosing import try_settings
from sightline.deployment.conversion.description import ExportedModel, describe
from sightline.deployment.conversion.formats import FORMATS
from sightline.deployment.conversion.gate import check_export
from sightline.deployment.conversion.losses import without_promises
from sightline.deployment.conversion.rows import ComparedRows, halves
from sightline.errors import ExportRefused

# One of each way in which a description travels; all others are written by the same code.
FLOATING = ("onnx", "openvino", pytest.param("litert", marks=pytest.mark.soak))


@pytest.fixture(scope="module")
def rows(labels_table: Path) -> ComparedRows:
    dataset = sightline.load(labels_table, task="multi-label")
    images = np.stack([np.asarray(Image.open(labels_table.parent / name)) for name in dataset.row_ids])[..., None]
    return ComparedRows("images", "300 images", dataset.row_ids.tolist(), images, labels=dataset.labels)


@pytest.mark.parametrize("name", FLOATING)
def test_it_says_the_labels_that_predict_says_and_so_does_its_program(
    name: str, labels_run: sightline.Run, labels_table: Path, lines_of, tmp_path: Path
) -> None:
    pytest.importorskip(FORMATS[name].runtime)
    exported = sightline.export(labels_run, name, out=tmp_path / "out")
    told = exported.figures
    assert (told["compared_on"]["kind"], told["task"], told["agreement"]) == ("calibration", "multi-label", 1)
    assert told["largest_difference"] < 1e-5
    assert "all right  0." in str(exported)
    text = " ".join(exported.readme.read_text(encoding="utf-8").split())
    assert "several labels, or none: each is said from its own number under `label_thresholds`" in text
    answers = sightline.predict(labels_run, labels_table.parent, progress=False)
    counts = answers.task.decided(answers.logits).sum(axis=1)
    for row in (int(counts.argmin()), int(counts.argmax())):
        said = [line.split() for line in lines_of(exported.readme, Path(answers.row_ids[row]))]
        one = answers.task.answers(answers.logits[[row]], answers.class_names, temperature=answers.temperature, top=1)
        wanted = [(entry["label"], pytest.approx(entry["confidence"], abs=1e-4)) for entry in one[0]["labels"]]
        assert [(label, float(share)) for label, share in said] == wanted
        assert len(said) == counts[row]


def test_by_the_promises_of_an_export_sets_are_those_of_predict(labels_run: sightline.Run, tmp_path: Path) -> None:
    exported = sightline.export(labels_run, "onnx", out=tmp_path)
    session = onnxruntime.InferenceSession(exported.path)
    promises = json.loads(session.get_modelmeta().custom_metadata_map["sightline.promises"])
    assert list(promises["sets"]) == ["0.8", "0.9", "0.95"]  # 50 calibration images vouch for no more
    assert (promises["unsure"], promises["novel"]) == ({}, {})
    images = np.random.default_rng(0).integers(0, 256, (200, *labels_run.bundle.input.shape), np.uint8)
    (logits,) = session.run(["logits"], {"images": images})
    for coverage, least in promises["sets"].items():
        answers = sightline.predict(labels_run, images, progress=False, coverage=float(coverage))
        np.testing.assert_array_equal(logits >= least, answers.sets.members)


def test_labels_of_calibration_images_that_a_margin_is_made_of_stay_in_the_set(labels_run: sightline.Run) -> None:
    for coverage in (0.8, 0.9, 0.95):
        maker = label_set_maker(labels_run.bundle, coverage)
        at = maker.certificate.offsets + maker.margin * maker.certificate.factors
        assert (maker.least_logits() <= at).all()


def test_whole_numbers_are_chosen_and_judged_by_every_label(labels_run: sightline.Run, tmp_path: Path) -> None:
    exported = sightline.export(labels_run, "onnx-int8", out=tmp_path)
    told = exported.figures
    assert (told["conversion"]["num_choosing_images"], told["num_images"]) == (25, 25)
    assert "points of exact match may be lost" in str(exported)
    about = onnxruntime.InferenceSession(exported.path).get_modelmeta().custom_metadata_map
    assert json.loads(about["sightline.promises"]) == {"sets": {}, "unsure": {}, "novel": {}}
    calibration = json.loads(about["sightline.calibration"])
    bundle = labels_run.bundle
    even = [limit / bundle.temperature for limit in bundle.task.thresholds]
    assert [limit / calibration["temperature"] for limit in calibration["label_thresholds"]] == pytest.approx(even)
    assert "for these take the format `onnx`" in " ".join(exported.readme.read_text(encoding="utf-8").split())


@pytest.fixture
def judge(labels_run: sightline.Run, rows: ComparedRows) -> Callable[..., dict[str, Any]]:
    """The gate, given what is changed in a description and in logits."""

    def judged(
        change: Callable[[dict[str, Any]], object] = lambda told: None,
        answers: Callable[[np.ndarray], np.ndarray] = lambda logits: logits,
        *,
        is_quantised: bool = False,
    ) -> dict[str, Any]:
        bundle = labels_run.bundle
        told = json.loads(json.dumps(describe(bundle)))
        if is_quantised:
            told |= without_promises(told["calibration"], bundle.temperature, rows)
        change(told)
        session = session_of(bundle)
        precision = "int8" if is_quantised else "float32"
        model = ExportedModel(told, lambda images: answers(session.logits(images)), precision=precision)
        return check_export(bundle, model, rows, name="it", is_quantised=is_quantised)

    return judged


def swapped(told: dict[str, Any]) -> None:
    told["labels"] = told["labels"][::-1]


def of_one_class(told: dict[str, Any]) -> None:
    told["task"] = "single-label"


def said_sooner(told: dict[str, Any]) -> None:
    told["calibration"]["label_thresholds"][1] -= 0.5


@pytest.mark.parametrize(
    ("change", "what"), [(swapped, "labels"), (of_one_class, "task"), (said_sooner, "calibration")]
)
def test_a_file_that_says_something_else_is_refused(judge, change, what: str) -> None:
    with pytest.raises(ExportRefused, match=f"says something else than its bundle of: {what} "):
        judge(change)


def test_a_file_that_answers_otherwise_is_refused(judge) -> None:
    told = judge()
    assert (told["agreement"], told["accuracy"]["paired"]["difference"]) == (1, 0)
    with pytest.raises(ExportRefused, match=r"differs by 0\.\d+ in the probability of '(left|right|top)' of "):
        judge(answers=lambda logits: logits + np.float32(0.05))


def test_what_is_missed_is_not_hidden_by_all_that_nobody_says(judge, rows: ComparedRows) -> None:
    """A network that is silent on one label in fifteen of those it says; most single decisions stay as they were."""

    def silent(logits: np.ndarray) -> np.ndarray:
        found = logits.copy()
        images, labels = np.nonzero(found > 2)
        found[images[::15], labels[::15]] = -1
        return found

    assert judge(is_quantised=True)["quantised"]["confident_agreement"] == 1
    with pytest.raises(
        ExportRefused, match=r"of which the bundle is at least 90% sure, it gives 9\d\.\d%, and 99% are"
    ):
        judge(answers=silent, is_quantised=True)


def test_both_halves_have_the_rarest_labels_and_a_setting_is_as_far_as_its_labels_together(
    labels_run: sightline.Run, rows: ComparedRows
) -> None:
    choosing, judging = halves(rows)
    assert len(choosing.row_ids) == len(judging.row_ids) == 150
    counts = [one.known_labels.sum(axis=0) for one in (choosing, judging)]
    assert np.abs(counts[0].astype(int) - counts[1]).max() <= 12
    session = session_of(labels_run.bundle)
    settings = [("as it is", session.logits), ("none", lambda images: np.full((len(images), 3), -9, np.float32))]
    tried = try_settings(labels_run.bundle, choosing, settings, of=2)
    assert tried.distances["as it is"].mean() < 0.1
    assert tried.distances["none"].max() > 1  # of one class no two answers are farther apart
    assert tried.kept == "as it is"
