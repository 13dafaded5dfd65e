from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sightline
from sightline.errors import InvalidValue
from sightline.evaluation.slicing.membership import by_quarter, joined, members_of, members_of_table
from sightline.records import Dataset
from sightline.system.progress import reporting
from sightline.system.text import csv_line

ROWS = [f"a/{number:03d}.png" for number in range(120)]


def test_quarters_hold_a_quarter_of_what_is_known_and_constants_have_none() -> None:
    values = np.append(np.random.default_rng(0).permutation(100.0 + np.arange(100)), np.full(20, np.nan))
    parts = by_quarter("brightness", values)
    assert list(parts) == ["brightness: lowest quarter", "brightness: highest quarter"]
    assert [int(mask.sum()) for mask in parts.values()] == [25, 25]
    assert not any(mask[100:].any() for mask in parts.values())
    assert np.nanmax(values[parts["brightness: lowest quarter"]]) < np.nanmin(
        values[parts["brightness: highest quarter"]]
    )
    assert by_quarter("size", np.full(120, 28.0)) == {}
    assert by_quarter("size", np.arange(40.0)) == {}, "too few for two parts of 30"


def test_classes_groups_and_properties_make_parts() -> None:
    images = np.zeros((120, 8, 8, 1), np.uint8)
    labels, groups = np.arange(120) % 2, np.array(["one"] * 60 + ["two"] * 40 + [""] * 20)
    dataset = Dataset("some", ("cat", "dog"), np.array(ROWS), labels, images, np.full(120, ""), "f", groups=groups)
    measured = np.tile(np.arange(120.0, dtype=np.float32)[:, None], (1, 7))
    parts = members_of(dataset, measured)
    assert {"class cat", "class dog", "group one", "group two", "brightness: lowest quarter"} <= set(parts)
    assert not any(name.startswith("file kind") for name in parts), "arrays are no files"
    assert parts["class dog"].sum() == 60


def test_columns_of_a_table_make_parts_by_value_or_by_quarter(tmp_path: Path) -> None:
    table = tmp_path / "more.csv"
    lines = [
        f"{row},{'night' if number < 40 else 'day'},{number},free text {number}" for number, row in enumerate(ROWS)
    ]
    table.write_text("file,light,weight,note\n" + "\n".join([*lines, "other.png,dusk,1,x"]))
    parts = members_of_table(table, ROWS)
    assert set(parts) == {"light night", "light day", "weight: lowest quarter", "weight: highest quarter"}
    assert parts["light night"][:40].all()
    assert not parts["light night"][40:].any()


def test_numbers_of_which_none_is_frequent_make_quarters_and_columns_without_a_part_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "more.csv"
    lines = [f"{row},{number // 3},{chr(65 + number // 5)},7" for number, row in enumerate(ROWS)]
    table.write_text("file,age,letter,all\n" + "\n".join(lines))
    with reporting("plain"):
        parts = members_of_table(table, ROWS)
    assert {name: int(mask.sum()) for name, mask in parts.items()} == {
        "age: lowest quarter": 30,
        "age: highest quarter": 30,
        "all 7": 120,
    }
    assert "no part of 30 images comes from letter" in " ".join(capsys.readouterr().err.split())


def test_rows_are_found_by_their_names_as_tables_of_ours_write_them(tmp_path: Path) -> None:
    names = [f"=a{number}.png" if number % 2 else f"a\x1b{number}.png" for number in range(120)]
    table = tmp_path / "more.csv"
    table.write_text("\n".join([csv_line(["file", "light"]), *(csv_line([name, "night"]) for name in names)]))
    assert members_of_table(table, names)["light night"].all()


def test_a_column_that_is_called_as_what_is_known_without_it_makes_parts_of_its_own(tmp_path: Path) -> None:
    table = tmp_path / "more.csv"
    lines = [f"{row},{'cat' if number < 40 else 'dog'},b c,c,{number}" for number, row in enumerate(ROWS)]
    table.write_text("file,class,a,a b,brightness\n" + "\n".join(lines))
    parts = members_of_table(table, ROWS)
    known = {"class cat": np.zeros(120, bool), "a b c": np.zeros(120, bool)}
    both = joined(known, parts)
    assert set(both) == set(known) | set(parts) | {"a b c (table)", "a b c (table) (table)"}
    assert {"class (table) cat", "class (table) dog", "brightness (table): lowest quarter"} <= set(parts)
    assert not both["class cat"].any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,light,light\na/000.png,b,c\n", "has two columns 'light'"),
        ("file,light\na/000.png,b\na/000.png,c\n", "gives 'a/000.png' two lines"),
        ("name,light\na,b\n", "a column file or row_id or path; found name, light"),
        ("file,light\n", "needs a line an image"),
        ("file,light\nzzz,b\n", "names none of 120 judged images; they are called as 'a/000.png'"),
        (None, "cannot be read"),
    ],
)
def test_a_table_that_tells_nothing_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    table = tmp_path / "more.csv"
    if text is not None:
        table.write_text(text)
    with pytest.raises(InvalidValue, match=message):
        members_of_table(table, ROWS)


def test_loaded_digits_have_their_classes(tmp_path: Path) -> None:
    few = sightline.load("mnist").take(np.arange(400))
    measured = np.full((400, 7), np.nan, np.float32)
    assert set(members_of(few, measured)) == {
        f"class {name}" for name in few.class_names if few.class_counts()[name] >= 30
    }
