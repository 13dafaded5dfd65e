"""COCO as Roboflow, CVAT and COCO itself lay it out: an image is of a class where all its annotations agree."""

from __future__ import annotations

import json

import pytest

import sightline
from sightline.errors import InvalidSource

CATEGORIES = [
    {"id": 0, "name": "pets", "supercategory": "none"},
    {"id": 1, "name": "cat", "supercategory": "pets"},
    {"id": 2, "name": "dog", "supercategory": "pets"},
]


def document(labels, **changes):
    """A document with an image for each name, and an annotation for each of its categories."""
    images = [
        {
            "id": number,
            "license": 1,
            "file_name": name,
            "height": 4,
            "width": 6,
            "date_captured": "2024-09-23T05:43:16+00:00",
        }
        for number, name in enumerate(labels)
    ]
    pairs = [(number, category) for number, found in enumerate(labels.values()) for category in found]
    annotations = [
        {
            "id": number,
            "image_id": image,
            "category_id": category,
            "bbox": [1, 1, 2.5, 2],
            "area": 5.0,
            "segmentation": [],
        }
        for number, (image, category) in enumerate(pairs)
    ]
    return {
        "info": {"year": "2024", "version": "7", "description": "Exported from roboflow.com"},
        "licenses": [{"id": 1, "url": "https://creativecommons.org/licenses/by/4.0/", "name": "CC BY 4.0"}],
        "categories": CATEGORIES,
        "images": images,
        "annotations": annotations,
        **changes,
    }


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        content if isinstance(content, str) else json.dumps(content, separators=(",", ":")), encoding="utf-8"
    )
    return path


def test_roboflow_lays_it_beside_the_images_of_each_split(pictures, told):
    folder = pictures(["train/a.jpg", "train/b.jpg", "valid/a.jpg", "test/c.jpg"])
    write(folder / "train" / "_annotations.coco.json", document({"a.jpg": [1, 1], "b.jpg": [2]}))
    write(folder / "valid" / "_annotations.coco.json", document({"a.jpg": [2]}))
    write(folder / "test" / "_annotations.coco.json", document({"c.jpg": [1], "gone.jpg": [1]}))
    data = sightline.load(folder)
    assert told(data) == {
        "train/a.jpg": ("cat", "train"),
        "train/b.jpg": ("dog", "train"),
        "valid/a.jpg": ("dog", "validation"),
        "test/c.jpg": ("cat", "test"),
    }
    assert data.left_out == (("test/gone.jpg", "there is no such file (image 1)"),)


def test_coco_itself_has_a_folder_of_annotations_and_one_of_images_for_each_split(pictures, told):
    folder = pictures(["train2017/000000000009.jpg", "val2017/000000000009.jpg", "val2017/000000000025.jpg"])
    write(folder / "annotations" / "instances_train2017.json", document({"000000000009.jpg": [1]}))
    write(
        folder / "annotations" / "instances_val2017.json", document({"000000000009.jpg": [2], "000000000025.jpg": [2]})
    )
    write(folder / "annotations" / "captions_val2017.json", {"images": [], "annotations": []})
    assert told(sightline.load(folder)) == {
        "train2017/000000000009.jpg": ("cat", "train"),
        "val2017/000000000009.jpg": ("dog", "validation"),
        "val2017/000000000025.jpg": ("dog", "validation"),
    }


def test_cvat_lays_images_in_folders_of_subsets_and_one_file_is_enough(pictures, told):
    folder = pictures(["images/default/a.jpg", "images/default/deep/b.jpg"])
    path = write(folder / "annotations" / "instances_default.json", document({"a.jpg": [1], "deep/b.jpg": [2]}))
    expected = {"images/default/a.jpg": ("cat", ""), "images/default/deep/b.jpg": ("dog", "")}
    assert told(sightline.load(path)) == told(sightline.load(folder)) == expected


def test_ids_may_be_numbers_or_text_and_separators_those_of_windows(pictures, told):
    folder = pictures(["photos/a.jpg", "photos/b b.jpg"])
    changed = document({"photos\\a.jpg": [1], "photos/b%20b.jpg": [2]})
    changed["annotations"][0]["image_id"] = "0"
    changed["annotations"][1]["category_id"] = 2.0
    path = write(folder / "pets.json", "\ufeff" + json.dumps(changed))
    assert told(sightline.load(path)) == {"photos/a.jpg": ("cat", ""), "photos/b b.jpg": ("dog", "")}


def test_images_that_cannot_be_rows_are_listed(pictures, told):
    folder = pictures(["a.jpg", "b.jpg", "c.jpg", "d.jpg", "one/e.jpg", "two/e.jpg"])
    content = document(
        {
            "a.jpg": [1],
            "b.jpg": [2],
            "c.jpg": [9],
            "d.jpg": [],
            "e.jpg": [1],
            "../a.jpg": [1],
            "/etc/a.jpg": [2],
            "": [1],
        }
    )
    content["annotations"].append({"id": 77, "image_id": 99, "category_id": 1})
    data = sightline.load(write(folder / "pets.json", content))
    assert told(data) == {"a.jpg": ("cat", ""), "b.jpg": ("dog", "")}
    assert dict(data.left_out) == {
        "c.jpg": "has the category 9, which is not named (image 2)",
        "d.jpg": "has no label (image 3)",
        "e.jpg": "may be any of one/e.jpg, two/e.jpg (image 4)",
        "../a.jpg": "leads out of its folder (image 5)",
        "/etc/a.jpg": "is an absolute path, and only those inside the folder are followed (image 6)",
        "image 7": "has no path (image 7)",
    }
    assert data.remarks[0].startswith("1 annotation of")


def test_several_categories_of_an_image_are_refused_by_name_and_two_entries_of_a_file_contradict(pictures, told):
    folder = pictures(["a.jpg", "b.jpg", "c.jpg"])
    path = write(folder / "pets.json", document({"b.jpg": [2, 1], "a.jpg": [1, 2, 1], "c.jpg": [1]}))
    with pytest.raises(
        InvalidSource,
        match=r"a\.jpg has several labels: cat, dog \(image 1\); so have 1 other\. If an image",
    ):
        sightline.load(path)
    content = document({"a.jpg": [1], "./a.jpg": [2], "b.jpg": [1], "c.jpg": [2]})
    data = sightline.load(write(path, content))
    assert told(data) == {"b.jpg": ("cat", ""), "c.jpg": ("dog", "")}
    assert data.left_out[0][1] == "has different labels: cat, dog (images 0, 1)"


def test_the_order_of_lists_and_keys_says_nothing(pictures):
    folder = pictures(["a.jpg", "b.jpg", "c.jpg"])
    content = document({"a.jpg": [1], "b.jpg": [2], "c.jpg": [1], "gone.jpg": [2]})
    turned = {key: value[::-1] if isinstance(value, list) else value for key, value in reversed(content.items())}
    one = sightline.load(write(folder / "one.json", content), name="pets")
    other = sightline.load(write(folder / "other.json", turned), name="pets")
    assert one.row_ids.tolist() == other.row_ids.tolist()
    assert (one.fingerprint, one.left_out) == (other.fingerprint, other.left_out)
    assert one.images.arrivals.tolist() == other.images.arrivals.tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": [], "annotations": [], "categories": []}, "names no image"),
        ({"images": [{"id": 1}], "annotations": []}, "has no list of categories"),
        ({"images": [7], "annotations": [], "categories": []}, "number 1 of its images is no object"),
        ({"images": [{"file_name": "a.jpg"}], "annotations": [], "categories": []}, "one of its images has no id"),
        (
            document({"a.jpg": [1]}, categories=[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]),
            "two of its categories have",
        ),
        ('{"images": [], "images": []}', "no readable JSON .the key 'images' is given twice"),
        ('{"images": [' + "[" * 40 + "]" * 40 + "]}", "nested more than 32 deep"),
        ('{"images": [{"id": 1}', "is no readable JSON"),
        (document({"a.jpg": [1], "b.jpg": [1]}), "one class only"),
        (document({"x.jpg": [1], "y.jpg": [2]}), "none of the 2 files it names exists, such as 'x.jpg'"),
    ],
)
def test_a_file_that_is_none_is_refused(pictures, content, message):
    path = write(pictures(["a.jpg", "b.jpg"]) / "pets.json", content)
    with pytest.raises(InvalidSource, match=message) as refusal:
        sightline.load(path)
    assert str(refusal.value).startswith(f"{path}: ")


def test_a_folder_with_annotations_of_two_tools_is_refused_until_one_is_named(pictures, told):
    folder = pictures(["train/a.jpg", "train/b.jpg"])
    write(folder / "train" / "_annotations.coco.json", document({"a.jpg": [1], "b.jpg": [2]}))
    write(folder / "train" / "_classes.csv", "filename, cat, dog\na.jpg, 1, 0\nb.jpg, 0, 1\n")
    with pytest.raises(
        InvalidSource, match=r"may be of Roboflow \(_classes.csv\) and in COCO's format \(.json\)\. Name the file"
    ):
        sightline.load(folder)
    (folder / "train" / "_classes.csv").rename(folder / "train" / "classes.csv")
    write(folder / "train" / "_annotations.coco.json", document({"x.jpg": [1], "y.jpg": [2]}))
    with pytest.raises(
        InvalidSource, match=r"none of the 2 files it names exists.* If its folders name the classes: label_from"
    ):
        sightline.load(folder)
    write(folder / "train" / "_annotations.coco.json", document({"a.jpg": [1], "b.jpg": [2]}))
    (folder / "train" / "classes.csv").rename(folder / "train" / "_classes.csv")
    for name in ("_annotations.coco.json", "_classes.csv"):
        assert told(sightline.load(folder / "train" / name)) == {"a.jpg": ("cat", ""), "b.jpg": ("dog", "")}


def test_json_of_other_programs_is_no_source(tmp_path):
    for text in ('{"metrics": 1}', "[1, 2]", '{"images": 7}', "", "\x00\x01", '"text"'):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(InvalidSource, match="cannot be opened as a source"):
            sightline.load(tmp_path / "other.json")


def test_several_categories_of_an_image_are_its_labels_where_that_is_asked_for(pictures):
    folder = pictures(["a.jpg", "b.jpg", "c.jpg"])
    path = write(folder / "pets.json", document({"b.jpg": [2, 1], "a.jpg": [1, 1], "c.jpg": []}))
    found = sightline.load(path, task="multi-label")
    assert dict(zip(found.row_ids.tolist(), found.named(), strict=True)) == {"a.jpg": "cat", "b.jpg": "cat; dog"}
    assert found.left_out[0][0] == "c.jpg"
