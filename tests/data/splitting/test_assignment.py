from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import sightline
from sightline.configuration.schema import DataRecipe
from sightline.data.duplicates.search import Copies
from sightline.data.splitting.splits import read_splits_csv, sample_fraction, splits_csv
from sightline.data.storage.stores import FolderStore
from sightline.errors import InvalidSource, InvalidValue
from sightline.records import SPLIT_NAMES, Dataset, Splits

SHARES = {"train": 0.64, "validation": 0.08, "calibration": 0.08, "test": 0.2}


def files(labels, *, names=None, groups=None, given=None, arrivals=None) -> Dataset:
    """A dataset of files that nobody opens."""
    labels = np.asarray(labels, np.int64)
    num_images = len(labels)
    names = np.array(names if names is not None else [f"{label}/{row:05d}.jpg" for row, label in enumerate(labels)])
    arrivals = np.asarray(arrivals if arrivals is not None else range(num_images), np.int64)
    places = FolderStore(tuple(names.tolist()), arrivals, arrivals, Path("photos"))
    return Dataset(
        name="photos",
        class_names=tuple("abcdefghijklmnopqrst"[: max(2, labels.max() + 1)]),
        row_ids=names,
        labels=labels,
        images=places,
        given_splits=np.array(given if given is not None else [""] * num_images, dtype="<U11"),
        fingerprint="",
        groups=None if groups is None else np.array(groups, dtype=str),
    )


def copies_of(num_images, pairs, kind="resized") -> Copies:
    rows = np.array([sorted(pair) for pair in pairs], np.int64).reshape(-1, 2)
    kinds = np.full(len(rows), kind, "<U12") if isinstance(kind, str) else np.array(kind, "<U12")
    return Copies(rows, np.zeros(len(rows), np.float32), kinds, np.ones(num_images, bool))


def homes(dataset: Dataset, splits: Splits) -> dict[str, str]:
    return {str(dataset.row_ids[row]): name for name in SPLIT_NAMES for row in splits.rows(name)}


def random_source(generator, num_images):
    """Labels, groups of some rows, and pairs of copies, near and exact, as a messy folder has them."""
    labels = generator.integers(0, generator.integers(2, 5), num_images)
    groups = np.where(generator.random(num_images) < 0.3, generator.integers(0, 12, num_images).astype(str), "")
    pictures = np.arange(num_images)
    for row in np.flatnonzero(generator.random(num_images) < 0.15):
        pictures[row] = pictures[generator.integers(0, row + 1)]
    originals = np.unique(pictures)
    near = {tuple(sorted(generator.choice(originals, 2, replace=False).tolist())) for _ in range(num_images // 6)}
    return labels, groups, sorted(near), pictures


def part_of(source, rows, order):
    """The source as it was when only `rows` were there, laid out in another order."""
    labels, groups, near, pictures = source
    rows = np.array(sorted(rows, key=lambda row: order[row]))
    names = [f"{order[row]:04d}.jpg" for row in rows]
    dataset = files(labels[rows], names=names, groups=groups[rows], arrivals=rows)
    dataset = dataclasses.replace(dataset, class_names=tuple("abcdef"))
    first: dict[int, int] = {}
    pairs, kinds = [], []
    for index, row in enumerate(rows):
        if pictures[row] in first:
            pairs.append((first[pictures[row]], index))
            kinds.append("exact")
        first.setdefault(pictures[row], index)
    for one, two in near:
        if one in first and two in first:
            pairs.append((first[one], first[two]))
            kinds.append("cropped")
    return dataset, copies_of(len(rows), pairs, kinds)


def divide(dataset, copies=None, seed=0, data=None) -> Splits:
    return sightline.split(dataset, data or DataRecipe(), seed=seed, copies=copies)


@pytest.mark.parametrize("trials", range(4))
def test_files_that_are_added_move_none_that_were_there(trials: int) -> None:
    for trial in range(50):
        generator = np.random.default_rng([trials, trial])
        num_images = int(generator.integers(90, 160))
        source = random_source(generator, num_images)
        order = generator.permutation(num_images)
        before, gone = {}, set()
        for count in sorted(generator.integers(80, num_images + 1, 3).tolist()):
            # Names in any order, so that new files also come to lie between old rows.
            dataset, copies = part_of(source, range(count), order)
            after = homes(dataset, divide(dataset, copies, seed=trial))
            assert {name: after.get(name) for name in before} == before
            assert not gone & set(after)
            before, gone = after, set(dataset.row_ids.tolist()) - set(after)


@pytest.mark.parametrize("trials", range(2))
def test_neither_a_group_nor_a_copy_is_ever_in_two_splits(trials: int) -> None:
    for trial in range(60):
        generator = np.random.default_rng([7, trials, trial])
        num_images = int(generator.integers(90, 200))
        source = random_source(generator, num_images)
        dataset, copies = part_of(source, range(num_images), generator.permutation(num_images))
        splits = divide(dataset, copies, seed=trial)
        home = homes(dataset, splits)
        names = dataset.row_ids.tolist()
        for low, high in copies.rows.tolist():
            if names[low] in home and names[high] in home:
                assert home[names[low]] == home[names[high]]
        for keys in (dataset.groups, splits.groups):
            for key in set(keys.tolist()) - {""}:
                found = {home.get(names[row]) for row in np.flatnonzero(keys == key)} - {None}
                assert len(found) <= 1
        assert {name for name, _ in splits.left_out} == set(names) - set(home)


def test_where_a_row_goes_does_not_depend_on_the_order_in_which_files_are_listed() -> None:
    generator = np.random.default_rng(3)
    source = random_source(generator, 150)
    order = generator.permutation(150)
    dataset, copies = part_of(source, range(150), order)
    shuffled = generator.permutation(150)
    back = np.argsort(shuffled)
    other = copies_of(150, back[copies.rows].tolist(), copies.kinds)
    assert homes(dataset.take(shuffled), divide(dataset.take(shuffled), other)) == homes(
        dataset, divide(dataset, copies)
    )


@pytest.mark.parametrize("seed", range(20))
def test_every_class_has_its_fractions_within_the_stated_bounds(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2, 3, 4], [20, 60, 200, 1000, 3000])
    if seed % 2:
        labels = generator.permutation(labels)  # a table in any order, instead of a folder class by class
    splits = divide(files(labels), seed=seed)
    for name, share in SHARES.items():
        found = np.bincount(labels[splits.rows(name)], minlength=5)
        wanted = share * np.bincount(labels)
        assert (np.abs(found - wanted) <= 3 + 0.08 * wanted).all(), (name, found, wanted)


@pytest.mark.parametrize("seed", range(10))
def test_many_small_classes_still_fill_every_split(seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(20), 5))
    splits = divide(files(labels), seed=seed)
    for name, share in SHARES.items():
        assert abs(len(splits.rows(name)) - 100 * share) <= 4 + 0.08 * 100 * share
    assert set(labels[splits.train]) == set(range(20))


def test_most_rows_are_where_their_hash_says_so_that_removed_files_move_few() -> None:
    labels = np.random.default_rng(0).integers(0, 4, 2000)
    dataset = files(labels)
    before = homes(dataset, divide(dataset))
    without = dataset.take(np.delete(np.arange(2000), [0, 10, 500]))
    after = homes(without, divide(without))
    assert sum(before[name] != home for name, home in after.items()) < 0.12 * 2000


def test_another_seed_gives_other_rows() -> None:
    dataset = files(np.arange(400) % 2)
    one, two = (divide(dataset, seed=seed).test for seed in (0, 1))
    assert len(set(one.tolist()) & set(two.tolist())) < 40


def test_a_group_is_called_by_its_earliest_member_or_by_its_own_name() -> None:
    dataset = files([0, 1] * 30, groups=["", "", "trip", ""] + [""] * 56, arrivals=[9, 1, 2, 3, *range(10, 66)])
    splits = divide(dataset, copies_of(60, [(0, 1), (2, 3)]))
    assert splits.groups[:4].tolist() == ["1/00001.jpg", "1/00001.jpg", "trip", "trip"]
    lines = splits_csv(dataset, splits).splitlines()
    assert lines[0] == "row_id,split,group"
    assert lines[1].endswith(",1/00001.jpg")


def test_an_empty_group_cell_ties_nothing() -> None:
    splits = divide(files([0, 1] * 100, groups=[""] * 200))
    assert len(set(splits.groups.tolist())) == 200
    assert len(splits.test) > 20


def two_apart(seed: int) -> tuple[int, int]:
    home = homes(files([0, 1] * 50), divide(files([0, 1] * 50), seed=seed))
    return tuple(
        next(row for row in range(100) if home[f"{row % 2}/{row:05d}.jpg"] == name) for name in ("train", "test")
    )


def test_a_new_file_that_ties_two_splits_together_is_left_out_with_its_reason() -> None:
    train, test = two_apart(seed=4)
    dataset = files([*[0, 1] * 50, 0])
    splits = divide(dataset, copies_of(101, [(train, 100), (test, 100)]), seed=4)
    assert [name for name, _ in splits.left_out] == ["0/00100.jpg"]
    reason = splits.left_out[0][1]
    assert f"{dataset.row_ids[train]} (train)" in reason
    assert f"{dataset.row_ids[test]} (test)" in reason
    assert "1 image was left out, which would have tied two splits together." in splits.remarks
    assert "0/00100.jpg" not in splits_csv(dataset, splits)


def test_what_was_left_out_ties_nothing_that_comes_after_it() -> None:
    train, test = two_apart(seed=4)
    dataset = files([*[0, 1] * 50, 0, 0])
    copies = copies_of(102, [(train, 100), (test, 100), (100, 101)])
    splits = divide(dataset, copies, seed=4)
    assert len(splits.left_out) == 1
    assert splits.groups[101] == "0/00101.jpg"


def test_groups_and_copies_join() -> None:
    labels = [0, 1] * 50
    for seed in range(10):
        groups = np.array([""] * 100, dtype="<U4")
        groups[[10, 20]] = "trip"
        dataset = files(labels, groups=groups)
        splits = divide(dataset, copies_of(100, [(20, 30)]), seed=seed)
        assert len({splits.groups[row] for row in (10, 20, 30)}) == 1
        assert len({homes(dataset, splits)[str(dataset.row_ids[row])] for row in (10, 20, 30)}) == 1


def test_where_likeness_does_not_tell_copies_no_image_is_left_out_and_each_class_has_its_fractions() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], 200)
    lookalikes = {tuple(sorted(generator.choice(400, 2, replace=False).tolist())) for _ in range(4000)}
    exact = [(0, 399), (1, 398)]
    pairs = [*exact, *sorted(lookalikes - set(exact))]
    splits = divide(files(labels), copies_of(400, pairs, ["exact"] * 2 + ["brightened"] * (len(pairs) - 2)))
    assert not splits.left_out
    for label in (0, 1):
        shares = {name: np.mean(np.isin(np.flatnonzero(labels == label), splits.rows(name))) for name in SPLIT_NAMES}
        assert shares == pytest.approx(SHARES, abs=0.025)
    assert np.unique(splits.groups, return_counts=True)[1].tolist().count(2) == 2
    (remark,) = splits.remarks
    assert "400 of 400 images look so much like others" in remark
    assert "data.group_near_duplicates" in remark


def test_a_burst_among_lookalikes_of_another_camera_stays_together() -> None:
    camera = [(row, row + 1) for row in range(59)]
    bursts = [(first + step, first + step + 1) for first in range(100, 180, 8) for step in range(7)]
    dataset = files([0, 1] * 1000)
    splits = divide(dataset, copies_of(2000, [*camera, *bursts]))
    assert sorted(np.unique(splits.groups, return_counts=True)[1].tolist())[-11:] == [1] + [8] * 10
    assert any("60 of 2,000 images look so much like others" in remark for remark in splits.remarks)


def test_exact_copies_stay_together_however_many() -> None:
    dataset = files(np.repeat([0, 1], 200))
    splits = divide(dataset, copies_of(400, [(0, row) for row in range(1, 120)], "exact"))
    assert set(range(120)) <= set(splits.train.tolist())


def test_a_source_of_one_picture_is_told_as_such() -> None:
    dataset = files([0, 1] * 60)
    copies = copies_of(120, [(0, row) for row in range(1, 120)], "exact")
    with pytest.raises(InvalidSource, match=r"all 120 images are copies of one picture \(0/00000.jpg\)"):
        divide(dataset, copies)


def test_a_source_of_few_pictures_is_told_how_many_there_are() -> None:
    dataset = files([0, 1] * 60)
    copies = copies_of(120, [(row % 4, row) for row in range(4, 120)], "exact")
    with pytest.raises(InvalidSource, match="120 images in 4 groups, such as copies of one picture, are too few to"):
        divide(dataset, copies)


def test_given_splits_are_honoured_and_crossing_copies_counted() -> None:
    given = ["train"] * 60 + ["test"] * 20
    dataset = files([0, 1] * 40, given=given)
    splits = divide(dataset, copies_of(80, [(3, 70), (4, 71), (5, 6)]))
    assert splits.test.tolist() == list(range(60, 80))
    assert not splits.left_out
    assert any(remark.startswith("2 images were left where the source has them") for remark in splits.remarks)
    home = homes(dataset, splits)
    assert home["1/00005.jpg"] == home["0/00006.jpg"]


def test_a_row_without_a_split_follows_its_copy_into_the_given_one() -> None:
    given = ["train"] * 60 + ["test"] * 20 + [""]
    dataset = files([*[0, 1] * 40, 0], given=given)
    assert 80 in divide(dataset, copies_of(81, [(70, 80)])).test.tolist()


def test_a_class_of_one_image_goes_to_train_and_is_named() -> None:
    splits = divide(files([*[0, 1] * 50, 2]))
    assert 100 in splits.train.tolist()
    assert any(remark.startswith("class 'c' has one image only, which is in train") for remark in splits.remarks)


def test_a_class_too_small_for_every_split_is_named_with_what_it_needs() -> None:
    splits = divide(files([*[0] * 100, 1, 1, 1]))
    told = [remark for remark in splits.remarks if "class 'b'" in remark]
    assert any("too few groups of images for one in calibration; about 16 a class are needed" in line for line in told)


def test_a_class_whose_images_are_all_copies_of_another_split_is_named() -> None:
    _, test = two_apart(seed=4)
    splits = divide(files([*[0, 1] * 50, 2]), copies_of(101, [(test, 100)], "exact"), seed=4)
    assert any("class 'c' has no image in train" in remark for remark in splits.remarks)


def test_too_few_images_are_refused_with_the_number_that_is_needed() -> None:
    with pytest.raises(InvalidSource, match=r"6 images are too few to keep 0\.1 .* About 16 groups of images"):
        divide(files([0, 1] * 3))


def test_arrays_with_groups_keep_them_together() -> None:
    labels = np.arange(300) % 3
    arrays = sightline.load({"x_train": np.zeros((300, 4, 4), np.uint8), "y_train": labels})
    dataset = dataclasses.replace(arrays, groups=(np.arange(300) // 5).astype(str))
    splits = sightline.split(dataset)
    for name in SPLIT_NAMES:
        assert (np.bincount(splits.rows(name) // 5, minlength=60) % 5 == 0).all()


def test_splits_given_back_are_the_same() -> None:
    generator = np.random.default_rng(5)
    dataset, copies = part_of(random_source(generator, 150), range(150), generator.permutation(150))
    splits = divide(dataset, copies)
    for back in (
        read_splits_csv(splits_csv(dataset, splits), dataset),
        read_splits_csv(splits_csv(dataset, splits), dataset, DataRecipe(), copies=copies),
    ):
        assert homes(dataset, back) == homes(dataset, splits)
    assert back.left_out == splits.left_out


def test_splits_given_back_to_a_grown_source_are_those_it_would_have_had() -> None:
    for trial in range(40):
        generator = np.random.default_rng([11, trial])
        source, order = random_source(generator, 150), generator.permutation(150)
        old, old_copies = part_of(source, range(100), order)
        new, new_copies = part_of(source, range(150), order)
        table = splits_csv(old, divide(old, old_copies))
        back = read_splits_csv(table, new, DataRecipe(), copies=new_copies)
        assert homes(new, back) == homes(new, divide(new, new_copies))


def test_old_rows_keep_their_split_whatever_is_added_before_them_or_removed() -> None:
    for trial in range(40):
        generator = np.random.default_rng([13, trial])
        source, order = random_source(generator, 160), generator.permutation(160)
        old, old_copies = part_of(source, np.sort(generator.choice(160, 110, replace=False)), order)
        new, new_copies = part_of(source, np.sort(generator.choice(160, 120, replace=False)), order)
        before = homes(old, divide(old, old_copies))
        back = read_splits_csv(splits_csv(old, divide(old, old_copies)), new, DataRecipe(), copies=new_copies)
        after = homes(new, back)
        still = set(before) & set(new.row_ids.tolist())
        assert {name: after[name] for name in still} == {name: before[name] for name in still}
        assert any(f"{len(before) - len(still)} rows of splits.csv are no longer" in line for line in back.remarks)
        for low, high in new_copies.rows.tolist():
            pair = [str(new.row_ids[row]) for row in (low, high)]
            if not set(pair) <= still and set(pair) <= set(after):
                assert after[pair[0]] == after[pair[1]]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("file,where\na,train\n", r"the first line must be row_id,split,group; got 'file,where'"),
        ("", r"got 'nothing'"),
        ("row_id,split,group\n0/00000.jpg,val,\n", r"no split is called so. Known: calibration"),
        ("row_id,split,group\n0/00000.jpg,test,\n0/00000.jpg,train,\n", r"'0/00000.jpg' stands in it twice"),
        ("row_id,split,group\nelsewhere.jpg,train,\n", r"none of its 1 rows is in the dataset 'photos'"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(text: str, part: str) -> None:
    with pytest.raises(InvalidSource, match=part):
        read_splits_csv(text, files([0, 1] * 20), DataRecipe())


def test_a_fraction_is_drawn_within_classes_and_whole_groups() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 30])
    groups = np.arange(930) // 3
    rows = sample_fraction(files(labels, groups=groups), 0.1, seed=0)
    assert np.bincount(labels[rows]).tolist() == [60, 30, 3]
    assert (np.bincount(groups[rows], minlength=310) % 3 == 0).all()
    assert (np.diff(rows) > 0).all()


def test_a_larger_fraction_holds_a_smaller_one_and_all_is_all() -> None:
    dataset = files(np.arange(500) % 4)
    small, large = (set(sample_fraction(dataset, share, seed=2).tolist()) for share in (0.2, 0.5))
    assert small < large
    assert sample_fraction(dataset, 1.0, seed=2).tolist() == list(range(500))
    assert small != set(sample_fraction(dataset, 0.2, seed=3).tolist())


def test_a_fraction_leaves_something_of_every_class_and_given_split() -> None:
    dataset = files([0, 1] * 10, given=["train", "train", "test", "test"] * 5)
    rows = sample_fraction(dataset, 0.01, seed=0)
    assert len(rows) == 4
    assert len({(dataset.labels[row], dataset.given_splits[row]) for row in rows}) == 4


@pytest.mark.parametrize("fraction", [0, -1, 1.5, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(InvalidValue, match=r"data\.fraction must be above 0 and at most 1"):
        sample_fraction(files([0, 1]), fraction, seed=0)
