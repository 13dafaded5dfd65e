from __future__ import annotations

import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles.trust.details import (
    brief_promise_lines,
    promise_lines,
    thresholds_of,
    usual_makers,
)
from sightline.errors import InvalidSource, InvalidValue, MissingPackage, OutputExists
from sightline.evaluation.measuring.scoring import figures, score
from sightline.metrics.figures import FIGURES
from sightline.metrics.intervals import wilson_interval


def predictions_of(logits, labels, errors=None) -> sightline.Predictions:
    logits = np.array(logits, np.float32)
    names = tuple("abcdef"[: logits.shape[1]])
    rows = tuple(map(str, range(len(logits))))
    labels = None if labels is None else np.array(labels)
    return sightline.Predictions.of(rows, logits, class_names=names, labels=labels, errors=errors or ())


def same_figures(one: sightline.Evaluation, two: sightline.Evaluation) -> bool:
    """But for those of promises, which a run tells of its test rows unasked."""
    told = []
    for evaluation in (one, two):
        always = {name: figure for name, figure in evaluation.figures.items() if not FIGURES[name].needs}
        told.append(json.dumps(figures(dataclasses.replace(evaluation, rows=None, promises={}, figures=always))))
    return told[0] == told[1]


def test_a_case_worked_by_hand() -> None:
    # Given a a a b b; told a a b b c.
    logits = [[2, 0, 0], [2, 0, 0], [0, 2, 0], [0, 2, 0], [0, 0, 2]]
    evaluation = score(predictions_of(logits, [0, 0, 0, 1, 1]))
    assert (evaluation.num_images, evaluation.num_correct, evaluation.num_errors) == (5, 3, 2)
    assert evaluation.accuracy == 0.6
    assert evaluation.accuracy_interval == wilson_interval(3, 5)
    assert evaluation.confusion.tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert evaluation.recall[:2].tolist() == [pytest.approx(2 / 3), 0.5]
    assert evaluation.precision.tolist() == [1, 0.5, 0]
    assert math.isnan(evaluation.recall[2])
    assert evaluation.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2) / 2)
    right, wrong = math.log(1 + 2 * math.exp(-2)), math.log(1 + 2 * math.exp(-2)) + 2
    assert evaluation.cross_entropy == pytest.approx((3 * right + 2 * wrong) / 5, rel=1e-5)
    assert sorted(evaluation.most_confused) == [("a", "b", 1), ("b", "c", 1)]
    lower, upper = wilson_interval(3, 5)
    assert str(evaluation) == repr(evaluation) == f"accuracy 0.6000 [{lower:.4f}, {upper:.4f}] on 5 images"


def test_unreadable_rows_are_counted_and_are_in_no_figure() -> None:
    nan = [float("nan")] * 2
    with_errors = score(predictions_of([[2, 0], nan, [0, 2]], [0, 0, 1], (None, "torn", None)))
    without = score(predictions_of([[2, 0], [0, 2]], [0, 1]))
    assert with_errors.num_unreadable == 1
    assert {**figures(with_errors), "num_unreadable": 0} == figures(without)


def test_intervals_are_at_the_level_that_is_asked_for_and_say_so() -> None:
    rows = predictions_of([[2, 0], [2, 0], [0, 2], [2, 0]], [0, 0, 1, 1])
    assert score(rows).interval_level == figures(score(rows))["interval_level"] == 0.95
    narrow = score(rows, interval_level=0.5)
    assert narrow.accuracy_interval == wilson_interval(3, 4, confidence=0.5)
    assert figures(narrow)["interval_level"] == 0.5


@pytest.mark.parametrize("level", [0, 1, 1.5, math.nan, "0.9", True, None])
def test_a_level_that_is_none_is_refused_before_a_source_is_opened(tiny_run: sightline.Run, level: Any) -> None:
    with pytest.raises(InvalidValue, match=r"interval_level must be a number in \(0, 1\), such as 0.95; got "):
        sightline.evaluate(tiny_run, "no/such/folder", interval_level=level)


def test_nothing_that_could_be_judged_is_refused() -> None:
    with pytest.raises(InvalidValue, match="at least one readable image whose label is known"):
        score(predictions_of([[2, 0]], None))
    with pytest.raises(InvalidValue, match="at least one readable image"):
        score(predictions_of([[float("nan")] * 2], [0], ("torn",)))


def test_figures_are_plain_json(tiny_run: sightline.Run) -> None:
    told = json.loads(json.dumps(figures(tiny_run.evaluation)))
    assert told["num_images"] == 200
    assert [row["class_name"] for row in told["classes"]] == list("0123456789")
    assert sum(row["num_images"] for row in told["classes"]) == 200
    assert sum(map(sum, told["confusion"])) == 200
    assert {"given", "predicted", "num_images"} == set(told["most_confused"][0])


def test_a_run_tells_how_its_bundle_keeps_the_usual_promises_on_its_test_rows(tiny_run: sightline.Run) -> None:
    measured, of_run = sightline.evaluate(tiny_run, coverage=0.95), tiny_run.evaluation
    assert of_run.promises["sets"] == measured.promises["sets"]
    again = sightline.reopen(tiny_run.path).evaluation
    for evaluation in (of_run, again):
        for name in ("coverage", "mean_set_size", "singletons", "unusual"):
            assert str(evaluation.figures[name]) == str(measured.figures[name])
    assert again.promises == of_run.promises
    line = promise_lines(measured)[0]
    assert line.startswith("sets hold the right class of 95 %")
    assert f"measured: {measured.figures['coverage']}" in line
    assert brief_promise_lines(measured)[0].startswith(f"coverage 0.95: {measured.figures['coverage']}, mean set")
    assert f"\n- {line}" in (tiny_run.bundle.path / "card.md").read_text(encoding="utf-8")


def test_calibration_json_keeps_the_thresholds_of_the_usual_promises(tiny_run: sightline.Run) -> None:
    told = json.loads((tiny_run.bundle.path / "calibration.json").read_text(encoding="utf-8"))["thresholds"]
    kept = {name: one for name, one in tiny_run.evaluation.promises.items() if "threshold" in one}
    assert told == {name: {key: one[key] for key in told[name]} for name, one in kept.items()}
    makers, _ = usual_makers(tiny_run.bundle)
    assert told == thresholds_of(makers)


def test_what_a_bundle_cannot_promise_is_told_among_its_promises(tiny_run: sightline.Run) -> None:
    without = dataclasses.replace(tiny_run.bundle, manifest={"capabilities": ["parity"]})
    makers, refused = usual_makers(without)
    assert not makers
    assert "cannot promise a coverage" in refused["sets"]
    told = dataclasses.replace(tiny_run.evaluation, promises={"sets": {"refused": refused["sets"]}})
    assert promise_lines(told) == brief_promise_lines(told) == [f"no promise of sets: {refused['sets']}"]


def test_its_own_source_gives_the_figures_of_the_run(tiny_run: sightline.Run, small_npz: Path) -> None:
    assert same_figures(sightline.evaluate(tiny_run), tiny_run.evaluation)
    assert same_figures(sightline.evaluate(tiny_run.path, small_npz), tiny_run.evaluation)
    assert same_figures(sightline.evaluate(tiny_run.bundle, split="test"), tiny_run.evaluation)
    assert same_figures(sightline.evaluate(tiny_run, split="validation"), tiny_run.validation)


@pytest.mark.parametrize(("split", "num_images"), [("all", 800), ("train", 540), ("calibration", 30)])
def test_every_split_of_the_run_can_be_judged(split: str, num_images: int, tiny_run: sightline.Run) -> None:
    assert sightline.evaluate(tiny_run, split=split).num_images == num_images


def test_classes_in_another_order_are_matched_by_name(
    tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    order = np.random.default_rng(0).permutation(10)
    path = tmp_path / "permuted.npz"
    changed = {key: order[small_arrays[key]] for key in ("y_train", "y_test")}
    np.savez(path, **{**small_arrays, **changed}, class_names=np.argsort(order).astype(str))
    evaluation = sightline.evaluate(tiny_run, path)
    assert evaluation.accuracy == tiny_run.evaluation.accuracy
    np.testing.assert_array_equal(evaluation.confusion, tiny_run.evaluation.confusion)


def test_another_source_is_judged_on_the_test_rows_it_gives_or_else_on_all_that_was_not_learned_from(
    tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray]
) -> None:
    other = {**small_arrays, "x_test": small_arrays["x_test"][:50], "y_test": small_arrays["y_test"][:50]}
    assert sightline.evaluate(tiny_run, other).num_images == 50
    learned = {key: small_arrays[key][:70] for key in ("x_train", "y_train")}
    with pytest.raises(InvalidSource, match="made with all of its images"):
        sightline.evaluate(tiny_run, learned)
    flattering = sightline.evaluate(tiny_run, learned, split="all")
    assert "70 of which the bundle was made with (" in str(flattering)
    assert figures(flattering)["rows"]["judged"]["train"] > 0
    untold = {"x_train": 255 - learned["x_train"], "y_train": learned["y_train"]}
    turned = sightline.evaluate(tiny_run, other, split="train")
    assert turned.num_images == 540
    assert turned.rows is not None
    assert turned.rows["known_by"] == "content"
    assert sightline.evaluate(tiny_run, untold).num_images == 70
    with pytest.raises(InvalidSource, match=r"no row is in the split 'validation'\. Try --split all"):
        sightline.evaluate(tiny_run, untold, split="validation")


def test_a_class_that_the_bundle_does_not_know_is_refused_by_name(
    tiny_run: sightline.Run, small_arrays: dict[str, np.ndarray]
) -> None:
    strange = sightline.load(small_arrays, class_names=[*"012345678", "ampersand"])
    with pytest.raises(InvalidValue, match="classes the bundle does not know: ampersand"):
        sightline.evaluate(tiny_run, strange)


@pytest.mark.parametrize("split", ["val", "Test", "", 3])
def test_an_unknown_split_is_refused(split: object, tiny_run: sightline.Run) -> None:
    with pytest.raises(InvalidValue, match="split must be train, validation, calibration, test or all; got"):
        sightline.evaluate(tiny_run, split=split)  # type: ignore[arg-type]


def test_the_pictures_and_figures_are_written_where_they_are_asked_for(tiny_run: sightline.Run, tmp_path: Path) -> None:
    out = tmp_path / "new" / "figures"
    evaluation = sightline.evaluate(tiny_run, out=out)
    assert sorted(path.name for path in out.iterdir()) == [
        *["confusion.png", "metrics.json", "mistakes.png", "reliability.png", "risk_coverage.png"]
    ]
    assert json.loads((out / "metrics.json").read_text())["accuracy"] == evaluation.accuracy
    for name in ("confusion.png", "reliability.png", "risk_coverage.png", "mistakes.png"):
        with Image.open(out / name) as picture:
            assert picture.format == "PNG"


def test_pictures_that_cannot_be_drawn_are_refused_before_anything_is_judged_or_written(
    tiny_run: sightline.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackage, match=r"drawing a chart needs the package 'matplotlib'"):
        sightline.evaluate(tiny_run, "no-such-source", out=tmp_path / "judged")
    assert not (tmp_path / "judged").exists()


def test_a_taken_folder_is_refused_and_untouched(tiny_run: sightline.Run, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(OutputExists, match="is a folder that is not empty"):
        sightline.evaluate(tiny_run, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_bundle_of_arrays_asks_for_a_source(small_arrays: dict[str, np.ndarray], run_copy: Path) -> None:
    from sightline.bundles.bundle import write_manifest

    path = run_copy / "bundle" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["source"]["typed"] = ""
    path.write_text(json.dumps(metrics))
    write_manifest(run_copy / "bundle")
    with pytest.raises(InvalidValue, match=r"does not say what it was trained on\. Name a source"):
        sightline.evaluate(run_copy)
    assert sightline.evaluate(run_copy, small_arrays).num_images == 200


def test_the_interval_counts_groups_and_says_how_many() -> None:
    labels, logits = np.zeros(20, np.int64), np.tile(np.array([[1.0, 0.0]], np.float32), (20, 1))
    logits[:5] = [0.0, 1.0]
    alone = predictions_of(logits, labels)
    grouped = dataclasses.replace(alone, groups=np.repeat(["p", "q", "r", "s"], 5))
    told = str(score(grouped))
    assert told.endswith("on 20 images in 4 groups")
    assert figures(score(grouped))["num_groups"] == 4
    assert figures(score(alone))["num_groups"] is None
    assert score(grouped).accuracy_interval[0] < score(alone).accuracy_interval[0]
    assert score(dataclasses.replace(alone, groups=np.array(alone.row_ids))).accuracy_interval == (
        score(alone).accuracy_interval
    )


@pytest.mark.slow
def test_parts_of_the_images_are_told_with_their_numbers_where_that_is_asked(
    tiny_run: sightline.Run, command: Any, tmp_path: Path
) -> None:
    plain = sightline.evaluate(tiny_run)
    found = sightline.evaluate(tiny_run, slices=True)
    assert plain.slices is None
    assert found.slices
    assert "brightness: lowest quarter" in {one.name for one in found.slices}
    for one in found.slices:
        assert one.num_images + one.rest_images == found.num_images
        assert one.num_wrong + one.rest_wrong == found.num_images - found.num_correct
        assert one.interval[0] <= one.excess <= one.interval[1]
    table = tmp_path / "more.csv"
    told = command("evaluate", tiny_run.path, "--slices", "--json", "--quiet")
    assert [one["name"] for one in json.loads(told.out)["slices"]] == [one.name for one in found.slices]
    assert "parts of the images" in command("evaluate", tiny_run.path, "--slices", "--quiet").out
    table.write_text("file,camera\nnobody,A\n")
    refused = command("evaluate", tiny_run.path, "--slice-table", table, "--quiet")
    assert refused.code == 2
    assert "names none of" in refused.err


@pytest.mark.soak  # in parts in test_label_table, test_preparation and test_report
def test_a_run_is_judged_by_the_labels_that_a_table_gave_it_though_the_table_is_gone(
    small_npz: Path, tmp_path: Path
) -> None:
    """As often as the training said so, whatever the source still says."""
    dataset = sightline.load(small_npz)
    first, second = dataset.class_names[:2]
    lines = [
        f"{row_id},{first if label != first else second}"
        for row_id, label in zip(dataset.row_ids.tolist(), dataset.named(slice(None)), strict=True)
    ]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["file,label", *lines]) + "\n")
    recipe = sightline.recipe("fast", {"model.name": "mlp", "training.epochs": 1, "data.labels_file": str(table)})
    run = sightline.train(small_npz, recipe=recipe, out=tmp_path / "relabelled", mode="quiet")
    table.unlink()
    found = sightline.evaluate(run)
    assert found.num_correct == run.evaluation.num_correct
    assert found.rows["known_by"] == "splits.csv"
    longer = sightline.extend(run, epochs=1, out=tmp_path / "longer", mode="quiet")
    assert (longer.path / "labels.csv").read_bytes() == (run.path / "labels.csv").read_bytes()
