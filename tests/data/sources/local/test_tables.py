"""Tables of paths and labels, in every writing, and everything that can be wrong with one."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from PIL import Image

import sightline
from sightline.data.sources.loading import named_columns, open_again
from sightline.data.sources.local.cells import several_labels, single_label
from sightline.data.sources.local.tables import is_frame, read_table
from sightline.errors import InvalidSource, InvalidValue, MissingPackage, UnknownName


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    stream = io.BytesIO()
    Image.new("L", (3, 2)).save(stream, "PNG")
    for name in ("1.png", "2.png", "3.png", "deep/4.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(stream.getvalue())
    return tmp_path


def write(folder: Path, text: str | bytes, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def classes(data: sightline.Dataset) -> dict[str, str]:
    return {row: data.class_names[label] for row, label in zip(data.row_ids.tolist(), data.labels, strict=True)}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_delimiters_line_ends_and_byte_order_marks_are_told_apart(folder, delimiter, line_end, mark):
    lines = [["path", "label"], ["1.png", "cat"], ["deep/4.png", "dog"]]
    text = mark + line_end.join(delimiter.join(line) for line in lines) + line_end
    assert classes(read_table(write(folder, text))) == {"1.png": "cat", "deep/4.png": "dog"}


@pytest.mark.parametrize("path", ["path", "File", "FILENAME", "file_name", " image "])
@pytest.mark.parametrize("label", ["label", "Class", "CATEGORY"])
def test_columns_go_by_several_names_in_any_case_and_order(folder, path, label):
    text = f"{label},note,{path}\ncat,x,1.png\ndog,y,2.png\n"
    assert classes(read_table(write(folder, text))) == {"1.png": "cat", "2.png": "dog"}


def test_columns_of_other_names_can_be_named(folder):
    path = write(folder, "where,what,label\n1.png,cat,a\n2.png,dog,b\n")
    data = read_table(path, columns={"path": "where", "label": "What"})
    assert data.class_names == ("cat", "dog")
    with pytest.raises(InvalidSource, match=r"has no column 'whre'. Did you mean 'where'"):
        read_table(path, columns={"path": "whre"})


def test_quoted_cells_may_hold_delimiters_and_line_breaks(folder):
    path = write(folder, 'path,label\n1.png,"cat, big"\n2.png,"dog\nsmall"\n3.png,\n')
    data = read_table(path)
    assert data.class_names == ("cat, big", "dog\\nsmall")
    assert data.left_out == (("3.png", "has no label (line 5)"),)


def test_blanks_around_cells_and_blank_lines_do_not_count(folder):
    path = write(folder, "path, label\n\n1.png , cat\n,\n2.png,dog \n\n")
    assert classes(read_table(path)) == {"1.png": "cat", "2.png": "dog"}


def test_absolute_paths_dots_and_backslashes_find_their_files(folder):
    path = write(folder, f"path,label\n{folder / '1.png'},cat\n./2.png,dog\ndeep\\4.png,cat\ndeep/../3.png,dog\n")
    data = read_table(path)
    assert len(data) == 4
    assert all((data.images.place / name).is_file() for name in data.images.names)
    assert data.images.arrivals.tolist() == [0, 1, 2, 3]


def test_two_ways_to_write_one_path_are_one_row(folder):
    data = read_table(write(folder, "path,label\n1.png,cat\n./1.png,cat\n2.png,dog\n"))
    assert len(data) == 2
    assert any(remark.startswith("1 lines name a file") for remark in data.remarks)


def test_contradictions_leave_out_every_line_of_the_file(folder):
    path = write(
        folder,
        "path,label,split\n1.png,cat,train\n1.png,dog,train\n2.png,dog,\n3.png,cat,train\n3.png,cat,test\ndeep/4.png,cat,\n",
    )
    data = read_table(path)
    assert set(classes(data)) == {"2.png", "deep/4.png"}
    reasons = dict(data.left_out)
    assert reasons["1.png"] == "has different labels: cat, dog (lines 2, 3)"
    assert reasons["3.png"] == "has different splits: test, train (lines 5, 6)"


def test_of_many_contradicting_labels_a_few_are_named(tmp_path: Path) -> None:
    for name in ("1.png", "2.png", "3.png"):
        Image.new("L", (8, 8)).save(tmp_path / name)
    lines = [f"1.png,label {number:03}" for number in range(500)]
    (tmp_path / "t.csv").write_text("\n".join(["path,label", *lines, "2.png,a", "3.png,b"]))
    ((_, reason),) = sightline.load(tmp_path / "t.csv").left_out
    assert reason == (
        "has different labels: label 000, label 001, label 002, label 003, label 004 and 495 more "
        "(lines 2, 3, 4, 5, 6 and 495 more)"
    )


def test_a_table_of_contradictions_alone_is_refused(folder):
    with pytest.raises(InvalidSource, match=r"none of its lines can be used; the first: 1\.png has different labels"):
        read_table(write(folder, "path,label\n1.png,cat\n1.png,dog\n"))


def test_missing_files_folders_and_empty_cells_are_listed(folder):
    path = write(folder, "path,label\n1.png,cat\n2.png,dog\nno.png,cat\ndeep,dog\n3.png,\n,cat\n")
    data = read_table(path)
    assert len(data) == 2
    reasons = dict(data.left_out)
    assert "no such file (line 4)" in reasons["no.png"]
    assert "folder" in reasons["deep"]
    assert "no label (line 6)" in reasons["3.png"]
    assert reasons["line 7"] == "has no path"
    assert any("2 of 4 files" in remark for remark in data.remarks)
    assert data.remarks[:2] == ("lines left out: 1 of 6 (has no label)", "lines left out: 1 of 6 (has no path)")


def test_files_of_contradicting_lines_are_counted_where_all_is_told(folder):
    data = read_table(write(folder, "path,label\n1.png,cat\n1.png,dog\n2.png,dog\n3.png,cat\n"))
    assert data.remarks == ("files left out: 1 (has different labels or splits in different lines)",)


def test_an_address_in_a_table_is_left_out_as_one(folder):
    data = read_table(write(folder, "path,label\n1.png,cat\n2.png,dog\nhttps://example.org/3.png,cat\n"))
    reason = "is an address, and nothing is downloaded"
    assert data.left_out == (("https://example.org/3.png", f"{reason} (line 4)"),)
    assert data.remarks == (f"lines left out: 1 of 3 ({reason})",)


def test_a_double_quote_that_is_never_closed_swallows_nothing_in_silence(folder):
    with pytest.raises(InvalidSource, match=r"a double quote in line 3 is never closed"):
        read_table(write(folder, 'path,label\n1.png,cat\n"2.png,dog\n3.png,cat\ndeep/4.png,dog\n'))
    # An inch in an ordinary cell is no quote.
    assert read_table(write(folder, 'path,label\n1.png,5" pipe\n2.png,dog\n')).class_names == ('5" pipe', "dog")


def test_splits_groups_and_weights_are_taken(folder):
    path = write(folder, "path,label,Split,GROUP,weight\n1.png,cat,TRAIN,a,1\n2.png,dog,valid,a,0.5\n3.png,cat,,,2e0\n")
    data = read_table(path)
    assert data.given_splits.tolist() == ["train", "validation", ""]
    assert data.groups.tolist() == ["a", "a", "3.png"]
    assert data.weights.tolist() == [1.0, 0.5, 2.0]
    assert data.weights.dtype == "float64"


def test_empty_columns_of_groups_are_no_groups(folder):
    assert read_table(write(folder, "path,label,group\n1.png,cat,\n2.png,dog,\n")).groups is None


def test_classes_are_matched_between_splits_and_suspicious_within_one(folder):
    data = read_table(write(folder, "path,label,split\n1.png,Cat,train\n2.png,dog,train\n3.png,cat,test\n"))
    assert data.class_names == ("Cat", "dog")
    data = read_table(write(folder, "path,label\n1.png,Cat\n2.png,dog\n3.png,cat\n"))
    assert data.class_names == ("Cat", "cat", "dog")
    assert any("kept apart" in remark for remark in data.remarks)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.png,cat\n2.png,dog\n", r"has no column 'path'; found 1\.png, cat\. Its first line must name"),
        ("path,Path,label\n1.png,2.png,cat\n", "has 2 columns 'path'; rename all but one"),
        ("path,label\n", "has no line below the one that names the columns"),
        ("path,label\n1.png,cat,big\n2.png,dog\n", "line 2 has 3 cells and the header 2. Put cells that hold ','"),
        ("path,label,split\n1.png,cat,\n2.png,dog,calibration\n", "line 3 has the split 'calibration'"),
        ("path,label,weight\n1.png,cat,1\n2.png,dog,\n", "line 3 has the weight ''"),
        ("path,label,weight\n1.png,cat,0\n2.png,dog,1\n", "line 2 has the weight '0'"),
        ("path,label,weight\n1.png,cat,inf\n2.png,dog,1\n", "line 2 has the weight 'inf'"),
        (
            "path,label,weight\n1.png,cat,much\n2.png,dog,1\n",
            "line 2 has the weight 'much'; it must be a number above 0",
        ),
        ("path,label\n1.png,cat|dog\n2.png,dog\n3.png,cat\n", r"label 'cat\|dog' looks like several labels"),
        ("path,label\n1.png,cat; dog; cow\n2.png,hen\n", "several labels"),
        ("path;label\n1.png;['cat', 'dog']\n2.png;hen\n", "several labels"),
        ("path,label\n7.png,cat\n8.png,dog\n", r"none of the 2 files it names exists, such as '7\.png', looked for in"),
        ("path,label\n1.png,cat\n2.png,cat\n3.png,dog\n3.png,hen\n", "one class only"),
        ("path,label\n1.png,cat\n2.png,dog\n3.png," + "x" * 140_000, "not a readable table"),
    ],
)
def test_a_bad_table_is_refused_with_its_name_and_line(folder, text, message):
    path = write(folder, text)
    with pytest.raises(InvalidSource, match=message) as refusal:
        read_table(path)
    assert str(refusal.value).startswith(f"{path}: ")


@pytest.mark.parametrize("content", [b"path,label\n1.png,\xe9\n", "path,label\n1.png,größe\n".encode("latin-1")])
def test_other_encodings_are_refused_with_the_remedy(folder, content):
    with pytest.raises(InvalidSource, match=r"is not UTF-8 .* Save it as UTF-8"):
        read_table(write(folder, content))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_unicode_text_of_spreadsheets_is_read(folder, encoding):
    mark = "" if encoding == "utf-16" else "\ufeff"
    path = write(folder, (mark + "path\tlabel\r\n1.png\tgröße\r\n2.png\tlänge\r\n").encode(encoding))
    assert classes(read_table(path)) == {"1.png": "größe", "2.png": "länge"}


@pytest.mark.parametrize("first", ["sep=;", "SEP=;", '"sep=;"', "\ufeffsep=;"])
def test_a_first_line_that_names_the_delimiter_is_heeded(folder, first):
    data = read_table(write(folder, f"{first}\r\npath;label\r\n1.png;a,b\r\n2.png;c\r\n9.png;c\r\n"))
    assert classes(data) == {"1.png": "a,b", "2.png": "c"}
    assert data.left_out == (("9.png", "there is no such file (line 5)"),)


@pytest.mark.parametrize("separator", [" ", ",", ";", "|", " + ", "+", " & ", "/", " and "])
def test_labels_of_several_kinds_are_refused_whatever_parts_them(folder, separator):
    cells = ["scab", "rust", f"scab{separator}rust", "healthy"]
    path = write(folder, "path,label\n" + "".join(f'{row}.png,"{cell}"\n' for row, cell in enumerate(cells)))
    with pytest.raises(InvalidSource, match="looks like several labels"):
        read_table(path)


def test_programs_words_for_no_label_are_no_class_and_it_is_said(folder):
    data = read_table(write(folder, "path,label\n1.png,cat\n2.png,dog\n3.png,nan\ndeep/4.png,NULL\n"))
    assert classes(data) == {"1.png": "cat", "2.png": "dog"}
    assert data.left_out == (("3.png", "has no label (line 4)"), ("deep/4.png", "has no label (line 5)"))
    assert data.remarks == ("2 lines have the label 'nan', 'NULL', which stands for none; they were left out",)
    data = read_table(write(folder, "path,label\n1.png,scratch\n2.png,none\n"))
    assert data.class_names == ("none", "scratch")
    assert "'none' was taken for a class" in data.remarks[0]
    data = read_table(write(folder, "path,label\n1.png,NA\n2.png,?\n3.png,cat\n"))
    assert "'NA', '?' were taken for classes" in data.remarks[0]


def test_whole_numbers_are_one_label_however_they_are_written(folder):
    data = read_table(write(folder, "path,label\n1.png,0\n2.png,1.0\n3.png,1\ndeep/4.png,0.0\n"))
    assert classes(data) == {"1.png": "0", "2.png": "1", "3.png": "1", "deep/4.png": "0"}
    assert data.remarks == ("labels such as '0.0' were taken for '0': all labels are numbers",)
    assert read_table(write(folder, "path,label\n1.png,1.0\n2.png,1.5\n3.png,2.0\n")).class_names == ("1", "1.5", "2")
    assert read_table(write(folder, "path,label\n1.png,1.0\n2.png,beta\n")).class_names == ("1.0", "beta")


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_one_file_under_two_names_with_two_labels_is_a_contradiction(folder):
    (folder / "link.png").symlink_to("1.png")
    os.link(folder / "1.png", folder / "hard.png")
    (folder / "way").symlink_to("deep")
    text = "path,label\n1.png,cat\nlink.png,dog\n2.png,dog\n3.png,cat\nway/../3.png,cat\n"
    data = read_table(write(folder, f"{text}deep/4.png,cat\nway/4.png,dog\nhard.png,cat\n"))
    assert classes(data) == {"2.png": "dog", "3.png": "cat"}
    reason = "has different labels: cat, dog (lines 2, 3, 9)"
    assert dict(data.left_out) == {
        **dict.fromkeys(("1.png", "link.png", "hard.png"), reason),
        **dict.fromkeys(("deep/4.png", "way/4.png"), "has different labels: cat, dog (lines 7, 8)"),
    }


def test_a_label_that_looks_like_code_is_a_label(folder):
    assert read_table(write(folder, 'path,label\n1.png,a\n2.png,"[{[]:1}]"\n')).class_names == ("[{[]:1}]", "a")


def test_numbered_classes_are_in_the_order_of_their_numbers(folder):
    data = read_table(write(folder, "path,label\n1.png,10\n2.png,9\n3.png,0\ndeep/4.png,2\n"))
    assert data.class_names == ("0", "2", "9", "10")


def test_named_columns_are_refused_where_they_are_not_and_where_nothing_is_a_table(folder):
    path = write(folder, "img,species,set\n1.png,cat,train\n2.png,dog,test\n")
    data = sightline.load(path, columns={"path": "img", "label": "species", "split": "set"})
    assert data.given_splits.tolist() == ["train", "test"]
    with pytest.raises(InvalidSource, match=r"has no column 'group'\. Known: img"):
        sightline.load(path, columns={"path": "img", "label": "species", "group": "group"})
    with pytest.raises(UnknownName, match=r"no meaning of a column is called 'labels'\. Did you mean 'label'"):
        sightline.load(path, columns={"labels": "species"})
    with pytest.raises(InvalidSource, match="columns are named for tables, and mnist is none"):
        sightline.load("mnist", columns={"path": "img"})
    with pytest.raises(InvalidValue, match="columns are named as path=img,label=species; got 'img'"):
        named_columns("img")


def test_a_record_opens_a_table_as_it_was_opened_and_another_by_the_usual_names(folder):
    record = {"columns": "path=img,label=species"}
    named = write(folder, "img,species,label\n1.png,cat,x\n2.png,dog,y\n", "named.csv")
    usual = write(folder, "path,label\n1.png,cat\n2.png,dog\n", "usual.csv")
    assert open_again(named, record).class_names == open_again(usual, record).class_names == ("cat", "dog")
    for name in ("cat", "dog"):
        (folder / "photos" / name).mkdir(parents=True)
        (folder / "photos" / name / "1.png").touch()
    assert open_again(folder / "photos", record).class_names == ("cat", "dog")


def test_a_table_larger_than_any_is_refused_without_being_read(folder):
    for name in ("labels.csv", "labels.tsv"):
        with (folder / name).open("wb") as stream:
            stream.truncate(2**40)
        with pytest.raises(InvalidSource, match=r"cannot be read \(it has more than 536,870,912 bytes\)"):
            sightline.load(folder / name)


def test_a_zero_byte_in_a_path_is_a_missing_file(folder):
    data = read_table(write(folder, "path,label\n1.png,cat\n2.png,dog\nx\0y.png,dog\n"))
    assert data.left_out[0][0] == "x\\x00y.png"


@pytest.mark.skipif(os.name == "nt", reason="a folder opens as an error of another kind")
def test_a_folder_that_is_called_like_a_table_is_opened_as_a_folder(folder):
    for name in ("cat", "dog"):
        (folder / "photos.csv" / name).mkdir(parents=True)
        (folder / "photos.csv" / name / "1.png").write_bytes((folder / "1.png").read_bytes())
    assert len(sightline.load(folder / "photos.csv")) == 2


def test_the_fingerprint_covers_labels_splits_groups_and_files(folder):
    texts = [
        "path,label\n1.png,cat\n2.png,dog\n",
        "path,label\n1.png,dog\n2.png,cat\n",
        "path,label,split\n1.png,cat,train\n2.png,dog,test\n",
        "path,label,group\n1.png,cat,a\n2.png,dog,a\n",
    ]
    prints = [read_table(write(folder, text)).fingerprint for text in texts]
    os.utime(folder / "1.png", (1, 1))
    prints.append(read_table(write(folder, texts[0])).fingerprint)
    assert len(set(prints)) == 5


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["cat", "dog"], ""),
        (["black|white", "grey", "black|white"], ""),
        (["cat|dog", "dog"], "cat|dog"),
        (["cat|dog", "dog|cow"], "cat|dog"),
        (["a;b;c"], "a;b;c"),
        (["cats, dogs", "dogs"], ""),
        (["black cat", "cat", "white cat"], ""),
        (["red apple", "green apple", "red car", "green car"], ""),
        (["('cat', 'dog')"], "('cat', 'dog')"),
        (["{'cat', 'dog'}"], "{'cat', 'dog'}"),
        (["(cat)", "{1: 2}"], ""),
        ([f"{rank} of {suit}" for rank in range(2, 15) for suit in "abcd"] + ["joker"], ""),
        (
            [
                "haze road",
                "road",
                "haze crops road",
                "crops road haze water",
                "water crops",
                "water haze",
                "road crops",
                "water road",
                "crops haze",
                "water crops road",
            ],
            "haze road",
        ),
        (['["cat", "dog"]'], '["cat", "dog"]'),
        (['["cat"]', "[]"], ""),
        (["[draft]", "x"], ""),
        (["rock;", "rock"], ""),
    ],
)
def test_several_labels_are_told_over_the_whole_column(cells, found):
    assert several_labels(cells) == found


def test_a_list_of_one_label_is_that_label():
    assert [single_label(cell) for cell in ("['cat']", "[7]", "[]", "[cat]")] == ["cat", "7", "", "[cat]"]


class NotAFrame:
    columns = ("path", "label")


def test_only_a_frame_of_pandas_is_a_frame():
    assert not is_frame(NotAFrame())
    with pytest.raises(InvalidSource, match="got NotAFrame"):
        sightline.load(NotAFrame())


def test_a_pandas_frame_is_a_table(folder, monkeypatch):
    pandas = pytest.importorskip("pandas")
    monkeypatch.chdir(folder)
    frame = pandas.DataFrame(
        {"Path": ["1.png", Path("2.png"), "3.png"], "label": [1.0, 2.0, None], "weight": [1, 2, 3]}
    )
    data = sightline.load(frame, name="pets")
    assert data.name == "pets"
    assert classes(data) == {"1.png": "1", "2.png": "2"}
    assert data.weights.tolist() == [1, 2]
    assert data.left_out == (("3.png", "has no label (line 4)"),)
    listed = pandas.DataFrame({"path": ["1.png", "2.png"], "label": [["cat"], ["cat", "dog"]]})
    with pytest.raises(InvalidSource, match=r"the table: the label .* looks like several labels"):
        sightline.load(listed)


def test_a_parquet_file_is_a_table(folder):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"file": ["1.png", "2.png"], "class": pandas.Categorical(["cat", "dog"]), "n": [1, 2]})
    frame.to_parquet(folder / "labels.parquet")
    assert classes(sightline.load(folder / "labels.parquet")) == {"1.png": "cat", "2.png": "dog"}
    write(folder, b"PAR1 no table", "bad.parquet")
    with pytest.raises(InvalidSource, match=r"bad\.parquet: is not a readable Parquet file"):
        sightline.load(folder / "bad.parquet")


def test_without_pyarrow_the_command_that_brings_it_is_named(folder):
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        with pytest.raises(MissingPackage, match="pip install 'pyarrow'"):
            sightline.load(write(folder, b"PAR1", "labels.parquet"))
    else:
        pytest.skip("pyarrow is installed")
