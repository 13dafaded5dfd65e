"""Class names of others: lines, JSON and tables, with what people leave in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sightline.deployment.adoption.labels import read_labels
from sightline.errors import InvalidValue


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.txt", "0 Cat\n1 Big dog\n2 猫\n"),
        ("labels.txt", "\ufeff0 Cat\r\n1 Big dog\r\n2 猫\r\n\r\n"),
        ("labels.txt", "Cat\nBig dog\n猫"),
        ("labels.json", '["Cat", "Big dog", "猫"]'),
        ("labels.json", '{"1": "Big dog", "0": "Cat", "2": "猫"}'),
        ("labels.json", '{"猫": 2, "Cat": 0, "Big dog": 1}'),
        ("labels.csv", "label\nCat\nBig dog\n猫\n"),
        ("labels.csv", "index,name\n1,Big dog\n0,Cat\n2,猫\n"),
        ("labels.csv", "Cat,0\n猫,2\nBig dog,1\n"),
    ],
)
def test_names_are_read_in_the_order_of_the_answers(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    assert read_labels(tmp_path / name) == ("Cat", "Big dog", "猫")


def test_digits_are_names_and_so_are_names_that_begin_with_other_numbers(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("0\n1\n2\n")
    assert read_labels(path) == ("0", "1", "2")
    path.write_text("7 up\n1 cola\n")
    assert read_labels(path) == ("7 up", "1 cola")
    assert read_labels(["a", "b"]) == ("a", "b")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("labels.txt", "0 Cat\n1 Cat\n", "'Cat', as class 0"),
        ("labels.txt", "Cat\n\nDog\n", "line 2 is blank"),
        ("labels.txt", "0 Cat\n1 \n", "without a name"),
        ("labels.txt", "Cat\n", "got 1"),
        ("labels.txt", "", "2 to 100,000"),
        ("labels.txt", b"C\xe4t\nDog\n", "not UTF-8"),
        ("labels.json", '{"0": "Cat", "2": "Dog"}', "numbered from 0 to 1"),
        ("labels.json", '["Cat", 3]', "class 1 must be text"),
        ("labels.json", "[", "no class names"),
        ("labels.json", "3", "neither a list"),
        ("labels.csv", "a,b,c\nd,e,f\n", "one column"),
        ("labels.csv", "index,name\n0,Cat\n0,Dog\n", "numbered from 0"),
    ],
)
def test_names_that_are_none_are_refused_with_the_place(tmp_path: Path, name: str, content: Any, problem: str) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InvalidValue, match=problem):
        read_labels(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="cannot be read"):
        read_labels(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("l.txt", "2 blue\n0 red\n1 green\n", ("red", "green", "blue")),
        ("l.txt", "1 red\n2 green\n3 blue\n", "numbered from 1 to 3"),
        ("l.txt", "0: red\n1: green\n2: blue\n", "in another way than `0 name`"),
        ("l.txt", "red\t0\ngreen\t1\n", "in another way than `0 name`"),
        ("l.txt", "red\n\ngreen\n", "line 2 is blank"),
        ("l.txt", "7 up\nred\n", ("7 up", "red")),
        ("l.csv", "name,index\n1,0\n2,1\n0,2\n", ("1", "2", "0")),
        ("l.csv", "1,0\n2,1\n0,2\n", "both columns hold numbers"),
    ],
)
def test_numbers_are_gone_by_or_refused(tmp_path: Path, name: str, text: str, expected: object) -> None:
    (tmp_path / name).write_text(text)
    if isinstance(expected, tuple):
        assert read_labels(tmp_path / name) == expected
        return
    with pytest.raises(InvalidValue, match=str(expected)):
        read_labels(tmp_path / name)
