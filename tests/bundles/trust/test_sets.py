"""What a bundle promises: kept at the end of training, kept for every image wherever it comes, refused in words."""

from __future__ import annotations

import csv
import dataclasses
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles.bundle import load_bundle, write_manifest
from sightline.bundles.trust.draws import draw_of
from sightline.bundles.trust.sets import (
    FILE,
    Certificate,
    certify,
    read_certificate,
    set_maker,
    sets_section,
    uniforms,
)
from sightline.errors import InvalidBundle, InvalidValue
from sightline.evaluation.measuring.scoring import figures, score
from sightline.metrics.conformal import SCORES, coverage_law, label_scores
from sightline.records import Predictions, PredictionSets

KINDS = tuple(SCORES)


def with_scores(bundle: Any, num_rows: int) -> dict[str, Any]:
    """Arrays of so many rows, for a bundle with fewer or more."""
    random = np.random.default_rng(0)
    labels = (np.arange(num_rows) % len(bundle.class_names)).astype(np.int32)
    return {
        "labels": labels,
        "is_right": np.ones(num_rows, bool),
        "num_images": np.array(num_rows, np.int64),
        **{kind: random.normal(0, 1, num_rows) for kind in KINDS},
    }


# Training


def test_training_keeps_the_scores_of_its_calibration_images(tiny_run: sightline.Run) -> None:
    assert "sets" in tiny_run.bundle.capabilities
    kept = read_certificate(tiny_run.bundle)
    with np.load(tiny_run.path / "predictions.npz") as stored:
        logits, labels = stored["calibration_logits"], stored["calibration_labels"]
    assert kept.labels.tolist() == labels.tolist()
    assert kept.num_images == len(labels) == len(tiny_run.splits.calibration)
    assert (kept.is_right == (logits.argmax(axis=1) == labels)).all()
    # Of the logits as they are, whatever temperature was fitted on these rows.
    assert tiny_run.bundle.temperature != 1
    assert (kept.scores["lac"] == label_scores(logits)[np.arange(len(labels)), labels]).all()
    assert not kept.is_grouped


def test_the_card_says_what_is_promised_and_by_what(tiny_run: sightline.Run) -> None:
    kept = read_certificate(tiny_run.bundle)
    (section,) = (tiny_run.bundle.path / "card.md").read_text(encoding="utf-8").split("## What it promises\n")[1:]
    assert "holds the right one for 95 % of images like the calibration images" in section
    assert "not of one" in section
    size = (tiny_run.bundle.path / FILE).stat().st_size
    assert f"{kept.num_images} calibration images, assumed independent (`sets.npz`, {size:,} bytes" in section


def test_29_bytes_an_image_are_kept_whatever_the_number_of_classes_in_bounded_memory(tmp_path: Path) -> None:
    from sightline.bundles.trust.sets import write_sets

    random = np.random.default_rng(0)
    rows = Predictions.of(
        [str(row) for row in range(2_000)],
        random.normal(size=(2_000, 1_000)).astype(np.float32),
        class_names=tuple(map(str, range(1_000))),
        labels=random.integers(0, 1_000, 2_000),
    )
    images = random.integers(0, 256, (2_000, 4, 4, 1), np.uint8)
    tracemalloc.start()
    kept = certify(rows, images, seed=0, fingerprint="")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 95e6  # all at once: 130e6, and 65e9 for a million
    assert kept is not None
    for kind in KINDS:  # portion by portion, as all at once
        table = label_scores(rows.logits, kind, uniforms(images, kept.key))
        assert (kept.scores[kind] == table[np.arange(2_000), np.asarray(rows.labels)]).all()
    assert write_sets(tmp_path, kept) <= 29 * 2_000 + 2_000


def test_the_same_run_keeps_the_same_and_another_seed_draws_otherwise() -> None:
    rows = Predictions.of(
        [str(row) for row in range(60)],
        np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32),
        class_names=("a", "b", "c"),
        labels=np.arange(60) % 3,
        groups=np.repeat([f"object {number}" for number in range(20)], 3),
    )
    images = np.random.default_rng(1).integers(0, 256, (60, 4, 4, 1), np.uint8)
    first, again, other = (certify(rows, images, seed=seed, fingerprint="x") for seed in (0, 0, 1))
    assert isinstance(first, Certificate)
    assert first.key == again.key != other.key
    assert first.scores["aps"].tolist() == again.scores["aps"].tolist() != other.scores["aps"].tolist()
    # One of each group counts, and what is told of them says so.
    assert (first.num_images, len(first.labels), first.is_grouped) == (60, 20, True)
    assert first.vouching.words == "60 calibration images in 20 groups, one of each counted"
    assert "for 95 % of images like the calibration images, drawn one from each group. That" in sets_section(
        first, metrics={}
    )


def test_a_bundle_without_calibration_images_says_that_it_cannot_promise(
    small_npz: Path, tmp_path: Path, tests_of: np.ndarray
) -> None:
    rows = Predictions.of((), np.empty((0, 2), np.float32), class_names=("a", "b"), labels=np.empty(0, np.int64))
    assert certify(rows, np.empty((0, 4, 4, 1), np.uint8), seed=0, fingerprint="") is None
    with pytest.raises(InvalidBundle, match=r"^imagenet: cannot promise a coverage.*Train a bundle on images of yours"):
        sightline.predict("imagenet", np.zeros((9, 9), np.uint8), coverage=0.9, progress=False)


# Sets


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per_class", [False, True])
def test_a_set_holds_what_its_scores_say_and_the_answer_always(
    tiny_run: sightline.Run, altered: Callable[..., Path], tests_of: np.ndarray, kind: str, per_class: bool
) -> None:
    bundle = load_bundle(altered(**with_scores(tiny_run.bundle, 200)))
    kept = read_certificate(bundle)
    found = sightline.predict(bundle, tests_of, coverage=0.9, score=kind, per_class=per_class, progress=False)
    table = label_scores(found.logits, kind, uniforms(tests_of[..., None], kept.key))
    alpha_rank = {False: 181, True: 19}[per_class]  # ceil(201 * 0.9) and ceil(21 * 0.9)
    for label in range(10):
        known = kept.scores[kind][kept.labels == label] if per_class else kept.scores[kind]
        expected = table[:, label] <= sorted(known)[alpha_rank - 1]
        certain = kept.scores["lac"][kept.labels == label] if per_class else kept.scores["lac"]
        is_usual = label_scores(found.logits)[:, label] <= sorted(certain)[alpha_rank - 1]
        is_answer = found.logits.argmax(axis=1) == label
        assert found.sets is not None
        assert (found.sets.members[:, label] == (expected | is_answer)).all()
        assert (found.sets.is_unusual[is_answer] == ~is_usual[is_answer]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_has_one_set_alone_in_a_batch_in_another_order_as_a_file_and_in_another_process(
    tiny_run: sightline.Run,
    tests_of: np.ndarray,
    files: Path,
    small_npz: Path,
    kind: str,
    python: Callable[..., Any],
) -> None:
    asked = {"coverage": 0.9, "score": kind, "progress": False}
    together = sightline.predict(tiny_run, tests_of, **asked).named_sets
    assert len(set(together)) > 3
    alone = [sightline.predict(tiny_run, image, **asked).named_sets[0] for image in tests_of[:10]]
    assert tuple(alone) == together[:10]
    assert sightline.predict(tiny_run, tests_of[::-1], **asked).named_sets == together[::-1]
    assert sightline.predict(tiny_run, files, **asked).named_sets == together
    assert sightline.predict(tiny_run, (files / "07.png").read_bytes(), **asked).named_sets == together[7:8]
    dataset = sightline.load(small_npz)
    rows = np.flatnonzero(dataset.given_splits == "test")[:40]
    whole = sightline.predict(tiny_run, dataset.take(rows), **asked)
    assert whole.named_sets == together
    program = (
        "import sys, json, sightline\n"
        "found = sightline.predict(sys.argv[1], [sys.argv[2]], coverage=0.9, score=sys.argv[3], progress=False)\n"
        "print(json.dumps(found.named_sets))"
    )
    answer = python(program, tiny_run.path, files, kind)
    assert answer.code == 0, answer.err
    assert json.loads(answer.out) == [list(names) for names in together if names is not None]


def test_a_large_photograph_has_one_set_as_a_file_and_in_a_dataset(tiny_run: sightline.Run, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    paths = [tmp_path / str(row % 2) / f"{row}.jpg" for row in range(6)]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        picture = np.kron(random.integers(0, 256, (10, 8, 3), np.uint8), np.ones((40, 50, 1), np.uint8))
        Image.fromarray(picture).save(path)
    dataset = sightline.load(tmp_path)
    asked = {"coverage": 0.9, "score": "aps", "progress": False}
    whole = sightline.predict(tiny_run, dataset, **asked)
    alone = sightline.predict(tiny_run, [tmp_path / name for name in dataset.row_ids.tolist()], **asked)
    assert (whole.logits == alone.logits).all()
    assert whole.named_sets == alone.named_sets


def test_chance_calls_no_image_unusual(tiny_run: sightline.Run, tests_of: np.ndarray) -> None:
    told = [sightline.predict(tiny_run, tests_of, coverage=0.7, score=kind, progress=False).sets for kind in KINDS]
    assert all(sets is not None for sets in told)
    assert len({sets.is_unusual.tobytes() for sets in told if sets is not None}) == 1


def test_random_numbers_are_even_and_those_of_their_pixels() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4_000, 6, 6, 1), np.uint8)
    found = uniforms(images, b"k" * 16)
    assert (found >= 0).all()
    assert (found < 1).all()
    counts = np.bincount((found * 10).astype(int), minlength=10)
    assert ((counts - 400) ** 2 / 400).sum() < 27.9  # chi-square on 9 degrees: 1 in 1,000
    assert (uniforms(images[5:6], b"k" * 16) == found[5]).all()
    assert not (uniforms(images, b"j" * 16) == found).any()
    images[0, 0, 0] ^= 1
    assert uniforms(images[:1], b"k" * 16)[0] != found[0]


def test_no_set_is_empty_where_less_is_asked_for_than_the_network_knows(
    tiny_run: sightline.Run, tests_of: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    found = sightline.predict(tiny_run, tests_of, coverage=0.1)
    assert found.sets is not None
    assert found.sets.is_unusual.any()
    assert all(names is not None and len(names) == 1 for names in found.named_sets)
    assert [names[0] for names in found.named_sets if names] == list(found.predicted)
    assert "of the calibration images, more often than asked" in capsys.readouterr().err


def test_per_class_it_is_said_of_which_classes_the_answer_alone_is_right_more_often(
    tiny_run: sightline.Run, altered: Callable[..., Path]
) -> None:
    arrays = with_scores(tiny_run.bundle, 200)
    # One in five is wrong of every class but the last two, of which none and one in twenty are.
    is_right = np.arange(200) >= 40
    is_right[arrays["labels"] >= 8] = True
    is_right[9] = False
    bundle = load_bundle(altered(**{**arrays, "is_right": is_right}))
    maker = set_maker(bundle, 0.94, per_class=True)
    assert maker is not None
    said = "the most probable class alone is right for as many as 100 % of the calibration images (of '8')"
    assert f"Of 2 of 10 classes, {said}" in maker.in_words
    # Of all together 0.835 are right, so that 0.94 asks for more.
    whole = set_maker(bundle, 0.94)
    assert whole is not None
    assert "more often" not in whole.in_words


@pytest.mark.parametrize("key", ["teacher", "ensemble"])
def test_what_a_teacher_may_have_learned_from_is_told_beside_the_promise(tiny_run: sightline.Run, key: str) -> None:
    told = "the calibration images may be among it"
    for is_known in (True, False):
        metrics = {**tiny_run.bundle.metrics, key: {"has_same_splits": is_known}}
        maker = set_maker(dataclasses.replace(tiny_run.bundle, metrics=metrics), 0.9)
        assert maker is not None
        assert (told in maker.in_words) == (not is_known)
        assert (told in sets_section(read_certificate(tiny_run.bundle), metrics=metrics)) == (not is_known)


def test_what_cannot_be_read_has_no_set(tiny_run: sightline.Run, files: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no image")
    found = sightline.predict(tiny_run, [tmp_path / "bad.png", files / "00.png"], coverage=0.9, progress=False)
    assert found.named_sets[0] is None
    assert found.named_sets[1]
    assert found.sets is not None
    assert not found.sets.members[0].any()
    assert not found.sets.is_unusual[0]


def test_logits_that_are_no_numbers_have_no_set(tiny_run: sightline.Run) -> None:
    maker = set_maker(tiny_run.bundle, 0.9)
    assert maker is not None
    logits = np.array([[0] * 10, [np.nan] * 10, [np.inf] + [0] * 9], np.float32)
    found = maker.sets(logits, np.zeros(3))
    assert found.members.any(axis=1).tolist() == [True, False, False]


def test_sets_follow_the_rows_that_are_taken(tiny_run: sightline.Run, tests_of: np.ndarray) -> None:
    found = sightline.predict(tiny_run, tests_of, coverage=0.9, progress=False)
    some = found.take(np.array([5, 2]))
    assert some.named_sets == (found.named_sets[5], found.named_sets[2])
    assert sightline.predict(tiny_run, tests_of[:2], progress=False).named_sets == (None, None)


def test_memory_is_bounded_and_a_hundred_thousand_sets_are_quick(tiny_run: sightline.Run) -> None:
    maker = set_maker(tiny_run.bundle, 0.9)
    assert maker is not None
    logits = np.random.default_rng(0).normal(0, 3, (100_000, 10)).astype(np.float32)
    many = maker.sets(logits, np.zeros(len(logits)))
    pieces = [maker.sets(logits[first : first + 999], np.zeros(999)) for first in (0, 999)]
    assert (many.members[:1_998] == PredictionSets.joined(pieces).members).all()


# Refusals


@pytest.mark.parametrize("level", [0, 1, 1.5, float("nan"), "0.95", True])
def test_what_is_no_coverage_is_refused(tiny_run: sightline.Run, level: Any, tests_of: np.ndarray) -> None:
    with pytest.raises(InvalidValue, match="coverage must be a number above 0 and below 1"):
        sightline.predict(tiny_run, tests_of, coverage=level)
    with pytest.raises(InvalidValue, match="coverage must be a number above 0 and below 1"):
        sightline.evaluate(tiny_run, coverage=level)


def test_too_few_calibration_images_are_refused_with_the_number_needed(
    tiny_run: sightline.Run, tests_of: np.ndarray
) -> None:
    num_rows = len(tiny_run.splits.calibration)
    message = rf"coverage of 0.999 needs at least 999 calibration images; there are {num_rows}, enough for 0\.\d+\."
    with pytest.raises(InvalidValue, match=message):
        sightline.predict(tiny_run, tests_of, coverage=0.999)
    with pytest.raises(InvalidValue, match=r"at least 19 calibration images of class '\d'; there (is|are) \d+"):
        sightline.predict(tiny_run, tests_of, coverage=0.95, per_class=True)


def test_how_sets_are_made_is_nothing_without_a_coverage(tiny_run: sightline.Run, tests_of: np.ndarray) -> None:
    for asked in ({"per_class": True}, {"score": "aps"}):
        with pytest.raises(InvalidValue, match=r"Name a coverage, too"):
            sightline.predict(tiny_run, tests_of, **asked)
    with pytest.raises(InvalidValue, match=r"no score is called 'hinge'"):
        sightline.predict(tiny_run, tests_of, coverage=0.9, score="hinge")


@pytest.mark.parametrize("per_class", ["no", 1, None])
def test_what_is_neither_true_nor_false_is_refused(
    tiny_run: sightline.Run, tests_of: np.ndarray, per_class: Any
) -> None:
    for coverage in (0.9, None):
        with pytest.raises(InvalidValue, match="per_class must be True or False; got"):
            sightline.predict(tiny_run, tests_of, coverage=coverage, per_class=per_class)


def test_true_of_numpy_is_true(tiny_run: sightline.Run) -> None:
    found, expected = (set_maker(tiny_run.bundle, 0.5, per_class=one) for one in (np.True_, True))
    assert found is not None
    assert expected is not None
    assert (found.limits == expected.limits).all()
    assert found.promise["per_class"] is True


def test_an_earlier_bundle_opens_as_before_and_refuses_a_coverage_alone(run_copy: Path, tests_of: np.ndarray) -> None:
    (run_copy / "bundle" / FILE).unlink()
    (run_copy / "bundle" / "manifest.json").unlink()
    write_manifest(run_copy / "bundle")
    assert len(sightline.predict(run_copy, tests_of, progress=False)) == 40
    with pytest.raises(
        InvalidBundle, match=r"cannot promise a coverage.*data.calibration_fraction above 0 \(it takes at least 9 "
    ):
        sightline.predict(run_copy, tests_of, coverage=0.9)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"key": np.zeros(3, np.uint8)}, "its key"),
        ({"labels": np.full(30, 10, np.int32)}, "its labels"),
        ({"labels": np.zeros((2, 3), np.int32)}, "its labels"),
        ({"lac": np.zeros(2)}, "not one float64 a label"),
        ({"raps": None}, "lacks the array 'raps'"),
        ({"num_images": np.array(1, np.int64)}, "counts do not go together"),
        ({"num_images": np.array(2**62, np.int64)}, "counts do not go together"),
        ({"num_images": np.zeros(3, np.int64)}, "no whole number"),
        ({"is_right": np.ones(3, bool)}, "whether it was answered"),
        ({"is_grouped": np.zeros(2, bool)}, "whether it is grouped"),
    ],
)
def test_a_damaged_file_is_refused(
    altered: Callable[..., Path], arrays: dict[str, Any], reason: str, tests_of: np.ndarray
) -> None:
    with pytest.raises(InvalidBundle, match=rf"sets.npz: cannot be read \(.*{reason}"):
        sightline.predict(altered(**arrays), tests_of, coverage=0.9)


def test_scores_that_are_no_numbers_are_refused(
    tiny_run: sightline.Run, altered: Callable[..., Path], tests_of: np.ndarray
) -> None:
    num_rows = len(tiny_run.splits.calibration)
    with pytest.raises(InvalidBundle, match="its scores are not finite"):
        sightline.predict(altered(lac=np.full(num_rows, np.nan)), tests_of, coverage=0.9)


# Figures, command line, table


def test_whoever_asks_image_by_image_reads_the_promise_once(
    tiny_run: sightline.Run, tests_of: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, words = load_bundle(tiny_run.bundle.path), "sets hold the right class of "
    sightline.predict(bundle, tests_of[0], coverage=0.9, progress=False)
    assert words not in capsys.readouterr().err
    for expected in (1, 0, 0):
        sightline.predict(bundle, tests_of[0], coverage=0.9)
        assert capsys.readouterr().err.count(words) == expected
    sightline.predict(bundle, tests_of[0], coverage=0.8)
    assert f"{words}80 %" in capsys.readouterr().err


def test_evaluate_measures_what_was_promised(tiny_run: sightline.Run) -> None:
    measured = sightline.evaluate(tiny_run, coverage=0.9)
    found = sightline.predict(tiny_run, sightline.load(measured_source(tiny_run)), coverage=0.9, progress=False)
    rows = found.take(np.flatnonzero(np.isin(found.row_ids, rows_of_test(tiny_run))))
    assert rows.sets is not None
    is_covered = rows.sets.members[np.arange(len(rows)), np.asarray(rows.labels)]
    assert measured.figures["coverage"].value == is_covered.mean()
    assert measured.figures["mean_set_size"].value == rows.sets.members.sum() / len(rows)
    assert measured.figures["singletons"].value == (rows.sets.members.sum(axis=1) == 1).mean()
    assert measured.figures["unusual"].value == rows.sets.is_unusual.mean()
    interval = measured.figures["coverage"].interval
    assert interval is not None
    assert interval[0] <= is_covered.mean() <= interval[1]
    assert measured.promises["sets"]["coverage"] == 0.9
    told = figures(measured)
    assert told["promises"]["sets"]["num_images"] == len(tiny_run.splits.calibration)
    assert told["coverage_interval"] == list(interval)


def measured_source(run: sightline.Run) -> str:
    return str(run.bundle.metrics["source"]["typed"])


def rows_of_test(run: sightline.Run) -> list[str]:
    with (run.path / "splits.csv").open() as table:
        return [line["row_id"] for line in csv.DictReader(table) if line["split"] == "test"]


def with_sets(num_covered: int, num_images: int, groups: np.ndarray | None = None) -> Predictions:
    """Answers with a set of one class each, the first of which hold the right one."""
    members = np.zeros((num_images, 2), bool)
    members[:num_covered, 0] = members[num_covered:, 1] = True
    return Predictions.of(
        [str(row) for row in range(num_images)],
        np.tile(np.array([1, 0], np.float32), (num_images, 1)),
        class_names=("a", "b"),
        labels=np.zeros(num_images, np.int64),
        groups=groups,
        details={"sets": PredictionSets(members, np.zeros(num_images, bool))},
    )


def test_each_group_counts_once_in_the_measured_coverage_as_in_the_promise() -> None:
    # Nine groups of one that are covered, and one of 31 that is not.
    groups = np.array([*map(str, range(9)), *["large"] * 31])
    measured = score(with_sets(9, 40, groups))
    assert measured.figures["coverage"].value == pytest.approx(0.9)
    assert measured.figures["mean_set_size"].value == 1
    told = draw_of("sets", {"coverage": 0.9, "per_class": False, "num_images": 300, "num_groups": 99}, measured)
    assert told is not None
    assert told["p_value"] == coverage_law(99, 0.9, 10)[9]
    assert "on 10 groups" in told["in_words"]


def test_beside_the_measured_coverage_stands_what_chance_brings_about() -> None:
    promise = {"coverage": 0.9, "per_class": False, "num_images": 99, "num_groups": None}
    told = draw_of("sets", promise, score(with_sets(880, 1_000)))
    assert told is not None
    law = coverage_law(99, 0.9, 1_000)
    assert told["p_value"] == law[880]
    lower, upper = (round(1_000 * bound) for bound in told["range"])
    # So far it goes in 95 of 100 draws, and no further.
    assert law[upper] - law[lower - 1] >= 0.95 > law[upper - 1] - law[lower]
    assert "not like the calibration images" not in told["in_words"]
    low = draw_of("sets", promise, score(with_sets(700, 1_000)))
    assert low is not None
    assert low["p_value"] < 1e-4
    assert "these images are not like the calibration images" in low["in_words"]
    high = draw_of("sets", promise, score(with_sets(1_000, 1_000)))
    assert high is not None
    assert "these images are easier" in high["in_words"]
    assert draw_of("sets", {**promise, "per_class": True}, score(with_sets(880, 1_000))) is None


def test_the_interval_of_the_coverage_counts_groups() -> None:
    members = np.zeros((40, 2), bool)
    members[:36, 0] = True
    rows = Predictions.of(
        [str(row) for row in range(40)],
        np.tile(np.array([1, 0], np.float32), (40, 1)),
        class_names=("a", "b"),
        labels=np.zeros(40, np.int64),
        details={"sets": PredictionSets(members, ~members[:, 0])},
    )
    alone = score(rows).figures["coverage"].interval
    grouped = score(dataclasses.replace(rows, groups=np.repeat(list("0123456789"), 4))).figures["coverage"].interval
    assert alone is not None
    assert grouped is not None
    assert grouped[1] - grouped[0] > 1.3 * (alone[1] - alone[0])


def test_a_coverage_on_the_images_it_was_made_by_is_told_apart(tiny_run: sightline.Run) -> None:
    of_calibration = sightline.evaluate(tiny_run, split="calibration", coverage=0.9)
    count = len(tiny_run.splits.calibration)
    note = f"{count} of these images are those that the promise rests on: on them any network keeps it"
    assert of_calibration.rows is not None
    assert note in of_calibration.rows["notes"]
    assert of_calibration.figures["coverage"].value >= 0.9
    for other in (sightline.evaluate(tiny_run, coverage=0.9), sightline.evaluate(tiny_run, split="calibration")):
        assert other.rows is not None
        assert note not in other.rows["notes"]


def test_a_promise_on_images_that_were_learned_from_is_told_to_flatter(tiny_run: sightline.Run) -> None:
    counts = {name: len(getattr(tiny_run.splits, name)) for name in ("train", "validation")}
    for split, count in (("validation", counts["validation"]), ("all", sum(counts.values()))):
        notes = sightline.evaluate(tiny_run, split=split, max_error=0.3, certainty=0.8).rows["notes"]  # type: ignore[index]
        assert any(
            note.startswith(f"{count:,} of these images are those that the network learned from") for note in notes
        )
    fair = sightline.evaluate(tiny_run, max_error=0.3, certainty=0.8).rows
    assert fair is not None
    assert not any("flatters" in note for note in fair["notes"])


def test_without_a_coverage_no_figure_speaks_of_sets(tiny_run: sightline.Run) -> None:
    measured = sightline.evaluate(tiny_run)
    assert not {"coverage", "mean_set_size", "singletons", "unusual"} & set(measured.figures)
    assert measured.promises == {}
    assert "promises" not in figures(measured)


def test_predict_prints_sets_and_writes_them(command, tiny_run: sightline.Run, files: Path, tmp_path: Path) -> None:
    expected = sightline.predict(tiny_run, files, coverage=0.9, progress=False)
    (tmp_path / "bad.png").write_text("no image")
    answer = command(
        "predict", tiny_run.path, files, tmp_path / "bad.png", "--coverage", 0.9, "--json", "--csv", "a.csv"
    )
    assert answer.code == 1
    assert "sets hold the right class of 90 % of images like the calibration images" in answer.err
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert [row["set"] for row in rows[:-1]] == [list(names) for names in expected.named_sets if names]
    assert expected.sets is not None
    assert [row["unusual"] for row in rows[:-1]] == expected.sets.is_unusual.tolist()
    assert (rows[-1]["set"], rows[-1]["unusual"]) == (None, None)
    with Path("a.csv").open(encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [json.loads(line["set"]) for line in table[:-1]] == [row["set"] for row in rows[:-1]]
    assert {line["unusual"] for line in table[:-1]} <= {"true", "false"}
    assert (table[-1]["set"], table[-1]["unusual"]) == ("", "")
    shown = command("predict", tiny_run.path, files, "--coverage", 0.9).out.splitlines()
    assert shown[0].endswith(f"{{{', '.join(rows[0]['set'])}}}")


def test_the_command_line_measures_and_refuses(command, tiny_run: sightline.Run) -> None:
    answer = command("evaluate", tiny_run.path, "--coverage", 0.9, "--score", "raps")
    assert answer.code == 0, answer.err
    assert "coverage " in answer.out
    assert "mean set size" in answer.out
    assert "sets hold the right class of 90 %" in answer.out
    assert (
        json.loads(command("evaluate", tiny_run.path, "--coverage", 0.9, "--json").out)["promises"]["sets"]["score"]
        == "lac"
    )
    for words in (("--coverage", "1"), ("--coverage", "nan"), ("--coverage", "x"), ("--per-class",)):
        refused = command("predict", tiny_run.path, tiny_run.path / "curves.png", *words)
        assert refused.code == 2, words
        assert "coverage" in refused.err
    assert command("predict", "imagenet", tiny_run.path / "curves.png", "--coverage", 0.9).code == 2
