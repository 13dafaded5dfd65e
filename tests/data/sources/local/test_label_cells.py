"""Tables in which an image may have several labels, in every writing, and everything that can be wrong with one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.data.sources.local.label_cells import parted_labels
from sightline.errors import InvalidSource, OneClassOnly, UnknownName


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(1, 6):
        Image.fromarray(np.full((3, 2), 20 * number, np.uint8)).save(tmp_path / f"{number}.png")
    return tmp_path


def load(folder: Path, text: str, **options: object) -> sightline.Dataset:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return sightline.load(path, task="multi-label", **options)


def told(data: sightline.Dataset) -> dict[str, str]:
    return dict(zip(data.row_ids.tolist(), data.named(), strict=True))


@pytest.mark.parametrize("separator", [";", "|", ","])
def test_a_cell_holds_several_labels(folder: Path, separator: str) -> None:
    text = f'path,label\n1.png,"cat{separator}dog"\n2.png,dog\n3.png,[]\n'
    found = load(folder, text)
    assert told(found) == {"1.png": "cat; dog", "2.png": "dog", "3.png": "(no label)"}
    assert found.labels.tolist() == [[1, 1], [0, 1], [0, 0]]
    assert f"labels are parted by '{separator}'" in found.remarks


def test_what_parts_labels_is_the_same_in_the_whole_column() -> None:
    cells = ["black, white; red", "red", "black, white", "a;;a; ", '["x;y", "z"]']
    found, _ = parted_labels(cells)
    assert found == [("black, white", "red"), ("red",), ("black, white",), ("a",), ("x;y", "z")]
    assert parted_labels(["clear primary", "primary", "clear", "clear water", "primary water"])[0][0] == (
        "clear",
        "primary",
    )
    assert parted_labels(["traffic light", "bus stop"])[0] == [("traffic light",), ("bus stop",)]


def test_an_empty_cell_says_nothing_and_the_line_is_left_out(folder: Path) -> None:
    found = load(folder, "path,label\n1.png,a;b\n2.png,\n3.png,nan\n4.png,;\n5.png,b\n")
    assert told(found) == {"1.png": "a; b", "5.png": "b"}
    assert [file for file, _ in found.left_out] == ["2.png", "3.png", "4.png"]
    assert "where an image shows none of them, write []" in found.left_out[0][1]
    assert any("lines left out: 3 of 5" in remark for remark in found.remarks)


def test_lines_of_one_file_are_put_together(folder: Path) -> None:
    found = load(folder, "path,label\n1.png,a\n./1.png,b\n2.png,b\n2.png,b\n")
    assert told(found) == {"1.png": "a; b", "2.png": "b"}
    assert any("1 lines name a file that stands in the table already" in remark for remark in found.remarks)


def test_a_file_in_two_splits_is_left_out(folder: Path) -> None:
    text = "path,label,split\n1.png,a,train\n1.png,b,test\n2.png,b,train\n3.png,a,train\n"
    found = load(folder, text)
    assert set(told(found)) == {"2.png", "3.png"}
    assert "has different splits" in found.left_out[0][1]


def test_a_column_of_zeros_and_ones_for_each_label(folder: Path) -> None:
    text = (
        "filename, cat, dog,width,split\n1.png,1,0,30,train\n2.png,1.0,TRUE,40,train\n3.png,0,0,50,test\n4.png,,1,3,\n"
    )
    found = load(folder, text)
    assert told(found) == {"1.png": "cat", "2.png": "cat; dog", "3.png": "(no label)"}
    assert found.left_out == (("4.png", "has an empty cell in a column of 0 and 1 (line 5)"),)
    assert "the labels are the columns of 0 and 1: cat, dog" in found.remarks
    assert "columns that hold other things than 0 and 1 are no labels: width" in found.remarks
    assert found.given_splits.tolist() == ["train", "train", "test"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,cat,dog\n1.png,1,-1\n2.png,0,1\n", "the column 'dog' says -1"),
        ("path,cat,cat\n1.png,1,0\n2.png,0,1\n", "several columns 'cat'"),
        ("path,width\n1.png,30\n", "no column 'label' with labels such as cat;dog, and no columns of 0 and 1"),
        ("path,cat,dog\n1.png,0,0\n2.png,0,0\n", "no image has a label"),
        ("file,label\n9.png,a;b\n", "none of the 1 files it names exists"),
        ("path,label\n", "has no line below"),
    ],
)
def test_what_is_no_table_of_several_labels_is_refused(folder: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidSource, match=words):
        load(folder, text)


def test_a_file_with_other_zeros_and_ones_in_another_line_contradicts_itself(folder: Path) -> None:
    found = load(folder, "path,a,b\n1.png,1,0\n1.png,0,1\n2.png,1,1\n3.png,0,1\n")
    assert set(told(found)) == {"2.png", "3.png"}
    assert "has different labels" in found.left_out[0][1]


def test_one_label_alone_is_refused_and_one_that_all_have_is_told(folder: Path) -> None:
    with pytest.raises(OneClassOnly, match="holds one class only"):
        load(folder, "path,label\n1.png,a\n2.png,[]\n")
    found = load(folder, "path,label\n1.png,a;b\n2.png,a\n")
    assert any("every image has the label 'a'" in remark for remark in found.remarks)


def test_names_of_any_letters_and_their_order(folder: Path) -> None:
    found = load(folder, "path,label\n1.png,猫;Hund\n2.png,Hund\n", class_names=["Hund", "猫"])
    assert found.class_names == ("Hund", "猫")
    assert told(found)["1.png"] == "Hund; 猫"


def test_a_table_that_is_not_asked_to_have_several_says_how_to_ask(folder: Path) -> None:
    path = folder / "labels.csv"
    path.write_text("path,label\n1.png,a;b\n2.png,a\n3.png,b\n", encoding="utf-8")
    with pytest.raises(InvalidSource, match="--task multi-label"):
        sightline.load(path)
    with pytest.raises(UnknownName, match="multi"):
        sightline.load(path, task="multi")


def test_arrays_have_a_column_a_label() -> None:
    images, labels = np.zeros((4, 3, 3), np.uint8), np.array([[1, 0], [1, 1], [0, 0], [0, 1]])
    found = sightline.load({"x_train": images, "y_train": labels}, task="multi-label", class_names=["a", "b"])
    assert found.named() == ("a", "a; b", "(no label)", "b")
    assert found.labels.dtype == np.uint8


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([[1, 2], [0, 1]], "must be 0 and 1"),
        ([0, 1], "must be 0 and 1"),
        ([[1, 0]], "has 1 rows for 2 images"),
        ([[1, 0], [1, 0]], "no image of y_train has the label '1'"),
        ([[1], [0]], "at least 2"),
        ([[0.5, 1], [1, 0]], "must be 0 and 1"),
    ],
)
def test_arrays_that_are_no_zeros_and_ones_are_refused(labels: list, words: str) -> None:
    with pytest.raises(InvalidSource, match=words):
        sightline.load({"x_train": np.zeros((2, 3, 3), np.uint8), "y_train": np.array(labels)}, task="multi-label")


def test_a_source_by_name_has_one_class_an_image() -> None:
    with pytest.raises(InvalidSource, match="each of its images has one class"):
        sightline.load("mnist", task="multi-label")
