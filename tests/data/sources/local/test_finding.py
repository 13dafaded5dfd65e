"""Tables as Kaggle has them: names without suffix, and images in a folder beside."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from PIL import Image

import sightline
from sightline.data.sources.loading import open_again
from sightline.data.sources.local import finding
from sightline.data.sources.local.finding import Finder, why_outside
from sightline.data.sources.local.tables import paths_in_table
from sightline.errors import InvalidSource


def lay(folder: Path, *names: str) -> Path:
    stream = io.BytesIO()
    Image.new("L", (3, 2)).save(stream, "PNG")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(stream.getvalue())
    return folder


def write(folder: Path, text: str, name: str = "labels.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def classes(data: sightline.Dataset) -> dict[str, str]:
    return dict(zip(data.row_ids.tolist(), data.named(), strict=True))


def test_names_without_suffix_are_found_below_and_it_is_said(tmp_path):
    folder = lay(tmp_path, "train/000bec.jpg", "train/001513.png", "test/00a338.jpg")
    path = write(folder, "id,breed\n000bec,boston_bull\n001513,dingo\nffffff,dingo\n")
    with pytest.raises(InvalidSource, match="has no column 'label'"):
        sightline.load(path)
    data = sightline.load(path, columns={"label": "breed"})
    assert classes(data) == {"train/000bec.jpg": "boston_bull", "train/001513.png": "dingo"}
    assert data.left_out == (("ffffff", "there is no such file (line 4)"),)
    assert data.remarks[0] == (
        "its names are no paths as they are, and were looked for below its folder: '000bec' is 'train/000bec.jpg'"
    )
    assert paths_in_table(path).names == ("train/000bec.jpg", "train/001513.png", "ffffff")


@pytest.mark.parametrize("header", ["id", "image_id", "Image_Name", "id_code", "img", "image"])
def test_names_with_suffix_in_two_folders_are_found_too(tmp_path, header):
    folder = lay(tmp_path, "part_1/a.jpg", "part_2/b.jpg")
    data = sightline.load(write(folder, f"lesion,{header},label\nL1,a.jpg,nv\nL2,b.jpg,mel\n"))
    assert classes(data) == {"part_1/a.jpg": "nv", "part_2/b.jpg": "mel"}


def test_a_name_that_may_be_two_files_is_refused_until_a_pattern_says_which(tmp_path):
    folder = lay(tmp_path, "images/1.jpg", "images/2.jpg", "masks/1.png")
    path = write(folder, "id,kind,label\n1,images,cat\n2,images,dog\n,images,dog\n")
    with pytest.raises(
        InvalidSource, match=r"'1' may be images/1.jpg, masks/1.png\. .*--column 'path=images/\{id\}.jpg'"
    ):
        sightline.load(path)
    for pattern in ("images/{id}.jpg", "{ID}.jpg", "{kind}/{id}.jpg"):
        data = sightline.load(path, columns={"path": pattern})
        assert classes(data) == {"images/1.jpg": "cat", "images/2.jpg": "dog"}
        assert data.left_out == (("line 4", "has no path"),)
        assert classes(open_again(path, {"columns": f"path={pattern}"})) == classes(data)
    with pytest.raises(InvalidSource, match=r"has no column 'ix'\. Did you mean 'id'"):
        sightline.load(path, columns={"path": "images/{ix}.jpg"})
    plain = write(folder, "path,label\nimages/1.jpg,cat\nimages/2.jpg,dog\n", "plain.csv")
    assert len(open_again(plain, {"columns": "path=images/{id}.jpg"})) == 2


def test_a_table_called_as_a_split_is_names_files_of_that_split(tmp_path):
    folder = lay(tmp_path, *(f"{split}_images/{name}.jpg" for split in ("train", "test") for name in "12"))
    text = "id,label\n1,cat\n2,dog\n"
    assert set(classes(sightline.load(write(folder, text, "train.csv")))) == {
        "train_images/1.jpg",
        "train_images/2.jpg",
    }
    assert set(classes(sightline.load(write(folder, text, "test.csv")))) == {"test_images/1.jpg", "test_images/2.jpg"}
    with pytest.raises(InvalidSource, match=r"'1' may be test_images/1\.jpg, train_images/1\.jpg"):
        sightline.load(write(folder, text, "labels.csv"))


def test_a_column_of_names_of_images_is_not_passed_over_for_ids(tmp_path):
    folder = lay(tmp_path, "1.jpg", "2.jpg", "x/a.jpg", "x/b.jpg")
    path = write(folder, "id,photo,label\n1,x/a.jpg,cat\n2,x/b.jpg,dog\n")
    with pytest.raises(InvalidSource, match="has no column 'path'; found id, photo, label"):
        sightline.load(path)
    assert set(classes(sightline.load(path, columns={"path": "photo"}))) == {"x/a.jpg", "x/b.jpg"}


def test_nothing_is_looked_for_where_one_path_is_right(tmp_path):
    folder = lay(tmp_path, "1.jpg", "2.jpg", "deep/3.jpg")
    data = sightline.load(write(folder, "path,label\n1.jpg,cat\n2.jpg,dog\n3.jpg,cat\n3,cat\n"))
    assert classes(data) == {"1.jpg": "cat", "2.jpg": "dog"}
    assert [what for what, _ in data.left_out] == ["3.jpg", "3"]


def test_a_folder_of_too_many_files_is_not_listed_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(finding, "MOST_LISTED", 3)
    folder = lay(tmp_path, *(f"deep/{number}.jpg" for number in range(4)))
    with pytest.raises(InvalidSource, match=r"more than 3 files lie below .* Move it beside its images"):
        sightline.load(write(folder, "id,label\n1,cat\n2,dog\n"))


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_are_followed_as_in_folders_and_none_in_a_circle(tmp_path):
    folder = lay(tmp_path / "set", "deep/1.jpg")
    lay(tmp_path / "elsewhere", "2.jpg")
    (folder / "away").symlink_to(tmp_path / "elsewhere")
    (folder / "deep" / "up").symlink_to(folder)
    (folder / "broken").symlink_to("nowhere")
    data = sightline.load(write(folder, "id,label\n1,cat\n2,dog\n"))
    assert classes(data) == {"deep/1.jpg": "cat", "away/2.jpg": "dog"}


@pytest.mark.parametrize("name", ["../a", "a/../b", "a\\..\\b", "/a", "\\a", "C:\\a", "c:/a", "//server/a", ".."])
def test_paths_that_lead_out_of_a_folder_are_told(name):
    assert why_outside(name)


@pytest.mark.parametrize("name", ["a", "a..b/c", "./a", "...", "a/b.jpg", "C:a", ""])
def test_other_paths_are_inside(name):
    assert not why_outside(name)


def test_what_sightline_wrote_and_hidden_files_are_not_found(tmp_path):
    folder = lay(tmp_path, "a/1.jpg", ".cache/1.jpg", "runs/x/1.jpg")
    for name in ("recipe.json", "splits.csv"):
        (folder / "runs" / "x" / name).write_text("{}")
    finder = Finder(folder, "here")
    assert finder.without_suffix("1") == finder.ending_with("1.jpg") == ["a/1.jpg"]
    assert finder.find("a\\1.jpg") == ["a/1.jpg"]
    assert finder.find("b/1.jpg") == finder.ending_with("2.jpg") == []


def test_a_name_with_accents_is_found_however_they_are_written(tmp_path):
    folder = lay(tmp_path, "a/cafe\u0301.jpg", "a/na\u00efve.jpg")
    data = sightline.load(write(folder, "id,label\ncaf\u00e9,x\nnai\u0308ve,y\n"))
    assert classes(data) == {"a/cafe\u0301.jpg": "x", "a/na\u00efve.jpg": "y"}


def test_many_files_of_one_name_cost_no_more_than_others(tmp_path):
    folder = lay(tmp_path, *(f"{number}/image.jpg" for number in range(300)), "x/1/image.jpg", "image.jpg0")
    finder = Finder(folder, "here")
    assert finder.ending_with("2/image.jpg") == ["2/image.jpg"]
    assert finder.ending_with("1/image.jpg") == finder.without_suffix("1/image") == ["1/image.jpg", "x/1/image.jpg"]
    assert len(finder.ending_with("image.jpg")) == len(finder.without_suffix("image")) == finding.MOST_FOUND
    assert finder.ending_with("mage.jpg") == finder.without_suffix("mage") == []
