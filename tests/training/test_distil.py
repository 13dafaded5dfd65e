"""A student learns what its teacher answers to the views that both look at, and nothing of what is held out."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import sightline
from sightline.bundles.bundle import load_bundle
from sightline.bundles.sessions import open_session
from sightline.bundles.trust.abstention import read_answer_record
from sightline.bundles.trust.sets import read_certificate
from sightline.configuration.recipes import parse_recipe
from sightline.errors import InvalidBundle, InvalidSource, InvalidValue, OutputExists, UnknownName
from sightline.metrics.classification import softmax
from sightline.records import InputSpec
from sightline.system.backends import load_keras

keras = load_keras()

from sightline.training.distillation.soft_labels import SOFTENING, distillation_targets  # noqa: E402  # the backend is chosen first
from sightline.training.distillation.teacher import open_teacher, student_recipe  # noqa: E402
from sightline.training.setup.preparation import prepare  # noqa: E402

QUICK = {"training.epochs": 2}


def quick(**settings: object) -> sightline.Recipe:
    return sightline.recipe("fast", {**QUICK, **{key.replace("__", "."): value for key, value in settings.items()}})


def splits_of(run: Path) -> dict[str, str]:
    with (run / "splits.csv").open(encoding="utf-8", newline="") as stream:
        return {line["row_id"]: line["split"] for line in csv.DictReader(stream)}


@pytest.fixture(scope="module")
def student(tiny_run: sightline.Run, tmp_path_factory: pytest.TempPathFactory) -> sightline.Run:
    """Distilled from the tiny run with another seed, which would divide the rows otherwise."""
    out = tmp_path_factory.mktemp("students") / "first"
    return sightline.distil(tiny_run, into="mlp", recipe=quick(seed=5), out=out, mode="quiet")


def test_what_the_teacher_is_tested_on_its_student_never_learns_from(
    student: sightline.Run, tiny_run: sightline.Run
) -> None:
    own, teachers = splits_of(student.path), splits_of(tiny_run.path)
    learned = {row_id for row_id, split in own.items() if split == "train"}
    assert learned
    assert not learned & {row_id for row_id, split in teachers.items() if split != "train"}
    assert own == teachers


def test_a_student_is_a_run_like_any_other_and_says_who_taught_it(
    student: sightline.Run, tiny_run: sightline.Run
) -> None:
    assert student.bundle.input == tiny_run.bundle.input
    assert student.bundle.class_names == tiny_run.bundle.class_names
    assert student.recipe["model"]["name"] == "mlp"
    assert student.recipe["loss"]["label_smoothing"] == 0
    told = {one["key"]: one["reason"] for one in json.loads((student.path / "resolution.json").read_text())}
    assert told["data.image_size"] == "what its teacher is fed"
    assert told["data.splits_file"] == "divided as for its teacher"
    teacher = student.teacher
    assert teacher["bundle"] == str(tiny_run.bundle.path)
    assert teacher["test_accuracy"] == tiny_run.evaluation.accuracy
    assert tuple(teacher["test_accuracy_interval"]) == tiny_run.evaluation.accuracy_interval
    assert teacher["validation"]["num_correct"] == tiny_run.validation.num_correct
    assert (teacher["num_views"], teacher["has_same_splits"]) == (2, True)
    for place in (student.path / "metrics.json", student.bundle.path / "metrics.json"):
        assert json.loads(place.read_text())["teacher"] == teacher
    card = (student.bundle.path / "card.md").read_text()
    assert f"distilled from '{tiny_run.bundle.path}', whose test accuracy is {tiny_run.evaluation.accuracy:.4f}" in card
    assert str(sightline.evaluate(student)) == str(student.evaluation)


def test_half_of_a_lesson_are_labels_and_half_what_the_teacher_answers_to_the_very_views_that_are_learned(
    tiny_run: sightline.Run,
) -> None:
    recipe = student_recipe(quick(training__epochs=3), "mlp", tiny_run.bundle)
    teacher, recipe = open_teacher(tiny_run.bundle, None, recipe)
    data = prepare(teacher.dataset, recipe, spec=tiny_run.bundle.input)
    targets = distillation_targets(data, teacher)
    train = data.pixels.take(data.splits.train)[:]
    assert targets.images.shape == (3 * len(train), 28, 28, 1)
    np.testing.assert_array_equal(targets.images[: len(train)], train)
    assert (targets.images[len(train) : 2 * len(train)] != train).any()
    assert (targets.images[len(train) : 2 * len(train)] != targets.images[2 * len(train) :]).any()
    session = open_session(tiny_run.bundle)
    for row in (0, len(train) + 7, 3 * len(train) - 1):
        (logits,) = session.outputs(targets.images[row : row + 1], ["logits"])
        given = np.eye(10)[data.dataset.labels[data.splits.train[[row % len(train)]]]]
        expected = (given + softmax(logits, temperature=tiny_run.bundle.temperature * SOFTENING)) / 2
        np.testing.assert_allclose(targets.soft_labels[row : row + 1], expected, atol=1e-5)


def test_what_the_teacher_of_a_teacher_learned_from_counts_too(tiny_run: sightline.Run) -> None:
    asked = student_recipe(quick(training__epochs=1, augmentation__policy="none"), "mlp", tiny_run.bundle)
    for is_known in (True, False):
        metrics = {**tiny_run.bundle.metrics, "teacher": {"bundle": "elsewhere", "has_same_splits": is_known}}
        teacher, recipe = open_teacher(dataclasses.replace(tiny_run.bundle, metrics=metrics), None, asked)
        told = distillation_targets(prepare(teacher.dataset, recipe, spec=tiny_run.bundle.input), teacher).teacher
        assert told["has_same_splits"] is is_known
        # It may have learned from the validation rows: of these it has no figures then.
        assert (told["validation"] is not None) is is_known


def test_a_bundle_apart_from_its_run_is_told_apart_from_one_whose_rows_are_known(
    tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray], small_npz: Path, tmp_path: Path, capsys
) -> None:
    alone = load_bundle(shutil.copytree(tiny_run.bundle.path, tmp_path / "alone"))
    recipe = student_recipe(quick(), "mlp", alone)
    # It may come from somebody else, whose paths are opened for nobody.
    with pytest.raises(InvalidValue, match="is opened only if you name it"):
        open_teacher(alone, None, recipe)
    alone = dataclasses.replace(alone, manifest={**alone.manifest, "capabilities": []})
    teacher, settled = open_teacher(alone, small_npz, recipe)
    assert (teacher.splits, teacher.is_known) == (None, False)
    assert settled.recipe.data.splits_file is None
    assert "lies apart from its run" in capsys.readouterr().err
    # Without a test split of its own, test images that are drawn now may be what the teacher learned from.
    learned = {key: small_arrays[key] for key in ("x_train", "y_train")}
    open_teacher(alone, learned, recipe)
    assert "warning: 'arrays' is not what the teacher learned from" in capsys.readouterr().err


def test_a_student_apart_from_its_run_knows_what_it_and_its_teacher_learned_from(
    student: sightline.Run, small_arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    alone = load_bundle(shutil.copytree(student.bundle.path, tmp_path / "alone"))
    with pytest.raises(InvalidSource, match=r"was made with all of its images \(\d+ train"):
        sightline.evaluate(alone, {key: small_arrays[key] for key in ("x_train", "y_train")})
    shuffled = {key: np.concatenate([small_arrays[f"{key}_test"], small_arrays[f"{key}_train"]])[::-1] for key in "xy"}
    rows = sightline.evaluate(alone, {"x_train": shuffled["x"], "y_train": shuffled["y"]}).rows
    assert (rows["judged"], rows["known_by"]) == ({"test": 200}, "content")


def pairs_of(table: str) -> dict[str, str]:
    return {line["row_id"]: line["split"] for line in csv.DictReader(table.splitlines())}


def test_a_bundle_apart_from_its_run_divides_the_images_that_it_knows_as_its_run_did(
    tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray], tmp_path: Path, capsys
) -> None:
    alone = load_bundle(shutil.copytree(tiny_run.bundle.path, tmp_path / "alone"))
    recipe, splits = student_recipe(quick(), "mlp", alone), splits_of(tiny_run.path)
    teacher, settled = open_teacher(alone, small_arrays, recipe)
    assert (pairs_of(teacher.splits), teacher.is_known, settled.recipe.data.splits_file) == (splits, True, None)
    divided = prepare(teacher.dataset, settled, spec=alone.input, splits=teacher.splits).splits
    assert len(divided.test) == list(splits.values()).count("test")
    listed = student_recipe(quick(data__splits_file="mine.csv"), "mlp", alone)
    with pytest.raises(InvalidValue, match=r"data\.splits_file=mine\.csv: a student is divided as its teacher was"):
        open_teacher(alone, small_arrays, listed)
    capsys.readouterr()
    # Turned pictures are new to it, and nobody knows whether they are copies of what it tests.
    images, labels = small_arrays["x_train"], small_arrays["y_train"]
    more = {"x_train": np.concatenate([images, images[:5, ::-1]]), "y_train": np.concatenate([labels, labels[:5]])}
    teacher, _ = open_teacher(alone, more, recipe)
    assert len(teacher.dataset) == len(images)
    assert "5 other images were in no split of the teacher, and stay out here" in capsys.readouterr().err


def test_of_another_source_what_the_teacher_was_made_with_stays_out(
    tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray], capsys
) -> None:
    recipe = student_recipe(quick(), "mlp", tiny_run.bundle)
    images, labels = small_arrays["x_train"][:, ::-1], small_arrays["y_train"]
    teacher, _ = open_teacher(tiny_run.bundle, {"x_train": images, "y_train": labels}, recipe)
    assert (len(teacher.dataset), teacher.splits, teacher.is_known) == (len(images), None, True)
    assert "none of the images of 'arrays' is one that the teacher was made with" in capsys.readouterr().err
    mixed = np.concatenate([images, small_arrays["x_train"][:5]])
    teacher, _ = open_teacher(
        tiny_run.bundle, {"x_train": mixed, "y_train": np.concatenate([labels, labels[:5]])}, recipe
    )
    assert (len(teacher.dataset), teacher.splits, teacher.is_known) == (len(images), None, True)
    assert "5 images of 'arrays' are ones that the teacher was made with; they stay out" in capsys.readouterr().err


def test_arrays_that_were_changed_are_not_divided_by_what_their_numbers_were_before(
    run_copy: Path, small_arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    images, labels = small_arrays["x_train"][::-1], small_arrays["y_train"][::-1]
    np.savez(tmp_path / "changed.npz", **{**small_arrays, "x_train": images, "y_train": labels})
    bundle = load_bundle(run_copy / "bundle")
    source = {**bundle.metrics["source"], "typed": str(tmp_path / "changed.npz")}
    bundle = dataclasses.replace(bundle, metrics={**bundle.metrics, "source": source})
    teacher, settled = open_teacher(bundle, None, student_recipe(quick(), "mlp", bundle))
    assert settled.recipe.data.splits_file is None
    assert teacher.splits is not None
    before, now = splits_of(run_copy), pairs_of(teacher.splits)
    digits = small_arrays["x_train"].reshape(len(images), -1)
    assert len(np.unique(digits, axis=0)) == len(digits)
    train = [split for row_id, split in before.items() if row_id.startswith("train/")]
    assert [now[f"train/{number:05d}"] for number in range(len(images))] == train[::-1]


def test_another_source_has_its_classes_matched_by_name(
    tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray]
) -> None:
    recipe = student_recipe(quick(), "mlp", tiny_run.bundle)
    few = small_arrays["y_train"] < 3
    arrays = {"x_train": small_arrays["x_train"][few], "y_train": 2 - small_arrays["y_train"][few]}
    source = sightline.load(arrays, class_names=["2", "1", "0"])
    teacher, _ = open_teacher(tiny_run.bundle, source, recipe)
    assert teacher.dataset.class_names == tiny_run.bundle.class_names
    np.testing.assert_array_equal(teacher.dataset.labels, small_arrays["y_train"][few])
    strange = sightline.load(arrays, class_names=["two", "one", "0"])
    with pytest.raises(InvalidValue, match="classes the bundle does not know: two, one"):
        open_teacher(tiny_run.bundle, strange, recipe)


@pytest.mark.parametrize(
    ("settings", "into", "message"),
    [
        ({}, "efficientnet-lite0", "starts from pretrained weights"),
        ({"ensemble.kind": "deep"}, "mlp", "a student is one network"),
        ({"augmentation.mixup_alpha": 0.2}, "mlp", "did not see what would be mixed"),
        ({"loss.name": "categorical_focal_crossentropy"}, "mlp", "a student learns answers"),
        ({"data.image_size": 32}, "mlp", "data.image_size=32: a student is fed what its teacher is fed, 28"),
        ({"data.color_mode": "rgb"}, "mlp", "fed what its teacher is fed, grey"),
        ({"data.splits_file": "mine.csv"}, "mlp", "is divided as its teacher was"),
    ],
)
def test_what_goes_against_learning_from_answers_is_refused(
    settings: dict, into: str, message: str, tiny_run: sightline.Run
) -> None:
    with pytest.raises(InvalidValue, match=message):
        sightline.distil(tiny_run, into=into, recipe=sightline.recipe("fast", settings), mode="quiet")


def test_a_recipe_for_a_pretrained_network_is_none_for_a_student(tiny_run: sightline.Run) -> None:
    with pytest.raises(InvalidValue, match=r"made for efficientnet-lite0.*--recipe fast, or photos"):
        student_recipe(sightline.recipe("transfer"), "lenet5", tiny_run.bundle)


def test_a_student_that_does_not_take_what_its_teacher_is_fed_is_refused_with_those_that_do(
    tiny_run: sightline.Run,
) -> None:
    large = dataclasses.replace(tiny_run.bundle, input=InputSpec(96, 96, "grey"))
    with pytest.raises(InvalidValue, match=r"--into mlp: it does not take .* 96x96\. Name one that does: convnet, "):
        student_recipe(quick(), "mlp", large)


def test_what_a_student_takes_from_its_teacher_is_told_with_what_was_asked_and_why(tiny_run: sightline.Run) -> None:
    asked = sightline.recipe("fast", {"loss.label_smoothing": 0.1})
    settled = student_recipe(asked, "mlp", tiny_run.bundle)
    told = {change.key: (change.asked, change.settled, change.reason) for change in settled.changes}
    assert told["data.image_size"] == ("auto", 28, "what its teacher is fed")
    assert told["loss.label_smoothing"] == (0.1, 0.0, "what its teacher answers is soft already")
    assert told["model.name"][:2] == ("auto", "mlp")
    assert asked.changed({key: value for key, (_, value, _) in told.items()}) == settled.recipe


def test_wrong_names_are_refused_before_anything_is_trained(tiny_run: sightline.Run, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no model is called 'lenet'"):
        sightline.distil(tiny_run, into="lenet", mode="quiet")
    with pytest.raises(InvalidBundle, match="no such folder"):
        sightline.distil(tmp_path / "nowhere")
    with pytest.raises(OutputExists):
        sightline.distil(tiny_run, out=tiny_run.path, mode="quiet")


def test_a_loss_for_whole_labels_is_exchanged_and_that_is_said(tiny_run: sightline.Run, capsys) -> None:
    settled = student_recipe(sightline.recipe("photos"), "mlp", tiny_run.bundle)
    assert (settled.recipe.loss.name, settled.recipe.loss.label_smoothing) == ("categorical_crossentropy", 0)
    assert "note: loss is categorical_crossentropy without label smoothing" in capsys.readouterr().err
    student_recipe(parse_recipe({"loss.name": "categorical_crossentropy"}), "mlp", tiny_run.bundle)
    assert capsys.readouterr().err == ""


def test_views_that_memory_does_not_hold_are_refused(small_arrays: dict[str, np.ndarray], tiny_run: sightline.Run):
    arrays = {key: np.concatenate([part] * 3) for key, part in small_arrays.items()}
    recipe = student_recipe(quick(data__memory_limit_mib=1), "mlp", tiny_run.bundle)
    teacher, recipe = open_teacher(tiny_run.bundle, arrays, recipe)
    data = prepare(teacher.dataset, recipe, spec=tiny_run.bundle.input)
    with pytest.raises(InvalidValue, match=r"holds no second view of 1,\d+ train images"):
        distillation_targets(data, teacher)


@pytest.mark.soak
def test_distil_by_hand_prints_the_teacher_beside_the_student(command, tiny_run: sightline.Run, tmp_path: Path) -> None:
    answer = command("distil", tiny_run.path, "--into", "mlp", "--epochs", "1", "--quiet")
    assert (answer.code, answer.err) == (0, "")
    assert f"teacher    {tiny_run.bundle.path}, accuracy " in answer.out
    assert "on the same validation images" in answer.out
    assert (tmp_path / "runs" / "small-fast-001" / "bundle" / "model.onnx").is_file()
    refused = command("distil", tiny_run.path, "--set", "model.name=mlp", "--quiet")
    assert (refused.code, refused.out) == (2, "")
    assert "--into names the student's network" in refused.err


def test_a_student_promises_by_the_calibration_rows_of_its_teacher_and_its_own_answers(
    student: sightline.Run, tiny_run: sightline.Run
) -> None:
    own, teachers = read_certificate(student.bundle), read_certificate(tiny_run.bundle)
    assert own.labels.tolist() == teachers.labels.tolist()
    assert own.scores["lac"].tolist() != teachers.scores["lac"].tolist()
    told = {row_id for row_id, split in splits_of(student.path).items() if split == "calibration"}
    assert own.num_images == len(told)
    record = read_answer_record(student.bundle)
    assert record.is_right.tolist() == own.is_right.tolist()
    assert record.certainties.tolist() != read_answer_record(tiny_run.bundle).certainties.tolist()
