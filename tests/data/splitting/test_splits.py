from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest

import sightline
from sightline.configuration.recipes import parse_recipe
from sightline.data.splitting.splits import read_splits_csv, refuse_unreadable, splits_csv
from sightline.data.storage.stores import FolderStore
from sightline.errors import InvalidSource

NAMES = ("train", "validation", "calibration", "test")


def unbalanced(counts: dict[int, int] | None = None, *, test: bool = False) -> sightline.Dataset:
    labels = np.concatenate([np.full(count, label) for label, count in (counts or {0: 700, 1: 200, 2: 100}).items()])
    labels = np.random.default_rng(1).permutation(labels)
    arrays = {"x_train": np.zeros((len(labels), 4, 4), np.uint8), "y_train": labels}
    if test:
        arrays |= {"x_test": arrays["x_train"][:60], "y_test": labels[:60]}
    return sightline.load(arrays)


def fractions(**values: float):
    return parse_recipe({"data": {f"{name}_fraction": value for name, value in values.items()}}).data


def rows_of(splits: sightline.Splits) -> dict[str, list[int]]:
    return {name: splits.rows(name).tolist() for name in NAMES}


@pytest.mark.parametrize("test", [False, True])
def test_every_row_is_in_exactly_one_split(test: bool) -> None:
    dataset = unbalanced(test=test)
    rows = np.concatenate([sightline.split(dataset).rows(name) for name in NAMES])
    assert sorted(rows.tolist()) == list(range(len(dataset)))


@pytest.mark.parametrize("seed", range(5))
def test_the_counts_are_exact(seed: int) -> None:
    splits = sightline.split(unbalanced(), seed=seed)
    # 20 % of 1,000; then twice 10 % of the 800 that are left.
    assert [len(splits.rows(name)) for name in NAMES] == [640, 80, 80, 200]


@pytest.mark.parametrize("seed", range(5))
def test_every_split_has_the_classes_in_proportion(seed: int) -> None:
    dataset = unbalanced()
    splits = sightline.split(dataset, seed=seed)
    for name in NAMES:
        rows = splits.rows(name)
        found = np.bincount(dataset.labels[rows], minlength=3)
        # Each of the up to three drawings in a row may be off by less than one image a class.
        assert (np.abs(found - len(rows) * np.array([0.7, 0.2, 0.1])) < 3).all()


@pytest.mark.parametrize("kind", ["arrays", "files"])
@pytest.mark.parametrize("given", ["", "test", "validation", "calibration"])
def test_what_is_asked_for_means_the_same_of_arrays_and_of_files(kind: str, given: str) -> None:
    dataset = unbalanced()
    if kind == "files":
        names, column = tuple(dataset.row_ids.tolist()), np.arange(len(dataset))
        dataset = dataclasses.replace(dataset, images=FolderStore(names, column, column, Path("photos")))
    stays = np.arange(len(dataset)) < (100 if given else 0)
    # That the source calls some rows "train" says no more than nothing where it gives no other split of its own.
    otherwise = np.where(np.arange(len(dataset)) % 2, "train", "")
    dataset = dataclasses.replace(dataset, given_splits=np.where(stays, given, otherwise))
    splits = sightline.split(dataset, fractions(test=0.2, validation=0.1, calibration=0.1), seed=1)
    share = {"test": 0.2, "validation": 0.08, "calibration": 0.08}
    if given == "test":
        share = {"validation": 0.1, "calibration": 0.1}
    for name in NAMES[1:]:
        rows = splits.rows(name)
        if name == given:
            assert rows.tolist() == list(range(100)), "what the source calls so, and nothing else"
            continue
        assert not stays[rows].any()
        for counted, free in zip(dataset.counts(rows), dataset.counts(~stays), strict=True):
            assert abs(counted - share[name] * free) <= 3 + 0.08 * share[name] * free
    assert sorted(np.concatenate([splits.rows(name) for name in NAMES]).tolist()) == list(range(len(dataset)))


def test_arrays_are_drawn_as_they_were_since_the_first_version() -> None:
    splits = sightline.split(sightline.load("mnist"))
    rows = np.concatenate([splits.rows(name) for name in NAMES]).astype("<i8")
    # Figures that were recorded, and what a run is repeated by, hang on these rows.
    assert hashlib.sha256(rows.tobytes()).hexdigest()[:16] == "f24f797863df6d49"


def test_rows_ascend() -> None:
    splits = sightline.split(unbalanced())
    assert all((np.diff(splits.rows(name)) > 0).all() for name in NAMES)


def test_the_same_seed_gives_the_same_rows_and_another_seed_others() -> None:
    dataset = unbalanced()
    first = rows_of(sightline.split(dataset, seed=3))
    assert first == rows_of(sightline.split(dataset, seed=3))
    other = rows_of(sightline.split(dataset, seed=4))
    assert all(first[name] != other[name] for name in NAMES)


def test_every_row_may_be_drawn() -> None:
    dataset = unbalanced({0: 30, 1: 20})
    drawn = {row for seed in range(300) for row in sightline.split(dataset, seed=seed).validation.tolist()}
    assert drawn == set(range(50))


def test_the_test_split_of_the_source_is_left_alone() -> None:
    mnist = sightline.load("mnist")
    splits = sightline.split(mnist)
    np.testing.assert_array_equal(splits.test, np.flatnonzero(mnist.given_splits == "test"))
    assert len(splits.test) == 10_000
    taken = np.concatenate([splits.train, splits.validation, splits.calibration])
    assert set(mnist.given_splits[taken].tolist()) == {"train"}


def test_the_tutorial_keeps_a_fifth_for_validation() -> None:
    splits = sightline.split(sightline.load("mnist"), sightline.recipe("tutorial").data)
    assert [len(splits.rows(name)) for name in NAMES] == [48_000, 12_000, 0, 10_000]


def test_fractions_of_nothing_leave_splits_empty() -> None:
    splits = sightline.split(unbalanced(), fractions(validation=0, calibration=0, test=0))
    assert [len(splits.rows(name)) for name in NAMES] == [1000, 0, 0, 0]


@pytest.mark.parametrize(
    ("counts", "part"),
    [
        ({0: 2, 1: 1}, "too few to keep 0.1 of them for"),
        ({0: 1, 1: 1}, "2 images are too few"),
    ],
)
def test_too_few_images_are_refused(counts: dict[int, int], part: str) -> None:
    with pytest.raises(InvalidSource) as refusal:
        sightline.split(unbalanced(counts))
    assert part in str(refusal.value)


def test_the_refusal_names_the_key_to_change() -> None:
    with pytest.raises(InvalidSource, match=r"for calibration\. Add images, or set data\.calibration_fraction=0\."):
        sightline.split(unbalanced({0: 10, 1: 10}), fractions(validation=0.3, calibration=0.01))


def test_a_class_that_could_not_be_learned_is_refused_by_name() -> None:
    arrays = {
        "x_train": np.zeros((20, 4, 4), np.uint8),
        "y_train": np.array([0, 1] * 10),
        "x_test": np.zeros((3, 4, 4), np.uint8),
        "y_test": np.array([0, 1, 2]),
    }
    dataset = sightline.load(arrays, class_names=["cat", "dog", "cow"])
    with pytest.raises(InvalidSource, match="no image of class 'cow' is left to train on"):
        sightline.split(dataset)


def test_splits_survive_their_table() -> None:
    dataset = unbalanced(test=True)
    splits = sightline.split(dataset)
    table = splits_csv(dataset, splits)
    assert rows_of(read_splits_csv(table, dataset)) == rows_of(splits)


def test_the_table_is_read_whatever_the_order_of_its_lines() -> None:
    dataset = unbalanced()
    splits = sightline.split(dataset)
    head, *lines = splits_csv(dataset, splits).splitlines()
    assert rows_of(read_splits_csv("\n".join([head, *reversed(lines)]), dataset)) == rows_of(splits)


@pytest.mark.parametrize("line", ["train/99999,train,", "train/00000,val,", "train/00000,,"])
def test_a_line_that_fits_no_row_or_split_is_refused(line: str) -> None:
    dataset = unbalanced()
    with pytest.raises(InvalidSource, match=r"splits\.csv: row 'train/\d+' in split"):
        read_splits_csv(f"row_id,split,group\n{line}\n", dataset)


def test_splits_tell_their_sizes() -> None:
    assert repr(sightline.split(unbalanced())) == "Splits(train 640, validation 80, calibration 80, test 200)"


def test_given_splits_that_leave_nothing_to_learn_from_are_told_as_such() -> None:
    dataset = unbalanced()
    given = np.where(np.arange(len(dataset)) % 2, "test", "validation")
    with pytest.raises(InvalidSource, match="all of its images are in the given splits test and validation"):
        sightline.split(dataclasses.replace(dataset, given_splits=given))


def test_a_table_that_no_reader_takes_is_refused(small_npz) -> None:
    text = f"row_id,split,group\n{'a' * 200_000},train,\n"
    with pytest.raises(InvalidSource, match="is not a readable table"):
        read_splits_csv(text, sightline.load(small_npz))


@pytest.mark.parametrize(("count", "is_refused"), [(0, False), (40, False), (41, True)])
def test_as_many_unreadable_files_as_are_allowed_are_allowed(count: int, is_refused: bool, small_npz) -> None:
    dataset = sightline.load(small_npz)  # of 800 images, of which 5 % are 40
    errors = dict.fromkeys(range(count), "damaged JPEG.")
    if is_refused:
        with pytest.raises(InvalidSource, match="41 of 800 files cannot be read, more than 5%"):
            refuse_unreadable(dataset, errors, 0.05)
    else:
        refuse_unreadable(dataset, errors, 0.05)
