"""Runs side by side: what is said of them, on which rows, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.errors import CannotWrite, InvalidBundle, InvalidValue
from sightline.evaluation.comparison import comparison_figures
from sightline.evaluation.measuring import finished_runs
from sightline.evaluation.measuring.paired_tests import PairedTest, paired_test
from sightline.metrics.figures import FIGURES, Metric
from sightline.metrics.intervals import wilson_interval
from sightline.metrics.significance import holm, mcnemar_exact, number_to_tell, paired_difference_interval

Arrays = dict[str, np.ndarray]


def rewrite(folder: Path, change: Callable[[Arrays], None]) -> None:
    """Alter predictions.npz as `change` does it."""
    with np.load(folder / "predictions.npz") as stored:
        arrays = dict(stored)
    change(arrays)
    np.savez(folder / "predictions.npz", **arrays)


def reseal(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Alter the bundle's metrics.json and seal it anew."""
    from sightline.bundles.bundle import write_manifest

    path = folder / "bundle" / "metrics.json"
    metrics = json.loads(path.read_text())
    change(metrics)
    path.write_text(json.dumps(metrics))
    write_manifest(folder / "bundle")


def other_source(folder: Path) -> None:
    reseal(folder, lambda metrics: metrics["source"].update(fingerprint="another", typed="other.npz"))


def named_files(folder: Path) -> None:
    """Row ids as a folder of photographs has them."""

    def rename(arrays: Arrays) -> None:
        for split in ("validation", "calibration", "test"):
            arrays[f"{split}_row_ids"] = np.array([f"{row_id}.png" for row_id in arrays[f"{split}_row_ids"]])

    rewrite(folder, rename)
    lines = (folder / "splits.csv").read_text().splitlines()
    renamed = [lines[0], *(line.replace(",", ".png,", 1) for line in lines[1:])]
    (folder / "splits.csv").write_text("\n".join(renamed) + "\n")


def move_rows(folder: Path, count: int, split: str | None) -> None:
    """Put the first test rows into another split of the run, or into none."""

    def cut(arrays: Arrays) -> None:
        moved.update(arrays["test_row_ids"][:count].tolist())
        for key in ("row_ids", "labels", "logits"):
            arrays[f"test_{key}"] = arrays[f"test_{key}"][count:]

    moved: set[str] = set()
    rewrite(folder, cut)
    rows = list(csv.DictReader(io.StringIO((folder / "splits.csv").read_text())))
    lines = [
        f"{row['row_id']},{split if row['row_id'] in moved else row['split']},"
        for row in rows
        if split is not None or row["row_id"] not in moved
    ]
    (folder / "splits.csv").write_text("\n".join(["row_id,split,group", *lines]) + "\n")


def answer_rightly(count: int) -> Callable[[Arrays], None]:
    """Correct the first `count` errors on test rows."""

    def change(arrays: Arrays) -> None:
        wrong = np.flatnonzero(arrays["test_logits"].argmax(axis=1) != arrays["test_labels"])[:count]
        arrays["test_logits"][wrong] = 0
        arrays["test_logits"][wrong, arrays["test_labels"][wrong]] = 9

    return change


def correct_of(folder: Path) -> np.ndarray:
    with np.load(folder / "predictions.npz") as arrays:
        return np.asarray(arrays["test_logits"].argmax(axis=1) == arrays["test_labels"])


@pytest.fixture
def other(tiny_run: sightline.Run, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run.path, tmp_path / "other"))


def test_the_paired_test_is_that_of_the_rows_in_both(tiny_run: sightline.Run, run_copy: Path) -> None:
    rewrite(run_copy, answer_rightly(20))
    (test,) = sightline.compare([tiny_run, run_copy]).tests
    first, second = correct_of(tiny_run.path), correct_of(run_copy)
    assert test.num_images == 200
    assert (test.num_only_first, test.num_only_second) == (0, 20)
    assert (test.num_first_correct, test.num_second_correct) == (first.sum(), first.sum() + 20)
    assert test.difference == pytest.approx(20 / 200)
    assert test.interval == paired_difference_interval(first, second)
    assert test.p_value == test.adjusted_p_value == mcnemar_exact(first, second)
    assert str(test).startswith("B is better than A by 10.0 points [")
    assert "on 200 images (McNemar p < 0.0001); B alone is right on 20, A alone on 0." in str(test)
    (turned,) = sightline.compare([run_copy, tiny_run]).tests
    assert str(turned).startswith("B is worse than A by 10.0 points [")
    assert turned.interval == pytest.approx((-test.interval[1], -test.interval[0]))


def test_images_of_one_group_are_tested_as_one(tiny_run: sightline.Run, run_copy: Path) -> None:
    rewrite(run_copy, answer_rightly(8))
    changed = np.flatnonzero(correct_of(run_copy) & ~correct_of(tiny_run.path))
    with np.load(run_copy / "predictions.npz") as arrays:
        together = set(arrays["test_row_ids"][changed].tolist())
    rows = list(csv.DictReader(io.StringIO((run_copy / "splits.csv").read_text())))
    lines = [f"{row['row_id']},{row['split']},{'one' * (row['row_id'] in together)}" for row in rows]
    (run_copy / "splits.csv").write_text("\n".join(["row_id,split,group", *lines]) + "\n")
    (test,) = sightline.compare([tiny_run, run_copy]).tests
    assert (test.num_only_second, test.num_groups, test.p_value) == (8, 193, 1.0)
    assert "on 200 images in 193 groups" in str(test)
    assert test.interval[0] <= 0


def test_the_order_of_rows_and_classes_does_not_matter(tiny_run: sightline.Run, run_copy: Path) -> None:
    def shuffle(arrays: Arrays) -> None:
        random = np.random.default_rng(0)
        rows, classes = random.permutation(200), random.permutation(10)
        arrays["class_names"] = arrays["class_names"][classes]
        arrays["test_row_ids"] = arrays["test_row_ids"][rows]
        arrays["test_labels"] = np.argsort(classes)[arrays["test_labels"][rows]]
        arrays["test_logits"] = arrays["test_logits"][rows][:, classes]

    rewrite(run_copy, shuffle)
    (test,) = sightline.compare([tiny_run, run_copy]).tests
    assert (test.num_only_first, test.num_only_second, test.difference) == (0, 0, 0)
    assert "A and B are not distinguishable on 200 images: difference 0.0 points [" in str(test)
    assert "(McNemar p = 1)" in str(test)


def in_words(num_images: int, difference: float, interval: tuple[float, float], **more: Any) -> str:
    known = {"num_first_correct": 0, "num_second_correct": 0, "num_only_first": 3, "num_only_second": 6}
    asked = {"p_value": 0.01, "adjusted_p_value": 0.01, **more}
    return str(PairedTest("A", "B", num_images, difference=difference, interval=interval, **known, **asked))


def test_a_difference_in_words() -> None:
    assert in_words(400, 0.0075, (0.002, 0.0141)) == (
        "B is better than A by 0.8 points [0.2, 1.4] on 400 images (McNemar p = 0.01); "
        "B alone is right on 6, A alone on 3."
    )
    assert in_words(400, -0.0075, (-0.0141, -0.002)).startswith("B is worse than A by 0.8 points [0.2, 1.4] on 400")
    unsure = in_words(400, 0.001, (-0.005, 0.007), p_value=0.8, adjusted_p_value=0.8)
    assert unsure.startswith("A and B are not distinguishable on 400 images: difference 0.1 points [-0.5, 0.7] (McN")
    assert "difference 0.0 points" in in_words(400, -0.0001, (-0.1, 0.1), p_value=1.0, adjusted_p_value=1.0)


def test_how_many_images_would_tell_is_said_where_nothing_is_told() -> None:
    unsure = {"p_value": 0.8, "adjusted_p_value": 0.8}
    assert in_words(400, 0.01, (-0.005, 0.025), num_images_to_tell=2349, **unsure).startswith(
        "A and B are not distinguishable on 400 images; about 2,300 would tell: difference 1.0 points [-0.5, 2.5] (McN"
    )
    in_groups = {"num_groups": 80, "num_images_to_tell": 2349, "num_groups_to_tell": 470}
    assert "on 400 images in 80 groups; about 470 groups would tell: difference" in in_words(
        400, 0.01, (-0.005, 0.025), **in_groups, **unsure
    )
    assert "would tell" not in in_words(400, 0.01, (-0.005, 0.025), num_images_to_tell=2349)
    assert "about 99 would tell" in in_words(40, 0.01, (-0.005, 0.025), num_images_to_tell=99, **unsure)


def test_the_number_that_would_tell_counts_groups_and_all_tests() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.random(100) < 0.8, generator.random(100) < 0.85
    alone = paired_test(first, second, names=("A", "B"))
    assert alone.num_images_to_tell == number_to_tell(second.astype(int) - first)
    repeated = [np.repeat(part, 5) for part in (first, second)]
    grouped = paired_test(*repeated, names=("A", "B"), groups=np.arange(500) // 5)
    assert grouped.num_groups_to_tell == alone.num_images_to_tell
    assert grouped.num_images_to_tell == 5 * alone.num_images_to_tell
    one_of_three = paired_test(first, second, names=("A", "B"), num_tests=3)
    assert one_of_three.num_images_to_tell > 1.2 * alone.num_images_to_tell


@pytest.mark.parametrize("level", [0.8, 0.99])
def test_intervals_are_at_the_level_that_is_asked_for(tiny_run: sightline.Run, run_copy: Path, level: float) -> None:
    rewrite(run_copy, answer_rightly(20))
    found = sightline.compare([tiny_run, run_copy], interval_level=level)
    first, second = correct_of(tiny_run.path), correct_of(run_copy)
    assert found.tests[0].interval == paired_difference_interval(first, second, confidence=level)
    lower, upper = wilson_interval(int(first.sum()), 200, confidence=level)
    assert f"A  {first.mean():.4f} [{lower:.4f}, {upper:.4f}]" in str(found)
    assert f"in brackets: {100 * level:g} % intervals" in str(found)
    told = comparison_figures(found)
    assert {told["interval_level"], told["tests"][0]["interval_level"]} == {level}
    assert [run[split]["interval_level"] for run in told["runs"] for split in ("validation", "test")] == [level] * 4


def test_a_level_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidValue, match="interval_level must be a number"):
        sightline.compare(["one", "two"], interval_level=1)


def test_the_figures_have_the_digits_that_they_need() -> None:
    assert "by 0.12 points [0.01, 0.23] on 10,000 images" in in_words(10_000, 0.0012, (0.0001, 0.0023))
    assert "by 40.0 points [1.0, 70.0] on 5 images" in in_words(5, 0.4, (0.01, 0.7))
    # Of rounded figures the reader could not tell on which side of 0.05 they are.
    assert "not distinguishable" in in_words(400, 0.01, (0.0, 0.02), p_value=0.0501, adjusted_p_value=0.0501)
    assert "p = 0.0501" in in_words(400, 0.01, (0.0, 0.02), p_value=0.0501, adjusted_p_value=0.0501)
    assert "better" in in_words(400, 0.01, (0.0, 0.02), p_value=0.0499, adjusted_p_value=0.0499)
    assert "not distinguishable" in in_words(400, 0.01, (0.0, 0.02), p_value=0.05, adjusted_p_value=0.05)


def test_several_tests_are_adjusted_and_said(tiny_run: sightline.Run, run_copy: Path, other: Path) -> None:
    rewrite(run_copy, answer_rightly(6))
    rewrite(other, answer_rightly(8))
    found = sightline.compare([tiny_run, run_copy, other])
    assert [(test.first, test.second) for test in found.tests] == [("A", "B"), ("A", "C")]
    assert [test.adjusted_p_value for test in found.tests] == holm([test.p_value for test in found.tests]).tolist()
    assert found.tests[0].p_value == 2 / 2**6
    assert found.tests[1].p_value == 2 / 2**8
    assert not any("by Holm" in line for line in str(sightline.compare([tiny_run, other])).splitlines())
    assert "2 tests were made: their p-values are adjusted by Holm" in str(found)
    assert "(McNemar p by Holm = 0.016)" in str(found.tests[1])
    # The largest p-value is not changed by the adjustment, but it is one of several all the same.
    assert "(McNemar p by Holm = 0.031)" in str(found.tests[0])


def test_without_the_adjustment_more_would_be_called_better(
    tiny_run: sightline.Run, run_copy: Path, other: Path, tmp_path: Path
) -> None:
    third = Path(shutil.copytree(tiny_run.path, tmp_path / "third"))
    for folder in (run_copy, other, third):
        rewrite(folder, answer_rightly(6))
    assert sightline.compare([tiny_run, run_copy]).tests[0].is_distinguishable
    tests = sightline.compare([tiny_run, run_copy, other, third]).tests
    assert [test.adjusted_p_value for test in tests] == [3 * 2 / 2**6] * 3
    assert not any(test.is_distinguishable for test in tests)


def test_figures_recipes_and_costs_stand_side_by_side(tiny_run: sightline.Run, run_copy: Path) -> None:
    recipe = json.loads((run_copy / "recipe.json").read_text())
    recipe["seed"], recipe["model"]["dropout"], recipe["data"]["group_by"] = 7, 0.25, "(.*)_[0-9]+"
    del recipe["training"]["precision"]
    (run_copy / "recipe.json").write_text(json.dumps(recipe))
    found = sightline.compare([tiny_run, run_copy])
    assert found.differences == {
        "seed": (0, 7),
        "data.group_by": (None, "(.*)_[0-9]+"),
        "model.dropout": (0.0, 0.25),
        "training.precision": ("float32", None),
    }
    text = str(found)
    assert f"A  {tiny_run.path}\nB  {run_copy}\n" in text
    lower, upper = tiny_run.evaluation.accuracy_interval
    assert text.count(f"{tiny_run.evaluation.accuracy:.4f} [{lower:.4f}, {upper:.4f}]") == 2
    lower, upper = tiny_run.validation.accuracy_interval
    assert text.count(f"{tiny_run.validation.accuracy:.4f} [{lower:.4f}, {upper:.4f}]") == 2
    assert text.count(f"{tiny_run.evaluation.cross_entropy:.4f}") == 2
    assert text.count(f"{tiny_run.evaluation.calibration_error:.4f}") >= 2
    assert text.count("61,706  2 of 2") == 2
    (row,) = [line.split() for line in text.splitlines() if line.startswith("model.dropout")]
    assert row == ["model.dropout", "0.0", "0.25"]
    assert all(len(line) <= 80 for line in text.split("\n\n")[1].splitlines())


def test_a_difference_of_networks_is_not_said_to_be_one_of_recipes(tiny_run: sightline.Run, run_copy: Path) -> None:
    recipe = json.loads((run_copy / "recipe.json").read_text())
    (run_copy / "recipe.json").write_text(json.dumps({**recipe, "seed": 5}))
    assert sightline.compare([tiny_run, run_copy]).remarks == ()
    (run_copy / "recipe.json").write_text(json.dumps({**recipe, "model": {**recipe["model"], "dropout": 0.1}}))
    (remark,) = sightline.compare([tiny_run, run_copy]).remarks
    assert remark.startswith("The tests are of these networks, not of their recipes: with another seed")


@pytest.mark.parametrize(
    ("loss", "is_remarked"),
    [
        ({"name": "sparse_categorical_crossentropy"}, False),
        ({"name": "categorical_focal_crossentropy"}, True),
        ({"l2": 0.001}, True),
    ],
)
def test_curves_of_different_losses_are_remarked(
    tiny_run: sightline.Run, run_copy: Path, loss: dict[str, Any], is_remarked: bool
) -> None:
    recipe = json.loads((run_copy / "recipe.json").read_text())
    assert recipe["loss"]["name"] == "categorical_crossentropy"
    recipe["loss"] |= loss
    (run_copy / "recipe.json").write_text(json.dumps(recipe))
    assert ("their loss curves do not show one quantity" in str(sightline.compare([tiny_run, run_copy]))) is is_remarked


def test_equal_recipes_are_called_that(tiny_run: sightline.Run, run_copy: Path) -> None:
    found = sightline.compare([tiny_run, run_copy])
    assert found.differences == {}
    assert "their recipes do not differ" in str(found)


def test_a_test_row_that_the_other_learned_from_is_in_no_figure(tiny_run: sightline.Run, run_copy: Path) -> None:
    rewrite(run_copy, answer_rightly(200))
    move_rows(run_copy, 60, "train")
    (test,) = sightline.compare([tiny_run, run_copy]).tests
    first = correct_of(tiny_run.path)[60:]
    assert (test.num_images, test.num_first_correct, test.num_second_correct) == (140, first.sum(), 140)
    assert "on the 140 images that both were judged on" in str(test)
    assert test.remarks == (
        "Of the 200 test rows of A, 60 were train rows of B.",
        "Warning: B learned from 60 of the rows that A was judged on; "
        "their accuracies in the table are not of the same images.",
    )
    (turned,) = sightline.compare([run_copy, tiny_run]).tests
    assert "Of the 200 test rows of B, 60 were train rows of A." in turned.remarks


def test_rows_that_the_other_never_saw_are_left_out_without_a_warning(tiny_run: sightline.Run, run_copy: Path) -> None:
    move_rows(run_copy, 1, None)
    (test,) = sightline.compare([tiny_run, run_copy]).tests
    assert test.num_images == 199
    assert test.remarks == ("Of the 200 test rows of A, 1 was not in B.",)


def test_runs_that_share_no_rows_are_refused_with_what_became_of_them(tiny_run: sightline.Run, run_copy: Path) -> None:
    # 30 of its test rows are kept, under other names; the rest went to train.
    move_rows(run_copy, 170, "train")
    rewrite(run_copy, lambda arrays: arrays.update(test_row_ids=np.array([f"new/{row}" for row in range(30)])))
    text = (run_copy / "splits.csv").read_text()
    for row in range(170, 200):
        text = text.replace(f"test/{row:05d},test,", f"new/{row - 170},test,")
    (run_copy / "splits.csv").write_text(text)
    with pytest.raises(InvalidValue) as caught:
        sightline.compare([tiny_run, run_copy])
    told = "share no test row. Of the 200 test rows of A, 170 were train rows of B and 30 were not in B."
    assert told in str(caught.value)
    assert "Of the 30 test rows of B, 30 were not in A. Train again with --splits" in str(caught.value)
    assert f"--splits {tiny_run.path / 'splits.csv'}, so that both are judged on the same rows." in str(caught.value)


def test_runs_of_other_images_are_not_sent_to_the_splits_of_one_another(
    tiny_run: sightline.Run, run_copy: Path
) -> None:
    rewrite(run_copy, lambda arrays: arrays.update(test_row_ids=np.array([f"new/{row}" for row in range(200)])))
    (run_copy / "splits.csv").write_text(
        "row_id,split,group\n" + "".join(f"new/{row},test,\n" for row in range(200)), encoding="utf-8"
    )
    with pytest.raises(InvalidValue, match=r"200 were not in A\. Compare runs that were trained on the same source\.$"):
        sightline.compare([tiny_run, run_copy])


def test_a_single_network_is_not_said_to_have_members(tiny_run: sightline.Run, run_copy: Path) -> None:
    recipe = json.loads((run_copy / "recipe.json").read_text())
    recipe["ensemble"] |= {"kind": "deep", "members": 2}
    (run_copy / "recipe.json").write_text(json.dumps(recipe))
    differences = sightline.compare([tiny_run, run_copy]).differences
    assert differences == {"ensemble.kind": ("none", "deep"), "ensemble.members": (None, 2)}


def test_rows_of_different_arrays_are_not_the_same_though_their_numbers_are(
    tiny_run: sightline.Run, run_copy: Path
) -> None:
    other_source(run_copy)
    with pytest.raises(InvalidValue, match=r"share no rows: they were trained on different arrays, .* test/00000 of"):
        sightline.compare([tiny_run, run_copy])


def test_arrays_without_a_fingerprint_are_not_taken_for_the_same(run_copy: Path, other: Path) -> None:
    for folder in (run_copy, other):
        reseal(folder, lambda metrics: metrics.pop("source"))
    with pytest.raises(InvalidValue, match="share no rows: they were trained on different arrays"):
        sightline.compare([run_copy, other])


def test_files_of_one_name_are_one_image_whatever_state_of_the_source_they_come_from(
    run_copy: Path, other: Path
) -> None:
    named_files(run_copy)
    named_files(other)
    other_source(other)
    found = sightline.compare([run_copy, other])
    assert found.tests[0].num_images == 200
    assert "A and B were not trained on the same state of one source: files of the same name" in str(found)
    first, second = found.differences["source"]
    assert first != second
    assert second == "other.npz (another)"


def test_rows_with_two_classes_are_left_out_and_counted(tiny_run: sightline.Run, run_copy: Path) -> None:
    def relabel(arrays: Arrays) -> None:
        arrays["test_labels"][:5] = (arrays["test_labels"][:5] + 1) % 10

    rewrite(run_copy, relabel)
    (test,) = sightline.compare([tiny_run, run_copy]).tests
    assert (test.num_images, test.difference) == (195, 0)
    assert test.num_first_correct == correct_of(tiny_run.path)[5:].sum()
    assert test.remarks == ("5 rows are of one class for A and of another for B: left out.",)


def test_runs_that_call_the_same_rows_by_other_classes_are_refused(tiny_run: sightline.Run, run_copy: Path) -> None:
    def rename(arrays: Arrays) -> None:
        arrays["class_names"] = np.roll(arrays["class_names"], 1)

    rewrite(run_copy, rename)
    with pytest.raises(InvalidValue, match="call 200 of the 200 test rows that they share by different classes"):
        sightline.compare([tiny_run, run_copy])


def test_runs_with_other_classes_are_remarked(tiny_run: sightline.Run, run_copy: Path) -> None:
    def add(arrays: Arrays) -> None:
        arrays["class_names"] = np.append(arrays["class_names"], "other")
        for split in ("validation", "calibration", "test"):
            arrays[f"{split}_logits"] = np.pad(arrays[f"{split}_logits"], ((0, 0), (0, 1)), constant_values=-50)

    rewrite(run_copy, add)
    found = sightline.compare([tiny_run, run_copy])
    assert found.tests[0].num_images == 200
    assert found.remarks == ("The runs do not tell the same classes apart: compare them with care.",)


def test_validation_rows_can_be_asked_for(tiny_run: sightline.Run, run_copy: Path) -> None:
    found = sightline.compare([tiny_run, run_copy], split="validation")
    assert found.tests[0].num_images == tiny_run.validation.num_images
    assert found.tests[0].num_first_correct == tiny_run.validation.num_correct
    assert f"{tiny_run.validation.cross_entropy:.4f}" in str(found)
    assert "Validation rows have chosen the epoch of each run: figures on them flatter." in str(found)


def test_a_run_without_test_rows_is_compared_on_validation_rows(tiny_run: sightline.Run, run_copy: Path) -> None:
    move_rows(run_copy, 200, "train")
    metrics = json.loads((run_copy / "metrics.json").read_text())
    (run_copy / "metrics.json").write_text(json.dumps({**metrics, "test": None}))
    with pytest.raises(InvalidValue, match="this run has no test rows"):
        sightline.compare([tiny_run, run_copy])
    assert "no rows" in str(sightline.compare([tiny_run, run_copy], split="validation"))


def test_a_run_without_any_row_to_compare_on_is_not_sent_from_one_split_to_the_other(
    tiny_run: sightline.Run, run_copy: Path
) -> None:
    def forget(arrays: Arrays) -> None:
        for split in ("validation", "test"):
            for what in ("row_ids", "labels", "logits"):
                arrays[f"{split}_{what}"] = arrays[f"{split}_{what}"][:0]

    rewrite(run_copy, forget)
    for split, other_split in (("test", "validation"), ("validation", "test")):
        with pytest.raises(InvalidValue, match=f"has no {split} rows. It has no {other_split} rows either."):
            sightline.compare([tiny_run, run_copy], split=split)


def test_what_is_not_two_runs_is_refused(tiny_run: sightline.Run, run_copy: Path) -> None:
    for runs in ([], [tiny_run], tiny_run, run_copy, str(run_copy), (tiny_run.path,)):
        with pytest.raises(InvalidValue, match="compare takes two runs or more; got"):
            sightline.compare(runs)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="is given twice"):
        sightline.compare([tiny_run, run_copy, tiny_run.path])
    with pytest.raises(InvalidValue, match="is given twice"):
        sightline.compare([run_copy, run_copy.parent / "." / "x" / ".." / run_copy.name])
    with pytest.raises(InvalidValue, match="compare takes at most 24 runs; got 25"):
        sightline.compare([f"runs/{number}" for number in range(25)])
    with pytest.raises(InvalidValue, match="split must be test or validation; got 'calibration'"):
        sightline.compare([tiny_run, run_copy], split="calibration")


@pytest.mark.parametrize("name", ["metrics.json", "predictions.npz", "history.jsonl", "splits.csv"])
def test_an_unfinished_run_is_refused(name: str, tiny_run: sightline.Run, run_copy: Path) -> None:
    (run_copy / name).unlink()
    with pytest.raises(InvalidBundle, match=f"this run has no {name}; its training did not finish. Train again."):
        sightline.compare([tiny_run, run_copy])


def test_what_is_no_run_is_refused(tiny_run: sightline.Run, run_copy: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    alone = shutil.copytree(run_copy / "bundle", tmp_path / "alone")
    for place, message in (
        (tmp_path / "nowhere", "no such folder. Name a run"),
        (tmp_path / "empty", "not a run: it has no recipe.json"),
        (run_copy / "bundle", f"a bundle holds no predictions to compare. Name its run, {run_copy}."),
        (alone, "a bundle holds no predictions to compare. Name the run that it came from."),
    ):
        with pytest.raises(InvalidBundle) as caught:
            sightline.compare([tiny_run, place])
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", "{}"),
        ("metrics.json", "no JSON"),
        ("history.jsonl", ""),
        ("recipe.json", "[1]"),
        ("history.jsonl", "{"),
        ("history.jsonl", "3"),
        ("predictions.npz", "no arrays"),
        ("splits.csv", "file,split\n1,test\n"),
        ("bundle/labels.json", "[]"),
    ],
)
def test_an_altered_file_is_refused(name: str, content: str, tiny_run: sightline.Run, run_copy: Path) -> None:
    (run_copy / name).write_text(content)
    with pytest.raises(InvalidBundle, match=r"not (what|the file that) was saved"):
        sightline.compare([tiny_run, run_copy])


def test_figures_that_are_not_there_are_refused(tiny_run: sightline.Run, run_copy: Path) -> None:
    metrics = json.loads((run_copy / "metrics.json").read_text())
    del metrics["test"]["cross_entropy"]
    (run_copy / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(InvalidBundle, match="a file of this run is not what was saved"):
        sightline.compare([tiny_run, run_copy])


def test_a_figure_that_came_after_a_run_is_a_dash_in_it(
    tiny_run: sightline.Run, run_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FIGURES, "error_rate", Metric("error rate", lambda rows: 0.25, is_higher_better=False))
    metrics = json.loads((run_copy / "metrics.json").read_text())
    metrics["test"]["error_rate"] = 0.25
    (run_copy / "metrics.json").write_text(json.dumps(metrics))
    lines = str(sightline.compare([tiny_run, run_copy])).splitlines()
    head = next(number for number, line in enumerate(lines) if "test error rate" in line)
    column = lines[head].index("test error rate")
    assert [line[column:].split()[0] for line in lines[head + 1 : head + 3]] == ["-", "0.2500"]
    metrics["test"]["error_rate"] = "0.25"
    (run_copy / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(InvalidBundle, match="a figure is no number"):
        sightline.compare([tiny_run, run_copy])


def test_predictions_of_another_shape_are_refused(tiny_run: sightline.Run, run_copy: Path) -> None:
    rewrite(run_copy, lambda arrays: arrays.update(test_labels=arrays["test_labels"][:-1]))
    with pytest.raises(InvalidBundle, match="rows, labels and logits of test do not belong together"):
        sightline.compare([tiny_run, run_copy])


@pytest.mark.parametrize(("name", "bound"), [("free_bytes", lambda: 2_000), ("MOST_ARRAY_BYTES", 1_000)])
def test_predictions_that_would_take_more_memory_than_they_may_are_refused(
    name: str, bound: object, tiny_run: sightline.Run, run_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finished_runs, name, bound)
    with pytest.raises(InvalidBundle, match=r"it says that it holds [0-9,]+ bytes"):
        sightline.compare([tiny_run, run_copy])


def test_the_picture_is_written_and_shown_in_a_notebook(
    tiny_run: sightline.Run, run_copy: Path, tmp_path: Path
) -> None:
    found = sightline.compare([tiny_run, run_copy], out=tmp_path / "new" / "both.png")
    assert found.path == tmp_path / "new" / "both.png"
    assert found.path.read_bytes() == found.png
    with Image.open(found.path) as picture:
        assert picture.format == "PNG"
        assert picture.width > 800
    assert "data:image/png;base64," in found._repr_html_()
    assert sightline.compare([tiny_run, run_copy]).path is None
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotWrite, match="a part of the path is a file"):
        sightline.compare([tiny_run, run_copy], out=tmp_path / "file" / "both.png")


def test_the_figures_are_plain_values(tiny_run: sightline.Run, run_copy: Path) -> None:
    rewrite(run_copy, answer_rightly(9))
    told = json.loads(json.dumps(comparison_figures(sightline.compare([tiny_run, run_copy]))))
    assert list(told) == ["split", "interval_level", "runs", "differences", "tests", "remarks", "picture"]
    assert [run["letter"] for run in told["runs"]] == ["A", "B"]
    assert told["runs"][0]["test"]["num_correct"] == tiny_run.evaluation.num_correct
    (test,) = told["tests"]
    assert (test["num_only_second"], test["is_distinguishable"], told["picture"]) == (9, True, None)
    assert test["in_words"].startswith("B is better than A by 4.5 points")


def test_comparing_writes_nothing_into_the_runs(tiny_run: sightline.Run, run_copy: Path) -> None:
    before = {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()}
    sightline.compare([tiny_run, run_copy])
    assert {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()} == before


def one_without_numbers(arrays: Arrays) -> None:
    arrays["test_logits"][0, 3] = np.nan


def test_an_image_without_a_finite_answer_counts_as_unreadable(run_copy: Path, tiny_run: sightline.Run) -> None:
    rewrite(run_copy, one_without_numbers)
    (test,) = sightline.compare([tiny_run, run_copy]).tests
    assert test.num_images == 199


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", "[]"),
        ("metrics.json", "[" * 100_000),
        ("recipe.json", "[]"),
        ("recipe.json", '{"data": ' * 100 + "1" + "}" * 100),
        ("history.jsonl", "[1]\n"),
        ("history.jsonl", '{"epoch": 1, "loss": "low", "accuracy": 0.5}\n'),
        ("history.jsonl", '{"epoch": "1", "loss": 1, "accuracy": 0.5}\n'),
        ("splits.csv", "row_id,split,group\na\n"),
        ("splits.csv", "row_id,split,group\na,elsewhere,a\n"),
        ("splits.csv", "row_id,split,group\n" + "a" * 200_000 + ",test,a\n"),
        ("predictions.npz", ""),
    ],
)
def test_a_file_of_another_kind_is_refused(name: str, content: str, run_copy: Path, tiny_run: sightline.Run) -> None:
    (run_copy / name).write_text(content)
    with pytest.raises(InvalidBundle, match="a file of this run is not what was saved"):
        sightline.compare([tiny_run, run_copy])
