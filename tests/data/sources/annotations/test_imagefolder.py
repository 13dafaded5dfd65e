"""Folders as `datasets.load_dataset("imagefolder")` reads them: metadata at the root, or one table a split."""

from __future__ import annotations

import json

import pytest

import sightline
from sightline.data.sources.annotations import marks
from sightline.data.sources.loading import holds_files, is_table, open_again
from sightline.errors import InvalidSource

NAMES = ("train/0001.png", "train/0002.png", "test/0003.png")


def test_one_table_at_the_root_names_files_of_all_splits(pictures, told):
    folder = pictures(NAMES)
    (folder / "metadata.csv").write_text(
        "file_name,label\ntrain/0001.png,cat\ntrain/0002.png,dog\ntest/0003.png,dog\n", encoding="utf-8"
    )
    data = sightline.load(folder)
    expected = {
        "train/0001.png": ("cat", "train"),
        "train/0002.png": ("dog", "train"),
        "test/0003.png": ("dog", "test"),
    }
    assert told(data) == expected
    assert not any("the classes are those of" in remark for remark in data.remarks)
    assert holds_files(folder)
    assert is_table(folder)
    assert told(sightline.load(folder / "metadata.csv")) == {row: (name, "") for row, (name, _) in expected.items()}
    assert data.images.read(0) == (folder / data.row_ids[0]).read_bytes()


@pytest.mark.parametrize("inside", ["", "data/"])
def test_tables_of_splits_name_files_beside_them(pictures, told, inside):
    folder = pictures([f"{inside}{name}" for name in NAMES])
    for split, lines in {
        "train": [{"file_name": "0001.png", "label": "cat"}, {"file_name": "0002.png", "label": "dog"}],
        "test": [{"file_name": "0003.png", "label": "dog", "additional_feature": {"deep": [1]}}],
    }.items():
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / inside / split / "metadata.jsonl").write_text(text, encoding="utf-8")
    data = sightline.load(folder)
    assert told(data) == {
        f"{inside}train/0001.png": ("cat", "train"),
        f"{inside}train/0002.png": ("dog", "train"),
        f"{inside}test/0003.png": ("dog", "test"),
    }


def test_a_folder_of_very_many_files_is_not_listed_for_folders_of_splits(pictures, monkeypatch):
    folder = pictures(["train/a.jpg", "images/train/b.jpg"])
    names = ("train/metadata.csv", "images/train/metadata.csv")
    for name in names:
        (folder / name).touch()
    assert marks.marked(folder, marks.METADATA) == tuple(sorted(names))
    monkeypatch.setattr(marks, "_MOST_BESIDE", 2)
    assert marks.marked(folder, marks.METADATA) == tuple(sorted(names))
    (folder / "metadata.csv").touch()
    assert marks.marked(folder, marks.METADATA) == ("metadata.csv",)


def test_columns_of_other_names_are_named_and_a_record_opens_them_again(pictures, told):
    folder = pictures(NAMES)
    (folder / "metadata.csv").write_text("file_name,species\ntrain/0001.png,cat\ntest/0003.png,dog\n")
    with pytest.raises(InvalidSource, match=r"found species; say which with columns=\{'label'"):
        sightline.load(folder)
    expected = {"train/0001.png": ("cat", "train"), "test/0003.png": ("dog", "test")}
    assert told(sightline.load(folder, columns={"label": "species"})) == expected
    assert told(open_again(folder, {"columns": "label=species"})) == expected


def test_metadata_without_labels_leave_a_folder_of_classes_as_it_is(pictures, told):
    folder = pictures(["cat/1.png", "dog/2.png"])
    (folder / "metadata.csv").write_text("file_name,caption\ncat/1.png,a cat\ndog/2.png,a dog\n")
    assert told(sightline.load(folder)) == {"cat/1.png": ("cat", ""), "dog/2.png": ("dog", "")}


def test_metadata_with_labels_count_unless_folders_are_asked_for(pictures, told):
    folder = pictures(["one/1.png", "two/2.png"])
    (folder / "metadata.csv").write_text("file_name,label\none/1.png,cat\ntwo/2.png,dog\n")
    data = sightline.load(folder)
    assert set(told(data).values()) == {("cat", ""), ("dog", "")}
    assert data.remarks[0].startswith("the classes are those of metadata.csv; with label_from='last'")
    for level in ("last", "top"):
        assert set(told(sightline.load(folder, label_from=level)).values()) == {("one", ""), ("two", "")}
        with pytest.raises(InvalidSource, match="columns are named for tables"):
            sightline.load(folder, label_from=level, columns={"label": "label"})


def test_what_is_absent_leads_out_or_contradicts_itself_is_listed(pictures, told):
    folder = pictures(["a/1.png", "a/2.png", "a/3.png", "a/4.png", "outside.png"])
    lines = ["1.png,cat", "2.png,dog", "3.png,cat", "./3.png,dog", "5.png,cat", "../outside.png,cat", "4.png,"]
    lines += [f"{folder}/outside.png,dog", "C:\\x.png,dog", "..\\outside.png,cat", "https://x.org/1.png,cat"]
    (folder / "a" / "metadata.csv").write_text("\n".join(["file_name,label", *lines]))
    data = sightline.load(folder / "a")
    assert told(data) == {"1.png": ("cat", ""), "2.png": ("dog", "")}
    assert dict(data.left_out) == {
        "3.png": "has different labels: cat, dog (lines 4, 5)",
        "5.png": "there is no such file (line 6)",
        "../outside.png": "leads out of its folder (line 7)",
        "4.png": "has no label (line 8)",
        f"{folder}/outside.png": "is an absolute path, and only those inside the folder are followed (line 9)",
        "C:\\x.png": "is an absolute path, and only those inside the folder are followed (line 10)",
        "..\\outside.png": "leads out of its folder (line 11)",
        "https://x.org/1.png": "is an address, and nothing is downloaded (line 12)",
    }


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_lines_of_json_may_have_a_mark_windows_ends_and_numbers_for_labels(pictures, told, mark):
    folder = pictures(["1.png", "deep/2.png"])
    text = mark + '{"file_name": "1.png", "label": 0}\r\n\r\n{"label": 10, "file_name": "deep\\\\2.png"}'
    (folder / "metadata.jsonl").write_bytes(text.encode())
    assert told(sightline.load(folder)) == {"1.png": ("0", ""), "deep/2.png": ("10", "")}
    assert told(sightline.load(folder / "metadata.jsonl")) == told(sightline.load(folder))


def test_order_says_nothing_and_the_fingerprint_covers_labels(pictures):
    folder = pictures(["1.png", "2.png", "3.png"])
    lines = ["1.png,cat", "2.png,dog", "3.png,cat", "9.png,cow"]

    def loaded(order):
        (folder / "metadata.csv").write_text("\n".join(["file_name,label", *order]))
        return sightline.load(folder)

    one, other = loaded(lines), loaded(lines[::-1])
    assert one.row_ids.tolist() == other.row_ids.tolist()
    assert one.fingerprint == other.fingerprint
    assert one.images.arrivals.tolist() == other.images.arrivals.tolist()
    assert loaded([*lines[:2], "3.png,dog"]).fingerprint != one.fingerprint


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"metadata.csv": "file_name,label\n", "metadata.jsonl": '{"file_name": "1.png"}'}, "Keep one kind of them"),
        (
            {"metadata.jsonl": '{"file_name": "1.png", "label": "a", "label": "b"}\n'},
            "line 1 is no readable JSON .*twice",
        ),
        (
            {"metadata.jsonl": '{"file_name": "1.png", "label": "a"}\n["2.png"]\n'},
            "line 2 is no readable JSON .*no object",
        ),
        (
            {"metadata.jsonl": '{"file_name": "1.png", "label": ["a", "b"]}\n{"file_name": "2.png", "label": "c"}'},
            "several",
        ),
        ({"metadata.csv": "file_name,label\n1.png,cat\n2.png,cat\n"}, "one class only"),
        ({"metadata.csv": "file_name,label\n7.png,cat\n8.png,dog\n"}, "none of the 2 files it names exists"),
    ],
)
def test_bad_metadata_are_refused_with_their_place(pictures, files, message):
    folder = pictures(["1.png", "2.png"])
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(InvalidSource, match=message) as refusal:
        sightline.load(folder)
    assert str(refusal.value).startswith(str(folder))
