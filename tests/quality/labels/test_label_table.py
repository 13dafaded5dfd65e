from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from sightline.errors import InvalidValue
from sightline.quality.labels.doubts import LabelDoubts
from sightline.quality.labels.label_table import COLUMNS, label_csv, read_labels, relabelled
from sightline.records import Dataset

NAMES = ("a/plain.png", "=cmd()", 'a/comma, "quote"\nline.png', "a/last.png")


@pytest.fixture
def dataset() -> Dataset:
    images = np.zeros((4, 8, 8, 1), dtype=np.uint8)
    return Dataset("some", ("cat", "+dog"), np.array(NAMES), np.array([0, 0, 1, 1]), images, np.full(4, ""), "f")


@pytest.fixture
def table(dataset: Dataset) -> str:
    nothing = np.full((0, 3), -1)
    rows = np.array([2, 1, 0, 3])
    return label_csv(
        dataset, LabelDoubts(rows, 1 - dataset.labels[rows], np.linspace(1, 0, 4), 3, nothing, nothing, None)
    )


def test_the_table_holds_what_is_listed_and_no_formula(table: str) -> None:
    lines = list(csv.reader(io.StringIO(table)))
    assert tuple(lines[0]) == COLUMNS
    assert len(lines) == 4
    assert not any(cell.startswith(("=", "+")) for line in lines for cell in line)


def test_an_unread_table_changes_nothing(dataset: Dataset, table: str) -> None:
    again = relabelled(dataset, read_labels(table, name="labels.csv"))
    assert again is dataset


def test_a_table_that_was_edited_is_taken_back_by_names_of_rows_and_classes(dataset: Dataset, table: str) -> None:
    labels = read_labels(table, name="labels.csv")
    assert len(labels) == 3
    edited = dict(zip(labels, ("cat", "+dog", ""), strict=True))
    changed = relabelled(dataset, edited)
    assert changed.row_ids.tolist() == [NAMES[1], NAMES[2], NAMES[3]]
    assert changed.named() == ("+dog", "cat", "+dog")
    assert [file for file, _ in changed.left_out] == [NAMES[0]]
    assert changed.fingerprint != dataset.fingerprint
    assert dataset.named() == ("cat", "cat", "+dog", "+dog")


def test_it_is_known_which_labels_a_run_learned_from(dataset: Dataset) -> None:
    one, other = (relabelled(dataset, {NAMES[0]: "+dog"}), relabelled(dataset, {NAMES[1]: "+dog"}))
    assert len({dataset.fingerprint, one.fingerprint, other.fingerprint}) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,given\na,b\n", "has no column 'label'; found file, given"),
        ("", "has no column 'file'; found nothing"),
        ("file,label\na,cat\na,dog\n", "gives 'a' two labels. Keep one of the lines"),
        ("file,label\n\0,cat\n", "data.labels_file"),
    ],
)
def test_what_is_no_such_table_is_refused(dataset: Dataset, text: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        relabelled(dataset, read_labels(text, name="labels.csv"))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            {"b/none.png": "cat", NAMES[0]: "cat"},
            "1 file of 2 not in 'some', such as 'b/none.png'. Its files are called",
        ),
        ({NAMES[0]: "Cat"}, "'Cat' is no class of 'some'. Did you mean 'cat'?"),
        (dict.fromkeys(NAMES, ""), "leaves out every image"),
    ],
)
def test_unknown_rows_and_classes_are_refused(dataset: Dataset, labels: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidValue) as refusal:
        relabelled(dataset, labels)
    assert message in str(refusal.value)
