"""From names to classes and splits."""

from __future__ import annotations

import pytest

from sightline.data.labelled import fuse_classes, unique_names
from sightline.data.layout import Arrangement, Listing, arrange, is_passed_over
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
    "names",
    [
        ("test/cat/1.jpg", "val/dog/1.jpg"),  # no train
        ("train/cat/1.jpg", "test/dog/1.jpg", "other/cow/1.jpg"),  # something else beside
        ("train/1.jpg", "test/2.jpg"),  # no class folders inside
    ],
)
def test_split_names_that_are_no_splits_are_classes_and_it_is_said(names):
    listing = listing_of(*names)
    found = arrange(listing, typed="photos")
    assert found.splits == [""] * len(names)
    assert set(found.classes) == {name.split("/")[0] for name in names}
    assert any("taken for classes" in remark for remark in found.remarks)


def test_one_class_called_train_among_vehicles_is_no_reason_to_speak():
    listing = listing_of("car/1.jpg", "train/1.jpg")
    assert arrange(listing, typed="photos").remarks == ()


def test_a_test_split_without_class_folders_is_left_out_file_by_file():
    listing = listing_of("train/cat/1.jpg", "train/dog/1.jpg", "test/1.jpg", "test/2.jpg", "cover.jpg")
    found = arrange(listing, typed="photos")
    assert [file for file, _ in found.left_out] == ["cover.jpg", "test/1.jpg", "test/2.jpg"]
    assert all("beside the class folders" in reason for _, reason in found.left_out)


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


def test_wrappers_are_passed_through_only_where_they_are_looked_for():
    names = ("deep/photos/cat/1.jpg", "deep/photos/dog/1.jpg", "deep/photos/cover.jpg", "deep/readme.jpg")
    listing = listing_of(*names)
    found = arrange(listing, typed="p.zip", unwrap=True)
    assert set(found.classes) == {"cat", "dog"}
    assert {file for file, _ in found.left_out} == set(names[2:])
    assert any("'deep/photos'" in remark for remark in found.remarks)
    assert set(arrange(listing, typed="p").classes) == {"deep"}


def test_a_train_folder_alone_is_no_wrapper():
    found = arranged("train/cat/1.jpg", "train/dog/1.jpg", unwrap=True)
    assert set(found.values()) == {("cat", "train"), ("dog", "train")}


def test_wrapped_splits_are_found():
    found = arranged("p/train/cat/1.jpg", "p/train/dog/1.jpg", "p/test/cat/2.jpg", unwrap=True)
    assert found["p/test/cat/2.jpg"] == ("cat", "test")


def test_nothing_in_a_class_folder_is_refused_with_an_arrangement():
    with pytest.raises(InvalidSource, match=r"photos: has 2 files but no sub-folder a class.*photos/cat/1\.jpg.*CSV"):
        arranged("1.jpg", "2.jpg")


def test_nested_folders_under_one_class_name_the_option_that_helps():
    listing = listing_of("all/cat/1.jpg", "all/dog/1.jpg")
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
    assert not any(map(is_passed_over, ["1.jpg", "thumbs", "..png"[1:][1:], "macosx"]))
