"""Roboflow's exports for classification: a column a class in `_classes.csv`, and a folder a class."""

from __future__ import annotations

import pytest

import sightline
from sightline.errors import InvalidSource

CAT, CAT_AGAIN, DOG, COW, BIRD = (
    f"{name}_jpg.rf.{digits * 16}.jpg"
    for name, digits in (("cat-1", "0e"), ("cat-1", "5d"), ("dog-7", "c4"), ("cow 2", "ab"), ("cat-1", "9f"))
)
# As the export writes it: a blank behind each comma.
TRAIN = f"filename, cat, cow, dog\n{CAT}, 1, 0, 0\n{CAT_AGAIN}, 1, 0, 0\n{DOG}, 0, 0, 1\n{COW}, 0, 1, 0\n"
VALID = f"filename, cat, cow, dog\n{BIRD}, 1, 0, 0\nmissing.jpg, 0, 0, 1\n"


@pytest.fixture
def export(pictures):
    folder = pictures([*(f"train/{name}" for name in (CAT, CAT_AGAIN, DOG, COW)), f"valid/{BIRD}"])
    (folder / "train" / "_classes.csv").write_text(TRAIN)
    (folder / "valid" / "_classes.csv").write_text(VALID)
    (folder / "README.roboflow.txt").write_text("\npets - v1\n")
    return folder


def test_columns_of_classes_and_splits_are_read_and_versions_of_a_picture_stay_together(export, told):
    data = sightline.load(export)
    assert told(data) == {
        f"train/{CAT}": ("cat", "train"),
        f"train/{CAT_AGAIN}": ("cat", "train"),
        f"train/{DOG}": ("dog", "train"),
        f"train/{COW}": ("cow", "train"),
        f"valid/{BIRD}": ("cat", "validation"),
    }
    groups = dict(zip(data.row_ids.tolist(), data.groups.tolist(), strict=True))
    assert groups[f"train/{CAT}"] == groups[f"train/{CAT_AGAIN}"] == "train/cat-1_jpg"
    assert len(set(groups.values())) == 4, "a picture of another split that is called so is another picture"
    assert data.left_out == (("valid/missing.jpg", "there is no such file (valid/line 3)"),)


def test_one_file_is_a_source_of_its_own_without_a_split(export, told):
    data = sightline.load(export / "train" / "_classes.csv")
    assert told(data)[CAT] == ("cat", "")
    assert len(data) == 4


def test_images_without_a_class_are_listed_and_those_with_several_refused(export):
    path = export / "train" / "_classes.csv"
    path.write_text(
        f"filename, Unlabeled, cat, dog\n{CAT}, 0, 1, 0\n{DOG}, 0, 0, 1\n{COW}, 1, 0, 0\n{CAT_AGAIN}, 0, 0, 0\n"
    )
    data = sightline.load(path)
    assert data.class_names == ("cat", "dog")
    assert dict(data.left_out) == {COW: "has no label (line 4)", CAT_AGAIN: "has no label (line 5)"}
    path.write_text(f"filename, cat, dog\n{DOG}, 1, 1\n{CAT}, 1, 1\n{COW}, 1, 0\n")
    with pytest.raises(InvalidSource, match=rf"{CAT} has several labels: cat, dog \(line 3\); so have 1 other"):
        sightline.load(path)


def test_the_folder_export_is_an_ordinary_folder(pictures, told):
    folder = pictures([f"train/cat/{CAT}", f"train/dog/{DOG}", f"valid/cat/{BIRD}", f"test/dog/{COW}"])
    (folder / "README.dataset.txt").write_text("# pets > 2024-01-01\n")
    (folder / "README.roboflow.txt").write_text("\npets - v1\n")
    assert set(told(sightline.load(folder)).values()) == {
        ("cat", "train"),
        ("dog", "train"),
        ("cat", "validation"),
        ("dog", "test"),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Pixel Value, Class\n0, background\n1, cabinet\n",
            "must name filename and the classes; found Pixel Value, Class",
        ),
        ("", "found no line at all"),
        (f"filename, cat, dog\n{CAT}, 1, maybe\n", "line 2 has 'maybe' in the column 'dog'; it must be 0 or 1"),
        (f"filename, cat, cat\n{CAT}, 1, 0\n", "has several columns 'cat'"),
        ("filename, cat, dog\n", "names no image"),
        (
            "filename, cat, dog\nx.jpg, 0, 0\n",
            r"none of its lines can be used; the first: x.jpg has no label \(line 2\)",
        ),
    ],
)
def test_a_file_that_is_none_is_refused(export, text, message):
    path = export / "train" / "_classes.csv"
    path.write_text(text)
    with pytest.raises(InvalidSource, match=message) as refusal:
        sightline.load(path)
    assert str(refusal.value).startswith(str(path))
