"""Unsure answers: kept at the end of training, the same for an image wherever it comes, refused in words."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles.bundle import load_bundle, write_manifest
from sightline.bundles.trust.abstention import (
    FILE,
    AnswerRecord,
    abstention_section,
    read_answer_record,
    record_answers,
    unsure_maker,
    write_answer_record,
)
from sightline.errors import InvalidBundle, InvalidValue
from sightline.evaluation.measuring.scoring import figures, score
from sightline.metrics.selective import certainties_of, certified, risk_coverage, steps_of
from sightline.records import Predictions, UnsureAnswers

# What a network of two epochs and 60 calibration images can keep.
ASKED: dict[str, Any] = {"max_error": 0.3, "certainty": 0.8}


def calibration_of(num_rows: int, wrong: tuple[int, ...] = (), *, num_images: int = 0) -> dict[str, Any]:
    """Arrays of so many rows, of which those are wrong; the first is the least certain."""
    is_right = np.ones(num_rows, bool)
    is_right[list(wrong)] = False
    certainties = np.linspace(-3, 3, num_rows)
    steps = steps_of(certainties, is_right)
    return {
        "thresholds": steps.thresholds,
        "num_answered": steps.num_answered,
        "num_wrong": steps.num_wrong,
        "certainties": certainties,
        "is_right": is_right,
        "num_images": np.array(num_images or num_rows, np.int64),
        "is_grouped": np.array(num_images > num_rows),
    }


def rows_of(num_rows: int, *, seed: int = 0, groups: np.ndarray | None = None) -> Predictions:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, num_rows)
    logits = random.normal(0, 1, (num_rows, 3)).astype(np.float32)
    logits[np.arange(num_rows), labels] += 2
    return Predictions.of(
        [str(row) for row in range(num_rows)], logits, class_names=("a", "b", "c"), labels=labels, groups=groups
    )


# Training


def test_training_keeps_how_its_answers_came_out(tiny_run: sightline.Run) -> None:
    assert "abstention" in tiny_run.bundle.capabilities
    kept = read_answer_record(tiny_run.bundle)
    with np.load(tiny_run.path / "predictions.npz") as stored:
        arrays = dict(stored)
    # Of the logits as they are, whatever temperature was fitted on these rows.
    assert tiny_run.bundle.temperature != 1
    assert (kept.certainties == certainties_of(arrays["calibration_logits"])).all()
    assert (kept.is_right == (arrays["calibration_logits"].argmax(axis=1) == arrays["calibration_labels"])).all()
    # Thresholds come from other rows than those that certify them.
    logits = arrays["validation_logits"]
    expected = steps_of(certainties_of(logits), logits.argmax(axis=1) == arrays["validation_labels"])
    assert kept.steps.thresholds.tolist() == expected.thresholds.tolist()
    assert kept.steps.num_wrong.tolist() == expected.num_wrong.tolist()
    assert not kept.is_grouped


def test_the_card_says_when_it_is_unsure_and_by_what(tiny_run: sightline.Run) -> None:
    (section,) = (tiny_run.bundle.path / "card.md").read_text(encoding="utf-8").split("## When it is unsure\n")[1:]
    size = (tiny_run.bundle.path / FILE).stat().st_size
    num_images = len(tiny_run.splits.calibration)
    assert f"{num_images} calibration images, assumed independent (`abstention.npz`, {size:,} bytes" in section
    assert "with a certainty of 95 %" in section


def test_9_bytes_an_image_are_kept_whatever_the_number_of_classes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = Predictions.of(
        [str(row) for row in range(2_000)],
        random.normal(size=(2_000, 1_000)).astype(np.float32),
        class_names=tuple(map(str, range(1_000))),
        labels=random.integers(0, 1_000, 2_000),
    )
    kept = record_answers(rows, rows, seed=0)
    assert kept is not None
    assert write_answer_record(tmp_path, kept) <= 9 * 2_000 + 5_000


def test_of_each_group_one_image_counts_drawn_by_the_seed() -> None:
    groups = np.repeat([f"object {number}" for number in range(40)], 3)
    first, again, other = (
        record_answers(rows_of(120, groups=groups), rows_of(120, seed=1, groups=groups), seed=seed)
        for seed in (0, 0, 1)
    )
    assert isinstance(first, AnswerRecord)
    assert (len(first.certainties), first.num_images, first.is_grouped) == (40, 120, True)
    assert first.steps.num_answered[-1] == 40
    assert first.certainties.tolist() == again.certainties.tolist() != other.certainties.tolist()
    assert "drawn one from each group; with a certainty" in abstention_section(first, metrics={})


@pytest.mark.parametrize(("num_validation", "num_calibration"), [(0, 20), (20, 0)])
def test_without_validation_or_calibration_images_nothing_is_kept(num_validation: int, num_calibration: int) -> None:
    assert record_answers(rows_of(num_validation), rows_of(num_calibration), seed=0) is None
    assert "no validation or no calibration images" in abstention_section(None, metrics={})


# Answers


def test_an_answer_is_unsure_where_it_is_less_certain_than_the_threshold_that_was_certified(
    tiny_run: sightline.Run, tests_of: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = read_answer_record(tiny_run.bundle)
    expected = certified(kept.steps, kept.certainties, kept.is_right, **ASKED)
    assert expected is not None
    found = sightline.predict(tiny_run, tests_of, **ASKED)
    assert found.unsure is not None
    assert found.unsure.tolist() == (certainties_of(found.logits) < expected.threshold).tolist()
    assert 0 < found.unsure.sum() < len(tests_of)
    # The answer stays.
    assert found.predicted == sightline.predict(tiny_run, tests_of, progress=False).predicted
    said = capsys.readouterr().err
    assert "at most 30 % of the answers that are not marked unsure are wrong on images like the calibration" in said
    counts = (
        f"({expected.num_answered} of {len(kept.certainties)} calibration images, {expected.num_wrong} of them wrongly;"
    )
    assert counts in said
    assert found.take(np.array([5, 2])).unsure.tolist() == found.unsure[[5, 2]].tolist()  # type: ignore[union-attr]
    assert sightline.predict(tiny_run, tests_of[:2], progress=False).unsure is None


def test_an_image_has_one_answer_alone_in_a_batch_in_another_order_as_a_file_and_in_another_process(
    tiny_run: sightline.Run, tests_of: np.ndarray, files: Path, small_npz: Path, python: Callable[..., Any]
) -> None:
    def unsure(images: Any) -> list[bool]:
        found = sightline.predict(tiny_run, images, **ASKED, progress=False).unsure
        assert found is not None
        return list(found.tolist())

    together = unsure(tests_of)
    assert len(set(together)) == 2
    assert [unsure(image)[0] for image in tests_of[:10]] == together[:10]
    assert unsure(tests_of[::-1]) == together[::-1]
    assert unsure(files) == together
    dataset = sightline.load(small_npz)
    assert unsure(dataset.take(np.flatnonzero(dataset.given_splits == "test")[:40])) == together
    program = (
        "import sys, json, sightline\n"
        "found = sightline.predict(sys.argv[1], [sys.argv[2]], max_error=0.3, certainty=0.8, progress=False)\n"
        "print(json.dumps(found.unsure.tolist()))"
    )
    answer = python(program, tiny_run.path, files)
    assert answer.code == 0, answer.err
    assert json.loads(answer.out) == together


def test_where_all_answers_can_be_given_none_is_unsure(altered: Callable[..., Path], tests_of: np.ndarray) -> None:
    bundle = load_bundle(altered(**calibration_of(299)))
    maker = unsure_maker(bundle, 0.01)
    assert maker is not None
    assert maker.promise["threshold"] is None
    assert (maker.promise["share_answered"], maker.promise["num_wrong"]) == (1.0, 0)
    assert "None of them had to be marked" in maker.in_words
    json.dumps(maker.promise, allow_nan=False)
    found = sightline.predict(bundle, tests_of, max_error=0.01, progress=False).unsure
    assert found is not None
    assert not found.any()


def test_what_cannot_be_read_and_what_is_no_number_is_unsure(
    tiny_run: sightline.Run, files: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_text("no image")
    found = sightline.predict(tiny_run, [tmp_path / "bad.png"], **ASKED, progress=False)
    assert found.unsure is not None
    assert found.unsure.tolist() == [True]
    maker = unsure_maker(tiny_run.bundle, **ASKED)
    assert maker is not None
    logits = np.array([[50, *[0] * 9], [np.nan] * 10, [np.inf, *[0] * 9]], np.float32)
    assert maker.make({"logits": logits}, None).is_unsure.tolist() == [False, True, True]


def test_the_share_of_wrong_answers_on_other_images_is_kept_as_often_as_stated() -> None:
    """Over 100 splits of one pool: at most a tenth, and three standard errors, may be above what was asked for."""
    pool = rows_of(60_000, seed=3)
    certainties, is_right = certainties_of(pool.logits), pool.logits.argmax(axis=1) == pool.labels
    random = np.random.default_rng(0)
    too_often, shares = 0, []
    for _ in range(100):
        order = random.permutation(len(pool))
        validation, calibration, others = order[:1_000], order[1_000:3_000], order[3_000:]
        steps = steps_of(certainties[validation], is_right[validation])
        found = certified(steps, certainties[calibration], is_right[calibration], max_error=0.05, certainty=0.9)
        assert found is not None
        is_answered = certainties[others] >= found.threshold
        shares.append(float(is_answered.mean()))
        too_often += float((~is_right[others][is_answered]).mean()) > 0.05
    assert too_often <= 10 + 9
    assert np.mean(shares) > 0.3


# Refusals


@pytest.mark.parametrize("wrong", [0, 1, 1.5, float("nan"), "0.01", True])
def test_what_is_no_share_is_refused(tiny_run: sightline.Run, wrong: Any, tests_of: np.ndarray) -> None:
    with pytest.raises(InvalidValue, match=r"max_error must be a number above 0 and below 1, such as 0\.01"):
        sightline.predict(tiny_run, tests_of, max_error=wrong)
    with pytest.raises(InvalidValue, match=r"certainty must be a number above 0 and below 1, such as 0\.95"):
        sightline.evaluate(tiny_run, max_error=0.3, certainty=wrong)


def test_a_certainty_is_nothing_without_a_max_error(tiny_run: sightline.Run, tests_of: np.ndarray) -> None:
    with pytest.raises(InvalidValue, match=r"a max_error or a novelty is. Name one, too, such as 0\.01"):
        sightline.predict(tiny_run, tests_of, certainty=0.9)


def test_too_few_calibration_images_are_refused_with_the_number_needed(
    altered: Callable[..., Path], tests_of: np.ndarray
) -> None:
    path = altered(**calibration_of(298))
    message = (
        r"^a max_error of 0\.01 with a certainty of 0\.95 needs at least 299 calibration images that are answered "
        r"without a mistake, or 473 with one; .*bundle keeps 298\. 0\.012 can be kept: ask for that, or train with "
        r"more \(data\.calibration_fraction\)\.$"
    )
    with pytest.raises(InvalidValue, match=message):
        sightline.predict(load_bundle(path), tests_of, max_error=0.01)
    found = sightline.predict(load_bundle(path), tests_of, max_error=0.012, progress=False)
    assert found.unsure is not None


def test_a_network_that_is_not_good_enough_is_refused_with_what_it_can_keep(
    altered: Callable[..., Path], tests_of: np.ndarray
) -> None:
    # Of the surest, too, one in twenty is wrong.
    path = altered(**calibration_of(1_000, wrong=tuple(range(0, 1_000, 20))))
    with pytest.raises(InvalidValue, match=r"it got 50 wrong, too many among the surest, too\. 0\.08 can be kept"):
        sightline.predict(path, tests_of, max_error=0.01)
    hopeless = altered(**calibration_of(40, wrong=tuple(range(0, 40, 2)), num_images=90))
    with pytest.raises(InvalidValue, match=r"keeps 90, of which one of each group counts\. Ask for less certainty"):
        sightline.predict(hopeless, tests_of, max_error=0.01)


def test_an_earlier_bundle_opens_as_before_and_refuses_a_max_error_alone(run_copy: Path, tests_of: np.ndarray) -> None:
    (run_copy / "bundle" / FILE).unlink()
    (run_copy / "bundle" / "manifest.json").unlink()
    write_manifest(run_copy / "bundle")
    assert len(sightline.predict(run_copy, tests_of, coverage=0.9, progress=False)) == 40
    message = r"cannot promise a max_error: it was made without validation or calibration images.*at least 299 cali"
    with pytest.raises(InvalidBundle, match=message):
        sightline.predict(run_copy, tests_of, max_error=0.01)
    with pytest.raises(InvalidBundle, match=r"^imagenet: cannot promise a max_error.*Train a bundle on images of your"):
        sightline.predict("imagenet", np.zeros((9, 9), np.uint8), max_error=0.1)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"certainties": np.array([1.0, np.nan])}, "its certainties"),
        ({"certainties": np.zeros((2, 2))}, "its certainties"),
        ({"is_right": np.ones(3, bool)}, "whether its answer was right"),
        ({"is_right": None}, "lacks the array 'is_right'"),
        ({"num_images": np.array(3, np.int64)}, "counts do not go together"),
        ({"num_images": np.array(10**6, np.int64)}, "counts do not go together"),
        ({"num_images": np.array([3], np.int64)}, "no whole number"),
        ({"thresholds": np.array([1.0, 2.0])}, "do not fall"),
        ({"thresholds": np.array([np.inf, -np.inf])}, "do not fall"),
        ({"thresholds": -np.arange(200.0)}, "not a few float64"),
        ({"num_wrong": np.zeros(1, np.int64)}, "not two whole numbers a threshold"),
    ],
)
def test_a_damaged_file_is_refused(
    altered: Callable[..., Path], arrays: dict[str, Any], reason: str, tests_of: np.ndarray
) -> None:
    with pytest.raises(InvalidBundle, match=rf"abstention.npz: cannot be read \(.*{reason}"):
        sightline.predict(altered(**arrays), tests_of, **ASKED)


def test_counts_that_do_not_rise_are_refused(altered: Callable[..., Path], tests_of: np.ndarray) -> None:
    arrays = calibration_of(50, wrong=(1, 2))
    for name in ("num_answered", "num_wrong"):
        falling = {**arrays, name: arrays[name][::-1].copy()}
        with pytest.raises(InvalidBundle, match="its counts do not rise"):
            sightline.predict(altered(**falling), tests_of, **ASKED)


# Figures, command line, table


def test_evaluate_measures_what_was_promised(tiny_run: sightline.Run) -> None:
    measured = sightline.evaluate(tiny_run, **ASKED)
    maker = unsure_maker(tiny_run.bundle, **ASKED)
    assert maker is not None
    with np.load(tiny_run.path / "predictions.npz") as stored:
        logits, labels = stored["test_logits"], stored["test_labels"]
    is_right = logits.argmax(axis=1) == labels
    is_answered = certainties_of(logits) >= maker.threshold
    assert measured.figures["answered"].value == is_answered.mean()
    assert measured.figures["answered_accuracy"].value == is_right[is_answered].mean()
    assert measured.figures["answered_error"].value == (~is_right[is_answered]).mean()
    area = risk_coverage(certainties_of(logits), is_right).mean()
    assert measured.figures["risk_coverage_area"].value == pytest.approx(area)
    assert sightline.evaluate(tiny_run).figures["risk_coverage_area"].value == pytest.approx(area)
    told = figures(measured)
    assert told["promises"]["abstention"]["max_error"] == 0.3
    assert told["promises"]["abstention"]["num_images"] == len(tiny_run.splits.calibration)
    lower, upper = told["answered_error_interval"]
    assert lower <= told["answered_error"] <= upper
    assert {"answered", "answered_accuracy"}.isdisjoint(sightline.evaluate(tiny_run).figures)


def test_of_no_answer_nothing_is_measured_and_groups_are_counted_among_the_answered() -> None:
    rows = rows_of(40)
    nothing = dataclasses.replace(rows, details={"abstention": UnsureAnswers(np.ones(40, bool))})
    told = figures(score(nothing))
    assert told["answered"] == 0
    assert np.isnan(told["answered_accuracy"])
    half = {"abstention": UnsureAnswers(np.arange(40) % 2 == 0)}
    alone = score(dataclasses.replace(rows, details=half)).figures["answered_accuracy"].interval
    grouped = dataclasses.replace(rows, details=half, groups=np.repeat(list("0123456789"), 4))
    interval = score(grouped).figures["answered_accuracy"].interval
    assert alone is not None
    assert interval is not None
    assert interval[1] - interval[0] > alone[1] - alone[0]


def test_predict_prints_who_is_unsure_and_writes_it(
    command, tiny_run: sightline.Run, files: Path, tmp_path: Path
) -> None:
    expected = sightline.predict(tiny_run, files, **ASKED, progress=False).unsure
    assert expected is not None
    (tmp_path / "bad.png").write_text("no image")
    asked = ("--max-error", 0.3, "--certainty", 0.8)
    answer = command("predict", tiny_run.path, files, tmp_path / "bad.png", *asked, "--json", "--csv", "a.csv")
    assert answer.code == 1
    assert "at most 30 % of the answers that are not marked unsure are wrong" in answer.err
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert [row["unsure"] for row in rows] == [*expected.tolist(), None]
    assert all(row["label"] for row in rows[:-1])
    with Path("a.csv").open(encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [line["unsure"] for line in table] == [*(json.dumps(bool(one)) for one in expected), ""]
    shown = command("predict", tiny_run.path, files, *asked).out.splitlines()
    assert [line.endswith("  unsure") for line in shown] == expected.tolist()


def test_the_command_line_measures_draws_and_refuses(command, tiny_run: sightline.Run, tmp_path: Path) -> None:
    answer = command("evaluate", tiny_run.path, "--max-error", 0.3, "--certainty", 0.8, "--out", "judged")
    assert answer.code == 0, answer.err
    for words in ("answered 0.", "accuracy of the answered 0.", "area under the risk-coverage curve", "at most 30 %"):
        assert words in answer.out
    with Image.open(tmp_path / "judged" / "risk_coverage.png") as picture:
        assert picture.format == "PNG"
    for words in (("--max-error", "0"), ("--max-error", "nan"), ("--max-error", "x"), ("--certainty", "0.9")):
        refused = command("predict", tiny_run.path, tiny_run.path / "curves.png", *words)
        assert refused.code == 2, words
        assert "max_error" in refused.err or "max-error" in refused.err
