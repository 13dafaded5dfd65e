"""From names to classes and splits."""

from __future__ import annotations

import pytest

from sightline.data.sources.assembly import fuse_classes, unique_names
from sightline.data.sources.layout import Arrangement, arrange
from sightline.data.storage.listing import Listing, is_passed_over, outputs_in
from sightline.errors import InvalidSource


def listing_of(*names: str, folders: tuple[str, ...] = ()) -> Listing:
    listing = Listing(folders=list(folders))
    for number, name in enumerate(names):
        listing.add(name, 1, number)
    return listing


def table_of(listing: Listing, found: Arrangement) -> dict[str, tuple[str, str]]:
    names = [listing.names[row] for row in found.rows.tolist()]
    return dict(zip(names, zip(found.classes, found.splits, strict=True), strict=True))


def arranged(*names: str, **options) -> dict[str, tuple[str, str]]:
    listing = listing_of(*names)
    return table_of(listing, arrange(listing, typed="photos", **options))


def test_the_first_folder_names_the_class_and_rows_are_in_the_order_of_names():
    found = arranged("dog/b.jpg", "cat/2.jpg", "cat/1.jpg")
    assert list(found) == ["cat/1.jpg", "cat/2.jpg", "dog/b.jpg"]
    assert set(found.values()) == {("cat", ""), ("dog", "")}


def test_the_order_in_which_files_are_listed_changes_nothing():
    names = ["train/cat/1.jpg", "train/dog/1.jpg", "val/Cat/2.jpg", "test/dog/3.jpg", "stray.jpg"]
    assert arranged(*names) == arranged(*reversed(names))


@pytest.mark.parametrize("validation", ["validation", "valid", "val", "Val", "VALID", " val"])
def test_every_name_of_the_validation_split_is_understood(validation):
    found = arranged("train/cat/1.jpg", "train/dog/1.jpg", f"{validation}/cat/2.jpg")
    assert found[f"{validation}/cat/2.jpg"] == ("cat", "validation")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("training_set", "test_set"),
        ("seg_train", "seg_test"),
        ("train", "dev"),
        ("TrainingData", "ValidationData"),
        ("ILSVRC2012_img_train", "ILSVRC2012_img_val"),
        ("train2017", "val2017"),
        ("trainset", "testset"),
        ("asl alphabet train", "asl alphabet test"),
        ("TRAIN", "eval"),
        ("train images", "hold-out test"),
        ("训练集", "测试集"),
    ],
)
def test_splits_are_known_in_every_common_spelling_and_it_is_said(train, test):
    listing = listing_of(*(f"{top}/{name}/1.jpg" for top in (train, test) for name in ("cat", "dog")))
    found = arrange(listing, typed="photos")
    assert set(found.classes) == {"cat", "dog"}
    assert found.splits.count("train") == found.splits.count("") + 2 == 2
    assert "is the split train" in found.remarks[0]


@pytest.mark.parametrize(("inner", "test"), [("{}", "{}"), ("images", "Images"), ("data/{}", "{}/img")])
def test_splits_that_are_packed_in_a_folder_once_more_are_unpacked(inner, test):
    names = [f"seg_train/{inner.format('seg_train')}/{name}/1.jpg" for name in ("sea", "street")]
    names += [f"seg_test/{test.format('seg_test')}/{name}/1.jpg" for name in ("sea", "street")]
    listing = listing_of(*names, "seg_pred/seg_pred/7.jpg")
    found = arrange(listing, typed="photos")
    assert set(zip(found.classes, found.splits, strict=True)) == {
        (name, split) for name in ("sea", "street") for split in ("train", "test")
    }
    assert any("'seg_pred' beside the splits is left out (1 images)" in remark for remark in found.remarks)


@pytest.mark.parametrize("other", ["docs/1.png", "iconic-images/fruit/apple/1.jpg", "other/cow/1.jpg"])
def test_a_folder_beside_splits_is_left_out_and_it_is_said(other):
    listing = listing_of("train/cat/1.jpg", "train/dog/1.jpg", "val/cat/1.jpg", "test/dog/1.jpg", other)
    found = arrange(listing, typed="photos")
    assert set(found.classes) == {"cat", "dog"}
    assert found.left_out == ((other, "lies beside the splits"),)
    assert found.remarks == (f"the folder {other.split('/')[0]!r} beside the splits is left out (1 images)",)


@pytest.mark.parametrize("names", [("train/1.jpg", "test/2.jpg"), ("Training/1.jpg", "val/2.jpg", "test_set/2.jpg")])
def test_splits_without_class_folders_are_refused_unless_they_are_said_to_be_classes(names):
    with pytest.raises(InvalidSource, match=r"hold no class folders\. Arrange .*label_from='top'"):
        arranged(*names)
    assert [name for name, _ in arranged(*names, label_from="top").values()] == sorted(
        name.split("/")[0] for name in names
    )


@pytest.mark.parametrize(
    "tops", [("fold1", "fold2", "fold3"), ("site a", "site b"), ("train", "extra"), ("2021", "2022"), ("raw", "test")]
)
def test_folders_of_the_same_sub_folders_are_refused_until_one_says_which_are_the_classes(tops):
    names = [f"{top}/{name}/1.jpg" for top in tops for name in ("cat", "dog")]
    with pytest.raises(InvalidSource, match=r"label_from='last'|label_from='top'") as refusal:
        arranged(*names)
    assert "label_from='last'" in str(refusal.value)
    assert "label_from='top'" in str(refusal.value)
    assert {name for name, _ in arranged(*names, label_from="last").values()} == {"cat", "dog"}
    assert {name for name, _ in arranged(*names, label_from="top").values()} == set(tops)


def test_the_same_sub_folders_inside_one_split_are_refused_too():
    names = [f"train/{top}/{name}/1.jpg" for top in ("site a", "site b") for name in ("cat", "dog")]
    with pytest.raises(
        InvalidSource, match=r"'site a', 'site b' in 'train' hold the same sub-folders \('cat', 'dog'\)"
    ):
        arranged(*names)


def test_splits_inside_the_class_folders_are_told_apart_from_classes():
    names = [f"{name}/{split}/1.jpg" for name in ("cat", "dog") for split in ("train", "test")]
    with pytest.raises(InvalidSource, match=r"Put the splits on top: photos/test/cat/1\.jpg"):
        arranged(*names)


@pytest.mark.parametrize(
    "names",
    [
        ("animal/cat/1.jpg", "animal/dog/1.jpg", "plant/rose/1.jpg", "plant/tree/1.jpg"),  # a taxonomy
        ("animal/other/1.jpg", "animal/dog/1.jpg", "plant/other/1.jpg", "plant/tree/1.jpg"),
        ("cat/images/1.jpg", "dog/images/1.jpg"),  # one folder below cannot be two classes
        ("cat/1.jpg", "cat/close/2.jpg", "cat/far/2.jpg", "dog/1.jpg", "dog/close/2.jpg", "dog/far/2.jpg"),
        ("cat/2021/1.jpg", "cat/2022/1.jpg", "dog/2023/1.jpg", "dog/2024/1.jpg"),
        ("crash test/1.jpg", "blood test/1.jpg"),
        ("test tubes/1.jpg", "training shoes/1.jpg"),
        ("valid/1.jpg", "invalid/1.jpg"),
    ],
)
def test_folders_that_differ_in_what_they_hold_stay_classes(names):
    found = arranged(*names)
    assert {name for name, _ in found.values()} == {name.split("/")[0] for name in names}
    assert {split for _, split in found.values()} == {""}


@pytest.mark.parametrize(
    "extra",
    [
        ("augmented data/yes/2.jpg", "augmented data/no/2.jpg"),
        ("more/Yes/2.jpg",),
        ("x/yes/1.jpg", "x/no/1.jpg", "x/2.jpg"),
    ],
)
@pytest.mark.parametrize("split", ["", "train/"])
def test_a_folder_of_its_siblings_names_is_no_class_and_it_is_said(extra, split):
    names = [f"{split}{name}" for name in ("yes/1.jpg", "no/1.jpg", *extra)]
    listing = listing_of(*names)
    found = arrange(listing, typed="photos")
    assert set(found.classes) == {"yes", "no"}
    assert len(found.rows) == 2
    assert any(
        f"{len(extra)} images are left out; label_from='last' (--label-from last) takes them" in remark
        for remark in found.remarks
    )
    assert {name for name, _ in found.left_out} == set(names[2:])


def test_a_class_called_train_is_a_class_where_nothing_speaks_for_a_split():
    found = arrange(listing_of("car/1.jpg", "train/1.jpg", "train/2.jpg", "plane/1.jpg"), typed="p")
    assert set(found.classes) == {"car", "plane", "train"}
    assert found.remarks == ()
    names = ("train/steam/1.jpg", "train/diesel/1.jpg", "car/van/1.jpg", "plane/jet/1.jpg")
    found = arrange(listing_of(*names), typed="p")
    assert set(found.classes) == {"car", "plane", "train"}
    assert found.remarks == ("'train', a split by its name, is taken for a class",)


def test_a_train_folder_of_folders_beside_flat_ones_is_refused():
    with pytest.raises(InvalidSource, match="'train' is a split by its name, and 'samples' beside it is none"):
        arranged("train/cat/1.jpg", "train/dog/1.jpg", "samples/1.jpg")


@pytest.mark.parametrize("test", ["test/1.jpg", "test/test/1.jpg", "test/unknown/1.jpg", "test1/test1/1.jpg"])
def test_a_test_split_without_classes_is_left_out_and_it_is_said(test):
    listing = listing_of("train/cat/1.jpg", "train/dog/1.jpg", test)
    found = arrange(listing, typed="photos")
    assert set(found.splits) == {"train"}
    assert [file for file, _ in found.left_out] == [test]
    assert any("1 images are left out" in remark for remark in found.remarks)


def test_validation_and_test_alone_are_splits():
    found = arranged("test/cat/1.jpg", "test/dog/1.jpg", "val/dog/1.jpg", "val/cat/1.jpg")
    assert {split for _, split in found.values()} == {"test", "validation"}


@pytest.mark.parametrize(
    "written",
    [
        ("runs/a-fast-001/recipe.json", "runs/a-fast-001/splits.csv"),
        ("runs/a-fast-001/recipe.json", "runs/a-fast-001/history.jsonl"),
        ("runs/kept/manifest.json", "runs/kept/labels.json"),
        ("runs/seen/metrics.json", "runs/seen/confusion.png"),
    ],
)
def test_what_sightline_wrote_into_a_source_is_no_class(written):
    listing = listing_of(
        "cat/1.jpg", "dog/1.jpg", f"{written[0].rpartition('/')[0]}/curves.png", folders=("runs", "dog")
    )
    for name in written:
        if name.endswith(".png"):
            listing.add(name, 1, 9)
        else:
            listing.left_out.append((name, "a text, not an image"))
    found = arrange(listing, typed="photos")
    assert set(found.classes) == {"cat", "dog"}
    assert found.left_out == (("runs", "was written by Sightline: a run, a bundle or an evaluation"),)
    assert found.remarks == ("'runs' was written by Sightline and is left out",)


def test_a_run_in_a_class_folder_is_left_out_alone():
    names = ["cat/1.jpg", "cat/r/recipe.json", "cat/r/splits.csv", "cat/r/curves.png", "recipe.json", "splits.csv"]
    assert outputs_in(names) == ("cat/r",)


def test_one_class_called_train_among_vehicles_is_no_reason_to_speak():
    listing = listing_of("car/1.jpg", "train/1.jpg")
    assert arrange(listing, typed="photos").remarks == ()


def test_two_folders_of_one_split_are_joined_and_it_is_said():
    listing = listing_of("train/cat/1.jpg", "train/dog/1.jpg", "val/cat/2.jpg", "valid/cat/3.jpg")
    found = arrange(listing, typed="photos")
    assert found.splits.count("validation") == 2
    assert any("several folders are the split 'validation'" in remark for remark in found.remarks)


def test_last_level_matches_classes_by_name_wherever_they_lie():
    found = arranged(
        "train/a/cat/1.jpg", "train/b/cat/2.jpg", "train/b/dog/1.jpg", "test/c/d/dog/9.jpg", label_from="last"
    )
    assert set(found.values()) == {("cat", "train"), ("dog", "train"), ("dog", "test")}


def test_last_level_says_when_a_class_holds_classes():
    listing = listing_of("animals/1.jpg", "animals/cat/1.jpg")
    assert any(
        "'animals' is a class and holds" in remark for remark in arrange(listing, typed="p", label_from="last").remarks
    )


def test_empty_class_folders_are_named():
    listing = listing_of("cat/1.jpg", "dog/1.jpg", folders=("cat", "dog", "cow", "cat/deep"))
    assert arrange(listing, typed="p").remarks == ("no file that may be an image lies in 'cow'",)


def test_folders_that_everything_is_packed_in_are_passed_through_and_it_is_said():
    names = ("deep/photos/cat/1.jpg", "deep/photos/dog/1.jpg", "deep/photos/cover.jpg", "deep/readme.jpg")
    listing = listing_of(*names)
    found = arrange(listing, typed="p.zip")
    assert set(found.classes) == {"cat", "dog"}
    assert {file for file, _ in found.left_out} == set(names[2:])
    assert any("'deep/photos'" in remark for remark in found.remarks)


def test_a_single_folder_that_holds_most_images_itself_is_a_class():
    assert set(arranged("cat/1.jpg", "cat/2.jpg", "cat/odd/3.jpg").values()) == {("cat", "")}


def test_a_train_folder_alone_is_no_wrapper():
    found = arranged("train/cat/1.jpg", "train/dog/1.jpg")
    assert set(found.values()) == {("cat", "train"), ("dog", "train")}


def test_wrapped_splits_are_found():
    found = arranged("p/train/cat/1.jpg", "p/train/dog/1.jpg", "p/test/cat/2.jpg")
    assert found["p/test/cat/2.jpg"] == ("cat", "test")


def test_nothing_in_a_class_folder_is_refused_with_an_arrangement():
    with pytest.raises(InvalidSource, match=r"photos: has 2 files but no sub-folder a class.*photos/cat/1\.jpg.*CSV"):
        arranged("1.jpg", "2.jpg")


def test_nested_folders_under_one_class_name_the_option_that_helps():
    listing = listing_of("all/cat/1.jpg", "all/dog/1.jpg", "all/3.jpg", "all/4.jpg")
    assert "label_from='last'" in arrange(listing, typed="p").remedy


def test_classes_are_fused_between_levels_and_never_within_one():
    names, remarks = fuse_classes([("train", "Cat"), ("val", "cat "), ("test", "CAT"), ("test", "dog")])
    assert {names[pair] for pair in names if pair[1] != "dog"} == {"Cat"}
    assert len(remarks) == 1
    names, remarks = fuse_classes([("train", "Cat"), ("train", "cat"), ("test", "cat")])
    assert names == {("train", "Cat"): "Cat", ("train", "cat"): "cat", ("test", "cat"): "cat"}
    assert "kept apart" in remarks[0]


def test_accents_written_in_two_ways_are_one_class_between_splits():
    names, _ = fuse_classes([("train", "caf\u00e9"), ("test", "cafe\u0301")])
    assert set(names.values()) == {"caf\u00e9"}


def test_unique_names_never_take_one_that_stands_there_already():
    names = unique_names(["a", "a", "a (2)", "a", "b"])
    assert len(set(names)) == 5
    assert names[0] == "a"
    assert names[2] == "a (2)"


def test_junk_is_passed_over_and_images_are_not():
    assert all(map(is_passed_over, [".git", "._1.jpg", "__MACOSX", "thumbs.db", "THUMBS.DB", "desktop.ini"]))
    assert all(map(is_passed_over, ["$RECYCLE.BIN", "lost+found", "System Volume Information", "@eaDir", "#recycle"]))
    assert not any(map(is_passed_over, ["1.jpg", "thumbs", "..png"[1:][1:], "macosx"]))


@pytest.mark.parametrize("label_from", ["first", "last"])
def test_folders_are_said_to_be_joined_only_where_images_of_both_are_taken(label_from: str) -> None:
    labelled = ("train/cat/1.jpg", "train/dog/1.jpg", "test/cat/2.jpg", "test/dog/2.jpg")
    options = {"typed": "photos", "label_from": label_from}
    joined = "several folders are the split 'test'; they are joined"
    for other in ("test_images/3.jpg", "test_images/unknown/3.jpg")[: 2 if label_from == "first" else 1]:
        found = arrange(listing_of(*labelled, other), **options)
        assert joined not in found.remarks
        assert [name for name, _ in found.left_out] == [other]
    assert joined in arrange(listing_of(*labelled, "test_images/cat/3.jpg"), **options).remarks
